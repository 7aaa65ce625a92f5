//! `restore`: replays a snapshot's base and deltas into a target, each record once.

use super::{OpsError, Progress};
use crate::{
    connector::{Outcomes, Overwrite, Target},
    record::Timestamp,
    repo::{Repository, Snapshot, SnapshotId},
};
use serde::Serialize;

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// `(name in the snapshot, name in the target)`; empty for all under their own names.
    pub collections: Vec<(String, Option<String>)>,
    /// Typed keys, as people write them; empty for all.
    pub keys: Vec<String>,
    /// Globs over keys as shown; a record must match one, if there are any.
    pub include: Vec<String>,
    /// Globs over keys as shown; a record must match none.
    pub exclude: Vec<String>,
    /// What happens to records that exist; `None` refuses a target that holds records.
    pub overwrite: Option<Overwrite>,
    /// Remove what the snapshot does not hold, after everything is written.
    pub make_equal: bool,
    /// Count, write nothing.
    pub dry_run: bool,
    /// Read back and compare afterwards.
    pub verify: bool,
    /// Go on past damage, listing what is lost by key.
    pub keep_going: bool,
    /// Allow make-equal from a partial snapshot.
    pub force: bool,
    /// Threads that read and decompress.
    pub parallel: usize,
    /// Bytes per second from the repository.
    pub read_limit: Option<u64>,
    /// Bytes per second to the target.
    pub write_limit: Option<u64>,
}

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
    /// What became of them.
    #[serde(flatten)]
    pub outcomes: OutcomeCounts,
    /// Records lost to damage (`keep_going`).
    pub lost: u64,
    /// Where damage lies, in words, with the keys or key ranges lost: the first 100.
    pub damage: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Records compared afterwards, and how many differ (`verify`).
    pub verified: Option<u64>,
    /// Differences found by `verify`.
    pub different: u64,
    /// Whether everything asked for is in the target; `false` gives exit status 3.
    pub complete: bool,
    /// Wall time.
    pub duration_seconds: f64,
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
}

/// [`Outcomes`] for output.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OutcomeCounts {
    /// Written where there was none.
    pub inserted: u64,
    /// Written over another one.
    pub replaced: u64,
    /// Found equal and left alone.
    pub unchanged: u64,
    /// Left alone because of `never`.
    pub existed: u64,
    /// Removed by make-equal.
    pub removed: u64,
    /// Could not be written.
    pub failed: u64,
    /// The first failures: key, reason.
    pub failures: Vec<(String, String)>,
}

impl From<Outcomes> for OutcomeCounts {
    fn from(o: Outcomes) -> Self {
        Self {
            inserted: o.inserted,
            replaced: o.replaced,
            unchanged: o.unchanged,
            existed: o.existed,
            removed: o.removed,
            failed: o.failed,
            failures: o.failures,
        }
    }
}

/// Restores `snapshot` into `target`.
pub fn restore(
    repo: &Repository,
    snapshot: &Snapshot,
    target: &dyn Target,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreOutcome, OpsError> {
    let _ = (repo, snapshot, target, options, progress);
    todo!()
}
