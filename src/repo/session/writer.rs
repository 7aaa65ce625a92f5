//! One thread's chunk writer.

use super::{
    Shared,
    relay::{Next, Relay},
    upload::Jobs,
};
use crate::repo::{
    ChunkData, ChunkId, ChunkKind, ChunkPlain, ChunkWriter, Put, RepoError, WriteOptions,
    ids::PackKind,
    pack::{PackBuilder, PackEntry, SealedPack},
};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

/// A pack that is this many times shorter than packs should be is left to be closed with others.
const SHORT: usize = 8;

/// One thread's chunk writer: an open metadata pack and an open data pack.
pub struct SessionWriter {
    shared: Arc<Shared>,
    jobs: Jobs,
    metadata: Option<PackBuilder>,
    data: Option<PackBuilder>,
    /// Chunks put here that another writer, or this one before, has taken on and that were not durable then.
    shares: HashSet<ChunkId>,
    /// Who stores chunks for this writer while somebody has time.
    relay: Option<Arc<Relay>>,
}

/// So many shares are kept without asking which of them have become durable.
const MANY_SHARES: usize = 4096;

impl SessionWriter {
    pub(super) fn new(shared: &Arc<Shared>, jobs: Jobs) -> Self {
        shared.writers.fetch_add(1, Ordering::SeqCst);
        shared.inner.budget.writer_begins();
        Self { shared: Arc::clone(shared), jobs, metadata: None, data: None, shares: HashSet::new(), relay: None }
    }

    /// From now on others may store what is put here.
    pub fn hand_over_to(&mut self, relay: &Arc<Relay>) {
        self.relay = Some(Arc::clone(relay));
    }

    /// Stores what others find, until nobody finds any more (`true`) or this one is wanted elsewhere.
    ///
    /// # Errors
    /// [`RepoError`] from storage; the session has failed then.
    pub fn help(&mut self, relay: &Relay, is_wanted: &dyn Fn() -> bool) -> Result<bool, RepoError> {
        let _helping = relay.help();
        loop {
            match relay.next() {
                Next::Chunk(taken) => {
                    self.store_taken(taken.id, taken.kind, &taken.plain)?;
                    relay.give_back(taken.plain);
                }
                Next::Nothing => self.shared.check()?,
                Next::End => return Ok(true),
            }
            if is_wanted() {
                return Ok(false);
            }
        }
    }

    /// Stores a chunk that was taken on. Others count on it: if that fails, nothing may be committed.
    fn store_taken(&mut self, id: ChunkId, kind: ChunkKind, plain: &ChunkPlain) -> Result<u64, RepoError> {
        let stored_bytes = self.store(id, kind, plain).inspect_err(|error| self.shared.poison(error))?;
        self.shared.chunks_new.fetch_add(1, Ordering::Relaxed);
        Ok(stored_bytes)
    }

    /// Notes a chunk that may lie in somebody else's open pack.
    fn share(&mut self, id: ChunkId) {
        if self.shares.len() >= MANY_SHARES && self.shares.len() == self.shares.capacity() {
            self.shares.retain(|id| self.shared.pending.has(id));
        }
        self.shares.insert(id);
    }

    /// The chunks that what was put refers to and that somebody's open packs may hold: at most what waits to be indexed.
    pub fn take_shares(&mut self) -> Vec<ChunkId> {
        std::mem::take(&mut self.shares).into_iter().collect()
    }

    /// Stores the open packs, or leaves what is too short for one to the session. Must be called before the session commits.
    pub fn finish(mut self) -> Result<(), RepoError> {
        for builder in [self.data.take(), self.metadata.take()].into_iter().flatten() {
            self.leave(builder)?;
        }
        self.shared.check()
    }

    fn leave(&self, builder: PackBuilder) -> Result<(), RepoError> {
        let enough = self.shared.pack_bytes() / SHORT;
        if builder.len() >= enough || builder.is_empty() {
            return self.hand_over(builder);
        }
        let left = self.shared.left.leave(builder, enough, |builder| self.shared.store(&self.jobs, builder));
        left.inspect_err(|error| self.shared.poison(error))
    }

    /// Stores a chunk once more, wherever else it lies. The caller has compared it with its id. Gives what it takes.
    pub(in crate::repo) fn copy(&mut self, chunk: &PackEntry, data: &ChunkData) -> Result<u64, RepoError> {
        self.shared.check()?;
        self.store_with(chunk.kind, |builder, _| builder.add_copy(chunk, data))
            .inspect_err(|error| self.shared.poison(error))
    }

    /// Stores a chunk as another repository holds it, unless this one does or somebody has taken it on. Gives what it takes.
    pub(super) fn take_over(&mut self, chunk: &PackEntry, data: &ChunkData) -> Result<Option<u64>, RepoError> {
        self.shared.check()?;
        if self.shared.is_present(chunk.kind, &chunk.id)? || !self.shared.pending.claim(&chunk.id) {
            self.shared.chunks_reused.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        let stored = self.copy(chunk, data)?;
        self.shared.chunks_new.fetch_add(1, Ordering::Relaxed);
        Ok(Some(stored))
    }

    /// Stores a pack as another repository sealed it; nobody else may be about to store any of it.
    pub(super) fn take_over_pack(&mut self, pack: SealedPack) -> Result<(), RepoError> {
        self.shared.check()?;
        for entry in &pack.entries {
            self.shared.pending.claim(&entry.id);
        }
        self.shared.chunks_new.fetch_add(pack.entries.len() as u64, Ordering::Relaxed);
        self.shared.hand(&self.jobs, pack);
        self.shared.check()
    }

    fn store(&mut self, id: ChunkId, kind: ChunkKind, plain: &ChunkPlain) -> Result<u64, RepoError> {
        self.store_with(kind, |builder, options| builder.add(id, kind, plain, options.compression, options.check))
    }

    fn store_with(
        &mut self,
        kind: ChunkKind,
        add: impl FnOnce(&mut PackBuilder, &WriteOptions) -> Result<PackEntry, RepoError>,
    ) -> Result<u64, RepoError> {
        let pack_kind = kind.pack_kind();
        let slot = match pack_kind {
            PackKind::Metadata => &mut self.metadata,
            PackKind::Data => &mut self.data,
        };
        let mut builder = if let Some(builder) = slot.take() {
            builder
        } else {
            let buffer = self.shared.spare.take(pack_kind);
            PackBuilder::within(buffer, &self.shared.inner.keyring, pack_kind, self.shared.lease.id())?
        };
        let entry = add(&mut builder, &self.shared.options)?;
        if builder.len() >= self.shared.pack_bytes() {
            self.hand_over(builder)?;
        } else {
            *slot = Some(builder);
        }
        Ok(u64::from(entry.stored_len))
    }

    fn hand_over(&self, builder: PackBuilder) -> Result<(), RepoError> {
        if builder.is_empty() {
            return Ok(());
        }
        self.shared.store(&self.jobs, builder)?;
        self.shared.check()
    }
}

impl Shared {
    /// Closes a pack and hands it over.
    pub(super) fn store(&self, jobs: &Jobs, builder: PackBuilder) -> Result<(), RepoError> {
        self.hand(jobs, builder.finish().inspect_err(|error| self.poison(error))?);
        Ok(())
    }

    fn hand(&self, jobs: &Jobs, pack: SealedPack) {
        if !jobs.store(pack) {
            self.poison(&"a pack was finished after the run had ended");
        }
    }
}

impl ChunkWriter for SessionWriter {
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError> {
        self.shared.check()?;
        let id = plain.id(&self.shared.inner.keyring.secrets.chunk_id, kind);
        let is_present = self.shared.is_present(kind, &id)?;
        if is_present || !self.shared.pending.claim(&id) {
            if !is_present {
                self.share(id);
            }
            self.shared.chunks_reused.fetch_add(1, Ordering::Relaxed);
            return Ok(Put { id, new: false, stored_bytes: 0 });
        }
        if self.relay.as_ref().is_some_and(|relay| relay.offer(id, kind, plain)) {
            self.share(id);
            return Ok(Put { id, new: true, stored_bytes: 0 });
        }
        Ok(Put { id, new: true, stored_bytes: self.store_taken(id, kind, plain)? })
    }
}

impl Drop for SessionWriter {
    fn drop(&mut self) {
        let open = [&self.data, &self.metadata];
        if open.into_iter().flatten().any(|builder| !builder.is_empty()) {
            self.shared.poison(&"a chunk writer ended with chunks that it had not stored");
        }
        self.shared.inner.budget.writer_ends();
        self.shared.writers.fetch_sub(1, Ordering::SeqCst);
    }
}
