//! `snapshots`, `ls`, `stats`, `status`, `tag`: what the repository holds, in rows for tables and JSON.

use super::{OpsError, Progress};
use crate::{
    record::Timestamp,
    repo::{
        Repository, Snapshot, SnapshotId,
        manifest::{Kind, Stats},
    },
};
use serde::Serialize;

/// One collection of a listed snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct CollectionRow {
    /// Its name.
    pub name: String,
    /// Live records.
    pub records: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
}

/// One listed snapshot: the stable shape of `snapshots --json`.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotRow {
    /// Its id.
    pub id: SnapshotId,
    /// The first digits of the id.
    pub short_id: String,
    /// When reading began.
    pub start: Timestamp,
    /// When reading ended.
    pub end: Timestamp,
    /// The same as `end`.
    pub time: Timestamp,
    /// What was read.
    pub kind: Kind,
    /// Whether every record is in it.
    pub complete: bool,
    /// Whose records.
    pub source: crate::repo::manifest::SourceId,
    /// The snapshot it was joined with.
    pub parent: Option<SnapshotId>,
    /// Free words.
    pub tags: Vec<String>,
    /// Its collections.
    pub collections: Vec<CollectionRow>,
    /// What is missing, in words.
    pub problems: Vec<String>,
    /// Counts and costs.
    pub stats: Stats,
}

/// A snapshot as a row.
#[must_use]
pub fn row(snapshot: &Snapshot) -> SnapshotRow {
    let content = &snapshot.content;
    SnapshotRow {
        id: snapshot.id,
        short_id: snapshot.id.short(),
        start: content.start,
        end: content.end,
        time: content.end,
        kind: content.kind,
        complete: content.complete,
        source: content.source.clone(),
        parent: content.parent,
        tags: snapshot.tags.clone(),
        collections: snapshot
            .collections
            .iter()
            .map(|c| CollectionRow { name: c.name.clone(), records: c.records, bytes: c.bytes })
            .collect(),
        problems: content.problems.clone(),
        stats: content.stats.clone(),
    }
}

/// One record of `ls SNAPSHOT COLLECTION`.
#[derive(Debug, Clone, Serialize)]
pub struct RecordRow {
    /// The key as a person would type it.
    pub key: String,
    /// The source's generation.
    pub generation: u32,
    /// When it expires.
    pub expiry: Option<Timestamp>,
    /// Length of its value's canonical bytes.
    pub bytes: u64,
}

/// Lists the records of a collection in key order, by reading keys only.
pub fn records(
    repo: &Repository,
    snapshot: &Snapshot,
    collection: &str,
    progress: &dyn Progress,
    each: &mut dyn FnMut(RecordRow),
) -> Result<(), OpsError> {
    let _ = (repo, snapshot, collection, progress, each);
    todo!()
}

/// How one source stands.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    /// Whose records.
    pub source: crate::repo::manifest::SourceId,
    /// The newest complete snapshot.
    pub newest: Option<SnapshotId>,
    /// Its end.
    pub time: Option<Timestamp>,
    /// Its age, by the host's clock.
    pub age_seconds: Option<u64>,
    /// Snapshots of the source, partial ones included.
    pub snapshots: usize,
    /// What the last verification covered and found, in words; absent if none is known here.
    pub last_verify: Option<String>,
    /// Whether it is older than was asked for.
    pub too_old: bool,
}

/// Per source the newest complete snapshot.
pub fn status(
    repo: &Repository,
    snapshots: &[Snapshot],
    max_age_seconds: Option<u64>,
) -> Result<Vec<SourceStatus>, OpsError> {
    let _ = (repo, snapshots, max_age_seconds);
    todo!()
}

/// What the repository takes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RepositoryStats {
    /// Snapshots.
    pub snapshots: usize,
    /// Distinct layers they use.
    pub layers: usize,
    /// Packs.
    pub packs: u64,
    /// Chunks.
    pub chunks: u64,
    /// Stored bytes of everything.
    pub stored_bytes: u64,
    /// Plaintext bytes of the chunks.
    pub plain_bytes: u64,
    /// Plaintext bytes of all snapshots' records, as if each were stored whole.
    pub restore_bytes: u64,
}

/// Sums up the repository.
pub fn stats(repo: &Repository) -> Result<RepositoryStats, OpsError> {
    let _ = repo;
    todo!()
}
