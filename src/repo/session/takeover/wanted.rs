//! Which chunks of another repository lack here, and in which of its packs they are looked for.

use super::super::Shared;
use crate::repo::{
    ChunkId, RepoError,
    bits::ChunkSet,
    catalog::{ChunkPlace, PackNumber},
    inner::Inner,
};
use std::{collections::BTreeSet, sync::Arc};

/// Chunks that are looked up together.
const BATCH_CHUNKS: usize = 512;

/// What is to be taken over: a bit for each chunk, by its number there.
pub(super) struct Wanted<'a> {
    shared: &'a Shared,
    from: &'a Arc<Inner>,
    batch: Vec<ChunkId>,
    chunks: ChunkSet,
    given: ChunkSet,
    pub packs: BTreeSet<PackNumber>,
}

impl<'a> Wanted<'a> {
    pub fn of(shared: &'a Shared, from: &'a Arc<Inner>) -> Self {
        Self {
            shared,
            from,
            batch: Vec::new(),
            chunks: ChunkSet::default(),
            given: ChunkSet::default(),
            packs: BTreeSet::new(),
        }
    }

    /// Takes the next chunk that the target is to hold.
    pub fn take(&mut self, id: ChunkId) -> Result<(), RepoError> {
        self.batch.push(id);
        if self.batch.len() < BATCH_CHUNKS { Ok(()) } else { self.settle() }
    }

    /// Looks up what was taken. To be called once more after the last chunk.
    pub fn settle(&mut self) -> Result<(), RepoError> {
        let mut lacking = self.shared.lacking(&std::mem::take(&mut self.batch))?;
        self.find(&mut lacking)?;
        let mut unread = Vec::new();
        if !lacking.is_empty() {
            // A prune beside us may have moved it.
            self.from.refresh_index_listed(&mut Vec::new(), &mut unread)?;
            self.find(&mut lacking)?;
        }
        lacking.first().map_or(Ok(()), |id| Err(RepoError::in_no_pack(id, unread)))
    }

    /// Finds these chunks there; those that are in no index stay.
    fn find(&mut self, lacking: &mut Vec<ChunkId>) -> Result<(), RepoError> {
        let bad = &self.from.bad_packs;
        let mut unknown = Vec::new();
        self.from.catalog.find_packs(lacking, &mut |found| {
            let known = found.packs.iter().find(|(number, _)| self.packs.contains(number));
            let whole = || found.packs.iter().find(|(_, name)| !bad.has(name));
            match known.or_else(whole).or(found.packs.first()).zip(found.number) {
                Some(((pack, _), chunk)) => {
                    self.chunks.insert(chunk);
                    self.packs.insert(*pack);
                }
                None => unknown.push(*found.id),
            }
        })?;
        *lacking = unknown;
        Ok(())
    }

    /// Of what a pack holds, what is wanted and was not given before, and whether that is all of it.
    pub fn of_pack(&mut self, places: Vec<(u64, ChunkPlace)>) -> (Vec<ChunkPlace>, bool) {
        let all = places.len();
        let mut mine = Vec::with_capacity(all);
        for (chunk, place) in places {
            if self.chunks.has(chunk) && self.given.insert(chunk) {
                mine.push(place);
            }
        }
        let is_all = mine.len() == all;
        (mine, is_all)
    }
}
