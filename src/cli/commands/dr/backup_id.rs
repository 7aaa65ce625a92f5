//! How backups are named: `backup_20240101_120000_0a1b2c3d`, by the end of their reading and the first digits of their
//! snapshot's id. Nothing else is kept of it: the snapshot says it all.

use crate::{
    cli::exit::Failure,
    ops::OpsError,
    record::Timestamp,
    repo::{Repository, Snapshot},
    report::ErrorKind,
};

/// What is named so of a time.
fn stamp(time: Timestamp) -> String {
    let seconds = time.as_millis().div_euclid(1000);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%d_%H%M%S").to_string()
}

/// The name of a snapshot as a backup.
pub(super) fn of(snapshot: &Snapshot) -> String {
    format!("backup_{}_{}", stamp(snapshot.content.end), snapshot.id.short())
}

/// All backups of datasets, oldest first.
pub(super) fn all(repo: &Repository) -> Result<Vec<Snapshot>, Failure> {
    let mut all = repo.snapshots()?;
    all.retain(|snapshot| snapshot.source().connector == "deeplake");
    Ok(all)
}

/// Finds the one backup of a name, or of the first digits of its snapshot's id.
pub(super) fn find(repo: &Repository, name: &str) -> Result<Snapshot, Failure> {
    let digits = name.strip_prefix("backup_").and_then(|rest| rest.rsplit_once('_')).map_or(name, |(_, digits)| digits);
    let is_hex = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let refused = |kind, words: String| Err(OpsError::refused(kind, words).into());
    if !is_hex {
        return refused(ErrorKind::InvalidInput, format!("`{name}` names no backup: write it as `list` shows it"));
    }
    let digits = digits.to_ascii_lowercase();
    let mut found = all(repo)?;
    found.retain(|one| one.id.to_string().starts_with(&digits) && (digits == name || of(one).starts_with(name)));
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => refused(ErrorKind::NoSnapshot, format!("there is no backup {name}")),
        _ => refused(ErrorKind::Ambiguous, format!("{name} names several backups")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_named_in_utc() {
        assert_eq!(stamp(Timestamp::from_millis(1_704_110_400_999)), "20240101_120000");
    }
}
