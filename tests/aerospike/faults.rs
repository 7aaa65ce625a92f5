//! Whatever goes wrong on the way: a snapshot is either whole, or says what it lacks and believes no absence there.

use crate::{
    cluster::{
        assert_kept, back_up, given_back, held, patient, plain, populated, quick, some_record, source_of, try_back_up,
        url,
    },
    place::here,
    support::{
        Heard, Rng, World,
        world::{assert_sound, snapshot},
    },
};
use rekeep::{
    connector::aerospike::AerospikeOptions,
    ops::backup::{Ask, BackupOptions, BackupOutcome, ParentChoice, backup},
    repo::Repository,
    report::Remedy,
};
use rekeep_aerospike_server::{
    Action, At, Command, Config, Fault, Handle, QueryMoment, Seed, Unreadable, partition_of,
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

fn whole_as(ask: Ask, repo: &Repository, server: &Handle, what: &str) -> BackupOutcome {
    let how = BackupOptions { ask, ..plain() };
    let (outcome, _) = try_back_up(repo, &url(server), patient(), &how).unwrap();
    assert!(outcome.complete, "{what}, {ask:?}: {:#?}", outcome.problems);
    assert_kept(repo, server, &outcome, what);
    outcome
}

fn whole(repo: &Repository, server: &Handle, what: &str) -> BackupOutcome {
    whole_as(Ask::Default, repo, server, what)
}

/// Both ways to read: all of it, and what changed with a sweep.
const ASKS: [Ask; 2] = [Ask::Full, Ask::Default];

#[test]
fn a_connection_cut_anywhere_is_continued() {
    let server = here(Config { query_message_bytes: 2000, ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 2_000, 11);
    for (n, at) in
        [At::Start, At::Records(1), At::Records(17), At::Bytes(5), At::Bytes(4_321), At::End].into_iter().enumerate()
    {
        for ask in ASKS {
            server.fault(Fault::new(at, Action::Cut).on(Command::Query).after_requests(3).times(4));
            whole_as(ask, &repo, &server, &format!("cut {n} at {at:?}"));
            assert_eq!(server.faults_waiting(), 0, "the fault happened");
        }
    }
    assert_sound(&repo);
}

#[test]
fn a_silent_node_is_asked_again() {
    let server = here(Config { query_message_bytes: 2000, ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 500, 12);
    for at in [At::Start, At::Records(5), At::End] {
        for ask in ASKS {
            server.fault(Fault::new(at, Action::Silence).on(Command::Query).after_requests(3));
            whole_as(ask, &repo, &server, &format!("silence at {at:?}"));
        }
    }
}

#[test]
fn overload_and_too_many_queries_are_waited_out() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 500, 13);
    for code in [9, 11, 14, 15, 18, 22] {
        for at in [At::Start, At::Records(3), At::End] {
            server.fault(Fault::new(at, Action::Refuse(code)).on(Command::Query).after_requests(2).times(3));
            whole_as(
                if code < 15 { Ask::Full } else { Ask::Default },
                &repo,
                &server,
                &format!("code {code} at {at:?}"),
            );
        }
    }
}

#[test]
fn an_answer_that_is_none_fails_the_backup_and_commits_nothing() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 14);
    for action in [
        Action::LieAboutLength(1_000_000),
        Action::LieAboutLength(-20),
        Action::Overwrite(vec![0xff; 30]),
        Action::Insert(vec![0; 7]),
    ] {
        server.fault(Fault::new(At::Bytes(100), action.clone()).on(Command::Query).after_requests(2).always());
        let error = try_back_up(&repo, &url(&server), quick(), &plain());
        server.clear_faults();
        match error {
            Err(error) => assert!(error.to_string().contains("node"), "{error}"),
            // What looks like a cut is tried again until time is up.
            Ok((outcome, _)) => assert!(!outcome.complete, "{action:?}"),
        }
    }
    whole(&repo, &server, "afterwards");
}

#[test]
fn partitions_that_become_available_in_time_are_read() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 800, 15);
    server.set_unavailable(0, 0..2000, true);
    let began = std::sync::atomic::AtomicU32::new(0);
    server.on_query(move |control, _| {
        if began.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 30 {
            control.set_unavailable(0, 0..2000, false);
        }
    });
    whole(&repo, &server, "partitions that come back");
}

#[test]
fn missing_partitions_are_named_and_keep_the_parents_records() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 3_000, 16);
    let first = back_up(&repo, &server);
    let before = held(&server, &["test"], first.end);
    server.advance(Duration::from_mins(1));
    let lost: Vec<u16> = (100..110).collect();
    let all = server.dump("test");
    // Half of them would be doubted.
    for dumped in all.iter().step_by(3) {
        server.delete("test", &dumped.digest);
    }
    server.set_unavailable(0, lost.clone(), true);
    let (second, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(!second.complete);
    assert!(second.problems.iter().any(|line| line.contains("partitions 100-109")), "{:?}", second.problems);
    let mut expected = held(&server, &["test"], second.end).remove("test").unwrap().records;
    for (key, rec) in &before["test"].records {
        if lost.contains(&u16::from_be_bytes([key[0], key[1]])) {
            expected.insert(key.clone(), rec.clone());
        }
    }
    assert_eq!(given_back(&repo, second.id.unwrap())["test"].records, expected);
    let coverage = &snapshot(&repo, second.id.unwrap()).collections[0].coverage;
    assert!(coverage.iter().any(|part| !part.complete && part.start == first.start), "{coverage:?}");
    server.set_unavailable(0, lost, false);
    whole(&repo, &server, "once they are back");
    assert_sound(&repo);
}

#[test]
fn a_partition_missing_from_the_first_backup_makes_it_partial() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 1_000, 17);
    server.set_unavailable(0, [7], true);
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(!outcome.complete && outcome.problems[0].contains("partition 7 "), "{:?}", outcome.problems);
    let there = server.dump("test").iter().filter(|dumped| partition_of(&dumped.digest) != 7).count();
    assert_eq!(outcome.records as usize, there);
    assert!(!snapshot(&repo, outcome.id.unwrap()).collections[0].coverage[0].complete);
    assert_sound(&repo);
}

#[test]
fn a_node_that_dies_during_the_backup_costs_nothing_where_others_have_its_records() {
    let server = here(Config { replication_factor: 2, query_message_bytes: 1000, ..Config::with_nodes(3) });
    let (_world, repo) = populated(&server, 2_000, 18);
    whole(&repo, &server, "before");
    server.advance(Duration::from_mins(1));
    let gone = server.dump("test")[5].digest;
    server.delete("test", &gone);
    let is_dead = AtomicBool::new(false);
    server.on_query(move |control, event| {
        let is_in_the_middle = event.node == 1 && matches!(event.moment, QueryMoment::Sent(5..));
        if is_in_the_middle && !is_dead.swap(true, Ordering::SeqCst) {
            control.kill_node(1);
        }
    });
    let (outcome, _) = try_back_up(&repo, &url(&server), patient(), &plain()).unwrap();
    // What was read while nodes went is read again.
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert_eq!((outcome.records, outcome.stats.deleted), (1_999, 1));
    assert_kept(&repo, &server, &outcome, "the node died");
    assert_sound(&repo);
}

#[test]
fn records_lost_with_a_node_are_not_believed_deleted() {
    let server = here(Config { cluster_name: Some("c".into()), ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 2_000, 19);
    let first = back_up(&repo, &server);
    let before = given_back(&repo, first.id.unwrap());
    server.advance(Duration::from_mins(1));
    server.kill_node(1);
    assert!(server.count("test") < 1_500, "half is gone, and nothing on the wire says so");
    let (outcome, _) = try_back_up(&repo, &url(&server), patient(), &plain()).unwrap();
    assert!(!outcome.complete && outcome.stats.deleted == 0, "{:?}", outcome.problems);
    assert!(outcome.problems.iter().any(|line| line.contains("nodes are gone")), "{:?}", outcome.problems);
    assert_eq!(given_back(&repo, outcome.id.unwrap()), before);
    let coverage = &snapshot(&repo, outcome.id.unwrap()).collections[0].coverage[0];
    assert_eq!(coverage.deletions_as_of, Some(first.start));
    // The parent of the next one knows the lost node no longer, and it is missed all the same.
    server.advance(Duration::from_mins(1));
    let (third, _) = try_back_up(&repo, &url(&server), patient(), &plain()).unwrap();
    assert!(third.problems.iter().any(|line| line.contains("nodes are gone")), "{:?}", third.problems);
    assert_eq!(given_back(&repo, third.id.unwrap()), before);
    server.advance(Duration::from_mins(1));
    let accepting = BackupOptions { accept_deletions: true, ..plain() };
    let (fourth, _) = try_back_up(&repo, &url(&server), patient(), &accepting).unwrap();
    assert!(fourth.complete, "{:?}", fourth.problems);
    assert_kept(&repo, &server, &fourth, "the loss is accepted");
    server.advance(Duration::from_mins(1));
    whole(&repo, &server, "and stays accepted");
    assert_sound(&repo);
}

#[test]
fn an_unreadable_record_is_told_and_not_taken_for_deleted() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 1_000, 20);
    let first = back_up(&repo, &server);
    let before = given_back(&repo, first.id.unwrap());
    let victim = server.dump("test")[500].digest;
    server.set_unreadable("test", &victim, Some(Unreadable::Record));
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    let words = format!("partition {} may lack records", partition_of(&victim));
    assert!(outcome.problems.iter().any(|line| line.contains(&words)), "{:?}", outcome.problems);
    assert_eq!(given_back(&repo, outcome.id.unwrap()), before);
    server.set_unreadable("test", &victim, None);
    whole(&repo, &server, "once it can be read again");
    assert_sound(&repo);
}

#[test]
fn a_record_whose_key_cannot_be_read_is_skipped_by_the_sweep_and_not_taken_for_deleted() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 500, 27);
    let victim = server.put("test", Seed::string("victim").set("demo").stores_key().bin_int("v", 1));
    server.advance(Duration::from_mins(1));
    let first = back_up(&repo, &server);
    server.advance(Duration::from_mins(1));
    server.set_unreadable("test", &victim, Some(Unreadable::StoredKey));
    let gone = server.dump("test")[7].digest;
    server.delete("test", &gone);
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    let words = format!("partition {} may lack records", partition_of(&victim));
    assert!(outcome.problems.iter().any(|line| line.contains(&words)), "{:?}", outcome.problems);
    assert_eq!((outcome.records, outcome.stats.deleted), (first.records - 1, 1), "what is gone elsewhere is known");
    server.set_unreadable("test", &victim, None);
    whole(&repo, &server, "once it can be read again");
    assert_sound(&repo);
}

#[test]
fn without_counts_absences_are_not_believed() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 500, 21);
    server.set_info(None, "query-show", Some("ERROR:22:forbidden"));
    let (first, warnings) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(first.complete && warnings.contains("query-show"), "{warnings}");
    server.delete("test", &server.dump("test")[9].digest);
    let (second, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(!second.complete && second.records == 500, "{:?}", second.problems);
    assert!(second.problems[0].contains("deletions unconfirmed"), "{:?}", second.problems);
    server.set_info(None, "query-show", None);
    assert_eq!(whole(&repo, &server, "with counts").stats.deleted, 1);
    assert_sound(&repo);
}

#[test]
fn partitions_on_the_move_are_read_once_each() {
    let server = here(Config {
        replication_factor: 2,
        manual_migrations: true,
        query_message_bytes: 1000,
        ..Config::with_nodes(2)
    });
    let (_world, repo) = populated(&server, 1_500, 22);
    server.add_node().unwrap();
    server.on_query(|control, _| {
        control.migrate(40);
    });
    whole(&repo, &server, "migrating");
    assert_sound(&repo);
}

#[test]
fn partitions_too_large_for_a_window_are_streamed_and_continued() {
    let server = here(Config { query_message_bytes: 20_000, ..Config::with_nodes(1) });
    let (_world, repo) = World::new();
    let mut rng = Rng::new(23);
    // Three partitions of some 9 MiB each; a window of 16 readers may hold 3 MiB.
    for n in 0..270u32 {
        let mut digest = [0u8; 20];
        digest[0] = (n % 3) as u8;
        digest[2..6].copy_from_slice(&(rng.word() as u32).to_be_bytes());
        digest[6..10].copy_from_slice(&n.to_be_bytes());
        server.put("test", Seed::with_digest(digest).bin("v", 4, &rng.bytes(100_000)));
    }
    let how = BackupOptions { parallel: 16, ..plain() };
    for at in [None, Some(At::Records(20)), Some(At::Bytes(1_234_567))] {
        if let Some(at) = at {
            server.fault(Fault::new(at, Action::Cut).on(Command::Query).after_requests(4).times(3));
        }
        let how = BackupOptions { parent: ParentChoice::None, ..how.clone() };
        let (outcome, _) = try_back_up(&repo, &url(&server), patient(), &how).unwrap();
        assert!(outcome.complete, "{:?}", outcome.problems);
        assert_kept(&repo, &server, &outcome, &format!("{at:?}"));
    }
    let victim = server.dump("test")[100].digest;
    back_up(&repo, &server);
    server.set_unreadable("test", &victim, Some(Unreadable::Record));
    let (outcome, _) = try_back_up(&repo, &url(&server), patient(), &how).unwrap();
    assert!(!outcome.complete && outcome.stats.deleted == 0 && outcome.records == 270, "{:?}", outcome.problems);
    assert_sound(&repo);
}

#[test]
fn another_cluster_without_a_name_is_not_taken_for_the_same() {
    let (_world, repo) = World::new();
    let cluster = |ids: &[&str]| {
        let node_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let server = here(Config { node_ids, ..Config::with_nodes(ids.len()) });
        server.put_all("test", (0..20).map(|n| some_record(&mut Rng::new(n), n)));
        server
    };
    let first = cluster(&["BB9000000000001", "BB9000000000002"]);
    let parent = back_up(&repo, &first).id.unwrap();
    let grown = cluster(&["BB9000000000002", "BB9000000000003"]);
    grown.advance(Duration::from_mins(1));
    assert_eq!(back_up(&repo, &grown).parent, Some(parent));
    let other = cluster(&["AA1"]);
    other.advance(Duration::from_mins(2));
    let error = try_back_up(&repo, &url(&other), quick(), &plain()).unwrap_err();
    assert!(error.to_string().contains("BB9000000000003"), "{error}");
    assert_eq!(error.remedies(), [Remedy::NameSource, Remedy::NameParent]);
    let named = BackupOptions { source_name: Some("other".into()), ..plain() };
    assert_eq!(try_back_up(&repo, &url(&other), quick(), &named).unwrap().0.parent, None);
    grown.advance(Duration::from_secs(30));
    let newest = back_up(&repo, &grown).id.unwrap();
    let chosen = BackupOptions { parent: ParentChoice::Id(newest.to_string()), ..plain() };
    assert_eq!(try_back_up(&repo, &url(&other), quick(), &chosen).unwrap().0.parent, Some(newest));
}

#[test]
fn a_backup_that_waits_for_a_dead_cluster_can_be_cancelled() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 25);
    for ask in ASKS {
        server.fault(Fault::new(At::Start, Action::Refuse(18)).on(Command::Query).after_requests(1).always());
        let heard = Heard::default();
        heard.cancel_at_idle.store(true, std::sync::atomic::Ordering::SeqCst);
        let endless = AerospikeOptions { partition_timeout: Duration::from_hours(1), ..quick() };
        let how = BackupOptions { ask, ..plain() };
        let error = backup(&repo, &source_of(&url(&server), endless), &how, &heard).unwrap_err();
        assert!(error.is_interruption(), "{error}");
        server.clear_faults();
        whole(&repo, &server, "afterwards");
    }
}

#[test]
fn no_node_some_nodes_and_a_node_that_is_not_ready() {
    let server = here(Config { replication_factor: 2, ..Config::with_nodes(3) });
    let (_world, repo) = populated(&server, 300, 24);
    let nobody = rekeep::connector::SourceUrl::parse("aerospike://127.0.0.1:1").unwrap();
    let error = rekeep::connector::aerospike::AerospikeSource::new(&nobody, quick()).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
    let both = format!("aerospike://127.0.0.1:1,{}", server.addresses()[1]);
    let (outcome, _) = try_back_up(&repo, &both, patient(), &plain()).unwrap();
    assert!(outcome.complete);
    assert_kept(&repo, &server, &outcome, "through the second seed");
}
