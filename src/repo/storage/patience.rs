//! How long an operation is tried again: waits that grow, drawn at random, for a time that depends on what it is for.

use std::time::{Duration, Instant};

/// How an operation is tried again where its failure may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// A few times within seconds: for what is near.
    Short,
    /// With waits that double up to half a minute, until this time is over: for what is far.
    Long(Duration),
}

/// What a request at a place that has answered before may take.
pub const STANDARD: Duration = Duration::from_mins(7);

/// What the first request at a place may take: a wrong address should be told soon.
pub(super) const FIRST_CONTACT: Duration = Duration::from_secs(20);

/// What a heartbeat may take.
pub(super) const HEARTBEAT: Duration = Duration::from_mins(1);

/// The waits between the attempts where patience is short.
const SHORT: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4)];

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The waits of one operation.
pub(super) struct Waits {
    patience: Patience,
    began: Instant,
    taken: u32,
    most: Duration,
}

impl Waits {
    /// `most` bounds a long patience further.
    pub fn new(patience: Patience, most: Duration) -> Self {
        Self { patience, began: Instant::now(), taken: 0, most }
    }

    /// Attempts so far, and for how long.
    pub fn so_far(&self) -> (u32, Duration) {
        (self.taken + 1, self.began.elapsed())
    }

    /// The next wait; `None` if it is time to give up.
    pub fn next(&mut self) -> Option<Duration> {
        let number = self.taken;
        self.taken += 1;
        match self.patience {
            Patience::Short => SHORT.get(number as usize).copied(),
            Patience::Long(budget) => {
                let bound = FIRST_WAIT.saturating_mul(1 << number.min(16)).min(LONGEST_WAIT);
                let wait = bound.mul_f64(fraction());
                (self.began.elapsed() + wait < budget.min(self.most)).then_some(wait)
            }
        }
    }
}

/// From 0 to 1: without it, everybody whom a server turned away comes back at the same time.
fn fraction() -> f64 {
    let mut random = [0; 4];
    // Without random numbers the waits are merely longer.
    if getrandom::fill(&mut random).is_err() {
        return 1.0;
    }
    f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_with_the_budget_and_never_grow_beyond_half_a_minute() {
        let mut waits = Waits::new(Patience::Long(STANDARD), STANDARD);
        for _ in 0..1000 {
            assert!(waits.next().is_none_or(|wait| wait <= LONGEST_WAIT));
        }
        assert_eq!(Waits::new(Patience::Long(Duration::ZERO), STANDARD).next(), None);
        assert_eq!(Waits::new(Patience::Long(STANDARD), Duration::ZERO).next(), None);
        let mut short = Waits::new(Patience::Short, Duration::ZERO);
        assert_eq!(std::iter::from_fn(|| short.next()).count(), SHORT.len());
    }
}
