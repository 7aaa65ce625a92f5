//! The files of a dataset as records, in the order of their keys.

use super::{
    inventory::{Inventory, Item, Role, Sentences},
    kept::Kept,
    place::{LakePlace, Proof, Seen, join},
};
use crate::{
    connector::file_record::cells::{Attributes, FileTime, Kind, Shapes},
    record::{KeyRange, Meta, RecordBatch, RecordStream, RowHead, StreamError, StreamedValue, Tag},
};
use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

const MAX_BATCH_ROWS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Files of this size that are written over in place are read at once.
const MAX_META_BYTES: usize = 1 << 20;

/// A dataset that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) place: LakePlace,
    /// Its path below the place.
    pub(super) path: String,
    pub(super) collection: String,
    /// What says that it is one.
    pub(super) marker: Option<&'static str>,
    pub(super) inventory: Inventory,
    pub(super) proof: Proof,
    /// What is known of files that the place does not keep.
    pub(super) kept: Option<Arc<Kept>>,
    /// What is missing beside what the inventory tells.
    pub(super) missing: Mutex<Sentences>,
    pub(super) vanished: AtomicU64,
}

impl Reading {
    fn missing(&self, key: &str, what: &str) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).add(format!("{key}: {what}"));
    }

    /// Whether the dataset is where it was.
    pub(super) fn is_there(&self) -> bool {
        let Some(marker) = self.marker else { return true };
        let names = self.place.list(&self.path, &mut |_| {});
        names.is_ok_and(|names| names.is_some_and(|names| names.iter().any(|one| one.name == marker)))
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The part of the items that lies in a range.
    fn part(&self, range: &KeyRange) -> (usize, usize) {
        let items = &self.inventory.items;
        let start = items.partition_point(|item| item.key.as_bytes() < range.start.as_slice());
        let end = range
            .end
            .as_ref()
            .map_or(items.len(), |end| items.partition_point(|item| item.key.as_bytes() < end.as_slice()));
        (start, end.max(start))
    }
}

/// Reads the files of a key range.
pub(super) struct DatasetStream {
    reading: Arc<Reading>,
    next: usize,
    end: usize,
    /// Ranges of keys that are not there, in order, each told before the record behind it.
    absent: VecDeque<KeyRange>,
    /// Those of them that may be told by now.
    unread: VecDeque<KeyRange>,
    shapes: Shapes,
}

impl DatasetStream {
    pub(super) fn new(reading: Arc<Reading>, range: &KeyRange) -> Self {
        let (next, end) = reading.part(range);
        let absent = reading.inventory.absent.iter();
        let absent = absent.filter_map(|one| one.intersection(range)).collect();
        Self { reading, next, end, absent, unread: VecDeque::new(), shapes: Shapes::default() }
    }

    fn add(&mut self, batch: &mut RecordBatch, item: &Item) {
        let key = item.key.as_bytes();
        if let Some(content) = &item.content {
            let head = RowHead { key, meta: Meta { set: item.role.name(), ..Meta::default() } };
            let attributes = Attributes { size: Some(content.len() as u64), ..Attributes::default() };
            push_inline(batch, &mut self.shapes, head, &attributes, content);
            return;
        }
        let (seen, content) = match self.look(item) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !item.role.stays() && self.reading.is_there() => {
                self.reading.vanished.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.unreadable(item, "it is not there");
            }
            Err(error) => return self.unreadable(item, &error.to_string()),
        };
        if let Some(bytes) = item.bytes.filter(|bytes| *bytes != seen.bytes) {
            return self.unreadable(item, &format!("it has {} bytes, where the log says {bytes}", seen.bytes));
        }
        let found = (seen.mode, seen.modified.map(|(seconds, nanos)| FileTime { seconds, nanos }));
        let kept = self.reading.kept.as_ref().and_then(|kept| kept.get(&*item.key));
        let (mode, mtime) = kept.map_or(found, |kept| (kept.mode, kept.mtime));
        let attributes = Attributes { kind: Kind::File, mode, mtime, size: Some(seen.bytes), ..Attributes::default() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
        let meta = Meta { set: item.role.name(), stamp: seen.stamp(self.reading.proof, now), ..Meta::default() };
        let head = RowHead { key, meta };
        if let Some(content) = content {
            return push_inline(batch, &mut self.shapes, head, &attributes, &content);
        }
        let cells = attributes.cells();
        let shape = self.shapes.of(&cells, true);
        let content =
            Content { reading: Arc::clone(&self.reading), key: item.key.clone(), stays: item.role.stays(), seen };
        batch.push_streamed(head, &shape, Tag::BLOB, Box::new(content), |writer| {
            for (_, tag, bytes) in &cells {
                writer.cell(*tag, bytes);
            }
        });
    }

    /// What a file is, and its content where that must be read at once: what is short and written over in place would often
    /// change before a stream of it is read.
    fn look(&self, item: &Item) -> io::Result<(Seen, Option<Vec<u8>>)> {
        let (place, path) = (&self.reading.place, self.reading.path_of(&item.key));
        let seen = item.seen.as_deref().cloned().map_or_else(|| place.stat(&path), Ok)?;
        if seen.bytes == 0 {
            return Ok((seen, Some(Vec::new())));
        }
        if item.role != Role::Meta || seen.bytes > MAX_META_BYTES as u64 {
            return Ok((seen, None));
        }
        match place.read_settled(&path, MAX_META_BYTES) {
            Ok((bytes, seen)) => Ok((seen, Some(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // It is read once more, as a stream, which says what is wrong.
            Err(_) => Ok((seen, None)),
        }
    }

    fn unreadable(&mut self, item: &Item, what: &str) {
        self.reading.missing(&item.key, what);
        self.unread.push_back(KeyRange::only(item.key.as_bytes()));
    }
}

fn push_inline(
    batch: &mut RecordBatch,
    shapes: &mut Shapes,
    head: RowHead<'_>,
    attributes: &Attributes,
    content: &[u8],
) {
    let cells = attributes.cells();
    let shape = shapes.of(&cells, true);
    batch.push(head, &shape, |writer| {
        for (_, tag, bytes) in &cells {
            writer.cell(*tag, bytes);
        }
        writer.cell(Tag::BLOB, content);
    });
}

impl RecordStream for DatasetStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        let reading = Arc::clone(&self.reading);
        while self.next < self.end && batch.len() < MAX_BATCH_ROWS && batch.bytes() < BATCH_BYTES {
            let item = &reading.inventory.items[self.next];
            while self.absent.front().is_some_and(|range| range.start.as_slice() <= item.key.as_bytes()) {
                self.unread.extend(self.absent.pop_front());
            }
            self.add(batch, item);
            self.next += 1;
        }
        if self.next == self.end {
            self.unread.append(&mut self.absent);
        }
        Ok(self.next < self.end || !batch.is_empty())
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.unread.pop_front()
    }
}

struct Content {
    reading: Arc<Reading>,
    key: Box<str>,
    stays: bool,
    seen: Seen,
}

impl StreamedValue for Content {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        let opened = self.reading.place.open(&self.reading.path_of(&self.key), &self.seen);
        opened.map_err(|error| match error.kind() {
            // What is committed does not go: that it does is no reason to leave it out in silence.
            io::ErrorKind::NotFound if self.stays => io::Error::other("it went before it could be read"),
            io::ErrorKind::NotFound => {
                self.reading.vanished.fetch_add(1, Ordering::Relaxed);
                error
            }
            _ => error,
        })
    }

    fn is_untorn(&mut self) -> io::Result<bool> {
        match self.reading.place.stat(&self.reading.path_of(&self.key)) {
            Ok(seen) => Ok(seen.is(&self.seen)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // It was read: only that it is the same cannot be told.
                Err(io::Error::other("it was deleted while it was read"))
            }
            Err(error) => Err(error),
        }
    }
}
