//! Backups that are files, as lists show them.

use super::Folders;
use crate::{
    connector::asb::shelf::Kept,
    ops::OpsError,
    record::Timestamp,
    service::{
        config::{Config, Routine},
        details::{BackupDetails, NEVER, Within, storage_of},
    },
};
use serde_json::Value as Json;
use std::sync::Arc;

/// The backups of a routine that began in a range of time, oldest first; `None` if it keeps no files.
///
/// # Errors
/// What the storage says.
pub(in crate::service) fn listed(
    config: &Config,
    name: &str,
    routine: &Routine,
    full: bool,
    within: Within,
) -> Result<Option<Vec<BackupDetails>>, OpsError> {
    let Some(folders) = Folders::of_routine(config, routine)? else { return Ok(None) };
    let storage = storage_of(config, routine);
    let in_range =
        |kept: &Kept| kept.is_increment != full && within.holds(Timestamp::from_millis(kept.metadata.created));
    let kept = folders.kept(name)?.into_iter().filter(in_range);
    Ok(Some(kept.map(|kept| details(kept, &storage)).collect()))
}

fn details(kept: Kept, storage: &Arc<Json>) -> BackupDetails {
    let Kept { key, is_increment, metadata, complete, .. } = kept;
    let created = Timestamp::from_millis(metadata.created);
    let finished = Timestamp::from_millis(metadata.finished.unwrap_or(metadata.created));
    let from = metadata.from;
    BackupDetails {
        created: created.to_string(),
        timestamp: created.as_millis(),
        finished: finished.to_string(),
        finished_timestamp: finished.as_millis(),
        duration: (finished.as_millis() - created.as_millis()).max(0) / 1000,
        from: if from == 0 { NEVER.into() } else { Timestamp::from_millis(from).to_string().into() },
        namespace: metadata.namespace,
        record_count: metadata.records.unwrap_or(0),
        byte_count: metadata.bytes,
        file_count: metadata.files,
        secondary_index_count: metadata.indexes,
        udf_count: metadata.modules,
        key,
        storage: Arc::clone(storage),
        compression: metadata.compression.map_or("NONE".into(), Into::into),
        encryption: metadata.encryption.map_or("NONE".into(), Into::into),
        snapshot: None,
        complete,
        read: if is_increment { "incremental" } else { "full" },
    }
}
