//! Sorting records that come in any order, in bounded memory: runs that are sorted in memory and written to a temporary
//! file, and a merge that reads them again.

use super::{
    shapes::Shapes,
    spool::{Spool, SpoolReader},
};
use crate::record::{
    Expiry, KeyRange, Meta, RecordBatch, RecordStream, RowHead, Shape, StreamError,
    bytes::{DecodeError, Reader, put_slice, put_u64},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, binary_heap::PeekMut},
    io::{self, BufReader, Read, Write},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of records sorted in memory at once.
const RUN_BYTES: usize = 32 << 20;
/// As many runs are merged into one: each takes a buffer when they are read.
const MAX_RUNS: usize = 64;
/// A run's index names a record about this often.
const INDEX_STEP: u64 = 256 << 10;
const BATCH_BYTES: usize = 1 << 20;
/// So much is taken into memory before it is known whether it is there.
const MOST_AT_ONCE: u64 = 1 << 20;

/// One record, encoded, with what it is sorted by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Vec<u8>,
    line: u64,
    body: Vec<u8>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.key.len() + self.body.len() + size_of::<Self>()
    }

    fn write(&self, out: &mut impl Write) -> io::Result<u64> {
        let mut head = Vec::with_capacity(self.key.len() + 32);
        put_slice(&mut head, &self.key);
        put_u64(&mut head, self.line);
        put_u64(&mut head, self.body.len() as u64);
        out.write_all(&head)?;
        out.write_all(&self.body)?;
        Ok((head.len() + self.body.len()) as u64)
    }
}

/// Everything of a record but its key.
pub(in crate::connector) fn encode_body(meta: &Meta<'_>, shape: &Shape, value: &[u8]) -> Vec<u8> {
    let mut names = Vec::new();
    shape.encode(&mut names);
    encode_named(meta, &names, value)
}

/// The same with the names of cells as [`Shape::encode`] writes them.
pub(in crate::connector) fn encode_named(meta: &Meta<'_>, names: &[u8], value: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(meta.set.len() + names.len() + value.len() + 48);
    put_slice(&mut body, meta.set);
    put_u64(&mut body, u64::from(meta.generation));
    put_u64(&mut body, meta.expiry.as_millis());
    put_u64(&mut body, meta.stamp);
    match meta.user_key {
        None => body.push(0),
        Some(user_key) => {
            body.push(1);
            put_slice(&mut body, user_key);
        }
    }
    put_slice(&mut body, names);
    body.extend_from_slice(value);
    body
}

/// A sorted run: a stretch of the spool.
struct Run {
    spool: Arc<Spool>,
    stretch: Range<u64>,
    /// Keys and where their records begin, sorted.
    index: Vec<(Vec<u8>, u64)>,
}

impl Run {
    fn write(entries: impl Iterator<Item = io::Result<Entry>>, spool: &Arc<Spool>) -> io::Result<Self> {
        let mut out = spool.append();
        let (start, mut at) = (out.at(), out.at());
        let (mut index, mut indexed) = (Vec::new(), None);
        for entry in entries {
            let entry = entry?;
            if indexed.is_none_or(|indexed| at >= indexed + INDEX_STEP) {
                index.push((entry.key.clone(), at));
                indexed = Some(at);
            }
            at += entry.write(&mut out)?;
        }
        out.finish()?;
        Ok(Self { spool: Arc::clone(spool), stretch: start..at, index })
    }

    /// Reads from the first record that may not be below `start`.
    fn read(&self, start: &[u8]) -> RunReader {
        let before = self.index.partition_point(|(key, _)| key.as_slice() < start).saturating_sub(1);
        let from = self.index.get(before).map_or(self.stretch.start, |(_, at)| *at);
        let input = self.spool.read(from..self.stretch.end);
        RunReader { input: BufReader::with_capacity(64 << 10, input) }
    }
}

struct RunReader {
    input: BufReader<SpoolReader>,
}

impl RunReader {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(len) = self.number()? else { return Ok(None) };
        let key = self.bytes(len)?;
        let line = self.number()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let len = self.number()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = self.bytes(len)?;
        Ok(Some(Entry { key, line, body }))
    }

    /// A LEB128; `None` at the end of the stretch.
    fn number(&mut self) -> io::Result<Option<u64>> {
        let (mut value, mut byte) = (0, [0]);
        for shift in (0..64).step_by(7) {
            if self.input.read(&mut byte)? == 0 {
                return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(Some(value));
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a temporary file was changed"))
    }

    fn bytes(&mut self, len: u64) -> io::Result<Vec<u8>> {
        if len <= MOST_AT_ONCE {
            let mut bytes = vec![0; len as usize];
            self.input.read_exact(&mut bytes)?;
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(len).read_to_end(&mut bytes)?;
        if read as u64 == len { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Takes the records of one collection in any order.
pub(in crate::connector) struct Sorter {
    spool: Arc<Spool>,
    pending: Vec<Entry>,
    pending_bytes: usize,
    /// By how often their records were merged.
    levels: Vec<Vec<Run>>,
    /// How many records were taken.
    pub(in crate::connector) records: u64,
    /// Their bytes.
    pub(in crate::connector) bytes: u64,
}

impl Sorter {
    pub(in crate::connector) const fn new(spool: Arc<Spool>) -> Self {
        Self { spool, pending: Vec::new(), pending_bytes: 0, levels: Vec::new(), records: 0, bytes: 0 }
    }

    /// Takes a record, with the number of its line; gives the bytes of memory that it takes until the next spill.
    pub(in crate::connector) fn push(&mut self, key: Vec<u8>, line: u64, body: Vec<u8>) -> usize {
        let entry = Entry { key, line, body };
        let bytes = entry.bytes();
        self.records += 1;
        self.bytes += (entry.key.len() + entry.body.len()) as u64;
        self.pending_bytes += bytes;
        self.pending.push(entry);
        bytes
    }

    /// Writes what is in memory to a run.
    pub(in crate::connector) fn spill(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pending.sort_unstable();
        let mut run = Run::write(self.pending.drain(..).map(Ok), &self.spool)?;
        self.pending_bytes = 0;
        // Every record is merged once a level, however many there are.
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let runs = &mut self.levels[level];
            runs.push(run);
            if runs.len() < MAX_RUNS {
                break;
            }
            run = Run::write(Merge::new(runs, b"")?, &self.spool)?;
            for merged in runs.drain(..) {
                self.spool.forget(&merged.stretch);
            }
        }
        Ok(())
    }

    /// Ends taking.
    pub(in crate::connector) fn finish(mut self) -> io::Result<Sorted> {
        self.spill()?;
        Ok(Sorted { runs: self.levels.into_iter().flatten().collect() })
    }
}

/// Whether sorters that hold `bytes` together have to spill.
pub(in crate::connector) const fn must_spill(bytes: usize) -> bool {
    bytes >= RUN_BYTES
}

/// The same for one of several threads that sort at once.
pub(in crate::connector) fn must_spill_of(bytes: usize, threads: usize) -> bool {
    bytes >= 2 * RUN_BYTES / (threads.max(1) + 1)
}

/// What is made of records with one key.
#[derive(Clone)]
pub(in crate::connector) enum Duplicates {
    /// They are an error, which names their lines.
    Refused,
    /// The one with the highest number of a line stays, and it is remembered.
    LastWins(Arc<Twice>),
}

/// Keys that came more than once.
#[derive(Default)]
pub(in crate::connector) struct Twice {
    /// By where a range begins, since one may be read again.
    ranges: Mutex<BTreeMap<Vec<u8>, Told>>,
}

/// How many records of a range went, and the first of them.
type Told = (u64, Vec<Pair>);

/// A key, the line of the record that went, and that of the one that stayed.
pub(in crate::connector) type Pair = (Vec<u8>, u64, u64);

/// As many are named of each range.
const NAMED_PAIRS: usize = 3;

impl Twice {
    /// How many records went, and some of them.
    pub(in crate::connector) fn told(&self) -> (u64, Vec<Pair>) {
        let ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = ranges.values().flat_map(|(_, pairs)| pairs.iter().cloned());
        (ranges.values().map(|(count, _)| count).sum(), pairs.take(NAMED_PAIRS).collect())
    }

    fn begin(&self, range: &KeyRange) {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).remove(&range.start);
    }

    fn note(&self, range: &KeyRange, pair: Pair) {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, pairs) = ranges.entry(range.start.clone()).or_default();
        *count += 1;
        if pairs.len() < NAMED_PAIRS {
            pairs.push(pair);
        }
    }
}

/// The sorted records of one collection.
#[derive(Default)]
pub(in crate::connector) struct Sorted {
    runs: Vec<Run>,
}

impl Sorted {
    /// Takes over what another sorter sorted of the same collection.
    pub(in crate::connector) fn add(&mut self, other: Self) {
        self.runs.extend(other.runs);
    }

    /// About `parts - 1` keys that split the records.
    pub(in crate::connector) fn splits(&self, parts: usize) -> Vec<Vec<u8>> {
        let mut keys: Vec<&Vec<u8>> = self.runs.iter().flat_map(|run| run.index.iter().map(|(key, _)| key)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut splits: Vec<Vec<u8>> =
            (1..parts.min(keys.len())).map(|part| keys[part * keys.len() / parts].clone()).collect();
        splits.dedup();
        splits.retain(|key| !key.is_empty());
        splits
    }

    /// The records of several, sorted apart.
    pub(in crate::connector) fn join(parts: Vec<Self>) -> Self {
        Self { runs: parts.into_iter().flat_map(|part| part.runs).collect() }
    }

    /// What was pushed, in order, from a key on that may lie a little below `start`: for connectors that have bodies of
    /// their own.
    pub(in crate::connector) fn entries(&self, start: &[u8]) -> io::Result<Entries> {
        Ok(Entries(Merge::new(&self.runs, start)?))
    }

    /// The records of a range; `origin` names the file in errors.
    pub(in crate::connector) fn read(
        &self,
        range: &KeyRange,
        origin: &str,
        duplicates: Duplicates,
    ) -> io::Result<SortedStream> {
        let merge = Merge::new(&self.runs, &range.start)?;
        if let Duplicates::LastWins(twice) = &duplicates {
            twice.begin(range);
        }
        Ok(SortedStream {
            merge,
            range: range.clone(),
            origin: origin.to_owned(),
            duplicates,
            held: None,
            shapes: Shapes::default(),
            done: false,
        })
    }
}

/// Keys, numbers and bodies as they were pushed.
pub(in crate::connector) struct Entries(Merge);

impl Iterator for Entries {
    type Item = io::Result<(Vec<u8>, u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.next()?;
        Some(entry.map(|Entry { key, line, body }| (key, line, body)))
    }
}

/// The entries of several runs in order.
struct Merge {
    readers: Vec<RunReader>,
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Merge {
    fn new(runs: &[Run], start: &[u8]) -> io::Result<Self> {
        let mut readers: Vec<RunReader> = runs.iter().map(|run| run.read(start)).collect();
        let mut heads = BinaryHeap::with_capacity(readers.len());
        for (at, reader) in readers.iter_mut().enumerate() {
            heads.extend(reader.next()?.map(|entry| Reverse((entry, at))));
        }
        Ok(Self { readers, heads })
    }
}

impl Iterator for Merge {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        // Runs follow one another more often than not: what comes next is put where this one was, and mostly stays there.
        let mut head = self.heads.peek_mut()?;
        let at = head.0.1;
        Some(match self.readers[at].next() {
            Ok(Some(next)) => Ok(std::mem::replace(&mut head.0, (next, at)).0),
            Ok(None) => Ok(PeekMut::pop(head).0.0),
            Err(error) => Err(error),
        })
    }
}

/// Sorted records as a stream.
pub(in crate::connector) struct SortedStream {
    merge: Merge,
    range: KeyRange,
    origin: String,
    duplicates: Duplicates,
    /// The record that comes next, unless another one has its key.
    held: Option<Entry>,
    shapes: Shapes,
    done: bool,
}

impl RecordStream for SortedStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while !self.done && batch.bytes() < BATCH_BYTES {
            let next = match self.merge.next().transpose() {
                Ok(next) => next.filter(|next| self.range.end.as_ref().is_none_or(|end| next.key < *end)),
                Err(error) => return Err(format!("read a temporary file of {}: {error}", self.origin).into()),
            };
            self.done = next.is_none();
            if next.as_ref().is_some_and(|next| next.key < self.range.start) {
                continue;
            }
            let Some(before) = std::mem::replace(&mut self.held, next) else { continue };
            match (&self.held, &self.duplicates) {
                (Some(next), Duplicates::Refused) if next.key == before.key => {
                    let (one, other) = (before.line, next.line);
                    return Err(format!("lines {one} and {other} of {} have the same key", self.origin).into());
                }
                (Some(next), Duplicates::LastWins(twice)) if next.key == before.key => {
                    twice.note(&self.range, (before.key, before.line, next.line));
                }
                _ => self.push(batch, &before)?,
            }
        }
        Ok(!batch.is_empty())
    }
}

impl SortedStream {
    fn push(&mut self, batch: &mut RecordBatch, entry: &Entry) -> Result<(), DecodeError> {
        let mut reader = Reader::new(&entry.body);
        let set = reader.slice("a set")?;
        let generation = reader.u32("a generation")?;
        let expiry = Expiry::from_millis(reader.u64("an expiry")?);
        let stamp = reader.u64("a stamp")?;
        let user_key = match reader.u8("a user key")? {
            0 => None,
            _ => Some(reader.slice("a user key")?),
        };
        let names = reader.slice("the cell names")?;
        let shape = self.shapes.of(names)?;
        let meta = Meta { set, generation, expiry, stamp, user_key };
        batch.push_encoded(RowHead { key: &entry.key, meta }, &shape, reader.rest());
        Ok(())
    }
}
