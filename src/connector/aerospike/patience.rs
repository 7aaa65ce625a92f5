//! What a run waits for, and since when. All that read or write share it, so that what stands in the way is waited for once
//! and not by each of them one after the other.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A wait is told of once it is this long.
const WORTH_TELLING: Duration = Duration::from_secs(3);

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Obstacle {
    /// A node gives no answer, or no good one.
    Node(String),
    /// A node says that it has not the partitions that it masters.
    Unavailable(String),
    /// Nobody masters partitions.
    NoMaster,
    /// The cluster is not whole.
    Whole,
    /// Records cannot be written.
    Writing,
}

impl Obstacle {
    fn in_words(&self) -> String {
        match self {
            Self::Node(id) => format!("node {id}"),
            Self::Unavailable(id) => format!("unavailable partitions of node {id}"),
            Self::NoMaster => "partitions that no node masters".to_owned(),
            Self::Writing => "the target to take records".to_owned(),
            Self::Whole => "the cluster to be whole again".to_owned(),
        }
    }
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    reason: String,
}

/// The waits of a run.
#[derive(Debug)]
pub(super) struct Patience {
    timeout: Duration,
    waits: Mutex<BTreeMap<Obstacle, Wait>>,
}

impl Patience {
    /// For one that waits so long for each obstacle.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, waits: Mutex::default() }
    }

    fn waits(&self) -> MutexGuard<'_, BTreeMap<Obstacle, Wait>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A try came to nothing.
    pub(super) fn met(&self, obstacle: Obstacle, reason: &str) {
        let mut waits = self.waits();
        let wait = waits.entry(obstacle).or_insert_with(|| Wait { since: Instant::now(), reason: String::new() });
        reason.clone_into(&mut wait.reason);
    }

    /// It stands in the way no longer.
    pub(super) fn passed(&self, obstacle: &Obstacle) {
        self.waits().remove(obstacle);
    }

    /// Whether it was waited for long enough.
    pub(super) fn is_over(&self, obstacle: &Obstacle) -> bool {
        self.waits().get(obstacle).is_some_and(|wait| wait.since.elapsed() >= self.timeout)
    }

    /// Whether a node was waited for long enough.
    pub(super) fn has_given_up(&self, node: &str) -> bool {
        self.given_up(node).is_some()
    }

    /// Why a node is not waited for any longer, if so.
    pub(super) fn given_up(&self, node: &str) -> Option<String> {
        let waits = self.waits();
        let wait = waits.get(&Obstacle::Node(node.to_owned()));
        wait.filter(|wait| wait.since.elapsed() >= self.timeout).map(|wait| wait.reason.clone())
    }

    /// Whether some node was waited for long enough.
    pub(super) fn has_given_up_any(&self) -> bool {
        let is_over = |(obstacle, wait): (&Obstacle, &Wait)| {
            matches!(obstacle, Obstacle::Node(_)) && wait.since.elapsed() >= self.timeout
        };
        self.waits().iter().any(is_over)
    }

    /// The cluster is waited for: these nodes are missing, or this is wrong with it.
    pub(super) fn wait_for_return(&self, lost: &str, wrong: Option<&str>) {
        self.met(Obstacle::Whole, wrong.unwrap_or(lost));
    }

    /// All is tried again.
    pub(super) fn begin_anew(&self) {
        self.waits().clear();
    }

    /// How long something may make no progress.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What is waited for, if that takes a while.
    pub(super) fn in_words(&self) -> Option<String> {
        let waits = self.waits();
        let long = |wait: &Wait| wait.since.elapsed() >= WORTH_TELLING && wait.since.elapsed() < self.timeout;
        let told: Vec<String> = waits
            .iter()
            .filter(|(_, wait)| long(wait))
            .map(|(obstacle, wait)| format!("{} ({})", obstacle.in_words(), wait.reason))
            .collect();
        (!told.is_empty()).then(|| format!("waiting for {}, {} s at most", told.join("; "), self.timeout.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_for_long_enough_is_not_waited_for_again_until_it_passes() {
        let patience = Patience::new(Duration::ZERO);
        let node = Obstacle::Node("a".to_owned());
        assert!(!patience.is_over(&node));
        patience.met(node.clone(), "silent");
        assert!(patience.has_given_up("a") && patience.has_given_up_any() && !patience.has_given_up("b"));
        patience.passed(&node);
        assert!(!patience.has_given_up("a"));
        let long = Patience::new(Duration::from_hours(1));
        long.met(node, "silent");
        assert!(!long.has_given_up("a"));
        assert_eq!(long.in_words(), None, "nothing to speak of yet");
    }
}
