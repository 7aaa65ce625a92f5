//! Streams on the command line: files of an XDR backup, any moment of them, every version of a record.

use crate::world::World;
use rekeep::{
    connector::aerospike::xdr::{
        Change,
        asbx::{put_change, put_head},
        body_of,
    },
    record::Digest,
};
use std::{
    fs::{self, File},
    time::{Duration, UNIX_EPOCH},
};

/// 2026-01-01T00:00:00Z.
const BEGIN: u64 = 1_767_225_600_000;

/// A change of record `n` so many milliseconds after the beginning; its deletion without a text.
fn change(out: &mut File, n: u8, generation: u32, millis: u64, text: Option<&str>) {
    let digest = Digest([n; 20]);
    let bins = text.map(|text| [(b"a".as_slice(), 3, text.as_bytes())]);
    let change = match &bins {
        Some(bins) => Change::Put { generation, left: None, bins },
        None => Change::Delete { generation },
    };
    put_change(out, &digest.0, &body_of(b"test", &digest, b"s", None, BEGIN + millis, &change)).unwrap();
}

pub fn changes(world: &World, folder: &str) {
    fs::create_dir_all(world.path(folder)).unwrap();
    let mut first = File::create(world.path(&format!("{folder}/0_test_1.asbx"))).unwrap();
    put_head(&mut first, 1, b"test").unwrap();
    change(&mut first, 1, 1, 0, Some("one"));
    change(&mut first, 1, 2, 250, Some("two"));
    let mut second = File::create(world.path(&format!("{folder}/1_test_2.asbx"))).unwrap();
    put_head(&mut second, 2, b"test").unwrap();
    change(&mut second, 2, 1, 100, Some("other"));
    change(&mut second, 2, 2, 300, None);
}

#[test]
fn the_files_of_an_xdr_backup_keep_every_version() {
    let world = World::new();
    changes(&world, "xdr");
    let captured = world.json(&["capture", "asbx:xdr", "--tag", "xdr"]);
    assert_eq!((&captured["changes"], &captured["deletions"], &captured["lost"]), (&4.into(), &1.into(), &0.into()));
    world.ok(&["restore", "latest", "jsonl:out.jsonl"]);
    let text = fs::read_to_string(world.path("out.jsonl")).unwrap();
    assert!(text.contains("two") && !text.contains("other") && !text.contains("one\""), "{text}");
    let key = |n: u8| format!("digest:{}", data_encoding::HEXLOWER.encode(&[n; 20]));
    let shown = world.json(&["history", "test", &key(1)]);
    let of = |at: usize| &shown["versions"][at];
    assert_eq!(
        (&of(0)["value"]["a"], &of(0)["exact"], &of(1)["value"]["a"]),
        (&"one".into(), &true.into(), &"two".into())
    );
    assert_eq!(of(1)["from"], BEGIN + 250);
    let gone = world.json(&["history", "test", &key(2)]);
    assert_eq!((&gone["versions"][0]["state"], &gone["versions"][1]["state"]), (&"live".into(), &"deleted".into()));
    world.ok(&["verify", "--restore"]);
    world.ok(&["prune", "--keep-versions-within", "1d"]);
    world.is_good();
}

/// As if the files of a folder had been written so many milliseconds after the beginning.
fn written(world: &World, folder: &str, millis: u64) {
    for entry in fs::read_dir(world.path(folder)).unwrap() {
        let file = File::options().append(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(BEGIN + millis)).unwrap();
    }
}

#[test]
fn files_show_what_was_when_they_were_written_and_each_moment_from_there_to_the_next_ones() {
    let world = World::new();
    changes(&world, "first");
    written(&world, "first", 1000);
    let captured = world.json(&["capture", "asbx:first", "--source-name", "s"]);
    assert_eq!(captured["end"], BEGIN + 1000);
    fs::create_dir(world.path("second")).unwrap();
    let mut file = File::create(world.path("second/0_test_1.asbx")).unwrap();
    put_head(&mut file, 1, b"test").unwrap();
    change(&mut file, 1, 3, 2000, Some("three"));
    change(&mut file, 1, 4, 3000, Some("four"));
    drop(file);
    written(&world, "second", 5000);
    world.ok(&["capture", "asbx:second", "--source-name", "s"]);
    for (at, word) in [("01.500", "two"), ("02.000", "three"), ("02.999", "three"), ("03.000", "four"), ("09", "four")]
    {
        let to = format!("{at}.jsonl");
        world.ok(&["restore", &format!("@2026-01-01T00:00:{at}Z"), &format!("jsonl:{to}")]);
        let text = fs::read_to_string(world.path(&to)).unwrap();
        for other in ["one\"", "two", "three", "four"] {
            assert_eq!(text.contains(other), word == other, "{at}: {text}");
        }
    }
    world.run(&["restore", "@2026-01-01T00:00:00.900Z", "jsonl:x.jsonl"]).fails(1, &["no snapshot at or before"]);
    // A clock ahead of ours does not make a snapshot of the future.
    changes(&world, "third");
    written(&world, "third", 7_000_000_000_000);
    let end = world.json(&["capture", "asbx:third"])["end"].as_u64().unwrap();
    assert!(end < BEGIN + 7_000_000_000_000, "{end}");
}

#[test]
fn damaged_changes_are_named_and_the_others_kept() {
    let world = World::new();
    changes(&world, "xdr");
    let path = world.path("xdr/0_test_1.asbx");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let ran = world.run(&["--json", "capture", "asbx:xdr"]).fails(3, &[]);
    assert!(ran.json()["problems"][0].as_str().unwrap().contains("ends inside"), "{ran:?}");
    assert_eq!((&ran.json()["changes"], &ran.json()["lost"]), (&3.into(), &1.into()));
    // One without a head is named, and the others are read; without any other there is nothing to read.
    fs::write(&path, "").unwrap();
    fs::write(world.path("xdr/0_test_3.asbx"), "ASB").unwrap();
    let ran = world.run(&["--json", "capture", "asbx:xdr"]).fails(3, &[]);
    let said = ran.json()["problems"].to_string();
    assert!(said.contains("0_test_1.asbx") && said.contains("0_test_3.asbx"), "{said}");
    assert_eq!(ran.json()["lost"], 2);
    fs::rename(world.path("xdr/0_test_3.asbx"), world.path("xdr/0_test_4.asbx")).unwrap();
    let ran = world.run(&["--json", "capture", "asbx:xdr"]).fails(3, &[]);
    assert!(ran.json()["problems"].to_string().contains("file 3 is not there"), "{ran:?}");
    fs::remove_file(world.path("xdr/1_test_2.asbx")).unwrap();
    world.run(&["capture", "asbx:xdr"]).fails(1, &["0_test_1.asbx cannot be read"]);
    world.run(&["capture", "asbx:nowhere"]).fails(1, &["nowhere"]);
    world.run(&["capture", "sqlite:x.db"]).fails(2, &["gives no changes"]);
}

/// Shipped by a node whose clock was set wrong: it carries nothing else into the future, and is overwritten like others.
#[test]
fn a_change_that_is_stamped_in_the_future_gets_the_time_at_which_it_came() {
    /// 2200-01-01T00:00:00Z.
    const WRONG: u64 = 7_258_118_400_000 - BEGIN;
    let world = World::new();
    fs::create_dir(world.path("first")).unwrap();
    let mut file = File::create(world.path("first/0_test_1.asbx")).unwrap();
    put_head(&mut file, 1, b"test").unwrap();
    let digest = Digest([1; 20]);
    let bins = [(b"a".as_slice(), 3, b"lives".as_slice())];
    let living = Change::Put { generation: 1, left: Some(86_400), bins: &bins };
    put_change(&mut file, &digest.0, &body_of(b"test", &digest, b"s", None, BEGIN, &living)).unwrap();
    change(&mut file, 2, 3, WRONG, Some("wrong"));
    change(&mut file, 2, 4, WRONG + 5, Some("later"));
    change(&mut file, 3, 1, 500, Some("goes"));
    change(&mut file, 3, 1, WRONG, None);
    drop(file);
    written(&world, "first", 1000);
    let captured = world.json(&["capture", "asbx:first", "--source-name", "s"]);
    assert_eq!((&captured["end"], &captured["ahead"]), (&(BEGIN + 1000).into(), &3.into()), "{captured}");
    let shows = |to: &str, there: &[&str]| {
        world.ok(&["restore", "latest", &format!("jsonl:{to}")]);
        let text = fs::read_to_string(world.path(to)).unwrap();
        for word in ["lives", "wrong", "later", "right", "goes"] {
            assert_eq!(text.contains(word), there.contains(&word), "{to}: {text}");
        }
    };
    shows("1.jsonl", &["lives", "later"]);
    fs::create_dir(world.path("second")).unwrap();
    let mut file = File::create(world.path("second/0_test_1.asbx")).unwrap();
    put_head(&mut file, 1, b"test").unwrap();
    change(&mut file, 2, 5, 3000, Some("right"));
    drop(file);
    written(&world, "second", 5000);
    let captured = world.json(&["capture", "asbx:second", "--source-name", "s"]);
    assert_eq!((&captured["end"], &captured["ahead"]), (&(BEGIN + 5000).into(), &0.into()), "{captured}");
    shows("2.jsonl", &["lives", "right"]);
    // What comes again is no later for that.
    world.ok(&["capture", "asbx:first", "--source-name", "s"]);
    shows("3.jsonl", &["lives", "right"]);
}

#[test]
fn storage_alone_answers_for_every_moment_of_a_stream() {
    /// After the end of what is captured before.
    const LATER: u64 = 60_000;
    let world = World::new();
    changes(&world, "xdr");
    written(&world, "xdr", 1000);
    world.ok(&["capture", "asbx:xdr"]);
    let mut third = File::create(world.path("xdr/0_test_3.asbx")).unwrap();
    put_head(&mut third, 3, b"test").unwrap();
    for (generation, millis, text) in [(3, 0, Some("three")), (4, 7, Some("four")), (5, 2000, None)] {
        change(&mut third, 1, generation, LATER + millis, text);
    }
    drop(third);
    world.ok(&["capture", "asbx:xdr"]);
    let forget = || fs::remove_dir_all(world.path("cache")).unwrap();
    forget();
    let key = format!("digest:{}", data_encoding::HEXLOWER.encode(&[1; 20]));
    let within =
        ["history", "--from", "2026-01-01T00:01:00.001Z", "--to", "2026-01-01T00:01:01Z", "test", key.as_str()];
    let shown = world.json(&within);
    let values: Vec<&str> =
        shown["versions"].as_array().unwrap().iter().filter_map(|it| it["value"]["a"].as_str()).collect();
    assert_eq!(values.last(), Some(&"four"), "{shown}");
    assert!(!values.contains(&"one") && !values.contains(&"two"), "{shown}");
    for (moment, word) in [("00.006", Some("three")), ("00.007", Some("four")), ("02", None)] {
        forget();
        let (at, to) = (format!("@2026-01-01T00:01:{moment}Z"), format!("{moment}.jsonl"));
        world.ok(&["restore", &at, &format!("jsonl:{to}")]);
        let text = fs::read_to_string(world.path(&to)).unwrap();
        for other in ["one", "two", "three", "four"] {
            assert_eq!(text.contains(other), word == Some(other), "{at}: {text}");
        }
    }
}

/// The names of a folder's files, and their bytes.
fn files(world: &World, folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(world.path(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_stream_goes_out_as_files_comes_in_again_and_goes_out_the_same() {
    let world = World::new();
    changes(&world, "xdr");
    world.ok(&["capture", "asbx:xdr"]);
    let out = world.json(&["replay", "latest", "asbx:out"]);
    let counts = |out: &serde_json::Value| {
        ["changes", "records", "deletions", "moved", "lost", "files"].map(|name| out[name].as_u64().unwrap())
    };
    assert_eq!(counts(&out), [4, 2, 1, 0, 0, 1], "{out}");
    let first = files(&world, "out");
    assert_eq!(first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["0_test_1.asbx", "replay.json"]);
    // A copy is younger than what is in it, and means the same.
    fs::create_dir(world.path("copy")).unwrap();
    for (name, bytes) in &first {
        fs::write(world.path("copy").join(name), bytes).unwrap();
    }
    let other = |args: &[&str]| {
        let all: Vec<&str> = [&["-r", "other"], args].concat();
        world.ok(&all)
    };
    other(&["init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    other(&["capture", "asbx:copy"]);
    for n in [1, 2] {
        let key = format!("digest:{}", data_encoding::HEXLOWER.encode(&[n; 20]));
        let versions = |shown: serde_json::Value| {
            let versions = shown["versions"].as_array().unwrap().clone();
            versions
                .iter()
                .map(|it| ["state", "from", "value", "generation"].map(|name| it[name].clone()))
                .collect::<Vec<_>>()
        };
        let there = world.json(&["-r", "other", "history", "test", &key]);
        assert_eq!(versions(world.json(&["history", "test", &key])), versions(there));
    }
    other(&["replay", "latest", "asbx:again", "--file-limit", "1"]);
    assert_eq!(files(&world, "again").len(), 5, "a file for each version");
    other(&["replay", "latest", "asbx:same"]);
    assert_eq!(files(&world, "same"), first);
    // Where there is something already nothing is touched.
    world.run(&["replay", "latest", "asbx:out"]).fails(1, &["already"]);
    world.run(&["replay", "latest", "asbx:xdr"]).fails(1, &["already"]);
    world.run(&["replay", "latest", "sqlite:x.db"]).fails(2, &["takes no changes"]);
    assert_eq!(files(&world, "out"), first);
    let listing = fs::read_to_string(world.path("copy/replay.json")).unwrap();
    fs::write(world.path("copy/replay.json"), listing.replace("true", "false")).unwrap();
    world.run(&["capture", "asbx:copy"]).fails(1, &["not finished"]);
}

#[test]
fn part_of_a_stream_goes_out_with_what_stood_before_it_or_without() {
    let world = World::new();
    changes(&world, "xdr");
    world.ok(&["capture", "asbx:xdr"]);
    let moment = |millis: u64| (BEGIN + millis).to_string();
    let counts = |args: &[&str]| {
        let out = world.json(&[&["replay", "latest"], args].concat());
        (out["changes"].as_u64().unwrap(), out["deletions"].as_u64().unwrap())
    };
    assert_eq!(counts(&["asbx:a", "--from", &moment(200)]), (4, 1), "both stood, and both changed");
    assert_eq!(counts(&["asbx:b", "--from", &moment(200), "--only-changes"]), (2, 1));
    assert_eq!(counts(&["asbx:c", "--from", &moment(250), "--collection", "test=other"]), (3, 1));
    assert_eq!(counts(&["asbx:d", "--from", &moment(300)]), (1, 0), "what was deleted by then does not stand");
    let captured = world.json(&["capture", "asbx:c"]);
    assert_eq!((&captured["changes"], &captured["lost"]), (&3.into(), &0.into()));
    let refused = |code, args: &[&str], words: &[&str]| {
        let all = [&["replay", "latest", "asbx:e", "--source", "asbx:xdr"], args].concat();
        world.run(&all).fails(code, words);
    };
    refused(2, &["--collection", "nothing"], &["nothing"]);
    refused(2, &["--from", "2300-01-01"], &["nothing after"]);
    assert!(!world.path("e").exists());
}

#[test]
fn a_backup_without_a_stream_goes_out_as_one_version_of_each_record() {
    let world = World::new();
    let fixture = format!("asb:{}/tests/fixtures/asb/source-ns2_00000.asb", env!("CARGO_MANIFEST_DIR"));
    world.ok(&["backup", &fixture]);
    let ran = world.ok(&["replay", "latest", "asbx:out"]);
    assert!(ran.err.contains("no stream brought it"), "{ran:?}");
    world.ok(&["-r", "other", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    world.ok(&["-r", "other", "capture", "asbx:out"]);
    world.ok(&["restore", "latest", "jsonl:here.jsonl"]);
    world.ok(&["-r", "other", "restore", "latest", "jsonl:there.jsonl"]);
    let lines = |name: &str| {
        let text = fs::read_to_string(world.path(name)).unwrap();
        let mut lines: Vec<String> = text.lines().filter(|line| line.contains("\"key\":")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert!(!lines("here.jsonl").is_empty());
    assert_eq!(lines("here.jsonl"), lines("there.jsonl"));
    world.sql("a.db", "create table t (id integer primary key, v text); insert into t values (1, 'x');");
    world.ok(&["backup", "sqlite:a.db"]);
    world.run(&["replay", "latest", "asbx:rows", "--source", "sqlite:a.db"]).fails(1, &["records of Aerospike only"]);
}
