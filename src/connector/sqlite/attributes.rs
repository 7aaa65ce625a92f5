//! What a snapshot says of the database and of each table it was taken from.

use super::{
    schema::{Encoding, Object},
    settings::Settings,
};
use crate::connector::{ConnectorError, TargetPlan};
use serde::Deserialize;
use std::cmp::Ordering;

/// The snapshot's attributes.
#[derive(Debug, Deserialize)]
pub(super) struct Attributes {
    format: u32,
    pub(super) encoding: Encoding,
    pub(super) wal: bool,
    #[serde(flatten)]
    pub(super) settings: Settings,
    pub(super) objects: Vec<Object>,
}

/// A collection's attributes.
#[derive(Debug, Deserialize)]
pub(super) struct TableAttributes {
    format: u32,
    pub(super) sql: String,
    pub(super) columns: Vec<String>,
    pub(super) generated: Vec<String>,
    /// The generated columns whose values are kept.
    #[serde(default)]
    pub(super) stored: Vec<String>,
    pub(super) primary_key: Vec<String>,
    pub(super) without_rowid: bool,
    /// The rows of the schema that are the table's and its constraints'.
    #[serde(default)]
    pub(super) places: Vec<i64>,
}

pub(super) trait Versioned {
    fn format(&self) -> u32;
}

impl Versioned for Attributes {
    fn format(&self) -> u32 {
        self.format
    }
}

impl Versioned for TableAttributes {
    fn format(&self) -> u32 {
        self.format
    }
}

/// Reads attributes; fails on those of a later version.
pub(super) fn parse<'a, T: Deserialize<'a> + Versioned>(
    json: &'a serde_json::Value,
    object: &str,
) -> Result<T, ConnectorError> {
    let mismatch = |reason| ConnectorError::Mismatch { object: object.to_owned(), reason };
    let parsed = T::deserialize(json)
        .map_err(|error| mismatch(format!("the snapshot's attributes are not understood: {error}")))?;
    match parsed.format().cmp(&1) {
        Ordering::Equal => Ok(parsed),
        _ => Err(mismatch(format!("the snapshot's attributes have format {}; this version knows 1", parsed.format()))),
    }
}

/// Those of a plan's snapshot; fails if it is of something else than SQLite.
pub(super) fn of_plan(plan: &TargetPlan, object: &str) -> Result<Attributes, ConnectorError> {
    if plan.connector != "sqlite" {
        let reason =
            format!("the snapshot was taken from `{}`; only SQLite snapshots become databases", plan.connector);
        return Err(ConnectorError::Mismatch { object: object.to_owned(), reason });
    }
    parse(&plan.attributes, object)
}
