//! Reading one layer.

use super::LayerError;
use crate::{
    record::KeyRange,
    repo::{ChunkId, ChunkReader, manifest::LayerRef},
};
use std::sync::Arc;

/// An opened layer: its root list.
pub struct Layer {
    _inner: Arc<()>,
}

impl Layer {
    /// Reads the root list of a layer and checks it against the reference.
    pub fn open(chunks: &Arc<dyn ChunkReader>, layer: &LayerRef) -> Result<Self, LayerError> {
        let _ = (chunks, layer);
        todo!()
    }

    /// The key ranges at whose starts cuts restarted: gap-free, ascending, covering every key.
    #[must_use]
    pub fn ranges(&self) -> Vec<KeyRange> {
        todo!()
    }

    /// Every chunk that the layer references, the root included; reads lists, and the keys of blocks that hold lists of
    /// pieces, but no values.
    pub fn for_each_chunk(&self, visit: &mut dyn FnMut(ChunkId) -> Result<(), LayerError>) -> Result<(), LayerError> {
        let _ = visit;
        todo!()
    }
}
