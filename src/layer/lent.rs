//! Blocks of keys that one cursor has decoded and another one, which follows it over the same stack, need not decode again.

use super::block::KeysBlock;
use crate::repo::ChunkId;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The most blocks that wait to be taken, about 80 KiB each. One that goes meanwhile is read again.
const MAX_BLOCKS: usize = 128;

/// Which of two cursors one is that walk the same keys, one a little behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// What it decodes is lent.
    Before,
    /// What is lent is taken.
    Behind,
}

/// What is lent of one stack.
#[derive(Default)]
pub(super) struct Lent(Mutex<VecDeque<(ChunkId, Arc<KeysBlock>)>>);

impl Lent {
    fn blocks(&self) -> MutexGuard<'_, VecDeque<(ChunkId, Arc<KeysBlock>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, id: ChunkId, keys: &Arc<KeysBlock>) {
        let mut blocks = self.blocks();
        if blocks.len() >= MAX_BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back((id, Arc::clone(keys)));
    }

    pub(super) fn has(&self, id: &ChunkId) -> bool {
        self.blocks().iter().any(|(lent, _)| lent == id)
    }

    pub(super) fn take(&self, id: &ChunkId) -> Option<Arc<KeysBlock>> {
        let mut blocks = self.blocks();
        let at = blocks.iter().position(|(lent, _)| lent == id)?;
        blocks.remove(at).map(|(_, keys)| keys)
    }
}
