//! Chunks that are not stored yet.

use crate::repo::{ChunkId, inner::lock};
use std::{collections::HashSet, sync::Mutex};

const SHARDS: usize = 16;

/// Chunks that this session has taken on and that no imported index object names yet. Who inserts an id stores it.
#[derive(Default)]
pub(super) struct Pending {
    shards: [Mutex<HashSet<ChunkId>>; SHARDS],
}

impl Pending {
    fn shard(&self, id: &ChunkId) -> &Mutex<HashSet<ChunkId>> {
        &self.shards[usize::from(id.0[0]) % SHARDS]
    }

    /// Whether the caller is the first and now has to store it.
    pub(super) fn claim(&self, id: &ChunkId) -> bool {
        lock(self.shard(id)).insert(*id)
    }

    pub(super) fn has(&self, id: &ChunkId) -> bool {
        lock(self.shard(id)).contains(id)
    }

    pub(super) fn remove(&self, ids: &[ChunkId]) {
        for id in ids {
            lock(self.shard(id)).remove(id);
        }
    }
}
