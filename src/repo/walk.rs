//! What the repository asks of the room above it, which can read layers.

use super::{ChunkId, ChunkReader, RepoError, Secrets, manifest::LayerRef};
use std::sync::Arc;

/// Finds the chunks of a layer, which the repository room itself cannot read.
pub trait LayerWalk: Send + Sync {
    /// Visits every chunk that the layer needs, itself included.
    fn chunks(
        &self,
        reader: &Arc<dyn ChunkReader>,
        layer: &LayerRef,
        visit: &mut dyn FnMut(ChunkId) -> Result<(), RepoError>,
    ) -> Result<(), RepoError>;

    /// Whether it can walk the inner lists that checkpoints name. If not, nothing is kept for backups that broke off.
    fn walks_lists(&self) -> bool {
        false
    }

    /// Visits every chunk under an inner list that a checkpoint names, itself included.
    fn list_chunks(
        &self,
        _reader: &Arc<dyn ChunkReader>,
        _list: &ChunkId,
        _visit: &mut dyn FnMut(ChunkId) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        Ok(())
    }

    /// A filter of the layer's keys, as the room of layers makes it; `None` for a layer that needs none.
    fn key_filter(
        &self,
        _reader: &Arc<dyn ChunkReader>,
        _layer: &LayerRef,
        _secrets: &Secrets,
    ) -> Result<Option<Vec<u8>>, RepoError> {
        Ok(None)
    }
}
