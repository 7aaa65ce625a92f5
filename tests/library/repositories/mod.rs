//! The golden repositories of the format, `format-spec/vectors/repositories/*/`: read for ever, by this program and by the
//! second reader in Python, which was written from the pages alone. `expected.json` says what each holds, and how it opens.
//!
//! A repository is never changed once its format is released. `cargo test --test library -- --ignored write_repositories`
//! makes those that are not there.

mod making;
mod states;

use crate::support::{TestClock, world::verify_all};
use data_encoding::HEXLOWER;
use rekeep::{
    layer::{JournalChange, LayerError, PlayedSpan, Stack, Version, VersionValue, Versions, play},
    record::{CollectionSum, KeyRange, Timestamp},
    repo::{OpenOptions, Repository, Snapshot, Storage, Unlock, manifest::Collection},
};
use serde_json::{Map, Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Longer cells are given by their length and hash.
const SHOWN_BYTES: usize = 256;

/// More records of one collection are given by their number and a hash.
const SHOWN_ENTRIES: usize = 100;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/repositories")
}

fn password(text: &str) -> Unlock {
    Unlock::Password(text.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_BYTES {
        hex(bytes)
    } else {
        format!("{} bytes, blake3 {}", bytes.len(), blake3::hash(bytes).to_hex())
    }
}

/// As it is, or number and hash of what is too much to be listed.
fn few(listed: &BTreeMap<String, Json>) -> Json {
    if listed.len() <= SHOWN_ENTRIES {
        return json!(listed);
    }
    let mut hasher = blake3::Hasher::new();
    for (key, json) in listed {
        hasher.update(format!("{key} {json}\n").as_bytes());
    }
    json!({ "count": listed.len(), "blake3": hasher.finalize().to_hex().to_string() })
}

/// The records of a collection, and the sum over them.
fn records(repo: &Repository, snapshot: &Snapshot, stack: &Stack) -> (BTreeMap<Vec<u8>, Json>, CollectionSum) {
    let (mut found, mut sum) = (BTreeMap::new(), CollectionSum::default());
    let mut cursor = stack.cursor(&KeyRange::all(), snapshot.content.end, false).unwrap();
    while cursor.advance().unwrap() {
        let row = cursor.row().unwrap();
        let value = match row.value {
            VersionValue::Inline(bytes) => bytes.to_vec(),
            VersionValue::Pieces { mut reader, .. } => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                bytes
            }
        };
        let cells: Vec<Json> = row
            .shape
            .names()
            .iter()
            .zip(row.shape.cells(&value))
            .map(|(name, cell)| cell.map(|cell| json!([hex(name), cell.tag.0, shown(cell.bytes)])).unwrap())
            .collect();
        let mut record = json!({ "cells": cells, "fingerprint": hex(&row.fingerprint.0) });
        let meta = &row.meta;
        let mut put = |name: &str, value: Json| record[name] = value;
        if !meta.set.is_empty() {
            put("set", json!(hex(meta.set)));
        }
        for (name, number) in
            [("generation", u64::from(meta.generation)), ("expiry", meta.expiry.as_millis()), ("stamp", meta.stamp)]
        {
            if number != 0 {
                put(name, json!(number));
            }
        }
        if let Some(user_key) = meta.user_key {
            put("user_key", json!(hex(user_key)));
        }
        let mut key_row = Vec::new();
        meta.write_key_row(row.key, &row.fingerprint, &mut key_row);
        let hash = blake3::keyed_hash(&repo.secrets().collection, &key_row);
        sum.add(&CollectionSum(*hash.as_bytes()));
        found.insert(row.key.to_vec(), record);
    }
    (found, sum)
}

/// What each layer of a stack says of each key that some snapshot shows: absent, a row in place or in pieces, inherited, a
/// tombstone. What only the base has is left out.
fn versions(repo: &Repository, snapshot: &Snapshot, name: &str, keys: &BTreeSet<Vec<u8>>) -> BTreeMap<String, Json> {
    let versions = Versions::new(&repo.chunks());
    let stack = &snapshot.collections.iter().find(|it| it.name == name).unwrap().stack;
    let letter = |layer, key: &[u8]| match versions.version(layer, key) {
        Ok(Version::Absent) => '-',
        Ok(Version::Tombstone) => 't',
        Ok(Version::Live { inherited: true, .. }) => 'i',
        Ok(Version::Live { .. }) => 'v',
        Err(error) => panic!("{error}"),
    };
    let rows = keys.iter().map(|key| (shown(key), stack.iter().map(|layer| letter(layer, key)).collect::<String>()));
    rows.filter(|(_, letters)| letters.trim_matches('-') != &letters[..1])
        .map(|(key, letters)| (key, json!(letters)))
        .collect()
}

/// Every version that the journals of a stream hold by the snapshot's end, and of each moment at which one was made, of the one
/// before and of one before all: which moment is shown instead, how many records it has, and their sum.
fn stream(repo: &Repository, snapshot: &Snapshot, said: &Collection) -> (Vec<Json>, Vec<Json>) {
    let first = said.stack.iter().rposition(|layer| !layer.journal).map_or(0, |other| other + 1);
    let journals = Stack::open(&repo.chunks(), &said.stack[first..]).unwrap();
    let (end, from) = (snapshot.content.end, said.journal.as_ref().unwrap().from.as_millis());
    let span = PlayedSpan { begins: end, from: None, only_changes: false, to: end, held_bytes: 1 << 20 };
    let (mut versions, mut times) = (Vec::new(), BTreeSet::from([from - 1, from, end.as_millis()]));
    play::<LayerError>(&Stack::default(), &journals, &span, &mut |played| {
        let value = match &played.change {
            JournalChange::Put { value, .. } => Some(blake3::hash(value).to_hex().to_string()),
            JournalChange::Delete => None,
        };
        versions.push(json!([shown(played.key), played.time.millis, played.time.order, value]));
        let millis = i64::try_from(played.time.millis).unwrap();
        times.extend([millis - 1, millis].into_iter().filter(|millis| *millis >= from));
        Ok(())
    })
    .unwrap();
    let stack = Stack::open(&repo.chunks(), &said.stack).unwrap();
    let moments = times.into_iter().map(|time| {
        let seen = if time == end.as_millis() {
            Some(snapshot.clone())
        } else {
            snapshot.seen_at(Timestamp::from_millis(time))
        };
        let Some(seen) = seen else { return json!([time, null]) };
        let (records, sum) = records(repo, &seen, &stack);
        json!([time, seen.content.end, records.len(), sum.to_hex()])
    });
    (versions, moments.collect())
}

/// Every snapshot and every record, as `expected.json` has them.
fn listing(repo: &Repository) -> Json {
    let snapshots = repo.snapshots().unwrap();
    let mut keys: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut read = Vec::new();
    for snapshot in &snapshots {
        let mut of_snapshot = BTreeMap::new();
        for collection in &snapshot.collections {
            let stack = Stack::open(&repo.chunks(), &collection.stack).unwrap();
            let (records, sum) = records(repo, snapshot, &stack);
            keys.entry(collection.name.clone()).or_default().extend(records.keys().cloned());
            of_snapshot.insert(collection.name.clone(), (records, sum));
        }
        read.push(of_snapshot);
    }
    let listed: Vec<Json> = snapshots
        .iter()
        .zip(read)
        .map(|(snapshot, of_snapshot)| {
            let mut collections = Map::new();
            for (name, (records, sum)) in of_snapshot {
                let said = snapshot.collections.iter().find(|it| it.name == name).unwrap();
                let rows = few(&versions(repo, snapshot, &name, &keys[&name]));
                let records = few(&records.into_iter().map(|(key, record)| (shown(&key), record)).collect());
                let codec = serde_json::to_value(said.codec).unwrap();
                let mut listed = json!({
                    "codec": codec, "records": records, "sum": sum.to_hex(), "rows": rows, "sets": said.sets,
                });
                if said.journal.is_some() {
                    let (versions, moments) = stream(repo, snapshot, said);
                    listed["versions"] = json!(versions);
                    listed["moments"] = json!(moments);
                }
                collections.insert(name, listed);
            }
            let content = &snapshot.content;
            let tables: Vec<&str> = snapshot.tables.names().collect();
            json!({
                "id": snapshot.id, "revision": snapshot.revision, "start": content.start, "end": content.end,
                "connector": content.source.connector, "parent": content.parent, "tags": snapshot.tags,
                "hold": snapshot.hold, "collections": collections, "tables": tables,
            })
        })
        .collect();
    json!(listed)
}

/// What lies in the folders of small objects, `wrong` being what was made wrong on purpose.
fn objects(root: &Path, wrong: &BTreeMap<String, &str>) -> Json {
    let mut found = Map::new();
    for folder in ["snapshots", "leases", "checkpoints", "trash", "forgotten", "promises", "damage"] {
        for name in names(&root.join(folder), &format!("{folder}/")) {
            let kind = fs::read(root.join(&name)).unwrap().get(10).copied();
            let word = match (wrong.get(&name), folder, kind) {
                (Some(word), ..) => word,
                (None, "snapshots", Some(1)) => "revision",
                (None, "snapshots", Some(6)) => "void",
                (None, "snapshots", _) => "tombstone",
                _ => "good",
            };
            found.insert(name, json!(word));
        }
    }
    Json::Object(found)
}

fn names(folder: &Path, below: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(names(&entry.path(), &format!("{name}/")));
        } else {
            found.push(name);
        }
    }
    found
}

#[test]
#[ignore = "writes into the source tree; makes what golden repositories are not there"]
fn write_repositories() {
    making::write_stack();
    making::write_revisions();
    making::write_connectors();
    making::write_journal();
}

fn copy_all(from: &Path, to: &Path) {
    for name in names(from, "") {
        fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

fn golden() -> Vec<(PathBuf, Json)> {
    let folders = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = folders
        .map(|folder| {
            let text = fs::read_to_string(folder.join("expected.json")).unwrap();
            (folder, serde_json::from_str(&text).unwrap())
        })
        .collect();
    found.sort_by(|a: &(PathBuf, Json), b| a.0.cmp(&b.0));
    assert_eq!(found.len(), 4);
    found
}

#[test]
fn golden_repositories_of_the_format_hold_what_they_held() {
    for (folder, expected) in golden() {
        for (number, opens) in expected["opens"].as_array().unwrap().iter().enumerate() {
            let temporary = tempfile::tempdir().unwrap();
            let copy = temporary.path().join("repository");
            copy_all(&folder.join("repository"), &copy);
            let unlock = match (&opens["password"], &opens["recovery"]) {
                (Json::String(text), _) => password(text),
                (_, text) => Unlock::Recovery(text.as_str().unwrap().to_owned()),
            };
            let clock = Arc::new(TestClock::default());
            clock.advance(86_400_000);
            let options = OpenOptions { cache_dir: temporary.path().join("cache"), clock, host: "golden".to_owned() };
            let repo = Repository::open(&Storage::at(copy.to_str().unwrap()).unwrap(), &unlock, &options).unwrap();
            assert_eq!(json!(repo.role()), opens["role"], "{}", folder.display());
            let found = listing(&repo);
            assert!(found == expected["snapshots"], "{} holds something else: {found:#}", folder.display());
            if number > 0 {
                continue;
            }
            let verified = verify_all(&repo).unwrap();
            let wrong =
                |object: &str| !matches!(expected["objects"][object].as_str(), Some("forged" | "damaged" | "foreign"));
            let findings: Vec<_> = verified.findings.iter().filter(|it| wrong(&it.object)).collect();
            assert!(findings.is_empty(), "{}: {findings:#?}", folder.display());
        }
    }
}

/// The part's Python and the reader.
fn second_reader() -> (PathBuf, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parts = std::env::var_os("REKEEP_PARTS").map_or_else(|| root.join("target/parts"), PathBuf::from);
    (parts.join("second-reader/bin/python"), root.join("tests/second_reader/read.py"))
}

#[test]
#[ignore = "needs second-reader"]
fn a_second_reader_finds_the_same_in_golden_repositories() {
    let (python, reader) = second_reader();
    for (folder, expected) in golden() {
        for opens in expected["opens"].as_array().unwrap() {
            let mut command = std::process::Command::new(&python);
            command.arg(&reader).arg(folder.join("repository")).arg("--expected").arg(folder.join("expected.json"));
            for secret in ["password", "recovery"] {
                if let Some(text) = opens[secret].as_str() {
                    command.arg(format!("--{secret}")).arg(text);
                }
            }
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}", folder.display());
        }
    }
}

#[test]
#[ignore = "needs second-reader"]
fn a_second_reader_agrees_with_the_vectors() {
    let (python, reader) = second_reader();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors");
    let output =
        std::process::Command::new(python).arg(reader.with_file_name("vectors.py")).arg(vectors).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
