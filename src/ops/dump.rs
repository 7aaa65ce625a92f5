//! `dump`: one value's bytes; `find`: which snapshots hold a key.

use super::{OpsError, Progress};
use crate::{
    record::Timestamp,
    repo::{Repository, Snapshot, SnapshotId},
};
use serde::Serialize;
use std::io::Write;

/// Writes one record's value to `out`: a file's content, or the cells as one JSON object and a line feed; with `cell`
/// just the bytes of that cell.
pub fn dump(
    repo: &Repository,
    snapshot: &Snapshot,
    collection: &str,
    key: &str,
    cell: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), OpsError> {
    let _ = (repo, snapshot, collection, key, cell, out);
    todo!()
}

/// A key found.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its end.
    pub time: Timestamp,
    /// The collection.
    pub collection: String,
    /// The key as shown.
    pub key: String,
    /// Length of its value's canonical bytes.
    pub bytes: u64,
}

/// Finds keys that match a glob (over keys as shown) in snapshots; oldest snapshot first.
pub fn find(
    repo: &Repository,
    snapshots: &[Snapshot],
    collection: Option<&str>,
    pattern: &str,
    progress: &dyn Progress,
    each: &mut dyn FnMut(Found),
) -> Result<(), OpsError> {
    let _ = (repo, snapshots, collection, pattern, progress, each);
    todo!()
}
