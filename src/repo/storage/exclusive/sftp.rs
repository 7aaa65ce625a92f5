//! SFTP: a file under a temporary name, synced where the server can, then a hard link to its name, which fails if that is
//! taken. `OpenDAL` offers neither, so this is a connection of our own.

use super::temporary_name;
use crate::repo::storage::{Created, local::TEMPORARY};
use openssh::{KnownHosts, SessionBuilder};
use openssh_sftp_client::{Error, Sftp, SftpOptions, error::SftpErrorKind};
use std::{
    collections::{BTreeMap, HashSet},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};
use tokio::sync::Mutex;

const CONNECT: Duration = Duration::from_secs(15);

/// Links files to their names.
pub(in crate::repo::storage) struct Linker {
    endpoint: String,
    root: PathBuf,
    key: Option<String>,
    known_hosts: KnownHosts,
    client: Mutex<Option<Arc<Sftp>>>,
    folders: StdMutex<HashSet<PathBuf>>,
}

impl Linker {
    pub fn new(config: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| config.get(key).map_or("", String::as_str);
        let known_hosts = match text("known_hosts_strategy") {
            "accept" => KnownHosts::Accept,
            "add" => KnownHosts::Add,
            _ => KnownHosts::Strict,
        };
        Self {
            endpoint: text("endpoint").to_owned(),
            root: PathBuf::from(text("root")),
            key: config.get("key").cloned(),
            known_hosts,
            client: Mutex::default(),
            folders: StdMutex::default(),
        }
    }

    async fn client(&self) -> io::Result<Arc<Sftp>> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let mut builder = SessionBuilder::default();
        builder.known_hosts_check(self.known_hosts.clone()).connect_timeout(CONNECT).server_alive_interval(CONNECT);
        if let Some(key) = &self.key {
            builder.keyfile(key);
        }
        let session = builder.connect(&self.endpoint).await.map_err(|error| match error {
            openssh::Error::Connect(error) => io::Error::new(ErrorKind::TimedOut, format!("ssh: {error}")),
            error => io::Error::other(format!("ssh: {error}")),
        })?;
        let made = Arc::new(Sftp::from_session(session, SftpOptions::default()).await.map_err(io_error)?);
        *client = Some(Arc::clone(&made));
        Ok(made)
    }

    pub async fn create(self: Arc<Self>, name: String, bytes: bytes::Bytes) -> io::Result<Created> {
        let client = self.client().await?;
        let done = self.create_by(&client, &name, &bytes).await;
        if done.is_err() {
            // Whatever it was: the next attempt begins with a new connection and makes the folders again.
            *self.client.lock().await = None;
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

    async fn make_folder(&self, client: &Sftp, folder: &Path) -> io::Result<()> {
        if self.folders.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        let mut missing = vec![folder];
        // From below: what is there already need not be looked at, and may not be ours to look at.
        while let Some(&last) = missing.last() {
            match client.fs().metadata(last).await {
                Ok(_) => {
                    missing.pop();
                    break;
                }
                Err(Error::SftpError(SftpErrorKind::NoSuchFile, _)) => match last.parent() {
                    Some(above) => missing.push(above),
                    None => break,
                },
                Err(error) => return Err(io_error(error)),
            }
        }
        while let Some(next) = missing.pop() {
            match client.fs().create_dir(next).await {
                Ok(()) => {}
                // Somebody else made it meanwhile.
                Err(error) => {
                    if client.fs().metadata(next).await.is_err() {
                        return Err(io_error(error));
                    }
                }
            }
        }
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
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
