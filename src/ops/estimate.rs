//! `backup --estimate`: what a full backup would read and store, from what the source says of itself and a sample of its
//! records. Stores nothing and needs no repository.

use super::{OpsError, Phase, PhaseKind, Progress, hearing::hearing};
use crate::{
    connector::{SessionOptions, Source, SourceSession, Spread},
    layer::{JoinOptions, LayerContext, join_range},
    record::{KeyRange, RecordBatch, RecordStream, StreamError, Timestamp},
    repo::{ChunkKind, ChunkPlain, ChunkWriter, Put, RepoError, SnapshotId, keys::Keyring, pack::PackBuilder},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Records of each collection that are looked at.
pub const SAMPLE_RECORDS: u64 = 10_000;

/// Bytes of them after which that is enough.
const SAMPLE_BYTES: u64 = 32 * 1024 * 1024;

/// Ranges that the sample is taken from.
const SAMPLE_RANGES: usize = 8;

/// How to estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EstimateOptions {
    /// zstd level, 0 for none.
    pub compression: i32,
    /// Worker threads of the backup.
    pub parallel: usize,
    /// Bytes per second from the source.
    pub read_limit: Option<u64>,
    /// Records per second from the source.
    pub records_per_second: Option<u32>,
}

/// What a full backup would come to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EstimateOutcome {
    /// Records, about.
    pub records: u64,
    /// Bytes that would be read, about.
    pub bytes: u64,
    /// Bytes that would be stored, about, if none of them are in the repository already.
    pub stored_bytes: u64,
    /// Seconds, about, on this machine.
    pub seconds: f64,
    /// Each collection.
    pub collections: Vec<EstimatedCollection>,
    /// What the figures leave out, in words.
    pub notes: Vec<String>,
}

/// What is estimated of one collection.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EstimatedCollection {
    /// Its name.
    pub name: String,
    /// Records, by the source's word; what was met where it does not say.
    pub records: u64,
    /// Bytes that would be read.
    pub bytes: u64,
    /// Bytes that would be stored.
    pub stored_bytes: u64,
    /// Seconds that reading, comparing and compressing would take one worker.
    pub seconds: f64,
    /// Records by set, where the source has sets and counts them.
    pub sets: BTreeMap<String, u64>,
    /// What was looked at.
    pub sample: Sample,
}

/// What a sample came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Records.
    pub records: u64,
    /// Their bytes as they are read.
    pub bytes: u64,
    /// The bytes they take when stored.
    pub stored_bytes: u64,
    /// Bytes of the smallest and the largest one.
    pub smallest: u64,
    /// See [`Self::smallest`].
    pub largest: u64,
    /// Records left out because their values are too long to be held.
    pub left_out: u64,
    /// Whether they are all that there are.
    pub is_all: bool,
}

/// Estimates a full backup of `source`.
pub fn estimate(
    source: &dyn Source,
    options: &EstimateOptions,
    progress: &dyn Progress,
) -> Result<EstimateOutcome, OpsError> {
    let how = SessionOptions { parallel: 1, ..SessionOptions::default() };
    let session = hearing(source, progress, || source.begin(&how))?;
    let mut outcome = EstimateOutcome::default();
    let scope = source.scope().note;
    if !scope.is_empty() {
        outcome.notes.push(format!(
            "only a part is asked for ({scope}): counts are those of the source where it does not count that part"
        ));
    }
    progress.phase(&Phase {
        kind: PhaseKind::Sampling,
        object: String::new(),
        records: SAMPLE_RECORDS * session.collections().len() as u64,
        bytes: 0,
    });
    let keyring = Arc::new(Keyring::ephemeral()?);
    for index in 0..session.collections().len() {
        let estimated = one(session.as_ref(), index, &keyring, options, progress)?;
        outcome.records += estimated.records;
        outcome.bytes += estimated.bytes;
        outcome.stored_bytes += estimated.stored_bytes;
        outcome.seconds += estimated.seconds / options.parallel.max(1) as f64;
        if estimated.sample.left_out > 0 {
            outcome.notes.push(format!(
                "{}: {} of the records that were looked at have long values, which are not counted",
                estimated.name, estimated.sample.left_out
            ));
        }
        outcome.collections.push(estimated);
    }
    let limits = [
        options.read_limit.map(|limit| outcome.bytes as f64 / limit.max(1) as f64),
        options.records_per_second.map(|limit| outcome.records as f64 / f64::from(limit.max(1))),
    ];
    outcome.seconds = limits.into_iter().flatten().fold(outcome.seconds, f64::max);
    outcome.notes.extend(session.finish()?.missing);
    Ok(outcome)
}

fn one(
    session: &dyn SourceSession,
    index: usize,
    keyring: &Arc<Keyring>,
    options: &EstimateOptions,
    progress: &dyn Progress,
) -> Result<EstimatedCollection, OpsError> {
    let found = &session.collections()[index];
    let began = Instant::now();
    // Where records lie as if drawn by lot the first ones are a fair sample.
    let parts = if session.spread(index) == Spread::Even { 1 } else { SAMPLE_RANGES };
    let ranges = KeyRange::between(&session.splits(index, parts)?);
    let mut sampled = Sampled { session, index, ranges, at: 0, stream: None, sample: Sample::default(), progress };
    sampled.sample.is_all = true;
    let mut writer = Measuring { keyring: Arc::clone(keyring), level: options.compression, stored_bytes: 0 };
    let join = JoinOptions {
        parent: None,
        new_base: true,
        parent_end: Timestamp::default(),
        end: session.start(),
        is_end_known: true,
        carries: false,
        read_all: false,
        doubtful: &[],
        progress: &|_, _| true,
    };
    let context = LayerContext::new(&keyring.secrets);
    let joined = join_range(&context, &mut sampled, &KeyRange::all(), &join, &mut writer);
    if progress.cancelled() {
        return Err(OpsError::Interrupted);
    }
    joined?;
    let sample = Sample { stored_bytes: writer.stored_bytes, ..sampled.sample };
    drop(sampled);
    let records = if sample.is_all { sample.records } else { found.estimated_records.max(sample.records) };
    let scale =
        |of_sample: f64| if sample.records == 0 { 0.0 } else { of_sample * records as f64 / sample.records as f64 };
    let sets = found.attributes.get("set_records").and_then(|sets| serde_json::from_value(sets.clone()).ok());
    Ok(EstimatedCollection {
        name: found.name.clone(),
        records,
        bytes: scale(sample.bytes as f64) as u64,
        stored_bytes: scale(sample.stored_bytes as f64) as u64,
        seconds: scale(began.elapsed().max(Duration::from_micros(1)).as_secs_f64()),
        sets: sets.unwrap_or_default(),
        sample,
    })
}

/// Some records of each of several ranges.
struct Sampled<'a> {
    session: &'a dyn SourceSession,
    index: usize,
    ranges: Vec<KeyRange>,
    at: usize,
    /// The range being read, and how many records of it are still wanted.
    stream: Option<(Box<dyn RecordStream + 'a>, u64)>,
    sample: Sample,
    progress: &'a dyn Progress,
}

impl Sampled<'_> {
    fn is_enough(&self) -> bool {
        self.sample.records >= SAMPLE_RECORDS || self.sample.bytes >= SAMPLE_BYTES
    }

    /// Counts a batch's first records and forgets the others.
    fn take(&mut self, whole: &RecordBatch, wanted: u64, batch: &mut RecordBatch) -> u64 {
        let mut taken = 0;
        for row in whole.rows() {
            if taken >= wanted || self.is_enough() {
                self.sample.is_all = false;
                break;
            }
            if row.stream.is_some() {
                self.sample.left_out += 1;
                continue;
            }
            let bytes = (row.key.len() + row.value.len()) as u64;
            self.sample.smallest = if self.sample.records == 0 { bytes } else { self.sample.smallest.min(bytes) };
            self.sample.largest = self.sample.largest.max(bytes);
            self.sample.records += 1;
            self.sample.bytes += bytes;
            batch.push_row(&row);
            taken += 1;
        }
        self.progress.count(taken, 0);
        taken
    }
}

impl RecordStream for Sampled<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        loop {
            if self.progress.cancelled() {
                return Err(Box::new(OpsError::Interrupted));
            }
            let (mut stream, wanted) = match self.stream.take() {
                Some(open) => open,
                None if self.at >= self.ranges.len() => return Ok(false),
                None if self.is_enough() => {
                    self.sample.is_all = false;
                    return Ok(false);
                }
                None => {
                    let range = &self.ranges[self.at];
                    let left = (self.ranges.len() - self.at) as u64;
                    self.at += 1;
                    let wanted = (SAMPLE_RECORDS - self.sample.records).div_ceil(left);
                    (self.session.read(self.index, range)?, wanted)
                }
            };
            let mut whole = RecordBatch::new();
            if !stream.next_batch(&mut whole)? {
                continue;
            }
            while stream.unread().is_some() {
                self.sample.is_all = false;
            }
            let taken = self.take(&whole, wanted, batch);
            if taken < wanted && !self.is_enough() {
                self.stream = Some((stream, wanted - taken));
            } else {
                // Whether more would come is not asked.
                self.sample.is_all = false;
            }
            if !batch.is_empty() {
                return Ok(true);
            }
        }
    }
}

/// Seals chunks and keeps their lengths.
struct Measuring {
    keyring: Arc<Keyring>,
    level: i32,
    stored_bytes: u64,
}

impl ChunkWriter for Measuring {
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError> {
        let id = plain.id(&self.keyring.secrets.chunk_id, kind);
        let mut pack = PackBuilder::new(Arc::clone(&self.keyring), kind.pack_kind(), SnapshotId([0; 16]))?;
        let stored_bytes = u64::from(pack.add(id, kind, plain, self.level, false)?.stored_len);
        self.stored_bytes += stored_bytes;
        Ok(Put { id, new: true, stored_bytes })
    }
}
