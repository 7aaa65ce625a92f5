//! What time it is at each node, learned from what its answers say, and the time to live that follows.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::rows::NEVER;

/// Milliseconds by which a node's clock is ahead of ours: between these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ahead {
    least: i64,
    most: i64,
}

/// The nodes' clocks against one that no one sets.
#[derive(Debug)]
pub(super) struct NodeClocks {
    base: Instant,
    ahead: Mutex<BTreeMap<String, Ahead>>,
}

impl NodeClocks {
    pub(super) fn new() -> Self {
        Self { base: Instant::now(), ahead: Mutex::default() }
    }

    fn ahead(&self) -> MutexGuard<'_, BTreeMap<String, Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our own time, for [`Self::learn`].
    pub(super) fn ours(&self) -> i64 {
        self.base.elapsed().as_millis() as i64
    }

    /// A node said that it was this second since 2010, between two of our own times.
    pub(super) fn learn(&self, node: &str, second: i64, asked: i64, answered: i64) {
        let heard = Ahead { least: second * 1000 - answered, most: second * 1000 + 1000 - asked };
        let mut ahead = self.ahead();
        let Some(known) = ahead.get_mut(node) else {
            ahead.insert(node.to_owned(), heard);
            return;
        };
        let both = Ahead { least: known.least.max(heard.least), most: known.most.min(heard.most) };
        *known = if both.least <= both.most { both } else { heard };
    }

    /// The second since 2010 that it is at a node.
    pub(super) fn second(&self, node: &str) -> i64 {
        let ahead = self.ahead();
        // A node that joined is taken to agree with the others until it answers.
        let of = ahead.get(node).or_else(|| ahead.values().next());
        let millis = of.map_or(0, |ahead| ahead.least + (ahead.most - ahead.least) / 2);
        (self.ours() + millis).div_euclid(1000)
    }
}

/// What a write sends so that the record expires at this void-time; `None` if it is over.
pub(super) fn ttl(void_time: u32, now: i64) -> Option<u32> {
    if void_time == 0 {
        return Some(NEVER);
    }
    u32::try_from(i64::from(void_time) - now).ok().filter(|left| *left > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_narrow_a_clock_down_and_a_jump_starts_anew() {
        let clocks = NodeClocks::new();
        let known = |clocks: &NodeClocks| clocks.ahead()["a"];
        clocks.learn("a", 100, 0, 400);
        assert_eq!(known(&clocks), Ahead { least: 99_600, most: 101_000 });
        clocks.learn("a", 101, 600, 700);
        assert_eq!(known(&clocks), Ahead { least: 100_300, most: 101_000 });
        clocks.learn("a", 500, 800, 900);
        assert_eq!(known(&clocks), Ahead { least: 499_100, most: 500_200 });
        assert!((499..=501).contains(&clocks.second("a")));
        assert_eq!(clocks.second("a"), clocks.second("a node that joined"));
    }

    #[test]
    fn a_time_to_live_is_never_0() {
        assert_eq!(ttl(0, 50), Some(NEVER));
        assert_eq!(ttl(51, 50), Some(1));
        assert_eq!(ttl(50, 50), None);
        assert_eq!(ttl(u32::MAX, -5), None);
    }
}
