//! Snapshots that cannot be opened or that vanished: which there are, and letting them go at a person's word.

use super::{Inner, Repository, create::MAX_RACES, doubt::Forgotten, names, names::TombstoneBody, standing::Standing};
use crate::repo::{
    Manifest, RepoError, SnapshotId,
    catalog::{Revision, RevisionKind},
    inner::create::json,
    keys::Signer,
    object::{self, ObjectKind},
};
use std::collections::{BTreeMap, BTreeSet};

/// What became of a snapshot that is to be let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It was there once and is gone, although nobody forgot it.
    Vanished,
    /// It stands, but by a lower revision than it did: what the higher one said is gone.
    Withdrawn,
    /// A revision of it cannot be read, and it stands by no other.
    Damaged,
    /// A revision of it cannot be read, but it stands without that one: nothing of it has to be let go.
    Beside,
    /// A revision of it was written by a newer program, which can read it.
    Newer,
    /// What a revision of it needs to be read is in no pack that is known, and an index object cannot be read.
    Unindexed,
}

/// A snapshot of which a listed revision cannot be read.
pub(in crate::repo) struct Unreadable {
    /// What is wrong with the revision.
    pub problem: String,
    /// The revisions that are damaged.
    pub damaged: BTreeSet<u64>,
    pub lost: Lost,
}

impl Inner {
    /// The snapshots that the catalog has seen and that storage lacks without a tombstone or a void that says why.
    pub(in crate::repo) fn vanished(&self) -> Result<Vec<SnapshotId>, RepoError> {
        let gone = self.catalog.gone_revisions()?;
        let unread = super::lock(&self.unread).clone();
        let mut vanished = Vec::new();
        for group in gone.chunk_by(|a, b| a.snapshot == b.snapshot) {
            let id = group[0].snapshot;
            // A newer program that wrote a higher one took it away.
            let newer = unread.get(&id).and_then(|it| it.newer);
            if newer.is_some_and(|newer| group.iter().all(|it| it.revision < newer)) {
                continue;
            }
            let there = self.catalog.revisions_of(&id)?;
            let mut all: Vec<&Revision> = group.iter().chain(&there).collect();
            all.sort_by_key(|it| std::cmp::Reverse(it.revision));
            let is_void = all.iter().any(|it| it.kind == RevisionKind::Void);
            // A tombstone on what was held takes nothing away, and explains nothing.
            if !is_void && matches!(self.is_forgotten(&all), Forgotten::No | Forgotten::Never(_)) {
                vanished.push(id);
            }
        }
        Ok(vanished)
    }

    /// The revision by which a snapshot stands in storage.
    pub(in crate::repo) fn stands_by(&self, id: &SnapshotId) -> Result<Option<u64>, RepoError> {
        let there = self.catalog.revisions_of(id)?;
        Ok(there.iter().filter(|it| it.kind == RevisionKind::Manifest).map(|it| it.revision).max())
    }

    /// The vanished snapshots that stand by a lower revision, in words.
    fn withdrawn(&self) -> Result<Vec<(SnapshotId, String)>, RepoError> {
        let gone = self.catalog.gone_revisions()?;
        let mut withdrawn = Vec::new();
        for id in self.vanished()? {
            let highest = gone.iter().filter(|it| it.snapshot == id).map(|it| it.revision).max();
            if let (Some(below), Some(highest)) = (self.stands_by(&id)?, highest) {
                withdrawn.push((id, super::refresh::withdrawn(&id, highest, below)));
            }
        }
        Ok(withdrawn)
    }

    /// The snapshots of which a listed revision cannot be read or opened, each with what is wrong.
    pub(in crate::repo) fn unreadable(&self) -> Result<BTreeMap<SnapshotId, Unreadable>, RepoError> {
        let mut unread = Vec::new();
        self.refresh_index_listed(&mut Vec::new(), &mut unread)?;
        let mut revisions: BTreeMap<SnapshotId, BTreeSet<u64>> = BTreeMap::new();
        for object in self.list_objects("snapshots/")? {
            if let Some((id, revision)) = names::parse_revision(&object.name) {
                revisions.entry(id).or_default().insert(revision);
            }
        }
        let mut unreadable = BTreeMap::new();
        for (id, numbers) in revisions {
            if self.catalog.is_gathered(&id)? {
                continue;
            }
            let (mut problem, mut newer, mut forged) = (None, None, None);
            let mut damaged = BTreeSet::new();
            let (mut stands, mut is_over, mut is_unindexed) = (false, false, false);
            for number in numbers {
                let opened = match self.fetch_revision(&id, number) {
                    // Deleted since it was listed.
                    Err(RepoError::Missing { .. }) => continue,
                    Ok(revision) if revision.kind == RevisionKind::Manifest => {
                        self.open_revision(&revision).map(|_| revision.kind)
                    }
                    fetched => fetched.map(|revision| revision.kind),
                };
                match opened {
                    Ok(kind) => {
                        stands = true;
                        is_over |= match kind {
                            RevisionKind::Manifest => false,
                            RevisionKind::Void => true,
                            RevisionKind::Tombstone => self.is_forgotten_now(&id)?,
                        };
                    }
                    // What nobody who may made says nothing of a snapshot of which something else stands.
                    Err(error @ RepoError::Forged { .. }) => forged = Some(error.to_string()),
                    Err(
                        error @ (RepoError::NewerFormat { .. }
                        | RepoError::UnknownFeature { .. }
                        | RepoError::Epoch { .. }),
                    ) => {
                        newer = Some(error.to_string());
                    }
                    Err(error @ (RepoError::ChunkMissing { .. } | RepoError::Missing { .. })) => {
                        is_unindexed |= !unread.is_empty();
                        let because = unread.first().map_or_else(String::new, |index| format!(", and {index}"));
                        problem = Some(format!("{error}{because}"));
                    }
                    Err(error @ RepoError::Storage { .. }) if unread.iter().any(RepoError::is_of_one_object) => {
                        (is_unindexed, problem) = (true, Some(error.to_string()));
                    }
                    Err(error @ RepoError::Damaged { .. }) => {
                        damaged.insert(number);
                        problem = Some(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
            let is_newer = newer.is_some();
            let problem = newer.or(problem).or(forged.filter(|_| !stands));
            if let Some(problem) = problem.filter(|_| !is_over) {
                let lost = match self.standing_known(&id)? {
                    _ if is_newer => Lost::Newer,
                    _ if is_unindexed => Lost::Unindexed,
                    // One that a squash is about to make stand is no more lost than one that stands.
                    Standing { manifest: None, pending: None, .. } => Lost::Damaged,
                    _ => Lost::Beside,
                };
                unreadable.insert(id, Unreadable { problem, damaged, lost });
            }
        }
        Ok(unreadable)
    }

    /// Writes the tombstone of a snapshot that cannot be opened, or that is gone.
    fn bury(&self, id: &SnapshotId, lost: Lost) -> Result<(), RepoError> {
        for _ in 0..MAX_RACES {
            let is_lost = match lost {
                // Of what stands by a lower revision nothing has to be let go.
                Lost::Vanished => {
                    self.vanished()?.contains(id)
                        && self.stands_by(id)?.is_none()
                        && self.unreadable()?.get(id).is_none_or(|it| it.lost != Lost::Newer)
                }
                Lost::Withdrawn | Lost::Beside | Lost::Newer | Lost::Unindexed => false,
                Lost::Damaged => self.unreadable()?.get(id).is_some_and(|it| it.lost == Lost::Damaged),
            };
            if !is_lost {
                return Err(RepoError::NoSnapshot { name: format!("{id} that is lost so") });
            }
            self.is_unprotected(id)?;
            let listed = self.list_objects(&format!("snapshots/{id}/"))?;
            let there: BTreeSet<u64> =
                listed.iter().filter_map(|it| names::parse_revision(&it.name)).map(|(_, number)| number).collect();
            let known = self.catalog.revision_names()?.into_iter().filter(|it| it.snapshot == *id);
            // What fails the check takes a number, and no more.
            let mut revision = known.map(|it| it.revision).max().unwrap_or(0) + 1;
            while there.contains(&revision) {
                revision += 1;
            }
            let body = TombstoneBody { forgotten: *id, revision, host: self.host.clone(), time: self.clock.now() };
            let path = names::revision_path(id, revision);
            let sealed = object::make(&self.keyring, Signer::Operator, ObjectKind::Tombstone, &path, &json(&body)?)?;
            if self.create_or_same(&path, &sealed)? {
                let stone = Revision { snapshot: *id, revision, kind: RevisionKind::Tombstone, sealed };
                self.learn(stone);
                return Ok(());
            }
        }
        Err(RepoError::Contended { id: *id })
    }

    /// Refuses if a revision that this catalog can open holds or locks the snapshot.
    fn is_unprotected(&self, id: &SnapshotId) -> Result<(), RepoError> {
        let mut known = self.catalog.held_revisions()?;
        known.retain(|it| it.snapshot == *id && it.kind == RevisionKind::Manifest);
        known.sort_by_key(|it| std::cmp::Reverse(it.revision));
        let newest = known.iter().find_map(|revision| self.open_revision(revision).ok());
        match newest {
            Some(manifest) if manifest.hold => Err(RepoError::Held { id: *id }),
            Some(Manifest { lock_until: Some(until), .. }) if until > self.clock.now() => {
                Err(RepoError::Locked { id: *id, until })
            }
            _ => Ok(()),
        }
    }
}

impl Repository {
    /// The snapshots that are lost in this way, each with what is wrong with it.
    pub fn lost(&self, lost: Lost) -> Result<Vec<(SnapshotId, String)>, RepoError> {
        Ok(match lost {
            Lost::Vanished => {
                let why = "it was here before and is gone, although nobody forgot it";
                let mut vanished = self.inner.vanished()?;
                let withdrawn = self.inner.withdrawn()?;
                vanished.retain(|id| withdrawn.iter().all(|(other, _)| other != id));
                vanished.into_iter().map(|id| (id, why.to_owned())).collect()
            }
            Lost::Withdrawn => self.inner.withdrawn()?,
            Lost::Damaged | Lost::Beside | Lost::Newer | Lost::Unindexed => {
                let unreadable = self.unreadable()?.into_iter();
                unreadable.filter(|(_, how, _)| *how == lost).map(|(id, _, why)| (id, why)).collect()
            }
        })
    }

    /// The snapshots of which a revision cannot be read, in what way each is lost or not, and what is wrong.
    pub fn unreadable(&self) -> Result<Vec<(SnapshotId, Lost, String)>, RepoError> {
        Ok(self.inner.unreadable()?.into_iter().map(|(id, it)| (id, it.lost, it.problem)).collect())
    }

    /// Forgets a lost snapshot: from here on nothing that it alone needs is kept.
    ///
    /// # Errors
    /// [`RepoError::NoSnapshot`] if it is not lost in this way; [`RepoError::Held`] or [`RepoError::Locked`] if it was so when it was
    /// last seen.
    pub fn bury(&self, id: &SnapshotId, lost: Lost) -> Result<(), RepoError> {
        let _spending = self.inner.storage.spending();
        self.inner.bury(id, lost)
    }
}
