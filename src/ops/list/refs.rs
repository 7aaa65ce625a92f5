//! What a snapshot says of the branches and tags of a collection that is a Deep Lake dataset (`docs/deeplake.md`).

use crate::{
    record::Timestamp,
    repo::{Snapshot, manifest::Collection},
};
use serde::{Deserialize, Serialize};

/// What there is of a dataset besides its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetRow {
    /// 4 or 3.
    pub version: u64,
    /// Its branches, by name.
    pub branches: Vec<BranchRow>,
    /// Its tags, by name.
    pub tags: Vec<TagRow>,
}

/// One branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BranchRow {
    /// What people call it.
    pub name: String,
    /// The branch that it began on, if that is known.
    pub from: Option<String>,
    /// How many commits of its own it has; unknown of snapshots that do not say it.
    pub commits: Option<u64>,
    /// Its newest version.
    pub head: Option<String>,
    /// Whether that is committed; of version 3 it may be under way.
    pub committed: bool,
    /// What the newest commit is about.
    pub message: Option<String>,
    /// When it was made, by its writer's clock.
    pub time: Option<Timestamp>,
}

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TagRow {
    /// What people call it.
    pub name: String,
    /// The branch that it is on.
    pub branch: String,
    /// The version that it names.
    pub version: String,
}

/// What the connector keeps with a collection.
#[derive(Deserialize)]
struct Kept {
    version: u64,
    #[serde(default)]
    branches: Vec<KeptBranch>,
    #[serde(default)]
    tags: Vec<KeptTag>,
}

#[derive(Deserialize)]
struct KeptBranch {
    id: Option<String>,
    name: String,
    /// The branch's id and the version.
    from: Option<(String, String)>,
    commits: Option<u64>,
    head: Option<String>,
    committed: Option<bool>,
    message: Option<String>,
    time: Option<i64>,
}

#[derive(Deserialize)]
struct KeptTag {
    name: String,
    branch: String,
    version: String,
}

/// The branches and tags of a collection; `None` if it is no dataset.
#[must_use]
pub fn refs(snapshot: &Snapshot, collection: &Collection) -> Option<DatasetRow> {
    if snapshot.source().connector != "deeplake" {
        return None;
    }
    let kept = Kept::deserialize(&collection.attributes).ok()?;
    let name_of = |id: &str| {
        let found = kept.branches.iter().find(|branch| branch.id.as_deref() == Some(id));
        found.map_or_else(|| id.to_owned(), |branch| branch.name.clone())
    };
    let mut tags: Vec<TagRow> = kept
        .tags
        .iter()
        .map(|tag| TagRow { name: tag.name.clone(), branch: name_of(&tag.branch), version: tag.version.clone() })
        .collect();
    tags.sort_by(|a, b| a.name.cmp(&b.name));
    let mut branches: Vec<BranchRow> = kept
        .branches
        .iter()
        .map(|branch| BranchRow {
            name: branch.name.clone(),
            from: branch.from.as_ref().map(|(id, _)| name_of(id)),
            commits: branch.commits,
            head: branch.head.clone(),
            committed: branch.committed.unwrap_or(branch.head.is_some()),
            message: branch.message.clone().filter(|message| !message.is_empty()),
            time: branch.time.and_then(|seconds| seconds.checked_mul(1000)).map(Timestamp::from_millis),
        })
        .collect();
    branches.sort_by(|a, b| a.name.cmp(&b.name));
    Some(DatasetRow { version: kept.version, branches, tags })
}
