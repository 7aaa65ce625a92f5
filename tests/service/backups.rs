//! Backups and restores of a database through the interface.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use serde_json::json;

#[test]
fn a_database_is_backed_up_listed_and_restored_as_of_a_time() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    assert_eq!(world.get("/v1/backups/full/accounts"), json!([]));
    let first = world.back_up("accounts", "full");
    assert_eq!((&first["namespace"], &first["record-count"]), (&json!("accounts"), &json!(1)));
    assert_eq!((&first["complete"], &first["read"]), (&json!(true), &json!("full")));
    world.change(1, "changed");
    world.change(2, "two");
    let second = world.back_up("accounts", "incremental");
    assert_eq!(second["record-count"], 2);

    // As of the end of the first: the second had not begun.
    let target = |name: &str| format!("sqlite:{}", world.path(name).display());
    let request = json!({ "routine": "accounts", "time": first["finished-timestamp"], "target": target("then.db"), "verify": true });
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!((&status["status"], &status["inserted-records"]), (&json!("success"), &json!(1)), "{status}");
    assert_eq!(world.names("then.db"), ["one"]);

    // By the key of the list.
    let request = json!({ "backup-data-path": second["key"], "target": target("now.db") });
    world.ask("POST", "/v1/restore/full", Some(&request)).is(400);
    let status = world.restored(&world.ask("POST", "/v1/restore/incremental", Some(&request)));
    assert_eq!(status["read-records"], 2, "{status}");
    assert_eq!(world.names("now.db"), ["changed", "two"]);

    // A target that holds records is refused, unless somebody says what becomes of them.
    let status = world.restored(&world.ask("POST", "/v1/restore/incremental", Some(&request)));
    assert_eq!(status["status"], "failure");
    let all = world.get("/v1/restore/jobs");
    assert_eq!(all.as_object().unwrap().len(), 3);
    assert_eq!(world.get("/v1/restore/jobs?status=!failure").as_object().unwrap().len(), 2);
    assert_eq!(world.get("/v1/restore/jobs?status=failure,canceled").as_object().unwrap().len(), 1);

    // Ranges of time.
    let at = first["timestamp"].as_i64().unwrap();
    assert_eq!(world.get(&format!("/v1/backups/full?from={at}&to={at}"))["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(world.get(&format!("/v1/backups/full?from={}", at + 1))["accounts"], json!([]));
    let state = world.get("/v1/backups/currentBackup/accounts");
    assert!(
        state["last-full"].is_string() && state["next-full"].as_str().unwrap().starts_with("2090-01-01"),
        "{state}"
    );
    assert_eq!(state["full"], json!(null));
}

#[test]
fn what_there_is_not_is_told_by_404() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let request = json!({ "routine": "accounts", "time": 1_800_000_000_000_i64, "target": "sqlite:/x" });
    let told = world.ask("POST", "/v1/restore/timestamp", Some(&request)).is(404);
    assert!(told.error().contains("repository"), "{told:?}");
    world.back_up("accounts", "full");
    let early = json!({ "routine": "accounts", "time": 1_000_000_000_001_i64, "target": "sqlite:/x" });
    world.ask("POST", "/v1/restore/timestamp", Some(&early)).is(404);
    let gone = json!({ "backup-data-path": "accounts/backup/1/data/accounts", "target": "sqlite:/x" });
    world.ask("POST", "/v1/restore/full", Some(&gone)).is(404);
    for (method, path) in [
        ("GET", "/v1/backups/full/none"),
        ("POST", "/v1/backups/full/none"),
        ("GET", "/v1/backups/currentBackup/none"),
        ("POST", "/v1/backups/cancel/none"),
        ("GET", "/v1/restore/status/99"),
        ("POST", "/v1/restore/cancel/99"),
        ("GET", "/v1/retrieve/configuration/accounts/1"),
        ("GET", "/v1/nothing"),
    ] {
        world.ask(method, path, None).is(404);
    }
}

/// A restore may write links, and none of them leads another out of what is allowed.
#[cfg(unix)]
#[test]
fn a_link_that_a_restore_made_leads_no_other_out() {
    use std::{fs, os::unix::fs::symlink};
    let mut world = World::new();
    for folder in ["tree", "outside", "in"] {
        fs::create_dir(world.path(folder)).unwrap();
    }
    fs::write(world.path("tree/f"), "evil").unwrap();
    symlink(world.path("outside"), world.path("tree/link")).unwrap();
    world.configure(&ROUTINE.replace("sqlite:{dir}/accounts.db", "files:{dir}/tree"), "");
    let text = fs::read_to_string(world.path("config.yml")).unwrap();
    let own = format!("['sqlite:{}']", world.path("").display());
    assert!(text.contains(&own), "{text}");
    let inside = format!("files:{}", world.path("in/").display());
    fs::write(world.path("config.yml"), text.replace(&own, &format!("['{inside}']"))).unwrap();
    world.start();
    let first = world.back_up("accounts", "full");
    let request = |target: &str| json!({ "backup-data-path": first["key"], "target": format!("{inside}{target}") });
    let started = world.ask("POST", "/v1/restore/full", Some(&request("a")));
    let done = world.restored(&started);
    assert_eq!(fs::read_link(world.path("in/a/link")).unwrap(), world.path("outside"), "{done}");
    for target in ["a/link", "a/link/", "a/link/sub", "a/link/sub/deeper/still"] {
        let told = world.ask("POST", "/v1/restore/full", Some(&request(target))).is(403);
        assert!(told.error().contains("restore-targets"), "{told:?}");
    }
    assert_eq!(fs::read_dir(world.path("outside")).unwrap().count(), 0);
    world.restored(&world.ask("POST", "/v1/restore/full", Some(&request("a/new/newer"))));
    assert_eq!(fs::read_to_string(world.path("in/a/new/newer/f")).unwrap(), "evil");
}

#[test]
fn a_target_that_is_not_allowed_is_refused() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let first = world.back_up("accounts", "full");
    for target in ["sqlite:/etc/x.db", "files:/", "jsonl:-"] {
        let request = json!({ "backup-data-path": first["key"], "target": target });
        let told = world.ask("POST", "/v1/restore/full", Some(&request)).is(403);
        assert!(told.error().contains("restore-targets"), "{told:?}");
    }
    let climbs = format!("sqlite:{}/../x.db", world.path("").display());
    // What cannot be had of such a target is refused, not left out.
    for policy in [json!({ "set-list": ["s"] }), json!({ "no-indexes": true }), json!({ "extra-ttl": 5 })] {
        let target = format!("sqlite:{}", world.path("x.db").display());
        let request = json!({ "backup-data-path": first["key"], "target": target, "policy": policy });
        let told = world.ask("POST", "/v1/restore/full", Some(&request)).is(400);
        assert!(told.error().contains("target-options"), "{told:?}");
    }
    let request = json!({ "backup-data-path": first["key"], "target": climbs });
    world.ask("POST", "/v1/restore/full", Some(&request)).is(403);
    let elsewhere = json!({ "destination": { "seed-nodes": [{ "host-name": "169.254.169.254", "port": 80 }] },
        "backup-data-path": first["key"] });
    world.ask("POST", "/v1/restore/full", Some(&elsewhere)).is(403);
    let elsewhere = json!({ "source": { "local-storage": { "path": "/etc" } }, "backup-data-path": first["key"],
        "target": format!("sqlite:{}", world.path("x.db").display()) });
    world.ask("POST", "/v1/restore/full", Some(&elsewhere)).is(403);
}

#[test]
fn a_schedule_runs_by_itself_and_a_disabled_routine_does_not() {
    let mut world = World::new();
    let every_second = ROUTINE.replace("'0 0 0 1 1 ? 2090'", "'* * * * * *'");
    world.configure(&every_second, "");
    world.start();
    until(|| (world.get("/v1/backups/full/accounts").as_array().unwrap().len() >= 2).then_some(()));
    world.ask("PUT", "/v1/config/routines/accounts/disable", None).is(204);
    let is_quiet = |world: &World| {
        let state = world.get("/v1/backups/currentBackup/accounts");
        (state["full"].is_null() && state["queued"] == json!([])).then_some(state)
    };
    let state = until(|| is_quiet(&world));
    assert!(state["next-full"].is_null(), "{state}");
    let metrics = world.ask("GET", "/metrics", None).is(200).body;
    assert!(
        metrics.contains(
            "aerospike_backup_service_backup_events_total{routine=\"accounts\",type=\"full\",outcome=\"success\"}"
        ),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"));
}

#[test]
fn retention_keeps_the_newest_fulls() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    let text = std::fs::read_to_string(world.path("config.yml")).unwrap();
    let kept = text.replace("  once:\n", "  once:\n    retention:\n      full: 2\n");
    std::fs::write(world.path("config.yml"), kept).unwrap();
    world.start();
    let mut newest = json!(null);
    for number in 0..4 {
        world.change(1, &format!("name {number}"));
        let list = |world: &World| world.get("/v1/backups/full/accounts").as_array().unwrap().clone();
        world.ask("POST", "/v1/backups/full/accounts", None).is(202);
        newest = until(|| list(&world).last().filter(|found| **found != newest).cloned());
    }
    until(|| (world.get("/v1/backups/full/accounts").as_array().unwrap().len() == 2).then_some(()));
}

#[test]
fn incrementals_are_no_fulls_for_retention_though_everything_was_read() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    let text = std::fs::read_to_string(world.path("config.yml")).unwrap();
    let kept = text.replace("  once:\n", "  once:\n    retention: { full: 2, incremental: 1 }\n");
    std::fs::write(world.path("config.yml"), kept).unwrap();
    world.start();
    let made = |kind: &str| {
        world.change(1, &format!("{kind} {}", world.get(&format!("/v1/backups/{kind}/accounts"))));
        let kept = world.back_up("accounts", kind);
        assert_eq!(kept["read"], "full", "each backup of this source reads everything");
        // What retention decided stands once its job is over.
        until(|| {
            let jobs = world.get("/api/v1/jobs");
            let jobs = jobs.as_array().or_else(|| jobs["jobs"].as_array()).unwrap().clone();
            jobs.iter().all(|job| !["queued", "running"].contains(&job["state"].as_str().unwrap())).then_some(())
        });
        kept["timestamp"].clone()
    };
    let list = |kind: &str| -> Vec<serde_json::Value> {
        let listed = world.get(&format!("/v1/backups/{kind}/accounts"));
        listed.as_array().unwrap().iter().map(|it| it["timestamp"].clone()).collect()
    };
    let first = made("full");
    let early: Vec<_> = (0..3).map(|_| made("incremental")).collect();
    let second = made("full");
    assert_eq!(list("full"), [first, second.clone()], "two are to be kept, and there are two");
    assert_eq!(list("incremental"), Vec::<serde_json::Value>::new(), "{early:?} followed one that is not the newest");
    let behind = made("incremental");
    let third = made("full");
    assert_eq!(list("full"), [second, third]);
    assert!(!list("incremental").contains(&behind));
}

#[test]
fn one_waits_and_can_be_withdrawn() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.ask("POST", "/v1/backups/full/accounts?delay=600000", None).is(202);
    world.ask("POST", "/v1/backups/full/accounts?delay=600000", None).is(202);
    let waiting = world.get("/v1/backups/currentBackup/accounts")["queued"].clone();
    assert_eq!(waiting.as_array().unwrap().len(), 1);
    world.ask("POST", "/v1/backups/cancel/accounts", None).is(202);
    assert_eq!(world.get("/v1/backups/currentBackup/accounts")["queued"], json!([]));
    assert_eq!(world.get("/v1/backups/full/accounts"), json!([]));
}

#[cfg(unix)]
#[test]
fn what_is_skipped_is_counted_and_what_was_put_off_keeps_nothing_from_its_turn() {
    let hooks = "  hooks:\n    waits: { command: [sh, -c, 'until test -e {dir}/go; do sleep 0.05; done'] }";
    let routine = ROUTINE.replace("'0 0 0 1 1 ? 2090'", "'* * * * * *'");
    let mut world = World::new();
    world.configure(&format!("{routine}    on-overlap: skip\n    before: [waits]\n"), hooks);
    world.start();
    // For a year from now.
    world.ask("POST", "/v1/backups/full/accounts?delay=31536000000", None).is(202);
    let name = "aerospike_backup_service_backup_events_total{routine=\"accounts\",type=\"full\",outcome=\"skip\"} ";
    let count = |name: &str| -> u64 {
        let text = world.ask("GET", "/metrics", None).is(200).body;
        text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or(0)
    };
    until(|| (count(name) >= 2).then_some(()));
    assert!(count("backup_skip_total ") >= 2 && count("aerospike_backup_service_skip_total ") >= 2);
    let jobs = world.get("/api/v1/jobs");
    let skipped = jobs.as_array().unwrap().iter().find(|job| job["state"] == "skipped").unwrap();
    assert!(skipped["error"].as_str().unwrap().contains("is at work"), "{skipped}");
    std::fs::write(world.path("go"), "").unwrap();
    until(|| (world.get("/v1/backups/full/accounts").as_array().unwrap().len() >= 2).then_some(()));
    let queued = world.get("/v1/backups/currentBackup/accounts")["queued"].clone();
    assert!(queued.as_array().unwrap().contains(&json!(1)), "{queued}");
}

#[test]
fn a_backup_is_verified_afterwards_and_what_is_paused_stays_so_until_it_is_let_go_on() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let policy = json!({ "verify": "restore", "retry-policy": { "max-retries": 0 } });
    world.ask("PUT", "/v1/config/policies/once", Some(&policy)).is(200);
    world.ask("PUT", "/v1/config/routines/accounts/disable", None).is(204);
    let state = |world: &World| world.get("/v1/backups/currentBackup/accounts");
    assert!(state(&world)["next-full"].is_null());
    world.stop();
    world.start();
    assert!(state(&world)["next-full"].is_null());
    assert_eq!(world.get("/v1/config/routines/accounts")["disabled"], true);
    world.ask("PUT", "/v1/config/routines/accounts/enable", None).is(204);
    assert!(state(&world)["next-full"].as_str().unwrap().starts_with("2090-01-01"));
    world.ask("PUT", "/v1/config/routines/none/enable", None).is(404);
    world.ask("POST", "/v1/backups/schedule/accounts", None).is(202);
    world.ask("POST", "/v1/backups/schedule/none", None).is(404);
    until(|| state(&world)["last-proof"].is_string().then_some(()));
    let jobs = world.get("/api/v1/jobs");
    let told: Vec<_> = jobs.as_array().unwrap().iter().map(|job| (&job["verb"], &job["state"])).collect();
    assert_eq!(told, [(&json!("verify"), &json!("success")), (&json!("backup"), &json!("success"))]);
}
