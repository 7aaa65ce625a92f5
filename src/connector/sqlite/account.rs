//! What a session reached of each table, and what it could not read: in words, and as ranges in which an absence proves
//! nothing.

use crate::{connector::Doubt, record::KeyRange};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many records that could not be delivered are named.
const NAMED: usize = 100;

/// The account of one session.
#[derive(Debug, Default)]
pub(super) struct Account {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: Vec<String>,
    known: HashSet<String>,
    more: u64,
    /// By collection.
    doubts: HashMap<usize, Vec<Doubt>>,
    /// Collections with rows where no search may find them: how many were reached is asked however many are named.
    torn: HashSet<usize>,
    /// By collection: the ranges that were read to their ends.
    ended: HashMap<usize, Ended>,
}

/// By where a range begins: where it ends, and how many rows it had.
type Ended = BTreeMap<Vec<u8>, (Option<Vec<u8>>, Reached)>;

/// What was reached of a range, or of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) rows: u64,
    /// Whether the pages of the table themselves say that these are all.
    pub(super) is_whole: bool,
}

impl Account {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names something that is not delivered as it is there. A range that is read again says it again: once is enough.
    pub(super) fn name(&self, line: String) {
        let mut inner = self.inner();
        if inner.known.contains(&line) {
        } else if inner.lines.len() < NAMED {
            inner.known.insert(line.clone());
            inner.lines.push(line);
        } else {
            inner.more += 1;
        }
    }

    /// Names what cannot be read of a collection; nothing is to be concluded from what does not come of `range`.
    pub(super) fn lose(&self, collection: usize, range: KeyRange, line: String) {
        let reason = line.clone();
        self.name(line);
        let mut inner = self.inner();
        let doubts = inner.doubts.entry(collection).or_default();
        if !doubts.iter().any(|doubt| doubt.range == range) {
            doubts.push(Doubt { range, reason, acceptable: false });
        }
    }

    /// Notes that rows of the collection may lie where no search finds them.
    pub(super) fn tear(&self, collection: usize) {
        self.inner().torn.insert(collection);
    }

    /// Whether something of the collection could not be read, and all of that is named.
    pub(super) fn has_lost(&self, collection: usize) -> bool {
        let inner = self.inner();
        inner.doubts.contains_key(&collection) && !inner.torn.contains(&collection)
    }

    /// Where an absence proves nothing in a range.
    pub(super) fn doubts(&self, collection: usize, range: &KeyRange) -> Vec<Doubt> {
        let inner = self.inner();
        let of_range = |doubt: &Doubt| {
            let range = doubt.range.intersection(range)?;
            Some(Doubt { range, ..doubt.clone() })
        };
        inner.doubts.get(&collection).into_iter().flatten().filter_map(of_range).collect()
    }

    /// Notes that a range was read to its end; gives what was reached of the whole collection once all of it was.
    pub(super) fn ended(&self, collection: usize, range: &KeyRange, rows: u64, is_whole: bool) -> Option<Reached> {
        let mut inner = self.inner();
        let ended = inner.ended.entry(collection).or_default();
        ended.insert(range.start.clone(), (range.end.clone(), Reached { rows, is_whole }));
        let (mut at, mut all) = (Vec::new(), Reached { rows: 0, is_whole: true });
        loop {
            let (end, reached) = ended.get(&at)?;
            all.rows += reached.rows;
            all.is_whole &= reached.is_whole;
            match end {
                Some(end) => at.clone_from(end),
                None => return Some(all),
            }
        }
    }

    /// All that was named.
    pub(super) fn take_lines(&self) -> Vec<String> {
        let mut inner = self.inner();
        let mut lines = std::mem::take(&mut inner.lines);
        if inner.more > 0 {
            lines.push(format!("and {} more that could not be read", inner.more));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &[u8], end: Option<&[u8]>) -> KeyRange {
        KeyRange { start: start.to_vec(), end: end.map(<[u8]>::to_vec) }
    }

    #[test]
    fn rows_are_known_once_every_range_was_read_however_often() {
        let account = Account::default();
        let reached = |rows, is_whole| Some(Reached { rows, is_whole });
        assert_eq!(account.ended(0, &range(b"", Some(b"m")), 5, true), None);
        assert_eq!(account.ended(1, &range(b"", None), 9, true), reached(9, true));
        assert_eq!(account.ended(0, &range(b"m", None), 2, false), reached(7, false));
        assert_eq!(account.ended(0, &range(b"m", None), 3, true), reached(8, true));
    }

    #[test]
    fn what_is_lost_is_said_once_and_doubted_where_it_lies() {
        let account = Account::default();
        account.lose(0, range(b"c", Some(b"f")), "gone".to_owned());
        account.lose(0, range(b"c", Some(b"f")), "gone".to_owned());
        assert_eq!(account.doubts(0, &range(b"e", None))[0].range, range(b"e", Some(b"f")));
        assert_eq!(account.doubts(0, &range(b"f", None)), []);
        assert_eq!(account.doubts(1, &range(b"", None)), []);
        assert_eq!(account.take_lines(), ["gone"]);
    }
}
