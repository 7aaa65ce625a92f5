//! Interruptions, kills, full disks and two at once: the repository stays good, and the next run works.
#![cfg(unix)]

use crate::world::{Ran, World, many_rows};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

fn slow(world: &World, args: &[&str]) -> Child {
    world.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn packs(world: &World) -> usize {
    world.objects().keys().filter(|name| name.starts_with("packs")).count()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_mins(1), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
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
    let child = slow(&world, &["backup", "sqlite:big.db", "--parallel", "1", "--read-limit", "2M"]);
    std::thread::sleep(Duration::from_millis(2_500));
    signal(&child, Signal::INT);
    let began = Instant::now();
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.fails(130, &["interrupted", "nothing was committed"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
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
    let child = slow(&world, &["restore", "latest", "sqlite:out.db", "--write-limit", "4M"]);
    wait_until("the restore began", || world.path("out.db.rekeep-partial").exists());
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::TERM);
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.fails(130, &["interrupted"]);
    assert!(!world.path("out.db").exists());
    world.ok(&["restore", "latest", "sqlite:out.db", "--verify"]);
}

#[test]
fn a_backup_may_be_killed_at_any_moment() {
    let world = World::new();
    big(&world);
    world.sql("big.db", "CREATE TABLE marker(id INTEGER PRIMARY KEY, v)");
    let first = world.backup(&["sqlite:big.db?table=marker", "--source-name", "kept"]);
    for moment in [0, 20, 60, 150, 400, 900] {
        let mut child = slow(&world, &["backup", "sqlite:big.db", "--read-limit", "30M"]);
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().unwrap();
        child.wait().unwrap();
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
    for moment in [10, 100, 400] {
        let mut child = slow(&world, &["restore", "latest", "sqlite:out.db", "--write-limit", "8M"]);
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().unwrap();
        child.wait().unwrap();
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

/// A file system of this many MiB; `None` where we may not mount one.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at)),
            _ => {
                eprintln!("skipped: a small file system cannot be mounted here (it takes root)");
                None
            }
        }
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_fails_a_backup_and_a_restore_and_nothing_is_lost() {
    let world = World::empty();
    let repo = world.repo();
    let Some(_mounted) = Small::mount(&repo, 6) else { return };
    world.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    many_rows(&world, "a.db", 3_000);
    let first = world.backup(&["sqlite:a.db"]);
    big(&world);
    world.run(&["backup", "sqlite:big.db"]).fails(1, &["No space left", "nothing was committed"]);
    world.ok(&["verify", "--read-data"]);
    let small = world.path("small");
    let Some(_other) = Small::mount(&small, 1) else { return };
    many_rows(&world, "b.db", 30_000);
    world.ok(&["restore", &first, "sqlite:out.db", "--verify"]);
    for target in ["sqlite:small/out.db", "jsonl:small/out.jsonl"] {
        // Fill it up first: the database itself would fit.
        std::fs::write(small.join("filler"), vec![0; 700_000]).unwrap();
        let ran = world.run(&["restore", &first, target]);
        let _ = ran.fails(1, &["small/out"]);
    }
    assert!(!small.join("out.db").exists() && !small.join("out.jsonl").exists());
}
