//! Layers: immutable runs of record versions and tombstones, sorted by key, cut by content into blocks, and the join and
//! merge over them. Specified in `format-spec/layers.md`.

pub mod block;
pub mod cut;
pub mod error;
pub mod join;
pub mod list;
pub mod merge;
pub mod piece;
pub mod reader;
pub mod stack;
pub mod writer;

pub use error::LayerError;
pub use join::{JoinCounts, RangeOutcome, join_range};
pub use merge::merge_layers;
pub use reader::Layer;
pub use stack::{Stack, StackCursor, Version, Versions};
pub use writer::{BuiltRange, LayerContext, finish_layer};
