//! Making of a dataset's files what was asked for: the log cut, the next numbers set, nodes reset, names rewritten.

use super::{
    cut::{Cut, cut, set_next},
    find::{Format, LOG, METADATA},
    metadata, names,
    nodes::VERSIONS,
    reset::settle_heads,
};
use crate::connector::{ConnectorError, TargetCollection};
use serde_json::Value as Json;
use std::{fs, path::Path};

/// What is to be made of every dataset of a restore.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) cut: Option<Cut>,
    pub(super) keep_head: bool,
}

/// What was made of one.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Files that are others than the snapshot holds.
    pub(super) changed: u64,
    /// Nodes of version 3 that were reset.
    pub(super) reset: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// How a collection's dataset is written.
pub(super) fn format_of(what: &TargetCollection) -> Format {
    match what.attributes.get("version").and_then(Json::as_u64) {
        Some(4) => Format::Four,
        Some(3) => Format::Three,
        _ => Format::Neither,
    }
}

/// Does it in a folder that nobody else uses, and that need not hold the blocks.
pub(super) fn make(side: &Path, what: &TargetCollection, wanted: &Wanted) -> Result<Made, ConnectorError> {
    let (name, format) = (&what.name, format_of(what));
    let said = |reason: String| ConnectorError::Mismatch { object: format!("the dataset {name}"), reason };
    let io = |operation, path: &Path, source| {
        let object = path.display().to_string();
        ConnectorError::Io { operation, object, source }
    };
    let mut made = Made::default();
    let notes = &mut made.notes;
    if let (Some(at), Format::Four) = (&wanted.cut, format) {
        let what = cut(side, at).map_err(said)?;
        notes.push(format!("{name}: {what}"));
    }
    if format == Format::Four && side.join(LOG).is_dir() {
        made.changed += set_next(side).map_err(|error| io("set the next numbers of", side, error))?;
    }
    if format == Format::Three && side.join(VERSIONS).is_file() {
        let settled = settle_heads(side, wanted.keep_head).map_err(said)?;
        notes.extend(settled.told.into_iter().map(|what| format!("{name}: {what}")));
        made.reset = settled.reset;
    }
    let path = side.join(METADATA);
    let (tenant, dataset) = names::parts(name).map_err(said)?;
    let differs = |field: &str, new: Option<&str>| {
        let old = what.attributes.get(field).and_then(Json::as_str);
        new.filter(|new| old != Some(*new)).map(str::to_owned)
    };
    let (new_name, new_tenant) = (differs("dataset", Some(dataset)), differs("tenant", tenant));
    if let Ok(bytes) = fs::read(&path) {
        match metadata::renamed(&bytes, new_name.as_deref(), new_tenant.as_deref()) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                fs::write(&path, bytes).map_err(|error| io("write", &path, error))?;
                made.changed += 1;
            }
            Err(reason) => notes.push(format!("{name}: {METADATA} says the old name still: {reason}")),
        }
    }
    Ok(made)
}
