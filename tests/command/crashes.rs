//! Interruptions, kills, full disks and two at once: the repository stays good, and the next run works.
#![cfg(unix)]

use crate::{
    small_disk::SmallDisk,
    world::{Ran, Running, World, many_rows},
};
use rustix::process::Signal;
use std::process::{Child, Command, Stdio};

fn slow(world: &World, args: &[&str]) -> Child {
    world.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn packs(world: &World) -> usize {
    world.objects().keys().filter(|name| name.starts_with("packs")).count()
}

/// A database of some 10 MB in many tables.
fn big(world: &World) {
    for number in 0..6 {
        world.sql(
            "big.db",
            &format!(
                "CREATE TABLE t{number}(id INTEGER PRIMARY KEY, data BLOB);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                 INSERT INTO t{number} SELECT i, randomblob(500) FROM n"
            ),
        );
    }
}

#[test]
fn an_interrupted_backup_ends_with_130_and_the_next_uses_its_work() {
    let world = World::new();
    big(&world);
    let mut running = Running::start(&world, &["backup", "sqlite:big.db", "--parallel", "1", "--read-limit", "2M"]);
    running.wait_for_records("reading", 6_000);
    running.signal(Signal::INT);
    running.end().fails(130, &["interrupted", "nothing was committed"]);
    assert_eq!(world.snapshots().len(), 0);
    let uploaded = packs(&world);
    assert!(uploaded > 0, "nothing was uploaded");
    let next = world.json(&["backup", "sqlite:big.db"]);
    assert!(next["stats"]["chunks_reused"].as_u64().unwrap() > 0, "{next}");
    world.is_good();
}

#[test]
fn an_interrupted_restore_leaves_no_half_database() {
    let world = World::new();
    big(&world);
    world.backup(&["sqlite:big.db"]);
    let mut running = Running::start(&world, &["restore", "latest", "sqlite:out.db", "--write-limit", "2M"]);
    running.wait_for_records("restoring", 1);
    assert!(world.path("out.db.rekeep-partial").exists());
    running.signal(Signal::TERM);
    running.end().fails(130, &["interrupted"]);
    assert!(!world.path("out.db").exists() && !world.path("out.db.rekeep-partial").exists());
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
}

/// A moment at which a command is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Start,
    Phase,
    Records(u64),
}

fn kill_at(world: &World, phase: &str, moment: Moment, args: &[&str]) {
    let mut running = Running::start(world, args);
    match moment {
        Moment::Start => {}
        Moment::Phase => running.wait_for(phase, |event| event["phase"] == phase),
        Moment::Records(records) => running.wait_for_records(phase, records),
    }
    running.kill();
}

#[test]
fn a_backup_may_be_killed_at_any_moment() {
    let world = World::new();
    big(&world);
    world.sql("big.db", "CREATE TABLE marker(id INTEGER PRIMARY KEY, v)");
    let first = world.backup(&["sqlite:big.db?table=marker", "--source-name", "kept"]);
    for moment in [Moment::Start, Moment::Phase, Moment::Records(1), Moment::Records(3_000), Moment::Records(9_000)] {
        kill_at(&world, "reading", moment, &["backup", "sqlite:big.db", "--read-limit", "3M"]);
        world.ok(&["verify"]);
        world.ok(&["ls", &first]);
    }
    let outcome = world.json(&["backup", "sqlite:big.db"]);
    assert_eq!(outcome["complete"], true);
    world.is_good();
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify", "--source", "sqlite:big.db"]);
}

#[test]
fn a_restore_may_be_killed_at_any_moment() {
    let world = World::new();
    big(&world);
    world.backup(&["sqlite:big.db"]);
    for moment in [Moment::Start, Moment::Phase, Moment::Records(1), Moment::Records(6_000)] {
        kill_at(&world, "restoring", moment, &["restore", "latest", "sqlite:out.db", "--write-limit", "2M"]);
        assert!(!world.path("out.db").exists());
    }
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
    world.is_good();
}

#[test]
fn two_backups_of_one_source_at_once_both_commit() {
    let world = World::new();
    many_rows(&world, "a.db", 20_000);
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'x' WHERE id % 10 = 0");
    let children: Vec<Child> = (0..3).map(|_| slow(&world, &["backup", "sqlite:a.db"])).collect();
    for child in children {
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    assert_eq!(world.snapshots().len(), 4);
    world.is_good();
    for name in ["latest", "latest~1", "latest~2"] {
        world.ok(&["verify", name, "--restore"]);
    }
}

/// The command under a shell that limits how long a file may grow (in 512-byte or 1024-byte blocks, as the shell counts).
fn limited(world: &World, blocks: u32, args: &[&str]) -> Ran {
    let plain = world.command(args);
    let mut shell = Command::new("sh");
    // A shell ignores SIGXFSZ for its children here, so that the write fails instead.
    shell
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""))
        .arg(plain.get_program())
        .args(args);
    shell.current_dir(world.path(""));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn a_file_that_cannot_grow_fails_the_backup_and_the_restore() {
    let world = World::new();
    big(&world);
    limited(&world, 200, &["backup", "sqlite:big.db"]).fails(1, &["packs/", "nothing was committed"]);
    assert_eq!(world.snapshots().len(), 0);
    world.ok(&["verify"]);
    world.backup(&["sqlite:big.db"]);
    limited(&world, 2_000, &["restore", "latest", "sqlite:out.db"]).fails(1, &["out.db"]);
    assert!(!world.path("out.db").exists());
    limited(&world, 2_000, &["restore", "latest", "jsonl:out.jsonl"]).fails(1, &["out.jsonl"]);
    assert!(!world.path("out.jsonl").exists());
    // The catalog is a cache: that it cannot be written is told by its name.
    world.ok(&["cache", "clear"]);
    limited(&world, 4, &["snapshots"]).fails(1, &["catalog", "cache"]);
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
    world.is_good();
}

#[test]
#[ignore = "needs small-disk"]
fn a_full_disk_fails_a_backup_and_a_restore_and_nothing_is_lost() {
    let disk = SmallDisk::open("small-disk");
    let world = World::empty();
    std::fs::create_dir(disk.0.join("repo")).unwrap();
    std::os::unix::fs::symlink(disk.0.join("repo"), world.repo()).unwrap();
    world.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    many_rows(&world, "a.db", 3_000);
    let first = world.backup(&["sqlite:a.db"]);
    big(&world);
    world.run(&["backup", "sqlite:big.db"]).fails(1, &["No space left", "nothing was committed"]);
    world.ok(&["verify", "--read-data"]);
    world.ok(&["restore", &first, "sqlite:out.db", "--verify"]);
    disk.fill_up_to(100_000);
    for name in ["out.db", "out.jsonl"] {
        let scheme = if name == "out.db" { "sqlite" } else { "jsonl" };
        let target = disk.0.join(name);
        let ran = world.run(&["restore", &first, &format!("{scheme}:{}", target.display())]);
        ran.fails(1, &[name]);
        assert!(!target.exists());
    }
}

#[test]
#[ignore = "needs small-disk"]
fn a_full_disk_gets_its_room_back_by_forgetting_and_pruning() {
    let disk = SmallDisk::open("small-disk");
    let world = World::empty();
    std::fs::create_dir(disk.0.join("repo")).unwrap();
    std::os::unix::fs::symlink(disk.0.join("repo"), world.repo()).unwrap();
    world.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    let reserve = world.repo().join("tmp/reserve");
    assert!(reserve.exists(), "a little is set aside");
    many_rows(&world, "a.db", 20_000);
    let first = world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = name || hex(randomblob(20)) WHERE id % 2 = 0");
    let second = world.backup(&["sqlite:a.db"]);
    disk.fill_up_to(0);
    world.sql("a.db", "UPDATE t SET name = name || hex(randomblob(20))");
    world.run(&["backup", "sqlite:a.db"]).fails(1, &["No space left"]);
    world.ok(&["restore", &second, "sqlite:out.db", "--verify"]);
    assert!(reserve.exists(), "a backup does not touch it");
    let before = free(&disk);
    world.ok(&["forget", &first]);
    assert!(!reserve.exists(), "it has been spent");
    let ran = world.run(&["prune"]);
    assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
    assert!(free(&disk) > before, "there is more room than before: {ran:?}");
    // What it would have to write first it says, and everything else is as it was.
    let ran = world.run(&["prune"]);
    assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
    world.is_good();
    world.ok(&["restore", &second, "sqlite:again.db", "--verify"]);
    disk.empty();
    world.ok(&["prune"]);
    assert!(reserve.exists(), "it is put back when there is room");
    let left: Vec<_> = std::fs::read_dir(world.repo().join("tmp")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing half written lies about: {left:?}");
}

fn free(disk: &SmallDisk) -> u64 {
    let stat = rustix::fs::statvfs(&disk.0).unwrap();
    stat.f_bavail * stat.f_frsize
}
