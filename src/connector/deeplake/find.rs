//! Which datasets there are at a place: it is one, holds some (a tenant's folder), or holds folders that do (a root of tenants).

use super::place::{LakePlace, Named, join};
use crate::connector::ConnectorError;

/// The folder of a version 4 dataset's log.
pub(super) const LOG: &str = "_deeplake_log";
/// What a service keeps of a dataset beside it.
pub(super) const METADATA: &str = "dataset_metadata.json";
/// What is in every version 3 dataset.
const VERSION_3: [&str; 2] = ["dataset_meta.json", "version_control_info.json"];

/// How a dataset is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// By a log of commits.
    Four,
    /// By a tree of commit nodes.
    Three,
    /// Something says that it is a dataset, and nothing of which version.
    Neither,
    /// A restore began to write it, and has not ended.
    Begun,
}

/// A dataset that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dataset {
    /// Its path below the place; empty for the place itself.
    pub(super) path: String,
    /// Its collection: the path, or the folder's own name.
    pub(super) collection: String,
    pub(super) tenant: Option<String>,
    pub(super) name: String,
    pub(super) format: Format,
}

/// What lies at a place.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) datasets: Vec<Dataset>,
    /// Names below the place that are no part of any dataset.
    pub(super) beside: Vec<String>,
}

fn format_of(names: &[Named]) -> Option<Format> {
    let has = |wanted: &str, is_folder| names.iter().any(|one| one.name == wanted && one.is_folder == is_folder);
    if has(MARK, false) {
        Some(Format::Begun)
    } else if has(LOG, true) {
        Some(Format::Four)
    } else if VERSION_3.iter().all(|name| has(name, false)) {
        Some(Format::Three)
    } else {
        (has(METADATA, false) || VERSION_3.iter().any(|name| has(name, false))).then_some(Format::Neither)
    }
}

/// Looks for datasets, at most two folders below the place.
pub(super) fn find(place: &LakePlace) -> Result<Found, ConnectorError> {
    let mut found = Found::default();
    let io = |source| ConnectorError::Io { operation: "list", object: place.show(), source };
    let own = place.list("", &mut |name| found.beside.push(name)).map_err(io)?;
    let own = own.ok_or_else(|| ConnectorError::Missing { object: format!("the folder {}", place.show()) })?;
    if let Some(format) = format_of(&own) {
        let (tenant, name) = own_names(place);
        found.datasets.push(Dataset { path: String::new(), collection: name.clone(), tenant, name, format });
        return Ok(found);
    }
    for folder in own {
        if !folder.is_folder {
            found.beside.push(folder.name);
            continue;
        }
        if is_ours(&folder.name) {
            continue;
        }
        let below = place.list(&folder.name, &mut |name| found.beside.push(name)).map_err(io)?.unwrap_or_default();
        if let Some(format) = format_of(&below) {
            let tenant = own_names(place).1;
            let (path, collection, name) = (folder.name.clone(), folder.name.clone(), folder.name);
            found.datasets.push(Dataset { path, collection, tenant: Some(tenant), name, format });
            continue;
        }
        for inner in below {
            let path = join(&folder.name, &inner.name);
            let names = if inner.is_folder && !is_ours(&inner.name) {
                place.list(&path, &mut |name| found.beside.push(name)).map_err(io)?
            } else {
                None
            };
            match names.as_deref().and_then(format_of) {
                Some(format) => found.datasets.push(Dataset {
                    collection: path.clone(),
                    path,
                    tenant: Some(folder.name.clone()),
                    name: inner.name,
                    format,
                }),
                None if is_ours(&inner.name) => {}
                None => found.beside.push(path),
            }
        }
    }
    Ok(found)
}

/// What a restore into a service lays into a dataset until all of it is there.
pub(super) const MARK: &str = ".rekeep-restore";
/// What a restore leaves beside datasets while it is under way.
pub(super) const SIDE: &str = ".rekeep-";

fn is_ours(name: &str) -> bool {
    name.starts_with(SIDE)
}

/// What the folder above the place and the place itself are called.
fn own_names(place: &LakePlace) -> (Option<String>, String) {
    let text = match place {
        LakePlace::Local(path) => std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        LakePlace::Remote(tree) => {
            let place = tree.location().split('?').next().unwrap_or_default();
            place.split_once("://").map_or(place, |(_, rest)| rest).to_owned()
        }
    };
    let mut parts = text.trim_end_matches('/').rsplit('/').map(str::to_owned);
    let name = parts.next().filter(|name| !name.is_empty()).unwrap_or_else(|| "dataset".to_owned());
    (parts.next().filter(|tenant| !tenant.is_empty()), name)
}
