//! `replay`: every version that a stream holds is written again, those of one record in the order in which they were made.

use super::{OpsError, Phase, PhaseKind, Progress, reading::Reading};
use crate::{
    connector::{ChangeSink, Landed, SinkCollection, SinkEnd, VersionChange},
    layer::{JournalChange, PlayedSpan, Stack, play},
    record::Timestamp,
    repo::{Capability, Repository, Snapshot, SnapshotId, manifest::Collection},
    report::{ErrorKind, WarningKind},
};
use serde::Serialize;

/// So many bytes of one record's versions are held at once.
const HELD_BYTES: usize = 16 << 20;

/// Lost versions that are named.
const MAX_NAMED: usize = 100;

/// What is replayed.
#[derive(Debug, Clone, Default)]
pub struct ReplayOptions {
    /// From here on: of what was before, the version that stood then.
    pub from: Option<Timestamp>,
    /// Leave that version out.
    pub only_changes: bool,
    /// Only these collections, and the names that they get; all under their own names if there are none.
    pub collections: Vec<(String, Option<String>)>,
}

/// What a replay came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReplayOutcome {
    /// The snapshot.
    pub snapshot: Option<SnapshotId>,
    /// The moment up to which versions were written.
    pub end: Timestamp,
    /// Records of which there is a version.
    pub records: u64,
    /// Versions that were written.
    pub changes: u64,
    /// Of those, deletions.
    pub deletions: u64,
    /// Of those, versions under another time, or with another expiry: their order is kept.
    pub moved: u64,
    /// Versions that cannot be written there.
    pub lost: u64,
    /// Some of those, in words.
    pub problems: Vec<String>,
    /// Files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Whether everything is there.
    pub complete: bool,
}

/// Writes all versions of a snapshot's stream up to the snapshot's end.
///
/// # Errors
/// [`OpsError`]; what was written is given up then.
pub fn replay(
    repo: &Repository,
    snapshot: &Snapshot,
    sink: &mut dyn ChangeSink,
    options: &ReplayOptions,
    progress: &dyn Progress,
) -> Result<ReplayOutcome, OpsError> {
    repo.need(Capability::ReadValues)?;
    let end = snapshot.content.end;
    if options.from.is_some_and(|from| from > end) {
        return Err(OpsError::Usage(format!(
            "there is nothing after {end}, the end of snapshot {}",
            snapshot.id.short()
        )));
    }
    let reading = Reading::begin(repo, "replay", std::slice::from_ref(snapshot))?;
    let (repo, snapshot) = (reading.repo(), &reading.snapshots()[0]);
    let chosen = choose(snapshot, options)?;
    let named = |(found, name): &(&Collection, String)| SinkCollection { name: name.clone(), codec: found.codec };
    sink.begin(&chosen.iter().map(named).collect::<Vec<_>>())?;
    progress.phase(&Phase::new(PhaseKind::Replaying, chosen.iter().map(|(found, _)| found.records).sum(), 0));
    let mut outcome = ReplayOutcome { snapshot: Some(snapshot.id), end, ..ReplayOutcome::default() };
    for (at, (found, _)) in chosen.iter().enumerate() {
        tell_doubt(found, snapshot, options, progress);
        replay_one(repo, found, (at, end), sink, options, &mut outcome, progress)?;
    }
    let SinkEnd { files, bytes } = sink.finish()?;
    (outcome.files, outcome.bytes) = (files, bytes);
    if outcome.lost > outcome.problems.len() as u64 {
        let more = outcome.lost - outcome.problems.len() as u64;
        outcome.problems.push(format!("and {more} further versions that cannot be written"));
    }
    outcome.complete = outcome.lost == 0;
    Ok(outcome)
}

fn choose<'a>(snapshot: &'a Snapshot, options: &ReplayOptions) -> Result<Vec<(&'a Collection, String)>, OpsError> {
    if options.collections.is_empty() {
        return Ok(snapshot.collections.iter().map(|found| (found, found.name.clone())).collect());
    }
    let mut chosen: Vec<(&Collection, String)> = Vec::new();
    for (name, new_name) in &options.collections {
        let found = snapshot.collections.iter().find(|found| found.name == *name).ok_or_else(|| {
            let words = format!("snapshot {} has no collection `{name}`", snapshot.id.short());
            OpsError::refused(ErrorKind::NoCollection, words)
        })?;
        let new_name = new_name.as_ref().unwrap_or(name);
        if chosen.iter().any(|(other, other_name)| other.name == found.name || other_name == new_name) {
            return Err(OpsError::Usage(format!(
                "two collections are to be written as `{new_name}`, or `{name}` twice"
            )));
        }
        chosen.push((found, new_name.clone()));
    }
    Ok(chosen)
}

/// When what lies below a stream was so.
fn begins(found: &Collection, end: Timestamp) -> Timestamp {
    found.journal.as_ref().map_or(end, |moments| moments.from)
}

/// Says what a person may take for more than it is.
fn tell_doubt(found: &Collection, snapshot: &Snapshot, options: &ReplayOptions, progress: &dyn Progress) {
    let warn = |words: String| progress.warn(WarningKind::Note, &found.name, words);
    match (&found.journal, options.from) {
        (Some(moments), Some(from)) if from < moments.from => warn(format!(
            "{}: what all records were at {from} is not known: the stream shows every moment from {} on",
            found.name, moments.from
        )),
        (None, _) if !found.stack.iter().any(|layer| layer.journal) => warn(format!(
            "{}: snapshot {} holds one version of each record, that of its end: no stream brought it",
            found.name,
            snapshot.id.short()
        )),
        _ => {}
    }
    let kept = found.journal.iter().flat_map(|moments| &moments.kept).map(|kept| kept.until).max();
    if let Some(until) = kept.filter(|until| options.from.is_none_or(|from| from < *until)) {
        warn(format!("{}: before {until} not every version is kept", found.name));
    }
}

fn replay_one(
    repo: &Repository,
    found: &Collection,
    (at, end): (usize, Timestamp),
    sink: &mut dyn ChangeSink,
    options: &ReplayOptions,
    outcome: &mut ReplayOutcome,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    let first = found.stack.iter().rposition(|layer| !layer.journal).map_or(0, |other| other + 1);
    let (below, journals) = found.stack.split_at(first);
    let chunks = repo.chunks();
    let (below, journals) = (Stack::open(&chunks, below)?, Stack::open(&chunks, journals)?);
    let span = PlayedSpan {
        begins: begins(found, end),
        from: options.from,
        only_changes: options.only_changes,
        to: end,
        held_bytes: HELD_BYTES,
    };
    let mut last: Option<Vec<u8>> = None;
    play::<OpsError>(&below, &journals, &span, &mut |played| {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let (change, bytes) = match &played.change {
            JournalChange::Put { meta, shape, value } => {
                (VersionChange::Put { meta: *meta, shape, value }, played.key.len() + value.len())
            }
            JournalChange::Delete => (VersionChange::Delete, played.key.len()),
        };
        let is_new = last.as_deref() != Some(played.key);
        match sink.write(at, played.key, played.time, &change)? {
            Landed::Lost(reason) => {
                outcome.lost += 1;
                if outcome.problems.len() < MAX_NAMED {
                    let (key, time) = (found.codec.show(played.key), played.time.time());
                    outcome.problems.push(format!("{}: {key} as of {time}: {reason}", found.name));
                }
                return Ok(());
            }
            Landed::Moved => outcome.moved += 1,
            Landed::Whole => {}
        }
        outcome.changes += 1;
        outcome.deletions += u64::from(matches!(change, VersionChange::Delete));
        if is_new {
            outcome.records += 1;
            last = Some(played.key.to_vec());
        }
        progress.count(1, bytes as u64);
        Ok(())
    })
}
