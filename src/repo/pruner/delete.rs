//! Carrying out drained marks: look again, copy out what is needed, take the rest out of the index, delete.

use super::{
    Pruner,
    copy::CopyProgress,
    view::{Homes, Leases, View},
};
use crate::repo::{
    ObjectName, RepoError,
    catalog::PackNumber,
    faults::{self, Rule},
    lease::Mark,
    pack,
};
use crate::report::Trouble;
use std::collections::{HashMap, HashSet};

/// After this many refusals in a row the storage is not asked any more.
const MAX_REFUSALS: usize = 10;

/// After so many deletions a pruner looks whether it was shut out.
const BETWEEN_LOOKS: usize = 64;

/// What carrying out marks came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Marks that are done with.
    pub marks: u64,
    /// Packs deleted.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Index objects deleted, new ones in their place.
    pub index_objects: u64,
    /// Chunks that were needed after all and were copied out.
    pub copied_chunks: u64,
    /// Their stored bytes.
    pub copied_bytes: u64,
    /// Packs that stay although they are marked, because something in them is needed that could not be copied.
    pub stayed: u64,
    /// What could not be read, or not be deleted, and why.
    pub failures: Vec<Trouble>,
    /// Groups of parity that went.
    pub groups: u64,
}

impl Pruner {
    /// Carries out every mark that is drained, whoever made it. Gives also the marks that still wait.
    pub fn delete_drained(&self, progress: &mut CopyProgress<'_>) -> Result<Deleted, RepoError> {
        let (drained, _) = self.drain()?;
        if drained.is_empty() { Ok(Deleted::default()) } else { self.delete(&drained, progress) }
    }

    /// [`Self::delete_drained`], which looks at the index even if no mark is drained.
    pub(super) fn delete_whatever_is_drained(&self) -> Result<Deleted, RepoError> {
        let (drained, _) = self.drain()?;
        self.delete(&drained, &mut |_| true)
    }

    fn delete(&self, drained: &[Mark], progress: &mut CopyProgress<'_>) -> Result<Deleted, RepoError> {
        let named: HashSet<ObjectName> = drained.iter().flat_map(|mark| mark.packs.iter().copied()).collect();
        let (mut view, mut homes) = self.look(Leases::AreNot)?;
        let mut deleted = Deleted::default();
        if !faults::is_broken(Rule::CopyOut) && !faults::is_broken(Rule::LookAgain) {
            let copied = self.copy_needed(&view, &mut homes, &indexed(&view, &named), progress)?;
            (deleted.copied_chunks, deleted.copied_bytes) = (copied.chunks, copied.bytes);
            if copied.chunks > 0 || !copied.unreadable.is_empty() || copied.has_moved {
                (view, homes) = self.look(Leases::AreNot)?;
            }
            deleted.failures = copied.lost(&view, &homes);
        }
        let mut doomed = self.doomed(&view, &homes, &named)?;
        let groups = self.keep_groups(&view, &homes, &mut doomed, &mut deleted)?;
        deleted.stayed = named.iter().filter(|name| view.packs.is_listed(name)).count() as u64 - doomed.len() as u64;
        match self.reindex(&view, &homes, &doomed) {
            Ok(index_objects) => deleted.index_objects = index_objects,
            Err(error @ RepoError::Storage { operation: "deleting", .. }) => {
                // As long as the index names a pack, it stays.
                deleted.failures.push(error.into());
                return Ok(deleted);
            }
            Err(error) => return Err(error),
        }
        let gone = self.delete_packs(&view, &doomed, &mut deleted);
        self.delete_groups(&view, &groups, &gone, &mut deleted);
        self.delete_marks(&view, drained, &gone, &mut deleted);
        Ok(deleted)
    }

    /// The packs that hold nothing which is needed and at home nowhere.
    fn doomed(
        &self,
        view: &View,
        homes: &Homes,
        named: &HashSet<ObjectName>,
    ) -> Result<HashSet<ObjectName>, RepoError> {
        let mut doomed: HashSet<ObjectName> = named.iter().filter(|name| view.packs.is_listed(name)).copied().collect();
        if faults::is_broken(Rule::LookAgain) {
            return Ok(doomed);
        }
        for (number, name) in indexed(view, named) {
            let chunks = match self.inner.catalog.pack_chunks(number) {
                // What it holds is not known any more: it stays.
                Err(RepoError::CatalogChanged) => {
                    doomed.remove(&name);
                    continue;
                }
                chunks => chunks?,
            };
            if chunks.iter().any(|&chunk| view.needed.chunks.has(chunk) && !homes.housed.has(chunk)) {
                doomed.remove(&name);
            }
        }
        Ok(doomed)
    }

    /// A pruner that slept so long that it was shut out deletes nothing more: who takes away a mark that cannot be read counts
    /// on that.
    fn is_unfenced(&self) -> Result<(), RepoError> {
        let id = self.id();
        if self.inner.is_fenced(&id)? { Err(RepoError::Overslept { lease: id }) } else { Ok(()) }
    }

    /// Deletes packs; gives those that are gone.
    fn delete_packs(&self, view: &View, doomed: &HashSet<ObjectName>, deleted: &mut Deleted) -> HashSet<ObjectName> {
        let mut names: Vec<ObjectName> = doomed.iter().copied().collect();
        names.sort_unstable();
        let mut gone = HashSet::new();
        let mut refusals = 0;
        let storage = &self.inner.storage;
        // What was asked at the same time is asked however it is answered.
        let at_once = if storage.is_far() { BETWEEN_LOOKS } else { 1 };
        for (number, some) in names.chunks(at_once).enumerate() {
            if (number * at_once).is_multiple_of(BETWEEN_LOOKS)
                && let Err(error) = self.is_unfenced()
            {
                deleted.failures.push(error.into());
                break;
            }
            let answers = storage.each_of(some, |name| storage.delete(&pack::path(name)));
            for (name, answer) in some.iter().zip(answers) {
                match answer {
                    Ok(()) => {
                        refusals = 0;
                        deleted.packs += 1;
                        deleted.bytes += view.packs.bytes(name).unwrap_or(0);
                        gone.insert(*name);
                    }
                    Err(error) => {
                        refusals += 1;
                        deleted.failures.push(error.into());
                    }
                }
            }
            if refusals >= MAX_REFUSALS {
                break;
            }
        }
        gone
    }

    /// Deletes the marks of which nothing is left.
    fn delete_marks(&self, view: &View, drained: &[Mark], gone: &HashSet<ObjectName>, deleted: &mut Deleted) {
        let there: HashMap<&str, &Mark> = view.marks.iter().map(|mark| (mark.id.as_str(), mark)).collect();
        for mark in drained.iter().filter(|mark| there.contains_key(mark.id.as_str())) {
            let left = |name: &ObjectName| view.packs.is_listed(name) && !gone.contains(name);
            if mark.packs.iter().any(left) && !faults::is_broken(Rule::CopyOut) {
                continue;
            }
            match self.inner.storage.delete(&format!("trash/{}", mark.id)) {
                Ok(()) => deleted.marks += 1,
                Err(error) => deleted.failures.push(error.into()),
            }
        }
    }
}

/// Those of these packs that are listed and that the index describes, by number.
fn indexed(view: &View, names: &HashSet<ObjectName>) -> Vec<(PackNumber, ObjectName)> {
    let there = names.iter().filter(|name| view.packs.is_listed(name));
    let mut packs: Vec<_> = there.filter_map(|name| Some((view.packs.number(name)?, *name))).collect();
    packs.sort_unstable();
    packs
}
