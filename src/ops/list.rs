//! `snapshots`, `ls`, `stats`, `status`, `tag`: what the repository holds, in rows for tables and JSON.

use super::{OpsError, Progress, reading::Reading, restore::find_collection, select::sources};
use crate::{
    layer::Stack,
    record::{KeyRange, Timestamp},
    repo::{
        Repository, Snapshot, SnapshotId,
        manifest::{Kind, Stats},
    },
};
use serde::Serialize;
use std::collections::HashSet;

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
    /// Whether nothing may drop it.
    pub hold: bool,
    /// Nothing may drop it before this time.
    pub lock_until: Option<Timestamp>,
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
        hold: snapshot.hold,
        lock_until: snapshot.lock_until,
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
    let reading = Reading::begin(repo, "ls", std::slice::from_ref(snapshot))?;
    let repo = reading.repo();
    let snapshot = &reading.snapshots()[0];
    let found = find_collection(snapshot, collection)?;
    let stack = Stack::open(&repo.chunks(), &found.stack)?;
    let mut cursor = stack.cursor(&KeyRange::all(), snapshot.content.end, true)?;
    while cursor.advance()? {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let meta = cursor.meta();
        let expiry = meta.expiry.as_millis();
        each(RecordRow {
            key: found.codec.show(cursor.key()),
            generation: meta.generation,
            expiry: (expiry != 0).then(|| Timestamp::from_millis(expiry as i64)),
            bytes: cursor.value_bytes(),
        });
    }
    Ok(())
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

/// Whether what was asked for does not hold: a source is too old, or an age was asked for and there is none at all, which is
/// older than anything.
#[must_use]
pub fn is_overdue(sources: &[SourceStatus], max_age_seconds: Option<u64>) -> bool {
    (sources.is_empty() && max_age_seconds.is_some()) || sources.iter().any(|source| source.too_old)
}

/// Per source the newest complete snapshot.
pub fn status(
    repo: &Repository,
    snapshots: &[Snapshot],
    max_age_seconds: Option<u64>,
) -> Result<Vec<SourceStatus>, OpsError> {
    let now = repo.clock().now();
    let mut all = Vec::new();
    for source in sources(snapshots) {
        let of_source =
            |s: &&Snapshot| s.content.source.connector == source.connector && s.content.source.name == source.name;
        let newest = snapshots.iter().filter(of_source).rfind(|s| s.content.complete);
        let age_seconds = newest.map(|s| (now.as_millis() - s.content.end.as_millis()).max(0) as u64 / 1000);
        let last_verify = match newest {
            Some(_) => repo.note(super::verify::LAST_VERIFY)?,
            None => None,
        };
        all.push(SourceStatus {
            newest: newest.map(|s| s.id),
            time: newest.map(|s| s.content.end),
            age_seconds,
            snapshots: snapshots.iter().filter(of_source).count(),
            last_verify,
            too_old: max_age_seconds.is_some_and(|max| age_seconds.is_none_or(|age| age > max)),
            source,
        });
    }
    Ok(all)
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
    let snapshots = repo.snapshots()?;
    let layers: HashSet<_> =
        snapshots.iter().flat_map(|s| &s.collections).flat_map(|c| &c.stack).map(|layer| layer.id).collect();
    let packs = repo.packs()?;
    let mut plain_bytes = 0;
    for pack in &packs {
        if let Some((_, entries)) = repo.pack_entries(&pack.name)? {
            plain_bytes += entries.iter().map(|entry| u64::from(entry.plain_len)).sum::<u64>();
        }
    }
    Ok(RepositoryStats {
        snapshots: snapshots.len(),
        layers: layers.len(),
        packs: packs.len() as u64,
        chunks: packs.iter().map(|pack| pack.chunks).sum(),
        stored_bytes: repo.stats()?.iter().map(|folder| folder.bytes).sum(),
        plain_bytes,
        restore_bytes: snapshots.iter().flat_map(|s| &s.collections).map(|c| c.bytes).sum(),
    })
}
