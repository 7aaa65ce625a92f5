//! What is needed: a bit for every chunk that a revision references which counts or is pending.

use super::{LayerWalk, first_seen::FirstSeen, needed::Needed, view::View};
use crate::repo::{
    ChunkId, ChunkReader, Manifest, RepoError, SnapshotId,
    bits::ChunkSet,
    catalog::{Revision, RevisionKind},
    faults::{self, Rule},
    inner::Inner,
    manifest::{self, LayerRef},
    names,
    object::{self, ObjectKind},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// The layers and tables that revisions name, each once.
#[derive(Default)]
struct References {
    layers: BTreeMap<ChunkId, LayerRef>,
    tables: BTreeSet<ChunkId>,
    snapshots: u64,
}

impl Inner {
    /// What the revisions that the catalog holds need. `listed` are those that storage showed just now: one of them that
    /// cannot be opened stops the pruner. Those of `without` count as if they had been forgotten.
    pub(super) fn needed(
        self: &Arc<Self>,
        listed: &HashSet<(SnapshotId, u64)>,
        walk: &dyn LayerWalk,
        without: &HashSet<SnapshotId>,
    ) -> Result<Needed, RepoError> {
        let revisions = self.catalog.revisions()?;
        self.all_are_known(listed, &revisions)?;
        let mut references = References::default();
        let first: HashMap<SnapshotId, &Revision> =
            revisions.iter().filter(|it| it.revision == 0).map(|it| (it.snapshot, it)).collect();
        let groups = revisions.chunk_by(|a, b| a.snapshot == b.snapshot);
        for group in groups.filter(|group| group.first().is_none_or(|it| !without.contains(&it.snapshot))) {
            self.add_snapshot(group, &first, &mut references)?;
        }
        let mut needed = Needed { snapshots: references.snapshots, ..Needed::default() };
        for table in &references.tables {
            needed.chunks.insert(self.number(table)?);
        }
        self.add_layers(references.layers.values(), walk, &mut needed)?;
        Ok(needed)
    }

    /// What snapshots need that were there once and are gone, although nobody forgot them: it stays, as far as it is still
    /// there, until a person lets them go.
    pub(super) fn keep_vanished(self: &Arc<Self>, view: &mut View, walk: &dyn LayerWalk) -> Result<(), RepoError> {
        view.vanished = self.vanished()?;
        if view.vanished.is_empty() {
            return Ok(());
        }
        let mut references = References::default();
        for revision in self.catalog.gone_revisions()?.iter().filter(|it| view.vanished.contains(&it.snapshot)) {
            // One that cannot be opened here cannot be put back from here either.
            if let Ok(manifest) = self.open_revision(revision) {
                self.add_manifest(revision, manifest, &mut references)?;
            }
        }
        let mut wanted = ChunkSet::default();
        for table in &references.tables {
            if let Some(number) = self.catalog.chunk_number(table)? {
                wanted.insert(number);
            }
        }
        for layer in references.layers.values() {
            view.needed.layers.insert(layer.id);
            let is_known = self.catalog.for_each_layer_chunk(&layer.id, &mut |number| {
                wanted.insert(number);
            })?;
            if is_known {
                continue;
            }
            let reader = Arc::clone(self) as Arc<dyn ChunkReader>;
            let walked = walk.chunks(&reader, layer, &mut |id| {
                if let Some(number) = self.catalog.chunk_number(&id)? {
                    wanted.insert(number);
                }
                Ok(())
            });
            match walked {
                Ok(())
                | Err(RepoError::Missing { .. } | RepoError::Damaged { .. } | RepoError::ChunkMissing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.keep_where_present(view, &wanted)
    }

    /// A listed revision that the catalog does not have was deleted since, or is bad. A bad one takes nothing away: beside a
    /// good one it is passed over, alone it stops the pruner, since what its snapshot needs cannot be known.
    fn all_are_known(&self, listed: &HashSet<(SnapshotId, u64)>, revisions: &[Revision]) -> Result<(), RepoError> {
        let known: HashSet<(SnapshotId, u64)> = revisions.iter().map(|it| (it.snapshot, it.revision)).collect();
        let stands: HashSet<SnapshotId> = revisions.iter().map(|it| it.snapshot).collect();
        let mut unknown: Vec<_> = listed.difference(&known).collect();
        unknown.sort_unstable();
        for (id, revision) in unknown {
            match self.fetch_revision(id, *revision) {
                // It is whole: only the catalog lost it meanwhile.
                Ok(_) => return Err(RepoError::CatalogChanged),
                Err(RepoError::Missing { .. }) => {}
                Err(RepoError::Damaged { .. } | RepoError::Forged { .. }) if stands.contains(id) => {}
                Err(error) => return Err(needs_are_unknown(id, error)),
            }
        }
        Ok(())
    }

    /// All revisions of one snapshot, highest first: the pending ones and the one that counts.
    fn add_snapshot(
        &self,
        group: &[Revision],
        first: &HashMap<SnapshotId, &Revision>,
        references: &mut References,
    ) -> Result<(), RepoError> {
        let all: Vec<&Revision> = group.iter().collect();
        if group.iter().any(|it| it.kind == RevisionKind::Void) || self.is_forgotten(&all).counts() {
            return Ok(());
        }
        for revision in group.iter().filter(|it| it.kind == RevisionKind::Manifest) {
            let manifest =
                self.open_revision(revision).map_err(|error| needs_are_unknown(&revision.snapshot, error))?;
            let squash =
                manifest.squash.filter(|_| !manifest.is_squash_commit() && !faults::is_broken(Rule::SquashNeedsCommit));
            let commit = squash.and_then(|lease| first.get(&lease));
            // The revision of a squash that was fenced never counts, and what it names may be gone.
            if commit.is_some_and(|commit| commit.kind == RevisionKind::Void) {
                continue;
            }
            let counts = match (squash, commit) {
                (None, _) => !manifest.is_squash_commit(),
                (Some(_), Some(commit)) => match self.open_revision(commit) {
                    Ok(commit) => commit.is_squash_commit(),
                    // It may be its commit or not: what lies below may still be needed.
                    Err(RepoError::Damaged { .. }) => false,
                    Err(error) => return Err(error),
                },
                (Some(_), None) => false,
            };
            self.add_manifest(revision, manifest, references)?;
            if counts {
                references.snapshots += 1;
                break;
            }
        }
        Ok(())
    }

    fn add_manifest(
        &self,
        revision: &Revision,
        manifest: Manifest,
        references: &mut References,
    ) -> Result<(), RepoError> {
        let path = names::revision_path(&revision.snapshot, revision.revision);
        let body = object::open_known(&self.keyring, ObjectKind::Snapshot, &path, &revision.sealed)?;
        references.tables.extend(manifest::tables_of(&path, &body)?);
        for layer in manifest.collections.into_iter().flat_map(|collection| collection.stack) {
            references.layers.entry(layer.id).or_insert(layer);
        }
        Ok(())
    }

    /// Adds what layers have, as it is noted; those that this catalog sees for the first time are walked.
    fn add_layers<'l>(
        self: &Arc<Self>,
        layers: impl Iterator<Item = &'l LayerRef>,
        walk: &dyn LayerWalk,
        needed: &mut Needed,
    ) -> Result<(), RepoError> {
        let mut unknown = FirstSeen::new(&self.catalog);
        for layer in layers {
            needed.layers.insert(layer.id);
            if self.catalog.for_each_layer_chunk(&layer.id, &mut |number| {
                needed.chunks.insert(number);
            })? {
                continue;
            }
            let reader = Arc::clone(self) as Arc<dyn ChunkReader>;
            let walked = walk.chunks(&reader, layer, &mut |id| unknown.take(id, &mut needed.chunks));
            if let Err(error) = walked {
                // What was walked to its end need not be the next time.
                unknown.give_up_last();
                unknown.settle(&mut needed.chunks)?;
                return Err(error);
            }
            unknown.ends(layer.id);
        }
        unknown.settle(&mut needed.chunks)
    }

    fn number(&self, id: &ChunkId) -> Result<u64, RepoError> {
        self.catalog.chunk_number(id)?.ok_or(RepoError::ChunkMissing { id: *id })
    }
}

/// As long as nobody knows what a snapshot needs nothing may go.
fn needs_are_unknown(id: &SnapshotId, error: RepoError) -> RepoError {
    match error {
        RepoError::Damaged { object, reason } => RepoError::Damaged {
            object,
            reason: format!(
                "{reason}; what snapshot {} needs is not known, so that nothing can be deleted",
                id.short()
            ),
        },
        error => error,
    }
}
