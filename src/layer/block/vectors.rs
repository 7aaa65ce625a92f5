//! `format-spec/vectors/layers.json`: single values of what layers are made of, for readers in other languages.
//! `REKEEP_WRITE_VECTORS=1` writes it anew.

use super::*;
use crate::{
    layer::{
        LayerContext,
        cut::Cutter,
        piece::{PieceReader, PieceWriter},
        tests::model::Rng,
        version_key,
    },
    record::{CellWriter, CollectionSum, Expiry, Fingerprint, Fingerprinter, Tag, VersionTime},
    repo::{ChunkKind, ChunkPlain, ChunkReader, ChunkWriter, Secrets, chunk::MemoryChunks},
};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use std::{io::Read, path::Path};

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn secrets() -> Secrets {
    let key = |first: u8| std::array::from_fn(|n| first.wrapping_add(n as u8));
    Secrets {
        chunk_id: key(0x10),
        fingerprint: key(0x30),
        collection: key(0x50),
        cut: key(0x70),
        gear_seed: 0x0123_4567_89ab_cdef,
    }
}

/// As many bytes as one likes, that every language can make: BLAKE3 of a text, continued.
fn drawn(text: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(text.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn value_of(cells: &[(Tag, Vec<u8>)]) -> Vec<u8> {
    let mut value = Vec::new();
    let mut writer = CellWriter::new(&mut value, cells.len());
    for (tag, bytes) in cells {
        writer.cell(*tag, bytes);
    }
    value
}

fn fingerprints(prints: &Fingerprinter) -> Vec<Json> {
    let empty = Shape::new(Vec::new());
    let two = Shape::new(vec![b"a".to_vec(), "ż".as_bytes().to_vec()]);
    let mut all = vec![
        json!({ "names": [], "user_key": null, "value": "", "fingerprint": hex(&prints.of(&empty, None, b"").0) }),
    ];
    // Every number of bytes that may be left behind the whole packets.
    for len in 0..70_usize {
        let value = value_of(&[(Tag::STRING, drawn("cell", len % 5)), (Tag::BLOB, drawn("value", len))]);
        let user_key = (len % 3 == 1).then(|| drawn("user key", len % 4));
        let print = prints.of(&two, user_key.as_deref(), &value);
        let names: Vec<String> = two.names().iter().map(|name| hex(name)).collect();
        let user_key = user_key.map(|key| hex(&key));
        all.push(json!({ "names": names, "user_key": user_key, "value": hex(&value), "fingerprint": hex(&print.0) }));
    }
    all
}

fn key_rows(collection: &[u8; 32]) -> (Vec<Json>, String) {
    let (mut all, mut sum) = (Vec::new(), CollectionSum::default());
    for n in 0..12_u64 {
        let key = drawn("key", n as usize * 30);
        let user_key = (n % 2 == 1).then(|| drawn("user", n as usize));
        let meta = Meta {
            set: &key[..n as usize % 4],
            generation: (n * n * 100_000) as u32,
            expiry: Expiry::from_millis(if n % 3 == 0 { 0 } else { 1_790_000_000_000 + n }),
            stamp: if n == 11 { u64::MAX } else { n << (5 * n) },
            user_key: user_key.as_deref(),
        };
        let fingerprint = Fingerprint(std::array::from_fn(|i| (n as u8) ^ (i as u8)));
        let mut row = Vec::new();
        let hash = CollectionSum::of_row(collection, &key, &meta, &fingerprint, &mut row);
        sum.add(&hash);
        all.push(json!({
            "key": hex(&key), "set": hex(meta.set), "generation": meta.generation, "expiry": meta.expiry.as_millis(),
            "stamp": meta.stamp, "user_key": meta.user_key.map(hex), "fingerprint": hex(&fingerprint.0),
            "row": hex(&row), "hash": hash.to_hex(),
        }));
    }
    (all, sum.to_hex())
}

/// After which rows of these lengths a block, or a list, ends.
fn cuts(secrets: &Secrets) -> Vec<Json> {
    let mut rng = Rng(9);
    let lengths: [(bool, Vec<u64>); 3] = [
        (false, (0..600).map(|_| 40 + rng.below(2000)).collect()),
        (false, (0..60).map(|n| if n % 9 == 4 { 1 << 20 } else { 30_000 + rng.below(100_000) }).collect()),
        (true, (0..40).map(|_| 10_000 + rng.below(60_000)).collect()),
    ];
    let cut = |(is_list, lengths): (bool, Vec<u64>)| {
        let mut cutter = if is_list { Cutter::for_lists(secrets.cut) } else { Cutter::for_blocks(secrets.cut) };
        let ends: Vec<usize> =
            (0..lengths.len()).filter(|n| cutter.ends_after(format!("key {n}").as_bytes(), lengths[*n])).collect();
        assert!(ends.len() > 1, "{ends:?}");
        json!({ "list": is_list, "key": "key N", "lengths": lengths, "ends_after": ends })
    };
    lengths.into_iter().map(cut).collect()
}

/// The lengths of the pieces of drawn bytes.
fn pieces(context: &LayerContext) -> Vec<Json> {
    let cut = |(text, len): (&str, usize)| {
        let chunks = MemoryChunks::new([1; 32]);
        let bytes = drawn(text, len);
        let (list, _) = PieceWriter::new(context)
            .write(&bytes, &mut std::io::empty(), &mut chunks.writer(), &mut |_| ())
            .unwrap_or_else(|_| panic!("memory does not fail"));
        let mut reader = crate::record::bytes::Reader::new(&list);
        assert_eq!(reader.u8("depth").unwrap(), 0);
        let count = reader.u64("count").unwrap();
        let lengths: Vec<u64> = (0..count)
            .map(|_| {
                reader.take(32, "id").unwrap();
                reader.u64("length").unwrap()
            })
            .collect();
        json!({ "text": text, "bytes": len, "lengths": lengths })
    };
    [("pieces", 4_000_000), ("short", 262_144), ("odd", 1_300_001)].into_iter().map(cut).collect()
}

/// Lists of lists of lists of pieces.
fn piece_lists(secrets: &Secrets) -> Json {
    let chunks = MemoryChunks::new(secrets.chunk_id);
    let reader: Arc<dyn ChunkReader> = Arc::new(chunks.clone());
    let mut kept = serde_json::Map::new();
    let mut put = |kind: ChunkKind, bytes: Vec<u8>| {
        let id = chunks.writer().put(kind, &ChunkPlain::single(bytes.clone())).unwrap().id;
        kept.insert(id.to_string(), json!({ "kind": kind as u8, "bytes": hex(&bytes) }));
        id
    };
    let list = |depth: u8, entries: &[(crate::repo::ChunkId, u64)]| {
        let mut out = vec![depth, entries.len() as u8];
        for (id, bytes) in entries {
            out.extend_from_slice(&id.0);
            crate::record::bytes::put_u64(&mut out, *bytes);
        }
        out
    };
    let (mut level, mut value) = (Vec::new(), Vec::new());
    for n in 0..9_usize {
        let bytes = drawn("piece", 1 + n * 20);
        value.extend_from_slice(&bytes);
        level.push((put(ChunkKind::Piece, bytes.clone()), bytes.len() as u64));
    }
    for depth in 0..2 {
        level = level
            .chunks(3)
            .map(|part| (put(ChunkKind::PieceList, list(depth, part)), part.iter().map(|it| it.1).sum()))
            .collect();
    }
    let root = list(2, &level);
    let mut read = Vec::new();
    PieceReader::open(&reader, &root, value.len() as u64).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, value);
    json!({ "list": hex(&root), "chunks": kept, "value": hex(&value) })
}

fn shown(plain: &ChunkPlain) -> Vec<String> {
    runs(plain).iter().map(|run| hex(run)).collect()
}

fn runs(plain: &ChunkPlain) -> Vec<Vec<u8>> {
    plain.runs().map(|run| plain.bytes[run].to_vec()).collect()
}

fn plain(runs: &[Vec<u8>]) -> ChunkPlain {
    let mut plain = ChunkPlain::default();
    for run in runs {
        plain.bytes.extend_from_slice(run);
        plain.end_run();
    }
    plain
}

/// One block for each way that columns are held: rows of every kind, and rows of which all expire at once.
fn blocks() -> Vec<(ChunkPlain, ChunkPlain)> {
    let shape = Arc::new(Shape::new(vec![b"v".to_vec()]));
    let block = |is_constant: bool| {
        let mut builder = BlockBuilder::default();
        for n in 0..9_u64 {
            let key = if n == 0 { Vec::new() } else { format!("key {n}").into_bytes() };
            let value = value_of(&[(Tag::STRING, drawn("v", n as usize))]);
            let user_key = (!is_constant && n % 4 == 1).then(|| drawn("user", n as usize - 1));
            let expiry = if is_constant { 1_790_000_000_000 } else { 1_790_000_000_000 - 7 * n * (n % 3) };
            let meta = Meta {
                set: if is_constant || n < 4 { b"s" } else { b"" },
                generation: if is_constant { 3 } else { n as u32 },
                expiry: Expiry::from_millis(if !is_constant && n == 6 { 0 } else { expiry }),
                stamp: if is_constant { 700 } else { n << 40 },
                user_key: user_key.as_deref(),
            };
            let list = [&[0, 1][..], &[n as u8; 32], &[200, 1]].concat();
            let (value_bytes, held) = match n {
                _ if is_constant => (value.len() as u64, RowValue::InPlace(&shape, &value)),
                2 | 7 => {
                    builder.push(&NewRow::tombstone(&key)).unwrap();
                    continue;
                }
                3 | 4 => (n * 1000, RowValue::Inherited),
                5 => (200, RowValue::Pieces(&shape, &list)),
                _ => (value.len() as u64, RowValue::InPlace(&shape, &value)),
            };
            let fingerprint = Fingerprint([n as u8; 12]);
            builder.push(&NewRow { key: &key, meta, fingerprint, value_bytes, value: held }).unwrap();
        }
        let (mut keys, mut values) = (ChunkPlain::default(), ChunkPlain::default());
        builder.keys.write(&mut keys);
        builder.values.write(&mut values);
        (keys, values)
    };
    vec![block(false), block(true)]
}

fn rows(keys: &ChunkPlain) -> Vec<Json> {
    let block = KeysBlock::decode(keys).unwrap();
    let row = |n: usize| {
        let head = block.row(n);
        let meta = block.meta(n);
        if head.kind == RowKind::Tombstone {
            return json!({ "key": hex(block.key(n)), "kind": 3 });
        }
        json!({
            "key": hex(block.key(n)), "kind": head.kind as u8, "set": hex(meta.set), "generation": meta.generation,
            "expiry": meta.expiry.as_millis(), "stamp": meta.stamp, "user_key": meta.user_key.map(hex),
            "fingerprint": hex(&head.fingerprint.0), "length": head.value_bytes,
        })
    };
    (0..block.len()).map(row).collect()
}

type Harm = (&'static str, fn(&mut Vec<Vec<u8>>));

/// What is no keys chunk.
const HARMED_KEYS: [Harm; 12] = [
    ("another version", |runs| runs[0][0] = 2),
    ("no rows", |runs| runs[0][1] = 0),
    ("more live rows than rows", |runs| runs[0][2] = 100),
    ("a run too many", |runs| runs.push(Vec::new())),
    ("an unknown kind of row", |runs| runs[3][0] = 4),
    ("keys that do not ascend", |runs| *runs[2].last_mut().unwrap() = b'0'),
    ("a key that shares more than there is", |runs| runs[1][2] = 100),
    ("an integer that is not in its shortest form", |runs| runs[5].splice(0..1, [0x80, 0x00]).for_each(drop)),
    ("a byte behind the generations", |runs| runs[5].push(0)),
    ("a fingerprint cut off", |runs| _ = runs[10].pop()),
    ("a set that there is not", |runs| runs[4][0] = 9),
    ("a user key cut off", |runs| _ = runs[9].pop()),
];

/// What is no values chunk.
const HARMED_VALUES: [Harm; 5] = [
    ("another version", |runs| runs[0][0] = 2),
    ("no values", |runs| runs[0][1] = 0),
    ("a run too many", |runs| runs.push(Vec::new())),
    ("cells cut off", |runs| _ = runs[4].pop()),
    ("a byte behind the last cell", |runs| runs.last_mut().unwrap().push(0)),
];

/// Version keys of journals, ascending.
fn version_keys() -> Vec<Json> {
    let times = [(1_764_374_400_123, u64::MAX), (1_764_374_400_123, 2), (1_764_374_400_123, 1), (0, 0)];
    let keys: [&[u8]; 5] = [b"", b"\0", b"\0\xff", b"a", b"a\0b"];
    let of = |key: &[u8], (millis, order): (u64, u64)| {
        let mut out = Vec::new();
        version_key::put(key, VersionTime { millis, order }, &mut out);
        json!({ "key": hex(key), "time": millis, "order": order, "version_key": hex(&out) })
    };
    keys.iter().flat_map(|key| times.iter().map(|time| of(key, *time))).collect()
}

/// What is no version key.
fn refused_version_keys() -> Vec<Json> {
    let bad: [&[u8]; 4] = [&[0; 17], &[0; 19], &[1; 30], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]];
    let shown = |key: &&[u8]| {
        assert!(version_key::read(key, &mut Vec::new()).is_err(), "{key:?}");
        json!(hex(key))
    };
    bad.iter().map(shown).collect()
}

fn vectors() -> Json {
    let secrets = secrets();
    let context = LayerContext::new(&secrets);
    let (key_rows, sum) = key_rows(&secrets.collection);
    let blocks = blocks();
    let keys: Vec<Json> = blocks.iter().map(|(keys, _)| json!({ "runs": shown(keys), "rows": rows(keys) })).collect();
    let values: Vec<Json> = blocks
        .iter()
        .map(|(_, plain)| {
            let mut block = ValuesBlock::decode(plain.clone()).unwrap();
            let len = block.len();
            let value = |n| {
                let (shape, value) = block.value(n);
                json!({ "names": shape.names().iter().map(|name| hex(name)).collect::<Vec<_>>(), "value": hex(value) })
            };
            let values: Vec<Json> = (0..len).map(value).collect();
            json!({ "runs": shown(plain), "values": values })
        })
        .collect();
    let refused = |good: &ChunkPlain, harms: &[Harm], decodes: &dyn Fn(ChunkPlain) -> bool| -> Vec<Json> {
        harms
            .iter()
            .map(|(why, harm)| {
                let mut runs = runs(good);
                harm(&mut runs);
                assert!(!decodes(plain(&runs)), "{why}");
                json!({ "why": why, "runs": runs.iter().map(|run| hex(run)).collect::<Vec<_>>() })
            })
            .collect()
    };
    let shape = Shape::new(vec![Vec::new(), b"a".to_vec(), b"ab".to_vec()]);
    let mut encoded = Vec::new();
    shape.encode(&mut encoded);
    let chunk = ChunkPlain { bytes: b"onethree".to_vec(), ends: vec![3, 3, 8] };
    let ids: Vec<Json> = [ChunkKind::Keys, ChunkKind::Table, ChunkKind::Versions]
        .iter()
        .map(|kind| json!({ "kind": *kind as u8, "runs": shown(&chunk), "id": chunk.id(&secrets.chunk_id, *kind) }))
        .collect();
    json!({
        "chunk_id_key": hex(&secrets.chunk_id), "fingerprint_key": hex(&secrets.fingerprint),
        "collection_key": hex(&secrets.collection), "cut_key": hex(&secrets.cut), "gear_seed": secrets.gear_seed,
        "shapes": [{ "names": shape.names().iter().map(|name| hex(name)).collect::<Vec<_>>(), "bytes": hex(&encoded), "digest": hex(shape.digest()) }],
        "fingerprints": fingerprints(&context.fingerprinter),
        "key_rows": key_rows, "sum": sum,
        "cuts": cuts(&secrets),
        "pieces": pieces(&context),
        "piece_list": piece_lists(&secrets),
        "version_keys": version_keys(), "refused_version_keys": refused_version_keys(),
        "chunk_ids": ids,
        "keys_chunks": keys,
        "values_chunks": values,
        "refused_keys_chunks": refused(&blocks[0].0, &HARMED_KEYS, &|it| KeysBlock::decode(&it).is_ok()),
        "refused_values_chunks": refused(&blocks[0].1, &HARMED_VALUES, &|it| ValuesBlock::decode(it).is_ok()),
    })
}

#[test]
fn layers_are_made_of_what_the_vectors_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/layers.json");
    let vectors = vectors();
    if std::env::var_os("REKEEP_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
    }
    let kept: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(kept == vectors, "format-spec/vectors/layers.json says something else");
}
