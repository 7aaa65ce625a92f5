//! The newest of every source and scope, found without opening all the others (`docs/many-snapshots.md`).

use super::{Narrow, ahead::is_ahead, narrow::Within};
use crate::{
    ops::OpsError,
    record::Timestamp,
    repo::{By, Repository, Snapshot, SnapshotId},
};
use std::collections::HashSet;

/// The newest `count` of each source and scope that are admitted and end within a range, oldest first; those that end in the future
/// beside them.
pub fn newest_of_each(
    repo: &Repository,
    narrow: &Narrow,
    within: Within,
    count: usize,
    now: Timestamp,
) -> Result<Vec<Snapshot>, OpsError> {
    let heads = narrow.heads(repo, within)?;
    let meant: HashSet<SnapshotId> = heads.iter().map(|head| head.id).collect();
    let (mut done, mut found) = (HashSet::new(), Vec::new());
    for head in heads.iter().rev() {
        if done.contains(&head.id) {
            continue;
        }
        let Some(of_series) = repo.snapshot(&head.id)? else { continue };
        let series = repo.heads(By::Source(of_series.source()), Some(&of_series.content.scope))?;
        let mut so_far = 0;
        for head in series.iter().rev().filter(|head| meant.contains(&head.id)) {
            let ahead = is_ahead(head.end, now);
            if !ahead && so_far >= count {
                break;
            }
            if let Some(snapshot) = repo.snapshot(&head.id)?.filter(|snapshot| narrow.admits(snapshot)) {
                so_far += usize::from(!ahead);
                found.push(snapshot);
            }
        }
        done.extend(series.into_iter().map(|head| head.id));
    }
    found.sort_by_key(|snapshot| snapshot.position());
    Ok(found)
}
