//! What the workers of a run share.

use super::{
    BackupOptions,
    dry::DryCounts,
    ground::Checkpoints,
    jobs::{CollectionRun, Task},
    outcomes::TaskOutcomes,
};
use crate::{
    connector::{Recall, Remembers, SourceSession},
    layer::{LayerContext, Stack},
    ops::{OpsError, Progress, limit::Throttle},
    record::{Timestamp, pause},
    repo::{ChunkReader, Repository, WriteSession, manifest::Kind},
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What the workers of a run share.
pub(super) struct Workers<'a> {
    pub(super) repo: &'a Repository,
    pub(super) session: &'a dyn SourceSession,
    pub(super) writing: Option<&'a WriteSession>,
    pub(super) context: LayerContext,
    pub(super) chunks: Arc<dyn ChunkReader>,
    pub(super) parent_end: Timestamp,
    /// When reading began.
    pub(super) start: Timestamp,
    /// Records are counted by it until the end is known: the start, of the first run if this one carries on.
    pub(super) counted_by: Timestamp,
    pub(super) is_exact: bool,
    pub(super) kind: Kind,
    pub(super) options: &'a BackupOptions,
    pub(super) jobs: Vec<CollectionRun<'a>>,
    pub(super) tasks: Vec<Task>,
    pub(super) next: AtomicUsize,
    pub(super) stop: AtomicBool,
    pub(super) outcomes: Mutex<TaskOutcomes>,
    pub(super) checkpoints: Checkpoints,
    pub(super) dry: Mutex<DryCounts>,
    pub(super) throttle: Mutex<Throttle>,
    /// The source's notes, and what is made of those of the parent.
    pub(super) notes: Option<(&'a dyn Remembers, Recall)>,
    pub(super) progress: &'a dyn Progress,
    /// When it was said last what is waited for.
    pub(super) told: Mutex<Option<Instant>>,
}

impl Workers<'_> {
    pub(super) fn outcomes(&self) -> MutexGuard<'_, TaskOutcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.progress.cancelled() || self.stop.load(Ordering::Relaxed)
    }

    /// Holds the read limit over all workers, and still hears that it is to stop.
    pub(super) fn keep_to_limit(&self, bytes: u64) {
        let wait = self.throttle.lock().map_or(Duration::ZERO, |mut throttle| throttle.wait_after(bytes));
        pause(wait, || self.is_stopped());
    }

    pub(super) fn parent_stack<'s>(&self, job: &'s CollectionRun<'_>) -> Result<Option<&'s Stack>, OpsError> {
        if let Some(stack) = job.stack.get() {
            return Ok(stack.as_ref());
        }
        let opened = match job.parent {
            Some(parent) => Some(Stack::open(&self.chunks, &parent.stack)?),
            None => None,
        };
        Ok(job.stack.get_or_init(|| opened).as_ref())
    }
}
