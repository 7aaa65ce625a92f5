//! The moments that a stack with journals can be read at.

use super::super::carried::Carried;
use crate::record::Timestamp;
use serde::{Deserialize, Serialize};

/// From when on a collection can be read at any time up to its snapshot's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moments {
    /// The first.
    pub from: Timestamp,
    /// What was thinned out, by ascending time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptMoments>,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

/// A stretch of which only some moments are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMoments {
    /// What lies before it is thinned out.
    pub until: Timestamp,
    /// Multiples of so many milliseconds are kept.
    pub every: u64,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

impl Moments {
    /// Every moment from here on.
    #[must_use]
    pub fn from(from: Timestamp) -> Self {
        Self { from, kept: Vec::new(), other: Carried::default() }
    }

    /// The last moment kept that is not after `time`.
    #[must_use]
    pub fn at_or_before(&self, time: Timestamp) -> Option<Timestamp> {
        if time < self.from {
            return None;
        }
        let Some(kept) = self.kept.iter().find(|kept| time < kept.until) else { return Some(time) };
        let every = i64::try_from(kept.every.max(1)).unwrap_or(i64::MAX);
        let millis = time.as_millis();
        Some(Timestamp::from_millis(millis - millis.rem_euclid(every)).max(self.from))
    }

    /// The first moment kept that is not before `time`.
    #[must_use]
    pub fn next(&self, time: Timestamp) -> Timestamp {
        if time <= self.from {
            return self.from;
        }
        let mut next = time;
        for kept in &self.kept {
            let every = i64::try_from(kept.every.max(1)).unwrap_or(i64::MAX);
            if next < kept.until {
                let millis = next.as_millis();
                let up = millis.saturating_add((every - millis.rem_euclid(every)) % every);
                next = Timestamp::from_millis(up).min(kept.until);
            }
        }
        next
    }

    /// With what lies before `until` thinned out.
    #[must_use]
    pub fn thinned(&self, until: Timestamp, every: u64) -> Self {
        let mut kept: Vec<KeptMoments> = self.kept.clone();
        // What is coarser already stays so; what is as fine or finer before `until` is gone.
        kept.retain(|old| old.every > every || old.until >= until);
        if until > self.from && !kept.iter().any(|old| old.until >= until && old.every >= every) {
            kept.push(KeptMoments { until, every, other: Carried::default() });
        }
        kept.sort_by_key(|kept| kept.until);
        Self { from: self.from, kept, other: self.other.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_time_is_rounded_down_to_a_moment_that_is_kept() {
        let moments = Moments::from(at(1050)).thinned(at(2000), 100).thinned(at(1500), 200);
        let shown = |time| moments.at_or_before(at(time)).map(Timestamp::as_millis);
        assert_eq!(shown(1049), None);
        assert_eq!(shown(1050), Some(1050));
        assert_eq!(shown(1199), Some(1050));
        assert_eq!(shown(1399), Some(1200));
        assert_eq!(shown(1500), Some(1500));
        assert_eq!(shown(1599), Some(1500));
        assert_eq!(shown(1999), Some(1900));
        assert_eq!(shown(2000), Some(2000));
        assert_eq!(shown(2001), Some(2001));
        for time in 1000..2100 {
            let next = moments.next(at(time));
            assert_eq!(shown(next.as_millis()), Some(next.as_millis()), "{time}");
            assert!((time..next.as_millis()).all(|other| shown(other) != Some(other)), "{time}");
        }
    }

    #[test]
    fn thinning_again_adds_what_is_new_only() {
        let once = Moments::from(at(0)).thinned(at(1000), 100);
        assert_eq!(once.thinned(at(1000), 100), once);
        assert_eq!(once.thinned(at(900), 50), once);
        assert_eq!(once.thinned(at(2000), 100).kept.len(), 1);
        assert_eq!(once.thinned(at(2000), 50).kept.len(), 2);
        assert_eq!(once.thinned(at(2000), 500).kept.len(), 1);
    }
}
