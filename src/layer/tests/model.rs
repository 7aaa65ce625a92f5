//! A source in memory and what the tests compare layers with.

use crate::{
    layer::{JoinOptions, LayerContext, RangeOutcome, Stack, VersionValue, diff::Change, finish_layer, join_range},
    record::{
        CollectionSum, Expiry, Fingerprinter, KeyRange, Meta, RecordBatch, RecordStream, RowHead, Shape, StreamError,
        StreamedValue, Tag, Timestamp,
    },
    repo::{ChunkReader, chunk::MemoryChunks, manifest::LayerRef},
};
use std::{collections::BTreeMap, io::Read, sync::Arc};

/// Splitmix64.
pub(in crate::layer) struct Rng(pub(in crate::layer) u64);

impl Rng {
    pub(in crate::layer) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::layer) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(in crate::layer) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stream {
    None,
    Good,
    Torn,
    Broken,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rec {
    pub set: Vec<u8>,
    pub generation: u32,
    pub expiry: u64,
    pub stamp: u64,
    pub user_key: Option<Vec<u8>>,
    pub cells: Vec<(Vec<u8>, u8, Vec<u8>)>,
    pub stream: Stream,
}

impl Rec {
    pub(super) fn of(cells: &[(&str, u8, &[u8])]) -> Self {
        let cells = cells.iter().map(|(name, tag, bytes)| (name.as_bytes().to_vec(), *tag, bytes.to_vec())).collect();
        Self { set: Vec::new(), generation: 0, expiry: 0, stamp: 0, user_key: None, cells, stream: Stream::None }
    }

    pub(super) fn meta(&self) -> Meta<'_> {
        Meta {
            set: &self.set,
            generation: self.generation,
            expiry: Expiry::from_millis(self.expiry),
            stamp: self.stamp,
            user_key: self.user_key.as_deref(),
        }
    }

    pub(super) fn shape(&self) -> Arc<Shape> {
        Arc::new(Shape::new(self.cells.iter().map(|cell| cell.0.clone()).collect()))
    }

    pub(super) fn value(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = crate::record::CellWriter::new(&mut out, self.cells.len());
        for (_, tag, bytes) in &self.cells {
            writer.cell(Tag(*tag), bytes);
        }
        out
    }

    pub(super) fn is_live(&self, at: i64) -> bool {
        !Expiry::from_millis(self.expiry).is_over_at(Timestamp::from_millis(at))
    }
}

pub(super) type Model = BTreeMap<Vec<u8>, Rec>;

struct Bytes {
    bytes: Vec<u8>,
    kind: Stream,
}

impl StreamedValue for Bytes {
    fn open(&mut self) -> std::io::Result<Box<dyn Read + Send + '_>> {
        if self.kind == Stream::Broken {
            return Ok(Box::new(self.bytes.as_slice().chain(Failing)));
        }
        Ok(Box::new(self.bytes.as_slice()))
    }

    fn is_untorn(&mut self) -> std::io::Result<bool> {
        Ok(self.kind != Stream::Torn)
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the disk is gone"))
    }
}

pub(super) struct Source<'a> {
    rows: Vec<(&'a Vec<u8>, &'a Rec)>,
    next: usize,
    batch: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(model: &'a Model, range: &KeyRange, batch: usize) -> Self {
        Self { rows: model.iter().filter(|(key, _)| range.contains(key)).collect(), next: 0, batch }
    }
}

impl RecordStream for Source<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        for (key, rec) in self.rows.iter().skip(self.next).take(self.batch) {
            let head = RowHead { key, meta: rec.meta() };
            if rec.stream == Stream::None {
                batch.push_encoded(head, &rec.shape(), &rec.value());
            } else {
                let (last, cells) = rec.cells.split_last().unwrap();
                let stream = Box::new(Bytes { bytes: last.2.clone(), kind: rec.stream.clone() });
                batch.push_streamed(head, &rec.shape(), Tag(last.1), stream, |writer| {
                    for (_, tag, bytes) in cells {
                        writer.cell(Tag(*tag), bytes);
                    }
                });
            }
        }
        self.next += batch.len();
        Ok(!batch.is_empty())
    }
}

pub(in crate::layer) fn context() -> LayerContext {
    LayerContext {
        fingerprinter: Fingerprinter::new(&[3; 32]),
        collection_key: [4; 32],
        cut_key: [5; 32],
        gear_seed: 0x1234_5678_9abc_def0,
    }
}

pub(super) fn reader(chunks: &MemoryChunks) -> Arc<dyn ChunkReader> {
    Arc::new(chunks.clone())
}

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Joins a model over some ranges; checks the identities; gives the layer, the outcomes and the whole sum.
pub(super) fn backup(
    chunks: &MemoryChunks,
    model: &Model,
    parent: Option<&[LayerRef]>,
    new_base: bool,
    ends: (i64, i64),
    ranges: &[KeyRange],
) -> (Option<LayerRef>, Vec<RangeOutcome>, CollectionSum) {
    let context = context();
    let stack = parent.map(|layers| Stack::open(&reader(chunks), layers).unwrap());
    let mut writer = chunks.writer();
    let options = JoinOptions {
        parent: stack.as_ref(),
        new_base,
        parent_end: at(ends.0),
        end: at(ends.1),
        is_end_known: true,
        carries: false,
        read_all: false,
        doubtful: &[],
        progress: &|_, _| true,
    };
    let mut outcomes = Vec::new();
    let mut sum = CollectionSum::default();
    for range in ranges {
        let mut source = Source::new(model, range, 37);
        let outcome = join_range(&context, &mut source, range, &options, &mut writer).unwrap();
        let c = &outcome.counts;
        assert_eq!(c.parent_records + c.new - c.deleted - c.expired, c.records, "{c:?}");
        assert_eq!(c.seen - c.seen_expired - c.unreadable + outcome.stood, c.records, "{c:?}");
        sum.add(&outcome.sum);
        outcomes.push(outcome);
    }
    if let (Some(stack), false) = (&stack, new_base) {
        assert_carries(&context, model, stack, ends, ranges, sum);
    }
    let built: Vec<_> = ranges.iter().cloned().zip(outcomes.iter().map(|outcome| outcome.built.clone())).collect();
    let layer = finish_layer(&context, &mut writer, &built).unwrap();
    (layer, outcomes, sum)
}

/// A sum that is carried from the parent is that of all records: of an end that is known, and of one that comes to be known.
fn assert_carries(
    context: &LayerContext,
    model: &Model,
    stack: &Stack,
    (parent_end, end): (i64, i64),
    ranges: &[KeyRange],
    expected: CollectionSum,
) {
    let apart = MemoryChunks::new([1; 32]);
    let mut of_parent = CollectionSum::default();
    let mut cursor = stack.cursor(&KeyRange::all(), at(parent_end), true).unwrap();
    while cursor.advance().unwrap() {
        let (key, meta, print) = (cursor.key(), cursor.meta(), cursor.fingerprint());
        of_parent.add(&CollectionSum::of_row(&context.collection_key, key, &meta, &print, &mut Vec::new()));
    }
    let doubtful = [KeyRange { start: vec![3], end: Some(vec![3, 9]) }];
    for (is_end_known, doubtful) in [(true, &[][..]), (false, &[]), (true, &doubtful), (false, &doubtful)] {
        let join = |carries| {
            let options = JoinOptions {
                parent: Some(stack),
                new_base: false,
                parent_end: at(parent_end),
                end: at(if is_end_known { end } else { end - 15 }),
                is_end_known,
                carries,
                read_all: false,
                doubtful,
                progress: &|_, _| true,
            };
            let mut sum = CollectionSum::default();
            for range in ranges {
                // What lies in the doubtful range does not come.
                let is_doubtful = |key: &[u8]| doubtful.iter().any(|range| range.contains(key));
                let mut source = Source::new(model, range, 41);
                source.rows.retain(|(key, _)| !is_doubtful(key));
                let mut outcome = join_range(context, &mut source, range, &options, &mut apart.writer()).unwrap();
                outcome = if is_end_known { outcome } else { settled(outcome, end) };
                assert_eq!((outcome.carried, outcome.added_up.is_some()), (carries, carries && cfg!(debug_assertions)));
                sum.add(&outcome.sum);
            }
            sum
        };
        let (whole, mut carried) = (join(false), join(true));
        carried.add(&of_parent);
        assert_eq!(carried, whole, "is the end known: {is_end_known}, doubtful: {doubtful:?}");
        if doubtful.is_empty() {
            assert_eq!(whole, expected);
        }
    }
}

/// As it is once the run's end is known.
fn settled(mut outcome: RangeOutcome, end: i64) -> RangeOutcome {
    assert_eq!(outcome.expiring.end_from(at(end)), Some(at(end)));
    outcome.settle(at(end));
    outcome
}

/// Reads a stack at a time and compares it with what is live in the model.
pub(super) fn assert_reads(chunks: &MemoryChunks, layers: &[LayerRef], time: i64, model: &Model) -> CollectionSum {
    let context = context();
    let stack = Stack::open(&reader(chunks), layers).unwrap();
    let mut cursor = stack.cursor(&KeyRange::all(), at(time), false).unwrap();
    let mut sum = CollectionSum::default();
    let mut scratch = Vec::new();
    for (key, rec) in model.iter().filter(|(_, rec)| rec.is_live(time)) {
        assert!(cursor.advance().unwrap(), "the stack ends before {key:?}");
        assert_eq!(cursor.key(), key);
        assert_eq!(cursor.meta(), rec.meta(), "{key:?}");
        let print = context.fingerprinter.of(&rec.shape(), rec.user_key.as_deref(), &rec.value());
        assert_eq!(cursor.fingerprint(), print);
        assert!(cursor.check_value(&context.fingerprinter).unwrap());
        sum.add(&CollectionSum::of_row(&context.collection_key, key, &rec.meta(), &print, &mut scratch));
        let (shape, value) = cursor.value().unwrap();
        assert_eq!(shape, rec.shape());
        match value {
            VersionValue::Inline(value) => assert_eq!(value, rec.value()),
            VersionValue::Pieces { bytes, mut reader } => {
                let mut value = Vec::new();
                reader.read_to_end(&mut value).unwrap();
                assert_eq!(value.len() as u64, bytes);
                assert!(value == rec.value());
            }
        }
    }
    assert!(!cursor.advance().unwrap(), "the stack holds {:?} too", cursor.key());
    sum
}

/// What [`crate::layer::diff_stacks`] must find.
pub(super) fn expected_diff(a: (&Model, i64), b: (&Model, i64)) -> Vec<(Vec<u8>, Change)> {
    let live = |(model, time): (&Model, i64)| -> Model {
        model.iter().filter(|(_, rec)| rec.is_live(time)).map(|(key, rec)| (key.clone(), rec.clone())).collect()
    };
    let (a, b) = (live(a), live(b));
    let keys: std::collections::BTreeSet<&Vec<u8>> = a.keys().chain(b.keys()).collect();
    let change = |key: &Vec<u8>| match (a.get(key), b.get(key)) {
        (Some(_), None) => Some(Change::Removed),
        (None, Some(_)) => Some(Change::Added),
        (Some(a), Some(b)) => {
            let same_value = a.cells == b.cells && a.user_key == b.user_key;
            (!same_value || a.meta() != b.meta()).then_some(Change::Changed { same_value })
        }
        (None, None) => None,
    };
    keys.into_iter().filter_map(|key| Some((key.clone(), change(key)?))).collect()
}
