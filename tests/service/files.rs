//! A storage of files: what the backup service would write is written, listed, restored from, let go.

use crate::{client::until, world::World};
use rekeep_aerospike_server::{Config, Handle, NamespaceConfig, Seed, Server, Sindex, SindexSource, SindexType};
use serde_json::{Value as Json, json};
use std::{fs, time::Duration};

const MINUTE: Duration = Duration::from_mins(1);

pub fn server() -> Handle {
    let namespaces = ["test", "copy", "other"].map(NamespaceConfig::named).to_vec();
    Server::start(Config { namespaces, ..Config::default() }).unwrap()
}

pub fn index(name: &str) -> Sindex {
    Sindex {
        name: name.to_owned(),
        set: Some("s".to_owned()),
        bin: Some("n".to_owned()),
        kind: SindexType::Numeric,
        source: SindexSource::Default,
        context: None,
        expression: None,
    }
}

/// A service with a cluster, a storage of files, a policy and a routine of the namespaces `test` and `other`.
fn service(server: &Handle, policy: &Json) -> World {
    let mut world = World::new();
    world.configure(crate::world::ROUTINE, "");
    world.start();
    let storage = json!({ "format": "asb", "local-storage": { "path": world.path("abs").display().to_string() } });
    add(&world, server, &storage, policy);
    world
}

/// The same into a service that runs.
pub fn add(world: &World, server: &Handle, storage: &Json, policy: &Json) {
    let address = server.addresses()[0];
    let cluster = json!({ "seed-nodes": [{ "host-name": address.ip().to_string(), "port": address.port() }] });
    world.ask("POST", "/v1/config/clusters/cluster", Some(&cluster)).is(201);
    world.ask("POST", "/v1/config/storage/files", Some(storage)).is(201);
    world.ask("POST", "/v1/config/policies/keep", Some(policy)).is(201);
    let routine = json!({ "interval-cron": "@yearly", "incr-interval-cron": "0 0 0 1 1 ?", "source-cluster": "cluster",
        "storage": "files", "namespaces": ["test", "other"], "backup-policy": "keep" });
    world.ask("POST", "/v1/config/routines/hourly", Some(&routine)).is(201);
}

/// Runs a backup to its end; gives the job.
fn run(world: &World, kind: &str) -> Json {
    let jobs = || world.get("/api/v1/jobs?routine=hourly").as_array().unwrap().clone();
    let newest = jobs().iter().filter_map(|job| job["id"].as_i64()).max().unwrap_or(0);
    world.ask("POST", &format!("/v1/backups/{kind}/hourly"), None).is(202);
    until(|| {
        let is_new = |job: &Json| job["verb"] == "backup" && job["id"].as_i64() > Some(newest);
        let new = jobs().into_iter().find(is_new)?;
        (!["queued", "running"].contains(&new["state"].as_str()?)).then_some(new)
    })
}

/// Restores, once the one before is out of the way; gives how it ended.
fn restored(world: &World, kind: &str, request: &Json) -> Json {
    let path = format!("/v1/restore/{kind}");
    world.restored(&until(|| Some(world.ask("POST", &path, Some(request))).filter(|answer| answer.status != 409)))
}

fn listed(world: &World, kind: &str) -> Vec<Json> {
    world.get(&format!("/v1/backups/{kind}/hourly")).as_array().unwrap().clone()
}

fn fill(server: &Handle) {
    server.put_all("test", (0..300).map(|n| Seed::int(n).set("s").bin_int("n", n).bin_int("m", 1)));
    server.put_all("other", (0..20).map(|n| Seed::int(n).bin_int("n", n)));
    server.with_namespace("test", |namespace| namespace.sindexes.push(index("by_n")));
    server.put_module("a.lua", b"-- nothing\n");
    server.advance(MINUTE);
}

#[test]
fn fulls_and_increments_lie_there_as_files_and_come_back() {
    let server = server();
    fill(&server);
    let policy =
        json!({ "parallel": 2, "compression": { "mode": "ZSTD", "level": 1 }, "retry-policy": { "max-retries": 0 } });
    let world = service(&server, &policy);
    assert_eq!(run(&world, "incremental")["state"], "skipped", "there is no full yet");
    assert_eq!(run(&world, "full")["state"], "success");
    let fulls = listed(&world, "full");
    assert_eq!(fulls.len(), 2, "{fulls:?}");
    let test = fulls.iter().find(|one| one["namespace"] == "test").unwrap();
    assert_eq!(
        [&test["record-count"], &test["secondary-index-count"], &test["udf-count"], &test["file-count"]],
        [&json!(300), &json!(1), &json!(1), &json!(2)],
        "{test}"
    );
    assert_eq!((&test["compression"], &test["encryption"]), (&json!("ZSTD"), &json!("NONE")));
    let key = test["key"].as_str().unwrap();
    let folder = world.path("abs").join(key);
    let mut names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["0_test_2.asb", "metadata.yaml", "metadata_test_1.asb"]);
    assert_eq!(key, format!("hourly/backup/{}/data/test", test["timestamp"]));
    let told = fs::read_to_string(folder.join("metadata.yaml")).unwrap();
    assert!(told.contains("\nfrom: 0001-01-01T00:00:00Z\nnamespace: test\nrecord-count: 300\n"), "{told}");

    // An increment without records is none.
    server.advance(MINUTE);
    assert_eq!((&run(&world, "incremental")["state"], listed(&world, "incremental").len()), (&json!("success"), 0));
    assert!(
        !world.path("abs/hourly/incremental").exists() || {
            fs::read_dir(world.path("abs/hourly/incremental")).unwrap().next().is_none()
        }
    );
    let changed = server.put("test", Seed::int(5).set("s").bin_int("n", -5).generation(2));
    server.put("test", Seed::int(1000).set("s").bin_int("n", 1000));
    server.advance(MINUTE);
    assert_eq!(run(&world, "incremental")["state"], "success");
    let increments = listed(&world, "incremental");
    assert_eq!(increments.len(), 1, "the other namespace did not change: {increments:?}");
    let increment = &increments[0];
    assert_eq!(
        [&increment["record-count"], &increment["secondary-index-count"]],
        [&json!(2), &json!(0)],
        "{increment}"
    );
    assert!(increment["from"].as_str().unwrap() < increment["created"].as_str().unwrap());

    let policy = json!({ "namespace": { "source": "test", "destination": "copy" } });
    let restore = |kind: &str, mut request: Json| {
        server.truncate("copy", None);
        request["destination-name"] = json!("cluster");
        request["policy"] = policy.clone();
        restored(&world, kind, &request)
    };
    let status = restore("full", json!({ "backup-data-path": key }));
    assert_eq!((&status["status"], &status["inserted-records"]), (&json!("success"), &json!(300)), "{status}");
    assert_eq!([&status["index-count"], &status["udf-count"]], [&json!(1), &json!(1)], "{status}");
    let status = restore("incremental", json!({ "backup-data-path": increment["key"] }));
    assert_eq!((&status["status"], server.count("copy")), (&json!("success"), 2), "{status}");
    let at = json!({ "routine": "hourly", "time": increment["timestamp"], "collection": "test" });
    let status = restore("timestamp", at);
    assert_eq!((&status["status"], &status["inserted-records"]), (&json!("success"), &json!(301)), "{status}");
    let back = server.get("copy", &changed).unwrap();
    assert!(back.bin("n").is_some() && back.bin("m").is_none(), "a bin that was gone does not come back");
    let at = json!({ "routine": "hourly", "time": test["timestamp"], "collection": "test", "source-name": "files" });
    assert_eq!(restore("timestamp", at)["inserted-records"], 300);
    let before =
        json!({ "routine": "hourly", "time": test["timestamp"].as_i64().unwrap() - 1, "destination-name": "cluster" });
    world.ask("POST", "/v1/restore/timestamp", Some(&before)).is(404);
    for path in ["hourly/backup/1", "../abs/hourly", "hourly", "hourly/backup/../backup"] {
        let request = json!({ "backup-data-path": path, "destination-name": "cluster", "source-name": "files" });
        let status = world.ask("POST", "/v1/restore/full", Some(&request)).status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    let verify = json!({ "backup-data-path": key, "destination-name": "cluster", "verify": true });
    world.ask("POST", "/v1/restore/full", Some(&verify)).is(400);
    let dataset = json!({ "dataset_ids": ["hourly"] });
    world.ask("POST", "/api/v1/backups", Some(&dataset)).is(400);
    world.ask("GET", "/api/v1/backups", None).is(200);
    let metrics = world.ask("GET", "/metrics", None).is(200).body;
    assert!(
        metrics.contains("backup_events_total{routine=\"hourly\",type=\"full\",outcome=\"success\"} 1"),
        "{metrics}"
    );
}

#[test]
fn what_the_nodes_run_with_is_given_as_files_in_an_archive() {
    let server = server();
    fill(&server);
    let policy = json!({ "with-cluster-configuration": true });
    let world = service(&server, &policy);
    let routine = json!({ "interval-cron": "@yearly", "source-cluster": "cluster", "storage": "local",
        "namespaces": ["test", "other"], "backup-policy": "keep" });
    world.ask("POST", "/v1/config/routines/kept", Some(&routine)).is(201);
    assert_eq!(run(&world, "full")["state"], "success");
    world.back_up("kept", "full");
    let of_files = listed(&world, "full")[0]["timestamp"].clone();
    let of_snapshots = world.get("/v1/backups/full/kept")[0]["timestamp"].clone();
    let one = world.path("abs").join(format!("hourly/backup/{of_files}/configuration/aerospike_0.conf"));
    assert!(fs::read_to_string(one).unwrap().contains("\nnamespace test {\n"));
    for (routine, time) in [("hourly", of_files), ("kept", of_snapshots)] {
        let answer = world.ask("GET", &format!("/v1/retrieve/configuration/{routine}/{time}"), None).is(200);
        assert!(answer.head.contains("content-type: application/zip") && answer.body.starts_with("PK"), "{answer:?}");
        // What is stored as it is can be read as it is.
        let has = |text: &str| answer.body.contains(text);
        assert!(has("aerospike_0.conf") && has("namespace test {") && has("nsup-period 120"), "{answer:?}");
        world.ask("GET", &format!("/v1/retrieve/configuration/{routine}/1"), None).is(404);
    }
    world.ask("GET", "/v1/retrieve/configuration/none/1", None).is(404);
    let without = world.back_up("accounts", "full")["timestamp"].clone();
    world.ask("GET", &format!("/v1/retrieve/configuration/accounts/{without}"), None).is(404);
}

#[test]
fn what_is_encrypted_comes_back_by_the_key_of_the_policy() {
    let server = server();
    fill(&server);
    let key = format!("{}/tests/fixtures/asb/test-only-rsa-key.pem", env!("CARGO_MANIFEST_DIR"));
    let policy = json!({ "encryption": { "mode": "AES256", "key-file": key }, "compact": true });
    let world = service(&server, &policy);
    assert_eq!(run(&world, "full")["state"], "success");
    let full = listed(&world, "full").into_iter().find(|one| one["namespace"] == "test").unwrap();
    assert_eq!(full["encryption"], "AES256");
    let file = fs::read(world.path("abs").join(full["key"].as_str().unwrap()).join("0_test_2.asb")).unwrap();
    assert!(!file.starts_with(b"Version"));
    let policy = json!({ "namespace": { "source": "test", "destination": "copy" } });
    let mut request = json!({ "backup-data-path": full["key"], "destination-name": "cluster", "policy": policy });
    let status = restored(&world, "full", &request);
    assert_eq!((&status["status"], server.count("copy")), (&json!("success"), 300), "{status}");
    request["policy"]["encryption"] = json!({ "mode": "NONE" });
    let status = restored(&world, "full", &request);
    assert_eq!(status["status"], "failure", "{status}");
}

#[test]
fn old_runs_go_and_what_is_half_written_is_never_there() {
    let server = server();
    fill(&server);
    let policy = json!({ "retention": { "full": 1 }, "retry-policy": { "max-retries": 0 } });
    let mut world = service(&server, &policy);
    let half = world.path("abs/hourly/backup/777/data/test");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("0_test_1.asb"), "Version 3.1\n# namespace test\n").unwrap();
    assert_eq!(listed(&world, "full").len(), 0);
    run(&world, "full");
    server.advance(MINUTE);
    server.put("test", Seed::int(2000).set("s").bin_int("n", 1));
    server.advance(MINUTE);
    run(&world, "incremental");
    let first = listed(&world, "full")[0]["key"].as_str().unwrap().to_owned();
    assert_eq!((listed(&world, "full").len(), listed(&world, "incremental").len()), (2, 1));
    server.advance(MINUTE);
    run(&world, "full");
    until(|| (listed(&world, "full").len() == 2 && listed(&world, "incremental").is_empty()).then_some(()));
    assert!(!world.path("abs").join(&first).parent().unwrap().parent().unwrap().exists());
    assert!(half.exists(), "what others leave is theirs");

    // Ours is gone behind a start.
    world.stop();
    let state = world.database("state/state.db");
    state.execute("INSERT INTO folders VALUES ('files', 'hourly/backup/777')", []).unwrap();
    drop(state);
    world.start();
    until(|| (!world.path("abs/hourly/backup/777").exists()).then_some(()));
    assert_eq!(listed(&world, "full").len(), 2);

    // A run that is canceled leaves nothing.
    server.put_all("test", (10_000..14_000).map(|n| Seed::int(n).set("s").bin_int("n", n)));
    server.advance(MINUTE);
    let slow = json!({ "records-per-second": 200, "retry-policy": { "max-retries": 0 }, "parallel": 1 });
    world.ask("PUT", "/v1/config/policies/keep", Some(&slow)).is(200);
    let runs = || fs::read_dir(world.path("abs/hourly/backup")).unwrap().count();
    let before = runs();
    world.ask("POST", "/v1/backups/full/hourly", None).is(202);
    until(|| (runs() > before).then_some(()));
    world.ask("POST", "/v1/backups/cancel/hourly", None).is(202);
    until(|| (runs() == before).then_some(()));
    until(|| world.get("/v1/backups/currentBackup/hourly")["full"].is_null().then_some(()));
    assert_eq!(listed(&world, "full").len(), 2);
    let state = world.database("state/state.db");
    let left: i64 = state.query_row("SELECT COUNT(*) FROM folders", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn what_files_cannot_do_is_refused_when_it_is_configured() {
    let server = server();
    let world = service(&server, &json!({}));
    let storage = |world: &World| world.path("abs").display().to_string();
    let of = |change: &dyn Fn(&mut Json)| {
        let mut config = world.get("/v1/config");
        change(&mut config);
        world.ask("PUT", "/v1/config", Some(&config)).status
    };
    assert_eq!(of(&|_| ()), 200);
    assert_eq!(of(&|config| config["backup-policies"]["keep"]["verify"] = json!("data")), 400);
    assert_eq!(of(&|config| config["backup-policies"]["keep"]["encryption"] = json!({ "mode": "AES128" })), 400);
    assert_eq!(of(&|config| config["backup-routines"]["hourly"]["drill"] = json!({ "interval-cron": "@daily" })), 400);
    assert_eq!(of(&|config| config["backup-routines"]["accounts"]["storage"] = json!("files")), 400);
    assert_eq!(of(&|config| config["storage"]["files"]["format"] = json!("tar")), 400);
    // A storage that is given as it is must be configured, whatever lies in it.
    let request = json!({ "backup-data-path": "hourly/backup/1/data/test", "destination-name": "cluster",
        "source": { "local-storage": { "path": storage(&world) } } });
    world.ask("POST", "/v1/restore/full", Some(&request)).is(404);
    let request = json!({ "backup-data-path": "hourly/backup/1/data/test", "destination-name": "cluster",
        "source": { "local-storage": { "path": "/etc" } } });
    world.ask("POST", "/v1/restore/full", Some(&request)).is(403);

    let mut other = World::new();
    other.configure(crate::world::ROUTINE, "  audit:\n    storage: local\n");
    let text = fs::read_to_string(other.path("config.yml")).unwrap();
    fs::write(other.path("config.yml"), text.replace("  local:\n", "  local:\n    format: asb\n")).unwrap();
    let error = other.try_start().unwrap_err().to_string();
    assert!(error.contains("of clusters alone") && error.contains("and no repository"), "{error}");
}
