//! How a session works, and what it did.

use crate::repo::{lease::HEARTBEAT, pack::TARGET_PACK_BYTES};
use std::time::Duration;

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

/// The protocol's intervals and sizes; only tests have reason to change them.
#[derive(Debug, Clone)]
pub struct SessionTiming {
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// How long a stored pack may wait for its index object.
    pub index_after: Duration,
    /// How many may.
    pub index_packs: usize,
    /// The length at which a pack is finished.
    pub pack_bytes: usize,
    /// Packs are stored by the thread that finished them, and nothing happens beside it: what a simulation needs.
    pub alone: bool,
}

impl Default for SessionTiming {
    fn default() -> Self {
        Self {
            heartbeat: HEARTBEAT,
            index_after: HEARTBEAT,
            index_packs: 64,
            pack_bytes: TARGET_PACK_BYTES,
            alone: false,
        }
    }
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
