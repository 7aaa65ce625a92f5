//! The records of one range of a directory's keys.

use super::{
    cells::{Attributes, Extent, FileTime, Kind, NamedCell, Shapes},
    content::{FileContent, find_extents, is_database},
    shared::{Shared, Version},
    trail::{Trail, split},
    walk::{Listed, Step, Walker, below},
    xattrs::xattrs_of,
};
use crate::connector::shared::trust::Trust;
use crate::record::{KeyCodec, KeyRange, MAX_KEY_BYTES, Meta, RecordBatch, RecordStream, RowHead, StreamError, Tag};
use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, FileType, Stat},
};
use std::{
    collections::{HashMap, VecDeque},
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

/// Few enough rows that a file is opened soon after its attributes were read.
const MAX_BATCH_ROWS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// What lies beside a database that somebody has open.
const BESIDE_DATABASES: [&[u8]; 2] = [b"-wal", b"-journal"];

/// How hard links appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// Paths after the first refer to it.
    Refer,
    /// They refer to nothing, and so differ from every record of a snapshot: in a directory that is restored to, writing
    /// the first path makes a new file, and each other path has to be linked again.
    Differ,
}

/// Reads the entries of a key range.
pub(super) struct FilesStream {
    shared: Arc<Shared>,
    range: KeyRange,
    walker: Walker<()>,
    /// The way of the walk.
    trail: Trail,
    /// The way to first paths of hard links.
    elsewhere: Trail,
    /// The way to contents, which are read behind the walk.
    contents: Arc<Mutex<Trail>>,
    place: Option<OpenDirectory>,
    /// Files beside which something lies that databases in use have, by their keys.
    databases: HashMap<Vec<u8>, Vec<u8>>,
    shapes: Shapes,
    links: Links,
    unread: VecDeque<KeyRange>,
}

/// The directory whose entries are read.
struct OpenDirectory {
    key: Vec<u8>,
    device: u64,
    trust: Trust,
    is_overlay: bool,
}

impl OpenDirectory {
    fn of(key: &[u8], fd: BorrowedFd<'_>) -> io::Result<Self> {
        let device = rustix::fs::fstat(fd)?.st_dev;
        Ok(Self { key: key.to_vec(), device, trust: Trust::of(fd), is_overlay: Trust::is_overlay(fd) })
    }

    /// What is known of the file system of an entry.
    fn trust(&self, stat: &Stat) -> Trust {
        if stat.st_dev == self.device || self.is_overlay { self.trust } else { Trust::None }
    }
}

impl FilesStream {
    pub(super) fn new(shared: Arc<Shared>, range: &KeyRange, links: Links) -> Self {
        Self {
            range: range.clone(),
            walker: Walker::new(range.clone()),
            trail: shared.trail(),
            elsewhere: shared.trail(),
            contents: Arc::new(Mutex::new(shared.trail())),
            place: None,
            databases: HashMap::new(),
            shapes: Shapes::default(),
            links,
            unread: VecDeque::new(),
            shared,
        }
    }

    /// What the parent holds from `range` stands.
    fn leave(&mut self, range: &KeyRange) {
        self.unread.extend(range.intersection(&self.range));
    }

    fn unreadable(&mut self, key: &[u8], error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            self.shared.vanished(key);
            return;
        }
        self.shared.missing(key, error);
        self.leave(&KeyRange::only(key));
        if key.ends_with(b"/") {
            self.leave(&below(key));
        }
    }

    fn add(&mut self, batch: &mut RecordBatch, key: &[u8]) {
        if key.len() > MAX_KEY_BYTES {
            self.shared.missing(key, &io::Error::other("its path is longer than a key may be"));
            return;
        }
        match self.look(key) {
            Ok(entry) => self.push(batch, key, &entry),
            Err(error) => self.unreadable(key, &error),
        }
    }

    fn look(&mut self, key: &[u8]) -> io::Result<Entry> {
        let (dir, name) = self.trail.at(key)?;
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = kind_of(&stat);
        if (kind == Kind::Directory) != key.ends_with(b"/") {
            return Err(io::Error::other("it changed between a directory and something else while it was read"));
        }
        let place = match &mut self.place {
            Some(place) if place.key == split(key).0 => place,
            place => place.insert(OpenDirectory::of(split(key).0, dir)?),
        };
        let (shared, size) = (&self.shared, stat.st_size as u64);
        let trust = place.trust(&stat);
        let mut attributes = known_by_stat(shared, kind, &stat);
        if kind == Kind::File && !trust.is_unsized(size) {
            attributes.size = Some(size);
        }
        if kind == Kind::Symlink {
            attributes.target = Some(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes());
        }
        if stat.st_nlink > 1 && kind != Kind::Directory {
            attributes.hardlink = shared.first_path(&mut self.elsewhere, key, &stat);
        }
        if let Some(first) = &mut attributes.hardlink {
            if self.links == Links::Differ {
                first.clear();
            }
            return Ok(Entry { stat, trust, attributes });
        }
        attributes.xattrs = xattrs_of(kind, dir, name, &mut |name, error| {
            shared.heed(error);
            let words = format!("extended attribute {}: {error}", String::from_utf8_lossy(name));
            shared.missing(key, &io::Error::new(error.kind(), words));
        })?;
        if attributes.size.is_some_and(|size| size > 0 && (stat.st_blocks as u64) < size.div_ceil(512)) {
            attributes.extents = find_extents(dir, name, size)?;
        }
        if self.links == Links::Refer
            && let Some(beside) = self.databases.get(key)
            && kind == Kind::File
            && is_database(dir, name)
        {
            let path = shared.path().join(OsStr::from_bytes(key));
            shared.note(
                key,
                &format!(
                    "is a database that is in use ({} lies beside it): read as files the two need not fit together; \
                     sqlite:{} reads it as one state",
                    KeyCodec::Path.show(beside),
                    super::shown_path(&path)
                ),
            );
        }
        Ok(Entry { stat, trust, attributes })
    }

    fn push(&mut self, batch: &mut RecordBatch, key: &[u8], entry: &Entry) {
        let attributes = &entry.attributes;
        let cells = attributes.cells();
        let content = attributes.kind == Kind::File && attributes.hardlink.is_none();
        let shape = self.shapes.of(&cells, content);
        let extents = match (&attributes.extents, attributes.size) {
            (Some(extents), _) => Some(extents.clone()),
            (None, Some(len)) => Some(vec![Extent { start: 0, len }]),
            (None, None) => None,
        };
        let is_empty = extents.as_ref().is_some_and(|extents| extents.iter().all(|extent| extent.len == 0));
        if !content || is_empty {
            batch.push(RowHead { key, meta: Meta::default() }, &shape, |writer| {
                for (_, tag, bytes) in &cells {
                    writer.cell(*tag, bytes);
                }
                if content {
                    writer.cell(Tag::BLOB, &[]);
                }
            });
            return;
        }
        let seen = Version::of(&entry.stat);
        let meta = Meta { stamp: stamp(entry.trust, &seen, &cells), ..Meta::default() };
        let (shared, trail) = (Arc::clone(&self.shared), Arc::clone(&self.contents));
        let stream = FileContent { shared, trail, key: key.to_vec(), seen, extents, file: None };
        batch.push_streamed(RowHead { key, meta }, &shape, Tag::BLOB, Box::new(stream), |writer| {
            for (_, tag, bytes) in &cells {
                writer.cell(*tag, bytes);
            }
        });
    }

    fn step(&mut self) -> Option<Step<()>> {
        let Self { shared, walker, trail, databases, .. } = self;
        walker.next(|dir| {
            let entries = shared.list(trail, dir)?;
            find_databases(dir, &entries, databases);
            Ok(entries)
        })
    }
}

/// An entry as it was found.
struct Entry {
    stat: Stat,
    trust: Trust,
    attributes: Attributes,
}

fn known_by_stat(shared: &Shared, kind: Kind, stat: &Stat) -> Attributes {
    let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice)
        .then(|| (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)));
    Attributes {
        kind,
        device,
        gid: Some(stat.st_gid),
        group: shared.names.group(stat.st_gid),
        mode: Some(stat.st_mode & 0o7777),
        mtime: Some(FileTime { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }),
        uid: Some(stat.st_uid),
        user: shared.names.user(stat.st_uid),
        ..Attributes::default()
    }
}

/// Notes which entries of a directory may be databases in use: those of before are forgotten, the walk has passed them.
fn find_databases(dir: &[u8], entries: &[Listed<()>], databases: &mut HashMap<Vec<u8>, Vec<u8>>) {
    databases.retain(|key, _| dir.starts_with(split(key).0));
    for Listed { name, .. } in entries {
        let stem = BESIDE_DATABASES.iter().find_map(|suffix| name.strip_suffix(*suffix));
        if let Some(stem) = stem.filter(|stem| !stem.is_empty()) {
            databases.insert([dir, stem].concat(), name.clone());
        }
    }
}

impl RecordStream for FilesStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while batch.len() < MAX_BATCH_ROWS && batch.bytes() < BATCH_BYTES {
            match self.step() {
                None => break,
                Some(Step::Entry(key, ())) => self.add(batch, &key),
                Some(Step::Unlistable(dir, error)) if dir.is_empty() => {
                    return Err(format!("list {}: {error}", self.shared.path().display()).into());
                }
                Some(Step::Unlistable(dir, error)) if error.kind() == io::ErrorKind::NotFound => {
                    self.shared.vanished(&dir);
                }
                Some(Step::Unlistable(dir, error)) => {
                    self.shared.missing(&dir, &error);
                    self.leave(&below(&dir));
                }
            }
        }
        self.shared.check_shortage()?;
        Ok(!batch.is_empty())
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.unread.pop_front()
    }
}

/// What an entry is.
pub(super) fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        _ => Kind::File,
    }
}

/// The word that stands for a version of a file: its size, times, inode and attributes. 0, "unknown", while the file may
/// still change without its times showing it.
fn stamp(trust: Trust, seen: &Version, cells: &[NamedCell]) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
    if !trust.has_rested(seen.mtime, now) || !trust.has_rested(seen.ctime, now) {
        return 0;
    }
    let mut hasher = blake3::Hasher::new();
    for word in [seen.inode as i64, seen.size as i64, seen.mtime.0, seen.mtime.1, seen.ctime.0, seen.ctime.1] {
        hasher.update(&word.to_le_bytes());
    }
    for (at, tag, bytes) in cells {
        hasher.update(&[*at as u8, tag.0]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    let word = hasher.finalize().as_bytes().first_chunk().map_or(1, |bytes| u64::from_le_bytes(*bytes));
    word.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_stands_only_for_files_at_rest() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = (now.as_secs() as i64, i64::from(now.subsec_nanos()).max(1));
        let old = (1_000_000_000, 5);
        let seen = Version { inode: 1, device: 2, size: 3, mtime: old, ctime: old };
        let cells = vec![(5, Tag::INTEGER, vec![0; 8])];
        let word = stamp(Trust::Local, &seen, &cells);
        assert_ne!(word, 0);
        assert_eq!(
            word,
            stamp(Trust::Local, &Version { device: 9, ..seen }, &cells),
            "device numbers change when a disk is mounted"
        );
        for other in
            [Version { inode: 2, ..seen }, Version { size: 4, ..seen }, Version { ctime: (1_000_000_000, 6), ..seen }]
        {
            assert_ne!(word, stamp(Trust::Local, &other, &cells));
        }
        assert_ne!(word, stamp(Trust::Local, &seen, &[(5, Tag::INTEGER, vec![1; 8])]));
        assert_eq!(stamp(Trust::Local, &Version { ctime: now, ..seen }, &cells), 0);
        assert_eq!(stamp(Trust::None, &seen, &cells), 0, "times that anybody may set prove nothing");
        assert_eq!(
            stamp(Trust::Local, &Version { mtime: (now.0 - 1, 0), ..seen }, &cells),
            0,
            "whole seconds need two of rest"
        );
        assert_eq!(
            stamp(Trust::Local, &Version { mtime: (now.0 + 5000, 1), ..seen }, &cells),
            0,
            "the future has not rested"
        );
    }
}
