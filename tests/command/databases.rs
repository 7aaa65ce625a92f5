//! Databases that are damaged, that cannot be written beside, or that need what only an application has: what is said, and with
//! which exit status.

use crate::world::{World, rows};
use rusqlite::{Connection, functions::FunctionFlags, types::Value};
use std::os::unix::{fs::PermissionsExt, process::CommandExt};

/// A table whose key's index lacks a row.
fn with_hidden_row(world: &World, name: &str) {
    let db = Connection::open(world.path(name)).unwrap();
    db.execute_batch("CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('c', 3)").unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_t_1'";
    let root: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
    db.execute_batch(
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE type = 'index';
         UPDATE sqlite_schema SET sql = 'CREATE TABLE t(k TEXT, v)' WHERE name = 't'",
    )
    .unwrap();
    drop(db);
    let db = Connection::open(world.path(name)).unwrap();
    db.execute_batch(&format!(
        "INSERT INTO t VALUES ('b', 2); PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'CREATE TABLE t(k TEXT PRIMARY KEY, v)' WHERE name = 't';
         INSERT INTO sqlite_schema VALUES ('index', 'sqlite_autoindex_t_1', 't', {root}, NULL)"
    ))
    .unwrap();
}

#[test]
fn no_backup_loses_what_an_index_hides() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3)");
    world.backup(&["sqlite:a.db"]);
    std::fs::remove_file(world.path("a.db")).unwrap();
    with_hidden_row(&world, "a.db");
    let ran = world.run(&["--json", "backup", "sqlite:a.db"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let taken = ran.json();
    assert_eq!(taken["records"], 3, "{taken}");
    assert!(taken["problems"].to_string().contains("2 entries, the table 3 rows"), "{taken}");
    let id = taken["id"].as_str().unwrap();
    let restored = world.run(&["restore", id, "sqlite:out.db"]);
    assert_eq!(restored.code, Some(3), "the snapshot is marked: {restored:?}");
    let all = rows(&world.path("out.db"), "SELECT k FROM t ORDER BY k");
    assert_eq!(all, ["a", "b", "c"].map(|k| vec![Value::Text(k.to_owned())]));
    // Once the index is made anew there is nothing to say.
    world.sql("a.db", "REINDEX");
    world.ok(&["backup", "sqlite:a.db"]);
}

#[test]
fn rows_on_a_damaged_page_stand_as_they_were_backed_up_last() {
    use std::os::unix::fs::FileExt;
    let world = World::new();
    world.sql(
        "a.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) INSERT INTO t SELECT i, zeroblob(100) FROM n",
    );
    world.backup(&["sqlite:a.db"]);
    let sql = "SELECT pageno FROM dbstat WHERE name = 't' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 4";
    let page: u32 = Connection::open(world.path("a.db")).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(world.path("a.db")).unwrap();
    file.write_all_at(&[0x5a; 4096], u64::from(page - 1) * 4096).unwrap();
    let ran = world.run(&["--json", "backup", "sqlite:a.db"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let taken = ran.json();
    assert!(taken["problems"].to_string().contains(&format!("page {page} cannot be read")), "{taken}");
    world.run(&["restore", taken["id"].as_str().unwrap(), "sqlite:out.db"]);
    assert_eq!(world.rows("out.db", "SELECT count(*) FROM t"), [[Value::Integer(900)]]);
}

#[test]
fn a_database_beside_which_nothing_can_be_written_is_read_or_refused_with_a_reason() {
    let world = World::new();
    let dir = world.path("shelf");
    std::fs::create_dir(&dir).unwrap();
    world.sql("shelf/a.db", "PRAGMA journal_mode = WAL; CREATE TABLE t(x); INSERT INTO t VALUES ('kept')");
    for path in ["shelf/a.db-wal", "shelf/a.db-shm"] {
        assert!(!world.path(path).exists());
    }
    let mode = |path: &str, mode: u32| {
        std::fs::set_permissions(world.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // Root may write anywhere: then somebody else reads.
    let is_root = std::process::Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        if is_root {
            command.uid(65534).gid(65534);
        }
        crate::world::Ran::from(command.output().unwrap())
    };
    let open_to_all = std::process::Command::new("chmod").args(["-R", "a+rwX"]).arg(world.path("")).status().unwrap();
    assert!(open_to_all.success());
    mode("shelf/a.db", 0o444);
    mode("shelf", 0o555);
    let ran = run(&["--json", "backup", "sqlite:shelf/a.db"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json()["records"], 1);
    assert!(ran.err.contains("read without locks"), "{}", ran.err);
    // What lies in a log cannot be read so, and nothing is passed over in silence.
    mode("shelf", 0o755);
    let db = Connection::open(world.path("shelf/a.db")).unwrap();
    mode("shelf/a.db", 0o644);
    drop(db);
    let db = Connection::open(world.path("shelf/a.db")).unwrap();
    db.execute_batch("INSERT INTO t VALUES ('later')").unwrap();
    let log = std::fs::read(world.path("shelf/a.db-wal")).unwrap();
    drop(db);
    std::fs::write(world.path("shelf/a.db-wal"), log).unwrap();
    mode("shelf/a.db-wal", 0o444);
    mode("shelf/a.db", 0o444);
    mode("shelf", 0o555);
    run(&["backup", "sqlite:shelf/a.db"]).fails(1, &["a.db-wal holds changes"]);
    mode("shelf", 0o755);
}

#[test]
fn what_a_restore_will_lack_is_said_by_backup_and_by_the_test_restore() {
    let world = World::new();
    let db = Connection::open(world.path("a.db")).unwrap();
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("slug", 1, flags, |context| context.get::<String>(0)).unwrap();
    db.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, s TEXT AS (slug(a)) VIRTUAL); INSERT INTO t(a) VALUES ('x');
         CREATE INDEX by_slug ON t(s)",
    )
    .unwrap();
    drop(db);
    let taken = world.ok(&["backup", "sqlite:a.db"]);
    assert!(taken.err.contains("index `by_slug`"), "{taken:?}");
    let verified = world.json(&["verify", "--restore"]);
    assert!(verified["notes"].to_string().contains("index `by_slug`"), "{verified}");
    let restored = world.run(&["restore", "latest", "sqlite:out.db"]);
    assert_eq!(restored.code, Some(3), "{restored:?}");
    let db = Connection::open(world.path("out.db")).unwrap();
    assert_eq!(db.query_row("SELECT a FROM t", [], |row| row.get::<_, String>(0)).unwrap(), "x");
}

#[test]
fn the_version_names_the_sqlite_that_reads_databases() {
    World::empty().ok(&["--version"]).says(&["SQLite 3."]);
}

#[test]
fn ordinary_lines_are_backed_up_by_number_or_by_field() {
    let world = World::new();
    std::fs::write(world.path("in.jsonl"), "{\"id\":\"b\",\"n\":1}\n{\"id\": \"a\"}\n").unwrap();
    world.ok(&["backup", "jsonl:in.jsonl"]);
    world.ok(&["restore", "latest", "jsonl:out.jsonl", "--verify"]);
    assert_eq!(std::fs::read(world.path("in.jsonl")).unwrap(), std::fs::read(world.path("out.jsonl")).unwrap());
    let id = world.backup(&["jsonl:in.jsonl", "--key", "id"]);
    world.ok(&["ls", &id, "in"]).says(&["str:a", "str:b"]);
    world.run(&["backup", "files:.", "--key", "id"]).fails(2, &["--key is for jsonl:"]);
}

#[test]
fn rows_that_break_a_check_of_the_table_that_stands_there_are_told() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE p(id INTEGER PRIMARY KEY, v); INSERT INTO p VALUES (1, 'a'), (2, 'b')");
    world.backup(&["sqlite:a.db"]);
    world.sql("b.db", "CREATE TABLE p(id INTEGER PRIMARY KEY, v CHECK (v <> 'b'))");
    world
        .run(&["restore", "latest", "sqlite:b.db", "--verify"])
        .fails(0, &["table `p` has a CHECK", "rows that break it"]);
    let db = Connection::open(world.path("b.db")).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM p", [], |row| row.get::<_, u32>(0)).unwrap(), 2);
    world.sql("c.db", "CREATE TABLE p(id INTEGER PRIMARY KEY, v CHECK (v <> 'c'))");
    let ran = world.ok(&["restore", "latest", "sqlite:c.db"]);
    assert!(!ran.err.contains("CHECK"), "{ran:?}");
}

#[test]
fn a_restore_into_a_database_that_fails_has_left_it_as_it_was_and_says_so() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'x')");
    world.backup(&["sqlite:a.db"]);
    let ran = world.run(&["restore", "latest", "sqlite:no/such/a.db"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("the repository and the target are as they were"), "{ran:?}");
    assert!(!ran.err.contains("may hold part"), "{ran:?}");
}

#[test]
fn what_compares_reads_the_table_where_the_index_of_its_key_lacks_rows() {
    let world = World::new();
    with_hidden_row(&world, "a.db");
    world.run(&["backup", "sqlite:a.db"]).fails(3, &["has 2 entries, the table 3 rows"]);
    world.is_good();
    let against = |code: i32| {
        let ran = world.run(&["--json", "verify", "latest", "--against", "sqlite:a.db"]);
        // The index is named here too.
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.out.contains("2 entries"), "{ran:?}");
        ["records", "missing", "extra", "different"].map(|name| ran.json()[name].as_u64().unwrap())
    };
    assert_eq!(against(3), [3, 0, 0, 0], "all three are compared");
    // The row that the index does not know changes.
    let db = Connection::open(world.path("a.db")).unwrap();
    assert_eq!(db.execute("UPDATE t SET v = 9 WHERE v = 2", []).unwrap(), 1);
    drop(db);
    assert_eq!(against(1), [3, 0, 0, 1]);
    world.run(&["restore", "latest", "sqlite:out.db", "--verify"]).fails(3, &[]);
    assert_eq!(rows(&world.path("out.db"), "SELECT k, v FROM t ORDER BY k").len(), 3);
}
