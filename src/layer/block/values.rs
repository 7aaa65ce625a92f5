//! The values chunk of a block in the making: one set of buffers per cell name, filled as rows come.

use super::{MAX_COLUMNS, VERSION, keys::encoded_len};
use crate::{
    record::{
        Shape,
        bytes::{DecodeError, Reader, put_slice, put_u64},
    },
    repo::ChunkPlain,
};
use std::{collections::HashMap, sync::Arc};

#[derive(Default)]
struct Column {
    name: Vec<u8>,
    tags: Vec<u8>,
    lens: Vec<u32>,
    data: Vec<u8>,
}

struct KnownShape {
    shape: Arc<Shape>,
    columns: Vec<u32>,
}

/// Collects values by column.
#[derive(Default)]
pub(in crate::layer) struct ValuesBuilder {
    shapes: Vec<KnownShape>,
    by_digest: HashMap<[u8; 16], u32>,
    row_shapes: Vec<u32>,
    shape_bytes: usize,
    names: HashMap<Vec<u8>, u32>,
    columns: Vec<Column>,
    spare: Vec<Column>,
}

impl ValuesBuilder {
    pub(super) const fn shape_bytes(&self) -> usize {
        self.shape_bytes
    }

    /// Adds a value; an error says that its bytes are not of its shape, and leaves the builder unusable.
    pub(super) fn push(&mut self, shape: &Arc<Shape>, value: &[u8]) -> Result<(), DecodeError> {
        let index = self.shape_index(shape);
        self.row_shapes.push(index);
        let columns = &self.shapes[index as usize].columns;
        let Some((last, rest)) = columns.split_last() else {
            return if value.is_empty() { Ok(()) } else { Err(DecodeError::Trailing("a value")) };
        };
        let mut reader = Reader::new(value);
        for &column in rest {
            let tag = reader.u8("a cell's tag")?;
            let bytes = reader.slice("a cell")?;
            self.columns[column as usize].push(tag, bytes);
        }
        let tag = reader.u8("a cell's tag")?;
        self.columns[*last as usize].push(tag, reader.rest());
        Ok(())
    }

    #[inline]
    fn shape_index(&mut self, shape: &Arc<Shape>) -> u32 {
        if let Some(&last) = self.row_shapes.last()
            && Arc::ptr_eq(&self.shapes[last as usize].shape, shape)
        {
            return last;
        }
        if let Some(&known) = self.by_digest.get(shape.digest())
            && self.shapes[known as usize].shape == *shape
        {
            // The next batch brings the same shape behind another pointer: compare pointers from now on.
            self.shapes[known as usize].shape = Arc::clone(shape);
            return known;
        }
        if let Some(known) = self.shapes.iter().position(|known| known.shape == *shape) {
            return known as u32;
        }
        self.add_shape(shape)
    }

    fn add_shape(&mut self, shape: &Arc<Shape>) -> u32 {
        let mut columns = Vec::with_capacity(shape.len());
        for name in shape.names() {
            let column = if let Some(&column) = self.names.get(name) {
                column
            } else {
                let mut column = self.spare.pop().unwrap_or_default();
                column.name.extend_from_slice(name);
                self.columns.push(column);
                let index = (self.columns.len() - 1) as u32;
                self.names.insert(name.clone(), index);
                index
            };
            columns.push(column);
        }
        self.shape_bytes += encoded_len(shape);
        let index = self.shapes.len() as u32;
        self.by_digest.entry(*shape.digest()).or_insert(index);
        self.shapes.push(KnownShape { shape: Arc::clone(shape), columns });
        index
    }

    /// Writes the chunk; there must be a value.
    pub(in crate::layer) fn write(&self, out: &mut ChunkPlain) {
        let chosen = self.chosen_columns();
        out.clear();
        let header = &mut out.bytes;
        header.push(VERSION);
        put_u64(header, self.row_shapes.len() as u64);
        put_u64(header, self.shapes.len() as u64);
        for known in &self.shapes {
            known.shape.encode(header);
        }
        put_u64(header, chosen.len() as u64);
        for &index in &chosen {
            self.columns[index].write_header(header);
        }
        out.end_run();
        if self.shapes.len() > 1 {
            for shape in &self.row_shapes {
                put_u64(&mut out.bytes, u64::from(*shape));
            }
        }
        out.end_run();
        for &index in &chosen {
            self.columns[index].write(out);
        }
        self.write_rest(&chosen, out);
    }

    /// The columns that get runs of their own, by name.
    fn chosen_columns(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        let name = |index: &usize| self.columns[*index].name.as_slice();
        if order.len() > MAX_COLUMNS {
            let cells = |index: &usize| std::cmp::Reverse(self.columns[*index].lens.len());
            order.sort_unstable_by(|a, b| (cells(a), name(a)).cmp(&(cells(b), name(b))));
            order.truncate(MAX_COLUMNS);
        }
        order.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        order
    }

    fn write_rest(&self, chosen: &[usize], out: &mut ChunkPlain) {
        let (mut tags, mut lens, mut data) = (Vec::new(), Vec::new(), Vec::new());
        if chosen.len() < self.columns.len() {
            let mut has_runs = vec![false; self.columns.len()];
            for &index in chosen {
                has_runs[index] = true;
            }
            // Next cell and its first byte in each column.
            let mut next = vec![(0usize, 0usize); self.columns.len()];
            for &shape in &self.row_shapes {
                for &index in &self.shapes[shape as usize].columns {
                    let index = index as usize;
                    if has_runs[index] {
                        continue;
                    }
                    let (column, (cell, start)) = (&self.columns[index], &mut next[index]);
                    let len = column.lens[*cell] as usize;
                    tags.push(column.tags[*cell]);
                    put_u64(&mut lens, len as u64);
                    data.extend_from_slice(&column.data[*start..*start + len]);
                    *cell += 1;
                    *start += len;
                }
            }
        }
        for run in [tags, lens, data] {
            out.bytes.extend_from_slice(&run);
            out.end_run();
        }
    }

    pub(super) fn clear(&mut self) {
        self.shapes.clear();
        self.by_digest.clear();
        self.row_shapes.clear();
        self.shape_bytes = 0;
        self.names.clear();
        for mut column in self.columns.drain(..) {
            // A block of thousands of names must not leave thousands of buffers behind.
            if self.spare.len() < 2 * MAX_COLUMNS {
                column.clear();
                self.spare.push(column);
            }
        }
    }
}

impl Column {
    #[inline]
    fn push(&mut self, tag: u8, bytes: &[u8]) {
        self.tags.push(tag);
        self.lens.push(bytes.len() as u32);
        self.data.extend_from_slice(bytes);
    }

    fn same_tag(&self) -> Option<u8> {
        let first = *self.tags.first()?;
        self.tags.iter().all(|tag| *tag == first).then_some(first)
    }

    fn same_len(&self) -> Option<u32> {
        let first = *self.lens.first()?;
        self.lens.iter().all(|len| *len == first).then_some(first)
    }

    fn write_header(&self, header: &mut Vec<u8>) {
        put_slice(header, &self.name);
        match self.same_tag() {
            Some(tag) => header.extend_from_slice(&[0, tag]),
            None => header.push(1),
        }
        match self.same_len() {
            Some(len) => {
                header.push(0);
                put_u64(header, u64::from(len));
            }
            None => header.push(1),
        }
    }

    fn write(&self, out: &mut ChunkPlain) {
        if self.same_tag().is_none() {
            out.bytes.extend_from_slice(&self.tags);
        }
        out.end_run();
        let same_len = self.same_len();
        if same_len.is_none() {
            for len in &self.lens {
                put_u64(&mut out.bytes, u64::from(*len));
            }
        }
        out.end_run();
        if same_len == Some(8) {
            for plane in 0..8 {
                out.bytes.extend(self.data.chunks_exact(8).map(|cell| cell[plane]));
            }
        } else {
            out.bytes.extend_from_slice(&self.data);
        }
        out.end_run();
    }

    fn clear(&mut self) {
        self.name.clear();
        self.tags.clear();
        self.lens.clear();
        self.data.clear();
    }
}
