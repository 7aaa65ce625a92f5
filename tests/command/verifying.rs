//! Proof: structure, stored bytes, every record, a live source; and how old the newest snapshot is.

use crate::world::{PASSWORD, Ran, World, many_rows};
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};

fn packs(world: &World) -> Vec<PathBuf> {
    let mut packs: Vec<(usize, PathBuf)> = world
        .objects()
        .into_iter()
        .filter(|(name, _)| name.starts_with("packs"))
        .map(|(name, bytes)| (bytes.len(), name))
        .collect();
    packs.sort();
    packs.into_iter().map(|(_, name)| world.repo().join(name)).collect()
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    let mut permissions = std::fs::metadata(path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a test's own file")]
    permissions.set_readonly(false);
    std::fs::set_permissions(path, permissions).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_good_repository_is_verified_in_every_way() {
    let world = World::new();
    many_rows(&world, "a.db", 2_000);
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'x' WHERE id < 10");
    world.backup(&["sqlite:a.db"]);
    world.ok(&["verify"]).says(&["no damage found", "2 snapshots"]);
    let read = world.json(&["verify", "--read-data"]);
    assert_eq!(read["packs_read"], read["packs"]);
    assert!(read["chunks"].as_u64().unwrap() > 0, "{read}");
    let restored = world.json(&["verify", "latest", "--restore"]);
    assert_eq!(restored["records"], 2_000);
    world.ok(&["verify", "--restore"]).says(&["2 000 records restored into nothing"]);
    world.ok(&["verify", "latest~1", "--read-data=10%", "--restore"]);
    let status = world.json(&["status"]);
    assert!(status[0]["last_verify"].as_str().unwrap().contains("nothing wrong"), "{status}");
}

#[test]
fn stored_bytes_are_checked_without_a_password() {
    let world = World::new();
    many_rows(&world, "a.db", 2_000);
    world.backup(&["sqlite:a.db"]);
    let keyless = || world.command(&["verify", "--keyless"]).env_remove("REKEEP_PASSWORD").output().unwrap().into();
    let sound: crate::world::Ran = keyless();
    assert_eq!(sound.code, Some(0), "{sound:?}");
    let pack = packs(&world).pop().unwrap();
    flip(&pack, 5_000);
    let name = pack.file_name().unwrap().to_str().unwrap();
    let damaged: crate::world::Ran = keyless();
    assert_eq!(damaged.code, Some(1), "{damaged:?}");
    damaged.says(&["DAMAGED", name]);
    std::fs::remove_file(&pack).unwrap();
    let gone: crate::world::Ran = keyless();
    assert_eq!(gone.code, Some(1), "{gone:?}");
    gone.says(&[name]);
}

#[test]
fn damage_is_named_and_what_is_intact_comes_back() {
    let world = World::new();
    many_rows(&world, "a.db", 20_000);
    world.backup(&["sqlite:a.db"]);
    let pack = packs(&world).pop().unwrap();
    flip(&pack, 100_000);
    let name = pack.file_name().unwrap().to_str().unwrap();
    // Structure alone does not read values.
    world.ok(&["verify"]);
    let verified = world.run(&["verify", "--read-data"]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    verified.says(&["DAMAGED", name, "--keep-going"]);
    assert_eq!(world.run(&["verify", "--restore"]).code, Some(1));
    world.run(&["restore", "latest", "sqlite:out.db"]).fails(1, &["chunk", "--keep-going"]);
    assert!(!world.path("out.db").exists());
    let kept = world.run(&["--json", "restore", "latest", "sqlite:out.db", "--keep-going"]);
    assert_eq!(kept.code, Some(3), "{kept:?}");
    let outcome = kept.json();
    let (lost, inserted) = (outcome["lost"].as_u64().unwrap(), outcome["inserted"].as_u64().unwrap());
    assert!(lost > 0 && inserted > 0 && lost + inserted == 20_000, "{outcome}");
    assert!(!outcome["damage"].as_array().unwrap().is_empty());
    let both = "SELECT count(*) FROM t JOIN o.t AS u ON t.id = u.id AND t.name = u.name AND t.data = u.data";
    let db = rusqlite::Connection::open(world.path("a.db")).unwrap();
    db.execute("ATTACH ? AS o", [world.path("out.db").to_str().unwrap()]).unwrap();
    let equal: i64 = db.query_row(both, [], |row| row.get(0)).unwrap();
    assert_eq!(equal as u64, inserted);
}

#[test]
fn a_backup_passes_over_a_damaged_parent_and_says_so() {
    let world = World::new();
    many_rows(&world, "a.db", 2_000);
    world.backup(&["sqlite:a.db"]);
    let damaged = packs(&world);
    for pack in &damaged {
        flip(pack, 300);
    }
    world.sql("a.db", "UPDATE t SET name = 'x' WHERE id < 10");
    let ran = world.run(&["--json", "--quiet", "backup", "sqlite:a.db"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!((&ran.json()["parent"], &ran.json()["complete"]), (&json!(null), &json!(true)));
    let warnings: Vec<String> = ran.events().iter().map(|event| event["message"].to_string()).collect();
    assert!(warnings.iter().any(|text| text.contains("no parent") && text.contains("in pack")), "{warnings:?}");
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
    assert_eq!(world.run(&["verify", "--read-data"]).code, Some(1));
    // What was found is remembered: nothing relies any longer on what can still be read in these packs.
    world.ok(&["--quiet", "backup", "sqlite:a.db"]);
    // With a parent that can be read there is nothing to say.
    let again = world.run(&["--quiet", "backup", "sqlite:a.db"]);
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""));
    for pack in &damaged {
        std::fs::remove_file(pack).unwrap();
    }
    world.ok(&["restore", "latest", "sqlite:whole.db", "--verify"]);
}

#[test]
fn thirty_daily_runs_read_everything_once() {
    let world = World::new();
    for number in 0..12 {
        world.sql(
            "a.db",
            &format!(
                "CREATE TABLE t{number}(id INTEGER PRIMARY KEY, v); INSERT INTO t{number} VALUES(1, randomblob(900))"
            ),
        );
        world.backup(&["sqlite:a.db"]);
    }
    let all = packs(&world).len() as u64;
    let mut read = 0;
    let mut runs = BTreeSet::new();
    for run in 0..6 {
        let outcome = world.json(&["verify", "--read-data=1/6"]);
        assert_eq!(outcome["packs"], all);
        read += outcome["packs_read"].as_u64().unwrap();
        runs.insert((run, outcome["packs_read"].as_u64().unwrap()));
    }
    assert_eq!(read, all, "{runs:?}");
    assert!(runs.iter().all(|(_, packs)| *packs < all), "{runs:?}");
    let tenth = world.json(&["verify", "--read-data=10"]);
    assert!(tenth["packs_read"].as_u64().unwrap() < all, "{tenth}");
}

#[test]
fn shares_that_no_catalog_remembers_begin_anywhere_and_say_so() {
    let world = World::new();
    for number in 0..8 {
        world.sql("a.db", &format!("CREATE TABLE t{number}(v); INSERT INTO t{number} VALUES(randomblob(900))"));
        world.backup(&["sqlite:a.db"]);
    }
    // Whichever pack it is, it is met: not the same share is read for ever.
    let last = packs(&world).into_iter().max().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4].copy_from_slice(b"XXXX");
    std::fs::write(&last, bytes).unwrap();
    let mut runs = 0;
    loop {
        std::fs::remove_dir_all(world.path("cache")).unwrap();
        let ran = world.run(&["verify", "--read-data=1/4"]);
        assert!(format!("{}{}", ran.out, ran.err).contains("by chance"), "{ran:?}");
        runs += 1;
        if ran.code == Some(1) {
            break;
        }
        assert!(runs < 200, "{ran:?}");
    }
    let second = world.run(&["verify", "--read-data=1/4"]);
    assert!(!format!("{}{}", second.out, second.err).contains("by chance"), "{second:?}");
}

#[test]
fn a_live_source_is_compared_with_a_snapshot() {
    let world = World::new();
    many_rows(&world, "a.db", 200);
    world.backup(&["sqlite:a.db"]);
    world.ok(&["verify", "--against", "sqlite:a.db"]).says(&["compared 200 records", "0 differ"]);
    world.sql(
        "a.db",
        "UPDATE t SET name = 'x' WHERE id = 3; DELETE FROM t WHERE id = 5; INSERT INTO t VALUES(900, 'n', NULL)",
    );
    let ran = world.run(&["--json", "verify", "--against", "sqlite:a.db"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let outcome = ran.json();
    for (field, count) in [("records", 199), ("missing", 1), ("extra", 1), ("different", 1)] {
        assert_eq!(outcome[field], count, "{field}: {outcome}");
    }
    let ran = world.run(&["verify", "latest", "--against", "sqlite:a.db"]);
    ran.says(&["t: int:3 differs", "t: int:5 is missing from the source", "t: int:900 is not in the snapshot"]);
}

#[test]
fn a_live_source_is_compared_with_what_was_taken_of_it_and_of_the_same_part() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    world.sql("a.db", "CREATE TABLE u(id INTEGER PRIMARY KEY); INSERT INTO u VALUES (1)");
    many_rows(&world, "b.db", 10);
    let part = world.backup(&["sqlite:a.db?table=t"]);
    world.backup(&["sqlite:a.db"]);
    world.backup(&["sqlite:b.db"]);
    for (url, records) in [("sqlite:a.db?table=t", 2), ("sqlite:a.db", 3), ("sqlite:b.db", 10)] {
        let ran = world.ok(&["verify", "--against", url]);
        assert!(!ran.err.contains("covers"), "{ran:?}");
        ran.says(&[&format!("compared {records} records")]);
    }
    // Who names a snapshot means it.
    let ran = world.run(&["verify", &part, "--against", "sqlite:a.db"]).fails(1, &["covers"]);
    ran.says(&["1 only in the source"]);
}

#[test]
fn an_old_backup_is_told_by_the_status() {
    let world = World::new();
    // Nothing at all is older than anything.
    assert_eq!(world.run(&["status", "--max-age", "26h"]).code, Some(1));
    assert_eq!(world.ok(&["--json", "status"]).json(), json!([]));
    many_rows(&world, "a.db", 10);
    world.backup(&["sqlite:a.db"]);
    world.ok(&["status", "--max-age", "26h"]).says(&["a.db", "1"]);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    many_rows(&world, "b.db", 10);
    world.backup(&["sqlite:b.db"]);
    let ran = world.run(&["status", "--max-age", "0s"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["TOO OLD"]);
    let rows = world.json(&["status"]);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!((&rows[0]["snapshots"], &rows[0]["too_old"]), (&json!(1), &json!(false)));
}

#[test]
fn of_a_selection_that_no_snapshot_meets_nothing_is_called_good() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)");
    world.backup(&["sqlite:a.db", "--tag", "daily"]);
    for line in [
        &["verify", "--restore"][..],
        &["find", "*"],
        &["status", "--max-age", "1h"],
        &["history", "t", "int:1"],
        &["copy", "--to", "other"],
    ] {
        let narrowed = [line, &["--tag", "dayly"]].concat();
        if line[0] == "copy" {
            let mut made = world.command(&["init", "-r", "other", "--kdf-memory", "1", "--kdf-passes", "1"]);
            assert!(made.output().unwrap().status.success());
            let ran: Ran = world.command(&narrowed).env("REKEEP_TO_PASSWORD", PASSWORD).output().unwrap().into();
            ran.fails(1, &["there is no snapshot with the tag dayly"]);
            continue;
        }
        world.run(&narrowed).fails(1, &["there is no snapshot with the tag dayly"]);
    }
    world.run(&["verify", "--host", "elsewhere", "--complete"]).fails(1, &["of the host elsewhere, that is complete"]);
    world.ok(&["verify", "--tag", "daily"]);
    assert_eq!(world.json(&["snapshots", "--tag", "dayly"]), json!([]));
    let empty = World::new();
    empty.ok(&["verify"]);
}

#[test]
fn the_test_restore_takes_each_scope_of_a_source() {
    let world = World::new();
    std::fs::create_dir_all(world.path("s/m")).unwrap();
    std::fs::write(world.path("s/m/only"), "a".repeat(20_000)).unwrap();
    std::fs::write(world.path("s/other"), "b").unwrap();
    let narrow = world.backup(&["files:s", "--exclude", "other"]);
    let its_own = packs(&world);
    std::fs::remove_file(world.path("s/m/only")).unwrap();
    let wide = world.backup(&["files:s", "--parent", "none", "--new-base"]);
    assert_eq!(world.snapshots().len(), 2);
    let verified = world.json(&["verify", "--restore"]);
    assert_eq!((&verified["findings"], &verified["notes"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_eq!(verified["records"], 6, "the root, m/ and a file of each: {verified}");
    // What only the other scope holds is missed only by its own test restore.
    for pack in its_own {
        // Within the first frame: behind the last there is padding.
        flip(&pack, 200);
    }
    let verified = world.run(&["--json", "verify", "--restore"]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    let findings = verified.json()["findings"].to_string();
    assert!(findings.contains(&narrow) && !findings.contains(&wide), "{findings}");
}

#[test]
fn the_test_restore_names_what_only_an_application_has() {
    let world = World::new();
    let db = rusqlite::Connection::open(world.path("a.db")).unwrap();
    db.create_collation("mine", |a: &str, b: &str| a.cmp(b)).unwrap();
    db.execute_batch(
        "CREATE TABLE t(a TEXT COLLATE mine, b); INSERT INTO t VALUES('x', 1); CREATE INDEX i ON t(a);
         CREATE TABLE u(a TEXT COLLATE mine PRIMARY KEY); INSERT INTO u VALUES('x');
         PRAGMA writable_schema = 1;
         INSERT INTO sqlite_schema VALUES('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING nosuch(a)');",
    )
    .unwrap();
    drop(db);
    world.backup(&["sqlite:a.db"]);
    let said = world.ok(&["verify", "--restore"]).err;
    for words in ["the collation `mine` is the application's own", "`t`, `u`", "the module `nosuch`"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // An empty database was restored as well as any.
    world.sql("empty.db", "CREATE TABLE t(a)");
    let world_of_none = World::new();
    std::fs::copy(world.path("empty.db"), world_of_none.path("empty.db")).unwrap();
    world_of_none.backup(&["sqlite:empty.db"]);
    let said = world_of_none.ok(&["verify", "--restore"]).out;
    assert!(!said.contains("--restore)"), "{said}");
    assert!(world_of_none.ok(&["verify"]).out.contains("whether every record comes back (--restore)"));
}
