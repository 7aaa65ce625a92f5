//! Where else a repository's snapshots are, by looking there; and what lacks of three copies on two kinds of storage, one of them
//! elsewhere.

use super::OpsError;
use crate::repo::{Repository, SnapshotId, Storage, replica};
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};

/// What a place was found to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CopyPlace {
    /// Where.
    pub location: String,
    /// The disk, or the service, that it lies on.
    pub medium: String,
    /// Whether it is behind a service or a network.
    pub is_elsewhere: bool,
    /// The repository there, if one is.
    pub repository: Option<String>,
    /// Why nothing of it counts.
    pub problem: Option<String>,
    /// The snapshots of the repository in question that are listed there, by the names that they have in it.
    #[serde(skip)]
    pub holds: HashSet<SnapshotId>,
}

/// How the newest complete snapshot of a source stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ThreeTwoOne {
    /// The source itself, the repository, and each place that lists the snapshot.
    pub copies: usize,
    /// Disks and services that the repository and those places lie on.
    pub media: usize,
    /// Of these places and the repository, those behind a service or a network.
    pub elsewhere: usize,
    /// The places that list it.
    pub places: Vec<String>,
    /// What lacks, in words; empty if nothing does.
    pub lacks: Vec<String>,
}

impl CopyPlace {
    fn at(storage: &Storage) -> Self {
        Self {
            location: storage.location().to_owned(),
            medium: medium(storage),
            is_elsewhere: storage.folder().is_none(),
            ..Self::default()
        }
    }

    /// The repository itself.
    #[must_use]
    pub fn own(repo: &Repository) -> Self {
        Self { repository: Some(repo.id().to_string()), ..Self::at(repo.storage()) }
    }

    /// Nothing could be found out.
    #[must_use]
    pub fn unknown(location: &str, problem: &dyn std::fmt::Display) -> Self {
        Self { location: location.to_owned(), problem: Some(problem.to_string()), ..Self::default() }
    }

    /// A replica, looked at without a key.
    ///
    /// # Errors
    /// [`OpsError`] if there is no repository, or it cannot be listed.
    pub fn replica(repo: &Repository, storage: &Storage) -> Result<Self, OpsError> {
        let (id, holds) = replica::lists(storage)?;
        let is_replica = id == repo.id().to_string();
        Ok(Self {
            holds: if is_replica { holds.into_iter().collect() } else { HashSet::new() },
            repository: Some(id),
            ..Self::at(storage)
        })
    }

    /// Another repository, whose copies name what they are copies of.
    ///
    /// # Errors
    /// [`OpsError`] from listing its snapshots.
    pub fn other(repo: &Repository, other: &Repository) -> Result<Self, OpsError> {
        let of = other.snapshots()?.into_iter().filter_map(|snapshot| {
            let origin = snapshot.content.copy_of.as_ref()?;
            (origin.repository == repo.id()).then_some(origin.snapshot)
        });
        let holds = of.collect();
        Ok(Self { holds, repository: Some(other.id().to_string()), ..Self::at(other.storage()) })
    }
}

/// Judges by the source's newest complete snapshot.
#[must_use]
pub fn judge(newest: Option<SnapshotId>, own: &CopyPlace, places: &[CopyPlace]) -> ThreeTwoOne {
    let Some(newest) = newest else {
        return ThreeTwoOne { lacks: vec!["a complete snapshot".to_owned()], ..ThreeTwoOne::default() };
    };
    let mut seen = BTreeSet::from([own.location.as_str()]);
    // A place that was named twice, or is the repository itself, is one.
    let holding: Vec<&CopyPlace> =
        places.iter().filter(|place| place.holds.contains(&newest) && seen.insert(&place.location)).collect();
    let all = || holding.iter().copied().chain([own]);
    let media: BTreeSet<&str> = all().map(|place| place.medium.as_str()).collect();
    let mut standing = ThreeTwoOne {
        copies: 2 + holding.len(),
        media: media.len(),
        elsewhere: all().filter(|place| place.is_elsewhere).count(),
        places: holding.iter().map(|place| place.location.clone()).collect(),
        lacks: Vec::new(),
    };
    let wanted = [
        (standing.copies < 3, "a third copy"),
        (standing.media < 2, "a second disk or service"),
        (standing.elsewhere < 1, "a copy elsewhere"),
    ];
    standing.lacks = wanted.into_iter().filter(|(lacks, _)| *lacks).map(|(_, words)| words.to_owned()).collect();
    standing
}

/// The disk of a folder; of anything else the service and what it is reached by.
fn medium(storage: &Storage) -> String {
    let Some(folder) = storage.folder() else {
        let location = storage.location();
        let behind = location.find("://").map_or(0, |at| at + 3);
        let end = location[behind..].find(['/', '?']).map_or(location.len(), |at| behind + at);
        return location[..end].to_owned();
    };
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(folder) {
        use std::os::unix::fs::MetadataExt as _;
        return format!("disk {:x}", metadata.dev());
    }
    folder.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(location: &str, medium: &str, is_elsewhere: bool, holds: &[u8]) -> CopyPlace {
        CopyPlace {
            location: location.to_owned(),
            medium: medium.to_owned(),
            is_elsewhere,
            holds: holds.iter().map(|n| SnapshotId([*n; 16])).collect(),
            ..CopyPlace::default()
        }
    }

    #[test]
    fn what_lacks_of_three_two_one_is_counted_by_the_newest_snapshot() {
        let (own, newest) = (place("/a", "disk 1", false, &[]), Some(SnapshotId([9; 16])));
        let lacks = |places: &[CopyPlace]| judge(newest, &own, places).lacks.join(", ");
        assert_eq!(lacks(&[]), "a third copy, a second disk or service, a copy elsewhere");
        assert_eq!(lacks(&[place("/b", "disk 1", false, &[9])]), "a second disk or service, a copy elsewhere");
        assert_eq!(lacks(&[place("/b", "disk 2", false, &[9])]), "a copy elsewhere");
        assert_eq!(lacks(&[place("s3://b", "s3://b", true, &[9])]), "");
        // An older snapshot, the repository itself, and the same place twice are no copies.
        assert_eq!(lacks(&[place("s3://b", "s3://b", true, &[8])]), lacks(&[]));
        assert_eq!(lacks(&[place("/a", "disk 1", false, &[9])]), lacks(&[]));
        let twice = judge(newest, &own, &[place("/b", "disk 2", false, &[9]), place("/b", "disk 2", false, &[9])]);
        assert_eq!((twice.copies, twice.places), (3, vec!["/b".to_owned()]));
        assert_eq!(judge(None, &own, &[]).lacks, ["a complete snapshot"]);
    }
}
