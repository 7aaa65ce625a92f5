//! How the golden repositories were made.

use super::{
    folder, listing, names, objects, password,
    states::{first_state, second_state, third_state},
};
use crate::support::{
    Coll, Db, Heard, MemorySource, Rec, TestClock,
    db::live_at,
    world::{back_up, fast_kdf, plain},
};
use rekeep::{
    connector::{Options, Registry},
    layer::VersionTime,
    ops::{
        backup::{BackupOptions, backup},
        prune::{PruneOptions, prune},
        squash::{self, ThinVersions},
        stream::{StreamCollection, StreamEnd, StreamOptions, StreamSource, StreamWriter},
    },
    record::{CellWriter, ChangeBatch, Clock, KeyCodec, RowHead, Tag},
    repo::{InitOptions, OpenOptions, Repository, Role, Storage, Suite, Traits, Unlock, WriteOptions},
};
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// A golden repository in the making.
struct Making {
    root: PathBuf,
    cache: tempfile::TempDir,
    clock: Arc<TestClock>,
    recovery: String,
}

impl Making {
    fn begin(name: &str, suite: Suite) -> Option<(Self, Repository)> {
        let root = folder().join(name).join("repository");
        if root.exists() {
            return None;
        }
        fs::create_dir_all(&root).unwrap();
        let mut making = Self {
            root,
            cache: tempfile::tempdir().unwrap(),
            clock: Arc::new(TestClock::default()),
            recovery: String::new(),
        };
        let init = InitOptions { kdf: fast_kdf(), label: "golden".to_owned() };
        let unlock = password("golden");
        let traits = Traits { suite, ..Traits::default() };
        let (repo, recovery) =
            Repository::init_as(&traits, &making.storage(), &unlock, None, &init, &making.options()).unwrap();
        making.recovery.clone_from(&recovery.0);
        Some((making, repo))
    }

    fn storage(&self) -> Storage {
        Storage::at(self.root.to_str().unwrap()).unwrap()
    }

    fn options(&self) -> OpenOptions {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        OpenOptions { cache_dir: self.cache.path().to_owned(), clock, host: "golden".to_owned() }
    }

    fn open(&self, unlock: &Unlock) -> Repository {
        Repository::open(&self.storage(), unlock, &self.options()).unwrap()
    }

    /// Writes down what it holds.
    fn done(self, repo: &Repository, opens: &Json, wrong: &BTreeMap<String, &str>) {
        repo.refresh().unwrap();
        // What a writer keeps for itself is no part of it.
        let _ = fs::remove_dir_all(self.root.join("tmp"));
        let expected = json!({ "opens": opens, "objects": objects(&self.root, wrong), "snapshots": listing(repo) });
        let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
        fs::write(self.root.parent().unwrap().join("expected.json"), text).unwrap();
    }
}

pub(super) fn write_stack() {
    let Some((making, repo)) = Making::begin("stack", Suite::ChaCha20Poly1305) else { return };
    let first = first_state(making.clock.now().as_millis() as u64);
    let second = second_state(&first);
    let third = third_state(&first, &second);
    let source = MemorySource::of(first.clone(), &making.clock).in_parts(3);
    for state in [&first, &second, &third] {
        *source.db.lock().unwrap() = state.clone();
        let outcome = back_up(&repo, &source);
        let taken = repo.snapshots().unwrap().pop().unwrap();
        let live = live_at(state, outcome.end).values().map(|it| it.records.len() as u64).sum::<u64>();
        assert_eq!(taken.collections.iter().map(|it| it.records).sum::<u64>(), live);
        making.clock.advance(1000);
    }
    let opens = json!([{ "password": "golden", "role": "admin" }, { "recovery": making.recovery, "role": "admin" }]);
    making.done(&repo, &opens, &BTreeMap::new());
}

pub(super) fn write_revisions() {
    let Some((making, repo)) = Making::begin("revisions", Suite::Aes256Gcm) else { return };
    let mut wrong = BTreeMap::new();
    let small = |n: i64| {
        let records = (0..150 + n).map(|key| {
            let value = if key % 40 <= n { format!("state {n} of {key}") } else { format!("a value of {key}") };
            (format!("key {key:03}").into_bytes(), Rec::text(&value))
        });
        Db::from([("c".to_owned(), Coll::raw(records))])
    };
    let source = MemorySource::of(small(1), &making.clock);
    let take = |repo: &Repository, n: i64| {
        *source.db.lock().unwrap() = small(n);
        making.clock.advance(1000);
        back_up(repo, &source).id.unwrap()
    };
    // So many forgotten ones that one object names them.
    let forgotten: Vec<_> = (0..66).map(|_| take(&repo, 1)).collect();
    for id in &forgotten {
        repo.forget(id).unwrap();
    }
    let kept = take(&repo, 2);
    for _ in 0..2 {
        prune(&repo, &PruneOptions::default(), &Heard::default()).unwrap();
    }
    assert_eq!(names(&making.root.join("forgotten"), "").len(), 1);
    // A squash that committed.
    let squashed: Vec<_> = (3..7).map(|n| take(&repo, n)).collect();
    repo.forget(&squashed[1]).unwrap();
    let plan = squash::plan(&repo, 0.0).unwrap();
    let options = squash::SquashOptions { parallel: 1, ..squash::SquashOptions::default() };
    let outcome = squash::execute(&repo, &plan, &options, &Heard::default()).unwrap();
    assert!(outcome.id.is_some(), "{outcome:?}");
    assert!(repo.snapshots().unwrap().iter().any(|it| it.squash == outcome.id));
    repo.revise(&kept, &|manifest| {
        manifest.tags.push("kept".to_owned());
        manifest.hold = true;
    })
    .unwrap();
    // A new epoch, and a host that may only put under it.
    let (_, recovery) = repo.key_begin_epoch(&password("golden 1"), "second").unwrap();
    drop(repo);
    let repo = making.open(&password("golden 1"));
    repo.key_add_role(&password("put"), Role::PutOnly, "putter").unwrap();
    repo.key_add_role(&password("read"), Role::ReadOnly, "reader").unwrap();
    let putter = making.open(&password("put"));
    let put = take(&putter, 8);
    drop(putter);
    repo.refresh().unwrap();
    let last = take(&repo, 9);
    // A mark that waits for a reader; a squash that is pending, one that was given up, and a fenced backup.
    let reader = repo.begin_read("read").unwrap();
    repo.forget(&squashed[2]).unwrap();
    prune(&repo, &PruneOptions::default(), &Heard::default()).unwrap();
    assert!(!names(&making.root.join("trash"), "").is_empty());
    let writing =
        |purpose: &str| WriteOptions { purpose: purpose.to_owned(), compression: 1, check: true, write_limit: None };
    let given_up = repo.begin_write(&writing("squash")).unwrap();
    let collections =
        |id| repo.snapshots().unwrap().into_iter().find(|it| it.id == id).unwrap().into_manifest().collections;
    given_up.restack(&last, &collections(last), &collections(last)).unwrap();
    given_up.abandon_squash().unwrap();
    let pending = repo.begin_write(&writing("squash")).unwrap();
    pending.restack(&put, &collections(put), &collections(put)).unwrap();
    let fenced = repo.begin_write(&writing("backup")).unwrap();
    assert!(repo.fence(&fenced.id()).unwrap());
    fenced.abandon().unwrap();
    // A backup that broke off, and left a note.
    let many =
        Db::from([("m".to_owned(), Coll::raw((0..4000_u32).map(|n| (n.to_be_bytes().to_vec(), Rec::text("m")))))]);
    let mut breaking = MemorySource::resumable(&Arc::new(Mutex::new(many)), &making.clock, 4);
    "another".clone_into(&mut breaking.name);
    let heard = Heard::default();
    heard.cancel_after.store(3000, std::sync::atomic::Ordering::Relaxed);
    let options = BackupOptions { parallel: 1, checkpoint_after: Duration::ZERO, ..plain() };
    assert!(backup(&repo, &breaking, &options, &heard).is_err());
    assert!(!names(&making.root.join("checkpoints"), "").is_empty());
    // So many collections that they do not fit into the manifest.
    let wide = (0..300).map(|n| (format!("collection {n:03}"), Coll::new(KeyCodec::Raw))).collect();
    let mut wide = MemorySource::of(wide, &making.clock);
    "wide".clone_into(&mut wide.name);
    let wide = back_up(&repo, &wide).id.unwrap();
    repo.revise(&wide, &|manifest| manifest.tags.push("wide".to_owned())).unwrap();
    // What was made wrong.
    let tombstone = fs::read(making.root.join(format!("snapshots/{}/{}", squashed[1], 1))).unwrap();
    let mut plant = |name: String, bytes: &[u8], word| {
        fs::write(making.root.join(&name), bytes).unwrap();
        wrong.insert(name, word);
    };
    plant(format!("snapshots/{last}/{}", i64::MAX), &tombstone, "forged");
    plant(format!("snapshots/{last}/{}", u64::MAX), &tombstone, "foreign");
    plant(format!("snapshots/{kept}/9"), &tombstone[..200], "damaged");
    plant("snapshots/notes.txt".to_owned(), b"nothing of ours", "foreign");
    let opens = json!([
        { "password": "golden 1", "role": "admin" },
        { "recovery": recovery.0.clone(), "role": "admin" },
        { "password": "read", "role": "read-only" },
    ]);
    making.done(&repo, &opens, &wrong);
    std::mem::forget((reader, pending));
}

pub(super) fn write_connectors() {
    let Some((making, repo)) = Making::begin("connectors", Suite::ChaCha20Poly1305) else { return };
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    let lines = "{\"collection\":\"users\",\"codec\":\"int\"}\n\
        {\"key\":\"int:1\",\"value\":{\"name\":\"Ada\",\"born\":1815,\"alive\":false,\"score\":1.5,\"none\":null}}\n\
        {\"key\":\"int:-2\",\"generation\":4,\"expiry\":4102444800000,\"set\":\"s\",\"value\":{\"data\":{\"base64\":\"AAEC\"}}}\n";
    fs::write(at("users.jsonl"), lines).unwrap();
    fs::create_dir_all(at("tree/deep")).unwrap();
    fs::write(at("tree/a file.txt"), "hello").unwrap();
    fs::write(at("tree/deep/zeros"), vec![0; 300_000]).unwrap();
    std::os::unix::fs::symlink("../a file.txt", at("tree/deep/link")).unwrap();
    fs::hard_link(at("tree/a file.txt"), at("tree/same")).unwrap();
    let database = |name: &str, encoding: &str| {
        let db = rusqlite::Connection::open(at(name)).unwrap();
        let sql = format!(
            "PRAGMA encoding = '{encoding}'; CREATE TABLE things (a TEXT, b REAL, c, PRIMARY KEY (a, b));
             CREATE TABLE plain (id INTEGER PRIMARY KEY, v); CREATE INDEX by_v ON plain (v);
             INSERT INTO things VALUES ('é', 1, x'00ff'), ('é', 1.5, NULL), ('', -7, 'text'), (NULL, 0, 1);
             INSERT INTO plain VALUES (-5, 'minus'), (7, 2.5), (8, x'');"
        );
        db.execute_batch(&sql).unwrap();
        // So many that they do not fit into the manifest.
        for n in 0..if encoding == "UTF-8" { 700 } else { 0 } {
            db.execute_batch(&format!("CREATE VIEW view_{n:03} AS SELECT v FROM plain WHERE id = {n}")).unwrap();
        }
        db
    };
    let utf8 = database("one.db", "UTF-8");
    let utf16 = database("two.db", "UTF-16le");
    let sources = |connector: &str, file: &str| {
        let url = format!("{connector}:{}", at(file).display());
        let source = Registry::default().source(&url, &Options::default()).unwrap();
        let (url, name) = (format!("{connector}:{file}"), Some(format!("golden/{file}")));
        let options = BackupOptions { parallel: 1, url, source_name: name, ..BackupOptions::default() };
        making.clock.advance(1000);
        assert!(backup(&repo, source.as_ref(), &options, &Heard::default()).unwrap().complete);
    };
    let all = [("jsonl", "users.jsonl"), ("files", "tree"), ("sqlite", "one.db"), ("sqlite", "two.db")];
    for (connector, file) in all {
        sources(connector, file);
    }
    fs::write(at("users.jsonl"), lines.replace("Ada", "Ada L.") + "{\"key\":\"int:3\",\"value\":{}}\n").unwrap();
    fs::remove_file(at("tree/same")).unwrap();
    fs::write(at("tree/new"), "new").unwrap();
    for db in [&utf8, &utf16] {
        db.execute_batch("DELETE FROM plain WHERE id = 7; UPDATE things SET c = 'changed' WHERE b = 1.5").unwrap();
    }
    for (connector, file) in all {
        sources(connector, file);
    }
    let opens = json!([{ "password": "golden", "role": "admin" }]);
    making.done(&repo, &opens, &BTreeMap::new());
}

/// A change: after how many milliseconds, of which record, as which generation, what.
type Made<'a> = (i64, &'a [u8], u32, Option<Rec>);

pub(super) fn write_journal() {
    let Some((making, repo)) = Making::begin("journal", Suite::ChaCha20Poly1305) else { return };
    let base = (0..40).map(|n| (format!("key {n:02}").into_bytes(), Rec::text("of the base")));
    let db = Db::from([("c".to_owned(), Coll::raw(base))]);
    let source = MemorySource::of(db, &making.clock);
    back_up(&repo, &source);
    let base = repo.snapshots().unwrap().pop().unwrap();
    let source = StreamSource {
        source: base.content.source.clone(),
        scope: base.content.scope.clone(),
        scope_note: base.content.scope_note.clone(),
        asked: base.content.asked.clone(),
        attributes: Json::Null,
    };
    let collections = [StreamCollection { name: "c".to_owned(), codec: KeyCodec::Raw, attributes: Json::Null }];
    let options = StreamOptions::default();
    let commit = |changes: &[Made<'_>]| {
        making.clock.advance(1000);
        let mut batch = ChangeBatch::default();
        let began = making.clock.now().as_millis();
        for (after, key, generation, rec) in changes {
            let millis = u64::try_from(began + after).unwrap();
            let order = u64::from(*generation) * 2 + u64::from(rec.is_none());
            let time = VersionTime { millis, order };
            let Some(rec) = rec else {
                batch.delete(time, key, *generation);
                continue;
            };
            let mut rec = rec.clone();
            rec.generation = *generation;
            let mut value = Vec::new();
            let mut cells = CellWriter::new(&mut value, rec.cells.len());
            rec.cells.values().for_each(|(tag, bytes)| cells.cell(Tag(*tag), bytes));
            let put = batch.put(time, |rows| {
                rows.push_encoded(RowHead { key, meta: rec.meta() }, &rec.shape(), &value);
                Ok::<_, ()>(())
            });
            put.unwrap();
        }
        making.clock.advance(4000);
        let heard = Heard::default();
        let mut writer = StreamWriter::begin(&repo, &source, &collections, &options, &heard).unwrap();
        writer.write(0, &batch).unwrap();
        writer.commit(&StreamEnd { is_whole: true, ..StreamEnd::default() }, &heard).unwrap();
    };
    let text = |text: &str| Some(Rec::text(text));
    let now = making.clock.now().as_millis() as u64;
    let mut full = Rec::text("all that a row may have");
    (full.set, full.user_key, full.expiry) = (b"set".to_vec(), Some(vec![3, b'k']), now + 9_000);
    let long = Rec::blob(vec![b'x'; 140_000]);
    let edges: [&[u8]; 6] = [b"", &[0], &[0, 0], &[0, 0xff], &[0xff], &[0xff, 0]];
    let mut first: Vec<Made<'_>> = edges.iter().map(|key| (5, *key, 1, text("a key at an edge"))).collect();
    first.extend([
        (0, b"key 01".as_slice(), 2, text("one")),
        (0, b"key 01", 3, text("two, in the same millisecond")),
        (1, b"key 01", 4, None),
        (700, b"key 02", 2, Some(full)),
        (800, b"key 03", 2, Some(long)),
        (900, b"key 04", 2, None),
    ]);
    commit(&first);
    // Earlier than some of the commit before, as they come of several nodes.
    commit(&[
        (-4500, b"key 05", 2, text("late")),
        (0, b"key 01", 5, text("there again")),
        (1, &[0], 2, None),
        (2, b"key 04", 3, None),
    ]);
    commit(&[(0, b"key 01", 6, text("last")), (0, b"key 06", 2, text("six")), (2500, b"key 06", 3, text("seven"))]);
    let thin = ThinVersions { age: 7_000, every: 1_000 };
    prune(&repo, &PruneOptions { thin_versions: vec![thin], ..PruneOptions::default() }, &Heard::default()).unwrap();
    commit(&[(0, b"key 07", 2, text("after it was thinned out")), (10, &[0xff], 2, text("changed"))]);
    let opens = json!([{ "password": "golden", "role": "admin" }]);
    making.done(&repo, &opens, &BTreeMap::new());
}
