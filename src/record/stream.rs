//! Sorted streams of records, and the key ranges they are read by.

use super::RecordBatch;

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

    /// The gap-free ranges between sorted, distinct split keys: one more than there are splits.
    #[must_use]
    pub fn between(splits: &[Vec<u8>]) -> Vec<Self> {
        let starts = std::iter::once(Vec::new()).chain(splits.iter().cloned());
        let ends = splits.iter().cloned().map(Some).chain(std::iter::once(None));
        starts.zip(ends).map(|(start, end)| Self { start, end }).collect()
    }
}

/// Why a stream of records ended early: what the source said, in words for people.
pub type StreamError = Box<dyn std::error::Error + Send + Sync>;

/// Records of one key range in ascending, distinct key order.
pub trait RecordStream {
    /// Replaces the batch's rows with the next records, about 1 MiB of them; `false` when there are no more (the batch is
    /// then empty).
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
}
