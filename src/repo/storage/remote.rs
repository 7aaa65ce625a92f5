//! Storage behind OpenDAL's services, called from ordinary threads through a small runtime of our own.

use super::{Backend, Created, Listed, Promises};
use opendal::{
    ErrorKind as OpendalKind, OperatorUri, blocking,
    options::{ListOptions, ReadOptions, WriteOptions},
};
use std::{
    io::{self, ErrorKind},
    ops::Range,
    sync::OnceLock,
};
use tokio::runtime::Runtime;

/// The services that this program is built with.
const SERVICES: [&str; 3] = ["fs", "file", "memory"];

/// Any service.
pub(super) struct RemoteBackend {
    operator: blocking::Operator,
    conditional_create: bool,
}

impl RemoteBackend {
    /// Opens a service by its URI; says why not in words.
    pub(super) fn open(scheme: &str, uri: &str) -> Result<Self, String> {
        if !SERVICES.contains(&scheme) {
            let services = SERVICES.map(|name| format!("{name}://")).join(", ");
            return Err(format!("`{scheme}` is not a service that this program is built with; it has {services}"));
        }
        let operator = blocking(|| opendal::Operator::from_uri(uri)).map_err(|error| error.to_string())?;
        let conditional_create = operator.info().capability().write_with_if_not_exists;
        Ok(Self { operator, conditional_create })
    }
}

impl Backend for RemoteBackend {
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        list(&self.operator, prefix)
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        let mut options = ReadOptions::default();
        if let Some(range) = &range {
            if range.start >= range.end {
                return if range.end <= self.len(name)? { Ok(Vec::new()) } else { Err(past_the_end(range)) };
            }
            options.range = range.clone().into();
        }
        let bytes = self.operator.read_options(name, options).map_err(io_error)?.to_vec();
        match &range {
            Some(range) if bytes.len() as u64 != range.end - range.start => Err(past_the_end(range)),
            _ => Ok(bytes),
        }
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<Created> {
        if !self.conditional_create {
            match self.len(name) {
                Ok(_) => return Ok(Created::Exists),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let options = WriteOptions { if_not_exists: self.conditional_create, ..WriteOptions::default() };
        match self.operator.write_options(name, bytes.to_vec(), options) {
            Ok(_) => Ok(Created::New),
            Err(error) if matches!(error.kind(), OpendalKind::ConditionNotMatch | OpendalKind::AlreadyExists) => {
                Ok(Created::Exists)
            }
            Err(error) => Err(io_error(error)),
        }
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.operator.delete(name).map_err(io_error)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let metadata = self.operator.stat(name).map_err(io_error)?;
        if metadata.is_file() { Ok(metadata.content_length()) } else { Err(ErrorKind::NotFound.into()) }
    }

    fn promises(&self) -> Promises {
        Promises { conditional_create: self.conditional_create, prompt_listing: true }
    }
}

fn past_the_end(range: &Range<u64>) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("{range:?} is not within the object"))
}

/// Every file below a folder.
pub(super) fn list(operator: &blocking::Operator, prefix: &str) -> io::Result<Vec<Listed>> {
    let options = ListOptions { recursive: true, ..ListOptions::default() };
    let entries = operator.list_options(prefix, options).map_err(io_error)?;
    let files = entries.into_iter().filter(|entry| entry.metadata().is_file());
    Ok(files.map(|entry| Listed { name: entry.path().to_owned(), bytes: entry.metadata().content_length() }).collect())
}

/// Makes a blocking operator on the shared runtime.
pub(super) fn blocking(make: impl FnOnce() -> opendal::Result<opendal::Operator>) -> io::Result<blocking::Operator> {
    let _entered = runtime()?.enter();
    blocking::Operator::new(make().map_err(io_error)?).map_err(io_error)
}

fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let make = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("storage")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    };
    RUNTIME.get_or_init(make).as_ref().map_err(|reason| io::Error::other(reason.clone()))
}

/// The path in an `fs:` or `file:` URI.
pub(super) fn local_path(uri: &str) -> Result<String, String> {
    let uri = OperatorUri::new(uri, Vec::<(String, String)>::new()).map_err(|error| error.to_string())?;
    if uri.name().is_some() {
        return Err("a local path begins with three slashes: fs:///path".to_owned());
    }
    Ok(format!("/{}", uri.root().unwrap_or("")))
}

/// OpenDAL's errors in the standard library's words; those that may pass become `TimedOut`.
#[allow(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
pub(super) fn io_error(error: opendal::Error) -> io::Error {
    let kind = match error.kind() {
        OpendalKind::NotFound => ErrorKind::NotFound,
        OpendalKind::PermissionDenied => ErrorKind::PermissionDenied,
        OpendalKind::AlreadyExists | OpendalKind::ConditionNotMatch => ErrorKind::AlreadyExists,
        OpendalKind::NotADirectory => ErrorKind::NotADirectory,
        OpendalKind::IsADirectory => ErrorKind::IsADirectory,
        OpendalKind::RangeNotSatisfied => ErrorKind::UnexpectedEof,
        OpendalKind::Unsupported => ErrorKind::Unsupported,
        OpendalKind::RateLimited => ErrorKind::WouldBlock,
        _ if error.is_temporary() => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}
