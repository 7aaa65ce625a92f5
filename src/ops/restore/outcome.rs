//! What a restore came to.

use crate::{connector::Outcomes, record::Timestamp, repo::SnapshotId};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a restore did.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreOutcome {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its end: the time gone back to.
    pub end: Timestamp,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Live records of the snapshot that were selected.
    pub records: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// Of those, records that earlier runs of the same restore had done before they were stopped.
    pub resumed: u64,
    /// What became of them.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Records lost to damage (`keep_going`).
    pub lost: u64,
    /// Where damage lies, in words, with the keys or key ranges lost: the first 100.
    pub damage: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What the snapshot has beside records and the target has not, in words.
    pub missing: Vec<String>,
    /// Records compared afterwards, and how many differ (`verify`).
    pub verified: Option<u64>,
    /// Differences found by `verify`.
    pub different: u64,
    /// Whether everything asked for is in the target; `false` gives exit status 3.
    pub complete: bool,
    /// Wall time.
    pub duration_seconds: f64,
    /// How much the target has of what the snapshot has beside records, by kind.
    #[serde(skip)]
    pub made: BTreeMap<&'static str, u64>,
    /// Of that, until everything stood in the target.
    #[serde(skip)]
    pub written_seconds: f64,
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
}
