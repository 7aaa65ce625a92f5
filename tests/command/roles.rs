//! Keys with roles: what each lets a person do through the command, and what it keeps from them.

use crate::world::{PASSWORD, Ran, World, many_rows};

/// One host of the repository: a password of its own, and a cache of its own.
struct Host<'a> {
    world: &'a World,
    role: &'static str,
}

impl<'a> Host<'a> {
    fn new(world: &'a World, role: &'static str) -> Self {
        std::fs::write(world.path(role), format!("{role} password")).unwrap();
        world.ok(&["key", "add", "--role", role, "--new-password-file", role]);
        Self { world, role }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.world.command(args);
        command.env("REKEEP_PASSWORD", format!("{} password", self.role));
        command.env("REKEEP_CACHE_DIR", self.world.path(&format!("cache of {}", self.role)));
        command.output().unwrap().into()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{}: {args:?}: {ran:?}", self.role);
        ran
    }
}

#[test]
fn a_put_only_host_backs_up_incrementally_and_opens_no_value() {
    let world = World::new();
    many_rows(&world, "live.db", 5000);
    let host = Host::new(&world, "put-only");
    let first = host.ok(&["--json", "backup", "sqlite:live.db"]).json();
    world.sql("live.db", "UPDATE t SET name = 'changed' WHERE id % 100 = 7; DELETE FROM t WHERE id = 50");
    let second = host.ok(&["--json", "backup", "sqlite:live.db"]).json();
    let added = |run: &serde_json::Value| run["stats"]["bytes_added"].as_u64().unwrap();
    assert!(added(&second) * 3 < added(&first), "{first}\n{second}");
    assert_eq!(second["stats"]["deleted"], 1, "{second}");
    assert_eq!(second["parent"], first["id"], "{second}");
    // What it stored is no news to who has all keys.
    let third = world.json(&["backup", "sqlite:live.db"]);
    assert_eq!((&third["stats"]["chunks_new"], &third["parent"]), (&0.into(), &second["id"]), "{third}");
    assert_eq!(host.ok(&["--json", "snapshots"]).json().as_array().unwrap().len(), 3);
    let before = world.objects();
    let id = second["id"].as_str().unwrap();
    for args in [
        &["restore", id, "sqlite:there.db"][..],
        &["dump", id, "t", "7"],
        &["history", "t", "7"],
        &["verify", "--read-data"],
        &["forget", id],
        &["forget", "--keep-last", "1"],
        &["prune"],
        &["tag", id, "--add", "x"],
        &["tag", id, "--hold"],
        &["key", "add", "--new-password-file", "put-only"],
        &["key", "passwd", "--new-password-file", "put-only"],
        &["key", "rotate", "--epoch", "--new-password-file", "put-only"],
    ] {
        let ran = host.run(args).fails(1, &["put-only"]);
        assert!(ran.err.contains("role"), "{args:?}: {}", ran.err);
    }
    let packs = |objects: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| {
        objects.keys().filter(|path| !path.starts_with("leases")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(packs(&world.objects()), packs(&before));
    host.ok(&["verify"]);
    world.is_good();
    world.ok(&["restore", id, "sqlite:there.db"]);
    let query = "SELECT * FROM t ORDER BY id";
    assert_eq!(world.rows("there.db", query), world.rows("live.db", query));
}

#[test]
fn stacks_that_a_put_only_host_cannot_merge_are_merged_by_a_prune() {
    let world = World::new();
    world.sql(
        "live.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT); WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL
        SELECT i + 1 FROM c WHERE i < 400) INSERT INTO t SELECT i, 'name ' || i FROM c",
    );
    let host = Host::new(&world, "put-only");
    let change = |run: u32| {
        world.sql("live.db", &format!("UPDATE t SET name = 'run {run}' WHERE id = {run}"));
        host.ok(&["backup", "sqlite:live.db"]);
    };
    (1..=28).for_each(change);
    let layers = || {
        let shown = world.json(&["cat", "snapshot", "latest"]);
        shown["collections"][0]["stack"].as_array().unwrap().len()
    };
    assert_eq!(layers(), 28, "a base and a delta for each run behind the first");
    world.ok(&["prune"]);
    assert!(layers() <= 25, "{}", layers());
    (29..=31).for_each(change);
    world.is_good();
    for at in ["latest", "latest~5", "latest~30"] {
        world.ok(&["restore", at, "sqlite:there.db", "--verify"]);
        std::fs::remove_file(world.path("there.db")).unwrap();
    }
    world.ok(&["restore", "latest", "sqlite:there.db"]);
    let query = "SELECT * FROM t ORDER BY id";
    assert_eq!(world.rows("there.db", query), world.rows("live.db", query));
}

#[test]
fn readers_read_and_operators_do_all_but_keys() {
    let world = World::new();
    many_rows(&world, "live.db", 300);
    let id = world.backup(&["sqlite:live.db"]);
    let reader = Host::new(&world, "read-only");
    reader.ok(&["restore", &id, "sqlite:there.db"]);
    reader.ok(&["verify", "--read-data", "--restore"]);
    for args in [&["backup", "sqlite:live.db"][..], &["forget", &id], &["prune"], &["tag", &id, "--add", "x"]] {
        let ran = reader.run(args).fails(1, &["read-only", "role"]);
        assert!(!ran.err.contains(PASSWORD));
    }
    let operator = Host::new(&world, "operator");
    world.sql("live.db", "DELETE FROM t WHERE id < 10");
    operator.ok(&["backup", "sqlite:live.db"]);
    operator.ok(&["tag", &id, "--add", "x"]);
    operator.ok(&["forget", &id]);
    operator.ok(&["prune"]);
    operator.run(&["key", "add", "--new-password-file", "operator"]).fails(1, &["operator", "role"]);
    assert_eq!(world.snapshots().len(), 1);
    world.is_good();
}

#[test]
fn verify_names_what_is_left_of_keys_that_are_kept_twice() {
    let world = World::new();
    world.is_good();
    for (name, dir) in [("rekeep.json", "repo"), ("copies/rekeep.json", "repo")] {
        std::fs::remove_file(world.path(&format!("{dir}/{name}"))).unwrap();
        world.run(&["verify"]).fails(1, &[]).says(&[name]);
        world.ok(&["snapshots"]);
        world.ok(&["key", "mend"]).says(&[name]);
        world.is_good();
    }
    let copies: Vec<_> = world.objects().into_keys().filter(|path| path.starts_with("copies/keys")).collect();
    for (at, copy) in copies.iter().enumerate() {
        std::fs::write(world.repo().join(copy), "junk").unwrap();
        let ran = world.run(&["verify"]).fails(1, &[]);
        assert!(ran.out.contains(copy.to_str().unwrap()), "{at}: {ran:?}");
        world.ok(&["key", "mend"]);
    }
    world.is_good();
}

#[test]
fn what_is_of_an_epoch_that_a_slot_lacks_is_neither_damaged_nor_let_go() {
    let world = World::new();
    world.sql("live.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    let host = Host::new(&world, "operator");
    let held = world.json(&["backup", "sqlite:live.db"])["id"].as_str().unwrap().to_owned();
    world.ok(&["backup", "sqlite:live.db"]);
    std::fs::write(world.path("pw2"), "newer horse").unwrap();
    world.ok(&["key", "rotate", "--epoch", "--new-password-file", "pw2"]);
    let newer =
        |args: &[&str]| -> Ran { world.command(args).env("REKEEP_PASSWORD", "newer horse").output().unwrap().into() };
    world.sql("live.db", "UPDATE t SET name = 'c'");
    let done = newer(&["--json", "backup", "sqlite:live.db"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let third = done.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(newer(&["tag", &held, "--hold"]).code, Some(0));
    let before = world.objects();
    let says = "which the key slot that was opened does not hold";
    for verb in [&["verify", "--read-data"][..], &["prune"], &["repair", "index"], &["repair", "packs"]] {
        let ran = host.run(verb);
        assert!(ran.code != Some(0) && ran.err.contains(says) || ran.out.contains(says), "{verb:?}: {ran:?}");
        assert!(!ran.out.contains("DAMAGED") && !ran.err.contains("forget --damaged"), "{verb:?}: {ran:?}");
    }
    host.run(&["forget", "--damaged", &third]).fails(2, &["made since that began"]);
    // What may be a hold is one.
    let forgot = host.run(&["forget", "--keep-last", "1"]);
    assert_eq!(forgot.code, Some(3), "{forgot:?}");
    for (path, bytes) in before {
        let lasts = ["index", "packs", "snapshots"].iter().any(|folder| path.starts_with(folder));
        assert!(!lasts || world.objects().get(&path) == Some(&bytes), "{path:?}");
    }
    let shown = newer(&["--json", "snapshots"]).json();
    assert!(shown.as_array().unwrap().iter().any(|it| it["id"] == third.as_str()), "{shown}");
    assert!(shown.as_array().unwrap().iter().any(|it| it["id"] == held.as_str()), "{shown}");
    let whole = newer(&["verify", "--read-data", "--restore"]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
}
