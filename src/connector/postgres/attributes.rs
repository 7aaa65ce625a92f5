//! What a snapshot says of a database beside its records.

use super::{
    catalog::{KeyKind, Table},
    log::StreamState,
    types::Form,
};
use crate::connector::ConnectorError;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The format that is written.
pub(super) const FORMAT: u32 = 1;

/// Of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Attributes {
    pub(super) format: u32,
    pub(super) server_version: String,
    pub(super) encoding: String,
    /// `datcollate` and `datctype`.
    pub(super) collate: String,
    pub(super) ctype: String,
    pub(super) database: String,
    /// The cluster's own number, where it may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) system: Option<String>,
    /// All collections.
    pub(super) tables: Vec<String>,
    #[serde(default)]
    pub(super) sequences: Vec<Sequence>,
    #[serde(default)]
    pub(super) extensions: Vec<Extension>,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// Materialised views that hold rows, as SQL names them, in the order in which they were made.
    #[serde(default)]
    pub(super) materialised: Vec<String>,
    /// What is said of large objects, by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) object_comments: Vec<(u32, String)>,
    /// Which `pg_dump` gave the definitions, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dumped_by: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) before: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) after: String,
    /// How far a stream is that goes on from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<StreamState>,
}

/// A sequence as it stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sequence {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) last_value: i64,
    pub(super) is_called: bool,
    /// The collection whose column it numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<String>,
}

/// An extension that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extension {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) schema: String,
}

/// Of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TableAttributes {
    pub(super) format: u32,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) columns: Vec<ColumnAttributes>,
    /// Names of the key's columns.
    pub(super) key: Vec<String>,
    /// `primary`, `unique` or `content`.
    pub(super) key_kind: String,
    #[serde(default)]
    pub(super) unlogged: bool,
    #[serde(default)]
    pub(super) partition: bool,
}

/// Of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ColumnAttributes {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) type_text: String,
    /// `text` where cells hold the text form of a type that has no binary form to be kept.
    pub(super) form: String,
    #[serde(default)]
    pub(super) not_null: bool,
    #[serde(default)]
    pub(super) generated: bool,
}

impl TableAttributes {
    pub(super) fn of(table: &Table) -> Self {
        let columns = table.columns.iter().map(|column| ColumnAttributes {
            name: column.name.clone(),
            type_text: column.type_text.clone(),
            form: if column.form == Form::Cast { "text".to_owned() } else { "binary".to_owned() },
            not_null: column.not_null,
            generated: column.generated,
        });
        let kind = match table.key_kind {
            KeyKind::Primary => "primary",
            KeyKind::Unique => "unique",
            KeyKind::Content => "content",
        };
        Self {
            format: FORMAT,
            schema: table.schema.clone(),
            table: table.name.clone(),
            columns: columns.collect(),
            key: table.key.iter().map(|at| table.columns[*at].name.clone()).collect(),
            key_kind: kind.to_owned(),
            unlogged: table.unlogged,
            partition: table.partition,
        }
    }
}

/// Reads attributes, or says that the snapshot is of something else.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(json: &Json, object: &str) -> Result<T, ConnectorError> {
    let mismatch = |reason: String| ConnectorError::Mismatch { object: object.to_owned(), reason };
    let format = json.get("format").and_then(Json::as_u64);
    if format.is_some_and(|format| format > u64::from(FORMAT)) {
        return Err(mismatch("the snapshot is of a newer format: a newer rekeep can restore it".to_owned()));
    }
    T::deserialize(json).map_err(|_| {
        mismatch(
            "the snapshot's records are not those of a PostgreSQL table, and only such can be written here".to_owned(),
        )
    })
}
