//! What changes are written to, as they were made: the other way round of a [`super::ChangeFeed`].

use super::ConnectorError;
use crate::record::{KeyCodec, Meta, Shape, VersionTime};
use std::sync::Arc;

/// A collection that changes are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkCollection {
    /// The name that it gets.
    pub name: String,
    /// How its keys became bytes.
    pub codec: KeyCodec,
}

/// What a version is.
#[derive(Debug, Clone, Copy)]
pub enum VersionChange<'a> {
    /// The record as it was written.
    Put {
        /// The rest of its key row.
        meta: Meta<'a>,
        /// The names of its cells.
        shape: &'a Arc<Shape>,
        /// The canonical bytes of its value.
        value: &'a [u8],
    },
    /// It was deleted.
    Delete,
}

/// What became of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landed {
    /// It is there as it was.
    Whole,
    /// It is there under another time, or with another expiry: its order among the others is kept.
    Moved,
    /// It cannot be carried, for this reason.
    Lost(String),
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkEnd {
    /// Files, or what else there are several of.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Takes changes: of one collection after the other, those of one record behind each other in the order in which they were made.
/// What is given up before [`Self::finish`] is removed as far as that can be done, and never taken for whole.
pub trait ChangeSink: Send {
    /// Begins; changes nothing if it fails.
    ///
    /// # Errors
    /// [`ConnectorError`] if the collections cannot be carried, or the place is taken.
    fn begin(&mut self, collections: &[SinkCollection]) -> Result<(), ConnectorError>;
    /// Writes one version of a record.
    ///
    /// # Errors
    /// [`ConnectorError`] if writing cannot go on.
    fn write(
        &mut self,
        collection: usize,
        key: &[u8],
        time: VersionTime,
        change: &VersionChange<'_>,
    ) -> Result<Landed, ConnectorError>;
    /// Ends: everything is durable and whole.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be made so.
    fn finish(&mut self) -> Result<SinkEnd, ConnectorError>;
}
