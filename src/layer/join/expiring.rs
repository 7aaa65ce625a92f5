//! Records that expire while a source is read. A join counts by the start of its run, readers drop by the run's end, which
//! nobody knows yet. So what is counted and expires later is also noted by its expiry, and taken off again once the end is
//! known.
//!
//! Noted by the distance from the start, rounded up to 12 significant bits: at most 2048 notes for each doubling, 24 000 up
//! to 99 days where expiries have whole seconds, about 3 MB. An end that falls among rounded expiries is rounded up the
//! same way: by less than 1/2048 of the time that the run took, and not at all in its first four seconds.

use super::{JoinCounts, RangeOutcome};
use crate::record::{CollectionSum, Expiry, Timestamp};
use std::collections::BTreeMap;

/// Milliseconds after the start up to which expiries are noted: 99 days.
pub(super) const HORIZON_MILLIS: u64 = 1 << 33;

const SIGNIFICANT_BITS: u32 = 12;

/// What is taken off if an expiry is over by the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) sum: CollectionSum,
    /// Of the records, those that the source delivered.
    pub(super) seen: u64,
    /// Of the records, those whose parent's row stands.
    pub(super) stood: u64,
    pub(super) new: u64,
    pub(super) changed: u64,
    pub(super) inherited: u64,
    /// Live in the parent, and in the new state or counted as deleted.
    pub(super) lived: u64,
    /// Counted as deleted.
    pub(super) deleted: u64,
}

/// What was noted of one range.
#[derive(Debug, Clone, Default)]
pub struct Expiring {
    pub(super) start: Timestamp,
    pub(super) notes: BTreeMap<u64, Note>,
}

pub(super) const fn rounded(distance: u64) -> u64 {
    let bits = u64::BITS - distance.leading_zeros();
    if bits <= SIGNIFICANT_BITS {
        return distance;
    }
    let step = 1 << (bits - SIGNIFICANT_BITS);
    distance.div_ceil(step) * step
}

impl Expiring {
    pub(super) const fn new(start: Timestamp) -> Self {
        Self { start, notes: BTreeMap::new() }
    }

    /// Where to note what expires then; `None` if that is too far away, or never.
    #[inline]
    pub(super) fn note(&mut self, expiry: Expiry) -> Option<&mut Note> {
        if expiry == Expiry::NEVER {
            return None;
        }
        let distance = expiry.as_millis().checked_sub(self.start.as_millis().max(0) as u64)?;
        (distance < HORIZON_MILLIS).then(|| self.notes.entry(rounded(distance)).or_default())
    }

    /// The first time at or after `end` by which it is known what has expired; `None` beyond 99 days.
    #[must_use]
    pub fn end_from(&self, end: Timestamp) -> Option<Timestamp> {
        let distance = end.as_millis().saturating_sub(self.start.as_millis()).max(0) as u64;
        let up = rounded(distance);
        if up >= HORIZON_MILLIS {
            return None;
        }
        let end = if self.notes.contains_key(&up) { up } else { distance };
        Some(Timestamp::from_millis(self.start.as_millis() + end as i64))
    }
}

impl RangeOutcome {
    /// Takes off what has expired by `end`, which [`Expiring::end_from`] gave.
    pub fn settle(&mut self, end: Timestamp) {
        let start = self.expiring.start;
        let distance = end.as_millis().saturating_sub(start.as_millis()).max(0) as u64;
        let over = self.expiring.notes.range(..=distance).map(|(_, note)| *note);
        for note in over.collect::<Vec<_>>() {
            self.take_off(&note);
        }
        self.expiring = Expiring::new(start);
    }

    fn take_off(&mut self, note: &Note) {
        self.sum.subtract(&note.sum);
        if let Some(added_up) = &mut self.added_up {
            added_up.subtract(&note.sum);
        }
        self.stood -= note.stood;
        let JoinCounts { records, bytes, seen_expired, new, changed, inherited, deleted, expired, .. } =
            &mut self.counts;
        *records -= note.records;
        *bytes -= note.bytes;
        *seen_expired += note.seen;
        *new -= note.new;
        *changed -= note.changed;
        *inherited -= note.inherited;
        *deleted -= note.deleted;
        *expired += note.lived;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_order_and_is_exact_for_small_distances_and_for_itself() {
        let mut last = 0;
        for distance in (0..5000).chain((5000..HORIZON_MILLIS).step_by(99_991_777)) {
            let up = rounded(distance);
            assert!(up >= distance && up >= last && up - distance <= distance / 2048, "{distance}");
            assert_eq!(rounded(up), up);
            last = up;
        }
        assert_eq!(rounded(4095), 4095);
    }

    #[test]
    fn an_end_is_moved_only_where_expiries_were_rounded() {
        let mut expiring = Expiring::new(Timestamp::from_millis(1000));
        let at = |distance: i64| Timestamp::from_millis(1000 + distance);
        expiring.note(Expiry::from_millis(1000 + 600_001)).unwrap().records += 1;
        assert_eq!(expiring.end_from(at(599_808)), Some(at(599_808)));
        assert_eq!(expiring.end_from(at(600_000)), Some(at(600_064)));
        assert_eq!(expiring.end_from(at(600_001)), Some(at(600_064)));
        assert_eq!(expiring.end_from(at(900_000)), Some(at(900_000)));
        assert_eq!(expiring.end_from(at(1 << 33)), None);
        assert!(expiring.note(Expiry::NEVER).is_none());
    }
}
