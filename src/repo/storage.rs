//! Storage: named objects that are created once, read, listed and deleted. The only room that does repository I/O.

mod local;
mod remote;
#[cfg(test)]
mod tests;

use super::RepoError;
use std::{
    io::{self, ErrorKind},
    ops::Range,
    path::Path,
    sync::Arc,
    time::Duration,
};

/// The waits between the attempts of one operation: it is tried once more than there are waits.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4)];

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
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>>;
    /// Reads an object or a byte range of it. A range past the end is an error. `NotFound` if it does not exist.
    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>>;
    /// Creates an object, durably, all of it or nothing, if none of that name exists.
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<Created>;
    /// Deletes an object; deleting one that does not exist is no error.
    fn delete(&self, name: &str) -> io::Result<()>;
    /// The length of an object. `NotFound` if it does not exist.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// What the backend can promise.
    fn promises(&self) -> Promises;
    /// Waits before an operation is tried again.
    fn pause(&self, wait: Duration) {
        std::thread::sleep(wait);
    }
    /// Removes what creates that never ended left half written: of processes of this machine that have certainly ended, and
    /// whatever is too old to be of use to anyone; gives how many things.
    fn sweep(&self) -> io::Result<u64> {
        Ok(0)
    }
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
    /// Storage at a local path or an `OpenDAL` URI (`fs:///path`, `memory:///`, …). Local paths are canonicalised; the
    /// folder need not exist and is not made before something is created in it. Each `memory:` storage is one of its own.
    pub fn at(location: &str) -> Result<Self, RepoError> {
        let refuse = |reason: String| RepoError::Location { location: location.to_owned(), reason };
        let path = match location.split_once("://") {
            None => location.to_owned(),
            Some(("fs" | "file", _)) => remote::local_path(location).map_err(refuse)?,
            Some((scheme, _)) => {
                let backend = remote::RemoteBackend::open(scheme, location).map_err(refuse)?;
                return Ok(Self::over(Arc::new(backend), location.trim_end_matches('/')));
            }
        };
        let root = local::canonical(Path::new(&path)).map_err(|error| refuse(error.to_string()))?;
        let text = root.to_str().ok_or_else(|| refuse("the path is not UTF-8".to_owned()))?.to_owned();
        Ok(Self::over(Arc::new(local::LocalBackend::new(root)), &text))
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
        if !prefix.is_empty() {
            check_name(prefix.strip_suffix('/').unwrap_or("")).map_err(|error| failed("listing", prefix, error))?;
        }
        self.retry(|| self.backend.list(prefix)).map_err(|error| failed("listing", prefix, error))
    }

    /// See [`Backend::read`]; [`RepoError::Missing`] if it does not exist.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, RepoError> {
        self.read_any(name, None)
    }

    /// See [`Backend::read`].
    pub fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, RepoError> {
        self.read_any(name, Some(&range))
    }

    fn read_any(&self, name: &str, range: Option<&Range<u64>>) -> Result<Vec<u8>, RepoError> {
        let attempt = || {
            check_name(name)?;
            let bytes = self.backend.read(name, range.cloned())?;
            match range {
                Some(range) if bytes.len() as u64 != range.end.saturating_sub(range.start) => {
                    Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{} bytes came of {range:?}", bytes.len())))
                }
                _ => Ok(bytes),
            }
        };
        self.retry(attempt).map_err(|error| failed("reading", name, error))
    }

    /// See [`Backend::create`].
    ///
    /// An attempt that failed without an answer may have created the object. If a later attempt finds the name taken, the
    /// object is read: equal bytes are ours, so the answer is [`Created::New`].
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RepoError> {
        let mut unanswered = false;
        let attempt = || {
            check_name(name)?;
            match self.backend.create(name, bytes) {
                Ok(Created::Exists) if unanswered && self.backend.read(name, None)? == bytes => Ok(Created::New),
                Err(error) => {
                    unanswered = true;
                    Err(error)
                }
                answer => answer,
            }
        };
        self.retry(attempt).map_err(|error| failed("creating", name, error))
    }

    /// See [`Backend::delete`].
    pub fn delete(&self, name: &str) -> Result<(), RepoError> {
        let attempt = || {
            check_name(name)?;
            self.backend.delete(name)
        };
        match self.retry(attempt) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|error| failed("deleting", name, error)),
        }
    }

    /// See [`Backend::len`]; `None` if it does not exist.
    pub fn len(&self, name: &str) -> Result<Option<u64>, RepoError> {
        let attempt = || {
            check_name(name)?;
            self.backend.len(name)
        };
        match self.retry(attempt) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("reading", name, error)),
        }
    }

    /// See [`Backend::sweep`].
    pub fn sweep(&self) -> Result<u64, RepoError> {
        self.backend.sweep().map_err(|error| failed("deleting", local::TEMPORARY, error))
    }

    fn retry<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        for wait in BACKOFF {
            match attempt() {
                Err(error) if is_transient(error.kind()) => self.backend.pause(wait),
                answer => return answer,
            }
        }
        attempt()
    }
}

fn failed(operation: &'static str, object: &str, source: io::Error) -> RepoError {
    let object = object.to_owned();
    if operation == "reading" && source.kind() == ErrorKind::NotFound {
        RepoError::Missing { object }
    } else if operation == "reading" && source.kind() == ErrorKind::UnexpectedEof {
        // Objects never change, so one that is too short does not get longer by waiting.
        RepoError::damaged(object, format!("it is shorter than it was: {source}"))
    } else if operation == "reading" && source.kind() == ErrorKind::InvalidData {
        // What lies there is no object at all, and does not become one by waiting.
        RepoError::damaged(object, source)
    } else {
        RepoError::Storage { operation, object, source }
    }
}

/// Refuses names that could lead out of the repository or into its temporary folder.
fn check_name(name: &str) -> io::Result<()> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    if name.split('/').all(plain) && !name.starts_with(local::TEMPORARY) {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "this is not an object's name"))
    }
}

/// Whether trying again may help.
fn is_transient(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Interrupted
            | ErrorKind::TimedOut
            | ErrorKind::WouldBlock
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::ResourceBusy
    )
}
