//! A second reader, written from the pages of `format-spec/` alone and sharing no code with the first: it opens the golden
//! repository down to the plaintext of every chunk. What it finds on the way is kept in `format-spec/vectors/`, with all
//! keys, for whoever writes a reader in another language. `REKEEP_WRITE_VECTORS=1` writes that file anew.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use serde_json::{Map, Value as Json, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const PASSWORD: &str = "golden";

/// Longer byte strings are given by their length and hash.
const SHOWN_BYTES: usize = 2048;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/repository")
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn unhex(text: &Json) -> Vec<u8> {
    HEXLOWER.decode(text.as_str().unwrap().as_bytes()).unwrap()
}

fn shown(bytes: &[u8]) -> Json {
    if bytes.len() <= SHOWN_BYTES {
        json!(hex(bytes))
    } else {
        json!({ "bytes": bytes.len(), "blake3": blake3::hash(bytes).to_hex().to_string() })
    }
}

fn key(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap()
}

/// `X(k, n, ad, p)` backwards.
fn open_x(k: &[u8; 32], n: &[u8], ad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new(k.into());
    cipher.decrypt(n.try_into().unwrap(), Payload { msg: sealed, aad: ad }).unwrap()
}

/// `C(k, n, ad, p)` backwards.
fn open_c(k: &[u8; 32], ordinal: u64, ad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let nonce = [&[0; 4][..], &ordinal.to_le_bytes()].concat();
    let cipher = ChaCha20Poly1305::new(k.into());
    cipher.decrypt(nonce.as_slice().try_into().unwrap(), Payload { msg: sealed, aad: ad }).unwrap()
}

fn decompress(bytes: &[u8]) -> Vec<u8> {
    let plain = zstd::decode_all(&bytes[4..]).unwrap();
    assert_eq!(plain.len() as u32, u32::from_le_bytes(bytes[..4].try_into().unwrap()));
    plain
}

/// Reads front to back.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        head
    }

    fn varint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// `u32` length and UTF-8 bytes.
fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Line 1 of the two-line form, checked against line 2.
fn two_lines(bytes: &[u8]) -> Json {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert_eq!(bytes[end..], *format!("\"{}\"\n", blake3::hash(&bytes[..end]).to_hex()).as_bytes());
    serde_json::from_slice(&bytes[..end]).unwrap()
}

/// `D(what, k)`.
fn derive(what: &str, key: &[u8]) -> [u8; 32] {
    blake3::derive_key(&format!("rekeep 2026-11 v1 {what}"), key)
}

/// Epoch 0, as an administrator has it.
struct Keys {
    repository: Vec<u8>,
    root: [u8; 32],
    chunk_id: [u8; 32],
}

impl Keys {
    fn metadata(&self, what: &str) -> [u8; 32] {
        derive(what, &derive("metadata", &self.root))
    }

    fn values(&self, what: &str) -> [u8; 32] {
        derive(what, &derive("values", &self.root))
    }

    /// The public key of a party.
    fn party(&self, party: u8) -> VerifyingKey {
        let seed = match party {
            1 => self.metadata("reader"),
            2 => derive("writer", &self.root),
            _ => derive("operator", &self.root),
        };
        SigningKey::from_bytes(&seed).verifying_key()
    }
}

fn signed(key: &VerifyingKey, digest: &[u8; 32], signature: &[u8]) {
    key.verify_strict(digest, &Signature::from_bytes(signature.try_into().unwrap())).unwrap();
}

/// BLAKE3 in `derive_key` mode, 32 bytes.
fn digest(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("rekeep 2026-11 v1 {context}"));
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Checks who made a small object: everything before the hash at its end.
fn check_author(name: &str, object: &[u8], keys: &Keys) -> Json {
    let (signed_part, signature) = object.split_at(object.len() - 64);
    let fields = &signed_part[signed_part.len() - 104..];
    let (party, form, public, certificate) = (fields[0], fields[1], &fields[8..40], &fields[40..]);
    assert_eq!(fields[2..8], [0; 6]);
    let name_len = (name.len() as u32).to_le_bytes();
    let m = digest("small object signature", &[&keys.repository, &name_len, name.as_bytes(), signed_part]);
    if form == 0 {
        assert_eq!((party, public, certificate), (3, &[0; 32][..], &[0; 64][..]));
        signed(&keys.party(3), &m, signature);
    } else {
        assert_eq!(hex(&derive("lease name", public)[..16]), name.split('/').nth(1).unwrap());
        let c = digest("lease certificate", &[&keys.repository, &object[12..16], &[party], public]);
        signed(&keys.party(party), &c, certificate);
        signed(&VerifyingKey::from_bytes(public.try_into().unwrap()).unwrap(), &m, signature);
    }
    json!({ "party": party, "form": form, "digest": hex(&m), "public": hex(public) })
}

fn slot_ad(slot: &Json, name: &[u8], kdf: &Json, salt: &[u8]) -> Vec<u8> {
    let number = |field: &str| kdf[field].as_u64().unwrap_or(0) as u32;
    [
        &1_u32.to_le_bytes()[..],
        &unhex(&slot["repository"]),
        name,
        &string(slot["kind"].as_str().unwrap()),
        &string(slot["role"].as_str().unwrap()),
        &string(slot["label"].as_str().unwrap()),
        &slot["created"].as_i64().unwrap().to_le_bytes(),
        &[slot["suite"].as_u64().unwrap() as u8],
        &string(kdf["name"].as_str().unwrap()),
        &number("memory_kib").to_le_bytes(),
        &number("passes").to_le_bytes(),
        &number("lanes").to_le_bytes(),
        salt,
        &string(""),
        &string(""),
    ]
    .concat()
}

/// Opens the password's slot; gives the epoch's secret.
fn open_slot(objects: &BTreeMap<String, Vec<u8>>) -> (Json, [u8; 32]) {
    let slots = objects.iter().filter(|(name, _)| name.starts_with("keys/"));
    let (name, slot) =
        slots.map(|(name, bytes)| (name, two_lines(bytes))).find(|(_, slot)| slot["kind"] == "password").unwrap();
    let kdf = &slot["kdf"];
    let salt = BASE64.decode(kdf["salt"].as_str().unwrap().as_bytes()).unwrap();
    let number = |field: &str| kdf[field].as_u64().unwrap() as u32;
    let params = Params::new(number("memory_kib"), number("passes"), number("lanes"), Some(32)).unwrap();
    let mut slot_key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(PASSWORD.as_bytes(), &salt, &mut slot_key)
        .unwrap();
    let wrapped = BASE64.decode(slot["wrapped"].as_str().unwrap().as_bytes()).unwrap();
    let id = HEXLOWER.decode(name.strip_prefix("keys/").unwrap().as_bytes()).unwrap();
    let ad = slot_ad(&slot, &id, kdf, &salt);
    let keyring: Json = serde_json::from_slice(&open_x(&slot_key, &wrapped[..24], &ad, &wrapped[24..])).unwrap();
    let epoch = key(&unhex(&keyring["epochs"]["0"]["root"]));
    (json!({ "object": name, "slot_key": hex(&slot_key), "associated_data": hex(&ad), "keyring": keyring }), epoch)
}

/// Opens `rekeep.json`; gives the keys.
fn open_config(objects: &BTreeMap<String, Vec<u8>>, root: [u8; 32]) -> (Json, Keys) {
    assert_eq!(objects["rekeep.json"], objects["copies/rekeep.json"]);
    let config = two_lines(&objects["rekeep.json"]);
    let id = unhex(&config["id"]);
    let mut keys = Keys { repository: id.clone(), root, chunk_id: [0; 32] };
    let sealed = BASE64.decode(config["secrets"].as_str().unwrap().as_bytes()).unwrap();
    let ad = [&1_u32.to_le_bytes()[..], &id].concat();
    let secrets = open_x(&keys.metadata("lasting secrets"), &sealed[..24], &ad, &sealed[24..]);
    assert_eq!(secrets.len(), 136);
    keys.chunk_id = key(&secrets[..32]);
    let fields = [
        &1_u32.to_le_bytes()[..],
        &id,
        &config["created"].as_i64().unwrap().to_le_bytes(),
        &[config["suite"].as_u64().unwrap() as u8],
        &0_u32.to_le_bytes(),
        &(sealed.len() as u32).to_le_bytes(),
        &sealed,
    ]
    .concat();
    let check = blake3::keyed_hash(&keys.metadata("config check"), &fields);
    assert_eq!(config["check"], check.to_hex().to_string());
    let of_metadata = ["metadata packs", "small objects", "index objects", "lasting secrets", "config check", "reader"];
    let of_metadata = of_metadata.iter().map(|what| ((*what).to_owned(), json!(hex(&keys.metadata(what)))));
    let of_values = ["data packs", "values capsules"];
    let of_values = of_values.iter().map(|what| ((*what).to_owned(), json!(hex(&keys.values(what)))));
    let of_root = ["metadata", "values", "writer", "operator"];
    let of_root = of_root.iter().map(|what| ((*what).to_owned(), json!(hex(&derive(what, &root)))));
    let derived: Map<String, Json> = of_metadata.chain(of_values).chain(of_root).collect();
    let secrets = json!({
        "chunk_id": hex(&secrets[..32]), "fingerprint": hex(&secrets[32..64]), "collection": hex(&secrets[64..96]),
        "cut": hex(&secrets[96..128]), "gear_seed": u64::from_le_bytes(secrets[128..].try_into().unwrap()).to_string(),
    });
    (json!({ "epoch_0_derives": derived, "lasting_secrets": secrets }), keys)
}

/// The entries of a directory body.
fn entries(cursor: &mut Cursor<'_>) -> Vec<(Vec<u8>, u8, u64, u64, u64)> {
    let count = cursor.varint();
    (0..count)
        .map(|_| (cursor.take(32).to_vec(), cursor.take(1)[0], cursor.varint(), cursor.varint(), cursor.varint()))
        .collect()
}

fn open_index(name: &str, bytes: &[u8], keys: &Keys) -> Json {
    assert_eq!((&bytes[..8], &bytes[8..10], &bytes[16..32]), (&b"RKEEPIDX"[..], &[1, 0][..], &keys.repository[..]));
    assert_eq!(name, format!("index/{}", blake3::hash(bytes).to_hex()));
    let packs = u32::from_le_bytes(bytes[32..36].try_into().unwrap()) as usize;
    let (head, sealed) = bytes.split_at(60 + 40 * packs);
    let content = decompress(&open_x(&keys.metadata("index objects"), &head[36..60], head, sealed));
    let mut cursor = Cursor(&content);
    let mut listed = Vec::new();
    for pack in 0..packs {
        let named = &head[60 + 40 * pack..100 + 40 * pack];
        let (kind, lease) = (cursor.take(1)[0], cursor.take(16));
        let len = cursor.varint() as usize;
        let header = cursor.take(len);
        assert_eq!((kind, lease), (header[10], &header[32..48]));
        let chunks = entries(&mut cursor);
        listed.push(json!({ "pack": hex(&named[..32]), "kind": kind, "lease": hex(lease), "chunks": chunks.len() }));
    }
    assert!(cursor.0.is_empty());
    json!({ "object": name, "content": shown(&content), "packs": listed })
}

fn open_pack(name: &str, bytes: &[u8], keys: &Keys) -> Json {
    let len = 64 + usize::from(u16::from_le_bytes(bytes[50..52].try_into().unwrap()));
    let (header, trailer) = (&bytes[..len], &bytes[bytes.len() - 32..]);
    assert_eq!((&header[..8], &trailer[24..]), (&b"RKEEPPAK"[..], &b"RKEEPEND"[..]));
    assert!(name.ends_with(&blake3::hash(bytes).to_hex().to_string()) && bytes.len().is_multiple_of(65_536));
    let kind = header[10];
    assert_eq!((header[11], header[48], len), (1, 1, 136), "suite 1, wrap 1");
    let wrapping = if kind == 1 { keys.metadata("metadata packs") } else { keys.values("data packs") };
    let ad = [&header[8..10], &keys.repository, &header[10..12], &header[12..16], &header[32..48], &[1]].concat();
    let pack_key = key(&open_x(&wrapping, &header[64..88], &ad, &header[88..136]));
    let open = |ordinal: u64, id: &[u8], frame: &[u8]| {
        assert_eq!((&frame[..4], &frame[8..16]), (&b"RKFR"[..], &ordinal.to_le_bytes()[..]));
        let ad = [&header[8..10], &keys.repository, &[kind, header[11]], &ordinal.to_le_bytes(), id].concat();
        open_c(&pack_key, ordinal, &ad, &frame[16..])
    };
    let at = u64::from_le_bytes(trailer[..8].try_into().unwrap()) as usize;
    let len = u32::from_le_bytes(trailer[8..12].try_into().unwrap()) as usize;
    let directory = open(u64::MAX, &[0; 32], &bytes[at..at + len]);
    let mut cursor = Cursor(&directory);
    let mut frames = Vec::new();
    for (ordinal, (id, chunk_kind, offset, stored, plain)) in entries(&mut cursor).into_iter().enumerate() {
        let frame = &bytes[offset as usize..(offset + stored) as usize];
        let body = open(ordinal as u64, &id, frame);
        let runs = runs(&body);
        assert_eq!(runs.iter().map(Vec::len).sum::<usize>() as u64, plain);
        let mut named = blake3::Hasher::new_keyed(&keys.chunk_id);
        named.update(&[chunk_kind]).update(&varint(runs.len() as u64));
        for run in &runs {
            named.update(&varint(run.len() as u64));
        }
        for run in &runs {
            named.update(run);
        }
        assert_eq!(named.finalize().as_bytes()[..], id[..]);
        let runs: Vec<Json> = runs.iter().map(|run| shown(run)).collect();
        frames.push(json!({ "offset": offset, "length": stored, "kind": chunk_kind, "id": hex(&id), "runs": runs }));
    }
    assert!(cursor.0.is_empty());
    json!({ "object": name, "header": hex(header), "key": hex(&pack_key), "frames": frames })
}

/// The runs of a frame's body.
fn runs(body: &[u8]) -> Vec<Vec<u8>> {
    let mut cursor = Cursor(body);
    let count = cursor.varint();
    let table: Vec<(u8, u64, u64)> =
        (0..count).map(|_| (cursor.take(1)[0], cursor.varint(), cursor.varint())).collect();
    let runs = table
        .into_iter()
        .map(|(method, stored, plain)| {
            let bytes = cursor.take(stored as usize);
            let run = if method == 1 { zstd::decode_all(bytes).unwrap() } else { bytes.to_vec() };
            assert_eq!(run.len() as u64, plain);
            run
        })
        .collect();
    assert!(cursor.0.is_empty());
    runs
}

fn open_small(name: &str, bytes: &[u8], keys: &Keys) -> Json {
    let (body, hash) = bytes.split_at(bytes.len() - 32);
    assert_eq!((&body[..8], &body[8..10], hash), (&b"RKEEPOBJ"[..], &[1, 0][..], &blake3::hash(body).as_bytes()[..]));
    let author = check_author(name, body, keys);
    let (body, kind, head) = (&body[..body.len() - 168], body[10], &body[..40]);
    let content = if head[11] == 1 {
        let ad = [&head[8..10], &keys.repository, &[kind], &head[12..16], name.as_bytes()].concat();
        decompress(&open_x(&keys.metadata("small objects"), &head[16..40], &ad, &body[40..]))
    } else {
        let len = usize::from(u16::from_le_bytes(body[40..42].try_into().unwrap()));
        assert_eq!(&body[42..42 + len], name.as_bytes());
        body[42 + len..].to_vec()
    };
    let content: Json = serde_json::from_slice(&content).unwrap();
    json!({ "object": name, "kind": kind, "sealed": head[11] == 1, "author": author, "content": content })
}

fn objects(dir: &Path, below: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            objects(&entry.path(), &format!("{name}/"), found);
        } else if !name.starts_with("tmp/") {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

#[test]
fn a_reader_written_from_the_specification_opens_the_golden_repository() {
    let mut all = BTreeMap::new();
    objects(&root(), "", &mut all);
    let (slot, epoch) = open_slot(&all);
    let (config, keys) = open_config(&all, epoch);
    let each = |folder: &str, open: &dyn Fn(&str, &[u8], &Keys) -> Json| -> Vec<Json> {
        let found: Vec<Json> = all
            .iter()
            .filter(|(name, _)| name.starts_with(folder))
            .map(|(name, bytes)| open(name, bytes, &keys))
            .collect();
        assert!(!found.is_empty(), "{folder}");
        found
    };
    let vectors = json!({
        "repository": "tests/golden/v1/repository",
        "password": PASSWORD,
        "slot": slot,
        "config": config,
        "index": each("index/", &open_index),
        "packs": each("packs/", &open_pack),
        "snapshots": each("snapshots/", &open_small),
        "leases": each("leases/", &open_small),
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/v1.json");
    if std::env::var_os("REKEEP_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
    }
    let kept: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(kept == vectors, "format-spec/vectors/v1.json is not what the golden repository holds");
}
