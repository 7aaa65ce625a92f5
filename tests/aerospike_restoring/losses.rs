//! A target that loses what it had acknowledged, that is slow on purpose, that is strict: what came is there in the end, and
//! what moved on the way is said.

use crate::{
    cluster::{Restore, assert_same, assert_same_since, back_up, kept, start},
    support::World,
};
use rekeep::connector::Overwrite;
use rekeep_aerospike_server::{Action, At, Build, Command, Config, Fault, NamespaceConfig, Seed, Server};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

#[test]
fn what_a_node_acknowledged_before_it_started_anew_without_it_is_written_again_and_said() {
    let (server, _world, repo, id) = kept(1, 3_000, 61);
    let to = start(1);
    let restart = |control: &rekeep_aerospike_server::Control| control.restart_node_empty(0).unwrap();
    to.fault(Fault::run(At::Start, restart).on(Command::Batch).after_requests(12));
    let began = Instant::now();
    let outcome = Restore::of(&repo, id).run(&to);
    assert!(!outcome.complete, "a node started anew");
    assert!(
        outcome.missing.iter().any(|line| line.contains("node BB9000000000001 restarted")),
        "{:?}",
        outcome.missing
    );
    assert!(outcome.notes.iter().any(|note| note.contains("records were written again")), "{:?}", outcome.notes);
    assert_same_since(&server, &to, began);
}

#[test]
fn what_a_node_that_is_gone_had_acknowledged_is_written_to_those_that_are_left() {
    let (server, _world, repo, id) = kept(1, 3_000, 62);
    let to = start(3);
    let kill = |control: &rekeep_aerospike_server::Control| control.kill_node(2);
    to.fault(Fault::run(At::Start, kill).on(Command::Batch).after_requests(12));
    let began = Instant::now();
    let outcome = Restore::of(&repo, id).run(&to);
    assert!(outcome.missing.iter().any(|line| line.contains("node BB9000000000003 is gone")), "{:?}", outcome.missing);
    assert_same_since(&server, &to, began);
}

#[test]
fn with_two_copies_a_node_that_starts_anew_costs_nothing() {
    let (server, _world, repo, id) = kept(1, 2_000, 63);
    let to = Server::start(Config { replication_factor: 2, ..Config::with_nodes(2) }).unwrap();
    let restart = |control: &rekeep_aerospike_server::Control| control.restart_node_empty(1).unwrap();
    to.fault(Fault::run(At::Start, restart).on(Command::Batch).after_requests(8));
    let began = Instant::now();
    let outcome = Restore::of(&repo, id).run(&to);
    assert!(outcome.complete, "{:?}", outcome.missing);
    assert_same_since(&server, &to, began);
}

#[test]
fn records_come_back_into_servers_of_every_build() {
    let (server, _world, repo, _) = kept(1, 500, 64);
    server.with_namespace("test", |namespace| {
        namespace.sindexes.push(rekeep_aerospike_server::Sindex {
            name: "i".to_owned(),
            set: Some("demo".to_owned()),
            bin: Some("n".to_owned()),
            kind: rekeep_aerospike_server::SindexType::Numeric,
            source: rekeep_aerospike_server::SindexSource::Default,
            context: None,
            expression: None,
        });
    });
    let id = back_up(&repo, &server);
    for build in Build::ALL {
        let namespaces = ["test", "bar"].map(NamespaceConfig::named).to_vec();
        let to = Server::start(Config { build, namespaces, ..Config::with_nodes(2) }).unwrap();
        // An equal index elsewhere is none of this namespace.
        to.with_namespace("bar", |namespace| {
            namespace.sindexes = server.with_namespace("test", |test| test.sindexes.clone());
        });
        let outcome = Restore::of(&repo, id).run(&to);
        assert!(outcome.complete, "{build}: {:?}", outcome.missing);
        assert_same(&server, &to);
        assert_eq!(to.with_namespace("test", |namespace| namespace.sindexes.len()), 1, "{build}");
        to.put("test", Seed::int(90_000).bin_int("extra", 1));
        to.advance(Duration::from_secs(1));
        let equal = Restore::of(&repo, id).overwrite(Overwrite::IfChanged).make_equal().run(&to);
        assert!(equal.complete, "{build}: {:?}", equal.missing);
        assert_eq!((equal.outcomes.removed, equal.outcomes.inserted), (1, 0), "{build}");
    }
}

#[test]
fn a_server_too_old_to_be_written_is_named() {
    let (_server, _world, repo, id) = kept(1, 10, 65);
    let to = Server::start(Config { build: Build::V5_7, ..Config::with_nodes(1) }).unwrap();
    let error = Restore::of(&repo, id).error(&to);
    assert!(error.contains("5.7.0.0") && error.contains("6.0"), "{error}");
    assert_eq!(to.count("test"), 0);
}

#[test]
fn another_module_of_the_same_name_stops_before_any_write() {
    let (server, _world, repo, _) = kept(1, 20, 66);
    server.put_module("a.lua", b"local x");
    let id = back_up(&repo, &server);
    let to = start(1);
    to.put_module("a.lua", b"local y");
    let error = Restore::of(&repo, id).overwrite(Overwrite::Always).error(&to);
    assert!(error.contains("a.lua") && error.contains("ReplaceModules"), "{error}");
    assert_eq!((to.count("test"), to.module("a.lua").as_deref()), (0, Some(&b"local y"[..])));
    let without = Restore::of(&repo, id).overwrite(Overwrite::Always).options(|options| options.no_udfs = true);
    assert!(without.run(&to).complete);
    let left = Restore::of(&repo, id).overwrite(Overwrite::Never).run(&to);
    assert!(left.complete && left.notes.iter().any(|note| note.contains("stays")), "{:?}", left.notes);
    assert_eq!(to.module("a.lua").as_deref(), Some(&b"local y"[..]));
    let replaced = Restore::of(&repo, id).overwrite(Overwrite::Always).how(|how| how.replace_modules = true).run(&to);
    assert!(replaced.complete);
    assert_eq!(to.module("a.lua").as_deref(), Some(&b"local x"[..]));
}

#[test]
fn strongly_consistent_namespaces_want_durable_removals() {
    let (_server, _world, repo, id) = kept(1, 20, 67);
    let strict = NamespaceConfig { strong_consistency: true, ..NamespaceConfig::named("test") };
    let config = Config { namespaces: vec![strict], enterprise: true, ..Config::with_nodes(1) };
    let to = Server::start(config).unwrap();
    to.put("test", Seed::int(500).bin_int("extra", 1));
    let error = Restore::of(&repo, id).overwrite(Overwrite::Always).make_equal().error(&to);
    assert!(error.contains("strongly consistent") && error.contains("RemoveDurably"), "{error}");
    assert_eq!(to.count("test"), 1);
    to.advance(Duration::from_secs(1));
    let durable = Restore::of(&repo, id).overwrite(Overwrite::Always).make_equal();
    let outcome = durable.how(|how| how.durable_delete = true).run(&to);
    assert_eq!((outcome.outcomes.removed, outcome.outcomes.inserted), (1, 20));
    assert_eq!(to.with_namespace("test", |namespace| namespace.durable_deletes), 1);
    let community = start(1);
    let error = Restore::of(&repo, id)
        .overwrite(Overwrite::Always)
        .make_equal()
        .how(|how| how.durable_delete = true)
        .error(&community);
    assert!(error.contains("Community Edition"), "{error}");
}

#[test]
fn merge_if_newer_changes_lower_generations_alone_and_leaves_their_other_bins() {
    let server = start(1);
    server.put_all("test", (0..3).map(|n| Seed::int(n).bin_int("n", n).generation(5)));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = start(1);
    to.put("test", Seed::int(0).bin_int("other", 7).generation(4));
    to.put("test", Seed::int(1).bin_int("other", 7).generation(5));
    let outcome = Restore::of(&repo, id).overwrite(Overwrite::MergeIfNewer).run(&to).outcomes;
    assert_eq!((outcome.inserted, outcome.replaced, outcome.fresher), (1, 1, 1));
    let names = |n: i64| -> Vec<String> {
        let held = to.get("test", &Seed::int(n).digest()).unwrap();
        held.bins.iter().map(|(name, ..)| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!((names(0).len(), names(1), names(2)), (2, vec!["other".to_owned()], vec!["n".to_owned()]));
}

#[test]
fn records_are_sent_again_as_often_as_asked_for() {
    let (_server, _world, repo, id) = kept(1, 50, 68);
    for (most, works) in [(2, false), (3, true)] {
        let to = start(1);
        let sent = Arc::new(AtomicU64::new(0));
        let counts = Arc::clone(&sent);
        let count = move |_: &rekeep_aerospike_server::Control| {
            counts.fetch_add(1, Ordering::SeqCst);
        };
        to.fault(Fault::run(At::Start, count).on(Command::Batch).always());
        to.fault(Fault::new(At::Start, Action::Refuse(18)).on(Command::Batch).times(3));
        let outcome = Restore::of(&repo, id)
            .how(|how| {
                how.retry_max_attempts = most;
                how.retry_base_interval = Duration::from_millis(1);
                how.retry_multiplier_percent = 100;
                how.max_async_batches = 1;
            })
            .attempt(&to);
        assert_eq!(outcome.is_ok(), works, "{most}: {outcome:?}");
        assert_eq!(sent.load(Ordering::SeqCst), u64::from(most) + 1);
    }
}

#[test]
fn a_limit_of_records_a_second_makes_batches_a_tenth_of_it() {
    let (server, _world, repo, id) = kept(1, 300, 69);
    let to = start(1);
    let batches = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&batches);
    let count = move |_: &rekeep_aerospike_server::Control| {
        counts.fetch_add(1, Ordering::SeqCst);
    };
    to.fault(Fault::run(At::Start, count).on(Command::Batch).always());
    let outcome = Restore::of(&repo, id).how(|how| how.records_per_second = 500).run(&to);
    assert!(outcome.complete);
    assert_eq!(batches.load(Ordering::SeqCst), 6);
    assert_same(&server, &to);
}
