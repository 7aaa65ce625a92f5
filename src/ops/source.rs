//! `source`: whose records a repository holds, and going on with a source's history under another name.

use super::{
    OpsError, Phase, PhaseKind, Progress,
    select::{Narrow, one_source, sources},
    tag::check_name,
};
use crate::{
    record::Timestamp,
    repo::{Capability, RepoError, Repository, Snapshot, SnapshotId, manifest::SourceId},
    report::{ErrorKind, WarningKind},
};
use serde::Serialize;

/// A source and what there is of it.
#[derive(Debug, Clone, Serialize)]
pub struct SourceRow {
    /// Which.
    #[serde(flatten)]
    pub source: SourceId,
    /// Its snapshots.
    pub snapshots: usize,
    /// The end of the newest.
    pub newest: Option<Timestamp>,
}

/// The sources among snapshots.
#[must_use]
pub fn list(snapshots: &[Snapshot]) -> Vec<SourceRow> {
    let row = |source: SourceId| {
        let its = || snapshots.iter().filter(|s| s.source().is_same(&source));
        let (count, newest) = (its().count(), its().map(|s| s.content.end).max());
        SourceRow { source, snapshots: count, newest }
    };
    sources(snapshots).into_iter().map(row).collect()
}

/// What a rename did.
#[derive(Debug, Clone, Serialize)]
pub struct RenameOutcome {
    /// The name that is no more.
    pub from: SourceId,
    /// The name that goes on.
    pub to: SourceId,
    /// The snapshots that bear it now.
    pub renamed: Vec<SnapshotId>,
    /// The snapshots that should and do not, each with the reason; the same call tries again.
    pub failed: Vec<(SnapshotId, String)>,
}

/// The name that a person's words mean for a source that is to be renamed: that of another source of the same connector, which it
/// joins, or a new one.
fn new_name(all: &[Snapshot], old: &SourceId, new: &str, host: Option<&str>) -> Result<SourceId, OpsError> {
    let wanted = Narrow { source: Some(new.to_owned()), host: host.map(str::to_owned), ..Narrow::default() };
    let known: Vec<&Snapshot> = all.iter().filter(|s| wanted.admits(s)).collect();
    one_source(known.iter().copied())?;
    if let Some(known) = known.last() {
        let known = known.source();
        if known.connector != old.connector {
            let words =
                format!("{} is a {} source, and cannot go on with one of {}", new, known.connector, old.connector);
            return Err(OpsError::refused(ErrorKind::InvalidInput, words));
        }
        return Ok(known.clone());
    }
    let name = new.strip_prefix(&format!("{}:", old.connector)).unwrap_or(new).trim();
    if name.is_empty() {
        return Err(OpsError::Usage("the new name of a source is empty".to_owned()));
    }
    check_name("the new name", name)?;
    check_name("the host", host.unwrap_or_default())?;
    let host = host.unwrap_or(&old.host).to_owned();
    // Local sources bear their host in front of their path.
    let is_path = old.local_name() != old.name && name.starts_with('/');
    let url = if is_path { format!("{}:{name}", old.connector) } else { old.url.clone() };
    let name = if is_path { format!("{host}:{name}") } else { name.to_owned() };
    Ok(SourceId { connector: old.connector.clone(), name, host, url, other: old.other.clone() })
}

/// Gives all snapshots of a source another name. What they hold stays as it is; each says so in a new revision.
///
/// # Errors
/// [`ErrorKind::NoSnapshot`] if there is no such source; [`ErrorKind::SeveralSources`]; [`ErrorKind::InvalidInput`].
pub fn rename(
    repo: &Repository,
    old: &str,
    new: &str,
    host: Option<&str>,
    progress: &dyn Progress,
) -> Result<RenameOutcome, OpsError> {
    repo.need(Capability::Prune)?;
    let all = repo.snapshots()?;
    let of_old = Narrow { source: Some(old.to_owned()), ..Narrow::default() };
    let its: Vec<&Snapshot> = all.iter().filter(|s| of_old.admits(s)).collect();
    one_source(its.iter().copied())?;
    let Some(newest) = its.last() else {
        return Err(OpsError::refused(ErrorKind::NoSnapshot, format!("there is no snapshot of a source `{old}`")));
    };
    let from = newest.source().clone();
    let to = new_name(&all, &from, new, host)?;
    if to.is_same(&from) && to.host == from.host {
        return Err(OpsError::refused(ErrorKind::InvalidInput, format!("the source is called {} already", to.name)));
    }
    let its: Vec<&Snapshot> = all.iter().filter(|s| s.source().is_same(&from)).collect();
    progress.phase(&Phase::new(PhaseKind::Renaming, its.len() as u64, 0));
    let mut outcome = RenameOutcome { from, to, renamed: Vec::new(), failed: Vec::new() };
    for snapshot in its {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let id = snapshot.id;
        let revised = repo.revise(&id, &|manifest| {
            manifest.renamed = (manifest.content.source != outcome.to).then(|| outcome.to.clone());
        });
        match revised {
            Ok(_) => outcome.renamed.push(id),
            // It was forgotten meanwhile.
            Err(RepoError::NoSnapshot { .. }) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::SnapshotPending | ErrorKind::Contended | ErrorKind::Damaged) =>
            {
                let words = format!("snapshot {} keeps its old name: {error}", id.short());
                progress.warn(WarningKind::SnapshotStays, id.short(), words);
                outcome.failed.push((id, error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
        progress.count(1, 0);
    }
    Ok(outcome)
}
