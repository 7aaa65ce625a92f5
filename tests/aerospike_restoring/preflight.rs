//! What stands in the way is said before the first write, all of it at once.

use crate::{
    cluster::{Restore, assert_same, back_up, start},
    support::World,
};
use rekeep::{
    connector::aerospike::IndexOrder,
    repo::{Repository, SnapshotId},
};
use rekeep_aerospike_server::{Config, Handle, NamespaceConfig, Seed, Server, Sindex, SindexSource, SindexType};
use std::time::Duration;

/// What a node says of an empty namespace, and more.
fn says(server: &Handle, more: &str) {
    let text = format!(
        "objects=0;master_objects=0;effective_replication_factor=1;current_time=504921600;nsup-period=120;default-ttl=0;\
         max-record-size=1048576;stop_writes=false;{more}"
    );
    server.set_info(None, "namespace", Some(&text));
}

/// Twenty records of 1000 bytes in set `demo`, one of them expiring.
fn twenty() -> (Handle, World, Repository, SnapshotId) {
    let server = start(1);
    server.put_all("test", (0..19).map(|n| Seed::int(n).set("demo").bin("b", 4, &[7; 1000])));
    server.put("test", Seed::int(19).set("demo").ttl(10_000).bin("b", 4, &[7; 1000]));
    let (world, repo) = World::new();
    let id = back_up(&repo, &server);
    (server, world, repo, id)
}

#[track_caller]
fn refused(restore: &Restore<'_>, to: &Handle, words: &[&str]) {
    let error = restore.error(to);
    for word in words.iter().chain(&["nothing was written"]) {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    assert_eq!(to.count("test"), 0);
}

#[track_caller]
fn noted(restore: &Restore<'_>, to: &Handle, word: &str) {
    let outcome = restore.run(to);
    assert!(outcome.complete && outcome.notes.iter().any(|note| note.contains(word)), "{:?}", outcome.notes);
    assert_eq!(to.count("test"), 20);
}

#[test]
fn storage_that_is_too_small_is_refused_and_force_tries() {
    let (_server, _world, repo, id) = twenty();
    let to = start(1);
    says(&to, "data_total_bytes=30000;data_used_bytes=0;storage-engine.stop-writes-used-pct=60");
    let mut restore = Restore::of(&repo, id);
    refused(&restore, &to, &["bytes of storage", "has 18000", "[Force]"]);
    restore.what.force = true;
    noted(&restore, &to, "bytes of storage");
    // The same with room, and where the server may compress.
    for more in [
        "data_total_bytes=40000;data_used_bytes=0",
        "data_total_bytes=9;data_used_bytes=0;storage-engine.compression=zstd",
    ] {
        let to = start(1);
        says(&to, more);
        assert!(Restore::of(&repo, id).run(&to).complete, "{more}");
    }
}

#[test]
fn storage_that_fits_only_what_is_replaced_is_said() {
    let (_server, _world, repo, id) = twenty();
    let to = start(1);
    says(&to, "device_total_bytes=100000;device_used_bytes=90000");
    noted(&Restore::of(&repo, id), &to, "it fits only as far as it replaces");
}

#[test]
fn index_memory_that_is_too_small_is_refused() {
    let (_server, _world, repo, id) = twenty();
    for more in ["indexes-memory-budget=1000", "memory-size=1200;stop-writes-pct=90;memory_used_bytes=0"] {
        let to = start(1);
        says(&to, more);
        refused(&Restore::of(&repo, id), &to, &["needs 1280 bytes of index memory"]);
    }
    let to = start(1);
    says(&to, "indexes-memory-budget=2000;index_used_bytes=1500");
    noted(&Restore::of(&repo, id), &to, "has 500 free");
    let to = start(1);
    to.set_info(None, "statistics", Some("cluster_size=1;cluster_key=A;uptime=9;system_free_mem_kbytes=1"));
    noted(&Restore::of(&repo, id), &to, "have 1024 of memory free");
}

#[test]
fn copies_count_and_nodes_add_up() {
    let (_server, _world, repo, id) = twenty();
    let of = |more: &str| {
        let to = Server::start(Config { replication_factor: 2, ..Config::with_nodes(2) }).unwrap();
        let text = format!(
            "objects=0;master_objects=0;effective_replication_factor=2;current_time=504921600;nsup-period=120;\
             {more};data_used_bytes=0"
        );
        to.set_info(None, "namespace", Some(&text));
        to
    };
    refused(&Restore::of(&repo, id), &of("data_total_bytes=20000"), &["all copies counted", "has 40000"]);
    assert!(Restore::of(&repo, id).run(&of("data_total_bytes=21000")).complete);
}

#[test]
fn too_many_sets_are_refused() {
    let (_server, _world, repo, id) = twenty();
    let to = start(1);
    to.with_namespace("test", |namespace| {
        for n in 0..4095 {
            namespace.make_set(format!("set{n}").as_bytes()).unwrap();
        }
    });
    refused(&Restore::of(&repo, id), &to, &["would have 4096 sets"]);
    let outcome = Restore::of(&repo, id).how(|how| how.ignore_record_error = true).run(&to);
    assert_eq!((outcome.outcomes.ignored, outcome.complete), (20, true));
    let to = start(1);
    to.with_namespace("test", |namespace| {
        for n in 0..4094 {
            namespace.make_set(format!("set{n}").as_bytes()).unwrap();
        }
    });
    assert!(Restore::of(&repo, id).run(&to).complete);
}

#[test]
fn quotas_of_sets_are_refused() {
    let (_server, _world, repo, id) = twenty();
    for (quota, word) in [
        ("stop-writes-count=19:stop-writes-size=0", "stop-writes-count"),
        ("stop-writes-count=0:stop-writes-size=9000", "stop-writes-size"),
    ] {
        let to = start(1);
        to.set_info(None, "sets", Some(&format!("ns=test:set=demo:objects=0:{quota};")));
        refused(&Restore::of(&repo, id), &to, &["20 records", "set `demo`", word]);
    }
    let to = start(1);
    to.set_info(None, "sets", Some("ns=test:set=demo:objects=0:stop-writes-count=20:stop-writes-size=90000;"));
    assert!(Restore::of(&repo, id).run(&to).complete);
}

#[test]
fn shipping_a_life_by_default_and_strong_consistency_are_said() {
    let (_server, _world, repo, id) = twenty();
    let to = start(1);
    to.set_info(None, "get-config", Some("dcs=far;namespaces=other,test"));
    noted(&Restore::of(&repo, id), &to, "shipped to `far`");
    let to = start(1);
    to.set_info(None, "masking-show", Some("ns=test:set=demo:bin=b:type=string:function=redact;"));
    noted(&Restore::of(&repo, id), &to, "masks bins (1 rules)");
    let to = start(1);
    to.set_info(None, "get-config", Some("dcs=far;namespaces=other"));
    let notes = Restore::of(&repo, id).run(&to).notes;
    assert!(notes.is_empty(), "{notes:?}");
    let to = start(1);
    to.with_namespace("test", |namespace| namespace.config.default_ttl = 500);
    noted(&Restore::of(&repo, id), &to, "default-ttl 500, where the snapshot's had 0");
    let to = start(1);
    says(&to, "strong-consistency=true");
    noted(&Restore::of(&repo, id), &to, "not tested");
    let to = start(1);
    to.with_namespace("test", |namespace| {
        (namespace.config.nsup_period, namespace.config.allow_ttl_without_nsup) = (0, true);
    });
    noted(&Restore::of(&repo, id), &to, "nothing removes them");
}

#[test]
fn all_findings_are_said_at_once() {
    let server = start(1);
    server.put("test", Seed::int(1).set("demo").ttl(1000).bin("b", 4, &[7; 5000]));
    let index = |bin: &str| Sindex {
        name: "i".to_owned(),
        set: None,
        bin: Some(bin.to_owned()),
        kind: SindexType::Numeric,
        source: SindexSource::Default,
        context: None,
        expression: None,
    };
    server.with_namespace("test", |namespace| namespace.sindexes = vec![index("b")]);
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = start(1);
    to.with_namespace("test", |namespace| {
        (namespace.config.nsup_period, namespace.config.max_record_bytes) = (0, 4096);
        namespace.sindexes = vec![index("other")];
    });
    to.set_info(None, "get-config", Some("dcs=far;namespaces=test"));
    let long = Restore::of(&repo, id).how(|how| how.extra_ttl = Duration::from_secs(400_000_000));
    refused(
        &long,
        &to,
        &["4 things stand in the way", "nsup-period", "max-record-size", "index `i`", "ten years", "also: ", "far"],
    );
    // Indexes alone meet the index alone.
    let mut alone = Restore::of(&repo, id);
    alone.what.no_records = true;
    let error = alone.error(&to);
    assert!(error.contains("index `i`") && !error.contains("nsup-period"), "{error}");
    let mut none = Restore::of(&repo, id).how(|how| how.indexes = IndexOrder::Never);
    none.what.no_records = true;
    assert!(none.run(&to).complete);
}

#[test]
fn records_that_were_not_chosen_stand_in_nobodys_way() {
    let server = start(1);
    server.put("test", Seed::int(1).set("big").ttl(1000).bin("b", 4, &[7; 5000]));
    server.put("test", Seed::int(2).set("demo").bin_int("n", 1));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = start(1);
    to.with_namespace("test", |namespace| {
        (namespace.config.nsup_period, namespace.config.max_record_bytes) = (0, 4096);
    });
    refused(&Restore::of(&repo, id), &to, &["2 things"]);
    let outcome = Restore::of(&repo, id).options(|options| options.sets = vec!["demo".into()]).run(&to);
    assert_eq!((outcome.outcomes.inserted, outcome.outcomes.skipped), (1, 1));
}

#[test]
fn a_life_over_ten_years_is_said_before_or_counted() {
    let (server, _world, repo, id) = twenty();
    let to = start(1);
    let long = |restore: Restore<'_>| restore.how(|how| how.extra_ttl = Duration::from_secs(400_000_000)).error(&to);
    assert!(long(Restore::of(&repo, id)).contains("ten years"));
    let ignored = Restore::of(&repo, id).how(|how| {
        how.extra_ttl = Duration::from_secs(400_000_000);
        how.ignore_record_error = true;
    });
    let outcome = ignored.run(&to);
    assert_eq!((outcome.outcomes.inserted, outcome.outcomes.ignored, outcome.complete), (19, 1, true));
    assert!(outcome.notes.iter().any(|note| note.contains("ten years")), "{:?}", outcome.notes);
    let rest = Restore::of(&repo, id).overwrite(rekeep::connector::Overwrite::IfChanged).run(&to);
    assert_eq!((rest.outcomes.inserted, rest.outcomes.unchanged), (1, 19));
    assert_same(&server, &to);
}

#[test]
fn a_record_one_byte_over_the_limit_is_named_and_the_others_come() {
    let (_server, _world, repo, id) = twenty();
    let failed = |limit: usize| {
        let namespace = NamespaceConfig { max_record_bytes: limit, ..NamespaceConfig::named("test") };
        let to = Server::start(Config { namespaces: vec![namespace], ..Config::with_nodes(1) }).unwrap();
        // Before the first write only those are found that are over the limit by their bins alone.
        says(&to, "");
        let outcome = Restore::of(&repo, id).run(&to);
        let counts = outcome.outcomes;
        assert_eq!(counts.inserted + counts.failed, 20);
        assert!(counts.failures.iter().all(|(_, why)| why.contains("result 13")), "{:?}", counts.failures);
        assert_eq!((outcome.complete, to.count("test") as u64), (counts.failed == 0, counts.inserted));
        counts.failed
    };
    // The lowest limit that takes all of them.
    let (mut low, mut high) = (1_000, 2_000);
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if failed(middle) > 0 { low = middle } else { high = middle }
    }
    assert!(failed(high) == 0 && failed(high - 1) > 0, "{high}");
}
