//! Carrying out a plan: layers, then pending revisions, then the commit that makes them count.

use super::{
    SquashOptions, SquashOutcome, SquashPlan,
    plan::{MergeOf, PlannedSnapshot, Slot},
    rows,
    work::{self, Merged},
};
use crate::{
    layer::KeptVersions,
    ops::{OpsError, Phase, PhaseKind, Progress, backup::timing_of},
    repo::{
        Manifest, RepoError, Repository, Snapshot, SnapshotId, WriteOptions, WriteSession,
        manifest::{Collection, KeptMoments, LayerRef, Moments},
        session::Restacked,
    },
    report::WarningKind,
};
use std::collections::HashMap;

/// Carries out a plan. Whatever was changed by others since is left as it is and named; a merge whose result is not what
/// was merged is not used, and named.
pub fn execute(
    repo: &Repository,
    plan: &SquashPlan,
    options: &SquashOptions,
    progress: &dyn Progress,
) -> Result<SquashOutcome, OpsError> {
    if plan.is_empty() {
        return Ok(SquashOutcome::default());
    }
    let write = WriteOptions {
        purpose: "squash".to_owned(),
        compression: options.compression,
        check: options.check,
        write_limit: options.write_limit,
    };
    let timing = options.timing.clone().unwrap_or_else(|| timing_of(options.parallel));
    let session = repo.begin_write_timed(&write, &timing)?;
    match squash(repo, &session, plan, options, progress) {
        Ok(mut outcome) if outcome.snapshots > 0 => {
            let id = session.id();
            session.commit_squash()?;
            outcome.id = Some(id);
            Ok(outcome)
        }
        Ok(outcome) => {
            session.abandon()?;
            Ok(outcome)
        }
        Err(error) => {
            if let Err(second) = session.abandon_squash() {
                let words = format!("after the failure below, the squash could not be given up cleanly: {second}");
                progress.warn(WarningKind::CleanupFailed, "", words);
            }
            Err(if progress.cancelled() { OpsError::Interrupted } else { error })
        }
    }
}

/// Everything but the commit.
fn squash(
    repo: &Repository,
    session: &WriteSession,
    plan: &SquashPlan,
    options: &SquashOptions,
    progress: &dyn Progress,
) -> Result<SquashOutcome, OpsError> {
    progress.phase(&Phase {
        kind: PhaseKind::Squashing,
        object: String::new(),
        records: plan.merges.iter().fold(0, |sum, merge| sum.saturating_add(rows(&merge.layers))),
        bytes: plan.bytes_before(),
    });
    let merged = work::run(repo, session, &plan.merges, options.parallel, progress)?;
    let mut outcome = SquashOutcome::default();
    for (merge, result) in plan.merges.iter().zip(&merged) {
        match result {
            Merged::Layer(layer) => {
                outcome.merged += u64::from(layer.is_some());
                outcome.replaced += merge.layers.len() as u64;
                outcome.bytes_before += merge.bytes_before;
                outcome.bytes_after += layer.as_ref().map_or(0, |layer| layer.bytes);
            }
            Merged::Wrong(reason) => {
                let count = merge.layers.len();
                let text = format!("{count} layers of collection {} were not merged: {reason}", merge.collection);
                progress.warn(WarningKind::MergeNotUsed, &*merge.collection, &*text);
                outcome.wrong.push(reason.clone().told(&*text));
                outcome.left.push(text);
            }
        }
    }
    let planned: Vec<(&PlannedSnapshot, Vec<Collection>)> = plan
        .snapshots
        .iter()
        .map(|snapshot| (snapshot, restacked(snapshot, plan, &merged)))
        .filter(|(snapshot, after)| *after != snapshot.before)
        .collect();
    store_tables(repo, session, &planned)?;
    for (snapshot, after) in &planned {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        match session.restack(&snapshot.id, &snapshot.before, after)? {
            Restacked::Written => outcome.snapshots += 1,
            Restacked::Left(reason) => {
                outcome.left.push(format!("snapshot {} keeps its layers: {reason}", snapshot.id.short()));
            }
        }
    }
    outcome.bytes_added = session.stats().bytes_added;
    Ok(outcome)
}

/// Which versions a merge of journals kept, if it left some out.
fn is_thinned<'a>(slot: &Slot, plan: &'a SquashPlan, merged: &[Merged]) -> Option<&'a KeptVersions> {
    let Slot::Merged(number) = slot else { return None };
    plan.merges[*number].keep.as_ref().filter(|_| matches!(merged[*number], Merged::Layer(_)))
}

/// Whether all that takes the place of a stream's layers came out as it should: one part without the other shows something else.
fn is_whole(slots: &[Slot], plan: &SquashPlan, merged: &[Merged]) -> bool {
    let is_of_stream =
        |slot: &Slot| matches!(slot, Slot::Merged(number) if matches!(plan.merges[*number].of, MergeOf::Stream { .. }));
    let is_good = |slot: &Slot| !matches!(slot, Slot::Merged(number) if matches!(merged[*number], Merged::Wrong(_)));
    !slots.iter().any(is_of_stream) || slots.iter().all(is_good)
}

/// A snapshot's collections with what became of their layers.
fn restacked(snapshot: &PlannedSnapshot, plan: &SquashPlan, merged: &[Merged]) -> Vec<Collection> {
    let layers = |slot: &Slot| -> Vec<LayerRef> {
        match slot {
            Slot::There(layer) => vec![layer.clone()],
            Slot::Merged(number) => match &merged[*number] {
                Merged::Layer(layer) => layer.iter().cloned().collect(),
                Merged::Wrong(_) => plan.merges[*number].layers.clone(),
            },
        }
    };
    let after = snapshot.before.iter().zip(&snapshot.after).map(|(before, slots)| {
        if is_whole(slots, plan, merged) { slots.iter().flat_map(layers).collect() } else { before.stack.clone() }
    });
    let thinned = snapshot.after.iter().map(|slots| {
        let thinned = slots.iter().find_map(|slot| is_thinned(slot, plan, merged));
        thinned.filter(|_| is_whole(slots, plan, merged))
    });
    let collections = snapshot.before.iter().zip(after).zip(thinned);
    let restacked = |((before, stack), thinned): ((&Collection, Vec<LayerRef>), Option<&KeptVersions>)| {
        let moments = before.journal.as_ref();
        let journal = match (moments, thinned) {
            (Some(_), Some(keep)) if keep.after.is_some() => Some(keep.moments.clone()),
            (Some(moments), Some(keep)) => {
                let of = |moments: Moments, kept: &KeptMoments| moments.thinned(kept.until, kept.every);
                Some(keep.moments.kept.iter().fold(moments.clone(), of))
            }
            _ => moments.cloned(),
        };
        Collection { stack, journal, ..before.clone() }
    };
    collections.map(restacked).collect()
}

/// Stores and indexes the tables of manifests that are too long without, before any revision names them.
fn store_tables(
    repo: &Repository,
    session: &WriteSession,
    planned: &[(&PlannedSnapshot, Vec<Collection>)],
) -> Result<(), RepoError> {
    let mut snapshots: HashMap<SnapshotId, Snapshot> = repo.snapshots()?.into_iter().map(|it| (it.id, it)).collect();
    let mut writer = session.writer();
    for (snapshot, after) in planned {
        if let Some(there) = snapshots.remove(&snapshot.id) {
            let manifest = Manifest { collections: after.clone(), ..there.into_manifest() };
            session.store_tables(&manifest, &mut writer)?;
        }
    }
    writer.finish()?;
    session.flush()
}
