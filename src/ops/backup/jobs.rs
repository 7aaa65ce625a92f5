//! What a run has to do: its collections, the ranges of each, and where deletions are looked for.

use super::{
    Ask, BackupOptions,
    ground::Ground,
    ranges,
    rolling::{self, outside},
    stack,
    sums::known_sum,
};
use crate::{
    connector::{KeyGroups, SourceCollection, SourceSession},
    layer::{Layer, Stack},
    ops::{OpsError, Progress},
    record::{CollectionSum, KeyRange},
    repo::{
        Checkpoint, ChunkReader, Snapshot,
        manifest::{Collection, Kind},
    },
    report::WarningKind,
};
use std::sync::{Arc, OnceLock};

/// One collection with what it is joined with.
pub(super) struct CollectionRun<'a> {
    pub(super) found: &'a SourceCollection,
    pub(super) parent: Option<&'a Collection>,
    pub(super) new_base: bool,
    /// What the parent's records add up to, where what they are is carried over.
    pub(super) sum: Option<CollectionSum>,
    pub(super) ranges: Vec<KeyRange>,
    /// Where deletions are looked for.
    swept: Option<KeyRange>,
    pub(super) stack: OnceLock<Option<Stack>>,
}

/// One range of one collection.
pub(super) struct Task {
    pub(super) job: usize,
    pub(super) range: usize,
}

impl CollectionRun<'_> {
    /// The part of a range in which deletions are looked for.
    pub(super) fn swept(&self, range: &KeyRange) -> Option<KeyRange> {
        self.swept.as_ref().and_then(|part| range.intersection(part))
    }

    /// The parts of a range in which deletions are not looked for.
    pub(super) fn unswept(&self, range: &KeyRange) -> Vec<KeyRange> {
        self.swept.as_ref().map_or_else(|| vec![range.clone()], |part| outside(range, part))
    }
}

/// The collections that a session shows.
pub(super) fn plan<'a>(
    session: &'a dyn SourceSession,
    chunks: &Arc<dyn ChunkReader>,
    parent: Option<&'a Snapshot>,
    options: &BackupOptions,
    ground: &Ground,
    progress: &dyn Progress,
    resumed: Option<&Checkpoint>,
) -> Result<Vec<CollectionRun<'a>>, OpsError> {
    let mut jobs = Vec::new();
    for (index, found) in session.collections().iter().enumerate() {
        let parent = parent.and_then(|p| p.collections.iter().find(|c| c.name == found.name && c.codec == found.codec));
        let base = parent.and_then(|parent| parent.stack.first());
        let ranges = if let Some(base) = base {
            Layer::open(chunks, base)?.ranges()
        } else {
            ranges::of_base(session, index, resumed)?
        };
        let wants_new_base = parent.is_some_and(|parent| stack::wants_new_base(&parent.stack));
        if wants_new_base && ground.kind != Kind::Full {
            let words = format!("what changed in {} since its last full backup is more than half of it", found.name);
            progress.warn(WarningKind::BaseAdvised, &*found.name, words);
        }
        let new_base = options.new_base || (wants_new_base && ground.kind == Kind::Full);
        let groups = session.evidence().and_then(|evidence| evidence.groups(index));
        let swept = swept_part(parent, groups, ground);
        // A part that is swept makes rows of its own, for which the parent's keys would be added up.
        let has_rows = swept.as_ref().is_some_and(|part| *part != KeyRange::all());
        let carries = options.ask != Ask::Full && !new_base && !has_rows;
        let sum = parent.filter(|_| carries).and_then(known_sum);
        jobs.push(CollectionRun { found, parent, new_base, sum, ranges, swept, stack: OnceLock::new() });
    }
    Ok(jobs)
}

/// Where a run looks for what is gone from a collection.
fn swept_part(parent: Option<&Collection>, groups: Option<&dyn KeyGroups>, ground: &Ground) -> Option<KeyRange> {
    match (parent, ground.options.rolling, groups) {
        (Some(_), _, _) if !ground.options.swept => None,
        (Some(parent), Some(count), Some(groups)) if ground.kind != Kind::Full => {
            Some(rolling::due(parent, groups, count))
        }
        _ => Some(KeyRange::all()),
    }
}
