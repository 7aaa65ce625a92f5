//! `files:URI`: trees of objects at services as sources and targets, by the command.

use crate::{
    proxy::{Fault, Proxy},
    run::Life,
    s3::{KEYS, ministack, put},
};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

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
    for key in ["\"a//: ", "\"/: ", "\"dot/./: ", "\"x : "] {
        assert!(problems.contains(key), "{key}: {problems}");
    }
    let err = String::from_utf8_lossy(&backup.stderr);
    assert!(err.contains("dir/ stands for a folder and may have content"), "{err}");
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

/// Where the server keeps what such a location names.
fn folder_of(uri: &str) -> PathBuf {
    let place = uri.strip_prefix("sftp://").unwrap();
    PathBuf::from(&place[place.find('/').unwrap()..place.find('?').unwrap_or(place.len())])
}

/// Backs up with that exit status; gives what was wrong.
#[track_caller]
fn backed_up(life: &Life, at: &str, status: i32) -> String {
    let backup = life.run(&["--json", "backup", at]);
    let (out, err) = (String::from_utf8_lossy(&backup.stdout), String::from_utf8_lossy(&backup.stderr));
    assert_eq!(backup.status.code(), Some(status), "{out}{err}");
    let told: Json = serde_json::from_slice(&backup.stdout).unwrap();
    told["problems"].to_string()
}

/// What the newest snapshot holds.
#[track_caller]
fn kept(life: &Life, name: &str) -> BTreeMap<String, Vec<u8>> {
    life.run(&["restore", "latest", &format!("files:{name}")]);
    contents(&life.path(name))
}

fn of(all: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    all.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

#[test]
#[ignore = "needs openssh"]
fn links_and_special_files_on_sftp_are_named_and_never_empty_files() {
    crate::sftp::with_server(|uri| {
        let tree = folder_of(uri);
        fs::create_dir_all(tree.join("real/deep")).unwrap();
        fs::write(tree.join("real/f"), "content").unwrap();
        fs::write(tree.join("later"), "of before").unwrap();
        symlink("real/f", tree.join("filelink")).unwrap();
        let (life, at) = (Life::at("repo", &[]), format!("files:{uri}"));
        life.init();
        let plain = [("filelink", "content"), ("later", "of before"), ("real/f", "content")];
        backed_up(&life, &at, 0);
        assert_eq!(kept(&life, "first"), of(&plain));

        fs::remove_file(tree.join("later")).unwrap();
        symlink("/nowhere", tree.join("later")).unwrap();
        symlink("real", tree.join("dirlink")).unwrap();
        symlink("itself", tree.join("itself")).unwrap();
        assert!(Command::new("mkfifo").arg(tree.join("fifo")).status().unwrap().success());
        for number in 0..2 {
            let problems = backed_up(&life, &at, 3);
            for name in ["dirlink", "later", "itself", "fifo"] {
                assert!(problems.contains(name), "{name}: {problems}");
            }
            assert!(!problems.contains("filelink"), "{problems}");
            // What was kept of a name stands.
            assert_eq!(kept(&life, &format!("again{number}")), of(&plain));
        }
        let refused = life.run(&["restore", "latest", &at, "--make-equal"]);
        assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
        assert!(tree.join("real/f").is_file() && fs::read_link(tree.join("dirlink")).is_ok());
    });
}

#[test]
#[ignore = "needs openssh"]
fn a_name_that_is_not_utf8_on_sftp_is_said_and_stops_nobody_for_long() {
    crate::sftp::with_server(|uri| {
        let tree = folder_of(uri);
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("plain"), "content").unwrap();
        fs::write(tree.join("sub").join(OsStr::from_bytes(b"bad\xff")), "content").unwrap();
        let life = Life::at("repo", &[]);
        life.init();
        let problems = backed_up(&life, &format!("files:{uri}"), 3);
        assert!(problems.contains("sub/") && problems.contains("not UTF-8"), "{problems}");
        assert_eq!(kept(&life, "back"), of(&[("plain", "content")]));
    });
    crate::sftp::with_server(|uri| {
        let life = Life::at(uri, &[]);
        life.init();
        fs::create_dir_all(folder_of(uri).join("snapshots")).unwrap();
        fs::write(folder_of(uri).join("snapshots").join(OsStr::from_bytes(b"bad\xff")), "content").unwrap();
        let listed = life.run(&["snapshots"]);
        let err = String::from_utf8_lossy(&listed.stderr);
        assert_eq!(listed.status.code(), Some(1), "{err}");
        assert!(err.contains("snapshots/") && err.contains("not UTF-8"), "{err}");
    });
}

/// Stands in the place of `ssh`: a server whose files may not grow beyond a length until one has come to it.
const SHORT_OF_ROOM: &str = r#"#!/bin/sh
[ -e FREE ] && exec /usr/lib/openssh/sftp-server
trap '' XFSZ
ulimit -S -f 22000
(
    while kill -0 $$; do
        [ "$(cat OUT/*.rekeep-* | wc -c)" -ge 11264000 ] && sleep 0.2 && prlimit --pid $$ --fsize=unlimited && exit
        sleep 0.02
    done
) </dev/null >/dev/null 2>&1 &
exec /usr/lib/openssh/sftp-server
"#;

#[test]
#[ignore = "needs openssh"]
fn a_file_whose_write_fails_once_on_sftp_is_not_taken_for_whole() {
    let place = tempfile::tempdir().unwrap();
    let (out, free, bin) = (place.path().join("out"), place.path().join("free"), place.path().join("bin"));
    for folder in [&out, &bin] {
        fs::create_dir(folder).unwrap();
    }
    let script = SHORT_OF_ROOM.replace("FREE", free.to_str().unwrap()).replace("OUT", out.to_str().unwrap());
    fs::write(bin.join("ssh"), script).unwrap();
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let life = Life::at("repo", &[("PATH", &path)]);
    life.init();
    fs::create_dir(life.path("tree")).unwrap();
    let content: Vec<u8> = (0..17_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(life.path("tree/f1"), &content).unwrap();
    fs::write(life.path("tree/f2"), "small").unwrap();
    life.ok(&["backup", "files:tree"]);
    let at = format!("files:sftp://nowhere{}", out.display());
    let restored = life.run(&["restore", "latest", &at]);
    let err = String::from_utf8_lossy(&restored.stderr);
    assert_eq!(restored.status.code(), Some(3), "{err}");
    assert!(err.contains("f1"), "{err}");
    assert_eq!(contents(&out), of(&[("f2", "small")]));
    fs::write(&free, "").unwrap();
    life.ok(&["restore", "latest", &at, "--overwrite", "always"]);
    assert!(contents(&out) == contents(&life.path("tree")));
}

const WEBDAV: [(&str, &str); 1] = [("REKEEP_WEBDAV_PASSWORD", "hunter22")];

#[test]
#[ignore = "needs wsgidav"]
fn a_long_file_lives_on_webdav() {
    let server = crate::webdav::wsgidav();
    let at = format!("files:webdav+http://me@127.0.0.1:{}/tree", server.port);
    let life = Life::at("repo", &WEBDAV);
    life.init();
    fs::create_dir(life.path("tree")).unwrap();
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(life.path("tree/long"), &content).unwrap();
    life.ok(&["backup", "files:tree"]);
    life.ok(&["restore", "latest", &at]);
    assert!(contents(&server.folder.path().join("root/tree")) == contents(&life.path("tree")));
}

#[test]
#[ignore = "needs wsgidav"]
fn a_name_that_the_service_bends_is_named_after_a_restore() {
    let server = crate::webdav::wsgidav();
    let life = Life::at("repo", &WEBDAV);
    life.init();
    fs::create_dir_all(life.path("tree/d")).unwrap();
    for (name, content) in [("q", "bare"), ("q?mark", "another"), ("d/plain", "plain"), (".hidden", "hidden")] {
        fs::write(life.path("tree").join(name), content).unwrap();
    }
    life.ok(&["backup", "files:tree"]);
    let restored = life.run(&["restore", "latest", &format!("files:webdav+http://me@127.0.0.1:{}/tree", server.port)]);
    let err = String::from_utf8_lossy(&restored.stderr);
    assert_eq!(restored.status.code(), Some(3), "{err}");
    assert!(err.contains("q?mark: it was written, and the service lists nothing of that name"), "{err}");
    assert!(err.contains("q: 4 bytes were written, and the service has 7"), "{err}");
    assert!(!err.contains("plain:") && !err.contains(".hidden:"), "{err}");
}

#[test]
#[ignore = "needs wsgidav"]
fn a_folder_that_its_own_listing_denies_is_not_gone() {
    let server = crate::webdav::wsgidav();
    let tree = server.folder.path().join("root/tree");
    fs::create_dir_all(tree.join("sub/deep")).unwrap();
    for name in ["plain", "sub/one", "sub/deep/two"] {
        fs::write(tree.join(name), "content").unwrap();
    }
    let is_denied = Arc::new(AtomicBool::new(false));
    let denied = Arc::clone(&is_denied);
    let proxy = Proxy::before(server.port, move |_, line| {
        (denied.load(Ordering::SeqCst) && line.starts_with("PROPFIND /tree/sub/ ")).then_some(Fault::Status(404))
    });
    let at = format!("files:webdav+http://me@127.0.0.1:{}/tree", proxy.port);
    let life = Life::at("repo", &WEBDAV);
    life.init();
    let all = of(&[("plain", "content"), ("sub/one", "content"), ("sub/deep/two", "content")]);
    backed_up(&life, &at, 0);
    is_denied.store(true, Ordering::SeqCst);
    let problems = backed_up(&life, &at, 3);
    assert!(problems.contains("sub/"), "{problems}");
    assert_eq!(kept(&life, "denied"), all);
    is_denied.store(false, Ordering::SeqCst);
    fs::remove_dir_all(tree.join("sub")).unwrap();
    backed_up(&life, &at, 0);
    assert_eq!(kept(&life, "gone"), of(&[("plain", "content")]));
}
