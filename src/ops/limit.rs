//! Holding a rate in bytes per second.

use crate::record::pause;
use std::time::{Duration, Instant};

/// Sleeps so that on average no more than a rate is spent.
#[derive(Debug)]
pub struct Throttle {
    rate: Option<u64>,
    since: Instant,
    spent: u64,
}

impl Throttle {
    /// A throttle at `rate` bytes per second; none without one.
    #[must_use]
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|&rate| rate > 0), since: Instant::now(), spent: 0 }
    }

    /// Accounts for bytes, and sleeps until they are due.
    pub fn spend(&mut self, bytes: u64) {
        std::thread::sleep(self.wait_after(bytes));
    }

    /// As [`Self::spend`], but no longer than until `stop` says so; gives whether they are due.
    pub fn spend_unless(&mut self, bytes: u64, stop: &dyn Fn() -> bool) -> bool {
        pause(self.wait_after(bytes), stop)
    }

    /// Accounts for bytes, and says how long to wait until they are due.
    pub fn wait_after(&mut self, bytes: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        self.spent += bytes;
        let due = Duration::from_secs_f64(self.spent as f64 / rate as f64);
        due.saturating_sub(self.since.elapsed())
    }
}
