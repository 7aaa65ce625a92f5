//! What the threads of a pool share: whom they write to, what is under way, and whether they are to stop.

use super::{acknowledged::Acknowledged, clocks::NodeClocks, line::Line, options::AerospikeTargetOptions};
use crate::{
    connector::{
        Outcomes,
        aerospike::{
            cluster::{Cluster, PartitionMap},
            patience::Patience,
        },
    },
    record::{Digest, KeyCodec, pause},
};
use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The longest pause before rows are sent again, unless the first one is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The partition map is not fetched more often.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// How long what is under way may take once it is to stop.
const GRACE: Duration = Duration::from_secs(1);

/// How often whoever waits looks whether it is to stop.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// What a pool is made of.
pub(super) struct PoolOptions {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
    pub(super) clocks: Arc<NodeClocks>,
    pub(super) threads: usize,
    pub(super) singly: bool,
    pub(super) timeout: Duration,
    pub(super) patience: Duration,
    pub(super) ignore_record_error: bool,
    pub(super) retries: Retries,
    pub(super) waits: Arc<Patience>,
    pub(super) stop: Arc<AtomicBool>,
}

/// Why what was handed over is not done.
pub(super) const INTERRUPTED: &str = "interrupted";

/// How rows are sent again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retries {
    pub(super) first_pause: Duration,
    multiplier_percent: u32,
    /// 0 for any number.
    pub(super) max_attempts: u32,
}

impl Retries {
    pub(super) fn of(how: &AerospikeTargetOptions) -> Self {
        Self {
            first_pause: how.retry_base_interval,
            multiplier_percent: how.retry_multiplier_percent.max(100),
            max_attempts: how.retry_max_attempts,
        }
    }

    /// The pause after this one.
    pub(super) fn next(&self, pause: Duration) -> Duration {
        let grown = pause.saturating_mul(self.multiplier_percent) / 100;
        grown.min(LONGEST_PAUSE.max(self.first_pause))
    }
}

/// What became of rows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) outcomes: Outcomes,
    /// Rows left alone for what stands there, which may be what was sent before without an answer.
    pub(super) unsure: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.unsure += other.unsure;
        self.outcomes.add(other.outcomes);
    }
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) groups: usize,
    pub(super) bytes: usize,
    pub(super) tally: Tally,
    pub(super) failed: Option<String>,
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
    pub(super) clocks: Arc<NodeClocks>,
    pub(super) singly: bool,
    pub(super) timeout_millis: u32,
    /// How long rows may make no progress.
    pub(super) patience: Duration,
    pub(super) ignore_record_error: bool,
    pub(super) retries: Retries,
    /// What is waited for, for whoever asks.
    pub(super) waits: Arc<Patience>,
    /// What each node acknowledged.
    pub(super) acknowledged: Acknowledged,
    flight: Mutex<Flight>,
    landed: Condvar,
    /// Nothing is done any more.
    stopped: AtomicBool,
    /// Somebody asked to stop: nothing is sent a second time.
    asked: Arc<AtomicBool>,
    /// Since when that is known.
    asked_at: Mutex<Option<Instant>>,
    refreshed: Mutex<Instant>,
    lines: Mutex<Vec<Arc<Line>>>,
}

impl Shared {
    pub(super) fn new(options: PoolOptions) -> Self {
        Self {
            cluster: options.cluster,
            namespace: options.namespace,
            clocks: options.clocks,
            singly: options.singly,
            timeout_millis: u32::try_from(options.timeout.as_millis()).unwrap_or(0),
            patience: options.patience,
            ignore_record_error: options.ignore_record_error,
            retries: options.retries,
            waits: options.waits,
            acknowledged: Acknowledged::default(),
            flight: Mutex::default(),
            landed: Condvar::new(),
            stopped: AtomicBool::new(false),
            asked: options.stop,
            asked_at: Mutex::default(),
            refreshed: Mutex::new(Instant::now()),
            lines: Mutex::default(),
        }
    }

    pub(super) fn map(&self) -> Arc<PartitionMap> {
        self.cluster.map(&self.namespace)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.asked.load(Ordering::Relaxed)
    }

    /// Ends what is under way if it was asked to stop and took too long since.
    fn look_around(&self, flight: &mut Flight) {
        if !self.asked.load(Ordering::Relaxed) || flight.failed.is_some() {
            return;
        }
        let mut since = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if since.get_or_insert_with(Instant::now).elapsed() >= GRACE {
            flight.failed = Some(INTERRUPTED.to_owned());
            self.end();
        }
    }

    /// Ends everything at once.
    pub(super) fn end(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        for line in self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            line.end();
        }
    }

    /// Waits until something landed, or a moment.
    pub(super) fn wait_for_landing<'f>(&self, flight: MutexGuard<'f, Flight>) -> MutexGuard<'f, Flight> {
        let waited = self.landed.wait_timeout(flight, LOOK_AROUND);
        let (mut flight, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.look_around(&mut flight);
        flight
    }

    /// Sleeps, shorter if it is stopped.
    pub(super) fn sleep(&self, time: Duration) {
        pause(time, || self.is_stopped());
    }

    /// Fetches the partition map anew, one thread for all.
    pub(super) fn refresh(&self) {
        let Ok(mut last) = self.refreshed.try_lock() else { return };
        if last.elapsed() >= REFRESH_PAUSE {
            // The old map serves until a node answers again.
            let _ = self.cluster.refresh();
            *last = Instant::now();
        }
    }

    /// Counts and names a record that cannot be written.
    pub(super) fn fail(&self, outcomes: &mut Outcomes, digest: &Digest, why: String) {
        let shown = || KeyCodec::Digest.show(&digest.sort_key());
        if self.ignore_record_error {
            outcomes.ignored += 1;
            outcomes.name(shown, why);
        } else {
            outcomes.fail(shown, why);
        }
    }

    /// What is under way now.
    pub(super) fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the connection of a thread, to be ended with the others.
    pub(super) fn note(&self, line: Arc<Line>) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Whether nothing is done any more.
    pub(super) fn has_ended(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Lets what is sent be the last.
    pub(super) fn send_no_more(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Tells who waits that something landed.
    pub(super) fn has_landed(&self) {
        self.landed.notify_all();
    }

    /// Whether somebody asked to stop.
    pub(super) fn is_asked_to_stop(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}
