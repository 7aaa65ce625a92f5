//! The keys chunk of a block in the making.

use super::{
    NewRow, RowKind, RowValue, VERSION,
    columns::{Layout, put_column, shared_prefix},
};
use crate::{
    record::{
        Shape,
        bytes::{put_slice, put_u64, same},
    },
    repo::ChunkPlain,
};
use std::sync::Arc;

/// Collects everything of a block's rows but the values in place.
#[derive(Default)]
pub(in crate::layer) struct KeysBuilder {
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    key_lens: Vec<u8>,
    key_bytes: Vec<u8>,
    kinds: Vec<u64>,
    sets: Vec<Vec<u8>>,
    set_indexes: Vec<u64>,
    generations: Vec<u64>,
    expiries: Vec<u64>,
    stamps: Vec<u64>,
    user_key_lens: Vec<u8>,
    user_keys: Vec<u8>,
    has_user_keys: bool,
    fingerprints: Vec<u8>,
    value_lens: Vec<u64>,
    shapes: Vec<Arc<Shape>>,
    shape_bytes: usize,
    pieces: Vec<u8>,
}

impl KeysBuilder {
    pub(in crate::layer) fn first_key(&self) -> &[u8] {
        &self.first_key
    }

    pub(super) const fn shape_bytes(&self) -> usize {
        self.shape_bytes
    }

    pub(super) fn push(&mut self, row: &NewRow<'_>) {
        let shared = if self.kinds.is_empty() {
            self.first_key.extend_from_slice(row.key);
            0
        } else {
            shared_prefix(&self.last_key, row.key)
        };
        let own = &row.key[shared..];
        put_u64(&mut self.key_lens, shared as u64);
        put_u64(&mut self.key_lens, own.len() as u64);
        self.key_bytes.extend_from_slice(own);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(own);
        let kind = match row.value {
            RowValue::InPlace(..) => RowKind::InPlace,
            RowValue::Inherited => RowKind::Inherited,
            RowValue::Pieces(shape, list) => {
                let index = self.shape_index(shape);
                put_u64(&mut self.pieces, index as u64);
                put_slice(&mut self.pieces, list);
                RowKind::Pieces
            }
            RowValue::Tombstone => RowKind::Tombstone,
        };
        self.kinds.push(kind as u64);
        if kind != RowKind::Tombstone {
            self.push_live(row);
        }
    }

    fn push_live(&mut self, row: &NewRow<'_>) {
        let set = self.set_index(row.meta.set);
        self.set_indexes.push(set as u64);
        self.generations.push(u64::from(row.meta.generation));
        self.expiries.push(row.meta.expiry.as_millis());
        self.stamps.push(row.meta.stamp);
        match row.meta.user_key {
            None => self.user_key_lens.push(0),
            Some(user_key) => {
                self.has_user_keys = true;
                put_u64(&mut self.user_key_lens, user_key.len() as u64 + 1);
                self.user_keys.extend_from_slice(user_key);
            }
        }
        self.fingerprints.extend_from_slice(&row.fingerprint.0);
        self.value_lens.push(row.value_bytes);
    }

    fn set_index(&mut self, set: &[u8]) -> usize {
        // Neighbours usually share their set.
        if let Some(&last) = self.set_indexes.last()
            && same(&self.sets[last as usize], set)
        {
            return last as usize;
        }
        self.sets.iter().position(|known| known == set).unwrap_or_else(|| {
            self.sets.push(set.to_vec());
            self.sets.len() - 1
        })
    }

    fn shape_index(&mut self, shape: &Arc<Shape>) -> usize {
        self.shapes.iter().rposition(|known| Arc::ptr_eq(known, shape) || known == shape).unwrap_or_else(|| {
            self.shape_bytes += encoded_len(shape);
            self.shapes.push(Arc::clone(shape));
            self.shapes.len() - 1
        })
    }

    /// Writes the chunk.
    pub(in crate::layer) fn write(&self, out: &mut ChunkPlain) {
        let mut header = vec![VERSION];
        let [mut kinds, mut sets, mut generations, mut expiries, mut stamps, mut value_lens] =
            std::array::from_fn(|_| Vec::new());
        put_u64(&mut header, self.kinds.len() as u64);
        put_u64(&mut header, self.generations.len() as u64);
        put_column(&mut header, &mut kinds, Layout::Byte, &self.kinds);
        put_u64(&mut header, self.sets.len() as u64);
        for set in &self.sets {
            put_slice(&mut header, set);
        }
        put_column(&mut header, &mut sets, Layout::Varint, &self.set_indexes);
        put_column(&mut header, &mut generations, Layout::Varint, &self.generations);
        put_column(&mut header, &mut expiries, Layout::Delta, &self.expiries);
        put_column(&mut header, &mut stamps, Layout::Fixed, &self.stamps);
        header.push(u8::from(self.has_user_keys));
        put_column(&mut header, &mut value_lens, Layout::Varint, &self.value_lens);
        put_u64(&mut header, self.shapes.len() as u64);
        for shape in &self.shapes {
            shape.encode(&mut header);
        }
        let user_key_lens: &[u8] = if self.has_user_keys { &self.user_key_lens } else { &[] };
        out.clear();
        for run in [
            &header,
            &self.key_lens,
            &self.key_bytes,
            &kinds,
            &sets,
            &generations,
            &expiries,
            &stamps,
            user_key_lens,
            &self.user_keys,
            &self.fingerprints,
            &value_lens,
            &self.pieces,
        ] {
            out.bytes.extend_from_slice(run);
            out.end_run();
        }
    }

    pub(super) fn clear(&mut self) {
        self.first_key.clear();
        self.last_key.clear();
        self.key_lens.clear();
        self.key_bytes.clear();
        self.kinds.clear();
        self.sets.clear();
        self.set_indexes.clear();
        self.generations.clear();
        self.expiries.clear();
        self.stamps.clear();
        self.user_key_lens.clear();
        self.user_keys.clear();
        self.has_user_keys = false;
        self.fingerprints.clear();
        self.value_lens.clear();
        self.shapes.clear();
        self.shape_bytes = 0;
        self.pieces.clear();
    }
}

/// The length of a shape's encoding.
pub(in crate::layer) fn encoded_len(shape: &Shape) -> usize {
    let mut out = Vec::new();
    shape.encode(&mut out);
    out.len()
}
