//! Merging adjacent layers into one.

use super::{
    LayerContext, LayerError, Stack,
    block::{NewRow, RowKind, RowValue},
    error::hex_of,
    groups::Groups,
    writer::{RangeWriter, check_gap_free, finish_layer},
};
use crate::{
    record::{KeyRange, Timestamp},
    repo::{ChunkWriter, manifest::LayerRef},
};

/// Writes one layer in place of `stack`'s layers. With `includes_base`, tombstones and rows that are over at `at` are
/// dropped; otherwise they stay. Cuts restart at the starts of `ranges`. `None` if nothing is left.
///
/// Rows that are over may be needed by layers above these, whose inherited rows made them live again: `at` must not be
/// after the end of the oldest snapshot that uses the merged layer.
pub fn merge_layers(
    context: &LayerContext,
    stack: &Stack,
    includes_base: bool,
    at: Timestamp,
    ranges: &[KeyRange],
    writer: &mut dyn ChunkWriter,
) -> Result<Option<LayerRef>, LayerError> {
    check_gap_free(ranges.iter())?;
    let mut built = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut out = RangeWriter::new(context);
        let mut groups = Groups::new(stack.layers(), range);
        while groups.advance()? {
            merge_key(&mut groups, includes_base, at, &mut out, writer)?;
        }
        built.push((range.clone(), out.finish(writer)?.0));
    }
    finish_layer(context, writer, &built)
}

fn merge_key(
    groups: &mut Groups<'_>,
    includes_base: bool,
    at: Timestamp,
    out: &mut RangeWriter,
    writer: &mut dyn ChunkWriter,
) -> Result<(), LayerError> {
    let (block, row) = groups.head();
    let head = block.row(row);
    if head.kind == RowKind::Tombstone {
        return if includes_base { Ok(()) } else { out.push(writer, &NewRow::tombstone(groups.key())) };
    }
    if includes_base && head.expiry.is_over_at(at) {
        return Ok(());
    }
    let (fingerprint, value_bytes) = (head.fingerprint, head.value_bytes);
    // The key row is copied because the value borrows the layers; both are short beside the value.
    let (key, meta) = (groups.key().to_vec(), block.meta(row));
    let (set, user_key) = (meta.set.to_vec(), meta.user_key.map(<[u8]>::to_vec));
    let mut owned = crate::record::Meta { set: &set, user_key: user_key.as_deref(), ..Default::default() };
    (owned.generation, owned.expiry, owned.stamp) = (meta.generation, meta.expiry, meta.stamp);
    let (value, _) = groups.value()?;
    if includes_base && matches!(value, RowValue::Inherited) {
        let object = format!("the inherited value of key {}", hex_of(&key));
        return Err(LayerError::inconsistent(object, "no layer of the stack holds it"));
    }
    out.push(writer, &NewRow { key: &key, meta: owned, fingerprint, value_bytes, value })
}
