//! `deeplake:URI`: datasets at services as sources, by the command.

#[path = "../connector_deeplake/made.rs"]
#[allow(dead_code, reason = "other tests make more")]
mod made;

use crate::{
    run::Life,
    s3::{KEYS, ministack},
};
use made::{Made, files};
use serde_json::Value as Json;
use std::fs;

/// A root of tenants at `uri`: brought there, backed up as it grows and as it loses a block, and restored here.
fn a_lake_lives_at(uri: &str, environment: &[(&str, &str)]) {
    let (place, options) =
        uri.split_once('?').map_or((uri, String::new()), |(at, options)| (at, format!("?{options}")));
    let life = Life::at("repo", environment);
    life.init();
    let here = life.path("lake");
    let mut made: Vec<Made> = ["acme/one", "acme/two", "other/one"].map(|name| Made::new(&here.join(name))).into();
    for made in &mut made {
        made.commit(&[("a", b"1"), ("b", &vec![7; 3_000_000])]);
        made.describe("d", "t");
    }
    let there = format!("deeplake:{place}/lake{options}");
    let tree = format!("files:{place}/lake{options}");
    let bring = || {
        life.ok(&["backup", "files:lake"]);
        let source = format!("files:{}", here.display());
        life.ok(&["restore", "latest", "--source", &source, &tree, "--make-equal"]);
    };
    bring();
    let first = life.json(&["backup", &there]);
    assert_eq!((&first["complete"], first["stats"]["new"].as_u64() > Some(9)), (&Json::Bool(true), true), "{first}");
    let snapshots = life.json(&["snapshots"]);
    let name = snapshots.as_array().unwrap().last().unwrap()["source"]["name"].clone();
    let source = name.as_str().unwrap();
    life.ok(&["restore", "latest", "--source", source, "deeplake:back"]);
    assert!(files(&life.path("back")) == files(&here));

    // A commit adds an entry and a block; what stands is not read again.
    made[0].commit(&[("c", b"more")]);
    bring();
    let second = life.json(&["backup", &there]);
    assert_eq!((&second["complete"], &second["stats"]["new"]), (&Json::Bool(true), &Json::from(2)), "{second}");
    life.ok(&["restore", "latest", "--source", source, "deeplake:again"]);
    assert!(files(&life.path("again")) == files(&here));

    // What the log names and is not there is named, and what was saved of it stands.
    fs::remove_file(made[1].block("b")).unwrap();
    bring();
    let lost = life.run(&["backup", &there]);
    let said = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert!(lost.status.code() == Some(3) && said.contains(&Made::block_name("b")), "{said}");
    let kept = life.run(&["restore", "latest", "--source", source, "deeplake:kept"]);
    assert_eq!(kept.status.code(), Some(3), "the snapshot says what it lacks");
    assert_eq!(files(&life.path("kept")).len(), files(&here).len() + 1);
    life.ok(&["verify", "--read-data"]);
}

#[test]
#[ignore = "needs ministack"]
fn a_lake_lives_on_s3() {
    let server = ministack();
    a_lake_lives_at(&format!("s3://bucket/root?endpoint=http://127.0.0.1:{}", server.port), &KEYS);
}

#[test]
#[ignore = "needs openssh"]
fn a_lake_lives_on_sftp() {
    crate::sftp::with_server(|uri| a_lake_lives_at(uri, &[]));
}
