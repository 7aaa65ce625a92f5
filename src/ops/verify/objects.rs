//! The objects beside packs, and what the repository remembers of damaged packs.

use super::{Finding, VerifyOutcome};
use crate::report::{Trouble, TroubleKind};
use crate::{
    layer::Layer,
    ops::{OpsError, Phase, PhaseKind, Progress},
    repo::{
        ChunkId, ObjectName, Repository, SnapshotId,
        manifest::LayerRef,
        pack,
        repository::{Lost, PacksListed},
    },
};
use std::collections::{BTreeMap, HashSet};

/// Reads every object of every folder but packs from storage, and tells what vanished; gives how the packs that are listed stand
/// to the index.
pub(super) fn check(
    repo: &Repository,
    outcome: &mut VerifyOutcome,
    progress: &dyn Progress,
) -> Result<PacksListed, OpsError> {
    progress.phase(&Phase::new(PhaseKind::ReadingObjects, 0, 0));
    let checked = repo.check_objects(&mut |bytes| {
        progress.count(1, bytes);
        !progress.cancelled()
    })?;
    outcome.objects = checked.objects;
    outcome.notes.extend(checked.notes);
    for Trouble { kind, object, words } in checked.problems {
        let snapshots = snapshot_of(&object).into_iter().collect();
        outcome.findings.push(Finding { kind, object, problem: words, snapshots });
    }
    for (object, words) in checked.hidden {
        let problem = words.to_owned();
        outcome.findings.push(Finding { kind: TroubleKind::Hides, object, problem, snapshots: Vec::new() });
    }
    for (id, why) in repo.lost(Lost::Vanished)? {
        outcome.findings.push(Finding {
            kind: TroubleKind::Vanished,
            object: format!("snapshots/{id}"),
            problem: format!("has vanished: {why}"),
            snapshots: vec![id],
        });
    }
    for (id, problem) in repo.lost(Lost::Withdrawn)? {
        outcome.findings.push(Finding {
            kind: TroubleKind::Withdrawn,
            object: format!("snapshots/{id}"),
            problem,
            snapshots: vec![id],
        });
    }
    Ok(checked.packs)
}

fn snapshot_of(object: &str) -> Option<SnapshotId> {
    object.strip_prefix("snapshots/")?.split('/').next()?.parse().ok()
}

/// Tells which packs are remembered as damaged; those that were read now and are whole are remembered no longer.
pub(super) fn remembered(
    repo: &Repository,
    remembered: HashSet<ObjectName>,
    whole: &HashSet<ObjectName>,
    outcome: &mut VerifyOutcome,
) -> Result<(), OpsError> {
    let (mended, damaged): (Vec<ObjectName>, Vec<ObjectName>) =
        remembered.into_iter().partition(|name| whole.contains(name));
    let needed = still_needed(repo, &damaged.iter().copied().collect());
    let mut all: Vec<ObjectName> = mended.into_iter().chain(damaged).collect();
    all.sort_unstable();
    for name in all {
        let path = pack::path(&name);
        if whole.contains(&name) {
            repo.is_whole_again(&name)?;
            outcome.notes.push(format!("{path} was remembered as damaged and is whole: it is relied on again"));
        } else if needed.as_ref().is_some_and(|needed| !needed.contains(&name)) {
            outcome.findings.retain(|finding| !finding.object.starts_with(&path));
            outcome.notes.push(format!(
                "{path} is damaged, and all that is needed of it lies in other packs too: a prune takes it away once those are done who were \
                 at work before"
            ));
        } else if !outcome.findings.iter().any(|finding| finding.object.starts_with(&path)) {
            let problem = "is remembered as damaged: backups store again what is in it".to_owned();
            outcome.findings.push(Finding { kind: TroubleKind::Damaged, object: path, problem, snapshots: Vec::new() });
        }
    }
    Ok(())
}

/// Those of the damaged packs that hold something which a snapshot needs and no other pack has; `None` where nobody can say.
fn still_needed(repo: &Repository, damaged: &HashSet<ObjectName>) -> Option<HashSet<ObjectName>> {
    let mut needed = HashSet::new();
    if damaged.is_empty() {
        return Some(needed);
    }
    let chunks = repo.chunks();
    let snapshots = repo.snapshots().ok()?;
    let stacks = snapshots.iter().flat_map(|snapshot| &snapshot.collections).flat_map(|one| &one.stack);
    let layers: BTreeMap<ChunkId, &LayerRef> = stacks.map(|layer| (layer.id, layer)).collect();
    for layer in layers.into_values() {
        let walked = Layer::open(&chunks, layer).and_then(|layer| {
            layer.for_each_chunk(&mut |id| {
                let places = repo.chunk_places(&id)?;
                if places.iter().all(|place| damaged.contains(&place.name)) {
                    needed.extend(places.iter().map(|place| place.name));
                }
                Ok(())
            })
        });
        walked.ok()?;
    }
    Some(needed)
}

/// Remembers the damage that was found, for every host.
pub(super) fn remember(repo: &Repository, outcome: &mut VerifyOutcome) {
    match repo.remember_damage() {
        Ok(new) if new.is_empty() => {}
        Ok(new) => outcome.notes.push(format!(
            "{} remembered as damaged: the next backups store again what lies there and still is in their sources",
            if new.len() == 1 { "1 pack is".to_owned() } else { format!("{} packs are", new.len()) }
        )),
        Err(error) => outcome.notes.push(format!("the damage could not be remembered for other hosts: {error}")),
    }
}
