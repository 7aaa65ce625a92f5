//! The records of one range of a directory's keys.

use super::{
    cells::{Attributes, Extent, FileTime, Kind, NamedCell, Shapes},
    content::{FileContent, find_extents},
    shared::{Shared, Version},
    walk::{Step, Walker, below},
};
use crate::record::{KeyRange, MAX_KEY_BYTES, Meta, RecordBatch, RecordStream, RowHead, StreamError, Tag};
use std::{
    collections::VecDeque,
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStringExt, fs::FileTypeExt, fs::MetadataExt},
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Few enough rows that a file is opened soon after its attributes were read.
const MAX_BATCH_ROWS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// A file must have rested this long before its times tell the next version from this one: a kernel's clock for file
/// times ticks every 1 to 10 ms.
const TICK_NANOS: i128 = 20_000_000;
/// The same where times seem to be kept in whole seconds (FAT keeps even ones).
const COARSE_TICK_NANOS: i128 = 2_000_000_000;

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
    shapes: Shapes,
    links: Links,
    unread: VecDeque<KeyRange>,
}

impl FilesStream {
    pub(super) fn new(shared: Arc<Shared>, range: &KeyRange, links: Links) -> Self {
        let walker = Walker::new(range.clone());
        Self { shared, range: range.clone(), walker, shapes: Shapes::default(), links, unread: VecDeque::new() }
    }

    /// What the parent holds from `range` stands.
    fn leave(&mut self, range: KeyRange) {
        let start = range.start.max(self.range.start.clone());
        let end = match (range.end, &self.range.end) {
            (Some(a), Some(b)) => Some(a.min(b.clone())),
            (a, b) => a.or_else(|| b.clone()),
        };
        if end.as_ref().is_none_or(|end| start < *end) {
            self.unread.push_back(KeyRange { start, end });
        }
    }

    fn unreadable(&mut self, key: &[u8], error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            self.shared.vanished(key);
            return;
        }
        self.shared.missing(key, error);
        self.leave(KeyRange::only(key));
        if key.ends_with(b"/") {
            self.leave(below(key));
        }
    }

    fn add(&mut self, batch: &mut RecordBatch, key: &[u8]) {
        if key.len() > MAX_KEY_BYTES {
            self.shared.missing(key, &io::Error::other("its path is longer than a key may be"));
            return;
        }
        let path = self.shared.path(key);
        let entry = fs::symlink_metadata(&path).and_then(|metadata| {
            if metadata.is_dir() != key.ends_with(b"/") {
                return Err(io::Error::other("it changed between a directory and something else while it was read"));
            }
            let attributes = self.look(key, &path, &metadata)?;
            Ok((metadata, attributes))
        });
        match entry {
            Ok((metadata, attributes)) => self.push(batch, key, &metadata, &attributes),
            Err(error) => self.unreadable(key, &error),
        }
    }

    fn look(&self, key: &[u8], path: &Path, metadata: &Metadata) -> io::Result<Attributes> {
        let kind = kind_of(metadata);
        let (uid, gid) = (metadata.uid(), metadata.gid());
        let mut attributes = Attributes {
            kind,
            gid: Some(gid),
            group: self.shared.names.group(gid).cloned(),
            mode: Some(metadata.mode() & 0o7777),
            mtime: Some(FileTime { seconds: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 }),
            uid: Some(uid),
            user: self.shared.names.user(uid).cloned(),
            ..Attributes::default()
        };
        match kind {
            Kind::File => attributes.size = Some(metadata.len()),
            Kind::Symlink => attributes.target = Some(fs::read_link(path)?.into_os_string().into_vec()),
            Kind::CharDevice | Kind::BlockDevice => {
                let device = metadata.rdev();
                attributes.device = Some((rustix::fs::major(device), rustix::fs::minor(device)));
            }
            Kind::Directory | Kind::Fifo | Kind::Socket => {}
        }
        if metadata.nlink() > 1 && kind != Kind::Directory {
            attributes.hardlink = self.shared.first_path(key, metadata);
            if attributes.hardlink.is_some() {
                if self.links == Links::Differ {
                    attributes.hardlink = Some(Vec::new());
                }
                return Ok(attributes);
            }
        }
        attributes.xattrs = self.xattrs(key, path)?;
        if kind == Kind::File && metadata.len() > 0 && metadata.blocks() < metadata.len().div_ceil(512) {
            attributes.extents = find_extents(path, metadata.len())?;
        }
        Ok(attributes)
    }

    fn xattrs(&self, key: &[u8], path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let names = match xattr::list(path) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut xattrs = Vec::new();
        for name in names {
            match xattr::get(path, &name) {
                Ok(Some(value)) => xattrs.push((name.into_vec(), value)),
                // Removed since it was listed.
                Ok(None) => {}
                Err(error) => {
                    let error = io::Error::new(error.kind(), format!("extended attribute {}: {error}", name.display()));
                    self.shared.missing(key, &error);
                }
            }
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }

    fn push(&mut self, batch: &mut RecordBatch, key: &[u8], metadata: &Metadata, attributes: &Attributes) {
        let cells = attributes.cells();
        let content = attributes.kind == Kind::File && attributes.hardlink.is_none();
        let shape = self.shapes.of(&cells, content);
        let extents = match &attributes.extents {
            Some(extents) => extents.clone(),
            None => vec![Extent { start: 0, len: metadata.len() }],
        };
        if !content || extents.iter().all(|extent| extent.len == 0) {
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
        let seen = Version::of(metadata);
        let meta = Meta { stamp: stamp(&seen, &cells), ..Meta::default() };
        let stream = FileContent { shared: Arc::clone(&self.shared), key: key.to_vec(), seen, extents, file: None };
        batch.push_streamed(RowHead { key, meta }, &shape, Tag::BLOB, Box::new(stream), |writer| {
            for (_, tag, bytes) in &cells {
                writer.cell(*tag, bytes);
            }
        });
    }
}

impl RecordStream for FilesStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while batch.len() < MAX_BATCH_ROWS && batch.bytes() < BATCH_BYTES {
            let shared = &self.shared;
            match self.walker.next(|dir| shared.list(dir)) {
                None => break,
                Some(Step::Entry(key, ())) => self.add(batch, &key),
                Some(Step::Unlistable(dir, error)) if dir.is_empty() => {
                    return Err(format!("list {}: {error}", self.shared.root().display()).into());
                }
                Some(Step::Unlistable(dir, error)) if error.kind() == io::ErrorKind::NotFound => {
                    self.shared.vanished(&dir);
                }
                Some(Step::Unlistable(dir, error)) => {
                    self.shared.missing(&dir, &error);
                    self.leave(below(&dir));
                }
            }
        }
        Ok(!batch.is_empty())
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.unread.pop_front()
    }
}

fn kind_of(metadata: &Metadata) -> Kind {
    let kind = metadata.file_type();
    if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else if kind.is_char_device() {
        Kind::CharDevice
    } else if kind.is_block_device() {
        Kind::BlockDevice
    } else {
        Kind::File
    }
}

/// The word that stands for a version of a file: its size, times, inode and attributes. 0, "unknown", while the file may
/// still change without its times showing it.
fn stamp(seen: &Version, cells: &[NamedCell]) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
    if !has_rested(seen.mtime, now) || !has_rested(seen.ctime, now) {
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

fn has_rested((seconds, nanos): (i64, i64), now_nanos: i128) -> bool {
    let tick = if nanos == 0 { COARSE_TICK_NANOS } else { TICK_NANOS };
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos) + tick < now_nanos
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
        let word = stamp(&seen, &cells);
        assert_ne!(word, 0);
        assert_eq!(word, stamp(&Version { device: 9, ..seen }, &cells), "device numbers change when a disk is mounted");
        for other in
            [Version { inode: 2, ..seen }, Version { size: 4, ..seen }, Version { ctime: (1_000_000_000, 6), ..seen }]
        {
            assert_ne!(word, stamp(&other, &cells));
        }
        assert_ne!(word, stamp(&seen, &[(5, Tag::INTEGER, vec![1; 8])]));
        assert_eq!(stamp(&Version { ctime: now, ..seen }, &cells), 0);
        assert_eq!(stamp(&Version { mtime: (now.0 - 1, 0), ..seen }, &cells), 0, "whole seconds need two of rest");
        assert_eq!(stamp(&Version { mtime: (now.0 + 5000, 1), ..seen }, &cells), 0, "the future has not rested");
    }
}
