//! What a restore knows of what it wrote, for whoever reads it back: services keep no modes and times.

use crate::connector::file_record::cells::FileTime;
use std::{collections::BTreeMap, sync::Arc};

/// A file that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeptFile {
    pub(super) bytes: u64,
    pub(super) mode: Option<u32>,
    pub(super) mtime: Option<FileTime>,
}

/// Files by key.
pub(super) type Kept = BTreeMap<String, KeptFile>;

/// What a restore tells whoever reads it back, by collection.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Files that are others than the snapshot holds, because the restore made them so.
    pub(super) changed: BTreeMap<String, u64>,
    /// What the place keeps nothing of.
    pub(super) kept: BTreeMap<String, Arc<Kept>>,
}
