//! `find`: which snapshots hold a key.

use super::{OpsError, Phase, PhaseKind, Progress, reading::Reading};
use crate::{
    layer::Stack,
    record::{KeyCodec, KeyRange, Timestamp},
    repo::{Repository, Snapshot, SnapshotId},
};
use globset::Glob;
use serde::Serialize;

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
    let glob = Glob::new(pattern).map_err(|error| OpsError::Usage(error.to_string()))?.compile_matcher();
    let reading = Reading::begin(repo, "find", snapshots)?;
    let repo = reading.repo();
    let snapshots = reading.snapshots();
    progress.phase(&Phase {
        kind: PhaseKind::Searching,
        object: String::new(),
        records: snapshots.iter().flat_map(|s| &s.collections).map(|c| c.records).sum(),
        bytes: 0,
    });
    for snapshot in snapshots {
        for found in snapshot.collections.iter().filter(|c| collection.is_none_or(|wanted| wanted == c.name)) {
            let stack = Stack::open(&repo.chunks(), &found.stack)?;
            let mut cursor = stack.cursor(&KeyRange::all(), snapshot.content.end, true)?;
            while cursor.advance()? {
                if progress.cancelled() {
                    return Err(OpsError::Interrupted);
                }
                progress.count(1, 0);
                let shown = found.codec.show(cursor.key());
                let path = shown.trim_end_matches('/');
                let name = path.rsplit('/').next().unwrap_or(path);
                if glob.is_match(path) || (found.codec == KeyCodec::Path && glob.is_match(name)) {
                    each(Found {
                        snapshot: snapshot.id,
                        time: snapshot.content.end,
                        collection: found.name.clone(),
                        bytes: cursor.value_bytes(),
                        key: shown,
                    });
                }
            }
        }
    }
    Ok(())
}
