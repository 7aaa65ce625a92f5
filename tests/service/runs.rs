//! What of a routine's snapshots belongs together, and what goes for what: runs, sources, retention.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use rekeep_aerospike_server::{Config, Handle, NamespaceConfig, Seed, Server};
use serde_json::{Value as Json, json};
use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

/// The jobs of a kind, the newest first.
fn jobs(world: &World, verb: &str) -> Vec<Json> {
    let all = world.get("/api/v1/jobs").as_array().unwrap().clone();
    all.into_iter().filter(|job| job["verb"] == verb).collect()
}

fn is_over(job: &Json) -> bool {
    !["queued", "running"].contains(&job["state"].as_str().unwrap())
}

/// Waits until so many jobs of a kind are there and over; gives the newest.
#[track_caller]
fn ended(world: &World, verb: &str, count: usize) -> Json {
    until(|| {
        let all = jobs(world, verb);
        (all.len() >= count && all.iter().all(is_over)).then(|| all[0].clone())
    })
}

fn fulls(world: &World, routine: &str) -> Vec<Json> {
    world.get(&format!("/v1/backups/full/{routine}")).as_array().unwrap().clone()
}

/// The snapshots of the fulls that are there.
fn kept(world: &World) -> Vec<Json> {
    fulls(world, "accounts").iter().map(|it| it["snapshot"].clone()).collect()
}

fn with_policy(world: &World, lines: &str) {
    let text = fs::read_to_string(world.path("config.yml")).unwrap();
    fs::write(world.path("config.yml"), text.replace("  once:\n", &format!("  once:\n{lines}"))).unwrap();
}

fn packs(world: &World) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![world.path("backups/rekeep/packs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

#[cfg(unix)]
#[test]
fn the_last_good_backup_does_not_go_for_one_that_is_not_found_whole() {
    let hooks = "  hooks:\n    waits: { command: [sh, -c, 'until test -e {dir}/go; do sleep 0.05; done'] }";
    let mut world = World::new();
    world.configure(&format!("{ROUTINE}    after: [waits]\n"), hooks);
    with_policy(&world, "    verify: data\n    retention: { full: 1 }\n");
    fs::write(world.path("go"), "").unwrap();
    world.start();
    world.back_up("accounts", "full");
    assert_eq!(ended(&world, "retention", 1)["state"], "success");
    world.change(1, "two");
    let good = world.back_up("accounts", "full");
    assert_eq!(ended(&world, "retention", 2)["state"], "success");
    assert_eq!(kept(&world), [good["snapshot"].clone()]);

    // Storage keeps something else of the third than it was given.
    fs::remove_file(world.path("go")).unwrap();
    world.change(1, "three");
    let before = packs(&world);
    world.ask("POST", "/v1/backups/full/accounts", None).is(202);
    until(|| (fulls(&world, "accounts").len() == 2).then_some(()));
    for pack in packs(&world).difference(&before) {
        let mut bytes = fs::read(pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(pack).unwrap();
        fs::write(pack, bytes).unwrap();
    }
    fs::write(world.path("go"), "").unwrap();
    let verified = ended(&world, "verify", 3);
    assert_ne!(verified["state"], "success", "{verified}");
    // Whatever followed from it is over with the service, or begins with the next one.
    world.stop();
    world.start();
    until(|| world.get("/api/v1/jobs").as_array().unwrap().iter().all(is_over).then_some(()));
    assert_eq!(jobs(&world, "retention").len(), 2);
    assert_eq!(kept(&world)[0], good["snapshot"]);
}

#[test]
fn a_routine_whose_source_was_changed_is_told_by_the_one_that_it_reads() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.change(3, "closed");
    let db = world.database("new.db");
    let rows = "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO accounts VALUES (1, 'hundred'), (4, 'new');";
    db.execute_batch(rows).unwrap();
    drop(db);
    world.start();
    let first = world.back_up("accounts", "full");
    let mut routine = world.get("/v1/config/routines/accounts");
    routine["source"] = json!(format!("sqlite:{}", world.path("new.db").display()));
    world.ask("PUT", "/v1/config/routines/accounts", Some(&routine)).is(200);
    let second = world.back_up("accounts", "full");
    let restored = |name: &str, time: &Json| {
        let target = format!("sqlite:{}", world.path(name).display());
        let request = json!({ "routine": "accounts", "time": time, "target": target });
        let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
        assert_eq!(status["status"], "success", "{status}");
        world.names(name)
    };
    assert_eq!(restored("now.db", &second["finished-timestamp"]), ["hundred", "new"]);
    assert_eq!(restored("then.db", &first["finished-timestamp"]), ["one", "closed"]);
    world.ask("POST", "/v1/drills/accounts", None).is(202);
    let drilled = ended(&world, "drill", 1);
    assert_eq!(drilled["state"], "success", "{drilled}");
    let reports = world.get("/v1/drills")["reports"].clone();
    assert_eq!(reports.as_array().unwrap().len(), 1, "{reports}");
    assert_eq!(reports[0]["snapshot"], second["snapshot"], "{reports}");
    let found = world.get("/v1/records/accounts/-/int:1?source=accounts");
    assert_eq!(found["versions"][0]["value"]["name"], "hundred", "{found}");
    let page = world.ask("GET", "/console/sources/accounts/record?collection=accounts&key=int:1", None).is(200);
    assert!(page.body.contains("hundred"), "{page:?}");
}

#[test]
fn a_host_that_is_called_something_else_brings_nothing_back_that_was_deleted() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.change(2, "two");
    world.host = "pod-a";
    world.start();
    world.back_up("accounts", "full");
    world.stop();
    world.database("accounts.db").execute("DELETE FROM accounts WHERE id = 2", []).unwrap();
    world.host = "pod-b";
    world.start();
    let newest = world.back_up("accounts", "full");
    let target = format!("sqlite:{}", world.path("x.db").display());
    let request = json!({ "routine": "accounts", "time": newest["finished-timestamp"], "target": target });
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!((&status["status"], world.names("x.db")), (&json!("success"), vec!["one".to_owned()]), "{status}");
}

/// A cluster of two namespaces, and a service that has a routine of both.
fn of_two(routine: &str) -> (Handle, World) {
    let config =
        Config { namespaces: vec![NamespaceConfig::named("one"), NamespaceConfig::named("two")], ..Config::default() };
    let server = Server::start(config).unwrap();
    for number in 0..10_i64 {
        server.put("one", Seed::int(number).bin_int("n", number));
        server.put("two", Seed::int(number).bin_int("n", number));
    }
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let address = server.addresses()[0];
    let cluster = json!({ "seed-nodes": [{ "host-name": address.ip().to_string(), "port": address.port() }] });
    world.ask("POST", "/v1/config/clusters/c", Some(&cluster)).is(201);
    let policy = json!({ "retention": { "full": 2 }, "retry-policy": { "max-retries": 2, "base-timeout": 50 } });
    world.ask("POST", "/v1/config/policies/keep", Some(&policy)).is(201);
    let given = of_namespaces(&["one", "two"]);
    world.ask("POST", &format!("/v1/config/routines/{routine}"), Some(&given)).is(201);
    (server, world)
}

fn of_namespaces(namespaces: &[&str]) -> Json {
    json!({ "interval-cron": "@yearly", "source-cluster": "c", "storage": "local", "namespaces": namespaces, "backup-policy": "keep" })
}

#[test]
fn a_namespace_that_fails_keeps_none_behind_it_and_half_a_run_is_no_full() {
    let (server, world) = of_two("both");
    let set = |namespaces: &[&str]| {
        server.advance(Duration::from_secs(10));
        world.ask("PUT", "/v1/config/routines/both", Some(&of_namespaces(namespaces))).is(200);
    };
    let day_one = world.back_up("both", "full");
    assert_eq!(ended(&world, "retention", 1)["state"], "success");

    set(&["gone", "one"]);
    world.ask("POST", "/v1/backups/full/both", None).is(202);
    let failed = ended(&world, "backup", 2);
    assert_eq!(failed["state"], "failure", "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("namespace gone: "), "{failed}");
    assert_eq!(failed["result"]["snapshots"].as_array().map(Vec::len), Some(1), "{failed}");
    // However often it was tried, what it had was not read again.
    assert_eq!(fulls(&world, "both").len(), 3);

    set(&["one", "two"]);
    world.back_up("both", "full");
    assert_eq!(ended(&world, "retention", 2)["state"], "success");
    let left = fulls(&world, "both");
    let of = |name: &str| left.iter().filter(|it| it["namespace"] == name).count();
    assert_eq!((of("one"), of("two")), (3, 2), "{left:?}");

    server.truncate("one", None);
    server.truncate("two", None);
    let request = json!({ "routine": "both", "time": day_one["finished-timestamp"], "destination-name": "c" });
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!((&status["status"], server.count("one"), server.count("two")), (&json!("success"), 10, 10), "{status}");
}

#[test]
fn a_namespace_of_which_there_is_no_backup_is_named_where_the_others_are_restored() {
    let (server, world) = of_two("both");
    world.ask("PUT", "/v1/config/routines/both", Some(&of_namespaces(&["one", "gone"]))).is(200);
    world.ask("POST", "/v1/backups/full/both", None).is(202);
    ended(&world, "backup", 1);
    let half = fulls(&world, "both")[0].clone();
    server.truncate("one", None);
    let request = json!({ "routine": "both", "time": half["finished-timestamp"], "destination-name": "c" });
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!((&status["status"], server.count("one")), (&json!("failure"), 10), "{status}");
    assert!(status["error"].as_str().unwrap().contains("of namespace gone there is no backup"), "{status}");

    // What a former run has of it is taken from there, and that is said.
    server.advance(Duration::from_secs(10));
    world.ask("PUT", "/v1/config/routines/both", Some(&of_namespaces(&["one", "two"]))).is(200);
    world.back_up("both", "full");
    server.advance(Duration::from_secs(10));
    world.ask("PUT", "/v1/config/routines/both", Some(&of_namespaces(&["one", "two", "gone"]))).is(200);
    world.ask("POST", "/v1/backups/full/both", None).is(202);
    ended(&world, "backup", 3);
    server.advance(Duration::from_secs(10));
    world.ask("PUT", "/v1/config/routines/both", Some(&of_namespaces(&["one", "gone"]))).is(200);
    world.ask("POST", "/v1/backups/full/both", None).is(202);
    ended(&world, "backup", 4);
    world.ask("PUT", "/v1/config/routines/both", Some(&of_namespaces(&["one", "two"]))).is(200);
    let newest = fulls(&world, "both").last().unwrap().clone();
    server.truncate("two", None);
    let request = json!({ "routine": "both", "time": newest["finished-timestamp"], "destination-name": "c" });
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!((&status["status"], server.count("two")), (&json!("success"), 10), "{status}");
    let notes = jobs(&world, "restore")[0]["result"]["notes"].to_string();
    assert!(notes.contains("two is of snapshot"), "{notes}");
}

#[test]
fn a_source_that_lost_most_is_backed_up_once_somebody_says_that_it_is_so() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    world.database("accounts.db").execute("DELETE FROM accounts", []).unwrap();
    world.ask("POST", "/v1/backups/full/accounts", None).is(202);
    let refused = ended(&world, "backup", 2);
    let words = refused["error"].as_str().unwrap();
    assert!(words.contains("POST /v1/backups/full/accounts?accept-deletions=true"), "{refused}");
    world.ask("POST", "/v1/backups/full/accounts?accept-deletions=maybe", None).is(400);
    world.ask("POST", "/v1/backups/full/accounts?accept-deletions=true", None).is(202);
    let accepted = ended(&world, "backup", 3);
    assert_eq!(accepted["state"], "success", "{accepted}");
    assert_eq!(fulls(&world, "accounts").last().unwrap()["record-count"], 0);
}

#[test]
fn a_tree_in_which_something_always_changes_is_kept_by_its_fulls_and_says_what_it_lacks() {
    let mut world = World::new();
    let tree = world.path("tree");
    fs::create_dir(&tree).unwrap();
    let busy = tree.join("busy");
    fs::write(&busy, vec![7; 8 << 20]).unwrap();
    world.configure(&ROUTINE.replace("sqlite:{dir}/accounts.db", "files:{dir}/tree"), "");
    with_policy(&world, "    retention: { full: 1 }\n");
    let text = fs::read_to_string(world.path("config.yml")).unwrap();
    fs::write(world.path("config.yml"), text.replace("restore-targets: [", "restore-targets: ['files:/', ")).unwrap();
    world.start();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new().append(true).open(&busy).unwrap();
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            file.write_all(b"x").unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    for count in 1..=2 {
        let full = world.back_up("accounts", "full");
        assert_eq!(full["complete"], false, "{full}");
        let retained = ended(&world, "retention", count);
        assert_eq!(retained["state"], "success", "{retained}");
        assert_eq!(kept(&world), [full["snapshot"].clone()]);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    let full = fulls(&world, "accounts")[0].clone();
    let target = format!("files:{}", world.path("out").display());
    let request = json!({ "routine": "accounts", "time": full["finished-timestamp"], "target": target });
    let status = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    let words = status["error"].as_str().unwrap();
    assert!(words.contains("is partial: ") && words.contains("changed while it was read"), "{status}");
    assert!(world.path("out/busy").is_file());
}
