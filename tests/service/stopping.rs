//! How the service ends when it is told to: jobs that go on, jobs that are stopped, storage that hangs.

use crate::{
    client::until,
    process::Process,
    world::{ROUTINE, World},
};
use serde_json::{Value as Json, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A routine whose backups wait, before they read anything, for a file `go`; they leave a file `begun`.
fn waiting(world: &World, stop: &str) {
    let (begun, go) = (world.path("begun"), world.path("go"));
    let hook = format!("touch {}; while ! test -e {}; do sleep 0.02; done", begun.display(), go.display());
    world.configure(
        &format!("{ROUTINE}    before: [waits]\n"),
        &format!("  stop: {stop}\n  hooks:\n    waits: {{ command: [sh, -c, '{hook}'] }}"),
    );
}

fn jobs(process: &Process) -> Vec<Json> {
    let listed = process.ask("GET", "/api/v1/jobs").is(200).json();
    listed.as_array().or_else(|| listed["jobs"].as_array()).unwrap().clone()
}

/// Begins a backup, and waits until it is at its hook.
fn at_work(world: &World) -> Process {
    let process = Process::start(world);
    process.ask("POST", "/v1/backups/full/accounts").is(202);
    until(|| world.path("begun").exists().then_some(()));
    process
}

/// Waits until the only job is over.
#[track_caller]
fn only_job(process: &Process) -> Json {
    until(|| {
        let jobs = jobs(process);
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.into_iter().next().filter(|job| !["queued", "running"].contains(&job["state"].as_str().unwrap()))
    })
}

#[test]
fn a_backup_that_ends_soon_is_let_to_its_end() {
    let world = World::new();
    waiting(&world, "{ drain: 600, within: 600 }");
    let mut process = at_work(&world);
    process.terminate();
    process.says("stopping");
    fs::write(world.path("go"), "").unwrap();
    assert_eq!(process.ended(), Some(0));
    let process = Process::start(&world);
    assert_eq!(only_job(&process)["state"], "success");
    assert_eq!(process.ask("GET", "/v1/backups/full/accounts").json().as_array().unwrap().len(), 1);
}

#[test]
fn a_backup_that_was_stopped_is_run_again_by_the_next_service() {
    let world = World::new();
    waiting(&world, "{ drain: 0 }");
    let mut process = at_work(&world);
    process.terminate();
    assert_eq!(process.ended(), Some(0));
    assert!(!world.path("go").exists());
    fs::write(world.path("go"), "").unwrap();
    let process = Process::start(&world);
    let job = only_job(&process);
    assert_eq!((&job["state"], &job["attempts"]), (&json!("success"), &json!(1)), "{job}");
    let metrics = process.ask("GET", "/metrics").body;
    assert!(metrics.contains("backup_operations_total{type=\"full\",status=\"success\"} 1"), "{metrics}");
    assert!(metrics.contains("backup_operations_total{type=\"full\",status=\"failed\"} 0"), "{metrics}");
}

#[test]
fn a_backup_that_somebody_stopped_stays_stopped() {
    let world = World::new();
    waiting(&world, "{ drain: 0 }");
    let mut process = at_work(&world);
    process.ask("POST", "/v1/backups/cancel/accounts").is(202);
    process.terminate();
    assert_eq!(process.ended(), Some(0));
    fs::write(world.path("go"), "").unwrap();
    assert_eq!(only_job(&Process::start(&world))["state"], "canceled");
}

/// Storage that takes every connection and never says a word; how many it took.
fn hanging() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, taken) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            kept.push(stream);
            count.store(kept.len(), Ordering::Relaxed);
        }
    });
    (address, taken)
}

/// A service whose backup waits for storage that hangs.
fn at_hanging_storage(world: &World, stop: &str) -> Process {
    world.configure(ROUTINE, &format!("  stop: {stop}"));
    let (address, taken) = hanging();
    let text = fs::read_to_string(world.path("config.yml")).unwrap();
    let local = format!("local-storage:\n      path: {}", world.path("backups").display());
    let far = format!(
        "s3-storage: {{ bucket: backups, s3-region: us-east-1, access-key-id: a, secret-access-key: b, \
         s3-endpoint-override: 'http://{address}' }}"
    );
    assert!(text.contains(&local), "{text}");
    fs::write(world.path("config.yml"), text.replace(&local, &far)).unwrap();
    let process = Process::start(world);
    process.ask("POST", "/v1/backups/full/accounts").is(202);
    until(|| (taken.load(Ordering::Relaxed) > 0).then_some(()));
    process
}

#[test]
fn storage_that_hangs_holds_up_no_end_and_the_backup_is_run_again() {
    let world = World::new();
    let mut process = at_hanging_storage(&world, "{ drain: 0, within: 3 }");
    process.terminate();
    assert_eq!(process.ended(), Some(3));
    process.says("left behind: job 1 (backup) did not stop in time");
    world.configure(ROUTINE, "");
    assert_eq!(only_job(&Process::start(&world))["state"], "success");
}

#[test]
fn a_second_word_ends_it_at_once() {
    let world = World::new();
    let mut process = at_hanging_storage(&world, "{ drain: 3600, within: 3600 }");
    process.terminate();
    process.says("stopping");
    process.terminate();
    assert_eq!(process.ended(), Some(130));
}

#[test]
fn times_that_make_no_sense_are_refused() {
    for (stop, words) in [("{ within: 0 }", "within: 0"), ("{ drain: 20, within: 10 }", "drain is longer")] {
        let mut world = World::new();
        world.configure(ROUTINE, &format!("  stop: {stop}"));
        assert!(world.try_start().unwrap_err().to_string().contains(words));
    }
}
