//! The configuration over the interface: shown without secrets, changed as a whole or by name, written back.

use crate::{
    client::request,
    world::{ROUTINE, World},
};
use serde_json::json;

fn file(world: &World) -> String {
    std::fs::read_to_string(world.path("config.yml")).unwrap()
}

#[test]
fn named_things_are_added_changed_and_taken_out_with_statuses_of_their_own() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let cluster = json!({ "seed-nodes": [{ "host-name": "h", "port": 3000 }], "credentials": { "user": "u", "password": "hidden" } });
    world.ask("POST", "/v1/config/clusters/c", Some(&cluster)).is(201);
    world.ask("POST", "/v1/config/clusters/c", Some(&cluster)).is(409);
    let mut shown = world.get("/v1/config/clusters/c");
    assert_eq!(shown["credentials"]["password"], "[secret]");
    assert!(file(&world).contains("hidden"));
    // What comes back hidden stays as it is.
    shown["label"] = json!("mine");
    world.ask("PUT", "/v1/config/clusters/c", Some(&shown)).is(200);
    assert!(file(&world).contains("hidden") && file(&world).contains("mine"));
    world.ask("PUT", "/v1/config/clusters/d", Some(&cluster)).is(404);
    let routine = json!({ "interval-cron": "@daily", "source-cluster": "c", "storage": "local" });
    world.ask("POST", "/v1/config/routines/r", Some(&routine)).is(201);
    let told = world.ask("DELETE", "/v1/config/clusters/c", None).is(409);
    assert!(told.error().contains("`r`"), "{told:?}");
    world.ask("DELETE", "/v1/config/storage/local", None).is(409);
    world.ask("DELETE", "/v1/config/routines/r", None).is(204);
    world.ask("DELETE", "/v1/config/clusters/c", None).is(204);
    world.ask("DELETE", "/v1/config/clusters/c", None).is(404);
    for section in ["clusters", "policies", "routines", "storage", "repositories"] {
        world.get(&format!("/v1/config/{section}"));
        world.ask("GET", &format!("/v1/config/{section}/none"), None).is(404);
        world.ask("DELETE", &format!("/v1/config/{section}/none"), None).is(404);
    }
    world.ask("POST", "/v1/config/policies/p", Some(&json!({ "parallel": 3 }))).is(201);
    world.ask("POST", "/v1/config/storage/s", Some(&json!({ "local-storage": { "path": "/x" } }))).is(201);
    world.ask("POST", "/v1/config/repositories/q", Some(&json!({ "location": "/y" }))).is(201);
    // Another service reads what was written.
    let before = world.get("/v1/config");
    world.stop();
    world.start();
    assert_eq!(world.get("/v1/config"), before);
}

#[test]
fn what_somebody_writes_by_hand_meanwhile_is_not_lost() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.ask("POST", "/v1/config/policies/p", Some(&json!({ "parallel": 3 }))).is(201);
    let by_hand = file(&world).replace("parallel: 3", "parallel: 4");
    std::fs::write(world.path("config.yml"), &by_hand).unwrap();
    let told = world.ask("PUT", "/v1/config/policies/p", Some(&json!({ "parallel": 5 }))).is(409);
    assert!(told.error().contains("was changed"), "{told:?}");
    assert_eq!((file(&world), world.get("/v1/config/policies/p")["parallel"].clone()), (by_hand, json!(3)));
    world.ask("POST", "/v1/config/apply", None).is(200);
    assert_eq!(world.get("/v1/config/policies/p")["parallel"], 4);
    world.ask("PUT", "/v1/config/policies/p", Some(&json!({ "parallel": 5 }))).is(200);
}

/// Two people look at the same, and one after the other changes it: the second does not take back what the first has done.
#[test]
fn a_change_of_what_somebody_else_has_changed_since_is_refused_if_that_is_asked_for() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let tag = |world: &World, path: &str| {
        let head = world.ask("GET", path, None).is(200).head;
        head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned()
    };
    let change = |world: &World, method: &str, path: &str, tag: &str, body: Option<&serde_json::Value>| {
        let head = [("content-type", "application/json"), ("if-match", tag)];
        request(world.address(), method, path, &head, body.map(serde_json::Value::to_string).as_deref())
    };
    let path = "/v1/config/policies/once";
    let (seen, whole_seen, whole) = (tag(&world, path), tag(&world, "/v1/config"), world.get("/v1/config"));
    assert_eq!((tag(&world, path), tag(&world, "/v1/config")), (seen.clone(), whole_seen.clone()));
    change(&world, "PUT", path, &seen, Some(&json!({ "parallel": 3 }))).is(200);
    for (method, body) in [("PUT", Some(json!({ "parallel": 4 }))), ("DELETE", None)] {
        let told = change(&world, method, path, &seen, body.as_ref()).is(412);
        assert!(told.error().contains("changed since"), "{told:?}");
    }
    change(&world, "PUT", "/v1/config", &whole_seen, Some(&whole)).is(412);
    assert_eq!(world.get(path), json!({ "parallel": 3 }));
    // One of several, and any.
    let several = format!("\"0\", {}", tag(&world, path));
    change(&world, "PUT", path, &several, Some(&json!({ "parallel": 5 }))).is(200);
    change(&world, "PUT", path, "*", Some(&json!({ "parallel": 6 }))).is(200);
    change(&world, "PUT", path, "odd", Some(&json!({ "parallel": 7 }))).is(412);
    world.ask("PUT", path, Some(&json!({ "parallel": 8 }))).is(200);
    // A secret that changes is a change, though it is shown as before.
    let cluster = |password: &str| json!({ "seed-nodes": [{ "host-name": "h", "port": 1 }], "credentials": { "user": "u", "password": password } });
    world.ask("POST", "/v1/config/clusters/c", Some(&cluster("one"))).is(201);
    let seen = tag(&world, "/v1/config/clusters/c");
    world.ask("PUT", "/v1/config/clusters/c", Some(&cluster("two"))).is(200);
    change(&world, "DELETE", "/v1/config/clusters/c", &seen, None).is(412);
    change(&world, "DELETE", "/v1/config/clusters/c", &tag(&world, "/v1/config/clusters/c"), None).is(204);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let before = file(&world);
    for (path, body, words) in [
        (
            "/v1/config/routines/r",
            json!({ "interval-cron": "@daily", "source-cluster": "gone", "storage": "local" }),
            "gone",
        ),
        (
            "/v1/config/routines/r",
            json!({ "interval-cron": "0 0 30 2 *", "source": "sqlite:x", "storage": "local" }),
            "never",
        ),
        (
            "/v1/config/routines/r",
            json!({ "interval-cron": "@daily", "source": "sqlite:x", "storage": "local", "odd": 1 }),
            "odd",
        ),
        ("/v1/config/policies/p", json!({ "parallel": 0 }), "parallel"),
        ("/v1/config/policies/p", json!({ "encryption": { "mode": "AES265" } }), "AES265"),
        (
            "/v1/config/routines/r",
            json!({ "interval-cron": "@daily", "source": "sqlite:x", "storage": "local", "max-age": 0 }),
            "max-age",
        ),
        ("/v1/config/policies/p", json!({ "parallel": 70_000 }), "parallel"),
        ("/v1/config/storage/s", json!({}), "exactly one"),
        ("/v1/config/clusters/a%2Fb", json!({ "seed-nodes": [{ "host-name": "h", "port": 1 }] }), "name"),
        // A name becomes part of a path.
        ("/v1/config/clusters/.", json!({ "seed-nodes": [{ "host-name": "h", "port": 1 }] }), "name"),
        (
            "/v1/config/routines/%2e%2e",
            json!({ "interval-cron": "@daily", "source": "sqlite:x", "storage": "local" }),
            "name",
        ),
        (
            "/v1/config/routines/%20",
            json!({ "interval-cron": "@daily", "source": "sqlite:x", "storage": "local" }),
            "name",
        ),
        ("/v1/config/clusters/%01", json!({ "seed-nodes": [{ "host-name": "h", "port": 1 }] }), "name"),
    ] {
        let told = world.ask("POST", path, Some(&body)).is(400);
        assert!(told.error().contains(words), "{body}: {told:?}");
    }
    let cluster =
        json!({ "seed-nodes": [{ "host-name": "h", "port": 1 }], "credentials": { "user": "", "password": "p" } });
    let told = world.ask("POST", "/v1/config/clusters/c", Some(&cluster)).is(400).error();
    assert!(told.contains("no user"), "{told}");
    // What the next start would refuse.
    for (field, value, words) in [
        ("http", json!({ "address": "nonsense" }), "no address"),
        ("http", json!({ "address": "192.0.2.1" }), "answered to anybody"),
        ("http", json!({ "disabled": true }), "neither http nor https"),
        ("http", json!({ "max-body-bytes": 0 }), "max-body-bytes"),
        ("https", json!({ "cert-file": "/nowhere/c.pem", "key-file": "/nowhere/k.pem" }), "/nowhere/c.pem"),
        ("logger", json!({ "level": "LOUD" }), "LOUD"),
        ("logger", json!({ "format": "XML" }), "XML"),
    ] {
        let mut whole = world.get("/v1/config");
        whole["service"][field] = value;
        let told = world.ask("PUT", "/v1/config", Some(&whole)).is(400).error();
        assert!(told.contains(words), "{told}");
    }
    for (drill, words) in [
        (json!({ "target": "sqlit:/x" }), "`sqlit:` is not one of"),
        (json!({ "target": "sqlite:/x", "target-options": { "odd": 1 } }), "has no option `odd`"),
    ] {
        let routine = json!({ "interval-cron": "@daily", "source": "sqlite:x", "storage": "local", "drill": drill });
        let told = world.ask("POST", "/v1/config/routines/r", Some(&routine)).is(400).error();
        assert!(told.contains(words), "{told}");
    }
    let mut whole = world.get("/v1/config");
    whole["service"]["hooks"] = json!({ "h": { "command": ["/bin/sh", "-c", "touch /tmp/x"] } });
    let told = world.ask("PUT", "/v1/config", Some(&whole)).is(403);
    assert!(told.error().contains("hooks"), "{told:?}");
    whole["service"].as_object_mut().unwrap().remove("hooks");
    whole["service"]["restore-targets"] = json!(["files:/"]);
    world.ask("PUT", "/v1/config", Some(&whole)).is(403);
    assert_eq!(file(&world), before);
}

#[test]
fn a_changed_file_counts_when_it_is_applied_and_a_broken_one_does_not() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let text = file(&world);
    std::fs::write(world.path("config.yml"), text.replace("2090", "2095")).unwrap();
    world.ask("POST", "/v1/config/apply", None).is(200);
    assert!(world.get("/v1/backups/currentBackup/accounts")["next-full"].as_str().unwrap().starts_with("2095"));
    std::fs::write(world.path("config.yml"), text.replace("storage: local", "storage: gone")).unwrap();
    let told = world.ask("POST", "/v1/config/apply", None).is(400);
    assert!(told.error().contains("config.yml:") && told.error().contains("gone"), "{told:?}");
    assert!(world.get("/v1/backups/currentBackup/accounts")["next-full"].as_str().unwrap().starts_with("2095"));
}

#[test]
fn passwords_in_urls_are_shown_to_nobody_and_go_nowhere_else() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let path = "/v1/config/routines/r";
    let routine =
        json!({ "interval-cron": "@yearly", "source": "postgresql://u:pass%20word@127.0.0.1:1/d", "storage": "local" });
    world.ask("POST", path, Some(&routine)).is(201);
    let mut shown = world.get(path);
    assert_eq!(shown["source"], "postgresql://u:[secret]@127.0.0.1:1/d");
    let whole = world.get("/v1/config");
    assert!(!whole.to_string().contains("pass%20word"), "{whole}");
    // It stays with the place that it is of.
    shown["jitter"] = json!(5);
    world.ask("PUT", path, Some(&shown)).is(200);
    world.ask("PUT", "/v1/config", Some(&world.get("/v1/config"))).is(200);
    assert!(file(&world).contains("postgresql://u:pass%20word@127.0.0.1:1/d") && file(&world).contains("jitter: 5"));
    shown["source"] = json!("postgresql://u:[secret]@127.0.0.1:2/d");
    let told = world.ask("PUT", path, Some(&shown)).is(400).error();
    assert!(told.contains("backup-routines.r.source") && told.contains("write the secret itself"), "{told}");
    // What stands for nothing is no password.
    let cluster = json!({ "seed-nodes": [{ "host-name": "h", "port": 1 }], "credentials": { "user": "u", "password": "[secret]" } });
    let told = world.ask("POST", "/v1/config/clusters/c", Some(&cluster)).is(400).error();
    assert!(told.contains("aerospike-clusters.c.credentials.password"), "{told}");
    world.ask("GET", "/v1/config/clusters/c", None).is(404);
}
