//! A file's content: opened only if it has to be read, and looked at before and after.

use super::{
    cells::Extent,
    shared::{Shared, Version},
    trail::Trail,
};
use crate::record::StreamedValue;
use rustix::{
    fd::BorrowedFd,
    fs::{FileType, Mode, OFlags, SeekFrom},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
};

/// More stretches than this are joined across their smallest holes, so that a row stays small.
const MAX_EXTENTS: usize = 16_384;

/// How `SQLite` databases begin.
const DATABASE: &[u8; 16] = b"SQLite format 3\0";

/// The content of one regular file as the walk saw it.
pub(super) struct FileContent {
    pub(super) shared: Arc<Shared>,
    /// The way there, which the contents of one stream share: they are read one after the other.
    pub(super) trail: Arc<Mutex<Trail>>,
    pub(super) key: Vec<u8>,
    pub(super) seen: Version,
    /// The stretches to read: all of it, or the data of a sparse file. `None` where only the end tells how long it is.
    pub(super) extents: Option<Vec<Extent>>,
    pub(super) file: Option<File>,
}

impl StreamedValue for FileContent {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        let mut trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        // Who reads the stream names what fails; that nothing fails where a file is gone is for us to say.
        let opened = trail.at(&self.key).and_then(|(dir, name)| open_regular(dir, name));
        drop(trail);
        let file = opened.inspect_err(|error| {
            self.shared.heed(error);
            if error.kind() == io::ErrorKind::NotFound {
                self.shared.vanished(&self.key);
            }
        })?;
        let content = self;
        let file = content.file.insert(file);
        let shared = &content.shared;
        Ok(match &content.extents {
            Some(extents) => Box::new(ContentReader { shared, file, extents: extents.iter(), at: 0, left: 0 }),
            None => Box::new(WholeReader { shared, file, at: 0 }),
        })
    }

    fn is_untorn(&mut self) -> io::Result<bool> {
        let Some(file) = self.file.take() else { return Ok(true) };
        // What is made when it is read has no time at which it was written.
        Ok(self.extents.is_none() || Version::of(&rustix::fs::fstat(&file)?) == self.seen)
    }
}

/// Opens what was a regular file when it was listed. Something of another kind in its place came later, as everything that is
/// made while a tree is read may: the file is gone.
fn open_regular(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "something that is no file has taken its place");
    let is_other = |error: &io::Error| {
        let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        matches!(code, Some(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO))
    };
    let file = open_no_follow(dir, name).map_err(|error| if is_other(&error) { gone() } else { error })?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind == FileType::RegularFile { Ok(file) } else { Err(gone()) }
}

/// Opens a file for reading without following a link, waiting for a fifo, or touching its access time.
pub(super) fn open_no_follow(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    {
        // Only the owner may keep the access time still.
        match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(rustix::io::Errno::PERM) => {}
            opened => return Ok(opened?.into()),
        }
    }
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?.into())
}

/// Whether a file begins as a database of `SQLite`.
pub(super) fn is_database(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    let mut head = [0; DATABASE.len()];
    open_no_follow(dir, name).is_ok_and(|file| file.read_exact_at(&mut head, 0).is_ok()) && head == *DATABASE
}

/// Reads on until there is no more.
struct WholeReader<'a> {
    shared: &'a Shared,
    file: &'a File,
    at: u64,
}

impl Read for WholeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        self.shared.throttle(read as u64);
        Ok(read)
    }
}

struct ContentReader<'a> {
    shared: &'a Shared,
    file: &'a File,
    extents: std::slice::Iter<'a, Extent>,
    at: u64,
    left: u64,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let Some(extent) = self.extents.next() else { return Ok(0) };
            (self.at, self.left) = (extent.start, extent.len);
        }
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let read = match self.file.read_at(&mut buffer[..want], self.at) {
            // The attributes already promise more: to make up the rest would be to invent it.
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            read => read,
        }?;
        self.at += read as u64;
        self.left -= read as u64;
        self.shared.throttle(read as u64);
        Ok(read)
    }
}

/// Where the data of a file lies that occupies less than its size; `None` if it has no holes.
pub(super) fn find_extents(dir: BorrowedFd<'_>, name: &OsStr, size: u64) -> io::Result<Option<Vec<Extent>>> {
    let file = open_no_follow(dir, name)?;
    let mut smallest_hole = 1;
    loop {
        if let Some(extents) = extents_across(&file, size, smallest_hole)? {
            let whole = matches!(extents[..], [Extent { start: 0, len }] if len == size);
            return Ok((!whole).then_some(extents));
        }
        smallest_hole *= 16;
    }
}

/// The data stretches, holes below `smallest_hole` bytes counted as data; `None` if there are too many.
fn extents_across(file: &File, size: u64, smallest_hole: u64) -> io::Result<Option<Vec<Extent>>> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => 0,
            Err(error) => return Err(error.into()),
        };
        if start >= size {
            break;
        }
        let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(size).clamp(start + 1, size);
        match extents.last_mut() {
            Some(last) if start - (last.start + last.len) < smallest_hole => last.len = end - last.start,
            _ => extents.push(Extent { start, len: end - start }),
        }
        if extents.len() > MAX_EXTENTS {
            return Ok(None);
        }
        at = end;
    }
    Ok(Some(extents))
}
