//! Damage on the disk: what every verb says of it, that it heals, and that one broken object blocks nothing else for good.

use crate::world::{Ran, World, files, many_rows};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Every file below a folder of the repository, by name.
fn objects(world: &World, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![world.repo().join(folder)];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn junk(path: &Path) {
    fs::write(path, "junk").unwrap();
}

/// Garbage of the same length over the middle of a file.
fn garble(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let (from, to) = (bytes.len() / 4, bytes.len() / 2);
    bytes[from..to].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7));
    fs::write(path, bytes).unwrap();
}

fn forget_catalog(world: &World) {
    fs::remove_dir_all(world.path("cache")).unwrap();
}

/// Bytes that do not compress.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn folder(world: &World) {
    fs::create_dir_all(world.path("s")).unwrap();
    fs::write(world.path("s/f"), noise(300_000, 5)).unwrap();
}

/// The largest pack: that of the file's content.
fn data_pack(world: &World) -> PathBuf {
    objects(world, "packs").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[track_caller]
fn finds(ran: Ran, words: &[&str]) -> Ran {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(words)
}

#[test]
fn verify_sees_on_the_host_that_made_a_backup_what_a_new_machine_sees() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    for object in objects(&world, "index").iter().chain(&[world.repo().join(format!("snapshots/{id}/0"))]) {
        // Of the same length: only reading shows it.
        garble(object);
    }
    let index = objects(&world, "index")[0].file_name().unwrap().to_str().unwrap().to_owned();
    finds(world.run(&["verify", "--read-data", "--restore"]), &[&index, &id, "repair snapshots"]);
    // What no other host could find is stored again.
    world.backup(&["files:s"]);
    forget_catalog(&world);
    world.run(&["restore", "latest", "files:out"]).fails(3, &["may be another than"]);
    assert_eq!(fs::read(world.path("out/f")).unwrap(), fs::read(world.path("s/f")).unwrap());
}

#[test]
fn an_index_object_that_became_junk_is_noticed_by_the_next_backup_alone() {
    let world = World::new();
    folder(&world);
    world.backup(&["files:s"]);
    for object in objects(&world, "index") {
        junk(&object);
    }
    let ran = world.run(&["--json", "backup", "files:s"]);
    assert_eq!((ran.code, &ran.json()["complete"]), (Some(0), &json!(true)), "{ran:?}");
    assert!(ran.err.contains("repair index"), "{}", ran.err);
    forget_catalog(&world);
    world.ok(&["restore", "latest", "files:out"]);
    assert_eq!(fs::read(world.path("out/f")).unwrap(), fs::read(world.path("s/f")).unwrap());
}

#[test]
fn everything_anew_is_stored_anew_where_what_is_there_is_damaged() {
    for flags in [&["--parent", "none", "--new-base"][..], &["--parent", "none"]] {
        let world = World::new();
        folder(&world);
        world.backup(&["files:s"]);
        garble(&data_pack(&world));
        world.backup(&[flags, &["files:s"]].concat());
        world.ok(&["restore", "latest", "files:out"]);
        assert_eq!(fs::read(world.path("out/f")).unwrap(), fs::read(world.path("s/f")).unwrap(), "{flags:?}");
    }
}

#[test]
fn damage_that_was_found_is_remembered_healed_and_pruned_away() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    let pack = data_pack(&world);
    garble(&pack);
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    finds(world.run(&["verify", "--read-data"]), &[&name]);
    assert!(world.repo().join("damage").join(&name).exists());
    // Another host, which has read nothing, knows it too, and so does a verification that reads no data.
    forget_catalog(&world);
    finds(world.run(&["verify"]), &["remembered as damaged"]);
    world.backup(&["files:s"]);
    world.ok(&["restore", &id, "files:out"]);
    assert_eq!(fs::read(world.path("out/f")).unwrap(), fs::read(world.path("s/f")).unwrap());
    // What was saved is no damage any more, and nothing is left to repair.
    for args in [&["verify"][..], &["verify", "--read-data"]] {
        let ran = world.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.err.contains(&name) && ran.err.contains("lies in other packs too"), "{ran:?}");
        assert!(!format!("{ran:?}").contains("repair packs"), "{ran:?}");
    }
    world.ok(&["prune"]);
    assert!(!pack.exists(), "the good copy stays and the damaged one goes");
    world.ok(&["prune"]);
    assert_eq!(objects(&world, "damage"), [] as [PathBuf; 0]);
    world.is_good();
    world.ok(&["restore", &id, "files:again"]);
}

#[test]
fn a_pack_of_another_length_is_no_home() {
    let world = World::new();
    folder(&world);
    world.backup(&["files:s"]);
    let pack = data_pack(&world);
    let bytes = fs::read(&pack).unwrap();
    fs::write(&pack, &bytes[..bytes.len() / 2]).unwrap();
    world.backup(&["--full", "files:s"]);
    forget_catalog(&world);
    world.ok(&["restore", "latest", "files:out"]);
    assert_eq!(fs::read(world.path("out/f")).unwrap(), fs::read(world.path("s/f")).unwrap());
    world.ok(&["prune"]);
    world.is_good();
}

#[test]
fn a_pack_that_turns_out_to_be_whole_is_relied_on_again() {
    let world = World::new();
    folder(&world);
    world.backup(&["files:s"]);
    let pack = data_pack(&world);
    let bytes = fs::read(&pack).unwrap();
    garble(&pack);
    finds(world.run(&["verify", "--read-data"]), &["DAMAGED"]);
    fs::write(&pack, bytes).unwrap();
    let verified = world.ok(&["verify", "--read-data"]);
    assert!(verified.err.contains("whole"), "{verified:?}");
    assert_eq!(objects(&world, "damage"), [] as [PathBuf; 0]);
}

#[test]
fn foreign_things_are_named_and_stop_nobody() {
    let world = World::new();
    folder(&world);
    world.backup(&["files:s"]);
    for place in ["trash", "index", "snapshots", "leases", "keys", "packs", "damage", "checkpoints"] {
        fs::create_dir_all(world.repo().join(place)).unwrap();
        junk(&world.repo().join(place).join(".DS_Store"));
    }
    let verified = world.ok(&["verify", "--read-data", "--restore"]);
    assert!(verified.err.contains("trash/.DS_Store"), "{}", verified.err);
    let ran = world.ok(&["backup", "files:s"]);
    assert_eq!(ran.err.matches("index/.DS_Store").count(), 1, "{}", ran.err);
    for command in [&["prune"][..], &["snapshots"], &["key", "list"], &["leases"], &["restore", "latest", "files:out"]]
    {
        world.ok(command);
    }
}

#[test]
fn a_linked_snapshot_is_seen_and_a_link_that_leads_nowhere_stops_every_deletion() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    let (place, elsewhere) = (world.repo().join("snapshots").join(&id), world.path("elsewhere"));
    fs::rename(&place, &elsewhere).unwrap();
    symlink(&elsewhere, &place).unwrap();
    forget_catalog(&world);
    assert_eq!(world.snapshots().len(), 1);
    world.ok(&["prune"]);
    fs::rename(&elsewhere, world.path("away")).unwrap();
    forget_catalog(&world);
    let packs = objects(&world, "packs").len();
    world.run(&["prune"]).fails(1, &[&id]);
    assert_eq!(objects(&world, "packs").len(), packs);
    finds(world.run(&["verify"]), &[&id]);
    world.backup(&["files:s"]);
    fs::rename(world.path("away"), &elsewhere).unwrap();
    world.ok(&["prune"]);
    assert_eq!(world.snapshots().len(), 2);
    world.is_good();
}

/// Puts something that is no folder in the place of one.
fn block(place: &Path, how: &str) {
    match how {
        "file" => fs::write(place, "a file").unwrap(),
        "link" => symlink("/nowhere/at/all", place).unwrap(),
        _ => assert!(std::process::Command::new("mkfifo").arg(place).status().unwrap().success()),
    }
}

#[test]
fn what_stands_in_the_place_of_a_whole_folder_stops_deletions_and_only_what_needs_the_folder() {
    let world = World::new();
    folder(&world);
    let first = world.backup(&["files:s"]);
    fs::write(world.path("s/new"), noise(100_000, 7)).unwrap();
    let second = world.backup(&["files:s"]);
    world.ok(&["forget", &first]);
    world.ok(&["prune"]);
    world.ok(&["prune"]);
    let known = world.path("cache-that-knows");
    let copied = |from: &Path, to: &Path| {
        assert!(std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
    };
    copied(&world.path("cache"), &known);
    let source = files(&world.path("s"));
    let whole = files(&world.repo());
    let restores = |what: &str| {
        let _ = fs::remove_dir_all(world.path("out"));
        let ran = world.run(&["restore", "latest", "files:out"]);
        assert_eq!(ran.code, Some(0), "{what}: {ran:?}");
        assert!(files(&world.path("out")) == source, "{what}");
    };
    // Nothing is needed or goes by what these hold.
    let idle = ["promises", "drills", "claims", "audit", "parity", "settings"];
    let used =
        ["keys", "copies", "index", "snapshots", "packs", "leases", "trash", "damage", "checkpoints", "forgotten"];
    for name in used.into_iter().chain(idle) {
        for how in if idle.contains(&name) { &["link"][..] } else { &["file", "link", "pipe"] } {
            let what = format!("{how} in the place of {name}");
            let (place, away) = (world.repo().join(name), world.path("away"));
            let was_there = place.exists();
            if was_there {
                fs::rename(&place, &away).unwrap();
            }
            block(&place, how);
            for knows in [true, false] {
                forget_catalog(&world);
                if knows {
                    copied(&known, &world.path("cache"));
                }
                let what = format!("{what}, {}", if knows { "known" } else { "new" });
                // What is needed and cannot be had: the data always, the rest where nobody has seen it before.
                let is_needed = name == "packs" || !knows && ["index", "snapshots"].contains(&name);
                let ran = world.run(&["snapshots"]);
                assert_eq!(ran.code, Some(0), "{what}: {ran:?}");
                if knows || name != "snapshots" {
                    assert!(ran.out.contains(&second[..8]), "{what}: {ran:?}");
                }
                if is_needed {
                    let _ = fs::remove_dir_all(world.path("out"));
                    let ran = world.run(&["restore", "latest", "files:out"]);
                    assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
                } else {
                    restores(&what);
                }
                let verified = world.run(&["verify"]);
                assert_eq!(verified.code, Some(1), "{what}: {verified:?}");
                assert!(verified.out.contains(name), "{what}: {verified:?}");
                for command in [
                    &["prune"][..],
                    &["repair", "packs"],
                    &["repair", "index"],
                    &["repair", "objects"],
                    &["repair", "snapshots"],
                ] {
                    let ran = world.run(command);
                    assert!(!ran.err.contains("panicked") && ran.code != Some(101), "{what}: {command:?}: {ran:?}");
                    if command == ["prune"] {
                        // Keys say nothing of what is needed.
                        let hides = !["keys", "copies"].contains(&name) && !idle.contains(&name);
                        assert_eq!(ran.code, Some(i32::from(hides)), "{what}: {ran:?}");
                        assert!(!hides || ran.err.contains(name), "{what}: {ran:?}");
                    }
                }
            }
            fs::remove_file(&place).unwrap();
            if was_there {
                fs::rename(&away, &place).unwrap();
            }
            for (path, bytes) in &whole {
                if !path.starts_with("leases") && !path.starts_with("tmp") {
                    assert!(
                        fs::read(world.repo().join(path)).ok().as_ref() == Some(bytes),
                        "{what}: {}",
                        path.display()
                    );
                }
            }
        }
    }
    forget_catalog(&world);
    assert!(world.run(&["verify", "--read-data", "--restore"]).code == Some(0));
    world.ok(&["prune"]);
    restores("at the end");
}

#[test]
fn a_slot_that_is_damaged_in_both_places_is_marked_in_the_list() {
    let world = World::new();
    let listed = world.json(&["key", "list"]);
    let recovery = listed.as_array().unwrap().iter().find(|slot| slot["kind"] == "recovery").unwrap();
    let name = recovery["name"].as_str().unwrap();
    let kind = || {
        let listed = world.json(&["key", "list"]);
        let slot = listed.as_array().unwrap().iter().find(|slot| slot["name"] == name).unwrap().clone();
        slot["kind"].as_str().unwrap().to_owned()
    };
    junk(&world.repo().join("keys").join(name));
    assert_eq!(kind(), "recovery", "the other is whole");
    junk(&world.repo().join("copies/keys").join(name));
    assert_eq!(kind(), "damaged");
    world.ok(&["key", "list"]).says(&[name, "damaged"]);
    finds(world.run(&["verify"]), &[name]);
}

#[test]
fn slots_are_made_and_removed_only_where_both_of_each_can_be() {
    let world = World::new();
    folder(&world);
    world.backup(&["files:s"]);
    fs::write(world.path("new"), "another").unwrap();
    let added = world.json(&["key", "add", "--new-password-file", "new"])["name"].as_str().unwrap().to_owned();
    let whole = files(&world.repo());
    for name in ["keys", "copies"] {
        let (place, away) = (world.repo().join(name), world.path("away"));
        fs::rename(&place, &away).unwrap();
        block(&place, "link");
        world.ok(&["key", "list"]).says(&[&added]);
        for command in [&["key", "remove", &added][..], &["key", "add", "--new-password-file", "new"]] {
            world.run(command).fails(1, &[name, "hides what may be there"]);
        }
        fs::remove_file(&place).unwrap();
        fs::rename(&away, &place).unwrap();
        assert!(files(&world.repo()) == whole, "{name}");
    }
    world.ok(&["key", "remove", &added]);
    world.is_good();
}

#[test]
fn groups_of_parity_that_cannot_be_seen_let_nothing_go() {
    let world = World::empty();
    world.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1", "--parity", "10"]);
    folder(&world);
    world.backup(&["files:s"]);
    fs::create_dir(world.path("g")).unwrap();
    fs::write(world.path("g/f"), noise(300_000, 6)).unwrap();
    let gone = world.backup(&["files:g"]);
    world.ok(&["forget", &gone, "--force"]);
    for name in ["parity", "settings"] {
        let (place, away) = (world.repo().join(name), world.path("away"));
        fs::rename(&place, &away).unwrap();
        block(&place, "link");
        let packs = files(&world.repo().join("packs"));
        world.run(&["verify"]).fails(1, &[]).says(&[name]);
        let _ = world.run(&["prune"]);
        world.run(&["prune"]).fails(1, &[name, "hides what may be there"]);
        assert!(files(&world.repo().join("packs")) == packs, "{name}");
        if name == "settings" {
            fs::write(world.path("s/more"), noise(1000, 9)).unwrap();
            let ran = world.run(&["backup", "files:s"]);
            assert!(ran.code == Some(0) && ran.err.contains("gets no parity"), "{ran:?}");
        }
        fs::remove_file(&place).unwrap();
        fs::rename(&away, &place).unwrap();
    }
    let packs = files(&world.repo().join("packs")).len();
    world.ok(&["prune"]);
    world.ok(&["prune"]);
    assert!(files(&world.repo().join("packs")).len() < packs);
    world.is_good();
}

#[test]
fn a_pipe_in_the_place_of_an_object_hangs_nobody() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    let place = world.repo().join(format!("snapshots/{id}/0"));
    fs::remove_file(&place).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&place).status().unwrap();
    assert!(made.success());
    forget_catalog(&world);
    world.run(&["snapshots"]).fails(3, &[&id]);
    finds(world.run(&["verify"]), &[&id]);
    world.run(&["prune"]).fails(1, &[&id, "forget --damaged"]);
    world.ok(&["forget", "--damaged", &id[..10]]);
    world.ok(&["prune"]);
    assert_eq!(objects(&world, "packs"), [] as [PathBuf; 0]);
}

#[test]
fn what_a_vanished_snapshot_needs_stays_until_it_is_let_go() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    fs::write(world.path("s/g"), noise(200_000, 9)).unwrap();
    fs::remove_file(world.path("s/f")).unwrap();
    world.backup(&["--new-base", "files:s"]);
    let revision = world.repo().join(format!("snapshots/{id}/0"));
    let bytes = fs::read(&revision).unwrap();
    fs::remove_file(&revision).unwrap();
    world.run(&["prune"]).fails(3, &[&id[..8], "forget --vanished"]);
    finds(world.run(&["verify"]), &[&id, "forget --vanished", "repair snapshots"]);
    fs::write(&revision, &bytes).unwrap();
    world.ok(&["restore", &id, "files:out"]);
    assert_eq!(fs::read(world.path("out/f")).unwrap(), noise(300_000, 5));
    fs::remove_file(&revision).unwrap();
    world.run(&["forget", "--vanished", "0123"]).fails(2, &[&id]);
    world.ok(&["forget", "--vanished", &id]);
    let before = objects(&world, "packs").len();
    world.ok(&["prune"]);
    assert!(objects(&world, "packs").len() < before);
    world.is_good();
}

#[test]
fn a_damaged_revision_can_be_let_go_and_blocks_nothing_else() {
    let world = World::new();
    folder(&world);
    let broken = world.backup(&["files:s"]);
    fs::write(world.path("s/g"), "more").unwrap();
    world.backup(&["files:s"]);
    junk(&world.repo().join(format!("snapshots/{broken}/0")));
    forget_catalog(&world);
    world.run(&["snapshots"]).fails(3, &[&broken]).says(&["1 snapshot\n"]);
    world.run(&["prune"]).fails(1, &[&broken, "forget --damaged"]);
    world.ok(&["backup", "files:s"]);
    // Which of the two is newer nobody can tell any more.
    world.run(&["restore", "latest", "files:out"]).fails(3, &["may be another than"]);
    world.ok(&["forget", "--damaged", &broken]);
    world.ok(&["restore", "latest", "files:out2"]);
    world.ok(&["prune"]);
    world.ok(&["verify", "--read-data"]);
}

#[test]
fn who_asks_for_the_newest_hears_that_it_may_be_the_one_that_cannot_be_read() {
    let world = World::new();
    folder(&world);
    let old = world.backup(&["files:s"]);
    fs::write(world.path("s/g"), "new").unwrap();
    let newest = world.backup(&["files:s"]);
    junk(&world.repo().join(format!("snapshots/{newest}/0")));
    forget_catalog(&world);
    for (at, name) in ["latest", "@now"].into_iter().enumerate() {
        let to = format!("files:out{at}");
        world.run(&["restore", name, &to]).fails(3, &["may be another than", "1 snapshot cannot be read"]);
        assert!(world.path(&format!("out{at}/f")).exists() && !world.path(&format!("out{at}/g")).exists());
    }
    world.ok(&["restore", &old, "files:by-id"]);
}

#[test]
fn a_snapshot_that_stands_without_a_damaged_revision_is_not_let_go() {
    for (number, flag, is_held) in
        [(1, "--hold", false), (0, "--hold", true), (1, "--add=x", false), (0, "--add=x", false)]
    {
        for knows in [false, true] {
            let world = World::new();
            folder(&world);
            let id = world.backup(&["files:s"]);
            world.ok(&["tag", &id, flag]);
            junk(&world.repo().join(format!("snapshots/{id}/{number}")));
            if !knows {
                forget_catalog(&world);
            }
            assert_eq!(world.snapshots().len(), 1);
            let advised = "repair objects` takes it away if its snapshot stands";
            world.run(&["snapshots"]).fails(0, &[&id, "repair snapshots", advised]);
            let before = world.objects();
            let refused = world.run(&["forget", "--damaged", &id]);
            refused.fails(2, &["is not forgotten", "stands without it", "repair objects"]);
            assert!(world.objects() == before, "{number} {flag} {knows}");
            world.ok(&["prune"]);
            world.ok(&["repair", "snapshots"]);
            world.ok(&["repair", "objects"]);
            world.is_good();
            let snapshots = world.snapshots();
            assert_eq!(snapshots.len(), 1);
            assert_eq!(snapshots[0]["hold"], json!(is_held || knows && flag == "--hold"), "{number} {flag} {knows}");
            world.ok(&["restore", &id, "files:out"]);
            assert_eq!(fs::read(world.path("out/f")).unwrap(), fs::read(world.path("s/f")).unwrap());
        }
    }
}

#[test]
fn what_may_hold_a_snapshot_and_cannot_be_read_keeps_it() {
    for flag in [&["--hold"][..], &["--lock-until", "2126-01-01T00:00:00Z"]] {
        for knows in [false, true] {
            for vanishes in [false, true] {
                // What vanished on a host that never saw it was never there.
                if vanishes && !knows {
                    continue;
                }
                let world = World::new();
                folder(&world);
                let id = world.backup(&["files:s"]);
                world.backup(&["files:s"]);
                world.ok(&[&["tag", &id], flag].concat());
                let held = world.repo().join(format!("snapshots/{id}/1"));
                if vanishes {
                    fs::remove_file(&held).unwrap();
                } else {
                    junk(&held);
                }
                if !knows {
                    forget_catalog(&world);
                }
                let forget = ["forget", "--keep-last", "1", "--prune"];
                let ran = world.run(&forget);
                // Where the catalog still stands for it, the policy itself keeps it.
                let code = if knows && !vanishes { 0 } else { 3 };
                assert_eq!(ran.code, Some(code), "{flag:?} {knows} {vanishes}: {ran:?}");
                assert!(code == 0 || ran.err.contains("stays"), "{ran:?}");
                world.run(&["forget", "--force", &id]).fails(if code == 0 { 2 } else { 3 }, &[]);
                assert_eq!(world.snapshots().len(), 2, "{flag:?} {knows} {vanishes}");
                world.run(&["tag", &id, "--add", "x"]).fails(1, &["snapshots/", "repair snapshots"]);
                assert!(!held.exists() || fs::read(&held).unwrap() == b"junk");
                assert!(!world.repo().join(format!("snapshots/{id}/2")).exists());
                world.ok(&["repair", "snapshots"]);
                world.ok(&["repair", "objects"]);
                forget_catalog(&world);
                world.is_good();
                // The hold is back, or a person took away what nobody can read.
                let ran = world.ok(&forget);
                assert_eq!(world.snapshots().len(), if knows { 2 } else { 1 }, "{ran:?}");
            }
        }
    }
}

#[test]
fn what_only_the_catalog_holds_is_put_back_and_not_let_go() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    junk(&world.repo().join(format!("snapshots/{id}/0")));
    world.run(&["forget", "--damaged", &id]).fails(2, &["is not forgotten", "repair snapshots"]);
    // Nor is it said to be forgotten where no tombstone was written.
    world.run(&["forget", "--force", &id]).fails(3, &["stays", "is damaged"]);
    world.ok(&["repair", "snapshots"]);
    forget_catalog(&world);
    world.is_good();
    assert_eq!(world.snapshots().len(), 1);
}

/// Its manifest is so large that what it says of its tables lies in packs.
fn many_tables(world: &World) -> String {
    let db = rusqlite::Connection::open(world.path("many.db")).unwrap();
    let columns: Vec<String> = (0..40).map(|n| format!("a_column_with_a_long_name_{n} TEXT")).collect();
    for n in 0..400 {
        db.execute_batch(&format!("CREATE TABLE t{n} ({}); INSERT INTO t{n} DEFAULT VALUES", columns.join(", ")))
            .unwrap();
    }
    drop(db);
    world.backup(&["sqlite:many.db"])
}

#[test]
fn what_an_unreadable_index_object_describes_is_not_let_go() {
    let world = World::new();
    let id = many_tables(&world);
    for object in objects(&world, "index") {
        junk(&object);
    }
    forget_catalog(&world);
    let before = objects(&world, "snapshots");
    world.run(&["forget", "--damaged", &id]).fails(2, &["is not forgotten", "repair index"]);
    assert_eq!(objects(&world, "snapshots"), before);
    world.ok(&["repair", "index"]);
    world.run(&["forget", "--damaged", &id]).fails(2, &["is no snapshot that is lost so"]);
    world.is_good();
    world.ok(&["restore", &id, "sqlite:out.db"]);
}

#[test]
fn a_snapshot_whose_own_tables_are_gone_can_be_let_go() {
    let world = World::new();
    let id = many_tables(&world);
    for pack in objects(&world, "packs") {
        fs::remove_file(pack).unwrap();
    }
    forget_catalog(&world);
    world.run(&["prune"]).fails(1, &["is missing", "rekeep verify"]);
    finds(world.run(&["verify"]), &[&id, "forget --damaged"]);
    world.ok(&["forget", "--damaged", &id]);
    world.ok(&["prune"]);
    assert_eq!(world.snapshots().len(), 0);
}

/// Makes an object one of a format that is yet to come.
fn make_newer(place: &Path) {
    let mut bytes = fs::read(place).unwrap();
    let end = bytes.len() - blake3::OUT_LEN;
    bytes[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let hash = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(hash.as_bytes());
    fs::write(place, bytes).unwrap();
}

#[test]
fn what_a_newer_program_wrote_is_not_let_go() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    let place = world.repo().join(format!("snapshots/{id}/0"));
    make_newer(&place);
    forget_catalog(&world);
    let listed = world.run(&["snapshots"]).fails(3, &["use a newer rekeep"]);
    assert!(!listed.err.contains("--damaged"), "{listed:?}");
    let before = objects(&world, "packs");
    world.run(&["forget", "--damaged", &id]).fails(2, &["is not forgotten", "a newer rekeep can read it"]);
    world.run(&["prune"]).fails(1, &["use a newer rekeep"]);
    assert_eq!(objects(&world, "packs"), before);
    assert!(place.exists());
}

#[test]
fn what_a_newer_program_wrote_is_no_damage_and_no_repair_settles_it() {
    for (number, knows) in [(0, true), (0, false), (1, true), (1, false)] {
        let world = World::new();
        folder(&world);
        let id = world.backup(&["files:s"]);
        world.ok(&["tag", &id, "--hold"]);
        let place = world.repo().join(format!("snapshots/{id}/{number}"));
        make_newer(&place);
        let newer = fs::read(&place).unwrap();
        if !knows {
            forget_catalog(&world);
        }
        for advised in [
            finds(world.run(&["verify"]), &[&format!("snapshots/{id}/{number}"), "use a newer rekeep"]),
            world.run(&["snapshots"]).fails(0, &[]),
        ] {
            let told = format!("{}{}", advised.out, advised.err);
            assert!(!told.contains("--damaged") && !told.contains("repair"), "{number} {knows} {told}");
        }
        let repaired = world.run(&["repair", "snapshots"]);
        repaired.fails(3, &[&id, "use a newer rekeep"]);
        world.ok(&["repair", "objects"]);
        world.run(&["forget", "--damaged", &id]).fails(2, &["a newer rekeep can read it"]);
        assert_eq!(fs::read(&place).unwrap(), newer, "{number} {knows}");
    }
}

#[test]
fn a_damaged_revision_that_no_catalog_holds_is_named_by_the_repair() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    world.ok(&["tag", &id, "--hold"]);
    junk(&world.repo().join(format!("snapshots/{id}/1")));
    forget_catalog(&world);
    world.ok(&["repair", "snapshots"]).says(&[&format!("snapshots/{id}/1 is damaged"), "repair objects"]);
}

#[test]
fn a_large_repository_with_many_small_objects_is_read_whole() {
    let world = World::new();
    many_rows(&world, "a.db", 500);
    for _ in 0..5 {
        world.sql("a.db", "UPDATE t SET name = name || 'x' WHERE id % 7 = 0");
        world.backup(&["sqlite:a.db"]);
    }
    let verified = world.json(&["verify"]);
    assert!(verified["objects"].as_u64().unwrap() >= 12, "{verified}");
}

#[test]
fn an_index_is_made_anew_from_the_packs() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    for object in objects(&world, "index") {
        junk(&object);
    }
    forget_catalog(&world);
    world.run(&["prune"]).fails(1, &["repair index"]);
    let before = world.objects();
    let planned = world.json(&["repair", "index", "--dry-run"]);
    assert!(planned["restored"].as_array().unwrap().len() >= 2, "{planned}");
    assert_eq!(
        world.objects().keys().filter(|name| !name.starts_with("leases")).count(),
        before.keys().filter(|name| !name.starts_with("leases")).count()
    );
    world.ok(&["repair", "index"]);
    world.is_good();
    world.ok(&["prune"]);
    world.ok(&["restore", &id, "files:out"]);
    assert_eq!(fs::read(world.path("out/f")).unwrap(), noise(300_000, 5));
}

#[test]
fn an_index_object_that_is_gone_is_known_by_its_snapshot_and_made_again() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    for object in objects(&world, "index") {
        fs::remove_file(object).unwrap();
    }
    forget_catalog(&world);
    let ran = finds(world.run(&["verify"]), &["is in no pack", "repair index"]);
    assert!(ran.err.contains("its snapshot stands"), "{ran:?}");
    assert!(!ran.err.contains("a prune takes away"), "{ran:?}");
    world.run(&["restore", &id, "files:out"]).fails(1, &["is in no pack", "what mends it"]);
    let packs = objects(&world, "packs").len();
    world.run(&["prune"]).fails(1, &["is in no pack"]);
    assert_eq!(objects(&world, "packs").len(), packs, "nothing that may be needed goes");
    world.ok(&["repair", "index"]);
    world.is_good();
    world.ok(&["restore", &id, "files:out2"]);
}

#[test]
fn snapshots_are_put_back_from_the_catalog() {
    let world = World::new();
    folder(&world);
    let (one, two) = (world.backup(&["files:s"]), world.backup(&["files:s"]));
    fs::remove_file(world.repo().join(format!("snapshots/{one}/0"))).unwrap();
    garble(&world.repo().join(format!("snapshots/{two}/0")));
    finds(world.run(&["verify"]), &[&one, &two, "repair snapshots"]);
    world.ok(&["repair", "snapshots", "--dry-run"]);
    assert!(!world.repo().join(format!("snapshots/{one}/0")).exists());
    world.ok(&["repair", "snapshots"]);
    forget_catalog(&world);
    world.is_good();
    assert_eq!(world.snapshots().len(), 2);
    junk(&world.repo().join(format!("snapshots/{one}/0")));
    forget_catalog(&world);
    world.run(&["repair", "snapshots"]).fails(3, &[&one]);
}

#[test]
fn a_storage_that_was_rolled_back_is_told_of_and_comes_to_rest() {
    let world = World::new();
    folder(&world);
    let ids: Vec<String> = (0..3)
        .map(|n| {
            fs::write(world.path("s/n"), n.to_string()).unwrap();
            world.backup(&["files:s"])
        })
        .collect();
    let old = files(&world.repo());
    // Afterwards one is forgotten, layers are made one, a tag is given, and another backup is made.
    world.ok(&["forget", &ids[1]]);
    world.ok(&["prune", "--max-unused", "0"]);
    world.ok(&["tag", &ids[0], "--add", "x"]);
    fs::write(world.path("s/n"), "later").unwrap();
    let late = world.backup(&["files:s"]);
    fs::remove_dir_all(world.repo()).unwrap();
    for (name, bytes) in &old {
        let path = world.repo().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let verified = world.run(&["verify"]).fails(1, &[]);
    for (id, words) in [(&ids[0], "stands as its revision 0"), (&late, "forget --vanished")] {
        let line = verified.out.lines().find(|line| line.contains(&id[..8])).unwrap_or_default();
        assert!(line.contains(words), "{words}: {verified:?}");
    }
    // What stands is nothing to be let go of.
    world.run(&["forget", "--vanished", &ids[0]]).fails(2, &[]);
    world.run(&["repair", "snapshots"]).fails(3, &[&ids[1], "stands again"]);
    // Nothing that could be read before is worse than it was, and whoever is not to be helped can go.
    for id in &ids {
        world.ok(&["restore", id, &format!("files:out-{id}")]);
    }
    if world.run(&["forget", "--vanished", &late]).code != Some(0) {
        world.ok(&["forget", &late]);
    }
    world.ok(&["prune", "--max-unused", "0"]);
    world.ok(&["verify", "--read-data", "--restore"]).says(&["no damage found"]);
    world.ok(&["snapshots"]).fails(0, &[]);
    assert!(!world.ok(&["snapshots"]).err.contains("vanished"));
}

#[test]
fn what_cannot_be_read_is_missed_by_every_listing_and_by_what_goes_by_time() {
    let world = World::new();
    folder(&world);
    let first = world.backup(&["files:s"]);
    fs::write(world.path("s/f"), "new").unwrap();
    let second = world.backup(&["files:s"]);
    junk(&world.repo().join(format!("snapshots/{second}/0")));
    forget_catalog(&world);
    world.run(&["snapshots"]).fails(3, &[&second, "repair snapshots"]).says(&[&first[..8], "1 more cannot be read"]);
    assert_eq!(world.run(&["--json", "snapshots"]).fails(3, &[&second]).json().as_array().unwrap().len(), 1);
    world.run(&["status"]).fails(3, &[]).says(&[&first[..8], "not read     1 snapshot"]);
    world.run(&["status", "--max-age", "1d"]).fails(3, &[]);
    world.run(&["source", "list"]).fails(3, &[]).says(&["files:"]);
    let another = [&*format!("may be another than {}", &first[..8]), "1 snapshot cannot be read"];
    world.run(&["ls", "latest"]).fails(3, &another);
    world.run(&["restore", "@1 hour ago", "files:then"]).fails(1, &["there is no snapshot", "cannot be read"]);
    world.run(&["drill"]).fails(3, &another).says(&["PASSED"]);
    world.run(&["restore", "latest", "files:out"]).fails(3, &another);
    world.run(&["tag", "latest", "--add", "t"]).fails(3, &another);
    // Too late would be a warning here.
    for named in ["latest", "latest~0"] {
        world.run(&["forget", "--force", named]).fails(2, &["by its id"]);
    }
    world.ok(&["restore", &first, "files:named"]);
    world.ok(&["dump", &first, "files", "f"]);
    world.run(&["restore", &second[..12], "files:lost"]).fails(1, &["there is no snapshot", "cannot be read"]);
    junk(&world.repo().join(format!("snapshots/{first}/1")));
    junk(&world.repo().join(format!("snapshots/{first}/0")));
    forget_catalog(&world);
    let none = "no snapshot that can be read; 2 cannot";
    world.run(&["snapshots"]).fails(3, &[&first, &second]).says(&[none]);
    world.run(&["snapshots", "--latest", "1"]).fails(3, &[]).says(&[none]);
    world.run(&["status"]).fails(3, &[]).says(&[none]);
    world.run(&["status", "--max-age", "1d"]).fails(1, &[]).says(&[none]);
    world.run(&["source", "list"]).fails(3, &[]).says(&[none]);
    world.run(&["restore", "latest", "files:none"]).fails(1, &["2 snapshots that may be meant cannot be read"]);
    world.ok(&["forget", "--damaged", &first, &second]);
    world.ok(&["snapshots"]).says(&["no snapshots"]);
}

#[test]
fn a_newest_snapshot_that_vanished_is_missed_too() {
    let world = World::new();
    folder(&world);
    let first = world.backup(&["files:s"]);
    fs::write(world.path("s/f"), "new").unwrap();
    let second = world.backup(&["files:s"]);
    fs::remove_dir_all(world.repo().join("snapshots").join(&second)).unwrap();
    world.run(&["snapshots"]).fails(3, &[&second, "vanished"]).says(&[&first[..8], "1 more cannot be read"]);
    world.run(&["restore", "latest", "files:out"]).fails(3, &["may be another than", "1 snapshot cannot be read"]);
    world.ok(&["forget", "--vanished", &second]);
    world.ok(&["snapshots"]);
    world.ok(&["restore", "latest", "files:again"]);
}

#[test]
fn a_snapshot_that_was_read_and_cannot_be_opened_is_missed_too() {
    let world = World::new();
    let id = many_tables(&world);
    for pack in objects(&world, "packs") {
        fs::remove_file(pack).unwrap();
    }
    forget_catalog(&world);
    let none = "no snapshot that can be read; 1 cannot";
    for _ in 0..2 {
        world.run(&["snapshots"]).fails(3, &[&id, "is missing"]).says(&[none]);
        world.run(&["status"]).fails(3, &[&id]).says(&[none]);
        world
            .run(&["restore", "latest", "sqlite:out.db"])
            .fails(1, &[&id, "1 snapshot that may be meant cannot be read"]);
        world.run(&["restore", &id, "sqlite:out.db"]).fails(1, &["cannot be read"]);
    }
}

#[test]
fn without_any_key_slot_the_way_on_is_a_slot_and_nothing_else() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    world.ok(&["replicate", "replica"]);
    let slots = || objects(&world, "keys").len() + objects(&world, "copies/keys").len();
    assert_eq!(slots(), 4);
    fs::rename(world.repo().join("keys"), world.path("lost")).unwrap();
    fs::remove_dir_all(world.repo().join("copies/keys")).unwrap();
    for args in
        [&["snapshots"][..], &["verify", "--read-data"], &["restore", "latest", "files:out"], &["repair", "config"]]
    {
        let ran = world.run(args).fails(1, &["every key slot is gone", "put any file of keys/ back", "from a replica"]);
        assert!(!ran.err.contains("--keep-going") && !ran.err.contains("verify --read-data"), "{ran:?}");
    }
    finds(world.run(&["verify", "--keyless"]), &["every key slot is gone"]);
    for follow in [&["replicate", "replica"][..], &["replicate", "replica", "--follow-deletions", "0s"]] {
        let ran = world.run(follow).fails(3, &["every key slot is gone at the source", "those of the replica"]);
        assert!(!ran.out.contains("holds all") && !ran.err.contains("still opens"), "{ran:?}");
        world.ok(&["-r", "replica", "restore", &id, "files:whole", "--make-equal"]);
    }
    world.run(&["replicate", "another"]).fails(3, &["the replica has none"]);
    fs::create_dir(world.repo().join("keys")).unwrap();
    for slot in fs::read_dir(world.path("replica/keys")).unwrap() {
        let slot = slot.unwrap();
        fs::copy(slot.path(), world.repo().join("keys").join(slot.file_name())).unwrap();
    }
    world.ok(&["repair", "config"]);
    assert_eq!(slots(), 4);
    world.ok(&["verify"]);
    world.ok(&["replicate", "another"]);
    world.ok(&["-r", "another", "snapshots"]);
}

#[test]
fn an_index_object_and_a_key_slot_of_a_newer_program_are_no_damage() {
    let world = World::new();
    folder(&world);
    world.backup(&["files:s"]);
    let index = objects(&world, "index").remove(0);
    let mut bytes = fs::read(&index).unwrap();
    bytes[8] = 2;
    let newer = format!("index/{}", blake3::hash(&bytes).to_hex());
    fs::write(world.repo().join(&newer), &bytes).unwrap();
    let listed = world.json(&["key", "list"]);
    let recovery = listed.as_array().unwrap().iter().find(|slot| slot["kind"] == "recovery").unwrap();
    let name = recovery["name"].as_str().unwrap();
    for folder in ["keys", "copies/keys"] {
        let slot = world.repo().join(folder).join(name);
        let line =
            fs::read_to_string(&slot).unwrap().lines().next().unwrap().replace("\"format\":1", "\"format\":2") + "\n";
        fs::write(slot, format!("{line}\"{}\"\n", blake3::hash(line.as_bytes()))).unwrap();
    }
    let listed = world.json(&["key", "list"]);
    let kinds: Vec<&str> = listed.as_array().unwrap().iter().map(|slot| slot["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"newer") && kinds.contains(&"password"), "{kinds:?}");
    let shown = world.ok(&["key", "list"]);
    assert!(shown.out.contains("use a newer rekeep") && !shown.out.contains("damaged"), "{shown:?}");
    assert!(!shown.err.contains("repair"), "{shown:?}");
    for cold in [false, true] {
        if cold {
            forget_catalog(&world);
        }
        let found = finds(world.run(&["verify"]), &[&format!("UNKNOWN {newer}"), &format!("UNKNOWN keys/{name}")]);
        let told = format!("{}{}", found.out, found.err);
        assert!(!told.contains("DAMAGED") && !told.contains("repair"), "{told}");
        let keyless =
            finds(world.run(&["verify", "--keyless"]), &[&format!("UNKNOWN {newer}"), "UNKNOWN copies/keys/"]);
        assert!(!keyless.out.contains("DAMAGED"), "{keyless:?}");
        world.run(&["repair", "index"]).fails(3, &[]);
        world.run(&["repair", "config"]).fails(3, &[]);
        assert_eq!(fs::read(world.repo().join(&newer)).unwrap(), bytes);
        assert!(world.repo().join("keys").join(name).exists());
        world.ok(&["restore", "latest", "files:out", "--make-equal"]);
    }
}

#[test]
fn what_is_no_object_is_told_of_once_and_a_repair_names_the_way_on() {
    let world = World::new();
    folder(&world);
    let id = world.backup(&["files:s"]);
    fs::write(world.repo().join("snapshots/mine.txt"), "hello").unwrap();
    let verified = world.ok(&["verify"]);
    assert_eq!(verified.err.matches("snapshots/mine.txt").count(), 1, "{verified:?}");
    assert_eq!(world.json(&["verify"])["notes"].as_array().unwrap().len(), 1);
    junk(&world.repo().join(format!("snapshots/{id}/0")));
    forget_catalog(&world);
    for repair in ["objects", "snapshots"] {
        world.run(&["repair", repair]).fails(3, &[&id, "repair snapshots` on a host", "forget --damaged ID"]);
    }
}

/// Root may read anything: then somebody else does.
#[cfg(target_os = "linux")]
fn as_somebody(world: &World, args: &[&str]) -> Ran {
    use std::os::unix::process::CommandExt as _;
    let mut command = world.command(args);
    if rustix::process::getuid().is_root() {
        command.uid(65534).gid(65534);
    }
    Ran::from(command.output().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_pack_that_storage_does_not_give_is_named_by_the_repair_and_missing_to_nobody() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    folder(&world);
    world.backup(&["files:s"]);
    let pack = data_pack(&world);
    assert!(std::process::Command::new("chmod").args(["-R", "a+rwX"]).arg(world.path("")).status().unwrap().success());
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o000)).unwrap();
    let name = pack.strip_prefix(world.repo()).unwrap().to_str().unwrap().to_owned();
    as_somebody(&world, &["verify", "--read-data"]).fails(1, &[]).says(&[&name, "Permission denied"]);
    for args in [&["repair", "packs"][..], &["repair", "packs", "--dry-run"]] {
        let ran = as_somebody(&world, args);
        assert_eq!(ran.code, Some(3), "{args:?}: {ran:?}");
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains(&name) && said.contains("Permission denied"), "{args:?}: {said}");
    }
    let keyless = as_somebody(&world, &["verify", "--keyless"]).fails(1, &[]).says(&[&name, "Permission denied"]);
    assert!(!keyless.out.contains("is missing"), "{keyless:?}");
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    as_somebody(&world, &["repair", "packs"]).fails(0, &[]);
    world.is_good();
}
