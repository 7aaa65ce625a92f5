//! `leases` and `unlock`: who is at work on a repository, and shutting out who is not any more.

use super::OpsError;
use crate::{
    repo::{Capability, Repository, SnapshotId, process::ProcessId, pruner::LeaseInfo},
    report::ErrorKind,
};
use serde::Serialize;

/// Which leases to fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlock {
    /// Those of this machine whose process is gone.
    Gone,
    /// Those whose names begin so.
    Named(Vec<String>),
    /// Every running one.
    All,
}

/// What fencing came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnlockOutcome {
    /// Leases that can never commit now.
    pub fenced: Vec<SnapshotId>,
    /// Leases whose snapshot turned out to be committed.
    pub committed: Vec<SnapshotId>,
    /// Leases that were not touched and run, as far as anyone can tell.
    pub left: Vec<LeaseInfo>,
}

/// The leases that are not over.
pub fn running(repo: &Repository) -> Result<Vec<LeaseInfo>, OpsError> {
    Ok(repo.leases()?.into_iter().filter(|lease| !lease.is_over()).collect())
}

/// Fences leases. Fencing one whose writer lives costs that run, never data.
pub fn unlock(repo: &Repository, which: &Unlock) -> Result<UnlockOutcome, OpsError> {
    repo.need(Capability::Prune)?;
    let _spending = repo.storage().spending();
    let running = running(repo)?;
    if let Unlock::Named(names) = which {
        for name in names {
            let found = running.iter().filter(|lease| lease.id.to_string().starts_with(name.as_str())).count();
            match found {
                1 if !name.is_empty() => {}
                0 => {
                    let words = format!("no running lease begins with {name}");
                    return Err(OpsError::refused(ErrorKind::NoLease, words));
                }
                many => {
                    let words = format!("{many} running leases begin with `{name}`");
                    return Err(OpsError::refused(ErrorKind::Ambiguous, words));
                }
            }
        }
    }
    let chosen = |lease: &LeaseInfo| match which {
        // Machines that were cloned share a name for themselves; the host's name has to be ours as well.
        Unlock::Gone => lease.host == repo.host() && lease.process.as_ref().is_some_and(ProcessId::is_gone),
        Unlock::Named(names) => names.iter().any(|name| lease.id.to_string().starts_with(name.as_str())),
        Unlock::All => true,
    };
    let mut outcome = UnlockOutcome::default();
    for lease in running {
        if !chosen(&lease) {
            outcome.left.push(lease);
        } else if repo.fence(&lease.id)? {
            outcome.fenced.push(lease.id);
        } else {
            outcome.committed.push(lease.id);
        }
    }
    Ok(outcome)
}
