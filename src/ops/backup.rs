//! `backup`: reads a source, joins it with the parent snapshot, stores what differs, commits.

use super::{OpsError, Progress};
use crate::{
    connector::Source,
    record::Timestamp,
    repo::{
        Repository, SnapshotId,
        manifest::{Kind, Stats},
    },
};
use serde::Serialize;
use std::path::PathBuf;

/// Which kind of backup was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ask {
    /// Incremental where the source has a change filter, else full.
    #[default]
    Default,
    /// Read every record.
    Full,
    /// Read what changed since the newest full.
    Differential,
}

/// What to join with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ParentChoice {
    /// The newest snapshot of the same identity and scope.
    #[default]
    Auto,
    /// Nothing: a base.
    None,
    /// The snapshot whose id begins with these digits.
    Id(String),
}

/// How to back up.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Which kind was asked for.
    pub ask: Ask,
    /// Write a new base even where a delta would do.
    pub new_base: bool,
    /// Free words.
    pub tags: Vec<String>,
    /// The host to record instead of this one.
    pub host: Option<String>,
    /// The source's name instead of the connector's own.
    pub source_name: Option<String>,
    /// The source as the person named it.
    pub url: String,
    /// What to join with.
    pub parent: ParentChoice,
    /// Read and join, but store nothing.
    pub dry_run: bool,
    /// Worker threads.
    pub parallel: usize,
    /// zstd level, 0 for none.
    pub compression: i32,
    /// Decompress and compare every chunk before it is sealed.
    pub check: bool,
    /// Commit nothing if nothing changed.
    pub skip_if_unchanged: bool,
    /// Bytes per second from the source.
    pub read_limit: Option<u64>,
    /// Bytes per second to storage.
    pub write_limit: Option<u64>,
    /// Where temporary files go.
    pub temp_dir: Option<PathBuf>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            ask: Ask::Default,
            new_base: false,
            tags: Vec::new(),
            host: None,
            source_name: None,
            url: String::new(),
            parent: ParentChoice::Auto,
            dry_run: false,
            parallel: std::thread::available_parallelism().map_or(1, usize::from),
            compression: 3,
            check: true,
            skip_if_unchanged: false,
            read_limit: None,
            write_limit: None,
            temp_dir: None,
        }
    }
}

/// What a backup did.
#[derive(Debug, Clone, Serialize)]
pub struct BackupOutcome {
    /// The snapshot; absent after a dry run, or when nothing changed and that was to be skipped.
    pub id: Option<SnapshotId>,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Whether nothing had changed and no snapshot was made for that reason.
    pub skipped_unchanged: bool,
    /// What it was joined with.
    pub parent: Option<SnapshotId>,
    /// What was read.
    pub kind: Kind,
    /// When reading began.
    pub start: Timestamp,
    /// When reading ended.
    pub end: Timestamp,
    /// Whether every record is in it; `false` gives exit status 3.
    pub complete: bool,
    /// What is missing, in words.
    pub problems: Vec<String>,
    /// Live records in the snapshot.
    pub records: u64,
    /// Plaintext bytes of those.
    pub bytes: u64,
    /// Collections in the snapshot.
    pub collections: usize,
    /// Counts and costs.
    pub stats: Stats,
}

/// Backs up `source`.
pub fn backup(
    repo: &Repository,
    source: &dyn Source,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<BackupOutcome, OpsError> {
    let _ = (repo, source, options, progress);
    todo!()
}
