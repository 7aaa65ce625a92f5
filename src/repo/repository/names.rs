//! Names of small objects, and the few JSON bodies that any program may write.

use crate::{
    record::Timestamp,
    repo::{ObjectName, SnapshotId},
};
use serde::{Deserialize, Serialize};

/// `index/<name>`.
pub(in crate::repo) fn index_path(name: &ObjectName) -> String {
    format!("index/{name}")
}

/// `snapshots/<S>/<revision>`.
pub(in crate::repo) fn revision_path(snapshot: &SnapshotId, revision: u64) -> String {
    format!("snapshots/{snapshot}/{revision}")
}

/// The name in `folder/<name>`.
pub(in crate::repo) fn parse_flat<T: std::str::FromStr>(folder: &str, path: &str) -> Option<T> {
    path.strip_prefix(folder)?.parse().ok()
}

/// S and the number in `snapshots/<S>/<number>`; numbers with leading zeros are no numbers.
pub(in crate::repo) fn parse_revision(path: &str) -> Option<(SnapshotId, u64)> {
    let (snapshot, revision) = path.strip_prefix("snapshots/")?.split_once('/')?;
    let number: u64 = revision.parse().ok()?;
    // SQLite keeps signed integers.
    (number.to_string() == revision && i64::try_from(number).is_ok()).then_some((snapshot.parse().ok()?, number))
}

/// The pack in `packs/xx/<name>`.
pub(in crate::repo) fn parse_pack(path: &str) -> Option<ObjectName> {
    path.strip_prefix("packs/")?.split_once('/')?.1.parse().ok()
}

/// What lies under `snapshots/<S>/0` of a fenced lease.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::repo) struct VoidBody {
    pub void: SnapshotId,
    pub host: String,
    pub time: Timestamp,
}

/// The last revision of a forgotten snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::repo) struct TombstoneBody {
    pub forgotten: SnapshotId,
    pub revision: u64,
    pub host: String,
    pub time: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_has_one_name() {
        let id = SnapshotId([7; 16]);
        assert_eq!(parse_revision(&revision_path(&id, 12)), Some((id, 12)));
        for number in ["", "01", "+1", "-1", "1/2", "x", "18446744073709551615"] {
            assert_eq!(parse_revision(&format!("snapshots/{id}/{number}")), None, "{number}");
        }
    }
}
