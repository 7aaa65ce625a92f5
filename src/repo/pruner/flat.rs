//! Layers without rows, for tests of this room and simulations over it: a layer is a List chunk that holds the ids of its
//! chunks, one after the other. Builds for use do not have this.

use super::LayerWalk;
use crate::repo::{ChunkId, ChunkKind, ChunkReader, RepoError, manifest::LayerRef};
use std::sync::Arc;

/// Walks such layers.
#[derive(Debug, Clone, Copy)]
pub struct Flat;

impl LayerWalk for Flat {
    fn chunks(
        &self,
        reader: &Arc<dyn ChunkReader>,
        layer: &LayerRef,
        visit: &mut dyn FnMut(ChunkId) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        visit(layer.id)?;
        let list = reader.read(ChunkKind::List, &layer.id)?.plain()?;
        let (ids, rest) = list.bytes.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(RepoError::damaged(format!("layer {}", layer.id), "it is no list of ids"));
        }
        ids.iter().try_for_each(|id| visit(ChunkId(*id)))
    }
}
