//! Data packs that only old snapshots need move to a class that costs less to keep and more to read.

use super::{Layers, OpsError, Phase, PhaseKind, Progress, classes::Classes};
use crate::{
    ops::{crew::each, select::keep_newest},
    record::Timestamp,
    repo::{
        ObjectName, RepoError, Repository, Snapshot, SnapshotId, ids::PackKind, pack, pruner::Survey,
        storage::may_be_cold,
    },
    report::{ErrorKind, Trouble},
};
use serde::Serialize;
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Below this an object costs no less in a colder class: services add to each, or bill at least so much.
const SMALLEST: u64 = 128 * 1024;

/// Which packs move where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierOptions {
    /// How old the youngest snapshot must be that needs a pack.
    pub after: Duration,
    /// The class, in the service's words.
    pub class: String,
}

/// What moving came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tiered {
    /// The class.
    pub class: String,
    /// Snapshots that are old enough.
    pub old_snapshots: u64,
    /// Packs that were moved, or in a dry run would be.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that only these snapshots need and that lay in such a class before.
    pub there: u64,
}

/// The snapshots that are old enough. The newest of each source and scope is not, whatever its age: it is the one that is restored.
fn old(snapshots: &[Snapshot], after: Duration, now: Timestamp) -> HashSet<SnapshotId> {
    let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    let before = now.as_millis().saturating_sub(after);
    let mut newest = snapshots.to_vec();
    keep_newest(&mut newest, 1, now);
    let newest: HashSet<SnapshotId> = newest.iter().map(|snapshot| snapshot.id).collect();
    let is_old = |it: &&Snapshot| it.content.end.as_millis() <= before && !newest.contains(&it.id);
    snapshots.iter().filter(is_old).map(|it| it.id).collect()
}

/// Moves what only old snapshots need. Gives also what could not be moved, and why.
pub(super) fn tier(
    repo: &Repository,
    survey: &Survey,
    options: &TierOptions,
    classes: Option<Classes>,
    dry_run: bool,
    progress: &dyn Progress,
) -> Result<(Tiered, Vec<Trouble>), OpsError> {
    let storage = repo.storage();
    // A listing more only for what came since.
    let is_known = |classes: &Classes| survey.packs.iter().all(|it| classes.of.contains_key(&it.name));
    let classes = match classes {
        Some(classes) if !classes.tells || is_known(&classes) => classes,
        _ => Classes::list(storage)?,
    };
    if !classes.tells {
        let words =
            format!("{} is on a service whose objects this program cannot move to another class", storage.location());
        return Err(OpsError::refused(ErrorKind::Unsupported, words));
    }
    let old = old(&repo.snapshots()?, options.after, repo.clock().now());
    let mut tiered = Tiered { class: options.class.clone(), old_snapshots: old.len() as u64, ..Tiered::default() };
    if old.is_empty() {
        return Ok((tiered, Vec::new()));
    }
    let young = repo.survey_without(&old, &Layers, Duration::ZERO)?;
    let needed: HashSet<ObjectName> =
        young.packs.iter().filter(|it| it.live_chunks > 0 || it.is_busy).map(|it| it.name).collect();
    let mut moving = Vec::new();
    for pack in &survey.packs {
        let is_of_old = pack.live_chunks > 0 && !pack.is_busy && !needed.contains(&pack.name);
        if pack.kind != PackKind::Data || !is_of_old || pack.bytes < SMALLEST {
            continue;
        }
        match classes.of.get(&pack.name).map(|class| &**class) {
            Some(class) if class == options.class || may_be_cold(class) => tiered.there += 1,
            Some(_) => moving.push((pack.name, pack.bytes)),
            None => {}
        }
    }
    progress.phase(&Phase::new(PhaseKind::Moving, moving.len() as u64, moving.iter().map(|(_, bytes)| bytes).sum()));
    let done = Mutex::new((tiered, Vec::new()));
    each(storage.connections(), moving.into_iter(), progress, |(pack, bytes)| {
        let moved = if dry_run { Ok(()) } else { storage.move_to_class(&pack::path(&pack), &options.class) };
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        match moved {
            Ok(()) => {
                done.0.packs += 1;
                done.0.bytes += bytes;
            }
            // A prune beside us was faster.
            Err(RepoError::Missing { .. }) => {}
            Err(error) => done.1.push(error.into()),
        }
        progress.count(1, bytes);
        Ok(())
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::made_up::snapshot;

    /// One that claims to end in the future keeps no other from being the newest, and is never old itself.
    #[test]
    fn the_newest_of_the_past_stays_beside_what_a_wrong_clock_dated_ahead() {
        let at = |number: u8| Timestamp::from_millis(i64::from(number) * 100);
        let now = Timestamp::from_millis(at(3).as_millis() + 365 * 86_400_000);
        let mut all: Vec<Snapshot> = (1..=3).map(|number| snapshot(number, &[])).collect();
        let names = |all: &[Snapshot], after| {
            let mut old: Vec<u8> = old(all, after, now).iter().map(|id| id.0[0]).collect();
            old.sort_unstable();
            old
        };
        let week = Duration::from_hours(7 * 24);
        assert_eq!(names(&all, week), [1, 2]);
        let mut ahead = crate::ops::made_up::manifest(9, &[]);
        ahead.content.end = Timestamp::from_millis(now.as_millis() + 30 * 86_400_000);
        all.push(Snapshot::made_up(ahead));
        assert_eq!(names(&all, week), [1, 2], "3 is still what is restored today");
        assert_eq!(names(&all, Duration::MAX), [0; 0]);
        assert_eq!(names(&all, Duration::ZERO), [1, 2]);
    }
}
