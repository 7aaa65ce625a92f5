//! What is read of the repository that is copied from: a snapshot beside the one before it.

use crate::{
    layer::{LayerError, Stack, StackCursor},
    record::{KeyRange, Timestamp},
    repo::manifest::Collection,
};
use std::cmp::Ordering as Order;

/// One collection on its way.
pub(super) struct Source<'a> {
    pub collection: &'a Collection,
    pub stack: Stack,
    pub end: Timestamp,
    /// The same collection of the snapshot before, whose copy is the parent at the target.
    pub before: Option<(Stack, Timestamp)>,
}

/// The keys of the snapshot before, walked beside those of the snapshot.
pub(super) struct Held<'a> {
    cursor: Option<StackCursor<'a>>,
}

impl<'a> Held<'a> {
    pub fn of(source: &'a Source<'_>, range: &KeyRange) -> Result<Self, LayerError> {
        let Some((stack, end)) = &source.before else { return Ok(Self { cursor: None }) };
        let mut cursor = stack.cursor(range, *end, true)?;
        let more = cursor.advance()?;
        Ok(Self { cursor: more.then_some(cursor) })
    }

    /// Whether the snapshot before has the record that `now` stands on, alike in all; keys must ascend.
    pub fn has(&mut self, now: &StackCursor<'_>) -> Result<bool, LayerError> {
        while let Some(cursor) = &mut self.cursor {
            match cursor.key().cmp(now.key()) {
                Order::Less => {
                    if !cursor.advance()? {
                        self.cursor = None;
                    }
                }
                Order::Greater => return Ok(false),
                Order::Equal => {
                    let is_same = cursor.fingerprint() == now.fingerprint()
                        && cursor.value_bytes() == now.value_bytes()
                        && cursor.meta() == now.meta();
                    return Ok(is_same);
                }
            }
        }
        Ok(false)
    }
}
