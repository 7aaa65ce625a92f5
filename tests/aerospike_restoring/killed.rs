//! The command killed and interrupted on its way, and run again.
#![cfg(unix)]

use crate::{
    cluster::{assert_same, start},
    support::Rng,
};
use rekeep_aerospike_server::{Action, At, Command as Of, Fault, Handle, Seed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn rekeep(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
    command
        .args(["--quiet", "--json", "--cache-dir"])
        .arg(dir.join("cache"))
        .arg("--repo")
        .arg(dir.join("repo"))
        .args(args)
        .env("REKEEP_PASSWORD", "secret")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[track_caller]
fn done(dir: &Path, args: &[&str]) -> Json {
    let output = rekeep(dir, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or(Json::Null)
}

fn url(server: &Handle) -> String {
    format!("aerospike://{}/test", server.address(0))
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_mins(2), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A repository with a snapshot of 8 000 records of about 2 KiB.
fn kept(dir: &Path) -> Handle {
    let server = start(1);
    let mut rng = Rng::new(61);
    server.put_all("test", (0..8_000).map(|n| Seed::int(n).set("s").bin("blob", 4, &rng.bytes(2000))));
    done(dir, &["init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    done(dir, &["backup", &url(&server)]);
    server
}

fn spawn(dir: &Path, to: &Handle) -> Child {
    rekeep(dir, &["restore", "latest", &url(to), "--write-limit", "3M"]).spawn().unwrap()
}

#[test]
fn a_killed_restore_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let server = kept(dir.path());
    let to = start(1);
    // Progress is kept every three seconds: what 4 seconds bring at 3 MiB/s is not done again.
    for records in [1, 500, 6_500] {
        let mut child = spawn(dir.path(), &to);
        wait_until("the restore began", || to.count("test") >= records || child_ended(&mut child));
        kill_process(pid(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
    }
    let held = to.count("test");
    assert!((6_500..8_000).contains(&held), "{held}");
    let outcome = done(dir.path(), &["restore", "latest", &url(&to)]);
    assert!(outcome["resumed"].as_u64().unwrap() > 500, "{outcome}");
    assert_eq!(outcome["inserted"].as_u64().unwrap() + outcome["existed"].as_u64().unwrap(), 8_000, "{outcome}");
    assert_eq!(outcome["complete"], true);
    assert_same(&server, &to);
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

fn child_ended(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_some()
}

#[test]
fn an_interrupted_restore_ends_with_130_though_the_cluster_is_silent_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = kept(dir.path());
    let to = start(1);
    to.fault(Fault::new(At::Records(5), Action::Silence).on(Of::Batch).after_requests(20).always());
    let timeouts = ["--socket-timeout", "1h", "--partition-timeout", "2h"];
    let child = rekeep(dir.path(), &["restore", "latest", &url(&to)]).args(timeouts).spawn().unwrap();
    wait_until("the cluster fell silent", || to.count("test") > 2_000);
    kill_process(pid(&child), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("stopped after") && said.contains("goes on behind"), "{said}");
    to.clear_faults();
    to.release();
    let outcome = done(dir.path(), &["restore", "latest", &url(&to)]);
    assert_eq!(outcome["inserted"].as_u64().unwrap() + outcome["existed"].as_u64().unwrap(), 8_000, "{outcome}");
    assert_same(&server, &to);
    let again = rekeep(dir.path(), &["restore", "latest", &url(&to)]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", String::from_utf8_lossy(&again.stderr));
}
