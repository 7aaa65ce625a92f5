//! Chunks in memory: what the rooms above are tested against.

use super::{ChunkData, ChunkPlain, ChunkReader, ChunkWriter, Put};
use crate::repo::{ChunkId, ChunkKind, RepoError};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A chunk store in memory. Clones share the chunks.
#[derive(Clone, Default)]
pub struct MemoryChunks {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    chunk_id_key: [u8; 32],
    chunks: Mutex<HashMap<(ChunkKind, ChunkId), ChunkData>>,
    puts: AtomicU64,
    reads: AtomicU64,
}

impl MemoryChunks {
    /// An empty store that names chunks under `chunk_id_key`.
    #[must_use]
    pub fn new(chunk_id_key: [u8; 32]) -> Self {
        Self { inner: Arc::new(Inner { chunk_id_key, ..Inner::default() }) }
    }

    /// A writer; each thread has its own.
    #[must_use]
    pub fn writer(&self) -> Self {
        self.clone()
    }

    /// How many times a chunk was put, new or not.
    #[must_use]
    pub fn puts(&self) -> u64 {
        self.inner.puts.load(Ordering::Relaxed)
    }

    /// How many times a chunk was read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.inner.reads.load(Ordering::Relaxed)
    }

    /// How many different chunks it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|chunks| chunks.len())
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The plaintext bytes of all chunks.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.with(|chunks| chunks.values().map(|chunk| chunk.plain_len() as u64).sum())
    }

    /// The names of all chunks of one kind, sorted.
    #[must_use]
    pub fn ids(&self, kind: ChunkKind) -> Vec<ChunkId> {
        let mut ids: Vec<_> =
            self.with(|chunks| chunks.keys().filter(|(found, _)| *found == kind).map(|(_, id)| *id).collect());
        ids.sort();
        ids
    }

    /// Drops a chunk, as damage would. Gives whether it was there.
    #[must_use]
    pub fn remove(&self, kind: ChunkKind, id: &ChunkId) -> bool {
        self.with(|chunks| chunks.remove(&(kind, *id)).is_some())
    }

    /// Puts other content under a name, as damage would.
    pub fn replace(&self, kind: ChunkKind, id: ChunkId, plain: ChunkPlain) {
        self.with(|chunks| chunks.insert((kind, id), ChunkData::from_plain(plain)));
    }

    fn with<R>(&self, work: impl FnOnce(&mut HashMap<(ChunkKind, ChunkId), ChunkData>) -> R) -> R {
        work(&mut self.inner.chunks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ChunkReader for MemoryChunks {
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError> {
        self.inner.reads.fetch_add(1, Ordering::Relaxed);
        self.with(|chunks| chunks.get(&(kind, *id)).cloned()).ok_or(RepoError::ChunkMissing { id: *id })
    }

    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError> {
        Ok(self.with(|chunks| {
            chunks.iter().find(|((_, found), _)| found == id).map(|(_, chunk)| chunk.plain_len() as u64)
        }))
    }
}

impl ChunkWriter for MemoryChunks {
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError> {
        plain.check()?;
        self.inner.puts.fetch_add(1, Ordering::Relaxed);
        let id = plain.id(&self.inner.chunk_id_key, kind);
        let new = self.with(|chunks| {
            let new = !chunks.contains_key(&(kind, id));
            if new {
                chunks.insert((kind, id), ChunkData::from_plain(plain.clone()));
            }
            new
        });
        Ok(Put { id, new, stored_bytes: if new { plain.bytes.len() as u64 } else { 0 } })
    }
}

impl ChunkWriter for &MemoryChunks {
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError> {
        self.writer().put(kind, plain)
    }
}
