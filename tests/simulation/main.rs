//! A deterministic simulation of writers, readers, pruners, those who tag and forget, and crashes, over the real code of
//! the repository room. Time, randomness and the schedule depend on a seed alone.
//!
//! `REKEEP_SIM_SEED=N` replays one seed and prints what happened; `REKEEP_SIM_SEEDS=N` runs so many (a soak:
//! 100000); `REKEEP_SIM_FIRST=N` begins there.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod actors;
mod checker;
mod random;
#[path = "../support/rng.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod rng;
mod scheduler;
mod schedules;
mod storage;

use actors::Flaws;
use rng::from_env;

#[test]
fn no_schedule_loses_anything() {
    if let Some(seed) = std::env::var("REKEEP_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let run = random::run(seed, &Flaws::default(), None);
        run.log.iter().for_each(|line| println!("{line}"));
        assert_eq!(run.violation, None);
        return;
    }
    let first = from_env("REKEEP_SIM_FIRST", 0);
    for seed in first..first + from_env("REKEEP_SIM_SEEDS", 300) {
        if let Some(violation) = random::run(seed, &Flaws::default(), None).violation {
            panic!("REKEEP_SIM_SEED={seed}: {violation}");
        }
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in [3, 4] {
        let (one, two) = (random::run(seed, &Flaws::default(), None), random::run(seed, &Flaws::default(), None));
        assert!(one.log.len() > 100, "{}", one.log.len());
        let differs = one.log.iter().zip(&two.log).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| (&one.log[at], &two.log[at])), None);
        assert_eq!(one.log.len(), two.log.len());
    }
}
