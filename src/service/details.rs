//! What lists say of a backup, as the backup service has it.

use super::config::{Config, Routine, hide, lean};
use crate::record::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use std::{borrow::Cow, sync::Arc};
use utoipa::ToSchema;

/// A range of time, both ends in it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Within {
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

impl Within {
    pub(super) fn holds(self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time <= to)
    }
}

/// One backup of one namespace or collection.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct BackupDetails {
    /// When it began.
    pub created: String,
    /// The same in milliseconds.
    pub timestamp: i64,
    /// When it ended.
    pub finished: String,
    /// The same in milliseconds.
    pub finished_timestamp: i64,
    /// How long it took, in seconds.
    pub duration: i64,
    /// Since when what changed was read; `0001-01-01T00:00:00Z` if everything was.
    pub from: Cow<'static, str>,
    /// The namespace, table, folder …
    pub namespace: String,
    /// Records that it restores.
    pub record_count: u64,
    /// Their bytes.
    pub byte_count: u64,
    /// Layers that hold them.
    pub file_count: u64,
    /// Secondary indexes.
    pub secondary_index_count: u64,
    /// UDF modules.
    pub udf_count: u64,
    /// Its name in requests for a restore.
    pub key: String,
    /// The storage that it is in.
    #[schema(value_type = Object)]
    #[serde(serialize_with = "shared")]
    pub storage: Arc<Json>,
    /// How it is compressed.
    pub compression: Cow<'static, str>,
    /// How it is encrypted.
    pub encryption: Cow<'static, str>,
    /// The snapshot that it is in; none where files are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Whether nothing is missing in it.
    pub complete: bool,
    /// What was read for it: `full`, `incremental`, `differential`.
    pub read: &'static str,
}

/// What many have in common, written as if each had its own.
fn shared<S: Serializer>(value: &Json, serializer: S) -> Result<S::Ok, S::Error> {
    value.serialize(serializer)
}

/// What was never.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// The storage of a routine, without its secrets.
pub(super) fn storage_of(config: &Config, routine: &Routine) -> Arc<Json> {
    let mut storage = match (&routine.storage, &routine.repository) {
        (Some(name), _) => config.storage.get(name).map_or(Json::Null, lean),
        (None, Some(name)) => config.repositories.get(name).map_or(Json::Null, lean),
        (None, None) => Json::Null,
    };
    hide(&mut storage);
    Arc::new(storage)
}
