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
    met: Met,
    names: Vec<u8>,
    value: Vec<u8>,
}

/// Which of the sets and bins that were asked for some record has, in the order in which they were.
#[derive(Debug, Clone, Default)]
pub struct Met {
    sets: Vec<bool>,
    bins: Vec<bool>,
}

impl Met {
    fn mark(met: &mut Vec<bool>, at: usize) {
        if met.len() <= at {
            met.resize(at + 1, false);
        }
        met[at] = true;
    }

    /// Adds what others met.
    pub fn join(&mut self, other: &Self) {
        for (own, other) in [(&mut self.sets, &other.sets), (&mut self.bins, &other.bins)] {
            for at in (0..other.len()).filter(|at| other[*at]) {
                Self::mark(own, at);
            }
        }
    }

    /// What no record has of what was asked for, in words.
    #[must_use]
    pub fn unmet(&self, part: &PartOptions) -> Vec<String> {
        if part.no_records {
            return Vec::new();
        }
        let unmet = |names: &[String], met: &[bool]| -> Vec<String> {
            let is_unmet = |at: &usize| !met.get(*at).copied().unwrap_or_default();
            (0..names.len()).filter(is_unmet).map(|at| names[at].clone()).collect()
        };
        let sets =
            unmet(&part.sets, &self.sets).into_iter().map(|set| format!("no record that was read is of set `{set}`"));
        let bins =
            unmet(&part.bins, &self.bins).into_iter().map(|bin| format!("no record that was read has a bin `{bin}`"));
        sets.chain(bins).collect()
    }
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

    /// What was met of what was asked for.
    #[must_use]
    pub const fn met(&self) -> &Met {
        &self.met
    }

    /// Makes the row of a record.
    pub fn make<'a>(&'a mut self, record: &'a mut Record) -> Made<'a> {
        if record.set() == MONITOR_SET {
            return Made::Monitor;
        }
        if self.no_records {
            return Made::Unwanted;
        }
        if !self.sets.is_empty() {
            let Some(at) = self.sets.iter().position(|set| set == record.set()) else { return Made::Unwanted };
            Met::mark(&mut self.met.sets, at);
        }
        if let Err(name) = record.sort() {
            return Made::Twice(name);
        }
        let wanted = &self.bins;
        if !wanted.is_empty() && (self.met.bins.len() < wanted.len() || self.met.bins.contains(&false)) {
            for bin in record.bins().filter(|bin| bin.particle != 0) {
                if let Some(at) = wanted.iter().position(|name| name == bin.name) {
                    Met::mark(&mut self.met.bins, at);
                }
            }
        }
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
