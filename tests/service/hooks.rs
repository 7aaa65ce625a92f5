//! Commands before and after backups, and tries after a failure.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use serde_json::Value as Json;
use std::fs;

/// The newest job, once it is over.
fn newest(world: &World) -> Json {
    until(|| {
        let listed = world.get("/api/v1/jobs");
        let jobs = listed.as_array().or_else(|| listed["jobs"].as_array()).unwrap().clone();
        jobs.into_iter().next().filter(|job| !["queued", "running"].contains(&job["state"].as_str().unwrap()))
    })
}

fn begin(world: &World) -> Json {
    world.ask("POST", "/v1/backups/full/accounts", None).is(202);
    newest(world)
}

/// A configuration whose routine has these hooks and this policy.
fn configure(world: &World, routine: &str, hooks: &str, retry: &str) {
    world.configure(&format!("{ROUTINE}{routine}"), &format!("  hooks:\n{hooks}"));
    let path = world.path("config.yml");
    let text = fs::read_to_string(&path).unwrap().replace("max-retries: 0", retry);
    fs::write(path, text).unwrap();
}

#[test]
fn hooks_are_told_what_happens_and_one_that_fails_before_fails_the_backup() {
    let mut world = World::new();
    let dir = world.path("").display().to_string();
    configure(
        &world,
        "    before: [before]\n    after: [after]\n",
        &format!(
            "    before: {{ command: [sh, -c, 'test ! -e {dir}stop'] }}\n    \
             after: {{ command: [sh, -c, 'echo $REKEEP_ROUTINE $REKEEP_KIND $REKEEP_OUTCOME >> {dir}told'] }}"
        ),
        "max-retries: 0",
    );
    world.start();
    assert_eq!(begin(&world)["state"], "success");
    let told = || fs::read_to_string(world.path("told")).unwrap_or_default();
    until(|| (told() == "accounts full success\n").then_some(()));
    fs::write(world.path("stop"), "").unwrap();
    let job = begin(&world);
    assert_eq!((&job["state"], &job["attempts"]), (&Json::from("failure"), &Json::from(1)), "{job}");
    assert!(job["error"].as_str().unwrap().contains("the hook sh failed"), "{job}");
    until(|| (told().lines().nth(1) == Some("accounts full failure")).then_some(()));
    assert_eq!(world.get("/v1/backups/full/accounts").as_array().unwrap().len(), 1);
}

#[test]
fn what_may_pass_is_tried_again_and_what_cannot_is_not() {
    let mut world = World::new();
    let dir = world.path("").display().to_string();
    configure(
        &world,
        "    before: [third]\n",
        &format!("    third: {{ command: [sh, -c, 'echo x >> {dir}tries; test $(wc -l < {dir}tries) -ge 3'] }}"),
        "base-timeout: 1\n      multiplier: 2\n      max-retries: 5",
    );
    world.start();
    let job = begin(&world);
    assert_eq!((&job["state"], &job["attempts"]), (&Json::from("success"), &Json::from(3)), "{job}");
    let text = world.ask("GET", "/metrics", None).is(200).body;
    assert!(text.contains("backup_operations_total{type=\"full\",status=\"retried\"} 2"), "{text}");
    // Nobody comes by a password by waiting.
    world.stop();
    fs::write(world.path("password"), "another\n").unwrap();
    world.start();
    let job = begin(&world);
    assert_eq!((&job["state"], &job["attempts"]), (&Json::from("failure"), &Json::from(1)), "{job}");
    assert_eq!(job["error-kind"], "wrong_password");
}

#[test]
fn a_hook_that_hangs_is_stopped_when_its_time_is_over_or_its_job_is_canceled() {
    let mut world = World::new();
    configure(&world, "    before: [hangs]\n", "    hangs: { command: [sleep, '600'], timeout: 0 }", "max-retries: 0");
    world.start();
    let job = begin(&world);
    assert!(job["error"].as_str().unwrap().contains("took more than 0 s"), "{job}");
    world.stop();
    let path = world.path("config.yml");
    let text = fs::read_to_string(&path).unwrap().replace("timeout: 0", "timeout: 600");
    fs::write(path, text).unwrap();
    world.start();
    world.ask("POST", "/v1/backups/full/accounts", None).is(202);
    until(|| world.get("/v1/backups/currentBackup/accounts")["full"].is_object().then_some(()));
    world.ask("POST", "/v1/backups/cancel/accounts", None);
    assert_eq!(newest(&world)["state"], "canceled");
}
