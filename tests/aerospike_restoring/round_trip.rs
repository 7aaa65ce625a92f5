//! What was kept comes back, byte for byte.

use crate::{
    cluster::{Restore, assert_same, back_up, held, kept, quick, start},
    support::{Heard, World, world::snapshot},
};
use rekeep::{
    connector::{
        SourceUrl,
        aerospike::{AerospikeTarget, AerospikeTargetOptions},
    },
    ops::restore::{RestoreOptions, restore},
};
use rekeep_aerospike_server::{Config, Handle, NamespaceConfig, Seed, Server};

/// A point as the server keeps it: its cell depends on the text alone.
fn written_point() -> Vec<u8> {
    let cell = [16, 3, 110, 23, 202, 159, 183, 9];
    [&[0, 0, 1][..], &cell, b"{\"type\":\"Point\",\"coordinates\":[1,2]}"].concat()
}

#[test]
fn particles_of_every_kind_come_back_byte_for_byte() {
    let geometry = written_point();
    let particles: [(u8, &[u8]); 22] = [
        (1, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        (2, &[0x7f, 0xf0, 0, 0, 0, 0, 0, 1]),
        (2, &[0xff, 0xf8, 0, 0, 0, 0, 0, 0]),
        (3, b"\xff\xfe not utf-8 \0"),
        (3, b""),
        (4, b""),
        (4, b"\0\xff"),
        (7, b"java"),
        (8, b"c#"),
        (9, b"python"),
        (10, b"ruby"),
        (11, b"php"),
        (12, b"erlang"),
        (16, b"vector"),
        (17, &[0]),
        (17, &[1]),
        (19, &[0x82, 0xa2, 3, b'a', 1, 0xa2, 3, b'b', 2]),
        (19, &[0x83, 0xc7, 0, 1, 0xc0, 0xa2, 3, b'a', 1, 0xa2, 3, b'b', 2]),
        (19, &[0x83, 0xc7, 0, 3, 0xc0, 0xa2, 3, b'a', 1, 0xa2, 3, b'b', 2]),
        (20, &[0x93, 0xc7, 0, 1, 1, 2]),
        (20, &[0x91, 0xc7, 0, 1]),
        (23, &geometry),
    ];
    let server = start(1);
    let mut seed = Seed::string("all").set("kinds").stores_key();
    for (n, (kind, value)) in particles.iter().enumerate() {
        seed = seed.bin(&format!("b{n:02}"), *kind, value);
    }
    server.put("test", seed);
    for (n, key) in [(3, &b"\xff not utf-8"[..]), (4, b"\0\xff"), (2, &1.5f64.to_be_bytes()), (17, &[1])] {
        server.put("test", Seed::with_key(n, key).set("keys").stores_key().bin_int("x", 1));
    }
    let mut wide = Seed::string("wide");
    for n in 0..1000i64 {
        wide = wide.bin_int(&format!("bin{n:04}"), n);
    }
    server.put("test", wide);
    server.put("test", Seed::int(1).bin("big", 4, &vec![7; 1_048_512]));
    server.put("test", Seed::int(2).set(&"s".repeat(63)).generation(u16::MAX).bin_int("x", 1));
    server.put("test", Seed::with_digest([9; 20]).bin_string("no key", "x"));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    for singly in [false, true] {
        let to = start(1);
        let outcome = Restore::of(&repo, id).how(|how| how.disable_batch_writes = singly).run(&to);
        assert_eq!((outcome.outcomes.failures.clone(), outcome.outcomes.inserted), (vec![], outcome.records));
        assert!(outcome.complete);
        assert_eq!(held(&to), held(&server), "singly: {singly}");
    }
}

#[test]
fn a_namespace_comes_back_on_clusters_of_any_size() {
    let (server, _world, repo, id) = kept(2, 5_000, 1);
    for nodes in [1, 3] {
        let to = start(nodes);
        let mut restore = Restore::of(&repo, id).how(|how| how.batch_size = 50);
        restore.what.verify = true;
        let outcome = restore.run(&to);
        assert_eq!((outcome.outcomes.inserted, outcome.outcomes.failed), (5_000, 0));
        assert_eq!((outcome.verified, outcome.different), (Some(5_000), 0));
        assert!(outcome.complete, "{:?} {:?}", outcome.missing, outcome.notes);
        assert_same(&server, &to);
    }
}

#[test]
fn a_single_record_comes_alone_and_by_its_key() {
    let server = start(1);
    server.put_all("test", (0..300).map(|n| Seed::int(n).set("s").bin_int("n", n)));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = start(1);
    let mut restore = Restore::of(&repo, id);
    restore.what.keys = vec!["s/int:7".to_owned()];
    let outcome = restore.run(&to);
    assert_eq!((outcome.outcomes.inserted, to.count("test")), (1, 1));
    assert!(to.get("test", &Seed::int(7).set("s").digest()).is_some());
}

#[test]
fn a_namespace_of_another_name_keeps_digests() {
    let (server, _world, repo, id) = kept(1, 300, 2);
    let namespaces = vec![NamespaceConfig::named("elsewhere")];
    let to = Server::start(Config { namespaces, ..Config::with_nodes(1) }).unwrap();
    assert!(Restore::of(&repo, id).error(&to).contains("elsewhere"));
    let url = SourceUrl::parse(&format!("aerospike://{}/elsewhere", to.address(0))).unwrap();
    let target = AerospikeTarget::new(&url, quick(), AerospikeTargetOptions::default()).unwrap();
    let options = RestoreOptions::default();
    let outcome = restore(&repo, &snapshot(&repo, id), &target, &options, &Heard::default()).unwrap();
    assert_eq!(outcome.outcomes.inserted, 300);
    let digests = |server: &Handle, namespace| server.dump(namespace).iter().map(|d| d.digest).collect::<Vec<_>>();
    assert_eq!(digests(&to, "elsewhere"), digests(&server, "test"));
}
