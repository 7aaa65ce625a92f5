//! Sources that can tell what has not changed without reading it, by what the backup before noted on this host.

use super::ConnectorError;
use crate::record::{KeyRange, RecordStream};
use std::path::Path;

/// What a reading makes of what was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// Everything is read.
    Nothing,
    /// What stands is not read: the stream says where ([`RecordStream::held`]).
    Trust,
    /// Everything is read, and the stream says what would have been passed over.
    Test,
}

/// A session that notes what it read, so that the next one need not read it again.
///
/// Notes say nothing of records, and are good for one snapshot alone: the one that a reading became part of. Whoever calls keeps the
/// file until that snapshot is a parent, and gives it with no other.
pub trait Remembers: Send + Sync {
    /// Begins a reading of all collections: with what was noted for the parent, and where to note what is read now. Gives how many
    /// readings in a row have trusted such notes, this one not counted; `None` if nothing can be made of the notes, which is no failure.
    fn begin(&self, earlier: Option<&Path>, later: Option<&Path>) -> Option<u32>;
    /// Reads a range of a collection as [`super::SourceSession::read`] does.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn read(
        &self,
        collection: usize,
        range: &KeyRange,
        recall: Recall,
    ) -> Result<Box<dyn RecordStream + '_>, ConnectorError>;
    /// Ends the reading, of which every stream is dropped: with how many readings in a row have trusted notes. Gives whether all
    /// was noted.
    fn end(&self, trusted: u32) -> bool;
}
