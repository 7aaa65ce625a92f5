//! Keeps stacks of journals short: the newest become one when they are many, and with them older ones that are not larger.

use crate::{
    layer::{Layer, LayerContext, Stack, finish_layer, merge_journals},
    ops::OpsError,
    repo::{Repository, WriteSession, manifest::LayerRef},
};

/// So many journals of one size become one.
const MERGED: usize = 4;

/// A merge that a commit waits for writes at most so many bytes; larger ones are left to a squash.
const MAX_BYTES: u64 = 256 << 20;

/// The power of four that the size of a journal is of.
fn size(layer: &LayerRef) -> u32 {
    layer.bytes.max(1).ilog2() / 2
}

/// The first of the journals at the end of a stack that become one: those that are no larger than the newest, once they are
/// enough. So each byte is written again once for every time that its journal has grown fourfold.
fn merged_from(stack: &[LayerRef]) -> Option<usize> {
    let newest = stack.last().filter(|newest| newest.journal)?;
    let others = |layer: &&LayerRef| layer.journal && size(layer) <= size(newest);
    let count = stack.iter().rev().take_while(others).count();
    let sum: u64 = stack.iter().rev().take(count).map(|layer| layer.bytes).sum();
    (count >= MERGED && sum <= MAX_BYTES).then(|| stack.len() - count)
}

/// The stack with a commit's journals on it, which become one.
pub(super) fn grow(
    context: &LayerContext,
    repo: &Repository,
    session: &WriteSession,
    mut stack: Vec<LayerRef>,
    own: Vec<LayerRef>,
    can_read: bool,
) -> Result<Vec<LayerRef>, OpsError> {
    if !can_read {
        stack.extend(own);
        return Ok(stack);
    }
    if own.len() > 1 {
        stack.extend(merge(context, repo, session, &own)?);
    } else {
        stack.extend(own);
    }
    while let Some(from) = merged_from(&stack) {
        let merged = merge(context, repo, session, &stack[from..])?;
        stack.truncate(from);
        stack.extend(merged);
    }
    Ok(stack)
}

fn merge(
    context: &LayerContext,
    repo: &Repository,
    session: &WriteSession,
    layers: &[LayerRef],
) -> Result<Option<LayerRef>, OpsError> {
    session.flush()?;
    let reader = repo.chunks();
    let stack = Stack::open(&reader, layers)?;
    let ranges = stack.layers().first().map(Layer::ranges).unwrap_or_default();
    let mut writer = session.writer();
    let mut built = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (part, _) = merge_journals(context, &stack, None, &range, &mut writer, &|_, _| true)?;
        built.push((range, part));
    }
    let layer = finish_layer(context, &mut writer, &built)?;
    writer.finish()?;
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::ChunkId;

    fn stack(bytes: &[u64]) -> Vec<LayerRef> {
        let of = |bytes: &u64| LayerRef { journal: true, ..LayerRef::new(ChunkId([0; 32]), 1, *bytes) };
        bytes.iter().map(of).collect()
    }

    #[test]
    fn stacks_of_journals_stay_short_and_each_byte_is_written_again_a_few_times() {
        let (mut layers, mut written) = (stack(&[]), 0);
        for _ in 0..10_000 {
            layers.extend(stack(&[100]));
            while let Some(from) = merged_from(&layers) {
                let sum: u64 = layers[from..].iter().map(|layer| layer.bytes).sum();
                written += sum;
                layers.truncate(from);
                layers.extend(stack(&[sum]));
            }
            assert!(layers.len() <= 24, "{}", layers.len());
        }
        assert!(written <= 8 * 100 * 10_000, "{written}");
    }

    #[test]
    fn a_base_and_what_is_large_are_left_alone() {
        let mut layers = stack(&[MAX_BYTES, 5, 5, 5, 5]);
        assert_eq!(merged_from(&layers), Some(1));
        layers[3].journal = false;
        assert_eq!(merged_from(&layers), None);
        assert_eq!(merged_from(&stack(&[MAX_BYTES; 9])), None);
        assert_eq!(merged_from(&stack(&[5; 3])), None);
        assert_eq!(merged_from(&[]), None);
    }
}
