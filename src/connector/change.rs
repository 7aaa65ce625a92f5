//! Sources that can be read in part: what changed since a time, and a sweep over keys that shows what is gone.

use super::ConnectorError;
use crate::record::{KeyRange, Meta, RecordBatch, RecordStream, RowHead, Shape, StreamError, Timestamp};
use std::sync::Arc;

/// What reads only part of the state. Given by [`super::SourceSession::changes`].
pub trait ChangeSource: Send + Sync {
    /// The records of `range` last changed at or after `since` (the source's clock), whole, in key order.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn read_changed(
        &self,
        collection: usize,
        range: &KeyRange,
        since: Timestamp,
    ) -> Result<Box<dyn RecordStream + '_>, ConnectorError>;
    /// Key and [`Meta`] of every live record of `range`, in key order, without values; with `before` only of those last
    /// changed before it, which [`Self::read_changed`] since then does not give.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn sweep(
        &self,
        collection: usize,
        range: &KeyRange,
        before: Option<Timestamp>,
    ) -> Result<Box<dyn MetaStream + '_>, ConnectorError>;
    /// Adds the records of these keys, which come sorted, as they are now; says of each key what became of it.
    ///
    /// # Errors
    /// [`ConnectorError`] if asking cannot go on.
    fn read_keys(
        &self,
        collection: usize,
        keys: &[&[u8]],
        batch: &mut RecordBatch,
    ) -> Result<Vec<Presence>, ConnectorError>;
    /// What to go back behind a parent's start, in milliseconds: the most that the source's clocks differ, and a margin.
    fn margin_millis(&self) -> i64;
    /// When a set was last emptied at once; `None` for one that never was.
    fn emptied(&self, collection: usize, set: &[u8]) -> Option<Timestamp>;
}

/// What became of a record that was asked for by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is there, and was added.
    Read,
    /// It is not there.
    Absent,
    /// Nobody can say, for this reason.
    Unknown(String),
}

/// Keys and key rows of one range in ascending, distinct key order.
pub trait MetaStream {
    /// Replaces the batch's rows with the next ones, a few thousand; `false` when there are no more. As with
    /// [`RecordStream::next_batch`], an empty batch and `true` means: not yet.
    ///
    /// # Errors
    /// What the source says. The range is then incomplete.
    fn next_batch(&mut self, batch: &mut MetaBatch) -> Result<bool, StreamError>;
    /// As [`RecordStream::unread`].
    fn unread(&mut self) -> Option<KeyRange> {
        None
    }
}

/// Key rows without values: a type of its own, so that none of them can be stored as a record without cells.
#[derive(Debug)]
pub struct MetaBatch {
    rows: RecordBatch,
    nothing: Arc<Shape>,
}

impl Default for MetaBatch {
    fn default() -> Self {
        Self { rows: RecordBatch::new(), nothing: Arc::new(Shape::new(Vec::new())) }
    }
}

impl MetaBatch {
    /// Forgets the rows.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// Adds a row.
    pub fn push(&mut self, key: &[u8], meta: Meta<'_>) {
        self.rows.push_encoded(RowHead { key, meta }, &self.nothing, &[]);
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row at `index`: its key and the rest of its key row.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    #[must_use]
    pub fn row(&self, index: usize) -> (&[u8], Meta<'_>) {
        let row = self.rows.row(index);
        (row.key, row.meta)
    }
}
