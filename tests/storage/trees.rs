//! `files:URI`: trees of objects at services as sources and targets, by the command.

use crate::{
    run::Life,
    s3::{KEYS, ministack, put},
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

/// Names that a service would take for others' are named and left, there and back, and a place that is not there is no empty one.
fn odd_names_and_places_at(uri: &str, has_folders: bool, environment: &[(&str, &str)]) {
    let life = Life::at("repo", environment);
    life.init();
    let tree = life.path("tree");
    fs::create_dir_all(tree.join("d")).unwrap();
    let names = [("x", "bare"), ("x ", "trailing"), (" first", "leading"), ("tail\n", "newline"), ("d/ in", "within")];
    for (name, content) in names {
        fs::write(tree.join(name), content).unwrap();
    }
    life.ok(&["backup", "files:tree"]);
    let at = format!("files:{uri}");
    let restored = life.run(&["restore", "latest", &at]);
    let err = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert_eq!(restored.status.code(), Some(3), "{err}");
    assert!(err.matches("would be taken for another one").count() >= 3, "{err}");
    life.ok(&["backup", &at]);
    let back = life.json(&["snapshots"]).as_array().unwrap().last().unwrap()["source"]["name"].clone();
    life.ok(&["restore", "latest", "--source", back.as_str().unwrap(), "files:back"]);
    let kept = [("x", "bare"), ("d/ in", "within")].map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    assert_eq!(contents(&life.path("back")), BTreeMap::from(kept));
    if has_folders {
        let (place, query) = uri.split_once('?').map_or((uri, String::new()), |(at, query)| (at, format!("?{query}")));
        for (below, says) in [("/nosuch", "does not exist"), ("/x", "no folder")] {
            let backup = life.run(&["backup", &format!("files:{place}{below}{query}")]);
            let err = String::from_utf8_lossy(&backup.stderr).into_owned();
            assert_eq!(backup.status.code(), Some(1), "{below}: {err}");
            assert!(err.contains(says), "{below}: {err}");
        }
    }
}

#[test]
#[ignore = "needs ministack"]
fn what_is_no_path_on_s3_is_named() {
    let server = ministack();
    let uri = |folder: &str| format!("s3://bucket/{folder}?endpoint=http://127.0.0.1:{}", server.port);
    odd_names_and_places_at(&uri("tree"), false, &KEYS);
    for key in ["plain", "a//b", "/lead", "dot/./x", "x%20"] {
        put(server.port, &format!("odd/{key}"), "content");
    }
    put(server.port, "odd/dir/", "content of a folder");
    put(server.port, "odd/dir/in", "content");
    let life = Life::at("repo", &KEYS);
    life.init();
    let backup = life.run(&["--json", "backup", &format!("files:{}", uri("odd"))]);
    let told: Json = serde_json::from_slice(&backup.stdout).unwrap();
    assert_eq!(backup.status.code(), Some(3), "{told}");
    let problems = told["problems"].to_string();
    for key in ["\"a//: ", "\"/: ", "\"dot/./: ", "\"x : ", "\"dir/: "] {
        assert!(problems.contains(key), "{key}: {problems}");
    }
    life.run(&["restore", "latest", "files:back"]);
    let kept = ["plain", "dir/in"].map(|name| (name.to_owned(), b"content".to_vec()));
    assert_eq!(contents(&life.path("back")), BTreeMap::from(kept));
}

#[test]
#[ignore = "needs wsgidav"]
fn odd_names_and_places_on_webdav_are_named() {
    let server = crate::webdav::wsgidav();
    let uri = format!("webdav+http://me@127.0.0.1:{}/tree", server.port);
    odd_names_and_places_at(&uri, true, &[("REKEEP_WEBDAV_PASSWORD", "hunter22")]);
}

#[test]
#[ignore = "needs openssh"]
fn odd_names_and_places_on_sftp_are_named() {
    crate::sftp::with_server(|uri| odd_names_and_places_at(uri, true, &[]));
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
