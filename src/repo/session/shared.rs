//! What a session, its writers, its uploader and its heartbeat share.

use super::{
    left::Left,
    options::{SessionTiming, WriteOptions},
    pending::Pending,
    presence::SessionPacks,
    spare::Spare,
};
use crate::repo::{
    ChunkId, ChunkKind, RepoError,
    inner::{Inner, lock},
    lease::{Lease, Unreadable},
    names,
    parity::Percent,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

/// What a session, its writers, its uploader and its heartbeat share.
pub(super) struct Shared {
    pub(super) inner: Arc<Inner>,
    pub(super) lease: Lease,
    pub(super) options: WriteOptions,
    pub(super) timing: SessionTiming,
    pub(super) presence: Mutex<SessionPacks>,
    /// How much parity its packs have.
    pub(super) parity: Option<Percent>,
    pub(super) pending: Pending,
    pub(super) left: Left,
    pub(super) spare: Spare,
    pub(super) failure: Mutex<Failure>,
    pub(super) failed: AtomicBool,
    pub(super) closed: AtomicBool,
    pub(super) missed: Mutex<Missed>,
    /// Damage was met: every chunk is read before it is relied on.
    pub(super) careful: AtomicBool,
    /// A create without an answer: the lease must not end.
    pub(super) unsettled: AtomicBool,
    pub(super) writers: AtomicUsize,
    /// The number of the next checkpoint.
    pub(super) checkpoints: AtomicU64,
    pub(super) chunks_new: AtomicU64,
    pub(super) chunks_reused: AtomicU64,
    pub(super) bytes_added: AtomicU64,
}

/// Heartbeats that could not be sent.
#[derive(Default)]
pub(super) struct Missed {
    pub(super) number: u64,
    pub(super) last: String,
}

#[derive(Default)]
pub(super) struct Failure {
    /// The first error, until someone takes it.
    pub(super) first: Option<RepoError>,
    pub(super) text: String,
}

impl Shared {
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn note_failure(&self, outcome: Result<(), RepoError>) {
        if let Err(error) = outcome {
            let mut failure = lock(&self.failure);
            if !self.failed.swap(true, Ordering::SeqCst) {
                failure.text = error.to_string();
                failure.first = Some(error);
            }
        }
    }

    /// Notes a failure whose error goes to the caller by another way.
    pub(super) fn poison(&self, reason: &dyn std::fmt::Display) {
        let mut failure = lock(&self.failure);
        if !self.failed.swap(true, Ordering::SeqCst) {
            failure.text = reason.to_string();
        }
    }

    /// The error that made this session fail: itself the first time, its words later.
    pub(super) fn check(&self) -> Result<(), RepoError> {
        if !self.has_failed() {
            return Ok(());
        }
        let mut failure = lock(&self.failure);
        Err(match failure.first.take() {
            Some(error) => error,
            None if failure.text.is_empty() => RepoError::Interrupted,
            None => RepoError::RunFailed { reason: failure.text.clone() },
        })
    }

    /// Whether the repository holds the chunk in a present pack, which the session then relies on.
    pub(super) fn is_present(&self, kind: ChunkKind, id: &ChunkId) -> Result<bool, RepoError> {
        let present = self.reuse(id)?;
        if present && self.careful.load(Ordering::Relaxed) { self.is_readable(kind, id) } else { Ok(present) }
    }

    pub(super) fn reuse(&self, id: &ChunkId) -> Result<bool, RepoError> {
        let mut present = false;
        self.inner.catalog.find_packs(std::slice::from_ref(id), &mut |found| {
            present = !found.packs.is_empty() && lock(&self.presence).reuse(found.packs);
        })?;
        Ok(present)
    }

    /// Which of these chunks neither a present pack holds, which the session then relies on, nor somebody has taken on.
    pub(super) fn lacking(&self, ids: &[ChunkId]) -> Result<Vec<ChunkId>, RepoError> {
        let mut lacking = Vec::new();
        self.inner.catalog.find_packs(ids, &mut |found| {
            let is_present = !found.packs.is_empty() && lock(&self.presence).reuse(found.packs);
            if !is_present && !self.pending.has(found.id) {
                lacking.push(*found.id);
            }
        })?;
        Ok(lacking)
    }

    /// The length at which a pack is finished.
    pub(super) fn pack_bytes(&self) -> usize {
        let of_groups = self.parity.map_or(usize::MAX, Percent::pack_bytes);
        self.timing.pack_bytes.min(self.inner.budget.pack_bytes()).min(of_groups)
    }

    /// Where one pack was found damaged others may be: a chunk that is there already is read before it is relied on. Who may
    /// not read values stores them again.
    pub(super) fn is_readable(&self, kind: ChunkKind, id: &ChunkId) -> Result<bool, RepoError> {
        match self.inner.read_chunk(kind, id, false).and_then(|data| data.plain()) {
            Ok(_) => {}
            Err(RepoError::Role { .. }) => return Ok(false),
            Err(RepoError::Damaged { .. } | RepoError::Missing { .. } | RepoError::ChunkMissing { .. }) => {
                self.inner.distrust(id)?;
            }
            Err(error) => return Err(error),
        }
        // What was found in these packs before was read, and stays relied on.
        let newly = lock(&self.presence).distrust(&self.inner.bad_packs.all());
        if newly.is_empty() { Ok(true) } else { self.reuse(id) }
    }

    /// [`Self::beat`]; that it failed is told when the run ends.
    pub(super) fn beat_or_note(&self) {
        if let Err(error) = self.beat() {
            let mut missed = lock(&self.missed);
            missed.number += 1;
            missed.last = error.to_string();
        }
    }

    /// One heartbeat: new marks are judged, and the packs of those honoured are absent before the object is sent.
    pub(super) fn beat(&self) -> Result<(), RepoError> {
        let judged = lock(&self.presence).judged();
        let marks = self.inner.marks(&judged, Unreadable::IsSkipped);
        if let Ok(marks) = marks {
            lock(&self.presence).judge(marks);
        }
        self.lease.beat(&mut || lock(&self.presence).honoured())?;
        let id = self.lease.id();
        if self.inner.storage.len(&names::revision_path(&id, 0))?.is_some() && !self.is_closed() {
            self.note_failure(Err(RepoError::Fenced { id }));
        }
        Ok(())
    }
}
