//! Sorted streams of records, and the key ranges they are read by.

use super::RecordBatch;
use std::collections::VecDeque;

/// A half-open range of sort keys: `start` is in it, `end` is not; no `end` means that it is open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The first key that is in the range; empty for the lowest.
    pub start: Vec<u8>,
    /// The first key that no longer is.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self { start: Vec::new(), end: None }
    }

    /// Just this key.
    #[must_use]
    pub fn only(key: &[u8]) -> Self {
        let mut end = key.to_vec();
        end.push(0);
        Self { start: key.to_vec(), end: Some(end) }
    }

    /// Whether `key` is in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// What two ranges have in common, if anything.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (Some(one), Some(other)) => Some(one.min(other).clone()),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        end.as_ref().is_none_or(|end| *end > start).then_some(Self { start, end })
    }

    /// The gap-free ranges between sorted, distinct split keys: one more than there are splits.
    #[must_use]
    pub fn between(splits: &[Vec<u8>]) -> Vec<Self> {
        let starts = std::iter::once(Vec::new()).chain(splits.iter().cloned());
        let ends = splits.iter().cloned().map(Some).chain(std::iter::once(None));
        starts.zip(ends).map(|(start, end)| Self { start, end }).collect()
    }
}

/// Ranges of which nothing is known, to be asked about by ascending keys: what lies behind is forgotten.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gaps {
    ranges: Vec<KeyRange>,
}

impl Gaps {
    /// Adds a range; one that follows the last without a gap becomes part of it.
    pub(crate) fn push(&mut self, range: KeyRange) {
        match self.ranges.last_mut() {
            Some(last) if last.end.as_ref() == Some(&range.start) => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// Whether `key` lies in one of them; keys must not descend from one call to the next.
    pub(crate) fn contains(&mut self, key: &[u8]) -> bool {
        let is_passed = |range: &KeyRange| range.end.as_deref().is_some_and(|end| end <= key);
        if self.ranges.first().is_some_and(is_passed) {
            self.ranges.retain(|range| !is_passed(range));
        }
        self.ranges.iter().any(|range| range.contains(key))
    }
}

/// A range of keys whose records are those that the parent holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The range.
    pub range: KeyRange,
    /// Whether its records are delivered all the same, to see whether that is so.
    pub is_read: bool,
}

/// Held ranges, to be asked about by ascending keys: what lies behind is forgotten.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldRanges {
    ranges: VecDeque<Held>,
}

impl HeldRanges {
    /// Adds a range, which lies behind all others.
    pub(crate) fn push(&mut self, held: Held) {
        self.ranges.push_back(held);
    }

    /// Whether `key` lies in one of them, and if so whether that one is read all the same; keys must not descend.
    #[inline]
    pub(crate) fn of(&mut self, key: &[u8]) -> Option<bool> {
        while let Some(held) = self.ranges.front() {
            if held.range.end.as_deref().is_none_or(|end| key < end) {
                return (key >= held.range.start.as_slice()).then_some(held.is_read);
            }
            self.ranges.pop_front();
        }
        None
    }
}

/// Why a stream of records ended early: what the source said, in words for people.
pub type StreamError = Box<dyn std::error::Error + Send + Sync>;

/// Records of one key range in ascending, distinct key order.
pub trait RecordStream {
    /// Replaces the batch's rows with the next records, about 1 MiB of them; `false` when there are no more (the batch is
    /// then empty). A source that has to wait may give an empty batch and `true`, so that its caller can look whether it
    /// is still wanted.
    ///
    /// # Errors
    /// What the source says. The range is then incomplete: nothing may be concluded from what did not come.
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError>;

    /// A range of keys that the source could not look at (a directory that may not be listed): no row of it was
    /// delivered, and nothing may be concluded from that, so what the parent holds there stands. Asked again and again
    /// until it says `None`, after each [`Self::next_batch`] (the one that says `false` too) and *before* that batch's
    /// rows are used: such a range begins after the last key of the batch before.
    fn unread(&mut self) -> Option<KeyRange> {
        None
    }

    /// A range of keys that the source knows to be as the parent holds them, and that it did not read. Asked as [`Self::unread`] is:
    /// again and again until it says `None`, after each [`Self::next_batch`] and before that batch's rows are used. Such ranges ascend,
    /// and begin after the last key of the batch before.
    fn held(&mut self) -> Option<Held> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_ranges_are_found_by_ascending_keys() {
        let mut held = HeldRanges::default();
        for (from, to, is_read) in [(1, 3, false), (3, 4, true), (6, 7, false)] {
            held.push(Held { range: KeyRange { start: vec![from], end: Some(vec![to]) }, is_read });
        }
        let found: Vec<Option<bool>> = (0..9).map(|key| held.of(&[key])).collect();
        let (no, unread) = (None, Some(false));
        assert_eq!(found, [no, unread, unread, Some(true), no, no, unread, no, no]);
    }

    #[test]
    fn gaps_are_forgotten_behind_the_key_and_joined_where_they_touch() {
        let range = |from: u8, to: u8| KeyRange { start: vec![from], end: Some(vec![to]) };
        let mut gaps = Gaps::default();
        for gap in [range(1, 2), range(2, 3), range(5, 6), range(4, 9)] {
            gaps.push(gap);
        }
        assert_eq!(gaps.ranges.len(), 3);
        let found: Vec<u8> = (0..12).filter(|key| gaps.contains(&[*key])).collect();
        assert_eq!(found, [1, 2, 4, 5, 6, 7, 8]);
        assert!(gaps.ranges.is_empty());
    }
}
