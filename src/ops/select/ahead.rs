//! Snapshots whose end lies in the future: a clock was wrong when they were taken, or is now. They are named, kept, and
//! stand for nothing: they are nobody's newest.

use crate::{
    ops::Progress,
    record::Timestamp,
    repo::{By, Head, Position, RepoError, Repository, Snapshot},
    report::{Warning, WarningKind},
};
use std::collections::VecDeque;

/// What clocks of different hosts may differ by without more ado.
const SLACK_MILLIS: i64 = 5 * 60 * 1000;

/// Whether a time lies in the future, by more than clocks may differ.
#[must_use]
pub const fn is_ahead(end: Timestamp, now: Timestamp) -> bool {
    end.as_millis() > latest_of(now).as_millis()
}

/// The latest that a clock that is right tells.
#[must_use]
pub(in crate::ops) const fn latest_of(now: Timestamp) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_add(SLACK_MILLIS))
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

/// Heads that are read at once on the way back.
const AT_ONCE: usize = 8;

/// The newest first; those that end in the future behind all others. They are read as they are asked for: the newest is found
/// beside a thousand older ones as beside ten.
pub(in crate::ops) struct NewestFirst<'r> {
    repo: &'r Repository,
    by: By<'r>,
    scope: Option<&'r str>,
    now: Timestamp,
    page: VecDeque<Head>,
    last: Option<Position>,
    ahead: VecDeque<Head>,
    is_done: bool,
}

pub(in crate::ops) fn newest_first<'r>(
    repo: &'r Repository,
    by: By<'r>,
    scope: Option<&'r str>,
    now: Timestamp,
) -> NewestFirst<'r> {
    let (page, ahead) = (VecDeque::new(), VecDeque::new());
    NewestFirst { repo, by, scope, now, page, last: None, ahead, is_done: false }
}

impl Iterator for NewestFirst<'_> {
    type Item = Result<Head, RepoError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(head) = self.page.pop_front() {
                if is_ahead(head.end, self.now) {
                    self.ahead.push_back(head);
                    continue;
                }
                return Some(Ok(head));
            }
            if self.is_done {
                return self.ahead.pop_front().map(Ok);
            }
            match self.repo.heads_before(self.by, self.scope, self.last, AT_ONCE) {
                Ok(heads) => {
                    self.is_done = heads.is_empty();
                    self.last = heads.last().map(Head::position).or(self.last);
                    self.page = heads.into();
                }
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The newest of these that is meant, opened.
pub(in crate::ops) fn newest(
    heads: NewestFirst<'_>,
    is_meant: &dyn Fn(&Snapshot) -> bool,
) -> Result<Option<Snapshot>, RepoError> {
    let repo = heads.repo;
    for head in heads {
        let found = repo.snapshot(&head?.id)?.filter(is_meant);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
