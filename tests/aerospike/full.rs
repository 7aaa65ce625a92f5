//! Full backups: every record, byte for byte, and everything beside records.

use crate::{
    cluster::{assert_kept, back_up, given_back, held, plain, populated, quick, server_now, try_back_up, url},
    support::{
        World,
        world::{assert_sound, snapshot},
    },
};
use rekeep::{connector::aerospike::AerospikeOptions, record::Timestamp};
use rekeep_aerospike_server::{Config, NamespaceConfig, Seed, Server};
use std::time::Duration;

#[test]
fn what_a_cluster_of_several_nodes_holds_comes_back() {
    for nodes in [1, 3] {
        let server = Server::start(Config::with_nodes(nodes)).unwrap();
        let (_world, repo) = populated(&server, 3_000, 1);
        let outcome = back_up(&repo, &server);
        assert_kept(&repo, &server, &outcome, &format!("{nodes} nodes"));
        assert_eq!((outcome.start, outcome.end), (server_now(&server), server_now(&server)));
        assert_sound(&repo);
    }
}

#[test]
fn a_second_backup_stores_what_changed_and_finds_what_is_gone() {
    let server = Server::start(Config::with_nodes(2)).unwrap();
    let (_world, repo) = populated(&server, 2_000, 2);
    back_up(&repo, &server);
    server.advance(Duration::from_mins(1));
    let all = server.dump("test");
    for dumped in all.iter().step_by(50) {
        assert!(server.delete("test", &dumped.digest));
    }
    for dumped in all.iter().skip(1).step_by(50) {
        assert!(server.touch("test", &dumped.digest));
    }
    server.put_all("test", (10_000..10_010).map(|n| Seed::int(n).bin_int("new", n)));
    let second = back_up(&repo, &server);
    assert_eq!((second.stats.deleted, second.stats.new, second.stats.inherited), (40, 10, 40));
    assert_kept(&repo, &server, &second, "the second backup");
    assert_sound(&repo);
}

#[test]
fn particles_of_every_kind_and_extreme_records_are_kept_byte_for_byte() {
    let server = Server::start(Config::with_nodes(1)).unwrap();
    let (_world, repo) = World::new();
    let particles: [(u8, &[u8]); 18] = [
        (1, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        (2, &[0x7f, 0xf0, 0, 0, 0, 0, 0, 1]),
        (2, &[0xff, 0xf8, 0, 0, 0, 0, 0, 0]),
        (3, b"\xff\xfe not utf-8 \0"),
        (3, b""),
        (4, b""),
        (7, b"java"),
        (12, b"erlang"),
        (16, b"vector"),
        (17, &[0]),
        (17, &[1]),
        (18, b"hll"),
        (19, &[0x83, 0xc7, 0, 3, 0xc0, 0xa2, 3, b'a', 1, 0xa2, 3, b'b', 0x91, 2]),
        (19, &[0x83, 0xc7, 0, 1, 0xc0, 0xa2, 3, b'a', 1, 0xa2, 3, b'b', 2]),
        (20, &[0x93, 0xc7, 0, 1, 1, 2]),
        (20, &[0x91, 0xc7, 0, 1]),
        (99, b"unknown"),
        (23, b"\0\0\x01\x11\x22\x33\x44\x55\x66\x77\x88{\"type\":\"Point\",\"coordinates\":[1,2]}"),
    ];
    let mut seed = Seed::string("all").set("kinds").stores_key();
    for (n, (kind, value)) in particles.iter().enumerate() {
        seed = seed.bin(&format!("b{n:02}"), *kind, value);
    }
    server.put("test", seed);
    let mut wide = Seed::with_key(4, b"\xff").set("kinds").stores_key();
    for n in 0..1000i64 {
        wide = wide.bin_int(&format!("bin{:04}", 999 - n), n);
    }
    server.put("test", wide);
    server.put("test", Seed::int(1).bin("big", 4, &vec![7; 1_048_512]));
    server.put("test", Seed::int(2).set(&"s".repeat(63)).generation(u16::MAX).void_time(u32::MAX).bin_int("x", 1));
    server.put("test", Seed::with_key(2, &1.5f64.to_be_bytes()).stores_key().bin_int("x", 1));
    let outcome = back_up(&repo, &server);
    assert_kept(&repo, &server, &outcome, "extreme records");
    assert_eq!(outcome.records, 5);
    assert_sound(&repo);
}

#[test]
fn several_namespaces_make_one_snapshot_and_one_can_be_named() {
    let namespaces = ["bar", "test", "empty"].map(NamespaceConfig::named).to_vec();
    let server = Server::start(Config { namespaces, ..Config::with_nodes(2) }).unwrap();
    let (_world, repo) = populated(&server, 200, 3);
    server.put_all("bar", (0..50).map(|n| Seed::int(n).bin_int("b", n)));
    let outcome = back_up(&repo, &server);
    let all = held(&server, &["bar", "empty", "test"], outcome.end);
    assert_eq!(given_back(&repo, outcome.id.unwrap()), all);
    let (one, _) = try_back_up(&repo, &format!("{}/bar", url(&server)), quick(), &plain()).unwrap();
    assert_eq!((one.collections, one.records, one.parent), (1, 50, None));
    let error = try_back_up(&repo, &format!("{}/nope", url(&server)), quick(), &plain()).unwrap_err().to_string();
    assert!(error.contains("`nope`") && error.contains("bar, empty, test"), "{error}");
}

#[test]
fn records_that_expire_are_counted_as_expired_and_never_as_deleted() {
    let server = Server::start(Config::with_nodes(1)).unwrap();
    let (_world, repo) = populated(&server, 100, 4);
    server.put_all("test", (1000..1030).map(|n| Seed::int(n).bin_int("b", n).ttl(100)));
    let first = back_up(&repo, &server);
    assert_eq!(first.records, 130);
    server.advance(Duration::from_secs(200));
    let second = back_up(&repo, &server);
    assert_eq!((second.records, second.stats.deleted, second.stats.seen), (100, 0, 100));
    assert_kept(&repo, &server, &second, "after the expiry");
    assert_sound(&repo);
}

#[test]
fn records_that_expire_during_the_backup_do_not_contradict_its_counts() {
    let server = Server::start(Config::with_nodes(2)).unwrap();
    let (_world, repo) = populated(&server, 500, 5);
    server.put_all("test", (1000..1400).map(|n| Seed::int(n).bin_int("b", n).ttl(1 + n as u32 % 40)));
    server.on_query(|control, _| control.advance(Duration::from_millis(700)));
    for round in 0..3 {
        let outcome = back_up(&repo, &server);
        assert!(outcome.end > outcome.start);
        assert_sound(&repo);
        let got = given_back(&repo, outcome.id.unwrap());
        assert_eq!(got["test"].records.len() as u64, outcome.records, "round {round}");
        assert!(got["test"].records.values().all(|rec| rec.is_live_at(outcome.end)));
        assert_eq!(outcome.stats.deleted, 0, "round {round}: nothing was deleted");
    }
}

#[test]
fn only_what_was_asked_for_is_read_and_the_snapshot_says_so() {
    let server = Server::start(Config::with_nodes(2)).unwrap();
    let (_world, repo) = populated(&server, 600, 6);
    let all = server.dump("test");
    let ask = |options: AerospikeOptions| {
        let (outcome, _) = try_back_up(&repo, &url(&server), options, &plain()).unwrap();
        assert!(outcome.complete && outcome.parent.is_none());
        let taken = snapshot(&repo, outcome.id.unwrap());
        assert!(!taken.content.scope_note.is_empty());
        outcome.records as usize
    };
    let of = |sets: &[&str]| AerospikeOptions { sets: sets.iter().map(|s| (*s).to_owned()).collect(), ..quick() };
    let in_set = |set: &str| all.iter().filter(|dumped| dumped.set == set.as_bytes()).count();
    assert_eq!(ask(of(&["demo"])), in_set("demo"));
    assert_eq!(ask(of(&["demo", "a set"])), in_set("demo") + in_set("a set"));
    assert_eq!(ask(of(&[""])), in_set(""));
    assert_eq!(ask(AerospikeOptions { no_records: true, ..quick() }), 0);
    let partitions = AerospikeOptions { partitions: Some("0-99,4000".into()), ..quick() };
    let in_partitions = all.iter().filter(|dumped| {
        let pid = rekeep_aerospike_server::partition_of(&dumped.digest);
        pid < 100 || pid == 4000
    });
    assert_eq!(ask(partitions), in_partitions.count());
    let middle = all[300].digest;
    let after =
        AerospikeOptions { partitions: Some(format!("after:{}", data_encoding::HEXLOWER.encode(&middle))), ..quick() };
    let behind = rekeep::record::Digest(middle).sort_key();
    assert_eq!(ask(after), all.iter().filter(|d| rekeep::record::Digest(d.digest).sort_key() > behind).count());
    let bins = AerospikeOptions { bins: vec!["n".into()], ..quick() };
    let (outcome, _) = try_back_up(&repo, &url(&server), bins, &plain()).unwrap();
    let got = given_back(&repo, outcome.id.unwrap());
    assert!(got["test"].records.values().all(|rec| rec.cells.len() == 1 && rec.cells.contains_key(b"n".as_slice())));
    let error = try_back_up(&repo, &url(&server), of(&["typo"]), &plain()).unwrap_err().to_string();
    assert!(error.contains("`typo`") && error.contains("--allow-missing-set"), "{error}");
    assert_eq!(ask(AerospikeOptions { allow_missing_set: true, ..of(&["typo"]) }), 0);
}

#[test]
fn records_are_chosen_by_their_last_update_and_their_expiry() {
    let server = Server::start(Config::with_nodes(1)).unwrap();
    let (_world, repo) = populated(&server, 100, 7);
    server.advance(Duration::from_secs(100));
    let time = server_now(&server);
    server.put_all("test", (1000..1020).map(|n| Seed::int(n).bin_int("b", n).ttl(5000)));
    let count = |options| try_back_up(&repo, &url(&server), options, &plain()).unwrap().0.records;
    assert_eq!(count(AerospikeOptions { modified_after: Some(time), ..quick() }), 20);
    assert_eq!(count(AerospikeOptions { modified_before: Some(time), ..quick() }), 100);
    let later = Timestamp::from_millis(time.as_millis() + 1);
    assert_eq!(count(AerospikeOptions { modified_before: Some(later), ..quick() }), 120);
    assert_eq!(count(AerospikeOptions { no_ttl_only: true, ..quick() }), 100);
}

#[test]
fn an_empty_namespace_is_kept_with_a_word_about_the_clock() {
    let server = Server::start(Config::with_nodes(1)).unwrap();
    let (_world, repo) = World::new();
    let (outcome, warnings) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(outcome.complete && outcome.records == 0);
    assert!(warnings.contains("clock of node"), "{warnings}");
    server.put("test", Seed::int(1).bin_int("b", 1));
    assert_eq!(back_up(&repo, &server).records, 1);
    assert_sound(&repo);
}

#[test]
fn indexes_modules_and_facts_are_kept() {
    let server = Server::start(Config { cluster_name: Some("prod".into()), ..Config::with_nodes(2) }).unwrap();
    let (_world, repo) = populated(&server, 10, 8);
    let mut client = std::net::TcpStream::connect(server.address(0)).unwrap();
    for command in [
        "sindex-create:namespace=test;set=demo;indexname=by_n;bin=n;type=NUMERIC",
        "udf-put:filename=a.lua;content=cmV0dXJuIDE=;content-len=12;udf-type=LUA;",
    ] {
        rekeep_info(&mut client, command);
    }
    let outcome = back_up(&repo, &server);
    let taken = snapshot(&repo, outcome.id.unwrap());
    assert_eq!(taken.content.source.name, "prod");
    let attributes = &taken.content.attributes;
    assert_eq!(attributes["udfs"][0]["name"], "a.lua");
    assert_eq!(attributes["udfs"][0]["content"], "cmV0dXJuIDE=");
    assert_eq!(attributes["nodes"].as_array().unwrap().len(), 2);
    let index = &taken.collections[0].attributes["sindexes"][0];
    assert_eq!((&index["name"], &index["set"], &index["bin"]), (&"by_n".into(), &"demo".into(), &"n".into()));
    assert!(index["raw"].as_str().unwrap().contains("indexname=by_n"), "{index}");
    let without = AerospikeOptions { no_indexes: true, no_udfs: true, ..quick() };
    let (outcome, _) = try_back_up(&repo, &url(&server), without, &plain()).unwrap();
    let taken = snapshot(&repo, outcome.id.unwrap());
    assert_eq!(taken.content.attributes["udfs"], serde_json::json!([]));
}

fn rekeep_info(stream: &mut std::net::TcpStream, command: &str) {
    use std::io::{Read as _, Write as _};
    let mut frame = vec![2, 1, 0, 0, 0, 0, 0, command.len() as u8 + 1];
    frame.extend_from_slice(command.as_bytes());
    frame.push(b'\n');
    stream.write_all(&frame).unwrap();
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; usize::from(head[7])];
    stream.read_exact(&mut body).unwrap();
    let text = String::from_utf8(body).unwrap();
    assert!(text.trim_end().ends_with("ok"), "{text}");
}
