//! Batches of records: how they travel between connectors and layers without an allocation a record.

use super::{Expiry, Meta, Shape, Tag, bytes::put_u64};
use std::{io, sync::Arc};

/// A value that is read only if it has to be: the rest of a record's canonical bytes after what the batch holds inline.
pub trait StreamedValue: Send {
    /// Opens the bytes that follow the row's inline part: the last cell's body, to the value's end.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] says that the record is gone: it counts as not delivered. With any other error it is
    /// counted as unreadable and named, never stored in part; [`io::ErrorKind::UnexpectedEof`] says that it became shorter
    /// than it was found to be.
    fn open(&mut self) -> io::Result<Box<dyn io::Read + Send + '_>>;

    /// Called after the last byte was read. `false` says that the source saw the value change meanwhile: it is stored as
    /// read, and the run counts it as torn.
    ///
    /// # Errors
    /// Whatever the source says.
    fn is_untorn(&mut self) -> io::Result<bool> {
        Ok(true)
    }
}

/// What a connector says of one record when it adds it to a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowHead<'a> {
    /// The sort key.
    pub key: &'a [u8],
    /// The rest of the key row.
    pub meta: Meta<'a>,
}

#[derive(Debug)]
struct Row {
    /// Where the key begins; set, user key and value follow it.
    key: usize,
    set: usize,
    user_key: usize,
    value: usize,
    end: usize,
    expiry: Expiry,
    stamp: u64,
    generation: u32,
    shape: u32,
    stream: Option<u32>,
    has_user_key: bool,
    held: bool,
}

/// Records in ascending key order, their bytes in one buffer that is used again for the next batch.
#[derive(Default)]
pub struct RecordBatch {
    shapes: Vec<Arc<Shape>>,
    bytes: Vec<u8>,
    rows: Vec<Row>,
    streams: Vec<Option<Box<dyn StreamedValue>>>,
}

impl std::fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, bytes) = (self.rows.len(), self.bytes.len());
        f.debug_struct("RecordBatch").field("rows", &rows).field("bytes", &bytes).finish_non_exhaustive()
    }
}

/// One record of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchRow<'a> {
    /// The sort key.
    pub key: &'a [u8],
    /// The rest of the key row.
    pub meta: Meta<'a>,
    /// The names of the value's cells.
    pub shape: &'a Arc<Shape>,
    /// The value's canonical bytes; for a streamed value what precedes the stream.
    pub value: &'a [u8],
    /// The number to give [`RecordBatch::take_stream`], for a streamed value.
    pub stream: Option<usize>,
    /// Whether the value is the one that the parent snapshot holds: it was not read.
    pub held: bool,
}

/// Writes the cells of one value in the order of its shape.
#[derive(Debug)]
pub struct CellWriter<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl<'a> CellWriter<'a> {
    /// A writer of a value with `cells` cells.
    #[must_use]
    pub const fn new(out: &'a mut Vec<u8>, cells: usize) -> Self {
        Self { out, left: cells }
    }

    /// Writes the next cell. Exactly as many calls as the shape has names must be made.
    #[inline]
    pub fn cell(&mut self, tag: Tag, bytes: &[u8]) {
        debug_assert!(self.left > 0, "more cells than names");
        self.left -= 1;
        self.out.push(tag.0);
        if self.left > 0 {
            put_u64(self.out, bytes.len() as u64);
        }
        self.out.extend_from_slice(bytes);
    }

    /// Writes an integer cell.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.cell(Tag::INTEGER, &value.to_be_bytes());
    }

    /// Writes a float cell.
    #[inline]
    pub fn float(&mut self, value: f64) {
        self.cell(Tag::FLOAT, &value.to_bits().to_be_bytes());
    }
}

impl RecordBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the rows, keeps the memory and the shapes.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
        self.streams.clear();
        if self.shapes.len() > 1024 {
            self.shapes.clear();
        }
    }

    /// Forgets all rows from this one on.
    pub fn truncate(&mut self, len: usize) {
        if let Some(row) = self.rows.get(len) {
            self.bytes.truncate(row.key);
            self.rows.truncate(len);
        }
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bytes held: what a connector looks at to end a batch (about 1 MiB).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Row>()
    }

    fn intern(&mut self, shape: &Arc<Shape>) -> u32 {
        let known = self.shapes.iter().rposition(|known| Arc::ptr_eq(known, shape) || known == shape);
        let index = known.unwrap_or_else(|| {
            self.shapes.push(Arc::clone(shape));
            self.shapes.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Adds a record whose cells `write` gives in the order of `shape`.
    pub fn push(&mut self, head: RowHead<'_>, shape: &Arc<Shape>, write: impl FnOnce(&mut CellWriter<'_>)) {
        let row = self.begin(head, shape);
        let mut cells = CellWriter::new(&mut self.bytes, shape.len());
        write(&mut cells);
        debug_assert_eq!(cells.left, 0, "fewer cells than names");
        self.end(row, None);
    }

    /// Adds a record whose canonical value bytes are known.
    pub fn push_encoded(&mut self, head: RowHead<'_>, shape: &Arc<Shape>, value: &[u8]) {
        let row = self.begin(head, shape);
        self.bytes.extend_from_slice(value);
        self.end(row, None);
    }

    /// Adds a record whose last cell is a stream with this tag; `write` gives the cells before it.
    pub fn push_streamed(
        &mut self,
        head: RowHead<'_>,
        shape: &Arc<Shape>,
        last: Tag,
        stream: Box<dyn StreamedValue>,
        write: impl FnOnce(&mut CellWriter<'_>),
    ) {
        let row = self.begin(head, shape);
        let mut cells = CellWriter::new(&mut self.bytes, shape.len());
        write(&mut cells);
        debug_assert_eq!(cells.left, 1, "all cells but the last are given inline");
        self.bytes.push(last.0);
        self.streams.push(Some(stream));
        let number = u32::try_from(self.streams.len() - 1).unwrap_or(u32::MAX);
        self.end(row, Some(number));
    }

    /// Adds a record of which only the key row was read, because it is the one that the parent snapshot holds.
    pub fn push_held(&mut self, head: RowHead<'_>, nothing: &Arc<Shape>) {
        let mut row = self.begin(head, nothing);
        row.held = true;
        self.end(row, None);
    }

    /// Adds a copy of another batch's row, which must have no stream.
    pub fn push_row(&mut self, row: &BatchRow<'_>) {
        debug_assert!(row.stream.is_none(), "a stream cannot be copied");
        self.push_encoded(RowHead { key: row.key, meta: row.meta }, row.shape, row.value);
    }

    fn begin(&mut self, head: RowHead<'_>, shape: &Arc<Shape>) -> Row {
        let shape = self.intern(shape);
        let RowHead { key, meta } = head;
        let user_key = meta.user_key.unwrap_or_default();
        let start = self.bytes.len();
        self.bytes.reserve(key.len() + meta.set.len() + user_key.len());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(meta.set);
        self.bytes.extend_from_slice(user_key);
        let end = self.bytes.len();
        Row {
            key: start,
            set: start + key.len(),
            user_key: start + key.len() + meta.set.len(),
            value: end,
            end,
            expiry: meta.expiry,
            stamp: meta.stamp,
            generation: meta.generation,
            shape,
            stream: None,
            has_user_key: meta.user_key.is_some(),
            held: false,
        }
    }

    fn end(&mut self, mut row: Row, stream: Option<u32>) {
        row.end = self.bytes.len();
        row.stream = stream;
        self.rows.push(row);
    }

    /// The record at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    #[must_use]
    #[inline]
    pub fn row(&self, index: usize) -> BatchRow<'_> {
        let row = &self.rows[index];
        BatchRow {
            key: &self.bytes[row.key..row.set],
            meta: Meta {
                set: &self.bytes[row.set..row.user_key],
                generation: row.generation,
                expiry: row.expiry,
                stamp: row.stamp,
                user_key: row.has_user_key.then(|| &self.bytes[row.user_key..row.value]),
            },
            shape: &self.shapes[row.shape as usize],
            value: &self.bytes[row.value..row.end],
            stream: row.stream.map(|number| number as usize),
            held: row.held,
        }
    }

    /// All records in order.
    pub fn rows(&self) -> impl Iterator<Item = BatchRow<'_>> {
        (0..self.len()).map(|index| self.row(index))
    }

    /// Takes the stream that a row names. `None` if it was taken before.
    pub fn take_stream(&mut self, number: usize) -> Option<Box<dyn StreamedValue>> {
        self.streams.get_mut(number).and_then(Option::take)
    }
}
