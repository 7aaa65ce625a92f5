//! `verify`: proves that what the repository holds can be restored.

use super::{OpsError, Progress};
use crate::{
    connector::Source,
    repo::{Repository, Snapshot, SnapshotId, Storage},
};
use serde::Serialize;

/// How much of the stored data to read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// None.
    #[default]
    None,
    /// All packs.
    All,
    /// This share of the packs, drawn at random, in percent.
    Percent(f64),
    /// The next 1/n of the packs, by a cursor kept in the catalog.
    OneIn(u32),
}

/// The catalog note that keeps what the last verification covered.
pub(super) const LAST_VERIFY: &str = "last-verify";

/// How to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// How much of the stored data to read and decrypt.
    pub read_data: ReadData,
    /// Also restore the snapshots into nothing, checking every record.
    pub restore: bool,
    /// Worker threads.
    pub parallel: usize,
    /// Bytes per second from the repository.
    pub read_limit: Option<u64>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The object: a path, a chunk, a snapshot.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// The snapshots that it affects, if known.
    pub snapshots: Vec<SnapshotId>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyOutcome {
    /// Everything that is wrong; empty is good.
    pub findings: Vec<Finding>,
    /// Snapshots whose structure was checked.
    pub snapshots: usize,
    /// Packs whose bytes were read, of how many.
    pub packs_read: u64,
    /// All packs.
    pub packs: u64,
    /// Stored bytes read.
    pub bytes_read: u64,
    /// Chunks opened and compared with their ids.
    pub chunks: u64,
    /// Records restored into nothing and compared with their fingerprints.
    pub records: u64,
    /// Objects that could not be read for a reason that is not damage.
    pub notes: Vec<String>,
    /// Wall time.
    pub duration_seconds: f64,
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
}

/// Verifies these snapshots and, by option, stored data.
pub fn verify(
    repo: &Repository,
    snapshots: &[Snapshot],
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<VerifyOutcome, OpsError> {
    let _ = (repo, snapshots, options, progress);
    todo!()
}

/// Checks stored bytes against names, and that no listed pack is missing: needs no password.
pub fn verify_keyless(storage: &Storage, progress: &dyn Progress) -> Result<VerifyOutcome, OpsError> {
    let _ = (storage, progress);
    todo!()
}

/// How a live source differs from a snapshot.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AgainstOutcome {
    /// Records compared.
    pub records: u64,
    /// In the snapshot only.
    pub missing: u64,
    /// In the source only.
    pub extra: u64,
    /// In both, with another value.
    pub different: u64,
    /// In both, equal but for the generation or stamp.
    pub metadata_only: u64,
    /// The first 100 differing keys with their collection and how they differ.
    pub examples: Vec<String>,
}

/// Compares a live source with a snapshot, record by record.
pub fn verify_against(
    repo: &Repository,
    snapshot: &Snapshot,
    source: &dyn Source,
    progress: &dyn Progress,
) -> Result<AgainstOutcome, OpsError> {
    let _ = (repo, snapshot, source, progress);
    todo!()
}
