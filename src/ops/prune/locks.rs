//! What storage goes on holding of what a prune deletes, and locks that are renewed for what is still needed.

use super::{OpsError, Phase, PhaseKind, Progress};
use crate::report::Trouble;
use crate::{
    ops::crew,
    record::Timestamp,
    repo::{
        ObjectName, RepoError, Repository, SnapshotId, keys, pack,
        pruner::Survey,
        storage::{LockMode, ObjectHold},
    },
};
use serde::Serialize;
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Folders of which everything is needed, beside the packs in which something is.
const NEEDED: [&str; 7] = ["keys/", "copies/", "index/", "snapshots/", "forgotten/", "settings/", "parity/"];

/// Packs that storage holds although nobody needs them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HeldPacks {
    /// How many.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last lock that has an end ends.
    pub until: Option<Timestamp>,
    /// Of them, those that whoever has the right may free earlier.
    pub governance: u64,
    /// Of them, those that nobody may.
    pub compliance: u64,
    /// Of them, those under a legal hold, which has no end.
    pub legal_holds: u64,
}

impl HeldPacks {
    fn add(&mut self, hold: &ObjectHold, now: Timestamp) {
        let is_locked = hold.until.is_some_and(|until| until > now);
        if !is_locked && !hold.legal_hold {
            return;
        }
        self.packs += 1;
        self.bytes += hold.bytes;
        self.legal_holds += u64::from(hold.legal_hold);
        if is_locked {
            self.until = self.until.max(hold.until);
            self.governance += u64::from(hold.mode == Some(LockMode::Governance));
            self.compliance += u64::from(hold.mode == Some(LockMode::Compliance));
        }
    }
}

/// How locks are renewed.
#[derive(Debug, Clone, Copy)]
pub struct ExtendLocks {
    /// How long from now what is needed is to be locked.
    pub span: Duration,
    /// For objects that have no lock; others keep the mode of theirs.
    pub mode: LockMode,
}

/// What renewing locks came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LocksExtended {
    /// Objects that are needed.
    pub objects: u64,
    /// Of them, those whose lock was renewed, or in a dry run would be.
    pub extended: u64,
    /// Until when.
    pub until: Timestamp,
}

/// The time by the storage's own clock, as far as it has told it: a host whose clock lies must not lock for years, nor not at all.
fn now(repo: &Repository) -> Timestamp {
    let offset = repo.storage().clock_offset_millis().unwrap_or(0);
    Timestamp::from_millis(repo.clock().now().as_millis().saturating_add(offset))
}

/// What holds the configuration, or its copy where that alone is left: whether anything can be held there at all.
fn config_hold(repo: &Repository) -> Result<Option<ObjectHold>, RepoError> {
    match repo.storage().hold_of(keys::CONFIG) {
        Err(RepoError::Missing { .. }) => repo.storage().hold_of(&format!("copies/{}", keys::CONFIG)),
        hold => hold,
    }
}

/// What storage holds of packs that go. Costs one request where it holds nothing.
pub(super) fn held(
    repo: &Repository,
    going: &HashSet<ObjectName>,
    progress: &dyn Progress,
) -> Result<HeldPacks, OpsError> {
    if going.is_empty() || !config_hold(repo)?.is_some_and(|hold| hold.is_versioned) {
        return Ok(HeldPacks::default());
    }
    let now = now(repo);
    let sum = Mutex::new(HeldPacks::default());
    crew::each(repo.storage().connections(), going.iter().map(pack::path), progress, |name| {
        let hold = match repo.storage().hold_of(&name) {
            Err(RepoError::Missing { .. }) => None,
            hold => hold?,
        };
        if let Some(hold) = hold {
            sum.lock().unwrap_or_else(PoisonError::into_inner).add(&hold, now);
        }
        Ok(())
    })?;
    Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What storage would hold of the packs in which nobody needs anything once these snapshots are forgotten. Costs one request where
/// it holds nothing.
pub(in crate::ops) fn held_without(
    repo: &Repository,
    without: &HashSet<SnapshotId>,
    progress: &dyn Progress,
) -> Result<HeldPacks, OpsError> {
    if without.is_empty() || !config_hold(repo)?.is_some_and(|hold| hold.is_versioned) {
        return Ok(HeldPacks::default());
    }
    let _lease = repo.begin_read("forget, planning only")?;
    progress.phase(&Phase::new(PhaseKind::LookingForNeeded, 0, 0));
    let survey = repo.survey_without(without, &super::Layers, Duration::ZERO)?;
    let going = survey.packs.iter().filter(|pack| pack.live_chunks == 0 && !pack.is_busy).map(|pack| pack.name);
    held(repo, &going.collect(), progress)
}

/// Renews the locks of all that is needed. Gives also what could not be locked, and why.
pub(super) fn extend(
    repo: &Repository,
    survey: &Survey,
    how: ExtendLocks,
    dry_run: bool,
    progress: &dyn Progress,
) -> Result<(LocksExtended, Vec<Trouble>), OpsError> {
    let refuse =
        |words: &str| Err(OpsError::Failed(format!("locks cannot be renewed: {} {words}", repo.storage().location())));
    match config_hold(repo)? {
        None => return refuse("is on a service whose locks this program does not know"),
        Some(hold) if !hold.is_versioned => return refuse("keeps no versions, and without them nothing can be locked"),
        Some(_) => {}
    }
    let millis = i64::try_from(how.span.as_millis()).unwrap_or(i64::MAX);
    let until = Timestamp::from_millis(now(repo).as_millis().saturating_add(millis));
    // Else each run would renew all of them for the seconds since the last one.
    let near = Timestamp::from_millis(until.as_millis().saturating_sub((millis / 10).min(24 * 60 * 60 * 1000)));
    let mut names = vec![keys::CONFIG.to_owned()];
    for folder in NEEDED {
        names.extend(repo.storage().list(folder)?.into_iter().map(|object| object.name));
    }
    names.extend(survey.packs.iter().filter(|it| it.live_chunks > 0 || it.is_busy).map(|it| pack::path(&it.name)));
    let done = Mutex::new((LocksExtended { objects: names.len() as u64, extended: 0, until }, Vec::new()));
    crew::each(repo.storage().connections(), names.into_iter(), progress, |name| {
        let attempt = || -> Result<bool, RepoError> {
            let Some(hold) = repo.storage().hold_of(&name)? else { return Ok(false) };
            if hold.until.is_some_and(|until| until >= near) {
                return Ok(false);
            }
            if !dry_run {
                repo.storage().lock_until(&name, until, hold.mode.unwrap_or(how.mode))?;
            }
            Ok(true)
        };
        let locked = attempt();
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        match locked {
            Ok(extended) => done.0.extended += u64::from(extended),
            // A prune or a backup beside us has replaced it.
            Err(RepoError::Missing { .. }) => done.0.objects -= 1,
            Err(error) => done.1.push(error.into()),
        }
        Ok(())
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_no_longer_does_not_count() {
        let (now, later) = (Timestamp::from_millis(1000), Timestamp::from_millis(2000));
        let hold = |until, mode, legal_hold| ObjectHold { bytes: 10, until, mode, legal_hold, is_versioned: true };
        let mut sum = HeldPacks::default();
        for it in [
            hold(None, None, false),
            hold(Some(now), Some(LockMode::Compliance), false),
            hold(Some(later), Some(LockMode::Compliance), false),
            hold(Some(Timestamp::from_millis(1500)), Some(LockMode::Governance), false),
            hold(Some(now), Some(LockMode::Governance), true),
        ] {
            sum.add(&it, now);
        }
        let expected =
            HeldPacks { packs: 3, bytes: 30, until: Some(later), governance: 1, compliance: 1, legal_holds: 1 };
        assert_eq!(sum, expected);
    }
}
