//! Names of small objects, and the few JSON bodies that any program may write.

use crate::{
    record::Timestamp,
    repo::{
        ObjectName, RepoError, SnapshotId,
        object::{self, ObjectKind},
        storage::Listed,
    },
};
use serde::{Deserialize, Serialize};

/// The folders of a repository: where one of them holds anything, `init` makes no other.
pub const FOLDERS: [&str; 16] = [
    "keys/",
    "packs/",
    "index/",
    "snapshots/",
    "forgotten/",
    "checkpoints/",
    "leases/",
    "trash/",
    "promises/",
    "damage/",
    "drills/",
    "claims/",
    "audit/",
    "parity/",
    "settings/",
    "copies/",
];

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
    let (folder, name) = path.strip_prefix("packs/")?.split_once('/')?;
    // In another folder nobody looks for it.
    (folder == name.get(..2)?).then_some(())?;
    name.parse().ok()
}

/// How a listed name stands to those of this repository's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum Fit {
    /// An object's name.
    Object,
    /// No object's: somebody else put it there.
    Foreign,
    /// The name of a folder that holds objects, under which there is something else: what the folder held cannot be seen.
    Blocked,
}

/// Whether an object may have this name.
pub(in crate::repo) fn fit(path: &str) -> Fit {
    let parts: Vec<&str> = path.split('/').collect();
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_number = |text: &str| {
        text.parse::<u64>().is_ok_and(|number| number.to_string() == text && i64::try_from(number).is_ok())
    };
    let fits = match *parts.as_slice() {
        ["keys" | "trash" | "forgotten", name] | ["copies", "keys", name] => is_hex(name, 32),
        ["copies", "rekeep.json"] => true,
        ["index" | "damage" | "parity", name] => is_hex(name, 64),
        ["settings", number] => is_number(number),
        ["packs", folder, name] => is_hex(name, 64) && name.starts_with(folder) && folder.len() == 2,
        ["snapshots" | "checkpoints" | "promises" | "drills" | "claims" | "audit", id, number] => {
            is_hex(id, 32) && is_number(number)
        }
        ["leases", id, number] => is_hex(id, 32) && (is_number(number) || number == "end"),
        // A listing names the folder itself only where it is none.
        [folder] if FOLDERS.iter().any(|it| it.strip_suffix('/') == Some(folder)) => return Fit::Blocked,
        ["copies", "keys"] => return Fit::Blocked,
        ["packs", folder] if is_hex(folder, 2) => return Fit::Blocked,
        ["snapshots" | "leases", id] if is_hex(id, 32) => return Fit::Blocked,
        _ => false,
    };
    // Under the name of an object: a folder stands in its place.
    let is_within = || path.match_indices('/').any(|(at, _)| fit(&path[..at]) == Fit::Object);
    match fits {
        true => Fit::Object,
        false if is_within() => Fit::Blocked,
        false => Fit::Foreign,
    }
}

/// What a listing of a folder shows to stand in its place, or in that of one above it, and to be no folder.
pub(in crate::repo) fn in_its_place<'l>(folder: &str, listed: &'l [Listed]) -> Option<&'l str> {
    let is_above = |name: &str| folder.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    listed.iter().map(|object| &*object.name).find(|name| is_above(name))
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

impl TombstoneBody {
    /// What a tombstone says; who made it is not looked at.
    pub fn of(path: &str, sealed: &[u8]) -> Result<Self, RepoError> {
        let body = object::unwrap(ObjectKind::Tombstone, path, sealed)?;
        serde_json::from_slice(&body).map_err(|error| RepoError::damaged(path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_told_from_foreign_ones_and_from_what_hides_objects() {
        let (id, hash) = ("0123456789abcdef0123456789abcdef", "ab".repeat(32));
        let of = |path: &str| fit(&path.replace("ID", id).replace("HASH", &hash));
        for name in
            ["keys/ID", "trash/ID", "index/HASH", "packs/ab/HASH", "snapshots/ID/0", "leases/ID/12", "leases/ID/end"]
        {
            assert_eq!(of(name), Fit::Object, "{name}");
        }
        for name in [
            "trash/.DS_Store",
            "index/ID",
            "packs/cd/HASH",
            "packs/HASH",
            "snapshots/ID/01",
            "snapshots/ID/0 (copy)",
            "leases/ID/END",
            "snapshots/.DS_Store",
            "notes.txt",
        ] {
            assert_eq!(of(name), Fit::Foreign, "{name}");
        }
        for name in [
            "snapshots/ID",
            "leases/ID",
            "packs/ab",
            "snapshots/ID/0/x",
            "packs/ab/HASH/x",
            "index/HASH/x/y",
            "settings/0/x",
            "keys/ID/x",
            "index",
            "packs",
            "copies/keys",
        ] {
            assert_eq!(of(name), Fit::Blocked, "{name}");
        }
    }

    #[test]
    fn a_revision_has_one_name() {
        let id = SnapshotId([7; 16]);
        assert_eq!(parse_revision(&revision_path(&id, 12)), Some((id, 12)));
        for number in ["", "01", "+1", "-1", "1/2", "x", "18446744073709551615"] {
            assert_eq!(parse_revision(&format!("snapshots/{id}/{number}")), None, "{number}");
        }
    }
}
