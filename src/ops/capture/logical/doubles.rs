//! Rows that for a time have one key, within a transaction that checks its keys at its end only (`DEFERRABLE`): two rows may
//! change places, and each is for a moment where the other one still is.

use crate::record::Shape;
use std::{collections::HashMap, sync::Arc};

/// The names of a record's cells, and its canonical bytes.
pub(super) type Record = (Arc<Shape>, Vec<u8>);

/// The rows that lie below the newest one of their key.
#[derive(Default)]
pub(super) struct Doubles(HashMap<(usize, Vec<u8>), Vec<Record>>);

impl Doubles {
    /// A row got the key of one that stands.
    pub(super) fn add(&mut self, collection: usize, key: &[u8], standing: Record) {
        self.0.entry((collection, key.to_vec())).or_default().push(standing);
    }

    /// Whether a key has rows below the newest.
    pub(super) fn has(&self, collection: usize, key: &[u8]) -> bool {
        !self.0.is_empty() && self.0.contains_key(&(collection, key.to_vec()))
    }

    /// The newest row of a key goes: gives the one below it.
    pub(super) fn uncover(&mut self, collection: usize, key: &[u8]) -> Option<Record> {
        self.change(collection, key, Vec::pop)
    }

    /// The row below the newest that held a value goes.
    pub(super) fn remove(&mut self, collection: usize, key: &[u8], value: &[u8]) {
        self.change(collection, key, |rows| {
            let at = rows.iter().position(|(_, held)| held == value).unwrap_or(0);
            (!rows.is_empty()).then(|| rows.remove(at))
        });
    }

    /// The row below the newest that held a value gets another one.
    pub(super) fn replace(&mut self, collection: usize, key: &[u8], value: &[u8], new: Record) {
        self.change(collection, key, |rows| {
            let at = rows.iter().position(|(_, held)| held == value).unwrap_or(0);
            rows.get_mut(at).map(|row| std::mem::replace(row, new))
        });
    }

    fn change(
        &mut self,
        collection: usize,
        key: &[u8],
        change: impl FnOnce(&mut Vec<Record>) -> Option<Record>,
    ) -> Option<Record> {
        let id = (collection, key.to_vec());
        let rows = self.0.get_mut(&id)?;
        let found = change(rows);
        if rows.is_empty() {
            self.0.remove(&id);
        }
        found
    }

    /// All rows of a collection are gone.
    pub(super) fn forget(&mut self, collection: usize) {
        self.0.retain(|(of, _), _| *of != collection);
    }

    /// A transaction ended: of every key there is one row at most.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
