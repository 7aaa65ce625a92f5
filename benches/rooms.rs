//! Hot functions, one group a room: `cargo bench --bench rooms`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rekeep::{
    layer::{JoinOptions, LayerContext, join_range},
    record::{
        CellWriter, CollectionSum, Fingerprint, Fingerprinter, KeyCodec, KeyPart, KeyRange, Meta, RecordBatch,
        RecordStream, RowHead, Shape, StreamError, Tag, Timestamp,
    },
    repo::{
        ChunkId, ChunkKind, ChunkPlain, ChunkWriter, Put, RepoError, Secrets, SnapshotId,
        keys::Keyring,
        pack::{PackBuilder, PackKey},
    },
};
use std::{hint::black_box, sync::Arc};

/// `record`: what every record pays.
fn record(c: &mut Criterion) {
    let shape = Shape::new(["city", "email", "name"].map(|name| name.as_bytes().to_vec()).into());
    let prints = Fingerprinter::new(&[7; 32]);
    let mut group = c.benchmark_group("record");
    for bytes in [60usize, 430, 4096] {
        let value: Vec<u8> = (0..bytes).map(|i| (i * 31) as u8).collect();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("fingerprint/{bytes}"), |b| {
            b.iter(|| prints.of(&shape, None, black_box(&value)));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("collection_sum/row", |b| {
        let (mut sum, mut scratch, mut key) = (CollectionSum::default(), Vec::new(), 0u64);
        b.iter(|| {
            key += 8;
            let row = CollectionSum::of_row(
                &[3; 32],
                &black_box(key).to_be_bytes(),
                &Meta::default(),
                &Fingerprint([1; 12]),
                &mut scratch,
            );
            sum.add(&row);
        });
        black_box(sum);
    });
    group
        .bench_function("key/int_encode", |b| b.iter(|| KeyCodec::Int.encode(&[KeyPart::Int(black_box(-12_345_678))])));
    group.finish();
}

/// Gives the same batches again, as a source would.
struct Again {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    shape: Arc<Shape>,
    next: usize,
}

impl RecordStream for Again {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while self.next < self.rows.len() && batch.bytes() < 1 << 20 {
            let (key, value) = &self.rows[self.next];
            batch.push_encoded(RowHead { key, ..RowHead::default() }, &self.shape, value);
            self.next += 1;
        }
        Ok(!batch.is_empty())
    }
}

/// Keeps what the layer room writes.
#[derive(Default)]
struct Kept(Vec<(ChunkKind, ChunkPlain)>);

impl ChunkWriter for Kept {
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError> {
        self.0.push((kind, plain.clone()));
        Ok(Put { id: ChunkId([0; 32]), new: true, stored_bytes: 0 })
    }
}

/// Records of three cells: a counter, a word of a few, and text.
fn records(count: u64) -> Again {
    let shape = Shape::new(["city", "visits", "words"].map(|name| name.as_bytes().to_vec()).into());
    let words = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath"];
    let mut random = 1u64;
    let rows = (0..count).map(|number| {
        let mut draw = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize
        };
        let mut value = Vec::new();
        let mut cells = CellWriter::new(&mut value, 3);
        cells.cell(Tag::STRING, words[draw() % 8].as_bytes());
        cells.integer(1_000_000 + (draw() % 7_000_000) as i64);
        let text: Vec<&str> = (0..50).map(|_| words[draw() % 8]).collect();
        cells.cell(Tag::STRING, text.join(" ").as_bytes());
        (KeyCodec::Int.encode(&[KeyPart::Int(number as i64 * 8)]).expect("an integer is a key"), value)
    });
    Again { rows: rows.collect(), shape: Arc::new(shape), next: 0 }
}

fn build(context: &LayerContext, source: &mut Again, writer: &mut Kept) {
    source.next = 0;
    writer.0.clear();
    let options = JoinOptions {
        parent: None,
        new_base: false,
        parent_end: Timestamp::default(),
        end: Timestamp::default(),
        is_end_known: true,
        carries: false,
        read_all: false,
        doubtful: &[],
        progress: &|_, _| true,
    };
    join_range(context, source, &KeyRange::all(), &options, writer).expect("records in order make a layer");
}

/// `layer`: fingerprint, sum, cut and columns of a base.
fn layer(c: &mut Criterion) {
    let secrets = Secrets { chunk_id: [1; 32], fingerprint: [2; 32], collection: [3; 32], cut: [4; 32], gear_seed: 5 };
    let context = LayerContext::new(&secrets);
    let mut source = records(20_000);
    let bytes: usize = source.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
    let mut group = c.benchmark_group("layer");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(bytes as u64));
    let mut kept = Kept::default();
    group.bench_function("build_base/20000", |b| b.iter(|| build(&context, &mut source, &mut kept)));
    group.finish();
}

/// `repo`: naming, compressing, checking and sealing a real values chunk, and opening it again.
fn repo(c: &mut Criterion) {
    let keyring = Arc::new(Keyring::ephemeral().expect("the system has randomness"));
    let (mut source, mut kept) = (records(5_000), Kept::default());
    build(&LayerContext::new(&keyring.secrets), &mut source, &mut kept);
    let (kind, plain) = kept.0.iter().find(|(kind, _)| *kind == ChunkKind::Values).expect("records have values");
    let id = plain.id(&keyring.secrets.chunk_id, *kind);
    let pack = || PackBuilder::new(Arc::clone(&keyring), kind.pack_kind(), SnapshotId([7; 16])).expect("a pack begins");
    let mut group = c.benchmark_group("repo");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(plain.bytes.len() as u64));
    group.bench_function("chunk/id", |b| b.iter(|| black_box(plain).id(&keyring.secrets.chunk_id, *kind)));
    for (name, level, check) in
        [("raw", 0, false), ("level_1", 1, false), ("level_1_checked", 1, true), ("level_3", 3, false)]
    {
        group.bench_function(format!("chunk/seal_{name}"), |b| {
            b.iter_batched(
                pack,
                |mut pack| pack.add(id, *kind, black_box(plain), level, check).expect("a chunk fits a pack"),
                BatchSize::LargeInput,
            );
        });
    }
    let mut builder = pack();
    let entry = builder.add(id, *kind, plain, 1, true).expect("a chunk fits a pack");
    let sealed = builder.finish().expect("a pack of one chunk");
    let key = PackKey::unwrap(&keyring, &sealed.name, &sealed.header).expect("our own pack");
    let start = entry.offset as usize;
    let frame = &sealed.bytes[start..start + entry.stored_len as usize];
    group.bench_function("chunk/open", |b| {
        b.iter(|| key.open_frame(0, &entry, black_box(frame)).and_then(|data| data.plain()).expect("our own chunk"));
    });
    group.finish();
}

criterion_group!(rooms, record, layer, repo);
criterion_main!(rooms);
