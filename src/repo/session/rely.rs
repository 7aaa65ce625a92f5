//! Layers that a session relies on chunk by chunk, and what the catalog notes of them on the way.

use super::Shared;
use crate::repo::{ChunkId, ChunkReader, LayerWalk, RepoError, catalog::PackNumber, inner::lock, manifest::LayerRef};
use std::{collections::BTreeSet, sync::Arc};

/// How many chunks are looked up in one go.
pub(super) const RELY_BATCH: usize = 512;

/// A layer that is relied on chunk by chunk.
pub(super) struct Relying<'a> {
    shared: &'a Shared,
    batch: Vec<ChunkId>,
    /// What was chosen.
    packs: BTreeSet<PackNumber>,
    numbers: Vec<u64>,
    /// Whether that is all of it.
    is_known: bool,
    /// The first chunk that is not there.
    pub absent: Option<ChunkId>,
}

impl<'a> Relying<'a> {
    pub fn on(shared: &'a Shared) -> Self {
        Self { shared, batch: Vec::new(), packs: BTreeSet::new(), numbers: Vec::new(), is_known: true, absent: None }
    }

    /// Takes the next chunk; an error once one is absent, so that the walk ends.
    pub fn take(&mut self, id: ChunkId) -> Result<(), RepoError> {
        self.batch.push(id);
        if self.batch.len() >= RELY_BATCH {
            self.settle()?;
        }
        if self.absent.is_some() { Err(RepoError::Interrupted) } else { Ok(()) }
    }

    /// Looks up what was taken. To be called once more after the last chunk.
    pub fn settle(&mut self) -> Result<(), RepoError> {
        let batch = std::mem::take(&mut self.batch);
        self.shared.inner.catalog.find_packs(&batch, &mut |found| {
            if self.absent.is_some() {
                return;
            }
            match lock(&self.shared.presence).choose(found.packs).zip(found.number) {
                Some((pack, number)) => {
                    self.packs.insert(pack);
                    self.numbers.push(number);
                }
                // It will be in one of our own, which has no number yet.
                None if self.shared.pending.has(found.id) => self.is_known = false,
                None => self.absent = Some(*found.id),
            }
        })
    }

    /// Notes what the layer has, if all of it is known. The walk must have come to its end, and be settled.
    pub fn note(&mut self, layer: &ChunkId) -> Result<(), RepoError> {
        if self.absent.is_some() || !self.is_known || !self.batch.is_empty() {
            return Ok(());
        }
        let catalog = &self.shared.inner.catalog;
        catalog.set_layer_packs(layer, std::mem::take(&mut self.packs))?;
        catalog.set_layer_numbers(&mut [(*layer, std::mem::take(&mut self.numbers))])
    }
}

impl Shared {
    /// Notes of layers that the catalog does not know yet what they have.
    pub fn note_layers<'l>(
        &self,
        layers: impl Iterator<Item = &'l LayerRef>,
        walk: &dyn LayerWalk,
    ) -> Result<(), RepoError> {
        let reader = Arc::clone(&self.inner) as Arc<dyn ChunkReader>;
        for layer in layers {
            if self.inner.catalog.knows_layer(&layer.id)? {
                continue;
            }
            let mut relying = Relying::on(self);
            walk.chunks(&reader, layer, &mut |id| relying.take(id))?;
            relying.settle()?;
            relying.note(&layer.id)?;
            if let Some(filter) = walk.key_filter(&reader, layer, &self.inner.keyring.secrets)? {
                self.inner.catalog.set_layer_filter(&layer.id, &filter)?;
            }
        }
        Ok(())
    }
}
