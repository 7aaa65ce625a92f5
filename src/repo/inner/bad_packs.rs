//! Packs that were found to be bad.

use super::lock;
use crate::repo::{
    ObjectName, RepoError,
    catalog::{ChunkPlace, PackNumber},
};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// One of them.
struct BadPack {
    number: PackNumber,
    problem: String,
    is_remembered: bool,
}

/// Packs in which a chunk that their index promises could not be read, since this repository was opened. Packs never
/// change, so what was damaged or gone once is not trusted again: writers count what lies in them as absent.
#[derive(Default)]
pub(in crate::repo) struct BadPacks {
    found: Mutex<BTreeMap<ObjectName, BadPack>>,
    any: AtomicBool,
}

impl BadPacks {
    /// Trouble that may pass says nothing about the pack.
    pub fn note(&self, place: &ChunkPlace, error: &RepoError) {
        if matches!(error, RepoError::Damaged { .. } | RepoError::Missing { .. }) {
            self.insert(place.name, place.pack, &error.to_string());
        }
    }

    pub fn insert(&self, name: ObjectName, number: PackNumber, problem: &str) {
        let bad = || BadPack { number, problem: problem.to_owned(), is_remembered: false };
        lock(&self.found).entry(name).or_insert_with(bad);
        self.any.store(true, Ordering::Release);
    }

    /// What nobody was told of yet.
    pub fn to_remember(&self) -> Vec<(ObjectName, String)> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let found = lock(&self.found);
        let new = found.iter().filter(|(_, bad)| !bad.is_remembered);
        new.map(|(name, bad)| (*name, bad.problem.clone())).collect()
    }

    pub fn is_remembered(&self, name: &ObjectName) {
        if let Some(bad) = lock(&self.found).get_mut(name) {
            bad.is_remembered = true;
        }
    }

    pub fn forget(&self, name: &ObjectName) {
        lock(&self.found).remove(name);
    }

    pub fn has(&self, name: &ObjectName) -> bool {
        self.any.load(Ordering::Acquire) && lock(&self.found).contains_key(name)
    }

    /// All of them; nearly always none.
    pub fn all(&self) -> Vec<(PackNumber, ObjectName)> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        lock(&self.found).iter().map(|(name, bad)| (bad.number, *name)).collect()
    }
}
