//! The objects beside packs, and what the repository remembers of damaged packs.

use super::{Finding, VerifyOutcome};
use crate::{
    ops::{OpsError, Phase, PhaseKind, Progress},
    repo::{ObjectName, Repository, SnapshotId, pack, repository::Lost},
};
use std::collections::HashSet;

/// Reads every object of every folder but packs from storage, and tells what vanished.
pub(super) fn check(repo: &Repository, outcome: &mut VerifyOutcome, progress: &dyn Progress) -> Result<(), OpsError> {
    progress.phase(&Phase::new(PhaseKind::ReadingObjects, 0, 0));
    let checked = repo.check_objects(&mut |bytes| {
        progress.count(1, bytes);
        !progress.cancelled()
    })?;
    outcome.objects = checked.objects;
    outcome.notes.extend(checked.notes);
    for (object, problem) in checked.problems {
        let snapshots = snapshot_of(&object).into_iter().collect();
        outcome.findings.push(Finding { object, problem, snapshots });
    }
    for (id, why) in repo.lost(Lost::Vanished)? {
        outcome.findings.push(Finding {
            object: format!("snapshots/{id}"),
            problem: format!("has vanished: {why}"),
            snapshots: vec![id],
        });
    }
    for (id, problem) in repo.lost(Lost::Withdrawn)? {
        outcome.findings.push(Finding { object: format!("snapshots/{id}"), problem, snapshots: vec![id] });
    }
    Ok(())
}

fn snapshot_of(object: &str) -> Option<SnapshotId> {
    object.strip_prefix("snapshots/")?.split('/').next()?.parse().ok()
}

/// Tells which packs are remembered as damaged; those that were read now and are whole are remembered no longer.
pub(super) fn remembered(
    repo: &Repository,
    whole: &HashSet<ObjectName>,
    outcome: &mut VerifyOutcome,
) -> Result<(), OpsError> {
    let mut damaged: Vec<ObjectName> = repo.damaged_packs()?.into_iter().collect();
    damaged.sort_unstable();
    for name in damaged {
        let path = pack::path(&name);
        if whole.contains(&name) {
            repo.is_whole_again(&name)?;
            outcome.notes.push(format!("{path} was remembered as damaged and is whole: it is relied on again"));
        } else if !outcome.findings.iter().any(|finding| finding.object.starts_with(&path)) {
            let problem = "is remembered as damaged: backups store again what is in it".to_owned();
            outcome.findings.push(Finding { object: path, problem, snapshots: Vec::new() });
        }
    }
    Ok(())
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
