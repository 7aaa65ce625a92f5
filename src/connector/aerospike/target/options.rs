//! What a person asks of a restore into a cluster, beside where it is.

use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// When secondary indexes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IndexOrder {
    /// Before the records.
    First,
    /// After the records: they are then built at once.
    #[default]
    Last,
    /// Not at all.
    #[serde(rename = "none")]
    Never,
}

/// How records, indexes and modules are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AerospikeTargetOptions {
    /// The most records of a batch.
    pub batch_size: usize,
    /// The most batches under way at once.
    pub max_async_batches: usize,
    /// Write each record by a command of its own: for servers before 6.0.
    pub disable_batch_writes: bool,
    /// What is added to every expiry.
    pub extra_ttl: Duration,
    /// When indexes are made.
    pub indexes: IndexOrder,
    /// Make an index anew where one of its name has another definition.
    pub replace_indexes: bool,
    /// Do not wait until indexes are built.
    pub no_wait: bool,
    /// What cannot be written is counted, and the restore is complete all the same.
    pub ignore_record_error: bool,
    /// `(set in the snapshot, set in the target)`.
    pub set_map: Vec<(String, String)>,
    /// Leave out records whose new digest cannot be known.
    pub skip_unmappable: bool,
}

impl Default for AerospikeTargetOptions {
    fn default() -> Self {
        Self {
            batch_size: 512,
            max_async_batches: 16,
            disable_batch_writes: false,
            extra_ttl: Duration::ZERO,
            indexes: IndexOrder::default(),
            replace_indexes: false,
            no_wait: false,
            ignore_record_error: false,
            set_map: Vec::new(),
            skip_unmappable: false,
        }
    }
}
