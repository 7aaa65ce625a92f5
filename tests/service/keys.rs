//! Who may ask what.

use crate::{
    client::request,
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
        Err(error @ ServiceError::Open(_)) => assert!(error.to_string().contains("api-keys"), "{error}"),
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
