//! Reading a stack of layers: a merge by key in which the newest row wins, and all versions of one key.

use super::{Layer, LayerError};
use crate::{
    record::{Expiry, Fingerprint, KeyRange, Meta, Shape, Timestamp},
    repo::{ChunkReader, manifest::LayerRef},
};
use std::{io::Read, sync::Arc};

/// An opened stack of layers, base first.
pub struct Stack {
    _layers: Vec<Layer>,
}

impl Stack {
    /// Opens the layers of a stack.
    pub fn open(chunks: &Arc<dyn ChunkReader>, layers: &[LayerRef]) -> Result<Self, LayerError> {
        let _ = (chunks, layers);
        todo!()
    }

    /// The layers, base first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self._layers
    }

    /// The base's key ranges; every key in one range for an empty stack.
    #[must_use]
    pub fn ranges(&self) -> Vec<KeyRange> {
        todo!()
    }

    /// The smallest first key of a block, in any layer, that is greater than `key`.
    pub fn next_boundary(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LayerError> {
        let _ = key;
        todo!()
    }

    /// Walks the records of `range` that are live at `at`, in key order. With `keys_only` no values are read and
    /// [`StackCursor::value`] must not be called.
    pub fn cursor(&self, range: &KeyRange, at: Timestamp, keys_only: bool) -> Result<StackCursor<'_>, LayerError> {
        let _ = (range, at, keys_only);
        todo!()
    }
}

/// A record's value as a layer gives it.
pub enum VersionValue<'a> {
    /// In memory: the canonical bytes.
    Inline(&'a [u8]),
    /// Cut into pieces: its length and a reader over its canonical bytes, which checks each piece.
    Pieces {
        /// Length of the canonical bytes.
        bytes: u64,
        /// The bytes.
        reader: Box<dyn Read + Send>,
    },
}

/// One record with everything about it.
pub struct FullRow<'a> {
    /// The record's key.
    pub key: &'a [u8],
    /// The rest of its key row.
    pub meta: Meta<'a>,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its shape.
    pub shape: Arc<Shape>,
    /// Its value.
    pub value: VersionValue<'a>,
}

/// Walks the live records of a stack. Use as: `while cursor.advance()? { cursor.key() … }`.
pub struct StackCursor<'a> {
    _stack: &'a Stack,
}

impl StackCursor<'_> {
    /// Moves to the next live record; `false` at the end.
    pub fn advance(&mut self) -> Result<bool, LayerError> {
        todo!()
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        todo!()
    }

    /// The rest of its key row (the newest one).
    #[must_use]
    pub fn meta(&self) -> Meta<'_> {
        todo!()
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        todo!()
    }

    /// The length of its value's canonical bytes.
    #[must_use]
    pub fn value_bytes(&self) -> u64 {
        todo!()
    }

    /// The record with its value.
    pub fn row(&mut self) -> Result<FullRow<'_>, LayerError> {
        todo!()
    }

    /// Its shape and value, from the layer that holds it in place.
    pub fn value(&mut self) -> Result<(Arc<Shape>, VersionValue<'_>), LayerError> {
        todo!()
    }
}

/// What one layer says of one key.
#[derive(Debug, Clone)]
pub enum Version {
    /// The layer has no row for the key.
    Absent,
    /// The record was deleted.
    Tombstone,
    /// The record as of this layer.
    Live {
        /// Its set.
        set: Vec<u8>,
        /// Its generation.
        generation: u32,
        /// When it expires.
        expiry: Expiry,
        /// Its stamp.
        stamp: u64,
        /// Its user key.
        user_key: Option<Vec<u8>>,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// Length of its value's canonical bytes.
        value_bytes: u64,
        /// Whether the value of the next older version stands.
        inherited: bool,
    },
}

/// What single layers say of single keys, reading only the blocks that can hold them.
pub struct Versions {
    _chunks: Arc<dyn ChunkReader>,
}

impl Versions {
    /// A reader of versions that keeps a few list chunks at hand between calls.
    #[must_use]
    pub fn new(chunks: &Arc<dyn ChunkReader>) -> Self {
        Self { _chunks: Arc::clone(chunks) }
    }

    /// What `layer` says of `key`.
    pub fn version(&self, layer: &LayerRef, key: &[u8]) -> Result<Version, LayerError> {
        let _ = (layer, key);
        todo!()
    }

    /// The value of `key` as the newest layer of `stack` that holds it in place has it (base first); whole, so of at most
    /// `limit` bytes: `None` for a longer one or an absent record.
    pub fn value(
        &self,
        stack: &[LayerRef],
        key: &[u8],
        limit: u64,
    ) -> Result<Option<(Arc<Shape>, Vec<u8>)>, LayerError> {
        let _ = (stack, key, limit);
        todo!()
    }
}
