//! Storage: named objects that are created once, read, listed and deleted. The only room that does repository I/O.

use super::RepoError;
use std::{ops::Range, sync::Arc};

/// One listed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its full name, such as `packs/ab/abcd…`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Whether a conditional create made the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is new and durable.
    New,
    /// An object of that name exists; it was not touched.
    Exists,
}

/// What a backend can promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// Of two creates of one name exactly one succeeds.
    pub conditional_create: bool,
    /// A listing shows everything created before it began.
    pub prompt_listing: bool,
}

/// A storage backend. Tests put their own between the repository and the real one.
pub trait Backend: Send + Sync {
    /// Lists all objects whose names begin with `prefix` (a folder name with its `/`), in any order; an absent folder is
    /// an empty one.
    fn list(&self, prefix: &str) -> std::io::Result<Vec<Listed>>;
    /// Reads an object or a byte range of it. A range past the end is an error. `NotFound` if it does not exist.
    fn read(&self, name: &str, range: Option<Range<u64>>) -> std::io::Result<Vec<u8>>;
    /// Creates an object, durably, all of it or nothing, if none of that name exists.
    fn create(&self, name: &str, bytes: &[u8]) -> std::io::Result<Created>;
    /// Deletes an object; deleting one that does not exist is no error.
    fn delete(&self, name: &str) -> std::io::Result<()>;
    /// The length of an object. `NotFound` if it does not exist.
    fn len(&self, name: &str) -> std::io::Result<u64>;
    /// What the backend can promise.
    fn promises(&self) -> Promises;
}

/// A repository's storage: a backend and where it is. The one place of retries.
#[derive(Clone)]
pub struct Storage {
    backend: Arc<dyn Backend>,
    location: String,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Storage {
    /// Storage at a local path or an OpenDAL URI (`fs:///path`, `memory:///`, …). Local paths are canonicalised.
    pub fn at(location: &str) -> Result<Self, RepoError> {
        let _ = location;
        todo!()
    }

    /// Storage over a backend of the caller's; `location` tells its catalog from others.
    #[must_use]
    pub fn over(backend: Arc<dyn Backend>, location: &str) -> Self {
        Self { backend, location: location.to_owned() }
    }

    /// The canonical location.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What the backend can promise.
    #[must_use]
    pub fn promises(&self) -> Promises {
        self.backend.promises()
    }

    /// See [`Backend::list`].
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>, RepoError> {
        let _ = prefix;
        todo!()
    }

    /// See [`Backend::read`]; [`RepoError::Missing`] if it does not exist.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, RepoError> {
        let _ = name;
        todo!()
    }

    /// See [`Backend::read`].
    pub fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, RepoError> {
        let _ = (name, range);
        todo!()
    }

    /// See [`Backend::create`].
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RepoError> {
        let _ = (name, bytes);
        todo!()
    }

    /// See [`Backend::delete`].
    pub fn delete(&self, name: &str) -> Result<(), RepoError> {
        let _ = name;
        todo!()
    }

    /// See [`Backend::len`]; `None` if it does not exist.
    pub fn len(&self, name: &str) -> Result<Option<u64>, RepoError> {
        let _ = name;
        todo!()
    }
}
