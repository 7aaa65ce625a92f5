//! What all snapshots together need.

use crate::repo::{ChunkId, bits::ChunkSet};
use std::collections::HashSet;

/// What all snapshots together need.
#[derive(Default)]
pub(super) struct Needed {
    pub chunks: ChunkSet,
    pub layers: HashSet<ChunkId>,
    /// How many snapshots there are.
    pub snapshots: u64,
}
