//! Creating objects under names that somebody else may want too.

use super::Inner;
use crate::repo::{RepoError, Storage, object, storage::Created};

/// How often a lost race for the next revision is run again.
pub(in crate::repo) const MAX_RACES: usize = 1000;

impl Inner {
    /// Creates an object; `false` if the name is taken by other bytes. Our own bytes there mean that an answer was lost.
    pub(in crate::repo) fn create_or_same(&self, path: &str, bytes: &[u8]) -> Result<bool, RepoError> {
        create_or_same(&self.storage, path, bytes)
    }
}

/// See [`Inner::create_or_same`].
pub(in crate::repo) fn create_or_same(storage: &Storage, path: &str, bytes: &[u8]) -> Result<bool, RepoError> {
    match storage.create(path, bytes)? {
        Created::New => Ok(true),
        Created::Exists => match object::read(storage, path) {
            Ok(there) => Ok(there == bytes),
            // Taken, and gone again: by whomever, it is not ours to say that it stands.
            Err(RepoError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        },
    }
}

/// A plain body.
pub(in crate::repo) fn json(body: &impl serde::Serialize) -> Result<Vec<u8>, RepoError> {
    serde_json::to_vec(body).map_err(|error| RepoError::Internal(format!("a small object cannot be written: {error}")))
}
