//! What all who work with one opened repository share. Rooms beside it add to it what they do with it.

mod bad_packs;
pub(super) mod create;
mod frozen;
mod opened;
mod pack_keys;
mod read_ahead;
mod seen_leases;

use super::{SnapshotId, Storage, budget::Budget, cache::Cache, catalog::Catalog, keys::Keyring};
use crate::{record::Clock, report::Warning};
pub(super) use bad_packs::BadPacks;
pub(super) use frozen::Frozen;
pub(super) use opened::{Mark, Opened};
pub(super) use pack_keys::PackKeys;
pub(super) use read_ahead::Held;
pub(super) use seen_leases::SeenLeases;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// How much is looked at when storage is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What is new in it.
    AtNews,
    /// Also what only a person need hear of, such as marks that count for nothing.
    AtAll,
}

/// What all clones of a repository, its readers and its sessions share.
pub(super) struct Inner {
    pub(super) storage: Storage,
    pub(super) keyring: Arc<Keyring>,
    pub(super) catalog: Catalog,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) host: String,
    pub(super) pack_keys: PackKeys,
    pub(super) bad_packs: BadPacks,
    pub(super) frozen: Frozen,
    pub(super) opened: Opened,
    pub(super) strange: Mutex<Strange>,
    /// The snapshots of which the last listing of `snapshots/` showed what cannot be read.
    pub(super) unread: Mutex<BTreeMap<SnapshotId, Unread>>,
    /// What opening met.
    pub(super) met: OnceLock<Vec<Warning>>,
    pub(super) refreshing: Mutex<()>,
    pub(super) seen_leases: SeenLeases,
    /// Leases that this process holds, or held.
    pub(super) own_leases: Mutex<HashSet<SnapshotId>>,
    pub(super) budget: Arc<Budget>,
    pub(super) read_ahead: Held,
    /// `None` where storage is near, or nothing may be kept.
    pub(super) cache: Option<Cache>,
    /// Where what sources note may lie.
    pub(super) notes: Option<PathBuf>,
}

/// What listings showed and no object is.
#[derive(Default)]
pub(super) struct Strange {
    /// Things of others.
    pub foreign: BTreeSet<String>,
    /// What hides objects.
    pub hidden: BTreeSet<String>,
}

/// What cannot be read of a snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unread {
    /// The highest revision that a newer program wrote.
    pub newer: Option<u64>,
}

/// Locks; a thread that panicked under one of our locks left nothing half done in it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
