//! `verify --against` a cluster: what differs is told apart, and what could not be read is not taken for missing.

use crate::{
    cluster::{back_up, plain, populated, quick, source_of, try_back_up, url},
    place::{Living, Place, here},
    support::{Heard, world::snapshot},
};
use rekeep::{
    connector::aerospike::AerospikeOptions,
    ops::verify::{AgainstOptions, AgainstOutcome, verify_against},
    repo::{Repository, SnapshotId},
};
use rekeep_aerospike_server::{Action, At, Command, Config, Fault, Seed};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

fn compare(
    repo: &Repository,
    id: SnapshotId,
    server: &impl Living,
    options: AerospikeOptions,
    metadata_only: bool,
) -> (AgainstOutcome, String) {
    let heard = Heard::default();
    let source = source_of(&url(server), options);
    let taken = snapshot(repo, id);
    let outcome = verify_against(repo, &taken, &source, AgainstOptions { metadata_only }, &heard).unwrap();
    (outcome, heard.warnings())
}

#[test]
fn missing_extra_different_and_moved_records_are_told_apart() {
    let server = Place::new(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 1_000, 71);
    server.put_all("test", (0..5).map(|n| Seed::int(90_000 + n).bin_int("v", 1)));
    let id = back_up(&repo, &server).id.unwrap();
    for metadata_only in [false, true] {
        let (same, warnings) = compare(&repo, id, &server, quick(), metadata_only);
        assert_eq!((same.records, same.missing, same.extra, same.different, same.metadata_only), (1_005, 0, 0, 0, 0));
        assert!(same.complete && !warnings.contains("covers"), "{warnings}");
    }
    server.advance(Duration::from_mins(1));
    let all = server.dump("test");
    let old: Vec<_> = all.iter().filter(|dumped| dumped.bin("n").is_some()).collect();
    for (n, dumped) in old[..18].iter().enumerate() {
        assert!(if n < 7 { server.delete("test", &dumped.digest) } else { server.touch("test", &dumped.digest) });
    }
    // A new value makes a new generation too.
    server.put_all("test", (0..5).map(|n| Seed::int(90_000 + n).bin_int("v", 2).generation(2)));
    server.put_all("test", (0..3).map(|n| Seed::int(95_000 + n).bin_int("v", 1)));
    let (told, _) = compare(&repo, id, &server, quick(), false);
    assert_eq!((told.missing, told.extra, told.different, told.metadata_only), (7, 3, 5, 11));
    assert_eq!(told.examples.len(), 15);
    let (told, _) = compare(&repo, id, &server, quick(), true);
    assert_eq!((told.missing, told.extra, told.different, told.metadata_only), (7, 3, 0, 16), "values are not read");
    assert_eq!(told.records, 998);
}

#[test]
fn the_part_that_was_backed_up_is_compared_when_it_is_asked_for() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 500, 72);
    let demo = || AerospikeOptions { sets: vec!["demo".to_owned()], bins: vec!["n".to_owned()], ..quick() };
    let (outcome, _) = try_back_up(&repo, &url(&server), demo(), &plain()).unwrap();
    let (same, warnings) = compare(&repo, outcome.id.unwrap(), &server, demo(), false);
    assert_eq!((same.records, same.missing, same.extra, same.different), (outcome.records, 0, 0, 0));
    assert!(!warnings.contains("covers"), "{warnings}");
    let (other, warnings) = compare(&repo, outcome.id.unwrap(), &server, quick(), false);
    assert_eq!(other.extra, 500 - outcome.records);
    assert!(warnings.contains("sets demo"), "{warnings}");
}

#[test]
fn what_has_expired_since_is_not_missed() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 100, 73);
    server.put_all("test", (1000..1030).map(|n| Seed::int(n).bin_int("b", n).ttl(100)));
    let id = back_up(&repo, &server).id.unwrap();
    server.advance(Duration::from_secs(200));
    let (told, _) = compare(&repo, id, &server, quick(), false);
    assert_eq!((told.records, told.missing, told.extra, told.different), (100, 0, 0, 0));
}

#[test]
fn what_expires_while_it_is_compared_is_not_missed() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 100, 76);
    server.put_all("test", (1000..1030).map(|n| Seed::int(n).bin_int("b", n).ttl(100)));
    let id = back_up(&repo, &server).id.unwrap();
    for metadata_only in [false, true] {
        // Not the queries that read the clock.
        let jump = |control: &rekeep_aerospike_server::Control| control.advance(Duration::from_secs(200));
        server.fault(Fault::run(At::Start, jump).on(Command::Query).after_requests(1));
        let (told, _) = compare(&repo, id, &server, quick(), metadata_only);
        assert_eq!(server.faults_waiting(), 0);
        assert_eq!((told.records, told.missing, told.extra, told.different), (100, 0, 0, 0));
        server.advance_back(Duration::from_secs(200));
    }
}

#[test]
fn what_is_in_the_last_second_of_its_life_is_kept_and_compared() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 10, 77);
    server.put("test", Seed::int(1_000).bin_int("b", 1).ttl(100));
    server.advance(Duration::from_millis(100_900));
    let outcome = back_up(&repo, &server);
    assert_eq!(outcome.records, 11, "the server still serves it");
    let (told, _) = compare(&repo, outcome.id.unwrap(), &server, quick(), false);
    assert_eq!((told.records, told.missing, told.extra), (11, 0, 0));
    server.advance(Duration::from_millis(100));
    let next = back_up(&repo, &server);
    assert_eq!((next.records, next.stats.deleted), (10, 0));
}

#[test]
fn partitions_that_cannot_be_read_are_not_missing_but_not_compared() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 2_000, 74);
    let id = back_up(&repo, &server).id.unwrap();
    let lost = server.dump("test").iter().filter(|d| rekeep_aerospike_server::partition_of(&d.digest) < 100).count();
    server.set_unavailable(0, 0..100, true);
    for metadata_only in [false, true] {
        let (told, _) = compare(&repo, id, &server, quick(), metadata_only);
        assert!(!told.complete && told.problems[0].contains("partitions 0-99"), "{:?}", told.problems);
        assert_eq!((told.unread, told.missing, told.different), (lost as u64, 0, 0));
        assert_eq!(told.records, 2_000 - lost as u64);
    }
}

#[test]
fn a_comparison_that_waits_can_be_cancelled() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 200, 75);
    let taken = snapshot(&repo, back_up(&repo, &server).id.unwrap());
    let heard = Arc::new(Heard::default());
    let hearing = Arc::clone(&heard);
    server.fault(Fault::run(At::Start, move |_| hearing.cancel.store(true, Ordering::SeqCst)).on(Command::Query));
    server.fault(Fault::new(At::Start, Action::Refuse(18)).on(Command::Query).always());
    let endless = AerospikeOptions { partition_timeout: Duration::from_hours(1), ..quick() };
    let source = source_of(&url(&server), endless);
    let told = verify_against(&repo, &taken, &source, AgainstOptions::default(), &*heard);
    assert!(told.unwrap_err().is_interruption());
}
