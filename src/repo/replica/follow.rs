//! Deletions follow when they are asked for, and when the source has been without the object for long enough.

use super::{Follow, bring::Carrier, rounds::Stood};
use crate::{
    record::Timestamp,
    repo::{RepoError, index, inner::lock, names, pack},
};
use std::collections::{BTreeMap, BTreeSet};

/// Deletes, or counts, what the replica holds and the source does not.
pub(super) fn deletions(
    carrier: &Carrier<'_>,
    slots: &BTreeSet<String>,
    stood: &Stood,
    follow: Option<&Follow>,
) -> Result<(), RepoError> {
    let mut left = left_over(carrier, slots, stood);
    // Nobody removes the last slot: they are lost there, and what is here is what opens both.
    if slots.is_empty() {
        let count = left.len();
        left.retain(|(name, _)| !name.starts_with("keys/") && !name.starts_with("copies/keys/"));
        carrier.problem(if left.len() < count {
            "every key slot is gone at the source, which nothing opens now: those of the replica, which stay, open it once they lie \
             under keys/ there"
        } else {
            "every key slot is gone at the source, and the replica has none: nothing opens either"
        });
    }
    for name in left.iter().filter_map(|(name, _)| name.strip_prefix("keys/")) {
        let words = format!("the key slot {name} is no longer at the source, and still opens the replica");
        lock(&carrier.done).notes.push(words);
    }
    let Some(follow) = follow else {
        lock(&carrier.done).waiting = left.len() as u64;
        return Ok(());
    };
    let mut stays = BTreeMap::new();
    for (name, bytes) in left {
        if carrier.watch.cancelled() {
            return Err(RepoError::Interrupted);
        }
        let since = first_missed(follow, &name);
        if !is_due(follow, since) {
            stays.insert(name, since);
            continue;
        }
        if !carrier.dry_run {
            match carrier.target.delete(&name) {
                Ok(()) => {}
                Err(error) => {
                    // Object lock, or rights that do not allow it: it stays, and the next run tries again.
                    carrier.problem(error.to_string());
                    stays.insert(name, since);
                    continue;
                }
            }
        }
        let mut done = lock(&carrier.done);
        done.deleted += 1;
        done.deleted_bytes += bytes;
    }
    let mut done = lock(&carrier.done);
    done.waiting = stays.len() as u64;
    done.missed = stays;
    Ok(())
}

/// Since when the source is known to be without it; a time ahead of the clock says nothing.
fn first_missed(follow: &Follow, name: &str) -> Timestamp {
    follow.missed.get(name).copied().filter(|since| *since <= follow.now).unwrap_or(follow.now)
}

fn is_due(follow: &Follow, since: Timestamp) -> bool {
    let age = follow.now.as_millis().saturating_sub(since.as_millis());
    u128::try_from(age).unwrap_or(0) >= follow.age.as_millis()
}

/// What the source does not have, in the order in which it may go: what describes packs, packs, revisions of forgotten
/// snapshots, collective tombstones that were put into one, slots.
fn left_over(carrier: &Carrier<'_>, slots: &BTreeSet<String>, stood: &Stood) -> Vec<(String, u64)> {
    let held = lock(&carrier.held);
    let in_folder = |folder: &'static str| {
        let all = held.small.range(folder.to_owned()..).take_while(move |(name, _)| name.starts_with(folder));
        all.map(|(name, bytes)| (name.clone(), *bytes))
    };
    let index: BTreeSet<String> = stood.index.keys().map(index::path).collect();
    let mut left: Vec<(String, u64)> = in_folder("index/").filter(|(name, _)| !index.contains(name)).collect();
    if let Some(described) = &stood.packs {
        let mut packs: Vec<_> = held.packs.iter().filter(|(name, _)| !described.contains(*name)).collect();
        packs.sort_unstable();
        left.extend(packs.into_iter().map(|(name, bytes)| (pack::path(name), *bytes)));
    }
    let has = |name: &str| {
        names::parse_revision(name).is_none_or(|(id, revision)| {
            stood.snapshots.revisions.get(&id).is_some_and(|it| it.contains_key(&revision))
        })
    };
    left.extend(in_folder("snapshots/").filter(|(name, _)| !has(name)));
    left.extend(in_folder("forgotten/").filter(|(name, _)| !stood.snapshots.collectives.contains_key(name)));
    left.extend(in_folder("parity/").filter(|(name, _)| !stood.groups.contains_key(name)));
    for folder in ["keys/", "copies/keys/"] {
        left.extend(
            in_folder(folder).filter(|(name, _)| name.strip_prefix(folder).is_some_and(|slot| !slots.contains(slot))),
        );
    }
    left
}
