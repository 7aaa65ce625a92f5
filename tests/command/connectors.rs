//! Databases, directories and lines of JSON, with names and values of every kind.

use crate::world::{World, files, rows};
use serde_json::Value as Json;
use std::{io::Write as _, path::Path, process::Stdio};

#[test]
fn a_database_of_every_kind_comes_back() {
    let world = World::new();
    world.sql(
        "a.db",
        "PRAGMA page_size = 8192; PRAGMA user_version = 77; PRAGMA application_id = 1234;
         CREATE TABLE plain(a, b TEXT, c INTEGER, d REAL, e BLOB);
         INSERT INTO plain VALUES(NULL, 'text', 42, 1.25, x'00ff'), (1, '', -1, -0.0, x''), ('1', NULL, NULL, 9e999, zeroblob(70000));
         CREATE TABLE composite(a TEXT, b INT, v, PRIMARY KEY(a, b)) WITHOUT ROWID;
         INSERT INTO composite VALUES('x', 1, 'p'), ('x', 2, 'q'), ('y', 1, 'r');
         CREATE TABLE nullable(k TEXT UNIQUE, v, PRIMARY KEY(k)); INSERT INTO nullable VALUES(NULL, 1), (NULL, 2), ('k', 3);
         CREATE TABLE generated(id INTEGER PRIMARY KEY, x INT, twice INT AS (x * 2) STORED); INSERT INTO generated(x) VALUES(4);
         CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO auto(v) VALUES('a'), ('b'); DELETE FROM auto WHERE id = 2;
         CREATE TABLE empty(id INTEGER PRIMARY KEY);
         CREATE TABLE \"we\"\"ird 'name' ☃ %?=,&\"(\"sp ace\", \"\"\"\"); INSERT INTO \"we\"\"ird 'name' ☃ %?=,&\" VALUES(1, 2);
         CREATE INDEX by_b ON plain(b); CREATE VIEW seen AS SELECT a FROM plain;
         CREATE TRIGGER tr AFTER INSERT ON plain BEGIN DELETE FROM auto; END;
         CREATE VIRTUAL TABLE fts USING fts5(body); INSERT INTO fts VALUES('hello world'), ('other words');
         CREATE VIRTUAL TABLE boxes USING rtree(id, x1, x2); INSERT INTO boxes VALUES(1, 0, 5);",
    );
    world.backup(&["sqlite:a.db"]);
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
    for query in [
        "SELECT * FROM plain ORDER BY rowid",
        "SELECT * FROM composite ORDER BY a, b",
        "SELECT rowid, * FROM nullable ORDER BY rowid",
        "SELECT * FROM generated",
        "SELECT * FROM auto",
        "SELECT * FROM sqlite_sequence ORDER BY name",
        "SELECT * FROM empty",
        "SELECT * FROM \"we\"\"ird 'name' ☃ %?=,&\"",
        "SELECT body FROM fts WHERE fts MATCH 'hello'",
        "SELECT * FROM boxes",
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
        "PRAGMA user_version",
        "PRAGMA application_id",
        "PRAGMA page_size",
    ] {
        assert_eq!(world.rows("out.db", query), world.rows("a.db", query), "{query}");
    }
    let weird = "we\"ird 'name' ☃ %?=,&";
    world.ok(&["ls", "latest", weird]).says(&["int:1"]);
    world.ok(&["restore", "latest", "sqlite:w.db", "--collection", &format!("{weird}=plain name")]);
    assert_eq!(world.rows("w.db", "SELECT * FROM \"plain name\"").len(), 1);
}

#[test]
fn tables_are_chosen_by_the_url() {
    let world = World::new();
    world.sql(
        "a.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY); INSERT INTO u VALUES(3)",
    );
    world.backup(&["sqlite:a.db"]);
    let part = world.json(&["backup", "sqlite:a.db?table=u"]);
    // Another scope is another line of snapshots: it must not look as if t had been deleted.
    assert_eq!((&part["collections"], &part["parent"]), (&Json::from(1), &Json::Null));
    assert_eq!(world.json(&["ls", part["id"].as_str().unwrap()])[0]["name"], "u");
}

#[test]
fn an_empty_database_and_an_empty_table_come_back() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    assert_eq!(world.json(&["backup", "sqlite:a.db"])["records"], 0);
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
    assert_eq!(world.rows("out.db", "SELECT count(*) FROM t").len(), 1);
    world.sql("a.db", "DROP TABLE t; VACUUM");
    world.ok(&["backup", "sqlite:a.db"]);
    world.ok(&["restore", "latest", "sqlite:out2.db"]);
    assert_eq!(world.rows("out2.db", "SELECT * FROM sqlite_schema").len(), 0);
    world.is_good();
}

#[test]
fn a_backup_beside_a_busy_writer_is_one_state() {
    let world = World::new();
    world.sql(
        "a.db",
        "PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, n INT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) INSERT INTO t SELECT i, 0 FROM n",
    );
    let path = world.path("a.db");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let db = rusqlite::Connection::open(&path).unwrap();
            db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Both ends of the table always hold the same number.
                db.execute("UPDATE t SET n = n + 1 WHERE id IN (1, 40000)", []).unwrap();
            }
        });
        for number in 0..3 {
            let ran = world.run(&["--json", "backup", "sqlite:a.db", "--parallel", "4"]);
            if ran.code != Some(0) || number == 2 {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    });
    for number in 0..3 {
        let out = format!("out{number}.db");
        world.ok(&["restore", &format!("latest~{number}"), &format!("sqlite:{out}")]);
        let ends = world.rows(&out, "SELECT min(n) = max(n), count(*) FROM t WHERE id IN (1, 40000)");
        assert_eq!(ends, rows(&world.path(&out), "SELECT 1, 2"));
    }
}

fn tree(root: &Path) {
    for (name, text) in
        [("a/one.txt", "one"), ("a/b/two words.txt", "two"), ("☃/snow", ""), ("big.bin", &"0123456789".repeat(40_000))]
    {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::create_dir(root.join("empty")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _};
        std::os::unix::fs::symlink("a/one.txt", root.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("dangling")).unwrap();
        std::fs::hard_link(root.join("a/one.txt"), root.join("hard")).unwrap();
        std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"byte\xff\nname")), "odd").unwrap();
        std::fs::set_permissions(root.join("big.bin"), std::fs::Permissions::from_mode(0o640)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_directory_comes_back_with_everything_in_it() {
    use std::os::unix::fs::MetadataExt as _;
    let world = World::new();
    let root = world.path("src");
    std::fs::create_dir(&root).unwrap();
    tree(&root);
    world.backup(&["files:src"]);
    world.ok(&["restore", "latest", "files:out"]);
    let out = world.path("out");
    for name in ["a/one.txt", "a/b/two words.txt", "big.bin", "empty", "link", "dangling", "a", "☃"] {
        let (was, is) = (root.join(name).symlink_metadata().unwrap(), out.join(name).symlink_metadata().unwrap());
        assert_eq!((was.mode(), was.mtime(), was.mtime_nsec()), (is.mode(), is.mtime(), is.mtime_nsec()), "{name}");
    }
    assert_eq!(std::fs::read_link(out.join("dangling")).unwrap(), Path::new("nowhere"));
    assert_eq!(out.join("hard").metadata().unwrap().ino(), out.join("a/one.txt").metadata().unwrap().ino());
    std::fs::remove_file(root.join("dangling")).unwrap();
    std::fs::remove_file(out.join("dangling")).unwrap();
    assert_eq!(files(&out), files(&root));
    // A directory has no name for its one collection.
    let renamed = world.json(&["restore", "latest", "files:renamed", "--collection", "files=other", "--verify"]);
    assert_eq!((&renamed["different"], &renamed["complete"]), (&Json::from(0), &Json::from(true)), "{renamed}");
    world.ok(&["restore", "latest", "jsonl:files.jsonl"]);
    let lines = world.backup(&["jsonl:files.jsonl"]);
    world.ok(&["restore", &lines, "files:from-lines", "--verify"]);
    for out in ["renamed", "from-lines"] {
        std::fs::remove_file(world.path(out).join("dangling")).unwrap();
    }
    assert_eq!(files(&world.path("from-lines")), files(&world.path("renamed")));
}

#[cfg(unix)]
#[test]
fn a_second_backup_of_a_directory_finds_what_changed() {
    let world = World::new();
    let root = world.path("src");
    std::fs::create_dir(&root).unwrap();
    tree(&root);
    // A file that is younger than its time stamps can tell is read again by the next backup.
    crate::clock::rest();
    let first = world.json(&["backup", "files:src"]);
    let again = world.json(&["backup", "files:src"]);
    assert_eq!((&again["stats"]["new"], &again["stats"]["changed"]), (&Json::from(0), &Json::from(0)), "{again}");
    assert!(again["stats"]["bytes_added"].as_u64() < first["stats"]["bytes_added"].as_u64());
    std::fs::write(root.join("a/one.txt"), "changed").unwrap();
    std::fs::remove_file(root.join("big.bin")).unwrap();
    world.backup(&["files:src"]);
    world.ok(&["diff", "latest~1", "latest"]).says(&["a/one.txt", "- files  big.bin"]);
    assert_eq!(world.ok(&["dump", "latest~1", "files", "a/one.txt"]).out, "one");
    assert_eq!(world.ok(&["dump", "latest", "files", "a/one.txt"]).out, "changed");
    world.ok(&["history", "files", "a/one.txt"]).says(&["live"]);
    world.ok(&["find", "one.txt"]).says(&["a/one.txt"]);
    // Back to the state before, in place.
    world.ok(&["restore", "latest~1", "files:src", "--make-equal"]);
    assert_eq!(std::fs::read_to_string(root.join("a/one.txt")).unwrap(), "one");
    assert!(root.join("big.bin").exists());
}

#[test]
fn paths_are_included_and_excluded() {
    let world = World::new();
    let root = world.path("src");
    for name in ["keep/a.txt", "keep/b.tmp", "drop/c.txt", "d.txt"] {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), name).unwrap();
    }
    world.backup(&["files:src"]);
    world.ok(&["restore", "latest", "files:out", "--include", "keep", "--exclude", "*.tmp"]);
    let found: Vec<_> = files(&world.path("out")).into_keys().collect();
    assert_eq!(found, [Path::new("keep/a.txt")]);
    world.ok(&["restore", "latest", "files:one", "--key", "drop/c.txt"]);
    assert_eq!(files(&world.path("one")).into_keys().collect::<Vec<_>>(), [Path::new("drop/c.txt")]);
    std::fs::write(world.path("globs"), "drop\n").unwrap();
    let part = world.backup(&["files:src", "--exclude", "*.tmp", "--exclude-file", "globs"]);
    world.ok(&["restore", &part, "files:part"]);
    let found: Vec<_> = files(&world.path("part")).into_keys().collect();
    assert_eq!(found, [Path::new("d.txt"), Path::new("keep/a.txt")]);
}

#[test]
fn lists_of_paths_may_come_through_a_pipe() {
    let world = World::new();
    for name in ["d/secret", "kept"] {
        std::fs::create_dir_all(world.path("src").join(name).parent().unwrap()).unwrap();
        std::fs::write(world.path("src").join(name), name).unwrap();
    }
    for (option, line, left) in [("--exclude-file", "d\n", "kept"), ("--files-from", "d\n", "d/secret")] {
        let mut child = world.command(&["--json", "backup", "files:src", option, "/dev/stdin"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        let ran = child.wait_with_output().unwrap();
        assert!(ran.status.success(), "{option}");
        let id = serde_json::from_slice::<Json>(&ran.stdout).unwrap()["id"].as_str().unwrap().to_owned();
        world.ok(&["restore", &id, &format!("files:out{option}")]);
        let found: Vec<_> = files(&world.path(&format!("out{option}"))).into_keys().collect();
        assert_eq!(found, [Path::new(left)], "{option}");
    }
}

#[test]
fn lines_of_json_come_back_as_they_were() {
    let world = World::new();
    world.sql(
        "a.db",
        "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES('a', 1), ('b', 1.5), ('c', x'00ff'), ('d', NULL), ('e', 'é');
         CREATE TABLE u(id INTEGER PRIMARY KEY, w); INSERT INTO u VALUES(-1, 'x')",
    );
    world.backup(&["sqlite:a.db"]);
    world.ok(&["restore", "latest", "jsonl:out.jsonl"]);
    world.run(&["restore", "latest", "jsonl:out.jsonl"]).fails(2, &["already holds records"]);
    let id = world.backup(&["jsonl:out.jsonl"]);
    world.ok(&["restore", &id, "jsonl:again.jsonl"]);
    let text = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    assert_eq!(text("again.jsonl"), text("out.jsonl"));
    // The header carries along what the database was.
    world.ok(&["restore", &id, "sqlite:back.db", "--verify"]);
    for query in ["SELECT * FROM t ORDER BY k", "SELECT * FROM u", "SELECT name, sql FROM sqlite_schema ORDER BY name"]
    {
        assert_eq!(world.rows("back.db", query), world.rows("a.db", query), "{query}");
    }
    // Lines without it are no database: what a table was is not told by its records.
    std::fs::write(world.path("plain.jsonl"), "{\"key\":\"int:1\",\"value\":{}}\n").unwrap();
    let plain = world.backup(&["jsonl:plain.jsonl"]);
    for dry in [&[][..], &["--dry-run"]] {
        let mut args = vec!["restore", &plain, "sqlite:none.db"];
        args.extend(dry);
        world.run(&args).fails(1, &["none.db", "only SQLite snapshots become databases", "nothing was written"]);
    }
    assert!(!world.path("none.db").exists());
    std::fs::write(world.path("bad.jsonl"), "{\"key\":\"int:1\",\"value\":{}}\n{\"key\":\"int:1\",\"value\":{}}\n")
        .unwrap();
    world.run(&["backup", "jsonl:bad.jsonl"]).fails(1, &["bad.jsonl", "line"]);
    std::fs::write(world.path("bad.jsonl"), "{\"key\":\"int:1\",\"colour\":{},\"value\":{}}\n").unwrap();
    world.run(&["backup", "jsonl:bad.jsonl"]).fails(1, &["bad.jsonl", "colour"]);
}
