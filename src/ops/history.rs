//! `history`: every stored version of one record in a time range, reading only the blocks that can hold its key.

use super::{OpsError, Progress};
use crate::{
    record::Timestamp,
    repo::{Repository, Snapshot, SnapshotId},
};
use serde::Serialize;
use serde_json::Value as Json;

/// One version of the record, as long as it stood.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryVersion {
    /// `live`, `deleted`, `expired`, or `absent` (before the record was first seen).
    pub state: &'static str,
    /// The first snapshot that shows it.
    pub first_snapshot: SnapshotId,
    /// That snapshot's end.
    pub from: Timestamp,
    /// The last snapshot that shows it.
    pub last_snapshot: SnapshotId,
    /// That snapshot's end.
    pub to: Timestamp,
    /// How many snapshots show it.
    pub snapshots: u64,
    /// The source's generation.
    pub generation: Option<u32>,
    /// When it expires, if ever.
    pub expiry: Option<Timestamp>,
    /// The set, if any.
    pub set: Option<String>,
    /// The value, cells by name; absent for a tombstone, and for a value over the limit.
    pub value: Option<Json>,
    /// Length of the value's canonical bytes.
    pub value_bytes: Option<u64>,
    /// The names of the cells that differ from the version before.
    pub changed: Vec<String>,
}

/// A record's history.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// The collection.
    pub collection: String,
    /// The key as a person would type it.
    pub key: String,
    /// Its versions, oldest first.
    pub versions: Vec<HistoryVersion>,
    /// Snapshots looked at.
    pub snapshots: usize,
    /// Layers asked.
    pub layers: usize,
}

/// Every version of the record with this typed key in snapshots that end within the range. `snapshots` are of one source,
/// oldest first.
pub fn history(
    repo: &Repository,
    snapshots: &[Snapshot],
    collection: &str,
    key: &str,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    progress: &dyn Progress,
) -> Result<History, OpsError> {
    let _ = (repo, snapshots, collection, key, from, to, progress);
    todo!()
}
