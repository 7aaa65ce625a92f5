//! The clock of the cluster: set and moved by the test, or real time from a start on. Each node may be off by some.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Seconds from 1970 to 2010-01-01T00:00:00Z, where the server's own time begins.
pub const EPOCH_UNIX_SECONDS: i64 = 1_262_304_000;

/// How time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// Time stands at this many milliseconds since 2010 until a test moves it.
    Virtual(i64),
    /// Time starts at this many milliseconds since 2010 and passes.
    Running(i64),
    /// Time of the host.
    Real,
}

/// The cluster's clock, in milliseconds since 2010.
#[derive(Debug)]
pub struct Clock {
    base_ms: AtomicI64,
    started: Option<Instant>,
}

impl Clock {
    pub(crate) fn new(mode: ClockMode) -> Self {
        let (base, started) = match mode {
            ClockMode::Virtual(ms) => (ms, None),
            ClockMode::Running(ms) => (ms, Some(Instant::now())),
            ClockMode::Real => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64);
                (unix - EPOCH_UNIX_SECONDS * 1000, Some(Instant::now()))
            }
        };
        Self { base_ms: AtomicI64::new(base), started }
    }

    /// Now, in milliseconds since 2010.
    pub fn now_ms(&self) -> i64 {
        let passed = self.started.map_or(0, |start| start.elapsed().as_millis() as i64);
        self.base_ms.load(Ordering::SeqCst) + passed
    }

    /// Moves the clock by this many milliseconds, back if negative.
    pub fn advance_ms(&self, ms: i64) {
        self.base_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the clock to this many milliseconds since 2010.
    pub fn set_ms(&self, ms: i64) {
        self.advance_ms(ms - self.now_ms());
    }
}
