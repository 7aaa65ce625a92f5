//! Checkpoints beside a prune (`format-spec/protocol.md`, section 5): what young ones name is kept, old ones are tidied away.
//! Who takes one over checks what it names, so nothing here has to be exact.

use super::{LayerWalk, LeaseInfo, Pruner, drain::mark_key, tidy::Tidied, view::View};
use crate::repo::{
    Checkpoint, ChunkId, ChunkReader, RepoError, Repository, Snapshot, SnapshotId, bits::ChunkSet,
    checkpoint::checkpoint_path, inner::Inner,
};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

/// How long a checkpoint and what it names stay once this catalog has seen it.
const STAYS_MILLIS: i64 = 24 * 60 * 60 * 1000;

impl Inner {
    /// Whether this catalog first saw a checkpoint long ago; remembers that it sees it now.
    fn is_stale(&self, lease: &SnapshotId, number: u64) -> Result<bool, RepoError> {
        let now = self.clock.now();
        let seen = self.catalog.lease_first_seen(&mark_key(&checkpoint_path(lease, number)), 0, now)?;
        Ok(now.as_millis().saturating_sub(seen.as_millis()) >= STAYS_MILLIS)
    }

    fn snapshots_now(self: &Arc<Self>) -> Result<Vec<Snapshot>, RepoError> {
        Repository::without_lease(Arc::clone(self), None).snapshots()
    }

    /// Counts as needed what young checkpoints name, as far as it lies in a listed pack that the index describes.
    pub(super) fn keep_checkpointed(self: &Arc<Self>, view: &mut View, walk: &dyn LayerWalk) -> Result<(), RepoError> {
        if !walk.walks_lists() {
            return Ok(());
        }
        let wanted = self.checkpointed(walk)?;
        if wanted.len() == 0 {
            return Ok(());
        }
        self.keep_where_present(view, &wanted)
    }

    /// Counts chunks as needed as far as they lie in a listed pack that the index describes.
    pub(super) fn keep_where_present(&self, view: &mut View, wanted: &ChunkSet) -> Result<(), RepoError> {
        let (packs, needed) = (&view.packs, &mut view.needed.chunks);
        let mut current = None;
        self.catalog.for_each_place(&mut |place| {
            let (_, is_there) = match current {
                Some(known @ (pack, _)) if pack == place.pack => known,
                _ => *current.insert((place.pack, packs.name(place.pack).is_some_and(|name| packs.is_listed(&name)))),
            };
            if is_there && wanted.has(place.chunk) {
                needed.insert(place.chunk);
            }
        })
    }

    /// The chunks that young checkpoints name.
    fn checkpointed(self: &Arc<Self>, walk: &dyn LayerWalk) -> Result<ChunkSet, RepoError> {
        let mut wanted = ChunkSet::default();
        let numbers = self.checkpoint_numbers()?;
        if numbers.is_empty() {
            return Ok(wanted);
        }
        let (committed, snapshots) = (self.committed_leases()?, self.snapshots_now()?);
        for (lease, numbers) in numbers {
            let Some(newest) = numbers.last().filter(|_| !committed.contains(&lease)) else { continue };
            if self.is_stale(&lease, *newest)? {
                continue;
            }
            match self.read_checkpoint(&lease, *newest) {
                Ok(checkpoint) if checkpoint.overtaken_by(&snapshots).is_none() => {
                    self.add_named(&checkpoint, walk, &mut wanted)?;
                }
                // One that cannot be read cannot be taken over either.
                Ok(_) | Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_bad_object() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted)
    }

    fn add_named(
        self: &Arc<Self>,
        checkpoint: &Checkpoint,
        walk: &dyn LayerWalk,
        wanted: &mut ChunkSet,
    ) -> Result<(), RepoError> {
        let reader = Arc::clone(self) as Arc<dyn ChunkReader>;
        let mut lists: BTreeSet<ChunkId> = BTreeSet::new();
        for (list, outcome) in checkpoint.named_chunks() {
            lists.extend(list);
            if let Some(number) = self.catalog.chunk_number(&outcome)? {
                wanted.insert(number);
            }
        }
        for list in lists {
            let walked = walk.list_chunks(&reader, &list, &mut |id| {
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
        Ok(())
    }
}

impl Pruner {
    /// Removes the checkpoints of leases that are over and that nobody will take over, or could for a day.
    pub(super) fn tidy_checkpoints(&self, leases: &[LeaseInfo], tidied: &mut Tidied) -> Result<(), RepoError> {
        let running: HashSet<SnapshotId> =
            leases.iter().filter(|lease| !lease.is_over()).map(|lease| lease.id).collect();
        let numbers = self.inner.checkpoint_numbers()?;
        if numbers.is_empty() {
            return Ok(());
        }
        let (committed, snapshots) = (self.inner.committed_leases()?, self.inner.snapshots_now()?);
        for (lease, numbers) in numbers {
            let Some((newest, older)) = numbers.split_last().filter(|_| !running.contains(&lease)) else { continue };
            let newest_goes = committed.contains(&lease)
                || self.inner.is_stale(&lease, *newest)?
                || match self.inner.read_checkpoint(&lease, *newest) {
                    Ok(checkpoint) => checkpoint.overtaken_by(&snapshots).is_some(),
                    // What a newer program wrote it may still want; damage may pass with the storage's trouble.
                    Err(_) => false,
                };
            let goes = older.iter().chain(newest_goes.then_some(newest));
            let names: Vec<String> = goes.map(|number| checkpoint_path(&lease, *number)).collect();
            let gone = self.remove_each(&names, &mut tidied.failures);
            tidied.checkpoints += gone.iter().filter(|gone| **gone).count() as u64;
        }
        Ok(())
    }
}
