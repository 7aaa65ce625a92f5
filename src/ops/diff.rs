//! `diff`: what differs between two snapshots, by reading keys only.

use super::{OpsError, Phase, PhaseKind, Progress, reading::Reading, select::scope};
use crate::{
    layer::{Stack, StackCursor},
    record::KeyRange,
    repo::{Repository, Snapshot, manifest::Collection},
    report::{ErrorKind, WarningKind},
};
use serde::Serialize;
use std::{cmp::Ordering, collections::BTreeSet};

/// How a record differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only in the second.
    Added,
    /// In both, with another value or key row.
    Changed,
    /// Only in the first.
    Removed,
}

/// Counts of one collection.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DiffCounts {
    /// The collection.
    pub collection: String,
    /// Only in the second.
    pub added: u64,
    /// In both, different.
    pub changed: u64,
    /// Only in the first.
    pub removed: u64,
}

/// Compares two snapshots, calling `each` with collection, key as shown, and change, in key order. Collections whose
/// stacks are equal are not read.
pub fn diff(
    repo: &Repository,
    a: &Snapshot,
    b: &Snapshot,
    collection: Option<&str>,
    progress: &dyn Progress,
    each: &mut dyn FnMut(&str, &str, Change),
) -> Result<Vec<DiffCounts>, OpsError> {
    if a.source().is_same(b.source()) && a.content.scope != b.content.scope {
        let words = format!(
            "the snapshots hold different parts of the source ({}; {}): what only one was asked for looks added or removed",
            scope::words(a),
            scope::words(b)
        );
        progress.warn(WarningKind::ScopesDiffer, b.id.short(), words);
    }
    let both = [a.clone(), b.clone()];
    let reading = Reading::begin(repo, "diff", &both)?;
    let repo = reading.repo();
    let (a, b) = (&reading.snapshots()[0], &reading.snapshots()[1]);
    let names: BTreeSet<&str> = a.collections.iter().chain(&b.collections).map(|c| c.name.as_str()).collect();
    if let Some(wanted) = collection
        && !names.contains(wanted)
    {
        return Err(OpsError::refused(
            ErrorKind::NoCollection,
            format!("neither snapshot has a collection `{wanted}`"),
        ));
    }
    progress.phase(&Phase {
        kind: PhaseKind::Comparing,
        object: String::new(),
        records: a.collections.iter().map(|c| c.records).sum(),
        bytes: 0,
    });
    let mut all = Vec::new();
    for name in names.into_iter().filter(|name| collection.is_none_or(|wanted| wanted == *name)) {
        let of = |snapshot: &'_ Snapshot| snapshot.collections.iter().find(|c| c.name == name).cloned();
        let (left, right) = (of(a), of(b));
        let mut counts = DiffCounts { collection: name.to_owned(), ..DiffCounts::default() };
        let same_stack = matches!((&left, &right), (Some(l), Some(r)) if l.stack == r.stack && l.codec == r.codec);
        // Equal stacks show equal records, unless some expire between the two ends, or journals in them show two moments.
        let has_journal = left.as_ref().is_some_and(|c| c.stack.iter().any(|layer| layer.journal));
        let same_moment = a.content.end == b.content.end || !has_journal;
        if !same_stack || !same_moment || left.as_ref().map(|c| c.records) != right.as_ref().map(|c| c.records) {
            let mut left = Side::open(repo, a, left.as_ref())?;
            let mut right = Side::open(repo, b, right.as_ref())?;
            compare(&mut left.cursor()?, &mut right.cursor()?, progress, &mut |key, change| {
                match change {
                    Change::Added => counts.added += 1,
                    Change::Changed => counts.changed += 1,
                    Change::Removed => counts.removed += 1,
                }
                each(name, key, change);
            })?;
        }
        all.push(counts);
    }
    Ok(all)
}

struct Side<'a> {
    snapshot: &'a Snapshot,
    collection: Option<&'a Collection>,
    stack: Option<Stack>,
}

struct Walk<'a> {
    cursor: Option<StackCursor<'a>>,
    codec: Option<crate::record::KeyCodec>,
    live: bool,
}

impl<'a> Side<'a> {
    fn open(repo: &Repository, snapshot: &'a Snapshot, collection: Option<&'a Collection>) -> Result<Self, OpsError> {
        let stack = match collection {
            Some(collection) => Some(Stack::open(&repo.chunks(), &collection.stack)?),
            None => None,
        };
        Ok(Self { snapshot, collection, stack })
    }

    fn cursor(&mut self) -> Result<Walk<'_>, OpsError> {
        let cursor = match &self.stack {
            Some(stack) => Some(stack.cursor(&KeyRange::all(), self.snapshot.content.end, true)?),
            None => None,
        };
        let mut walk = Walk { cursor, codec: self.collection.map(|c| c.codec), live: true };
        walk.advance()?;
        Ok(walk)
    }
}

impl Walk<'_> {
    fn advance(&mut self) -> Result<(), OpsError> {
        self.live = match &mut self.cursor {
            Some(cursor) if self.live => cursor.advance()?,
            _ => false,
        };
        Ok(())
    }

    fn show(&self) -> String {
        match (&self.cursor, self.codec) {
            (Some(cursor), Some(codec)) => codec.show(cursor.key()),
            _ => String::new(),
        }
    }
}

fn compare(
    left: &mut Walk<'_>,
    right: &mut Walk<'_>,
    progress: &dyn Progress,
    each: &mut dyn FnMut(&str, Change),
) -> Result<(), OpsError> {
    let mut steps = 0u64;
    loop {
        steps += 1;
        if steps.is_multiple_of(4096) {
            progress.count(4096, 0);
            if progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
        }
        let order = match (left.live, right.live) {
            (false, false) => return Ok(()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => match (&left.cursor, &right.cursor) {
                (Some(l), Some(r)) => l.key().cmp(r.key()),
                _ => return Ok(()),
            },
        };
        match order {
            Ordering::Less => {
                each(&left.show(), Change::Removed);
                left.advance()?;
            }
            Ordering::Greater => {
                each(&right.show(), Change::Added);
                right.advance()?;
            }
            Ordering::Equal => {
                let differs = match (&left.cursor, &right.cursor) {
                    (Some(l), Some(r)) => l.fingerprint() != r.fingerprint() || l.meta() != r.meta(),
                    _ => false,
                };
                if differs {
                    each(&right.show(), Change::Changed);
                }
                left.advance()?;
                right.advance()?;
            }
        }
    }
}
