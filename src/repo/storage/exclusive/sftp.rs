//! SFTP: a file under a temporary name, synced where the server can, then a hard link to its name, which fails if that is
//! taken. `OpenDAL` knows neither.

use super::temporary_name;
use crate::repo::storage::{
    Created, Listed,
    local::TEMPORARY,
    sftp::{Connections, UNREADABLE_NAME, is_absent, make_folder},
};
use futures::TryStreamExt;
use openssh_sftp_client::{Error, Sftp, error::SftpErrorKind, metadata::MetaData};
use std::{
    collections::{BTreeMap, HashSet},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

/// How many folders deep a listing goes: further than any object lies.
const MAX_DEPTH: usize = 4;

/// What lies in a folder.
#[derive(Default)]
pub(in crate::repo::storage) struct Entries {
    /// Files, and what is neither file nor folder: without bytes, so that nobody takes it for absent.
    pub objects: Vec<Listed>,
    /// Folders, each with its `/`.
    pub folders: Vec<String>,
}

/// Links files to their names.
pub(in crate::repo::storage) struct Linker {
    root: PathBuf,
    connections: Arc<Connections>,
    folders: Mutex<HashSet<PathBuf>>,
}

impl Linker {
    pub fn new(config: &BTreeMap<String, String>, connections: &Arc<Connections>) -> Self {
        let root = PathBuf::from(config.get("root").map_or("", String::as_str));
        Self { root, connections: Arc::clone(connections), folders: Mutex::default() }
    }

    pub async fn create(self: Arc<Self>, name: String, bytes: bytes::Bytes) -> io::Result<Created> {
        let mut lent = self.connections.lend().await?;
        let done = self.create_by(lent.sftp(), &name, &bytes).await;
        if done.is_ok() {
            lent.answered();
        } else {
            // Whatever it was: the next attempt has another connection and makes the folders again.
            self.folders.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        done
    }

    async fn create_by(&self, client: &Sftp, name: &str, bytes: &[u8]) -> io::Result<Created> {
        let target = self.root.join(name);
        self.make_folder(client, target.parent().unwrap_or(&self.root)).await?;
        self.make_folder(client, &self.root.join(TEMPORARY)).await?;
        let temporary = self.root.join(temporary_name()?);
        let written = write(client, &temporary, bytes).await;
        let created = match written {
            Ok(()) => link(client, &temporary, &target).await,
            Err(error) => Err(error),
        };
        // What stays is swept after a day.
        let _ = client.fs().remove_file(&temporary).await;
        created
    }

    /// Lists one folder (empty for the whole, else with its `/`); links are followed. Where something that is no folder stands in its
    /// place, that is what is listed.
    pub async fn entries(&self, folder: &str) -> io::Result<Entries> {
        let mut before = None;
        loop {
            let mut lent = self.connections.lend().await?;
            let done = self.entries_by(lent.sftp(), folder).await;
            match done {
                Ok(_) => lent.answered(),
                // The line may have broken, once; it does not pass where an answer is not understood.
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    if before.replace(()).is_none() {
                        continue;
                    }
                    return Err(io::Error::other(format!("{folder}: {error}")));
                }
                Err(_) => {}
            }
            return done;
        }
    }

    async fn entries_by(&self, client: &Sftp, folder: &str) -> io::Result<Entries> {
        let mut found = Entries::default();
        let opened = match client.fs().open_dir(self.root.join(folder)).await {
            Ok(opened) => opened,
            Err(error @ Error::SftpError(..)) => {
                let blocking = self.blocking(client, folder).await?;
                if blocking.is_none() && !is_absent(&error) {
                    return Err(io_error(error));
                }
                found.objects.extend(blocking);
                return Ok(found);
            }
            Err(error) => return Err(io_error(error)),
        };
        let mut entries = pin!(opened.read_dir());
        while let Some(entry) = entries.try_next().await.map_err(of_listing)? {
            let name = entry.filename().to_string_lossy();
            let full = format!("{folder}{name}");
            if name == "." || name == ".." || full == TEMPORARY.trim_end_matches('/') {
                continue;
            }
            let metadata = match entry.file_type() {
                Some(kind) if kind.is_dir() || kind.is_file() => Some(entry.metadata()),
                _ => behind(client, &self.root.join(&full)).await?,
            };
            let kind = metadata.and_then(|metadata| metadata.file_type());
            if kind.is_some_and(|kind| kind.is_dir()) && full.matches('/').count() < MAX_DEPTH {
                found.folders.push(full + "/");
            } else {
                let bytes = metadata.filter(|_| kind.is_some_and(|kind| kind.is_file())).and_then(|it| it.len());
                found.objects.push(Listed { name: full, bytes: bytes.unwrap_or(0) });
            }
        }
        Ok(found)
    }

    /// What is no folder and stands in the place of one, or of one above it.
    async fn blocking(&self, client: &Sftp, folder: &str) -> io::Result<Option<Listed>> {
        for (at, _) in folder.match_indices('/') {
            let (name, path) = (folder[..at].to_owned(), self.root.join(&folder[..at]));
            let metadata = behind(client, &path).await?;
            if metadata.and_then(|it| it.file_type()).is_some_and(|kind| kind.is_dir()) {
                continue;
            }
            return match client.fs().symlink_metadata(&path).await {
                Ok(_) => Ok(Some(Listed { name, bytes: metadata.and_then(|it| it.len()).unwrap_or(0) })),
                Err(error) if is_absent(&error) => Ok(None),
                Err(error) => Err(io_error(error)),
            };
        }
        Ok(None)
    }

    async fn make_folder(&self, client: &Sftp, folder: &Path) -> io::Result<()> {
        if self.folders.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        make_folder(client, folder).await.map_err(io_error)?;
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
    }
}

/// What a name stands for, links followed; `None` if that is nothing.
async fn behind(client: &Sftp, path: &Path) -> io::Result<Option<MetaData>> {
    match client.fs().metadata(path).await {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absent(&error) => Ok(None),
        // A link that leads to itself.
        Err(Error::SftpError(SftpErrorKind::Failure, _)) => Ok(None),
        Err(error) => Err(io_error(error)),
    }
}

async fn write(client: &Sftp, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = client.options().write(true).create_new(true).open(path).await.map_err(io_error)?;
    file.write_all(bytes).await.map_err(io_error)?;
    if client.support_fsync() {
        file.sync_all().await.map_err(io_error)?;
    }
    file.close().await.map_err(io_error)
}

async fn link(client: &Sftp, temporary: &Path, target: &Path) -> io::Result<Created> {
    if !client.support_hardlink() {
        return Err(io::Error::new(
            ErrorKind::Unsupported,
            "this server makes no hard links (hardlink@openssh.com), so no object can be created whole and only once",
        ));
    }
    match client.fs().hard_link(temporary, target).await {
        Ok(()) => Ok(Created::New),
        // The protocol has no word for it.
        Err(error) => match client.fs().metadata(target).await {
            Ok(_) => Ok(Created::Exists),
            Err(_) => Err(io_error(error)),
        },
    }
}

fn of_listing(error: Error) -> io::Error {
    match error {
        Error::BackgroundTaskFailure(_) => {
            io::Error::new(ErrorKind::InvalidData, format!("{UNREADABLE_NAME} ({error})"))
        }
        error => io_error(error),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
fn io_error(error: Error) -> io::Error {
    let kind = match &error {
        Error::SftpError(SftpErrorKind::NoSuchFile, _) => ErrorKind::NotFound,
        Error::SftpError(SftpErrorKind::PermDenied, _) => ErrorKind::PermissionDenied,
        Error::SftpError(SftpErrorKind::OpUnsupported, _) | Error::UnsupportedExtension(_) => ErrorKind::Unsupported,
        Error::SftpError(SftpErrorKind::Failure, text) if format!("{text:?}").contains("space") => {
            ErrorKind::StorageFull
        }
        Error::SftpError(..) => ErrorKind::Other,
        _ => ErrorKind::TimedOut,
    };
    io::Error::new(kind, format!("sftp: {error}"))
}
