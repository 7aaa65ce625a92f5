//! `files:DIR` and `files:URI`: a directory tree, or any place that `OpenDAL` reaches, as one collection of records.
//!
//! A record is a file, directory, link or special file; its key is the path below the root, its cells are the
//! attributes, and a file's content is a stream that is opened only if it has to be read. The shape of the records is
//! specified in `format-spec/files.md`.

mod content;
mod linking;
mod names;
mod open;
mod outcome;
mod place;
mod remote;
mod remove;
mod select;
mod session;
mod shared;
mod stdin;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod times;
mod trail;
mod twins;
mod walk;
mod write;
mod xattrs;

pub use open::FilesConnector;
pub use target::{FilesTarget, FilesTargetOptions};

use super::file_record::{cells, whole};
use super::{
    ConnectorError, Identity, Scope, SessionOptions, Source, SourceAbilities, SourceCollection, SourceSession,
    SourceUrl,
};
use crate::record::KeyCodec;
use remote::Remote;
use schemars::JsonSchema;
use select::Selection;
use serde::Deserialize;
use serde_json::json;
use session::LocalSession;
use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};
use stdin::StdinValue;

/// The name of the one collection.
const COLLECTION: &str = "files";

/// Which files are read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilesOptions {
    /// Patterns of what is left out, as `.gitignore` writes them: a `/` at the beginning or in the middle anchors at the root,
    /// a trailing `/` means directories only, `!` takes back in, the last pattern that matches decides, and nothing comes back
    /// from a directory that is left out.
    pub exclude: Vec<String>,
    /// Files with such patterns, one on a line; empty lines and lines that begin with `#` are skipped.
    #[serde(deserialize_with = "paths")]
    #[schemars(with = "Vec<String>")]
    pub exclude_files: Vec<PathBuf>,
    /// Files that list what to read: one path on a line (or ended by NUL, if the file holds one), below the root. Where every
    /// line ends with a carriage return it belongs to no path.
    #[serde(deserialize_with = "paths")]
    #[schemars(with = "Vec<String>")]
    pub files_from: Vec<PathBuf>,
    /// Whether directories on other file systems stay empty.
    pub one_file_system: bool,
    /// A stream is read instead, as the one file of this name: standard input, or what a command writes.
    pub stdin: Option<String>,
    /// The command and its arguments; that it ends well is asked for.
    pub stdin_command: Vec<String>,
}

/// Paths as text: `hex:` and its bytes for one that is none.
fn paths<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    Ok(texts.iter().map(|text| super::url::path_from_text(text)).collect())
}

enum Origin {
    Local(PathBuf),
    Remote(Remote),
    Stdin(StdinValue),
}

/// A tree of files to read.
pub struct FilesSource {
    origin: Origin,
    options: FilesOptions,
    selection: Selection,
    scope: Scope,
    /// Which part is meant, as a snapshot keeps it; by the options without.
    part: Option<serde_json::Value>,
}

impl std::fmt::Debug for FilesSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesSource")
            .field("identity", &self.identity())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl FilesSource {
    /// A source at `files:DIR`, `files:URI`, or standard input if the options say so (the place is not used then).
    ///
    /// # Errors
    /// [`ConnectorError`] if the place is no directory or the options cannot be read.
    pub fn new(url: &SourceUrl, options: FilesOptions) -> Result<Self, ConnectorError> {
        refuse_url_options(url)?;
        let origin = if let Some(name) = &options.stdin {
            Origin::Stdin(StdinValue::new(name, &options.stdin_command)?)
        } else if url.place.contains("://") {
            match Remote::open(&url.place, &url.options)? {
                remote::TreePlace::Folder(path) => Origin::Local(local_root(&path)?),
                remote::TreePlace::Objects(remote) => Origin::Remote(remote),
            }
        } else {
            Origin::Local(local_root(&url.path())?)
        };
        let selection = match &origin {
            Origin::Local(root) => Selection::new(&options, root)?,
            Origin::Remote(_) => Selection::new(&options, std::path::Path::new("/"))?,
            Origin::Stdin(_) => Selection::all(),
        };
        let scope = Scope { canonical: selection.canonical(), note: selection.note(), asked: selection.asked() };
        Ok(Self { origin, options, selection, scope, part: None })
    }
}

/// Whether a record's cells are those of a file. For fuzzing: nothing is written.
#[doc(hidden)]
#[must_use]
pub fn is_file_record(row: &crate::record::BatchRow<'_>) -> bool {
    cells::Attributes::decode(row).is_ok()
}

fn refuse_url_options(url: &SourceUrl) -> Result<(), ConnectorError> {
    match url.options.first() {
        Some((option, _)) if !url.place.contains("://") => Err(ConnectorError::Url {
            url: format!("{}:{}", url.scheme, url.place),
            reason: format!("files: knows no option `{option}` (a question mark in a path is written %3F)"),
        }),
        _ => Ok(()),
    }
}

fn local_root(place: &Path) -> Result<PathBuf, ConnectorError> {
    let root = fs::canonicalize(place).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            ConnectorError::Missing { object: format!("the directory {}", place.display()) }
        }
        _ => ConnectorError::Io { operation: "open", object: place.display().to_string(), source },
    })?;
    if !root.is_dir() {
        return Err(ConnectorError::Unreadable {
            object: place.display().to_string(),
            reason: "it is no directory".to_owned(),
        });
    }
    Ok(root)
}

/// A path as it is shown: one that is not UTF-8, or holds control characters, by its bytes.
fn shown_path(path: &Path) -> String {
    KeyCodec::Path.show(path.as_os_str().as_bytes())
}

fn one_collection() -> Vec<SourceCollection> {
    vec![SourceCollection {
        name: COLLECTION.to_owned(),
        codec: KeyCodec::Path,
        attributes: json!({}),
        estimated_bytes: 0,
        estimated_records: 0,
    }]
}

impl Source for FilesSource {
    fn identity(&self) -> Identity {
        let (name, local) = match &self.origin {
            Origin::Local(root) => (shown_path(root), true),
            Origin::Remote(remote) => (remote.location().to_owned(), false),
            Origin::Stdin(value) => (format!("stdin:{}", value.name()), true),
        };
        Identity { connector: "files", name, local }
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities { reads_once: matches!(self.origin, Origin::Stdin(_)), ..SourceAbilities::default() }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        let selection = || match &self.part {
            Some(kept) => select::part_of(Some(kept), "the snapshot"),
            None => Ok(self.selection.anew()),
        };
        Ok(match &self.origin {
            Origin::Local(root) => Box::new(LocalSession::begin(root.clone(), selection()?, options)?),
            Origin::Remote(remote) => Box::new(remote::RemoteSession::begin(remote.clone(), selection()?, options)?),
            Origin::Stdin(value) => Box::new(stdin::StdinSession::begin(value.clone())?),
        })
    }
}
