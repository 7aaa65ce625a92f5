//! What is known of a range once it was joined.

use crate::{
    connector::PartEnd,
    layer::RangeOutcome,
    record::{KeyRange, Timestamp},
};

/// What joining one range gave, and what the source says of it.
pub(super) struct Joined {
    pub(super) outcome: RangeOutcome,
    pub(super) part: PartEnd,
    /// Where deletions were not looked for.
    pub(super) unswept: Vec<KeyRange>,
    /// Records of the parent that were looked for and did not come.
    pub(super) absent: u64,
    /// When it was read.
    pub(super) read: Reading,
}

/// When a range was read, by the source's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// When the run that read it began.
    pub(super) start: Timestamp,
    /// When it had been read, as far as that is asked.
    pub(super) end: Timestamp,
    /// Whether another run read it.
    pub(super) earlier: bool,
}

impl Joined {
    /// Whether nothing would be won by reading it again.
    pub(super) fn is_whole(&self) -> bool {
        let counts = &self.outcome.counts;
        self.part.complete
            && self.outcome.problems.is_empty()
            && counts.unreadable == 0
            && counts.torn == 0
            && self.absent == 0
    }
}
