//! Reading a stack of layers: a merge by key in which the newest row wins.

use super::{
    Layer, LayerError,
    block::{RowKind, RowValue},
    error::{hex_of, unreadable},
    groups::Groups,
    lent::{Lent, Side},
    level::Wants,
    piece::PieceReader,
    version_key::Seen,
};
use crate::{
    record::{Fingerprint, Fingerprinter, KeyRange, Meta, Shape, Timestamp, VersionTime},
    repo::{ChunkReader, manifest::LayerRef},
};
use std::{io::Read, sync::Arc};

/// An opened stack of layers, base first. May be shared by threads, each with its own cursors.
#[derive(Default)]
pub struct Stack {
    layers: Vec<Layer>,
    lent: Lent,
}

impl Stack {
    /// Opens the layers of a stack.
    pub fn open(chunks: &Arc<dyn ChunkReader>, layers: &[LayerRef]) -> Result<Self, LayerError> {
        Ok(Self { layers: Layer::open_each(chunks, layers)?, lent: Lent::default() })
    }

    /// The layers, base first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The base's key ranges; every key in one range for a stack without one.
    #[must_use]
    pub fn ranges(&self) -> Vec<KeyRange> {
        self.layers.iter().find(|layer| !layer.is_journal()).map_or_else(|| vec![KeyRange::all()], Layer::ranges)
    }

    /// The smallest first key of a block, in any layer, that is greater than `key`; lists that cannot be read are passed
    /// over.
    #[must_use]
    pub fn next_boundary(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.layers.iter().filter_map(|layer| layer.next_boundary(key)).min()
    }

    /// Walks the records of `range` that are live at `at`, in key order. With `keys_only` no values are read and
    /// [`StackCursor::value`] must not be called.
    pub fn cursor(&self, range: &KeyRange, at: Timestamp, keys_only: bool) -> Result<StackCursor<'_>, LayerError> {
        Ok(StackCursor { groups: self.groups(range, at, keys_only), stack: self, at, keys_only })
    }

    /// As [`Self::cursor`] over keys, whose blocks a join that follows over the same keys need not decode again.
    pub fn cursor_before(&self, range: &KeyRange, at: Timestamp) -> StackCursor<'_> {
        let groups = self.groups(range, at, true).sharing(&self.lent, Side::Before);
        StackCursor { groups, stack: self, at, keys_only: true }
    }

    /// As [`Self::cursor`], for who follows a cursor over the same keys, if there is one.
    pub(super) fn cursor_behind(&self, range: &KeyRange, at: Timestamp, keys_only: bool) -> StackCursor<'_> {
        let groups = self.groups(range, at, keys_only).sharing(&self.lent, Side::Behind);
        StackCursor { groups, stack: self, at, keys_only }
    }

    fn groups(&self, range: &KeyRange, at: Timestamp, keys_only: bool) -> Groups<'_> {
        let wants = if keys_only { Wants::Keys } else { Wants::Rows };
        // Before 1970 no version was made: that of the first millisecond stands for all.
        let seen = Seen::At(VersionTime::last_at(at).unwrap_or_default());
        Groups::new(&self.layers, range, wants, seen)
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
    stack: &'a Stack,
    groups: Groups<'a>,
    at: Timestamp,
    keys_only: bool,
}

impl StackCursor<'_> {
    /// Moves to the next live record; `false` at the end.
    pub fn advance(&mut self) -> Result<bool, LayerError> {
        while self.groups.advance()? {
            let (block, row) = self.groups.head();
            let head = block.row(row);
            if head.kind != RowKind::Tombstone && !head.expiry.is_over_at(self.at) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.groups.key()
    }

    /// The rest of its key row (the newest one).
    #[must_use]
    pub fn meta(&self) -> Meta<'_> {
        let (block, row) = self.groups.head();
        block.meta(row)
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let (block, row) = self.groups.head();
        block.row(row).fingerprint
    }

    /// The length of its value's canonical bytes.
    #[must_use]
    pub fn value_bytes(&self) -> u64 {
        let (block, row) = self.groups.head();
        block.row(row).value_bytes
    }

    /// The record with its value.
    pub fn row(&mut self) -> Result<FullRow<'_>, LayerError> {
        debug_assert!(!self.keys_only, "a cursor over keys gives no values");
        let (_, bytes) = self.held()?;
        let (block, row) = self.groups.head();
        let (shape, value) = match self.groups.loaded() {
            Some(RowValue::InPlace(shape, value)) => (shape, VersionValue::Inline(value)),
            Some(RowValue::Pieces(shape, list)) => {
                let chunks = self.stack.layers.first().map(Layer::chunks);
                let chunks = chunks.ok_or_else(|| LayerError::inconsistent("a stack", "it has no layers"))?;
                (shape, VersionValue::Pieces { bytes, reader: Box::new(PieceReader::open(chunks, list, bytes)?) })
            }
            Some(RowValue::Inherited | RowValue::Tombstone) | None => {
                return Err(LayerError::inconsistent("a stack", "a row has no value"));
            }
        };
        Ok(FullRow {
            key: self.groups.key(),
            meta: block.meta(row),
            fingerprint: block.row(row).fingerprint,
            shape: Arc::clone(shape),
            value,
        })
    }

    /// Its shape and value, from the layer that holds it in place.
    pub fn value(&mut self) -> Result<(Arc<Shape>, VersionValue<'_>), LayerError> {
        let row = self.row()?;
        Ok((row.shape, row.value))
    }

    /// Its value as the layer holds it: never inherited, never a tombstone.
    pub(super) fn held(&mut self) -> Result<(RowValue<'_>, u64), LayerError> {
        if self.groups.kind() == RowKind::Inherited {
            let object = format!("the inherited value of key {}", hex_of(self.groups.key()));
            // Asked twice because the borrow of a found value would outlive the error's.
            if matches!(self.groups.value()?.0, RowValue::Inherited) {
                return Err(LayerError::inconsistent(object, "no layer of the stack holds it"));
            }
        }
        self.groups.value()
    }

    /// Reads the whole value, computes its fingerprint and compares it with the row's.
    pub fn check_value(&mut self, fingerprinter: &Fingerprinter) -> Result<bool, LayerError> {
        let FullRow { key, meta, fingerprint, shape, value } = self.row()?;
        let mut stream = fingerprinter.start(&shape, meta.user_key);
        match value {
            VersionValue::Inline(bytes) => stream.append(bytes),
            VersionValue::Pieces { mut reader, .. } => {
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    let read = reader.read(&mut buffer).map_err(|error| unreadable(&hex_of(key), error))?;
                    if read == 0 {
                        break;
                    }
                    stream.append(&buffer[..read]);
                }
            }
        }
        Ok(stream.finish() == fingerprint)
    }
}
