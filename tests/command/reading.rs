//! Looking into snapshots without restoring them: keys of every type, values, versions, differences.

use crate::world::{World, many_rows};
use serde_json::json;

fn keys(world: &World, collection: &str) -> Vec<String> {
    let rows = world.json(&["ls", "latest", collection]);
    rows.as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn keys_of_every_type_are_shown_as_they_are_typed() {
    let world = World::new();
    world.sql(
        "a.db",
        "CREATE TABLE i(id INTEGER PRIMARY KEY, v); INSERT INTO i VALUES(-5,'m'),(0,'z'),(9223372036854775807,'p');
         CREATE TABLE s(k TEXT PRIMARY KEY, v); INSERT INTO s VALUES('a,b','comma'),('back\\slash','b'),('Grüße','g'),('','e');
         CREATE TABLE b(k BLOB PRIMARY KEY, v); INSERT INTO b VALUES(x'00ff','blob');
         CREATE TABLE f(k REAL PRIMARY KEY, v); INSERT INTO f VALUES(1.5,'real');
         CREATE TABLE c(x INT, y TEXT, z BLOB, v, PRIMARY KEY(x, y, z)) WITHOUT ROWID; INSERT INTO c VALUES(7,'seven',x'07','composite');
         CREATE TABLE r(v); INSERT INTO r VALUES('rowid');",
    );
    world.backup(&["sqlite:a.db"]);
    assert_eq!(keys(&world, "i"), ["int:-5", "int:0", "int:9223372036854775807"]);
    assert_eq!(keys(&world, "s"), ["str:", "str:Grüße", "str:a\\,b", "str:back\\\\slash"]);
    for (collection, typed, value) in [
        ("i", "int:-5", "m"),
        ("s", "str:a\\,b", "comma"),
        ("s", "str:back\\\\slash", "b"),
        ("s", "str:Grüße", "g"),
        ("s", "str:", "e"),
        ("b", "hex:00ff", "blob"),
        ("b", "hex:00FF", "blob"),
        ("f", "f64:1.5", "real"),
        ("c", "int:7,str:seven,hex:07", "composite"),
        ("r", "int:1", "rowid"),
    ] {
        assert_eq!(world.ok(&["dump", "latest", collection, typed, "--cell", "v"]).out, value, "{collection} {typed}");
        let value_json = world.ok(&["dump", "latest", collection, typed]).json();
        assert_eq!(value_json["v"], value, "{collection} {typed}");
    }
    // A key as listed finds its record again.
    for collection in ["i", "s", "b", "f", "c", "r"] {
        for key in keys(&world, collection) {
            world.ok(&["dump", "latest", collection, &key]);
            let outcome = world.json(&[
                "restore",
                "latest",
                "jsonl:one.jsonl",
                "--collection",
                collection,
                "--key",
                &key,
                "--dry-run",
            ]);
            assert_eq!(outcome["records"], 1, "{collection} {key}");
        }
    }
    world.run(&["dump", "latest", "i", "int:6"]).fails(1, &["int:6", "i"]);
    world.run(&["dump", "latest", "i", "int:0", "--cell", "w"]).fails(1, &["`w`"]);
    world.run(&["dump", "latest", "i", "six"]).fails(2, &["`six` is not a key"]);
    world.run(&["dump", "latest", "nothing", "int:6"]).fails(2, &["`nothing`", "it has 6: "]);
}

#[test]
fn the_history_of_a_record_tells_every_version() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, n); INSERT INTO t VALUES(1,'a',1),(2,'b',2)");
    world.backup(&["sqlite:a.db"]);
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "UPDATE t SET name = 'changed' WHERE id = 1");
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "DELETE FROM t WHERE id = 1");
    world.backup(&["sqlite:a.db"]);
    let history = world.json(&["history", "t", "int:1"]);
    let versions = history["versions"].as_array().unwrap();
    let states: Vec<_> = versions.iter().map(|version| version["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["live", "live", "deleted"], "{history}");
    assert_eq!(versions[0]["snapshots"], 2);
    assert_eq!(versions[0]["value"]["name"], "a");
    assert_eq!(versions[1]["value"]["name"], "changed");
    assert_eq!(versions[1]["changed"], json!(["name"]));
    let all = world.snapshots();
    assert_eq!(versions[0]["from"], all[0]["end"]);
    assert_eq!(versions[0]["to"], all[1]["end"]);
    world.ok(&["history", "t", "int:1"]).says(&["live", "* name: \"changed\"", "deleted"]);
    let end = all[1]["end"].to_string();
    let early = world.json(&["history", "t", "int:1", "--to", &end]);
    assert_eq!(early["versions"].as_array().unwrap().len(), 1, "{early}");
    world.ok(&["history", "t", "int:99"]);
    world.run(&["history", "nothing", "int:1"]).fails(2, &["`nothing`"]);
    world.run(&["history", "t", "int:1", "--from", "someday"]).fails(2, &["`someday` is no time"]);
}

#[test]
fn a_history_survives_a_collection_that_comes_and_goes() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE u(id INTEGER PRIMARY KEY)");
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,'x')");
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "DROP TABLE t");
    world.backup(&["sqlite:a.db", "--accept-deletions"]);
    let history = world.json(&["history", "t", "int:1"]);
    let live: Vec<_> = history["versions"].as_array().unwrap().iter().filter(|v| v["state"] == "live").collect();
    assert_eq!(live.len(), 1, "{history}");
}

#[test]
fn two_snapshots_differ_in_keys() {
    let world = World::new();
    many_rows(&world, "a.db", 400);
    world.backup(&["sqlite:a.db"]);
    world.sql(
        "a.db",
        "UPDATE t SET name = 'x' WHERE id = 3; DELETE FROM t WHERE id = 5; INSERT INTO t VALUES(900, 'n', NULL)",
    );
    world.backup(&["sqlite:a.db"]);
    let diff = world.json(&["diff", "latest~1", "latest"]);
    let change = |key: &str, change: &str| json!({"collection": "t", "key": key, "change": change});
    assert_eq!(
        diff["changes"],
        json!([change("int:3", "changed"), change("int:5", "removed"), change("int:900", "added")])
    );
    assert_eq!(diff["counts"], json!([{"collection": "t", "added": 1, "changed": 1, "removed": 1}]));
    world.ok(&["diff", "latest~1", "latest", "t"]).says(&["M t  int:3", "- t  int:5", "+ t  int:900"]);
    let back = world.json(&["diff", "latest", "latest~1"]);
    assert_eq!(back["counts"][0]["added"], 1);
    world.run(&["diff", "latest~1", "latest", "nothing"]).fails(2, &["`nothing`"]);
}

#[test]
fn snapshots_that_hold_a_key_are_found() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE s(k TEXT PRIMARY KEY, v); INSERT INTO s VALUES('abc',1),('abd',2),('x',3)");
    let first = world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "DELETE FROM s WHERE k = 'abd'");
    world.backup(&["sqlite:a.db"]);
    let found = world.json(&["find", "str:ab*"]);
    assert_eq!(found.as_array().unwrap().len(), 3, "{found}");
    let found = world.json(&["find", "str:abd"]);
    assert_eq!((&found[0]["snapshot"], &found[0]["collection"]), (&json!(first), &json!("s")));
    assert_eq!(world.json(&["find", "str:zzz"]), json!([]));
    assert_eq!(world.json(&["find", "*", "--collection", "other"]), json!([]));
    world.run(&["find", "str:[ab"]).fails(2, &["str:[ab"]);
}

#[test]
fn objects_are_shown_for_inspection() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    let id = world.backup(&["sqlite:a.db"]);
    let config = world.command(&["cat", "config"]).env_remove("REKEEP_PASSWORD").output().unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config.stdout).unwrap();
    assert!(config.is_object(), "{config}");
    let manifest = world.ok(&["cat", "snapshot", &id]).json();
    assert_eq!(manifest["collections"][0]["name"], "t");
    let names = world.ok(&["cat", "index"]).json();
    let name = names[0].as_str().unwrap();
    let index = world.ok(&["cat", "index", name.trim_start_matches("index/")]).json();
    assert!(!index["packs"].as_array().unwrap().is_empty(), "{index}");
    assert!(!world.ok(&["cat", "lease"]).json().as_array().unwrap().is_empty());
    assert_eq!(world.ok(&["cat", "mark"]).json(), json!([]));
    world.run(&["cat", "index", "ffff00001111"]).fails(1, &["index/ffff00001111", "`rekeep cat index`"]);
}

#[test]
fn catalogs_are_rebuilt_when_cleared() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    world.backup(&["sqlite:a.db"]);
    let before = world.ok(&["snapshots"]).out;
    assert_ne!(world.json(&["cache", "list"]), json!([]));
    world.ok(&["cache", "clear"]).says(&["deleted"]);
    assert_eq!(world.json(&["cache", "list"]), json!([]));
    assert_eq!(world.ok(&["snapshots"]).out, before);
    world.sql("a.db", "UPDATE t SET name = 'x' WHERE id = 1");
    assert_eq!(world.json(&["backup", "sqlite:a.db"])["stats"]["changed"], 1);
    world.is_good();
}
