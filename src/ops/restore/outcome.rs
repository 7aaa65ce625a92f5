//! What a restore came to.

use crate::{connector::Outcomes, record::Timestamp, repo::SnapshotId};
use serde::{Deserialize, Serialize};

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
    pub outcomes: OutcomeCounts,
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
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
}

/// [`Outcomes`] for output.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OutcomeCounts {
    /// Written where there was none.
    pub inserted: u64,
    /// Written over another one.
    pub replaced: u64,
    /// Found equal and left alone.
    pub unchanged: u64,
    /// Left alone because of `never`.
    pub existed: u64,
    /// Left alone because of `if-newer`.
    pub fresher: u64,
    /// Not written: their time is over.
    pub expired: u64,
    /// Not written: not chosen by the target's options.
    pub skipped: u64,
    /// Not written: their key in the target cannot be known.
    pub unmappable: u64,
    /// Removed by make-equal.
    pub removed: u64,
    /// Not removed by make-equal: written since the restore began.
    pub changed: u64,
    /// Could not be written, and that was to be ignored.
    pub ignored: u64,
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
            fresher: o.fresher,
            expired: o.expired,
            skipped: o.skipped,
            unmappable: o.unmappable,
            removed: o.removed,
            changed: o.changed,
            ignored: o.ignored,
            failed: o.failed,
            failures: o.failures,
        }
    }
}

impl From<OutcomeCounts> for Outcomes {
    fn from(o: OutcomeCounts) -> Self {
        Self {
            inserted: o.inserted,
            replaced: o.replaced,
            unchanged: o.unchanged,
            existed: o.existed,
            fresher: o.fresher,
            expired: o.expired,
            skipped: o.skipped,
            unmappable: o.unmappable,
            removed: o.removed,
            changed: o.changed,
            ignored: o.ignored,
            failed: o.failed,
            failures: o.failures,
            notes: Vec::new(),
        }
    }
}
