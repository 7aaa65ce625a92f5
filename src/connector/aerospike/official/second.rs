//! A second opinion: records as the official client reads them, in key order. It gives out lists and maps without some of
//! their flags, so that records with such bins are completed by our own connections; what it cannot read is said to be unread.

use super::Official;
use crate::{
    connector::{
        aerospike::account::partition,
        change::{ChangeSource, Presence},
        shared::shapes::Shapes,
        void_time::{MONITOR_SET, expiry_of},
    },
    record::{
        CellWriter, Digest, KeyRange, Meta, RecordBatch, RecordStream, RowHead, StreamError, Tag,
        bytes::{put_slice, put_u64},
        digest::PARTITIONS,
    },
};
use aerospike::{Bins, FloatValue, Key, QueryPolicy, Record, Statement, Value, query::RecordStream as ClientStream};
use futures::StreamExt as _;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A batch is handed over at this size.
const BATCH_BYTES: usize = 1024 * 1024;

/// What was read in this way.
#[derive(Debug, Default)]
pub(in crate::connector::aerospike) struct Seen {
    /// Records that the client gave out.
    pub(in crate::connector::aerospike) records: AtomicU64,
    /// Of those, records that our own connections had to complete.
    pub(in crate::connector::aerospike) completed: AtomicU64,
}

/// Reads a range of one namespace by the client.
pub(in crate::connector::aerospike) struct SecondReader<'a> {
    official: Arc<Official>,
    namespace: String,
    collection: usize,
    /// Our own connections.
    own: &'a dyn ChangeSource,
    range: KeyRange,
    next: u16,
    current: Option<Current>,
    unread: VecDeque<KeyRange>,
    seen: Arc<Seen>,
    shapes: Shapes,
}

/// A partition on its way.
struct Current {
    pid: u16,
    stream: ClientStream,
    last: Option<Vec<u8>>,
}

impl<'a> SecondReader<'a> {
    pub(in crate::connector::aerospike) fn new(
        official: &Arc<Official>,
        namespace: &str,
        own: (&'a dyn ChangeSource, usize),
        range: &KeyRange,
        seen: Arc<Seen>,
    ) -> Self {
        Self {
            official: Arc::clone(official),
            namespace: namespace.to_owned(),
            collection: own.1,
            own: own.0,
            range: range.clone(),
            next: 0,
            current: None,
            unread: VecDeque::new(),
            seen,
            shapes: Shapes::default(),
        }
    }

    /// Opens the next partition; `false` behind the last one.
    fn open(&mut self) -> Result<bool, StreamError> {
        while self.next < PARTITIONS && partition(self.next).intersection(&self.range).is_none() {
            self.next += 1;
        }
        if self.next >= PARTITIONS {
            return Ok(false);
        }
        let pid = self.next;
        self.next += 1;
        let filter = aerospike::query::PartitionFilter::by_id(usize::from(pid));
        let statement = Statement::new(self.namespace.as_str(), "", Bins::All);
        let policy = QueryPolicy::default();
        let records = self.official.wait(self.official.client.query(&policy, filter, statement))?;
        self.current = Some(Current { pid, stream: records.into_stream(), last: None });
        Ok(true)
    }

    /// What could not be read of the partition under way.
    fn give_up(&mut self) {
        let Some(current) = self.current.take() else { return };
        let mut rest = partition(current.pid);
        if let Some(mut last) = current.last {
            last.push(0);
            rest.start = last;
        }
        self.unread.extend(rest.intersection(&self.range));
    }

    fn push(&mut self, record: &Record, batch: &mut RecordBatch) -> Result<(), StreamError> {
        let Some(key) = &record.key else { return Err("the official client gave a record without a digest".into()) };
        let sort_key = Digest(key.digest()).sort_key();
        if !self.range.contains(&sort_key) || key.set_name().as_bytes() == MONITOR_SET {
            return Ok(());
        }
        if let Some(current) = &mut self.current {
            if current.last.as_deref().is_some_and(|last| last >= &sort_key[..]) {
                return Err("the official client gave records out of their order".into());
            }
            current.last = Some(sort_key.to_vec());
        }
        self.seen.records.fetch_add(1, Ordering::Relaxed);
        let mut cells: BTreeMap<Vec<u8>, (u8, Vec<u8>)> = BTreeMap::new();
        let mut is_exact = true;
        for (name, value) in &record.bins {
            match particle(value) {
                Some(cell) => drop(cells.insert(name.as_bytes().to_vec(), cell)),
                None => is_exact = false,
            }
        }
        let user_key = match user_key(key) {
            Ok(user_key) if is_exact => user_key,
            _ => return self.complete(&sort_key, record.generation, &cells, batch),
        };
        let meta = Meta {
            set: key.set_name().as_bytes(),
            generation: record.generation,
            expiry: expiry_of(record.expiration()),
            stamp: 0,
            user_key: user_key.as_deref(),
        };
        let (mut names, mut value) = (Vec::new(), Vec::new());
        put_u64(&mut names, cells.len() as u64);
        let mut writer = CellWriter::new(&mut value, cells.len());
        for (name, (tag, bytes)) in &cells {
            put_slice(&mut names, name);
            writer.cell(Tag(*tag), bytes);
        }
        let shape = self.shapes.of(&names)?;
        batch.push_encoded(RowHead { key: &sort_key, meta }, &shape, &value);
        Ok(())
    }

    /// Takes a record from our own connections. What the client told of it exactly must be there too, unless it was written since.
    fn complete(
        &mut self,
        key: &[u8],
        generation: u32,
        told: &BTreeMap<Vec<u8>, (u8, Vec<u8>)>,
        batch: &mut RecordBatch,
    ) -> Result<(), StreamError> {
        let mut own = RecordBatch::new();
        match self.own.read_keys(self.collection, &[key], &mut own)?.pop() {
            Some(Presence::Absent) => return Ok(()),
            Some(Presence::Unknown(reason)) => return Err(reason.into()),
            _ => {}
        }
        for row in own.rows() {
            let cells: BTreeMap<&[u8], (u8, &[u8])> = row
                .shape
                .names()
                .iter()
                .zip(row.shape.cells(row.value))
                .filter_map(|(name, cell)| cell.ok().map(|cell| (name.as_slice(), (cell.tag.0, cell.bytes))))
                .collect();
            let agrees = |(name, (tag, bytes)): (&Vec<u8>, &(u8, Vec<u8>))| {
                cells.get(name.as_slice()).is_some_and(|(own, value)| own == tag && *value == bytes.as_slice())
            };
            if row.meta.generation == generation && !told.iter().all(agrees) {
                let shown = data_encoding::HEXLOWER.encode(&key[2..]);
                return Err(format!("record {shown} is another one to the official client than to our own").into());
            }
            self.seen.completed.fetch_add(1, Ordering::Relaxed);
            batch.push_encoded(RowHead { key: row.key, meta: row.meta }, row.shape, row.value);
        }
        Ok(())
    }
}

impl RecordStream for SecondReader<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while batch.bytes() < BATCH_BYTES && self.unread.is_empty() {
            if self.current.is_none() && !self.open()? {
                break;
            }
            let Some(current) = &mut self.current else { break };
            match self.official.runtime.block_on(current.stream.next()) {
                None => self.current = None,
                Some(Ok(record)) => self.push(&record, batch)?,
                // It ends a query at the first record that it cannot decode.
                Some(Err(_)) => self.give_up(),
            }
        }
        Ok(!batch.is_empty() || !self.unread.is_empty())
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.unread.pop_front()
    }
}

/// A value as servers keep it; `None` if the client does not tell all of it.
fn particle(value: &Value) -> Option<(u8, Vec<u8>)> {
    Some(match value {
        Value::Bool(value) => (17, vec![u8::from(*value)]),
        Value::Int(value) => (1, value.to_be_bytes().to_vec()),
        Value::Float(FloatValue::F64(bits)) => (2, bits.to_be_bytes().to_vec()),
        Value::String(text) => (3, text.as_bytes().to_vec()),
        Value::Blob(bytes) => (4, bytes.clone()),
        Value::GeoJson(text) => (23, text.as_bytes().to_vec()),
        Value::Hll(bytes) => (18, bytes.clone()),
        Value::Unknown(kind, bytes) => (*kind, bytes.clone()),
        _ => return None,
    })
}

/// The client does not tell all of something.
struct NotTold;

/// The user key as it is kept, if there is one.
fn user_key(key: &Key) -> Result<Option<Vec<u8>>, NotTold> {
    let Some(value) = key.user_key() else { return Ok(None) };
    let (kind, bytes) = particle(value).ok_or(NotTold)?;
    Ok(Some([&[kind][..], &bytes].concat()))
}
