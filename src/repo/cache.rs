//! A cache on local disk of what is read again and again from far storage: metadata packs and index objects, sealed as they
//! are in storage. It may be deleted at any time, and is shared by processes: files appear whole under their names and never
//! change. Nothing in it is trusted: a frame must open, an index object must have the hash that it is named by.
//!
//! Nothing here fails a caller. What cannot be kept is not kept.

use super::{ObjectName, RepoId, ids::PackKind};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// The most that the cache of one repository takes, if not told otherwise.
pub const CACHE_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// A file that was used is marked as such no more often than this.
const TOUCH_AFTER: Duration = Duration::from_hours(1);

/// The directory is looked through no more often than this, but for what this process itself has written.
const LOOK_AFTER: Duration = Duration::from_hours(6);

/// What was left half written by a process that ended.
const STALE: Duration = Duration::from_hours(24);

const TEMPORARY: &str = "tmp";
const LOOKED: &str = "looked-through";

/// The cache of one repository at one place.
pub(super) struct Cache {
    root: PathBuf,
    bound: u64,
    /// Bytes written since this process looked through the directory; `None` before it did.
    written: Mutex<Option<u64>>,
    next: AtomicU64,
    /// There is no room, or no right to write: nothing more is kept.
    gave_up: AtomicBool,
}

impl Cache {
    /// The cache of a repository under `cache_dir`; touches nothing.
    pub fn of(cache_dir: &Path, id: &RepoId, location: &str, bound: u64) -> Self {
        let place = blake3::hash(location.as_bytes()).to_hex();
        Self {
            root: cache_dir.join(format!("{id}-{}.objects", &place[..16])),
            bound,
            written: Mutex::new(None),
            next: AtomicU64::new(0),
            gave_up: AtomicBool::new(false),
        }
    }

    /// Where what sources note lies, beside the cache.
    pub fn notes_of(cache_dir: &Path, id: &RepoId, location: &str) -> PathBuf {
        let place = blake3::hash(location.as_bytes()).to_hex();
        cache_dir.join(format!("{id}-{}.notes", &place[..16]))
    }

    fn pack(&self, pack: &ObjectName) -> PathBuf {
        let name = pack.to_string();
        self.root.join("packs").join(&name[..2]).join(name)
    }

    fn frame_of(&self, pack: &ObjectName, ordinal: u64) -> PathBuf {
        let name = pack.to_string();
        self.root.join("frames").join(&name[..2]).join(format!("{name}-{ordinal}"))
    }

    fn index(&self, name: &ObjectName) -> PathBuf {
        self.root.join("index").join(name.to_string())
    }

    /// Whether packs of this kind are kept.
    pub const fn keeps(kind: PackKind) -> bool {
        matches!(kind, PackKind::Metadata)
    }

    /// Whether a frame seems to be there.
    pub fn has_frame(&self, pack: &ObjectName, ordinal: u64) -> bool {
        self.pack(pack).is_file() || self.frame_of(pack, ordinal).is_file()
    }

    /// A frame's bytes, by the pack's own file or the frame's.
    pub fn frame(&self, pack: &ObjectName, ordinal: u64, offset: u64, len: usize) -> Option<Vec<u8>> {
        Self::read(&self.pack(pack), offset, Some(len))
            .or_else(|| Self::read(&self.frame_of(pack, ordinal), 0, None).filter(|bytes| bytes.len() == len))
    }

    /// Forgets a frame that does not open, and the file of its pack with it.
    pub fn drop_frame(&self, pack: &ObjectName, ordinal: u64) {
        for path in [self.pack(pack), self.frame_of(pack, ordinal)] {
            // What cannot be removed is passed over each time.
            let _ = fs::remove_file(path);
        }
    }

    /// Keeps a frame.
    pub fn keep_frame(&self, pack: &ObjectName, ordinal: u64, bytes: &[u8]) {
        if !self.has_frame(pack, ordinal) {
            self.keep(&self.frame_of(pack, ordinal), bytes);
        }
    }

    /// Keeps a whole pack.
    pub fn keep_pack(&self, pack: &ObjectName, bytes: &[u8]) {
        self.keep(&self.pack(pack), bytes);
    }

    /// Whether an index object seems to be there.
    pub fn has_index(&self, name: &ObjectName) -> bool {
        self.index(name).is_file()
    }

    /// An index object, whole.
    pub fn index_object(&self, name: &ObjectName) -> Option<Vec<u8>> {
        let path = self.index(name);
        let bytes = Self::read(&path, 0, None)?;
        if blake3::hash(&bytes) == blake3::Hash::from_bytes(name.0) {
            return Some(bytes);
        }
        let _ = fs::remove_file(path);
        None
    }

    /// Keeps an index object.
    pub fn keep_index_object(&self, name: &ObjectName, bytes: &[u8]) {
        self.keep(&self.index(name), bytes);
    }

    fn read(path: &Path, offset: u64, len: Option<usize>) -> Option<Vec<u8>> {
        let attempt = || -> io::Result<Vec<u8>> {
            let mut file = File::open(path)?;
            let metadata = file.metadata()?;
            let mut bytes = Vec::new();
            match len {
                None => drop(file.read_to_end(&mut bytes)?),
                Some(len) => {
                    file.seek(SeekFrom::Start(offset))?;
                    bytes.resize(len, 0);
                    file.read_exact(&mut bytes)?;
                }
            }
            let used = metadata.modified()?;
            if SystemTime::now().duration_since(used).is_ok_and(|since| since > TOUCH_AFTER) {
                // Whoever may not write here may read all the same.
                let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
            }
            Ok(bytes)
        };
        attempt().ok()
    }

    fn keep(&self, path: &Path, bytes: &[u8]) {
        if self.gave_up.load(Ordering::Relaxed) || bytes.len() as u64 > self.bound / 8 {
            return;
        }
        if self.write(path, bytes).is_err() {
            self.gave_up.store(true, Ordering::Relaxed);
            return;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = written.map(|so_far| so_far + bytes.len() as u64);
        let is_due = so_far.map_or_else(|| self.is_due(), |so_far| so_far > self.bound / 16);
        *written = Some(so_far.unwrap_or(0));
        if is_due {
            // What cannot be looked through now is the next time.
            let _ = self.evict();
            *written = Some(0);
        }
    }

    /// Whole or not at all. Not synced: what a crash leaves torn does not open.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = self.root.join(TEMPORARY);
        fs::create_dir_all(&folder)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{}-{number}", std::process::id()));
        let made = File::create(&temporary).and_then(|mut file| file.write_all(bytes));
        let made = made.and_then(|()| fs::rename(&temporary, path));
        if made.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        made
    }

    fn is_due(&self) -> bool {
        let looked = fs::metadata(self.root.join(LOOKED)).and_then(|metadata| metadata.modified());
        looked.map_or(true, |looked| SystemTime::now().duration_since(looked).is_ok_and(|since| since > LOOK_AFTER))
    }

    /// Removes what was not used for longest until an eighth of the bound is free.
    pub fn evict(&self) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        fs::write(self.root.join(LOOKED), b"")?;
        let mut files = Vec::new();
        for folder in ["packs", "frames", "index", TEMPORARY] {
            collect(&self.root.join(folder), &mut files)?;
        }
        let now = SystemTime::now();
        let is_stale = |file: &Kept| {
            file.path.parent().is_some_and(|folder| folder.ends_with(TEMPORARY))
                && now.duration_since(file.used).is_ok_and(|age| age > STALE)
        };
        for file in files.iter().filter(|file| is_stale(file)) {
            let _ = fs::remove_file(&file.path);
        }
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        if total <= self.bound {
            return Ok(());
        }
        files.sort_by_key(|file| file.used);
        for file in files {
            if total <= self.bound - self.bound / 8 {
                break;
            }
            if fs::remove_file(&file.path).is_ok() {
                total -= file.bytes;
            }
        }
        Ok(())
    }
}

struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// All files below a folder; what others remove meanwhile is left out.
fn collect(folder: &Path, files: &mut Vec<Kept>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            collect(&entry.path(), files)?;
        } else if let Ok(used) = metadata.modified() {
            files.push(Kept { path: entry.path(), bytes: metadata.len(), used });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u8) -> ObjectName {
        ObjectName([n; 32])
    }

    fn cache(bound: u64) -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of(folder.path(), &RepoId([1; 16]), "s3://b", bound);
        (folder, cache)
    }

    #[test]
    fn frames_come_from_their_pack_or_by_themselves() {
        let (_folder, cache) = cache(1 << 20);
        assert_eq!(cache.frame(&name(1), 3, 10, 4), None);
        cache.keep_frame(&name(1), 3, b"four");
        assert_eq!(cache.frame(&name(1), 3, 10, 4).unwrap(), b"four");
        assert_eq!(cache.frame(&name(1), 3, 10, 5), None, "another length");
        cache.keep_pack(&name(2), b"0123456789four");
        assert!(cache.has_frame(&name(2), 7));
        assert_eq!(cache.frame(&name(2), 7, 10, 4).unwrap(), b"four");
        assert_eq!(cache.frame(&name(2), 7, 12, 4), None, "beyond the end");
        cache.drop_frame(&name(2), 7);
        assert!(!cache.has_frame(&name(2), 7));
        assert_eq!(fs::read_dir(cache.root.join(TEMPORARY)).unwrap().count(), 0);
    }

    #[test]
    fn an_index_object_with_other_bytes_is_forgotten() {
        let (_folder, cache) = cache(1 << 20);
        let bytes = b"an index object".to_vec();
        let name = ObjectName(*blake3::hash(&bytes).as_bytes());
        cache.keep_index_object(&name, &bytes);
        assert_eq!(cache.index_object(&name).unwrap(), bytes);
        fs::write(cache.index(&name), b"other").unwrap();
        assert_eq!(cache.index_object(&name), None);
        assert!(!cache.index(&name).exists());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let (_folder, cache) = cache(80_000);
        for n in 0..8 {
            cache.keep_pack(&name(n), &vec![n; 9_000]);
            let age = Duration::from_hours(u64::from(200 - n));
            let file = File::options().append(true).open(cache.pack(&name(n))).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        assert_eq!(cache.frame(&name(0), 0, 0, 4).unwrap(), [0; 4], "used just now");
        cache.keep_pack(&name(8), &vec![8; 9_000]);
        cache.evict().unwrap();
        let left: Vec<u8> = (0..9).filter(|n| cache.has_frame(&name(*n), 0)).collect();
        assert_eq!(left, [0, 3, 4, 5, 6, 7, 8]);
        cache.keep_pack(&name(9), &vec![9; 20_000]);
        assert!(!cache.has_frame(&name(9), 0), "one object does not take all of it");
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_no_cache() {
        let (folder, cache) = cache(1 << 20);
        fs::write(&cache.root, b"a file in its place").unwrap();
        cache.keep_pack(&name(1), b"x");
        assert!(!cache.has_frame(&name(1), 0) && folder.path().exists());
    }
}
