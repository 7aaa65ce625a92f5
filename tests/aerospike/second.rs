//! What the official client does beside our own connections: a second opinion, and who may do what in a cluster.

use crate::{
    cluster::{back_up, plain, populated, quick, source_of, try_back_up},
    place::{Living, here},
    support::Heard,
};
use rekeep::{
    connector::{SourceUrl, aerospike::AerospikeOptions, aerospike::AerospikeSource},
    ops::{
        backup::Ask,
        verify::{AgainstOptions, AgainstOutcome, verify_against},
    },
    repo::Repository,
};
use rekeep_aerospike_server::{ClockMode, Config, Handle, Role, Seed, User};
use serde_json::json;

fn by_client() -> AerospikeOptions {
    AerospikeOptions { with_client: true, ..quick() }
}

fn second_opinion(repo: &Repository, server: &Handle) -> (AgainstOutcome, String) {
    let source = source_of(&server.url(), by_client());
    let snapshots = repo.snapshots().unwrap();
    let latest = snapshots.iter().max_by_key(|snapshot| snapshot.content.end).unwrap();
    let heard = Heard::default();
    let outcome = verify_against(repo, latest, &source, AgainstOptions::default(), &heard).unwrap();
    (outcome, heard.warnings())
}

fn clocked(nodes: usize) -> Config {
    Config { clock: ClockMode::Real, ..Config::with_nodes(nodes) }
}

#[test]
fn a_second_opinion_agrees_and_says_what_it_left_to_us() {
    let server = here(clocked(2));
    let (_world, repo) = populated(&server, 300, 130);
    // A list that keeps its order, and a map ordered by key and value: the client gives out neither flag.
    server.put("test", Seed::int(5_000).bin("l", 20, &[0x93, 0xc7, 0, 1, 1, 2]).bin_int("n", 1));
    server.put("test", Seed::int(5_001).bin("m", 19, &[0x82, 0xc7, 0, 3, 0xc0, 1, 2]).stores_key());
    server.put(
        "test",
        Seed::string("key").stores_key().bin("f", 2, &1.5f64.to_be_bytes()).bin("z", 17, &[1]).ttl(90_000),
    );
    back_up(&repo, &server);
    let (outcome, said) = second_opinion(&repo, &server);
    assert_eq!((outcome.records, outcome.missing, outcome.extra, outcome.different), (303, 0, 0, 0), "{outcome:?}");
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert!(said.contains("303 records were read by the official client, 2 of them"), "{said}");
    let changed = server.put("test", Seed::int(7).bin_int("n", 70).generation(3));
    server.delete("test", &server.dump("test").into_iter().find(|held| held.digest != changed).unwrap().digest);
    server.put("test", Seed::int(9_999).bin_int("n", 0));
    let (outcome, _) = second_opinion(&repo, &server);
    assert_eq!((outcome.missing, outcome.extra, outcome.different), (1, 1, 1), "{outcome:?}");
}

#[test]
fn what_the_client_cannot_read_is_not_compared_and_said() {
    let server = here(clocked(1));
    let (_world, repo) = populated(&server, 50, 131);
    server.put("test", Seed::int(6_000).bin("s", 3, b"\xff\xfe"));
    back_up(&repo, &server);
    let (outcome, _) = second_opinion(&repo, &server);
    assert!(!outcome.complete && outcome.unread > 0 && outcome.different == 0, "{outcome:?}");
    // A backup is never made of it.
    let (told, _) = try_back_up(
        &repo,
        &server.url(),
        by_client(),
        &rekeep::ops::backup::BackupOptions { ask: Ask::Full, ..plain() },
    )
    .unwrap();
    assert!(!told.complete);
    let part = AerospikeOptions { sets: vec!["demo".to_owned()], ..by_client() };
    let error = try_back_up(&repo, &server.url(), part, &plain()).unwrap_err().to_string();
    assert!(error.contains("whole namespaces"), "{error}");
}

#[test]
fn a_snapshot_keeps_what_every_node_runs_with_and_who_may_do_what() {
    let hashed = bcrypt::hash_with_salt(
        "secret",
        10,
        [0xf4, 0x6b, 0x0b, 0xbe, 0xcf, 0xfe, 0x8d, 0x1b, 0x06, 0x67, 0xd8, 0x4f, 0x6d, 0xc1, 0xd8, 0xa9],
    )
    .unwrap();
    let credential = hashed.format_for_version(bcrypt::Version::TwoA).into_bytes();
    let server = here(Config {
        users: vec![User { name: "joe".to_owned(), credential }],
        user_roles: vec![("joe".to_owned(), vec!["reader".to_owned(), "admin".to_owned()])],
        roles: vec![Role {
            name: "reader".to_owned(),
            privileges: vec![(10, "test".to_owned(), "demo".to_owned()), (1, String::new(), String::new())],
            allowlist: "10.0.0.1,10.0.0.2".to_owned(),
            quotas: (100, 0),
        }],
        ..clocked(2)
    });
    let (_world, repo) = populated(&server, 30, 132);
    let joe = || AerospikeOptions {
        user: Some("joe".to_owned()),
        password: Some("secret".to_owned().into()),
        with_cluster_configuration: true,
        ..quick()
    };
    let (outcome, _) = try_back_up(&repo, &server.url(), joe(), &plain()).unwrap();
    assert!(outcome.complete, "{:?}", outcome.problems);
    let of = |outcome: &rekeep::ops::backup::BackupOutcome| {
        let snapshots = repo.snapshots().unwrap();
        let found = snapshots.into_iter().find(|snapshot| Some(snapshot.id) == outcome.id).unwrap();
        found.content.attributes["configuration"].clone()
    };
    let kept = of(&outcome);
    assert_eq!(kept["users"], json!([{ "name": "joe", "roles": ["admin", "reader"] }]));
    let role = json!([{
        "name": "reader", "privileges": ["read.test.demo", "sys-admin"], "allowlist": ["10.0.0.1", "10.0.0.2"],
        "read_quota": 100, "write_quota": 0,
    }]);
    assert_eq!(kept["roles"], role);
    assert_eq!(kept["nodes"].as_object().unwrap().len(), 2);
    let node = &kept["nodes"][server.node_id(1)];
    assert_eq!(node["configuration"]["namespace/test"]["nsup-period"], "120");
    assert!(node["refused"]["xdr"].as_str().unwrap().contains("enterprise only"));
    // It is no part of what is asked for: the next one without it is of the same source.
    server.set_info(None, "get-config", Some("ERROR:81:role violation"));
    let (next, _) =
        try_back_up(&repo, &server.url(), AerospikeOptions { with_cluster_configuration: false, ..joe() }, &plain())
            .unwrap();
    assert_eq!((next.parent, of(&next)), (outcome.id, serde_json::Value::Null));
    let (refused, _) = try_back_up(&repo, &server.url(), joe(), &plain()).unwrap();
    assert!(
        of(&refused)["nodes"][server.node_id(0)]["refused"]["service"].as_str().unwrap().contains("role violation")
    );
    // Who is refused by the cluster is not asked for by the client either.
    let nobody = AerospikeOptions { user: None, password: None, ..joe() };
    assert!(AerospikeSource::new(&SourceUrl::parse(&server.url()).unwrap(), nobody).is_err());
}
