//! Single records of a snapshot, for targets whose records hang together.

use crate::record::{RecordBatch, StreamError};

/// What gives a target other records of the collection that it writes, as the snapshot holds them: those too that were not
/// asked for.
pub trait RecordLookup: Send + Sync {
    /// Puts the record of a key alone into the batch; `false` if the snapshot has none.
    ///
    /// # Errors
    /// What the repository says.
    fn find(&self, key: &[u8], batch: &mut RecordBatch) -> Result<bool, StreamError>;
}
