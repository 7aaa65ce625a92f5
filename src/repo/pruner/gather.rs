//! Gathering: snapshots forgotten long ago go into one object, and their folders go.

use super::{LeaseInfo, Pruner, tidy::Tidied};
use crate::repo::{
    RepoError, SnapshotId,
    faults::{self, Rule},
    names,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How many tombstones are left as they are: below that an object for all of them gains nothing.
const FEW: usize = 64;

/// From how many collective tombstones on they are put into one.
const MANY_OBJECTS: usize = 32;

impl Pruner {
    /// Names the snapshots that are forgotten, and whose writers are gone, in a collective tombstone if there are more than a
    /// few, then removes what lies under the names of gathered ones.
    pub(super) fn tidy_forgotten(&self, leases: &[LeaseInfo], tidied: &mut Tidied) -> Result<(), RepoError> {
        self.gather_forgotten(leases, FEW, tidied)
    }

    /// [`Self::tidy`] gathers from so many on; for simulations.
    #[doc(hidden)]
    pub fn gather_from(&self, few: usize) -> Result<Tidied, RepoError> {
        let mut tidied = Tidied::default();
        let leases = self.inner.leases()?;
        self.gather_forgotten(&leases, few, &mut tidied)?;
        Ok(tidied)
    }

    fn gather_forgotten(&self, leases: &[LeaseInfo], few: usize, tidied: &mut Tidied) -> Result<(), RepoError> {
        let promises = self.inner.storage.promises();
        if !promises.conditional_create || !promises.prompt_listing {
            return Ok(());
        }
        self.inner.refresh_snapshots(&mut Vec::new())?;
        let mut gathered = self.gatherable(leases)?;
        let objects = self.inner.refresh_forgotten(&mut Vec::new())?;
        if gathered.len() <= few {
            gathered.clear();
        }
        let merged: &[String] = if objects.len() >= MANY_OBJECTS { &objects } else { &[] };
        if faults::is_broken(Rule::GatherFirst) {
            self.remove_folders(&gathered, tidied)?;
        }
        if !gathered.is_empty() || !merged.is_empty() {
            self.inner.gather(&gathered, merged)?;
        }
        if gathered.is_empty() && objects.is_empty() {
            return Ok(());
        }
        self.remove_folders(&BTreeSet::new(), tidied)
    }

    /// Snapshots whose tombstone counts, of whose lease nothing is left and of whose backup no checkpoint is.
    fn gatherable(&self, leases: &[LeaseInfo]) -> Result<BTreeSet<SnapshotId>, RepoError> {
        let mut busy: HashSet<SnapshotId> = leases.iter().map(|lease| lease.id).collect();
        busy.extend(self.inner.checkpoint_numbers()?.into_keys());
        let revisions = self.inner.catalog.revisions()?;
        let mut gathered = BTreeSet::new();
        for group in revisions.chunk_by(|a, b| a.snapshot == b.snapshot) {
            let group: Vec<_> = group.iter().collect();
            if !busy.contains(&group[0].snapshot) && self.inner.is_forgotten(&group).counts() {
                gathered.insert(group[0].snapshot);
            }
        }
        Ok(gathered)
    }

    /// Removes every object under the names of gathered snapshots, and of these; the highest number, which is the tombstone's, last.
    fn remove_folders(&self, also: &BTreeSet<SnapshotId>, tidied: &mut Tidied) -> Result<(), RepoError> {
        let mut found: BTreeMap<SnapshotId, Vec<u64>> = BTreeMap::new();
        for object in self.inner.storage.list("snapshots/")? {
            let Some((id, revision)) = names::parse_revision(&object.name) else { continue };
            if also.contains(&id) || self.inner.catalog.is_gathered(&id)? {
                found.entry(id).or_default().push(revision);
            }
        }
        let (mut lower, mut last) = (Vec::new(), Vec::new());
        for (id, mut revisions) in found {
            revisions.sort_unstable();
            last.extend(revisions.pop().map(|revision| (id, revision)));
            lower.extend(revisions.into_iter().map(|revision| (id, revision)));
        }
        let stays: HashSet<SnapshotId> = self.remove_revisions(&lower, tidied);
        last.retain(|(id, _)| !stays.contains(id));
        self.remove_revisions(&last, tidied);
        Ok(())
    }
}
