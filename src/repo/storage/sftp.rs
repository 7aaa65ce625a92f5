//! SFTP as a service of `OpenDAL`, by connections of our own: those of its own service outlive the program that made them.

mod connections;

pub(super) use connections::{Connections, is_absent, make_folder};

use connections::Lent;
use futures::TryStreamExt as _;
use opendal::{
    Buffer, Builder, BytesRange, Capability, EntryMode, Error, ErrorKind, Metadata, MetadataBuilder, OperationContext,
    Operator, Result,
    raw::{
        OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign,
        RpRead, RpRename, RpStat, Service, ServiceInfo, Timestamp, oio,
    },
};
use openssh_sftp_client::{
    Error as SftpError,
    error::SftpErrorKind,
    file::{File, TokioCompatFile},
    metadata::MetaData,
};
use std::{
    fmt,
    io::SeekFrom,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    vec,
};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

const SCHEME: &str = "sftp";

/// What is asked for at once of what is read.
const PART_BYTES: u64 = 2 << 20;

/// An operator of the files below a folder.
pub(super) fn operator(connections: &Arc<Connections>, root: &str) -> Result<Operator> {
    Operator::new(Opening(Some(Files { connections: Arc::clone(connections), root: PathBuf::from(root) })))
}

/// What `OpenDAL` wants to be given.
#[derive(Default)]
struct Opening(Option<Files>);

impl Builder for Opening {
    type Config = ();

    fn build(self) -> Result<impl Service> {
        self.0.ok_or_else(|| Error::new(ErrorKind::ConfigInvalid, "no place is given"))
    }
}

#[derive(Clone)]
struct Files {
    connections: Arc<Connections>,
    root: PathBuf,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        let name = name.trim_matches('/');
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    async fn lend(&self) -> Result<Lent> {
        self.connections.lend().await.map_err(|error| {
            let is_final = error.kind() != std::io::ErrorKind::TimedOut;
            let told = Error::new(ErrorKind::Unexpected, "no connection").set_source(error);
            if is_final { told } else { told.set_temporary() }
        })
    }

    /// Makes a folder and those above it that are not there.
    async fn make(&self, lent: &mut Lent, folder: &Path) -> Result<()> {
        let made = make_folder(lent.sftp(), folder).await;
        lent.heard(made).map_err(told)
    }

    async fn make_parent(&self, lent: &mut Lent, path: &Path) -> Result<()> {
        match path.parent() {
            Some(folder) => self.make(lent, folder).await,
            None => Ok(()),
        }
    }
}

/// What the server or the line says, in `OpenDAL`'s words. The protocol has no word for most of what may pass.
fn told(error: SftpError) -> Error {
    let kind = match &error {
        SftpError::UnsupportedSftpProtocol { .. } | SftpError::SftpError(SftpErrorKind::OpUnsupported, _) => {
            ErrorKind::Unsupported
        }
        SftpError::SftpError(SftpErrorKind::NoSuchFile, _) => ErrorKind::NotFound,
        SftpError::SftpError(SftpErrorKind::PermDenied, _) => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unexpected,
    };
    let told = Error::new(kind, "sftp").set_source(error);
    if kind == ErrorKind::Unexpected { told.set_temporary() } else { told }
}

fn of_io(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "sftp").set_source(error).set_temporary()
}

/// What is said where a listing's answer is not understood.
pub(super) const UNREADABLE_NAME: &str =
    "the folder cannot be listed: a name in it is not UTF-8, or the server does not keep to the protocol";

fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "SFTP has no such operation")
}

fn metadata_of(found: MetaData) -> Result<Metadata> {
    let mode = found.file_type().map_or(EntryMode::Unknown, |kind| match kind {
        kind if kind.is_file() => EntryMode::FILE,
        kind if kind.is_dir() => EntryMode::DIR,
        _ => EntryMode::Unknown,
    });
    let mut metadata = match mode {
        EntryMode::FILE => {
            let len = found.len();
            MetadataBuilder::file(len.ok_or_else(|| Error::new(ErrorKind::Unexpected, "a file without a length"))?)
        }
        EntryMode::DIR => MetadataBuilder::dir(),
        EntryMode::Unknown => MetadataBuilder::unknown(),
    };
    if let Some(modified) = found.modified()
        && let Ok(modified) = Timestamp::try_from(modified.as_system_time())
    {
        metadata.last_modified(modified);
    }
    Ok(metadata.build())
}

impl Service for Files {
    type Reader = oio::StreamReader<Reader>;
    type Writer = Writer;
    type Lister = Lister;
    type Deleter = oio::OneShotDeleter<Deleter>;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        ServiceInfo::new(SCHEME, self.root.to_string_lossy(), "")
    }

    fn capability(&self) -> Capability {
        Capability {
            stat: true,
            read: true,
            write: true,
            write_can_multi: true,
            write_with_if_not_exists: true,
            create_dir: true,
            delete: true,
            list: true,
            rename: true,
            shared: true,
            ..Capability::default()
        }
    }

    async fn create_dir(&self, _: &OperationContext, path: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        let mut lent = self.lend().await?;
        self.make(&mut lent, &self.path(path)).await?;
        Ok(RpCreateDir::default())
    }

    async fn stat(&self, _: &OperationContext, path: &str, _: OpStat) -> Result<RpStat> {
        let mut lent = self.lend().await?;
        let found = lent.sftp().fs().metadata(self.path(path)).await;
        Ok(RpStat::new(metadata_of(lent.heard(found).map_err(told)?)?))
    }

    fn read(&self, _: &OperationContext, path: &str, _: OpRead) -> Result<Self::Reader> {
        Ok(oio::StreamReader::new(Reader { files: self.clone(), path: self.path(path) }))
    }

    fn write(&self, _: &OperationContext, path: &str, options: OpWrite) -> Result<Self::Writer> {
        let (files, path) = (self.clone(), self.path(path));
        Ok(Writer { files, path, is_new: options.if_not_exists(), open: None, written: 0, broken: None })
    }

    fn delete(&self, _: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(Deleter(self.clone())))
    }

    fn list(&self, _: &OperationContext, path: &str, _: OpList) -> Result<Self::Lister> {
        Ok(Lister { files: self.clone(), folder: path.to_owned(), entries: None, broke: false })
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<Self::Copier> {
        Err(unsupported())
    }

    async fn rename(&self, _: &OperationContext, from: &str, to: &str, _: OpRename) -> Result<RpRename> {
        let mut lent = self.lend().await?;
        let (from, to) = (self.path(from), self.path(to));
        self.make_parent(&mut lent, &to).await?;
        let renamed = lent.sftp().fs().rename(from, to).await;
        lent.heard(renamed).map_err(told)?;
        Ok(RpRename::default())
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        Err(unsupported())
    }
}

struct Reader {
    files: Files,
    path: PathBuf,
}

impl oio::StreamRead for Reader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        let mut lent = self.files.lend().await?;
        let opened = lent.sftp().open(&self.path).await;
        let mut file = lent.heard(opened).map_err(told)?;
        if range.offset() != 0 {
            // Asks nothing of the server.
            file.seek(SeekFrom::Start(range.offset())).await.map_err(of_io)?;
        }
        Ok((RpRead::default(), Box::new(Parts { file, lent, left: range.size() })))
    }
}

/// What is read of a file, part by part.
struct Parts {
    // Before its connection: it is closed by it.
    file: File,
    lent: Lent,
    left: Option<u64>,
}

impl oio::ReadStream for Parts {
    async fn read(&mut self) -> Result<Buffer> {
        let most = self.left.unwrap_or(PART_BYTES).min(PART_BYTES);
        if most == 0 {
            return Ok(Buffer::new());
        }
        self.lent.asks();
        let read = self.file.read(u32::try_from(most).unwrap_or(u32::MAX), bytes::BytesMut::new()).await;
        let Some(part) = self.lent.heard(read).map_err(told)? else { return Ok(Buffer::new()) };
        self.left = self.left.map(|left| left.saturating_sub(part.len() as u64));
        Ok(Buffer::from(part.freeze()))
    }
}

struct Writer {
    files: Files,
    path: PathBuf,
    /// Whether the name must not be taken.
    is_new: bool,
    open: Option<(Pin<Box<TokioCompatFile>>, Lent)>,
    written: u64,
    /// Why nothing can be written on: what was under way when it failed may be there or not, so that a second try of the same bytes
    /// would leave a hole, or have them twice.
    broken: Option<String>,
}

impl Writer {
    fn still_whole(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Unexpected, format!("sftp: {why}"))),
        }
    }

    fn breaks(&mut self, error: std::io::Error) -> Error {
        self.broken = Some(error.to_string());
        of_io(error)
    }

    /// Whether the file is as long as what was written of it.
    async fn is_long_enough(&self, lent: &mut Lent) -> Result<()> {
        let found = lent.sftp().fs().metadata(&self.path).await;
        let len = match lent.heard(found) {
            Ok(found) => found.len(),
            // Whoever may write may not be allowed to look.
            Err(SftpError::SftpError(SftpErrorKind::PermDenied, _)) => None,
            Err(error) => return Err(told(error)),
        };
        if len.is_some_and(|len| len != self.written) {
            let text = format!("{} bytes were written and {} are there", self.written, len.unwrap_or(0));
            return Err(Error::new(ErrorKind::Unexpected, text));
        }
        Ok(())
    }

    async fn file(&mut self) -> Result<&mut (Pin<Box<TokioCompatFile>>, Lent)> {
        if self.open.is_none() {
            self.open = Some(self.begin().await?);
        }
        self.open.as_mut().ok_or_else(unsupported)
    }

    async fn begin(&self) -> Result<(Pin<Box<TokioCompatFile>>, Lent)> {
        let mut lent = self.files.lend().await?;
        let mut opened = self.create(&mut lent).await;
        if opened.as_ref().is_err_and(is_absent) {
            self.files.make_parent(&mut lent, &self.path).await?;
            opened = self.create(&mut lent).await;
        }
        match opened {
            Ok(file) => Ok((Box::pin(TokioCompatFile::new(file)), lent)),
            Err(error) if self.is_new && matches!(error, SftpError::SftpError(SftpErrorKind::Failure, _)) => {
                // The protocol has no word for it.
                let looked = lent.sftp().fs().metadata(&self.path).await;
                match lent.heard(looked) {
                    Ok(_) => Err(Error::new(ErrorKind::ConditionNotMatch, "the name is taken").set_source(error)),
                    Err(_) => Err(told(error)),
                }
            }
            Err(error) => Err(told(error)),
        }
    }

    async fn create(&self, lent: &mut Lent) -> std::result::Result<File, SftpError> {
        let mut options = lent.sftp().options();
        options.write(true).truncate(true);
        if self.is_new {
            options.create_new(true);
        } else {
            options.create(true);
        }
        let opened = options.open(&self.path).await;
        lent.heard(opened)
    }
}

impl oio::Write for Writer {
    async fn write(&mut self, bytes: Buffer) -> Result<()> {
        self.still_whole()?;
        let (file, lent) = self.file().await?;
        lent.asks();
        let len = bytes.len() as u64;
        for part in bytes {
            if let Err(error) = file.write_all(&part).await {
                return Err(self.breaks(error));
            }
        }
        // An error belongs to the bytes that it is about.
        if let Err(error) = file.flush().await {
            return Err(self.breaks(error));
        }
        self.written += len;
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        self.still_whole()?;
        let (file, _) = self.file().await?;
        if let Err(error) = file.shutdown().await {
            return Err(self.breaks(error));
        }
        if let Some((file, mut lent)) = self.open.take() {
            drop(file);
            lent.answered();
            let looked = self.is_long_enough(&mut lent).await;
            if let Err(error) = &looked {
                self.broken = Some(error.to_string());
            }
            looked?;
        }
        Ok(MetadataBuilder::unknown().build())
    }

    async fn abort(&mut self) -> Result<()> {
        // What was written stays under its name, which nobody takes for a whole file: names are given when it is whole.
        self.open = None;
        Err(unsupported())
    }
}

struct Deleter(Files);

impl oio::OneShotDelete for Deleter {
    async fn delete_once(&self, path: String, _: OpDelete) -> Result<()> {
        let mut lent = self.0.lend().await?;
        let place = self.0.path(&path);
        let is_folder = path.ends_with('/');
        let mut fs = lent.sftp().fs();
        let removed = if is_folder { fs.remove_dir(place).await } else { fs.remove_file(place).await };
        match lent.heard(removed) {
            Err(error) if !is_absent(&error) => Err(told(error)),
            _ => Ok(()),
        }
    }
}

/// What stands for something that is neither file nor folder, as the content type of its entry: a listing of `OpenDAL`'s looks by
/// itself at what it does not know, and leaves it out or takes it for a file.
pub(super) const LINK_TO_A_FOLDER: &str = "inode/symlink; to=folder";
pub(super) const LINK_TO_NOTHING: &str = "inode/symlink; to=nothing";
pub(super) const SPECIAL: &str = "inode/special";

/// A folder's entries, read as a whole: whoever walks them may ask for something else between two, by the same connection.
struct Lister {
    files: Files,
    folder: String,
    entries: Option<vec::IntoIter<oio::Entry>>,
    /// Whether an answer could not be understood before.
    broke: bool,
}

impl Lister {
    async fn entries(&mut self) -> Result<Vec<oio::Entry>> {
        let mut lent = self.files.lend().await?;
        let opened = lent.sftp().fs().open_dir(self.files.path(&self.folder)).await;
        let found = match lent.heard(opened) {
            Ok(folder) => folder.read_dir().try_collect::<Vec<_>>().await,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(told(error)),
        };
        let found = match lent.heard(found) {
            // The line may have broken, once.
            Err(error @ SftpError::BackgroundTaskFailure(_)) if self.broke => {
                let text = format!("{}: {UNREADABLE_NAME}", self.folder);
                return Err(Error::new(ErrorKind::Unexpected, text).set_source(error));
            }
            found => {
                self.broke = matches!(found, Err(SftpError::BackgroundTaskFailure(_)));
                found.map_err(told)?
            }
        };
        let prefix = if self.folder == "/" { "" } else { self.folder.as_str() };
        let mut entries = Vec::with_capacity(found.len());
        for entry in found {
            let Some(name) = entry.filename().to_str() else {
                let text = format!("a name in `{}` is not UTF-8: {}", self.folder, entry.filename().display());
                return Err(Error::new(ErrorKind::Unexpected, text));
            };
            let mut metadata = metadata_of(entry.metadata())?;
            if metadata.mode() == EntryMode::Unknown {
                metadata = self.behind(&mut lent, &format!("{prefix}{name}")).await?;
            }
            match name {
                ".." => {}
                "." => entries.push(oio::Entry::new(&self.folder, metadata)),
                name if metadata.is_dir() => entries.push(oio::Entry::new(&format!("{prefix}{name}/"), metadata)),
                name => entries.push(oio::Entry::new(&format!("{prefix}{name}"), metadata)),
            }
        }
        Ok(entries)
    }

    /// Of a link to a file that file's; of anything else an entry that says what it is.
    async fn behind(&self, lent: &mut Lent, name: &str) -> Result<Metadata> {
        let path = self.files.path(name);
        let itself = lent.sftp().fs().symlink_metadata(&path).await;
        let is_link = match lent.heard(itself) {
            Ok(found) => found.file_type().is_some_and(|kind| kind.is_symlink()),
            Err(SftpError::SftpError(..)) => true,
            Err(error) => return Err(told(error)),
        };
        let found = lent.sftp().fs().metadata(&path).await;
        let kind = match lent.heard(found) {
            Ok(found) => match metadata_of(found)? {
                metadata if metadata.is_file() => return Ok(metadata),
                metadata if metadata.is_dir() && is_link => LINK_TO_A_FOLDER,
                metadata if metadata.is_dir() => return Ok(metadata),
                _ => SPECIAL,
            },
            Err(SftpError::SftpError(..)) if is_link => LINK_TO_NOTHING,
            Err(SftpError::SftpError(..)) => SPECIAL,
            Err(error) => return Err(told(error)),
        };
        let mut metadata = MetadataBuilder::file(0);
        metadata.content_type(kind.to_owned());
        Ok(metadata.build())
    }
}

impl oio::List for Lister {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        if self.entries.is_none() {
            self.entries = Some(self.entries().await?.into_iter());
        }
        Ok(self.entries.as_mut().and_then(Iterator::next))
    }
}
