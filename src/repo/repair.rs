//! Repairs: an index from the packs' own directories, snapshots from what this host's catalog still holds, packs from their
//! readable frames, and what is kept twice. Each works under a writer's lease where others could be in its way, beside running
//! backups and prunes, and names what stays lost.

mod keyless;
mod packs;
mod parity;
mod strange;

pub use keyless::heal_keyless;
pub use packs::{DamagedPack, Looked, SavedPacks};
pub use parity::ParityStanding;

use super::chains::Broken;
use super::{
    ObjectName, RepoError, Repository, SnapshotId, WriteOptions,
    catalog::{Revision, RevisionKind},
    index::{self, IndexedPack},
    inner::Inner,
    keys::Capability,
    manifest, names, object,
    object::ObjectKind,
    pack,
};
use crate::repo::repository::Lost;
use crate::report::{ErrorKind, Trouble, TroubleKind};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet};

/// How many chunks one new index object describes, roughly.
const MAX_ENTRIES: usize = 100_000;

/// What a repair did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// What was made or put back: packs that are described again, revisions.
    pub restored: Vec<String>,
    /// Damaged objects that were taken away because something sound stands for them now, or they stood for nothing.
    pub removed: Vec<String>,
    /// What stays lost, and why.
    pub lost: Vec<Trouble>,
    /// What is good for nothing any more and goes when nobody can be using it, and whom it waits for.
    pub waiting: Vec<Trouble>,
}

impl Repository {
    /// Describes every whole pack that no readable index object describes, from its own directory; then takes away the index
    /// objects that cannot be read.
    ///
    /// # Errors
    /// [`RepoError`] if storage cannot be listed or written; [`RepoError::Interrupted`] if `go_on` says so.
    pub fn repair_index(&self, dry_run: bool, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Repaired, RepoError> {
        let done = self.leased(dry_run, || self.inner.repair_index(dry_run, go_on))?;
        self.refresh()?;
        Ok(done)
    }

    /// Makes the second one again of what is kept twice: `rekeep.json` and the key slots.
    ///
    /// # Errors
    /// [`RepoError::Role`]; [`RepoError`] if storage cannot be listed or written.
    pub fn repair_config(&self, dry_run: bool) -> Result<Repaired, RepoError> {
        let (restored, lost) = super::keys::mend(&self.inner.storage, &self.inner.keyring, dry_run)?;
        Ok(Repaired { dry_run, restored, removed: Vec::new(), lost, waiting: Vec::new() })
    }

    /// Takes away small objects that are damaged, or that nobody who may made, where nothing rests on them: they say nothing, and
    /// are named for ever else. What is missing in chains is written down as settled, and named here for the last time. A revision that this host's catalog still holds is put back. What a prune takes away with its
    /// lease waits for that; of a snapshot of which nothing else stands nothing is touched.
    ///
    /// # Errors
    /// [`RepoError::Role`]; [`RepoError`] if storage cannot be listed or written.
    pub fn repair_objects(&self, dry_run: bool) -> Result<Repaired, RepoError> {
        self.inner.keyring.need(Capability::Prune)?;
        let done = self.leased(dry_run, || {
            let mut done = self.tidy_objects(dry_run)?;
            self.settle_chains(&mut done)?;
            self.clear_hidden(&mut done)?;
            Ok(done)
        })?;
        if !dry_run {
            self.refresh()?;
        }
        Ok(done)
    }

    fn tidy_objects(&self, dry_run: bool) -> Result<Repaired, RepoError> {
        let mut done = Repaired { dry_run, ..Repaired::default() };
        let doubtful = self.doubtful()?;
        if doubtful.is_empty() {
            return Ok(done);
        }
        let stands: BTreeSet<SnapshotId> = self.snapshots()?.iter().map(|snapshot| snapshot.id).collect();
        let marks: BTreeSet<String> =
            self.inner.all_marks(&HashSet::new(), false)?.unreadable.into_iter().map(|(id, _)| id).collect();
        let known = self.inner.catalog.held_revisions()?.into_iter();
        let held: HashMap<String, Revision> = known
            .filter(|revision| revision.kind == RevisionKind::Manifest)
            .map(|revision| (names::revision_path(&revision.snapshot, revision.revision), revision))
            .collect();
        for doubtful in doubtful {
            let is_whole = |revision: &&Revision| self.inner.open_revision(revision).is_ok();
            if let Some(revision) = held.get(&doubtful.object).filter(is_whole) {
                self.inner.put_back(revision, &mut done)?;
                continue;
            }
            let (folder, rest) = doubtful.object.split_once('/').unwrap_or((&doubtful.object, ""));
            let leased =
                |id: &SnapshotId| Ok::<_, RepoError>(!self.inner.storage.list(&format!("leases/{id}/"))?.is_empty());
            let of = |kind, until| Trouble::new(kind, &*doubtful.object, format!("{}{until}", doubtful.reason));
            match (folder, doubtful.snapshot) {
                ("trash", _) if marks.contains(rest) => done.waiting.push(of(TroubleKind::Damaged, "")),
                ("leases", _) => {
                    done.waiting.push(of(TroubleKind::Waits, "; it goes with the first prune after its lease is over"));
                }
                ("snapshots", Some(id)) if !stands.contains(&id) => done.lost.push(of(TroubleKind::Damaged, "")),
                ("snapshots", Some(id)) if leased(&id)? => {
                    let until = "; it stays until a prune has tidied the lease of its snapshot";
                    done.waiting.push(of(TroubleKind::Waits, until));
                }
                _ => {
                    if !dry_run {
                        self.inner.storage.delete(&doubtful.object)?;
                    }
                    done.removed.push(doubtful.object);
                }
            }
        }
        Ok(done)
    }

    fn settle_chains(&self, done: &mut Repaired) -> Result<(), RepoError> {
        let mut broken = self.drills()?.broken;
        broken.extend(self.audit()?.broken);
        done.lost.extend(broken.iter().map(Broken::trouble));
        if done.dry_run { Ok(()) } else { self.settle(&broken) }
    }

    /// Takes away marks that cannot be read, once nobody is at work who may have read them before and be about to delete what
    /// they name.
    ///
    /// # Errors
    /// [`RepoError::Role`]; [`RepoError`] if storage cannot be listed or written.
    pub fn repair_marks(&self, dry_run: bool) -> Result<Repaired, RepoError> {
        self.inner.keyring.need(Capability::Prune)?;
        self.leased(dry_run, || self.inner.repair_marks(dry_run))
    }

    /// Puts back the revisions that vanished from storage, or that are damaged there, and that this host's catalog still holds.
    ///
    /// # Errors
    /// [`RepoError`] if storage cannot be listed or written.
    pub fn repair_snapshots(&self, dry_run: bool) -> Result<Repaired, RepoError> {
        let mut done = self.leased(dry_run, || self.inner.repair_snapshots(dry_run))?;
        done.lost.extend(self.hidden(&["snapshots/"])?.iter().map(|name| strange::hides(name)));
        self.refresh()?;
        Ok(done)
    }

    /// Works under a writer's lease, so that marks that are made meanwhile wait; without one where nothing is changed.
    fn leased<T>(&self, dry_run: bool, work: impl FnOnce() -> Result<T, RepoError>) -> Result<T, RepoError> {
        let session = if dry_run { None } else { Some(self.begin_write(&repairing())?) };
        let done = work();
        let ended = session.map_or(Ok(()), super::WriteSession::close);
        let done = done?;
        ended?;
        Ok(done)
    }
}

fn lost_of(id: &SnapshotId, words: String) -> Trouble {
    Trouble::new(TroubleKind::Lost, format!("snapshot {id}"), words)
}

/// A revision that needs what is lost.
fn lacks(path: &str, words: String) -> Trouble {
    Trouble::new(TroubleKind::Lost, path, words)
}

fn repairing() -> WriteOptions {
    WriteOptions { purpose: "repair".to_owned(), compression: 0, check: false, write_limit: None }
}

impl Inner {
    fn repair_index(&self, dry_run: bool, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Repaired, RepoError> {
        let mut done = Repaired { dry_run, ..Repaired::default() };
        let (mut damaged, mut described) = (Vec::new(), BTreeSet::new());
        for object in self.list_objects("index/")? {
            let Some(name) = names::parse_flat::<ObjectName>("index/", &object.name) else { continue };
            let read =
                object::read(&self.storage, &object.name).and_then(|bytes| index::open(&self.keyring, &name, &bytes));
            match read {
                Ok(packs) => described.extend(packs.into_iter().map(|pack| pack.name)),
                Err(RepoError::Missing { .. }) => {}
                Err(RepoError::Damaged { .. }) => damaged.push(object.name),
                // What a newer program wrote, or what cannot be read just now.
                Err(error) => done.lost.push(error.into()),
            }
        }
        let (mut packs, mut entries) = (Vec::new(), 0);
        for object in self.list_objects("packs/")? {
            let Some(name) = names::parse_pack(&object.name).filter(|name| !described.contains(name)) else { continue };
            match self.describe(&name) {
                Ok(pack) => {
                    done.restored.push(object.name);
                    entries += pack.entries.len();
                    packs.push(pack);
                }
                Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_of_one_object() => done.lost.push(error.into()),
                Err(error) => return Err(error),
            }
            if entries >= MAX_ENTRIES {
                self.write_index(&packs, dry_run)?;
                (packs, entries) = (Vec::new(), 0);
            }
            if !go_on(object.bytes) {
                return Err(RepoError::Interrupted);
            }
        }
        self.write_index(&packs, dry_run)?;
        for name in damaged {
            if !dry_run {
                self.storage.delete(&name)?;
            }
            done.removed.push(name);
        }
        Ok(done)
    }

    fn repair_marks(&self, dry_run: bool) -> Result<Repaired, RepoError> {
        let mut done = Repaired { dry_run, ..Repaired::default() };
        let unreadable = self.all_marks(&HashSet::new(), false)?.unreadable;
        if unreadable.is_empty() {
            return Ok(done);
        }
        let leases = if dry_run { self.leases_seen()? } else { self.leases()? };
        let pruners: Vec<_> = leases.iter().filter(|lease| lease.is_prune() && !lease.is_over()).collect();
        for (id, error) in unreadable {
            let path = format!("trash/{id}");
            if !matches!(error, RepoError::Damaged { .. }) {
                // A newer program's, or one that cannot be read just now.
                done.lost.push(error.into());
            } else if let Some(pruner) = pruners.first() {
                let until = pruner.dead_at.map_or_else(String::new, |at| format!(", or has shown no sign by {at}"));
                let (host, lease) = (&pruner.host, pruner.id.short());
                let why = format!("the prune on {host} ends (lease {lease}){until}: it may have read the mark before");
                done.waiting.push(Trouble::new(TroubleKind::Waits, &*path, format!("{path} stays until {why}")));
            } else {
                if !dry_run {
                    self.storage.delete(&path)?;
                }
                done.removed.push(path);
            }
        }
        Ok(done)
    }

    /// What a pack says of itself.
    fn describe(&self, name: &ObjectName) -> Result<IndexedPack, RepoError> {
        let bytes = object::read(&self.storage, &pack::path(name))?;
        let (header, kind, lease, entries) = pack::read_directory(&self.keyring, name, &bytes)?;
        Ok(IndexedPack { name: *name, bytes: bytes.len() as u64, kind, lease, header, entries })
    }

    fn write_index(&self, packs: &[IndexedPack], dry_run: bool) -> Result<(), RepoError> {
        if packs.is_empty() || dry_run {
            return Ok(());
        }
        let (name, bytes) = index::seal(&self.keyring, packs)?;
        self.storage.create(&names::index_path(&name), &bytes).map(drop)
    }

    fn repair_snapshots(&self, dry_run: bool) -> Result<Repaired, RepoError> {
        let mut done = Repaired { dry_run, ..Repaired::default() };
        let vanished: BTreeSet<SnapshotId> = self.vanished()?.into_iter().collect();
        let unreadable = self.unreadable()?;
        let mut held: BTreeSet<SnapshotId> = BTreeSet::new();
        let mut mended: BTreeSet<(SnapshotId, u64)> = BTreeSet::new();
        let mut known = self.catalog.held_revisions()?;
        known.sort_by_key(|revision| (revision.snapshot, revision.revision));
        for stone in self.catalog.gone_revisions()?.iter().filter(|it| it.kind == RevisionKind::Tombstone) {
            let id = stone.snapshot;
            if self.stands_by(&id)?.is_some() {
                self.let_be(stone, &mut done)?;
                let words = format!("snapshot {id} had been forgotten, which nothing says any more: it stands again");
                done.lost.push(lost_of(&id, words));
            }
        }
        for revision in known {
            // What a newer program wrote on is for a newer one to mend.
            if unreadable.get(&revision.snapshot).is_some_and(|it| it.lost == Lost::Newer) {
                held.insert(revision.snapshot);
                continue;
            }
            let is_lost = vanished.contains(&revision.snapshot) || unreadable.contains_key(&revision.snapshot);
            if is_lost && revision.kind == RevisionKind::Manifest && self.open_revision(&revision).is_ok() {
                held.insert(revision.snapshot);
                mended.insert((revision.snapshot, revision.revision));
                self.put_back(&revision, &mut done)?;
            }
        }
        for (id, it) in &unreadable {
            let why = &it.problem;
            if it.lost == Lost::Newer {
                // That it is there is no reason to take it for lost, nor to say nothing of it.
                done.lost.push(Trouble::new(
                    TroubleKind::Newer,
                    format!("snapshot {id}"),
                    format!("snapshot {id}: {why}"),
                ));
            } else if !held.contains(id) {
                let words = format!("snapshot {id}: {why}; this host's catalog does not hold it");
                let kind = if it.lost == Lost::Damaged { TroubleKind::Damaged } else { TroubleKind::Lost };
                done.lost.push(Trouble::new(kind, format!("snapshot {id}"), words));
            }
            for number in it.damaged.iter().filter(|number| held.contains(id) && !mended.contains(&(*id, **number))) {
                let path = names::revision_path(id, *number);
                let words = format!("{path} is damaged, and this host's catalog does not hold it");
                done.waiting.push(Trouble::new(TroubleKind::Damaged, path, words));
            }
        }
        for id in vanished.iter().filter(|id| !held.contains(*id)) {
            let words = format!("snapshot {id}: what this host's catalog holds of it cannot be opened");
            done.lost.push(lost_of(id, words));
        }
        Ok(done)
    }

    /// Makes storage hold a revision as the catalog does.
    fn put_back(&self, revision: &Revision, done: &mut Repaired) -> Result<(), RepoError> {
        let path = names::revision_path(&revision.snapshot, revision.revision);
        let is_damaged = match object::read(&self.storage, &path) {
            Ok(there) if there == revision.sealed => return Ok(()),
            Ok(there) => match self.is_sound(revision, there) {
                // After a roll-back another may stand under its number. What is whole, or what this program cannot tell, is not
                // written over.
                Ok(()) => {
                    let words =
                        format!("{path}: another revision than this host's catalog holds stands there, and is whole");
                    done.lost.push(Trouble::new(TroubleKind::Refused, path, words));
                    return Ok(());
                }
                Err(RepoError::Damaged { .. } | RepoError::Forged { .. }) => true,
                // The snapshot is named for it.
                Err(RepoError::NewerFormat { .. } | RepoError::UnknownFeature { .. } | RepoError::Epoch { .. }) => {
                    return Ok(());
                }
                Err(error) if error.is_of_one_object() || matches!(error, RepoError::ChunkMissing { .. }) => {
                    done.lost.push(error.into());
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
            Err(RepoError::Missing { .. }) => false,
            Err(error) if error.kind() == ErrorKind::Damaged => true,
            // What could not be read just now may be whole, and another one than the catalog holds.
            Err(error) if error.is_of_one_object() => {
                done.lost.push(error.into());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !is_damaged && self.is_better_gone(revision, done)? {
            return Ok(());
        }
        self.name_lost_chunks(revision, done)?;
        if is_damaged {
            match if done.dry_run { Ok(()) } else { self.storage.delete(&path) } {
                Err(error) if error.is_of_one_object() => {
                    done.lost.push(error.into());
                    return Ok(());
                }
                deleted => deleted?,
            }
            done.removed.push(path.clone());
        }
        if !done.dry_run && !self.create_or_same(&path, &revision.sealed)? {
            let words = format!("{path}: another object has taken its name meanwhile");
            done.lost.push(Trouble::new(TroubleKind::Refused, path, words));
            return Ok(());
        }
        done.restored.push(path);
        Ok(())
    }

    /// Whether what lies in a revision's place is a revision that can be read.
    fn is_sound(&self, revision: &Revision, there: Vec<u8>) -> Result<(), RepoError> {
        let there = self.revision_of(&revision.snapshot, revision.revision, there)?;
        if there.kind == RevisionKind::Manifest {
            self.open_revision(&there)?;
        }
        Ok(())
    }

    /// Whether a revision is not to be put back: what it needs is in no pack, and by a lower one the snapshot stands, or nothing of
    /// it could be restored, and pruners would stop at it. It is named then.
    fn is_better_gone(&self, revision: &Revision, done: &mut Repaired) -> Result<bool, RepoError> {
        let path = names::revision_path(&revision.snapshot, revision.revision);
        let manifest = self.open_revision(revision)?;
        let (mut lost, mut has_whole) = (None, manifest.collections.is_empty());
        for collection in &manifest.collections {
            let mut is_whole = true;
            for layer in &collection.stack {
                if self.catalog.find(&layer.id)?.is_empty() {
                    (lost, is_whole) = (Some(layer.id), false);
                }
            }
            has_whole |= is_whole;
        }
        let Some(chunk) = lost else { return Ok(false) };
        let mut unread = Vec::new();
        self.refresh_index_listed(&mut Vec::new(), &mut unread)?;
        if let Some(index) = unread.first() {
            let why = format!("it needs chunk {chunk}, which is in no pack that is known, and {index}");
            done.lost.push(lacks(&path, format!("{path} is not put back yet: {why}")));
            return Ok(true);
        }
        match self.stands_by(&revision.snapshot)? {
            Some(below) => {
                let why = format!("it needs chunk {chunk}, which is in no pack, and revision {below} stands");
                done.lost.push(lacks(&path, format!("{path} is not put back: {why}")));
                self.let_be(revision, done)?;
                Ok(true)
            }
            None if has_whole => Ok(false),
            None => {
                let why = format!("it needs chunk {chunk}, which is in no pack");
                done.lost.push(lacks(&path, format!("{path} is not put back: {why}")));
                Ok(true)
            }
        }
    }

    /// Says no more of a revision that is gone.
    fn let_be(&self, revision: &Revision, done: &mut Repaired) -> Result<(), RepoError> {
        if done.dry_run {
            return Ok(());
        }
        self.catalog.apply_revisions(&[], &[(revision.snapshot, revision.revision)], &[])
    }

    /// Names what of a revision is in no pack any more, as far as it says itself.
    fn name_lost_chunks(&self, revision: &Revision, done: &mut Repaired) -> Result<(), RepoError> {
        let path = names::revision_path(&revision.snapshot, revision.revision);
        let body = object::open(&self.keyring, ObjectKind::Snapshot, &path, &revision.sealed)?;
        let manifest = self.open_revision(revision)?;
        let layers = manifest.collections.iter().flat_map(|collection| &collection.stack).map(|layer| layer.id);
        for id in manifest::tables_of(&path, &body)?.into_iter().chain(layers) {
            if self.catalog.find(&id)?.is_empty() {
                done.lost.push(lacks(&path, format!("{path} needs chunk {id}, which is in no pack")));
            }
        }
        Ok(())
    }
}
