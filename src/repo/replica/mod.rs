//! Replicas: a repository copied byte for byte to another place, without a key and without a lease, beside writers and pruners.
//!
//! What is copied in which order, and why the replica is a complete repository at every moment, is section 12 of
//! `format-spec/protocol.md`.

mod bring;
mod follow;
mod rounds;
mod side;
mod standing;

use super::{RepoError, SnapshotId, Storage, budget::Budget, keys, repository::promises};
use crate::record::Timestamp;
use bring::Carrier;
use serde::Serialize;
use side::Held;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

/// How a repository is replicated.
#[derive(Debug, Clone, Default)]
pub struct ReplicaOptions {
    /// Objects on their way at once.
    pub workers: usize,
    /// Find out what would be copied and deleted, and change nothing.
    pub dry_run: bool,
    /// Whether what the source no longer has goes from the replica too.
    pub follow: Option<Follow>,
}

/// How deletions are followed.
#[derive(Debug, Clone)]
pub struct Follow {
    /// How long the source must have been without an object.
    pub age: Duration,
    /// The time now, by the same clock as the times below.
    pub now: Timestamp,
    /// Since when the source is known to be without these.
    pub missed: BTreeMap<String, Timestamp>,
}

/// What a stretch of the work copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Packs.
    Packs,
    /// Index objects.
    Index,
    /// Revisions, tombstones and voids of snapshots.
    Snapshots,
    /// Groups of parity, and settings.
    Parity,
}

/// Hears how far it is; called from several threads.
pub trait Watch: Sync {
    /// A stretch of work begins.
    fn begins(&self, stage: Stage, objects: u64, bytes: u64);
    /// So much more is copied.
    fn copied(&self, objects: u64, bytes: u64);
    /// Whether to stop.
    fn cancelled(&self) -> bool;
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Replicated {
    /// The repository's id.
    pub repository: String,
    /// Where the replica is.
    pub location: String,
    /// Key slots and `rekeep.json`, each of them kept twice.
    pub keys: u64,
    /// Packs.
    pub packs: u64,
    /// Index objects.
    pub index: u64,
    /// Objects of snapshots: revisions, tombstones, voids.
    pub snapshots: u64,
    /// Groups of parity, and settings.
    pub parity: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// How often the source was listed until it held still.
    pub rounds: u64,
    /// Damaged objects of the replica that were replaced.
    pub mended: Vec<String>,
    /// What could not be copied, and why.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// Objects that went because the source no longer has them.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Objects that the source no longer has and that stay for now.
    pub waiting: u64,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Since when the source is known to be without what waits.
    #[serde(skip)]
    pub missed: BTreeMap<String, Timestamp>,
}

/// The repository at a place, and the snapshots that are listed there and were not gathered: without a key, so whether they were
/// forgotten there is not known.
///
/// # Errors
/// [`RepoError::NoRepository`], or what listing says.
pub fn lists(storage: &Storage) -> Result<(String, BTreeSet<SnapshotId>), RepoError> {
    let id = standing::id_of(storage)?;
    let side::Snapshots { revisions, gathered, .. } = side::Snapshots::of(storage)?;
    let listed = revisions.into_iter().filter(|(id, revisions)| revisions.contains_key(&0) && !gathered.contains(id));
    Ok((id, listed.map(|(id, _)| id).collect()))
}

/// Copies to `target` what it lacks of the repository at `source`.
///
/// # Errors
/// [`RepoError::NotReplica`] if another repository lies there, or somebody wrote to it; [`RepoError::KeepsMoving`] if the source is
/// pruned faster than it is copied; [`RepoError::Interrupted`]. What was copied by then stays, and the next run finds it.
pub fn replicate(
    source: &Storage,
    target: &Storage,
    options: &ReplicaOptions,
    watch: &dyn Watch,
) -> Result<Replicated, RepoError> {
    let id = standing::id_of(source)?;
    standing::are_apart(source, target)?;
    target.only_in(&keys::regions_of(source)?);
    target.stays_within()?;
    // Before the source is listed: what the replica holds came from it earlier.
    let held = Held::of(target)?;
    standing::is_ours(target, &held, &id)?;
    standing::nobody_writes(target, options.dry_run)?;
    if !options.dry_run {
        if !held.small.contains_key(keys::CONFIG)
            && let Some(verdict) = promises::refuse_if_broken(target)?
        {
            target.rely_on(verdict.promises());
        }
        target.sweep()?;
    }
    let location = target.location().to_owned();
    let done = Replicated { repository: id, location, dry_run: options.dry_run, ..Replicated::default() };
    let workers = options.workers.max(1);
    let budget = std::sync::Arc::new(Budget::new(workers));
    let (held, done) = (Mutex::new(held), Mutex::new(done));
    let carrier = Carrier { source, target, workers, dry_run: options.dry_run, watch, budget, held, done };
    let slots = carrier.bring_keys()?;
    let stood = rounds::until_it_stands(&carrier)?;
    follow::deletions(&carrier, &slots, &stood, options.follow.as_ref())?;
    Ok(carrier.finish())
}
