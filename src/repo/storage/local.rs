//! Storage in a local folder. Creating, reading and listing are ours: `OpenDAL`'s own conditional create opens the final
//! name, so a crash could leave a torn object there, and its asynchronous bridge costs more than a small read, and much more
//! than a look at a folder of a thousand folders. Deletions go through `OpenDAL`.

mod able;
mod direct;
mod reserve;
mod shared;

#[cfg(test)]
pub(super) use able::rename_new;

use super::{
    Backend, Created, Listed, Promises,
    failure::{Secrets, io_error},
    runtime::runtime,
};
use crate::repo::error::Obstructed;
use crate::repo::process::ProcessId;
use able::Able;
use data_encoding::HEXLOWER;
use rustix::{fs::OFlags, io::Errno};
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Where objects lie while they are written.
pub(super) const TEMPORARY: &str = "tmp/";

/// The room that is set aside, relative to the repository.
pub(super) const RESERVE: &str = "tmp/reserve";

/// An object is written in far less: what is older in `tmp/` was left by a writer that was killed.
pub(super) const STALE: Duration = Duration::from_hours(24);

/// A folder.
pub(super) struct LocalBackend {
    root: PathBuf,
    operator: OnceLock<opendal::blocking::Operator>,
    /// Folders that this process has made sure are durable.
    durable: Mutex<HashSet<PathBuf>>,
    able: Able,
    /// Whether listings there may be some time old, once that was asked.
    remembers: OnceLock<bool>,
    /// Whether a repository was seen here.
    is_seen: AtomicBool,
}

/// How often an object is written whose folder others remove as empty meanwhile.
const CREATE_ATTEMPTS: usize = 4;

/// Folders in which each run has one of its own, that stays empty when it is over.
const OF_RUNS: [&str; 2] = ["leases", "checkpoints"];

/// Whether a folder holds what belongs to one run or snapshot: there is no end of these, as there is of others.
fn is_of_one(folder: &str) -> bool {
    folder.contains('/') && !folder.starts_with("packs/") && !folder.starts_with("copies/")
}

/// How the bytes of an object get into its file.
type WriteAll = fn(&mut File, &[u8]) -> io::Result<()>;

/// One of which every repository has.
const MARKS: [&str; 2] = ["rekeep.json", "copies/rekeep.json"];

impl LocalBackend {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            operator: OnceLock::new(),
            durable: Mutex::default(),
            able: Able::default(),
            remembers: OnceLock::new(),
            is_seen: AtomicBool::new(false),
        }
    }

    /// Fails where a repository was seen and is no more: its disk was unmounted, or another was mounted over it. What is missing
    /// then is not lost, and what is written would land on the disk below.
    fn stands(&self) -> io::Result<()> {
        if MARKS.iter().any(|mark| self.root.join(mark).symlink_metadata().is_ok()) {
            self.is_seen.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if !self.is_seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let words =
            format!("the repository that was at {} is no longer there: is its disk mounted?", self.root.display());
        Err(io::Error::new(ErrorKind::NotConnected, words))
    }

    /// An error of reading an object: where the whole repository is gone, that.
    fn unread(&self, name: &str, error: io::Error) -> io::Error {
        if error.kind() != ErrorKind::NotFound || MARKS.contains(&name) {
            return error;
        }
        self.stands().err().unwrap_or(error)
    }

    /// `OpenDAL` makes the folder when it is asked for an operator; so it is only asked once the folder is there.
    fn operator(&self) -> io::Result<Option<&opendal::blocking::Operator>> {
        if let Some(operator) = self.operator.get() {
            return Ok(Some(operator));
        }
        match fs::metadata(&self.root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(io::Error::new(ErrorKind::NotADirectory, "the repository is not a folder")),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let root =
            self.root.to_str().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path is not UTF-8"))?;
        let refused = |error| io_error(error, &Secrets::default());
        let _entered = runtime()?.enter();
        let operator = opendal::Operator::new(opendal::services::Fs::default().root(root)).map_err(refused)?;
        let operator = opendal::blocking::Operator::new(operator).map_err(refused)?;
        Ok(Some(self.operator.get_or_init(|| operator)))
    }

    /// Makes a folder and those above it, and syncs each into the one above, once in this process. Folders above the
    /// repository's own are only touched if they have to be made.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        if self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        let inside = folder != self.root && folder.starts_with(&self.root);
        if let Some(above) = folder.parent().filter(|_| inside || !folder.is_dir()) {
            self.make_durable(above)?;
            match fs::create_dir(folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let words = format!("{} is no folder, and stands in the place of one", folder.display());
                    return Err(io::Error::new(ErrorKind::NotADirectory, words));
                }
                other => other?,
            }
            self.able.sync_folder(above)?;
        }
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
    }

    /// What stands in the place of a folder, or of one above it, and is none: it is listed by itself, so that nobody takes what it
    /// hides for absent.
    fn blocking(&self, folder: &str) -> Option<Listed> {
        let mut ends = folder.match_indices('/').map(|(at, _)| &folder[..at]);
        let blocks = |name: &&str| {
            let path = self.root.join(name);
            match fs::metadata(&path) {
                Ok(metadata) => !metadata.is_dir(),
                // A link that leads nowhere, or to itself.
                Err(_) => path.symlink_metadata().is_ok_and(|it| it.is_symlink()),
            }
        };
        let name = ends.find(blocks)?;
        let bytes = fs::metadata(self.root.join(name)).ok().filter(fs::Metadata::is_file).map_or(0, |it| it.len());
        Some(Listed { name: name.to_owned(), bytes })
    }

    fn create_by(&self, name: &str, bytes: &[u8], write: WriteAll) -> io::Result<Created> {
        for _ in 1..CREATE_ATTEMPTS {
            match self.try_create(name, bytes, write) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                answer => return answer,
            }
        }
        self.try_create(name, bytes, write)
    }

    /// Removes a folder of which the last object went. Whoever is about to create something in it makes it again.
    fn remove_empty(&self, folder: &str) {
        let path = self.root.join(folder);
        if fs::remove_dir(&path).is_ok() {
            self.durable.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
        }
    }

    /// One attempt; fails with `NotFound` if somebody removed a folder meanwhile.
    fn try_create(&self, name: &str, bytes: &[u8], write: WriteAll) -> io::Result<Created> {
        self.stands()?;
        let target = self.root.join(name);
        let folder = target.parent().unwrap_or(&self.root);
        let temporary_folder = self.root.join(TEMPORARY);
        self.make_durable(folder)?;
        self.make_durable(&temporary_folder)?;
        // Whose it is, so that what a dead writer leaves can be told from what a living one is writing.
        let owner = ProcessId::this().map_or_else(String::new, |this| this.to_token() + ".");
        let temporary = Temporary(temporary_folder.join(owner + &random_name()?));
        let mut file = File::options().write(true).create_new(true).open(&temporary.0)?;
        write(&mut file, bytes)?;
        file.sync_all()?;
        drop(file);
        let mut created = self.able.publish(&temporary.0, &target)?;
        if created == Created::Exists && fs::symlink_metadata(&target).is_ok_and(|it| it.is_dir()) {
            // An empty one, as programs that copy trees leave them, is in nobody's way.
            fs::remove_dir(&target).map_err(|_| folder_in_its_place())?;
            created = self.able.publish(&temporary.0, &target)?;
        }
        drop(temporary);
        // Also if it exists: who made it may not have come that far yet, and the caller relies on it.
        self.able.sync_folder(folder)?;
        Ok(created)
    }
}

impl Backend for LocalBackend {
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        self.stands()?;
        if let Some(blocking) = self.blocking(prefix) {
            return Ok(vec![blocking]);
        }
        let mut listed = Vec::new();
        let mut left = vec![prefix.to_owned()];
        while let Some(folder) = left.pop() {
            if folder != TEMPORARY {
                list_folder(&self.root, &folder, &mut left, &mut listed)?;
            }
        }
        Ok(listed)
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        let opened = open_file(&self.root.join(name));
        let (mut file, bytes) = opened.map_err(|error| self.unread(name, error))?;
        let Some(range) = range else {
            let mut all = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
            file.read_to_end(&mut all)?;
            return Ok(all);
        };
        if range.start > range.end || range.end > bytes {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{range:?} is not within the object")));
        }
        let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    fn read_at_most(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let opened = open_file(&self.root.join(name));
        let (file, len) = opened.map_err(|error| self.unread(name, error))?;
        if len > most {
            return Err(super::too_large(len, most));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).map_err(io::Error::other)?);
        // One that grows while it is read is no object of ours; it is not followed beyond what it may have.
        io::Read::read_to_end(&mut io::Read::take(file, most), &mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, name: &str, bytes: &bytes::Bytes) -> io::Result<Created> {
        self.create_by(name, bytes, Write::write_all)
    }

    fn create_data(&self, name: &str, bytes: &bytes::Bytes) -> io::Result<Created> {
        self.create_by(name, bytes, direct::write_all)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        // A link that leads nowhere would be taken for absent, and stay.
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => return fs::remove_file(&path),
            Ok(metadata) if metadata.is_dir() => return fs::remove_dir(&path).map_err(|_| folder_in_its_place()),
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(()),
            _ => {}
        }
        match self.operator()? {
            Some(operator) => operator.delete(name).map_err(|error| io_error(error, &Secrets::default()))?,
            None => return Ok(()),
        }
        if let Some((folder, _)) = name.rsplit_once('/').filter(|(folder, _)| is_of_one(folder)) {
            self.remove_empty(folder);
        }
        Ok(())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let path = self.root.join(name);
        let metadata = fs::metadata(&path).map_err(|error| self.unread(name, absent_or_strange(&path, error)))?;
        match metadata.file_type() {
            kind if kind.is_file() => Ok(metadata.len()),
            kind if kind.is_dir() => Err(ErrorKind::NotFound.into()),
            _ => Err(no_file()),
        }
    }

    fn weaker(&self) -> Option<String> {
        self.able.weaker()
    }

    fn region(&self) -> io::Result<Option<String>> {
        Ok(Some(super::LOCAL.to_owned()))
    }

    fn promises(&self) -> Promises {
        let remembers = *self.remembers.get_or_init(|| shared::remembers_listings(&self.root));
        Promises { conditional_create: self.able.creates_once(), prompt_listing: !remembers }
    }

    /// How a file gets its name is known after one has: in `tmp/`, where it is in nobody's way.
    fn find_out(&self) -> io::Result<()> {
        if self.able.is_known() {
            return Ok(());
        }
        let folder = self.root.join(TEMPORARY);
        self.make_durable(&folder)?;
        let (from, to) = (Temporary(folder.join(random_name()?)), Temporary(folder.join(random_name()?)));
        File::options().write(true).create_new(true).open(&from.0)?;
        self.able.publish(&from.0, &to.0).map(drop)
    }

    fn keep_reserve(&self) -> io::Result<u64> {
        reserve::keep(&self.root.join(RESERVE))
    }

    fn spend_reserve(&self) -> io::Result<bool> {
        reserve::spend(&self.root.join(RESERVE))
    }

    /// The moment at which the object got its name, which no program can set; only where the file system is on a disk of one
    /// machine. Files of others carry the time of whoever wrote them, or may.
    fn made_at(&self, name: &str) -> io::Result<Option<i64>> {
        let (file, _) = open_file(&self.root.join(name))?;
        changed_at(&file)
    }

    fn now(&self) -> io::Result<Option<i64>> {
        let folder = self.root.join(TEMPORARY);
        self.make_durable(&folder)?;
        let probe = Temporary(folder.join(format!("{}.now", random_name()?)));
        changed_at(&File::options().write(true).create_new(true).open(&probe.0)?)
    }

    /// Ages are told by the file system's own clock: a file that is made now says what time it is there. Should a writer
    /// have slept for a day, its link fails with `NotFound` and it writes the object again.
    fn sweep(&self) -> io::Result<u64> {
        for folder in OF_RUNS {
            for entry in fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    self.remove_empty(&format!("{folder}/{}", entry.file_name().to_string_lossy()));
                }
            }
        }
        let folder = self.root.join(TEMPORARY);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        if entries.is_empty() {
            return Ok(0);
        }
        let probe = Temporary(folder.join(format!("{}.now", random_name()?)));
        let now = File::options().write(true).create_new(true).open(&probe.0)?.metadata()?.modified()?;
        let mut swept = 0;
        for entry in entries {
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_old = now.duration_since(metadata.modified()?).is_ok_and(|age| age > STALE);
            let is_left = ProcessId::from_token(&name).is_some_and(|owner| owner.is_gone());
            if metadata.is_file() && (is_left || is_old && is_temporary_name(&name)) {
                match fs::remove_file(entry.path()) {
                    Ok(()) => swept += 1,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(swept)
    }
}

/// File systems whose files are dated by the one kernel that has them mounted: ext2 to ext4, XFS, Btrfs, ZFS, F2FS, tmpfs and
/// overlays of these.
const ONE_CLOCK: [u64; 7] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0x0102_1994, 0x794C_7630];

/// When a file last changed its name or content, in milliseconds; `None` where others may have said so.
fn changed_at(file: &File) -> io::Result<Option<i64>> {
    let kind = rustix::fs::fstatfs(file)?.f_type;
    if !ONE_CLOCK.contains(&(kind.cast_unsigned() & 0xFFFF_FFFF)) {
        return Ok(None);
    }
    let metadata = file.metadata()?;
    Ok(Some(metadata.ctime().saturating_mul(1000).saturating_add(metadata.ctime_nsec() / 1_000_000)))
}

fn random_name() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(HEXLOWER.encode(&random))
}

/// Whether a file in `tmp/` is one of ours.
fn is_temporary_name(name: &str) -> bool {
    let name = name.strip_suffix(".now").unwrap_or(name);
    let digits = name.rsplit('.').next().unwrap_or(name);
    digits.len() == 32 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// How many folders deep a listing goes: further than any object lies.
const MAX_DEPTH: usize = 4;

/// Opens a file, following links, without waiting for the other end of a pipe; gives its length.
fn open_file(path: &Path) -> io::Result<(File, u64)> {
    let open = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = open.map_err(|error| absent_or_strange(path, error))?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(no_file()) }
}

/// What has the name of an object and cannot be one.
fn no_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it is no file")
}

/// What holds things of others is theirs.
fn folder_in_its_place() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, Obstructed)
}

/// A link that leads nowhere is not an absent object: the disk that it leads to may come back.
fn absent_or_strange(path: &Path, error: io::Error) -> io::Error {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    match code {
        Some(Errno::NOENT) if path.symlink_metadata().is_ok() => {
            io::Error::new(ErrorKind::InvalidData, "it is a link that leads nowhere")
        }
        Some(Errno::LOOP) => io::Error::new(ErrorKind::InvalidData, "it is a link that leads to itself"),
        Some(Errno::NXIO) => no_file(),
        // What stands there is listed, and stops whoever would delete.
        Some(Errno::NOTDIR) => {
            io::Error::new(ErrorKind::NotFound, "something that is no folder stands in the place of its folder")
        }
        _ => error,
    }
}

/// Adds what lies in one folder to `listed` and the folders in it to `left`; links are followed. What is neither file nor
/// folder is listed too, so that nobody takes it for absent. What vanishes meanwhile is not there.
fn list_folder(root: &Path, folder: &str, left: &mut Vec<String>, listed: &mut Vec<Listed>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = format!("{folder}{}", entry.file_name().to_string_lossy());
        let may_be_listed = name.matches('/').count() < MAX_DEPTH;
        // Most folders say of their entries what they are: the system need not be asked again.
        if may_be_listed && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            left.push(format!("{name}/"));
            continue;
        }
        let metadata = match entry.metadata() {
            Ok(metadata) if metadata.is_symlink() => fs::metadata(entry.path()).unwrap_or(metadata),
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() && may_be_listed {
            left.push(format!("{name}/"));
        } else {
            listed.push(Listed { name, bytes: if metadata.is_file() { metadata.len() } else { 0 } });
        }
    }
    Ok(())
}

/// A file that goes when this does.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already where it was renamed; otherwise it is out of the way of every listing.
        let _ = fs::remove_file(&self.0);
    }
}

/// The canonical form of a path that need not exist: links are followed in the part that does.
pub(super) fn canonical(path: &Path) -> io::Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is empty"));
    }
    let absolute = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut existing = absolute.as_path();
    loop {
        match existing.canonicalize() {
            Ok(mut canonical) => {
                canonical.extend(missing.iter().rev());
                return Ok(canonical);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name.to_owned());
                existing = parent;
            }
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "a folder that does not exist is left with `..`")),
        }
    }
}
