//! Making the catalog equal to what storage lists, and hearing what is wrong on the way.

use super::{Inner, names};
use crate::repo::{
    ObjectName, RepoError, SnapshotId,
    catalog::{Revision, RevisionKind},
    index,
    object::{self, ObjectKind},
};
use crate::report::{Warning, WarningKind};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// How many small objects are fetched at a time.
const FETCH_BATCH: usize = 64;

/// A warning of an object that counts as absent.
fn unread_object(name: &str, words: String) -> Warning {
    Warning::new(WarningKind::ObjectUnreadable, name, words)
}

impl Inner {
    pub(in crate::repo) fn refresh(&self) -> Result<Vec<Warning>, RepoError> {
        let mut warnings = Vec::new();
        self.refresh_index(&mut warnings)?;
        self.refresh_snapshots(&mut warnings)?;
        Ok(warnings)
    }

    /// Gives whether anything changed.
    pub(in crate::repo) fn refresh_index(&self, warnings: &mut Vec<Warning>) -> Result<bool, RepoError> {
        Ok(self.refresh_index_listed(warnings, &mut Vec::new())?.1)
    }

    /// [`Self::refresh_index`], giving the names that were listed too. `unread` gets the index objects that are there and
    /// could not be read.
    pub(in crate::repo) fn refresh_index_listed(
        &self,
        warnings: &mut Vec<Warning>,
        unread: &mut Vec<RepoError>,
    ) -> Result<(HashSet<ObjectName>, bool), RepoError> {
        let _one_at_a_time = super::lock(&self.refreshing);
        let mut listed = HashSet::new();
        for object in self.storage.list("index/")? {
            match names::parse_flat::<ObjectName>("index/", &object.name) {
                Some(name) => drop(listed.insert(name)),
                None => warnings.push(unread_object(
                    &object.name,
                    format!("{} is no index object's name and is ignored", object.name),
                )),
            }
        }
        let change = self.catalog.compare_index(&listed)?;
        let mut imported = false;
        let mut names = change.new.iter();
        let mut next = || {
            for name in names.by_ref() {
                let path = names::index_path(name);
                let bytes = match self.storage.read(&path) {
                    Ok(bytes) => bytes,
                    // Deleted since it was listed.
                    Err(RepoError::Missing { .. }) => continue,
                    Err(error) => {
                        warnings.push(unread_object(&path, format!("{error}; the chunks it names count as absent")));
                        unread.push(error);
                        continue;
                    }
                };
                match index::open(&self.keyring, name, &bytes) {
                    Ok(packs) => {
                        imported = true;
                        return Ok(Some((*name, packs)));
                    }
                    Err(error) => {
                        let words = format!("{path}: {error}; the chunks it names count as absent");
                        warnings.push(unread_object(&path, words));
                        unread.push(error);
                    }
                }
            }
            Ok(None)
        };
        self.catalog.apply_index(&mut next, &change.gone)?;
        Ok((listed, imported || !change.gone.is_empty()))
    }

    pub(in crate::repo) fn refresh_snapshots(&self, warnings: &mut Vec<Warning>) -> Result<(), RepoError> {
        self.refresh_snapshots_listed(warnings).map(drop)
    }

    /// [`Self::refresh_snapshots`], giving the names that were listed.
    pub(in crate::repo) fn refresh_snapshots_listed(
        &self,
        warnings: &mut Vec<Warning>,
    ) -> Result<HashSet<(SnapshotId, u64)>, RepoError> {
        let _one_at_a_time = super::lock(&self.refreshing);
        let mut listed = HashSet::new();
        for object in self.storage.list("snapshots/")? {
            match names::parse_revision(&object.name) {
                Some(name) => drop(listed.insert(name)),
                None => warnings
                    .push(unread_object(&object.name, format!("{} is no revision's name and is ignored", object.name))),
            }
        }
        let known: HashMap<(SnapshotId, u64), bool> =
            self.catalog.revision_names()?.into_iter().map(|(id, revision, gone)| ((id, revision), gone)).collect();
        let mut unread: Vec<_> = listed.iter().filter(|name| !known.contains_key(*name)).copied().collect();
        unread.sort_unstable();
        let new = self.fetch_revisions(&unread, warnings)?;
        let (dropped, gone) = self.settle_absent(&known, &listed, &new, warnings)?;
        self.catalog.apply_revisions(&new, &dropped, &gone)?;
        Ok(listed)
    }

    fn fetch_revisions(
        &self,
        names: &[(SnapshotId, u64)],
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<Revision>, RepoError> {
        let mut revisions = Vec::with_capacity(names.len());
        for batch in names.chunks(FETCH_BATCH) {
            let fetched: Vec<_> = batch.par_iter().map(|(id, revision)| self.fetch_revision(id, *revision)).collect();
            for outcome in fetched {
                match outcome {
                    Ok(revision) => revisions.push(revision),
                    Err(RepoError::Missing { .. }) => {}
                    Err(error @ (RepoError::Damaged { .. } | RepoError::NewerFormat { .. })) => {
                        warnings.push(unread_object(&error.object(), format!("a snapshot cannot be read: {error}")));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(revisions)
    }

    pub(in crate::repo) fn fetch_revision(&self, id: &SnapshotId, revision: u64) -> Result<Revision, RepoError> {
        let path = names::revision_path(id, revision);
        let sealed = self.storage.read(&path)?;
        let kind = match object::kind_of(&path, &sealed)? {
            ObjectKind::Snapshot => RevisionKind::Manifest,
            ObjectKind::Void if revision == 0 => RevisionKind::Void,
            ObjectKind::Tombstone if revision > 0 => RevisionKind::Tombstone,
            other => return Err(RepoError::damaged(path, format!("a {other:?} cannot lie there"))),
        };
        // Without a key anyone could write these; they still have to be about this name.
        match kind {
            RevisionKind::Manifest => {}
            RevisionKind::Void => drop(object::unwrap(ObjectKind::Void, &path, &sealed)?),
            RevisionKind::Tombstone => drop(object::unwrap(ObjectKind::Tombstone, &path, &sealed)?),
        }
        Ok(Revision { snapshot: *id, revision, kind, sealed })
    }

    /// What the catalog knows and the listing lacks is asked for by name. Gives what to drop, and what to mark as gone
    /// or as there again.
    #[allow(clippy::type_complexity)]
    fn settle_absent(
        &self,
        known: &HashMap<(SnapshotId, u64), bool>,
        listed: &HashSet<(SnapshotId, u64)>,
        new: &[Revision],
        warnings: &mut Vec<Warning>,
    ) -> Result<(Vec<(SnapshotId, u64)>, Vec<(SnapshotId, u64, bool)>), RepoError> {
        let mut newest: HashMap<SnapshotId, u64> = HashMap::new();
        let there = known.iter().filter(|(name, gone)| !**gone && listed.contains(name)).map(|(name, _)| *name);
        for (id, revision) in there.chain(new.iter().map(|revision| (revision.snapshot, revision.revision))) {
            let highest = newest.entry(id).or_default();
            *highest = (*highest).max(revision);
        }
        let (mut dropped, mut gone) = (Vec::new(), Vec::new());
        let mut vanished = HashSet::new();
        let mut known: Vec<_> = known.iter().map(|(&name, &was_gone)| (name, was_gone)).collect();
        known.sort_unstable();
        for ((id, revision), was_gone) in known {
            if listed.contains(&(id, revision)) {
                if was_gone {
                    gone.push((id, revision, false));
                }
                continue;
            }
            if !was_gone && self.storage.len(&names::revision_path(&id, revision))?.is_some() {
                continue;
            }
            // Lower revisions may go once a higher one stands.
            if newest.get(&id).is_some_and(|&newest| newest > revision) {
                dropped.push((id, revision));
                continue;
            }
            vanished.insert(id);
            if !was_gone {
                gone.push((id, revision, true));
            }
        }
        let mut vanished: Vec<_> = vanished.into_iter().collect();
        vanished.sort_unstable();
        for id in vanished {
            let words = format!("snapshot {id} was here before and has vanished, although nobody forgot it");
            warnings.push(Warning::new(WarningKind::SnapshotVanished, id.to_string(), words));
        }
        Ok((dropped, gone))
    }
}
