//! Packs: storage objects that hold many sealed chunks under a key of their own.

use super::{
    ChunkData, ChunkId, ChunkKind, ChunkPlain, ObjectName, RepoError, SnapshotId, ids::PackKind, keys::Keyring,
};
use std::sync::Arc;

/// What packs aim at, in stored bytes.
pub const TARGET_PACK_BYTES: usize = 16 * 1024 * 1024;

/// The length of a pack's plaintext header, which holds the wrapped pack key.
pub const HEADER_BYTES: usize = 160;

/// A pack's header as stored: enough, with the keyring, to open its frames.
pub type PackHeader = [u8; HEADER_BYTES];

/// Where one chunk lies in a pack. Its ordinal is its position in the pack's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// The chunk.
    pub id: ChunkId,
    /// What it is.
    pub kind: ChunkKind,
    /// Where its frame begins in the pack.
    pub offset: u64,
    /// The frame's length, everything included.
    pub stored_len: u32,
    /// The plaintext's length.
    pub plain_len: u32,
}

/// A finished pack, ready to be created as `packs/xx/<name>`.
#[derive(Debug, Clone)]
pub struct SealedPack {
    /// The BLAKE3 hash of `bytes`.
    pub name: ObjectName,
    /// What is stored.
    pub bytes: Vec<u8>,
    /// Metadata or data.
    pub kind: PackKind,
    /// The lease that wrote it.
    pub lease: SnapshotId,
    /// The header, as it stands at the start of `bytes`.
    pub header: PackHeader,
    /// What it holds, by ordinal.
    pub entries: Vec<PackEntry>,
}

/// Builds one pack in memory.
pub struct PackBuilder {
    _inner: (),
}

impl PackBuilder {
    /// An empty pack with a fresh random key.
    pub fn new(keyring: Arc<Keyring>, kind: PackKind, lease: SnapshotId) -> Result<Self, RepoError> {
        let _ = (keyring, kind, lease);
        todo!()
    }

    /// Compresses (each run by trial, at `level`; 0: never), checks if asked, seals and appends a chunk. Gives its entry.
    pub fn add(
        &mut self,
        id: ChunkId,
        kind: ChunkKind,
        plain: &ChunkPlain,
        level: i32,
        check: bool,
    ) -> Result<PackEntry, RepoError> {
        let _ = (id, kind, plain, level, check);
        todo!()
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether no chunk was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// Seals the directory, pads, names.
    pub fn finish(self) -> Result<SealedPack, RepoError> {
        todo!()
    }
}

/// `packs/xx/<name>`.
#[must_use]
pub fn path(name: &ObjectName) -> String {
    let _ = name;
    todo!()
}

/// An unwrapped pack key: opens the frames of one pack.
#[derive(Clone)]
pub struct PackKey {
    _inner: (),
}

impl PackKey {
    /// Unwraps the key in a pack's header.
    pub fn unwrap(keyring: &Keyring, name: &ObjectName, header: &PackHeader) -> Result<Self, RepoError> {
        let _ = (keyring, name, header);
        todo!()
    }

    /// Opens a frame: checks magic, length and seal. Runs are decompressed later, as they are read.
    pub fn open_frame(&self, ordinal: u64, entry: &PackEntry, frame: &[u8]) -> Result<ChunkData, RepoError> {
        let _ = (ordinal, entry, frame);
        todo!()
    }
}

/// Reads a whole pack's header and directory from its bytes, checking its name: for rebuilding an index and for verify.
pub fn read_directory(
    keyring: &Keyring,
    name: &ObjectName,
    bytes: &[u8],
) -> Result<(PackHeader, PackKind, SnapshotId, Vec<PackEntry>), RepoError> {
    let _ = (keyring, name, bytes);
    todo!()
}
