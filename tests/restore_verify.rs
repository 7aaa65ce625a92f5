//! `restore --verify`: what was written is read back from the target and compared.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use rekeep::{
    connector::{
        Overwrite, Source, SourceUrl, Target,
        files::{FilesOptions, FilesSource, FilesTarget, FilesTargetOptions},
        jsonl::JsonlTarget,
        sqlite::{SqliteSource, SqliteTarget},
    },
    ops::{
        Silent,
        backup::{BackupOptions, backup},
        restore::{RestoreOptions, RestoreOutcome, restore},
    },
    record::SystemClock,
    repo::{InitOptions, OpenOptions, Repository, Snapshot, Storage, Unlock, keys::KdfParams},
};
use rusqlite::Connection;
use std::{fs, path::Path, sync::Arc};

fn repository(dir: &Path) -> Repository {
    let storage = Storage::at(dir.join("repo").to_str().unwrap()).unwrap();
    let init = InitOptions { kdf: KdfParams { memory_kib: 64, passes: 1, lanes: 1 }, label: "test".to_owned() };
    let open = OpenOptions { cache_dir: dir.join("cache"), clock: Arc::new(SystemClock), host: "here".to_owned() };
    Repository::init(&storage, &Unlock::Password("secret".to_owned()), None, &init, &open).unwrap().0
}

fn snapshot(repo: &Repository, source: &dyn Source) -> Snapshot {
    let outcome = backup(repo, source, &BackupOptions::default(), &Silent).unwrap();
    repo.snapshots().unwrap().into_iter().find(|snapshot| Some(snapshot.id) == outcome.id).unwrap()
}

fn url(scheme: &str, path: &Path, query: &str) -> SourceUrl {
    SourceUrl::parse(&format!("{scheme}:{}{query}", path.display())).unwrap()
}

fn database(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT, at REAL, raw BLOB);
             CREATE TABLE b (k TEXT, n, PRIMARY KEY (k, n)) WITHOUT ROWID;
             WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000)
             INSERT INTO a SELECT i * 3, 'name ' || i, i / 7.0, CASE i % 5 WHEN 0 THEN NULL ELSE randomblob(i % 90) END FROM c;
             INSERT INTO b SELECT name, id FROM a WHERE id % 2 = 0;
             INSERT INTO b VALUES ('', 1e300), ('x', x'00ff'), ('z', -1);",
        )
        .unwrap();
}

fn verified(repo: &Repository, snapshot: &Snapshot, target: &dyn Target, options: RestoreOptions) -> RestoreOutcome {
    let options = RestoreOptions { verify: true, parallel: 2, ..options };
    restore(repo, snapshot, target, &options, &Silent).unwrap()
}

#[test]
fn a_database_is_verified_after_its_restore() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from.db"), dir.path().join("to.db"));
    database(&from);
    let repo = repository(dir.path());
    let snapshot = snapshot(&repo, &SqliteSource::new(&url("sqlite", &from, "")).unwrap());
    let target = SqliteTarget::new(&url("sqlite", &to, "")).unwrap();
    let outcome = verified(&repo, &snapshot, &target, RestoreOptions::default());
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!((outcome.records, outcome.verified, outcome.different), (3003, Some(3003), 0));

    // A restore that leaves another row alone has not brought the snapshot back, and says so.
    let connection = Connection::open(&to).unwrap();
    connection.execute("UPDATE a SET name = 'other' WHERE id = 300", []).unwrap();
    connection.execute("DELETE FROM a WHERE id = 303", []).unwrap();
    drop(connection);
    let never = RestoreOptions { overwrite: Some(Overwrite::Never), ..RestoreOptions::default() };
    let outcome = verified(&repo, &snapshot, &target, never);
    assert_eq!((outcome.outcomes.inserted, outcome.verified, outcome.different), (1, Some(3003), 1));
    assert!(!outcome.complete);
}

#[test]
fn one_table_under_another_name_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from.db"), dir.path().join("to.db"));
    database(&from);
    database(&to);
    let repo = repository(dir.path());
    let snapshot = snapshot(&repo, &SqliteSource::new(&url("sqlite", &from, "")).unwrap());
    let target = SqliteTarget::new(&url("sqlite", &to, "?table=copy")).unwrap();
    let one = RestoreOptions { collections: vec![("a".to_owned(), None)], ..RestoreOptions::default() };
    let outcome = verified(&repo, &snapshot, &target, one);
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!((outcome.verified, outcome.different), (Some(2000), 0));
}

#[test]
fn lines_are_verified_and_a_pipe_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("d")).unwrap();
    fs::write(tree.join("d/f"), vec![7; 3 << 20]).unwrap();
    fs::write(tree.join("g"), "small").unwrap();
    let repo = repository(dir.path());
    let source = FilesSource::new(&url("files", &tree, ""), FilesOptions::default()).unwrap();
    let snapshot = snapshot(&repo, &source);
    let path = dir.path().join("out.jsonl");
    let target = JsonlTarget::new(&url("jsonl", &path, "")).unwrap();
    let outcome = verified(&repo, &snapshot, &target, RestoreOptions::default());
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!((outcome.verified, outcome.different), (Some(4), 0));

    assert!(JsonlTarget::new(&SourceUrl::parse("jsonl:-").unwrap()).unwrap().read_back().unwrap().is_none());
}

#[test]
fn what_a_place_of_objects_cannot_keep_is_not_compared_there_or_back() {
    let dir = tempfile::tempdir().unwrap();
    let repo = repository(dir.path());
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    for name in ["a/b/one", "a/two", "three"] {
        std::fs::write(tree.join(name), name).unwrap();
    }
    let local = FilesSource::new(&url("files", &tree, ""), FilesOptions::default()).unwrap();
    let taken = snapshot(&repo, &local);
    let place = SourceUrl::parse("files:memory://").unwrap();
    let far = FilesTarget::new(&place, FilesTargetOptions::default()).unwrap();
    let strict = || RestoreOptions { verify: true, nothing_else: true, ..RestoreOptions::default() };
    let there = verified(&repo, &taken, &far, strict());
    assert_eq!((there.different, there.complete), (0, true), "{there:?}");
    assert!(there.notes.iter().any(|note| note.contains("owners, permissions, times were not compared")), "{there:?}");

    let objects = far.read_back().unwrap().unwrap();
    let of_objects = snapshot(&repo, objects.as_ref());
    let out = dir.path().join("out");
    let back = FilesTarget::new(&url("files", &out, ""), FilesTargetOptions::default()).unwrap();
    let came = verified(&repo, &of_objects, &back, strict());
    assert_eq!((came.different, came.complete), (0, true), "{came:?}");
    assert!(!came.notes.iter().any(|note| note.contains("not compared")), "{came:?}");
    let other = FilesTarget::new(&place, FilesTargetOptions::default()).unwrap();
    assert_eq!(verified(&repo, &of_objects, &other, strict()).different, 0);
}
