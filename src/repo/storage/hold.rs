//! What storage goes on keeping whoever deletes it: object lock, and older versions.

use super::{RepoError, Storage, failed};
use crate::record::Timestamp;
use serde::Serialize;
use std::io::ErrorKind;

/// How firm a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Who has the right to may take it off.
    Governance,
    /// Nobody may.
    Compliance,
}

/// What a service says of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectHold {
    /// Its length.
    pub bytes: u64,
    /// Until when no version of it goes.
    pub until: Option<Timestamp>,
    /// How firmly, if the service says so in words that are known.
    pub mode: Option<LockMode>,
    /// Whether it stays until somebody takes the hold off.
    pub legal_hold: bool,
    /// Whether what is deleted, or put again, stays as an older version.
    pub is_versioned: bool,
}

impl Storage {
    /// What holds an object; `None` where the service knows no such thing. Without the right to know, the service says nothing of
    /// locks, as if there were none.
    pub fn hold_of(&self, name: &str) -> Result<Option<ObjectHold>, RepoError> {
        self.retry(|| self.backend.hold_of(name)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => RepoError::Missing { object: name.to_owned() },
            _ => failed("asking what holds", name, error),
        })
    }

    /// Locks an object until then. A service refuses to shorten a lock.
    pub fn lock_until(&self, name: &str, until: Timestamp, mode: LockMode) -> Result<(), RepoError> {
        self.retry(|| self.backend.lock_until(name, until, mode)).map_err(|error| failed("locking", name, error))
    }
}
