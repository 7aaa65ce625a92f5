//! Storages that cannot be read, one of several: what the others hold is told, and the one that is missing is named.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use serde_json::{Value as Json, json};
use std::fs;

const TWO: &str = "
  near:
    interval-cron: '0 0 0 1 1 ? 2090'
    source: sqlite:{dir}/accounts.db
    storage: local
    backup-policy: once
  far:
    interval-cron: '0 0 0 1 1 ? 2090'
    source: sqlite:{dir}/accounts.db
    repository: far
    backup-policy: once
";

fn world() -> World {
    let mut world = World::new();
    world.configure(TWO, "repositories:\n  far:\n    location: {dir}/elsewhere/far\n    create: true\n");
    world.start();
    world
}

/// Starts a backup of both datasets under one name.
fn both(world: &World) -> Json {
    let made = world.ask("POST", "/api/v1/backups", Some(&json!({ "type": "full" }))).is(202).json();
    let path = format!("/api/v1/backups/{}", made["backup_id"].as_str().unwrap());
    until(|| Some(world.get(&path)).filter(|backup| backup["status"] == "completed"))
}

#[test]
fn a_list_over_all_tells_what_can_be_read_and_names_the_rest() {
    let world = world();
    world.back_up("near", "full");
    world.back_up("far", "full");
    let both = both(&world);
    assert_eq!(both["datasets"].as_array().unwrap().len(), 2, "{both}");
    let all = world.ask("GET", "/v1/backups/full", None).is(200);
    assert!(!all.head.contains("rekeep-unreadable"), "{}", all.head);
    assert_eq!(["near", "far"].map(|name| all.json()[name].as_array().unwrap().len()), [2, 2]);

    fs::rename(world.path("elsewhere"), world.path("away")).unwrap();
    let all = until(|| {
        let all = world.ask("GET", "/v1/backups/full", None).is(200);
        all.head.contains("rekeep-unreadable").then_some(all)
    });
    assert!(all.head.contains("rekeep-unreadable: repository far: repository "), "{}", all.head);
    let listed = all.json();
    assert_eq!(listed["near"].as_array().unwrap().len(), 2);
    assert!(listed.get("far").is_none(), "an empty list would be wrong: {listed}");
    // By itself it is an error, and no empty list.
    let alone = world.ask("GET", "/v1/backups/full/far", None).is(503).error();
    assert!(alone.contains("is its storage mounted"), "{alone}");
    world.get("/v1/backups/full/near");

    let page = world.get("/api/v1/backups");
    assert_eq!(page["unreadable"][0]["place"], "repository far", "{page}");
    let name = both["backup_id"].as_str().unwrap();
    let seen = page["backups"].as_array().unwrap().iter().find(|backup| backup["backup_id"] == name).unwrap();
    assert_eq!(seen["status"], "completed");
    assert_eq!(world.get("/v1/drills")["problems"].as_array().unwrap().len(), 1);
    // What may be there is not said to be nowhere.
    world.ask("GET", "/api/v1/backups/none", None).is(503);
    // Half of a backup is neither dropped nor restored as if it were all of it.
    let path = format!("/api/v1/backups/{name}");
    world.ask("DELETE", &path, None).is(503);
    let restore = format!("{path}/restore");
    let words = world.ask("POST", &restore, Some(&json!({}))).is(503).error();
    assert!(words.contains("name the datasets"), "{words}");
    let named = json!({ "dataset_mapping": { "near": "near" }, "overwrite_existing": true });
    world.ask("POST", &restore, Some(&named)).is(202);
    // Pages and metrics stand, too.
    assert!(world.ask("GET", "/console/", None).is(200).body.contains("near"));
    world.ask("GET", "/metrics", None).is(200);

    fs::rename(world.path("away"), world.path("elsewhere")).unwrap();
    let all = until(|| {
        let all = world.ask("GET", "/v1/backups/full", None).is(200);
        (!all.head.contains("rekeep-unreadable")).then_some(all)
    });
    assert_eq!(all.json()["far"].as_array().unwrap().len(), 2);
    world.ask("GET", "/api/v1/backups/none", None).is(404);
}

#[test]
fn versions_of_a_record_are_told_though_another_repository_cannot_be_read_which_is_named() {
    let world = world();
    world.back_up("near", "full");
    world.back_up("far", "full");
    let path = "/v1/records/accounts/-/int:1";
    let several = world.ask("GET", path, None).is(400).error();
    assert!(several.contains("name the routine by source"), "{several}");
    fs::rename(world.path("elsewhere"), world.path("away")).unwrap();
    let found = until(|| {
        let found = world.ask("GET", path, None);
        (found.status == 200).then_some(found)
    });
    assert!(found.head.contains("rekeep-unreadable: repository far: repository "), "{}", found.head);
    assert_eq!(found.json()["versions"].as_array().unwrap().len(), 1, "{found:?}");
    let of_source = format!("{path}?source=sqlite:{}", world.path("accounts.db").display());
    assert!(world.ask("GET", &of_source, None).is(200).head.contains("rekeep-unreadable"));
    let near = world.ask("GET", &format!("{path}?source=near"), None).is(200);
    assert!(!near.head.contains("rekeep-unreadable"), "{}", near.head);
    // What may be where nobody could look is not said to be nowhere.
    world.ask("GET", &format!("{path}?source=far"), None).is(503);
    world.ask("GET", "/v1/records/none/-/int:1", None).is(503);
    fs::rename(world.path("away"), world.path("elsewhere")).unwrap();
    until(|| (world.ask("GET", "/v1/records/none/-/int:1", None).status == 404).then_some(()));
}

#[test]
fn a_storage_that_is_not_mounted_gets_no_new_repository() {
    let mut world = world();
    let first = world.back_up("far", "full");
    world.stop();
    fs::rename(world.path("elsewhere"), world.path("away")).unwrap();
    world.start();
    world.ask("POST", "/v1/backups/full/far", None).is(202);
    let job = until(|| {
        let job = world.get("/api/v1/jobs")[0].clone();
        (job["state"] == "failure").then_some(job)
    });
    assert!(job["error"].as_str().unwrap().contains("was there, and now there is none"), "{job}");
    assert!(!world.path("elsewhere").join("far/config").exists());
    world.ask("GET", "/v1/backups/full/far", None).is(503);
    fs::remove_dir_all(world.path("elsewhere")).unwrap_or_default();
    fs::rename(world.path("away"), world.path("elsewhere")).unwrap();
    world.back_up("far", "full");
    assert_eq!(world.get("/v1/backups/full/far")[0], first);
}

#[test]
fn a_snapshot_that_cannot_be_read_may_be_what_is_meant_so_that_nothing_is_complete_without_it() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let first = world.back_up("accounts", "full");
    world.change(1, "changed");
    let second = world.back_up("accounts", "incremental");
    world.stop();
    let id = second["snapshot"].as_str().unwrap();
    fs::write(world.path(&format!("backups/rekeep/snapshots/{id}/0")), "junk").unwrap();
    fs::remove_dir_all(world.path("cache")).unwrap();
    world.start();
    let target = |name: &str| format!("sqlite:{}", world.path(name).display());
    let incomplete = |words: &str| {
        let job = until(|| {
            let job = world.get("/api/v1/jobs")[0].clone();
            (!["queued", "running"].contains(&job["state"].as_str().unwrap())).then_some(job)
        });
        assert!(job["state"] == "incomplete" && job.to_string().contains(words), "{job}");
    };
    let words = &format!("cannot be read ({}), and may be what is meant", &id[..8]);
    let at = json!({ "routine": "accounts", "time": second["finished-timestamp"], "target": target("then.db") });
    world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&at)));
    incomplete(words);
    assert_eq!(world.names("then.db"), ["one"]);
    world.ask("POST", "/v1/drills/accounts", None).is(202);
    incomplete(words);
    // What is named is sure.
    let key = json!({ "backup-data-path": first["key"], "target": target("named.db") });
    let status = world.restored(&world.ask("POST", "/v1/restore/full", Some(&key)));
    assert_eq!(status["status"], "success", "{status}");
    // What was before all that can be read is not said to have been nowhere.
    let early = json!({ "routine": "accounts", "time": 1_000_000_000_001_i64, "target": target("x.db") });
    let told = world.ask("POST", "/v1/restore/timestamp", Some(&early)).is(404).error();
    assert!(told.contains(words), "{told}");
}
