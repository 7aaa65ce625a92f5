//! Who did what: written down, chained, kept in the repository, shown to administrators alone.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use serde_json::{Value as Json, json};
use std::{fs, process::Command};

fn entries(world: &World) -> Vec<Json> {
    let page = world.get("/v1/audit?limit=1000");
    assert_eq!(page["intact"], true, "{page}");
    page["entries"].as_array().unwrap().clone()
}

fn did<'e>(entries: &'e [Json], what: &str) -> &'e Json {
    let found = entries.iter().find(|entry| entry["did"].as_str().unwrap().contains(what));
    found.unwrap_or_else(|| panic!("nobody did {what}: {entries:?}"))
}

/// `rekeep audit` on the repository of a service.
fn audit(world: &World) -> (Option<i32>, Json, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_rekeep"))
        .args(["--json", "audit"])
        .env("REKEEP_REPOSITORY", world.path("backups/rekeep"))
        .env("REKEEP_PASSWORD", "correct horse")
        .env("REKEEP_CACHE_DIR", world.path("cache-of-command"))
        .env_remove("REKEEP_PASSWORD_FILE")
        .output()
        .unwrap();
    let out = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    (ran.status.code(), out, String::from_utf8_lossy(&ran.stderr).into_owned())
}

#[test]
fn what_changes_something_and_who_is_refused_is_written_down_and_kept() {
    let mut world = World::new();
    let (admin, admin_hash) = rekeep::service::make_key().unwrap();
    let (reader, reader_hash) = rekeep::service::make_key().unwrap();
    world.configure(
        ROUTINE,
        &format!(
            "  audit:\n    storage: local\n  http:\n    address: 127.0.0.1\n  api-keys:\n    boss: {{ hash: '{admin_hash}', scopes: [admin] }}\n    \
             eye: {{ hash: '{reader_hash}', scopes: [read] }}"
        ),
    );
    world.key = Some(admin);
    world.start();
    world.back_up("accounts", "full");
    world.ask("DELETE", "/v1/config/routines/none", None);
    let boss = world.key.take();
    world.ask("GET", "/v1/config", None).is(401);
    world.key = Some(reader);
    world.ask("GET", "/v1/audit", None).is(403);
    world.key = boss;
    let all = entries(&world);
    let begun = did(&all, "POST /v1/backups/full/accounts");
    assert_eq!(
        (&begun["who"], &begun["outcome"], &begun["from"]),
        (&json!("boss"), &json!("202"), &json!("127.0.0.1"))
    );
    let job = did(&all, "backup full accounts");
    assert_eq!((&job["who"], &job["outcome"]), (&json!("boss"), &json!("success")));
    assert_eq!(did(&all, "DELETE /v1/config/routines/none")["outcome"], "404");
    assert_eq!(did(&all, "GET /v1/config")["outcome"], "401");
    assert_eq!(did(&all, "started")["who"], "service");
    assert!(
        all.iter().all(|entry| !entry["did"].as_str().unwrap().contains("GET /v1/backups")),
        "what only looks is not"
    );
    for wrong in ["limit=0", "limit=1001", "before=x", "what=1"] {
        world.ask("GET", &format!("/v1/audit?{wrong}"), None).is(400);
    }
    world.stop();
    world.start();
    until(|| (world.get("/v1/audit?limit=1")["waiting"] == 0).then_some(()));
    assert!(entries(&world).iter().skip(1).any(|entry| entry["kept"].is_string()));
    world.stop();

    // The repository tells it by itself, the end of both runs included.
    let (code, told, _) = audit(&world);
    assert_eq!(code, Some(0), "{told}");
    let kept = told["entries"].as_array().unwrap();
    let count = |what: &str| kept.iter().filter(|entry| entry["did"] == what).count();
    assert_eq!((count("started"), count("stopped")), (2, 2), "{told}");
    assert!(kept.iter().any(|entry| entry["did"] == "POST /v1/backups/full/accounts"));

    // One object less, and one bit less.
    let folder = world.path("backups/rekeep/audit");
    let mut objects: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .flat_map(|series| fs::read_dir(series.unwrap().path()).unwrap())
        .map(|object| object.unwrap().path())
        .collect();
    objects.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    assert!(objects.len() >= 2, "{objects:?}");
    let first = fs::read(&objects[0]).unwrap();
    fs::remove_file(&objects[0]).unwrap();
    let (code, _, words) = audit(&world);
    assert!(code == Some(1) && words.contains("missing"), "{words}");
    let mut turned = first.clone();
    turned[60] ^= 1;
    fs::write(&objects[0], turned).unwrap();
    let (code, _, words) = audit(&world);
    assert!(code == Some(1) && words.contains("damaged"), "{words}");
    fs::remove_file(&objects[0]).unwrap();
    fs::write(&objects[0], first).unwrap();
    assert_eq!(audit(&world).0, Some(0));
}

#[test]
fn whoever_knocks_without_end_fills_nothing() {
    let mut world = World::new();
    let (_, hash) = rekeep::service::make_key().unwrap();
    let (admin, admin_hash) = rekeep::service::make_key().unwrap();
    world.configure(
        ROUTINE,
        &format!(
            "  http:\n    address: 127.0.0.1\n  api-keys:\n    a: {{ hash: '{hash}', scopes: [read] }}\n    b: {{ hash: '{admin_hash}', scopes: [admin] }}"
        ),
    );
    world.start();
    for _ in 0..200 {
        world.ask("GET", "/v1/config", None).is(401);
    }
    // Nor by what is answered otherwise: with the way to the login, or as no form.
    for _ in 0..100 {
        world.ask("POST", "/console/sources/accounts/backup", None).is(303);
        world.ask("POST", "/console/login", None).is(415);
    }
    world.key = Some(admin);
    let of_pages =
        entries(&world).iter().filter(|entry| entry["did"].as_str().unwrap().starts_with("POST /console")).count();
    assert!(of_pages < 200, "{of_pages}");
    let refused = entries(&world).iter().filter(|entry| entry["outcome"] == "401").count();
    assert!((1..200).contains(&refused), "{refused}");
    assert_eq!(world.get("/v1/audit?limit=1")["waiting"], json!(null));
}

#[test]
fn an_audit_that_goes_nowhere_is_found_at_the_start() {
    for (lines, words) in [
        ("  audit: { storage: none }\n", "no storage `none`"),
        ("  audit: {}\n", "exactly one"),
        ("  audit: { repository: none }\n", "no repository `none`"),
    ] {
        let mut world = World::new();
        world.configure(ROUTINE, lines);
        let error = world.try_start().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
