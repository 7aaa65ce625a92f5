//! What was built in one range, put away in an inner list and read back: how a checkpoint keeps it.

use super::{
    LayerError,
    error::hex_of,
    level::Wants,
    list::List,
    reader::{for_each_chunk_of, for_each_entry_of},
    writer::{BuiltRange, put_list},
};
use crate::{
    record::KeyRange,
    repo::{ChunkId, ChunkPlain, ChunkReader, ChunkWriter},
};
use std::sync::Arc;

impl BuiltRange {
    /// Stores the entries as one inner list; `None` if there are none.
    ///
    /// # Errors
    /// [`LayerError`] from the writer, or if they do not fit into one chunk.
    pub fn put(&self, writer: &mut dyn ChunkWriter) -> Result<Option<ChunkId>, LayerError> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(put_list(&self.entries, &mut ChunkPlain::default(), writer)?.id))
    }

    /// Reads what [`Self::put`] stored, and checks that its first keys lie in the range.
    ///
    /// # Errors
    /// [`LayerError`] if the list cannot be read, is no inner list, or is of another range.
    pub fn read(chunks: &Arc<dyn ChunkReader>, list: &ChunkId, range: &KeyRange) -> Result<Self, LayerError> {
        let read = List::read(chunks, list)?;
        if read.root.is_some() {
            return Err(LayerError::inconsistent(format!("list {list}"), "it is the root of a layer"));
        }
        if let Some(entry) = read.entries.iter().find(|entry| !range.contains(&entry.key)) {
            let reason = format!("key {} is outside of its range", hex_of(&entry.key));
            return Err(LayerError::inconsistent(format!("list {list}"), reason));
        }
        Ok(Self { entries: read.entries })
    }

    /// Rows that are no tombstones.
    #[must_use]
    pub fn live_rows(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| entry.live_rows.saturating_add(sum))
    }

    /// Every chunk that the entries reference, each before it is read; reads lists, and the keys of blocks that hold lists
    /// of pieces, but no values.
    ///
    /// # Errors
    /// [`LayerError`] from reading, or what `visit` says.
    pub fn for_each_chunk(
        &self,
        chunks: &Arc<dyn ChunkReader>,
        visit: &mut dyn FnMut(ChunkId) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let list = Arc::new(List { root: None, entries: self.entries.clone() });
        for_each_entry_of(chunks, list, Some(Wants::Structure), &mut |entry, level| {
            for_each_chunk_of(chunks, entry, level, visit)
        })
    }
}
