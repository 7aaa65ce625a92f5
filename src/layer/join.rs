//! The join: what a source delivers, in key order, against what the parent holds.

use super::{BuiltRange, LayerContext, LayerError, Stack};
use crate::{
    record::{CollectionSum, KeyRange, RecordStream, Timestamp},
    repo::ChunkWriter,
};

/// What a join counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JoinCounts {
    /// Records that the source delivered.
    pub seen: u64,
    /// Of those, not in the parent.
    pub new: u64,
    /// Of those, different from the parent's.
    pub changed: u64,
    /// Of the changed, those whose value stands.
    pub inherited: u64,
    /// In the parent, live at its end, not expired at this end, and not delivered.
    pub deleted: u64,
    /// In the parent, live at its end, and expired since without being delivered.
    pub expired: u64,
    /// Delivered, but already expired at this end.
    pub seen_expired: u64,
    /// Live in the parent at its end, counted row by row while joining.
    pub parent_records: u64,
    /// Live in the new state.
    pub records: u64,
    /// Values that could not be read; the parent's row stands where there is one.
    pub unreadable: u64,
    /// Values that changed while they were read.
    pub torn: u64,
    /// Plaintext bytes of all live records of the new state: keys and values.
    pub bytes: u64,
    /// Plaintext bytes that the source delivered and that were really read.
    pub bytes_read: u64,
    /// Plaintext bytes of new and changed records.
    pub bytes_changed: u64,
    /// Blocks written.
    pub blocks: u64,
}

/// What joining one range gave.
#[derive(Debug, Clone)]
pub struct RangeOutcome {
    /// The delta's (or base's) blocks in this range.
    pub built: BuiltRange,
    /// Counts.
    pub counts: JoinCounts,
    /// The collection fingerprint of the new state's records in this range.
    pub sum: CollectionSum,
    /// The first 100 keys that could not be read, were torn or too long, with the reason.
    pub problems: Vec<(Vec<u8>, String)>,
}

/// How a join treats its input.
pub struct JoinOptions<'a> {
    /// The parent's stack; `None` writes a base.
    pub parent: Option<&'a Stack>,
    /// Whether the result is a base all the same (`--new-base`): every record is written, and the parent only says what
    /// is new, changed or deleted, and lends the values of records whose stamp has not moved.
    pub new_base: bool,
    /// The parent's end.
    pub parent_end: Timestamp,
    /// This run's end, as far as expiry goes.
    pub end: Timestamp,
    /// Called about every MiB with the records and bytes since the last call; `false` stops the join.
    pub progress: &'a (dyn Fn(u64, u64) -> bool + Sync),
}

/// Reads `stream` (all records of `range`) against the parent and writes what differs.
///
/// # Errors
/// [`LayerError`] from source, repository or layers; nothing may be concluded from the range then.
pub fn join_range(
    context: &LayerContext,
    stream: &mut dyn RecordStream,
    range: &KeyRange,
    options: &JoinOptions<'_>,
    writer: &mut dyn ChunkWriter,
) -> Result<RangeOutcome, LayerError> {
    let _ = (context, stream, range, options, writer);
    todo!()
}
