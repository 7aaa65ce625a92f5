//! The one temporary file of a run: however many collections there are, one is open. It has no name, so nothing is left
//! behind, however the run ends.

use std::{
    fs::File,
    io::{self, Read, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const BUFFER_BYTES: usize = 1 << 20;

/// A temporary file that is written at its end and read anywhere.
pub(in crate::connector) struct Spool {
    file: File,
    end: AtomicU64,
}

impl Spool {
    /// A new file in a directory.
    pub(in crate::connector) fn new(dir: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { file: tempfile::tempfile_in(dir)?, end: AtomicU64::new(0) }))
    }

    /// Writes behind all that is there; one at a time.
    pub(in crate::connector) fn append(self: &Arc<Self>) -> SpoolWriter {
        let at = self.end.load(Ordering::Relaxed);
        SpoolWriter { spool: Arc::clone(self), at, buffer: Vec::new() }
    }

    /// Reads a stretch.
    pub(in crate::connector) fn read(self: &Arc<Self>, stretch: Range<u64>) -> SpoolReader {
        SpoolReader { spool: Arc::clone(self), stretch }
    }

    /// Gives back the room of a stretch that is read no more, where the file system can.
    pub(in crate::connector) fn forget(&self, stretch: &Range<u64>) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // The room is missed only until the end of the run.
            let _ = fallocate(&self.file, flags, stretch.start, stretch.end - stretch.start);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = stretch;
    }
}

/// Writes at the end of a spool.
pub(in crate::connector) struct SpoolWriter {
    spool: Arc<Spool>,
    at: u64,
    buffer: Vec<u8>,
}

impl SpoolWriter {
    /// Where the next byte goes.
    pub(in crate::connector) fn at(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    /// Writes what is left; without it what was written does not count.
    pub(in crate::connector) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.spool.end.store(self.at, Ordering::Relaxed);
        Ok(())
    }
}

impl Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.spool.file.write_all_at(bytes, self.at)?;
            self.at += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spool.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads a stretch of a spool.
pub(in crate::connector) struct SpoolReader {
    spool: Arc<Spool>,
    stretch: Range<u64>,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.stretch.end - self.stretch.start).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let read = self.spool.file.read_at(&mut buffer[..most], self.stretch.start)?;
        self.stretch.start += read as u64;
        Ok(read)
    }
}
