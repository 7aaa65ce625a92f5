//! `snapshots` and `ls`: snapshots and their records, in rows for tables and JSON.

mod refs;

pub use refs::{BranchRow, DatasetRow, TagRow};

use super::{
    OpsError, Progress,
    reading::Reading,
    restore::find_collection,
    select::{is_ahead, scope},
};
use crate::{
    layer::Stack,
    record::{KeyRange, Timestamp},
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
    /// Whether both were counted; otherwise there are at most so many.
    pub counted: bool,
    /// Its branches and tags, if it is a dataset that has such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetRow>,
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
    /// Whether it ends in the future.
    pub ahead: bool,
    /// Whose records.
    pub source: crate::repo::manifest::SourceId,
    /// What of the source was asked for, as a hash.
    pub scope: String,
    /// The same in words.
    pub scope_note: String,
    /// The snapshot it was joined with.
    pub parent: Option<SnapshotId>,
    /// The snapshot of another repository that it is a copy of.
    pub copy_of: Option<crate::repo::manifest::CopyOf>,
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
pub fn row(snapshot: &Snapshot, now: Timestamp) -> SnapshotRow {
    let content = &snapshot.content;
    SnapshotRow {
        id: snapshot.id,
        short_id: snapshot.id.short(),
        start: content.start,
        end: content.end,
        time: content.end,
        kind: content.kind,
        complete: content.complete,
        ahead: is_ahead(content.end, now),
        source: snapshot.source().clone(),
        scope: content.scope.clone(),
        scope_note: scope::words(snapshot),
        parent: content.parent,
        copy_of: content.copy_of.clone(),
        tags: snapshot.tags.clone(),
        hold: snapshot.hold,
        lock_until: snapshot.lock_until,
        collections: snapshot
            .collections
            .iter()
            .map(|c| CollectionRow {
                name: c.name.clone(),
                records: c.records,
                bytes: c.bytes,
                counted: c.counted,
                dataset: refs::refs(snapshot, c),
            })
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
