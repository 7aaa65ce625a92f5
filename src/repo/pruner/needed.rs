//! What all snapshots together need.

use super::bits::ChunkSet;
use crate::repo::ChunkId;
use std::collections::HashSet;

/// What all snapshots together need.
#[derive(Default)]
pub(super) struct Needed {
    pub chunks: ChunkSet,
    pub layers: HashSet<ChunkId>,
    /// How many snapshots there are.
    pub snapshots: u64,
}
