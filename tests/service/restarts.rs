//! What outlives the service, however it ends.

use crate::{
    client::until,
    process::Process,
    world::{ROUTINE, World},
};
use serde_json::{Value as Json, json};

#[test]
fn jobs_their_ends_and_all_counts_are_there_after_a_restart() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let first = world.back_up("accounts", "full");
    let request =
        json!({ "backup-data-path": first["key"], "target": format!("sqlite:{}", world.path("a.db").display()) });
    let started = world.ask("POST", "/v1/restore/full", Some(&request));
    let status = world.restored(&started);
    world.ask("POST", "/v1/backups/full/accounts?delay=600000", None).is(202);
    let state = world.get("/v1/backups/currentBackup/accounts");
    let metrics = |world: &World| {
        // What follows from an end may still be at work.
        let idle = |text: &String| !text.contains("job=\"") && !text.contains("_running_seconds{");
        let text = until(|| Some(world.ask("GET", "/metrics", None).is(200).body).filter(idle));
        text.lines().filter(|line| !line.contains("_seconds ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let counts = metrics(&world);
    world.stop();
    world.start();
    assert_eq!(world.get(&format!("/v1/restore/status/{}", started.json())), status);
    assert_eq!(world.get("/v1/backups/currentBackup/accounts"), state);
    assert_eq!(world.get("/v1/backups/full/accounts"), json!([first]));
    assert_eq!(metrics(&world), counts);
}

/// What follows from a backup, and drills, wait again as backups do; of a restore nobody knows any more what it was to do.
#[test]
fn whatever_waited_waits_again_after_a_restart_but_restores() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    world.stop();
    let db = world.database("state/state.db");
    let works = [
        json!({ "verb": "retention", "routine": "accounts" }),
        json!({ "verb": "verify", "routine": "accounts", "how": "data" }),
        json!({ "verb": "drill", "routine": "accounts" }),
        json!({ "verb": "restore", "routine": "accounts", "request": {} }),
        json!({ "verb": "verify", "routine": "gone", "how": "data" }),
    ];
    for work in &works {
        db.execute(
            "INSERT INTO jobs (verb, kind, routine, by, work, state, created, begin) VALUES (?, '', ?, '-', ?, 'queued', 1, 1)",
            (work["verb"].as_str(), work["routine"].as_str(), work.to_string()),
        )
        .unwrap();
    }
    drop(db);
    world.start();
    let ended = until(|| {
        let jobs = world.get("/api/v1/jobs");
        let ours: Vec<Json> = jobs.as_array().unwrap().iter().take(works.len()).rev().cloned().collect();
        ours.iter().all(|job| !job["finished"].is_null()).then_some(ours)
    });
    let told: Vec<_> =
        ended.iter().map(|job| (job["verb"].as_str().unwrap(), job["state"].as_str().unwrap())).collect();
    let wanted = [
        ("retention", "success"),
        ("verify", "success"),
        ("drill", "success"),
        ("restore", "failure"),
        ("verify", "failure"),
    ];
    assert_eq!(told, wanted, "{ended:?}");
}

#[test]
fn a_log_file_gets_what_is_told() {
    let world = World::new();
    let logger = "  logger:\n    file-writer: { filename: '{dir}/logs/service.log', maxsize: 1, maxbackups: 2 }\n";
    world.configure(ROUTINE, logger);
    let mut process = Process::start(&world);
    let text =
        until(|| std::fs::read_to_string(world.path("logs/service.log")).ok().filter(|text| text.ends_with('\n')));
    let first: Json = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "INFO", "{first}");
    process.kill();
    world.configure(ROUTINE, "  logger:\n    file-writer: { maxsize: 1 }\n");
    let mut other = world;
    assert!(other.try_start().unwrap_err().to_string().contains("it needs filename"));
}

#[cfg(unix)]
#[test]
fn a_service_that_is_killed_at_work_loses_nothing_and_the_next_goes_on() {
    let world = World::new();
    world.configure(ROUTINE, "");
    let db = world.database("accounts.db");
    db.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
         INSERT INTO accounts SELECT i, hex(randomblob(60)) FROM n;",
    )
    .unwrap();
    drop(db);
    let mut process = Process::start(&world);
    let mut killed_at_work = 0;
    // At different steps: as soon as it is asked for, as soon as it is at work, while it reads.
    for step in 0..4 {
        process.ask("POST", "/v1/backups/full/accounts").is(202);
        if step > 0 {
            until(|| {
                let state = process.ask("GET", "/v1/backups/currentBackup/accounts").json();
                let done = state["full"]["done-records"].as_u64();
                let is_there = if step == 1 { !state["full"].is_null() } else { done.is_some_and(|done| done > 0) };
                (is_there || state["queued"] == json!([]) && state["full"].is_null()).then_some(())
            });
        }
        process.kill();
        process = Process::start(&world);
        let state = process.ask("GET", "/v1/backups/currentBackup/accounts").is(200).json();
        killed_at_work += usize::from(state["full"].is_null());
        // What waited goes on by itself; what was at work has failed. Either way it comes to an end.
        until(|| {
            let state = process.ask("GET", "/v1/backups/currentBackup/accounts").json();
            (state["full"].is_null() && state["queued"] == json!([])).then_some(())
        });
    }
    assert!(killed_at_work > 0);
    let before = process.ask("GET", "/v1/backups/full/accounts").is(200).json().as_array().unwrap().len();
    process.ask("POST", "/v1/backups/full/accounts").is(202);
    let backups = until(|| {
        let now = process.ask("GET", "/v1/backups/full/accounts").json().as_array().unwrap().clone();
        (now.len() > before).then_some(now)
    });
    assert_eq!(backups.last().unwrap()["record-count"], 60_000);
    // A word to end is heard.
    process.terminate();
    assert_eq!(process.ended(), Some(0));
}
