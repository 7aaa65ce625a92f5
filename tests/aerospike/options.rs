//! How hard a cluster is asked, and which part of it.

use crate::{
    cluster::{assert_kept, back_up, given_back, plain, populated, quick, source_of, try_back_up, url},
    place::{Living, Place, here},
    support::{Heard, world::assert_sound},
};
use rekeep::{
    connector::{SourceUrl, aerospike::AerospikeOptions, aerospike::AerospikeSource},
    ops::{
        backup::{Ask, BackupOptions, backup},
        estimate::{EstimateOptions, estimate},
    },
};
use rekeep_aerospike_server::{Action, At, Command, Config, Control, Fault, QueryMoment, Seed, User, partition_of};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// The salt that every client uses.
const SALT: [u8; 16] = [0xf4, 0x6b, 0x0b, 0xbe, 0xcf, 0xfe, 0x8d, 0x1b, 0x06, 0x67, 0xd8, 0x4f, 0x6d, 0xc1, 0xd8, 0xa9];

/// Records a second that the running queries of all nodes were told, together.
fn told_rates(control: &Control, nodes: usize) -> u32 {
    let lines = (0..nodes).flat_map(|node| control.queries(node));
    let value = |line: &str, key: &str| {
        line.split(':').find_map(|pair| pair.strip_prefix(key)).and_then(|text| text.parse::<u32>().ok())
    };
    lines.filter(|line| line.contains("status=active")).filter_map(|line| value(&line, "rps=")).sum()
}

#[test]
fn records_per_second_are_shared_by_all_queries_that_run() {
    let server = here(Config { query_message_bytes: 500, ..Config::with_nodes(3) });
    let (_world, repo) = populated(&server, 1_500, 81);
    let most = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&most);
    server.on_query(move |control, event| {
        if matches!(event.moment, QueryMoment::Sent(_)) {
            seen.fetch_max(told_rates(control, 3), Ordering::SeqCst);
        }
    });
    for (parallel, ask) in [(1, Ask::Full), (1, Ask::Default), (4, Ask::Full), (4, Ask::Default)] {
        most.store(0, Ordering::SeqCst);
        let options = AerospikeOptions { records_per_second: 6_000, ..quick() };
        let how = BackupOptions { parallel, ask, ..plain() };
        try_back_up(&repo, &url(&server), options, &how).unwrap();
        let most = most.load(Ordering::SeqCst);
        assert!(most > 0 && most <= 6_000, "{parallel} readers, {ask:?}: {most} a second");
        server.advance(Duration::from_mins(1));
    }
    assert_sound(&repo);
}

#[test]
fn as_many_records_are_read_as_are_asked_for_and_no_more() {
    let server = Place::new(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 3_000, 82);
    let options = || AerospikeOptions { max_records: 200, ..quick() };
    let (first, _) = try_back_up(&repo, &url(&server), options(), &plain()).unwrap();
    assert_eq!(first.records, 200);
    let (second, _) = try_back_up(&repo, &url(&server), options(), &plain()).unwrap();
    assert_eq!(second.parent, None, "which records they are is chance");
    assert_eq!(back_up(&repo, &server).parent, None, "and never proof of what is not there");
}

#[test]
fn records_are_chosen_by_an_expression_and_by_a_digest() {
    let server = Place::new(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 800, 83);
    let all = server.dump("test");
    let count = |options| try_back_up(&repo, &url(&server), options, &plain()).unwrap().0.records as usize;
    // set_name = "demo"
    let filter = [&[0x93, 1, 0x91, 70, 0xa5, 3][..], b"demo"].concat();
    let is_demo = |set: &[u8]| set == b"demo";
    let filtered = AerospikeOptions { filter: Some(filter.clone()), ..quick() };
    assert_eq!(count(filtered), all.iter().filter(|dumped| is_demo(&dumped.set)).count());
    let middle =
        all.iter().find(|d| all.iter().filter(|o| partition_of(&o.digest) == partition_of(&d.digest)).count() > 1);
    let middle = middle.unwrap().digest;
    let behind = all.iter().filter(|dumped| {
        let key = |digest| rekeep::record::Digest(digest).sort_key();
        partition_of(&dumped.digest) == partition_of(&middle) && key(dumped.digest) > key(middle)
    });
    let digest = AerospikeOptions { partitions: Some(data_encoding::BASE64.encode(&middle)), ..quick() };
    assert_eq!(count(digest), behind.count());
    // Several at once are all demanded.
    let both = AerospikeOptions { filter: Some(filter), sets: vec!["other".to_owned()], ..quick() };
    assert_eq!(count(both), 0);
}

#[test]
fn a_filtered_snapshot_is_never_proof_of_a_deletion() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 84);
    let whole = back_up(&repo, &server);
    server.advance(Duration::from_mins(1));
    let demo = AerospikeOptions { sets: vec!["demo".to_owned()], ..quick() };
    let (part, _) = try_back_up(&repo, &url(&server), demo.clone(), &plain()).unwrap();
    assert_eq!((part.parent, part.stats.deleted), (None, 0));
    server.advance(Duration::from_mins(1));
    let again = back_up(&repo, &server);
    assert_eq!((again.parent, again.stats.deleted, again.records), (whole.id, 0, 300));
    let (next, _) = try_back_up(&repo, &url(&server), demo, &plain()).unwrap();
    assert_eq!((next.parent, next.stats.deleted), (part.id, 0));
}

#[test]
fn alternate_addresses_are_used_when_asked_for() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 300, 85);
    server.set_info(
        None,
        "peers-clear-std",
        Some("1,3000,[[BB9000000000001,,[127.0.0.1:1]],[BB9000000000002,,[127.0.0.1:1]]]"),
    );
    let (lost, warnings) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(!lost.complete && warnings.contains("does not answer"), "{warnings}");
    let alternate = AerospikeOptions { services_alternate: true, ..quick() };
    let (found, _) = try_back_up(&repo, &url(&server), alternate, &plain()).unwrap();
    assert!(found.complete, "{:?}", found.problems);
    assert_kept(&repo, &server, &found, "by alternate addresses");
}

#[test]
fn commands_are_tried_again_as_often_as_asked_for() {
    let server = here(Config::with_nodes(1));
    populated(&server, 50, 86);
    let connect = |max_retries| {
        let options = AerospikeOptions { max_retries, ..quick() };
        AerospikeSource::new(&SourceUrl::parse(&url(&server)).unwrap(), options).map(drop)
    };
    for (cuts, retries, works) in [(1, 0, false), (1, 1, true), (3, 2, false), (3, 3, true)] {
        server.fault(Fault::new(At::Start, Action::Cut).on(Command::Info).times(cuts));
        assert_eq!(connect(retries).is_ok(), works, "{cuts} cuts, {retries} retries");
        server.clear_faults();
    }
}

#[test]
fn a_query_that_takes_too_long_is_left_and_continued() {
    let server = here(Config { query_message_bytes: 300, ..Config::with_nodes(1) });
    let (_world, repo) = populated(&server, 400, 87);
    let queries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&queries);
    server.on_query(move |_, event| {
        counted.fetch_add(u32::from(event.moment == QueryMoment::Begun), Ordering::SeqCst);
    });
    let run = |total_timeout| {
        queries.store(0, Ordering::SeqCst);
        let stall = Fault::new(At::Records(5), Action::Stall(Duration::from_millis(400)));
        server.fault(stall.on(Command::Query).after_requests(2).times(2));
        let patient = Duration::from_secs(20);
        let options = AerospikeOptions { total_timeout, partition_timeout: patient, ..quick() };
        let (outcome, _) =
            try_back_up(&repo, &url(&server), options, &BackupOptions { ask: Ask::Full, ..plain() }).unwrap();
        server.clear_faults();
        assert!(outcome.complete, "{:?}", outcome.problems);
        assert_kept(&repo, &server, &outcome, "with a limit");
        queries.load(Ordering::SeqCst)
    };
    let without = run(Duration::ZERO);
    let with = run(Duration::from_millis(100));
    assert!(with > without, "{with} queries with a limit, {without} without one");
}

#[test]
fn what_is_asked_for_by_key_hears_that_it_is_to_stop() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 500, 88);
    back_up(&repo, &server);
    for ask in [Ask::Full, Ask::Default] {
        for action in [Action::Refuse(18), Action::Silence] {
            server.advance(Duration::from_mins(1));
            let gone = server.dump("test")[7].digest;
            server.delete("test", &gone);
            let heard = Arc::new(Heard::default());
            let hearing = Arc::clone(&heard);
            let cancel = move |_: &Control| hearing.cancel.store(true, Ordering::SeqCst);
            server.fault(Fault::run(At::Start, cancel).on(Command::Batch));
            server.fault(Fault::new(At::Start, action.clone()).on(Command::Batch).always());
            let hour = Duration::from_hours(1);
            let endless = AerospikeOptions { partition_timeout: hour, socket_timeout: hour, ..quick() };
            let how = BackupOptions { ask, ..plain() };
            let error = backup(&repo, &source_of(&url(&server), endless), &how, &*heard).unwrap_err();
            assert!(error.is_interruption(), "{ask:?}, {action:?}: {error}");
            server.clear_faults();
            server.release();
        }
    }
    back_up(&repo, &server);
    assert_sound(&repo);
}

#[test]
fn an_estimate_is_near_what_a_backup_comes_to_and_stores_nothing() {
    let server = Place::new(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 4_000, 89);
    let mut rng = crate::support::Rng::new(90);
    let noise: Vec<Vec<u8>> = (0..8_000).map(|_| rng.bytes(100)).collect();
    server.put_all(
        "test",
        noise.iter().enumerate().map(|(n, bytes)| Seed::int(50_000 + n as i64).set("noise").bin("v", 4, bytes)),
    );
    let options = EstimateOptions { compression: 1, parallel: 2, read_limit: None, records_per_second: None };
    let of = |options: &EstimateOptions, sets: &[&str]| {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let source = source_of(&url(&server), AerospikeOptions { sample_records: 10_000, sets, ..quick() });
        estimate(&source, options, &Heard::default()).unwrap()
    };
    let told = of(&options, &[]);
    assert_eq!((told.records, told.collections[0].sets["noise"]), (12_000, 8_000));
    assert!(!told.collections[0].sample.is_all && told.collections[0].sample.records >= 10_000);
    assert_eq!(repo.snapshots().unwrap().len(), 0);
    let real = back_up(&repo, &server);
    let near = |about: u64, real: u64| about.abs_diff(real) * 10 < real;
    assert!(near(told.bytes, real.stats.bytes_read), "{} of {}", told.bytes, real.stats.bytes_read);
    let stored = real.stats.bytes_added;
    assert!(told.stored_bytes.abs_diff(stored) < stored / 10 + 3 * 65_536, "{} of {stored}", told.stored_bytes);
    let slow = of(&EstimateOptions { records_per_second: Some(100), ..options }, &["noise"]);
    assert_eq!(slow.records, 8_000);
    assert!((79.0..81.0).contains(&slow.seconds), "{}", slow.seconds);
    assert!(slow.notes[0].contains("sets noise"), "{:?}", slow.notes);
    let small = of(&options, &["demo"]);
    assert!(small.collections[0].sample.is_all, "{small:?}");
    assert_eq!(given_back(&repo, real.id.unwrap())["test"].records.len(), 12_000);
}

#[test]
fn sessions_that_end_are_begun_anew() {
    let hashed = bcrypt::hash_with_salt("secret", 10, SALT).unwrap();
    let credential = hashed.format_for_version(bcrypt::Version::TwoA).into_bytes();
    let users = vec![User { name: "joe".to_owned(), credential }];
    let server = here(Config { users, query_message_bytes: 1_000, ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 500, 99);
    let options = || AerospikeOptions {
        user: Some("joe".to_owned()),
        password: Some("secret".to_owned().into()),
        partition_timeout: Duration::from_secs(20),
        ..quick()
    };
    server.on_query(|control, event| {
        if event.moment == QueryMoment::Begun {
            control.expire_sessions();
        }
    });
    for ask in [Ask::Full, Ask::Default] {
        // New connections are needed all the time.
        server.fault(Fault::new(At::Records(3), Action::Cut).on(Command::Query).after_requests(2).times(8));
        let how = BackupOptions { ask, ..plain() };
        let (outcome, _) = try_back_up(&repo, &url(&server), options(), &how).unwrap();
        assert!(outcome.complete, "{:?}", outcome.problems);
        assert_kept(&repo, &server, &outcome, "through many sessions");
        server.advance(Duration::from_mins(1));
    }
    let nobody = AerospikeOptions { user: None, password: None, ..options() };
    let error = AerospikeSource::new(&SourceUrl::parse(&url(&server)).unwrap(), nobody).unwrap_err().to_string();
    assert!(error.contains("not authenticated"), "{error}");
}
