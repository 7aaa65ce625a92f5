//! Tidying: the objects of leases that are over, and the revisions below tombstones. Voids and tombstones stay.

use super::{GRACE, LeaseInfo, LeaseState, Pruner, drain::mark_key};
use crate::repo::{
    ObjectName, RepoError, SnapshotId,
    catalog::RevisionKind,
    damage,
    faults::{self, Rule},
    names,
    storage::{Listing, PROBE},
};
use crate::report::Trouble;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What tidying removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Leases that were over.
    pub leases: u64,
    /// Revisions below a tombstone.
    pub revisions: u64,
    /// Checkpoints of leases that are over.
    pub checkpoints: u64,
    /// Things that dead writers of this machine left half written.
    pub half_written: u64,
    /// What could not be deleted, and why.
    pub failures: Vec<Trouble>,
}

impl Pruner {
    /// Removes what nobody needs any more beside packs and index objects.
    pub fn tidy(&self) -> Result<Tidied, RepoError> {
        let mut tidied = Tidied::default();
        let storage = &self.inner.storage;
        // These may be older than the rest: what lies there for long is what goes.
        let [trials, marks, checkpoints] = [PROBE, "trash/", "checkpoints/"].map(|folder| storage.begin_list(folder));
        let damage = self.inner.begin_damage();
        let leases = self.inner.leases()?;
        self.tidy_revisions(&leases, &mut tidied)?;
        self.tidy_checkpoints(&leases, &mut tidied)?;
        self.tidy_leases(&leases, &mut tidied)?;
        // Those whose leases went just now are gathered the next time.
        self.tidy_forgotten(&leases, &mut tidied)?;
        self.tidy_damage(damage, &mut tidied)?;
        let trials = self.tidy_trials(trials, &mut tidied)?;
        match storage.sweep() {
            Ok(swept) => tidied.half_written += swept,
            Err(error) => tidied.failures.push(error.into()),
        }
        let mut keep: HashSet<[u8; 16]> = leases.iter().map(|lease| lease.id.0).collect();
        let marks = marks.get()?;
        keep.extend(marks.iter().filter_map(|it| it.name.strip_prefix("trash/")).map(|m| mark_key(m).0));
        keep.extend(checkpoints.get()?.iter().map(|it| mark_key(&it.name).0));
        keep.extend(trials);
        self.inner.catalog.keep_leases(&keep)?;
        Ok(tidied)
    }

    /// Objects that trials of the place left, because they broke off or may not delete: those seen long enough ago that
    /// nobody is still at it. Gives those that stay.
    fn tidy_trials(&self, listing: Listing, tidied: &mut Tidied) -> Result<Vec<[u8; 16]>, RepoError> {
        let now = self.inner.clock.now();
        let (mut stay, mut going) = (Vec::new(), Vec::new());
        for object in listing.get()? {
            let key = mark_key(&object.name);
            let seen = self.inner.catalog.lease_first_seen(&key, 0, now)?;
            let age = now.as_millis().saturating_sub(seen.as_millis());
            if age < i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX) {
                stay.push(key.0);
            } else {
                going.push(object.name);
            }
        }
        let gone = self.remove_each(&going, &mut tidied.failures);
        tidied.half_written += gone.iter().filter(|gone| **gone).count() as u64;
        Ok(stay)
    }

    /// A snapshot with a tombstone needs no other revision. Its writer may still be asking for revision 0, though, as long
    /// as its lease has no end. Of the others
    /// every revision stays: a name that were free again would let the revision of a slow writer through.
    fn tidy_revisions(&self, leases: &[LeaseInfo], tidied: &mut Tidied) -> Result<(), RepoError> {
        let listed = self.inner.refresh_snapshots_listed(&mut Vec::new())?;
        let open: HashSet<SnapshotId> =
            leases.iter().filter(|lease| lease.state != LeaseState::Ended).map(|lease| lease.id).collect();
        let revisions = self.inner.catalog.revision_kinds()?;
        // What cannot be read is in no catalog.
        let forgotten = self.inner.forgotten(&[])?;
        let known: HashSet<(SnapshotId, u64)> = revisions.iter().map(|(id, revision, _)| (*id, *revision)).collect();
        let goes = |(id, _): &&(SnapshotId, u64)| forgotten.contains(id) && !open.contains(id);
        let mut going: Vec<(SnapshotId, u64)> = listed.difference(&known).filter(goes).copied().collect();
        for group in revisions.chunk_by(|a, b| a.0 == b.0) {
            let stone = group.iter().any(|(_, _, kind)| *kind == RevisionKind::Tombstone);
            let forgotten = stone && self.inner.is_forgotten_now(&group[0].0)?;
            for (id, revision, kind) in group {
                let goes = match kind {
                    RevisionKind::Manifest => forgotten && !open.contains(id),
                    RevisionKind::Tombstone => faults::is_broken(Rule::TombstonesStay),
                    RevisionKind::Void => faults::is_broken(Rule::VoidsStay),
                };
                if goes {
                    going.push((*id, *revision));
                }
            }
        }
        self.remove_revisions(&going, tidied);
        Ok(())
    }

    /// Removes revisions; gives the snapshots of which one stays.
    pub(super) fn remove_revisions(&self, going: &[(SnapshotId, u64)], tidied: &mut Tidied) -> HashSet<SnapshotId> {
        let names: Vec<String> = going.iter().map(|(id, revision)| names::revision_path(id, *revision)).collect();
        let answers = self.remove_each(&names, &mut tidied.failures);
        let (gone, stay): (Vec<_>, Vec<_>) = going.iter().zip(answers).partition(|(_, gone)| *gone);
        let gone: Vec<(SnapshotId, u64)> = gone.into_iter().map(|(name, _)| *name).collect();
        tidied.revisions += gone.len() as u64;
        // Gone is gone, whether or not the catalog can be told.
        let _ = self.inner.catalog.apply_revisions(&[], &gone, &[]);
        stay.into_iter().map(|((id, _), _)| *id).collect()
    }

    /// Notes of damaged packs that are gone and in no index object any more.
    fn tidy_damage(&self, listing: Listing, tidied: &mut Tidied) -> Result<(), RepoError> {
        let damaged = self.inner.damaged_packs_of(listing)?;
        if damaged.is_empty() {
            return Ok(());
        }
        let mut gone: HashSet<&ObjectName> = damaged.iter().collect();
        self.inner.for_each_listed_pack(&mut |name, _| {
            gone.remove(&name);
        })?;
        self.inner.refresh_index(&mut Vec::new())?;
        let mut going = Vec::new();
        for name in damaged.iter().filter(|name| gone.contains(name)) {
            if self.inner.catalog.pack_number(name)?.is_none() {
                going.push(damage::path(name));
            }
        }
        self.remove_each(&going, &mut tidied.failures);
        Ok(())
    }

    /// [`Self::tidy`]'s part that is about notes.
    pub(super) fn tidy_notes(&self) -> Result<(), RepoError> {
        self.tidy_damage(self.inner.begin_damage(), &mut Tidied::default())
    }

    fn tidy_leases(&self, leases: &[LeaseInfo], tidied: &mut Tidied) -> Result<(), RepoError> {
        let over: HashMap<SnapshotId, &LeaseInfo> =
            leases.iter().filter(|lease| lease.is_over()).map(|lease| (lease.id, lease)).collect();
        let mut objects: BTreeMap<SnapshotId, Vec<(u64, String)>> = BTreeMap::new();
        for object in self.inner.list_objects("leases/")? {
            let Some((lease, last)) = object.name.strip_prefix("leases/").and_then(|name| name.split_once('/')) else {
                continue;
            };
            let Some(id) = lease.parse::<SnapshotId>().ok().filter(|id| over.contains_key(id)) else { continue };
            // The end goes last: until then it says that the rest does not matter.
            let rank = last.parse().unwrap_or(u64::MAX);
            objects.entry(id).or_default().push((rank, object.name.clone()));
        }
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (id, mut names) in objects {
            names.sort_unstable();
            last.extend(names.pop().map(|(_, name)| (id, name)));
            first.extend(names.into_iter().map(|(_, name)| (id, name)));
        }
        let mut stay: HashSet<SnapshotId> = HashSet::new();
        for mut round in [first, last] {
            round.retain(|(id, _)| !stay.contains(id));
            let (ids, names): (Vec<SnapshotId>, Vec<String>) = round.into_iter().unzip();
            let answers = self.remove_each(&names, &mut tidied.failures);
            stay.extend(ids.iter().zip(&answers).filter(|(_, gone)| !**gone).map(|(id, _)| *id));
            tidied.leases = ids.iter().filter(|id| !stay.contains(id)).count() as u64;
        }
        Ok(())
    }

    /// Removes objects; whether each is gone.
    pub(super) fn remove_each(&self, names: &[String], failures: &mut Vec<Trouble>) -> Vec<bool> {
        let answers = self.inner.storage.delete_each(names).into_iter();
        answers.map(|answer| answer.map_err(|error| failures.push(error.into())).is_ok()).collect()
    }
}
