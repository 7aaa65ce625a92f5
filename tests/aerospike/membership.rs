//! Nodes that are lost, stop and come back, start anew or fall apart while they are read: a snapshot holds all that the cluster
//! had, or says that it does not, and nothing in it is a deletion that nobody made.

use crate::{
    cluster::{assert_kept, back_up, given_back, held, plain, populated, quick, source_of, try_back_up, url},
    place::here,
    support::{
        World,
        world::{Heard, assert_sound, snapshot},
    },
};
use rekeep::{
    connector::aerospike::AerospikeOptions,
    ops::backup::{Ask, BackupOptions, BackupOutcome, ParentChoice, backup},
    repo::Repository,
};
use rekeep_aerospike_server::{Action, At, Command, Config, Control, Fault, Handle, QueryMoment, Seed, Server};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

fn int(n: i64) -> Seed {
    Seed::int(n).bin_int("n", n).bin("filler", 4, &[n as u8; 100])
}

/// A cluster whose namespace says that it is large enough for 16 ranges.
fn ranged(nodes: usize, records: i64) -> (Handle, World, Repository) {
    let server =
        here(Config { query_message_bytes: 2_000, cluster_name: Some("c".into()), ..Config::with_nodes(nodes) });
    let (world, repo) = World::new();
    server.put_all("test", (0..records).map(int));
    let answer = format!(
        "objects={records};data_used_bytes={};replication-factor=1;effective_replication_factor=1",
        (256 << 20) / nodes
    );
    server.set_info(None, "namespace", Some(&answer));
    (server, world, repo)
}

/// Does something once the queries have sent so many messages.
fn after_messages(server: &Handle, messages: u32, act: impl Fn(&Control) + Send + Sync + 'static) {
    let sent = AtomicU32::new(0);
    server.on_query(move |control, event| {
        if matches!(event.moment, QueryMoment::Sent(_)) && sent.fetch_add(1, Ordering::SeqCst) == messages {
            act(control);
        }
    });
}

fn without_parent() -> BackupOptions {
    BackupOptions { parent: ParentChoice::None, ..plain() }
}

/// Waits long enough for what comes back at once.
fn waiting() -> AerospikeOptions {
    AerospikeOptions { socket_timeout: Duration::from_secs(1), partition_timeout: Duration::from_secs(20), ..quick() }
}

fn assert_says(outcome: &BackupOutcome, text: &str) {
    assert!(!outcome.complete, "it says that it is complete");
    assert!(outcome.problems.iter().any(|line| line.contains(text)), "{:#?}", outcome.problems);
}

#[test]
fn a_full_backup_that_loses_a_node_midway_says_so() {
    let (server, _world, repo) = ranged(2, 4_000);
    after_messages(&server, 40, |control| control.kill_node(1));
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &without_parent()).unwrap();
    assert!(outcome.records < 4_000);
    assert_says(&outcome, "node BB9000000000002 is gone since the backup began");
    let coverage = &snapshot(&repo, outcome.id.unwrap()).collections[0].coverage;
    assert!(coverage.iter().any(|part| !part.complete), "{coverage:?}");
    assert_sound(&repo);
}

#[test]
fn a_full_backup_whose_only_node_starts_anew_without_its_records_says_so() {
    let (server, _world, repo) = ranged(1, 4_000);
    after_messages(&server, 40, |control| control.restart_node_empty(0).unwrap());
    let (outcome, _) = try_back_up(&repo, &url(&server), waiting(), &without_parent()).unwrap();
    assert!(outcome.records < 4_000);
    assert_says(&outcome, "node BB9000000000001 restarted since the backup began");
    assert_sound(&repo);
}

#[test]
fn what_was_read_while_a_node_was_away_is_read_again_once_it_is_back() {
    for ask in [Ask::Full, Ask::Default] {
        let (server, _world, repo) = ranged(2, 4_000);
        if ask == Ask::Default {
            back_up(&repo, &server);
            server.advance(Duration::from_mins(1));
            server.put_all("test", (3_000..5_000).map(|n| int(n).generation(2)));
            server.delete("test", &int(17).digest());
        }
        let (paused, sent) = (AtomicBool::new(false), AtomicU32::new(0));
        server.on_query(move |control, event| {
            if !matches!(event.moment, QueryMoment::Sent(_)) {
                return;
            }
            if sent.fetch_add(1, Ordering::SeqCst) == 30 && !paused.swap(true, Ordering::SeqCst) {
                control.pause_node(1);
                // By the clock, and sooner than anyone gives up: the other node may have nothing left to send.
                let control = control.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(400));
                    control.resume_node(1);
                });
            }
        });
        let (outcome, warnings) =
            try_back_up(&repo, &url(&server), waiting(), &BackupOptions { ask, ..plain() }).unwrap();
        assert!(outcome.complete, "{ask:?}: {:#?}", outcome.problems);
        assert!(warnings.contains("are read again"), "{warnings}");
        assert_kept(&repo, &server, &outcome, "the node was away and came back");
        assert_sound(&repo);
    }
}

#[test]
fn nodes_that_all_started_anew_without_their_records_delete_nothing() {
    for records in [61, 30_000] {
        let server = here(Config { cluster_name: Some("c".into()), ..Config::with_nodes(2) });
        let (_world, repo) = World::new();
        server.put_all("test", (0..records).map(int));
        back_up(&repo, &server);
        (0..2).for_each(|node| server.restart_node_empty(node).unwrap());
        assert_eq!(server.dump("test").len(), 0);
        // As long as nobody says that it is so, and by a full backup too.
        for ask in [Ask::Default, Ask::Default, Ask::Full] {
            server.advance(Duration::from_mins(1));
            let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &BackupOptions { ask, ..plain() }).unwrap();
            assert_eq!((outcome.records, outcome.stats.deleted), (records as u64, 0), "{ask:?}");
            assert_says(&outcome, &format!("all {records} records of partitions 0-4095 are gone"));
            assert_says(&outcome, "nodes BB9000000000001, BB9000000000002 restarted");
        }
        server.advance(Duration::from_mins(1));
        let accepted = BackupOptions { accept_deletions: true, ..plain() };
        let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &accepted).unwrap();
        assert!(outcome.complete, "{:#?}", outcome.problems);
        assert_eq!((outcome.records, outcome.stats.deleted), (0, records as u64));
        assert_sound(&repo);
    }
}

#[test]
fn a_small_share_that_is_gone_is_doubted_after_restarts_until_it_is_proved() {
    let server = here(Config { cluster_name: Some("c".into()), ..Config::with_nodes(2) });
    let (_world, repo) = World::new();
    server.put_all("test", (0..20_000).map(int));
    back_up(&repo, &server);
    (0..2).for_each(|node| {
        server.kill_node(node);
        server.revive_node(node).unwrap();
    });
    // Its nodes have lost a twentieth of the partitions, of few records each, or some application deleted that.
    server.put_all("test", (0..20_000).map(int));
    let lost = |pid: u16| pid.is_multiple_of(20);
    let mut gone = 0;
    for dumped in server.dump("test") {
        if lost(rekeep_aerospike_server::partition_of(&dumped.digest)) {
            server.delete("test", &dumped.digest);
            gone += 1;
        }
    }
    assert!(gone > 500, "{gone}");
    for _ in 0..2 {
        server.advance(Duration::from_mins(1));
        let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
        assert_eq!((outcome.records, outcome.stats.deleted), (20_000, 0));
        assert_says(&outcome, "restarted since deletions were last proved");
    }
    server.advance(Duration::from_mins(1));
    let accepted = BackupOptions { accept_deletions: true, ..plain() };
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &accepted).unwrap();
    assert_eq!(outcome.stats.deleted, gone);
    // That is forgotten now.
    server.delete("test", &server.dump("test")[7].digest);
    server.advance(Duration::from_mins(1));
    assert_eq!(back_up(&repo, &server).stats.deleted, 1);
    assert_sound(&repo);
}

#[test]
fn a_namespace_that_is_suddenly_empty_is_not_believed_though_no_node_restarted() {
    for (records, kept, share) in [(1, 0, "all 1 record"), (30_000, 12_000, "18000 of 30000 records")] {
        let server = here(Config { cluster_name: Some("c".into()), ..Config::with_nodes(2) });
        let (_world, repo) = World::new();
        server.put_all("test", (0..records).map(int));
        back_up(&repo, &server);
        server.advance(Duration::from_mins(1));
        for n in kept..records {
            server.delete("test", &int(n).digest());
        }
        let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
        assert_eq!((outcome.records, outcome.stats.deleted), (records as u64, 0));
        assert_says(&outcome, &format!("{share} of partitions 0-4095 are gone, and nothing says why"));
        let accepted = BackupOptions { accept_deletions: true, ..plain() };
        let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &accepted).unwrap();
        assert!(outcome.complete, "{:#?}", outcome.problems);
        assert_eq!(outcome.records, kept as u64);
        assert_sound(&repo);
    }
}

#[test]
fn a_dead_cluster_is_waited_for_once_and_not_by_each_window() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 31);
    let asked = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&asked);
    let count = move |_: &Control| {
        counts.fetch_add(1, Ordering::SeqCst);
    };
    // The first one finds a record to read the clock from.
    server.fault(Fault::run(At::Start, count).on(Command::Query).after_requests(1).always());
    server.fault(Fault::new(At::Start, Action::Refuse(18)).on(Command::Query).after_requests(1).always());
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &without_parent()).unwrap();
    assert_says(&outcome, "partitions 0-4095 could not be read to the end");
    // 0.3 s are five tries at most, and nothing but them is asked; there are a dozen windows.
    let asked = asked.load(Ordering::SeqCst);
    assert!((2..=12).contains(&asked), "{asked}");
}

#[test]
fn a_node_that_is_not_read_does_not_keep_the_others_from_being_read() {
    let (server, _world, repo) = ranged(2, 2_000);
    server.fault(Fault::new(At::Start, Action::Refuse(18)).on(Command::Query).node(1).after_requests(1).always());
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &without_parent()).unwrap();
    let is_of_first = |digest| server.master_of(rekeep_aerospike_server::partition_of(digest)) == Some(0);
    let of_first = server.dump("test").iter().filter(|dumped| is_of_first(&dumped.digest)).count();
    assert_eq!(outcome.records as usize, of_first);
    assert_says(&outcome, "could not be read to the end");
}

#[test]
fn who_waits_says_for_what() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 32);
    server.fault(Fault::new(At::Start, Action::Refuse(18)).on(Command::Query).after_requests(1).always());
    let endless = AerospikeOptions { partition_timeout: Duration::from_hours(1), ..quick() };
    let hearing = Heard::default();
    hearing.cancel_at.set("waiting for node BB9000000000001").unwrap();
    let error = backup(&repo, &source_of(&url(&server), endless), &plain(), &hearing).unwrap_err();
    assert!(error.is_interruption(), "{error}");
}

#[test]
fn with_two_copies_one_node_that_is_gone_hides_no_deletion() {
    let server = here(Config { replication_factor: 2, cluster_name: Some("c".into()), ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 1_000, 33);
    back_up(&repo, &server);
    server.kill_node(1);
    for round in 0..3 {
        server.advance(Duration::from_mins(1));
        server.delete("test", &server.dump("test")[11].digest);
        let outcome = back_up(&repo, &server);
        assert_eq!(outcome.stats.deleted, 1, "round {round}");
        assert_kept(&repo, &server, &outcome, "one node of two is gone");
    }
    // Now there is one copy, and its node goes too.
    server.revive_node(1).unwrap();
    server.kill_node(0);
    server.advance(Duration::from_mins(1));
    server.delete("test", &server.dump("test")[11].digest);
    let seed = format!("aerospike://{}", server.addresses()[1]);
    let (outcome, _) = try_back_up(&repo, &seed, quick(), &plain()).unwrap();
    assert_says(&outcome, "deletions unconfirmed");
    assert_sound(&repo);
}

/// Both halves of a cluster of four that fell apart for good: each has the records of which one of its nodes had a copy.
fn halves(records: i64) -> (Handle, [Handle; 2]) {
    let ids: Vec<String> = (1..=4).map(|n| format!("BB900000000000{n}")).collect();
    let config = |range: std::ops::Range<usize>| Config {
        node_ids: ids[range.clone()].to_vec(),
        replication_factor: 2,
        cluster_name: Some("c".into()),
        cluster_key: Some(0xA0 + range.start as u64),
        ..Config::with_nodes(range.len())
    };
    let whole = Server::start(config(0..4)).unwrap();
    whole.put_all("test", (0..records).map(int));
    let half = |range: std::ops::Range<usize>| {
        let half = Server::start(config(range.clone())).unwrap();
        half.advance(Duration::from_mins(1));
        let has = |n: &i64| {
            let pid = rekeep_aerospike_server::partition_of(&int(*n).digest());
            whole.holders_of(pid).iter().any(|holder| range.contains(holder))
        };
        half.put_all("test", (0..records).filter(has).map(|n| int(n).lut_ms(whole.now_ms() as u64)));
        // What is written there since keeps partitions from being empty.
        let first = 100_000 * (1 + range.start as i64);
        half.put_all("test", (first..first + 20_000).map(int));
        half
    };
    let sides = [half(0..2), half(2..4)];
    (whole, sides)
}

#[test]
fn a_split_cluster_proves_no_deletion_and_gives_no_complete_snapshot() {
    let _ = here(Config::with_nodes(1));
    let (whole, [one, other]) = halves(4_000);
    let (_world, repo) = World::new();
    let first = back_up(&repo, &whole);
    let before = given_back(&repo, first.id.unwrap()).remove("test").unwrap().records;
    let seeds = format!("aerospike://{},{}", one.addresses()[0], other.addresses()[0]);
    for ask in [Ask::Default, Ask::Full] {
        let how = BackupOptions { ask, accept_deletions: ask == Ask::Full, ..plain() };
        let (outcome, _) = try_back_up(&repo, &seeds, quick(), &how).unwrap();
        assert_says(&outcome, "the cluster is split");
        assert_eq!(outcome.stats.deleted, 0, "{ask:?}");
        let got = given_back(&repo, outcome.id.unwrap()).remove("test").unwrap().records;
        assert!(before.keys().all(|key| got.contains_key(key)), "{ask:?}: a record is lost");
    }
    let (alone, _) = try_back_up(&repo, &seeds, quick(), &without_parent()).unwrap();
    assert_says(&alone, "the cluster is split");
    // One side alone: the parent knows the nodes that are missing.
    one.delete("test", &one.dump("test")[5].digest);
    let (outcome, _) = try_back_up(&repo, &format!("aerospike://{}", one.addresses()[0]), quick(), &plain()).unwrap();
    assert_says(&outcome, "nodes are gone");
    assert_sound(&repo);
}

#[test]
fn records_that_come_back_with_old_times_are_read_together() {
    let server = here(Config { query_message_bytes: 20_000, ..Config::with_nodes(1) });
    let (_world, repo) = World::new();
    server.put_all("test", (0..200).map(int));
    server.advance(Duration::from_mins(1));
    back_up(&repo, &server);
    let old = server.now_ms() as u64 - 60_000;
    server.advance(Duration::from_hours(1));
    server.put_all("test", (200..6_000).map(|n| int(n).lut_ms(old)));
    let before = server.requests();
    let outcome = back_up(&repo, &server);
    let asked = server.requests() - before;
    assert_eq!((outcome.records, outcome.stats.new), (6_000, 5_800));
    assert!(asked < 600, "{asked} requests");
    assert_kept(&repo, &server, &outcome, "records with old times");
    assert_eq!(held(&server, &["test"], outcome.end)["test"].records.len(), 6_000);
    assert_sound(&repo);
}

/// A node falls silent when the queries have sent so many messages.
fn silent_after(server: &Handle, messages: u32, node: usize) {
    after_messages(server, messages, move |control| control.silence_node(node));
}

#[test]
fn a_node_that_falls_silent_is_told_of_before_the_first_try_is_over() {
    let (server, _world, repo) = ranged(1, 4_000);
    silent_after(&server, 40, 0);
    // Nothing is told of a try that has failed: all of them last longer than it takes to be told.
    let endless = AerospikeOptions {
        socket_timeout: Duration::from_secs(30),
        partition_timeout: Duration::from_hours(1),
        ..quick()
    };
    let keeping = Heard::default();
    keeping.cancel_at.set("waiting for node BB9000000000001").unwrap();
    let error = backup(&repo, &source_of(&url(&server), endless), &without_parent(), &keeping).unwrap_err();
    assert!(error.is_interruption(), "{error}");
    let told = keeping.warnings();
    assert!(told.contains("waiting for node BB9000000000001 (no answer yet), 3600 s at most"), "{told}");
}

#[test]
fn a_cluster_that_is_silent_before_anything_is_read_is_told_of() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 34);
    let source = source_of(&url(&server), AerospikeOptions { socket_timeout: Duration::from_secs(30), ..quick() });
    server.silence_node(0);
    let heard = Heard::default();
    let error = backup(&repo, &source, &plain(), &heard).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1"), "{error}");
    server.unsilence_node(0);
    // Nothing of it is remembered.
    assert!(backup(&repo, &source, &plain(), &heard).unwrap().complete);
}

#[test]
fn a_node_that_falls_silent_is_waited_for_once_and_asked_no_more() {
    let (server, _world, repo) = ranged(1, 4_000);
    let before = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&before);
    after_messages(&server, 40, move |control| {
        seen.store(control.connections(), Ordering::SeqCst);
        control.silence_node(0);
    });
    // Each try alone would last as long as all of them may.
    let limited = AerospikeOptions {
        socket_timeout: Duration::from_secs(20),
        partition_timeout: Duration::from_secs(3),
        ..quick()
    };
    let (outcome, _) = try_back_up(&repo, &url(&server), limited, &without_parent()).unwrap();
    assert_says(&outcome, "could not be read to the end");
    // A dozen ranges are left, of which each would ask several times: two readers, and who looks whether it is back, do.
    let asked = server.connections() - before.load(Ordering::SeqCst);
    assert!(asked <= 16, "{asked} connections");
    server.unsilence_node(0);
    let (outcome, _) = try_back_up(&repo, &url(&server), waiting(), &without_parent()).unwrap();
    assert!(outcome.complete, "{:#?}", outcome.problems);
    assert_eq!(outcome.records, 4_000);
    assert_sound(&repo);
}

#[test]
fn partitions_of_a_silent_node_that_another_one_masters_by_now_are_read_there_though_its_time_is_up() {
    let server = here(Config {
        replication_factor: 2,
        query_message_bytes: 1_000,
        cluster_name: Some("c".into()),
        ..Config::with_nodes(2)
    });
    let (_world, repo) = populated(&server, 2_000, 35);
    // The other one goes on without it, as nodes do, long before the only try that there is time for is over.
    after_messages(&server, 20, |control| control.pause_node(1));
    let limited = AerospikeOptions {
        socket_timeout: Duration::from_secs(20),
        partition_timeout: Duration::from_secs(2),
        ..quick()
    };
    let (outcome, _) = try_back_up(&repo, &url(&server), limited, &without_parent()).unwrap();
    assert_eq!(outcome.records, 2_000, "{:#?}", outcome.problems);
    assert!(!outcome.problems.iter().any(|line| line.contains("could not be read")), "{:#?}", outcome.problems);
    assert_sound(&repo);
}

#[test]
fn nodes_that_do_not_tell_whether_the_cluster_stood_still_make_the_snapshot_incomplete() {
    let server = here(Config { cluster_name: Some("c".into()), ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 300, 36);
    let truth = "cluster_size=2;cluster_key=9F0C2B;uptime=2400";
    for (untold, lie) in [
        ("cluster_key", "cluster_size=2;uptime=2400"),
        ("cluster_key", "cluster_size=2;cluster_key=;uptime=2400"),
        ("cluster_key", "cluster_size=2;cluster_key=the same;uptime=2400"),
        ("cluster_size", "cluster_key=9F0C2B;uptime=2400"),
        ("cluster_size", "cluster_size=many;cluster_key=9F0C2B;uptime=2400"),
        ("uptime", "cluster_size=2;cluster_key=9F0C2B"),
        ("uptime", "cluster_size=2;cluster_key=9F0C2B;uptime=-1"),
    ] {
        server.set_info(None, "statistics", Some(lie));
        let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
        assert_says(&outcome, &format!("does not tell its `{untold}`"));
        assert_eq!((outcome.records, outcome.stats.deleted), (300, 0), "what came is kept");
    }
    let gone = server.dump("test")[3].digest;
    server.delete("test", &gone);
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert_eq!((outcome.records, outcome.stats.deleted), (300, 0), "no absence is believed");
    server.set_info(None, "statistics", Some(truth));
    assert_eq!(back_up(&repo, &server).stats.deleted, 1);
    assert_sound(&repo);
}
