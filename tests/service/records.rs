//! Versions of single records, and what is told to others.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use rekeep_aerospike_server::{Config, Seed, Server};
use serde_json::{Value as Json, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
    time::Duration,
};

#[test]
fn every_version_of_a_record_is_given_with_when_it_stood() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.ask("GET", "/v1/records/accounts/-/int:1", None).is(404);
    let first = world.back_up("accounts", "full");
    world.change(1, "changed");
    let second = world.back_up("accounts", "full");
    let db = world.database("accounts.db");
    db.execute("DELETE FROM accounts", []).unwrap();
    db.execute("INSERT INTO accounts VALUES (9, 'other')", []).unwrap();
    drop(db);
    world.back_up("accounts", "full");
    let found = world.get("/v1/records/accounts/-/int:1");
    let versions = found["versions"].as_array().unwrap();
    let states: Vec<&str> = versions.iter().map(|version| version["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["live", "live", "deleted"], "{found}");
    assert_eq!(
        (&versions[0]["value"]["name"], &versions[1]["value"]["name"]),
        (&json!("one"), &json!("changed")),
        "{found}"
    );
    assert_eq!((&versions[1]["changed"], &versions[0]["from"]), (&json!(["name"]), &first["finished-timestamp"]));
    let until_then = format!("/v1/records/accounts/-/int:1?source=accounts&to={}", second["finished-timestamp"]);
    assert_eq!(world.get(&until_then)["versions"].as_array().unwrap().len(), 2);
    for (path, status) in [
        ("/v1/records/none/-/int:1", 404),
        ("/v1/records/accounts/-/int:x", 400),
        ("/v1/records/accounts/set/int:1", 400),
        ("/v1/records/accounts/-/int:1?from=soon", 400),
        ("/v1/records/accounts/-/int:1?from=5&to=1", 400),
        ("/v1/records/accounts/-/int:1?from=1&to=5", 404),
        ("/v1/records/accounts/-/int:1?source=nobody", 404),
    ] {
        world.ask("GET", path, None).is(status);
    }
    assert_eq!(world.get("/v1/records/accounts/-/int:77")["versions"], json!([]));

    // That record alone, as it was then.
    let target = format!("sqlite:{}", world.path("one.db").display());
    let request =
        json!({ "routine": "accounts", "time": second["finished-timestamp"], "target": target, "keys": ["int:1"] });
    let ended = world.restored(&world.ask("POST", "/v1/restore/timestamp", Some(&request)));
    assert_eq!(ended["inserted-records"], 1, "{ended}");
    assert_eq!(world.names("one.db"), ["changed"]);
}

#[test]
fn a_record_of_a_cluster_is_named_by_set_and_key_or_by_its_digest() {
    let server = Server::start(Config::default()).unwrap();
    let digest = server.put("test", Seed::string("a b").set("s").bin_int("n", 1));
    server.put("test", Seed::int(7).bin_int("n", 7));
    let mut world = World::new();
    let address = server.addresses()[0];
    world.configure(
        &format!("\n  c:\n    interval-cron: '@yearly'\n    source: aerospike://{address}/test\n    storage: local\n"),
        "",
    );
    world.start();
    world.back_up("c", "full");
    server.advance(Duration::from_mins(1));
    server.put("test", Seed::string("a b").set("s").bin_int("n", 2));
    server.advance(Duration::from_mins(1));
    world.back_up("c", "full");
    let found = world.get("/v1/records/test/s/str:a%20b");
    let values: Vec<&Json> = found["versions"].as_array().unwrap().iter().map(|version| &version["value"]).collect();
    assert_eq!(values.len(), 2, "{found}");
    let digest = data_encoding::HEXLOWER.encode(&digest);
    assert_eq!(world.get(&format!("/v1/records/test/-/digest:{digest}"))["versions"], found["versions"]);
    assert_eq!(world.get("/v1/records/test/-/int:7")["versions"].as_array().unwrap().len(), 1);
}

/// Takes one request and answers it; gives its body.
fn hear(listener: &TcpListener) -> Json {
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part).unwrap();
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .to_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap()));
        if body.len() >= length.unwrap_or(0) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            return serde_json::from_str(body).unwrap();
        }
    }
}

/// The first who is told of a job never answers.
#[test]
fn a_webhook_that_does_not_answer_keeps_no_backup_from_its_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut world = World::new();
    world.configure(
        &ROUTINE.replace("'0 0 0 1 1 ? 2090'", "'* * * * * ?'"),
        &format!("  webhooks:\n    - url: http://127.0.0.1:{port}/x\n      on: [success]\n"),
    );
    world.start();
    let (silent, _) = listener.accept().unwrap();
    let made = || world.get("/v1/backups/full/accounts").as_array().unwrap().len();
    let before = made();
    until(|| (made() >= before + 3).then_some(()));
    silent.set_nonblocking(true).unwrap();
    let mut silent = silent;
    let mut told = [0; 4096];
    while silent.read(&mut told).is_ok_and(|read| read > 0) {}
    let is_waited_for = silent.read(&mut told).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(is_waited_for, "it was given up before others had their turn");
    // Nobody is there any more, so that nobody is waited for at the end.
    drop((silent, listener));
}

#[test]
fn webhooks_hear_of_what_they_want_and_of_what_is_missing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            if told.send(hear(&listener)).is_err() {
                return;
            }
        }
    });
    let mut world = World::new();
    let routine = ROUTINE.replace("    backup-policy: once", "    backup-policy: once\n    max-age: 3");
    world.configure(
        &routine,
        &format!("  webhooks:\n    - url: http://127.0.0.1:{port}/x\n      on: [success, failure, missing]\n"),
    );
    world.start();
    let first = heard.recv_timeout(Duration::from_mins(3)).unwrap();
    assert_eq!((&first["event"], &first["routine"]), (&json!("missing"), &json!("accounts")), "{first}");
    world.back_up("accounts", "full");
    let success = until(|| heard.try_recv().ok().filter(|event| event["event"] == "success"));
    assert_eq!(
        (&success["verb"], &success["type"], &success["records"]),
        (&json!("backup"), &json!("full"), &json!(1))
    );
    std::fs::remove_file(world.path("accounts.db")).unwrap();
    world.ask("POST", "/v1/backups/full/accounts", None).is(202);
    let failure = until(|| heard.try_recv().ok().filter(|event| event["event"] == "failure"));
    assert!(failure["error"].as_str().unwrap().contains("accounts.db"), "{failure}");
    until(|| heard.try_recv().ok().filter(|event| event["event"] == "missing"));
}
