//! Golden repositories: those of every released version stay readable for ever.
//!
//! `tests/golden/<version>/repository` is never changed once it is released; `expected.json` beside it says in plain
//! JSON what it holds. The password is `golden`. `cargo test --test library -- --ignored write_golden` makes the one of
//! the present format, if it is not there.

use crate::support::{
    Coll, Db, Heard, MemorySource, MemoryTarget, Rec, Rng, TestClock,
    db::live_at,
    world::{back_up, fast_kdf, plain, restore_with, verify_all},
};
use rekeep::{
    ops::{restore::RestoreOptions, verify::verify_keyless},
    record::{Clock, KeyCodec, Tag, value::value_to_json},
    repo::{InitOptions, OpenOptions, Repository, Storage, Unlock},
};
use serde_json::{Map, Value as Json, json};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

fn password() -> Unlock {
    Unlock::Password("golden".to_owned())
}

fn options(cache: &Path, clock: &Arc<TestClock>) -> OpenOptions {
    OpenOptions { cache_dir: cache.to_owned(), clock: Arc::clone(clock) as Arc<_>, host: "golden".to_owned() }
}

/// A database as plain JSON; long values by their BLAKE3 hash.
fn plain_json(db: &Db) -> Json {
    let mut all = Map::new();
    for (name, coll) in db {
        let mut records = Map::new();
        for (key, rec) in &coll.records {
            let mut value = Vec::new();
            let mut writer = rekeep::record::CellWriter::new(&mut value, rec.cells.len());
            for (tag, bytes) in rec.cells.values() {
                writer.cell(Tag(*tag), bytes);
            }
            let value = if value.len() > 4096 {
                json!({ "bytes": value.len(), "blake3": blake3::hash(&value).to_hex().to_string() })
            } else {
                value_to_json(&rec.shape(), &value).unwrap()
            };
            records.insert(
                coll.codec.show(key),
                json!({
                    "value": value,
                    "generation": rec.generation,
                    "expiry": rec.expiry,
                    "stamp": rec.stamp,
                    "set": String::from_utf8_lossy(&rec.set),
                    "user_key": rec.user_key.as_ref().map(|key| data_encoding::HEXLOWER.encode(key)),
                }),
            );
        }
        let codec = serde_json::to_value(coll.codec).unwrap();
        all.insert(name.clone(), json!({ "codec": codec, "attributes": coll.attributes, "records": records }));
    }
    Json::Object(all)
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Every kind of row, key, cell and object that the format has.
fn states(clock: &TestClock) -> Vec<Db> {
    let soon = clock.now().as_millis() as u64 + 1500;
    let mut rng = Rng::new(2026);
    let mut things = Coll::new(KeyCodec::Tuple);
    things.attributes = json!({ "sql": "CREATE TABLE things (id PRIMARY KEY, note)" });
    for n in 0..40i64 {
        let key = KeyCodec::Tuple.parse(&format!("int:{n},str:part {n}")).unwrap();
        things
            .records
            .insert(key, Rec::of(&[(b"id", Tag::INTEGER, &n.to_be_bytes()), (b"note", Tag::STRING, b"first")]));
    }
    let mut ints = Coll::new(KeyCodec::Int);
    let int = |n: i64| KeyCodec::Int.parse(&format!("int:{n}")).unwrap();
    ints.records.insert(int(-5), Rec::of(&[(b"f", Tag::FLOAT, &1.5f64.to_be_bytes()), (b"n", Tag::NULL, b"")]));
    ints.records.insert(int(0), Rec::default());
    ints.records.insert(int(7), Rec::blob(b"some text and more of it ".repeat(8_000)));
    ints.records.insert(int(8), Rec::text("expires").expiring(soon));
    let mut users = Rec::blob(rng.bytes(33));
    users.set = b"users".to_vec();
    users.user_key = Some(b"\x03me".to_vec());
    users.generation = 3;
    users.stamp = 99;
    let raw = Coll::raw([(vec![0, 0xff], users), (Vec::new(), Rec::of(&[(b"b", Tag::BOOL, &[1])]))]);
    let empty = Coll::new(KeyCodec::Path);
    let first = Db::from([
        ("things".to_owned(), things),
        ("ints".to_owned(), ints),
        ("raw/ż".to_owned(), raw),
        ("empty".to_owned(), empty),
    ]);
    let mut second = first.clone();
    let things = second.get_mut("things").unwrap();
    things.records.remove(&KeyCodec::Tuple.parse("int:3,str:part 3").unwrap());
    things.records.insert(KeyCodec::Tuple.parse("null").unwrap(), Rec::text("new"));
    second.get_mut("ints").unwrap().records.get_mut(&int(7)).unwrap().generation = 2;
    second.get_mut("raw/ż").unwrap().records.get_mut([0, 0xff].as_slice()).unwrap().expiry = soon + 86_400_000_000;
    vec![first, second]
}

#[test]
#[ignore = "writes into the source tree; run once for each version of the format"]
fn write_golden() {
    let folder = folder("v1");
    assert!(!folder.exists(), "{} is never overwritten", folder.display());
    std::fs::create_dir_all(folder.join("repository")).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let storage = Storage::at(folder.join("repository").to_str().unwrap()).unwrap();
    let init = InitOptions { kdf: fast_kdf(), label: "golden".to_owned() };
    let (repo, _) = Repository::init(&storage, &password(), None, &init, &options(cache.path(), &clock)).unwrap();
    let states = states(&clock);
    let source = MemorySource::of(states[0].clone(), &clock);
    let mut expected = Vec::new();
    for state in &states {
        *source.db.lock().unwrap() = state.clone();
        let outcome = back_up(&repo, &source);
        let live = live_at(state, outcome.end);
        expected.push(json!({ "id": outcome.id, "end": outcome.end, "collections": plain_json(&live) }));
        clock.advance(1000);
    }
    // A third one is forgotten, a session is fenced, the first one gets a tag.
    let third = back_up(&repo, &source);
    repo.forget(&third.id.unwrap()).unwrap();
    let writing = rekeep::repo::WriteOptions {
        purpose: "backup".to_owned(),
        compression: plain().compression,
        check: true,
        write_limit: None,
    };
    let session = repo.begin_write(&writing).unwrap();
    assert!(repo.fence(&session.id()).unwrap());
    session.abandon().unwrap();
    let first = repo.snapshots().unwrap()[0].id;
    repo.revise(&first, &|manifest| manifest.tags.push("golden".to_owned())).unwrap();
    let text = serde_json::to_string_pretty(&expected).unwrap();
    std::fs::write(folder.join("expected.json"), text + "\n").unwrap();
}

#[test]
fn golden_repositories_are_read_as_they_were_written() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder("")).unwrap() {
        let folder = entry.unwrap().path();
        let temporary = tempfile::tempdir().unwrap();
        let copy = temporary.path().join("repository");
        copy_all(&folder.join("repository"), &copy);
        let storage = Storage::at(copy.to_str().unwrap()).unwrap();
        let clock = Arc::new(TestClock::default());
        clock.advance(86_400_000);
        let keyless = verify_keyless(&storage, &Heard::default()).unwrap();
        assert!(keyless.findings.is_empty(), "{:#?}", keyless.findings);
        let repo = Repository::open(&storage, &password(), &options(&temporary.path().join("cache"), &clock)).unwrap();
        assert!(repo.warnings().is_empty(), "{:?}", repo.warnings());
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: Vec<Json> = serde_json::from_str(&text).unwrap();
        let snapshots = repo.snapshots().unwrap();
        let mut last = Db::new();
        for (taken, expected) in snapshots.iter().zip(&expected) {
            assert_eq!(json!(taken.id), expected["id"]);
            assert_eq!(json!(taken.content.end), expected["end"]);
            let target = MemoryTarget::default();
            let outcome = restore_with(&repo, taken, &target, &RestoreOptions::default()).unwrap();
            assert!(outcome.complete);
            last = target.held();
            assert_eq!(plain_json(&last), expected["collections"], "snapshot {}", taken.id);
        }
        assert_eq!(snapshots.len(), expected.len());
        assert_eq!(snapshots[0].tags, ["golden"]);
        let verified = verify_all(&repo).unwrap();
        assert!(verified.findings.is_empty(), "{:#?}", verified.findings);
        // It can be gone on with: the next backup is a delta on what an older version wrote.
        last.get_mut("empty").unwrap().records.insert(b"now/a file".to_vec(), Rec::text("there"));
        let source = MemorySource::new(&Arc::new(Mutex::new(last)), &clock);
        let next = back_up(&repo, &source);
        assert_eq!((next.parent, next.stats.new, next.stats.changed), (Some(snapshots.last().unwrap().id), 1, 0));
        seen += 1;
    }
    assert!(seen > 0);
}
