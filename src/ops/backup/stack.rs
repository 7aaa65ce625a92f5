//! What becomes of a collection's stack: when it gets a delta, a merged delta, or a new base.

use crate::{
    layer::{BuiltRange, LayerContext, Stack, finish_layer, merge_deltas_in},
    ops::{OpsError, crew::Crew},
    record::KeyRange,
    repo::{
        ChunkReader, ChunkWriter, Snapshot, WriteSession,
        manifest::{Collection, LayerRef},
    },
};
use serde_json::Value as Json;
use std::sync::Arc;

/// The most deltas a stack may have.
pub(in crate::ops) const MAX_DELTAS: usize = 24;

/// How many adjacent deltas become one when there would be more.
const MERGED: usize = 8;

/// Whether the deltas have grown so large that a backup which reads everything writes a new base: half the base's bytes.
pub(in crate::ops) fn wants_new_base(stack: &[LayerRef]) -> bool {
    let Some((base, deltas)) = stack.split_first() else { return false };
    let deltas: u64 = deltas.iter().map(|layer| layer.bytes).sum();
    deltas > base.bytes / 2
}

/// Which deltas of a stack (base at 0) are merged before one more is put on it, given each layer's bytes, `None` for one that
/// cannot be merged now: the eight adjacent ones with the fewest bytes, the oldest on ties. `None` while there is room.
pub(in crate::ops) fn deltas_to_merge(layers: &[Option<u64>]) -> Option<std::ops::Range<usize>> {
    let deltas = layers.get(1..).filter(|deltas| deltas.len() >= MAX_DELTAS)?;
    let sum = |window: &[Option<u64>]| window.iter().try_fold(0u64, |sum, bytes| Some(sum.saturating_add((*bytes)?)));
    let windows = deltas.windows(MERGED).enumerate().filter_map(|(index, window)| Some((sum(window)?, index)));
    windows.min().map(|(_, first)| first + 1..first + 1 + MERGED)
}

/// The bytes of layers that are all there.
fn bytes_of(stack: &[LayerRef]) -> Vec<Option<u64>> {
    stack.iter().map(|layer| Some(layer.bytes)).collect()
}

/// What merging deltas needs beside them.
pub(super) struct Merging<'a> {
    pub(super) context: &'a LayerContext,
    pub(super) chunks: &'a Arc<dyn ChunkReader>,
    pub(super) session: &'a WriteSession,
    pub(super) crew: Crew<'a>,
}

impl Merging<'_> {
    /// Makes room for one more delta: puts a merged one in place of those that [`deltas_to_merge`] names.
    pub(super) fn make_room(
        &self,
        writer: &mut dyn ChunkWriter,
        ranges: &[KeyRange],
        mut stack: Vec<LayerRef>,
    ) -> Result<Vec<LayerRef>, OpsError> {
        while let Some(merged) = deltas_to_merge(&bytes_of(&stack)) {
            let part = Stack::open(self.chunks, &stack[merged.clone()])?;
            let built = self.merge(&part, ranges)?;
            stack.splice(merged, finish_layer(self.context, writer, &built)?);
        }
        Ok(stack)
    }

    /// Merges range by range. Where cuts restart does not depend on who merges which.
    fn merge(&self, part: &Stack, ranges: &[KeyRange]) -> Result<Vec<(KeyRange, BuiltRange)>, OpsError> {
        let goes_on = |_, _| !self.crew.is_stopped();
        self.crew.map(
            ranges,
            || self.session.writer(),
            |writer, range| Ok((range.clone(), merge_deltas_in(self.context, part, range, writer, &goes_on)?)),
            |writer| Ok(writer.finish()?),
        )
    }
}

/// Whether a new snapshot would say just what its parent says.
pub(super) fn is_same(parent: &Snapshot, attributes: &Json, collections: &[Collection]) -> bool {
    let same = |(a, b): (&Collection, &Collection)| {
        // Equal stacks hold fewer live records once some have expired.
        let same_records = a.records == b.records && a.stack == b.stack;
        a.name == b.name && a.codec == b.codec && a.attributes == b.attributes && same_records
    };
    parent.content.attributes == *attributes
        && parent.content.complete
        && parent.collections.len() == collections.len()
        && parent.collections.iter().zip(collections).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::ChunkId;

    fn layers(bytes: &[u64]) -> Vec<LayerRef> {
        bytes.iter().map(|&bytes| LayerRef::new(ChunkId([0; 32]), 1, bytes)).collect()
    }

    #[test]
    fn the_eight_smallest_adjacent_deltas_are_merged_the_oldest_on_ties() {
        let mut bytes = vec![1000];
        bytes.extend([5; 23]);
        assert_eq!(deltas_to_merge(&bytes_of(&layers(&bytes))), None);
        bytes.push(5);
        assert_eq!(deltas_to_merge(&bytes_of(&layers(&bytes))), Some(1..9));
        bytes[1] = 100;
        assert_eq!(deltas_to_merge(&bytes_of(&layers(&bytes))), Some(2..10));
    }

    #[test]
    fn a_new_base_is_wanted_when_deltas_pass_half_the_base() {
        assert!(!wants_new_base(&layers(&[100, 20, 30])));
        assert!(wants_new_base(&layers(&[100, 20, 31])));
        assert!(!wants_new_base(&[]));
    }
}
