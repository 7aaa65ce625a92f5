//! One function for each decoder, to be fed anything: none may panic, and none may allocate what its input does not
//! justify. `seeds` gives valid inputs to begin with. The library's tests feed mutated seeds to the same functions.
//!
//! Bytes that are only looked at behind a hash get that hash here, so that what lies behind it is reached. What lies
//! behind a seal is reached by sealing the input where the library lets one (small objects, chunks); the inside of
//! pack directories and index bodies is reached with valid seals only.

use rekeep::{
    layer::{
        JoinOptions, JournalChange, JournalWriter, LayerContext, RangeOutcome, Stack, VersionTime, VersionValue,
        Versions, finish_layer, join_range,
    },
    record::{
        KeyCodec, KeyPart, KeyRange, Meta, RecordBatch, RecordStream, RowHead, Shape, StreamError, Tag, Timestamp,
        bytes::Reader, fingerprint::CollectionSum, value::value_to_json,
    },
    repo::{
        Checkpoint, ChunkId, ChunkKind, ChunkPlain, ChunkReader, Manifest, ObjectName, SnapshotId,
        chunk::MemoryChunks,
        ids::PackKind,
        index::{self, IndexedPack},
        keys::{self, Keyring, Signer},
        manifest::LayerRef,
        object::{self, ObjectKind},
        pack::{self, PackBuilder, PackKey, SealedPack},
        parity::{Head, Outline},
    },
};
use std::{
    io::{Read, Write},
    sync::{Arc, OnceLock},
};

const LEASE: &str = "leases/000102030405060708090a0b0c0d0e0f/0";
const SNAPSHOT: &str = "snapshots/000102030405060708090a0b0c0d0e0f/0";
const REVISION: &str = "snapshots/000102030405060708090a0b0c0d0e0f/1";

/// A decoder: its name, what feeds it, and valid inputs.
pub struct Decoder {
    pub name: &'static str,
    pub feed: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "container", feed: container, seeds: container_seeds },
    Decoder { name: "manifest", feed: manifest, seeds: manifest_seeds },
    Decoder { name: "checkpoint", feed: checkpoint, seeds: checkpoint_seeds },
    Decoder { name: "range_numbers", feed: range_numbers, seeds: range_numbers_seeds },
    Decoder { name: "pack", feed: pack_bytes, seeds: pack_seeds },
    Decoder { name: "frame", feed: frame, seeds: frame_seeds },
    Decoder { name: "index", feed: index_bytes, seeds: index_seeds },
    Decoder { name: "parity", feed: parity_head, seeds: parity_seeds },
    Decoder { name: "config", feed: config, seeds: config_seeds },
    Decoder { name: "keys_block", feed: keys_block, seeds: || chunk_seeds(ChunkKind::Keys) },
    Decoder { name: "values_block", feed: values_block, seeds: || chunk_seeds(ChunkKind::Values) },
    Decoder { name: "list", feed: list, seeds: || chunk_seeds(ChunkKind::List) },
    Decoder { name: "journal", feed: journal, seeds: journal_seeds },
    Decoder { name: "cells", feed: cells, seeds: cells_seeds },
    Decoder { name: "file_cells", feed: file_cells, seeds: file_cells_seeds },
    Decoder { name: "key", feed: key, seeds: key_seeds },
    Decoder { name: "jsonl", feed: jsonl, seeds: jsonl_seeds },
    Decoder { name: "asb", feed: asb, seeds: asb_seeds },
    Decoder { name: "asb_layers", feed: asb_layers, seeds: asb_layers_seeds },
    Decoder { name: "asb_metadata", feed: asb_metadata, seeds: asb_metadata_seeds },
    Decoder { name: "asbx", feed: asbx, seeds: asbx_seeds },
    Decoder { name: "secret_reply", feed: secret_reply, seeds: secret_reply_seeds },
    Decoder { name: "postgres_copy", feed: postgres_copy, seeds: postgres_copy_seeds },
    Decoder { name: "postgres_fields", feed: postgres_fields, seeds: postgres_fields_seeds },
    Decoder { name: "postgres_stream", feed: postgres_stream, seeds: postgres_stream_seeds },
    Decoder { name: "postgres_script", feed: postgres_script, seeds: postgres_script_seeds },
    Decoder { name: "atlas", feed: atlas, seeds: atlas_seeds },
    Decoder { name: "deeplake", feed: deeplake, seeds: deeplake_seeds },
    Decoder { name: "sqlite_pages", feed: sqlite_pages, seeds: sqlite_pages_seeds },
    Decoder { name: "aerospike_wire", feed: aerospike_wire, seeds: aerospike_wire_seeds },
    Decoder { name: "aerospike_info", feed: aerospike_info, seeds: aerospike_info_seeds },
    Decoder { name: "aerospike_login", feed: aerospike_login, seeds: aerospike_login_seeds },
];

fn keyring() -> &'static Arc<Keyring> {
    static KEYRING: OnceLock<Arc<Keyring>> = OnceLock::new();
    KEYRING.get_or_init(|| Arc::new(Keyring::ephemeral().expect("the system gives random bytes")))
}

fn named(data: &[u8]) -> ObjectName {
    ObjectName(*blake3::hash(data).as_bytes())
}

/// Small objects: leases, marks, snapshots, with the hash at their end made right.
pub fn container(data: &[u8]) {
    let mut whole = data.to_vec();
    whole.extend_from_slice(blake3::hash(data).as_bytes());
    for bytes in [data, &whole] {
        for name in [LEASE, SNAPSHOT, REVISION] {
            let kind = object::kind_of(name, bytes);
            for number in 0..=10 {
                let Some(kind) = ObjectKind::from_u8(number) else { continue };
                let _ = object::unwrap(kind, name, bytes);
                let _ = object::open(keyring(), kind, name, bytes);
            }
            drop(kind);
        }
    }
}

fn container_seeds() -> Vec<Vec<u8>> {
    let plain =
        object::unsigned(ObjectKind::Lease, LEASE, br#"{"lease":"000102030405060708090a0b0c0d0e0f","number":0}"#);
    [plain, sealed(b"{}")].into_iter().map(|bytes| bytes[..bytes.len() - 32].to_vec()).collect()
}

fn sealed(body: &[u8]) -> Vec<u8> {
    object::make(keyring(), Signer::Operator, ObjectKind::Snapshot, REVISION, body).expect("a key that may do all")
}

/// The JSON of a snapshot, as it comes out of its seal.
pub fn manifest(data: &[u8]) {
    let sealed = sealed(data);
    let opened = object::open(keyring(), ObjectKind::Snapshot, REVISION, &sealed).expect("it was just sealed");
    assert!(opened == data, "a seal gives back what it was given");
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(&opened) {
        for coverage in manifest.collections.iter().flat_map(|collection| &collection.coverage) {
            let _ = CollectionSum::from_hex(&coverage.sum);
        }
    }
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let text = r#"{"id":"000102030405060708090a0b0c0d0e0f","revision":0,"features":[],"content":{"start":1,"end":2,"source":
    {"connector":"sqlite","name":"h:/x","host":"h","url":"sqlite:x"},"scope":"","kind":"full","parent":null,"complete":true,
    "stats":{},"program":"rekeep"},"collections":[{"name":"c","codec":"int","records":1,"bytes":2,"coverage":[{"from":"",
    "to":null,"start":1,"end":2,"complete":true,"sum":"00","records":1}],"stack":[]}],"tags":["t"]}"#;
    vec![text.as_bytes().to_vec()]
}

/// The JSON of a checkpoint, as it comes out of its seal.
pub fn checkpoint(data: &[u8]) {
    let Ok(checkpoint) = Checkpoint::from_json("checkpoints/x/0", data) else { return };
    for collection in &checkpoint.collections {
        let ranges = collection.ranges().expect("they were checked");
        for span in &collection.spans {
            assert!(span.first + span.lists.len() <= ranges.len(), "a span lies within its ranges");
            assert!(span.doubts.iter().all(|doubt| doubt.range().is_some()));
        }
    }
    let _ = checkpoint.named_chunks().count();
    let again = serde_json::to_vec(&checkpoint).expect("it is JSON");
    assert!(Checkpoint::from_json("checkpoints/x/0", &again).is_ok_and(|again| again == checkpoint));
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let chunk = "07".repeat(32);
    let text = format!(
        r#"{{"version":1,"lease":"000102030405060708090a0b0c0d0e0f","number":3,"source":{{"connector":"aerospike","name":"c",
    "host":"h","url":"u"}},"scope":"s","kind":"incremental","parent":"000102030405060708090a0b0c0d0e0f","options":{{"new_base":
    false,"swept":true,"accept_deletions":false,"max_deleted_percent":20}},"counted_by":1,"time":9,"handover":{{"nodes":["A"]}},
    "collections":[{{"name":"test","codec":"digest","new_base":false,"starts":["0400","0800"],"spans":[{{"first":0,"lists":
    [null,"{chunk}"],"outcome":"{chunk}","start":1,"end":9}},{{"first":2,"lists":[null],"outcome":"{chunk}","start":2,"end":3,
    "doubts":[{{"from":"08","to":null,"reason":"r","acceptable":true}}]}}]}}]}}"#
    );
    vec![text.into_bytes()]
}

/// The numbers of a finished range, and what settling makes of them.
pub fn range_numbers(data: &[u8]) {
    let Ok(mut outcome) = RangeOutcome::from_numbers(data) else { return };
    let again = RangeOutcome::from_numbers(&outcome.numbers()).expect("what was read can be written");
    assert_eq!((again.counts, again.stood), (outcome.counts, outcome.stood));
    let end = Timestamp::from_millis(outcome.counted_by().as_millis().saturating_add(3_600_000));
    if let Some(end) = outcome.expiring.end_from(end) {
        outcome.settle(end);
    }
}

fn range_numbers_seeds() -> Vec<Vec<u8>> {
    let (secrets, mut all) = (&keyring().secrets, Vec::new());
    for is_end_known in [false, true] {
        let rows = (0..40u8).map(|n| (vec![b'k', n], vec![n; 20])).collect();
        let options = JoinOptions {
            parent: None,
            new_base: false,
            parent_end: Timestamp::from_millis(0),
            end: Timestamp::from_millis(5),
            is_end_known,
            carries: false,
            read_all: false,
            doubtful: &[],
            progress: &|_, _| true,
        };
        let mut writer = MemoryChunks::new(secrets.chunk_id).writer();
        let (context, range) = (LayerContext::new(secrets), KeyRange::all());
        let mut joined = join_range(&context, &mut Rows(rows), &range, &options, &mut writer).expect("a join");
        all.push(joined.numbers());
        joined.carried = true;
        all.push(joined.numbers());
    }
    // Two notes.
    let mut noted = vec![1];
    noted.extend([20, 10, 0, 0, 5, 2, 0, 21, 24, 0, 0, 100, 0, 0, 0, 4]);
    noted.extend([9; 32]);
    noted.extend([10, 2]);
    for _ in 0..2 {
        noted.extend([7, 3, 30, 2, 1, 1, 0, 0, 3, 1]);
        noted.extend([8; 32]);
    }
    all.push(noted);
    all
}

fn sample_pack() -> &'static SealedPack {
    static PACK: OnceLock<SealedPack> = OnceLock::new();
    PACK.get_or_init(|| {
        let keyring = keyring();
        let mut builder = PackBuilder::new(Arc::clone(keyring), PackKind::Data, SnapshotId([7; 16])).expect("a pack");
        for n in 0..3u8 {
            let plain = ChunkPlain { bytes: vec![n; 600], ends: vec![100, 100, 600] };
            let id = plain.id(&keyring.secrets.chunk_id, ChunkKind::Values);
            builder.add(id, ChunkKind::Values, &plain, 3, true).expect("a chunk");
        }
        builder.finish().expect("a pack")
    })
}

/// A whole pack under the name that its bytes have.
pub fn pack_bytes(data: &[u8]) {
    let _ = pack::read_directory(keyring(), &named(data), data);
}

fn pack_seeds() -> Vec<Vec<u8>> {
    vec![sample_pack().bytes.clone()]
}

/// One frame of a pack, and the header that holds its key.
pub fn frame(data: &[u8]) {
    let pack = sample_pack();
    let Ok(key) = PackKey::unwrap(keyring(), &pack.name, &pack.header) else { return };
    for (ordinal, entry) in pack.entries.iter().enumerate() {
        if let Ok(chunk) = key.open_frame(ordinal as u64, entry, data) {
            let _ = chunk.plain();
        }
        let entry = pack::PackEntry { stored_len: data.len() as u32, ..*entry };
        let _ = key.open_frame(ordinal as u64, &entry, data).map(|chunk| chunk.plain().map(drop));
    }
    let _ = PackKey::unwrap(keyring(), &pack.name, data);
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let pack = sample_pack();
    let frame = |entry: &pack::PackEntry| {
        pack.bytes[entry.offset as usize..entry.offset as usize + entry.stored_len as usize].to_vec()
    };
    pack.entries.iter().map(frame).chain([pack.header.to_vec()]).collect()
}

/// An index object under the name that its bytes have.
pub fn index_bytes(data: &[u8]) {
    let name = named(data);
    let packs = index::packs_of(&name, data);
    if let (Ok(packs), Ok(opened)) = (packs, index::open(keyring(), &name, data)) {
        assert_eq!(packs.len(), opened.len(), "the plain header names the packs of the sealed body");
    }
}

/// The head of a group of parity, as it stands, and without its two hashes, which are put where they belong.
pub fn parity_head(data: &[u8]) {
    const PATH: &str = "parity/x";
    let _ = Head::parse(PATH, data);
    let Some(places) = data.get(12..14) else { return };
    let listed = 64 + 40 * usize::from(u16::from_le_bytes([places[0], places[1]]));
    let Some((list, sums)) = data.split_at_checked(listed) else { return };
    let mut bytes = list.to_vec();
    bytes.extend_from_slice(blake3::hash(list).as_bytes());
    let outline = Outline::parse(PATH, &bytes);
    bytes.extend_from_slice(sums);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    let head = Head::parse(PATH, &bytes);
    if let (Ok(outline), Ok(head)) = (outline, head) {
        assert_eq!(outline, head.outline, "a list says the same alone and in its head");
    }
}

fn parity_seeds() -> Vec<Vec<u8>> {
    let mut seed = b"RKEEPPAR".to_vec();
    seed.extend_from_slice(&[1, 0, 1, 0, 2, 0, 1, 0]);
    seed.extend_from_slice(&[7; 16]);
    seed.extend_from_slice(&[1, 0, 0, 0]);
    seed.extend_from_slice(&[0; 28]);
    // An empty place, and a pack of one block; a hash of it and one of the row.
    seed.extend_from_slice(&[0; 40]);
    seed.extend_from_slice(&[9; 32]);
    seed.extend_from_slice(&65_536_u64.to_le_bytes());
    seed.extend_from_slice(&[3; 32]);
    vec![seed]
}

fn index_seeds() -> Vec<Vec<u8>> {
    let pack = sample_pack();
    let indexed = IndexedPack {
        name: pack.name,
        bytes: pack.bytes.len() as u64,
        kind: pack.kind,
        lease: pack.lease,
        header: pack.header.clone(),
        entries: pack.entries.clone(),
    };
    vec![
        index::seal(keyring(), &[indexed]).expect("an index").1,
        index::seal(keyring(), &[]).map_or(Vec::new(), |i| i.1),
    ]
}

/// The two lines of `rekeep.json` and of key slots, the second made right.
pub fn config(data: &[u8]) {
    let _ = keys::check_lines("rekeep.json", data);
    let mut line = data.to_vec();
    line.push(b'\n');
    let hash = blake3::hash(&line);
    let _ = writeln!(line, "\"{hash}\"");
    let _ = keys::check_lines("rekeep.json", &line);
}

fn config_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"format":1,"id":"000102030405060708090a0b0c0d0e0f","created":1,"suite":1,"features":[],"secrets":"","check":""}"#
            .to_vec(),
    ]
}

/// Rows for a small stack.
struct Rows(Vec<(Vec<u8>, Vec<u8>)>);

impl RecordStream for Rows {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        let shape = Arc::new(Shape::new(vec![b"a".to_vec(), b"b".to_vec()]));
        for (key, value) in self.0.drain(..) {
            let head = RowHead { key: &key, ..RowHead::default() };
            batch.push(head, &shape, |out| {
                out.integer(5);
                out.cell(Tag::BLOB, &value);
            });
        }
        Ok(!batch.is_empty())
    }
}

/// A base with a value in pieces, and a delta with tombstones.
fn stack() -> &'static (MemoryChunks, Vec<LayerRef>) {
    static STACK: OnceLock<(MemoryChunks, Vec<LayerRef>)> = OnceLock::new();
    STACK.get_or_init(|| {
        let secrets = &keyring().secrets;
        let chunks = MemoryChunks::new(secrets.chunk_id);
        let context = LayerContext::new(secrets);
        let mut layers = Vec::new();
        for delta in [false, true] {
            let reader: Arc<dyn ChunkReader> = Arc::new(chunks.clone());
            let parent = delta.then(|| Stack::open(&reader, &layers).expect("a stack"));
            let rows = (0..30u8).filter(|n| !delta || n % 7 != 0).map(|n| {
                let len = if n == 11 { 200_000 } else { usize::from(n) };
                (vec![b'k', n], vec![n ^ u8::from(delta && n % 5 == 0); len])
            });
            let options = JoinOptions {
                parent: parent.as_ref(),
                new_base: false,
                parent_end: Timestamp::from_millis(1),
                end: Timestamp::from_millis(2),
                is_end_known: true,
                carries: false,
                read_all: false,
                doubtful: &[],
                progress: &|_, _| true,
            };
            let mut writer = chunks.writer();
            let range = KeyRange::all();
            let joined =
                join_range(&context, &mut Rows(rows.collect()), &range, &options, &mut writer).expect("a join");
            layers.extend(finish_layer(&context, &mut writer, &[(range, joined.built)]).expect("a layer"));
        }
        (chunks, layers)
    })
}

/// A chunk as bytes: the number of runs, each run's length, the bytes.
fn chunk_to_bytes(plain: &ChunkPlain) -> Vec<u8> {
    let mut out = vec![plain.ends.len() as u8];
    for run in plain.runs() {
        out.extend_from_slice(&(run.len() as u32).to_le_bytes());
    }
    out.extend_from_slice(&plain.bytes);
    out
}

fn chunk_from_bytes(data: &[u8]) -> ChunkPlain {
    let (&runs, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let mut lengths = Vec::new();
    for _ in 0..runs {
        let Some((length, behind)) = rest.split_first_chunk() else { break };
        lengths.push(u32::from_le_bytes(*length) as usize);
        rest = behind;
    }
    let mut end = 0usize;
    let ends = lengths.iter().map(|length| {
        end = end.saturating_add(*length).min(rest.len());
        end
    });
    let mut ends: Vec<usize> = ends.collect();
    if ends.last().is_some_and(|last| *last < rest.len()) {
        ends.push(rest.len());
    }
    let bytes = if ends.is_empty() { Vec::new() } else { rest.to_vec() };
    ChunkPlain { bytes, ends }
}

fn chunk_seeds(kind: ChunkKind) -> Vec<Vec<u8>> {
    let (chunks, _) = stack();
    let plain = |id: &ChunkId| chunks.read(kind, id).and_then(|chunk| chunk.plain()).expect("a chunk");
    chunks.ids(kind).iter().map(|id| chunk_to_bytes(&plain(id))).collect()
}

/// Puts the input in the place of each chunk of a kind in turn, and reads everything.
fn in_place_of(kind: ChunkKind, data: &[u8]) {
    let (sound, layers) = stack();
    for id in sound.ids(kind) {
        let chunks = MemoryChunks::new(keyring().secrets.chunk_id);
        for other in [ChunkKind::Keys, ChunkKind::Values, ChunkKind::List, ChunkKind::Piece, ChunkKind::PieceList] {
            for id in sound.ids(other) {
                let plain = sound.read(other, &id).and_then(|chunk| chunk.plain()).expect("a chunk");
                chunks.replace(other, id, plain);
            }
        }
        chunks.replace(kind, id, chunk_from_bytes(data));
        walk(&chunks, layers);
    }
}

fn walk(chunks: &MemoryChunks, layers: &[LayerRef]) {
    let reader: Arc<dyn ChunkReader> = Arc::new(chunks.clone());
    let context = LayerContext::new(&keyring().secrets);
    if let Ok(stack) = Stack::open(&reader, layers) {
        for layer in stack.layers() {
            let _ = layer.for_each_chunk(&mut |_| Ok(()));
            let _ = layer.for_each_block(&mut |_| Ok(()));
        }
        let _ = stack.next_boundary(b"k");
        for range in [KeyRange::all(), KeyRange::only(b"k\x05")] {
            let Ok(mut cursor) = stack.cursor(&range, Timestamp::from_millis(2), false) else { continue };
            let mut last: Option<Vec<u8>> = None;
            while let Ok(true) = cursor.advance() {
                assert!(last.as_deref().is_none_or(|last| last < cursor.key()), "keys ascend, whatever is stored");
                last = Some(cursor.key().to_vec());
                let _ = cursor.check_value(&context.fingerprinter);
                if let Ok(row) = cursor.row()
                    && let VersionValue::Pieces { reader, .. } = row.value
                {
                    let _ = std::io::copy(&mut reader.take(1 << 20), &mut std::io::sink());
                }
            }
        }
    }
    let versions = Versions::new(&reader);
    for key in [b"k\x05".as_slice(), b"k\x0b", b"k\x07", b""] {
        for layer in layers {
            let _ = versions.version(layer, key);
        }
        let _ = versions.value(layers, key, 1 << 20);
    }
}

/// The keys chunk of a block.
pub fn keys_block(data: &[u8]) {
    in_place_of(ChunkKind::Keys, data);
}

/// A stack of two journals, one of them over a block of its own.
fn journals() -> &'static (MemoryChunks, Vec<LayerRef>) {
    static JOURNALS: OnceLock<(MemoryChunks, Vec<LayerRef>)> = OnceLock::new();
    JOURNALS.get_or_init(|| {
        let chunks = MemoryChunks::new(keyring().secrets.chunk_id);
        let context = LayerContext::new(&keyring().secrets);
        let shape = Arc::new(Shape::new(vec![b"a".to_vec()]));
        let layers = [1u64, 2].map(|n| {
            let mut writer = chunks.writer();
            let mut journal = JournalWriter::new(&context);
            for key in [b"k\0".as_slice(), b"k\x05", b"k\x07"] {
                for millis in [3, 2, n] {
                    let time = VersionTime { millis, order: n };
                    let value = [4, millis as u8];
                    let put = JournalChange::Put { meta: Meta::default(), shape: &shape, value: &value };
                    let change = if millis == 2 { JournalChange::Delete } else { put };
                    journal.push(&mut writer, key, time, &change).expect("versions in order");
                }
            }
            journal.finish(&mut writer).expect("a journal").expect("rows")
        });
        (chunks, layers.to_vec())
    })
}

fn journal_seeds() -> Vec<Vec<u8>> {
    let (chunks, _) = journals();
    let plain = |id: &ChunkId| chunks.read(ChunkKind::Versions, id).and_then(|chunk| chunk.plain()).expect("a chunk");
    chunks.ids(ChunkKind::Versions).iter().map(|id| chunk_to_bytes(&plain(id))).collect()
}

/// The keys chunk of a journal, seen at a time and by its versions.
pub fn journal(data: &[u8]) {
    let (sound, layers) = journals();
    for id in sound.ids(ChunkKind::Versions) {
        let chunks = MemoryChunks::new(keyring().secrets.chunk_id);
        for other in [ChunkKind::Versions, ChunkKind::Values, ChunkKind::List] {
            for id in sound.ids(other) {
                let plain = sound.read(other, &id).and_then(|chunk| chunk.plain()).expect("a chunk");
                chunks.replace(other, id, plain);
            }
        }
        chunks.replace(ChunkKind::Versions, id, chunk_from_bytes(data));
        walk(&chunks, layers);
        let reader: Arc<dyn ChunkReader> = Arc::new(chunks.clone());
        let versions = Versions::new(&reader);
        let last = VersionTime { millis: u64::MAX, order: u64::MAX };
        for layer in layers {
            let found = versions.timed(layer, b"k\0", VersionTime::default(), last).unwrap_or_default();
            assert!(found.is_sorted_by_key(|(time, _)| *time), "versions ascend, whatever is stored");
            let _ = versions.newest(layer, b"k\x05", last);
            for (time, _) in found {
                let _ = versions.value_at(layer, b"k\0", time, 1 << 20);
            }
        }
    }
}

/// The values chunk of a block.
pub fn values_block(data: &[u8]) {
    in_place_of(ChunkKind::Values, data);
}

/// A list chunk, the root of a layer included.
pub fn list(data: &[u8]) {
    in_place_of(ChunkKind::List, data);
}

/// A shape, and a value of that shape behind it.
pub fn cells(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(shape) = Shape::decode(&mut reader) else { return };
    let shape = Arc::new(shape);
    let mut again = Vec::new();
    shape.encode(&mut again);
    assert!(data.starts_with(&again), "a shape has one encoding");
    let _ = value_to_json(&shape, reader.rest());
}

fn cells_seeds() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    Shape::new(vec![b"a".to_vec(), b"bc".to_vec(), b"d".to_vec()]).encode(&mut out);
    let mut writer = rekeep::record::CellWriter::new(&mut out, 3);
    writer.integer(-1);
    writer.float(1.5);
    writer.cell(Tag::STRING, b"text");
    vec![out]
}

/// The cells of a file's record, by shape and value.
pub fn file_cells(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(shape) = Shape::decode(&mut reader) else { return };
    let mut batch = RecordBatch::new();
    batch.push_encoded(RowHead { key: b"file", ..RowHead::default() }, &Arc::new(shape), reader.rest());
    let _ = rekeep::connector::files::is_file_record(&batch.row(0));
}

fn file_cells_seeds() -> Vec<Vec<u8>> {
    let cells: [(&str, Tag, &[u8]); 10] = [
        ("attr.device", Tag::INTEGER, &[0, 0, 0, 1, 0, 0, 0, 2]),
        ("attr.extents", Tag::BLOB, &[0, 5, 0x80, 1, 7]),
        ("attr.gid", Tag::INTEGER, &[0, 0, 0, 0, 0, 0, 3, 0xe8]),
        ("attr.hardlink", Tag::STRING, b"a/b"),
        ("attr.mode", Tag::INTEGER, &[0, 0, 0, 0, 0, 0, 1, 0xa4]),
        ("attr.mtime", Tag::STRING, b"-99999999999.123456789"),
        ("attr.size", Tag::INTEGER, &[0, 0, 0, 0, 0, 0, 0, 12]),
        ("attr.type", Tag::STRING, b"file"),
        ("attr.xattrs", Tag::BLOB, b"\x06user.a\x01b"),
        ("content", Tag::BLOB, b"hello worlds"),
    ];
    let mut out = Vec::new();
    Shape::new(cells.iter().map(|(name, ..)| name.as_bytes().to_vec()).collect()).encode(&mut out);
    let mut writer = rekeep::record::CellWriter::new(&mut out, cells.len());
    for (_, tag, bytes) in cells {
        writer.cell(tag, bytes);
    }
    vec![out]
}

/// Sort keys, and keys as people type them.
pub fn key(data: &[u8]) {
    let codecs = [
        KeyCodec::Int,
        KeyCodec::Tuple,
        KeyCodec::TupleUtf16le,
        KeyCodec::TupleUtf16be,
        KeyCodec::Typed,
        KeyCodec::Path,
        KeyCodec::Raw,
        KeyCodec::Digest,
    ];
    for codec in codecs {
        let shown = codec.show(data);
        if let Some(parts) = codec.decode(data) {
            assert_eq!(codec.encode(&parts).as_deref(), Ok(data), "{codec:?}: a key has one encoding");
            let odd = |part: &KeyPart| matches!(part, KeyPart::Float(value) if value.is_nan());
            if parts.is_empty() || parts.iter().any(odd) {
                // No system has such keys: a tuple of nothing, and a NaN whose bits no text gives.
                continue;
            }
            assert_eq!(codec.parse(&shown).as_deref(), Ok(data), "{codec:?}: what is shown ({shown}) can be typed");
        }
        if let Ok(text) = std::str::from_utf8(data) {
            let _ = codec.parse(text);
        }
    }
}

fn key_seeds() -> Vec<Vec<u8>> {
    let typed = "int:5,str:abc,hex:00ff,f64:1.5,null,f64:-0.0,int:-9223372036854775808";
    let encode = |codec: KeyCodec| codec.parse(typed).expect("a key");
    vec![
        encode(KeyCodec::Tuple),
        encode(KeyCodec::TupleUtf16le),
        encode(KeyCodec::TupleUtf16be),
        KeyCodec::Typed
            .parse("bool:true,num:-12.5,date:2026-01-31,ts:infinity,tstz:2026-01-31T10:00:00Z")
            .expect("a key"),
        KeyCodec::Typed.parse("uuid:00112233-4455-6677-8899-aabbccddeeff,num:1e-400,num:NaN,f64:NaN").expect("a key"),
        KeyCodec::Int.parse("int:77").expect("a key"),
        KeyCodec::Digest.parse("demo/int:77").expect("a key"),
        b"demo/str:a\\/b".to_vec(),
        b"digest:b7f4b83889e2da67de683e1df6919a1eacc446c8".to_vec(),
        typed.as_bytes().to_vec(),
    ]
}

/// JSON lines as the connector reads them.
pub fn jsonl(data: &[u8]) {
    use rekeep::connector::{SessionOptions, Source, SourceUrl, jsonl::JsonlSource};
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(data).is_err() {
        return;
    }
    let Ok(url) = SourceUrl::parse(&format!("jsonl:{}", file.path().display())) else { return };
    let Ok(source) = JsonlSource::new(&url) else { return };
    let Ok(session) = source.begin(&SessionOptions { parallel: 1, ..SessionOptions::default() }) else { return };
    for collection in 0..session.collections().len() {
        let Ok(mut stream) = session.read(collection, &KeyRange::all()) else { continue };
        let mut batch = RecordBatch::new();
        let mut last: Option<Vec<u8>> = None;
        while let Ok(true) = stream.next_batch(&mut batch) {
            for row in batch.rows() {
                assert!(last.as_deref().is_none_or(|last| last < row.key), "keys ascend");
                last = Some(row.key.to_vec());
                if row.stream.is_none() {
                    assert!(value_to_json(row.shape, row.value).is_ok(), "what a source gives can be shown");
                }
            }
        }
    }
    let _ = session.finish();
}

fn jsonl_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"collection":"c","key":"str:a","value":{"x":1,"y":null,"z":{"base64":"AAE="}}}
{"collection":"c","key":"int:2","generation":3,"expiry":5,"value":{"f":1.5,"b":true,"t":"text"}}
"#
        .to_vec(),
        br#"{"a":1}
{"a":"x"}
"#
        .to_vec(),
    ]
}

/// Frames and messages as a node sends them, decoded into records.
pub fn aerospike_wire(data: &[u8]) {
    use rekeep::connector::aerospike::{
        decode::Decoder,
        wire::{KIND_MESSAGE, Message, read_frame},
    };
    let mut rest = data;
    let mut body = Vec::new();
    while read_frame(&mut rest, KIND_MESSAGE, &mut body).is_ok() {
        let (mut decoder, mut batch) = (Decoder::default(), RecordBatch::new());
        let mut at = 0;
        while let Ok((message, len)) = Message::parse(&body[at..]) {
            assert!(len > 0 && len <= body.len() - at, "a message has its length");
            at += len;
            let Some(digest) = message.digest else { continue };
            if decoder.push(&message, &digest, &mut batch).is_ok() {
                let row = batch.row(batch.len() - 1);
                assert!(value_to_json(row.shape, row.value).is_ok(), "what a node gives can be shown");
            }
        }
        assert!(batch.bytes() <= 64 * body.len() + 4096, "records take no more memory than they came with");
    }
}

fn aerospike_wire_seeds() -> Vec<Vec<u8>> {
    use rekeep::connector::aerospike::wire::{LAST, Request, field};
    let record = Request::default()
        .field(field::NAMESPACE, b"test")
        .field(field::DIGEST, &[7; 20])
        .field(field::SET, b"demo")
        .field(field::KEY, b"\x03abc")
        .op(1, b"b", b"text")
        .op(1, b"a", &[0; 8])
        .encode(0, 0, 0);
    let mut geo =
        Request::default().field(field::DIGEST, &[8; 20]).op(1, b"g", b"\0\0\x01\0\0\0\0\0\0\0\0{}").encode(0, 0, 0);
    // The particle's type follows the length and the code of the only operation.
    let at = geo.len() - 13 - 1 - 4 + 1;
    geo[at] = 23;
    let end = Request::default().encode(0, LAST, 0);
    vec![[record.clone(), end.clone()].concat(), [geo, record, end].concat()]
}

/// A change of an ASBX file as it was shipped.
fn shipped_body(n: u8, is_deletion: bool) -> Vec<u8> {
    use rekeep::{
        connector::aerospike::xdr::{Change, body_of},
        record::Digest,
    };
    let bins: [(&[u8], u8, &[u8]); 2] = [(b"a", 3, b"text"), (b"b", 1, &[0, 0, 0, 0, 0, 0, 0, 9])];
    let put = Change::Put { generation: u32::from(n), left: Some(60), bins: &bins };
    let change = if is_deletion { Change::Delete { generation: u32::from(n) } } else { put };
    body_of(b"test", &Digest([n; 20]), b"set", Some(b"\x03key"), 1_764_374_400_000 + u64::from(n), &change)
}

/// A file of what XDR shipped; what the listener takes is read by the same hands.
pub fn asbx(data: &[u8]) {
    use rekeep::{
        connector::aerospike::{
            decode::Decoder,
            xdr::asbx::{AsbxError, AsbxReader},
        },
        record::{ChangeBatch, Timestamp},
    };
    let Ok(mut reader) = AsbxReader::new(data) else { return };
    let (mut decoder, mut batch) = (Decoder::default(), ChangeBatch::default());
    loop {
        match reader.next_change() {
            Ok(Some(shipped)) => {
                let before = batch.len();
                let added = shipped.add_to(Timestamp::from_millis(1_764_374_400_000), &mut decoder, &mut batch);
                let more = batch.len() - before;
                assert!(more == 0 || added.is_ok() && more == 1, "what is no change leaves nothing");
            }
            // What is wrong in itself is passed over.
            Err(AsbxError::Change { .. }) => {}
            Ok(None) | Err(_) => break,
        }
    }
    for at in 0..batch.len() {
        let row = batch.row(at);
        let shown = value_to_json(row.shape, row.value);
        assert!(batch.time(at).is_deletion || shown.is_ok(), "what was shipped can be shown");
    }
    assert!(batch.bytes() <= 128 * data.len() + 4096, "changes take no more memory than they came with");
}

fn asbx_seeds() -> Vec<Vec<u8>> {
    use rekeep::connector::aerospike::xdr::asbx::{put_change, put_head};
    let mut file = Vec::new();
    put_head(&mut file, 7, b"test").expect("a name that fits");
    for n in 1..4 {
        put_change(&mut file, &[n; 20], &shipped_body(n, n == 3)).expect("memory takes it");
    }
    vec![file]
}

/// Answers to info commands.
pub fn aerospike_info(data: &[u8]) {
    use rekeep::connector::aerospike::info::{
        Answers, failure, parse_peers, parse_query_show, parse_racks, parse_replicas, value_of,
    };
    let answers = Answers::parse(data);
    let _ = answers.text("node");
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (failure(text), value_of(text, ';', "a"), parse_query_show(text));
    if let Some(peers) = parse_peers(text) {
        assert!(peers.len() <= data.len(), "a peer takes some text");
    }
    for (namespace, _) in parse_racks(text).into_iter().flatten() {
        assert!(text.contains(&namespace), "a namespace is taken out of the answer");
    }
    for mastered in parse_replicas(text).into_iter().flatten() {
        let _ = (mastered.has(0), mastered.has(4095), mastered.has(u16::MAX));
    }
}

fn aerospike_info_seeds() -> Vec<Vec<u8>> {
    let bitmap = data_encoding::BASE64.encode(&[0xff; 512]);
    vec![
        b"node\tBB9000000000001\nbuild\t8.1.2.0\n".to_vec(),
        b"7,3000,[[A1,,[10.0.0.1:3100,h]],[B2,tls,[[::1]:3200]]]".to_vec(),
        format!("test:0,2,{bitmap},{bitmap};bar:3,1,{bitmap}").into_bytes(),
        b"trid=5:status=done(ok):recs-succeeded=12:recs-failed=1;".to_vec(),
        b"ERROR:4:unrecognized command".to_vec(),
    ]
}

/// The answer to a login.
pub fn aerospike_login(data: &[u8]) {
    if let Some((token, _)) = rekeep::connector::aerospike::login::parse_session(data) {
        assert!(!token.is_empty() && token.len() < data.len(), "a token is part of the answer");
    }
}

fn aerospike_login_seeds() -> Vec<Vec<u8>> {
    let mut granted = vec![0, 0, 20, 2];
    granted.resize(16, 0);
    granted.extend_from_slice(&[0, 0, 0, 6, 5, b't', b'o', b'k', b'e', b'n', 0, 0, 0, 5, 6, 0, 1, 0x51, 0x80]);
    vec![granted, [&[0, 52, 20][..], &[0; 13]].concat()]
}

/// The text of backup files: what is read is written again, and reading goes on behind what is wrong.
pub fn asb(data: &[u8]) {
    use rekeep::connector::asb::codec::{
        AsbReader, Form, Item, Record, RecordParts, put_index, put_module, put_record,
    };
    let Ok(mut reader) = AsbReader::new(data) else { return };
    let form = Form { version: reader.header().version, compact: data.len().is_multiple_of(2) };
    let (mut record, mut out, mut before) = (Record::default(), Vec::new(), 0);
    loop {
        out.clear();
        match reader.next(&mut record) {
            Ok(None) => return,
            Ok(Some(Item::Record)) => {
                let values: usize = record.bins().map(|bin| bin.value.len()).sum();
                assert!(values <= 8 * data.len(), "a value is taken out of the input");
                let _ = record.sort();
                let parts = RecordParts {
                    namespace: record.namespace(),
                    set: record.set(),
                    user_key: record.user_key(),
                    digest: &record.digest,
                    generation: record.generation.into(),
                    void_time: record.void_time,
                };
                let bins = record.bins().map(|bin| (bin.name, bin.particle, bin.value));
                if put_record(&mut out, &parts, bins, form).is_ok() {
                    let text = [format!("Version {}\n", form.version).as_bytes(), &out].concat();
                    let mut again = Record::default();
                    let read = AsbReader::new(&text[..]).and_then(|mut reader| reader.next(&mut again));
                    assert!(matches!(read, Ok(Some(Item::Record))), "what is written is read: {read:?}");
                    assert!(again.user_key() == record.user_key() && again.bins().eq(record.bins()));
                }
            }
            Ok(Some(Item::Index(index))) => drop(put_index(&mut out, &index, form)),
            Ok(Some(Item::Module(module))) => drop(put_module(&mut out, &module, form)),
            Ok(Some(Item::Unknown(line))) => assert!(line.len() <= data.len()),
            Err(_) => match reader.skip() {
                Ok(Some(offset)) => {
                    assert!(offset > before || before == 0, "reading goes on further behind");
                    before = offset;
                }
                _ => return,
            },
        }
    }
}

fn asb_seeds() -> Vec<Vec<u8>> {
    let head = "Version 3.3\n# namespace n\n# first-file\n* i n s i N 1 b N kgA=\n* e n s e L 1  S kgA=\n* i n s s S 1  E\n* u L m 3 a\nb\n* q\n";
    let record = "+ k S 2 a\n\n+ n n\n+ d q+LsiGs1gD9duJDbzQSXytajtCY=\n+ s a\\ b\n+ g 1\n+ t 5\n+ b 7\n- I i -5\n- D d 1.5\n- S s 2 \n-\n\
                  - B! b 2 \n+\n- M m 4 gA==\n- Z z T\n- N n\n";
    vec![
        format!("{head}{record}{record}").into_bytes(),
        format!("Version 3.0\n{record}").into_bytes(),
        include_bytes!("../../tests/fixtures/asb/source-ns2_00000.asb").to_vec(),
        include_bytes!("../../tests/fixtures/asb/source-ns2.compact.asb").to_vec(),
    ]
}

/// Backup files as they lie on disk: compressed or not. What unpacks endlessly is left after a while, as its reader would.
pub fn asb_layers(data: &[u8]) {
    use rekeep::connector::asb::{
        codec::{Item, Record},
        layers,
    };
    const ENOUGH_BYTES: u64 = 4 << 20;
    let Ok((mut reader, layers)) = layers::open(std::io::Cursor::new(data.to_vec()), None) else { return };
    assert_eq!(layers.is_compressed, data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "by how it begins");
    let (mut record, mut before) = (Record::default(), 0);
    while reader.offset() < ENOUGH_BYTES {
        match reader.next(&mut record) {
            Ok(Some(Item::Record | Item::Index(_) | Item::Module(_) | Item::Unknown(_))) => {}
            Ok(None) => return,
            Err(_) => match reader.skip() {
                Ok(Some(offset)) if offset > before => before = offset,
                _ => return,
            },
        }
    }
}

fn asb_layers_seeds() -> Vec<Vec<u8>> {
    // A frame whose head asks for a window of 128 MiB, and one that asks for more, each with one block of three bytes.
    let asks = |window: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, window << 3, 25, 0, 0][..], b"Ver"].concat();
    vec![
        include_bytes!("../../tests/fixtures/asb/source-ns2.zstd.asb").to_vec(),
        include_bytes!("../../tests/fixtures/asb/source-ns2.compact.asb").to_vec(),
        asks(17),
        asks(18),
        asks(31),
    ]
}

/// What a secret agent answers.
pub fn secret_reply(data: &[u8]) {
    if let Ok(secret) = rekeep::connector::aerospike::secrets::parse_reply(data) {
        assert!(secret.len() <= data.len(), "a secret is taken out of the answer");
    }
}

fn secret_reply_seeds() -> Vec<Vec<u8>> {
    vec![br#"{"SecretValue":"c2VjcmV0"}"#.to_vec(), br#"{"Error":"no such resource","SecretValue":null}"#.to_vec()]
}

/// What the backup service says of a backup.
pub fn asb_metadata(data: &[u8]) {
    let _ = rekeep::connector::asb::metadata::Metadata::parse(data);
}

fn asb_metadata_seeds() -> Vec<Vec<u8>> {
    vec![
        b"created: 2024-10-20T15:00:00.123Z\nfrom: 0001-01-01T00:00:00Z\nnamespace: n\nrecord-count: 42\nencryption: NONE\n".to_vec(),
        b"{created: '2024-10-20T15:00:00+02:00', record-count: 1}".to_vec(),
    ]
}

/// What Deep Lake keeps of a dataset: entries of a log, plain and packed, their names, and the tree of nodes.
pub fn deeplake(data: &[u8]) {
    use rekeep::connector::deeplake::{Entry, Refs, Versions, parse_name};
    for packed in [false, true] {
        if let Ok(entry) = Entry::parse(data, packed) {
            let mut refs = Refs::default();
            entry.changes.iter().for_each(|change| refs.apply(change));
        }
    }
    let _ = Versions::parse(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = parse_name(text);
    }
}

fn deeplake_seeds() -> Vec<Vec<u8>> {
    let entry = concat!(
        r#"{"commit":{"clientTimestamp":1,"message":"m"}}"#,
        "\n",
        r#"{"addBlock":{"d":{"p":["a/b"],"b":[1],"x":"k/"},"c":5}}"#,
        "\n",
        r#"{"updateData":{"f":{"p":"u/v","b":46}}}"#,
        "\n",
        r#"{"createBranch":{"id":"1","name":"side","parent":"2","version":"0000000003m00000000"}}"#,
    );
    let mut packed = (entry.len() as u32).to_le_bytes().to_vec();
    // One run of literals, its length in bytes of 255 and a rest.
    packed.push(0xf0);
    packed.extend(std::iter::repeat_n(0xff, (entry.len() - 15) / 255));
    packed.push(((entry.len() - 15) % 255) as u8);
    packed.extend(entry.as_bytes());
    vec![
        entry.as_bytes().to_vec(),
        packed,
        br#"{"commits":{"a":{"branch":"main","parent":null,"commit_message":"m","commit_time":1.5}},"branches":{"main":"a"}}"#.to_vec(),
        b"0000000256o000000c1.jsonl.lz4".to_vec(),
    ]
}

/// The binary form of `COPY`: what it holds is written and read again.
pub fn postgres_copy(data: &[u8]) {
    use rekeep::connector::postgres::decoding::{copy_bytes, copy_rows};
    for cut in [1, 7, 8192] {
        if let Ok(rows) = copy_rows(std::io::BufReader::with_capacity(cut, data)) {
            let bytes: usize = rows.iter().flatten().flatten().map(Vec::len).sum();
            assert!(bytes <= data.len(), "fields are stretches of what came");
            assert_eq!(copy_rows(copy_bytes(&rows).as_slice()).expect("it was written well"), rows);
        }
    }
}

fn postgres_copy_seeds() -> Vec<Vec<u8>> {
    use rekeep::connector::postgres::decoding::copy_bytes;
    vec![
        copy_bytes(&[]),
        copy_bytes(&[vec![Some(b"a".to_vec()), None, Some(Vec::new())], vec![], vec![Some(vec![0xff; 300])]]),
    ]
}

/// Fields of all kinds as cells and as parts of keys: what is taken comes back.
pub fn postgres_fields(data: &[u8]) {
    use rekeep::connector::postgres::decoding::{field, field_kinds, key_field};
    let Some((&kind, bytes)) = data.split_first() else { return };
    let kind = usize::from(kind);
    if let Some(back) = field(kind, bytes) {
        // Numbers of the catalog are taken out of those that hold some.
        assert_eq!(back.len(), bytes.len());
        assert!(kind >= 11 || back == bytes, "kind {kind}");
        assert_eq!(field(kind, &back).as_deref(), Some(back.as_slice()), "what was made portable stays as it is");
    } else {
        assert!(kind >= field_kinds() || kind != 10, "any bytes are a binary form");
    }
    if let Some(back) = key_field(kind, bytes) {
        assert_eq!(back, bytes, "key of kind {kind}");
    }
}

fn postgres_fields_seeds() -> Vec<Vec<u8>> {
    let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let array = [1_u32, 0, 25_000, 2, 1, 4, 7, u32::MAX].map(u32::to_be_bytes).concat();
    let composite = [2_u32, 25_000, 4, 7, 25_001, u32::MAX].map(u32::to_be_bytes).concat();
    let numeric = [2_u16, 0, 0, 2, 1, 5000].map(u16::to_be_bytes).concat();
    vec![
        with(0, &[1]),
        with(1, &[0x80, 0]),
        with(3, &[0x7f; 8]),
        with(6, &1.5_f64.to_be_bytes()),
        with(8, b"\x01{\"a\": 1}"),
        with(10, b"any"),
        with(11, &array),
        with(12, &[&[0x02][..], &4_u32.to_be_bytes(), &[0; 4], &4_u32.to_be_bytes(), &[1; 4]].concat()),
        with(14, &composite),
        with(14, &numeric),
        with(15, b"abc  "),
    ]
}

/// The splitter of `pg_dump`'s scripts.
pub fn postgres_script(data: &[u8]) {
    use rekeep::connector::postgres::decoding::{statements, without_commands};
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = statements(text);
    let mut rest = text;
    for statement in found.iter().flatten() {
        let at = rest.find(statement).expect("statements are stretches of the script, one after the other");
        rest = &rest[at + statement.len()..];
        assert!(!statement.trim().is_empty());
    }
    let _ = statements(&without_commands(text));
}

fn postgres_script_seeds() -> Vec<Vec<u8>> {
    vec![
        b"--\n-- a; b\n\\restrict x9Y\nSET a = 'x;''y';\n/* ; /* ; */ ; */ SELECT E'\\';', \"a;\"\"b\";\n".to_vec(),
        b"CREATE FUNCTION f() RETURNS int AS $_$ BEGIN; $$;$$ END; $_$;\nCREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;\n".to_vec(),
        "COMMENT ON COLUMN \"żó\".b IS 'é;';\\unrestrict x9Y\n".as_bytes().to_vec(),
    ]
}

/// The messages by which a server tells changes.
pub fn postgres_stream(data: &[u8]) {
    use rekeep::connector::postgres::decoding::stream_message;
    if let Some(told) = stream_message(data) {
        assert!(told < data.len(), "fields are stretches of the message");
        let more = [data, &[0]].concat();
        assert!(
            matches!(data[0], b'O' | b'Y' | b'M') || stream_message(&more).is_none(),
            "a message ends where it ends"
        );
    }
}

fn postgres_stream_seeds() -> Vec<Vec<u8>> {
    let words = |list: &[u32]| list.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let tuple = [&[0, 3, b'n', b'u', b'b'][..], &words(&[2]), b"\0\x07"].concat();
    vec![
        [&b"B"[..], &words(&[0, 7, 1, 2, 3])].concat(),
        [&b"C\0"[..], &words(&[0, 7, 0, 8, 1, 2])].concat(),
        [&b"R"[..], &words(&[9]), b"public\0t\0d\0\x01\x01id\0", &words(&[23, u32::MAX])].concat(),
        [&b"I"[..], &words(&[9]), b"N", &tuple].concat(),
        [&b"U"[..], &words(&[9]), b"O", &tuple, b"N", &tuple].concat(),
        [&b"D"[..], &words(&[9]), b"K", &tuple].concat(),
        [&b"T"[..], &words(&[1]), &[0], &words(&[9])].concat(),
        b"Y....".to_vec(),
    ]
}

/// Entries of transactions, the map of their schemas and the configuration of `AtlasDB`'s stores.
pub fn atlas(data: &[u8]) {
    use rekeep::connector::postgres::decoding::{atlas_config, atlas_entry, atlas_schemas};
    let mut parts = data.splitn(3, |byte| *byte == b'|');
    let (row, column, value) = (parts.next(), parts.next(), parts.next());
    let (row, column) = (row.unwrap_or_default(), column.unwrap_or_default());
    for (again_row, again_column, _) in atlas_entry(row, column, value.unwrap_or_default()) {
        assert_eq!((again_row.as_slice(), again_column.as_slice()), (row, column), "a start has one cell");
    }
    let _ = atlas_schemas(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = atlas_config(text);
    }
}

fn atlas_seeds() -> Vec<Vec<u8>> {
    vec![
        b"\xa7\x11|t|\xa7\x15".to_vec(),
        b"\x80\0\0\0\0\0\0\0|\x82\x71|\x04\x01".to_vec(),
        b"\xe1\x40\0\0\0\0\0\0|\0|".to_vec(),
        b"{\"sequence\":3,\"bound\":9}".to_vec(),
        br#"{"version":1,"payload":"eyJ0aW1lc3RhbXBUb1RyYW5zYWN0aW9uc1RhYmxlU2NoZW1hVmVyc2lvbiI6eyJ0aW1lc3RhbXBNYXBwaW5ncyI6W3sibG9uZ1JhbmdlIjp7Imxvd2VyRW5kcG9pbnQiOjEsImxvd2VyQm91bmRUeXBlIjoiQ0xPU0VEIn0sInZhbHVlIjoyfV19fQ=="}"#.to_vec(),
        b"atlasdb:\n  keyValueService:\n    type: relational\n    ddl: {type: postgres, tablePrefix: a_}\n    connection: {type: postgres, host: h, port: 1, dbName: d, dbLogin: u, dbPassword: p}\n".to_vec(),
    ]
}

/// Changes to the pages of a database, three bytes each: of the rows that were there pages give at least what SQL gives; what is
/// gone is named where SQL names anything (a page that says that it holds a row less tells nobody).
pub fn sqlite_pages(data: &[u8]) {
    for (image, there) in sqlite_images() {
        let mut bytes = image.clone();
        // The schema stays: of what it names nothing could be expected otherwise.
        let room = bytes.len() - SQLITE_PAGE;
        for change in data.chunks_exact(3).take(16) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % room;
            bytes[SQLITE_PAGE + at] ^= change[2];
        }
        let folder = tempfile::tempdir().expect("there is room for a file");
        let path = folder.path().join("f.db");
        std::fs::write(&path, bytes).expect("there is room for a file");
        let Some((by_sql, named)) = sqlite_rows(&path, true) else { continue };
        let (by_pages, missing) = sqlite_rows(&path, false).expect("what SQL reads pages read");
        for row in by_sql.intersection(there) {
            // What lies on a page that it does not belong to is found by who reads all in turn, and named by who goes by the bounds;
            // where the bounds of whole branches are wrong, by how many rows were not reached.
            let is_named = || {
                let is_row = |it: &String| KeyCodec::Int.decode(&row.0).is_some() && it.contains(&named_row(&row.0));
                missing.iter().any(|it| is_row(it) || it.contains("rows were reached where its b-tree holds"))
            };
            assert!(by_pages.contains(row) || is_named(), "a row that SQL gives");
        }
        let is_whole = by_pages.len() == SQLITE_ROWS;
        assert!(is_whole || named.is_empty() || !missing.is_empty(), "what is gone is named");
    }
}

fn named_row(key: &[u8]) -> String {
    format!("the row {} on page", KeyCodec::Int.show(key))
}

const SQLITE_PAGE: usize = 512;
const SQLITE_ROWS: usize = 130;

/// Databases of one table on pages of all kinds, with rowids and without.
fn sqlite_images() -> &'static [(Vec<u8>, SqliteRows); 2] {
    static IMAGES: OnceLock<[(Vec<u8>, SqliteRows); 2]> = OnceLock::new();
    // A column that was added later would hand all rows without rowids to SQL.
    IMAGES
        .get_or_init(|| [sqlite_image("", "ALTER TABLE t ADD COLUMN d DEFAULT 'd'"), sqlite_image("WITHOUT ROWID", "")])
}

fn sqlite_image(kind: &str, after: &str) -> (Vec<u8>, SqliteRows) {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let path = folder.path().join("f.db");
    let db = rusqlite::Connection::open(&path).expect("it can be made");
    db.execute_batch(&format!(
        "PRAGMA page_size = 512; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c REAL) {kind};
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 130)
         INSERT INTO t SELECT i * 3, substr(replace(hex(zeroblob(700)), '0', 'x'), 1, i * i % 1400), i FROM n;
         {after}",
    ))
    .expect("it can be filled");
    drop(db);
    let (rows, missing) = sqlite_rows(&path, true).expect("it is whole");
    assert!(rows.len() == SQLITE_ROWS && missing.is_empty());
    (std::fs::read(&path).expect("it was written"), rows)
}

type SqliteRows = std::collections::BTreeSet<(Vec<u8>, Vec<u8>)>;

/// The rows of the table and what could not be read; `None` if that is an error.
fn sqlite_rows(path: &std::path::Path, by_sql: bool) -> Option<(SqliteRows, Vec<String>)> {
    use rekeep::connector::{SessionOptions, Source, SourceUrl, sqlite::SqliteSource};
    let source = SqliteSource::new(&SourceUrl::parse(&format!("sqlite:{}", path.display())).ok()?).ok()?;
    let source = if by_sql { source.by_sql() } else { source };
    let session = source.begin(&SessionOptions { parallel: 1, ..SessionOptions::default() }).ok()?;
    let mut rows = SqliteRows::new();
    let mut stream = session.read(0, &KeyRange::all()).ok()?;
    let mut batch = RecordBatch::new();
    while stream.next_batch(&mut batch).ok()? {
        rows.extend(batch.rows().map(|row| (row.key.to_vec(), row.value.to_vec())));
    }
    drop(stream);
    Some((rows, session.finish().ok()?.missing))
}

fn sqlite_pages_seeds() -> Vec<Vec<u8>> {
    // Heads of pages, a cell's length, a page's number.
    vec![vec![], vec![0, 0, 8], vec![2, 0, 255, 2, 4, 1], vec![10, 200, 128, 0, 12, 3]]
}
