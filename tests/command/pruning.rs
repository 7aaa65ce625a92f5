//! `prune`, `leases`, `unlock`.
#![cfg(unix)]

use crate::world::{PASSWORD, World, many_rows};
use rekeep::{
    record::SystemClock,
    repo::{OpenOptions, Repository, Storage, Unlock},
};
use rusqlite::types::Value;
use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

/// The repository, opened by this process as another host.
fn open(world: &World) -> Repository {
    let storage = Storage::at(world.repo().to_str().unwrap()).unwrap();
    let options = OpenOptions {
        cache_dir: world.path("other-cache"),
        clock: Arc::new(SystemClock),
        host: "other-host".to_owned(),
    };
    Repository::open(&storage, &Unlock::Password(PASSWORD.to_owned()), &options).unwrap()
}

fn forget(world: &World, id: &str) {
    open(world).forget(&id.parse().unwrap()).unwrap();
}

/// A database backed up twice, the second time with all rows changed; the first snapshot is forgotten. Gives the second.
fn history(world: &World) -> String {
    many_rows(world, "big.db", 20_000);
    let first = world.backup(&["sqlite:big.db"]);
    world.sql("big.db", "UPDATE t SET data = randomblob(100)");
    let second = world.backup(&["sqlite:big.db", "--new-base"]);
    forget(world, &first);
    second
}

fn packs(world: &World) -> u64 {
    let objects = world.objects();
    objects.iter().filter(|(name, _)| name.starts_with("packs")).map(|(_, bytes)| bytes.len() as u64).sum()
}

fn rows(world: &World, name: &str) -> Vec<Vec<Value>> {
    world.rows(name, "SELECT * FROM t ORDER BY id")
}

#[test]
fn space_comes_back_and_what_is_kept_restores() {
    let world = World::new();
    let kept = history(&world);
    let before = packs(&world);
    let plan = world.json(&["prune", "--dry-run"]);
    assert_eq!((plan["dry_run"].as_bool(), plan["plan"]["bytes_before"].as_u64()), (Some(true), Some(before)));
    assert_eq!(packs(&world), before);
    world.ok(&["prune", "--dry-run"]).says(&["needed", "to delete", "to repack", "when all of it is done"]);
    let done = world.json(&["prune"]);
    assert_eq!(done["waiting"], serde_json::json!([]));
    assert!(done["deleted"]["packs"].as_u64().unwrap() > 0, "{done}");
    assert!(packs(&world) < before * 6 / 10, "{} of {before} bytes are left", packs(&world));
    world.is_good();
    world.ok(&["restore", &kept, "sqlite:out.db"]);
    assert_eq!(rows(&world, "out.db"), rows(&world, "big.db"));
    world.ok(&["prune"]).says(&["deleted  0 packs"]);
    // The forgotten snapshot is gone without a warning.
    let snapshots = world.ok(&["snapshots"]);
    assert!(!snapshots.err.contains("vanished"), "{}", snapshots.err);
    world.backup(&["sqlite:big.db"]);
    world.is_good();
}

#[test]
fn a_prune_says_for_whom_it_waits_and_exits_0() {
    let world = World::new();
    history(&world);
    let repo = open(&world);
    let lease = repo.begin_read("test").unwrap();
    let id = lease.id().unwrap().to_string();
    world.ok(&["prune"]).says(&["waiting", "read: test", "other-host", &id[..8]]);
    let leases = world.json(&["leases"]);
    assert_eq!((leases[0]["id"].as_str(), leases[0]["host"].as_str()), (Some(&*id), Some("other-host")));
    world.ok(&["leases"]).says(&["read: test", "other-host", &std::process::id().to_string()]);
    // Its process is this one and lives.
    world.ok(&["unlock"]).says(&["no lease was fenced", &id[..8]]);
    world.run(&["unlock", "ffffffff"]).fails(2, &["no running lease"]);
    assert_eq!(world.json(&["unlock", &id[..8]])["fenced"], serde_json::json!([id]));
    let done = world.json(&["prune"]);
    assert_eq!(done["waiting"], serde_json::json!([]));
    assert!(done["deleted"]["packs"].as_u64().unwrap() > 0);
    world.ok(&["leases"]).says(&["nobody is at work"]);
    world.is_good();
}

#[test]
fn unlock_fences_a_killed_backup_of_this_machine() {
    let world = World::new();
    let kept = history(&world);
    let mut child = world
        .command(&["backup", "sqlite:big.db", "--new-base", "--parallel", "1", "--read-limit", "50K"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while world.json(&["leases"]) == serde_json::json!([]) {
        assert!(began.elapsed() < Duration::from_mins(1), "the backup took no lease");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(world.json(&["unlock"])["fenced"], serde_json::json!([]));
    child.kill().unwrap();
    child.wait().unwrap();
    world.ok(&["prune"]).says(&["waiting", "backup"]);
    world.ok(&["unlock"]).says(&["fenced 1 lease"]);
    world.ok(&["prune"]);
    assert_eq!(world.snapshots().len(), 1);
    assert_eq!(world.snapshots()[0]["id"].as_str(), Some(&*kept));
    world.is_good();
}

#[test]
fn two_prunes_and_a_backup_at_once() {
    let world = World::new();
    history(&world);
    let commands: [&[&str]; 3] = [&["prune"], &["prune", "--max-unused", "0"], &["backup", "sqlite:big.db"]];
    let children: Vec<_> = commands
        .iter()
        .map(|args| world.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    world.is_good();
    world.ok(&["prune"]);
    world.is_good();
}

#[test]
fn a_damaged_snapshot_stops_a_prune_before_anything_is_deleted() {
    let world = World::new();
    let kept = history(&world);
    let before = packs(&world);
    let path = world.repo().join("snapshots").join(&kept).join("0");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    world.run(&["prune"]).fails(1, &["is damaged", "every snapshot is as it was"]);
    assert_eq!(packs(&world), before);
}

#[test]
fn nothing_is_left_of_runs_that_are_over() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)");
    for _ in 0..3 {
        world.backup(&["sqlite:a.db"]);
        world.ok(&["find", "int:1"]);
    }
    let left = world.repo().join("leases").join("0".repeat(32));
    std::fs::create_dir_all(&left).unwrap();
    world.ok(&["prune"]);
    // Its own is there until the next one.
    world.ok(&["prune"]);
    let folders = std::fs::read_dir(world.repo().join("leases")).unwrap();
    let mut left: Vec<_> = folders.map(|it| it.unwrap().path()).collect();
    left.retain(|folder| std::fs::read_dir(folder).unwrap().next().is_none());
    assert_eq!(left, [] as [std::path::PathBuf; 0]);
    world.is_good();
}
