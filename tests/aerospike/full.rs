//! Full backups: every record, byte for byte, and everything beside records.

use crate::{
    cluster::{assert_kept, back_up, given_back, held, plain, populated, quick, server_now, try_back_up, url},
    place::{Living, Place, here, namespaces, real, say},
    support::{
        World,
        world::{assert_sound, snapshot},
    },
};
use rekeep::{
    connector::aerospike::AerospikeOptions,
    record::Timestamp,
    report::{ErrorKind, Remedy},
};
use rekeep_aerospike_server::{Config, NamespaceConfig, Seed};
use std::time::Duration;

#[test]
fn what_a_cluster_of_several_nodes_holds_comes_back() {
    for nodes in [1, 3] {
        let server = Place::new(Config::with_nodes(nodes));
        let (_world, repo) = populated(&server, 3_000, 1);
        let outcome = back_up(&repo, &server);
        assert_kept(&repo, &server, &outcome, &format!("{nodes} nodes"));
        if server.is_here() {
            assert_eq!((outcome.start, outcome.end), (server_now(&server), server_now(&server)));
        }
        assert_sound(&repo);
    }
}

#[test]
fn a_second_backup_stores_what_changed_and_finds_what_is_gone() {
    let server = Place::new(Config::with_nodes(2));
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

/// Particles that a server takes from a client and gives back as they were.
const PARTICLES: [(u8, &[u8]); 20] = [
    (1, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
    (2, &[0x7f, 0xf0, 0, 0, 0, 0, 0, 1]),
    (2, &[0xff, 0xf8, 0, 0, 0, 0, 0, 0]),
    (2, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
    (3, b"\xff\xfe not utf-8 \0"),
    (3, b""),
    (4, b""),
    (4, b"\0\xff"),
    (7, b"java"),
    (8, b"c#"),
    (9, b"python"),
    (10, b"ruby"),
    (12, b"erlang"),
    (17, &[0]),
    (17, &[1]),
    // {a: 1, b: [2]}, by keys and values; the same by keys; {a: {x: 1, y: [1, 2] ordered} by keys and values} by keys.
    (19, &[0x83, 0xc7, 0, 3, 0xc0, 0xa2, 3, b'a', 1, 0xa2, 3, b'b', 0x91, 2]),
    (19, &[0x83, 0xc7, 0, 1, 0xc0, 0xa2, 3, b'a', 1, 0xa2, 3, b'b', 2]),
    (
        19,
        &[
            0x82, 0xc7, 0, 1, 0xc0, 0xa2, 3, b'a', 0x83, 0xc7, 0, 3, 0xc0, 0xa2, 3, b'x', 1, 0xa2, 3, b'y', 0x93, 0xc7,
            0, 1, 1, 2,
        ],
    ),
    (20, &[0x93, 0xc7, 0, 1, 1, 2]),
    (20, &[0x91, 0xc7, 0, 1]),
];

fn with_bins<'a>(seed: Seed, particles: impl IntoIterator<Item = &'a (u8, &'a [u8])>) -> Seed {
    let bins = particles.into_iter().enumerate();
    bins.fold(seed, |seed, (n, (kind, value))| seed.bin(&format!("b{n:02}"), *kind, value))
}

#[test]
fn particles_come_back_byte_for_byte() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = World::new();
    server.put("test", with_bins(Seed::string("all").set("kinds").stores_key(), &PARTICLES));
    let mut wide = Seed::with_key(4, b"\xff").set("kinds").stores_key();
    for n in 0..1000i64 {
        wide = wide.bin_int(&format!("bin{:04}", 999 - n), n);
    }
    server.put("test", wide);
    for (kind, key) in [(1, &[0xff; 8][..]), (2, &1.5f64.to_be_bytes()), (3, b"\xff\0"), (4, b"\0"), (3, b"plain")] {
        server.put("test", Seed::with_key(kind, key).set("keys").stores_key().bin_int("x", 1));
    }
    server.put("test", Seed::int(2).set(&"s".repeat(63)).bin(&"b".repeat(15), 3, b"long names"));
    let point = b"\0\0\0{\"type\":\"Point\",\"coordinates\":[1,2]}";
    server.put("test", Seed::int(3).bin("where", 23, point));
    let outcome = back_up(&repo, &server);
    assert_eq!(outcome.records, 9);
    assert_kept(&repo, &server, &outcome, "particles");
    let got = given_back(&repo, outcome.id.unwrap());
    let all =
        got["test"].records.values().find(|rec| rec.set == b"kinds" && rec.cells.len() == PARTICLES.len()).unwrap();
    for (cell, (kind, value)) in all.cells.values().zip(PARTICLES) {
        assert_eq!((cell.0, cell.1.as_slice()), (kind, value), "as it was written");
    }
    assert_sound(&repo);
}

#[test]
fn a_record_of_the_largest_size_that_the_server_takes_comes_back() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = World::new();
    let of_size = |bytes: usize| Seed::int(1).bin("big", 4, &vec![7; bytes]);
    let (mut taken, mut refused) = (500_000, 8 << 20);
    while refused - taken > 1 {
        let middle = usize::midpoint(taken, refused);
        match server.try_put("test", &of_size(middle)) {
            0 => taken = middle,
            13 => refused = middle,
            code => panic!("{middle} bytes give result {code}"),
        }
    }
    assert_eq!(server.try_put("test", &of_size(taken)), 0);
    let outcome = back_up(&repo, &server);
    assert_kept(&repo, &server, &outcome, &format!("{taken} bytes"));
    assert_eq!(outcome.records, 1);
    assert!(outcome.bytes >= taken as u64);
    assert_sound(&repo);
}

#[test]
fn particles_of_every_kind_and_extreme_records_are_kept_byte_for_byte() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = World::new();
    let no_client_writes: [(u8, &[u8]); 6] = [
        (16, b"vector"),
        (18, b"hll"),
        (21, b"retired"),
        (99, b"unknown"),
        (19, b"no msgpack"),
        (23, b"\0\0\x01\x11\x22\x33\x44\x55\x66\x77\x88{\"type\":\"Point\",\"coordinates\":[1,2]}"),
    ];
    server.put(
        "test",
        with_bins(Seed::string("all").set("kinds").stores_key(), PARTICLES.iter().chain(&no_client_writes)),
    );
    server.put("test", Seed::int(2).set(&"s".repeat(63)).generation(u16::MAX).void_time(u32::MAX).bin_int("x", 1));
    let outcome = back_up(&repo, &server);
    assert_kept(&repo, &server, &outcome, "extreme records");
    assert_eq!(outcome.records, 2);
    assert_sound(&repo);
}

#[test]
fn several_namespaces_make_one_snapshot_and_one_can_be_named() {
    let config = || {
        let namespaces = ["bar", "test", "empty"].map(NamespaceConfig::named).to_vec();
        Config { namespaces, ..Config::with_nodes(2) }
    };
    let server = match Place::new(config()) {
        // All of a server's namespaces are read: those of somebody else would be among them.
        Place::There(outside) if namespaces().len() != 3 || outside.info("namespaces").split(';').count() != 3 => {
            say("runs against the test server, since it needs one with just three namespaces, all to be emptied");
            drop(outside);
            Place::Here(rekeep_aerospike_server::Server::start(config()).unwrap())
        }
        place => place,
    };
    let name = |called: &str| if server.is_here() { called.to_owned() } else { real(called) };
    let everything = server.url().trim_end_matches(&format!("/{}", real("test"))).to_owned();
    let (_world, repo) = populated(&server, 200, 3);
    server.put_all("bar", (0..50).map(|n| Seed::int(n).bin_int("b", n)));
    let (outcome, _) = try_back_up(&repo, &everything, quick(), &plain()).unwrap();
    let all = held(&server, &["bar", "empty", "test"], outcome.end);
    assert_eq!(given_back(&repo, outcome.id.unwrap()), all);
    let (one, _) = try_back_up(&repo, &format!("{everything}/{}", name("bar")), quick(), &plain()).unwrap();
    assert_eq!((one.collections, one.records, one.parent), (1, 50, None));
    let error = try_back_up(&repo, &format!("{everything}/nope"), quick(), &plain()).unwrap_err().to_string();
    let mut names = ["bar", "empty", "test"].map(name);
    names.sort();
    assert!(error.contains("`nope`") && error.contains(&names.join(", ")), "{error}");
}

#[test]
fn records_that_expire_are_counted_as_expired_and_never_as_deleted() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 100, 4);
    server.put_all("test", (1000..1030).map(|n| Seed::int(n).bin_int("b", n).ttl(100)));
    let first = back_up(&repo, &server);
    assert_eq!(first.records, 130);
    server.advance(Duration::from_secs(200));
    let second = back_up(&repo, &server);
    assert_eq!((second.records, second.stats.deleted, second.stats.seen), (100, 0, 100));
    assert_eq!((first.stats.expired, second.stats.expired), (0, 30));
    assert_kept(&repo, &server, &second, "after the expiry");
    assert_sound(&repo);
}

#[test]
fn records_that_expire_during_the_backup_do_not_contradict_its_counts() {
    let server = here(Config::with_nodes(2));
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
    let server = Place::new(Config::with_nodes(2));
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
    let partitions = AerospikeOptions { partitions: Some("0..=99,4000".into()), ..quick() };
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
    let error = try_back_up(&repo, &url(&server), of(&["typo"]), &plain()).unwrap_err();
    assert!(error.to_string().contains("`typo`"), "{error}");
    assert_eq!((error.kind(), error.remedies()), (ErrorKind::NotFound, [Remedy::AllowMissingSet].as_slice()));
    assert_eq!(ask(AerospikeOptions { allow_missing_set: true, ..of(&["typo"]) }), 0);
}

#[test]
fn records_are_chosen_by_their_last_update_and_their_expiry() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 100, 7);
    server.advance(Duration::from_secs(100));
    let time = server_now(&server);
    if !server.is_here() {
        server.advance(Duration::from_secs(2));
    }
    server.put_all("test", (1000..1020).map(|n| Seed::int(n).bin_int("b", n).ttl(5000)));
    let count = |options| try_back_up(&repo, &url(&server), options, &plain()).unwrap().0.records;
    assert_eq!(count(AerospikeOptions { modified_after: Some(time), ..quick() }), 20);
    assert_eq!(count(AerospikeOptions { modified_before: Some(time), ..quick() }), 100);
    let later = Timestamp::from_millis(server_now(&server).as_millis() + 1);
    assert_eq!(count(AerospikeOptions { modified_before: Some(later), ..quick() }), 120);
    assert_eq!(count(AerospikeOptions { no_ttl_only: true, ..quick() }), 100);
}

#[test]
fn an_empty_namespace_is_kept_with_a_word_about_the_clock() {
    let server = Place::new(Config::with_nodes(1));
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
    let server = Place::new(Config { cluster_name: Some("prod".into()), ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 10, 8);
    for command in [
        &format!("sindex-create:namespace={};set=demo;indexname=by_n;bin=n;type=NUMERIC", real("test")),
        "udf-put:filename=a.lua;content=cmV0dXJuIDE=;content-len=12;udf-type=LUA;",
    ] {
        assert!(server.info(command).eq_ignore_ascii_case("ok"), "{command}");
    }
    let outcome = back_up(&repo, &server);
    let taken = snapshot(&repo, outcome.id.unwrap());
    if server.is_here() {
        assert_eq!(taken.content.source.name, "prod");
        assert_eq!(taken.content.attributes["nodes"].as_array().unwrap().len(), 2);
    }
    let attributes = &taken.content.attributes;
    let module = attributes["udfs"].as_array().unwrap().iter().find(|module| module["name"] == "a.lua").unwrap();
    assert_eq!(module["content"], "cmV0dXJuIDE=");
    let index = &taken.collections[0].attributes["sindexes"][0];
    assert_eq!((&index["name"], &index["set"], &index["bin"]), (&"by_n".into(), &"demo".into(), &"n".into()));
    assert!(index["raw"].as_str().unwrap().contains("indexname=by_n"), "{index}");
    let without = AerospikeOptions { no_indexes: true, no_udfs: true, ..quick() };
    let (outcome, _) = try_back_up(&repo, &url(&server), without, &plain()).unwrap();
    let taken = snapshot(&repo, outcome.id.unwrap());
    assert_eq!(taken.content.attributes["udfs"], serde_json::json!([]));
}
