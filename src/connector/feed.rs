//! Changes that were kept in files: a stream that comes to its end.

use super::{ConnectorError, Identity, SourceCollection};
use crate::record::{ChangeBatch, Timestamp};

/// Gives changes, those of one record in the order in which they were made.
pub trait ChangeFeed: Send {
    /// Whose changes they are.
    fn identity(&self) -> Identity;

    /// The collections that changes may be of.
    fn collections(&self) -> &[SourceCollection];

    /// Adds changes of one collection until the batch holds about so many bytes, and says which collection that is; `None` at the
    /// end.
    ///
    /// # Errors
    /// [`ConnectorError`] from reading. What was added before stands.
    fn next(&mut self, batch: &mut ChangeBatch, bytes: usize) -> Result<Option<usize>, ConnectorError>;

    /// How many changes could not be read, and some of them in words.
    fn lost(&self) -> (u64, Vec<String>);

    /// When the changes were brought together: whatever was made by then is among them. `None` if that is not known.
    fn until(&self) -> Option<Timestamp>;
}
