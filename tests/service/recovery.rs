//! The interface of disaster recovery guides.

use crate::{
    client::{request, until},
    world::World,
};
use serde_json::{Value as Json, json};

const TWO: &str = "
  accounts:
    interval-cron: '0 0 0 1 1 ? 2090'
    source: sqlite:{dir}/accounts.db
    storage: local
    backup-policy: once
  other:
    interval-cron: '0 0 0 1 1 ? 2090'
    source: sqlite:{dir}/other.db
    storage: local
    backup-policy: once
";

/// Starts a backup and waits until it is over.
fn made(world: &World, body: &Json) -> Json {
    let answer = world.ask("POST", "/api/v1/backups", Some(body)).is(202).json();
    let path = format!("/api/v1/backups/{}", answer["backup_id"].as_str().unwrap());
    until(|| {
        Some(world.get(&path)).filter(|backup| !["queued", "running"].contains(&backup["status"].as_str().unwrap()))
    })
}

fn job(world: &World, number: &Json) -> Json {
    until(|| {
        let job = world.get(&format!("/api/v1/jobs/{number}"));
        (!["queued", "running"].contains(&job["state"].as_str().unwrap())).then_some(job)
    })
}

#[test]
fn backups_are_made_listed_restored_and_deleted() {
    let mut world = World::new();
    std::fs::copy(world.path("accounts.db"), world.path("other.db")).unwrap();
    world.configure(TWO, "");
    world.start();
    let first = made(&world, &json!({ "type": "full", "description": "before the deployment" }));
    assert_eq!(
        (&first["status"], &first["type"], &first["records"]),
        (&json!("completed"), &json!("full"), &json!(2)),
        "{first}"
    );
    assert_eq!(first["description"], "before the deployment");
    assert_eq!(first["datasets"].as_array().unwrap().len(), 2);
    world.change(1, "changed");
    let second = made(&world, &json!({ "type": "incremental", "dataset_ids": ["accounts"] }));
    assert_eq!(second["datasets"][0]["dataset_id"], "accounts");
    world.ask("POST", "/api/v1/backups", Some(&json!({ "dataset_ids": ["none"] }))).is(404);
    world.ask("POST", "/api/v1/backups", Some(&json!({ "type": "odd" }))).is(400);
    world.ask("POST", "/api/v1/backups", Some(&json!({ "odd": 1 }))).is(400);

    // Pages.
    let page = world.get("/api/v1/backups?limit=1");
    assert_eq!((&page["total"], &page["backups"][0]["backup_id"]), (&json!(2), &second["backup_id"]));
    let token = page["next_page_token"].as_str().unwrap();
    let rest = world.get(&format!("/api/v1/backups?limit=1&page_token={token}"));
    assert_eq!((&rest["backups"][0]["backup_id"], &rest["next_page_token"]), (&first["backup_id"], &json!(null)));
    assert_eq!(world.get("/api/v1/backups?type=incremental")["total"], 1);
    for bad in ["limit=0", "limit=1001", "limit=x", "page_token=x", "odd=1", "type=ful", "status=done"] {
        world.ask("GET", &format!("/api/v1/backups?{bad}"), None).is(400);
    }

    // A dataset that holds records is a conflict, and stays; the one that may be replaced is.
    let path = format!("/api/v1/backups/{}/restore", first["backup_id"].as_str().unwrap());
    let started =
        world.ask("POST", &path, Some(&json!({ "dataset_mapping": { "accounts": "accounts" } }))).is(202).json();
    let over = job(&world, &started["datasets"][0]["job"]);
    assert_eq!((&over["state"], &over["error-kind"]), (&json!("failure"), &json!("target_occupied")), "{over}");
    assert_eq!(world.names("accounts.db"), ["changed"]);
    let started = world.ask(
        "POST",
        &path,
        Some(&json!({ "dataset_mapping": { "accounts": "other" }, "overwrite_existing": true })),
    );
    let over = job(&world, &started.is(202).json()["datasets"][0]["job"]);
    assert_eq!(over["state"], "success", "{over}");
    for (body, status) in [
        (json!({ "dataset_mapping": { "none": "other" } }), 404),
        (json!({ "dataset_mapping": { "accounts": "none" } }), 404),
        (json!({ "target_tenant": "nobody" }), 404),
        (json!({ "include": "some" }), 400),
        (json!({ "dataset_mapping": { "accounts": "other", "other": "other" } }), 400),
    ] {
        world.ask("POST", &path, Some(&body)).is(status);
    }

    // Held ones stay.
    let held = made(&world, &json!({ "type": "snapshot", "dataset_ids": ["accounts"] }));
    assert_eq!(held["hold"], true, "{held}");
    let path = |backup: &Json| format!("/api/v1/backups/{}", backup["backup_id"].as_str().unwrap());
    let told = world.ask("DELETE", &path(&held), None).is(409);
    assert!(told.error().contains("hold"), "{told:?}");
    world.ask("DELETE", &path(&second), None).is(204);
    world.ask("GET", &path(&second), None).is(404);
    // The last of a source stays too.
    world.ask("DELETE", &path(&first), None).is(409);
    world.ask("DELETE", "/api/v1/backups/none", None).is(404);
    world.ask("GET", "/api/v1/jobs/999", None).is(404);
    assert!(world.get("/api/v1/jobs?routine=accounts").as_array().unwrap().len() >= 3);
}

#[test]
fn the_same_idempotency_key_gives_the_same_backup_and_a_failure_is_told() {
    let mut world = World::new();
    std::fs::copy(world.path("accounts.db"), world.path("other.db")).unwrap();
    world.configure(TWO, "");
    world.start();
    let ask = |key: &str| {
        let head = [("content-type", "application/json"), ("idempotency-key", key)];
        request(world.address(), "POST", "/api/v1/backups", &head, Some(r#"{"dataset_ids": ["accounts"]}"#))
            .is(202)
            .json()["backup_id"]
            .clone()
    };
    let (one, again, other) = (ask("a"), ask("a"), ask("b"));
    // Another request is none that was made before, and a name that stands twice hides nothing.
    let head = [("content-type", "application/json"), ("idempotency-key", "a")];
    let ask = |path: &str, body: &str| request(world.address(), "POST", path, &head, Some(body));
    let told = ask("/api/v1/backups", r#"{"dataset_ids": ["other"]}"#).is(409);
    assert!(told.error().contains("another request"), "{told:?}");
    let path = format!("/api/v1/backups/{}/restore", one.as_str().unwrap());
    let told = ask(&path, r#"{"dataset_mapping": {"accounts": "other", "accounts": "accounts"}}"#).is(400);
    assert!(told.error().contains("`accounts` stands twice"), "{told:?}");
    assert_eq!(one, again);
    assert_ne!(one, other);
    std::fs::remove_file(world.path("other.db")).unwrap();
    let failed = made(&world, &json!({ "dataset_ids": ["other"] }));
    assert_eq!(failed["status"], "failed");
    assert!(failed["datasets"][0]["error"].as_str().unwrap().contains("other.db"), "{failed}");
}

#[test]
fn what_changed_since_the_last_full_is_asked_for_by_name_and_all_datasets_come_back_beside_those_that_are_mapped() {
    let mut world = World::new();
    std::fs::copy(world.path("accounts.db"), world.path("other.db")).unwrap();
    world.configure(TWO, "");
    world.start();
    let full = made(&world, &json!({ "type": "full" }));
    world.change(1, "changed");
    let since = made(&world, &json!({ "type": "differential", "dataset_ids": ["accounts"] }));
    assert_eq!((&since["status"], &since["type"]), (&json!("completed"), &json!("differential")), "{since}");
    assert_eq!(world.get("/api/v1/backups?type=differential")["total"], 1);
    let path = format!("/api/v1/backups/{}/restore", full["backup_id"].as_str().unwrap());
    let mapping = json!({ "accounts": "accounts" });
    let started = |include: Option<&str>| {
        let mut body = json!({ "dataset_mapping": mapping, "overwrite_existing": true });
        if let Some(include) = include {
            body["include"] = json!(include);
        }
        let started = world.ask("POST", &path, Some(&body)).is(202).json();
        let jobs: Vec<Json> =
            started["datasets"].as_array().unwrap().iter().map(|it| job(&world, &it["job"])).collect();
        assert!(jobs.iter().all(|job| job["state"] == "success"), "{jobs:?}");
        jobs.len()
    };
    assert_eq!((started(None), started(Some("all"))), (1, 2));
    assert_eq!(world.names("accounts.db"), ["one"]);
}
