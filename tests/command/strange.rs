//! Things of others in places of objects: every message says what is so, and what it advises works word for word.

use crate::world::{World, many_rows};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn folder(world: &World) -> String {
    fs::create_dir_all(world.path("s")).unwrap();
    fs::write(world.path("s/a"), "one").unwrap();
    world.backup(&["files:s"])
}

fn only(folder: &Path) -> PathBuf {
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

/// Exchanges an object for a folder of its name with something in it.
fn with_folder(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
    fs::write(path.join("x"), "somebody's").unwrap();
}

#[test]
fn a_folder_in_the_place_of_a_snapshot_stops_deletions_until_it_is_moved_away_as_is_said() {
    let world = World::new();
    let id = folder(&world);
    let path = world.repo().join(format!("snapshots/{id}/0"));
    with_folder(&path);
    world.run(&["prune"]).fails(1, &["hides what may be there", "move it out of the repository by hand"]);
    for repair in ["snapshots", "objects"] {
        world.run(&["repair", repair]).fails(3, &[&format!("snapshots/{id}/0/x"), "by hand", "repair snapshots"]);
    }
    assert_eq!(fs::read(path.join("x")).unwrap(), b"somebody's");
    fs::rename(&path, world.path("away")).unwrap();
    world.ok(&["repair", "snapshots"]).says(&["restored 1 object"]);
    assert_eq!(world.snapshots().len(), 1);
    world.ok(&["prune"]);
    world.ok(&["verify", "--read-data", "--restore"]).says(&["no damage found"]);
}

#[test]
fn an_empty_folder_in_the_place_of_a_snapshot_gives_way() {
    let world = World::new();
    let id = folder(&world);
    let path = world.repo().join(format!("snapshots/{id}/0"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    world.ok(&["repair", "snapshots"]);
    assert!(path.is_file());
    world.ok(&["verify", "--read-data", "--restore"]).says(&["no damage found"]);
}

#[test]
fn copies_of_objects_under_names_that_are_none_are_taken_away_as_is_said() {
    let world = World::new();
    let id = folder(&world);
    let snapshot = world.repo().join(format!("snapshots/{id}/0"));
    let lease = only(&world.repo().join("leases"));
    let mut copies = Vec::new();
    for path in [snapshot, only(&lease)] {
        let copy = path.with_file_name("0 (1)");
        fs::copy(path, &copy).unwrap();
        copies.push(copy);
    }
    world.run(&["prune"]).fails(1, &["0 (1)", "`rekeep repair objects`"]);
    world.ok(&["repair", "objects", "--dry-run"]).says(&["would", "remove 2"]);
    assert!(copies.iter().all(|copy| copy.exists()));
    world.ok(&["repair", "objects"]).says(&["0 (1)"]);
    assert!(!copies.iter().any(|copy| copy.exists()));
    world.ok(&["verify", "--read-data", "--restore"]).says(&["no damage found"]);
    world.ok(&["prune"]);
    assert_eq!(world.snapshots().len(), 1);
}

#[test]
fn a_folder_in_the_place_of_a_pack_keeps_no_other_pack_from_being_made_again() {
    let world = World::empty();
    world.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1", "--parity", "100"]);
    many_rows(&world, "a.db", 500);
    world.backup(&["sqlite:a.db"]);
    let mut packs = Vec::new();
    for folder in fs::read_dir(world.repo().join("packs")).unwrap() {
        packs.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|pack| pack.unwrap().path()));
    }
    packs.sort();
    with_folder(&packs[0]);
    fs::remove_file(&packs[1]).unwrap();
    for keyless in [&["repair", "packs"][..], &["repair", "packs", "--keyless"]] {
        world.run(keyless).fails(3, &["a folder that is not empty lies in its place", "by hand"]);
        assert!(packs[1].is_file(), "{keyless:?}");
    }
    fs::remove_dir_all(&packs[0]).unwrap();
    world.ok(&["repair", "packs"]);
    world.ok(&["verify", "--read-data", "--restore"]).says(&["no damage found"]);
}

#[test]
fn a_password_whose_slot_is_lost_in_both_places_is_told_of_the_recovery_key() {
    let world = World::empty();
    let made = world.json(&["init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    fs::write(world.path("recovery"), made["recovery_key"].as_str().unwrap()).unwrap();
    folder(&world);
    let slots = world.json(&["key", "list"]);
    let slot = slots.as_array().unwrap().iter().find(|slot| slot["kind"] == "password").unwrap();
    for place in ["keys", "copies/keys"] {
        fs::write(world.repo().join(place).join(slot["name"].as_str().unwrap()), "junk").unwrap();
    }
    let ran = world.run(&["snapshots"]).fails(1, &["keys/", "is damaged", "--recovery-key", "`rekeep key add`"]);
    assert!(!ran.err.contains("repair config"), "{ran:?}");
    let recovery = format!("--recovery-key={}", world.path("recovery").display());
    fs::write(world.path("password"), crate::world::PASSWORD).unwrap();
    world.ok(&[&recovery, "key", "add", "--new-password-file", "password"]);
    assert_eq!(world.snapshots().len(), 1);
}

#[test]
fn a_file_in_the_place_of_a_folder_hides_what_is_in_it_and_stops_nothing_but_deletions() {
    let world = World::new();
    let hidden = folder(&world);
    fs::write(world.path("s/a"), "two").unwrap();
    world.backup(&["files:s"]);
    let pack = only(&only(&world.repo().join("packs")));
    for path in [world.repo().join("snapshots").join(&hidden), pack.parent().unwrap().to_owned()] {
        fs::rename(&path, world.path("away")).unwrap();
        fs::write(&path, "somebody's").unwrap();
        let name = path.strip_prefix(world.repo()).unwrap().display().to_string();
        if name.starts_with("snapshots") {
            world.run(&["snapshots"]).fails(3, &[&hidden]);
            world.run(&["restore", "latest", "files:out"]).fails(3, &["may be another"]);
        } else {
            world.ok(&["snapshots"]);
        }
        let ran = world.run(&["verify", "--read-data"]).fails(1, &[]);
        ran.says(&[&format!("DAMAGED {name}"), "hides what may be there", "checked"]);
        world.run(&["prune"]).fails(1, &[&name, "hides what may be there"]);
        fs::remove_file(&path).unwrap();
        fs::rename(world.path("away"), &path).unwrap();
    }
    world.run(&["verify", "--read-data", "--restore"]);
    world.ok(&["repair", "packs"]);
    world.ok(&["verify", "--read-data", "--restore"]).says(&["no damage found"]);
    world.ok(&["prune"]);
}
