//! Which revision of a snapshot counts (`format-spec/protocol.md` §3), and writing the next one.

use super::{
    Inner,
    create::{MAX_RACES, json},
    names,
    names::{TombstoneBody, VoidBody},
};
use crate::record::Timestamp;
use crate::repo::{
    ChunkKind, ChunkPlain, Manifest, RepoError, SnapshotId,
    catalog::{Revision, RevisionKind},
    faults::{self, Rule},
    inner::Mark,
    keys::Signer,
    lease,
    object::{self, ObjectKind},
    storage::Created,
};
use std::collections::BTreeSet;

/// What stands under the commit's name of a squash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SquashState {
    /// Its commit: its revisions count.
    Committed,
    /// Nothing yet: its revisions are pending.
    Open,
    /// A void, or the commit of something else: its revisions never count.
    Dead,
}

/// What stands under a snapshot's name.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The newest revision that counts.
    pub manifest: Option<Manifest>,
    /// The squash whose revision lies above it and has not committed.
    pub pending: Option<SnapshotId>,
    /// The highest revision there is.
    pub highest: Option<u64>,
    /// Whether a tombstone lies there that counts.
    pub forgotten: bool,
    /// A tombstone lies there that will count once the lock is over.
    pub waits_for_lock: Option<Timestamp>,
    /// The lowest number above all revisions under which nothing lies; only as read from storage.
    pub next: u64,
    /// What a person should hear.
    pub problems: Vec<String>,
    /// Of these, what could not be opened.
    pub unopened: Vec<String>,
    /// The revisions that somebody may have made and that cannot be read, each with what is wrong.
    pub unread: Vec<(u64, String)>,
    /// What is not in storage as it was, but stands in this host's catalog above what counts; only as read from storage.
    pub remembered: Option<Manifest>,
    /// The feature of the highest revision that this program does not know.
    pub unknown: Option<RepoError>,
}

impl Inner {
    /// Judges all revisions of one snapshot, highest first. `squashed` tells what became of the squash of a lease.
    pub(super) fn standing(
        &self,
        revisions: &[&Revision],
        squashed: &(dyn Fn(&SnapshotId) -> Result<SquashState, RepoError> + Sync),
    ) -> Result<Standing, RepoError> {
        let mut standing = Standing { highest: revisions.first().map(|it| it.revision), ..Standing::default() };
        let forgotten = self.is_forgotten(revisions);
        standing.forgotten = forgotten.counts();
        standing.problems.extend(forgotten.problem(revisions));
        standing.waits_for_lock = forgotten.waits_until();
        if standing.forgotten || revisions.iter().any(|it| it.kind == RevisionKind::Void) {
            return Ok(standing);
        }
        for revision in revisions.iter().filter(|it| it.kind == RevisionKind::Manifest) {
            let manifest = match self.open_revision(revision) {
                Ok(manifest) => manifest,
                Err(error @ (RepoError::Catalog { .. } | RepoError::Interrupted)) => return Err(error),
                Err(error @ RepoError::Epoch { .. }) => {
                    // What lies below can be read, and nothing be built upon it: this may be a hold.
                    standing.problems.push(error.to_string());
                    standing.unopened.push(error.to_string());
                    standing.unknown = Some(error);
                    continue;
                }
                Err(error @ RepoError::UnknownFeature { .. }) => {
                    standing.problems.push(error.to_string());
                    standing.unopened.push(error.to_string());
                    standing.unknown = Some(error);
                    standing.manifest = None;
                    return Ok(standing);
                }
                Err(error) => {
                    let text = format!("a snapshot's revision cannot be opened: {error}");
                    standing.problems.push(text.clone());
                    standing.unopened.push(text);
                    if !matches!(error, RepoError::Forged { .. }) {
                        standing.unread.push((revision.revision, error.to_string()));
                    }
                    continue;
                }
            };
            if manifest.is_squash_commit() {
                continue;
            }
            let commit = manifest.squash.filter(|_| !faults::is_broken(Rule::SquashNeedsCommit));
            let state = commit.map_or(Ok(SquashState::Committed), |lease| squashed(&lease))?;
            match state {
                SquashState::Committed => {
                    standing.manifest = Some(manifest);
                    break;
                }
                SquashState::Open => standing.pending = standing.pending.or(manifest.squash),
                SquashState::Dead => {}
            }
        }
        Ok(standing)
    }

    /// Opens a sealed manifest and checks that it is what its name says.
    pub(in crate::repo) fn open_revision(&self, revision: &Revision) -> Result<Manifest, RepoError> {
        let mark = Mark::of(revision);
        if let Some(manifest) = self.opened.get(&mark) {
            return Ok(manifest);
        }
        let path = names::revision_path(&revision.snapshot, revision.revision);
        let body = object::open_known(&self.keyring, ObjectKind::Snapshot, &path, &revision.sealed)?;
        let manifest = Manifest::from_json(&path, &body, &mut |id| self.read_table(id))?;
        if manifest.id != revision.snapshot || manifest.revision != revision.revision {
            let reason = format!("it says it is revision {} of {}", manifest.revision, manifest.id);
            return Err(RepoError::damaged(path, reason));
        }
        self.opened.keep(mark, &manifest);
        Ok(manifest)
    }

    /// What became of a squash, by what lies under its commit's name.
    pub(super) fn squash_state(&self, commit: Option<&Revision>) -> Result<SquashState, RepoError> {
        match commit {
            None => Ok(SquashState::Open),
            Some(commit) if commit.kind == RevisionKind::Manifest => match self.open_revision(commit) {
                Ok(manifest) if manifest.is_squash_commit() => Ok(SquashState::Committed),
                Ok(_) => Ok(SquashState::Dead),
                // Only the squash itself commits under the name of its lease: what lies there is its commit, and it says
                // nothing but that.
                Err(RepoError::Damaged { .. }) => Ok(SquashState::Committed),
                Err(error) => Err(error),
            },
            Some(_) => Ok(SquashState::Dead),
        }
    }

    /// The same, read from storage.
    fn squash_state_now(&self, lease: &SnapshotId) -> Result<SquashState, RepoError> {
        match self.fetch_revision(lease, 0) {
            Ok(commit) => self.squash_state(Some(&commit)),
            Err(RepoError::Missing { .. }) => Ok(SquashState::Open),
            Err(error) => Err(error),
        }
    }

    /// Tells the catalog of a revision that stands in storage. A catalog that can take nothing more learns it at the next
    /// refresh: nothing that is durable fails for it.
    pub(in crate::repo) fn learn(&self, revision: Revision) {
        let _ = self.catalog.apply_revisions(&[revision], &[], &[]);
    }

    /// A revision that its maker may make; `None` if it is gone, or bad, which is noted.
    fn good_revision(
        &self,
        id: &SnapshotId,
        number: u64,
        bad: &mut Vec<(u64, RepoError)>,
    ) -> Result<Option<Revision>, RepoError> {
        match self.fetch_revision(id, number) {
            Ok(revision) => Ok(Some(revision)),
            Err(RepoError::Missing { .. }) => Ok(None),
            Err(error @ (RepoError::Damaged { .. } | RepoError::Forged { .. })) => {
                bad.push((number, error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What stands under one name, read from storage.
    fn standing_now(&self, id: &SnapshotId) -> Result<Standing, RepoError> {
        let folder = format!("snapshots/{id}/");
        let listed = self.storage.list(&folder)?;
        let numbers: BTreeSet<u64> =
            listed.iter().filter_map(|it| names::parse_revision(&it.name)).map(|(_, number)| number).collect();
        let mut revisions = Vec::new();
        let mut unreadable = Vec::new();
        for number in &numbers {
            revisions.extend(self.good_revision(id, *number, &mut unreadable)?);
        }
        // A listing may be late: the next names themselves are asked for. What is bad is passed over, but its number is taken.
        let mut next = revisions.last().map_or(0, |last| last.revision + 1);
        loop {
            let known = numbers.contains(&next);
            if !known && self.storage.len(&names::revision_path(id, next))?.is_none() {
                break;
            }
            if !known {
                revisions.extend(self.good_revision(id, next, &mut unreadable)?);
            }
            next += 1;
        }
        let revisions: Vec<&Revision> = revisions.iter().rev().collect();
        let mut standing = self.standing(&revisions, &|lease| self.squash_state_now(lease))?;
        standing.next = next;
        standing.highest = numbers.last().copied();
        standing.forgotten |= self.catalog.is_gathered(id)?;
        if !standing.forgotten {
            // A void says what became of it, whatever lies beside.
            if !revisions.iter().any(|it| it.kind == RevisionKind::Void) {
                standing.unopened.extend(unreadable.iter().map(|(_, error)| error.to_string()));
            }
            // Numbers follow each other: behind a gap nobody may have made one.
            let may_say = unreadable
                .iter()
                .filter(|(number, error)| *number < next && !matches!(error, RepoError::Forged { .. }));
            standing.unread.extend(may_say.map(|(number, error)| (*number, error.to_string())));
            standing.problems.extend(unreadable.iter().map(|(_, error)| error.to_string()));
            self.remember_above(id, &revisions, &mut standing)?;
        }
        Ok(standing)
    }

    /// Looks into this host's catalog for the revisions that storage lost or cannot give any more: what one of them said above
    /// what counts, a hold or a lock, is not taken back by damage.
    fn remember_above(&self, id: &SnapshotId, there: &[&Revision], standing: &mut Standing) -> Result<(), RepoError> {
        let Some(counts) = standing.manifest.as_ref().map(|manifest| manifest.revision) else { return Ok(()) };
        standing.unread.retain(|(number, _)| *number > counts);
        let mut known = self.catalog.held_revisions_of(id)?;
        known.retain(|it| {
            let is_there = there.iter().any(|other| other.revision == it.revision);
            it.kind == RevisionKind::Manifest && it.revision > counts && !is_there && self.open_revision(it).is_ok()
        });
        if known.is_empty() {
            return Ok(());
        }
        standing.unread.retain(|(number, _)| known.iter().all(|it| it.revision != *number));
        let mut all: Vec<&Revision> = there.iter().copied().chain(&known).collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.revision));
        let was = self.standing(&all, &|lease| self.squash_state_now(lease))?;
        standing.remembered = was.manifest.filter(|manifest| manifest.revision > counts);
        Ok(())
    }

    /// The revision that a change starts from, and the number of the next.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] also where a revision above it was lost that this host still knows: a change would bury what it
    /// said.
    pub(in crate::repo) fn writable(&self, id: &SnapshotId) -> Result<(Manifest, u64), RepoError> {
        let (manifest, next, remembered) = self.writable_or_lost(id)?;
        match remembered {
            None => Ok((manifest, next)),
            Some(lost) => Err(RepoError::damaged(
                names::revision_path(id, lost.revision),
                "it is not in storage as it was, and what it says of its snapshot is not passed over: this host's catalog \
                 holds it and can write it again",
            )),
        }
    }

    /// [`Self::writable`], giving also the revision above that storage lost and this host knows.
    fn writable_or_lost(&self, id: &SnapshotId) -> Result<(Manifest, u64, Option<Manifest>), RepoError> {
        let mut standing = self.standing_now(id)?;
        if let Some(lease) = standing.pending
            && self.storage.len(&lease::end_path(&lease))?.is_some()
        {
            // It ended: whether it committed shows under its name, which is taken for good if it did not.
            self.fence(&lease)?;
            standing = self.standing_now(id)?;
        }
        if faults::is_broken(Rule::NothingAbovePending) && standing.pending.is_some() {
            return self.above_pending(id, &standing).map(|(manifest, next)| (manifest, next, None));
        }
        if let Some(lease) = standing.pending {
            return Err(RepoError::Pending { id: *id, lease });
        }
        // It was forgotten by a host on whose clock the lock is over; here it is kept until it is.
        if let Some(until) = standing.waits_for_lock {
            return Err(RepoError::Locked { id: *id, until });
        }
        if let Some(error) = standing.unknown.take().filter(|_| !standing.forgotten) {
            return Err(error);
        }
        match standing.manifest {
            Some(manifest) if !standing.forgotten => {
                manifest.may_be_changed()?;
                if let Some((number, problem)) = standing.unread.first() {
                    return Err(RepoError::damaged(
                        names::revision_path(id, *number),
                        format!(
                            "it cannot be read, and may hold or lock its snapshot, which therefore stays as it is until a host that saw it \
                             writes it again, or it is taken away with what it said ({problem})"
                        ),
                    ));
                }
                Ok((manifest, standing.next, standing.remembered))
            }
            _ if standing.unopened.is_empty() => Err(RepoError::NoSnapshot { name: id.to_string() }),
            _ => Err(RepoError::damaged(format!("snapshots/{id}"), standing.unopened.join("; "))),
        }
    }

    /// What a writer that does not wait would start from: the pending revision as if it counted.
    fn above_pending(&self, id: &SnapshotId, standing: &Standing) -> Result<(Manifest, u64), RepoError> {
        let highest = standing.highest.unwrap_or(0);
        let pending = self.open_revision(&self.fetch_revision(id, highest)?)?;
        Ok((Manifest { squash: None, ..pending }, standing.next))
    }

    pub(super) fn revise(&self, id: &SnapshotId, change: &dyn Fn(&mut Manifest)) -> Result<Manifest, RepoError> {
        for _ in 0..MAX_RACES {
            let (old, next) = self.writable(id)?;
            let mut new = old.clone();
            change(&mut new);
            if new.id != old.id || new.content != old.content {
                return Err(RepoError::Internal(format!("a revision of snapshot {id} may not change its content")));
            }
            new.revision = next;
            let body = new.to_json(&mut |piece| self.known_table(piece))?;
            let path = names::revision_path(id, new.revision);
            let sealed = object::make(&self.keyring, Signer::Operator, ObjectKind::Snapshot, &path, &body)?;
            if self.create_or_same(&path, &sealed)? {
                let revision = Revision { snapshot: *id, revision: new.revision, kind: RevisionKind::Manifest, sealed };
                self.learn(revision);
                return Ok(new);
            }
        }
        Err(RepoError::Contended { id: *id })
    }

    pub(super) fn forget(&self, id: &SnapshotId) -> Result<(), RepoError> {
        for _ in 0..MAX_RACES {
            let (counts, revision, remembered) = match self.writable_or_lost(id) {
                Err(RepoError::NoSnapshot { .. }) if self.standing_now(id)?.forgotten => return Ok(()),
                other => other?,
            };
            let old = remembered.unwrap_or(counts);
            let now = self.clock.now();
            if old.hold {
                return Err(RepoError::Held { id: *id });
            }
            if let Some(until) = old.lock_until.filter(|until| *until > now) {
                return Err(RepoError::Locked { id: *id, until });
            }
            let body = TombstoneBody { forgotten: *id, revision, host: self.host.clone(), time: now };
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

    /// Creates the void. Gives whether the lease can never commit.
    pub(in crate::repo) fn fence(&self, lease: &SnapshotId) -> Result<bool, RepoError> {
        self.fence_as(lease, Signer::Operator)
    }

    /// [`Self::fence`] by the holder of the lease himself, or by who may forget and prune.
    pub(in crate::repo) fn fence_as(&self, lease: &SnapshotId, signer: Signer<'_>) -> Result<bool, RepoError> {
        let path = names::revision_path(lease, 0);
        let body = VoidBody { void: *lease, host: self.host.clone(), time: self.clock.now() };
        let bytes = object::make(&self.keyring, signer, ObjectKind::Void, &path, &json(&body)?)?;
        if self.storage.create(&path, &bytes)? == Created::New {
            return Ok(true);
        }
        Ok(self.fetch_revision(lease, 0)?.kind == RevisionKind::Void)
    }

    /// A table that the repository holds already: a revision that changes no stack writes none.
    pub(in crate::repo) fn known_table(&self, piece: Vec<u8>) -> Result<crate::repo::ChunkId, RepoError> {
        let id = ChunkPlain::single(piece).id(&self.keyring.secrets.chunk_id, ChunkKind::Table);
        if self.catalog.find(&id)?.is_empty() {
            return Err(RepoError::Internal("this revision needs a new table and so a write session".to_owned()));
        }
        Ok(id)
    }
}
