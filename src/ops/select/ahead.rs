//! Snapshots whose end lies in the future: a clock was wrong when they were taken, or is now. They are named, kept, and
//! stand for nothing: they are nobody's newest.

use crate::{
    ops::Progress,
    record::Timestamp,
    repo::{Head, RepoError, Repository, Snapshot},
    report::{Warning, WarningKind},
};

/// What clocks of different hosts may differ by without more ado.
const SLACK_MILLIS: i64 = 5 * 60 * 1000;

/// Whether a time lies in the future, by more than clocks may differ.
#[must_use]
pub const fn is_ahead(end: Timestamp, now: Timestamp) -> bool {
    end.as_millis() > now.as_millis().saturating_add(SLACK_MILLIS)
}

/// A warning of a snapshot that ends in the future.
#[must_use]
pub fn ahead_warning(snapshot: &Snapshot) -> Warning {
    let id = snapshot.id.short();
    let words = format!(
        "snapshot {id} ends at {}, which lies in the future: a clock was wrong then or is now; it counts as nobody's newest",
        snapshot.content.end
    );
    Warning::new(WarningKind::SnapshotAhead, id, words)
}

/// The snapshots that may be somebody's newest, in their order, the others being named; all of them if there is no other.
pub(super) fn present<'s>(snapshots: Vec<&'s Snapshot>, now: Timestamp, progress: &dyn Progress) -> Vec<&'s Snapshot> {
    let (ahead, present): (Vec<_>, Vec<_>) = snapshots.into_iter().partition(|s| is_ahead(s.content.end, now));
    for snapshot in &ahead {
        progress.warning(&ahead_warning(snapshot));
    }
    if present.is_empty() { ahead } else { present }
}

/// The newest of these that is meant, opened.
pub(in crate::ops) fn newest(
    repo: &Repository,
    heads: &[Head],
    now: Timestamp,
    is_meant: &dyn Fn(&Snapshot) -> bool,
) -> Result<Option<Snapshot>, RepoError> {
    for head in newest_first(heads, now) {
        let found = repo.snapshot(&head.id)?.filter(is_meant);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The newest first; those that end in the future behind all others.
pub(in crate::ops) fn newest_first(heads: &[Head], now: Timestamp) -> impl Iterator<Item = &Head> {
    let of = move |ahead| heads.iter().rev().filter(move |head| is_ahead(head.end, now) == ahead);
    of(false).chain(of(true))
}
