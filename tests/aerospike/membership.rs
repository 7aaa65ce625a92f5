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
    ops::{
        Phase, Progress,
        backup::{Ask, BackupOptions, BackupOutcome, ParentChoice, backup},
    },
    repo::Repository,
    report::Warning,
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

/// Cancels as soon as it hears these words.
struct Hearing {
    words: &'static str,
    heard: Heard,
}

impl Progress for Hearing {
    fn phase(&self, phase: &Phase) {
        self.heard.phase(phase);
    }

    fn count(&self, records: u64, bytes: u64) {
        self.heard.count(records, bytes);
    }

    fn warning(&self, warning: &Warning) {
        if warning.words.contains(self.words) {
            self.heard.cancel.store(true, Ordering::SeqCst);
        }
    }

    fn cancelled(&self) -> bool {
        self.heard.cancelled()
    }
}

#[test]
fn who_waits_says_for_what() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 32);
    server.fault(Fault::new(At::Start, Action::Refuse(18)).on(Command::Query).after_requests(1).always());
    let endless = AerospikeOptions { partition_timeout: Duration::from_hours(1), ..quick() };
    let hearing = Hearing { words: "waiting for node BB9000000000001", heard: Heard::default() };
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
