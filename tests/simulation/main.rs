//! A deterministic simulation of writers, readers, pruners, those who squash, tag and forget, and crashes, over the real code of
//! the repository room. Time, randomness and the schedule depend on a seed alone.
//!
//! `REKEEP_SIM_SEED=N` replays one seed and prints what happened; `REKEEP_SIM_SEEDS=N` runs so many (a soak:
//! 100000); `REKEEP_SIM_FIRST=N` begins there.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod actors;
mod adversary;
mod checker;
mod parity_schedules;
mod random;
mod replica_schedules;
mod scheduler;
mod schedules;
mod squash_schedules;
mod squashing;
mod stage;
mod staged;
mod storage;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "other tests use the rest")]
mod support;
mod verbs;

use actors::Flaws;
use rekeep::repo::faults::Rule;
use storage::Broken;
use support::rng::{self, from_env};

/// Most seeds run without the last look before a commit, which would hide what the rules let through; in a third of them
/// somebody without a key creates what he likes.
fn usual(seed: u64) -> Flaws {
    let rules = if seed.is_multiple_of(4) { vec![] } else { vec![Rule::LastLook] };
    Flaws { rules, adversary: seed.is_multiple_of(3), ..Flaws::default() }
}

#[test]
fn no_schedule_loses_anything() {
    if let Some(seed) = std::env::var("REKEEP_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let run = random::run(seed, &usual(seed), None);
        run.log.iter().for_each(|line| println!("{line}"));
        assert_eq!(run.violation, None);
        return;
    }
    let first = from_env("REKEEP_SIM_FIRST", 0);
    for seed in first..first + from_env("REKEEP_SIM_SEEDS", 300) {
        if let Some(violation) = random::run(seed, &usual(seed), None).violation {
            panic!("REKEEP_SIM_SEED={seed}: {violation}");
        }
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in [3, 4] {
        let (one, two) = (random::run(seed, &usual(seed), None), random::run(seed, &usual(seed), None));
        assert!(one.log.len() > 100, "{}", one.log.len());
        let differs = one.log.iter().zip(&two.log).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| (&one.log[at], &two.log[at])), None);
        assert_eq!(one.log.len(), two.log.len());
    }
}

/// The first seed under which something is lost.
fn noticed(flaws: &Flaws, broken: Option<Broken>) -> Option<u64> {
    (0..from_env("REKEEP_SIM_SEEDS", 300)).find(|&seed| random::run(seed, flaws, broken).violation.is_some())
}

/// These are missed by random schedules within the seeds of a usual run. The other rules each have a named schedule that fails
/// without them; random ones meet those in one of hundreds of seeds or fewer, so they are for soaks: whether a run notices
/// them within its seeds is not asserted.
#[test]
fn random_schedules_notice_rules_that_are_broken() {
    let sets: [&[Rule]; 4] =
        [&[Rule::IndexBeforeCommit], &[Rule::MarkedIsNoHome], &[Rule::NewIndexFirst], &[Rule::VoidsStay]];
    let ruled = |rules: &[Rule]| Flaws { rules: rules.to_vec(), ..Flaws::default() };
    let mut all: Vec<(String, Flaws, Option<Broken>)> =
        sets.map(|rules| (format!("{rules:?}"), ruled(rules), None)).to_vec();
    let believed = Flaws { adversary: true, ..ruled(&[Rule::AuthorsAreChecked]) };
    all.push(("somebody without a key is believed".to_owned(), believed, None));
    all.push(("conditional create".to_owned(), Flaws::default(), Some(Broken::ConditionalCreate)));
    all.push(("fsync".to_owned(), Flaws::default(), Some(Broken::Fsync)));
    let mut unnoticed = Vec::new();
    for (name, flaws, broken) in all {
        let seed = noticed(&flaws, broken);
        println!("{name}: {seed:?}");
        if seed.is_none() {
            unnoticed.push(name);
        }
    }
    assert_eq!(unnoticed, Vec::<String>::new());
}
