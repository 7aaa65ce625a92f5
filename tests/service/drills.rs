//! Drills by schedule and on demand, their reports over HTTP, and how old the last proof is.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use serde_json::{Value as Json, json};
use std::fs;

/// Waits until a job is over.
#[track_caller]
fn ended(world: &World, job: &Json) -> Json {
    let id = job.as_i64().unwrap();
    until(|| {
        let job = world.get(&format!("/api/v1/jobs/{id}"));
        let state = job["state"].as_str().or(job["status"].as_str()).unwrap_or_default().to_owned();
        (!["queued", "running", "pending", "in_progress"].contains(&state.as_str())).then_some(job)
    })
}

fn routine(drill: &str) -> String {
    format!("{ROUTINE}    drill:\n{drill}")
}

#[test]
fn a_routine_is_drilled_on_demand_and_its_report_is_listed_shown_and_printed() {
    let mut world = World::new();
    world.configure(
        &routine("      assertions: [looks]\n      max-rpo: 3600\n      interval-cron: '0 0 0 1 1 ? 2092'\n"),
        "  hooks:\n    looks: { command: [sh, -c, 'echo $REKEEP_DRILL_RECORDS of $REKEEP_DRILL_SOURCE'] }",
    );
    world.start();
    assert_eq!(world.get("/v1/drills"), json!({ "reports": [], "problems": [] }));
    world.back_up("accounts", "full");
    let begun = world.ask("POST", "/v1/drills/accounts", None).is(202).json();
    let job = ended(&world, &begun["job"]);
    assert!(job.to_string().contains("success"), "{job}");
    let state = world.get("/v1/backups/currentBackup/accounts");
    assert!(state["last-proof"].is_string() && state["last-full"].is_string(), "{state}");
    assert_eq!(state["last-drill"], "success");
    assert!(state["next-drill"].as_str().unwrap().starts_with("2092-01-01"), "{state}");
    let listed = world.get("/v1/drills?routine=accounts&limit=1");
    let report = &listed["reports"][0];
    assert_eq!((&report["passed"], &report["records"]), (&json!(true), &json!(1)), "{listed}");
    let looked = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "assertion: looks").unwrap();
    assert!(looked["words"].as_str().unwrap().starts_with("1 of sqlite:"), "{looked}");
    let path = format!("/v1/drills/{}", report["report"].as_str().unwrap());
    assert_eq!(world.get(&path), *report);
    let page = world.ask("GET", &format!("{path}/page"), None).is(200);
    assert!(page.body.contains("PASSED") && page.body.contains("assertion: looks"), "{page:?}");
    let text = world.ask("GET", "/metrics", None).is(200).body;
    assert!(text.contains("rekeep_last_proof_timestamp_seconds{routine=\"accounts\"} "), "{text}");
    assert!(text.contains("rekeep_drill_events_total{routine=\"accounts\",outcome=\"success\"} 1"), "{text}");
    assert!(fs::read_dir(world.path("state/drills")).unwrap().next().is_none());

    for (path, status) in [
        ("/v1/drills/00000000000000000000000000000000/0", 404),
        ("/v1/drills/xyz/0", 400),
        ("/v1/drills/00000000000000000000000000000000/x", 400),
        ("/v1/drills/00000000000000000000000000000000/-1/page", 400),
        ("/v1/drills?limit=0", 400),
        ("/v1/drills?limit=1001", 400),
        ("/v1/drills?routine=none", 404),
        ("/v1/drills?what=1", 400),
    ] {
        world.ask("GET", path, None).is(status);
    }
    world.ask("POST", "/v1/drills/none", None).is(404);

    // The proof outlives a restart, in reports and in metrics.
    world.stop();
    world.start();
    assert_eq!(world.get("/v1/backups/currentBackup/accounts")["last-proof"], state["last-proof"]);
    assert_eq!(world.get("/v1/drills")["reports"].as_array().unwrap().len(), 1);
}

#[test]
fn a_drill_that_fails_is_a_failure_with_a_report() {
    let mut world = World::new();
    world.configure(
        &routine("      assertions: [no, hangs]\n"),
        "  hooks:\n    no: { command: [sh, -c, 'echo too few; exit 1'] }\n    hangs: { command: [sleep, '600'], timeout: 0 }",
    );
    world.start();
    let early = world.ask("POST", "/v1/drills/accounts", None).is(202).json();
    let job = ended(&world, &early["job"]);
    assert!(job.to_string().contains("no_") || job.to_string().contains("no backup"), "{job}");
    world.back_up("accounts", "full");
    let begun = world.ask("POST", "/v1/drills/accounts", None).is(202).json();
    let job = ended(&world, &begun["job"]);
    assert!(job.to_string().contains("too few"), "{job}");
    let state = world.get("/v1/backups/currentBackup/accounts");
    assert_eq!((&state["last-drill"], &state["last-proof"]), (&json!("failure"), &json!(null)), "{state}");
    let report = world.get("/v1/drills")["reports"][0].clone();
    let failed: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["passed"] == false)
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["assertion: no", "assertion: hangs"]);
}

#[test]
fn a_drill_is_run_by_schedule() {
    let mut world = World::new();
    world.configure(&routine("      interval-cron: '* * * * * ?'\n      sample: 100%\n"), "");
    world.start();
    world.back_up("accounts", "full");
    let report = until(|| world.get("/v1/drills")["reports"].get(0).cloned());
    assert_eq!(report["passed"], true, "{report}");
}

#[test]
fn a_drill_goes_nowhere_that_is_not_allowed() {
    let mut world = World::new();
    world.configure(&routine("      target: sqlite:/etc/drilled.db\n"), "");
    world.start();
    world.back_up("accounts", "full");
    let begun = world.ask("POST", "/v1/drills/accounts", None).is(202).json();
    let job = ended(&world, &begun["job"]);
    assert!(job.to_string().contains("restore-targets"), "{job}");
    assert_eq!(world.get("/v1/drills")["reports"], json!([]));

    world.stop();
    world.configure(&routine("      target: 'sqlite:{dir}/drilled.db'\n"), "");
    world.start();
    let begun = world.ask("POST", "/v1/drills/accounts", None).is(202).json();
    ended(&world, &begun["job"]);
    assert_eq!(world.get("/v1/drills")["reports"][0]["passed"], true);
    assert_eq!(world.names("drilled.db"), ["one"]);
    // It holds records now, and nobody has cleared it.
    let begun = world.ask("POST", "/v1/drills/accounts", None).is(202).json();
    ended(&world, &begun["job"]);
    let report = world.get("/v1/drills")["reports"][0].clone();
    assert!(report["passed"] == false && report.to_string().contains("already holds records"), "{report}");
}

#[test]
fn what_a_drill_is_told_wrongly_is_found_at_the_start() {
    for (drill, words) in [
        ("      interval-cron: 'never'\n", "drill"),
        ("      sample: 0%\n", "no sample"),
        ("      assertions: [none]\n", "no hook `none`"),
        ("      target: nowhere\n", "URL"),
        ("      target-options: { as_user: u }\n", "target"),
        ("      what: 1\n", "what"),
        ("      max-rpo: -1\n", "no whole number from 0 on at line"),
    ] {
        let mut world = World::new();
        world.configure(&routine(drill), "");
        let error = world.try_start().unwrap_err().to_string();
        assert!(error.contains(words), "{drill}: {error}");
    }
}

#[test]
fn the_interface_cannot_move_scratch_folders() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let mut config = world.get("/v1/config");
    config["service"]["drill-scratch"] = json!("/etc");
    world.ask("PUT", "/v1/config", Some(&config)).is(403);
}

/// A restore of everything into a new place, or of what `more` says.
#[track_caller]
fn restored(world: &World, target: &str, more: &Json) -> Json {
    let time = world.get("/v1/backups/full/accounts")[0]["finished-timestamp"].clone();
    let target = format!("sqlite:{}", world.path(target).display());
    let mut request = json!({ "routine": "accounts", "time": time, "target": target, "verify": true });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!(status["status"], "success", "{more}: {status}");
    status
}

#[test]
fn trials_and_parts_prove_nothing_and_hide_no_proof() {
    let mut world = World::new();
    world.database("accounts.db").execute_batch("CREATE TABLE other (id INTEGER PRIMARY KEY)").unwrap();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    let proof = |world: &World| world.get("/v1/backups/currentBackup/accounts")["last-proof"].clone();
    let mut number = 0;
    let mut try_parts = |world: &World| {
        for more in [
            json!({ "dry-run": true }),
            json!({ "collection": "accounts", "keys": ["int:1"] }),
            json!({ "collection": "accounts" }),
            json!({ "verify": false }),
        ] {
            number += 1;
            restored(world, &format!("part-{number}.db"), &more);
        }
    };
    try_parts(&world);
    assert_eq!(proof(&world), json!(null));
    assert!(!world.ask("GET", "/metrics", None).body.contains("rekeep_last_proof_timestamp_seconds{"));
    restored(&world, "whole.db", &json!({}));
    let first = proof(&world);
    assert!(first.is_string());
    // What is there and stays is not restored, and compared with nothing.
    restored(&world, "whole.db", &json!({ "overwrite": "never" }));
    try_parts(&world);
    assert_eq!(proof(&world), first);
    world.stop();
    // It outlives the job that gave it.
    world.database("state/state.db").execute("DELETE FROM jobs", ()).unwrap();
    world.start();
    assert_eq!(proof(&world), first);
    assert!(
        world.ask("GET", "/metrics", None).body.contains("rekeep_last_proof_timestamp_seconds{routine=\"accounts\"} ")
    );
    restored(&world, "again.db", &json!({}));
    assert_ne!(proof(&world), first);
}

#[test]
fn a_drill_by_the_command_counts_here_too() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    let drilled = std::process::Command::new(env!("CARGO_BIN_EXE_rekeep"))
        .arg("-r")
        .arg(world.path("backups/rekeep"))
        .arg("--password-file")
        .arg(world.path("password"))
        .arg("drill")
        .env("REKEEP_CACHE_DIR", world.path("other-cache"))
        .output()
        .unwrap();
    assert!(drilled.status.success(), "{drilled:?}");
    // The first time that it is asked makes the service look.
    let name = "rekeep_last_proof_timestamp_seconds{routine=\"accounts\"} ";
    until(|| world.ask("GET", "/metrics", None).is(200).body.contains(name).then_some(()));
    assert!(world.get("/v1/backups/currentBackup/accounts")["last-proof"].is_string());
    // And so does a page, in a service that nobody asked for anything else.
    world.stop();
    world.start();
    let page = || {
        let head = [("accept", "text/html")];
        crate::client::request(world.address(), "GET", "/console/sources/accounts", &head, None).is(200).body
    };
    until(|| {
        let page = page();
        let fact = page.split("Proved by a restore").nth(1).and_then(|rest| rest.split("</div>").next()).unwrap();
        (!fact.contains('—')).then_some(())
    });
}
