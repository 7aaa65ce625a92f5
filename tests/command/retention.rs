//! Forgetting: by name, by policy, with a reason for each snapshot; what is held, locked, or the last of its kind stays.

use crate::world::{Ran, World};
use serde_json::{Value as Json, json};

/// Snapshots of a table whose only row says which; gives their ids.
fn taken(world: &World, count: usize) -> Vec<String> {
    world.sql(
        "a.db",
        "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v INT); INSERT OR IGNORE INTO t VALUES(1, 0)",
    );
    let one = |_| {
        world.sql("a.db", "UPDATE t SET v = v + 1");
        world.backup(&["sqlite:a.db"])
    };
    (0..count).map(one).collect()
}

fn ids(world: &World) -> Vec<String> {
    world.snapshots().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn list(value: &Json) -> Vec<String> {
    value.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_policy_says_what_it_would_do_and_then_does_it() {
    let world = World::new();
    let all = taken(&world, 5);
    let before = world.objects();
    world.ok(&["forget", "--keep-last", "2", "--dry-run"]).says(&[
        "sqlite:",
        "a.db, host",
        "last 1",
        "last 2",
        "no rule keeps it",
        "would forget 3 snapshots and keep 2; nothing was changed",
    ]);
    let dry = world.json(&["forget", "--keep-last", "2", "-n"]);
    assert_eq!((&dry["dry_run"], &dry["forgotten"]), (&json!(true), &json!([])));
    assert_eq!(world.objects(), before, "a dry run writes nothing");
    let done = world.json(&["forget", "--keep-last", "2"]);
    assert_eq!(list(&done["forgotten"]), all[..3]);
    let group = &done["groups"][0];
    assert_eq!(group["snapshots"][0]["reasons"], json!([{ "rule": "no-rule", "words": "no rule keeps it" }]));
    assert_eq!(group["snapshots"][4]["reasons"][0], json!({ "rule": "keep-last", "words": "last 1" }));
    assert_eq!(group["snapshots"][4]["keep"], true);
    assert_eq!(ids(&world), all[3..]);
    world.run(&["restore", &all[0], "sqlite:out.db"]).fails(1, &["no snapshot", &all[0]]);
    world.ok(&["forget", "--keep-last", "2"]).says(&["forgot 0 snapshots and kept 2"]);
    world.is_good();
}

#[test]
fn named_snapshots_are_forgotten_and_the_last_of_a_source_only_by_force() {
    let world = World::new();
    let all = taken(&world, 3);
    let named = world.ok(&["forget", &all[0][..10], "latest"]).says(&["named", "forgot 2 snapshots; their data stays"]);
    assert!(!named.out.contains("kept"), "{named:?}");
    assert_eq!(ids(&world), [all[1].clone()]);
    world.run(&["forget", "latest"]).fails(2, &["no snapshot of sqlite:", "--force"]);
    world.run(&["forget", &all[0]]).fails(1, &[&all[0]]);
    assert_eq!(ids(&world), [all[1].clone()]);
    world.ok(&["forget", "latest", "--force"]);
    assert_eq!(ids(&world), [""; 0]);
    // What comes after has nothing to lean on.
    let fresh = taken(&world, 1);
    assert_eq!(world.snapshots()[0]["parent"], Json::Null);
    assert_eq!(ids(&world), fresh);
    world.is_good();
}

#[test]
fn policies_that_make_no_sense_are_refused_and_nothing_is_done() {
    let world = World::new();
    let all = taken(&world, 2);
    for (args, words) in [
        (&["forget"][..], "give a policy"),
        (&["forget", "--keep-last", "0"], "keep nothing"),
        (&["forget", "--keep-daily", "0", "--max-age", "1d"], "keep nothing"),
        (&["forget", "--keep-incremental", "1"], "--keep-full"),
        (&["forget", "--keep-full", "1", "--keep-incremental", "2"], "--keep-incremental"),
        (&["forget", "--keep-last", "1", "latest"], "cannot be used"),
        (&["forget", "--keep-within", "soon"], "is no age"),
        (&["forget", "--max-age", "0d"], "no time at all"),
        (&["forget", "--keep-last", "1", "--time-zone", "Mars/Olympus"], "is no time zone"),
        (&["forget", "--keep-last", "1", "--group-by", "moon"], "moon"),
        (&["forget", "--keep-last", "-1"], "-1"),
        (&["forget", "latest", "--group-by", "host"], "--group-by"),
    ] {
        world.run(args).fails(2, &[words]);
    }
    assert_eq!(ids(&world), all);
}

#[test]
fn a_time_zone_that_is_none_is_not_taken_for_utc() {
    let world = World::new();
    let all = taken(&world, 2);
    let within = |zone: &str, args: &[&str]| Ran::from(world.command(args).env("TZ", zone).output().unwrap());
    for zone in ["Europe/Berlni", "/no/such/file", ":nowhere"] {
        for args in [
            &["forget", "--keep-daily", "1"][..],
            &["forget", "--keep-last", "1", "--max-age", "1d"],
            &["restore", "@2199-01-01", "sqlite:out.db"],
            &["restore", "@2 hours ago", "sqlite:out.db"],
        ] {
            within(zone, args).fails(2, &["TZ", zone, "no time zone"]);
        }
        for args in [
            &["forget", "--keep-last", "2"][..],
            &["forget", "--keep-last", "2", "--keep-daily", "1", "--time-zone", "UTC"],
            &["restore", "@2199-01-01T00:00:00Z", "sqlite:out.db", "--overwrite", "always"],
            &["snapshots"],
        ] {
            assert_eq!(within(zone, args).code, Some(0), "{zone}: {args:?}");
        }
    }
    for zone in ["", "EST5EDT,M3.2.0,M11.1.0", ":Europe/Berlin"] {
        assert_eq!(within(zone, &["forget", "--keep-last", "2", "--keep-daily", "1"]).code, Some(0), "{zone}");
    }
    assert_eq!(ids(&world), all);
}

#[test]
fn held_and_locked_snapshots_stay() {
    let world = World::new();
    let all = taken(&world, 4);
    world.ok(&["tag", &all[0], "--hold"]).says(&["on hold"]);
    world.ok(&["tag", &all[1], "--lock-until", "2999-01-01"]).says(&["locked until 2999-01-01"]);
    world.ok(&["snapshots"]).says(&["protected", "hold", "locked until 2999-01-01"]);
    let rows = world.snapshots();
    assert_eq!(
        (&rows[0]["hold"], &rows[2]["hold"], &rows[2]["lock_until"]),
        (&json!(true), &json!(false), &Json::Null)
    );
    assert!(rows[1]["lock_until"].as_i64().unwrap() > 30_000_000_000_000, "{rows:?}");
    world.run(&["forget", &all[0]]).fails(2, &["on hold", "--release"]);
    world.run(&["forget", &all[2], &all[1]]).fails(2, &["locked until 2999"]);
    assert_eq!(ids(&world).len(), 4, "all or none of those that are named");
    world.ok(&["forget", "--keep-last", "1"]).says(&["on hold", "locked until", "forgot 1 snapshot and kept 3"]);
    assert_eq!(ids(&world), [&all[..2], &all[3..]].concat());
    world.ok(&["forget", "--max-age", "1 year"]).says(&["not older than the maximum age", "forgot 0"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    world.ok(&["forget", "--max-age", "1s"]).says(&["older than the maximum age", "forgot 1 snapshot and kept 2"]);
    assert_eq!(ids(&world), all[..2]);
    world.run(&["tag", &all[1], "--lock-until", "2998-01-01"]).fails(2, &["cannot be made shorter"]);
    world.run(&["tag", &all[1], "--lock-until", "2001-01-01"]).fails(2, &["has passed"]);
    world.run(&["tag", &all[0], "--hold", "--release"]).fails(2, &["cannot be used"]);
    let released = world.json(&["tag", &all[0], "--release", "--add", "x"]);
    assert_eq!(
        (&released["hold"], &released["tags"], &released["revision"]),
        (&json!(false), &json!(["x"]), &json!(2))
    );
    world.ok(&["forget", &all[0]]);
    assert_eq!(ids(&world), all[1..2]);
}

#[test]
fn groups_tags_and_what_is_left_out() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY)");
    world.sql("b.db", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let mut all = Vec::new();
    for round in 0..2 {
        for args in [
            &["sqlite:a.db"][..],
            &["sqlite:a.db?table=t"],
            &["sqlite:b.db", "--tag", "b"],
            &["sqlite:b.db", "--host", "elsewhere"],
        ] {
            world.sql("a.db", &format!("INSERT INTO t VALUES({})", all.len() + 1));
            world.sql("b.db", &format!("INSERT INTO t VALUES({})", all.len() + 1));
            all.push(world.backup(args));
        }
        assert_eq!(all.len(), 4 * (round + 1));
    }
    let kept = |args: &[&str]| -> Vec<usize> {
        let plan = world.json(&[&["forget", "--dry-run"], args].concat());
        let groups = plan["groups"].as_array().unwrap().clone();
        let rows: Vec<Json> = groups.iter().flat_map(|group| group["snapshots"].as_array().unwrap().clone()).collect();
        let mut kept: Vec<usize> = rows
            .iter()
            .filter(|row| row["keep"] == true)
            .map(|row| all.iter().position(|id| row["id"] == id.as_str()).unwrap())
            .collect();
        kept.sort_unstable();
        kept
    };
    assert_eq!(kept(&["--keep-last", "1"]), [4, 5, 6, 7]);
    // All of them in one group; of each source, and of the part of it, one has to stay.
    assert_eq!(kept(&["--keep-last", "1", "--group-by", ""]), [4, 5, 6, 7]);
    assert_eq!(kept(&["--keep-last", "1", "--group-by", "tags"]), [4, 5, 6, 7]);
    assert_eq!(kept(&["--keep-last", "1", "--source", "sqlite:b.db"]), [6, 7]);
    assert_eq!(kept(&["--keep-last", "1", "--keep-tag", "b"]), [2, 4, 5, 6, 7]);
    let done = world.json(&["forget", "--keep-last", "1", "--host", "elsewhere"]);
    assert_eq!(list(&done["forgotten"]), [all[3].clone()]);
}

#[test]
fn a_partial_snapshot_does_not_displace_a_complete_one() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(k TEXT PRIMARY KEY, v INT) WITHOUT ROWID; INSERT INTO t VALUES('a', 1)");
    let whole = world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "INSERT INTO t VALUES(hex(zeroblob(40000)), 2), ('b', 3)");
    let partial = world.run(&["--json", "backup", "sqlite:a.db"]).fails(3, &[]).json();
    assert_eq!(partial["complete"], false);
    world.ok(&["forget", "--keep-last", "1"]).says(&["PARTIAL", "forgot 0 snapshots and kept 2"]);
    assert_eq!(ids(&world), [whole, partial["id"].as_str().unwrap().to_owned()]);
    world.sql("a.db", "DELETE FROM t WHERE length(k) > 1000");
    let next = world.backup(&["sqlite:a.db"]);
    world.ok(&["forget", "--keep-last", "1"]).says(&["partial, and a complete one followed", "forgot 2 snapshots"]);
    assert_eq!(ids(&world), [next]);
    world.is_good();
}

#[test]
fn history_names_the_gap_that_forgetting_left() {
    let world = World::new();
    let all = taken(&world, 4);
    world.ok(&["forget", &all[1], &all[2]]);
    let found = world.json(&["history", "t", "int:1"]);
    assert_eq!(found["gaps"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&found["gaps"][0]["after"], &found["gaps"][0]["before"]), (&json!(all[0]), &json!(all[3])));
    world.ok(&["history", "t", "int:1"]).says(&["snapshots were forgotten", "no longer promised"]);
}

/// A backup of Aerospike's tools with one record, whose value is said.
fn asb(world: &World, value: u64) {
    let digest = format!("{}=", "A".repeat(27));
    let text = format!(
        "Version 3.1\n# namespace n\n# first-file\n+ n n\n+ d {digest}\n+ s s\n+ g {value}\n+ t 0\n+ b 1\n- I v {value}\n"
    );
    std::fs::write(world.path("x.asb"), text).unwrap();
}

#[test]
fn of_snapshots_with_the_same_end_the_one_that_was_taken_later_is_the_newer() {
    let world = World::new();
    let one = |value| {
        asb(&world, value);
        world.backup(&["asb:x.asb", "--as-of", "2026-01-01T00:00:00Z"])
    };
    let mut all: Vec<String> = (1..=6).map(one).collect();
    let is_in_order = |all: &[String]| {
        assert_eq!(ids(&world), all);
        let newest = |spec: &str| world.json(&["cat", "snapshot", spec])["id"].as_str().unwrap().to_owned();
        let last = all.len() - 1;
        assert_eq!((newest("latest"), newest("latest~1")), (all[last].clone(), all[last - 1].clone()));
        assert_eq!(newest("@2026-01-01T00:00:00Z"), all[last]);
        assert_eq!(world.json(&["status"])[0]["newest"], json!(all[last]));
        let parents: Vec<Json> = world.snapshots().iter().map(|it| it["parent"].clone()).collect();
        assert_eq!(*parents.last().unwrap(), json!(all[last - 1]));
    };
    is_in_order(&all);
    // What lay between them has gone, and what is known was read anew.
    world.ok(&["forget", &all[4], &all[3], &all[1]]);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    all = [0, 2, 5].map(|at| all[at].clone()).to_vec();
    assert_eq!(ids(&world), all);
    all.push(one(7));
    is_in_order(&all);
    world.ok(&["forget", "--keep-last", "2"]);
    assert_eq!(ids(&world), all[2..]);
    world.ok(&["-r", "copy", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    world.ok(&["copy", "--to", "copy", "--to-password-command", "echo correct horse"]);
    let copied = world.json(&["-r", "copy", "snapshots"]);
    let of: Vec<&Json> = copied.as_array().unwrap().iter().map(|it| &it["copy_of"]["snapshot"]).collect();
    assert_eq!(of, all[2..].iter().collect::<Vec<_>>());
    world.is_good();
}

#[test]
fn a_few_digits_name_nothing_that_is_to_be_forgotten() {
    let world = World::new();
    let all = taken(&world, 2);
    for digits in 1..4 {
        world.run(&["forget", &all[0][..digits]]).fails(2, &["too short", "--keep-last"]);
    }
    assert_eq!(ids(&world), all);
    world.ok(&["forget", &all[0][..4]]);
    assert_eq!(ids(&world), all[1..]);
}
