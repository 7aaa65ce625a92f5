//! Policies: how backups are taken and how long they are kept.

use super::Hidden;
use crate::{ops::forget, service::tags::type_tag};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a routine's backups are taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Policy {
    /// Worker threads.
    pub parallel: Option<u16>,
    /// No meaning here: writers follow from the threads.
    pub parallel_write: Option<u16>,
    /// How long a node may be silent, in milliseconds.
    pub socket_timeout: Option<u32>,
    /// How long one command may take, in milliseconds; 0 for ever.
    pub total_timeout: Option<u32>,
    /// How a run that failed is tried again.
    pub retry_policy: Option<RetryPolicy>,
    /// How long backups are kept.
    pub retention: Option<Retention>,
    /// Leave out records.
    pub no_records: Option<bool>,
    /// Leave out secondary indexes.
    pub no_indexes: Option<bool>,
    /// Leave out UDF modules.
    pub no_udfs: Option<bool>,
    /// MiB a second.
    pub bandwidth: Option<u64>,
    /// Records a second, over all nodes.
    pub records_per_second: Option<u32>,
    /// No meaning here: packs have a size of their own.
    pub file_limit: Option<u64>,
    /// No meaning here: repositories are always encrypted, with keys of their own.
    pub encryption: Option<Encryption>,
    /// How hard to compress; `NONE` stores as it is.
    pub compression: Option<Compression>,
    /// No meaning here: what changes while a run reads is in the next one.
    pub sealed: Option<bool>,
    /// Take incrementals while a full runs.
    pub concurrent_incremental: Option<bool>,
    /// Keep what every node runs with, and users and roles without secrets.
    pub with_cluster_configuration: Option<bool>,
    /// No meaning here: nodes are read together.
    pub max_concurrent_nodes: Option<u32>,
    /// No meaning here.
    pub use_scan_compression: Option<bool>,
    /// No meaning here: bytes are always kept as they are.
    pub compact: Option<bool>,
    /// `differential` (since the last backup) or `cumulative` (since the last full).
    pub incr_mode: Option<String>,
    /// Make no snapshot if nothing changed.
    pub skip_if_unchanged: Option<bool>,
    /// Verify after each full: `structure`, `data` or `restore`.
    pub verify: Option<String>,
}

/// How a run that failed is tried again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// The first pause, in milliseconds.
    pub base_timeout: Option<u32>,
    /// By what it grows.
    pub multiplier: Option<f64>,
    /// How often.
    pub max_retries: Option<u32>,
}

/// How long backups are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Retention {
    /// The newest so many fulls.
    #[schema(minimum = 1)]
    pub full: Option<u32>,
    /// Incrementals of the newest so many fulls.
    pub incremental: Option<u32>,
}

impl Retention {
    /// What is decided by. A full is what was asked for as one, whatever was read: sources other than clusters are read fully each
    /// time.
    #[must_use]
    pub fn policy(&self) -> forget::Policy {
        let full_tag = Some(type_tag(true).to_owned());
        forget::Policy { full: self.full, incremental: self.incremental, full_tag, ..forget::Policy::default() }
    }
}

/// How files are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Encryption {
    /// NONE, AES128 or AES256.
    pub mode: Option<String>,
    /// A file that holds the key.
    pub key_file: Option<String>,
    /// An environment variable that holds it.
    pub key_env: Option<String>,
    /// A secret that is it.
    pub key_secret: Option<Hidden>,
}

/// How much is compressed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Compression {
    /// NONE or ZSTD.
    pub mode: Option<String>,
    /// -1 to 22.
    pub level: Option<i32>,
}

impl RetryPolicy {
    /// How often a run is tried again.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.max_retries.unwrap_or(5)
    }

    /// The pause before the try of this number, from 1 on, in milliseconds: an hour at most.
    #[must_use]
    pub fn pause_millis(&self, attempt: u32) -> i64 {
        let base = f64::from(self.base_timeout.unwrap_or(60_000));
        let factor =
            self.multiplier.unwrap_or(1.0).max(1.0).powi(i32::try_from(attempt).unwrap_or(i32::MAX).saturating_sub(1));
        (base * factor).min(3_600_000.0) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_an_hour() {
        let policy = RetryPolicy { base_timeout: Some(100), multiplier: Some(2.0), max_retries: None };
        assert_eq!([1, 2, 3].map(|n| policy.pause_millis(n)), [100, 200, 400]);
        assert_eq!(policy.pause_millis(u32::MAX), 3_600_000);
        assert_eq!((RetryPolicy::default().pause_millis(4), RetryPolicy::default().retries()), (60_000, 5));
    }
}
