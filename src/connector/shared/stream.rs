//! Pipes and devices as targets: they are written to, and never replaced.

use std::{fs, io, path::Path, sync::atomic::AtomicBool};

/// Whether what is there takes bytes as they come.
#[cfg(unix)]
pub(in crate::connector) fn is_stream(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    metadata.file_type().is_fifo() || metadata.file_type().is_char_device()
}

#[cfg(not(unix))]
pub(in crate::connector) fn is_stream(_metadata: &fs::Metadata) -> bool {
    false
}

/// Opens a pipe or device for writing; waits for somebody who reads the pipe, until it is to stop.
#[cfg(unix)]
pub(in crate::connector) fn open_stream(path: &Path, stop: &AtomicBool) -> io::Result<fs::File> {
    use rustix::fs::{Mode, OFlags};
    use std::{sync::atomic::Ordering, time::Duration};
    /// How long until it is asked again whether a pipe has a reader.
    const READER_PAUSE: Duration = Duration::from_millis(20);
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    loop {
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => {
                let flags = rustix::fs::fcntl_getfl(&fd)?;
                rustix::fs::fcntl_setfl(&fd, flags - OFlags::NONBLOCK)?;
                return Ok(fd.into());
            }
            Err(rustix::io::Errno::NXIO) if !stop.load(Ordering::Relaxed) => std::thread::sleep(READER_PAUSE),
            Err(rustix::io::Errno::NXIO) => return Err(io::Error::other("interrupted before anybody read it")),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
pub(in crate::connector) fn open_stream(_path: &Path, _stop: &AtomicBool) -> io::Result<fs::File> {
    Err(io::ErrorKind::Unsupported.into())
}
