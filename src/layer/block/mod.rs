//! Blocks: consecutive rows of a layer, stored by column as a keys chunk and a values chunk (`format-spec/layers.md`).

pub(super) mod columns;
mod keys;
mod keys_reader;
#[cfg(test)]
mod tests;
mod values;
mod values_reader;
#[cfg(test)]
mod vectors;

pub(super) use keys::{KeysBuilder, encoded_len};
pub(super) use keys_reader::KeysBlock;
pub(super) use values::ValuesBuilder;
pub(super) use values_reader::ValuesBlock;

use super::LayerError;
use crate::record::{
    Fingerprint, Meta, Shape,
    bytes::{DecodeError, len_u64},
};
use std::sync::Arc;

/// The longest value, in canonical bytes, that a block holds in place.
pub const MAX_INLINE_BYTES: usize = 128 * 1024;

/// The most bytes that a record's set and user key may have together.
pub const MAX_HEAD_BYTES: usize = 1024 * 1024;

/// The most bytes that the encoding of one shape may have; at this sum of distinct shapes a block ends.
pub const MAX_SHAPE_BYTES: usize = 1024 * 1024;

/// The most rows a reader accepts in one block; the cut rule gives fewer than 58 256.
pub const MAX_ROWS: usize = 65_536;

/// The most bytes of keys a reader accepts in one block; the cut rule gives at most 1 MiB + 64 KiB.
const MAX_KEYS_BYTES: usize = 2 * 1024 * 1024;

/// The most columns of a values chunk.
const MAX_COLUMNS: usize = 64;

/// The format version of keys and values chunks.
const VERSION: u8 = 1;

/// What a row says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RowKind {
    InPlace = 0,
    Inherited = 1,
    Pieces = 2,
    Tombstone = 3,
}

impl RowKind {
    const fn from_u64(number: u64) -> Result<Self, DecodeError> {
        Ok(match number {
            0 => Self::InPlace,
            1 => Self::Inherited,
            2 => Self::Pieces,
            3 => Self::Tombstone,
            number => return Err(DecodeError::Unknown("row kind", number)),
        })
    }
}

/// A row's value as the builder takes it and as a cursor gives it.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowValue<'a> {
    /// Canonical bytes.
    InPlace(&'a Arc<Shape>, &'a [u8]),
    /// The value of the next older row.
    Inherited,
    /// An encoded piece list.
    Pieces(&'a Arc<Shape>, &'a [u8]),
    /// No record.
    Tombstone,
}

/// A row for the builder.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRow<'a> {
    pub(super) key: &'a [u8],
    pub(super) meta: Meta<'a>,
    pub(super) fingerprint: Fingerprint,
    pub(super) value_bytes: u64,
    pub(super) value: RowValue<'a>,
}

impl<'a> NewRow<'a> {
    /// The row that says that `key` was deleted.
    pub(super) fn tombstone(key: &'a [u8]) -> Self {
        let (meta, fingerprint) = (Meta::default(), Fingerprint::default());
        Self { key, meta, fingerprint, value_bytes: 0, value: RowValue::Tombstone }
    }

    /// What the cut rule counts.
    fn cut_len(&self) -> u64 {
        let value = match self.value {
            RowValue::InPlace(_, bytes) | RowValue::Pieces(_, bytes) => bytes.len(),
            RowValue::Inherited | RowValue::Tombstone => 0,
        };
        key_row_len(self.key, &self.meta) + value as u64
    }

    /// What the layer's plaintext bytes count.
    fn plain_len(&self) -> u64 {
        let value = match self.value {
            RowValue::InPlace(..) | RowValue::Pieces(..) => self.value_bytes,
            RowValue::Inherited | RowValue::Tombstone => 0,
        };
        key_row_len(self.key, &self.meta).saturating_add(value)
    }
}

/// The length of a canonical key row.
pub(super) fn key_row_len(key: &[u8], meta: &Meta<'_>) -> u64 {
    let slice = |bytes: &[u8]| len_u64(bytes.len() as u64) + bytes.len();
    let numbers = len_u64(u64::from(meta.generation)) + len_u64(meta.expiry.as_millis()) + len_u64(meta.stamp) + 1 + 12;
    (slice(key) + slice(meta.set) + numbers + meta.user_key.map_or(0, slice)) as u64
}

/// What a block adds to the list entry that names it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BlockTotals {
    pub(super) rows: u64,
    pub(super) live_rows: u64,
    pub(super) bytes: u64,
    pub(super) values: u64,
    pub(super) pieces: bool,
}

/// Collects the rows of one block by column. Its buffers serve all blocks of a range.
#[derive(Default)]
pub(super) struct BlockBuilder {
    pub(super) keys: KeysBuilder,
    pub(super) values: ValuesBuilder,
    totals: BlockTotals,
}

impl BlockBuilder {
    pub(super) const fn totals(&self) -> BlockTotals {
        self.totals
    }

    /// Adds a row and gives the bytes that the cut rule counts for it.
    pub(super) fn push(&mut self, row: &NewRow<'_>) -> Result<u64, LayerError> {
        self.keys.push(row);
        self.totals.rows += 1;
        self.totals.bytes = self.totals.bytes.saturating_add(row.plain_len());
        match row.value {
            RowValue::InPlace(shape, value) => {
                self.values.push(shape, value).map_err(|reason| LayerError::Inconsistent {
                    object: format!("the value of key {}", super::error::hex_of(row.key)),
                    reason: reason.to_string(),
                })?;
                self.totals.values += 1;
            }
            RowValue::Pieces(..) => self.totals.pieces = true,
            RowValue::Inherited | RowValue::Tombstone => {}
        }
        self.totals.live_rows += u64::from(!matches!(row.value, RowValue::Tombstone));
        Ok(row.cut_len())
    }

    /// Whether the distinct shapes alone end the block.
    pub(super) const fn shapes_are_full(&self) -> bool {
        self.values.shape_bytes() >= MAX_SHAPE_BYTES || self.keys.shape_bytes() >= MAX_SHAPE_BYTES
    }

    /// Forgets the rows, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.totals = BlockTotals::default();
    }
}
