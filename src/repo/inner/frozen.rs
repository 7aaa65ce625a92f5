//! Packs that lie in an archive.

use super::lock;
use crate::repo::{ObjectName, RepoError};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Packs that lie in an archive, as far as reads meet them while somebody tries what can be read.
#[derive(Default)]
pub(in crate::repo) struct Frozen {
    pub rehearsals: AtomicUsize,
    pub met: Mutex<BTreeSet<ObjectName>>,
}

impl Frozen {
    pub fn note(&self, name: ObjectName, error: &RepoError) {
        if self.rehearsals.load(Ordering::Acquire) > 0 && matches!(error, RepoError::Archived { .. }) {
            lock(&self.met).insert(name);
        }
    }

    /// Whether nobody need be asked again just now.
    pub fn has(&self, name: &ObjectName) -> bool {
        self.rehearsals.load(Ordering::Acquire) > 0 && lock(&self.met).contains(name)
    }
}
