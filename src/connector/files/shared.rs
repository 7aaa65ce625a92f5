//! What all streams of one run over a directory share: what was asked for, what could not be read, who is linked to whom.

use super::{
    names::Names,
    select::Selection,
    trail::{Trail, open_root},
    walk::{Listed, ROOT, Step, Walker},
};
use crate::{
    connector::ConnectorError,
    record::{KeyCodec, KeyRange},
};
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Stat},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::CStr,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Names of files beyond this many are only counted.
const MAX_NAMED: usize = 1000;

/// Errors of this process or machine, whatever they are met at.
const SHORTAGES: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) inode: u64,
    pub(super) device: u64,
    pub(super) size: u64,
    pub(super) mtime: (i64, i64),
    pub(super) ctime: (i64, i64),
}

impl Version {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            device: stat.st_dev,
            size: stat.st_size as u64,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

/// Sentences, the first of them kept.
#[derive(Default)]
struct Sentences {
    kept: Vec<String>,
    more: u64,
}

impl Sentences {
    fn add(&mut self, sentence: String) {
        if self.kept.len() < MAX_NAMED {
            self.kept.push(sentence);
        } else {
            self.more += 1;
        }
    }

    fn all(&self, what: &str) -> Vec<String> {
        let mut all = self.kept.clone();
        if self.more > 0 {
            all.push(format!("and {} more {what}", self.more));
        }
        all
    }
}

/// A file with several paths.
struct Group {
    first: Box<[u8]>,
    /// Whether a stream delivered the first path, which carries the content.
    delivered: bool,
    /// Whether a stream delivered a path that refers to the first.
    referred: bool,
}

type Groups = HashMap<(u64, u64), Group>;

/// The state of one run.
pub(super) struct Shared {
    path: PathBuf,
    root: Arc<OwnedFd>,
    root_device: u64,
    pub(super) selection: Selection,
    /// Directories that are no part of the tree, by device and inode.
    foreign: Vec<(u64, u64)>,
    pub(super) names: Names,
    missing: Mutex<Sentences>,
    notes: Mutex<Sentences>,
    vanished: AtomicU64,
    /// What this process lacked where nothing was the matter with an entry.
    shortage: Mutex<Option<io::Error>>,
    /// Made at the first file with several paths.
    groups: Mutex<Option<Groups>>,
    began: Instant,
    bytes_read: AtomicU64,
    read_limit: Option<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking thread may have left is a list of sentences or paths, each whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Opens the root at `path`.
    pub(super) fn open(path: PathBuf, selection: Selection, read_limit: Option<u64>) -> io::Result<Self> {
        let root = open_root(&path)?;
        Self::new(path, root, selection, read_limit)
    }

    /// Of a root that is open; `path` is what it is called.
    pub(super) fn new(
        path: PathBuf,
        root: Arc<OwnedFd>,
        selection: Selection,
        read_limit: Option<u64>,
    ) -> io::Result<Self> {
        Ok(Self {
            root_device: rustix::fs::fstat(&root)?.st_dev,
            path,
            root,
            selection,
            foreign: Vec::new(),
            names: Names::default(),
            missing: Mutex::default(),
            notes: Mutex::default(),
            vanished: AtomicU64::new(0),
            shortage: Mutex::default(),
            groups: Mutex::default(),
            began: Instant::now(),
            bytes_read: AtomicU64::new(0),
            read_limit,
        })
    }

    /// The same without these folders and what is in them. One that is not there is in no tree.
    pub(super) fn without(mut self, folders: &[PathBuf]) -> Self {
        let found = folders.iter().filter_map(|folder| rustix::fs::stat(folder).ok());
        self.foreign = found.map(|stat| (stat.st_dev, stat.st_ino)).collect();
        self
    }

    /// Whether a directory is no part of the tree. The listing tells the inode of what lies beneath where something is
    /// mounted, so it is asked for.
    fn is_foreign(&self, dir: BorrowedFd<'_>, name: &CStr) -> bool {
        !self.foreign.is_empty()
            && rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| self.foreign.contains(&(stat.st_dev, stat.st_ino)))
    }

    /// What the root is called.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A way to the entries, for one thread.
    pub(super) fn trail(&self) -> Trail {
        Trail::new(Arc::clone(&self.root))
    }

    /// Lists a directory: what is selected of it, and nothing if it lies on another file system and that matters.
    pub(super) fn list(&self, trail: &mut Trail, dir: &[u8]) -> io::Result<Vec<Listed<()>>> {
        let fd = trail.enter(dir)?;
        if self.selection.one_file_system && rustix::fs::fstat(fd)?.st_dev != self.root_device {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        let mut key = dir.to_vec();
        for entry in Dir::read_from(fd)? {
            let entry = entry?;
            let mut name = entry.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Kinds are asked for one by one on some file systems; the entry may be gone by then.
                FileType::Unknown => match rustix::fs::statat(fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => FileType::Unknown,
                    Err(error) => return Err(error.into()),
                },
                kind => kind,
            };
            if kind == FileType::Directory {
                name.push(b'/');
            }
            key.truncate(dir.len());
            key.extend_from_slice(&name);
            if kind == FileType::Directory && self.is_foreign(fd, entry.file_name()) {
                self.note(&key, "is the repository itself, and is left out");
                continue;
            }
            if self.selection.takes(&key) {
                entries.push(Listed { name, item: () });
            }
        }
        if dir.is_empty() {
            entries.push(Listed { name: ROOT.to_vec(), item: () });
        }
        Ok(entries)
    }

    /// The key that carries the content of a file with several paths, if that is another one than `key`.
    pub(super) fn first_path(&self, trail: &mut Trail, key: &[u8], stat: &Stat) -> Option<Vec<u8>> {
        let mut groups = lock(&self.groups);
        let groups = groups.get_or_insert_with(|| self.find_groups());
        let group = groups.get_mut(&(stat.st_dev, stat.st_ino))?;
        if *group.first >= *key {
            group.delivered |= *group.first == *key;
            return None;
        }
        // It may have gone since: then this path has to carry the content too.
        let first = trail.stat(&group.first).ok()?;
        if (first.st_dev, first.st_ino) != (stat.st_dev, stat.st_ino) {
            return None;
        }
        group.referred = true;
        Some(group.first.to_vec())
    }

    /// One walk over the whole tree for files that have several paths, so that the first is the same whichever range is
    /// read first.
    fn find_groups(&self) -> Groups {
        let mut walker = Walker::new(KeyRange::all());
        let mut groups = Groups::new();
        let (mut lists, mut stats) = (self.trail(), self.trail());
        while let Some(step) = walker.next(|dir| self.list(&mut lists, dir)) {
            let key = match step {
                Step::Entry(key, ()) => key,
                Step::Unlistable(_, error) => {
                    self.heed(&error);
                    continue;
                }
            };
            let Ok(stat) = stats.stat(&key).inspect_err(|error| self.heed(error)) else { continue };
            if stat.st_nlink > 1 && !key.ends_with(b"/") {
                groups.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| Group {
                    first: key.into_boxed_slice(),
                    delivered: false,
                    referred: false,
                });
            }
        }
        groups
    }

    /// Names what was referred to as the first path of a file and then never read.
    pub(super) fn check_groups(&self) {
        let groups = lock(&self.groups);
        let broken = groups.iter().flat_map(HashMap::iter).filter(|(_, group)| group.referred && !group.delivered);
        let mut trail = self.trail();
        for ((device, inode), group) in broken {
            let first = trail.stat(&group.first);
            if !first.is_ok_and(|first| (first.st_dev, first.st_ino) == (*device, *inode)) {
                let error = io::Error::other("it vanished while other paths of the same file were read as links to it");
                self.missing(&group.first, &error);
            }
        }
    }

    /// Remembers an error that says nothing of the entry: no such run may end as if what it could not open could not be read.
    pub(super) fn heed(&self, error: &io::Error) {
        let Some(code) = error.raw_os_error().filter(|code| SHORTAGES.contains(&Errno::from_raw_os_error(*code)))
        else {
            return;
        };
        lock(&self.shortage).get_or_insert_with(|| io::Error::from_raw_os_error(code));
    }

    /// What this process lacked, if it lacked anything.
    pub(super) fn check_shortage(&self) -> Result<(), ConnectorError> {
        let Some(error) = lock(&self.shortage).as_ref().and_then(io::Error::raw_os_error) else { return Ok(()) };
        let error = io::Error::from_raw_os_error(error);
        let object = self.path.display().to_string();
        Err(match Errno::from_io_error(&error) {
            Some(Errno::MFILE) => ConnectorError::Unreadable {
                object,
                reason: format!("{error}: this process may not open enough of them at once (`ulimit -n`)"),
            },
            _ => ConnectorError::Io { operation: "read", object, source: error },
        })
    }

    /// Names an entry that is not in what was delivered.
    pub(super) fn missing(&self, key: &[u8], error: &io::Error) {
        self.heed(error);
        lock(&self.missing).add(format!("{}: {error}", KeyCodec::Path.show(key)));
    }

    /// Names an entry that was deleted between being listed and being read.
    pub(super) fn vanished(&self, key: &[u8]) {
        self.vanished.fetch_add(1, Ordering::Relaxed);
        self.note(key, "vanished before it was read");
    }

    /// How many were deleted between being listed and being read, since it was asked last.
    pub(super) fn take_vanished(&self) -> u64 {
        self.vanished.swap(0, Ordering::Relaxed)
    }

    /// Says something of an entry.
    pub(super) fn note(&self, key: &[u8], what: &str) {
        lock(&self.notes).add(format!("{} {what}", KeyCodec::Path.show(key)));
    }

    pub(super) fn all_missing(&self) -> Vec<String> {
        lock(&self.missing).all("that could not be read")
    }

    pub(super) fn all_notes(&self) -> Vec<String> {
        lock(&self.notes).all("notes of this kind")
    }

    /// Waits until the bytes read so far keep within the limit.
    pub(super) fn throttle(&self, bytes: u64) {
        let read = self.bytes_read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(limit) = self.read_limit.filter(|limit| *limit > 0) else { return };
        let due = Duration::from_secs_f64(read as f64 / limit as f64);
        if let Some(early) = due.checked_sub(self.began.elapsed()) {
            std::thread::sleep(early);
        }
    }
}
