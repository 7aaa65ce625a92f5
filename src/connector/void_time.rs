//! Times of expiry as Aerospike counts them, for all that reads and writes its records.

use crate::record::Expiry;

/// Unix seconds at which void-times begin: 2010-01-01.
pub const VOID_TIME_EPOCH_SECONDS: u64 = 1_262_304_000;

/// The set in which servers keep the monitors of transactions.
pub const MONITOR_SET: &[u8] = b"<ERO~MRT";

/// The expiry that a void-time gives: servers show a record until the second of its void-time has passed.
#[must_use]
pub const fn expiry_of(void_time: u32) -> Expiry {
    match void_time {
        0 => Expiry::NEVER,
        seconds => Expiry::from_millis((VOID_TIME_EPOCH_SECONDS + seconds as u64 + 1) * 1000),
    }
}

/// The void-time that gives an expiry, as far as a server can say it; 1 for what was over before 2010, since 0 is never.
#[must_use]
pub const fn void_time_of(expiry: Expiry) -> Option<u32> {
    if expiry.as_millis() == Expiry::NEVER.as_millis() {
        return Some(0);
    }
    let since = (expiry.as_millis() / 1000).saturating_sub(VOID_TIME_EPOCH_SECONDS + 1);
    match since {
        0 => Some(1),
        seconds if seconds <= u32::MAX as u64 => Some(seconds as u32),
        _ => None,
    }
}
