//! Random histories: a restore to the time of any snapshot gives exactly the state of then, whoever writes beside it and
//! whatever node dies.

use crate::{
    cluster::{Restore, back_up, some_record},
    support::{Rng, World},
};
use rekeep_aerospike_server::{At, ClockMode, Command, Config, Control, Dumped, Fault, Handle, Seed, Server};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

/// The set that only bystanders write.
const BYSTANDERS: &str = "bystanders";

type State = BTreeMap<[u8; 20], Dumped>;

/// What stands in a namespace and is not over, as far as it comes back.
fn state(server: &Handle) -> State {
    let now = (server.now_ms() / 1000) as u32;
    let lives = |dumped: &Dumped| dumped.void_time == 0 || dumped.void_time > now;
    server.dump("test").into_iter().filter(lives).map(|d| (d.digest, crate::cluster::comparable(d))).collect()
}

#[track_caller]
fn assert_state(server: &Handle, expected: &State, what: &str) {
    let mut got = state(server);
    got.retain(|_, dumped| dumped.set != BYSTANDERS.as_bytes());
    let now = (server.now_ms() / 1000) as u32;
    let mut expected = expected.clone();
    // What ends about now may or may not be there.
    let ends_now = |dumped: &Dumped| dumped.void_time > 0 && dumped.void_time.abs_diff(now) <= 6;
    let unsure: Vec<_> = expected.iter().filter(|(_, dumped)| ends_now(dumped)).map(|(key, _)| *key).collect();
    for key in unsure {
        expected.remove(&key);
        got.remove(&key);
    }
    expected.retain(|_, dumped| dumped.void_time == 0 || dumped.void_time > now);
    let odd = got.iter().find(|(key, _)| !expected.contains_key(*key));
    assert!(odd.is_none(), "{what}: {odd:?} of {} and {}", got.len(), expected.len());
    for (key, expected) in expected {
        let mut got = got.remove(&key).unwrap_or_else(|| panic!("{what}: {expected:?} is gone"));
        assert!(got.void_time.abs_diff(expected.void_time) <= 2, "{what}: {expected:?} {got:?}");
        got.void_time = expected.void_time;
        if expected.key.is_none() {
            // A record that gets no key keeps the one it had.
            got.key = None;
        }
        assert_eq!(got, expected, "{what}");
    }
}

/// Some writes, deletions and expiries.
fn live_on(server: &Handle, rng: &mut Rng) {
    for _ in 0..150 {
        let n = rng.below(400);
        let mut seed = some_record(rng, n);
        if rng.below(8) == 0 {
            seed = seed.ttl(60 + rng.below(100) as u32);
        }
        if rng.below(4) == 0 {
            server.delete("test", &seed.digest());
        } else {
            server.put("test", seed);
        }
    }
    if rng.below(3) == 0 {
        server.reap("test");
    }
}

fn bystander(n: i64) -> Seed {
    Seed::int(n).set(BYSTANDERS).bin_int("n", n)
}

#[test]
fn every_state_comes_back_whoever_writes_beside_it_and_whatever_node_dies() {
    // More with REKEEP_TEST_STEPS.
    let seeds = std::env::var("REKEEP_TEST_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for seed in 81..81 + seeds {
        let mut rng = Rng::new(seed);
        let clock = ClockMode::Running(504_921_600_000);
        let server = Server::start(Config { clock, replication_factor: 2, ..Config::with_nodes(3) }).unwrap();
        let (_world, repo) = World::new();
        let mut states = Vec::new();
        for _ in 0..5 {
            server.advance(Duration::from_secs(1 + rng.below(60)));
            live_on(&server, &mut rng);
            server.advance(Duration::from_secs(20));
            states.push((back_up(&repo, &server), state(&server)));
        }
        let mut next = 1_000_000;
        for round in 0..6 {
            let (id, expected) = &states[rng.below(states.len() as u64) as usize];
            let what = format!("seed {seed}, round {round}");
            server.advance(Duration::from_secs(10));
            live_on(&server, &mut rng);
            server.advance(Duration::from_secs(5));
            let dies = rng.below(2) == 0;
            if dies {
                let dead = rng.below(3) as usize;
                let on = [Command::Batch, Command::Query][rng.below(2) as usize];
                let fault = Fault::run(At::Records(3), move |control| control.kill_node(dead)).on(on).node(dead);
                server.fault(fault.after_requests(rng.below(3)));
            }
            let stop = AtomicBool::new(false);
            let first = next;
            // The restore reads clocks before all else: what is written after that is younger than it.
            let began = Arc::new(AtomicI64::new(0));
            let tell = Arc::clone(&began);
            let read = move |control: &Control| tell.store(control.now_ms(), Ordering::SeqCst);
            server.fault(Fault::run(At::End, read).on(Command::Read).always());
            let outcome = std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let mut written = Vec::new();
                    while !stop.load(Ordering::Relaxed) && written.len() < 300 {
                        let n = first + written.len() as i64;
                        written.push((n, server.now_ms()));
                        server.put("test", bystander(n));
                        std::thread::sleep(Duration::from_micros(500));
                    }
                    written
                });
                let outcome = Restore::of(&repo, *id).make_equal().run(&server);
                stop.store(true, Ordering::Relaxed);
                (outcome, writer.join().unwrap())
            });
            let (outcome, written) = outcome;
            next += written.len() as i64;
            server.clear_faults();
            assert_eq!(outcome.outcomes.failed, 0, "{what}: {:?}", outcome.outcomes.failures);
            for (n, _) in written.into_iter().filter(|(_, at)| *at > began.load(Ordering::SeqCst)) {
                assert!(server.get("test", &bystander(n).digest()).is_some(), "{what}: a bystander's record is gone");
            }
            if outcome.missing.is_empty() {
                assert_state(&server, expected, &what);
            } else {
                assert!(dies && !outcome.complete, "{what}: {:?}", outcome.missing);
            }
            // Alone it comes to the end, and what was written beside it is older than it now.
            for node in 0..3 {
                // One that lives already stays.
                let _ = server.revive_node(node);
            }
            server.advance(Duration::from_secs(5));
            let outcome = Restore::of(&repo, *id).make_equal().run(&server);
            assert!(outcome.complete, "{what}: {:?} {:?}", outcome.missing, outcome.outcomes);
            assert_state(&server, expected, &what);
            assert!((first..next).all(|n| server.get("test", &bystander(n).digest()).is_none()), "{what}");
        }
    }
}
