//! What a dry run would store.

use crate::repo::{ChunkId, ChunkKind, ChunkPlain, ChunkWriter, Put, RepoError, Repository};
use std::{collections::HashSet, sync::Mutex};

/// Chunks met, each counted as stored once.
#[derive(Default)]
pub(super) struct DryCounts {
    seen: HashSet<ChunkId>,
    pub(super) bytes: u64,
    pub(super) new: u64,
    pub(super) reused: u64,
}

/// Counts what would be stored.
pub(super) struct DryWriter<'a> {
    pub(super) repo: &'a Repository,
    pub(super) counts: &'a Mutex<DryCounts>,
}

impl ChunkWriter for DryWriter<'_> {
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError> {
        let id = plain.id(&self.repo.secrets().chunk_id, kind);
        let stored = self.repo.holds(&id)?;
        let Ok(mut dry) = self.counts.lock() else { return Err(RepoError::Interrupted) };
        let new = !stored && dry.seen.insert(id);
        if new {
            dry.new += 1;
            dry.bytes += plain.bytes.len() as u64;
        } else {
            dry.reused += 1;
        }
        Ok(Put { id, new, stored_bytes: if new { plain.bytes.len() as u64 } else { 0 } })
    }
}
