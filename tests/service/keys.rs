//! Who may ask what.

use crate::{
    client::{raw, request},
    world::{ROUTINE, World},
};
use rekeep::service::{ServiceError, make_key};
use serde_json::json;

/// Lines of keys with these scopes, and the keys.
fn keys(scopes: &[&str], more: &str) -> (String, Vec<String>) {
    let mut lines = "  api-keys:\n".to_owned();
    let mut keys = Vec::new();
    for scope in scopes {
        let (key, hash) = make_key().unwrap();
        lines.push_str(&format!("    {scope}:\n      hash: '{hash}'\n      scopes: [{scope}]\n{more}"));
        keys.push(key);
    }
    (lines, keys)
}

#[test]
fn each_key_may_what_it_was_made_for_and_no_more() {
    let scopes = ["read", "backup", "restore", "configure", "admin"];
    let (lines, keys) = keys(&scopes, "");
    let mut world = World::new();
    world.configure(ROUTINE, &lines);
    world.start();
    for path in ["/", "/health", "/ready", "/version"] {
        world.ask("GET", path, None).is(200);
    }
    for (method, path, scope) in [
        ("GET", "/v1/backups/full", "read"),
        ("GET", "/metrics", "read"),
        ("GET", "/v1/restore/jobs", "read"),
        ("POST", "/v1/backups/cancel/accounts", "backup"),
        ("GET", "/v1/config", "configure"),
        ("GET", "/v1/config/routines/accounts", "configure"),
        ("POST", "/v1/config/apply", "configure"),
    ] {
        world.key = None;
        let told = world.ask(method, path, None).is(401);
        assert!(told.head.contains("www-authenticate"), "{told:?}");
        world.key = Some("rkp_wrong".to_owned());
        world.ask(method, path, None).is(401);
        for (own, key) in scopes.iter().zip(&keys) {
            world.key = Some(key.clone());
            let told = world.ask(method, path, None);
            let may = *own == scope || *own == "admin";
            assert_eq!(told.status != 403, may, "{method} {path} by {own}: {told:?}");
        }
    }
    // The configuration shows no hash, and whoever may only configure makes no keys.
    world.key = Some(keys[3].clone());
    let shown = world.get("/v1/config");
    assert_eq!(shown["service"]["api-keys"]["read"]["hash"], "[secret]");
    world.ask("PUT", "/v1/config", Some(&shown)).is(403);
    world.key = Some(keys[4].clone());
    world.ask("PUT", "/v1/config", Some(&shown)).is(200);
    world.get("/v1/backups/full");
}

#[test]
fn a_key_of_one_routine_does_not_see_another_and_an_old_one_is_none() {
    let (lines, own) = keys(&["read"], "      routines: [other]\n");
    let mut world = World::new();
    world.configure(ROUTINE, &lines);
    world.start();
    world.key = Some(own[0].clone());
    world.ask("GET", "/v1/backups/full/accounts", None).is(404);
    assert_eq!(world.get("/v1/backups/full"), json!({}));
    world.stop();
    let (lines, own) = keys(&["read"], "      expires: '2020-01-01T00:00:00Z'\n");
    world.configure(ROUTINE, &lines);
    world.start();
    world.key = Some(own[0].clone());
    let told = world.ask("GET", "/v1/backups/full", None).is(401);
    assert!(told.error().contains("ended"), "{told:?}");
}

#[test]
fn a_bound_key_sees_and_does_nothing_of_others_by_any_path() {
    let (lines, own) = keys(&["read", "configure", "admin"], "      routines: [own]\n");
    let mut world = World::new();
    let db = world.database("own.db");
    db.execute_batch("CREATE TABLE mine (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO mine VALUES (1, 'x');")
        .unwrap();
    drop(db);
    let mine = "  own:\n    interval-cron: '@yearly'\n    source: sqlite:{dir}/own.db\n    storage: local\n";
    let (all, hash) = make_key().unwrap();
    let lines = format!("{lines}    all:\n      hash: '{hash}'\n      scopes: [admin]\n");
    world.configure(&format!("{ROUTINE}{mine}"), &lines);
    world.start();
    world.key = Some(all);
    world.back_up("accounts", "full");
    world.back_up("own", "full");
    let told_all = world.ask("GET", "/metrics", None).is(200).body;
    assert!(told_all.contains("accounts") && told_all.contains("backup_runs_total 2"), "{told_all}");

    world.key = Some(own[0].clone());
    let told = world.ask("GET", "/metrics", None).is(200).body;
    assert!(
        told.contains("routine=\"own\"") && !told.contains("accounts") && told.contains("backup_runs_total 1"),
        "{told}"
    );
    let listed = world.get("/api/v1/jobs");
    assert!(listed.as_array().unwrap().iter().all(|job| job["routine"] == "own"), "{listed}");
    for path in ["/v1/backups/full", "/api/v1/backups", "/v1/restore/jobs", "/console/", "/console/jobs"] {
        let told = world.ask("GET", path, None).is(200).body;
        assert!(!told.contains("accounts"), "{path}: {told}");
    }
    world.ask("GET", "/v1/records/mine/-/int:1", None).is(200);
    world.ask("GET", "/v1/records/accounts/-/int:1", None).is(404);
    world.ask("GET", "/v1/records/accounts/-/int:1?source=accounts", None).is(404);

    // What a routine reads and where it is kept is anybody's: who is bound looks, and pauses.
    let routine = json!({ "interval-cron": "@daily", "source": "sqlite:/etc/x", "storage": "local" });
    for key in &own[1..] {
        world.key = Some(key.clone());
        let seen = world.get("/v1/config/routines");
        assert_eq!(seen.as_object().unwrap().keys().collect::<Vec<_>>(), ["own"], "{seen}");
        assert_eq!(world.get("/v1/config/storage"), json!({}));
        world.ask("GET", "/v1/config/storage/local", None).is(404);
        world.ask("GET", "/v1/config/routines/accounts", None).is(404);
        for (method, path) in [
            ("GET", "/v1/config"),
            ("PUT", "/v1/config/routines/own"),
            ("POST", "/v1/config/routines/new"),
            ("PUT", "/v1/config/routines/accounts"),
            ("DELETE", "/v1/config/routines/accounts"),
            ("DELETE", "/v1/config/policies/once"),
            ("POST", "/v1/config/apply"),
            ("GET", "/v1/audit"),
        ] {
            world.ask(method, path, Some(&routine).filter(|_| method.starts_with('P'))).is(403);
        }
        world.ask("PUT", "/v1/config/routines/accounts/disable", None).is(404);
        world.ask("PUT", "/v1/config/routines/own/disable", None).is(204);
    }
}

#[test]
fn a_page_of_a_name_that_is_led_here_is_not_answered_where_nobody_needs_a_key() {
    let mut world = World::new();
    world.configure(ROUTINE, "  http:\n    host-names: [backup.example]\n");
    world.start();
    let ask = |method: &str, path: &str, host: &str| {
        let text =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        raw(world.address(), text.as_bytes())
    };
    let told = ask("GET", "/v1/config", "evil.example:8080").is(403);
    assert!(told.error().contains("host-names"), "{told:?}");
    ask("POST", "/v1/backups/full/accounts", "evil.example").is(403);
    ask("GET", "/console/", "evil.example").is(403);
    ask("GET", "/health", "evil.example").is(200);
    for host in ["localhost:8080", "127.0.0.1", "backup.example", "rekeep"] {
        ask("GET", "/v1/config", host).is(200);
    }
}

#[test]
fn without_keys_only_this_host_is_answered_unless_that_is_said() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    assert!(world.address().ip().is_loopback());
    world.stop();
    // The backup service's own default.
    world.configure(ROUTINE, "  http:\n    address: 0.0.0.0\n");
    world.start();
    assert!(world.address().ip().is_loopback());
    world.stop();
    world.configure(ROUTINE, "  http:\n    address: 192.0.2.1\n");
    match world.try_start() {
        Err(error @ ServiceError::Config(_)) => assert!(error.to_string().contains("api-keys"), "{error}"),
        other => panic!("{other:?}"),
    }
    world.configure(ROUTINE, "  without-authentication: true\n  http:\n    address: 0.0.0.0\n");
    world.start();
    assert!(world.address().ip().is_unspecified());
}

#[test]
fn pages_of_other_sites_and_clients_without_measure_are_refused() {
    let mut world = World::new();
    world.configure(ROUTINE, "  http:\n    rate:\n      tps: 1\n      size: 20\n");
    world.start();
    let head = [("origin", "http://evil.example"), ("content-type", "text/plain")];
    request(world.address(), "POST", "/v1/backups/full/accounts", &head, Some("")).is(403);
    let answer = world.ask("GET", "/health", None).is(200);
    assert!(answer.head.contains("x-frame-options: deny") && answer.head.contains("nosniff"), "{answer:?}");
    let refused = (0..60).any(|_| world.ask("GET", "/health", None).status == 429);
    assert!(refused);
}

#[test]
fn a_tenant_has_to_do_with_its_own_alone_and_a_key_that_was_changed_is_another() {
    let mut world = World::new();
    std::fs::copy(world.path("accounts.db"), world.path("other.db")).unwrap();
    let other = ROUTINE.replace("accounts:", "other:").replace("accounts.db", "other.db");
    let routines = format!("{ROUTINE}    tenant: one\n{}    tenant: two\n", other.trim_start_matches('\n'));
    let [(one, hash), (next, new_hash), (all, of_all)] = [(); 3].map(|()| make_key().unwrap());
    let lines = |hash: &str| {
        format!(
            "  api-keys:\n    one: {{ hash: '{hash}', scopes: [read, backup, restore], tenant: one }}\n    \
             all: {{ hash: '{of_all}', scopes: [admin] }}\n"
        )
    };
    world.configure(&routines, &lines(&hash));
    world.start();
    world.key = Some(all.clone());
    world.back_up("accounts", "full");
    world.back_up("other", "full");
    world.key = Some(one.clone());
    assert_eq!(world.get("/v1/backups/full").as_object().unwrap().keys().collect::<Vec<_>>(), ["accounts"]);
    world.ask("POST", "/v1/backups/full/other", None).is(404);
    world.ask("GET", "/v1/backups/currentBackup/other", None).is(404);
    // Of all datasets its own are made.
    let begun = world.ask("POST", "/api/v1/backups", Some(&json!({}))).is(202).json();
    let made = world.get(&format!("/api/v1/backups/{}", begun["backup_id"].as_str().unwrap()));
    let of: Vec<_> = made["datasets"].as_array().unwrap().iter().map(|it| &it["dataset_id"]).collect();
    assert_eq!(of, [&json!("accounts")], "{made}");
    world.ask("POST", "/api/v1/backups", Some(&json!({ "dataset_ids": ["other"] }))).is(404);
    for path in ["/api/v1/backups", "/api/v1/jobs", "/v1/drills", "/metrics", "/console/"] {
        let told = world.ask("GET", path, None).is(200).body;
        assert!(!told.contains("other"), "{path}: {told}");
    }
    world.key = Some(all.clone());
    let foreign = world.get("/api/v1/backups?limit=1000");
    let foreign = foreign["backups"].as_array().unwrap().iter().find(|it| it["datasets"][0]["dataset_id"] == "other");
    let path = format!("/api/v1/backups/{}", foreign.unwrap()["backup_id"].as_str().unwrap());
    world.ask("GET", &path, None).is(200);
    world.key = Some(one.clone());
    world.ask("GET", &path, None).is(404);
    world.ask("POST", &format!("{path}/restore"), Some(&json!({}))).is(404);

    world.configure(&routines, &lines(&new_hash));
    world.key = Some(all);
    world.ask("POST", "/v1/config/apply", None).is(200);
    world.key = Some(one);
    world.ask("GET", "/v1/backups/full", None).is(401);
    world.key = Some(next);
    world.get("/v1/backups/full");
}
