//! Backing up a chain of states that lie beside each other, each into a snapshot of its own, oldest first.

use super::{Ask, BackupOptions, BackupOutcome, ParentChoice, Sweep, backup};
use crate::{
    connector::{ConnectorError, Source},
    ops::{OpsError, Progress},
    repo::{Repository, Snapshot, SnapshotId},
};

/// Opens one state of a chain.
pub type Opener<'a> = dyn FnMut(&str) -> Result<Box<dyn Source>, ConnectorError> + 'a;

/// Backs up the states of a chain that come after the newest one that the repository holds. One that tells only what
/// changed is joined with the one before it, and what is gone stays.
///
/// # Errors
/// As of [`backup`]; the states before the one that failed are kept.
pub fn backup_chain(
    repo: &Repository,
    urls: &[String],
    open: &mut Opener<'_>,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<Vec<BackupOutcome>, OpsError> {
    if options.dry_run || options.ask != Ask::Default || options.parent != ParentChoice::Auto {
        return Err(OpsError::Usage(
            "this is a chain of backups, each of its own kind and joined with the one before it: name one of them \
             (?step=…) to choose how it is read"
                .to_owned(),
        ));
    }
    let snapshots = repo.snapshots()?;
    let held = |url: &String| snapshots.iter().rev().find(|snapshot| is_of(snapshot, url)).map(|snapshot| snapshot.id);
    let newest = urls.iter().enumerate().rev().find_map(|(at, url)| Some((at, held(url)?)));
    let (first, mut before) = newest.map_or((0, None), |(at, id)| (at + 1, Some(id)));
    let mut outcomes = Vec::new();
    for url in &urls[first..] {
        let source = open(url)?;
        let mut options = BackupOptions { url: url.clone(), ..options.clone() };
        if source.abilities().change_filter {
            options.parent = parent_of(before)?;
            options.sweep = Sweep::Never;
            options.stands_on_parent = true;
        }
        let outcome = backup(repo, source.as_ref(), &options, progress)?;
        before = outcome.id.or(before);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// What is said of a problem that a snapshot has since the one that it stands on has it.
const INHERITED: &str = "already in what it stands on: ";

/// The problems of whatever stands on a snapshot and cannot ask for what that lacks.
pub(super) fn inherited(parent: &Snapshot) -> Vec<String> {
    let marked = |line: &String| match line.strip_prefix(INHERITED) {
        Some(_) => line.clone(),
        None => format!("{INHERITED}{line}"),
    };
    parent.content.problems.iter().map(marked).collect()
}

fn is_of(snapshot: &Snapshot, url: &str) -> bool {
    snapshot.content.source.url == url
}

fn parent_of(before: Option<SnapshotId>) -> Result<ParentChoice, OpsError> {
    let nothing = || OpsError::Failed("the chain begins with what changed, and nothing says since when".to_owned());
    before.map(|id| ParentChoice::Id(id.to_string())).ok_or_else(nothing)
}
