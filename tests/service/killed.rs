//! A service that is killed while it restores, verifies, drops or drills: what was at work has failed, nothing holds up what comes
//! next, and that comes out right.

use crate::{
    client::{Answer, request, until},
    process::Process,
    world::{ROUTINE, World},
};
use serde_json::{Value as Json, json};
use std::{fs, process::Command};

fn post(process: &Process, path: &str, body: &Json) -> Answer {
    let head = [("content-type", "application/json")];
    request(process.address(), "POST", path, &head, Some(&body.to_string()))
}

fn jobs(process: &Process, verb: &str) -> Vec<Json> {
    let all = process.ask("GET", "/api/v1/jobs").is(200).json();
    all.as_array().unwrap().iter().filter(|job| job["verb"] == verb).cloned().collect()
}

fn is_over(job: &Json) -> bool {
    !["queued", "running"].contains(&job["state"].as_str().unwrap())
}

/// Waits until nothing is to be done any more.
fn rest(process: &Process) {
    until(|| {
        let all = process.ask("GET", "/api/v1/jobs").is(200).json();
        all.as_array().unwrap().iter().all(is_over).then_some(())
    });
    // What follows from an end is still at work when the end is known.
    until(|| {
        let state = process.ask("GET", "/v1/backups/currentBackup/accounts").is(200).json();
        (state["full"].is_null() && state["incremental"].is_null() && state["queued"] == json!([])).then_some(())
    });
    let all = process.ask("GET", "/api/v1/jobs").is(200).json();
    if !all.as_array().unwrap().iter().all(is_over) {
        rest(process);
    }
}

/// Whether all that follows from the newest backup is over: retention, which comes behind its verification.
fn follows(process: &Process) -> bool {
    let newest = |verb: &str| jobs(process, verb).first().cloned();
    let (Some(backup), Some(last)) = (newest("backup"), newest("retention")) else { return false };
    is_over(&backup) && is_over(&last) && last["id"].as_i64() > backup["id"].as_i64()
}

fn filled(service: &str, routine: &str) -> World {
    let world = World::new();
    world.configure(&format!("{ROUTINE}{routine}"), service);
    let db = world.database("accounts.db");
    db.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         INSERT INTO accounts SELECT i, hex(randomblob(60)) FROM n;",
    )
    .unwrap();
    world
}

fn back_up(process: &Process) {
    process.ask("POST", "/v1/backups/full/accounts").is(202);
    rest(process);
    assert_eq!(jobs(process, "backup")[0]["state"], "success");
}

/// Everything in the repository is whole, by the command.
fn is_good(world: &World) {
    let verified = Command::new(env!("CARGO_BIN_EXE_rekeep"))
        .arg("-r")
        .arg(world.path("backups/rekeep"))
        .arg("--password-file")
        .arg(world.path("password"))
        .args(["verify", "--read-data"])
        .env("REKEEP_CACHE_DIR", world.path("other-cache"))
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_restore_that_is_killed_has_failed_and_the_same_one_comes_out_right() {
    let world = filled("", "");
    let mut process = Process::start(&world);
    back_up(&process);
    let backup = process.ask("GET", "/v1/backups/full/accounts").json()[0].clone();
    let asked = |bandwidth: u64| {
        json!({
            "backup-data-path": backup["key"], "target": format!("sqlite:{}", world.path("out.db").display()),
            "verify": true, "policy": { "bandwidth": bandwidth, "replace": true },
        })
    };
    // As soon as it is asked for, as soon as it is at work, while it writes, while it compares.
    for step in 0..4 {
        let id = post(&process, "/v1/restore/full", &asked(1)).is(202).json();
        let path = format!("/v1/restore/status/{id}");
        if step > 0 {
            until(|| {
                let status = process.ask("GET", &path).is(200).json();
                let phase = status["current-job"]["phase"].as_str().unwrap_or_default();
                let is_there = match step {
                    1 => status["current-job"].is_object(),
                    2 => status["current-job"]["done-records"].as_u64().is_some_and(|done| done > 0),
                    _ => phase.starts_with("compar") || phase.starts_with("verif"),
                };
                (is_there || status["status"] != "running").then_some(())
            });
        }
        process.kill();
        process = Process::start(&world);
        let status = process.ask("GET", &path).is(200).json();
        assert!(status["current-job"].is_null(), "{status}");
        assert_eq!(status["queued"], false, "{status}");
        if status["status"] != "success" {
            assert_eq!(status["status"], "failure", "step {step}: {status}");
            assert!(status["error"].as_str().unwrap().contains("the service ended"), "{status}");
        }
        rest(&process);
        // Nobody holds the target.
        let again = post(&process, "/v1/restore/full", &asked(0)).is(202).json();
        let path = format!("/v1/restore/status/{again}");
        let status = until(|| Some(process.ask("GET", &path).json()).filter(|status| status["status"] != "running"));
        assert_eq!(status["status"], "success", "step {step}: {status}");
        assert_eq!(world.names("out.db"), world.names("accounts.db"));
        let left: Vec<_> = fs::read_dir(world.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("out.db") && name != "out.db")
            .collect();
        assert_eq!(left, [""; 0], "step {step}");
        fs::remove_file(world.path("out.db")).unwrap();
    }
    is_good(&world);
}

#[test]
fn a_drill_that_is_killed_leaves_no_report_and_nothing_behind_and_the_next_one_passes() {
    for (target, prepare) in [("", ""), ("      target: 'sqlite:{dir}/drilled.db'\n", "      prepare: clears\n")] {
        let hooks = "  hooks:\n    waits: { command: [sh, -c, 'touch {dir}/reached; until test -e {dir}/go; do sleep 0.05; done'] }\n    \
                     clears: { command: [sh, -c, 'rm -f {dir}/drilled.db; touch {dir}/reached; until test -e {dir}/go; do sleep 0.05; done'] }";
        let world = filled(hooks, &format!("    drill:\n{target}{prepare}      assertions: [waits]\n"));
        let mut process = Process::start(&world);
        back_up(&process);
        process.ask("POST", "/v1/drills/accounts").is(202);
        until(|| world.path("reached").exists().then_some(()));
        process.kill();
        // Whoever was started by it ends.
        fs::write(world.path("go"), "").unwrap();
        process = Process::start(&world);
        rest(&process);
        let killed = jobs(&process, "drill");
        assert_eq!((killed.len(), &killed[0]["state"]), (1, &json!("failure")), "{killed:?}");
        assert_eq!(process.ask("GET", "/v1/drills").is(200).json()["reports"], json!([]));
        let state = process.ask("GET", "/v1/backups/currentBackup/accounts").json();
        assert_eq!((&state["last-drill"], &state["last-proof"]), (&json!("failure"), &json!(null)), "{state}");
        process.ask("POST", "/v1/drills/accounts").is(202);
        rest(&process);
        let listed = process.ask("GET", "/v1/drills").json();
        assert_eq!(listed["reports"][0]["passed"], true, "{listed}");
        let scratch = world.path("state/drills");
        let left = fs::read_dir(&scratch).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        // Locks of targets stay: whoever took one away would take it from who holds it.
        let left: Vec<_> = left.filter(|name| !name.to_str().unwrap().starts_with("target-")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(process.ask("GET", "/v1/backups/currentBackup/accounts").json()["last-proof"].is_string());
    }
}

#[test]
fn verification_and_retention_that_are_killed_have_failed_and_the_next_run_does_both() {
    let world = filled("", "");
    let file = world.path("config.yml");
    let text = fs::read_to_string(&file).unwrap();
    let policy = "    verify: data\n    retention: { full: 1 }\n    retry-policy:";
    fs::write(&file, text.replace("    retry-policy:", policy)).unwrap();
    let mut process = Process::start(&world);
    back_up(&process);
    let snapshots = || fs::read_dir(world.path("backups/rekeep/snapshots")).unwrap().count();
    let trash = || fs::read_dir(world.path("backups/rekeep/trash")).map_or(0, Iterator::count);
    // As soon as it is verified, as soon as what is old is forgotten, as soon as packs are marked, and as soon as retention is at work.
    for step in 0..4 {
        world.database("accounts.db").execute("UPDATE accounts SET name = hex(randomblob(60))", ()).unwrap();
        let (forgotten, marked) = (snapshots(), trash());
        process.ask("POST", "/v1/backups/full/accounts").is(202);
        until(|| {
            let is_at_work = |verb: &str| jobs(&process, verb).iter().any(|job| job["state"] == "running");
            let is_there = match step {
                0 => is_at_work("verify"),
                1 => snapshots() < forgotten + 1 && jobs(&process, "backup")[0]["state"] == "success",
                2 => trash() > marked,
                _ => is_at_work("retention"),
            };
            // What follows from it may be done before it is seen: retention comes last.
            let is_done = follows(&process);
            (is_there || is_done).then_some(())
        });
        process.kill();
        process = Process::start(&world);
        rest(&process);
        for verb in ["verify", "retention"] {
            for job in jobs(&process, verb).into_iter().filter(is_over) {
                let words = job["error"].as_str().unwrap_or_default();
                let is_told = job["state"] == "success" || words.contains("the service ended");
                assert!(is_told, "step {step}: {job}");
            }
        }
        back_up(&process);
        until(|| follows(&process).then_some(()));
        for verb in ["verify", "retention"] {
            assert_eq!(jobs(&process, verb)[0]["state"], "success", "step {step}: {:?}", jobs(&process, verb));
        }
        let kept = process.ask("GET", "/v1/backups/full/accounts").json();
        assert_eq!(kept.as_array().unwrap().len(), 1, "step {step}: {kept}");
        is_good(&world);
    }
}
