//! Restores that are stopped on their way go on where they stopped, and the result is the same.

use crate::{
    cluster::{Restore, assert_same, back_up, held, start, url},
    support::{Heard, Rng, World, world::snapshot},
};
use rekeep::{
    connector::{Overwrite, aerospike::AerospikeTarget},
    ops::{
        OpsError,
        restore::{RestoreOutcome, restore},
    },
    repo::{Repository, SnapshotId},
};
use rekeep_aerospike_server::{Action, At, Command, Fault, Handle, Seed};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// A cluster with so many records of about 2 KiB: a batch of the feed holds some 500.
fn large(count: u64, seed: u64) -> (Handle, World, Repository, SnapshotId) {
    let server = start(1);
    let mut rng = Rng::new(seed);
    server.put_all("test", (0..count).map(|n| some_large(&mut rng, n)));
    let (world, repo) = World::new();
    let id = back_up(&repo, &server);
    (server, world, repo, id)
}

fn some_large(rng: &mut Rng, n: u64) -> Seed {
    let seed = Seed::int(n as i64).set(["demo", "other"][rng.below(2) as usize]).bin("blob", 4, &rng.bytes(2000));
    if rng.below(3) == 0 { seed.ttl(50_000) } else { seed }
}

/// A restore that keeps its progress after every batch.
fn careful(repo: &Repository, id: SnapshotId) -> Restore<'_> {
    let mut restore = Restore::of(repo, id).how(|how| how.batch_size = 50);
    restore.what.progress_every = Some(Duration::ZERO);
    restore
}

fn attempt(what: &Restore<'_>, server: &Handle, heard: &Heard) -> Result<RestoreOutcome, OpsError> {
    let target = AerospikeTarget::new(&url(server), what.options.clone(), what.how.clone())?;
    restore(what.repo, &snapshot(what.repo, what.id), &target, &what.what, heard)
}

/// Stops after about so many records.
fn stopped_after(what: &Restore<'_>, server: &Handle, records: u64) -> Heard {
    let heard = Heard::default();
    heard.cancel_after.store(records, Ordering::Relaxed);
    let error = attempt(what, server, &heard).unwrap_err();
    assert!(error.is_interruption(), "{error}");
    heard
}

#[test]
fn stopped_anywhere_and_taken_up_again_the_result_is_the_same() {
    let (server, _world, repo, id) = large(4_000, 51);
    let policies = [None, Some(Overwrite::Always), Some(Overwrite::IfNewer), Some(Overwrite::Merge)];
    let mut all_stops = 0;
    for (round, policy) in policies.into_iter().chain([Some(Overwrite::IfChanged)]).enumerate() {
        let mut rng = Rng::new(510 + round as u64);
        let to = start(1 + round % 2);
        let mut what = careful(&repo, id);
        what.what.overwrite = policy;
        let mut stops = 0;
        let outcome = loop {
            let heard = Arc::new(Heard::default());
            to.clear_faults();
            if stops < 4 {
                let requests = rng.below(25);
                match rng.below(3) {
                    0 => heard.cancel_after.store(1 + rng.below(3_000), Ordering::Relaxed),
                    1 => {
                        let heard = Arc::clone(&heard);
                        let cancel = move |_: &_| heard.cancel.store(true, Ordering::Relaxed);
                        to.fault(
                            Fault::run(At::Records(rng.below(50)), cancel).on(Command::Batch).after_requests(requests),
                        );
                    }
                    _ => {
                        let heard = Arc::clone(&heard);
                        let cancel = move |_: &_| heard.cancel.store(true, Ordering::Relaxed);
                        to.fault(
                            Fault::new(At::Records(20), Action::Cut)
                                .on(Command::Batch)
                                .after_requests(requests)
                                .always(),
                        );
                        to.fault(Fault::run(At::Start, cancel).on(Command::Batch).after_requests(requests + 3));
                    }
                }
            }
            match attempt(&what, &to, &heard) {
                Ok(outcome) => break outcome,
                Err(error) => assert!(error.is_interruption(), "{error}"),
            }
            stops += 1;
            assert!(stops < 50, "it never ends");
        };
        let counts = &outcome.outcomes;
        let all = counts.inserted + counts.replaced + counts.existed + counts.fresher + counts.unchanged;
        assert_eq!((all, counts.failed, outcome.records), (4_000, 0, 4_000), "{policy:?}: {counts:?}");
        assert!(outcome.complete && (stops == 0 || outcome.resumed > 0 || policy == Some(Overwrite::IfChanged)));
        assert_same(&server, &to);
        all_stops += stops;
    }
    assert!(all_stops >= 8, "{all_stops} stops");
}

#[test]
fn a_repeat_goes_on_behind_what_is_done_and_writes_nothing_of_it_again() {
    let (server, _world, repo, id) = large(3_000, 52);
    let to = start(1);
    let heard = stopped_after(&careful(&repo, id), &to, 1_000);
    assert!(heard.warnings().contains("the same command goes on behind it"), "{}", heard.warnings());
    let done = to.dump("test");
    assert!(done.len() >= 500 && done.len() < 3_000, "{}", done.len());
    to.advance(Duration::from_mins(1));
    let outcome = careful(&repo, id).run(&to);
    assert_eq!((outcome.outcomes.inserted, outcome.outcomes.existed), (3_000, 0));
    assert_eq!(outcome.resumed, done.len() as u64);
    // Nothing was touched: neither generation nor last update.
    assert!(done.iter().all(|before| to.get("test", &before.digest).as_ref() == Some(before)));
    to.set_now_ms(server.now_ms());
    assert_same(&server, &to);
    // It is done: from now on a repeat is a restore like any other.
    let again = careful(&repo, id).error(&to);
    assert!(again.contains("test (at least 3000)"), "{again}");
}

#[test]
fn what_is_gone_from_the_target_is_written_again() {
    let (server, _world, repo, id) = large(3_000, 53);
    for (round, empties) in [true, false].into_iter().enumerate() {
        let to = start(1);
        stopped_after(&careful(&repo, id), &to, 1_500);
        let first = to.dump("test")[round].digest;
        if empties {
            to.truncate("test", None);
        } else {
            to.delete("test", &first);
        }
        let heard = Heard::default();
        let outcome = attempt(&careful(&repo, id), &to, &heard).unwrap();
        assert!(heard.warnings().contains("begins anew"), "{}", heard.warnings());
        assert_eq!((outcome.resumed, outcome.outcomes.inserted + outcome.outcomes.existed), (0, 3_000));
        assert_same(&server, &to);
    }
}

#[test]
fn what_expired_since_is_no_reason_to_begin_anew() {
    let (_server, _world, repo, id) = large(3_000, 54);
    let to = start(1);
    stopped_after(&careful(&repo, id), &to, 1_500);
    to.advance(Duration::from_mins(1_000));
    to.reap("test");
    let outcome = careful(&repo, id).run(&to);
    assert!(outcome.resumed > 0 && outcome.complete);
    let counts = &outcome.outcomes;
    assert_eq!(counts.inserted + counts.expired, 3_000);
    assert!(counts.expired > 0 && to.dump("test").iter().all(|dumped| dumped.void_time == 0));
}

#[test]
fn another_restore_an_old_one_and_no_resume_begin_anew() {
    let (_server, world, repo, id) = large(3_000, 55);
    let to = start(1);
    stopped_after(&careful(&repo, id), &to, 1_500);
    let sets = |what: Restore<'_>| what.options(|options| options.sets = vec!["demo".into()]).error(&to);
    assert!(sets(careful(&repo, id)).contains("already holds records"));
    let mut anew = careful(&repo, id);
    anew.what.no_resume = true;
    assert!(anew.error(&to).contains("already holds records"));
    let always = anew.overwrite(Overwrite::Always);
    stopped_after(&always, &to, 1_500);
    assert_eq!(always.run(&to).resumed, 0);
    world.clock.advance(25 * 60 * 60 * 1000);
    assert!(careful(&repo, id).error(&to).contains("already holds records"));
}

#[test]
fn a_spoilt_note_counts_as_none() {
    let (_server, _world, repo, id) = large(1_500, 56);
    for spoilt in ["", "{}", "{\"format\":2}", "[1]", "\u{fffd}"] {
        let to = start(1);
        stopped_after(&careful(&repo, id), &to, 600);
        let notes = repo.notes("restore:").unwrap();
        let [(name, _)] = notes.as_slice() else { panic!("{notes:?}") };
        repo.set_note(name, spoilt).unwrap();
        assert!(careful(&repo, id).error(&to).contains("already holds records"), "{spoilt}");
        assert_eq!(repo.notes("restore:").unwrap(), []);
    }
}

#[test]
fn a_stop_is_heard_while_a_node_is_silent() {
    let (server, _world, repo, id) = large(2_000, 57);
    let to = start(1);
    let heard = Arc::new(Heard::default());
    let cancel = {
        let heard = Arc::clone(&heard);
        move |_: &_| heard.cancel.store(true, Ordering::Relaxed)
    };
    to.fault(Fault::run(At::Records(10), cancel).on(Command::Batch).after_requests(12));
    to.fault(Fault::new(At::Records(10), Action::Silence).on(Command::Batch).after_requests(12).always());
    // Whoever waits for an answer waits an hour.
    let what = careful(&repo, id).options(|options| options.socket_timeout = Duration::from_hours(1));
    let error = attempt(&what, &to, &heard).unwrap_err();
    assert!(error.is_interruption(), "{error}");
    to.clear_faults();
    to.release();
    let outcome = what.run(&to);
    assert_eq!(outcome.outcomes.inserted + outcome.outcomes.existed, 2_000);
    assert_same(&server, &to);
}

#[test]
fn a_stop_is_heard_while_space_is_awaited() {
    let (server, _world, repo, id) = large(2_000, 58);
    let to = start(1);
    let heard = Arc::new(Heard::default());
    let cancel = {
        let heard = Arc::clone(&heard);
        move |_: &_| heard.cancel.store(true, Ordering::Relaxed)
    };
    to.fault(Fault::new(At::Start, Action::Refuse(8)).on(Command::Batch).after_requests(12).always());
    to.fault(Fault::run(At::Start, cancel).on(Command::Batch).after_requests(40));
    let what = careful(&repo, id).options(|options| options.partition_timeout = Duration::from_hours(1));
    let error = attempt(&what, &to, &heard).unwrap_err();
    assert!(error.is_interruption(), "{error}");
    to.clear_faults();
    let outcome = what.run(&to);
    // What was written behind the last place that was kept is found there.
    assert_eq!(outcome.outcomes.inserted + outcome.outcomes.existed, 2_000);
    assert!(outcome.complete);
    assert_same(&server, &to);
}

#[test]
fn out_of_space_stops_with_what_to_do_and_a_repeat_goes_on() {
    let (server, _world, repo, id) = large(2_000, 59);
    let to = start(1);
    to.fault(Fault::new(At::Start, Action::Refuse(8)).on(Command::Batch).after_requests(30).always());
    let what = careful(&repo, id).options(|options| options.partition_timeout = Duration::from_millis(300));
    let error = what.error(&to);
    assert!(error.contains("make room") && error.contains("goes on"), "{error}");
    let before = held(&to).len() as u64;
    assert!(before > 0 && before < 2_000);
    to.clear_faults();
    let outcome = what.run(&to);
    assert!(outcome.resumed > 0 && outcome.complete);
    assert_eq!(outcome.outcomes.inserted + outcome.outcomes.existed, 2_000);
    assert_same(&server, &to);
}

#[test]
fn a_stop_is_heard_while_the_target_is_compared() {
    let (server, _world, repo, id) = large(1_500, 60);
    let to = start(1);
    to.put_all("test", (0..50).map(|n| Seed::int(n + 100_000).bin_int("n", n)));
    to.advance(Duration::from_secs(5));
    for what in [careful(&repo, id).overwrite(Overwrite::IfChanged), careful(&repo, id).make_equal()] {
        let heard = Arc::new(Heard::default());
        let cancel = {
            let heard = Arc::clone(&heard);
            move |_: &_| heard.cancel.store(true, Ordering::Relaxed)
        };
        let what = what.options(|options| options.socket_timeout = Duration::from_hours(1));
        // The first query may be the one that finds a record to read the clock from.
        to.fault(Fault::run(At::End, cancel).on(Command::Query).after_requests(3));
        to.fault(Fault::new(At::End, Action::Silence).on(Command::Query).after_requests(3).always());
        let error = attempt(&what, &to, &heard).unwrap_err();
        assert!(error.is_interruption(), "{error}");
        to.clear_faults();
        to.release();
        assert!(what.run(&to).complete);
    }
    assert_same(&server, &to);
}

#[test]
fn a_restore_of_another_snapshot_that_was_stopped_is_named() {
    let (server, _world, repo, id) = large(1_500, 62);
    server.put("test", Seed::int(1_000_000).bin_int("n", 1));
    let later = back_up(&repo, &server);
    let to = start(1);
    stopped_after(&careful(&repo, id), &to, 600);
    let error = careful(&repo, later).error(&to);
    assert!(error.contains(&format!("snapshot {} into it was stopped", id.short())), "{error}");
    assert!(careful(&repo, id).run(&to).resumed > 0);
}
