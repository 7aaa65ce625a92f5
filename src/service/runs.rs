//! Which snapshots of a routine are one state of what it reads: those of one run, and of former runs what that one left nothing of.
//! Other sources that bear the routine's name, one that it read before or another service's, are no part of it.

use super::{
    config::{Config, Routine},
    listing::around,
    sources::urls,
    tags::{is_same_run, parts_of_run, routine_tag, run_of},
};
use crate::{
    connector::url::without_password,
    ops::{
        Narrow, OpsError,
        select::{Within, is_ahead, newest_of_each},
    },
    record::Timestamp,
    repo::{Repository, Snapshot},
};
use std::collections::HashSet;

/// A state of what a routine reads.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Its snapshots, oldest first.
    pub(super) snapshots: Vec<Snapshot>,
    /// What is to be known of it, in words: parts that are older than the rest, newer snapshots of other sources.
    pub(super) notes: Vec<String>,
    /// What it lacks, in words.
    pub(super) lacks: Vec<String>,
}

/// A routine, as far as it is still configured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'c> {
    pub(super) config: &'c Config,
    pub(super) name: &'c str,
}

impl Whose<'_> {
    fn routine(&self) -> Option<&Routine> {
        self.config.routines.get(self.name)
    }
}

/// The newest state.
///
/// # Errors
/// What the repository says.
pub(super) fn newest(
    repo: &Repository,
    whose: Whose<'_>,
    tag: Option<&str>,
    now: Timestamp,
) -> Result<State, OpsError> {
    let tags = [routine_tag(whose.name)].into_iter().chain(tag.map(str::to_owned)).collect();
    let narrow = Narrow { tags, ..Narrow::default() };
    let mut found = newest_of_each(repo, &narrow, Within::default(), 1, now)?;
    // What is dated in the future is nobody's newest, unless there is nothing else.
    if found.iter().any(|it| !is_ahead(it.content.end, now)) {
        found.retain(|it| !is_ahead(it.content.end, now));
    }
    Ok(state(found, whose, repo.host()))
}

/// The state as of a time.
///
/// # Errors
/// What the repository says.
pub(super) fn as_of(repo: &Repository, whose: Whose<'_>, time: Timestamp, now: Timestamp) -> Result<State, OpsError> {
    let found = by_then(around(repo, whose.name, time, now)?, time);
    Ok(state(found, whose, repo.host()))
}

/// Of these, oldest first, those of the source by which a routine is told that holds a collection: another may have had its name
/// before, or in another service.
pub(super) fn of_own_source(
    mut snapshots: Vec<Snapshot>,
    collection: &str,
    whose: Whose<'_>,
    host: &str,
) -> Vec<Snapshot> {
    let holders: Vec<&Snapshot> = snapshots.iter().filter(|it| names(it).contains(&collection)).collect();
    if let Some(source) = own(&holders, whose, host).map(|own| own.source().clone()) {
        snapshots.retain(|it| it.source().is_same(&source));
    }
    snapshots
}

/// The newest of these, oldest first, by which a routine is told: of what it reads now, and of this host, if there is one.
fn own<'s>(snapshots: &[&'s Snapshot], whose: Whose<'_>, host: &str) -> Option<&'s Snapshot> {
    let urls: Vec<String> = whose.routine().map_or_else(Vec::new, |routine| urls(whose.config, routine));
    let urls: Vec<String> = urls.iter().map(|url| without_password(url)).collect();
    let newest = |is_meant: &dyn Fn(&Snapshot) -> bool| snapshots.iter().copied().rfind(|it| is_meant(it));
    let is_read = |it: &Snapshot| urls.contains(&it.source().url);
    newest(&|it| is_read(it) && it.source().host == host).or_else(|| newest(&is_read)).or(snapshots.last().copied())
}

/// The newest snapshot of each part of each source that had ended by then, oldest first. Who gives the very time that a backup began
/// means that backup, as clients of the backup service do who take times from its lists: and of a run that backed up several
/// namespaces one after the other, all.
fn by_then(snapshots: Vec<Snapshot>, time: Timestamp) -> Vec<Snapshot> {
    let begun = snapshots.iter().find(|snapshot| snapshot.content.start == time).cloned();
    let mut newest: Vec<Snapshot> = Vec::new();
    for snapshot in snapshots {
        let is_meant = snapshot.content.end <= time
            || snapshot.content.start == time
            || begun.as_ref().is_some_and(|begun| is_same_run(begun, &snapshot));
        if !is_meant {
            continue;
        }
        let same = |other: &&mut Snapshot| part_of(other) == part_of(&snapshot);
        match newest.iter_mut().find(same) {
            Some(other) if other.content.end <= snapshot.content.end => *other = snapshot,
            Some(_) => {}
            None => newest.push(snapshot),
        }
    }
    newest.sort_by_key(|snapshot| snapshot.position());
    newest
}

/// Of what a snapshot is one of many.
fn part_of(snapshot: &Snapshot) -> (&str, &str, &str) {
    let source = snapshot.source();
    (&source.connector, &source.name, &snapshot.content.scope)
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.collections.iter().map(|collection| collection.name.as_str()).collect()
}

/// One state, of the newest snapshot of each part of each source, oldest first.
fn state(newest: Vec<Snapshot>, whose: Whose<'_>, host: &str) -> State {
    let all: Vec<&Snapshot> = newest.iter().collect();
    let Some(last) = own(&all, whose, host).cloned() else { return State::default() };
    let (mut meant, others): (Vec<_>, Vec<_>) =
        newest.into_iter().partition(|it| it.id == last.id || is_same_run(&last, it));
    let (mut notes, mut lacks) = (Vec::new(), Vec::new());
    let newer = others.iter().rfind(|it| !it.source().is_same(last.source()) && it.position() > last.position());
    if let Some(newer) = newer {
        let (id, source) = (newer.id.short(), newer.source());
        notes.push(format!(
            "snapshot {id} of {} is newer and left out: it is of {}:{}, which is not what the routine reads",
            newer.content.end, source.connector, source.name
        ));
    }
    let count = |meant: &[Snapshot]| meant.iter().map(part_of).collect::<HashSet<_>>().len();
    let parts = parts_of_run(&last);
    let is_whole = |meant: &[Snapshot]| match parts {
        Some(parts) => count(meant) >= parts,
        None => run_of(&last).is_none(),
    };
    if !is_whole(&meant) {
        let wanted = whose.routine().and_then(|routine| routine.namespaces.as_deref()).unwrap_or_default();
        for other in others.into_iter().rev() {
            let own = names(&other);
            let is_read = wanted.is_empty() || own.iter().all(|name| wanted.iter().any(|it| it == name));
            let is_there = meant.iter().any(|it| names(it).iter().any(|name| own.contains(name)));
            if is_read && !is_there && other.source().is_same(last.source()) && other.position() < last.position() {
                notes.push(format!(
                    "{} is of snapshot {} of {}: the run that ended at {} left none of it by then",
                    own.join(", "),
                    other.id.short(),
                    other.content.end,
                    last.content.end
                ));
                meant.push(other);
            }
        }
        let is_missing = |name: &&String| !meant.iter().any(|it| names(it).contains(&name.as_str()));
        if !is_whole(&meant) {
            let missing = wanted.iter().filter(is_missing);
            lacks.extend(missing.map(|name| format!("of namespace {name} there is no backup of that time")));
        }
        if let Some(parts) = parts.filter(|parts| lacks.is_empty() && count(&meant) < *parts) {
            let there = count(&meant);
            lacks.push(format!("of {parts} parts that the run was to have there are backups of {there}"));
        }
        meant.sort_by_key(|snapshot| snapshot.position());
    }
    State { snapshots: meant, notes, lacks }
}
