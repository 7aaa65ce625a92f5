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
    /// Datasets that are below the place and are not reached from it, in words.
    pub(super) unreached: Vec<String>,
}

/// Whether what bears this name says of the folder that it lies in that this is a dataset, or becomes one.
pub(super) fn is_marker(name: &str) -> bool {
    [LOG, METADATA, MARK].contains(&name) || VERSION_3.contains(&name)
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
        // A link in the log's place is none that is followed.
        (has(LOG, false) || has(METADATA, false) || VERSION_3.iter().any(|name| has(name, false)))
            .then_some(Format::Neither)
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
    let (mut folders, mut unlisted) = (Vec::new(), Vec::new());
    for folder in own {
        if !folder.is_folder {
            found.beside.push(folder.name);
            continue;
        }
        if is_ours(&folder.name) {
            continue;
        }
        let below = match place.list(&folder.name, &mut |name| found.beside.push(name)) {
            Err(error) if place.is_local() => {
                unlisted.push(format!("{}: the folder cannot be listed: {error}", folder.name));
                continue;
            }
            below => below.map_err(io)?.unwrap_or_default(),
        };
        if let Some(format) = format_of(&below) {
            let tenant = own_names(place).1;
            let (path, collection, name) = (folder.name.clone(), folder.name.clone(), folder.name);
            found.datasets.push(Dataset { path, collection, tenant: Some(tenant), name, format });
            continue;
        }
        for inner in below {
            let path = join(&folder.name, &inner.name);
            let names = if inner.is_folder && !is_ours(&inner.name) {
                match place.list(&path, &mut |name| found.beside.push(name)) {
                    Err(error) if place.is_local() => {
                        unlisted.push(format!("{path}: the folder cannot be listed: {error}"));
                        continue;
                    }
                    names => names.map_err(io)?,
                }
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
                None => {
                    if inner.is_folder {
                        folders.push((path.clone(), 0));
                    }
                    found.beside.push(path);
                }
            }
        }
    }
    found.unreached = unreached(place, &found.beside, folders);
    found.unreached.extend(unlisted);
    Ok(found)
}

/// Folders that are looked into for datasets that lie too deep, and how deep; the same at a service, where each is a request.
const NEAR: (usize, usize) = (20_000, 8);
const FAR: (usize, usize) = (200, 1);

/// Datasets behind links, and below folders that hold none where one would be looked for. Links that lead to what is read
/// anyway are passed over.
fn unreached(place: &LakePlace, beside: &[String], folders: Vec<(String, usize)>) -> Vec<String> {
    let mut unreached = Vec::new();
    let real = place.local("").and_then(|root| std::fs::canonicalize(root).ok());
    for name in beside {
        let link = place.local(name).filter(|path| path.is_symlink());
        let behind = link.and_then(|path| std::fs::canonicalize(path).ok()).filter(|path| path.is_dir());
        let Some(behind) = behind.filter(|path| real.as_ref().is_none_or(|root| !path.starts_with(root))) else {
            continue;
        };
        let shown = behind.display().to_string();
        if !below(&LakePlace::Local(behind), vec![(String::new(), 0)], (NEAR.0, 2)).is_empty() {
            unreached
                .push(format!("{name}: a link, not followed, to datasets, which are read by their own path: {shown}"));
        }
    }
    let most = if place.is_local() { NEAR } else { FAR };
    for path in below(place, folders, most) {
        unreached.push(format!(
            "{path}: a dataset that lies deeper than TENANT/DATASET; it is read by the path of the folder that it is in"
        ));
    }
    unreached
}

/// The datasets in some folders and below them.
fn below(place: &LakePlace, mut folders: Vec<(String, usize)>, (most, depth): (usize, usize)) -> Vec<String> {
    let (mut found, mut looked) = (Vec::new(), 0);
    while let Some((path, at)) = folders.pop() {
        looked += 1;
        let Ok(Some(names)) = place.list(&path, &mut |_| {}) else { continue };
        if format_of(&names).is_some_and(|format| matches!(format, Format::Four | Format::Three)) {
            found.push(path);
        } else if at < depth && looked + folders.len() < most {
            let inner = names.into_iter().filter(|one| one.is_folder && !is_ours(&one.name));
            folders.extend(inner.map(|one| (join(&path, &one.name), at + 1)));
        }
    }
    found.sort();
    found
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
