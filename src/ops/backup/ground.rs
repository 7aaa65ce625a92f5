//! What a run stands on, and how far it is known to have come.

use crate::repo::{
    SnapshotId,
    checkpoint::CheckpointOptions,
    manifest::{Kind, SourceId},
};
use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

/// What all checkpoints of a run say.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) source: SourceId,
    pub(super) scope: String,
    pub(super) kind: Kind,
    pub(super) parent: Option<SnapshotId>,
    pub(super) options: CheckpointOptions,
}

/// The checkpoints of a run.
pub(super) struct Checkpoints {
    pub(super) ground: Ground,
    /// Whether anything of this run may be taken over.
    are_written: bool,
    pub(super) every: Duration,
    pub(super) last: Mutex<Last>,
}

/// The newest checkpoint.
pub(super) struct Last {
    pub(super) at: Instant,
    pub(super) took: Duration,
    /// The tasks that it named, or that were taken over.
    pub(super) named: BTreeSet<usize>,
}

impl Checkpoints {
    /// `taken` are the tasks that were taken over.
    pub(super) fn new(ground: Ground, are_written: bool, every: Duration, taken: BTreeSet<usize>) -> Self {
        let last = Mutex::new(Last { at: Instant::now(), took: Duration::ZERO, named: taken });
        Self { ground, are_written, every, last }
    }

    /// Whether there will be any.
    pub(super) fn are_written(&self) -> bool {
        self.are_written
    }

    /// Whether a worker that closed its packs so long ago closes them for the next checkpoint.
    pub(super) fn wants_closed(&self, since: Instant) -> bool {
        self.are_written && since.elapsed() >= self.every
    }
}
