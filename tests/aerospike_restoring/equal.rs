//! `--make-equal`: exactly the state that was kept, and nothing of what others write meanwhile.

use crate::{
    cluster::{Restore, assert_same, back_up, back_up_part, kept, some_record, start},
    support::{Rng, World},
};
use rekeep_aerospike_server::{At, Command, Fault, Seed};
use std::time::Duration;

#[test]
fn a_namespace_becomes_what_it_was_at_each_snapshot() {
    let server = start(2);
    let (_world, repo) = World::new();
    let mut rng = Rng::new(21);
    let mut states = Vec::new();
    for round in 0..4u64 {
        server.advance(Duration::from_secs(10));
        for _ in 0..200 {
            let n = rng.below(400);
            let seed = some_record(&mut rng, n);
            if rng.below(3) == 0 {
                server.delete("test", &seed.digest());
            } else {
                server.put("test", seed);
            }
        }
        states.push((round, back_up(&repo, &server), server.dump("test")));
    }
    for (round, id, state) in states.iter().rev().chain(&states) {
        server.advance(Duration::from_secs(10));
        let outcome = Restore::of(&repo, *id).make_equal().run(&server);
        assert!(outcome.complete, "round {round}: {:?}", outcome.outcomes.failures);
        let strip = |dumped: &rekeep_aerospike_server::Dumped| (dumped.digest, dumped.set.clone(), dumped.bins.clone());
        let got: Vec<_> = server.dump("test").iter().map(strip).collect();
        assert_eq!(got, state.iter().map(strip).collect::<Vec<_>>(), "round {round}");
    }
}

#[test]
fn what_is_written_while_it_runs_is_not_removed() {
    let (server, _world, repo, id) = kept(1, 200, 22);
    let extra = |n: i64| Seed::int(n).set("extra").bin_int("n", n);
    server.put_all("test", (10_000..10_050).map(extra));
    server.advance(Duration::from_mins(1));
    let touched = extra(10_007).digest();
    let new = extra(20_000);
    let new_digest = new.digest();
    server.fault(
        Fault::run(At::Start, move |control| {
            control.advance(Duration::from_secs(1));
            control.touch("test", &touched);
            control.put("test", new.clone());
        })
        .on(Command::Batch),
    );
    let outcome = Restore::of(&repo, id).make_equal().run(&server);
    assert_eq!((outcome.outcomes.removed, outcome.outcomes.changed, outcome.complete), (49, 1, false));
    assert!(server.get("test", &touched).is_some() && server.get("test", &new_digest).is_some());
    assert_eq!(server.count("test"), 202);
}

#[test]
fn a_dry_run_counts_both_sides_and_writes_nothing() {
    let (server, _world, repo, id) = kept(1, 100, 23);
    server.put_all("test", (10_000..10_007).map(|n| Seed::int(n).bin_int("n", n)));
    let first = server.dump("test")[0].clone();
    let first_is_kept =
        first.bins.iter().all(|(name, _, value)| name != b"n" || value[..] < 10_000i64.to_be_bytes()[..]);
    server.delete("test", &first.digest);
    let before = server.dump("test");
    let mut restore = Restore::of(&repo, id).make_equal();
    restore.what.dry_run = true;
    let counts = restore.run(&server).outcomes;
    let gone = u64::from(first_is_kept);
    assert_eq!((counts.removed, counts.inserted, counts.unchanged), (7 - (1 - gone), gone, 100 - gone));
    assert_eq!(server.dump("test"), before);
}

#[test]
fn cut_answers_do_not_stop_removals() {
    let (server, _world, repo, id) = kept(1, 100, 24);
    let to = start(1);
    to.put_all("test", (0..700).map(|n| Seed::int(n).set("extra").bin_int("n", n)));
    to.advance(Duration::from_secs(5));
    to.fault(Fault::new(At::Records(30), rekeep_aerospike_server::Action::Cut).on(Command::Batch).times(4));
    let outcome = Restore::of(&repo, id).make_equal().run(&to);
    assert_eq!((outcome.outcomes.removed, outcome.complete), (700, true));
    to.set_now_ms(server.now_ms());
    assert_same(&server, &to);
}

#[test]
fn a_record_whose_time_is_over_leaves_nothing_of_what_came_after_it() {
    let server = start(1);
    server.put("test", Seed::int(1).ttl(100).bin_int("n", 1));
    server.put("test", Seed::int(2).ttl(10_000).bin_int("n", 1));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    server.advance(Duration::from_secs(200));
    server.put("test", Seed::int(1).bin_int("n", 2));
    server.put("test", Seed::int(2).bin_int("n", 2));
    server.advance(Duration::from_secs(10));
    let outcome = Restore::of(&repo, id).make_equal().run(&server);
    let counts = &outcome.outcomes;
    assert_eq!((counts.expired, counts.removed, counts.replaced, outcome.complete), (1, 1, 1, true));
    assert!(server.get("test", &Seed::int(1).digest()).is_none());
    assert_eq!(server.get("test", &Seed::int(2).digest()).unwrap().bins[0].2[7], 1);
}

#[test]
fn what_a_scope_left_out_is_never_touched() {
    let server = start(1);
    let at = |set: &str, n: i64| Seed::int(n).set(set).bin_int("n", n);
    server.put_all("test", (0..40).flat_map(|n| [at("a", n), at("b", 100 + n)]));
    let (_world, repo) = World::new();
    let id = back_up_part(&repo, &server, |options| options.sets = vec!["a".into()]);
    server.advance(Duration::from_mins(1));
    // Of either set one more, one fewer and one changed.
    for (set, first) in [("a", 0), ("b", 100)] {
        server.put("test", at(set, first + 1000));
        server.delete("test", &at(set, first).digest());
        server.put("test", Seed::int(first + 1).set(set).bin_int("n", -1));
    }
    let others = || -> Vec<_> { server.dump("test").into_iter().filter(|dumped| dumped.set == b"b").collect() };
    let before = others();
    server.advance(Duration::from_mins(1));
    for forced in [true, false] {
        let mut restore = Restore::of(&repo, id).make_equal();
        (restore.what.force, restore.what.verify) = (forced, true);
        let outcome = restore.run(&server);
        assert!(outcome.complete, "{outcome:?}");
        assert_eq!(outcome.different, 0);
        assert_eq!(others(), before);
        assert_eq!(server.dump("test").iter().filter(|dumped| dumped.set == b"a").count(), 40);
        // The other set is none of this snapshot's business, though it was asked for.
        let outcome =
            Restore::of(&repo, id).options(|options| options.sets = vec!["b".into()]).make_equal().run(&server);
        assert_eq!((outcome.outcomes.removed, others()), (0, before.clone()));
    }
}

#[test]
fn where_no_record_tells_what_was_left_out_nothing_is_made_equal() {
    let server = start(1);
    server.put_all("test", (0..20).map(|n| Seed::int(n).set("a").bin_int("n", n)));
    let (_world, repo) = World::new();
    let id = back_up_part(&repo, &server, |options| options.no_ttl_only = true);
    server.put("test", Seed::int(100).set("a").bin_int("n", 100));
    let before = server.dump("test");
    let mut restore = Restore::of(&repo, id).make_equal();
    restore.what.force = true;
    assert!(restore.error(&server).contains("no-ttl-only"));
    assert_eq!(server.dump("test"), before);
}
