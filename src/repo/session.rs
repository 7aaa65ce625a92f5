//! Writing and reading under a lease: sessions, their chunk writers, and the commit.

use super::{ChunkId, ChunkWriter, Manifest, RepoError, SnapshotId};
use std::sync::Arc;

/// How a writer works.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// What the lease says: `backup`, `squash` …
    pub purpose: String,
    /// zstd level; 0 stores everything raw.
    pub compression: i32,
    /// Whether every compressed chunk is decompressed and compared before it is sealed.
    pub check: bool,
    /// Bytes per second to storage; `None` for no limit.
    pub write_limit: Option<u64>,
}

/// What a session wrote so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Chunks that were not in the repository, and what they take in packs.
    pub chunks_new: u64,
    /// Chunks that were.
    pub chunks_reused: u64,
    /// Bytes of packs and index objects created.
    pub bytes_added: u64,
}

/// A running writer: a lease with its heartbeats, and the chunks it relies on. Dropping it without a commit abandons
/// it: full packs stay, with their index, so that the next run finds them.
pub struct WriteSession {
    _inner: Arc<()>,
}

impl WriteSession {
    /// The name of the snapshot that this session may commit.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        todo!()
    }

    /// A chunk writer for one thread. Its open packs are finished by `finish`.
    #[must_use]
    pub fn writer(&self) -> SessionWriter {
        todo!()
    }

    /// Declares that the snapshot will reference these chunks (the parent's stack). Gives those that are absent: a parent
    /// with an absent chunk is no parent.
    pub fn rely_on(&self, chunks: &mut dyn Iterator<Item = ChunkId>) -> Result<Vec<ChunkId>, RepoError> {
        let _ = chunks;
        todo!()
    }

    /// What was written so far, by all writers of this session.
    #[must_use]
    pub fn stats(&self) -> WriteStats {
        todo!()
    }

    /// Commits: all packs must be finished. Writes the index, then creates the snapshot's revision 0 conditionally, then
    /// ends the lease. `manifest.id` must be this session's id.
    ///
    /// # Errors
    /// [`RepoError::Fenced`] if the name is taken; nothing is committed then.
    pub fn commit(self, manifest: &Manifest) -> Result<(), RepoError> {
        let _ = manifest;
        todo!()
    }

    /// Ends without a commit: finished packs get their index, the lease ends.
    pub fn abandon(self) -> Result<(), RepoError> {
        todo!()
    }
}

/// One thread's chunk writer: an open metadata pack and an open data pack.
pub struct SessionWriter {
    _inner: (),
}

impl SessionWriter {
    /// Stores the open packs. Must be called before the session commits.
    pub fn finish(self) -> Result<(), RepoError> {
        todo!()
    }
}

impl ChunkWriter for SessionWriter {
    fn put(&mut self, kind: super::ChunkKind, plain: &super::ChunkPlain) -> Result<super::Put, RepoError> {
        let _ = (kind, plain);
        todo!()
    }
}

/// A reader's lease; ends when dropped.
pub struct ReadLease {
    _inner: (),
}
