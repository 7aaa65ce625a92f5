//! A client of the backup service goes through its day against an Aerospike cluster.

use crate::{client::until, world::World};
use rekeep_aerospike_server::{Config, NamespaceConfig, Seed, Server};
use serde_json::{Value as Json, json};
use std::time::Duration;

#[test]
fn a_client_of_the_backup_service_makes_runs_lists_and_restores() {
    let config = Config {
        namespaces: vec![NamespaceConfig::named("test"), NamespaceConfig::named("copy")],
        ..Config::default()
    };
    let server = Server::start(config).unwrap();
    for number in 0..300_i64 {
        server.put("test", Seed::int(number).set("s").bin_int("n", number));
    }
    let mut world = World::new();
    world.configure(crate::world::ROUTINE, "");
    world.start();
    let address = server.addresses()[0];
    let cluster = json!({ "seed-nodes": [{ "host-name": address.ip().to_string(), "port": address.port() }] });
    world.ask("POST", "/v1/config/clusters/abs-cluster", Some(&cluster)).is(201);
    let storage = json!({ "local-storage": { "path": world.path("abs").display().to_string() } });
    world.ask("POST", "/v1/config/storage/local2", Some(&storage)).is(201);
    let policy = json!({ "parallel": 2, "sealed": true, "retention": { "full": 3 }, "compression": { "mode": "ZSTD", "level": 1 },
        "retry-policy": { "max-retries": 0 } });
    world.ask("POST", "/v1/config/policies/keep", Some(&policy)).is(201);
    let routine = json!({ "interval-cron": "@yearly", "incr-interval-cron": "0 0 0 1 1 ?", "source-cluster": "abs-cluster",
        "storage": "local2", "namespaces": ["test"], "backup-policy": "keep" });
    world.ask("POST", "/v1/config/routines/hourly", Some(&routine)).is(201);

    let full = world.back_up("hourly", "full");
    assert_eq!((&full["namespace"], &full["record-count"]), (&json!("test"), &json!(300)), "{full}");
    server.advance(Duration::from_mins(1));
    server.put("test", Seed::int(5).set("s").bin_int("n", -5));
    server.put("test", Seed::int(1000).set("s").bin_int("n", 1000));
    server.advance(Duration::from_mins(1));
    let incremental = world.back_up("hourly", "incremental");
    assert_eq!(
        (&incremental["read"], &incremental["record-count"]),
        (&json!("incremental"), &json!(301)),
        "{incremental}"
    );
    assert!(incremental["key"].as_str().unwrap().starts_with("hourly/incremental/"));

    let into_copy = json!({ "namespace": { "source": "test", "destination": "copy" } });
    let request = json!({ "routine": "hourly", "time": full["finished-timestamp"], "destination-name": "abs-cluster",
        "policy": into_copy });
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!((&status["status"], &status["inserted-records"]), (&json!("success"), &json!(300)), "{status}");
    assert_eq!(server.count("copy"), 300);

    server.truncate("copy", None);
    let request = json!({ "backup-data-path": incremental["key"], "source-name": "local2", "destination": cluster, "policy": into_copy });
    let status = world.restored(&world.ask("POST", "/v1/restore/incremental", Some(&request)));
    assert_eq!((&status["status"], server.count("copy")), (&json!("success"), 301), "{status}");

    // One that is canceled says how far it came: what it wrote stays.
    server.truncate("copy", None);
    let request = json!({ "routine": "hourly", "time": full["finished-timestamp"], "destination-name": "abs-cluster",
        "policy": { "namespace": { "source": "test", "destination": "copy" }, "tps": 20, "batch-size": 5 } });
    let id = world.ask("POST", "/v1/restore/timestamp", Some(&request)).is(202).json();
    let status = || world.get(&format!("/v1/restore/status/{id}"));
    until(|| (server.count("copy") > 10).then_some(()));
    world.ask("POST", &format!("/v1/restore/cancel/{id}"), None).is(202);
    let canceled = until(|| Some(status()).filter(|status| status["status"] != "running"));
    assert_eq!(canceled["status"], "canceled", "{canceled}");
    assert!(canceled["read-records"].as_u64().unwrap() > 10, "{canceled}");
    assert!(canceled["error"].as_str().unwrap().contains("stopped after"), "{canceled}");

    // Another restore does not go there meanwhile, however that is written; nor does anything of this host.
    server.truncate("copy", None);
    let slow = world.ask("POST", "/v1/restore/timestamp", Some(&request)).is(202).json();
    let node = |host: &str| json!({ "host-name": host, "port": address.port() });
    let other = |nodes: &[Json], credentials: Json| {
        let into = json!({ "seed-nodes": nodes, "credentials": credentials });
        json!({ "routine": "hourly", "time": full["finished-timestamp"], "destination": into, "policy": into_copy })
    };
    let again =
        other(&[json!({ "host-name": "192.0.2.1", "port": 3000 }), node(&address.ip().to_string())], Json::Null);
    let told = world.ask("POST", "/v1/restore/timestamp", Some(&again)).is(409);
    assert!(told.error().contains("already"), "{told:?}");
    let secret = other(&[node(&address.ip().to_string())], json!({ "user": "file:/etc/hostname", "password": "x" }));
    let told = world.ask("POST", "/v1/restore/timestamp", Some(&secret)).is(403);
    assert!(told.error().contains("destination.credentials.user"), "{told:?}");
    world.ask("POST", "/v1/restore/timestamp", Some(&other(&[node("192.0.2.1")], Json::Null))).is(403);
    world.ask("POST", &format!("/v1/restore/cancel/{slow}"), None).is(202);

    world.ask("DELETE", "/v1/config/storage/local2", None).is(409);
    world.ask("DELETE", "/v1/config/routines/hourly", None).is(204);
    world.ask("DELETE", "/v1/config/clusters/abs-cluster", None).is(204);
}

#[test]
fn what_one_run_backed_up_of_several_namespaces_comes_back_together() {
    let config =
        Config { namespaces: vec![NamespaceConfig::named("one"), NamespaceConfig::named("two")], ..Config::default() };
    let server = Server::start(config).unwrap();
    for number in 0..50_i64 {
        server.put("one", Seed::int(number).set("s").bin_int("n", number));
        server.put("two", Seed::string(&format!("a/{number}")).set("a b").bin_int("n", number));
    }
    let mut world = World::new();
    world.configure(crate::world::ROUTINE, "");
    world.start();
    let address = server.addresses()[0];
    let cluster = json!({ "seed-nodes": [{ "host-name": address.ip().to_string(), "port": address.port() }] });
    world.ask("POST", "/v1/config/clusters/c", Some(&cluster)).is(201);
    let routine =
        json!({ "interval-cron": "@yearly", "source-cluster": "c", "storage": "local", "namespaces": ["one", "two"] });
    world.ask("POST", "/v1/config/routines/both", Some(&routine)).is(201);
    world.back_up("both", "full");
    let listed = world.get("/v1/backups/full/both");
    let of = |name: &str| listed.as_array().unwrap().iter().find(|it| it["namespace"] == name).unwrap().clone();
    let emptied = || {
        server.truncate("one", None);
        server.truncate("two", None);
    };

    // The time that a list gives for either means all of the run.
    for name in ["one", "two"] {
        emptied();
        let request = json!({ "routine": "both", "time": of(name)["timestamp"], "destination-name": "c" });
        let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
        assert_eq!(
            (&status["status"], server.count("one"), server.count("two")),
            (&json!("success"), 50, 50),
            "{status}"
        );
    }

    // So does a backup of one request, by the other interface.
    let asked = json!({ "type": "full", "dataset_ids": ["both"] });
    let id =
        world.ask("POST", "/api/v1/backups", Some(&asked)).is(202).json()["backup_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/backups/{id}");
    until(|| Some(world.get(&path)).filter(|backup| backup["status"] == "completed"));
    emptied();
    let begun =
        world.ask("POST", &format!("{path}/restore"), Some(&json!({ "overwrite_existing": true }))).is(202).json();
    assert_eq!(begun["datasets"].as_array().unwrap().len(), 1, "{begun}");
    let job = begun["datasets"][0]["job"].clone();
    let ended = until(|| {
        Some(world.get(&format!("/api/v1/jobs/{job}")))
            .filter(|job| job["state"] != "running" && job["state"] != "queued")
    });
    assert_eq!((&ended["state"], server.count("one"), server.count("two")), (&json!("success"), 50, 50), "{ended}");

    // A key is what the address says, whatever divides the parts for the command.
    let found = world.get("/v1/records/two/a%20b/str:a%2F7?source=both");
    assert_eq!(found["versions"][0]["value"]["n"], 7, "{found}");
    let both = json!({ "interval-cron": "@yearly", "source-cluster": "c", "storage": "local" });
    world.ask("POST", "/v1/config/routines/whole", Some(&both)).is(201);
    world.back_up("whole", "full");
    let told = world.ask("GET", "/v1/records/two/a%20b/str:a%2F7", None).is(400);
    assert!(told.error().contains("`both`") && told.error().contains("`whole`"), "{told:?}");
}

#[test]
fn a_set_comes_back_as_of_a_time_and_nothing_else_does() {
    let config = Config {
        namespaces: vec![NamespaceConfig::named("test"), NamespaceConfig::named("copy")],
        ..Config::default()
    };
    let server = Server::start(config).unwrap();
    for number in 0..10_i64 {
        server.put("test", Seed::int(number).set("s").bin_int("n", number));
        server.put("test", Seed::int(number + 100).set("u").bin_int("n", number));
    }
    let mut world = World::new();
    world.configure(crate::world::ROUTINE, "");
    world.start();
    let address = server.addresses()[0];
    let cluster = json!({ "seed-nodes": [{ "host-name": address.ip().to_string(), "port": address.port() }] });
    world.ask("POST", "/v1/config/clusters/one", Some(&cluster)).is(201);
    let routine = json!({ "interval-cron": "@yearly", "source-cluster": "one", "storage": "local", "namespaces": ["test"],
        "backup-policy": "once" });
    world.ask("POST", "/v1/config/routines/r", Some(&routine)).is(201);
    let then = world.back_up("r", "full");
    server.advance(Duration::from_mins(1));
    server.put("test", Seed::int(50).set("s").bin_int("n", 50));
    world.back_up("r", "full");
    let request = json!({ "routine": "r", "time": then["finished-timestamp"], "destination-name": "one", "verify": true,
        "policy": { "set-list": ["s"], "namespace": { "source": "test", "destination": "copy" } } });
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!(
        (&status["status"], &status["inserted-records"], &status["skipped-records"]),
        (&json!("success"), &json!(10), &json!(10)),
        "{status}"
    );
    assert_eq!(server.count("copy"), 10);
    // One set proves nothing of the other.
    assert!(world.get("/v1/backups/currentBackup/r")["last-proof"].is_null());
}
