//! `repair packs`: saves what can be read of damaged packs, takes away those that are good for nothing then, and names what
//! is lost to which snapshots.

use super::{OpsError, Phase, PhaseKind, Progress, prune::Layers};
use crate::{
    layer::Layer,
    repo::{
        Capability, ChunkId, RepoError, Repository, SnapshotId,
        manifest::LayerRef,
        pack,
        pruner::{GRACE, PrunerOptions},
        repair::{DamagedPack, Looked, Repaired, SavedPacks},
        repository::Lost,
        session::SessionTiming,
    },
    report::{Trouble, TroubleKind},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// How to repair packs.
#[derive(Debug, Clone)]
pub struct RepairPacksOptions {
    /// Which packs are looked at.
    pub looked: Looked,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
}

/// Repairs packs.
pub fn packs(repo: &Repository, options: &RepairPacksOptions, progress: &dyn Progress) -> Result<Repaired, OpsError> {
    repo.need(Capability::ReadValues)?;
    if !options.dry_run {
        repo.need(Capability::Prune)?;
    }
    repo.settle_promises()?;
    progress.phase(&Phase::new(PhaseKind::ReadingPacks, 0, 0));
    let saved = repo.save_packs(&options.looked, options.dry_run, &mut |bytes| {
        progress.count(1, bytes);
        !progress.cancelled()
    })?;
    let mut done = Repaired { dry_run: options.dry_run, ..Repaired::default() };
    done.lost.extend(saved.unseen.iter().cloned());
    done.restored.extend(saved.healed.iter().map(|name| format!("{}, from parity", pack::path(name))));
    done.waiting.extend(saved.unhealed.iter().cloned());
    let saved_from = saved.damaged.iter().filter(|pack| pack.saved > 0);
    done.restored.extend(saved_from.map(|pack| format!("{}: {} saved", pack::path(&pack.name), chunks(pack.saved))));
    if saved.damaged.is_empty() {
        return Ok(done);
    }
    name_lost(repo, &saved, &mut done, progress)?;
    if !options.dry_run {
        take_away(repo, &saved.damaged, &mut done)?;
    }
    Ok(done)
}

fn chunks(number: u64) -> String {
    if number == 1 { "1 chunk".to_owned() } else { format!("{number} chunks") }
}

/// Names each pack of which something is lost that a snapshot needs, with the snapshots.
fn name_lost(
    repo: &Repository,
    saved: &SavedPacks,
    done: &mut Repaired,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    let mut users: HashMap<ChunkId, BTreeSet<SnapshotId>> =
        saved.damaged.iter().flat_map(|pack| &pack.unreadable).map(|id| (*id, BTreeSet::new())).collect();
    let mut layers: BTreeMap<ChunkId, (LayerRef, Vec<SnapshotId>)> = BTreeMap::new();
    for snapshot in repo.snapshots()? {
        for layer in snapshot.collections.iter().flat_map(|collection| &collection.stack) {
            layers.entry(layer.id).or_insert_with(|| (layer.clone(), Vec::new())).1.push(snapshot.id);
        }
    }
    let reader = repo.chunks_of_storage();
    for (layer, snapshots) in layers.values() {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let mut look = |id: &ChunkId| {
            if let Some(users) = users.get_mut(id) {
                users.extend(snapshots);
            }
        };
        look(&layer.id);
        let walked = Layer::open(&reader, layer).and_then(|opened| {
            opened.for_each_chunk(&mut |id| {
                look(&id);
                Ok(())
            })
        });
        if let Err(error) = walked {
            let error = OpsError::from(error);
            if error.is_interruption() {
                return Err(error);
            }
            let snapshots = named(snapshots.iter());
            let layer = format!("layer {}", layer.id);
            let words = format!("{layer} of {snapshots} cannot be read: {error}");
            done.lost.push(Trouble::new(TroubleKind::Lost, layer, words));
        }
    }
    for pack in &saved.damaged {
        done.lost.extend(lost_of(pack, &users));
    }
    // What stands without the revision is whole.
    for (id, _, why) in repo.unreadable()?.into_iter().filter(|(_, lost, _)| *lost != Lost::Beside) {
        let words = format!("snapshot {id}: {why}");
        done.lost.push(Trouble::new(TroubleKind::Lost, format!("snapshot {id}"), words));
    }
    Ok(())
}

fn lost_of(pack: &DamagedPack, users: &HashMap<ChunkId, BTreeSet<SnapshotId>>) -> Option<Trouble> {
    let needed: Vec<&BTreeSet<SnapshotId>> =
        pack.unreadable.iter().filter_map(|id| users.get(id)).filter(|users| !users.is_empty()).collect();
    if needed.is_empty() {
        return None;
    }
    let snapshots: BTreeSet<SnapshotId> = needed.iter().copied().flatten().copied().collect();
    let (path, lost, all) = (pack::path(&pack.name), needed.len(), pack.chunks.unwrap_or(0));
    let snapshots = named(snapshots.iter());
    let what = format!("{lost} of its {all} chunks are lost, and {snapshots} cannot be restored whole");
    let words = format!("{path}: {}; {what}", pack.problem);
    Some(Trouble::new(TroubleKind::Lost, path, words))
}

fn named<'a>(ids: impl Iterator<Item = &'a SnapshotId>) -> String {
    let ids: Vec<String> = ids.map(ToString::to_string).collect();
    if ids.len() == 1 { format!("snapshot {}", ids[0]) } else { format!("the snapshots {}", ids.join(", ")) }
}

/// Takes away the damaged packs that hold nothing which is needed and lies nowhere else.
fn take_away(repo: &Repository, damaged: &[DamagedPack], done: &mut Repaired) -> Result<(), OpsError> {
    let promises = repo.storage().promises();
    let grace = if promises.conditional_create && promises.prompt_listing { Duration::ZERO } else { GRACE };
    let options = PrunerOptions { walk: Arc::new(Layers), grace, write_limit: None };
    let pruner = repo.begin_prune(&options, &SessionTiming::default())?;
    let taken = pruner.take_away_damaged();
    let ended = pruner.end();
    let marks = match taken {
        Ok(marks) => marks,
        // What is needed cannot be told: then everything stays.
        Err(error)
            if matches!(error, RepoError::ChunkMissing { .. } | RepoError::Missing { .. })
                || error.is_of_one_object() =>
        {
            let words = format!("damaged packs stay where they are as long as it is not known what is needed: {error}");
            done.waiting.push(Trouble::from(error).told(words));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    ended?;
    for pack in damaged {
        let path = pack::path(&pack.name);
        // What is no object, a link that leads nowhere, is still in its place.
        let is_gone = repo.storage().len(&path).is_ok_and(|len| len.is_none());
        if is_gone && repo.pack_entries(&pack.name)?.is_none() {
            done.removed.push(path);
        }
    }
    let marks = marks.iter().filter_map(|mark| Some(Trouble::new(TroubleKind::Waits, &*mark.mark, mark.in_words()?)));
    done.waiting.extend(marks);
    Ok(())
}
