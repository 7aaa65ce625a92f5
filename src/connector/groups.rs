//! How the keys of a collection fall into cells that come and go together. Whoever judges whether records that vanished were
//! deleted or lost counts by them: a part of a system that is lost takes whole cells along.

use crate::record::KeyRange;
use std::ops::Range;

/// The cells of a collection, in key order and without a gap. Given by [`super::Evidence::groups`].
pub trait KeyGroups: Send + Sync {
    /// How many cells there are.
    fn cells(&self) -> usize;
    /// How many neighbours are judged together, as a group. There is a whole number of groups.
    fn cells_in_group(&self) -> usize;
    /// The cell in which a key lies; below [`Self::cells`].
    fn cell_of(&self, key: &[u8]) -> usize;
    /// The keys of some neighbours.
    fn range(&self, cells: Range<usize>) -> KeyRange;
    /// Some neighbours, in words.
    fn show(&self, cells: Range<usize>) -> String;
    /// Records of one cell that do not all go without a reason.
    fn few(&self) -> u64;
    /// Deletions in a group that are believed whatever their share.
    fn free_deletions(&self) -> u64;
}
