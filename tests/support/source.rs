//! A source over a database in memory, honest by default, and able to do each thing that a source must not do.

use super::{Db, Rec, TestClock};
use rekeep::{
    connector::{
        ConnectorError, Handover, Identity, Resumable, Scope, SessionEnd, SessionOptions, Source, SourceAbilities,
        SourceCollection, SourceSession,
    },
    record::{Clock, KeyRange, RecordBatch, RecordStream, RowHead, StreamError, StreamedValue, Tag, Timestamp},
};
use serde_json::{Value as Json, json};
use std::{
    collections::{HashSet, VecDeque},
    io::{self, Read},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// How a source misbehaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mischief {
    /// Not at all.
    #[default]
    None,
    /// Every range but the first begins with the last record of the range before it.
    ReachesBack,
    /// Every range but the last ends with the first record of the range after it.
    ReachesOn,
    /// Gives a record that lies far outside of the range.
    Outside,
    /// Gives nothing of the second range.
    SkipsARange,
    /// Gives one record twice.
    Repeats,
    /// Gives two records in the wrong order.
    Disorders,
    /// Fails after this many records.
    FailsAfter(u64),
    /// Says at the end that what was read is not to be trusted.
    FailsAtTheEnd,
    /// The streamed value of this key fails midway.
    StreamFails(Vec<u8>),
    /// The streamed value of this key changes while it is read.
    Tears(Vec<u8>),
    /// Says that a record is missing from what was delivered.
    Misses(String),
}

/// A database to be read.
pub struct MemorySource {
    pub db: Arc<Mutex<Db>>,
    pub clock: Arc<TestClock>,
    pub name: String,
    pub scope: String,
    /// Whether start and end are one time.
    pub exact: bool,
    /// Milliseconds that a run over an inexact source takes.
    pub takes_millis: i64,
    pub mischief: Mischief,
    /// Key ranges that a collection is read by.
    pub parts: usize,
    /// Rows in a batch.
    pub batch_rows: usize,
    /// Last cells over this length are streamed.
    pub stream_over: usize,
    /// Where a session waits for others before it ends.
    pub meet: Option<Arc<Barrier>>,
    /// Streams that were opened.
    pub opened: Arc<AtomicU64>,
    /// Whether a range may be read twice; if not, the second time fails.
    pub reads_again: bool,
    /// What sessions hand over to later ones, if ranges may be carried over.
    pub handover: Option<Json>,
    /// Collections and ranges that were read.
    pub reads: Arc<Mutex<Vec<(String, KeyRange)>>>,
}

impl MemorySource {
    pub fn new(db: &Arc<Mutex<Db>>, clock: &Arc<TestClock>) -> Self {
        Self {
            db: Arc::clone(db),
            clock: Arc::clone(clock),
            name: "memory".to_owned(),
            scope: String::new(),
            exact: true,
            takes_millis: 0,
            mischief: Mischief::None,
            parts: 1,
            batch_rows: 50,
            stream_over: 64 * 1024,
            meet: None,
            opened: Arc::default(),
            reads_again: true,
            handover: None,
            reads: Arc::default(),
        }
    }

    /// A source that is not exact, in so many ranges, each of which stands for itself.
    pub fn resumable(db: &Arc<Mutex<Db>>, clock: &Arc<TestClock>, parts: usize) -> Self {
        Self { exact: false, parts, handover: Some(json!("memory")), ..Self::new(db, clock) }
    }

    /// The ranges that were read since this was asked last.
    pub fn take_reads(&self) -> Vec<(String, KeyRange)> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }

    /// A source that never changes.
    pub fn of(db: Db, clock: &Arc<TestClock>) -> Self {
        Self::new(&Arc::new(Mutex::new(db)), clock)
    }

    #[must_use]
    pub fn doing(mut self, mischief: Mischief) -> Self {
        self.mischief = mischief;
        self
    }

    #[must_use]
    pub const fn in_parts(mut self, parts: usize) -> Self {
        self.parts = parts;
        self
    }
}

impl Source for MemorySource {
    fn identity(&self) -> Identity {
        Identity { connector: "memory", name: self.name.clone(), local: false }
    }

    fn scope(&self) -> Scope {
        Scope { canonical: self.scope.clone(), note: self.scope.clone(), ..Scope::default() }
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities { change_filter: false, exact: self.exact, reads_once: !self.reads_again }
    }

    fn begin(&self, _: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        let db = self.db.lock().unwrap().clone();
        let collections = db
            .iter()
            .map(|(name, coll)| SourceCollection {
                name: name.clone(),
                codec: coll.codec,
                attributes: coll.attributes.clone(),
                // The verb asks for splits of large collections only.
                estimated_bytes: if self.parts > 1 { self.parts as u64 * 96 * 1024 * 1024 } else { 0 },
                estimated_records: coll.records.len() as u64,
            })
            .collect();
        Ok(Box::new(MemorySession {
            db,
            collections,
            start: self.clock.now(),
            clock: Arc::clone(&self.clock),
            takes_millis: self.takes_millis,
            mischief: self.mischief.clone(),
            batch_rows: self.batch_rows,
            stream_over: self.stream_over,
            meet: self.meet.clone(),
            delivered: AtomicU64::new(0),
            opened: Arc::clone(&self.opened),
            reads_again: self.reads_again,
            read: Mutex::default(),
            handover: self.handover.clone(),
            reads: Arc::clone(&self.reads),
        }))
    }
}

struct MemorySession {
    db: Db,
    collections: Vec<SourceCollection>,
    start: Timestamp,
    clock: Arc<TestClock>,
    takes_millis: i64,
    mischief: Mischief,
    batch_rows: usize,
    stream_over: usize,
    meet: Option<Arc<Barrier>>,
    delivered: AtomicU64,
    opened: Arc<AtomicU64>,
    reads_again: bool,
    read: Mutex<HashSet<(usize, Vec<u8>)>>,
    handover: Option<Json>,
    reads: Arc<Mutex<Vec<(String, KeyRange)>>>,
}

impl SourceSession for MemorySession {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        json!({ "kept": "in memory" })
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        4
    }

    fn splits(&self, collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        let records = &self.db[&self.collections[collection].name].records;
        let step = (records.len() / parts).max(1);
        Ok(records.keys().step_by(step).skip(1).take(parts - 1).cloned().collect())
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        self.reads.lock().unwrap().push((self.collections[collection].name.clone(), range.clone()));
        let first = self.read.lock().unwrap().insert((collection, range.start.clone()));
        if !first && !self.reads_again {
            let (object, reason) = ("memory".to_owned(), "it was read already".to_owned());
            return Err(ConnectorError::Unreadable { object, reason });
        }
        let records = &self.db[&self.collections[collection].name].records;
        let mut rows: VecDeque<(&[u8], &Rec)> =
            records.iter().filter(|(key, _)| range.contains(key)).map(|(key, rec)| (key.as_slice(), rec)).collect();
        let before = || records.iter().rfind(|(key, _)| key.as_slice() < range.start.as_slice());
        let behind = || records.iter().find(|(key, _)| range.end.as_ref().is_some_and(|end| *key >= end));
        match &self.mischief {
            Mischief::ReachesBack => rows.put_first(before()),
            Mischief::ReachesOn => rows.extend(behind().map(|(key, rec)| (key.as_slice(), rec))),
            Mischief::Outside if !range.start.is_empty() => {
                rows.put_first(records.first_key_value());
            }
            Mischief::SkipsARange if !range.start.is_empty() => rows.clear(),
            Mischief::Repeats if rows.len() > 1 => rows.insert(1, rows[0]),
            Mischief::Disorders if rows.len() > 2 => rows.swap(1, 2),
            _ => {}
        }
        Ok(Box::new(MemoryStream { session: self, rows }))
    }

    fn resumable(&self) -> Option<&dyn Resumable> {
        self.handover.as_ref().map(|_| self as &dyn Resumable)
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        if let Some(meet) = &self.meet {
            meet.wait();
        }
        if self.mischief == Mischief::FailsAtTheEnd {
            return Err(ConnectorError::Unreadable {
                object: "memory".to_owned(),
                reason: "it lost a node on the way".to_owned(),
            });
        }
        let missing = match &self.mischief {
            Mischief::Misses(what) => vec![what.clone()],
            _ => Vec::new(),
        };
        self.clock.advance(self.takes_millis);
        let end = Timestamp::from_millis(self.start.as_millis() + self.takes_millis);
        Ok(SessionEnd { end, missing, notes: Vec::new(), vanished: 0 })
    }
}

impl Resumable for MemorySession {
    fn handover(&self) -> Json {
        self.handover.clone().unwrap_or_default()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn take_over(&self, earlier: &Handover<'_>) -> Result<(), String> {
        if Some(earlier.told) == self.handover.as_ref() { Ok(()) } else { Err("it is another memory".to_owned()) }
    }
}

trait PutFirst<'a> {
    fn put_first(&mut self, row: Option<(&'a Vec<u8>, &'a Rec)>);
}

impl<'a> PutFirst<'a> for VecDeque<(&'a [u8], &'a Rec)> {
    fn put_first(&mut self, row: Option<(&'a Vec<u8>, &'a Rec)>) {
        if let Some((key, rec)) = row {
            self.push_front((key, rec));
        }
    }
}

struct MemoryStream<'a> {
    session: &'a MemorySession,
    rows: VecDeque<(&'a [u8], &'a Rec)>,
}

impl RecordStream for MemoryStream<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while batch.len() < self.session.batch_rows && batch.bytes() < 1024 * 1024 {
            let Some((key, rec)) = self.rows.pop_front() else { break };
            let delivered = self.session.delivered.fetch_add(1, Ordering::Relaxed);
            if matches!(self.session.mischief, Mischief::FailsAfter(limit) if delivered >= limit) {
                return Err("the connection was reset".into());
            }
            push(batch, key, rec, self.session);
        }
        Ok(!batch.is_empty())
    }
}

fn push(batch: &mut RecordBatch, key: &[u8], rec: &Rec, session: &MemorySession) {
    let head = RowHead { key, meta: rec.meta() };
    let shape = rec.shape();
    match rec.cells.last_key_value() {
        Some((_, (tag, bytes))) if bytes.len() > session.stream_over => {
            let value = MemoryValue {
                bytes: bytes.clone(),
                fails: session.mischief == Mischief::StreamFails(key.to_vec()),
                tears: session.mischief == Mischief::Tears(key.to_vec()),
                opened: Arc::clone(&session.opened),
            };
            batch.push_streamed(head, &shape, Tag(*tag), Box::new(value), |out| {
                for (tag, bytes) in rec.cells.values().take(rec.cells.len() - 1) {
                    out.cell(Tag(*tag), bytes);
                }
            });
        }
        _ => batch.push(head, &shape, |out| {
            for (tag, bytes) in rec.cells.values() {
                out.cell(Tag(*tag), bytes);
            }
        }),
    }
}

struct MemoryValue {
    bytes: Vec<u8>,
    fails: bool,
    tears: bool,
    opened: Arc<AtomicU64>,
}

impl StreamedValue for MemoryValue {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.fails {
            let half = &self.bytes[..self.bytes.len() / 2];
            return Ok(Box::new(half.chain(Broken)));
        }
        Ok(Box::new(self.bytes.as_slice()))
    }

    fn is_untorn(&mut self) -> io::Result<bool> {
        Ok(!self.tears)
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the stream broke off"))
    }
}
