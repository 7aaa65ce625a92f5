//! What becomes of a collection's stack: when it gets a delta, a merged delta, or a new base.

use crate::{
    layer::{BuiltRange, LayerContext, Stack, finish_layer, merge_deltas_in},
    ops::{OpsError, crew::together},
    record::KeyRange,
    repo::{
        ChunkReader, ChunkWriter, Snapshot, WriteSession,
        manifest::{Collection, LayerRef},
    },
};
use serde_json::Value as Json;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

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
    /// How many threads share the ranges out among them.
    pub(super) threads: usize,
    pub(super) is_stopped: &'a (dyn Fn() -> bool + Sync),
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
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let done: Vec<OnceLock<BuiltRange>> = ranges.iter().map(|_| OnceLock::new()).collect();
        let goes_on = |_, _| !(self.is_stopped)() && !failed.load(Ordering::Relaxed);
        together(self.threads.clamp(1, ranges.len().max(1)), || {
            let mut writer = self.session.writer();
            let mut outcome: Result<(), OpsError> = Ok(());
            let take = || {
                let at = next.fetch_add(1, Ordering::Relaxed);
                Some((at, ranges.get(at)?))
            };
            while outcome.is_ok()
                && let Some((at, range)) = take()
            {
                match merge_deltas_in(self.context, part, range, &mut writer, &goes_on) {
                    Ok(built) => drop(done[at].set(built)),
                    Err(error) => outcome = Err(error.into()),
                }
            }
            let outcome = outcome.and(writer.finish().map_err(OpsError::from));
            if outcome.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            outcome
        })?;
        let built = ranges.iter().zip(done).map(|(range, done)| Some((range.clone(), done.into_inner()?)));
        built.collect::<Option<_>>().ok_or_else(|| OpsError::Failed("a range of deltas was not merged".to_owned()))
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
