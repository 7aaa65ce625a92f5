//! `format-spec/vectors/objects.json`: seals, and small objects that open or must not, for readers in other languages.
//! What is drawn at random is written once (`REKEEP_WRITE_VECTORS=1`) and opened for ever.

use super::{
    crypto::{FrameCipher, xopen, xseal},
    *,
};
use crate::repo::{
    ChunkKind, ChunkPlain, ObjectName, SnapshotId,
    ids::PackKind,
    index::{self, IndexedPack},
    object::{self, ObjectKind as Kind},
    pack::{self, Described, PackBuilder, PackKey, SealedPack},
};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn unhex(json: &Json) -> Vec<u8> {
    HEXLOWER.decode(json.as_str().unwrap().as_bytes()).unwrap()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/objects.json")
}

pub(super) fn keyring(suite: Suite) -> Keyring {
    let key = |first: u8| std::array::from_fn(|n| first.wrapping_add(n as u8));
    let secrets = Secrets { chunk_id: key(1), fingerprint: key(2), collection: key(3), cut: key(4), gear_seed: 5 };
    Keyring::fresh(secrets, suite, RepoId(std::array::from_fn(|n| n as u8 * 17)), key(0x90))
}

fn seals() -> Vec<Json> {
    let (key, nonce, plain): ([u8; 32], [u8; 24], &[u8]) = ([7; 32], std::array::from_fn(|n| n as u8), b"sealed bytes");
    let mut all = Vec::new();
    for suite in Suite::ALL {
        for ad in [&b""[..], b"bound to this"] {
            let mut sealed = plain.to_vec();
            xseal(suite, &key, &nonce, ad, &mut sealed, 0).unwrap();
            all.push(json!({
                "cipher": "X", "suite": suite as u8, "key": hex(&key), "nonce": hex(&nonce), "ad": hex(ad),
                "plain": hex(plain), "sealed": hex(&sealed),
            }));
            let mut body = plain.to_vec();
            let tag = FrameCipher::new(suite, &key).seal(258, ad, &mut body).unwrap();
            let nonce = [&[0; 4][..], &258_u64.to_le_bytes()].concat();
            all.push(json!({
                "cipher": "C", "suite": suite as u8, "key": hex(&key), "nonce": hex(&nonce), "ad": hex(ad),
                "plain": hex(plain), "sealed": hex(&[&body[..], &tag].concat()),
            }));
        }
    }
    all
}

/// The hash at the end is made to fit again.
fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let hash = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(hash.as_bytes());
    bytes
}

type Harm = (&'static str, &'static str, fn(&mut Vec<u8>));

/// What becomes of an object when this is done to it, the hash at its end made to fit again.
const HARMS: [Harm; 12] = [
    ("another version", "unknown", |it| it[8] = 2),
    ("no such version", "damaged", |it| it[8] = 0),
    ("an unknown kind", "unknown", |it| it[10] = 99),
    ("another magic", "damaged", |it| it[0] = b'X'),
    ("another epoch", "damaged", |it| it[12] = 9),
    ("a party that there is not", "forged", |it| *it.iter_mut().rev().nth(199).unwrap() = 7),
    ("another party", "forged", |it| *it.iter_mut().rev().nth(199).unwrap() ^= 1),
    ("another form of signature", "forged", |it| *it.iter_mut().rev().nth(198).unwrap() ^= 1),
    ("a form that there is not", "forged", |it| *it.iter_mut().rev().nth(198).unwrap() = 2),
    ("a field that is not zero", "damaged", |it| *it.iter_mut().rev().nth(195).unwrap() = 1),
    ("a signature with one bit turned over", "forged", |it| *it.iter_mut().rev().nth(40).unwrap() ^= 1),
    ("a body with one bit turned over", "forged", |it| *it.iter_mut().rev().nth(202).unwrap() ^= 1),
];

fn outcome(keyring: &Keyring, name: &str, bytes: &[u8]) -> &'static str {
    word(object::kind_of(name, bytes).and_then(|kind| object::open(keyring, kind, name, bytes)))
}

fn word<T>(opened: Result<T, RepoError>) -> &'static str {
    match opened {
        Ok(_) => "opens",
        Err(RepoError::UnknownFeature { .. } | RepoError::NewerFormat { .. }) => "unknown",
        Err(RepoError::Forged { .. }) => "forged",
        // To whose keyring holds every epoch, as that of the vectors, one of another is no object.
        Err(RepoError::Damaged { .. } | RepoError::Epoch { .. }) => "damaged",
        Err(error) => panic!("{error}"),
    }
}

/// A name of the same folder that the object was not made for.
fn elsewhere(name: &str) -> String {
    let (folder, rest) = name.split_once('/').unwrap();
    let swapped = |digit: char| if digit == 'a' { 'b' } else { 'a' };
    let id: String = rest.chars().take(32).map(swapped).collect();
    format!("{folder}/{id}{}", &rest[32..])
}

fn objects(keyring: &Keyring) -> Vec<Json> {
    let (writer, reader) = (keyring.lease_key(Party::Writer).unwrap(), keyring.lease_key(Party::Reader).unwrap());
    let (s, of_reader) = (writer.lease(), reader.lease());
    let id = "ab".repeat(16);
    let pack = "cd".repeat(32);
    let body = |json: Json| serde_json::to_vec(&json).unwrap();
    let lease = |lease: SnapshotId, purpose: &str| {
        body(json!({ "lease": lease, "number": 0, "purpose": purpose, "host": "h", "started": 1, "honours": [] }))
    };
    let ids = [[1; 16], [2; 16]].concat();
    let made: Vec<(String, Kind, Signer<'_>, Vec<u8>)> = vec![
        (format!("leases/{s}/0"), Kind::Lease, Signer::Lease(&writer), lease(s, "backup")),
        (format!("leases/{of_reader}/0"), Kind::Lease, Signer::Lease(&reader), lease(of_reader, "read")),
        (
            format!("leases/{s}/end"),
            Kind::LeaseEnd,
            Signer::Lease(&writer),
            body(json!({ "lease": s, "outcome": "done" })),
        ),
        (format!("snapshots/{s}/0"), Kind::Snapshot, Signer::Lease(&writer), body(json!({ "id": s, "revision": 0 }))),
        (
            format!("snapshots/{s}/0"),
            Kind::Void,
            Signer::Lease(&writer),
            body(json!({ "void": s, "host": "h", "time": 1 })),
        ),
        (format!("snapshots/{s}/0"), Kind::Void, Signer::Operator, body(json!({ "void": s, "host": "h", "time": 1 }))),
        (format!("snapshots/{s}/1"), Kind::Snapshot, Signer::Operator, body(json!({ "id": s, "revision": 1 }))),
        (
            format!("snapshots/{s}/1"),
            Kind::Tombstone,
            Signer::Operator,
            body(json!({ "forgotten": s, "revision": 1, "host": "h", "time": 1 })),
        ),
        (format!("checkpoints/{s}/0"), Kind::Checkpoint, Signer::Lease(&writer), body(json!({ "version": 1 }))),
        (format!("trash/{id}"), Kind::Mark, Signer::Operator, body(json!({ "packs": [pack] }))),
        (format!("forgotten/{id}"), Kind::Forgotten, Signer::Operator, ids),
        (
            format!("damage/{pack}"),
            Kind::Damage,
            Signer::Operator,
            body(json!({ "damaged": pack, "problem": "p", "host": "h", "time": 1 })),
        ),
        (format!("promises/{id}/0"), Kind::Promises, Signer::Operator, body(json!({ "location": pack }))),
        (
            format!("claims/{id}/5"),
            Kind::Claim,
            Signer::Lease(&writer),
            body(json!({ "by": "me", "host": "h", "time": 1 })),
        ),
        (
            format!("audit/{s}/0"),
            Kind::Audit,
            Signer::Lease(&writer),
            body(json!({ "previous": null, "host": "h", "entries": [{ "did": "it" }] })),
        ),
        (format!("drills/{id}/0"), Kind::Drill, Signer::Operator, body(json!({ "snapshot": s, "passed": true }))),
        // Made by whoever may not.
        (format!("snapshots/{of_reader}/0"), Kind::Snapshot, Signer::Lease(&reader), body(json!({ "id": of_reader }))),
        (format!("snapshots/{s}/1"), Kind::Tombstone, Signer::Lease(&writer), body(json!({ "forgotten": s }))),
        (format!("leases/{s}/1"), Kind::Lease, Signer::Operator, lease(s, "backup")),
        (format!("leases/{of_reader}/1"), Kind::Lease, Signer::Lease(&writer), lease(of_reader, "backup")),
        (format!("checkpoints/{of_reader}/0"), Kind::Checkpoint, Signer::Lease(&reader), body(json!({ "version": 1 }))),
        (format!("trash/{id}"), Kind::Mark, Signer::Lease(&writer), body(json!({ "packs": [] }))),
        (format!("claims/{id}/5"), Kind::Claim, Signer::Lease(&reader), body(json!({ "by": "me" }))),
        (format!("claims/{id}/5"), Kind::Claim, Signer::Operator, body(json!({ "by": "me" }))),
        (format!("audit/{of_reader}/0"), Kind::Audit, Signer::Lease(&reader), body(json!({ "entries": [] }))),
        (format!("audit/{of_reader}/0"), Kind::Audit, Signer::Lease(&writer), body(json!({ "entries": [] }))),
        (format!("audit/{s}/0"), Kind::Audit, Signer::Operator, body(json!({ "entries": [] }))),
        (format!("drills/{id}/0"), Kind::Drill, Signer::Lease(&writer), body(json!({ "passed": true }))),
    ];
    let mut all = Vec::new();
    let mut put = |name: &str, why: &str, bytes: &[u8], content: Option<&[u8]>| {
        let outcome = outcome(keyring, name, bytes);
        let mut one = json!({ "name": name, "why": why, "bytes": hex(bytes), "outcome": outcome });
        if let Some(content) = content.and_then(|content| serde_json::from_slice::<Json>(content).ok()) {
            one["content"] = content;
        }
        all.push(one);
        outcome
    };
    for (number, (name, kind, signer, content)) in made.iter().enumerate() {
        let bytes = object::make(keyring, *signer, *kind, name, content).unwrap();
        let good = number < 16;
        let why = if good { "as it should be" } else { "made by whoever may not" };
        assert_eq!(
            put(name, why, &bytes, good.then_some(content.as_slice())),
            if good { "opens" } else { "forged" },
            "{name}"
        );
        if !good || (number % 3 != 0 && number < 13) {
            continue;
        }
        for (why, expected, harm) in HARMS {
            let mut harmed = bytes.clone();
            harm(&mut harmed);
            if harmed == bytes {
                continue;
            }
            assert_eq!(put(name, why, &rehashed(harmed.clone()), None), expected, "{name}: {why}");
            assert_eq!(put(name, "the hash at its end does not fit", &harmed, None), "damaged", "{name}: {why}");
        }
        put(name, "cut off", &bytes[..bytes.len() - 1], None);
        put(name, "one byte more", &[&bytes[..], &[0]].concat(), None);
        put(&elsewhere(name), "under another name", &bytes, None);
        let mut other = keyring.for_role(Role::Admin).unwrap();
        other.repo_id = RepoId([9; 16]);
        put(name, "of another repository", &object::make(&other, *signer, *kind, name, content).unwrap(), None);
    }
    all
}

/// Bytes of which many are zero, as in packs.
fn parts(bytes: &[u8]) -> Json {
    let zeros = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == 0).count();
    let longest = (0..bytes.len()).filter(|at| *at == 0 || bytes[at - 1] != 0).max_by_key(|at| zeros(&bytes[*at..]));
    let at = longest.unwrap_or(0);
    let run = zeros(&bytes[at..]);
    json!([hex(&bytes[..at]), run, hex(&bytes[at + run..])])
}

fn whole(parts: &Json) -> Vec<u8> {
    let zeros = vec![0; parts[1].as_u64().unwrap() as usize];
    [unhex(&parts[0]), zeros, unhex(&parts[2])].concat()
}

fn name_of(folder: &str, bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes).to_hex();
    if folder == "packs" { format!("packs/{}/{hash}", &hash[..2]) } else { format!("index/{hash}") }
}

/// What becomes of a pack, all chunks of which are read, or of an index object.
fn stored_outcome(keyring: &Keyring, name: &str, bytes: &[u8]) -> &'static str {
    let parsed: ObjectName = name.rsplit('/').next().unwrap().parse().unwrap();
    if name.starts_with("index/") {
        return word(index::open(keyring, &parsed, bytes));
    }
    word(pack::read_directory(keyring, &parsed, bytes).and_then(|(header, _, _, entries)| {
        let key = PackKey::unwrap(keyring, &parsed, &header)?;
        for (ordinal, entry) in entries.iter().enumerate() {
            let frame = &bytes[entry.offset as usize..][..entry.stored_len as usize];
            key.open_frame(ordinal as u64, entry, frame)?.verify(&keyring.secrets.chunk_id, entry.kind, &entry.id)?;
        }
        Ok(())
    }))
}

/// Packs and index objects, and what becomes of them when they are altered; the name is the hash of what is there then.
fn stored(keyring: &Keyring) -> Vec<Json> {
    let lease = SnapshotId([7; 16]);
    let sealed = |keyring: &Keyring, role: Role, kind: PackKind, chunk: ChunkKind| {
        let mut builder = PackBuilder::new(Arc::new(keyring.for_role(role).unwrap()), kind, lease).unwrap();
        for plain in [ChunkPlain::single(b"one chunk".to_vec()), ChunkPlain::single(b"another".repeat(40))] {
            builder.add(plain.id(&keyring.secrets.chunk_id, chunk), chunk, &plain, 3, false).unwrap();
        }
        builder.finish().unwrap()
    };
    let described = |pack: SealedPack| {
        let bytes = pack.bytes.len() as u64;
        let indexed =
            IndexedPack { name: pack.name, bytes, kind: pack.kind, lease, header: pack.header, entries: pack.entries };
        (pack.bytes, indexed)
    };
    let made =
        |keyring: &Keyring, kind: PackKind, chunk: ChunkKind| described(sealed(keyring, Role::Admin, kind, chunk));
    let moved = |from: &Keyring, to: &Keyring, role: Role, kind: PackKind, chunk: ChunkKind| {
        let pack = sealed(from, role, kind, chunk);
        let known = Described { name: pack.name, header: &pack.header, entries: &pack.entries };
        described(pack::moved(from, to, lease, &known, pack.bytes.clone()).unwrap())
    };
    let mut other = keyring.for_role(Role::Admin).unwrap();
    other.repo_id = RepoId([9; 16]);
    let (data, indexed) = made(keyring, PackKind::Data, ChunkKind::Values);
    let (lists, of_lists) = made(keyring, PackKind::Metadata, ChunkKind::List);
    let describing = index::seal(keyring, &[indexed.clone(), of_lists.clone()]).unwrap().1;
    let mut all = Vec::new();
    let mut put = |folder: &str, why: &str, expected: &str, bytes: &[u8]| {
        let name = name_of(folder, bytes);
        assert_eq!(stored_outcome(keyring, &name, bytes), expected, "{folder}: {why}");
        all.push(json!({ "name": name, "why": why, "parts": parts(bytes), "outcome": expected }));
    };
    put("index", "as it should be", "opens", &describing);
    put("packs", "as it should be", "opens", &data);
    put("packs", "as it should be, of metadata", "opens", &lists);
    let changed = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        assert_ne!(bytes[at], byte);
        bytes[at] = byte;
        bytes
    };
    let (end, header) = (data.len(), indexed.header.len());
    let frames = indexed.entries.last().map(|it| (it.offset + u64::from(it.stored_len)) as usize).unwrap();
    for (why, expected, bytes) in [
        ("another magic", "damaged", changed(&data, 0, b'X')),
        ("another version", "unknown", changed(&data, 8, 2)),
        ("no such version", "damaged", changed(&data, 8, 0)),
        ("a kind that is not given out", "unknown", changed(&data, 10, 9)),
        ("the other kind", "damaged", changed(&data, 10, 1)),
        ("an unknown suite", "unknown", changed(&data, 11, 9)),
        ("the other suite", "damaged", changed(&data, 11, 2)),
        ("another epoch", "damaged", changed(&data, 12, 9)),
        ("another id", "damaged", changed(&data, 16, data[16] ^ 1)),
        ("another lease", "damaged", changed(&data, 32, 9)),
        ("an unknown wrap", "unknown", changed(&data, 48, 9)),
        ("a wrap of the other length", "damaged", changed(&data, 48, 2)),
        ("a field that is not zero", "damaged", changed(&data, 49, 1)),
        ("a wrapped key with one bit turned over", "damaged", changed(&data, 90, data[90] ^ 1)),
        ("a frame with one bit turned over", "damaged", changed(&data, header + 20, data[header + 20] ^ 1)),
        ("a frame that says another ordinal", "damaged", changed(&data, header + 8, 1)),
        ("a directory with one bit turned over", "damaged", changed(&data, frames + 20, data[frames + 20] ^ 1)),
        ("padding that is not zero", "damaged", changed(&data, end - 40, 1)),
        ("a directory that lies elsewhere", "damaged", changed(&data, end - 32, data[end - 32] ^ 1)),
        ("another end", "damaged", changed(&data, end - 1, b'X')),
        ("cut to nothing", "damaged", Vec::new()),
        ("cut off", "damaged", data[..end - 1].to_vec()),
        ("one byte more", "damaged", [&data[..], &[0]].concat()),
        ("of another repository", "damaged", made(&other, PackKind::Data, ChunkKind::Values).0),
    ] {
        put("packs", why, expected, &bytes);
    }
    let (taken, of_taken) = moved(&other, keyring, Role::Admin, PackKind::Data, ChunkKind::Values);
    let (long, of_long) = moved(&other, keyring, Role::PutOnly, PackKind::Data, ChunkKind::Values);
    put("packs", "taken over from another repository", "opens", &taken);
    put("packs", "taken over, where a longer wrapped key was", "opens", &long);
    put(
        "packs",
        "taken over, of metadata",
        "opens",
        &moved(&other, keyring, Role::Admin, PackKind::Metadata, ChunkKind::List).0,
    );
    for (why, expected, bytes) in [
        ("taken over, and it says another origin", "damaged", changed(&taken, 16, taken[16] ^ 1)),
        ("taken over, and it says this repository", "damaged", {
            let mut bytes = taken.clone();
            bytes[16..32].copy_from_slice(&keyring.repo_id.0);
            bytes
        }),
        (
            "taken over by another repository",
            "damaged",
            moved(keyring, &other, Role::Admin, PackKind::Data, ChunkKind::Values).0,
        ),
        ("taken over, under another lease", "damaged", changed(&taken, 32, 9)),
        ("taken over, with another wrap", "damaged", changed(&taken, 48, 1)),
        ("taken over, with bytes behind the wrapped key", "damaged", changed(&long, 1000, 1)),
        ("taken over, of another length", "damaged", changed(&long, 50, 0x91)),
    ] {
        put("packs", why, expected, &bytes);
    }
    let naming = index::seal(keyring, &[of_taken, of_long]).unwrap().1;
    put("index", "of packs that were taken over", "opens", &naming);
    // What whoever has the keys would have to write to say what is not so.
    let lying = |change: &dyn Fn(&mut Vec<u8>)| {
        let head = 60 + 40 * 2;
        let key = *keyring.index_key("", 0).unwrap();
        let nonce: [u8; 24] = describing[36..60].try_into().unwrap();
        let sealed = xopen(keyring.suite, &key, &nonce, &describing[..head], &describing[head..]).unwrap();
        let mut content = object::decompress(&sealed).unwrap();
        change(&mut content);
        let mut bytes = describing[..head].to_vec();
        object::compress_onto(&content, &mut bytes).unwrap();
        let ad = bytes[..head].to_vec();
        xseal(keyring.suite, &key, &nonce, &ad, &mut bytes, head).unwrap();
        bytes
    };
    for (why, expected, bytes) in [
        ("another magic", "damaged", changed(&describing, 0, b'X')),
        ("another version", "unknown", changed(&describing, 8, 2)),
        ("no such version", "damaged", changed(&describing, 8, 0)),
        ("an unknown suite", "unknown", changed(&describing, 10, 9)),
        ("a field that is not zero", "damaged", changed(&describing, 11, 1)),
        ("another epoch", "damaged", changed(&describing, 12, 9)),
        ("another id", "damaged", changed(&describing, 16, describing[16] ^ 1)),
        ("more packs than it names", "damaged", changed(&describing, 33, 1)),
        ("a pack of another length", "damaged", changed(&describing, 95, 1)),
        ("a body with one bit turned over", "damaged", changed(&describing, 150, describing[150] ^ 1)),
        ("cut off", "damaged", describing[..describing.len() - 1].to_vec()),
        ("cut to nothing", "damaged", Vec::new()),
        ("of another repository", "damaged", index::seal(&other, &[]).unwrap().1),
        ("a kind that its header does not have", "damaged", lying(&|content| content[0] = 1)),
        ("a lease that its header does not have", "damaged", lying(&|content| content[1] ^= 1)),
        ("a chunk of an unknown kind", "unknown", lying(&|content| content[19 + header + 1 + 32] = 99)),
        ("bytes behind its content", "damaged", lying(&|content| content.push(0))),
        ("content that ends early", "damaged", lying(&|content| content.truncate(content.len() - 1))),
    ] {
        put("index", why, expected, &bytes);
    }
    all
}

/// Features of `rekeep.json`, and where a repository that names them may be written.
fn features() -> Vec<Json> {
    let long = format!("write:allowed-regions:{}", "a".repeat(64));
    let too_long = format!("{long}a");
    let all = [
        "write:allowed-regions:eu-central-1,eu-west-1",
        "write:allowed-regions:local",
        &long,
        &too_long,
        "write:allowed-regions:",
        "write:allowed-regions:eu-west-1,",
        "write:allowed-regions:EU",
        "write:allowed-regions:eu_west",
        "write:allowed-regions",
        "write:other",
        "check:parity",
    ];
    all.into_iter().map(|it| json!({ "feature": it, "regions": regions::of(it) })).collect()
}

fn vectors() -> Json {
    let keyring = keyring(Suite::ChaCha20Poly1305);
    let (capsule, shared) = keyring.for_role(Role::PutOnly).unwrap().encapsulate().unwrap();
    let values = derive_of(&keyring);
    json!({
        "repository": hex(&keyring.repo_id.0), "root": hex(&std::array::from_fn::<u8, 32, _>(|n| 0x90_u8.wrapping_add(n as u8))),
        "seals": seals(),
        "capsule": { "private": hex(&values), "ciphertext": hex(&capsule), "shared": hex(&*shared) },
        "features": features(), "objects": objects(&keyring), "stored": stored(&keyring), "chunk_id_key": hex(&keyring.secrets.chunk_id),
    })
}

/// The X-Wing private key of epoch 0, as the specification derives it.
fn derive_of(_: &Keyring) -> [u8; 32] {
    let d = |what: &str, key: &[u8]| blake3::derive_key(&format!("rekeep 2026-11 v1 {what}"), key);
    let root: [u8; 32] = std::array::from_fn(|n| 0x90_u8.wrapping_add(n as u8));
    d("values capsules", &d("values", &root))
}

#[test]
fn objects_open_or_are_refused_as_the_vectors_say() {
    if std::env::var_os("REKEEP_WRITE_VECTORS").is_some() {
        std::fs::write(path(), serde_json::to_string_pretty(&vectors()).unwrap() + "\n").unwrap();
    }
    let kept: Json = serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap();
    let keyring = keyring(Suite::ChaCha20Poly1305);
    assert_eq!(kept["seals"], json!(seals()));
    assert_eq!(kept["features"], json!(features()));
    let capsule = unhex(&kept["capsule"]["ciphertext"]);
    assert_eq!(
        keyring.decapsulate("it", 0, capsule.as_slice().try_into().unwrap()).unwrap()[..],
        unhex(&kept["capsule"]["shared"])[..]
    );
    let objects = kept["objects"].as_array().unwrap();
    assert!(objects.len() > 100);
    for one in objects {
        let (name, bytes) = (one["name"].as_str().unwrap(), unhex(&one["bytes"]));
        assert_eq!(one["outcome"], outcome(&keyring, name, &bytes), "{name}: {}", one["why"]);
        if let Some(content) = one.get("content") {
            let kind = object::kind_of(name, &bytes).unwrap();
            let found: Json = serde_json::from_slice(&object::open(&keyring, kind, name, &bytes).unwrap()).unwrap();
            assert_eq!(*content, found, "{name}");
        }
    }
    let stored = kept["stored"].as_array().unwrap();
    assert!(stored.len() > 40);
    for one in stored {
        let (name, bytes) = (one["name"].as_str().unwrap(), whole(&one["parts"]));
        assert_eq!(name_of(name.split('/').next().unwrap(), &bytes), name);
        assert_eq!(one["outcome"], stored_outcome(&keyring, name, &bytes), "{name}: {}", one["why"]);
    }
    let one = &kept["seals"][0];
    let key: [u8; 32] = unhex(&one["key"]).try_into().unwrap();
    let nonce: [u8; 24] = unhex(&one["nonce"]).try_into().unwrap();
    assert_eq!(
        **xopen(Suite::ChaCha20Poly1305, &key, &nonce, b"", &unhex(&one["sealed"])).unwrap(),
        unhex(&one["plain"])[..]
    );
}
