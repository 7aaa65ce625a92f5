//! What a restore is going to write, and what that meets.

use super::ConnectorError;
use crate::{
    record::{KeyCodec, Timestamp},
    repo::{manifest::Asked, storage::is_within},
};
use serde_json::Value as Json;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What happens to a record that the target holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It is replaced as a whole.
    Always,
    /// It stays.
    Never,
    /// It is replaced if key, value or expiry differ.
    IfChanged,
    /// It is replaced if its generation is lower than that of the record that comes.
    IfNewer,
    /// Cells that come replace those of the same name; others stay.
    Merge,
    /// The same, if its generation is lower than that of the record that comes.
    MergeIfNewer,
}

/// What a restore is going to write.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetPlan {
    /// The connector that the snapshot was taken with.
    pub connector: String,
    /// The snapshot's attributes.
    pub attributes: Json,
    /// The collections, in the snapshot's order.
    pub collections: Vec<TargetCollection>,
    /// What happens to records that exist.
    pub overwrite: Overwrite,
    /// Whether records that the snapshot does not hold will be removed, after everything is written.
    pub make_equal: bool,
    /// Whether only some records of the collections come (filters): then nothing is dropped or rebuilt wholesale.
    pub partial: bool,
    /// What of its source was asked for when the snapshot was taken, if not all of it: what it left out is not touched.
    pub left_out: Option<Asked>,
    /// Folders that are no part of any target.
    pub leave_alone: Vec<PathBuf>,
    /// The location of the repository that it comes from.
    pub repository: Option<String>,
    /// The snapshot, by its id, by which a target knows a restore again that was stopped; `None` where records come from elsewhere.
    pub snapshot: Option<String>,
    /// The end of the snapshot: what a connector may show as "as of".
    pub as_of: Timestamp,
    /// Threads that may be used; connections of a target that writes by several.
    pub parallel: usize,
}

const WITHIN: &str = "it is in the repository that is restored from, which would be written over";

/// What is one folder, whatever its path: device and inode.
pub type Inode = (u64, u64);

/// The inode of what is at a path, if anything is.
#[must_use]
pub fn inode_of(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// That of a folder, and of those right in it.
fn inodes_of(folder: &Path) -> Vec<Inode> {
    let below = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let folders = below.filter(|path| path.is_dir()).chain([folder.to_owned()]);
    folders.filter_map(|folder| inode_of(&folder)).collect()
}

/// Whether a path is one of these folders, or lies in one.
pub(in crate::connector) fn lies_in(path: &Path, folders: &[PathBuf]) -> bool {
    let real = |path: &Path| fs::canonicalize(if path.as_os_str().is_empty() { Path::new(".") } else { path });
    // What is not there yet will lie below the nearest that is.
    let Some(place) = path.ancestors().find_map(|it| real(it).ok()) else { return false };
    let is_within = |folder: &PathBuf| real(folder).is_ok_and(|folder| place.starts_with(folder));
    // A folder that is mounted in two places has two paths.
    let own: Vec<Inode> = folders.iter().flat_map(|folder| inodes_of(folder)).collect();
    let is_mounted = || place.ancestors().filter_map(inode_of).any(|inode| own.contains(&inode));
    folders.iter().any(is_within) || is_mounted()
}

impl TargetPlan {
    /// Refuses to write into a folder that is no part of any target.
    ///
    /// # Errors
    /// [`ConnectorError::Unwritable`].
    pub fn check_path(&self, path: &Path) -> Result<(), ConnectorError> {
        if lies_in(path, &self.leave_alone) {
            let (object, reason) = (path.display().to_string(), WITHIN.to_owned());
            return Err(ConnectorError::Unwritable { object, reason });
        }
        Ok(())
    }

    /// Refuses to write to a location in the repository, and to make equal what holds it.
    ///
    /// # Errors
    /// [`ConnectorError::Unwritable`].
    pub fn check_location(&self, location: &str) -> Result<(), ConnectorError> {
        let Some(own) = &self.repository else { return Ok(()) };
        if is_within(location, own) || self.make_equal && is_within(own, location) {
            let (object, reason) = (location.to_owned(), WITHIN.to_owned());
            return Err(ConnectorError::Unwritable { object, reason });
        }
        Ok(())
    }
}

/// One collection of a restore.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetCollection {
    /// Its name in the target.
    pub name: String,
    /// Its name in the snapshot.
    pub source_name: String,
    /// How its keys became bytes.
    pub codec: KeyCodec,
    /// Its attributes in the snapshot.
    pub attributes: Json,
    /// How many records will come.
    pub records: u64,
}

/// What a collection of a restore meets in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// Nothing, or what is replaced as a whole.
    Nothing,
    /// A collection that it fits, which [`super::Target::read_back`] shows.
    Records,
    /// The target cannot tell beforehand.
    Unknown,
}
