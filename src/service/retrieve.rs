//! The configuration of a cluster as a backup holds it: a file for every node, in an archive, as the backup service gives it.

use super::{Service, ServiceError, folders::Folders, listing::begun_at};
use crate::{connector::aerospike::conf, ops::OpsError, record::Timestamp, repo::Snapshot};
use serde_json::{Map, Value as Json};
use std::io::{Cursor, Write as _};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

impl Service {
    /// The configuration that the backup of a routine holds that began at a time.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if there is no such backup, or it holds none.
    pub(super) fn configuration_of(&self, name: &str, time: Timestamp) -> Result<Vec<u8>, ServiceError> {
        let config = self.config();
        let none = |what| ServiceError::NotFound { what, name: format!("{name} of {}", time.as_millis()) };
        let routine = config.routines.get(name).ok_or_else(|| none("routine"))?;
        let files = if let Some(folders) = Folders::of_routine(&config, routine)? {
            folders.configuration(name, time)?.ok_or_else(|| none("backup"))?
        } else {
            let repo = self.repository_of(&config, routine)?.ok_or_else(|| none("backup"))?;
            let snapshots = begun_at(&repo, name, None, time)?;
            if snapshots.is_empty() {
                return Err(none("backup"));
            }
            let texts = conf::files(&together(&snapshots)).into_iter().enumerate();
            texts.map(|(place, (_, text))| (conf::file_name(place), text.into_bytes())).collect()
        };
        if files.is_empty() {
            return Err(none("configuration of the cluster (with-cluster-configuration) in the backup"));
        }
        archive(&files).map_err(|error| OpsError::Failed(format!("the archive cannot be made: {error}")).into())
    }
}

/// What snapshots of one run hold, each of its own namespace.
fn together(snapshots: &[Snapshot]) -> Json {
    let mut nodes: Map<String, Json> = Map::new();
    for snapshot in snapshots {
        let own = snapshot.content.attributes.get("configuration").and_then(|all| all.get("nodes")?.as_object());
        for (id, node) in own.into_iter().flatten() {
            let known = nodes.entry(id.clone()).or_insert_with(|| node.clone());
            let parts = node.get("configuration").and_then(Json::as_object);
            if let Some(all) = known.get_mut("configuration").and_then(Json::as_object_mut) {
                all.extend(parts.into_iter().flatten().map(|(name, part)| (name.clone(), part.clone())));
            }
        }
    }
    serde_json::json!({ "nodes": nodes })
}

fn archive(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, zip::result::ZipError> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let how = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o600);
    for (name, bytes) in files {
        writer.start_file(name.as_str(), how)?;
        writer.write_all(bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}
