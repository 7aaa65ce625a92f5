//! Chosen snapshots in another repository: as they are stored where the lasting secrets are the same, written anew elsewhere.

use crate::world::{PASSWORD, Ran, World, files, many_rows};
use serde_json::{Value as Json, json};
use std::fs;

const OTHER: &str = "other horse";

/// Runs `copy --to other` with the other repository's password where it belongs.
fn copy(world: &World, args: &[&str]) -> Ran {
    let mut all = vec!["--json", "copy", "--to", "other"];
    all.extend(args);
    world.command(&all).env("REKEEP_TO_PASSWORD", OTHER).output().unwrap().into()
}

#[track_caller]
fn copied(world: &World, args: &[&str]) -> Json {
    let ran = copy(world, args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

/// The command at the other repository.
fn there(world: &World, args: &[&str]) -> Ran {
    let mut all = vec!["-r", "other"];
    all.extend(args);
    world.command(&all).env("REKEEP_PASSWORD", OTHER).output().unwrap().into()
}

#[track_caller]
fn json_there(world: &World, args: &[&str]) -> Json {
    let mut all = vec!["--json"];
    all.extend(args);
    let ran = there(world, &all);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

#[track_caller]
fn is_sound(world: &World, snapshots: usize) {
    let listed = json_there(world, &["snapshots"]);
    assert_eq!(listed.as_array().unwrap().len(), snapshots, "{listed}");
    let verified = json_there(world, &["verify", "--read-data", "--restore"]);
    assert_eq!(verified["findings"], json!([]), "{verified}");
}

/// Makes the other repository: with the same lasting secrets, or others.
fn make(world: &World, alike: bool) {
    fs::write(world.path("pw"), PASSWORD).unwrap();
    let mut args = vec!["-r", "other", "--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"];
    if alike {
        args.extend(["--like", "repo", "--like-password-file", "pw"]);
    } else {
        args.extend(["--suite", "aes-256-gcm"]);
    }
    let made: Ran = world.command(&args).env("REKEEP_PASSWORD", OTHER).output().unwrap().into();
    assert_eq!(made.code, Some(0), "{made:?}");
}

/// Three snapshots of a database that changes, shrinks and holds a value in pieces.
fn history() -> World {
    let world = World::new();
    many_rows(&world, "a.db", 3_000);
    world.sql("a.db", "INSERT INTO t VALUES (100000, 'long', randomblob(700000))");
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'x' WHERE id % 7 = 1; DELETE FROM t WHERE id % 11 = 3");
    world.backup(&["sqlite:a.db", "--tag", "monthly"]);
    world.sql("a.db", "INSERT INTO t SELECT id + 10000, name, data FROM t WHERE id < 50");
    world.backup(&["sqlite:a.db"]);
    world
}

/// Every snapshot there restores to what the one here restores to.
#[track_caller]
fn restore_alike(world: &World) {
    for snapshot in world.snapshots() {
        let id = snapshot["id"].as_str().unwrap();
        for (at, file) in [("repo", "here.db"), ("other", "there.db")] {
            let _ = fs::remove_file(world.path(file));
            let (target, password) = (format!("sqlite:{file}"), if at == "repo" { PASSWORD } else { OTHER });
            // The copy is found by the name of what it is a copy of.
            let args = ["-r", at, "restore", &id[..12], &target];
            let ran: Ran = world.command(&args).env("REKEEP_PASSWORD", password).output().unwrap().into();
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
        let query = "SELECT * FROM t ORDER BY id";
        assert!(world.rows("here.db", query) == world.rows("there.db", query), "{id}");
    }
}

#[test]
fn copies_between_repositories_of_the_same_secrets_take_chunks_over() {
    let world = history();
    make(&world, true);
    let dry = copied(&world, &["--dry-run"]);
    assert_eq!((dry["copied"].as_array().unwrap().len(), &dry["dry_run"]), (3, &json!(true)));
    assert_eq!(json_there(&world, &["snapshots"]), json!([]), "a dry run changes nothing");
    let done = copied(&world, &[]);
    assert_eq!((&done["as_stored"], &done["failed"]), (&json!(true), &json!([])), "{done}");
    assert_eq!(done["copied"].as_array().unwrap().len(), 3, "{done}");
    is_sound(&world, 3);
    restore_alike(&world);
    let (ours, theirs) = (world.snapshots(), json_there(&world, &["snapshots"]));
    for (ours, theirs) in ours.iter().zip(theirs.as_array().unwrap()) {
        for same in ["start", "end", "source", "scope", "tags", "kind", "collections", "complete", "problems"] {
            assert_eq!(ours[same], theirs[same], "{same}");
        }
        assert_ne!(ours["id"], theirs["id"]);
        assert_eq!(theirs["copy_of"]["snapshot"], ours["id"]);
    }
    // The copies stand to each other as the snapshots do.
    assert_eq!(theirs[1]["parent"], theirs[0]["id"]);
    // Nothing is decompressed or cut anew: the same layers.
    let stack = |at: &str, password: &str| -> Json {
        let args = ["--json", "-r", at, "cat", "snapshot", "latest"];
        let ran: Ran = world.command(&args).env("REKEEP_PASSWORD", password).output().unwrap().into();
        ran.json()["collections"][0]["stack"].clone()
    };
    assert_eq!(stack("repo", PASSWORD), stack("other", OTHER));
    // Again: nothing lacks. One more: only that.
    let again = copied(&world, &[]);
    assert_eq!((&again["copied"], again["there"].as_array().unwrap().len()), (&json!([]), 3), "{again}");
    world.sql("a.db", "UPDATE t SET name = 'y' WHERE id = 5");
    world.backup(&["sqlite:a.db"]);
    let more = copied(&world, &[]);
    assert_eq!(more["copied"].as_array().unwrap().len(), 1, "{more}");
    assert!(more["copied"][0]["bytes_added"].as_u64() < done["copied"][0]["bytes_added"].as_u64(), "{more}");
    // A backup goes on from a copy: what is there is not stored again.
    let next = there(&world, &["--json", "backup", "sqlite:a.db"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert_eq!(next.json()["stats"]["changed"], 0, "{next:?}");
}

#[test]
fn copies_between_repositories_of_other_secrets_are_written_anew_and_compared() {
    let world = history();
    make(&world, false);
    let done = copied(&world, &["--parallel", "3"]);
    assert_eq!((&done["as_stored"], &done["failed"]), (&json!(false), &json!([])), "{done}");
    assert_eq!(done["copied"].as_array().unwrap().len(), 3, "{done}");
    is_sound(&world, 3);
    restore_alike(&world);
    // What stood is stored once: the later ones are deltas.
    let added = |at: usize| done["copied"][at]["bytes_added"].as_u64().unwrap();
    assert!(added(1) < added(0) && added(2) < added(0), "{done}");
    let theirs = json_there(&world, &["cat", "snapshot", "latest"]);
    assert_eq!(theirs["collections"][0]["stack"].as_array().unwrap().len(), 3, "{theirs}");
    assert_eq!(copied(&world, &[])["copied"], json!([]));
    // And back into a third one: known by what they are copies of.
    let back: Ran = world
        .command(&["--json", "-r", "other", "copy", "--to", "repo"])
        .env("REKEEP_PASSWORD", OTHER)
        .env("REKEEP_TO_PASSWORD", PASSWORD)
        .output()
        .unwrap()
        .into();
    assert_eq!((back.code, &back.json()["copied"]), (Some(0), &json!([])), "{back:?}");
    assert_eq!(back.json()["there"].as_array().unwrap().len(), 3);
}

#[test]
fn tags_holds_and_locks_go_along_and_follow() {
    let world = history();
    make(&world, true);
    world.ok(&["tag", "latest", "--hold", "--lock-until", "2126-01-01T00:00:00Z"]);
    copied(&world, &["latest"]);
    let theirs = json_there(&world, &["snapshots"]);
    assert_eq!((&theirs[0]["hold"], &theirs[0]["tags"]), (&json!(true), &json!([])));
    assert_eq!(theirs[0]["lock_until"], world.snapshots()[2]["lock_until"]);
    world.ok(&["tag", "latest", "--add", "quarterly", "--lock-until", "2127-01-01T00:00:00Z"]);
    let done = copied(&world, &["latest"]);
    assert_eq!((&done["copied"], &done["revised"][0]), (&json!([]), &theirs[0]["id"]), "{done}");
    let theirs = json_there(&world, &["snapshots"]);
    assert_eq!(theirs[0]["tags"], json!(["quarterly"]));
    assert_eq!(theirs[0]["lock_until"], world.snapshots()[2]["lock_until"]);
    // A hold that is released here stays there: nothing there is let go because of what happens here.
    world.ok(&["tag", "latest", "--release"]);
    assert_eq!(copied(&world, &["latest"])["revised"], json!([]));
    assert_eq!(json_there(&world, &["snapshots"])[0]["hold"], true);
}

#[test]
fn a_policy_or_filters_choose_what_is_copied() {
    let world = history();
    make(&world, true);
    world.sql("b.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'b')");
    world.backup(&["sqlite:b.db"]);
    let of = |args: &[&str]| copied(&world, args)["copied"].as_array().unwrap().len();
    assert_eq!(of(&["--dry-run"]), 4);
    assert_eq!(of(&["--dry-run", "--source", "sqlite:b.db"]), 1);
    assert_eq!(of(&["--dry-run", "--tag", "monthly"]), 1);
    // The newest of each source.
    assert_eq!(of(&["--dry-run", "--keep-last", "1"]), 2);
    assert_eq!(of(&["--keep-last", "2", "--source", "sqlite:a.db"]), 2);
    copy(&world, &["--keep-incremental", "2"]).fails(2, &["--keep-full"]);
    copy(&world, &["latest", "--keep-last", "1"]).fails(2, &["cannot be used with"]);
    is_sound(&world, 2);
    // What the other repository forgot is copied again only if it is chosen again.
    let gone = json_there(&world, &["snapshots"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(there(&world, &["forget", &gone]).code, Some(0));
    assert_eq!(of(&["--keep-last", "1", "--source", "sqlite:a.db"]), 0);
    assert_eq!(of(&["--keep-last", "2", "--source", "sqlite:a.db"]), 1);
}

#[test]
fn what_cannot_be_a_target_is_said_and_changes_nothing() {
    let world = history();
    let before = world.objects().len();
    copy(&world, &[]).fails(10, &["no repository"]);
    make(&world, true);
    let wrong: Ran = world.command(&["copy", "--to", "other"]).env("REKEEP_TO_PASSWORD", "x").output().unwrap().into();
    wrong.fails(12, &["password"]);
    // The password of the one is not tried at the other.
    let none: Ran = world.command(&["copy", "--to", "other"]).output().unwrap().into();
    none.fails(2, &["no password"]);
    let same: Ran =
        world.command(&["copy", "--to", "repo"]).env("REKEEP_TO_PASSWORD", PASSWORD).output().unwrap().into();
    same.fails(2, &["the same repository"]);
    world.ok(&["replicate", "replica"]);
    let replica: Ran =
        world.command(&["copy", "--to", "replica"]).env("REKEEP_TO_PASSWORD", PASSWORD).output().unwrap().into();
    replica.fails(2, &["the same repository", "replicas"]);
    copy(&world, &["abcdef"]).fails(1, &["abcdef"]);
    world.run(&["copy"]).fails(2, &["--to"]);
    assert_eq!(world.objects().len(), before, "reading leaves nothing");
    assert_eq!(json_there(&world, &["snapshots"]), json!([]));
}

#[test]
fn a_snapshot_that_lacks_objects_is_named_and_the_others_are_copied() {
    for alike in [true, false] {
        let world = history();
        make(&world, alike);
        // The newest one's own pack of values goes.
        let newest = world.snapshots()[2]["id"].as_str().unwrap().to_owned();
        let packs = || files(&world.repo().join("packs"));
        let before = packs();
        world.sql("a.db", "INSERT INTO t SELECT id + 20000, name, randomblob(90) FROM t WHERE id < 500");
        let lost = world.backup(&["sqlite:a.db"]);
        for name in packs().into_keys().filter(|name| !before.contains_key(name)) {
            fs::remove_file(world.repo().join("packs").join(name)).unwrap();
        }
        fs::remove_dir_all(world.path("cache")).unwrap();
        let ran = copy(&world, &[]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let done = ran.json();
        assert_eq!(done["copied"].as_array().unwrap().len(), 3, "{done}");
        assert_eq!(done["failed"][0]["snapshot"], json!(lost), "{done}");
        assert!(ran.err.contains(&lost[..8]), "{ran:?}");
        is_sound(&world, 3);
        let copies = json_there(&world, &["snapshots"]);
        assert_eq!(copies[2]["copy_of"]["snapshot"], json!(newest));
    }
}

#[test]
fn a_copy_that_was_killed_is_carried_on_and_two_at_once_harm_nobody() {
    let world = history();
    make(&world, true);
    let start = || {
        let mut command = world.command(&["--json", "copy", "--to", "other"]);
        command.env("REKEEP_TO_PASSWORD", OTHER).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let mut killed = start();
    // Wherever it is by now.
    killed.kill().unwrap();
    killed.wait().unwrap();
    let both = [start(), start()].map(|child| Ran::from(child.wait_with_output().unwrap()));
    for ran in &both {
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let listed = json_there(&world, &["snapshots"]);
    let mut origins: Vec<&str> =
        listed.as_array().unwrap().iter().map(|it| it["copy_of"]["snapshot"].as_str().unwrap()).collect();
    origins.sort_unstable();
    origins.dedup();
    assert_eq!(origins.len(), 3, "{listed}");
    assert_eq!(copied(&world, &[])["copied"], json!([]));
    let verified = json_there(&world, &["verify", "--read-data", "--restore"]);
    assert_eq!(verified["findings"], json!([]), "{verified}");
}

#[test]
fn a_repository_of_an_older_epoch_is_copied_into_a_new_one() {
    let world = history();
    make(&world, true);
    // What is written from here on the old password does not open.
    fs::write(world.path("pw2"), "newer horse").unwrap();
    world.ok(&["key", "rotate", "--epoch", "--new-password-file", "pw2"]);
    world.sql("a.db", "DELETE FROM t WHERE id % 5 = 2");
    let newer = |args: &[&str]| -> Ran {
        let command = &mut world.command(args);
        command.env("REKEEP_PASSWORD", "newer horse").env("REKEEP_TO_PASSWORD", OTHER).output().unwrap().into()
    };
    assert_eq!(newer(&["backup", "sqlite:a.db"]).code, Some(0));
    let done = newer(&["--json", "copy", "--to", "other"]);
    assert_eq!((done.code, done.json()["copied"].as_array().unwrap().len()), (Some(0), 4), "{done:?}");
    fs::remove_dir_all(world.path("cache")).unwrap();
    is_sound(&world, 4);
    assert_eq!(there(&world, &["restore", "latest", "sqlite:there.db"]).code, Some(0));
    let query = "SELECT * FROM t ORDER BY id";
    assert!(world.rows("a.db", query) == world.rows("there.db", query));
}

#[test]
fn no_repository_lies_in_another() {
    let world = history();
    let init = |place: &str| world.run(&["-r", place, "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    let before = world.objects();
    std::os::unix::fs::symlink(world.path("repo"), world.path("link")).unwrap();
    let spelled = format!("file://{}/repo/deep/er", world.path("").display());
    for place in ["repo/inside", "link/inside", "./repo/snapshots/x", &spelled] {
        init(place).fails(2, &["lies in the repository"]);
        world.run(&["replicate", place]).fails(2, &["cannot lie at", "choose another place"]);
    }
    assert!(world.objects() == before);
    // One that came to lie there.
    make(&world, true);
    fs::rename(world.path("other"), world.path("repo/other")).unwrap();
    for to in ["repo/other", "link/other"] {
        let ran: Ran = world.command(&["copy", "--to", to]).env("REKEEP_TO_PASSWORD", OTHER).output().unwrap().into();
        ran.fails(2, &["lies in the other", "choose another place"]);
    }
    let args = ["-r", "repo/other", "copy", "--to", "repo"];
    let mut outward = world.command(&args);
    let ran: Ran = outward.env("REKEEP_PASSWORD", OTHER).env("REKEEP_TO_PASSWORD", PASSWORD).output().unwrap().into();
    ran.fails(2, &["lies in the other"]);
    world.run(&["-r", "repo/other", "replicate", "repo"]).fails(2, &["cannot lie at"]);
    // Beside each other, with one beginning of their names.
    fs::rename(world.path("repo/other"), world.path("repo-other")).unwrap();
    let ran: Ran =
        world.command(&["copy", "--to", "repo-other"]).env("REKEEP_TO_PASSWORD", OTHER).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn status_looks_where_copies_are_said_to_be_and_says_what_lacks() {
    let world = history();
    make(&world, true);
    let status = |args: &[&str], code: i32| -> Json {
        let mut all = vec!["--json", "status"];
        all.extend(args);
        let ran: Ran = world.command(&all).env("REKEEP_TO_PASSWORD", OTHER).output().unwrap().into();
        assert_eq!(ran.code, Some(code), "{ran:?}");
        ran.json()[0]["elsewhere"].clone()
    };
    assert_eq!(status(&[], 0), json!(null));
    // Made, and empty.
    assert_eq!(status(&["--copy", "other"], 1)["copies"], 2);
    copied(&world, &[]);
    world.ok(&["replicate", "replica"]);
    let standing = status(&["--copy", "other", "--copy", "replica", "--copy", "replica"], 1);
    assert_eq!((&standing["copies"], &standing["media"], &standing["elsewhere"]), (&json!(4), &json!(1), &json!(0)));
    assert_eq!(standing["lacks"], json!(["a second disk or service", "a copy elsewhere"]), "{standing}");
    // What is newer is not there.
    world.sql("a.db", "UPDATE t SET name = 'z' WHERE id = 9");
    world.backup(&["sqlite:a.db"]);
    assert_eq!(status(&["--copy", "other", "--copy", "replica"], 1)["copies"], 2);
    let none: Ran = world.command(&["status", "--copy", "nothing"]).output().unwrap().into();
    none.fails(1, &["nothing", "no repository"]);
    let locked: Ran = world.command(&["status", "--copy", "other"]).output().unwrap().into();
    locked.fails(1, &["another repository", "password"]).says(&["LACKS a third copy"]);
}

#[test]
fn keys_that_may_not_are_named_with_their_place_and_nothing_is_copied() {
    let world = history();
    make(&world, true);
    for (role, password) in [("put-only", "host horse"), ("read-only", "reader horse")] {
        fs::write(world.path(role), password).unwrap();
        world.ok(&["key", "add", "--role", role, "--new-password-file", role]);
        assert_eq!(there(&world, &["key", "add", "--role", role, "--new-password-file", role]).code, Some(0));
    }
    let with = |ours: &str, theirs: &str| -> Ran {
        let mut command = world.command(&["copy", "--to", "other"]);
        command.env("REKEEP_PASSWORD", ours).env("REKEEP_TO_PASSWORD", theirs).output().unwrap().into()
    };
    with("host horse", OTHER).fails(1, &["/repo: ", "read values", "put-only"]);
    with(PASSWORD, "reader horse").fails(1, &["/other: ", "write snapshots", "read-only"]);
    // The wrong one of two passwords is said.
    with(PASSWORD, PASSWORD).fails(12, &["key slots of ", "/other"]);
    with(OTHER, OTHER).fails(12, &["key slots of ", "/repo"]);
    assert_eq!(json_there(&world, &["snapshots"]), json!([]));
    // What is enough: reading here, and adding there.
    let enough = with("reader horse", "host horse");
    assert_eq!(enough.code, Some(0), "{enough:?}");
    is_sound(&world, 3);
}

#[test]
fn keys_that_only_add_cannot_take_what_is_written_anew() {
    let world = history();
    make(&world, false);
    fs::write(world.path("host"), "host horse").unwrap();
    assert_eq!(there(&world, &["key", "add", "--role", "put-only", "--new-password-file", "host"]).code, Some(0));
    let ran: Ran =
        world.command(&["copy", "--to", "other"]).env("REKEEP_TO_PASSWORD", "host horse").output().unwrap().into();
    ran.fails(1, &["/other: ", "read values", "put-only"]);
    assert_eq!(json_there(&world, &["snapshots"]), json!([]));
}
