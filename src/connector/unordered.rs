//! Sources that can give records as they find them, in no order: cheaper where whoever takes them needs none.

use super::ConnectorError;
use crate::record::RecordStream;

/// Records in no order, by parts that may be read at once. Given by [`super::SourceSession::unordered`] where
/// [`super::SessionOptions::unordered`] asked for it; such a session reads no ranges.
pub trait Unordered: Send + Sync {
    /// How many parts there are.
    fn parts(&self) -> usize;
    /// A part's name, for messages and for going on behind it.
    fn name(&self, part: usize) -> String;
    /// Reads a collection's records of one part. A record may come more than once.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn read_part(&self, collection: usize, part: usize) -> Result<Box<dyn RecordStream + Send>, ConnectorError>;
}
