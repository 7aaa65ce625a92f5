//! Retention of files: what a policy does not keep is removed, run by run.

use super::Folders;
use crate::{
    connector::asb::shelf::Kept,
    ops::{OpsError, Progress},
    service::{config::Retention, job::Done},
};
use serde_json::json;
use std::collections::BTreeSet;

/// The folders of runs that are not kept: fulls but the newest so many, increments that stand on none of them, and those that
/// do not stand on one of the newest so many.
fn dropped(kept: &[Kept], retention: &Retention) -> BTreeSet<String> {
    let mut fulls: Vec<(i64, &str)> = Vec::new();
    for one in kept.iter().filter(|one| !one.is_increment) {
        if fulls.last().is_none_or(|(_, run)| *run != one.run) {
            fulls.push((one.metadata.created, &one.run));
        }
    }
    let mut gone = BTreeSet::new();
    let Some((oldest, _)) = fulls.first().copied() else { return gone };
    let first_of = |count: u32| fulls.len().checked_sub(count as usize);
    let first_full = retention.full.and_then(first_of).unwrap_or(0).min(fulls.len() - 1);
    gone.extend(fulls[..first_full].iter().map(|(_, run)| (*run).to_owned()));
    // What lies before the oldest full of all stands on nothing that is there: it is not ours to judge. What began with a full
    // stands on the one before.
    let since = match retention.incremental {
        Some(0) => i64::MAX,
        Some(count) => fulls[first_of(count).unwrap_or(0).max(first_full)].0,
        None => fulls[first_full].0,
    };
    let is_over = |one: &&Kept| one.is_increment && one.metadata.created > oldest && one.metadata.created <= since;
    gone.extend(kept.iter().filter(is_over).map(|one| one.run.clone()));
    gone
}

/// Removes what a policy does not keep of a routine.
///
/// # Errors
/// What the storage says.
pub(in crate::service) fn keep(
    folders: &Folders,
    routine: &str,
    retention: &Retention,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let kept = folders.kept(routine)?;
    let (mut forgotten, mut problems) = (Vec::new(), Vec::new());
    for run in dropped(&kept, retention) {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        match folders.shelf.remove(&run) {
            Ok(()) => forgotten.push(run),
            Err(error) => problems.push(error.to_string()),
        }
    }
    Ok(Done {
        complete: problems.is_empty(),
        problems,
        records: forgotten.len() as u64,
        result: json!({ "forgotten": forgotten }),
        ..Done::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::asb::metadata::Metadata;

    fn kept(marks: &[(char, i64)]) -> Vec<Kept> {
        let one = |(kind, created): &(char, i64)| Kept {
            key: format!("{kind}{created}/data/n"),
            run: format!("{kind}{created}"),
            is_increment: *kind == 'i',
            metadata: Metadata { created: *created, ..Metadata::default() },
            complete: true,
        };
        marks.iter().map(one).collect()
    }

    #[test]
    fn fulls_are_counted_and_increments_go_with_them() {
        let all = kept(&[('i', 1), ('f', 10), ('f', 10), ('i', 11), ('f', 20), ('i', 21), ('f', 30), ('i', 31)]);
        let gone = |full, incremental| {
            dropped(&all, &Retention { full, incremental }).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(gone(Some(2), None), "f10 i11");
        assert_eq!(gone(Some(9), None), "");
        assert_eq!(gone(Some(2), Some(1)), "f10 i11 i21");
        assert_eq!(gone(None, Some(1)), "i11 i21");
        assert_eq!(gone(Some(1), Some(0)), "f10 f20 i11 i21 i31");
        assert_eq!(gone(Some(0), None), "f10 f20 i11 i21", "one full at least");
        assert_eq!(dropped(&kept(&[('i', 5)]), &Retention { full: Some(1), incremental: Some(0) }).len(), 0);
    }
}
