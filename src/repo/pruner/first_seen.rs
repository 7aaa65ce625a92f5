//! Layers that a catalog sees for the first time: their chunks are looked up many at a time, whichever layer they are of.

use crate::repo::bits::ChunkSet;
use crate::repo::{ChunkId, RepoError, catalog::Catalog};

/// How many chunks are looked up together: 56 MB with all that is worked out about them.
const BATCH_CHUNKS: usize = 1 << 20;

/// Chunks of layers on their way to their numbers.
pub(super) struct FirstSeen<'a> {
    catalog: &'a Catalog,
    ids: Vec<ChunkId>,
    /// Layers that have come to their end, each with how many of `ids` lie before it.
    ended: Vec<(ChunkId, usize)>,
    /// Numbers of the layer that has not, from batches before.
    begun: Vec<u64>,
}

impl<'a> FirstSeen<'a> {
    pub const fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, ids: Vec::new(), ended: Vec::new(), begun: Vec::new() }
    }

    /// Takes the next chunk of the layer that is walked.
    pub fn take(&mut self, id: ChunkId, into: &mut ChunkSet) -> Result<(), RepoError> {
        self.ids.push(id);
        if self.ids.len() >= BATCH_CHUNKS { self.settle(into) } else { Ok(()) }
    }

    /// The layer that is walked has come to its end.
    pub fn ends(&mut self, layer: ChunkId) {
        self.ended.push((layer, self.ids.len()));
    }

    /// The layer that is walked will not.
    pub fn give_up_last(&mut self) {
        self.ids.truncate(self.ended.last().map_or(0, |(_, end)| *end));
        self.begun.clear();
    }

    /// Looks up what was taken, notes the layers that have ended, and adds all of it.
    pub fn settle(&mut self, into: &mut ChunkSet) -> Result<(), RepoError> {
        let ids = std::mem::take(&mut self.ids);
        let mut numbers = Vec::with_capacity(ids.len());
        for (id, number) in ids.iter().zip(self.catalog.numbers_of(&ids)?) {
            numbers.push(number.ok_or(RepoError::ChunkMissing { id: *id })?);
        }
        drop(ids);
        for number in &numbers {
            into.insert(*number);
        }
        let mut layers = Vec::with_capacity(self.ended.len());
        let mut start = 0;
        for (layer, end) in self.ended.drain(..) {
            let mut own = std::mem::take(&mut self.begun);
            own.extend_from_slice(&numbers[start..end]);
            layers.push((layer, own));
            start = end;
        }
        self.begun.extend_from_slice(&numbers[start..]);
        self.catalog.set_layer_numbers(&mut layers)
    }
}
