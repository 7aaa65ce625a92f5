//! Making the catalog equal to what storage lists, and hearing what is wrong on the way.

use super::{
    Inner, Look,
    names::{self, Fit},
};
use crate::repo::error::HIDES;
use crate::repo::inner::Unread;
use crate::repo::{
    ObjectName, RepoError, SnapshotId,
    catalog::{KnownRevision, Revision, RevisionKind},
    faults::{self, Rule},
    index,
    object::{self, ObjectKind},
    storage::{Listed, Listing, Storage},
};
use crate::report::{ErrorKind, Warning, WarningKind};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};

/// How many small objects are fetched at a time.
const FETCH_BATCH: usize = 64;

/// A warning of an object that counts as absent.
pub(super) fn unread_object(name: &str, words: String) -> Warning {
    Warning::new(WarningKind::ObjectUnreadable, name, words)
}

/// What a warning of an error names: no object where a newer program wrote it, since nothing is to be done about that one.
fn told_as(error: &RepoError) -> String {
    if error.kind() == ErrorKind::NewerFormat { String::new() } else { error.object() }
}

/// The listings that whoever opens a repository, or begins to read, goes by.
pub(in crate::repo) struct Listings {
    index: Listing,
    snapshots: Listing,
    forgotten: Listing,
}

impl Listings {
    /// No rule asks for an order, but for `forgotten/` after `snapshots/`.
    pub fn begin(storage: &Storage) -> Self {
        let [snapshots, forgotten] = storage.begin_lists(["snapshots/", "forgotten/"]);
        Self { index: storage.begin_list("index/"), snapshots, forgotten }
    }
}

impl Inner {
    pub(in crate::repo) fn refresh(&self, look: Look) -> Result<Vec<Warning>, RepoError> {
        self.refresh_of(Listings::begin(&self.storage), look)
    }

    /// [`Self::refresh`] of listings that were begun before.
    pub(in crate::repo) fn refresh_of(&self, listings: Listings, look: Look) -> Result<Vec<Warning>, RepoError> {
        let slots = self.keyring.warnings().iter();
        let mut warnings: Vec<Warning> = slots.map(|words| unread_object("keys/", words.clone())).collect();
        warnings.extend(self.keyring.newer().iter().map(|words| unread_object("", words.clone())));
        let Listings { index, snapshots, forgotten } = listings;
        let trash = (look == Look::AtAll).then(|| self.storage.begin_list("trash/"));
        self.refresh_index_of(index, &mut warnings, &mut Vec::new())?;
        self.refresh_snapshots_of(snapshots, forgotten, &mut warnings)?;
        if let Some(trash) = trash {
            self.bad_marks(trash, &mut warnings)?;
        }
        for name in &super::lock(&self.strange).hidden {
            warnings.push(Warning::new(WarningKind::ObjectHides, name, format!("{name} {HIDES}")));
        }
        Ok(warnings)
    }

    /// Gives whether anything changed.
    pub(in crate::repo) fn refresh_index(&self, warnings: &mut Vec<Warning>) -> Result<bool, RepoError> {
        Ok(self.refresh_index_listed(warnings, &mut Vec::new())?.1)
    }

    /// Lists a folder and leaves out what is no object, which is named once. What stands in the place of a folder with objects, or
    /// is an object under a name that is none, hides something: a pruner asks for it with [`Self::hidden`].
    pub(in crate::repo) fn list_objects(&self, folder: &str) -> Result<Vec<Listed>, RepoError> {
        Ok(self.objects_of(folder, self.storage.list(folder)?))
    }

    /// [`Self::list_objects`] page by page, for a folder that may hold more than should be held at once. Objects may come twice.
    pub(in crate::repo) fn list_pages(
        &self,
        folder: &str,
        visit: &mut dyn FnMut(Vec<Listed>),
    ) -> Result<(), RepoError> {
        let mut strange = Vec::new();
        self.storage.list_pages(folder, &mut |page| {
            let (objects, others): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|object| names::fit(&object.name) == Fit::Object);
            strange.extend(others);
            visit(objects);
        })?;
        // What is no object is named, and looked at, after the listing: nobody can ask within it.
        visit(self.objects_of(folder, strange));
        Ok(())
    }

    /// What `packs/` lists, one by one as it comes; one may come twice.
    pub(in crate::repo) fn for_each_listed_pack(
        &self,
        visit: &mut dyn FnMut(ObjectName, u64),
    ) -> Result<(), RepoError> {
        self.list_pages("packs/", &mut |page| {
            page.iter().filter_map(|it| Some((names::parse_pack(&it.name)?, it.bytes))).for_each(|(n, b)| visit(n, b));
        })
    }

    /// [`Self::list_objects`] of a listing that was begun before.
    pub(in crate::repo) fn objects_of(&self, folder: &str, mut listed: Vec<Listed>) -> Vec<Listed> {
        let mut strange = Vec::new();
        // Once it was moved away it hides nothing.
        super::lock(&self.strange).hidden.remove(folder.trim_end_matches('/'));
        listed.retain(|object| {
            let fit = names::fit(&object.name);
            if fit != Fit::Object {
                strange.push((object.name.clone(), fit));
            }
            fit == Fit::Object
        });
        if !strange.is_empty() {
            let known: HashSet<String> = super::lock(&self.strange).foreign.iter().cloned().collect();
            strange.retain(|(name, _)| !known.contains(name));
        }
        for (name, fit) in strange {
            let is_one = self.storage.read_range(&name, 0..8).is_ok_and(|head| object::is_one(&head));
            if is_one && folder == "trash/" {
                // A mark binds under any name.
                listed.push(Listed { name, bytes: 0 });
                continue;
            }
            let hides = fit == Fit::Blocked || is_one;
            let mut all = super::lock(&self.strange);
            if hides {
                all.hidden.insert(name);
            } else {
                all.foreign.insert(name);
            }
        }
        listed
    }

    /// Notes what stands in the place of a folder that was listed.
    pub(in crate::repo) fn note_what_stands_there(&self, folder: &str, listed: &[Listed]) {
        let mut strange = super::lock(&self.strange);
        strange.hidden.remove(folder.trim_end_matches('/'));
        strange.hidden.extend(names::in_its_place(folder, listed).map(str::to_owned));
    }

    /// What the listings since [`Self::forget_hidden`] could not look into.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] if there was anything: then what is not listed may be there all the same.
    pub(in crate::repo) fn nothing_is_hidden(&self) -> Result<(), RepoError> {
        self.nothing_is_hidden_in("")
    }

    /// The same of one folder.
    ///
    /// # Errors
    /// As [`Self::nothing_is_hidden`].
    pub(in crate::repo) fn nothing_is_hidden_in(&self, folder: &str) -> Result<(), RepoError> {
        let is_in = |name: &&String| name.starts_with(folder) || folder.strip_suffix('/') == Some(name);
        match super::lock(&self.strange).hidden.iter().find(is_in) {
            None => Ok(()),
            Some(name) => Err(RepoError::Hidden { object: name.clone() }),
        }
    }

    /// Whether something that is no folder stood in the place of this one when it was last listed.
    pub(in crate::repo) fn is_blocked(&self, folder: &str) -> bool {
        super::lock(&self.strange).hidden.contains(folder.trim_end_matches('/'))
    }

    /// Begins to look anew for what hides objects.
    pub(in crate::repo) fn forget_hidden(&self) {
        super::lock(&self.strange).hidden.clear();
    }

    /// [`Self::refresh_index`], giving the names that were listed too. `unread` gets the index objects that are there and
    /// could not be read.
    pub(in crate::repo) fn refresh_index_listed(
        &self,
        warnings: &mut Vec<Warning>,
        unread: &mut Vec<RepoError>,
    ) -> Result<(HashSet<ObjectName>, bool), RepoError> {
        self.refresh_index_of(Listing::later(&self.storage, "index/"), warnings, unread)
    }

    fn refresh_index_of(
        &self,
        listing: Listing,
        warnings: &mut Vec<Warning>,
        unread: &mut Vec<RepoError>,
    ) -> Result<(HashSet<ObjectName>, bool), RepoError> {
        let _one_at_a_time = super::lock(&self.refreshing);
        let mut listed = HashMap::new();
        for object in self.objects_of("index/", listing.get()?) {
            if let Some(name) = names::parse_flat::<ObjectName>("index/", &object.name) {
                listed.insert(name, object.bytes);
            }
        }
        if self.is_blocked("index/") {
            // What was known stands: nobody can say what is gone.
            return Ok((HashSet::new(), false));
        }
        let mut change = self.catalog.compare_index(&listed)?;
        let mut imported = false;
        let mut damaged = |error: RepoError| {
            let words = format!("{error}; the chunks it names count as absent");
            warnings.push(unread_object(&told_as(&error), words));
            unread.push(error);
        };
        for name in &change.changed {
            damaged(RepoError::damaged(names::index_path(name), "it has another length than when it was read"));
        }
        let wanted: Vec<_> = change
            .new
            .drain(..)
            .map(|name| (name, names::index_path(&name), listed.get(&name).copied().unwrap_or(0)))
            .collect();
        let kept = |name: &ObjectName| self.cache.as_ref()?.index_object(name);
        let (at_hand, wanted): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(name, _, _)| self.cache.as_ref().is_some_and(|cache| cache.has_index(name)));
        let at_hand = at_hand.into_iter().map(|(name, path, _)| {
            let bytes = kept(&name).map_or_else(|| object::read(&self.storage, &path), Ok);
            (name, bytes)
        });
        let fetched = object::read_each(&self.storage, wanted).map(|(name, begun)| {
            let bytes = begun.get();
            if let (Some(cache), Ok(bytes)) = (&self.cache, &bytes) {
                cache.keep_index_object(&name, bytes);
            }
            (name, bytes)
        });
        let mut read = at_hand.chain(fetched);
        let mut next = || {
            for (name, bytes) in read.by_ref() {
                match bytes.and_then(|bytes| Ok((bytes.len() as u64, index::open(&self.keyring, &name, &bytes)?))) {
                    Ok((bytes, packs)) => {
                        imported = true;
                        return Ok(Some((name, bytes, packs)));
                    }
                    // Deleted since it was listed.
                    Err(RepoError::Missing { .. }) => {}
                    // A service that refuses one refuses all of the folder: nobody is served by storing everything anew.
                    Err(error @ RepoError::Storage { .. }) if self.storage.is_far() => return Err(error),
                    Err(error) => damaged(error),
                }
            }
            Ok(None)
        };
        // What the listing lacks may have been made after it, and another process may have brought it into the catalog: only
        // storage can say that it is gone. It is asked before, so that nothing is dropped while it is imported.
        let mut gone = Vec::new();
        for name in change.gone.drain(..) {
            if faults::is_broken(Rule::AskBeforeDropping) || self.storage.len(&names::index_path(&name))?.is_none() {
                gone.push(name);
            }
        }
        gone.append(&mut change.changed);
        self.catalog.apply_index(&mut next, &gone)?;
        Ok((listed.into_keys().collect(), imported || !gone.is_empty()))
    }

    /// Marks that nobody will carry out because they are bad: writers do not speak of forged ones.
    fn bad_marks(&self, listing: Listing, warnings: &mut Vec<Warning>) -> Result<(), RepoError> {
        let marks = self.objects_of("trash/", listing.get()?);
        let wanted = marks.iter().map(|object| (&*object.name, object.name.clone(), object.bytes));
        for (name, begun) in object::read_each(&self.storage, wanted) {
            let read = begun.get().and_then(|bytes| object::open(&self.keyring, ObjectKind::Mark, name, &bytes));
            match read {
                Ok(_) | Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_bad_object() => {
                    warnings.push(unread_object(&told_as(&error), error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(in crate::repo) fn refresh_snapshots(&self, warnings: &mut Vec<Warning>) -> Result<(), RepoError> {
        self.refresh_snapshots_listed(warnings).map(drop)
    }

    /// [`Self::refresh_snapshots`], giving the names that were listed.
    pub(in crate::repo) fn refresh_snapshots_listed(
        &self,
        warnings: &mut Vec<Warning>,
    ) -> Result<HashSet<(SnapshotId, u64)>, RepoError> {
        let [snapshots, forgotten] = self.storage.begin_lists(["snapshots/", "forgotten/"]);
        self.refresh_snapshots_of(snapshots, forgotten, warnings)
    }

    /// The listing of `forgotten/` begins after that of `snapshots/`.
    fn refresh_snapshots_of(
        &self,
        listing: Listing,
        forgotten: Listing,
        warnings: &mut Vec<Warning>,
    ) -> Result<HashSet<(SnapshotId, u64)>, RepoError> {
        let _one_at_a_time = super::lock(&self.refreshing);
        if faults::is_broken(Rule::ForgottenAfterSnapshots) {
            self.refresh_forgotten(warnings)?;
        }
        let mut listed = HashMap::new();
        for object in self.objects_of("snapshots/", listing.get()?) {
            if let Some(name) = names::parse_revision(&object.name) {
                listed.insert(name, object.bytes);
            }
        }
        if self.is_blocked("snapshots/") {
            return Ok(HashSet::new());
        }
        // After the snapshots: what a collective tombstone made room for must not look as if it had none.
        if !faults::is_broken(Rule::ForgottenAfterSnapshots) {
            self.refresh_forgotten_of(forgotten, warnings)?;
        }
        let mut gathered = HashSet::new();
        if self.catalog.has_gathered()? {
            for id in listed.keys().map(|(id, _)| *id).collect::<HashSet<_>>() {
                if self.catalog.is_gathered(&id)? {
                    gathered.insert(id);
                }
            }
        }
        listed.retain(|(id, _), _| !gathered.contains(id));
        let known: HashMap<(SnapshotId, u64), KnownRevision> =
            self.catalog.revision_names()?.into_iter().map(|known| ((known.snapshot, known.revision), known)).collect();
        let mut unread: Vec<_> =
            listed.iter().filter(|(name, _)| !known.contains_key(*name)).map(|(name, bytes)| (*name, *bytes)).collect();
        unread.sort_unstable();
        let (new, mut unreadable) = self.fetch_revisions(&unread)?;
        if !unreadable.is_empty() {
            let forgotten = self.forgotten(&new)?;
            unreadable.retain(|it| !forgotten.contains(&it.snapshot));
        }
        let mut unread: BTreeMap<SnapshotId, Unread> = BTreeMap::new();
        for it in unreadable {
            let of_snapshot = unread.entry(it.snapshot).or_default();
            of_snapshot.newer = of_snapshot.newer.max(it.is_newer.then_some(it.revision));
            warnings.push(it.warning);
        }
        name_changed(&known, &listed, warnings);
        let listed = listed.into_keys().collect();
        let (dropped, gone) = self.settle_absent(&known, &listed, &new, &unread, warnings)?;
        *super::lock(&self.unread) = unread;
        self.catalog.apply_revisions(&new, &dropped, &gone)?;
        Ok(listed)
    }

    /// The snapshots with a tombstone that counts, as the catalog and these new revisions say.
    pub(in crate::repo) fn forgotten(&self, new: &[Revision]) -> Result<HashSet<SnapshotId>, RepoError> {
        let mut forgotten: HashSet<SnapshotId> =
            new.iter().filter(|it| it.kind == RevisionKind::Tombstone).map(|it| it.snapshot).collect();
        for (id, _, kind) in self.catalog.revision_kinds()? {
            if kind == RevisionKind::Tombstone && self.is_forgotten_now(&id)? {
                forgotten.insert(id);
            }
        }
        Ok(forgotten)
    }

    /// Reads revisions, of which the length is listed; gives also what is wrong with those that cannot be read.
    fn fetch_revisions(
        &self,
        names: &[((SnapshotId, u64), u64)],
    ) -> Result<(Vec<Revision>, Vec<UnreadRevision>), RepoError> {
        let mut revisions = Vec::with_capacity(names.len());
        let mut unreadable = Vec::new();
        let wanted =
            names.iter().map(|((id, revision), bytes)| ((*id, *revision), names::revision_path(id, *revision), *bytes));
        let mut reading = object::read_each(&self.storage, wanted);
        loop {
            let batch: Vec<_> = reading.by_ref().take(FETCH_BATCH).map(|(name, begun)| (name, begun.get())).collect();
            if batch.is_empty() {
                return Ok((revisions, unreadable));
            }
            // Checking who made them is what takes the time of processors.
            let judged = batch.into_par_iter().map(|(name @ (id, revision), read)| {
                (name, read.and_then(|sealed| self.revision_of(&id, revision, sealed)))
            });
            for ((snapshot, revision), outcome) in judged.collect::<Vec<_>>() {
                match outcome {
                    Ok(revision) => revisions.push(revision),
                    Err(RepoError::Missing { .. }) => {}
                    Err(error) if error.is_of_one_object() => {
                        let is_newer = error.kind() == ErrorKind::NewerFormat;
                        let words = format!("a snapshot cannot be read: {error}");
                        // What a newer program can read is nothing to be repaired: not the object is bad.
                        let object = if is_newer { snapshot.to_string() } else { error.object() };
                        let warning = unread_object(&object, words);
                        unreadable.push(UnreadRevision { snapshot, revision, is_newer, warning });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    pub(in crate::repo) fn fetch_revision(&self, id: &SnapshotId, revision: u64) -> Result<Revision, RepoError> {
        let sealed = object::read(&self.storage, &names::revision_path(id, revision))?;
        self.revision_of(id, revision, sealed)
    }

    pub(in crate::repo) fn revision_of(
        &self,
        id: &SnapshotId,
        revision: u64,
        sealed: Vec<u8>,
    ) -> Result<Revision, RepoError> {
        let kind = self.revision_kind(&names::revision_path(id, revision), revision, &sealed)?;
        Ok(Revision { snapshot: *id, revision, kind, sealed })
    }

    /// What lies under a revision's name, made by somebody who may.
    pub(super) fn revision_kind(&self, path: &str, revision: u64, sealed: &[u8]) -> Result<RevisionKind, RepoError> {
        let kind = match object::kind_of(path, sealed)? {
            ObjectKind::Snapshot => RevisionKind::Manifest,
            ObjectKind::Void if revision == 0 => RevisionKind::Void,
            ObjectKind::Tombstone if revision > 0 => RevisionKind::Tombstone,
            other => return Err(RepoError::forged(path, format!("a {other:?} cannot lie there"))),
        };
        object::author(&self.keyring, path, sealed)?;
        if kind == RevisionKind::Tombstone {
            names::TombstoneBody::of(path, sealed)?;
        }
        Ok(kind)
    }

    /// What the catalog knows and the listing lacks is asked for by name. Gives what to drop, and what to mark as gone
    /// or as there again.
    #[allow(clippy::type_complexity)]
    fn settle_absent(
        &self,
        known: &HashMap<(SnapshotId, u64), KnownRevision>,
        listed: &HashSet<(SnapshotId, u64)>,
        new: &[Revision],
        unread: &BTreeMap<SnapshotId, Unread>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(Vec<(SnapshotId, u64)>, Vec<(SnapshotId, u64, bool)>), RepoError> {
        let mut newest: HashMap<SnapshotId, u64> = HashMap::new();
        let there = known.iter().filter(|(name, known)| !known.is_gone && listed.contains(name)).map(|(name, _)| *name);
        for (id, revision) in there.chain(new.iter().map(|revision| (revision.snapshot, revision.revision))) {
            let highest = newest.entry(id).or_default();
            *highest = (*highest).max(revision);
        }
        let (mut dropped, mut gone) = (Vec::new(), Vec::new());
        let mut vanished = BTreeMap::new();
        let mut known: Vec<_> = known.iter().map(|(&name, known)| (name, known.is_gone)).collect();
        known.sort_unstable();
        for ((id, revision), was_gone) in known {
            if listed.contains(&(id, revision)) {
                if was_gone {
                    gone.push((id, revision, false));
                }
                continue;
            }
            // Whatever lies there still: at a replica revisions stay behind that are gone where they came from.
            if self.catalog.is_gathered(&id)? {
                dropped.push((id, revision));
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
            // Nor did those vanish that a newer program took away below its own: it knows what it did. They are kept in mind all the
            // same, should its own vanish.
            if unread.get(&id).is_none_or(|it| it.newer.is_none_or(|newer| newer < revision)) {
                vanished.insert(id, revision);
            }
            if !was_gone {
                gone.push((id, revision, true));
            }
        }
        for (id, revision) in vanished {
            let (kind, words) = if let Some(below) = newest.get(&id) {
                (WarningKind::RevisionVanished, withdrawn(&id, revision, *below))
            } else {
                let words = format!("snapshot {id} was here before and has vanished, although nobody forgot it");
                (WarningKind::SnapshotVanished, words)
            };
            warnings.push(Warning::new(kind, id.to_string(), words));
        }
        Ok((dropped, gone))
    }
}

/// A revision that is listed and cannot be read.
struct UnreadRevision {
    snapshot: SnapshotId,
    revision: u64,
    is_newer: bool,
    warning: Warning,
}

/// What is said of a snapshot that stands by a lower revision than it did.
pub(super) fn withdrawn(id: &SnapshotId, revision: u64, below: u64) -> String {
    format!(
        "snapshot {id} stands as its revision {below} says: revision {revision}, which was here before, has vanished"
    )
}

/// Names revisions that have another length in storage than in the catalog: no object ever changes, so they are damaged there.
fn name_changed(
    known: &HashMap<(SnapshotId, u64), KnownRevision>,
    listed: &HashMap<(SnapshotId, u64), u64>,
    warnings: &mut Vec<Warning>,
) {
    let mut changed: Vec<_> = known
        .iter()
        .filter(|(name, known)| listed.get(*name).is_some_and(|bytes| *bytes != known.bytes))
        .map(|(name, _)| *name)
        .collect();
    changed.sort_unstable();
    for (id, revision) in changed {
        let path = names::revision_path(&id, revision);
        let words = format!("{path} is damaged: its length has changed. Only this host's catalog still holds it");
        warnings.push(unread_object(&path, words));
    }
}
