use super::*;
use crate::{
    record::Timestamp,
    repo::repository::testing::{collection, manifest},
};
use serde_json::json;

fn no_table(_: &ChunkId) -> Result<Vec<u8>, RepoError> {
    panic!("it has no tables")
}

fn nothing_new(_: Vec<u8>) -> Result<ChunkId, RepoError> {
    panic!("nothing of it has changed")
}

fn read(json: &Json) -> Result<Manifest, RepoError> {
    Manifest::from_json("it", &serde_json::to_vec(json).unwrap(), &mut no_table)
}

/// A manifest with a member at every level that no program knows yet.
fn newer() -> Json {
    let mut whole = manifest(SnapshotId([1; 16]), 1000);
    whole.collections[0].coverage.push(Coverage {
        from: String::new(),
        to: None,
        start: Timestamp::from_millis(1),
        end: Timestamp::from_millis(2),
        complete: true,
        sum: "0".repeat(64),
        records: 1,
        deletions_as_of: None,
        deletions: vec![Proved {
            from: String::new(),
            to: None,
            as_of: Timestamp::from_millis(1),
            unconfirmed: true,
            other: Carried::default(),
        }],
        other: Carried::default(),
    });
    whole.collections[0].sets.push(SetNumbers {
        set: Some(String::new()),
        records: 1,
        value_bytes: 2,
        expiring: 0,
        latest_expiry: 0,
        largest_value: 2,
        without_user_key: 1,
        other: Carried::default(),
    });
    let mut json = serde_json::to_value(&whole).unwrap();
    for at in LEVELS {
        json.pointer_mut(at).unwrap()["newer"] = json!({ "since": [1, u64::MAX, 2.5, null], "at": at });
    }
    json
}

const LEVELS: [&str; 9] = [
    "",
    "/content",
    "/content/source",
    "/content/stats",
    "/collections/0",
    "/collections/0/coverage/0",
    "/collections/0/coverage/0/deletions/0",
    "/collections/0/sets/0",
    "/collections/0/stack/0",
];

#[test]
fn members_that_are_not_known_are_carried_over_at_every_level() {
    let mut expected = newer();
    let mut revised = read(&expected).unwrap();
    assert_eq!(revised.content.other.names().collect::<Vec<_>>(), ["newer"]);
    revised.revision = 1;
    revised.tags.push("kept".to_owned());
    revised.hold = true;
    revised.lock_until = Some(Timestamp::from_millis(99));
    let found: Json = serde_json::from_slice(&revised.to_json(&mut nothing_new).unwrap()).unwrap();
    for (member, value) in [("revision", json!(1)), ("tags", json!(["kept"])), ("hold", json!(true))] {
        expected[member] = value;
    }
    expected["lock_until"] = found["lock_until"].clone();
    assert_eq!(found, expected);
}

#[test]
fn tables_that_others_wrote_are_named_again_by_whoever_changes_nothing_of_them() {
    let mut json = newer();
    let many: Vec<Collection> = (0..2000).map(|n| collection(&format!("collection {n}"))).collect();
    let mut collections = serde_json::to_value(&many).unwrap();
    collections[3]["aardvark"] = json!("a member that comes first, and spaces between all of them");
    // As another program writes it.
    let table = serde_json::to_vec_pretty(&collections).unwrap();
    let id = ChunkId([5; 32]);
    json.as_object_mut().unwrap().remove("collections");
    json["collections_table"] = json!([id]);
    let read = |json: &Json| {
        Manifest::from_json("it", &serde_json::to_vec(json).unwrap(), &mut |asked| {
            assert_eq!(*asked, id);
            Ok(table.clone())
        })
    };
    let mut revised = read(&json).unwrap();
    assert_eq!(revised.collections.len(), 2000);
    revised.hold = true;
    let again: Json = serde_json::from_slice(&revised.to_json(&mut nothing_new).unwrap()).unwrap();
    assert_eq!((&again["collections_table"], again.get("collections")), (&json["collections_table"], None));
    // A changed one is written anew, with what is not known of it.
    revised.collections[0].records += 1;
    let mut written = Vec::new();
    revised
        .to_json(&mut |piece| {
            written.push(String::from_utf8(piece).unwrap());
            Ok(ChunkId([6; 32]))
        })
        .unwrap();
    assert!(written.concat().contains("aardvark"));
}

#[test]
fn names_that_are_not_known_are_told_apart_from_damage() {
    let said = |change: &dyn Fn(&mut Json)| {
        let mut json = newer();
        change(&mut json);
        read(&json).unwrap_err()
    };
    #[allow(clippy::type_complexity, reason = "a table of changes and words")]
    let cases: [(&dyn Fn(&mut Json), &str); 3] = [
        (&|json| json["collections"][0]["codec"] = json!("floats"), "key codec `floats`"),
        (&|json| json["content"]["kind"] = json!("diary"), "snapshot kind `diary`"),
        (&|json| json["features"] = json!(["differences"]), "feature `differences`"),
    ];
    for (change, words) in cases {
        let error = said(change);
        assert!(matches!(error, RepoError::UnknownFeature { .. }), "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains("other snapshots"), "{error}");
    }
    let error = said(&|json| json["collections"][0]["codec"] = json!(7));
    assert!(matches!(error, RepoError::Damaged { .. }), "{error}");
}

#[test]
fn features_for_writing_and_checking_keep_nobody_from_reading() {
    let mut json = newer();
    json["features"] = json!(["check:parity", "write:journal"]);
    let manifest = read(&json).unwrap();
    assert_eq!(manifest.unchecked_features().collect::<Vec<_>>(), ["check:parity"]);
    let error = manifest.may_be_changed().unwrap_err();
    assert!(error.to_string().contains("`write:journal`") && error.to_string().contains("can be read"), "{error}");
    json["features"] = json!(["check:parity"]);
    read(&json).unwrap().may_be_changed().unwrap();
}
