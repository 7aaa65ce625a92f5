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
use std::fs::{self, File};

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
    world.run(&["capture", "asbx:nowhere"]).fails(1, &["nowhere"]);
    world.run(&["capture", "sqlite:x.db"]).fails(2, &["gives no changes"]);
}

#[test]
fn storage_alone_answers_for_every_moment_of_a_stream() {
    /// 2200-01-01T00:00:00Z: after the end of whatever is captured before.
    const LATER: u64 = 7_258_118_400_000 - BEGIN;
    let world = World::new();
    changes(&world, "xdr");
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
        ["history", "--from", "2200-01-01T00:00:00.001Z", "--to", "2200-01-01T00:00:01Z", "test", key.as_str()];
    let shown = world.json(&within);
    let values: Vec<&str> =
        shown["versions"].as_array().unwrap().iter().filter_map(|it| it["value"]["a"].as_str()).collect();
    assert_eq!(values.last(), Some(&"four"), "{shown}");
    assert!(!values.contains(&"one") && !values.contains(&"two"), "{shown}");
    for (moment, word) in [("00.006", Some("three")), ("00.007", Some("four")), ("02", None)] {
        forget();
        let (at, to) = (format!("@2200-01-01T00:00:{moment}Z"), format!("{moment}.jsonl"));
        world.ok(&["restore", &at, &format!("jsonl:{to}")]);
        let text = fs::read_to_string(world.path(&to)).unwrap();
        for other in ["one", "two", "three", "four"] {
            assert_eq!(text.contains(other), word == Some(other), "{at}: {text}");
        }
    }
}
