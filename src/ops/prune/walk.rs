//! The chunks of a layer, for the room below, which cannot read layers.

use crate::{
    layer::{BuiltRange, KeyHash, Layer, LayerError},
    record::KeyRange,
    repo::{ChunkId, ChunkReader, LayerWalk, RepoError, Secrets, manifest::LayerRef},
};
use std::sync::Arc;

/// Reads layers.
#[derive(Debug, Clone, Copy)]
pub struct Layers;

impl LayerWalk for Layers {
    fn chunks(
        &self,
        reader: &Arc<dyn ChunkReader>,
        layer: &LayerRef,
        visit: &mut dyn FnMut(ChunkId) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let walked = Layer::open(reader, layer).and_then(|opened| opened.for_each_chunk(&mut |id| Ok(visit(id)?)));
        walked.map_err(|error| in_room_below(error, || format!("layer {}", layer.id)))
    }

    fn walks_lists(&self) -> bool {
        true
    }

    fn list_chunks(
        &self,
        reader: &Arc<dyn ChunkReader>,
        list: &ChunkId,
        visit: &mut dyn FnMut(ChunkId) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        visit(*list)?;
        let walked = BuiltRange::read(reader, list, &KeyRange::all())
            .and_then(|built| built.for_each_chunk(reader, &mut |id| Ok(visit(id)?)));
        walked.map_err(|error| in_room_below(error, || format!("list {list}")))
    }

    fn key_filter(
        &self,
        reader: &Arc<dyn ChunkReader>,
        layer: &LayerRef,
        secrets: &Secrets,
    ) -> Result<Option<Vec<u8>>, RepoError> {
        let made = Layer::open(reader, layer).and_then(|opened| opened.key_filter(&KeyHash::new(secrets)));
        made.map_err(|error| in_room_below(error, || format!("layer {}", layer.id)))
    }
}

fn in_room_below(error: LayerError, object: impl FnOnce() -> String) -> RepoError {
    match error {
        LayerError::Repo(error) => error,
        other => RepoError::damaged(object(), other),
    }
}
