//! What all streams of one run over a directory share: what was asked for, what could not be read, who is linked to whom.

use super::{
    names::Names,
    select::Selection,
    walk::{Listed, ROOT, Step, Walker},
};
use crate::record::{KeyCodec, KeyRange};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Names of files beyond this many are only counted.
const MAX_NAMED: usize = 1000;

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
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            device: metadata.dev(),
            size: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
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
    root: PathBuf,
    root_device: u64,
    pub(super) selection: Selection,
    pub(super) names: Names,
    missing: Mutex<Sentences>,
    notes: Mutex<Sentences>,
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
    pub(super) fn new(root: PathBuf, selection: Selection, read_limit: Option<u64>) -> io::Result<Self> {
        let metadata = fs::metadata(&root)?;
        Ok(Self {
            root_device: metadata.dev(),
            root,
            selection,
            names: Names::read(),
            missing: Mutex::default(),
            notes: Mutex::default(),
            groups: Mutex::default(),
            began: Instant::now(),
            bytes_read: AtomicU64::new(0),
            read_limit,
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the entry of a key lies.
    pub(super) fn path(&self, key: &[u8]) -> PathBuf {
        if key.is_empty() || key == ROOT {
            return self.root.clone();
        }
        self.root.join(OsStr::from_bytes(key.strip_suffix(b"/").unwrap_or(key)))
    }

    /// Lists a directory: what is selected of it, and nothing if it lies on another file system and that matters.
    pub(super) fn list(&self, dir: &[u8]) -> io::Result<Vec<Listed<()>>> {
        let path = self.path(dir);
        if self.selection.one_file_system && fs::symlink_metadata(&path)?.dev() != self.root_device {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        let mut key = dir.to_vec();
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let mut name = entry.file_name().as_bytes().to_vec();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => name.push(b'/'),
                // Kinds are asked for one by one on some file systems; the entry may be gone by then.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            key.truncate(dir.len());
            key.extend_from_slice(&name);
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
    pub(super) fn first_path(&self, key: &[u8], metadata: &Metadata) -> Option<Vec<u8>> {
        let mut groups = lock(&self.groups);
        let groups = groups.get_or_insert_with(|| self.find_groups());
        let group = groups.get_mut(&(metadata.dev(), metadata.ino()))?;
        if *group.first >= *key {
            group.delivered |= *group.first == *key;
            return None;
        }
        // It may have gone since: then this path has to carry the content too.
        let first = fs::symlink_metadata(self.path(&group.first)).ok()?;
        if (first.dev(), first.ino()) != (metadata.dev(), metadata.ino()) {
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
        while let Some(step) = walker.next(|dir| self.list(dir)) {
            let Step::Entry(key, ()) = step else { continue };
            let Ok(metadata) = fs::symlink_metadata(self.path(&key)) else { continue };
            if metadata.nlink() > 1 && !metadata.is_dir() {
                groups.entry((metadata.dev(), metadata.ino())).or_insert_with(|| Group {
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
        for ((device, inode), group) in broken {
            let first = fs::symlink_metadata(self.path(&group.first));
            if !first.is_ok_and(|first| (first.dev(), first.ino()) == (*device, *inode)) {
                let error = io::Error::other("it vanished while other paths of the same file were read as links to it");
                self.missing(&group.first, &error);
            }
        }
    }

    /// Names an entry that is not in what was delivered.
    pub(super) fn missing(&self, key: &[u8], error: &io::Error) {
        lock(&self.missing).add(format!("{}: {error}", KeyCodec::Path.show(key)));
    }

    /// Names an entry that was deleted between being listed and being read.
    pub(super) fn vanished(&self, key: &[u8]) {
        self.note(key, "vanished before it was read");
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
