//! Times with their units, and the one seam through which the wall clock comes in.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A point in time: milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds; a time outside of what a calendar can show prints as `@MILLIS`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

/// When a record expires: milliseconds since 1970-01-01 UTC, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Expiry(u64);

impl Expiry {
    /// The record never expires.
    pub const NEVER: Self = Self(0);

    /// From milliseconds since the Unix epoch; 0 means never.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch; 0 means never.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whether a record with this expiry is no longer live at `time`.
    #[must_use]
    pub const fn is_over_at(self, time: Timestamp) -> bool {
        self.0 != 0 && (time.0 >= 0 && self.0 <= time.0 as u64)
    }
}

/// Where the wall-clock time comes from; tests hold it still.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}

/// The time zone that `TZ` names, else the machine's own; UTC where it has none.
///
/// # Errors
/// In words, where `TZ` names no zone. It counts as UTC with most programs, hours away from what was meant.
pub fn local_zone() -> Result<TimeZone, String> {
    let named = std::env::var_os("TZ").filter(|name| !name.is_empty());
    match (TimeZone::try_system(), named) {
        (Ok(zone), _) => Ok(zone),
        (Err(_), None) => Ok(TimeZone::UTC),
        (Err(_), Some(name)) => Err(format!(
            "TZ is `{}`, which is no time zone here: set it to a name such as Europe/Berlin or UTC, or unset it",
            name.display()
        )),
    }
}

/// The longest that whoever waits does not look whether to stop.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// Waits for a time, or until `stopped` says so. Gives whether the time is over.
pub fn pause(time: Duration, stopped: impl Fn() -> bool) -> bool {
    let until = Instant::now() + time;
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() || stopped() {
            return rest.is_zero();
        }
        std::thread::sleep(rest.min(LOOK_AROUND));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn whoever_waits_hears_that_it_is_to_stop() {
        let asked = Cell::new(0);
        let stopped = || {
            asked.set(asked.get() + 1);
            asked.get() == 2
        };
        assert!(!pause(Duration::from_hours(1000), stopped), "it did not wait to the end");
        assert!(pause(Duration::ZERO, || true), "nothing was left to wait for");
    }
}
