//! The chunks of a layer, for the room below, which cannot read layers.

use crate::{
    layer::{Layer, LayerError},
    repo::{ChunkId, ChunkReader, RepoError, manifest::LayerRef, pruner::LayerWalk},
};
use std::sync::Arc;

/// Reads layers.
pub(super) struct Layers;

impl LayerWalk for Layers {
    fn chunks(
        &self,
        reader: &Arc<dyn ChunkReader>,
        layer: &LayerRef,
        visit: &mut dyn FnMut(ChunkId) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let walked = Layer::open(reader, layer).and_then(|opened| opened.for_each_chunk(&mut |id| Ok(visit(id)?)));
        walked.map_err(|error| match error {
            LayerError::Repo(error) => error,
            other => RepoError::damaged(format!("layer {}", layer.id), other),
        })
    }
}
