//! Where ASBX files lie: in a folder of this machine, or below a prefix at a service.

use crate::{
    connector::ConnectorError,
    repo::storage::{Named, ObjectTree, ObjectVersion, StorageOptions},
};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// A folder.
#[derive(Debug, Clone)]
pub enum AsbxPlace {
    /// Of this machine.
    Here(PathBuf),
    /// At a service.
    There(ObjectTree),
}

/// A file in a folder.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// When it was last written, in milliseconds, if that is known.
    pub(super) written: Option<i64>,
    version: Option<ObjectVersion>,
}

fn millis_of(time: std::time::SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

impl AsbxPlace {
    /// The place that a text names, as it is typed behind `asbx:`: a path, or `s3://BUCKET/FOLDER` and the like.
    ///
    /// # Errors
    /// [`ConnectorError::Url`] for what no storage reaches.
    pub fn of(text: &str) -> Result<Self, ConnectorError> {
        let is_scheme = |scheme: &str| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)) {
            return Ok(Self::Here(PathBuf::from(text)));
        }
        match ObjectTree::open(text, &StorageOptions::default()) {
            Ok(Named::Folder(path)) => Ok(Self::Here(path)),
            Ok(Named::Tree(tree)) => Ok(Self::There(tree)),
            Err(error) => Err(ConnectorError::Url {
                url: format!("asbx:{}", crate::connector::url::without_password(text)),
                reason: error.to_string(),
            }),
        }
    }

    /// As a person knows it.
    #[must_use]
    pub fn show(&self) -> String {
        match self {
            Self::Here(path) => path.display().to_string(),
            Self::There(tree) => tree.location().to_owned(),
        }
    }

    pub(super) fn object(&self, name: &str) -> String {
        match self {
            Self::Here(path) => path.join(name).display().to_string(),
            Self::There(tree) => format!("{}/{name}", tree.location().trim_end_matches('/')),
        }
    }

    pub(super) fn failed(&self, operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> ConnectorError {
        let object = if name.is_empty() { self.show() } else { self.object(name) };
        move |source| ConnectorError::Io { operation, object, source }
    }

    /// What tells it from all others, and whether that holds on this machine only.
    pub(super) fn identity(&self) -> Result<(String, bool), ConnectorError> {
        match self {
            Self::Here(path) => {
                let path = fs::canonicalize(path).map_err(self.failed("find", ""))?;
                Ok((path.display().to_string(), true))
            }
            Self::There(tree) => Ok((tree.location().to_owned(), false)),
        }
    }

    /// The files in it, by name; a far folder that is not there has none.
    pub(super) fn list(&self) -> Result<Vec<Found>, ConnectorError> {
        let mut found = Vec::new();
        match self {
            Self::Here(path) => {
                for entry in fs::read_dir(path).map_err(self.failed("list", ""))? {
                    let entry = entry.map_err(self.failed("list", ""))?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let metadata = fs::metadata(entry.path()).map_err(self.failed("look at", &name))?;
                    if metadata.is_file() {
                        let written = metadata.modified().ok().and_then(millis_of);
                        found.push(Found { name, bytes: metadata.len(), written, version: None });
                    }
                }
            }
            Self::There(tree) => {
                for entry in tree.list("").map_err(self.failed("list", ""))? {
                    if entry.name.contains('/') {
                        continue;
                    }
                    let version = match entry.version {
                        Some(version) => version,
                        None => tree.version(&entry.name).map_err(self.failed("look at", &entry.name))?,
                    };
                    let written = version.modified.and_then(millis_of);
                    found.push(Found { name: entry.name, bytes: version.bytes, written, version: Some(version) });
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The bytes of a file that was listed.
    pub(super) fn read(&self, found: &Found) -> Result<Box<dyn Read + Send>, ConnectorError> {
        let opened = match (self, &found.version) {
            (Self::Here(path), _) => {
                File::open(path.join(&found.name)).map(|file| Box::new(file) as Box<dyn Read + Send>)
            }
            (Self::There(tree), Some(version)) => {
                tree.read(&found.name, version).map(|reader| Box::new(reader) as Box<dyn Read + Send>)
            }
            (Self::There(_), None) => Err(io::ErrorKind::NotFound.into()),
        };
        opened.map_err(self.failed("open", &found.name))
    }

    /// Writes a file whole, over whatever bears its name.
    pub(super) fn put(&self, name: &str, content: &mut dyn Read) -> Result<(), ConnectorError> {
        let written = match self {
            Self::Here(path) => replace(&path.join(name), content),
            Self::There(tree) => tree.write(name, content),
        };
        written.map_err(self.failed("write", name))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), ConnectorError> {
        let removed = match self {
            Self::Here(path) => match fs::remove_file(path.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
            Self::There(tree) => tree.delete(name),
        };
        removed.map_err(self.failed("remove", name))
    }

    /// Makes the names in it durable.
    pub(super) fn settle(&self) -> Result<(), ConnectorError> {
        match self {
            Self::Here(path) if cfg!(unix) => {
                File::open(path).and_then(|folder| folder.sync_all()).map_err(self.failed("sync", ""))
            }
            Self::Here(_) | Self::There(_) => Ok(()),
        }
    }
}

/// Writes a file beside its place and moves it there.
fn replace(path: &Path, content: &mut dyn Read) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".rekeep-").tempfile_in(folder)?;
    io::copy(content, &mut file)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
