//! What happens to records that the target holds, and which records come at all.

use crate::{
    cluster::{Restore, back_up, held, kept, start},
    support::World,
};
use rekeep::connector::Overwrite;
use rekeep_aerospike_server::{Handle, Seed};
use std::time::Duration;

/// Ten records of generation 5, and a target that holds three of them in other states, generations 3, 5 and 9.
fn with_three() -> (Handle, World, rekeep::repo::Repository, rekeep::repo::SnapshotId, Handle) {
    let server = start(1);
    server.put_all("test", (0..10).map(|n| Seed::int(n).set("s").generation(5).bin_int("n", n)));
    let (world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = start(1);
    for (n, generation) in [(0, 3), (1, 5), (2, 9)] {
        to.put("test", Seed::int(n).set("s").generation(generation).bin_int("n", -1).bin_int("more", 1));
    }
    (server, world, repo, id, to)
}

fn bins(server: &Handle, n: i64) -> Vec<(String, i64)> {
    let dumped = server.get("test", &Seed::int(n).set("s").digest()).unwrap();
    let number = |value: &[u8]| i64::from_be_bytes(value.try_into().unwrap());
    dumped.bins.iter().map(|(name, _, value)| (String::from_utf8(name.clone()).unwrap(), number(value))).collect()
}

fn bin(name: &str, value: i64) -> (String, i64) {
    (name.to_owned(), value)
}

#[test]
fn a_namespace_with_records_needs_a_word_on_them() {
    let (_server, _world, repo, id, to) = with_three();
    let before = to.dump("test");
    let error = Restore::of(&repo, id).error(&to);
    assert!(error.contains("test (at least 3)") && error.contains("nothing was written"), "{error}");
    assert_eq!(to.dump("test"), before);
}

#[test]
fn always_replaces_whole_records_and_never_leaves_them() {
    let (server, _world, repo, id, to) = with_three();
    let never = Restore::of(&repo, id).overwrite(Overwrite::Never).run(&to).outcomes;
    assert_eq!((never.inserted, never.existed, never.failed), (7, 3, 0));
    assert_eq!(bins(&to, 0), [bin("more", 1), bin("n", -1)]);
    let always = Restore::of(&repo, id).overwrite(Overwrite::Always).run(&to).outcomes;
    assert_eq!((always.inserted, always.replaced), (0, 10));
    assert_eq!(held(&to), held(&server));
}

#[test]
fn if_changed_writes_only_what_differs() {
    let (server, _world, repo, id, to) = with_three();
    let first = Restore::of(&repo, id).overwrite(Overwrite::IfChanged).run(&to).outcomes;
    assert_eq!((first.inserted, first.replaced, first.unchanged), (7, 3, 0));
    assert_eq!(held(&to), held(&server));
    let before = to.dump("test");
    let second = Restore::of(&repo, id).overwrite(Overwrite::IfChanged).run(&to).outcomes;
    assert_eq!((second.inserted, second.replaced, second.unchanged), (0, 0, 10));
    assert_eq!(to.dump("test"), before);
}

#[test]
fn if_newer_replaces_lower_generations_and_merge_leaves_other_bins() {
    let (_server, _world, repo, id, to) = with_three();
    let newer = Restore::of(&repo, id).overwrite(Overwrite::IfNewer).run(&to);
    assert_eq!((newer.outcomes.inserted, newer.outcomes.replaced, newer.outcomes.fresher), (7, 1, 2));
    assert!(newer.complete);
    assert_eq!((bins(&to, 0), bins(&to, 2)), (vec![bin("n", 0)], vec![bin("more", 1), bin("n", -1)]));
    let merged = Restore::of(&repo, id).overwrite(Overwrite::Merge).run(&to).outcomes;
    assert_eq!(merged.replaced, 10);
    assert_eq!(bins(&to, 2), [bin("more", 1), bin("n", 2)]);
}

#[test]
fn records_that_cannot_be_written_are_named_and_the_others_come() {
    let server = start(1);
    server.put_all("test", (0..20).map(|n| Seed::int(n).set("s").stores_key().bin_int("n", n)));
    server.put("test", Seed::int(50).set("s").bin("g", 23, b"\0\0\0no geometry"));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    for ignored in [false, true] {
        let to = start(1);
        // The same digest in another set, and under another stored key.
        to.put("test", Seed::int(0).digest_is(Seed::int(0).set("s").digest()).set("t").bin_int("n", 0));
        to.put("test", Seed::int(9).digest_is(Seed::int(1).set("s").digest()).set("s").stores_key().bin_int("n", 0));
        let restore = Restore::of(&repo, id).overwrite(Overwrite::Always).how(|how| how.ignore_record_error = ignored);
        let outcome = restore.run(&to);
        let counts = &outcome.outcomes;
        assert_eq!((counts.inserted, counts.failed + counts.ignored), (18, 3));
        assert_eq!((outcome.complete, counts.ignored > 0), (ignored, ignored));
        let reasons: Vec<&str> = counts.failures.iter().map(|(_, reason)| reason.as_str()).collect();
        for code in ["(result 4)", "(result 19)", "(result 160)"] {
            assert!(reasons.iter().any(|reason| reason.contains(code)), "{code}: {reasons:?}");
        }
    }
}

#[test]
fn sets_bins_and_partitions_choose() {
    let (server, _world, repo, id) = kept(1, 500, 3);
    let demo = server.dump("test").iter().filter(|dumped| dumped.set == b"demo").count();
    let to = start(1);
    let only = Restore::of(&repo, id).options(|options| options.sets = vec!["demo".into()]).run(&to);
    assert_eq!((only.outcomes.inserted as usize, only.outcomes.skipped as usize), (demo, 500 - demo));
    assert!(only.complete && to.dump("test").iter().all(|dumped| dumped.set == b"demo"));

    let to = start(1);
    let blobs = Restore::of(&repo, id).options(|options| options.bins = vec!["blob".into()]).run(&to);
    let with_blob = server.dump("test").iter().filter(|dumped| dumped.bin("blob").is_some()).count();
    assert_eq!((blobs.outcomes.inserted as usize, to.count("test")), (with_blob, with_blob));
    assert!(to.dump("test").iter().all(|dumped| dumped.bins.len() == 1));

    let to = start(1);
    Restore::of(&repo, id).options(|options| options.partitions = Some("0..=2047".into())).run(&to);
    let low = |dumped: &rekeep_aerospike_server::Dumped| rekeep_aerospike_server::partition_of(&dumped.digest) < 2048;
    assert_eq!(to.count("test"), server.dump("test").iter().filter(|dumped| low(dumped)).count());
}

#[test]
fn a_mapped_set_gets_new_digests_where_the_user_key_is_known() {
    let server = start(1);
    server.put_all("test", (0..5).map(|n| Seed::int(n).set("a").stores_key().bin_int("n", n)));
    server.put("test", Seed::int(7).set("a").bin_int("n", 7));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = start(1);
    let map = |how: &mut rekeep::connector::aerospike::AerospikeTargetOptions| {
        how.set_map = vec![("a".to_owned(), "b".to_owned())];
    };
    let error = Restore::of(&repo, id).how(map).error(&to);
    assert!(error.contains("1 records have no stored user key") && error.contains("nothing was written"), "{error}");
    let skipping = Restore::of(&repo, id).how(map).how(|how| how.skip_unmappable = true).run(&to);
    assert_eq!((skipping.outcomes.inserted, skipping.outcomes.unmappable, skipping.complete), (5, 1, false));
    for n in 0..5 {
        assert!(to.get("test", &Seed::int(n).set("b").digest()).is_some());
    }
}

#[test]
fn what_the_namespace_does_not_take_is_said_before_the_first_write() {
    let server = start(1);
    server.put("test", Seed::int(1).ttl(1000).bin_int("n", 1));
    server.put("test", Seed::int(2).bin("big", 4, &[1; 5000]));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let no_reaper = start(1);
    no_reaper.with_namespace("test", |namespace| namespace.config.nsup_period = 0);
    assert!(Restore::of(&repo, id).error(&no_reaper).contains("nsup-period"));
    let small = start(1);
    small.with_namespace("test", |namespace| namespace.config.max_record_bytes = 4096);
    assert!(Restore::of(&repo, id).error(&small).contains("max-record-size"));
    let long = Restore::of(&repo, id).how(|how| how.extra_ttl = Duration::from_secs(400_000_000));
    assert!(long.error(&start(1)).contains("ten years"));
    let stopped = start(1);
    stopped.set_info(None, "namespace", Some("objects=0;stop_writes=true;current_time=504921600"));
    assert!(Restore::of(&repo, id).error(&stopped).contains("stop_writes"));
    for server in [&no_reaper, &small, &stopped] {
        assert_eq!(server.count("test"), 0);
    }
}
