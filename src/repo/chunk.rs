//! Chunks: the unit of deduplication. A chunk's plaintext is a sequence of *runs*; each run is compressed or stored raw
//! on its own, and the chunk's id is taken over the canonical plaintext, before compression.

use super::{ChunkId, ChunkKind, RepoError};
use crate::record::bytes::put_u64;
use std::ops::Range;

/// The most bytes of plaintext one chunk may have.
pub const MAX_CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// The most runs one chunk may have.
pub const MAX_RUNS: usize = 512;

/// A chunk's plaintext under construction: bytes, and where each run ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkPlain {
    /// All runs, one after the other.
    pub bytes: Vec<u8>,
    /// Where each run ends in `bytes`.
    pub ends: Vec<usize>,
}

impl ChunkPlain {
    /// A chunk of one run.
    #[must_use]
    pub fn single(bytes: Vec<u8>) -> Self {
        let ends = vec![bytes.len()];
        Self { bytes, ends }
    }

    /// Ends the current run at the end of `bytes`.
    pub fn end_run(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Forgets the runs, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The byte range of each run.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end)
    }

    /// The chunk's name: keyed BLAKE3 over the kind, the number of runs, each run's length, and the bytes.
    #[must_use]
    pub fn id(&self, chunk_id_key: &[u8; 32], kind: ChunkKind) -> ChunkId {
        let mut head = vec![kind as u8];
        put_u64(&mut head, self.ends.len() as u64);
        for run in self.runs() {
            put_u64(&mut head, run.len() as u64);
        }
        let mut hasher = blake3::Hasher::new_keyed(chunk_id_key);
        hasher.update(&head);
        hasher.update(&self.bytes);
        ChunkId(*hasher.finalize().as_bytes())
    }
}

/// A chunk read from a pack: decrypted, its runs decompressed as they are asked for.
#[derive(Debug, Clone)]
pub struct ChunkData {
    pub(super) body: Vec<u8>,
    pub(super) runs: Vec<StoredRun>,
}

/// Where a run lies in a decrypted frame and how it was stored.
#[derive(Debug, Clone)]
pub(super) struct StoredRun {
    pub(super) compressed: bool,
    pub(super) stored: Range<usize>,
    pub(super) plain_len: usize,
}

/// What a chunk writer did with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The chunk's name.
    pub id: ChunkId,
    /// `false` if the repository held it already.
    pub new: bool,
    /// What it takes in a pack, if it is new; 0 otherwise.
    pub stored_bytes: u64,
}

/// Reads chunks; may be shared by threads.
pub trait ChunkReader: Send + Sync {
    /// Reads and authenticates one chunk.
    ///
    /// # Errors
    /// [`RepoError`] naming the chunk and the pack.
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError>;

    /// The bytes that reading this chunk takes from storage; `None` if the repository does not hold it.
    ///
    /// # Errors
    /// [`RepoError`] from the catalog.
    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError>;
}

/// Writes chunks; each thread has its own.
pub trait ChunkWriter {
    /// Stores a chunk unless the repository holds it.
    ///
    /// # Errors
    /// [`RepoError`] from storage; or that this writer was fenced.
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError>;
}
