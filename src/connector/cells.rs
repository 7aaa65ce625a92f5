//! Systems whose records are versions of cells: what became of the transaction that wrote each.

use super::ConnectorError;
use crate::record::KeyRange;
use serde::Serialize;

/// What a version of a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellKind {
    /// A value.
    Value,
    /// That the cell is deleted.
    Delete,
    /// That older versions were swept away.
    Sentinel,
}

/// What became of a transaction, as a snapshot shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It committed.
    Committed,
    /// It is about to commit.
    Staging,
    /// It was aborted.
    Aborted,
    /// It says nothing yet: under way, or given up.
    Open,
    /// It committed at or after the backup timestamp: a restore makes it aborted.
    TooLate,
    /// It wrote no transaction: there is none of this start.
    None,
}

/// A version of a cell in one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellVersion {
    /// When the transaction that wrote it began.
    pub start: i64,
    /// What it is.
    pub kind: CellKind,
    /// What became of that transaction.
    pub fate: Fate,
    /// When it committed, if it did.
    pub commit: Option<i64>,
}

/// Gives the first cell of the last record of a range of a snapshot's collection; nothing if there is no such record.
pub type FindCell<'a> = &'a mut dyn FnMut(&str, &KeyRange) -> Result<Option<Vec<u8>>, ConnectorError>;

/// Knows the versions of cells in one snapshot. Given by [`cells`].
pub trait Cells {
    /// The records that are versions of a cell; `None` if the key is not one of a cell of that collection.
    fn versions(&self, collection: &str, key: &[u8]) -> Option<KeyRange>;
    /// What one of these records is, by its key and the first cell of its value.
    ///
    /// # Errors
    /// [`ConnectorError`] if what the snapshot holds of its transaction makes no sense.
    fn version(&mut self, key: &[u8], value: &[u8], find: FindCell<'_>) -> Result<CellVersion, ConnectorError>;
}

/// What knows the versions of cells in a snapshot of this connector; `None` where records are no versions of cells.
///
/// # Errors
/// [`ConnectorError`] if the snapshot's attributes make no sense.
pub fn cells(connector: &str, attributes: &serde_json::Value) -> Result<Option<Box<dyn Cells>>, ConnectorError> {
    match connector {
        #[cfg(feature = "postgresql")]
        super::postgres::atlas::CONNECTOR => Ok(Some(super::postgres::atlas::cells(attributes)?)),
        _ => {
            let _ = attributes;
            Ok(None)
        }
    }
}
