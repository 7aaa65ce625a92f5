//! `forget`: which snapshots stay by a policy, and the tombstones of the others. Specified in
//! `format-spec/retention.md`.

pub mod calendar;
pub mod plan;
pub mod policy;
pub mod reason;
#[cfg(test)]
mod tests;

pub use calendar::{Age, Period};
pub use plan::{Candidate, Decision, ForgetPlan, Group, GroupName};
pub use policy::{Grouping, KeepPeriod, KeepWithin, Policy, time_zone};
pub use reason::Reason;

use super::{
    Narrow, OpsError, Phase, PhaseKind, Progress,
    prune::{HeldPacks, PruneOptions, PruneOutcome, held_without, prune},
    select::all_of_it,
};
use crate::{
    repo::{Capability, RepoError, Repository, Snapshot, SnapshotId},
    report::{ErrorKind, Remedy, WarningKind},
};
use jiff::tz::TimeZone;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashSet;

/// How many tombstones are written before cancelling is looked at again.
const BATCH: usize = 32;

/// What `forget` did.
#[derive(Debug, Clone, Serialize)]
pub struct ForgetOutcome {
    /// What was decided, and why.
    #[serde(flatten)]
    pub plan: ForgetPlan,
    /// The snapshots that are forgotten.
    pub forgotten: Vec<SnapshotId>,
    /// The snapshots that should have been and are still there, each with the reason.
    pub failed: Vec<(SnapshotId, String)>,
}

/// Decides by a policy about the snapshots that `narrow` admits.
pub fn plan_policy(
    repo: &Repository,
    narrow: &Narrow,
    policy: &Policy,
    zone: &TimeZone,
) -> Result<ForgetPlan, OpsError> {
    let snapshots = repo.snapshots()?;
    let candidates: Vec<Candidate> = snapshots.iter().map(|s| Candidate::of(s, narrow.admits(s))).collect();
    plan::plan(&candidates, policy, zone, repo.clock().now())
}

/// Decides to forget what a person named.
///
/// # Errors
/// [`ErrorKind::SnapshotHeld`] and [`ErrorKind::SnapshotLocked`]; [`ErrorKind::LastSnapshot`] if a source would have no
/// snapshot left and `force` is not given.
pub fn plan_named(repo: &Repository, named: &[Snapshot], force: bool) -> Result<ForgetPlan, OpsError> {
    let now = repo.clock().now();
    let ids: HashSet<SnapshotId> = named.iter().map(|snapshot| snapshot.id).collect();
    for snapshot in named {
        all_of_it(snapshot)?;
        let id = snapshot.id.short();
        if snapshot.hold {
            let words = format!("snapshot {id} is on hold");
            return Err(OpsError::refused_unless(Remedy::ReleaseHold, ErrorKind::SnapshotHeld, words));
        }
        if let Some(until) = snapshot.lock_until.filter(|until| *until > now) {
            return Err(OpsError::refused(ErrorKind::SnapshotLocked, format!("snapshot {id} is locked until {until}")));
        }
    }
    let all = repo.snapshots()?;
    for snapshot in named.iter().filter(|_| !force) {
        let same = |other: &&Snapshot| {
            other.source().is_same(snapshot.source()) && other.content.scope == snapshot.content.scope
        };
        if all.iter().filter(same).all(|other| ids.contains(&other.id)) {
            let source = snapshot.source();
            let words = format!("this would leave no snapshot of {}:{}", source.connector, source.name);
            return Err(OpsError::refused_unless(Remedy::Force, ErrorKind::LastSnapshot, words));
        }
    }
    let decision = |snapshot: &Snapshot| Decision {
        id: snapshot.id,
        end: snapshot.content.end,
        kind: snapshot.content.kind,
        complete: snapshot.content.complete,
        tags: snapshot.tags.clone(),
        keep: false,
        reasons: vec![Reason::Named],
    };
    let mut seen = HashSet::new();
    let named = named.iter().filter(|snapshot| seen.insert(snapshot.id));
    let name = GroupName { source: None, scope: None, host: None, tags: None };
    Ok(ForgetPlan { groups: vec![Group { name, snapshots: named.map(decision).collect() }] })
}

/// What storage would go on holding, and until when, of what a prune deletes once a plan is carried out.
pub fn held_after(repo: &Repository, plan: &ForgetPlan, progress: &dyn Progress) -> Result<HeldPacks, OpsError> {
    held_without(repo, &plan.dropped().map(|decision| decision.id).collect(), progress)
}

/// [`execute`], and a prune behind it.
///
/// # Errors
/// [`OpsError::Partly`] if the prune failed: what was forgotten stays so.
pub fn execute_and_prune(
    repo: &Repository,
    plan: ForgetPlan,
    options: &PruneOptions,
    progress: &dyn Progress,
) -> Result<(ForgetOutcome, PruneOutcome), OpsError> {
    let outcome = execute(repo, plan, progress)?;
    let pruned = prune(repo, options, progress).map_err(|error| OpsError::Partly(Box::new(error)))?;
    Ok((outcome, pruned))
}

/// Whether an error says that this snapshot stays, while others may go.
const fn stays(error: &RepoError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::SnapshotPending
            | ErrorKind::SnapshotHeld
            | ErrorKind::SnapshotLocked
            | ErrorKind::Contended
            | ErrorKind::Damaged
            | ErrorKind::NewerFormat
    )
}

/// Writes the tombstones of a plan. A snapshot that says no, because it was held since or is being squashed, is told and
/// the others still go.
pub fn execute(repo: &Repository, plan: ForgetPlan, progress: &dyn Progress) -> Result<ForgetOutcome, OpsError> {
    repo.need(Capability::Prune)?;
    let _spending = repo.storage().spending();
    let dropped: Vec<SnapshotId> = plan.dropped().map(|decision| decision.id).collect();
    progress.phase(&Phase::new(PhaseKind::Forgetting, dropped.len() as u64, 0));
    let mut outcome = ForgetOutcome { forgotten: Vec::new(), failed: Vec::new(), plan };
    for batch in dropped.chunks(BATCH) {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let results: Vec<_> = batch.par_iter().map(|id| repo.forget(id)).collect();
        for (id, result) in batch.iter().zip(results) {
            match result {
                // Someone else was faster, and a prune after him.
                Ok(()) | Err(RepoError::NoSnapshot { .. }) => outcome.forgotten.push(*id),
                Err(error) if stays(&error) => {
                    let words = format!("snapshot {} stays: {error}", id.short());
                    progress.warn(WarningKind::SnapshotStays, id.short(), words);
                    outcome.failed.push((*id, error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        progress.count(batch.len() as u64, 0);
    }
    Ok(outcome)
}
