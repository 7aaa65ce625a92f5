//! Which snapshots of other repositories a repository holds.

use crate::{
    ops::OpsError,
    repo::{RepoId, Repository, Snapshot, SnapshotId, carried::Carried, manifest::CopyOf},
};
use std::collections::{HashMap, HashSet};

/// What a snapshot is by origin: itself, or what it is a copy of.
pub(super) fn origin(repo: &Repository, snapshot: &Snapshot) -> CopyOf {
    let own = || CopyOf { repository: repo.id(), snapshot: snapshot.id, other: Carried::default() };
    snapshot.content.copy_of.clone().unwrap_or_else(own)
}

/// The snapshots of a repository by origin; of several copies the oldest by name.
#[derive(Default)]
pub(super) struct Copies {
    by_origin: HashMap<(RepoId, SnapshotId), Snapshot>,
    /// The names that were looked at.
    seen: HashSet<SnapshotId>,
}

impl Copies {
    pub fn of(repo: &Repository) -> Result<Self, OpsError> {
        let mut copies = Self { seen: repo.snapshot_names()?, ..Self::default() };
        let mut snapshots = repo.snapshots()?;
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.id));
        for snapshot in snapshots {
            copies.insert(repo, snapshot);
        }
        Ok(copies)
    }

    /// Takes in what came since, and opens nothing else: there may be thousands.
    pub fn look_again(&mut self, repo: &Repository) -> Result<(), OpsError> {
        repo.refresh()?;
        for name in repo.snapshot_names()? {
            if self.seen.insert(name)
                && let Some(snapshot) = repo.snapshot(&name)?
            {
                self.insert(repo, snapshot);
            }
        }
        Ok(())
    }

    pub fn get(&self, origin: &CopyOf) -> Option<&Snapshot> {
        self.by_origin.get(&(origin.repository, origin.snapshot))
    }

    pub fn insert(&mut self, repo: &Repository, snapshot: Snapshot) {
        let origin = origin(repo, &snapshot);
        self.by_origin.insert((origin.repository, origin.snapshot), snapshot);
    }
}
