//! What this host notes in its catalog, and loses with it.

use super::Repository;
use crate::{
    record::Timestamp,
    repo::{ChunkId, RepoError, SnapshotId},
};

impl Repository {
    /// When this catalog first saw a lease's newest object; remembers now if that is news.
    pub fn lease_first_seen(&self, lease: &SnapshotId, newest: u64) -> Result<Timestamp, RepoError> {
        self.inner.catalog.lease_first_seen(lease, newest, self.inner.clock.now())
    }

    /// The catalog's numbers of a layer's chunks, ascending, if they were kept.
    pub fn layer_chunks(&self, layer: &ChunkId) -> Result<Option<Vec<u64>>, RepoError> {
        self.inner.catalog.layer_chunks(layer)
    }

    /// Keeps the numbers of a layer's chunks; `false` if one of them is in no index object.
    pub fn set_layer_chunks(&self, layer: &ChunkId, chunks: &[ChunkId]) -> Result<bool, RepoError> {
        self.inner.catalog.set_layer_chunks(layer, chunks)
    }

    /// The filter of a layer's keys, if this host noted one.
    pub fn layer_filter(&self, layer: &ChunkId) -> Result<Option<Vec<u8>>, RepoError> {
        self.inner.catalog.layer_filter(layer)
    }

    /// Notes filters of layers' keys, which were made of the layers themselves.
    pub fn note_layer_filters(&self, filters: &[(ChunkId, Vec<u8>)]) -> Result<(), RepoError> {
        if filters.is_empty() { Ok(()) } else { self.inner.catalog.set_layer_filters(filters) }
    }

    /// A small value kept in the catalog, such as verify's cursor. Lost with the catalog.
    pub fn note(&self, name: &str) -> Result<Option<String>, RepoError> {
        self.inner.catalog.note(name)
    }

    /// Keeps a small value in the catalog.
    pub fn set_note(&self, name: &str, value: &str) -> Result<(), RepoError> {
        self.inner.catalog.set_note(name, value)
    }

    /// The names and values of all small values whose names begin so.
    pub fn notes(&self, prefix: &str) -> Result<Vec<(String, String)>, RepoError> {
        self.inner.catalog.notes(prefix)
    }

    /// Forgets a small value.
    pub fn forget_note(&self, name: &str) -> Result<(), RepoError> {
        self.inner.catalog.forget_note(name)
    }
}
