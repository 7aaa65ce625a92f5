//! `capture`: changes, as they are made or as they were kept, become the versions of a repository.

#[cfg(feature = "aerospike")]
pub mod live;
#[cfg(feature = "postgresql")]
pub mod logical;

use super::{
    OpsError, Phase, PhaseKind, Progress,
    select::scope::scope_hash,
    stream::{StreamCollection, StreamCommit, StreamCounts, StreamEnd, StreamOptions, StreamSource, StreamWriter},
    tag::check_tags,
};
use crate::{
    connector::{ChangeFeed, Identity, Scope},
    record::{ChangeBatch, Clock as _, SystemClock, Timestamp},
    repo::{Repository, SnapshotId, carried::Carried, manifest::SourceId},
};
use serde::Serialize;
use serde_json::Value as Json;

/// Changes are written as one journal when they hold so many bytes.
pub(in crate::ops) const BATCH_BYTES: usize = 48 << 20;

/// What a capture came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CaptureOutcome {
    /// The newest snapshot; none if there was no change.
    pub snapshot: Option<SnapshotId>,
    /// Its end.
    pub end: Option<Timestamp>,
    /// Snapshots that were committed.
    pub commits: u64,
    /// Changes that are kept.
    pub changes: u64,
    /// Of those, deletions.
    pub deletions: u64,
    /// Of those, changes that were stamped before an older one of their record, and got its time.
    pub lifted: u64,
    /// Of those, changes that were stamped in the future, and got the time at which they came.
    pub ahead: u64,
    /// Changes that could not be read or kept.
    pub lost: u64,
    /// Some of those, in words.
    pub problems: Vec<String>,
    /// Bytes that the repository grew by.
    pub bytes_added: u64,
    /// Whether everything that came is kept.
    pub complete: bool,
}

/// So many failures in a row end a capture that follows changes; until then they come again.
#[cfg(any(feature = "aerospike", feature = "postgresql"))]
const MAX_FAILURES: u32 = 10;

/// Problems that are kept.
const MAX_PROBLEMS: usize = 100;

impl CaptureOutcome {
    /// Counts a commit.
    pub(in crate::ops) fn add(&mut self, commit: &StreamCommit) {
        let StreamCounts { changes, deletions, refused, problems, lifted, ahead } = &commit.counts;
        self.snapshot = Some(commit.id);
        self.end = Some(commit.end);
        self.commits += 1;
        self.changes += changes - refused;
        self.deletions += deletions;
        self.lifted += lifted;
        self.ahead += ahead;
        self.lost += refused;
        self.bytes_added += commit.bytes_added;
        self.problems.extend(problems.iter().cloned());
        self.problems.truncate(MAX_PROBLEMS);
    }
}

/// Whose changes they are, as a backup of the same source says it.
#[must_use]
pub fn stream_source(
    repo: &Repository,
    identity: &Identity,
    scope: Scope,
    url: &str,
    name: Option<&str>,
) -> StreamSource {
    let host = repo.host().to_owned();
    let name = name.map_or_else(|| identity.name_on(&host), str::to_owned);
    StreamSource {
        source: SourceId {
            connector: identity.connector.to_owned(),
            name,
            host,
            url: crate::connector::url::without_password(url),
            other: Carried::default(),
        },
        scope: scope_hash(&scope.canonical),
        scope_note: scope.note,
        asked: scope.asked,
        attributes: Json::Null,
    }
}

/// Brings all changes of files into one snapshot.
///
/// # Errors
/// [`OpsError`]; nothing is committed then.
pub fn capture_files(
    repo: &Repository,
    feed: &mut dyn ChangeFeed,
    source: &StreamSource,
    options: &StreamOptions,
    progress: &dyn Progress,
) -> Result<CaptureOutcome, OpsError> {
    check_tags(&options.tags)?;
    let collections: Vec<StreamCollection> = feed
        .collections()
        .iter()
        .map(|found| StreamCollection {
            name: found.name.clone(),
            codec: found.codec,
            attributes: found.attributes.clone(),
        })
        .collect();
    progress.phase(&Phase::new(PhaseKind::Reading, 0, 0));
    let mut writer = StreamWriter::begin(repo, source, &collections, options, progress)?;
    // What was replayed does not say when it came.
    let came = feed.until().filter(|until| *until != Timestamp::default());
    writer.believe_no_later(SystemClock.now(), came);
    match read_all(feed, &mut writer, progress) {
        Ok(()) => {}
        Err(error) => {
            writer.give_up(progress);
            return Err(error);
        }
    }
    let (lost, mut problems) = feed.lost();
    if lost > problems.len() as u64 {
        problems.push(format!("and {} further changes that cannot be read", lost - problems.len() as u64));
    }
    let ended = StreamEnd { is_whole: true, problems: problems.clone(), until: feed.until(), ..StreamEnd::default() };
    let commit = writer.commit(&ended, progress)?;
    let mut outcome = CaptureOutcome { lost, problems, ..CaptureOutcome::default() };
    outcome.add(&commit);
    outcome.complete = outcome.lost == 0;
    Ok(outcome)
}

fn read_all(feed: &mut dyn ChangeFeed, writer: &mut StreamWriter<'_>, progress: &dyn Progress) -> Result<(), OpsError> {
    let mut batch = ChangeBatch::default();
    while let Some(collection) = feed.next(&mut batch, BATCH_BYTES)? {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        if !batch.is_empty() {
            progress.count(batch.len() as u64, batch.bytes() as u64);
            writer.write(collection, &batch)?;
            batch.clear();
        }
    }
    Ok(())
}
