//! What went over the line: requests by kind, bytes, and how far the server's clock is off.

use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

/// Requests and bytes since a place was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Requests by what they were for: `read`, `write`, `list`, `stat`, `delete`, `other` (credentials, folders).
    pub requests: BTreeMap<&'static str, u64>,
    /// Bytes of bodies that were sent.
    pub bytes_sent: u64,
    /// Bytes of bodies that were received.
    pub bytes_received: u64,
    /// Deletes after which the service keeps what was deleted as an older version.
    pub kept_as_versions: u64,
}

impl Traffic {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// The same while it is counted.
#[derive(Default)]
pub(super) struct Meter {
    requests: Mutex<BTreeMap<&'static str, u64>>,
    sent: AtomicU64,
    received: AtomicU64,
    versions: AtomicU64,
    /// Server's clock less ours, in milliseconds; `i64::MIN` if no server has told its time.
    clock: Option<AtomicI64>,
}

impl Meter {
    pub fn new() -> Self {
        Self { clock: Some(AtomicI64::new(i64::MIN)), ..Self::default() }
    }

    pub fn count(&self, kind: &'static str) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    #[allow(dead_code, reason = "only services count what they send and receive")]
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    #[allow(dead_code, reason = "only services over HTTP keep versions")]
    pub fn kept_a_version(&self) {
        self.versions.fetch_add(1, Ordering::Relaxed);
    }

    #[allow(dead_code, reason = "only services count what they send and receive")]
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    #[allow(dead_code, reason = "only services over HTTP tell the time")]
    pub fn clock_is_off_by(&self, millis: i64) {
        if let Some(clock) = &self.clock {
            clock.store(millis, Ordering::Relaxed);
        }
    }

    pub fn clock_offset_millis(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.load(Ordering::Relaxed)).filter(|offset| *offset != i64::MIN)
    }

    pub fn so_far(&self) -> Traffic {
        Traffic {
            requests: self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            bytes_received: self.received.load(Ordering::Relaxed),
            kept_as_versions: self.versions.load(Ordering::Relaxed),
        }
    }
}
