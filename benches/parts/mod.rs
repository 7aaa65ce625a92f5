//! The parts of a backup that cost CPU time, one clock each.

use crate::common::{Outcome, thread_cpu_seconds};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use rekeep::{
    connector::SourceSession,
    layer::{JoinOptions, LayerContext, finish_layer, join_range},
    record::{CollectionSum, Fingerprinter, KeyRange, RecordBatch, Timestamp},
    repo::{ChunkKind, ChunkPlain, ChunkWriter, Put, RepoError, Secrets},
};
use std::{hint::black_box, time::Instant};
use zstd::bulk::{Compressor, Decompressor};

/// Runs shorter than this are stored as they are.
const MIN_RUN_BYTES: usize = 64;
/// No block ends below this many bytes.
const LEAST_BLOCK_BYTES: usize = 32 * 1024;
/// About where a block ends.
const MEAN_BLOCK_BYTES: usize = 260 * 1024;

/// Wall and CPU seconds of one part.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub wall: f64,
    pub cpu: f64,
}

/// Fixed secrets: the same data gives the same chunks in every run.
pub fn secrets() -> Secrets {
    Secrets { chunk_id: [1; 32], fingerprint: [2; 32], collection: [3; 32], cut: [4; 32], gear_seed: 5 }
}

/// CPU seconds of what every record pays before it lies in a block.
pub struct KeyParts {
    pub fingerprint: f64,
    pub cut: f64,
    pub sum: f64,
    fingerprinter: Fingerprinter,
    total_sum: CollectionSum,
    scratch: Vec<u8>,
    block_bytes: usize,
}

impl KeyParts {
    pub fn new() -> Self {
        Self {
            fingerprint: 0.0,
            cut: 0.0,
            sum: 0.0,
            fingerprinter: Fingerprinter::new(&secrets().fingerprint),
            total_sum: CollectionSum::default(),
            scratch: Vec::new(),
            block_bytes: 0,
        }
    }

    pub fn total(&self) -> f64 {
        self.fingerprint + self.cut + self.sum
    }

    pub fn measure(&mut self, batch: &RecordBatch) {
        let secrets = secrets();
        let mut prints = Vec::with_capacity(batch.len());
        let start = thread_cpu_seconds();
        prints.extend(batch.rows().map(|row| self.fingerprinter.of(row.shape, row.meta.user_key, row.value)));
        let printed = thread_cpu_seconds();
        for (row, print) in batch.rows().zip(&prints) {
            let sum = CollectionSum::of_row(&secrets.collection, row.key, &row.meta, print, &mut self.scratch);
            self.total_sum.add(&sum);
        }
        let summed = thread_cpu_seconds();
        for row in batch.rows() {
            self.block_bytes += row.key.len() + row.value.len();
            if self.block_bytes >= LEAST_BLOCK_BYTES {
                black_box(blake3::keyed_hash(&secrets.cut, row.key));
            }
            if self.block_bytes >= MEAN_BLOCK_BYTES {
                self.block_bytes = 0;
            }
        }
        self.cut += thread_cpu_seconds() - summed;
        self.fingerprint += printed - start;
        self.sum += summed - printed;
    }
}

/// A chunk writer that keeps nothing and measures what each chunk costs. CPU seconds.
pub struct PartsWriter {
    pub id: f64,
    pub compress: f64,
    pub decode: f64,
    pub seal: f64,
    pub name: f64,
    /// What finding out that a run does not shrink cost: in no bound.
    pub wasted: f64,
    pub chunks: u64,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    cipher: ChaCha20Poly1305,
    compressed: Vec<u8>,
    plain: Vec<u8>,
    frame: Vec<u8>,
    failure: Option<String>,
}

impl PartsWriter {
    pub fn new(level: i32) -> Outcome<Self> {
        Ok(Self {
            id: 0.0,
            compress: 0.0,
            decode: 0.0,
            seal: 0.0,
            name: 0.0,
            wasted: 0.0,
            chunks: 0,
            plain_bytes: 0,
            stored_bytes: 0,
            compressor: Compressor::new(level)?,
            decompressor: Decompressor::new()?,
            cipher: ChaCha20Poly1305::new(&[6; 32].into()),
            compressed: Vec::new(),
            plain: Vec::new(),
            frame: Vec::new(),
            failure: None,
        })
    }

    pub fn total(&self) -> f64 {
        self.id + self.compress + self.decode + self.seal + self.name + self.wasted
    }

    fn run(&mut self, run: &[u8]) -> std::io::Result<()> {
        if run.len() < MIN_RUN_BYTES {
            self.frame.extend_from_slice(run);
            return Ok(());
        }
        self.compressed.resize(zstd::zstd_safe::compress_bound(run.len()), 0);
        let start = thread_cpu_seconds();
        let len = self.compressor.compress_to_buffer(run, &mut self.compressed[..])?;
        let compressed = thread_cpu_seconds();
        if len >= run.len() {
            self.wasted += compressed - start;
            self.frame.extend_from_slice(run);
            return Ok(());
        }
        self.plain.resize(run.len().max(self.plain.len()), 0);
        let decoded = self.decompressor.decompress_to_buffer(&self.compressed[..len], &mut self.plain[..])?;
        if self.plain[..decoded] != *run {
            self.failure = Some("a run did not come back from the compressor".to_owned());
        }
        self.decode += thread_cpu_seconds() - compressed;
        self.compress += compressed - start;
        self.frame.extend_from_slice(&self.compressed[..len]);
        Ok(())
    }
}

impl ChunkWriter for PartsWriter {
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError> {
        let invalid = |error: &dyn std::fmt::Display| RepoError::Internal(error.to_string());
        let start = thread_cpu_seconds();
        let id = plain.id(&secrets().chunk_id, kind);
        self.id += thread_cpu_seconds() - start;
        self.frame.clear();
        for run in plain.runs() {
            self.run(&plain.bytes[run]).map_err(|error| invalid(&error))?;
        }
        if let Some(failure) = self.failure.take() {
            return Err(RepoError::Internal(failure));
        }
        let start = thread_cpu_seconds();
        let nonce = [0; 12].into();
        let tag = self.cipher.encrypt_inout_detached(&nonce, b"", self.frame.as_mut_slice().into());
        black_box(tag.map_err(|error| invalid(&error))?);
        let sealed = thread_cpu_seconds();
        black_box(blake3::hash(&self.frame));
        self.name += thread_cpu_seconds() - sealed;
        self.seal += sealed - start;
        self.chunks += 1;
        self.plain_bytes += plain.bytes.len() as u64;
        self.stored_bytes += self.frame.len() as u64;
        Ok(Put { id, new: true, stored_bytes: self.frame.len() as u64 })
    }
}

/// Reads everything of the first collection by rekeep's connector, and does beside it what each record costs.
pub fn read_all(session: &dyn SourceSession) -> Outcome<(Spent, KeyParts)> {
    let mut keys = KeyParts::new();
    let mut batch = RecordBatch::new();
    let mut spent = Spent::default();
    let mut stream = session.read(0, &KeyRange::all())?;
    loop {
        let (start, cpu) = (Instant::now(), thread_cpu_seconds());
        let more = stream.next_batch(&mut batch).map_err(|error| error.to_string())?;
        spent.cpu += thread_cpu_seconds() - cpu;
        spent.wall += start.elapsed().as_secs_f64();
        if !more {
            return Ok((spent, keys));
        }
        keys.measure(&batch);
    }
}

/// Builds a whole base by rekeep's layer room; the writer measures what each chunk costs.
pub fn build_all(session: &dyn SourceSession, level: i32) -> Outcome<(Spent, PartsWriter)> {
    let context = LayerContext::new(&secrets());
    let options = JoinOptions {
        parent: None,
        new_base: false,
        parent_end: Timestamp::default(),
        end: session.start(),
        is_end_known: true,
        carries: false,
        read_all: false,
        doubtful: &[],
        progress: &|_, _| true,
    };
    let mut writer = PartsWriter::new(level)?;
    let mut stream = session.read(0, &KeyRange::all())?;
    let (start, cpu) = (Instant::now(), thread_cpu_seconds());
    let outcome = join_range(&context, stream.as_mut(), &KeyRange::all(), &options, &mut writer)?;
    finish_layer(&context, &mut writer, &[(KeyRange::all(), outcome.built)])?;
    Ok((Spent { wall: start.elapsed().as_secs_f64(), cpu: thread_cpu_seconds() - cpu }, writer))
}
