//! Layers: immutable runs of record versions and tombstones, sorted by key, cut by content into blocks, and the join and
//! merge over them. Specified in `format-spec/layers.md`.

mod block;
mod built;
mod cut;
pub mod diff;
pub mod error;
pub mod filter;
mod groups;
pub mod join;
pub mod journal;
mod lent;
mod level;
mod list;
pub mod merge;
mod piece;
pub mod played;
pub mod reader;
pub mod stack;
#[cfg(test)]
mod tests;
mod version_key;
mod versions;
pub mod writer;

pub use crate::record::VersionTime;
pub use block::{MAX_HEAD_BYTES, MAX_INLINE_BYTES, MAX_SHAPE_BYTES};
pub use diff::{Change, diff_stacks};
pub use error::LayerError;
pub use filter::{KeyHash, KeyPlaces};
pub use join::{JoinCounts, JoinOptions, RangeOutcome, join_range};
pub use journal::{
    JournalChange, JournalWriter, KeptVersions, held_versions, is_beyond_limits, merge_journals, newest_versions,
};
pub use merge::{
    MergeKind, MergeProgress, RowTotals, StateTotals, merge_deltas_in, merge_layers, merge_range, merge_state,
    read_totals,
};
pub use played::{Played, PlayedSpan, play};
pub use reader::{BlockInfo, Layer};
pub use stack::{Stack, StackCursor, VersionValue};
pub use versions::{Version, Versions, WholeValue};
pub use writer::{BuiltRange, LayerContext, finish_layer};
