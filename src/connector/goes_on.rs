//! Targets that go on where a restore was stopped. The order of keys makes one place of all that was written; the verb
//! remembers it, and the target says whether what was written still stands.

use super::{ConnectorError, MetaStream, TargetPlan};
use crate::record::{Expiry, KeyRange};

/// A target that goes on where a restore was stopped. Given by [`super::Target::goes_on`].
pub trait GoesOn: Send + Sync {
    /// A text by which a restore that was broken off is known again: what is written where, and all that decides how.
    /// `None` where this one cannot go on, or need not.
    fn resume_key(&self, plan: &TargetPlan) -> Option<String>;
}

/// What stands in a collection that is being written. Given by [`super::CollectionTarget::standing`].
pub trait Standing {
    /// The keys of what the collection holds now of a range, of the records that the target was told to take. Used before a
    /// restore goes on that was broken off.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be read.
    fn keys(&self, range: &KeyRange) -> Result<Box<dyn MetaStream + '_>, ConnectorError>;
    /// Whether the time of a record with this key and this expiry in the snapshot is over by now, by the target's clock as far
    /// as it is known.
    fn is_over(&self, key: &[u8], expiry: Expiry) -> bool;
}
