//! `deeplake:URI`: datasets at services as sources, by the command.

#[path = "../connector_deeplake/made.rs"]
#[allow(dead_code, reason = "other tests make more")]
mod made;

use crate::{
    proxy::{Fault, Proxy},
    run::Life,
    s3::{KEYS, ministack},
    server::program,
};
use made::{Made, files};
use serde_json::Value as Json;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

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

/// What a writer writes over in place is another object by the time it is read: it is read again.
#[test]
#[ignore = "needs ministack"]
fn what_is_written_over_in_place_is_read_until_it_stands() {
    let server = ministack();
    let life = Life::at("repo", &KEYS);
    a_lake_here(&life);
    let there = format!("deeplake:s3://bucket/live?endpoint=http://127.0.0.1:{}", server.port);
    life.ok(&["restore", "latest", &there]);
    let is_in_place =
        |line: &str| line.starts_with("GET ") && (line.contains("next_base") || line.contains("metadata.json"));
    let changed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&changed);
    let proxy = Proxy::before(server.port, move |_, line| {
        let fails = is_in_place(line) && count.fetch_add(1, Ordering::SeqCst) % 4 < 3;
        fails.then_some(Fault::Status(412))
    });
    let seen = life.json(&["backup", &format!("deeplake:s3://bucket/live?endpoint=http://127.0.0.1:{}", proxy.port)]);
    assert_eq!((&seen["complete"], changed.load(Ordering::SeqCst) >= 8), (&Json::Bool(true), true), "{seen}");
    life.ok(&["restore", seen["id"].as_str().unwrap(), "deeplake:back"]);
    assert!(files(&life.path("back")) == files(&life.path("lake")));
}

/// A lake with a dataset of branches and tags, and its snapshot.
fn a_lake_here(life: &Life) -> Made {
    life.init();
    let mut made = Made::new(&life.path("lake/acme/one"));
    for number in 0..6_u8 {
        made.commit(&[(&format!("n{number}"), &vec![number; 1000]), (&format!("m{number}"), &[number])]);
    }
    made.meta(2, "{\"createTag\":{\"id\":\"1\",\"name\":\"two\",\"branch_id\":\"8a057f1faa67a352506e9935f50881b3\",\"version\":\"0000000002m00000000\"}}");
    made.describe("one", "acme");
    life.ok(&["backup", "deeplake:lake"]);
    made
}

/// What lies at a place at a service, brought here.
fn brought(life: &Life, there: &str, name: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
    let outcome = life.json(&["backup", &format!("files:{there}")]);
    life.ok(&["restore", outcome["id"].as_str().unwrap(), &format!("files:{name}")]);
    files(&life.path(name))
}

/// Restores of a lake into `uri`: whole, over what stands there, cut, and under another name.
fn a_lake_is_restored_to(uri: &str, environment: &[(&str, &str)]) {
    let (place, options) =
        uri.split_once('?').map_or((uri, String::new()), |(at, options)| (at, format!("?{options}")));
    let at = |name: &str| format!("{place}/{name}{options}");
    let life = Life::at("repo", environment);
    a_lake_here(&life);
    let latest = life.json(&["snapshots"]).as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let restore = |more: &[&str], name: &str| {
        let target = format!("deeplake:{}", at(name));
        let arguments: Vec<&str> = ["restore", &latest, &target].into_iter().chain(more.iter().copied()).collect();
        let output = life.run(&arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let whole = restore(&["--verify"], "back");
    assert_eq!(whole.0, Some(0), "{}", whole.1);
    let here = files(&life.path("lake"));
    assert!(brought(&life, &at("back"), "brought") == here, "no mark is left");

    let refused = restore(&[], "back");
    assert!(refused.0 == Some(2) && refused.1.contains("acme/one"), "{refused:?}");
    let left = restore(&["--overwrite", "never"], "back");
    assert!(left.0 == Some(0) && left.1.contains("stays as it is"), "{left:?}");
    let never_over = restore(&["--overwrite", "always"], "back");
    assert!(never_over.0 == Some(1) && never_over.1.contains("under another name"), "{never_over:?}");
    assert!(brought(&life, &at("back"), "untouched") == here);

    let cut = restore(&["--at-version", "two", "--collection", "acme/one=prod/two"], "cut");
    assert_eq!(cut.0, Some(0), "{}", cut.1);
    life.ok(&["restore", &latest, "deeplake:cut", "--at-version", "two", "--collection", "acme/one=prod/two"]);
    let found = brought(&life, &at("cut"), "brought-cut");
    assert!(found == files(&life.path("cut")) && found.len() < here.len(), "{:?}", found.keys());

    // A block that somebody else wrote there is not written over, and nothing is shown.
    let other = Made { root: life.path("other/acme/one"), ..Made::new(&life.path("scratch")) };
    fs::create_dir_all(other.block("n3").parent().unwrap()).unwrap();
    fs::write(other.block("n3"), "foreign").unwrap();
    life.ok(&["backup", "files:other"]);
    life.ok(&[
        "restore",
        "latest",
        "--source",
        &format!("files:{}", life.path("other").display()),
        &format!("files:{}", at("foreign")),
    ]);
    let foreign = restore(&["--overwrite", "always"], "foreign");
    assert_eq!(foreign.0, Some(1), "what stands there is no dataset, but it is somebody's: {foreign:?}");
}

#[test]
#[ignore = "needs ministack"]
fn a_lake_is_restored_to_s3() {
    let server = ministack();
    a_lake_is_restored_to(&format!("s3://bucket/root?endpoint=http://127.0.0.1:{}", server.port), &KEYS);
}

#[test]
#[ignore = "needs openssh"]
fn a_lake_is_restored_to_sftp() {
    crate::sftp::with_server(|uri| a_lake_is_restored_to(uri, &[]));
}

/// From one request on the service refuses, wherever that is: nobody takes what is there for a dataset before all of it is, and
/// the same restore goes on.
#[test]
#[ignore = "needs ministack"]
fn a_restore_that_is_stopped_anywhere_shows_nothing_and_goes_on() {
    let server = ministack();
    let life = Life::at("repo", &KEYS);
    a_lake_here(&life);
    let here = files(&life.path("lake"));
    let latest = life.json(&["snapshots"]).as_array().unwrap()[0]["id"].as_str().unwrap().to_owned();
    let mut shown = 0;
    for stop in (1_u64..).step_by(2) {
        let proxy = Proxy::before(server.port, move |number, _| (number >= stop).then_some(Fault::Status(403)));
        let at = |port: u16| format!("s3://bucket/stop{stop}?endpoint=http://127.0.0.1:{port}");
        let broken = life.run(&["restore", &latest, &format!("deeplake:{}", at(proxy.port))]);
        if broken.status.success() {
            assert!(stop > 30, "only {stop} requests");
            break;
        }
        let there = at(server.port);
        let seen = life.run(&["backup", &format!("deeplake:{there}")]);
        assert!(
            matches!(seen.status.code(), Some(1 | 3)),
            "stopped at {stop}: {}",
            String::from_utf8_lossy(&seen.stderr)
        );
        if seen.status.code() == Some(3) {
            shown += 1;
            assert!(String::from_utf8_lossy(&seen.stderr).contains("was stopped"));
        }
        life.ok(&["restore", &latest, &format!("deeplake:{there}")]);
        if stop % 8 == 1 {
            assert!(brought(&life, &there, &format!("brought{stop}")) == here, "stopped at {stop}");
        }
    }
    assert!(shown > 10, "{shown}");
}

/// Another restore is not gone on with, and gives way only where that was asked for.
#[test]
#[ignore = "needs ministack"]
fn what_another_restore_began_is_cleared_only_if_asked() {
    let server = ministack();
    let life = Life::at("repo", &KEYS);
    let mut made = a_lake_here(&life);
    let first = life.json(&["snapshots"]).as_array().unwrap()[0]["id"].as_str().unwrap().to_owned();
    let proxy = Proxy::before(server.port, |number, _| (number > 9).then_some(Fault::Status(403)));
    let at = |port: u16| format!("deeplake:s3://bucket/x?endpoint=http://127.0.0.1:{port}");
    assert!(!life.run(&["restore", &first, &at(proxy.port)]).status.success());
    fs::remove_file(made.block("n0")).unwrap();
    made.commit(&[("n0", b"another one")]);
    made.commit_lines("{\"deleteRows\":{\"rowIds\":[1]}}");
    let second = life.run(&["backup", "deeplake:lake"]);
    assert!(second.status.code().is_some());
    let refused = life.run(&["restore", "latest", &at(server.port), "--force"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("something else"), "{said}");
    let cleared = life.run(&["restore", "latest", &at(server.port), "--overwrite", "always"]);
    assert!(matches!(cleared.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&cleared.stderr));
    let found = brought(&life, &at(server.port)["deeplake:".len()..], "brought");
    assert!(found.keys().any(|key| key.contains("0000000008m")) && !found.contains_key("acme/one/.rekeep-restore"));
}

/// Runs a verb of the library's script over a dataset at the server; gives the last line that it prints.
fn library(port: u16, arguments: &[&str]) -> Command {
    let credentials = serde_json::json!({
        "aws_access_key_id": "test", "aws_secret_access_key": "test-secret", "aws_region": "us-east-1",
        "endpoint_url": format!("http://127.0.0.1:{port}"),
    });
    let mut command = Command::new(program("deeplake", "python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connector_deeplake/lake.py")).args(arguments);
    command.env("BUGGER_OFF", "true").env("DEEPLAKE_DISABLE_TELEMETRY", "1");
    command.env("LAKE_CREDENTIALS", credentials.to_string());
    command
}

#[track_caller]
fn rows(port: u16, verb: &str, at: &str) -> u64 {
    let output = library(port, &[verb, at]).output().unwrap();
    assert!(output.status.success(), "{verb} {at}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    last.get("rows").unwrap_or(&last).as_u64().unwrap()
}

/// Datasets of the library itself at S3: backed up while it writes, restored to S3, opened there, every row compared.
#[test]
#[ignore = "needs ministack, deeplake"]
fn the_library_opens_at_s3_what_was_restored_to_s3() {
    let server = ministack();
    let backups = Life::at("repo", &KEYS);
    backups.init();
    let live = "s3://bucket/lake/acme/live";
    let made = library(server.port, &["make", live, "70"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let uri = |place: &str| format!("deeplake:s3://bucket/{place}?endpoint=http://127.0.0.1:{}", server.port);
    let stop = backups.path("stop");
    let mut writer =
        library(server.port, &["write", live, stop.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(writer.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    let copies: Vec<(String, Json)> = (0..3)
        .map(|number| {
            let outcome = backups.json(&["backup", &uri("lake")]);
            let to = format!("back{number}");
            backups.ok(&["restore", outcome["id"].as_str().unwrap(), &uri(&to), "--verify"]);
            (to, outcome)
        })
        .collect();
    fs::write(&stop, "").unwrap();
    assert!(said.trim() == "writing" && writer.wait().unwrap().success());
    let mut before = 0;
    for (to, outcome) in copies {
        let found = rows(server.port, "compare", &format!("s3://bucket/{to}/acme/live"));
        assert!(found >= 1750 && found.is_multiple_of(25) && found >= before, "{found} rows after {before}: {outcome}");
        before = found;
    }
    // A writer goes on with it.
    assert_eq!(rows(server.port, "append", "s3://bucket/back0/acme/live") % 25, 0);
}
