//! A keys chunk as it is read: decoded once into flat arrays.

use super::{
    MAX_KEYS_BYTES, MAX_ROWS, RowKind, VERSION,
    columns::{Column, Layout, take_key},
};
use crate::{
    record::{
        Expiry, Fingerprint, MAX_KEY_BYTES, Meta, Shape,
        bytes::{DecodeError, Reader, known_version},
    },
    repo::ChunkPlain,
};
use std::{ops::Range, sync::Arc};

/// One row, its bytes in the block's buffers.
#[derive(Debug, Clone)]
pub(in crate::layer) struct KeyRow {
    key_end: u32,
    set: u32,
    user_key: Option<(u32, u32)>,
    pub(in crate::layer) kind: RowKind,
    pub(in crate::layer) generation: u32,
    pub(in crate::layer) expiry: Expiry,
    pub(in crate::layer) stamp: u64,
    pub(in crate::layer) fingerprint: Fingerprint,
    pub(in crate::layer) value_bytes: u64,
    /// In place: which value of the values chunk. In pieces: which piece list.
    pub(in crate::layer) ordinal: u32,
}

/// The keys of one block.
#[derive(Debug, Default)]
pub(in crate::layer) struct KeysBlock {
    rows: Vec<KeyRow>,
    keys: Vec<u8>,
    sets: Vec<Vec<u8>>,
    user_keys: Vec<u8>,
    shapes: Vec<Arc<Shape>>,
    pieces: Vec<(u32, Range<usize>)>,
    piece_bytes: Vec<u8>,
    live_rows: u64,
    values: u64,
}

struct Header<'a> {
    rows: usize,
    live: usize,
    kinds: Column<'a>,
    sets: Column<'a>,
    generations: Column<'a>,
    expiries: Column<'a>,
    stamps: Column<'a>,
    user_keys: bool,
    value_lens: Column<'a>,
}

/// The slices of a chunk's runs; `None` unless there are `N`.
pub(super) fn runs_of(plain: &ChunkPlain) -> Result<Vec<&[u8]>, DecodeError> {
    plain.runs().map(|run| plain.bytes.get(run).ok_or(DecodeError::Truncated("a run"))).collect()
}

impl KeysBlock {
    /// Decodes and checks a keys chunk.
    pub(in crate::layer) fn decode(plain: &ChunkPlain) -> Result<Self, DecodeError> {
        let runs = runs_of(plain)?;
        known_version(runs.first().copied(), VERSION, "version of a keys chunk")?;
        let runs: [&[u8]; 13] =
            runs.try_into().map_err(|_| DecodeError::Invalid("the number of runs of a keys chunk"))?;
        let mut block = Self::default();
        let header = block.read_header(&runs)?;
        block.read_pieces(runs[12])?;
        block.user_keys.extend_from_slice(runs[9]);
        block.read_rows(header, &runs)?;
        Ok(block)
    }

    fn read_header<'a>(&mut self, runs: &[&'a [u8]; 13]) -> Result<Header<'a>, DecodeError> {
        let mut header = Reader::new(runs[0]);
        header.u8("a keys chunk's version")?;
        let count = |value: u64, what| match usize::try_from(value) {
            Ok(count) if count <= MAX_ROWS => Ok(count),
            _ => Err(DecodeError::Invalid(what)),
        };
        let rows = count(header.u64("a number of rows")?, "a number of rows")?;
        let live = count(header.u64("a number of live rows")?, "a number of live rows")?;
        if rows == 0 || live > rows || runs[1].len() < 2 * rows || runs[10].len() != 12 * live {
            return Err(DecodeError::Invalid("a number of rows"));
        }
        let kinds = Column::open(&mut header, runs[3], Layout::Byte)?;
        for _ in 0..header.len("a number of sets")? {
            self.sets.push(header.slice("a set")?.to_vec());
        }
        let sets = Column::open(&mut header, runs[4], Layout::Varint)?;
        let generations = Column::open(&mut header, runs[5], Layout::Varint)?;
        let expiries = Column::open(&mut header, runs[6], Layout::Delta)?;
        let stamps = Column::open(&mut header, runs[7], Layout::Fixed)?;
        let user_keys = match header.u8("whether there are user keys")? {
            0 if runs[8].is_empty() => false,
            1 => true,
            _ => return Err(DecodeError::Invalid("whether there are user keys")),
        };
        let value_lens = Column::open(&mut header, runs[11], Layout::Varint)?;
        for _ in 0..header.len("a number of shapes")? {
            self.shapes.push(Arc::new(Shape::decode(&mut header)?));
        }
        header.finish("a keys chunk's header")?;
        Ok(Header { rows, live, kinds, sets, generations, expiries, stamps, user_keys, value_lens })
    }

    fn read_pieces(&mut self, run: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(run);
        while !reader.is_empty() {
            let shape = reader.u32("a shape's index")?;
            if shape as usize >= self.shapes.len() {
                return Err(DecodeError::Invalid("a shape's index"));
            }
            let list = reader.slice("a piece list")?;
            let end = run.len() - reader.rest().len();
            self.pieces.push((shape, end - list.len()..end));
        }
        self.piece_bytes.extend_from_slice(run);
        Ok(())
    }

    fn read_rows(&mut self, mut header: Header<'_>, runs: &[&[u8]; 13]) -> Result<(), DecodeError> {
        let mut lens = Reader::new(runs[1]);
        let mut own = Reader::new(runs[2]);
        let mut user_key_lens = Reader::new(runs[8]);
        let mut fingerprints = Reader::new(runs[10]);
        let mut user_key_end = 0usize;
        let (mut values, mut pieces, mut live) = (0u32, 0u32, 0usize);
        let mut before = None;
        self.rows.reserve_exact(header.rows);
        for _ in 0..header.rows {
            let shared = lens.u64("a key's shared prefix")?;
            let own_len = usize::try_from(lens.u64("a key's length")?).unwrap_or(usize::MAX);
            let start = self.keys.len();
            take_key(&mut self.keys, before, shared, own.take(own_len, "a key")?, MAX_KEYS_BYTES)?;
            before = Some(start);
            if self.keys.len() - start > MAX_KEY_BYTES {
                return Err(DecodeError::Invalid("a key's length"));
            }
            let kind = RowKind::from_u64(header.kinds.next("a row's kind")?)?;
            let mut row = KeyRow {
                key_end: self.keys.len() as u32,
                set: u32::MAX,
                user_key: None,
                kind,
                generation: 0,
                expiry: Expiry::NEVER,
                stamp: 0,
                fingerprint: Fingerprint::default(),
                value_bytes: 0,
                ordinal: 0,
            };
            match kind {
                RowKind::InPlace => {
                    row.ordinal = values;
                    values += 1;
                }
                RowKind::Pieces => {
                    row.ordinal = pieces;
                    pieces += 1;
                }
                RowKind::Inherited | RowKind::Tombstone => {}
            }
            if kind != RowKind::Tombstone {
                live += 1;
                row.set = header.sets.next_u32("a set's index")?;
                if row.set as usize >= self.sets.len() {
                    return Err(DecodeError::Invalid("a set's index"));
                }
                row.generation = header.generations.next_u32("a generation")?;
                row.expiry = Expiry::from_millis(header.expiries.next("an expiry")?);
                row.stamp = header.stamps.next("a stamp")?;
                row.fingerprint = Fingerprint(fingerprints.array("a fingerprint")?);
                row.value_bytes = header.value_lens.next("a value's length")?;
                if header.user_keys {
                    row.user_key = self.take_user_key(&mut user_key_lens, &mut user_key_end)?;
                }
            }
            self.rows.push(row);
        }
        self.live_rows = live as u64;
        self.values = u64::from(values);
        if live != header.live || pieces as usize != self.pieces.len() || user_key_end != self.user_keys.len() {
            return Err(DecodeError::Invalid("a count of a keys chunk"));
        }
        lens.finish("the lengths of keys")?;
        own.finish("the bytes of keys")?;
        user_key_lens.finish("the lengths of user keys")?;
        header.kinds.finish("the kinds of rows")?;
        header.sets.finish("the sets of rows")?;
        header.generations.finish("the generations of rows")?;
        header.expiries.finish("the expiries of rows")?;
        header.stamps.finish("the stamps of rows")?;
        header.value_lens.finish("the lengths of values")
    }

    fn take_user_key(&self, lens: &mut Reader<'_>, end: &mut usize) -> Result<Option<(u32, u32)>, DecodeError> {
        let Some(len) = lens.u64("a user key's length")?.checked_sub(1) else { return Ok(None) };
        let start = *end;
        if len > (self.user_keys.len() - start) as u64 {
            return Err(DecodeError::Truncated("a user key"));
        }
        *end += len as usize;
        Ok(Some((start as u32, *end as u32)))
    }

    /// The number of rows.
    pub(in crate::layer) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of rows that are not tombstones.
    pub(in crate::layer) const fn live_rows(&self) -> u64 {
        self.live_rows
    }

    /// The number of values in place.
    pub(in crate::layer) const fn values(&self) -> u64 {
        self.values
    }

    #[inline]
    pub(in crate::layer) fn key(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.rows[row - 1].key_end as usize };
        &self.keys[start..self.rows[row].key_end as usize]
    }

    #[inline]
    pub(in crate::layer) fn row(&self, row: usize) -> &KeyRow {
        &self.rows[row]
    }

    #[inline]
    pub(in crate::layer) fn meta(&self, row: usize) -> Meta<'_> {
        let head = &self.rows[row];
        Meta {
            set: self.sets.get(head.set as usize).map_or(&[], Vec::as_slice),
            generation: head.generation,
            expiry: head.expiry,
            stamp: head.stamp,
            user_key: head.user_key.map(|(start, end)| &self.user_keys[start as usize..end as usize]),
        }
    }

    /// The shape and the encoded piece list of a row in pieces.
    pub(in crate::layer) fn pieces(&self, row: usize) -> (&Arc<Shape>, &[u8]) {
        let (shape, range) = &self.pieces[self.rows[row].ordinal as usize];
        (&self.shapes[*shape as usize], &self.piece_bytes[range.clone()])
    }

    /// All piece lists of the block.
    pub(in crate::layer) fn piece_lists(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|(_, range)| &self.piece_bytes[range.clone()])
    }

    /// The first row whose key is not below `key`.
    pub(in crate::layer) fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}
