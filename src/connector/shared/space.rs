//! Room for temporary files, looked at before they are begun.

use crate::{connector::ConnectorError, report::Remedy};
use std::path::Path;

/// Refuses to begin what a file system has no room for. One that does not tell is believed to have it.
pub(in crate::connector) fn check(dir: &Path, needed: u64) -> Result<(), ConnectorError> {
    let Ok(told) = rustix::fs::statvfs(dir) else { return Ok(()) };
    let free = told.f_bavail.saturating_mul(told.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let error = ConnectorError::Unwritable {
        object: dir.display().to_string(),
        reason: format!("sorting takes about {} MiB of temporary files, and {} MiB are free", needed >> 20, free >> 20),
    };
    Err(error.with([Remedy::ChooseTempDir]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(dir.path(), 1).is_ok());
        let error = check(dir.path(), u64::MAX).unwrap_err();
        assert_eq!(error.remedies(), [Remedy::ChooseTempDir]);
    }
}
