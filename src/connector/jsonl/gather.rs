//! Several threads take lines and sort their records. What a line says of those behind it (a header, a collection, which codec keys
//! have) is noted in the order of lines: each thread waits for its turn between reading its lines and making keys of them.

use super::{
    chunks::{Chunk, Chunks, Failure, without_mark, wrong},
    line::{self, Line, RecordLine},
    plain::{self, Keyed, Wrong},
};
use crate::{
    connector::{
        ConnectorError,
        shared::{
            sort::{Sorted, Sorter, encode_body, must_spill_of},
            spool::Spool,
        },
    },
    record::{KeyCodec, MAX_KEY_BYTES, Meta},
    report::Remedy,
};
use serde_json::Value as Json;
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// The most collections of one file: each thread has a sorter for each.
const MAX_COLLECTIONS: usize = 10_000;

/// The most threads: each has runs of its own, which are all open when ranges are read.
const MAX_THREADS: usize = 4;

/// Lines of more bytes keep others from reading on until they are sorted.
const LONG_BYTES: usize = 8 << 20;

/// Lines that are named because their records are left out.
const MOST_NAMED: usize = 1000;

/// A collection as lines speak of it.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) codec: Option<KeyCodec>,
    pub(super) attributes: Option<Json>,
    has_records: bool,
    pub(super) sorted: Sorted,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// All that lines came to.
pub(super) struct Gathered {
    pub(super) header: Option<(Option<String>, Json)>,
    pub(super) found: Vec<Found>,
    /// Lines whose records are not among those.
    pub(super) missing: Vec<String>,
}

/// What one line is, before it is known what stood before it.
enum Item {
    Header(Option<String>, Json),
    Collection(String, Option<KeyCodec>, Json),
    Record(Box<RecordLine>, Vec<u8>),
    /// Of an ordinary line: its key and its body.
    Plain(Vec<u8>, Vec<u8>),
    LeftOut(String),
    Wrong(String),
}

/// A record that only needs its key: which collection has it, and by which codec.
enum Placed {
    Record(usize, KeyCodec, Box<RecordLine>, Vec<u8>),
    Plain(usize, Vec<u8>, Vec<u8>),
    LeftOut(String),
}

/// What lines said so far.
struct Known<'a> {
    /// The chunk whose turn it is.
    turn: u64,
    header: Option<(Option<String>, Json)>,
    found: Vec<Found>,
    by_name: HashMap<String, usize>,
    default: &'a str,
    /// The first line that ends everything, of those that were looked at.
    failure: Option<Failure>,
}

struct Gatherer<'a, 'c> {
    chunks: Mutex<&'a mut Chunks<'c>>,
    known: Mutex<Known<'a>>,
    turned: Condvar,
    origin: &'a str,
    temp_dir: &'a Path,
    threads: usize,
}

/// What one thread sorted, by collection, and lines that it left out.
type Share = (Vec<Option<Sorter>>, Vec<(u64, String)>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sorts the records of all lines; those that name no collection belong to `default`.
pub(super) fn gather<'a>(
    chunks: &'a mut Chunks<'_>,
    origin: &'a str,
    default: &'a str,
    temp_dir: &'a Path,
    threads: usize,
) -> Result<Gathered, ConnectorError> {
    let threads = threads.clamp(1, MAX_THREADS);
    let (found, by_name) = (Vec::new(), HashMap::new());
    let known = Known { turn: 0, header: None, found, by_name, default, failure: None };
    let known = Mutex::new(known);
    let gatherer = Gatherer { chunks: Mutex::new(chunks), known, turned: Condvar::new(), origin, temp_dir, threads };
    let shares: Vec<Option<Share>> = std::thread::scope(|scope| {
        let started: Vec<_> = (1..threads).map(|_| scope.spawn(|| gatherer.work())).collect();
        let own = gatherer.work();
        let others = started.into_iter().map(|one| {
            one.join().unwrap_or_else(|_| {
                lock(&gatherer.known).fail(wrong(origin, 0, "a thread that sorts it panicked"));
                None
            })
        });
        std::iter::once(own).chain(others).collect()
    });
    let temporary = |source| sorting(temp_dir, source);
    let known = gatherer.known.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, error)) = known.failure {
        return Err(error);
    }
    let mut all = Gathered { header: known.header, found: known.found, missing: Vec::new() };
    let mut missing: Vec<(u64, String)> = Vec::new();
    for (sorters, left_out) in shares.into_iter().flatten() {
        missing.extend(left_out);
        for (found, sorter) in all.found.iter_mut().zip(sorters) {
            let Some(sorter) = sorter else { continue };
            found.records += sorter.records;
            found.bytes += sorter.bytes;
            found.sorted.add(sorter.finish().map_err(temporary)?);
        }
    }
    missing.sort_unstable_by_key(|(line, _)| *line);
    let more = missing.len() > MOST_NAMED;
    all.missing.extend(missing.into_iter().take(MOST_NAMED).map(|(_, words)| words));
    if more {
        all.missing.push("and further lines without a key that can be kept".to_owned());
    }
    Ok(all)
}

fn sorting(temp_dir: &Path, source: std::io::Error) -> ConnectorError {
    let object = temp_dir.display().to_string();
    ConnectorError::Io { operation: "sort in", object, source }.with([Remedy::ChooseTempDir])
}

/// Lets nobody wait for a thread that panics.
struct Stopper<'a, 'b, 'c>(&'a Gatherer<'b, 'c>);

impl Drop for Stopper<'_, '_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(wrong(self.0.origin, 0, "a thread that sorts it panicked"));
        }
    }
}

impl Gatherer<'_, '_> {
    fn fail(&self, failure: Failure) {
        lock(&self.known).fail(failure);
        self.turned.notify_all();
    }

    /// Takes lines as long as there are some; `None` if that came to nothing.
    fn work(&self) -> Option<Share> {
        let _stopper = Stopper(self);
        let spool = Spool::new(self.temp_dir).map_err(|source| {
            let object = self.temp_dir.display().to_string();
            self.fail((0, ConnectorError::Io { operation: "make a temporary file in", object, source }));
        });
        let mut worker = Worker { of: self, spool: spool.ok()?, sorters: Vec::new(), pending: 0, left_out: Vec::new() };
        let mut text = Vec::new();
        loop {
            let mut chunks = lock(&self.chunks);
            // Looked at while nobody else can read on: what is read has its turn.
            let is_over = lock(&self.known).failure.is_some();
            let next = if is_over { Ok(None) } else { chunks.next(text) };
            let chunk = match next {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Some((worker.sorters, worker.left_out)),
                Err(failure) => {
                    self.fail(failure);
                    return None;
                }
            };
            // Of long lines one is in memory at a time.
            let alone = (chunk.text.len() > LONG_BYTES).then_some(chunks);
            let placed = self.place(&chunk, items(&chunk))?;
            if let Err(failure) = worker.take(placed) {
                self.fail(failure);
                return None;
            }
            text = if alone.is_some() { Vec::new() } else { chunk.text };
            drop(alone);
        }
    }

    /// Notes what the lines of a chunk say, when all before them did; `None` if something failed before.
    fn place(&self, chunk: &Chunk, items: Vec<(u64, Item)>) -> Option<Vec<(u64, Placed)>> {
        let mut known = lock(&self.known);
        while known.turn != chunk.number {
            if known.failure.as_ref().is_some_and(|(line, _)| *line < chunk.line) {
                return None;
            }
            known = self.turned.wait(known).unwrap_or_else(PoisonError::into_inner);
        }
        let mut placed = Vec::with_capacity(items.len());
        for (line, item) in items {
            match known.place(line, item) {
                Ok(Some(one)) => placed.push((line, one)),
                Ok(None) => {}
                // What stands before it may be wrong as well, and would be named first.
                Err(reason) => {
                    known.fail(wrong(self.origin, line, &reason));
                    break;
                }
            }
        }
        known.turn += 1;
        drop(known);
        self.turned.notify_all();
        Some(placed)
    }
}

impl Known<'_> {
    fn fail(&mut self, failure: Failure) {
        if self.failure.as_ref().is_none_or(|(line, _)| failure.0 < *line) {
            self.failure = Some(failure);
        }
    }

    fn place(&mut self, line: u64, item: Item) -> Result<Option<Placed>, String> {
        Ok(Some(match item {
            Item::Header(connector, attributes) => {
                if self.header.is_some() || !self.found.is_empty() {
                    return Err("a header stands on the first line only".to_owned());
                }
                self.header = Some((connector, attributes));
                return Ok(None);
            }
            Item::Collection(name, codec, attributes) => {
                let at = self.find(&name)?;
                let found = &mut self.found[at];
                if found.attributes.is_some() {
                    return Err(format!("the collection {name} is described twice"));
                }
                if found.has_records {
                    return Err(format!("records of {name} stand before its description"));
                }
                found.codec = codec;
                found.attributes = Some(attributes);
                return Ok(None);
            }
            Item::Record(record, body) => {
                let default = self.default;
                let at = self.find(record.collection.as_deref().unwrap_or(default))?;
                let found = &mut self.found[at];
                if record.codec.is_some_and(|named| found.codec.is_some_and(|codec| codec != named)) {
                    return Err("its codec is not that of its collection".to_owned());
                }
                found.has_records = true;
                let codec = *found.codec.insert(found.codec.or(record.codec).unwrap_or(KeyCodec::Tuple));
                Placed::Record(at, codec, record, body)
            }
            Item::Plain(key, body) => Placed::Plain(self.find(self.default)?, key, body),
            Item::LeftOut(reason) => Placed::LeftOut(format!("line {line}: {reason}")),
            Item::Wrong(reason) => return Err(reason),
        }))
    }

    fn find(&mut self, name: &str) -> Result<usize, String> {
        // Lines of one collection follow one another more often than not.
        if self.found.last().is_some_and(|last| last.name == name) {
            return Ok(self.found.len() - 1);
        }
        if let Some(at) = self.by_name.get(name) {
            return Ok(*at);
        }
        if self.found.len() == MAX_COLLECTIONS {
            return Err("there are more than 10000 collections".to_owned());
        }
        self.by_name.insert(name.to_owned(), self.found.len());
        self.found.push(Found {
            name: name.to_owned(),
            codec: None,
            attributes: None,
            has_records: false,
            sorted: Sorted::default(),
            records: 0,
            bytes: 0,
        });
        Ok(self.found.len() - 1)
    }
}

/// What the lines of a chunk are, each with its number; nothing behind one that makes no sense.
fn items(chunk: &Chunk) -> Vec<(u64, Item)> {
    let mut items = Vec::new();
    for (text, number) in chunk.text.split_inclusive(|byte| *byte == b'\n').zip(chunk.line..) {
        let item = match &chunk.keyed {
            Some(keyed) => plain_item(text, number, keyed),
            None => own_item(without_mark(text, number)),
        };
        let is_wrong = matches!(item, Some(Item::Wrong(_)));
        items.extend(item.map(|item| (number, item)));
        if is_wrong {
            break;
        }
    }
    items
}

/// A line as it is, apart from its end. Empty ones are told by the numbers that no record has.
fn plain_item(text: &[u8], number: u64, keyed: &Keyed) -> Option<Item> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let by_number = *keyed == Keyed::ByNumber;
    if line.is_empty() || (!by_number && line.trim_ascii().is_empty()) {
        return None;
    }
    Some(match plain::key(line, number, keyed) {
        Ok(key) if key.len() <= MAX_KEY_BYTES => {
            let (shape, value) = plain::value(line);
            Item::Plain(key, encode_body(&Meta::default(), &shape, &value))
        }
        Ok(key) => Item::LeftOut(too_long(&key)),
        Err(Wrong::Key(reason)) => Item::LeftOut(reason),
        Err(Wrong::Line(reason)) => Item::Wrong(reason),
    })
}

fn too_long(key: &[u8]) -> String {
    format!("its key has {} bytes; the most is {MAX_KEY_BYTES}", key.len())
}

fn own_item(text: &[u8]) -> Option<Item> {
    if text.trim_ascii().is_empty() {
        return None;
    }
    Some(match line::read(text) {
        Ok(Line::Header { connector, attributes }) => Item::Header(connector, attributes),
        Ok(Line::Collection { name, codec, attributes }) => Item::Collection(name, codec, attributes),
        Ok(Line::Record(mut record)) => {
            let body = record.take_body();
            Item::Record(record, body)
        }
        Err(reason) => Item::Wrong(reason),
    })
}

/// What one thread sorts.
struct Worker<'a, 'b, 'c> {
    of: &'a Gatherer<'b, 'c>,
    spool: Arc<Spool>,
    sorters: Vec<Option<Sorter>>,
    /// What all of them hold in memory.
    pending: usize,
    left_out: Vec<(u64, String)>,
}

impl Worker<'_, '_, '_> {
    fn take(&mut self, placed: Vec<(u64, Placed)>) -> Result<(), Failure> {
        for (line, one) in placed {
            match one {
                Placed::Plain(at, key, body) => self.push(at, &key, line, &body)?,
                Placed::Record(at, codec, record, body) => {
                    let key = record.key(codec).map_err(|reason| wrong(self.of.origin, line, &reason))?;
                    if key.len() <= MAX_KEY_BYTES {
                        self.push(at, &key, line, &body)?;
                    } else {
                        self.leave_out(line, format!("line {line}: {}", too_long(&key)));
                    }
                }
                Placed::LeftOut(words) => self.leave_out(line, words),
            }
        }
        Ok(())
    }

    /// Names a line that is not part of what is delivered.
    fn leave_out(&mut self, line: u64, words: String) {
        if self.left_out.len() <= MOST_NAMED {
            self.left_out.push((line, words));
        }
    }

    fn push(&mut self, at: usize, key: &[u8], line: u64, body: &[u8]) -> Result<(), Failure> {
        if self.sorters.len() <= at {
            self.sorters.resize_with(at + 1, || None);
        }
        let sorter = self.sorters[at].get_or_insert_with(|| Sorter::new(Arc::clone(&self.spool)));
        self.pending += sorter.push(key, line, body);
        if must_spill_of(self.pending, self.of.threads) {
            self.pending = 0;
            let spilled = self.sorters.iter_mut().flatten().try_for_each(Sorter::spill);
            spilled.map_err(|source| (line, sorting(self.of.temp_dir, source)))?;
        }
        Ok(())
    }
}
