//! From a parsed record to a row: the same key, fields and cells that a scan of the cluster gives.

use super::{codec::Record, options::PartOptions};
use crate::{
    connector::void_time::{MONITOR_SET, expiry_of},
    record::{
        CellWriter, Digest, Meta, Tag,
        bytes::{put_slice, put_u64},
        digest::KEY_BYTES,
    },
};

/// Makes rows; its buffers are used again.
#[derive(Debug, Default)]
pub struct RowMaker {
    sets: Vec<Vec<u8>>,
    bins: Vec<Vec<u8>>,
    no_records: bool,
    names: Vec<u8>,
    value: Vec<u8>,
}

/// A record as a row.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its namespace.
    pub namespace: &'a [u8],
    /// Its sort key.
    pub key: [u8; KEY_BYTES],
    /// Its fields.
    pub meta: Meta<'a>,
    /// The names of its cells, as a shape writes them.
    pub names: &'a [u8],
    /// Its cells.
    pub value: &'a [u8],
}

/// What becomes of a record.
#[derive(Debug)]
pub enum Made<'a> {
    /// It is a row.
    Row(Row<'a>),
    /// It was not asked for.
    Unwanted,
    /// It belongs to a transaction, and scans do not show it.
    Monitor,
    /// It has no bins: it was written without them.
    NoBins,
    /// Two of its bins have this name.
    Twice(Vec<u8>),
}

impl RowMaker {
    /// For these records.
    #[must_use]
    pub fn new(part: &PartOptions) -> Self {
        let bytes = |names: &[String]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { sets: bytes(&part.sets), bins: bytes(&part.bins), no_records: part.no_records, ..Self::default() }
    }

    /// Makes the row of a record.
    pub fn make<'a>(&'a mut self, record: &'a mut Record) -> Made<'a> {
        if record.set() == MONITOR_SET {
            return Made::Monitor;
        }
        if self.no_records || !self.sets.is_empty() && !self.sets.iter().any(|set| set == record.set()) {
            return Made::Unwanted;
        }
        if let Err(name) = record.sort() {
            return Made::Twice(name);
        }
        let wanted = &self.bins;
        // A bin without a value is none.
        let bins = record
            .bins()
            .filter(|bin| bin.particle != 0 && (wanted.is_empty() || wanted.iter().any(|name| name == bin.name)));
        let count = bins.clone().count();
        if count == 0 {
            return if wanted.is_empty() { Made::NoBins } else { Made::Unwanted };
        }
        self.names.clear();
        self.value.clear();
        put_u64(&mut self.names, count as u64);
        let mut cells = CellWriter::new(&mut self.value, count);
        for bin in bins {
            put_slice(&mut self.names, bin.name);
            cells.cell(Tag(bin.particle), bin.value);
        }
        let meta = Meta {
            set: record.set(),
            generation: record.generation.into(),
            expiry: expiry_of(record.void_time),
            stamp: 0,
            user_key: record.user_key(),
        };
        Made::Row(Row {
            namespace: record.namespace(),
            key: Digest(record.digest).sort_key(),
            meta,
            names: &self.names,
            value: &self.value,
        })
    }
}
