//! `files:URI`: trees of objects at services as sources and targets, by the command.

use crate::{
    run::Life,
    s3::{KEYS, ministack},
};
use serde_json::Value as Json;
use std::{collections::BTreeMap, fs, path::Path};

fn contents(at: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![at.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(at).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A local repository of trees at `uri`: there, back, changed, made equal.
fn a_tree_lives_at(uri: &str, environment: &[(&str, &str)]) {
    let life = Life::at("repo", environment);
    life.init();
    let tree = life.path("tree");
    for folder in ["a/b", "ä ö"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    for (number, name) in ["a/b/one", "a/two", "ä ö/three", "empty", "a+b&c"].iter().enumerate() {
        fs::write(tree.join(name), vec![number as u8; number * 3_000_001 % 9_000_000]).unwrap();
    }
    fs::write(tree.join("empty"), "").unwrap();
    let at = format!("files:{uri}");
    life.ok(&["backup", "files:tree"]);
    life.ok(&["restore", "latest", &at]);

    let first = life.json(&["backup", &at]);
    assert_eq!(first["complete"], Json::Bool(true), "{first}");
    let named = life.json(&["snapshots"]).as_array().unwrap().last().unwrap()["source"]["name"].clone();
    let source = named.as_str().unwrap();
    life.ok(&["restore", "latest", "--source", source, "files:back"]);
    assert!(contents(&life.path("back")) == contents(&tree));

    // Whatever a listing can prove of an object, its content stands.
    let second = life.json(&["backup", &at]);
    assert_eq!(second["stats"]["new"], 0, "{second}");
    assert_eq!(second["stats"]["changed"], second["stats"]["inherited"], "{second}");
    fs::write(tree.join("a/two"), "changed").unwrap();
    fs::remove_file(tree.join("empty")).unwrap();
    life.ok(&["backup", "files:tree"]);
    life.ok(&["restore", "latest", "--source", &format!("files:{}", tree.display()), &at, "--make-equal"]);
    let third = life.json(&["backup", &at]);
    // What was equal was written again, since the place keeps no modes.
    assert_eq!(third["stats"]["deleted"], 1, "{third}");
    life.ok(&["restore", "latest", "--source", source, "files:again"]);
    assert!(contents(&life.path("again")) == contents(&tree));
    life.ok(&["verify", "--against", &at, "latest", "--source", source]);
}

#[test]
#[ignore = "needs ministack"]
fn a_tree_lives_on_s3() {
    let server = ministack();
    let uri = format!("s3://bucket/tree?endpoint=http://127.0.0.1:{}", server.port);
    a_tree_lives_at(&uri, &KEYS);
    let life = Life::at("repo", &[]);
    life.init();
    let refused = life.run(&[
        "backup",
        &format!("files:s3://bucket/x?secret-access-key=hunter22&endpoint=http://127.0.0.1:{}", server.port),
    ]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("secret") && !said.contains("hunter22"), "{said}");
}

#[test]
#[ignore = "needs wsgidav"]
fn a_tree_lives_on_webdav() {
    let server = crate::webdav::wsgidav();
    let uri = format!("webdav+http://me@127.0.0.1:{}/tree", server.port);
    a_tree_lives_at(&uri, &[("REKEEP_WEBDAV_PASSWORD", "hunter22")]);
}

#[test]
#[ignore = "needs openssh"]
fn a_tree_lives_on_sftp() {
    crate::sftp::with_server(|uri| a_tree_lives_at(uri, &[]));
}
