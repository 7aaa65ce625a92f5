//! Directed random schedules. What breaks a protocol takes few switches at the right moments: an actor falls asleep just
//! before it lists, creates or deletes something, others run to their end, it wakes. Here actors, moments and their order are
//! drawn; a run has about a dozen switches where one of [`random`](super::random) has hundreds.

use super::{
    actors::{self, Actor, Flaws, Place},
    adversary,
    random::{self, Run, Setting},
    rng::Rng,
    squashing::squash,
    storage::Broken,
    verbs,
};
use rekeep::repo::RepoError;
use std::sync::atomic::Ordering;

type Work = fn(&Actor, &mut Rng) -> Result<(), RepoError>;

/// Who plays, how often out of 100 in plain runs, and before which operations he may fall asleep.
struct Part {
    work: Work,
    share: u64,
    moments: &'static [&'static str],
}

/// Before a writer is sure of what it relies on, before each of its creates, and around its heartbeats.
const WRITING: &[&str] = &[
    "list-on trash/",
    "list index/",
    "list packs/",
    "list snapshots/",
    "create leases/",
    "create packs/",
    "create index/",
    "list trash/",
    "len snapshots/",
    "create snapshots/",
];
const READING: &[&str] = &["list index/", "list-on index/", "list snapshots/", "read packs/", "read packs/"];
const PRUNING: &[&str] = &[
    "list trash/",
    "list index/",
    "list-on index/",
    "list packs/",
    "list leases/",
    "list-on leases/",
    "list snapshots/",
    "create index/",
    "create trash/",
    "delete index/",
    "delete packs/",
    "delete trash/",
];

const PARTS: [Part; 7] = [
    Part { work: actors::write, share: 32, moments: WRITING },
    Part { work: actors::read, share: 5, moments: READING },
    Part { work: actors::read_without_lease, share: 5, moments: READING },
    Part { work: verbs::forget_one_by_one, share: 30, moments: &["create snapshots/"] },
    Part { work: verbs::tag_one, share: 5, moments: &["create snapshots/"] },
    Part { work: squash, share: 10, moments: WRITING },
    Part { work: actors::prune, share: 30, moments: PRUNING },
];

/// One schedule.
pub fn run(seed: u64, flaws: &Flaws, broken: Option<Broken>) -> Run {
    let Setting { place, watches: _watches, caches: _caches, rng } = random::begin(seed, flaws, broken);
    let mut play =
        Play { place: &place, rng, seed, asleep: Vec::new(), shares: PARTS.map(|part| part.share), hasty: 0 };
    // Runs differ in who is at work and in how often so much time passes that leases are given up.
    for share in &mut play.shares {
        if play.rng.chance(20) {
            *share *= 4;
        }
    }
    play.hasty = if play.rng.chance(50) { 12 } else { 2 };
    for _ in 0..12 + play.rng.below(24) {
        if place.sea.violation().is_some() {
            break;
        }
        play.act();
    }
    play.wake_all();
    random::end(&place);
    random::outcome(&place)
}

struct Play<'a> {
    place: &'a Place,
    rng: Rng,
    seed: u64,
    /// Who sleeps, and which part of [`PARTS`] he has.
    asleep: Vec<(usize, usize)>,
    shares: [u64; PARTS.len()],
    /// Of 100 acts, how many let half an hour pass.
    hasty: u64,
}

impl Play<'_> {
    fn act(&mut self) {
        let sea = &self.place.sea;
        match self.rng.below(100) {
            roll if roll < self.hasty => drop(sea.time.fetch_add(31 * 60_000, Ordering::SeqCst)),
            12..=15 => sea.land_one(),
            16 => sea.power_cut(),
            17..=18 => {
                if let Some((actor, _)) = self.asleep.pop() {
                    self.place.scheduler.kill(actor);
                }
            }
            19..=55 if !self.asleep.is_empty() => {
                let at = self.rng.below(self.asleep.len() as u64) as usize;
                let (actor, part) = self.asleep.swap_remove(at);
                self.go(actor, part);
            }
            _ => self.start(),
        }
    }

    /// Whoever sleeps goes on to his end; others come in between.
    fn wake_all(&mut self) {
        while !self.asleep.is_empty() && self.place.sea.violation().is_none() {
            let at = self.rng.below(self.asleep.len() as u64) as usize;
            let (actor, _) = self.asleep.swap_remove(at);
            self.place.scheduler.finish(actor);
            if self.rng.chance(50) {
                self.start();
            }
        }
    }

    fn start(&mut self) {
        if self.place.flaws.adversary && self.rng.chance(15) {
            let actor = self.place.start(self.rng.below(3), self.seed, adversary::forge);
            self.place.scheduler.finish(actor);
            return;
        }
        let mut roll = self.rng.below(self.shares.iter().sum());
        let mut part = 0;
        while roll >= self.shares[part] {
            roll -= self.shares[part];
            part += 1;
        }
        let actor = self.place.start(self.rng.below(3), self.seed, PARTS[part].work);
        self.go(actor, part);
    }

    /// To its end, or to some moment.
    fn go(&mut self, actor: usize, part: usize) {
        let scheduler = &self.place.scheduler;
        if self.asleep.len() > 1 || self.rng.chance(30) {
            scheduler.finish(actor);
            return;
        }
        let moment = self.rng.pick(PARTS[part].moments);
        for _ in 0..self.rng.below(3) {
            if scheduler.run_until(actor, moment) {
                scheduler.step(actor);
            }
        }
        if scheduler.run_until(actor, moment) {
            self.asleep.push((actor, part));
        }
    }
}
