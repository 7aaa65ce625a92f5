//! How fast a run may read: records a second over all nodes and all queries that run, and not a share for each that might.

use super::stop::Stop;
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A query does not wait longer for others to end: one of them may wait for what this one brings.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    /// Streams that are being read.
    streams: usize,
    /// What running queries were told, together.
    leased: u64,
    /// When what was read by key has been paid for.
    paid_until: Option<Instant>,
}

/// The records a second of a run.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// 0 for no limit.
    limit: u32,
    state: Mutex<State>,
    returned: Condvar,
}

impl Pace {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream begins.
    pub(super) fn begin(&self) {
        self.state().streams += 1;
    }

    /// A stream ends.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.streams = state.streams.saturating_sub(1);
        drop(state);
        self.returned.notify_all();
    }

    /// The rate of a query, of so many that its stream runs at once.
    pub(super) fn lease(&self, at_once: usize) -> Lease<'_> {
        if self.limit == 0 {
            return Lease { pace: self, rate: 0 };
        }
        let until = Instant::now() + LONGEST_WAIT;
        let mut state = self.state();
        loop {
            let shares = state.streams.max(1) * at_once.max(1);
            let rate = (u64::from(self.limit) / shares as u64).max(1);
            let left = until.saturating_duration_since(Instant::now());
            if state.leased + rate <= u64::from(self.limit) || left.is_zero() {
                state.leased += rate;
                return Lease { pace: self, rate: rate as u32 };
            }
            state = self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for so many records that no query reads.
    pub(super) fn spend(&self, records: usize, stop: &Stop) {
        let due = self.due(records);
        if !due.is_zero() {
            stop.sleep(due);
        }
    }

    /// How long to wait for so many records.
    pub(super) fn due(&self, records: usize) -> Duration {
        if self.limit == 0 {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let mut state = self.state();
        let from = state.paid_until.map_or(now, |until| until.max(now));
        let until = from + Duration::from_secs_f64(records as f64 / f64::from(self.limit));
        state.paid_until = Some(until);
        until.saturating_duration_since(now)
    }
}

/// The rate of a running query.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pace: &'a Pace,
    rate: u32,
}

impl Lease<'_> {
    /// Records a second; 0 for no limit.
    pub(super) const fn rate(&self) -> u32 {
        self.rate
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.rate > 0 {
            let mut state = self.pace.state();
            state.leased = state.leased.saturating_sub(u64::from(self.rate));
            drop(state);
            self.pace.returned.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_alone_has_all_of_it_and_who_comes_later_a_share() {
        let pace = Pace::new(90);
        pace.begin();
        let all: Vec<Lease<'_>> = (0..3).map(|_| pace.lease(3)).collect();
        assert_eq!(all.iter().map(Lease::rate).collect::<Vec<_>>(), [30; 3]);
        drop(all);
        pace.begin();
        assert_eq!((pace.lease(1).rate(), pace.lease(3).rate()), (45, 15));
        pace.end();
        assert_eq!(pace.lease(1).rate(), 90);
        assert_eq!(Pace::new(0).lease(4).rate(), 0);
        assert_eq!(Pace::new(3).lease(8).rate(), 1, "none would be no limit");
    }
}
