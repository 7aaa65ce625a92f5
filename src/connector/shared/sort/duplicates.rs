//! Records whose key another one has.

use crate::record::KeyRange;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What is made of records with one key.
#[derive(Clone)]
pub(in crate::connector) enum Duplicates {
    /// They are an error, which names their lines.
    Refused,
    /// The one with the highest number of a line stays, and it is remembered.
    LastWins(Arc<Twice>),
}

/// Keys that came more than once.
#[derive(Default)]
pub(in crate::connector) struct Twice {
    /// By where a range begins, since one may be read again.
    ranges: Mutex<BTreeMap<Vec<u8>, Told>>,
}

/// How many records of a range went, and the first of them.
type Told = (u64, Vec<Pair>);

/// A key, the line of the record that went, and that of the one that stayed.
pub(in crate::connector) type Pair = (Vec<u8>, u64, u64);

/// As many are named of each range.
const NAMED_PAIRS: usize = 3;

impl Twice {
    /// How many records went, and some of them.
    pub(in crate::connector) fn told(&self) -> (u64, Vec<Pair>) {
        let ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = ranges.values().flat_map(|(_, pairs)| pairs.iter().cloned());
        (ranges.values().map(|(count, _)| count).sum(), pairs.take(NAMED_PAIRS).collect())
    }

    pub(super) fn begin(&self, range: &KeyRange) {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).remove(&range.start);
    }

    pub(super) fn note(&self, range: &KeyRange, pair: Pair) {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, pairs) = ranges.entry(range.start.clone()).or_default();
        *count += 1;
        if pairs.len() < NAMED_PAIRS {
            pairs.push(pair);
        }
    }
}
