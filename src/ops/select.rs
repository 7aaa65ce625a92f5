//! Which snapshots a person means: `latest`, `latest~2`, `@2026-11-20T10:00:00Z`, `@2 hours ago`, an id prefix; narrowed
//! by source, host, tag and scope. What counts as somebody's newest is decided here and nowhere else.

mod ahead;
mod narrow;
mod newest;
pub mod scope;
mod spec;
mod whole;

pub use ahead::{ahead_warning, is_ahead};
pub use narrow::{Narrow, Within, one_source, sources};
pub use newest::newest_of_each;
pub use spec::{SnapshotSpec, parse_time};

pub(in crate::ops) use ahead::{latest_of, newest, newest_first};

use super::{OpsError, Progress};
use crate::{
    record::Timestamp,
    repo::{RepoError, Repository, Snapshot, SnapshotId, UnreadSnapshots},
    report::{ErrorKind, WarningKind},
};
use std::collections::{BTreeMap, BTreeSet};
use whole::Wholeness;

/// Problems of a partial snapshot that are said when it is chosen.
const SAID: usize = 3;

/// Finds the one snapshot of a repository that a person's words mean.
pub fn named(repo: &Repository, name: &str, narrow: &Narrow, progress: &dyn Progress) -> Result<Snapshot, OpsError> {
    let now = repo.clock().now();
    let spec = SnapshotSpec::parse(name, now)?;
    let mut snapshots = repo.snapshots()?;
    if !narrow.whole {
        return resolve(&snapshots, &spec, narrow, now, progress);
    }
    let mut wholeness = Wholeness::of(repo)?;
    loop {
        let found = resolve(&snapshots, &spec, narrow, now, progress)?;
        if wholeness.is_whole(&found, progress)? {
            return Ok(found);
        }
        // The next one of those that are left is meant then.
        snapshots.retain(|snapshot| snapshot.id != found.id);
    }
}

/// The snapshots that cannot be read, or vanished, and stand by no other revision: a listing lacks them, and any may be what is
/// meant. What opening the repository did not say of them is said.
pub fn unread(repo: &Repository, progress: &dyn Progress) -> Result<BTreeSet<SnapshotId>, OpsError> {
    let UnreadSnapshots { ids, unopened } = repo.unread_snapshots()?;
    for warning in &unopened {
        progress.warning(warning);
    }
    Ok(ids)
}

/// Those of [`unread`] that may be what a person meant, whatever was found: where it was not named by its id, any; else those whose
/// ids begin so.
pub fn doubtful(repo: &Repository, name: &str, progress: &dyn Progress) -> Result<BTreeSet<SnapshotId>, OpsError> {
    let mut doubtful = unread(repo, progress)?;
    if let SnapshotSpec::Id(prefix) = SnapshotSpec::parse(name, repo.clock().now())? {
        doubtful.retain(|id| id.to_string().starts_with(&prefix));
    }
    Ok(doubtful)
}

/// Finds the one snapshot that is meant among those that there are, oldest first. `latest` and `@TIME` need a single source
/// and take the newest state of its widest scope, be it complete or not: what is missing is said.
pub fn resolve(
    snapshots: &[Snapshot],
    spec: &SnapshotSpec,
    narrow: &Narrow,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<Snapshot, OpsError> {
    let any = Narrow { complete: false, ..narrow.clone() };
    let meant: Vec<&Snapshot> = snapshots.iter().filter(|s| any.admits(s)).collect();
    match spec {
        SnapshotSpec::Id(prefix) => by_prefix(&meant, prefix, narrow.complete),
        SnapshotSpec::Latest(back) => {
            one_source(meant.iter().copied())?;
            let series = scope::of_one_scope(ahead::present(meant.clone(), now, progress), progress)?;
            let what = if *back == 0 { "latest".to_owned() } else { format!("latest~{back}") };
            let found = nth_newest(&series, *back, narrow.complete, progress);
            found.cloned().ok_or_else(|| no_snapshot(&what, narrow.complete, &series))
        }
        SnapshotSpec::At(time) => {
            one_source(meant.iter().copied())?;
            let mut by_then: Vec<&Snapshot> = meant.iter().copied().filter(|s| s.content.end <= *time).collect();
            // Who names a time in the future asks for what ends there.
            if !is_ahead(*time, now) {
                by_then = ahead::present(by_then, now, progress);
            }
            // The journals of a stream show every moment that they hold.
            let seen = meant.iter().filter_map(|s| s.seen_at(*time)).filter(|s| s.content.complete || !narrow.complete);
            let seen: Vec<Snapshot> = seen.collect();
            let newest = seen.iter().map(|s| s.content.end).max();
            let by_then = by_then.into_iter().filter(|s| newest.is_none_or(|newest| s.content.end >= newest));
            let mut seen: Vec<&Snapshot> = by_then.chain(&seen).collect();
            seen.sort_by_key(|s| s.content.end);
            let series = scope::of_one_scope(seen, progress)?;
            if newest.is_none() {
                warn_of_spanning(&meant, *time, progress);
            }
            let found = nth_newest(&series, 0, narrow.complete, progress);
            found.cloned().ok_or_else(|| no_snapshot(&format!("at or before {time}"), narrow.complete, &meant))
        }
    }
}

/// Refuses one that is shown as of a moment within it: what is done to a snapshot is done to all that it holds.
pub(in crate::ops) fn all_of_it(snapshot: &Snapshot) -> Result<(), OpsError> {
    let Some(end) = snapshot.holds_until() else { return Ok(()) };
    let (id, at) = (snapshot.id.short(), snapshot.content.end);
    let words = format!(
        "{at} is a moment within snapshot {id}, which holds what came after it too, until {end}: name the snapshot by its id if \
         all of it is meant"
    );
    Err(OpsError::Usage(words))
}

fn warn_of_spanning(meant: &[&Snapshot], time: Timestamp, progress: &dyn Progress) {
    let Some(spanning) = meant.iter().find(|s| s.content.start <= time && time < s.content.end) else { return };
    let (id, content) = (spanning.id.short(), &spanning.content);
    let words = format!(
        "snapshot {id} was being taken at {time} (from {} to {}); it may hold changes made by then, but only its end counts",
        content.start, content.end
    );
    progress.warn(WarningKind::SnapshotSpansTime, id, words);
}

/// The `back`th newest of a series, 0 for the newest, with a word about what is missing in it.
fn nth_newest<'s>(
    series: &[&'s Snapshot],
    back: usize,
    complete: bool,
    progress: &dyn Progress,
) -> Option<&'s Snapshot> {
    let passes = |s: &&&Snapshot| {
        if !s.content.complete && complete {
            let words = format!("snapshot {} is partial and was passed over", s.id.short());
            progress.warn(WarningKind::PartialPassedOver, s.id.short(), words);
        }
        s.content.complete || !complete
    };
    let found = *series.iter().rev().filter(passes).nth(back)?;
    if !found.content.complete {
        let words = missing_words(found, series);
        progress.warn(WarningKind::SnapshotPartial, found.id.short(), words);
    }
    Some(found)
}

/// What is missing in a partial snapshot, and which is the newest before it that is complete.
fn missing_words(partial: &Snapshot, series: &[&Snapshot]) -> String {
    let content = &partial.content;
    let problems = &content.problems;
    let mut said: Vec<&str> = problems.iter().take(SAID).map(String::as_str).collect();
    let more = format!("and {} more", problems.len().saturating_sub(SAID));
    if problems.len() > SAID {
        said.push(&more);
    }
    let whole = series.iter().rfind(|s| s.content.complete && s.position() < partial.position());
    let whole = whole.map_or_else(
        || "no older one is complete".to_owned(),
        |whole| format!("the newest complete one before is {} of {}", whole.id.short(), whole.content.end),
    );
    format!(
        "snapshot {} of {} is PARTIAL: not everything is in it ({}); {whole}",
        partial.id.short(),
        content.end,
        said.join("; ")
    )
}

fn by_prefix(snapshots: &[&Snapshot], prefix: &str, complete: bool) -> Result<Snapshot, OpsError> {
    let own = |s: &&&Snapshot| s.id.to_string().starts_with(prefix);
    // A copy is known by the name of what it is a copy of, unless a snapshot bears that name itself.
    let of = |s: &&&Snapshot| {
        s.content.copy_of.as_ref().is_some_and(|origin| origin.snapshot.to_string().starts_with(prefix))
    };
    let is_own = snapshots.iter().any(|s| own(&s));
    let mut found = snapshots.iter().filter(|s| if is_own { own(s) } else { of(s) });
    match (found.next(), found.next()) {
        (Some(snapshot), None) if complete && !snapshot.content.complete => {
            let words = format!("snapshot {} is partial, and a complete one was asked for", snapshot.id.short());
            Err(OpsError::refused(ErrorKind::SnapshotPartial, words))
        }
        (Some(snapshot), None) => Ok((*snapshot).clone()),
        (None, _) => Err(RepoError::NoSnapshot { name: prefix.to_owned() }.into()),
        (Some(_), Some(_)) => {
            let words = format!("more than one snapshot's id begins with {prefix}");
            Err(OpsError::refused(ErrorKind::Ambiguous, words))
        }
    }
}

fn no_snapshot(what: &str, complete: bool, snapshots: &[&Snapshot]) -> OpsError {
    let range = match (snapshots.first(), snapshots.last()) {
        (Some(one), Some(_)) if snapshots.len() == 1 => format!("the one that matches ends at {}", one.content.end),
        (Some(first), Some(last)) => {
            format!("the {} that match end between {} and {}", snapshots.len(), first.content.end, last.content.end)
        }
        _ => "none match".to_owned(),
    };
    let kind = if complete { "complete snapshot" } else { "snapshot" };
    OpsError::refused(ErrorKind::NoSnapshot, format!("there is no {kind} {what} ({range})"))
}

/// Keeps the newest `count` of each source and scope, and what ends in the future beside them; the order stays.
pub fn keep_newest(snapshots: &mut Vec<Snapshot>, count: usize, now: Timestamp) {
    let mut seen: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    let mut keep: Vec<bool> = snapshots
        .iter()
        .rev()
        .map(|snapshot| {
            let source = snapshot.source();
            let key = (source.connector.clone(), source.name.clone(), snapshot.content.scope.clone());
            let ahead = is_ahead(snapshot.content.end, now);
            let so_far = seen.entry(key).or_default();
            *so_far += usize::from(!ahead);
            ahead || *so_far <= count
        })
        .collect();
    snapshots.retain(|_| keep.pop().unwrap_or(true));
}
