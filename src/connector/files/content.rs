//! A file's content: opened only if it has to be read, and looked at before and after.

use super::{
    cells::Extent,
    shared::{Shared, Version},
};
use crate::record::StreamedValue;
use rustix::fs::{Mode, OFlags, SeekFrom};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// More stretches than this are joined across their smallest holes, so that a row stays small.
const MAX_EXTENTS: usize = 16_384;

/// The content of one regular file as the walk saw it.
pub(super) struct FileContent {
    pub(super) shared: Arc<Shared>,
    pub(super) key: Vec<u8>,
    pub(super) seen: Version,
    /// The stretches to read: all of it, or the data of a sparse file.
    pub(super) extents: Vec<Extent>,
    pub(super) file: Option<File>,
}

impl StreamedValue for FileContent {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        let path = self.shared.path(&self.key);
        // Who reads the stream names what fails; that nothing fails where a file is gone is for us to say.
        let file = open_no_follow(&path).inspect_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                self.shared.vanished(&self.key);
            }
        })?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file any more"));
        }
        let content = self;
        let file = content.file.insert(file);
        Ok(Box::new(ContentReader { shared: &content.shared, file, extents: content.extents.iter(), at: 0, left: 0 }))
    }

    fn is_untorn(&mut self) -> io::Result<bool> {
        let Some(file) = self.file.take() else { return Ok(true) };
        Ok(Version::of(&file.metadata()?) == self.seen)
    }
}

/// Opens a file for reading without following a link, waiting for a fifo, or touching its access time.
pub(super) fn open_no_follow(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    {
        // Only the owner may keep the access time still.
        match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
            Err(rustix::io::Errno::PERM) => {}
            opened => return Ok(opened?.into()),
        }
    }
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
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
pub(super) fn find_extents(path: &Path, size: u64) -> io::Result<Option<Vec<Extent>>> {
    let file = open_no_follow(path)?;
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
