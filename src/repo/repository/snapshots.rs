//! Which snapshots count.

use super::{Inner, Repository, standing::Standing};
use crate::{
    repo::{
        RepoError, Snapshot, SnapshotId,
        catalog::{Revision, RevisionKind},
    },
    report::{Warning, WarningKind},
};
use rayon::prelude::*;
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

/// So many snapshots are looked up one by one, and more in one go.
const FEW: usize = 64;

/// The snapshots that count, and what was met while finding them.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Every snapshot's newest revision that counts, in the order of [`Position`](crate::repo::Position).
    pub snapshots: Vec<Snapshot>,
    /// Those above whose revision a squash that has not committed has written the next, each with the squash's lease.
    pub pending: Vec<(SnapshotId, SnapshotId)>,
    /// Revisions that could not be opened.
    pub warnings: Vec<Warning>,
}

/// The snapshots that cannot be read, or vanished although nobody forgot them: a listing lacks them, and any may be what is meant.
#[derive(Debug, Clone, Default)]
pub struct UnreadSnapshots {
    /// Which.
    pub ids: BTreeSet<SnapshotId>,
    /// What is wrong with those that no listing of storage warned of: their revisions were read, and cannot be opened.
    pub unopened: Vec<Warning>,
}

impl Inner {
    /// How a snapshot stands, as of the last refresh.
    pub(super) fn standing_known(&self, id: &SnapshotId) -> Result<Standing, RepoError> {
        let revisions = self.catalog.revisions_of(id)?;
        let highest_first: Vec<&Revision> = revisions.iter().collect();
        let squashed = |lease: &SnapshotId| {
            let of_lease = self.catalog.revisions_of(lease)?;
            self.squash_state(of_lease.iter().find(|it| it.revision == 0))
        };
        self.standing(&highest_first, &squashed)
    }
}

impl Repository {
    /// The snapshots of [`Self::listing`].
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, RepoError> {
        Ok(self.listing()?.snapshots)
    }

    /// Every snapshot that counts, as of the last refresh. Tombstones and voids are left out; one that cannot be opened is a
    /// warning.
    pub fn listing(&self) -> Result<Listing, RepoError> {
        let revisions = self.inner.catalog.revisions()?;
        let commits: HashMap<SnapshotId, &Revision> =
            revisions.iter().filter(|it| it.revision == 0).map(|it| (it.snapshot, it)).collect();
        let squashed = |lease: &SnapshotId| self.inner.squash_state(commits.get(lease).copied());
        let groups: Vec<&[Revision]> = revisions.chunk_by(|a, b| a.snapshot == b.snapshot).collect();
        // Opening them is what takes time where there are many.
        let standings = groups.par_iter().map(|group| {
            let highest_first: Vec<&Revision> = group.iter().collect();
            Ok((group[0].snapshot, self.inner.standing(&highest_first, &squashed)?))
        });
        let mut listing = Listing::default();
        for (id, standing) in standings.collect::<Result<Vec<_>, RepoError>>()? {
            listing.snapshots.extend(standing.manifest.map(Snapshot::standing));
            listing.pending.extend(standing.pending.map(|lease| (id, lease)));
            let problems = standing.problems.into_iter();
            listing
                .warnings
                .extend(problems.map(|words| Warning::new(WarningKind::ObjectUnreadable, id.to_string(), words)));
        }
        listing.snapshots.sort_by_key(|snapshot| snapshot.position());
        Ok(listing)
    }

    /// The snapshots that cannot be read, or vanished, and stand by no revision, as of the last refresh.
    pub fn unread_snapshots(&self) -> Result<UnreadSnapshots, RepoError> {
        let mut unread = UnreadSnapshots::default();
        let seen: Vec<SnapshotId> = super::lock(&self.inner.unread).keys().copied().collect();
        for id in seen {
            let standing = self.inner.standing_known(&id)?;
            // A void says what became of it, whatever lies beside.
            let is_void = self.inner.catalog.revisions_of(&id)?.iter().any(|it| it.kind == RevisionKind::Void);
            if standing.manifest.is_none() && !standing.forgotten && !is_void {
                unread.ids.insert(id);
            }
        }
        for id in self.inner.vanished()? {
            if self.inner.stands_by(&id)?.is_none() {
                unread.ids.insert(id);
            }
        }
        for id in self.headless()? {
            let standing = self.inner.standing_known(&id)?;
            if standing.manifest.is_none() && standing.pending.is_none() && !standing.unopened.is_empty() {
                let words = format!("snapshot {id} cannot be read: {}", standing.unopened.join("; "));
                unread.unopened.push(Warning::new(WarningKind::ObjectUnreadable, id.to_string(), words));
                unread.ids.insert(id);
            }
        }
        Ok(unread)
    }

    /// What [`Self::listing`] follows from, as of the last refresh, in a hash: where that is the same, so is the listing.
    pub fn listing_hash(&self) -> Result<[u8; 32], RepoError> {
        Ok(*self.inner.revisions_known()?.as_bytes())
    }

    /// One snapshot as it counts, as of the last refresh.
    pub fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, RepoError> {
        Ok(self.inner.standing_known(id)?.manifest.map(Snapshot::standing))
    }

    /// The names under which revisions lie, whether or not one of them counts, as of the last refresh.
    pub fn snapshot_names(&self) -> Result<HashSet<SnapshotId>, RepoError> {
        Ok(self.inner.catalog.revision_kinds()?.into_iter().map(|(id, _, _)| id).collect())
    }

    /// The newest revisions that count of these snapshots, as of the last refresh; one that has been forgotten since is
    /// left as it is. Cheap as long as nobody has revised one.
    pub fn newest_of<'a>(&self, chosen: &'a [Snapshot]) -> Result<Cow<'a, [Snapshot]>, RepoError> {
        let mut highest: HashMap<SnapshotId, u64> = HashMap::new();
        if chosen.len() <= FEW {
            for it in chosen {
                highest.extend(self.inner.catalog.highest_revision(&it.id)?.map(|revision| (it.id, revision)));
            }
        } else {
            for (id, revision, _) in self.inner.catalog.revision_kinds()? {
                // Highest first.
                highest.entry(id).or_insert(revision);
            }
        }
        if chosen.iter().all(|it| highest.get(&it.id).is_none_or(|highest| *highest <= it.revision)) {
            return Ok(Cow::Borrowed(chosen));
        }
        let mut now: HashMap<SnapshotId, Snapshot> = self.snapshots()?.into_iter().map(|it| (it.id, it)).collect();
        let newest = |it: &Snapshot| {
            let newest = now.remove(&it.id).unwrap_or_else(|| it.clone());
            // One that is seen at a moment before its end goes on being seen so.
            newest.seen_at(it.content.end).unwrap_or(newest)
        };
        Ok(chosen.iter().map(newest).collect())
    }
}
