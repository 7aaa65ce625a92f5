//! Taking snapshots: what a second one costs, tags, parents, dry runs, standard input.

use crate::world::{World, many_rows};
use serde_json::json;
use std::{io::Write as _, process::Stdio};

#[test]
fn a_second_backup_stores_what_changed() {
    let world = World::new();
    many_rows(&world, "a.db", 5_000);
    let first = world.json(&["backup", "sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'x' WHERE id % 500 = 0; DELETE FROM t WHERE id = 7; INSERT INTO t VALUES(9000, 'new', x'00')");
    let second = world.json(&["backup", "sqlite:a.db"]);
    assert_eq!(first["parent"], json!(null));
    assert_eq!(second["parent"], first["id"]);
    assert_eq!(second["kind"], "full");
    for (field, count) in [("seen", 5_000), ("new", 1), ("changed", 10), ("deleted", 1)] {
        assert_eq!(second["stats"][field], count, "{field}: {second}");
    }
    let added = |outcome: &serde_json::Value| outcome["stats"]["bytes_added"].as_u64().unwrap();
    assert!(added(&second) * 3 < added(&first), "{first} {second}");
    assert!(world.ok(&["stats"]).out.contains("snapshots"));
}

#[test]
fn a_backup_says_what_it_came_to() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    world.ok(&["backup", "sqlite:a.db"]).says(&[
        "snapshot ",
        "100 seen",
        "100 new",
        "complete",
        "no parent",
        "added",
        "peak memory",
    ]);
    assert_eq!(world.ok(&["--quiet", "backup", "sqlite:a.db"]).out, "");
}

#[test]
fn a_dry_run_stores_nothing() {
    let world = World::new();
    many_rows(&world, "a.db", 500);
    let before = world.objects();
    let outcome = world.json(&["backup", "sqlite:a.db", "--dry-run"]);
    assert_eq!(
        (&outcome["id"], &outcome["dry_run"], &outcome["stats"]["new"]),
        (&json!(null), &json!(true), &json!(500))
    );
    assert_eq!(world.objects(), before);
    world.ok(&["backup", "sqlite:a.db", "--dry-run"]).says(&["dry run, nothing stored"]);
    assert_eq!(world.snapshots().len(), 0);
}

#[test]
fn nothing_is_committed_if_nothing_changed_and_that_was_asked_for() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    let args = ["backup", "sqlite:a.db", "--skip-if-unchanged"];
    assert_eq!(world.json(&args)["skipped_unchanged"], false);
    let skipped = world.json(&args);
    assert_eq!((&skipped["skipped_unchanged"], &skipped["id"]), (&json!(true), &json!(null)));
    world.ok(&args).says(&["nothing changed, no snapshot made"]);
    assert_eq!(world.snapshots().len(), 1);
    world.sql("a.db", "UPDATE t SET name = 'y' WHERE id = 1");
    assert_eq!(world.json(&args)["skipped_unchanged"], false);
    // Without it an unchanged source makes a snapshot too.
    world.backup(&["sqlite:a.db"]);
    assert_eq!(world.snapshots().len(), 3);
}

#[test]
fn the_parent_may_be_chosen() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    let first = world.backup(&["sqlite:a.db"]);
    world.backup(&["sqlite:a.db"]);
    assert_eq!(world.json(&["backup", "sqlite:a.db", "--parent", "none"])["parent"], json!(null));
    assert_eq!(world.json(&["backup", "sqlite:a.db", "--parent", &first[..8]])["parent"], first);
    world.run(&["backup", "sqlite:a.db", "--parent", "0123456789"]).fails(2, &["0123456789"]);
    world.ok(&["backup", "sqlite:a.db", "--new-base"]);
    world.is_good();
}

#[test]
fn a_source_may_be_named() {
    let world = World::new();
    many_rows(&world, "a.db", 50);
    many_rows(&world, "moved.db", 50);
    let first = world.backup(&["sqlite:a.db", "--source-name", "shop"]);
    let second = world.json(&["backup", "sqlite:moved.db", "--source-name", "shop"]);
    assert_eq!(second["parent"], first);
    let all = world.snapshots();
    assert_eq!(all[0]["source"]["name"], "shop");
    world.ok(&["ls", "latest", "--source", "shop"]);
    world.run(&["ls", "latest", "--source", "other"]).fails(1, &["there is no snapshot"]);
}

#[test]
fn tags_are_set_changed_and_looked_for() {
    let world = World::new();
    many_rows(&world, "a.db", 10);
    let first = world.backup(&["sqlite:a.db", "--tag", "daily", "--tag", "gold"]);
    world.backup(&["sqlite:a.db"]);
    assert_eq!(
        world.json(&["tag", &first[..6], "--add", "keep", "--remove", "daily"])["tags"],
        json!(["gold", "keep"])
    );
    let found = world.json(&["snapshots", "--tag", "keep"]);
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!((&found[0]["id"], &found[0]["tags"]), (&json!(first), &json!(["gold", "keep"])));
    world.ok(&["tag", "latest", "--tag", "gold", "--set", "only"]).says(&["[only]"]);
    assert_eq!(world.json(&["tag", &first, "--set", ""])["tags"], json!([]));
    // A snapshot's content is the same in every revision.
    assert_eq!(world.snapshots().len(), 2);
    world.is_good();
}

#[test]
fn standard_input_is_one_value() {
    let world = World::new();
    let mut child = world
        .command(&["backup", "--stdin", "--stdin-name", "dump.sql"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert!(child.wait().unwrap().success());
    let records = world.json(&["ls", "latest", "files"]);
    assert!(records.as_array().unwrap().iter().any(|record| record["key"] == "dump.sql"), "{records}");
    assert!(world.ok(&["dump", "latest", "files", "dump.sql"]).bytes == bytes);
    world.ok(&["restore", "latest", "files:out"]);
    assert!(std::fs::read(world.path("out/dump.sql")).unwrap() == bytes);
    world.run(&["backup", "sqlite:a.db", "--stdin"]).fails(2, &["--stdin"]);
}

#[test]
fn a_differential_backup_needs_a_change_filter() {
    let world = World::new();
    many_rows(&world, "a.db", 10);
    world.run(&["backup", "sqlite:a.db", "--differential"]).fails(2, &["--differential"]);
    assert_eq!(world.json(&["backup", "sqlite:a.db", "--full"])["kind"], "full");
}

#[test]
fn a_repository_may_be_cut_like_another() {
    let world = World::new();
    many_rows(&world, "a.db", 3_000);
    world.backup(&["sqlite:a.db"]);
    std::fs::write(world.path("pw"), crate::world::PASSWORD).unwrap();
    let second = world.path("second");
    let second = second.to_str().unwrap();
    world.ok(&[
        "-r",
        second,
        "init",
        "--like",
        "repo",
        "--like-password-file",
        "pw",
        "--kdf-memory",
        "1",
        "--kdf-passes",
        "1",
    ]);
    world.ok(&["-r", second, "backup", "sqlite:a.db"]);
    world.ok(&["-r", second, "restore", "latest", "sqlite:out.db"]);
    assert_eq!(world.rows("out.db", "SELECT * FROM t"), world.rows("a.db", "SELECT * FROM t"));
    // A layer's id covers all of its keys, fingerprints, values and cuts: each would be stored once in one repository.
    let layers = |repo: &str| world.json(&["-r", repo, "cat", "snapshot", "latest"])["collections"][0]["stack"].clone();
    assert_eq!(layers(world.repo().to_str().unwrap()), layers(second));
    // Cuts and names are shared, so the values, nearly all of the bytes, lie in packs of one size.
    let stored = |ran: crate::world::Ran| ran.json()["stored_bytes"].as_u64().unwrap();
    let one = stored(world.ok(&["--json", "stats"]));
    let two = stored(world.ok(&["--json", "-r", second, "stats"]));
    assert!(one.abs_diff(two) < 8_192, "{one} {two}");
}

#[test]
fn passwords_are_added_changed_and_removed() {
    let world = World::empty();
    let made = world.json(&["init", "--kdf-memory", "1", "--kdf-passes", "1", "--label", "me"]);
    let recovery = made["recovery_key"].as_str().unwrap().to_owned();
    std::fs::write(world.path("new"), "another one\n").unwrap();
    std::fs::write(world.path("third"), "a third\n").unwrap();
    std::fs::write(world.path("recovery"), recovery).unwrap();
    assert_eq!(world.json(&["key", "list"]).as_array().unwrap().len(), 2);
    world.ok(&["key", "add", "--new-password-file", "new", "--label", "you"]).says(&["added key slot"]);
    world.ok(&["snapshots", "--password-file", "new"]);
    world.ok(&["key", "passwd", "--password-file", "new", "--new-password-file", "third"]).says(&["changed to"]);
    world.run(&["snapshots", "--password-file", "new"]).fails(12, &["password"]);
    world.ok(&["snapshots", "--password-file", "third"]);
    world.ok(&["snapshots", "--recovery-key=recovery"]);
    world.ok(&["snapshots", "--password-command", "cat third"]);
    let slots = world.json(&["key", "list"]);
    let mine = slots.as_array().unwrap().iter().find(|slot| slot["current"] == true).unwrap();
    assert_eq!(mine["label"], "me");
    world.ok(&["key", "remove", mine["name"].as_str().unwrap(), "--password-file", "third"]);
    world.run(&["snapshots"]).fails(12, &["password"]);
    world.ok(&["key", "list", "--password-file", "third"]).says(&["recovery", "password"]);
}
