//! What a suspicious person tries: sources that vanish or spoil midway, kills in the middle of a restore into a database
//! that exists, names of every byte, schemas of every kind.
#![cfg(unix)]

use crate::world::{Ran, Running, World, files, many_rows, rows};
use serde_json::json;
use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    process::Stdio,
};

#[test]
fn a_database_that_vanishes_midway_is_read_to_its_end() {
    let world = World::new();
    many_rows(&world, "a.db", 20_000);
    let before = world.rows("a.db", "SELECT * FROM t ORDER BY id");
    let mut running = Running::start(&world, &["backup", "sqlite:a.db", "--read-limit", "500K", "--parallel", "1"]);
    running.wait_for_records("reading", 1);
    for name in ["a.db", "a.db-wal", "a.db-shm"] {
        let _ = std::fs::remove_file(world.path(name));
    }
    // What is open stays readable.
    let ran = running.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
    assert_eq!(world.rows("out.db", "SELECT * FROM t ORDER BY id"), before);
    world.is_good();
    world.run(&["backup", "sqlite:a.db"]).fails(1, &["a.db", "does not exist"]);
}

#[test]
fn a_database_that_is_cut_or_overwritten_midway_commits_nothing_as_complete() {
    for harm in ["cut", "overwritten"] {
        let world = World::new();
        many_rows(&world, "a.db", 20_000);
        world.sql("a.db", "PRAGMA wal_checkpoint(TRUNCATE)");
        let mut running = Running::start(&world, &["backup", "sqlite:a.db", "--read-limit", "500K", "--parallel", "1"]);
        running.wait_for_records("reading", 1);
        let path = world.path("a.db");
        let len = std::fs::metadata(&path).unwrap().len();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        if harm == "cut" {
            file.set_len(len / 4).unwrap();
        } else {
            use std::os::unix::fs::FileExt as _;
            file.write_all_at(&vec![0x5a; (len / 2) as usize], len / 2).unwrap();
        }
        let ran = running.end();
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        // What was to be read last is gone, whatever was in memory by then.
        assert!(matches!(ran.code, Some(1 | 3)), "{harm}: {ran:?}");
        assert!(world.snapshots().iter().all(|snapshot| snapshot["complete"] == false), "{harm}");
    }
}

#[test]
fn every_damaged_page_is_an_error_or_harmless() {
    let world = World::new();
    world.sql(
        "a.db",
        "PRAGMA page_size = 1024;
         CREATE TABLE t(k TEXT PRIMARY KEY, v) WITHOUT ROWID; CREATE TABLE u(id INTEGER PRIMARY KEY, v); CREATE INDEX i ON u(v);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO t SELECT 'key ' || i, randomblob(40) FROM n; INSERT INTO u SELECT NULL, v FROM t",
    );
    let sound = std::fs::read(world.path("a.db")).unwrap();
    let pages = sound.len() / 1024;
    for page in (0..pages).step_by(3) {
        let mut bytes = sound.clone();
        bytes[page * 1024..(page + 1) * 1024].fill(if page % 2 == 0 { 0 } else { 0xd7 });
        std::fs::write(world.path("b.db"), bytes).unwrap();
        let ran = world.run(&["--quiet", "backup", "sqlite:b.db", "--dry-run"]);
        assert!(!ran.err.contains("panicked"), "page {page}: {ran:?}");
        assert!(matches!(ran.code, Some(0 | 1 | 3)), "page {page}: {ran:?}");
        if ran.code == Some(1) {
            assert!(ran.err.contains("b.db") || ran.err.contains("malformed"), "page {page}: {ran:?}");
        }
        if ran.code == Some(0) {
            // Harmless is what changed nothing that comes back.
            let (id, out) = (world.backup(&["sqlite:b.db"]), format!("out{page}.db"));
            world.ok(&["restore", &id, &format!("sqlite:{out}")]);
            for query in ["SELECT * FROM t ORDER BY k", "SELECT * FROM u ORDER BY id"] {
                assert_eq!(world.rows(&out, query), world.rows("a.db", query), "page {page}: {query}");
            }
        }
    }
}

#[test]
fn a_restore_into_a_database_that_exists_may_be_killed_at_any_moment() {
    let world = World::new();
    many_rows(&world, "a.db", 20_000);
    world.backup(&["sqlite:a.db"]);
    world.sql(
        "a.db",
        "UPDATE t SET name = 'later'; DELETE FROM t WHERE id % 3 = 0; INSERT INTO t VALUES(90000, 'new', NULL)",
    );
    let all = "SELECT * FROM t ORDER BY id";
    let before = world.rows("a.db", all);
    for records in [0, 1, 3_000, 9_000] {
        let args = ["restore", "latest", "sqlite:a.db", "--make-equal", "--write-limit", "500K"];
        let mut running = Running::start(&world, &args);
        running.wait_for_records("restoring", records);
        running.kill();
        assert_eq!(world.rows("a.db", all), before, "killed after {records} records");
    }
    world.ok(&["restore", "latest", "sqlite:a.db", "--make-equal", "--verify"]);
    assert_ne!(world.rows("a.db", all), before);
}

#[test]
fn a_journal_that_a_killed_restore_left_is_rolled_back_by_the_next() {
    let world = World::new();
    many_rows(&world, "a.db", 20_000);
    world.sql("a.db", "PRAGMA journal_mode = DELETE");
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'later', data = randomblob(400)");
    for dry in [&["--dry-run"][..], &[]] {
        // Pages go to the file before the end once they no longer fit the cache.
        let args = ["restore", "latest", "sqlite:a.db", "--make-equal", "--write-limit", "1M"];
        let mut running = Running::start(&world, &args);
        running.wait_for_records("restoring", 10_000);
        running.kill();
        let mut args = vec!["restore", "latest", "sqlite:a.db", "--make-equal"];
        args.extend(dry);
        world.ok(&args);
    }
    assert_eq!(
        world.rows("a.db", "SELECT count(*) FROM t WHERE name = 'later'"),
        rows(&world.path("a.db"), "SELECT 0")
    );
}

#[test]
fn an_interrupted_restore_into_a_database_that_exists_changes_nothing() {
    let world = World::new();
    many_rows(&world, "a.db", 20_000);
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'later'");
    let args = ["restore", "latest", "sqlite:a.db", "--overwrite", "always", "--write-limit", "500K"];
    let mut running = Running::start(&world, &args);
    running.wait_for_records("restoring", 1);
    running.signal(rustix::process::Signal::INT);
    running.end().fails(130, &["interrupted"]);
    assert_eq!(
        world.rows("a.db", "SELECT count(*) FROM t WHERE name <> 'later'"),
        rows(&world.path("a.db"), "SELECT 0")
    );
}

#[test]
fn file_names_of_every_byte_come_back_and_can_be_asked_for() {
    let world = World::new();
    let root = world.path("src");
    for byte in (1..=255_u8).filter(|byte| *byte != b'/') {
        for name in [vec![byte, b'x'], vec![b'd', byte, b'/', b'f', byte]] {
            // The file `dx` would stand where the directory of the same name does.
            if name == b"dx" {
                continue;
            }
            let path = root.join(OsStr::from_bytes(&name));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &name).unwrap();
        }
    }
    world.backup(&["files:src"]);
    world.ok(&["restore", "latest", "files:out", "--verify"]);
    assert_eq!(files(&world.path("out")), files(&root));
    world.ok(&["restore", "latest", "jsonl:out.jsonl"]);
    let lines = world.backup(&["jsonl:out.jsonl"]);
    world.ok(&["restore", &lines, "files:again", "--verify"]);
    assert_eq!(files(&world.path("again")), files(&root));
    let listed = world.json(&["ls", "latest", "files", "--source", "files:src"]);
    assert!(listed.as_array().unwrap().len() >= 254 * 3, "{}", listed.as_array().unwrap().len());
    for entry in listed.as_array().unwrap().iter().step_by(17) {
        let key = entry["key"].as_str().unwrap();
        if key.ends_with('/') || (key.starts_with("hex:") && key.ends_with("2f")) {
            continue;
        }
        let dumped = world.ok(&["dump", "latest", "files", key, "--source", "files:src"]);
        assert!(dumped.bytes.len() == 2 || dumped.bytes.len() == 5, "{key}: {dumped:?}");
    }
}

#[test]
fn table_names_and_keys_of_every_character_come_back_and_can_be_asked_for() {
    let world = World::new();
    let db = rusqlite::Connection::open(world.path("a.db")).unwrap();
    let mut names = Vec::new();
    for byte in 1..=127_u8 {
        let name = format!("t{}", char::from(byte));
        if byte.is_ascii_uppercase() {
            continue;
        }
        let ident = name.replace('"', "\"\"");
        db.execute_batch(&format!("CREATE TABLE \"{ident}\"(k TEXT PRIMARY KEY, v)")).unwrap();
        db.execute(&format!("INSERT INTO \"{ident}\" VALUES (?1, ?2)"), (name.as_str(), byte)).unwrap();
        names.push(name);
    }
    drop(db);
    world.backup(&["sqlite:a.db"]);
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
    world.ok(&["ls", "latest"]);
    for name in names.iter().step_by(9) {
        let key = format!("str:{}", name.replace('\\', "\\\\").replace(',', "\\,"));
        let ran = world.run(&["history", name, &key]);
        assert!(!ran.err.contains("panicked"), "{name:?}: {ran:?}");
        let query = format!("SELECT * FROM \"{}\"", name.replace('"', "\"\""));
        assert_eq!(world.rows("out.db", &query), world.rows("a.db", &query), "{name:?}");
    }
}

#[test]
fn schemas_of_every_kind_come_back() {
    let wide: Vec<String> = (0..1_999).map(|n| format!("c{n}")).collect();
    for sql in [
        "CREATE VIEW v AS SELECT 1 AS one".to_owned(),
        "CREATE TABLE t(a); CREATE TRIGGER no BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'never'); END".to_owned(),
        format!("CREATE TABLE wide({}); INSERT INTO wide(c0, c1998) VALUES (1, 'last')", wide.join(", ")),
        "CREATE TABLE g(id INTEGER PRIMARY KEY, a INT, b AS (a + 1) VIRTUAL, c AS (b * 2) STORED); INSERT INTO g(a) VALUES (3)".to_owned(),
        "CREATE VIRTUAL TABLE f USING fts5(x, content=''); INSERT INTO f(rowid, x) VALUES (1, 'words here')".to_owned(),
        "CREATE VIRTUAL TABLE r USING rtree(id, a, b); INSERT INTO r VALUES (1, 2, 3); DROP TABLE r; VACUUM".to_owned(),
        "CREATE TABLE s(a INT, b ANY, PRIMARY KEY(b)) STRICT; INSERT INTO s VALUES (1, '1'), (2, 1)".to_owned(),
        "PRAGMA page_size = 65536; CREATE TABLE p(v); INSERT INTO p VALUES (zeroblob(200000))".to_owned(),
        "CREATE TABLE c(v CHECK (v > 0)); PRAGMA ignore_check_constraints = 1; INSERT INTO c VALUES (-1)".to_owned(),
    ] {
        let world = World::new();
        world.sql("a.db", &sql);
        world.backup(&["sqlite:a.db"]);
        world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
        let schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
        // integrity_check also judges CHECK constraints, which the source itself breaks.
        if !sql.contains("CHECK") {
            assert_eq!(world.rows("out.db", schema), world.rows("a.db", schema), "{sql:.60}");
        }
    }
}

#[test]
fn odd_places_of_a_database_are_read() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    // A link to it is the same source.
    std::os::unix::fs::symlink("a.db", world.path("link.db")).unwrap();
    let first = world.backup(&["sqlite:a.db"]);
    let second = world.json(&["backup", "sqlite:link.db"]);
    assert_eq!(second["parent"], json!(first));
    // A write-ahead log that was not checkpointed, in a directory that cannot be written.
    let keeper = rusqlite::Connection::open(world.path("a.db")).unwrap();
    keeper.execute_batch("INSERT INTO t VALUES (1000, 'in the log', NULL)").unwrap();
    let dir = world.path("closed");
    std::fs::create_dir(&dir).unwrap();
    for name in ["a.db", "a.db-wal", "a.db-shm"] {
        std::fs::copy(world.path(name), dir.join(name)).unwrap();
    }
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    let ran = world.json(&["backup", "sqlite:closed/a.db"]);
    assert_eq!(ran["records"], 101);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn special_files_are_kept_without_being_opened() {
    let world = World::new();
    let root = world.path("src");
    std::fs::create_dir(&root).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 34).unwrap();
    drop(sparse);
    std::fs::write(root.join("a"), "linked").unwrap();
    std::fs::hard_link(root.join("a"), root.join("z")).unwrap();
    // With the first path excluded the other one has the content.
    let part = world.json(&["backup", "files:src", "--exclude", "a"]);
    assert_eq!(part["complete"], true, "{part}");
    world.ok(&["restore", part["id"].as_str().unwrap(), "files:part", "--verify"]);
    assert_eq!(std::fs::read_to_string(world.path("part/z")).unwrap(), "linked");
    let whole = world.json(&["backup", "files:src"]);
    assert_eq!(whole["complete"], true, "{whole}");
    assert!(whole["stats"]["bytes_added"].as_u64().unwrap() < 10_000_000, "{whole}");
    let id = whole["id"].as_str().unwrap();
    world.ok(&["restore", id, "files:out"]);
    assert_eq!(std::fs::metadata(world.path("out/sparse")).unwrap().len(), 1 << 34);
    // Only the second of two links is restored.
    world.ok(&["restore", id, "files:single", "--key", "z", "--verify"]);
    assert_eq!(std::fs::read_to_string(world.path("single/z")).unwrap(), "linked");
}

#[test]
fn thousands_of_collections_need_few_open_files() {
    use std::fmt::Write as _;
    let world = World::new();
    let mut lines = String::new();
    for n in 0..3_000 {
        writeln!(lines, "{{\"collection\":\"c{n}\",\"key\":\"int:{n}\",\"value\":{{\"v\":{n}}}}}").unwrap();
    }
    std::fs::write(world.path("many.jsonl"), lines).unwrap();
    let plain = world.command(&["--json", "backup", "jsonl:many.jsonl"]);
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg("ulimit -n 128; exec \"$0\" \"$@\"").arg(plain.get_program()).args(plain.get_args());
    shell.current_dir(world.path("")).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let ran: Ran = shell.output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!((&ran.json()["collections"], &ran.json()["records"]), (&json!(3_000), &json!(3_000)));
    world.ok(&["restore", "latest", "jsonl:out.jsonl", "--verify"]);
}

/// The same command, in as much memory as is said: more than that, and it is gone.
fn within(kib: u64, command: &std::process::Command) -> std::process::Command {
    let mut limited = std::process::Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -v {kib}; exec \"$0\" \"$@\"")).arg(command.get_program());
    limited.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    limited
}

#[test]
fn objects_of_three_gib_are_named_and_nobody_takes_them_into_memory() {
    const TWO_GIB: u64 = 2 << 20;
    let world = World::new();
    many_rows(&world, "a.db", 200);
    world.backup(&["sqlite:a.db"]);
    let (id, hash) = ("ab".repeat(16), "ab".repeat(32));
    let planted = [
        format!("keys/{id}"),
        format!("copies/keys/{id}"),
        format!("packs/ab/{hash}"),
        format!("index/{hash}"),
        format!("snapshots/{id}/0"),
        format!("checkpoints/{id}/0"),
        format!("leases/{id}/0"),
        format!("leases/{id}/end"),
        format!("trash/{id}"),
        format!("forgotten/{id}"),
        format!("damage/{hash}"),
    ];
    for name in &planted {
        let path = world.repo().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(&path).unwrap().set_len(3 << 30).unwrap();
        let mut said = String::new();
        for args in
            [&["snapshots"][..], &["verify"], &["verify", "--read-data"], &["prune"], &["backup", "sqlite:a.db"]]
        {
            let output = within(TWO_GIB, &world.command(args)).output().unwrap();
            let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{name}: {args:?}: {:?}: {words}", output.status);
            assert!(!words.contains("panicked"), "{name}: {args:?}: {words}");
            said += &words;
        }
        assert!(said.contains(name), "{name}: nobody names it: {said}");
        // What no pack can be and nobody needs is taken away by a prune.
        if path.exists() || !name.starts_with("packs/") {
            std::fs::remove_file(path).unwrap();
        }
    }
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
    world.is_good();
}
