//! Restoring: every way to say which snapshot, what of it, and what happens to what is there.

use crate::world::{World, many_rows, rows};
use serde_json::json;

const ALL: &str = "SELECT * FROM t ORDER BY id";

/// Three snapshots of a table whose only row says which; gives their ids and ends.
fn three(world: &World) -> Vec<(String, i64)> {
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES(1, '')");
    for state in ["one", "two", "three"] {
        world.sql("a.db", &format!("UPDATE t SET v = '{state}'"));
        world.backup(&["sqlite:a.db"]);
    }
    let end = |row: &serde_json::Value| (row["id"].as_str().unwrap().to_owned(), row["end"].as_i64().unwrap());
    world.snapshots().iter().map(end).collect()
}

fn restored(world: &World, snapshot: &str) -> String {
    let name = "restored.db";
    let _ = std::fs::remove_file(world.path(name));
    world.ok(&["restore", snapshot, &format!("sqlite:{name}")]);
    match &world.rows(name, "SELECT v FROM t")[0][0] {
        rusqlite::types::Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_is_named_by_id_order_or_time() {
    let world = World::new();
    let all = three(&world);
    assert_eq!(restored(&world, "latest"), "three");
    assert_eq!(restored(&world, "latest~1"), "two");
    assert_eq!(restored(&world, "latest~2"), "one");
    assert_eq!(restored(&world, &all[1].0), "two");
    assert_eq!(restored(&world, &all[0].0[..8].to_uppercase()), "one");
    assert_eq!(restored(&world, &format!("@{}", all[0].1)), "one");
    assert_eq!(restored(&world, &format!("@{}", all[1].1 - 1)), "one");
    assert_eq!(restored(&world, &format!("@{}", all[1].1)), "two");
    assert_eq!(restored(&world, "@now"), "three");
    let rfc = jiff::Timestamp::from_millisecond(all[1].1).unwrap();
    assert_eq!(restored(&world, &format!("@{rfc}")), "two");
    world.run(&["restore", "latest~3", "sqlite:no.db"]).fails(1, &["latest~3"]);
    world
        .run(&["restore", &format!("@{}", all[0].1 - 1), "sqlite:no.db"])
        .fails(1, &["there is no snapshot", "at or before"]);
    world.run(&["restore", "@2 hours ago", "sqlite:no.db"]).fails(1, &["there is no snapshot"]);
    world.run(&["restore", "0000000000", "sqlite:no.db"]).fails(1, &["0000000000"]);
    world.run(&["restore", "", "sqlite:no.db"]).fails(2, &["names no snapshot"]);
    world.run(&["restore", "@yesterday", "sqlite:no.db"]).fails(2, &["is no time"]);
    assert!(!world.path("no.db").exists());
}

#[test]
fn several_sources_are_listed_unless_one_is_chosen() {
    let world = World::new();
    many_rows(&world, "a.db", 10);
    many_rows(&world, "b.db", 20);
    world.backup(&["sqlite:a.db", "--host", "alpha", "--tag", "x"]);
    world.backup(&["sqlite:b.db"]);
    for args in [
        &["restore", "latest", "sqlite:out.db"][..],
        &["ls", "@now"],
        &["history", "t", "int:1"],
        &["dump", "latest", "t", "int:1"],
    ] {
        world.run(args).fails(2, &["more than one source", "a.db", "b.db", "--source"]);
    }
    assert_eq!(world.json(&["ls", "latest", "--source", "sqlite:a.db"])[0]["records"], 10);
    assert_eq!(world.json(&["ls", "latest", "--tag", "x"])[0]["records"], 10);
    assert_eq!(world.json(&["ls", "latest", "--host", "alpha"])[0]["records"], 10);
    world.ok(&["restore", "latest", "sqlite:out.db", "--source", "sqlite:b.db"]);
    assert_eq!(world.rows("out.db", ALL), world.rows("b.db", ALL));
    // An id needs no source.
    let id = world.snapshots()[0]["short_id"].as_str().unwrap().to_owned();
    assert_eq!(world.json(&["ls", &id])[0]["records"], 10);
}

#[test]
fn an_ambiguous_id_is_refused() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    // One of sixteen first digits is taken twice at the latest by the seventeenth; usually far earlier.
    let mut seen = std::collections::HashSet::new();
    loop {
        let id = world.backup(&["sqlite:a.db"]);
        if !seen.insert(id.as_bytes()[0]) {
            world.run(&["ls", &id[..1]]).fails(2, &["more than one snapshot"]);
            return;
        }
    }
}

#[test]
fn collections_are_chosen_and_renamed() {
    let world = World::new();
    world.sql(
        "a.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE u(id INTEGER PRIMARY KEY, v);
         INSERT INTO t VALUES(1, 'a'), (2, 'b'); INSERT INTO u VALUES(5, 'c')",
    );
    world.backup(&["sqlite:a.db"]);
    world.ok(&["restore", "latest", "sqlite:one.db", "--collection", "u"]);
    assert_eq!(rows(&world.path("one.db"), "SELECT name FROM sqlite_schema").len(), 1);
    world.ok(&["restore", "latest", "sqlite:a.db", "--collection", "t=t old"]);
    assert_eq!(world.rows("a.db", "SELECT * FROM \"t old\" ORDER BY id"), world.rows("a.db", ALL));
    world.ok(&["restore", "latest", "sqlite:named.db?table=mine", "--collection", "u"]);
    assert_eq!(world.rows("named.db", "SELECT * FROM mine"), world.rows("a.db", "SELECT * FROM u"));
    world.run(&["restore", "latest", "sqlite:no.db?table=mine"]).fails(2, &["mine", "--collection"]);
    world.run(&["restore", "latest", "sqlite:no.db", "--collection", "w"]).fails(2, &["`w`", "t, u"]);
    world
        .run(&["restore", "latest", "sqlite:no.db", "--collection", "t", "--collection", "u=t"])
        .fails(2, &["two collections"]);
    assert!(!world.path("no.db").exists());
}

/// A snapshot of rows 1 to 3, and a table in which 1 is as it was, 2 differs, 3 is gone and 4 is new.
fn occupied(world: &World) {
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,'a'),(2,'b'),(3,'c')");
    world.backup(&["sqlite:a.db"]);
    world.sql(
        "a.db",
        "UPDATE t SET v = 'changed' WHERE id = 2; DELETE FROM t WHERE id = 3; INSERT INTO t VALUES(4,'d')",
    );
}

fn values(world: &World) -> Vec<String> {
    let text = |row: &Vec<rusqlite::types::Value>| match &row[0] {
        rusqlite::types::Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    world.rows("a.db", "SELECT id || v FROM t ORDER BY id").iter().map(text).collect()
}

#[test]
fn a_target_that_holds_records_is_refused() {
    let world = World::new();
    occupied(&world);
    world
        .run(&["restore", "latest", "sqlite:a.db"])
        .fails(2, &["already holds records", "t (", "--overwrite", "--make-equal"]);
    assert_eq!(values(&world), ["1a", "2changed", "4d"]);
}

#[test]
fn records_that_are_there_are_replaced_left_or_compared() {
    for (mode, counts, after) in [
        ("always", json!({"inserted": 1, "replaced": 2, "unchanged": 0, "existed": 0}), ["1a", "2b", "3c", "4d"]),
        ("never", json!({"inserted": 1, "replaced": 0, "unchanged": 0, "existed": 2}), ["1a", "2changed", "3c", "4d"]),
        ("if-changed", json!({"inserted": 1, "replaced": 1, "unchanged": 1, "existed": 0}), ["1a", "2b", "3c", "4d"]),
    ] {
        let world = World::new();
        occupied(&world);
        let outcome = world.json(&["restore", "latest", "sqlite:a.db", "--overwrite", mode]);
        for (field, count) in counts.as_object().unwrap() {
            assert_eq!(&outcome[field], count, "{mode} {field}: {outcome}");
        }
        assert_eq!(outcome["records"], 3, "{mode}");
        assert_eq!(values(&world), after, "{mode}");
    }
}

#[test]
fn a_target_is_made_equal() {
    let world = World::new();
    occupied(&world);
    let dry = world.json(&["restore", "latest", "sqlite:a.db", "--make-equal", "--dry-run"]);
    assert_eq!(dry["dry_run"], true);
    assert_eq!(values(&world), ["1a", "2changed", "4d"]);
    let outcome = world.json(&["restore", "latest", "sqlite:a.db", "--make-equal", "--verify"]);
    assert_eq!(
        (&outcome["removed"], &outcome["different"], &outcome["verified"]),
        (&json!(1), &json!(0), &json!(3)),
        "{outcome}"
    );
    assert_eq!(values(&world), ["1a", "2b", "3c"]);
}

#[test]
fn single_records_come_back_alone() {
    let world = World::new();
    occupied(&world);
    world.ok(&["restore", "latest", "sqlite:a.db", "--key", "int:2", "--overwrite", "always"]);
    assert_eq!(values(&world), ["1a", "2b", "4d"]);
    world.ok(&["restore", "latest", "sqlite:few.db", "--key", "int:1", "--key", "int:3"]);
    assert_eq!(world.rows("few.db", "SELECT id FROM t").len(), 2);
    world.run(&["restore", "latest", "sqlite:no.db", "--key", "2"]).fails(2, &["`2` is not a key", "int:5"]);
    world.run(&["restore", "latest", "sqlite:no.db", "--key", "str:a"]).fails(2, &["str:a", "int:5"]);
    assert!(!world.path("no.db").exists());
}

#[test]
fn a_key_that_the_snapshot_does_not_hold_is_told() {
    let world = World::new();
    occupied(&world);
    let ran = world.run(&["restore", "latest", "sqlite:no.db", "--key", "int:77"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("int:77"), "{ran:?}");
}

#[test]
fn records_are_included_and_excluded_by_their_keys() {
    let world = World::new();
    world
        .sql("a.db", "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES('apple',1),('avocado',2),('beet',3)");
    world.backup(&["sqlite:a.db"]);
    world.ok(&["restore", "latest", "sqlite:out.db", "--include", "str:a*", "--exclude", "*cado"]);
    assert_eq!(world.rows("out.db", "SELECT k FROM t"), [vec![rusqlite::types::Value::Text("apple".into())]]);
}

#[test]
fn a_dry_run_writes_nothing() {
    let world = World::new();
    many_rows(&world, "a.db", 300);
    world.backup(&["sqlite:a.db"]);
    let outcome = world.json(&["restore", "latest", "sqlite:out.db", "--dry-run"]);
    assert_eq!((&outcome["records"], &outcome["inserted"]), (&json!(300), &json!(300)));
    world.ok(&["restore", "latest", "jsonl:out.jsonl", "--dry-run"]).says(&["dry run, nothing written", "300"]);
    let names: Vec<_> = std::fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("out")), "{names:?}");
}

#[test]
fn a_dry_run_counts_what_the_restore_then_does() {
    for args in [
        &["--overwrite", "always"][..],
        &["--overwrite", "never"],
        &["--overwrite", "if-changed"],
        &["--make-equal"],
        &["--make-equal", "--key", "int:2", "--key", "int:1"],
        &["--overwrite", "if-changed", "--exclude", "int:3"],
        &["--collection", "t=elsewhere"],
    ] {
        let world = World::new();
        occupied(&world);
        let before = values(&world);
        let all = |more: &[&'static str]| -> Vec<&str> {
            ["restore", "latest", "sqlite:a.db"]
                .into_iter()
                .chain(args.iter().copied())
                .chain(more.iter().copied())
                .collect()
        };
        let dry = world.json(&all(&["--dry-run"]));
        assert_eq!(values(&world), before, "{args:?}");
        let wet = world.json(&all(&[]));
        for field in ["records", "inserted", "replaced", "unchanged", "existed", "removed", "failed"] {
            assert_eq!(dry[field], wet[field], "{field} {args:?}: {dry} {wet}");
        }
    }
}

#[test]
fn a_dry_run_asks_whether_the_target_takes_the_snapshot() {
    let world = World::new();
    occupied(&world);
    world.sql("other.db", "CREATE TABLE t(id TEXT PRIMARY KEY, v)");
    world.sql("view.db", "CREATE VIEW t AS SELECT 1 AS id, 2 AS v");
    world.sql("wide.db", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE u(x)");
    std::fs::write(world.path("letter.txt"), "dear reader").unwrap();
    for (target, words) in [
        ("sqlite:other.db", "does not fit"),
        ("sqlite:view.db", "a view or virtual table"),
        ("sqlite:wide.db", "UTF-16le"),
        ("files:dir", "its records are no files"),
        ("sqlite:letter.txt", "letter.txt"),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let mut args = vec!["restore", "latest", target, "--overwrite", "always"];
            args.extend(dry);
            world.run(&args).fails(1, &[words, "nothing was written"]);
        }
    }
    world.run(&["restore", "latest", "sqlite:a.db", "--dry-run"]).fails(2, &["already holds records"]);
    assert!(!world.path("dir").exists());
}

#[cfg(unix)]
#[test]
fn a_dry_run_counts_files() {
    let world = World::new();
    let root = world.path("src");
    std::fs::create_dir(&root).unwrap();
    for name in ["same", "changed", "gone"] {
        std::fs::write(root.join(name), name).unwrap();
    }
    world.backup(&["files:src"]);
    std::fs::write(root.join("changed"), "otherwise").unwrap();
    std::fs::remove_file(root.join("gone")).unwrap();
    std::fs::write(root.join("extra"), "x").unwrap();
    let dry = world.json(&["restore", "latest", "files:src", "--make-equal", "--dry-run"]);
    assert!(root.join("extra").exists() && !root.join("gone").exists());
    let wet = world.json(&["restore", "latest", "files:src", "--make-equal"]);
    for (field, count) in [("inserted", 1), ("removed", 1), ("unchanged", 1)] {
        assert_eq!((&dry[field], &wet[field]), (&json!(count), &json!(count)), "{field}: {dry} {wet}");
    }
    // The file and the root, whose time moved.
    assert_eq!((&dry["replaced"], &wet["replaced"]), (&json!(2), &json!(2)), "{dry} {wet}");
    let elsewhere = world.json(&["restore", "latest", "files:out", "--dry-run"]);
    assert_eq!(elsewhere["inserted"], elsewhere["records"]);
    assert!(!world.path("out").exists());
}

#[test]
fn what_was_restored_is_read_back_and_compared() {
    let world = World::new();
    many_rows(&world, "a.db", 2_000);
    world.backup(&["sqlite:a.db"]);
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]).says(&["compared 2 000", "0 differ"]);
    assert_eq!(world.rows("out.db", ALL), world.rows("a.db", ALL));
    assert_eq!(
        world.rows("out.db", "SELECT sql FROM sqlite_schema"),
        world.rows("a.db", "SELECT sql FROM sqlite_schema")
    );
}

#[test]
fn a_damaged_database_is_brought_back_to_the_time_before() {
    let world = World::new();
    many_rows(&world, "a.db", 3_000);
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'later' WHERE id % 3 = 0");
    world.backup(&["sqlite:a.db"]);
    let before = world.rows("a.db", ALL);
    let time = world.snapshots()[1]["end"].to_string();
    world.sql("a.db", "DELETE FROM t WHERE id > 100; UPDATE t SET data = NULL");
    world.run(&["backup", "sqlite:a.db"]).fails(1, &["2900 of 3000", "--accept-deletions"]);
    world.backup(&["sqlite:a.db", "--accept-deletions"]);
    world.ok(&["restore", &format!("@{time}"), "sqlite:a.db", "--make-equal"]);
    assert_eq!(world.rows("a.db", ALL), before);
}
