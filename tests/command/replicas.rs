//! A replica: complete at every moment, made without a password, refused where it is none.

use crate::world::{Ran, World, files, many_rows};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

/// Replicates without anything that unlocks.
fn replicate(world: &World, args: &[&str]) -> Ran {
    let mut all = vec!["--json", "replicate"];
    all.extend(args);
    let mut command = world.command(&all);
    command.env_remove("REKEEP_PASSWORD").output().unwrap().into()
}

#[track_caller]
fn replicated(world: &World, args: &[&str]) -> Json {
    let ran = replicate(world, args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

/// The command at the replica.
fn at<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["-r", "replica"];
    all.extend(args);
    all
}

#[track_caller]
fn is_whole(world: &World, place: &str, snapshots: usize) {
    let listed: Json = world.json(&["-r", place, "snapshots"]);
    assert_eq!(listed.as_array().unwrap().len(), snapshots, "{listed}");
    let verified = world.json(&["-r", place, "verify", "--read-data", "--restore"]);
    assert_eq!(verified["findings"], json!([]), "{verified}");
}

fn with_history() -> World {
    let world = World::new();
    many_rows(&world, "a.db", 3_000);
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'x' WHERE id % 7 = 1");
    world.backup(&["sqlite:a.db"]);
    world
}

fn objects(world: &World, place: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    files(&world.path(place))
}

#[test]
fn a_replica_is_made_without_a_password_and_restores_with_the_primary_gone() {
    let world = with_history();
    world.ok(&["tag", "latest", "--add", "kept", "--hold"]);
    let dry = replicated(&world, &["replica", "--dry-run"]);
    assert!(!world.path("replica").exists(), "a dry run makes nothing");
    let done = replicated(&world, &["replica"]);
    for count in ["packs", "index", "snapshots", "keys", "bytes"] {
        assert_eq!(dry[count], done[count], "{count}: {dry} {done}");
        assert!(done[count].as_u64().unwrap() > 0, "{count}: {done}");
    }
    let there = objects(&world, "replica");
    let ours = objects(&world, "repo");
    let goes =
        |name: &PathBuf| !["leases", "promises", "checkpoints", "tmp"].iter().any(|folder| name.starts_with(folder));
    let expected: BTreeMap<_, _> = ours.into_iter().filter(|(name, _)| goes(name)).collect();
    assert!(there == expected, "{:?}", there.keys().collect::<Vec<_>>());
    assert_eq!(replicated(&world, &["replica"])["bytes"], 0, "nothing lacks");
    let before = world.rows("a.db", "SELECT * FROM t ORDER BY id");
    fs::remove_dir_all(world.repo()).unwrap();
    fs::remove_dir_all(world.path("cache")).unwrap();
    fs::remove_file(world.path("a.db")).unwrap();
    is_whole(&world, "replica", 2);
    world.ok(&at(&["restore", "latest", "sqlite:b.db"]));
    assert!(world.rows("b.db", "SELECT * FROM t ORDER BY id") == before);
    let held = world.json(&at(&["snapshots"]));
    assert_eq!(held[1]["tags"], json!(["kept"]));
}

#[test]
fn a_replica_takes_only_what_it_lacks_and_forgets_what_the_source_forgot() {
    let world = with_history();
    let first = replicated(&world, &["replica"]);
    world.sql("a.db", "UPDATE t SET name = 'y' WHERE id = 5");
    world.backup(&["sqlite:a.db"]);
    let second = replicated(&world, &["replica"]);
    assert!(second["bytes"].as_u64() < first["bytes"].as_u64(), "{first} {second}");
    assert_eq!(second["snapshots"], 1);
    is_whole(&world, "replica", 3);
    // Forgotten, squashed and pruned: nothing goes from the replica without a word.
    world.ok(&["forget", "latest~2"]);
    world.ok(&["prune", "--max-unused", "0", "--repack-small"]);
    let third = replicated(&world, &["replica"]);
    assert!(third["waiting"].as_u64().unwrap() > 0, "{third}");
    is_whole(&world, "replica", 2);
    let waiting = third["waiting"].as_u64().unwrap();
    // What is missed is not old enough at first sight, and old enough the next time.
    let waits = replicated(&world, &["replica", "--follow-deletions", "1h"]);
    assert_eq!((&waits["deleted"], &waits["waiting"]), (&json!(0), &json!(waiting)));
    let dry = replicated(&world, &["replica", "--follow-deletions", "0s", "--dry-run"]);
    assert_eq!(dry["deleted"], waiting, "{dry}");
    let followed = replicated(&world, &["replica", "--follow-deletions", "0s"]);
    assert_eq!((&followed["deleted"], &followed["waiting"]), (&json!(waiting), &json!(0)));
    is_whole(&world, "replica", 2);
    let names = |place: &str| -> BTreeSet<PathBuf> {
        objects(&world, place)
            .into_keys()
            .filter(|name| name.starts_with("packs") || name.starts_with("index"))
            .collect()
    };
    assert_eq!(names("replica"), names("repo"));
}

#[test]
fn a_run_that_was_killed_anywhere_is_a_whole_repository_and_is_carried_on() {
    let world = with_history();
    world.ok(&["forget", "latest~1"]);
    replicated(&world, &["whole"]);
    let all: Vec<PathBuf> = objects(&world, "whole").into_keys().collect();
    // What a run has copied when it is killed: everything of the kinds before, some of one kind, nothing of those behind.
    let turn = |name: &PathBuf| {
        let text = name.to_str().unwrap();
        let revision: u64 = text.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(0);
        match text.split('/').next().unwrap() {
            "keys" => (0, 0),
            "copies" if text.contains("keys") => (0, 0),
            "copies" => (1, 0),
            "rekeep.json" => (2, 0),
            "packs" => (3, 0),
            "index" => (4, 0),
            "snapshots" if revision > 0 => (5, u64::MAX - revision),
            _ => (6, 0),
        }
    };
    let turns: BTreeSet<_> = all.iter().map(turn).collect();
    for last in turns {
        for of_two in [1, 2] {
            let place = format!("cut-{}-{}-{of_two}", last.0, last.1);
            let mut half = 0;
            for name in &all {
                half += usize::from(turn(name) == last);
                if turn(name) < last || turn(name) == last && half % of_two == 0 {
                    let to = world.path(&place).join(name);
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    fs::copy(world.path("whole").join(name), to).unwrap();
                }
            }
            // Of the slots and `rekeep.json` there are both, or the other one of the two is used.
            if last.0 > 2 {
                let verified = world.json(&["-r", &place, "verify", "--read-data", "--restore"]);
                assert_eq!(verified["findings"], json!([]), "{place}: {verified}");
                let shown = world.json(&["-r", &place, "snapshots"]);
                assert!(shown.as_array().unwrap().len() <= 1, "{place}: a forgotten snapshot shows: {shown}");
                // Reading there is no writing.
                assert!(world.path(&place).join("leases").exists());
            }
            let done = replicated(&world, &[&place]);
            assert_eq!(done["problems"], json!([]), "{place}");
            is_whole(&world, &place, 1);
        }
    }
}

#[test]
fn what_is_no_replica_is_refused_and_untouched() {
    let world = with_history();
    let refused = |place: &str, words: &[&str]| {
        let before = objects(&world, place);
        let ran = replicate(&world, &[place]);
        assert_eq!(ran.code, Some(1), "{place}: {ran:?}");
        for word in words {
            assert!(ran.err.contains(word), "{place}: `{word}`: {}", ran.err);
        }
        assert!(objects(&world, place) == before, "{place} was changed");
    };
    // Another repository, and what is left of one.
    world.ok(&["-r", "other", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    refused("other", &["not_replica", "it is the repository"]);
    fs::create_dir_all(world.path("rest/packs/ab")).unwrap();
    fs::write(world.path("rest/packs/ab").join(format!("ab{}", "0".repeat(62))), "x").unwrap();
    refused("rest", &["repository_exists"]);
    fs::create_dir_all(world.path("slots/keys")).unwrap();
    for slot in fs::read_dir(world.path("other/keys")).unwrap() {
        let slot = slot.unwrap();
        fs::copy(slot.path(), world.path("slots/keys").join(slot.file_name())).unwrap();
    }
    refused("slots", &["repository_exists"]);
    // Somebody else keeps files where objects would lie.
    fs::create_dir_all(world.path("theirs/index")).unwrap();
    fs::write(world.path("theirs/index/letter"), "x").unwrap();
    refused("theirs", &["repository_exists", "index/letter"]);
    fs::write(world.path("packs-file"), "x").unwrap();
    fs::create_dir_all(world.path("blocked")).unwrap();
    fs::rename(world.path("packs-file"), world.path("blocked/packs")).unwrap();
    refused("blocked", &["packs"]);
    // The wrong order: the source is what was copied, and the target what it was copied from.
    replicated(&world, &["replica"]);
    let turned: Ran = world.command(&["-r", "replica", "replicate", "repo"]).output().unwrap().into();
    turned.fails(1, &["is no replica", "somebody worked there", "backup"]);
    // Written to: by a backup, by a prune, by a word about a snapshot, by forgetting one.
    let copy = |to: &str| {
        for (name, bytes) in objects(&world, "replica") {
            let to = world.path(to).join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
    };
    let written: [(&str, &[&str], &str); 5] = [
        ("backed-up", &["backup", "sqlite:a.db"], "somebody worked there"),
        ("pruned", &["prune"], "somebody worked there"),
        ("tagged", &["tag", "latest", "--add", "x"], "neither has nor has forgotten"),
        ("forgotten", &["forget", "latest~1"], "neither has nor has forgotten"),
        ("squashed", &["backup", "sqlite:a.db", "--new-base"], "somebody worked there"),
    ];
    for (place, args, words) in written {
        copy(place);
        let mut all = vec!["-r", place];
        all.extend(args);
        world.ok(&all);
        refused(place, &["not_replica", words]);
    }
    // Both say something else of one snapshot.
    copy("both");
    world.ok(&["-r", "both", "tag", "latest", "--add", "a"]);
    world.ok(&["tag", "latest", "--add", "b"]);
    refused("both", &["not_replica", "/1"]);
    // In itself, and nowhere.
    assert_eq!(replicate(&world, &["repo"]).code, Some(2));
    assert_eq!(replicate(&world, &["repo/inside"]).code, Some(2));
    assert_eq!(replicate(&world, &[]).code, Some(2));
    let none: Ran = world.command(&["-r", "nothing", "replicate", "replica"]).output().unwrap().into();
    none.fails(10, &["no repository"]);
}

#[test]
fn a_snapshot_that_vanished_from_the_source_stops_replicating_until_somebody_decides() {
    let world = with_history();
    let id = world.snapshots()[0]["id"].as_str().unwrap().to_owned();
    replicated(&world, &["replica"]);
    fs::remove_dir_all(world.repo().join("snapshots").join(&id)).unwrap();
    let refused = replicate(&world, &["replica"]).fails(1, &["vanished from the source"]);
    assert!(!refused.err.contains("carries on") && !refused.err.contains("nothing was changed"), "{refused:?}");
    is_whole(&world, "replica", 2);
    world.ok(&["repair", "snapshots"]);
    replicated(&world, &["replica"]);
    fs::remove_dir_all(world.repo().join("snapshots").join(&id)).unwrap();
    world.run(&["snapshots"]);
    world.ok(&["forget", "--vanished", &id]);
    replicated(&world, &["replica"]);
    is_whole(&world, "replica", 1);
}

#[test]
fn damage_is_not_copied_and_a_damaged_replica_is_mended() {
    let world = with_history();
    replicated(&world, &["replica"]);
    let change = |place: &str, folder: &str, cut: bool| -> PathBuf {
        let name = objects(&world, place).into_keys().filter(|name| name.starts_with(folder)).max().unwrap();
        let path = world.path(place).join(&name);
        let mut bytes = fs::read(&path).unwrap();
        if cut {
            bytes.truncate(bytes.len() / 2);
        } else {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        name
    };
    // The replica: torn objects are seen by their length, a pack of the same length once it is known.
    let torn: BTreeSet<String> = ["packs", "index", "snapshots"]
        .iter()
        .map(|folder| change("replica", folder, true).to_str().unwrap().to_owned())
        .collect();
    let mended = replicated(&world, &["replica"]);
    let names: BTreeSet<String> =
        mended["mended"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert_eq!(names, torn);
    is_whole(&world, "replica", 2);
    let flipped = change("replica", "packs", false);
    world.run(&at(&["verify", "--read-data"]));
    let mended = replicated(&world, &["replica"]);
    assert_eq!(mended["mended"], json!([flipped]), "{mended}");
    is_whole(&world, "replica", 2);
    // The source: what is whole goes over, what is not is named.
    for folder in ["packs", "index", "snapshots"] {
        world.sql("a.db", "UPDATE t SET name = name || 'z' WHERE id % 3 = 1");
        world.backup(&["sqlite:a.db"]);
        let known = objects(&world, "replica");
        let fresh =
            objects(&world, "repo").into_keys().filter(|name| name.starts_with(folder) && !known.contains_key(name));
        let name = fresh.max().unwrap();
        let path = world.repo().join(&name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let ran = replicate(&world, &["replica"]);
        assert_eq!(ran.code, Some(3), "{folder}: {ran:?}");
        let done = ran.json();
        assert!(done["problems"][0].as_str().unwrap().contains(name.to_str().unwrap()), "{folder}: {done}");
        assert!(!world.path("replica").join(&name).exists(), "{folder}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, whole).unwrap();
        replicated(&world, &["replica"]);
        assert!(world.path("replica").join(&name).exists(), "{folder}");
    }
    // A pack that is gone for good is named, and the rest is copied.
    world.sql("a.db", "UPDATE t SET data = randomblob(200) WHERE id % 3 = 1");
    world.backup(&["sqlite:a.db"]);
    let known = objects(&world, "replica");
    let lost = objects(&world, "repo").into_keys().find(|name| name.starts_with("packs") && !known.contains_key(name));
    let lost = lost.unwrap();
    fs::remove_file(world.repo().join(&lost)).unwrap();
    let ran = replicate(&world, &["replica"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.json()["problems"][0].as_str().unwrap().contains(lost.to_str().unwrap()), "{ran:?}");
}

#[test]
fn keys_follow_and_a_slot_that_was_removed_is_named() {
    let world = with_history();
    replicated(&world, &["replica"]);
    fs::write(world.path("second"), "another horse").unwrap();
    world.ok(&["key", "add", "--new-password-file", "second"]);
    assert_eq!(replicated(&world, &["replica"])["keys"], 2);
    let opens = |password: &str| {
        let all = at(&["snapshots"]);
        let code = world.command(&all).env("REKEEP_PASSWORD", password).output().unwrap().status.code();
        code == Some(0)
    };
    assert!(opens("another horse"));
    let slots = world.json(&["key", "list"]);
    let slot = slots.as_array().unwrap().iter().find(|slot| slot["current"] == json!(true)).unwrap();
    let id = slot["name"].as_str().unwrap().to_owned();
    let removed: Ran =
        world.command(&["key", "remove", &id]).env("REKEEP_PASSWORD", "another horse").output().unwrap().into();
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let done = replicated(&world, &["replica"]);
    assert!(done["notes"][0].as_str().unwrap().contains(&id), "{done}");
    assert!(opens(crate::world::PASSWORD), "it stays until deletions are followed");
    replicated(&world, &["replica", "--follow-deletions", "0s"]);
    assert!(!opens(crate::world::PASSWORD) && opens("another horse"));
}

#[test]
fn two_who_replicate_at_once_make_one_replica() {
    let world = with_history();
    let start = || {
        let mut command = world.command(&["--json", "replicate", "replica"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()];
    for one in both {
        let ran: Ran = one.wait_with_output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    is_whole(&world, "replica", 2);
}

/// As a shell runs them; but for the paths, which are nobody's to make.
#[test]
fn the_page_on_copies_works_word_for_word() {
    let page = include_str!("../../docs/three-two-one.md");
    let world = World::empty();
    many_rows(&world, "app.db", 500);
    fs::write(world.path(".rekeep-password"), crate::world::PASSWORD).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_rekeep")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let here = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let mut environment = String::new();
    for (number, block) in page.split("```sh\n").skip(1).enumerate() {
        let script = block.split("```").next().unwrap();
        let script = script.replace("/var/lib/app", &here("")).replace("/backup/repo", &here("primary"));
        let script = script.replace("/mnt/second/repo", &here("second"));
        let script = script.replace("/mnt/second/other", &here("other"));
        if number == 0 {
            environment = script.lines().next().unwrap().to_owned();
        }
        let last = page.split("```sh\n").count() - 2;
        if number == last {
            fs::remove_dir_all(world.path("primary")).unwrap();
        }
        let mut shell = std::process::Command::new("sh");
        shell.args(["-e", "-c", &format!("{environment}\n{script}")]).current_dir(world.path(""));
        shell
            .env_remove("REKEEP_PASSWORD")
            .env_remove("REKEEP_REPOSITORY")
            .env("PATH", &path)
            .env("HOME", world.path(""));
        let ran: Ran = shell.env("REKEEP_CACHE_DIR", world.path("cache")).output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{script}: {ran:?}");
    }
    let all = "SELECT * FROM t ORDER BY id";
    assert!(world.rows("app.db", all) == world.rows("restored.db", all));
    assert!(world.rows("app.db", all) == world.rows("whole.db", all));
}

#[cfg(unix)]
#[test]
#[ignore = "needs small-disk"]
fn a_target_that_fills_is_a_whole_repository_and_is_carried_on() {
    let disk = crate::small_disk::SmallDisk::open("small-disk");
    let world = with_history();
    let place = disk.0.join("replica");
    let place = place.to_str().unwrap();
    many_rows(&world, "b.db", 30_000);
    world.backup(&["sqlite:b.db"]);
    disk.fill_up_to(2 << 20);
    let ran = replicate(&world, &[place]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("what was copied stays"), "{ran:?}");
    let shown = world.json(&["-r", place, "snapshots"]);
    assert_eq!(shown, json!([]), "nothing shows before all is there");
    fs::remove_file(disk.0.join("filler")).unwrap();
    replicated(&world, &[place]);
    is_whole(&world, place, 3);
}

/// A copy of the repository that lacks some objects, as storage that copies by itself may show it.
fn without(world: &World, place: &str, lacks: &dyn Fn(&str) -> bool) {
    let _ = fs::remove_dir_all(world.path(place));
    for (name, bytes) in world.objects() {
        if !lacks(name.to_str().unwrap()) {
            let to = world.path(place).join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
    }
}

/// What a copy gives: the newest whole snapshot, its records as they were, or the word that there is none. Nothing goes.
#[track_caller]
fn gives_the_newest_whole(
    world: &World,
    place: &str,
    states: &BTreeMap<String, Vec<Vec<rusqlite::types::Value>>>,
) -> usize {
    let before = objects(world, place);
    let listed: Ran = world.run(&["--json", "-r", place, "snapshots", "--whole"]);
    assert_eq!(listed.code, Some(0), "{place}: {listed:?}");
    let whole: Vec<String> =
        listed.json().as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let all = world.json(&["-r", place, "snapshots"]);
    let named = listed.events().iter().filter(|event| event["kind"] == "snapshot_not_whole").count();
    assert_eq!(named + whole.len(), all.as_array().unwrap().len(), "{place}: what is not whole is named: {listed:?}");
    let _ = fs::remove_file(world.path("out.db"));
    let restored = world.run(&["-r", place, "restore", "--whole", "latest", "sqlite:out.db"]);
    match whole.last() {
        Some(newest) => {
            assert_eq!(restored.code, Some(0), "{place}: {restored:?}");
            assert!(world.rows("out.db", "SELECT * FROM t ORDER BY id") == states[newest], "{place}");
        }
        None => assert_eq!(restored.code, Some(1), "{place}: {restored:?}"),
    }
    // What reads may announce itself, and remember damage.
    let after = objects(world, place);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)), "{place}: something went");
    whole.len()
}

#[test]
fn a_copy_that_lacks_any_objects_opens_and_gives_the_newest_snapshot_that_is_whole() {
    let world = World::new();
    many_rows(&world, "a.db", 400);
    let mut states = BTreeMap::new();
    for change in ["id % 5 = 0", "id % 5 = 1", "id % 5 = 2"] {
        world.sql("a.db", &format!("UPDATE t SET data = randomblob(90) WHERE {change}"));
        let id = world.backup(&["sqlite:a.db"]);
        states.insert(id, world.rows("a.db", "SELECT * FROM t ORDER BY id"));
    }
    world.ok(&["tag", "latest", "--add", "x"]);
    without(&world, "copy", &|_| false);
    assert_eq!(gives_the_newest_whole(&world, "copy", &states), 3);
    // Each object alone.
    let names: Vec<String> = world.objects().into_keys().map(|name| name.to_str().unwrap().to_owned()).collect();
    let mut lost = 0;
    for (number, name) in names.iter().enumerate() {
        let place = format!("without-{number}");
        without(&world, &place, &|other| other == name);
        let whole = gives_the_newest_whole(&world, &place, &states);
        let matters = ["packs/", "index/", "snapshots/"].iter().any(|folder| name.starts_with(folder));
        lost += usize::from(matters && whole < 3);
        assert!(matters || whole == 3, "{name}: {whole}");
    }
    assert!(lost >= 6, "{lost}");
    // Any subset, but for what opens the repository at all.
    for seed in 0..12_u8 {
        let place = format!("some-{seed}");
        let draw = |name: &str| blake3::hash(&[name.as_bytes(), &[seed]].concat()).as_bytes()[0];
        let share = 20 + 15 * seed;
        let opens = |name: &str| ["keys/", "copies/", "rekeep.json"].iter().any(|it| name.starts_with(it));
        without(&world, &place, &|name| !opens(name) && draw(name) < share);
        gives_the_newest_whole(&world, &place, &states);
    }
    // Without anything that opens it, it says so.
    without(&world, "closed", &|name| name.contains("keys/"));
    let closed = world.run(&["-r", "closed", "snapshots"]);
    assert_eq!(closed.code, Some(1), "{closed:?}");
    without(&world, "nothing", &|name| name.ends_with("rekeep.json"));
    assert_eq!(world.run(&["-r", "nothing", "snapshots"]).code, Some(10));
}

#[test]
fn a_prune_of_a_copy_that_lacks_objects_deletes_nothing_that_is_needed() {
    let world = with_history();
    let packs: Vec<String> = world
        .objects()
        .into_keys()
        .map(|name| name.to_str().unwrap().to_owned())
        .filter(|name| name.starts_with("packs/") || name.starts_with("index/"))
        .collect();
    for (number, name) in packs.iter().enumerate() {
        let place = format!("without-{number}");
        without(&world, &place, &|other| other == name);
        let before = objects(&world, &place);
        world.run(&["-r", &place, "prune"]);
        world.run(&["-r", &place, "prune"]);
        let after = objects(&world, &place);
        let there = |kind: &str| {
            let gone: Vec<_> = before.keys().filter(|it| it.starts_with(kind) && !after.contains_key(*it)).collect();
            assert!(gone.is_empty(), "without {name}: {gone:?}");
        };
        there("packs");
        there("snapshots");
        // What came late completes it.
        let to = world.path(&place).join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, &world.objects()[&PathBuf::from(name)]).unwrap();
        is_whole(&world, &place, 2);
    }
}
