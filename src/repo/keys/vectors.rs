//! `format-spec/vectors/objects.json`: seals, and small objects that open or must not, for readers in other languages.
//! What is drawn at random is written once (`REKEEP_WRITE_VECTORS=1`) and opened for ever.

use super::{
    crypto::{FrameCipher, xopen, xseal},
    *,
};
use crate::repo::{
    SnapshotId,
    object::{self, ObjectKind as Kind},
};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn unhex(json: &Json) -> Vec<u8> {
    HEXLOWER.decode(json.as_str().unwrap().as_bytes()).unwrap()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/objects.json")
}

fn keyring() -> Keyring {
    let key = |first: u8| std::array::from_fn(|n| first.wrapping_add(n as u8));
    let secrets = Secrets { chunk_id: key(1), fingerprint: key(2), collection: key(3), cut: key(4), gear_seed: 5 };
    Keyring::fresh(secrets, Suite::ChaCha20Poly1305, RepoId(std::array::from_fn(|n| n as u8 * 17)), key(0x90))
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
    let opened = object::kind_of(name, bytes).and_then(|kind| object::open(keyring, kind, name, bytes));
    match opened {
        Ok(_) => "opens",
        Err(RepoError::UnknownFeature { .. } | RepoError::NewerFormat { .. }) => "unknown",
        Err(RepoError::Forged { .. }) => "forged",
        Err(RepoError::Damaged { .. }) => "damaged",
        Err(error) => panic!("{error}"),
    }
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
        // Made by whoever may not.
        (format!("snapshots/{of_reader}/0"), Kind::Snapshot, Signer::Lease(&reader), body(json!({ "id": of_reader }))),
        (format!("snapshots/{s}/1"), Kind::Tombstone, Signer::Lease(&writer), body(json!({ "forgotten": s }))),
        (format!("leases/{s}/1"), Kind::Lease, Signer::Operator, lease(s, "backup")),
        (format!("leases/{of_reader}/1"), Kind::Lease, Signer::Lease(&writer), lease(of_reader, "backup")),
        (format!("checkpoints/{of_reader}/0"), Kind::Checkpoint, Signer::Lease(&reader), body(json!({ "version": 1 }))),
        (format!("trash/{id}"), Kind::Mark, Signer::Lease(&writer), body(json!({ "packs": [] }))),
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
        let good = number < 13;
        let why = if good { "as it should be" } else { "made by whoever may not" };
        assert_eq!(
            put(name, why, &bytes, good.then_some(content.as_slice())),
            if good { "opens" } else { "forged" },
            "{name}"
        );
        if !good || number % 3 != 0 {
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
        put(&name.replacen('0', "1", 1).replace("end", "0"), "under another name", &bytes, None);
        let mut other = keyring.for_role(Role::Admin).unwrap();
        other.repo_id = RepoId([9; 16]);
        put(name, "of another repository", &object::make(&other, *signer, *kind, name, content).unwrap(), None);
    }
    all
}

fn vectors() -> Json {
    let keyring = keyring();
    let (capsule, shared) = keyring.for_role(Role::PutOnly).unwrap().encapsulate().unwrap();
    let values = derive_of(&keyring);
    json!({
        "repository": hex(&keyring.repo_id.0), "root": hex(&std::array::from_fn::<u8, 32, _>(|n| 0x90_u8.wrapping_add(n as u8))),
        "seals": seals(),
        "capsule": { "private": hex(&values), "ciphertext": hex(&capsule), "shared": hex(&*shared) },
        "objects": objects(&keyring),
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
    let keyring = keyring();
    assert_eq!(kept["seals"], json!(seals()));
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
    let one = &kept["seals"][0];
    let key: [u8; 32] = unhex(&one["key"]).try_into().unwrap();
    let nonce: [u8; 24] = unhex(&one["nonce"]).try_into().unwrap();
    assert_eq!(
        **xopen(Suite::ChaCha20Poly1305, &key, &nonce, b"", &unhex(&one["sealed"])).unwrap(),
        unhex(&one["plain"])[..]
    );
}
