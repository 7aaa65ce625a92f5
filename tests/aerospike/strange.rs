//! Clusters that are not what they should be: too old, too full, lying, renamed, with one record or with every set that a
//! namespace may have.

use crate::{
    cluster::{assert_kept, back_up, given_back, held, plain, populated, quick, some_record, try_back_up, url},
    place::{Living, Place, here},
    support::{
        Rng, World,
        world::{assert_sound, snapshot},
    },
};
use rekeep::{
    connector::{SourceUrl, aerospike::AerospikeOptions, aerospike::AerospikeSource},
    ops::backup::{Ask, BackupOptions, ParentChoice},
    repo::manifest::Kind,
};
use rekeep_aerospike_server::{Action, At, Command, Config, Fault, Seed, partition_of};
use std::time::Duration;

#[test]
fn a_server_too_old_for_what_is_asked_is_named() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 200, 91);
    let refused = |options| try_back_up(&repo, &url(&server), options, &plain()).unwrap_err().to_string();
    for old in ["4.8.0.6", "5.7.0.31"] {
        server.set_info(Some(1), "build", Some(old));
        let error = refused(quick());
        assert!(error.contains("BB9000000000002") && error.contains(old) && error.contains("6.0"), "{error}");
    }
    server.set_info(Some(1), "build", Some("6.0.0.1"));
    assert_eq!(back_up(&repo, &server).kind, Kind::Full);
    server.advance(Duration::from_mins(1));
    server.set_info(Some(1), "build", None);
    assert_eq!(back_up(&repo, &server).kind, Kind::Incremental);
}

#[test]
fn counts_that_do_not_fit_what_came_make_partitions_doubtful() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 92);
    let first = back_up(&repo, &server);
    let before = given_back(&repo, first.id.unwrap());
    server.advance(Duration::from_mins(1));
    server.delete("test", &server.dump("test")[3].digest);
    for lie in [
        "trid=1:status=done(ok):recs-succeeded=999999999999:recs-failed=0",
        "status=done(ok):recs-succeeded=0:recs-failed=18446744073709551615",
    ] {
        server.set_info(None, "query-show", Some(lie));
        let one = AerospikeOptions { partitions: None, ..quick() };
        let (outcome, _) = try_back_up(&repo, &url(&server), one, &plain()).unwrap();
        assert!(!outcome.complete && outcome.stats.deleted == 0, "{:?}", outcome.problems);
        assert!(outcome.problems.iter().any(|line| line.contains("may lack records")), "{:?}", outcome.problems);
        assert_eq!(given_back(&repo, outcome.id.unwrap()), before);
    }
    server.set_info(None, "query-show", None);
    assert_kept(&repo, &server, &back_up(&repo, &server), "once it tells the truth");
    assert_sound(&repo);
}

#[test]
fn totals_that_make_no_sense_spoil_nothing() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 200, 93);
    for (command, lie) in [
        (
            "namespace",
            "objects=18446744073709551615;effective_replication_factor=0;master_objects=-1;data_used_bytes=99999999999999999999",
        ),
        (
            "namespace",
            "objects=18446744073709551615;master_objects=18446744073709551615;data_used_bytes=18446744073709551615;effective_replication_factor=1",
        ),
        ("sets", "ns=test:set=demo:objects=18446744073709551615;ns=test:set=demo:objects=18446744073709551615"),
    ] {
        server.set_info(None, command, Some(lie));
        let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
        assert!(outcome.complete, "{lie}: {:?}", outcome.problems);
        assert_kept(&repo, &server, &outcome, lie);
        server.set_info(None, command, None);
        server.advance(Duration::from_mins(1));
    }
    for (command, lie) in [("replicas", "test:0,1,AAAA"), ("peers-clear-std", "1,x,["), ("partition-generation", "-1")]
    {
        server.set_info(None, command, Some(lie));
        let source = AerospikeSource::new(&SourceUrl::parse(&url(&server)).unwrap(), quick());
        let error = source.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("127.0.0.1"), "{command}: {error}");
        server.set_info(None, command, None);
    }
    assert_sound(&repo);
}

#[test]
fn answers_by_key_that_are_none_are_no_proof() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 94);
    let first = back_up(&repo, &server);
    server.advance(Duration::from_mins(1));
    server.delete("test", &server.dump("test")[3].digest);
    let lies = [
        Action::Cut,
        Action::LieAboutLength(50_000),
        Action::Overwrite(vec![0xff; 30]),
        // The row's index.
        Action::Overwrite([&[22, 0, 0, 0, 0, 2][..], &[0; 8], &[0, 0, 0, 9], &[0; 4]].concat()),
    ];
    for lie in lies {
        for ask in [Ask::Default, Ask::Full] {
            // Behind the frame's head, which only a false length concerns.
            let at = if matches!(lie, Action::LieAboutLength(_)) { At::Start } else { At::Bytes(8) };
            server.fault(Fault::new(at, lie.clone()).on(Command::Batch).always());
            let how = BackupOptions { ask, ..plain() };
            let told = try_back_up(&repo, &url(&server), quick(), &how);
            server.clear_faults();
            match told {
                Err(error) => assert!(error.to_string().contains("node"), "{error}"),
                Ok((outcome, _)) => {
                    assert!(!outcome.complete, "{lie:?}");
                    assert_eq!((outcome.records, outcome.stats.deleted), (first.records, 0), "{lie:?}");
                }
            }
            server.advance(Duration::from_mins(1));
        }
    }
    let last = back_up(&repo, &server);
    assert_eq!(last.records, first.records - 1);
    assert_kept(&repo, &server, &last, "afterwards");
    assert_sound(&repo);
}

#[test]
fn one_record_alone_is_kept_changed_and_deleted() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = World::new();
    let digest = server.put("test", Seed::string("only").set("s").stores_key().bin_int("v", 1));
    assert_eq!(back_up(&repo, &server).records, 1);
    server.advance(Duration::from_mins(1));
    server.put("test", Seed::string("only").set("s").stores_key().bin_int("v", 2).generation(2));
    let second = back_up(&repo, &server);
    assert_eq!((second.records, second.stats.changed), (1, 1));
    assert_kept(&repo, &server, &second, "changed");
    server.advance(Duration::from_mins(1));
    server.delete("test", &digest);
    let (doubted, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(!doubted.complete && doubted.stats.deleted == 0, "all of a namespace is gone: {doubted:?}");
    let accepting = BackupOptions { accept_deletions: true, ..plain() };
    let (third, _) = try_back_up(&repo, &url(&server), quick(), &accepting).unwrap();
    assert_eq!((third.records, third.stats.deleted), (0, 1));
    assert_sound(&repo);
}

#[test]
fn every_set_that_a_namespace_may_have_is_kept_with_the_longest_names() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = World::new();
    let name = |n: usize| format!("{n:04}{}", "s".repeat(59));
    let sets = rekeep_aerospike_server::MAX_SETS;
    server.put_all("test", (0..sets).map(|n| Seed::int(n as i64).set(&name(n)).bin_int("n", n as i64)));
    let outcome = back_up(&repo, &server);
    assert_eq!(outcome.records, sets as u64);
    assert_kept(&repo, &server, &outcome, "all sets");
    let attributes = &snapshot(&repo, outcome.id.unwrap()).collections[0].attributes;
    assert_eq!(attributes["sets"].as_array().unwrap().len(), 4095);
    assert_eq!(attributes["set_records"][name(17)], 1);
    // As many as there can be are asked for by name.
    let all = AerospikeOptions { sets: (0..sets).map(name).collect(), ..quick() };
    assert_eq!(try_back_up(&repo, &url(&server), all, &plain()).unwrap().0.records, sets as u64);
    let more = AerospikeOptions { sets: (0..=sets).map(name).collect(), ..quick() };
    let error = AerospikeSource::new(&SourceUrl::parse(&url(&server)).unwrap(), more).unwrap_err().to_string();
    assert!(error.contains("4095"), "{error}");
    assert_sound(&repo);
}

#[test]
fn a_renamed_cluster_is_another_one_unless_a_person_says_that_it_is_not() {
    let (_world, repo) = World::new();
    let cluster = |name: &str| {
        let server = here(Config { cluster_name: Some(name.to_owned()), ..Config::with_nodes(2) });
        let mut rng = Rng::new(95);
        server.put_all("test", (0..200).map(|n| some_record(&mut rng, n)));
        server
    };
    let old = cluster("before");
    let first = back_up(&repo, &old);
    let new = cluster("after");
    new.advance(Duration::from_mins(1));
    new.delete("test", &new.dump("test")[0].digest);
    let alone = back_up(&repo, &new);
    assert_eq!((alone.parent, alone.kind), (None, Kind::Full));
    assert_kept(&repo, &new, &alone, "renamed");
    new.advance(Duration::from_mins(1));
    for how in [
        BackupOptions { source_name: Some("before".into()), ..plain() },
        BackupOptions { parent: ParentChoice::Id(first.id.unwrap().to_string()), ..plain() },
    ] {
        let (outcome, _) = try_back_up(&repo, &url(&new), quick(), &how).unwrap();
        assert_eq!((outcome.parent, outcome.kind, outcome.stats.deleted), (first.id, Kind::Incremental, 1));
        assert_kept(&repo, &new, &outcome, "the same by a person's word");
    }
    assert_sound(&repo);
}

#[test]
fn a_cluster_that_grew_or_shrank_without_loss_is_the_same() {
    let server = here(Config { replication_factor: 2, cluster_name: Some("c".into()), ..Config::with_nodes(3) });
    let (_world, repo) = populated(&server, 1_000, 96);
    back_up(&repo, &server);
    let step = |what: &str| {
        server.advance(Duration::from_mins(1));
        server.delete("test", &server.dump("test")[11].digest);
        let outcome = back_up(&repo, &server);
        assert_eq!(outcome.stats.deleted, 1, "{what}");
        assert_kept(&repo, &server, &outcome, what);
    };
    server.add_node().unwrap();
    step("grown");
    server.kill_node(0);
    step_with_second_seed(&server, &repo);
    assert_sound(&repo);
}

/// The first address answers no more.
fn step_with_second_seed(server: &rekeep_aerospike_server::Handle, repo: &rekeep::repo::Repository) {
    server.advance(Duration::from_mins(1));
    server.delete("test", &server.dump("test")[11].digest);
    let seed = format!("aerospike://{}", server.addresses()[1]);
    let (outcome, _) = try_back_up(repo, &seed, quick(), &plain()).unwrap();
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert_eq!(outcome.stats.deleted, 1, "one node of four is gone, and every record had two copies");
    assert_kept(repo, server, &outcome, "shrunk");
}

#[test]
fn a_replaced_cluster_of_the_same_name_proves_no_deletion() {
    let (_world, repo) = World::new();
    let cluster = |ids: &[&str], from: i64| {
        let node_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let name = Some("prod".to_owned());
        let server = here(Config { node_ids, cluster_name: name, ..Config::with_nodes(ids.len()) });
        server.put_all("test", (from..from + 100).map(|n| Seed::int(n).bin_int("n", n)));
        server
    };
    let old = cluster(&["A1", "A2"], 0);
    back_up(&repo, &old);
    let new = cluster(&["B1", "B2"], 50);
    new.advance(Duration::from_mins(1));
    let (outcome, _) = try_back_up(&repo, &url(&new), quick(), &plain()).unwrap();
    assert!(!outcome.complete && outcome.problems[0].contains("nodes are gone"), "{:?}", outcome.problems);
    assert_eq!((outcome.records, outcome.stats.deleted), (150, 0));
    let how = BackupOptions { accept_deletions: true, ..plain() };
    new.advance(Duration::from_mins(1));
    let (outcome, _) = try_back_up(&repo, &url(&new), quick(), &how).unwrap();
    assert_kept(&repo, &new, &outcome, "accepted");
}

#[test]
fn a_node_that_others_know_and_that_does_not_answer_is_named_with_what_it_has() {
    let server = here(Config { cluster_name: Some("c".into()), ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 1_000, 97);
    let first = back_up(&repo, &server);
    let before = held(&server, &["test"], first.end);
    server.cut_node_off(1);
    server.advance(Duration::from_mins(1));
    let (outcome, warnings) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(!outcome.complete && warnings.contains("node BB9000000000002 does not answer"), "{warnings}");
    assert!(outcome.problems.iter().any(|line| line.contains("no node masters it")), "{:?}", outcome.problems);
    assert_eq!(given_back(&repo, outcome.id.unwrap()), before, "what it had stands");
}

#[test]
fn records_that_change_or_go_while_the_scan_is_at_them_are_kept_in_a_state_they_had() {
    let server = here(Config { query_message_bytes: 200, query_lanes: 1, ..Config::with_nodes(1) });
    let (_world, repo) = World::new();
    let seed = |n: i64, v: i64| Seed::int(n).bin_int("v", v);
    server.put_all("test", (0..400).map(|n| seed(n, 0)));
    let mut order: Vec<(u16, i64)> = (0..400).map(|n| (partition_of(&seed(n, 0).digest()), n)).collect();
    order.sort_unstable();
    // Ahead of the scan and behind it: one is deleted, one is changed, one comes.
    let (early, late) = (order[10].1, order[390].1);
    let (early_too, late_too) = (order[11].1, order[391].1);
    let fired = std::sync::atomic::AtomicBool::new(false);
    server.on_query(move |control, event| {
        let half_way = matches!(event.moment, rekeep_aerospike_server::QueryMoment::Begun)
            && event.trid != 0
            && control.queries(0).len() > 4;
        if half_way && !fired.swap(true, std::sync::atomic::Ordering::SeqCst) {
            for n in [early, late] {
                control.delete("test", &seed(n, 0).digest());
            }
            for n in [early_too, late_too] {
                control.put("test", seed(n, 1).generation(2));
            }
        }
    });
    let first = back_up(&repo, &server);
    let got = given_back(&repo, first.id.unwrap()).remove("test").unwrap().records;
    assert!((398..=400).contains(&got.len()), "{}", got.len());
    for rec in got.values() {
        assert!([0i64, 1].contains(&i64::from_be_bytes(rec.cells[b"v".as_slice()].1.clone().try_into().unwrap())));
    }
    server.advance(Duration::from_secs(1));
    let second = back_up(&repo, &server);
    assert_eq!(second.records, 398);
    assert_kept(&repo, &server, &second, "the next one repairs it");
    assert_sound(&repo);
}
