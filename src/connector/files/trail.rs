//! Reaching the entries of a tree by handles: from the open root to a directory, one component after the other, never
//! through a link. Whoever puts a link where a directory was leads nowhere, and paths may be longer than the system takes in
//! one call.

use super::walk::ROOT;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// Directories that are held open at once; those above are opened again when the walk comes back to them.
pub(super) const MAX_OPEN: usize = 64;

/// How directories below the root are opened.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the root of a tree, whose path is the caller's and may lead through links.
pub(super) fn open_root(path: &Path) -> io::Result<Arc<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Arc::new(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Splits a key into its directory's key and its own name.
pub(super) fn split(key: &[u8]) -> (&[u8], &OsStr) {
    let path = key.strip_suffix(b"/").unwrap_or(key);
    let at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    (&path[..at], OsStr::from_bytes(&path[at..]))
}

/// The keys of the directories that lead to a directory, itself included, as lengths of its key.
pub(super) fn components(dir: &[u8]) -> impl Iterator<Item = usize> {
    dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1)
}

struct Step {
    /// How much of the key leads here.
    len: usize,
    fd: OwnedFd,
}

/// The open directories on the way to the one that was entered last.
pub(super) struct Trail {
    root: Arc<OwnedFd>,
    key: Vec<u8>,
    steps: Vec<Step>,
}

impl Trail {
    pub(super) const fn new(root: Arc<OwnedFd>) -> Self {
        Self { root, key: Vec::new(), steps: Vec::new() }
    }

    /// Goes to a directory by its key; an empty one is the root's.
    pub(super) fn enter(&mut self, dir: &[u8]) -> io::Result<BorrowedFd<'_>> {
        while self.steps.last().is_some_and(|step| !dir.starts_with(&self.key[..step.len])) {
            self.steps.pop();
        }
        let done = self.steps.last().map_or(0, |step| step.len);
        self.key.truncate(done);
        self.key.extend_from_slice(&dir[done..]);
        for len in components(dir).filter(|len| *len > done) {
            let (_, name) = split(&dir[..len]);
            let here = self.steps.last().map_or_else(|| self.root.as_fd(), |step| step.fd.as_fd());
            let fd = rustix::fs::openat(here, name, DIRECTORY, Mode::empty()).map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => io::Error::other(format!(
                    "{} is no directory any more, and no link is followed",
                    String::from_utf8_lossy(&dir[..len])
                )),
                error => error.into(),
            })?;
            self.steps.push(Step { len, fd });
            if self.steps.len() > MAX_OPEN {
                self.steps.remove(0);
            }
        }
        Ok(self.steps.last().map_or_else(|| self.root.as_fd(), |step| step.fd.as_fd()))
    }

    /// Goes to the directory that an entry lies in; gives it with the entry's name there. The root is its own entry `.`.
    pub(super) fn at<'k>(&mut self, key: &'k [u8]) -> io::Result<(BorrowedFd<'_>, &'k OsStr)> {
        if key.is_empty() || key == ROOT {
            return Ok((self.enter(b"")?, OsStr::new(".")));
        }
        let (dir, name) = split(key);
        Ok((self.enter(dir)?, name))
    }

    /// What the system says of an entry; of a link, not of what it points to.
    pub(super) fn stat(&mut self, key: &[u8]) -> io::Result<Stat> {
        let (dir, name) = self.at(key)?;
        Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// A handle on whatever an entry is, which opens nothing: of a link the link itself.
#[cfg(target_os = "linux")]
pub(super) fn hold(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// A handle on whatever an entry is, which opens nothing: of a link the link itself.
#[cfg(not(target_os = "linux"))]
pub(super) fn hold(_dir: BorrowedFd<'_>, _name: &OsStr) -> rustix::io::Result<OwnedFd> {
    Err(Errno::NOTSUP)
}

/// A path to an entry of an open directory, for calls that take no handle: its last component is not followed by those
/// that follow none. `None` where the system has no such paths.
pub(super) fn path_at(dir: BorrowedFd<'_>, name: &OsStr) -> Option<PathBuf> {
    path_of(dir).map(|path| path.join(name))
}

/// A path to what a handle stands for, itself never followed.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> Option<PathBuf> {
    static HAS_PROC: OnceLock<bool> = OnceLock::new();
    let has_proc = *HAS_PROC.get_or_init(|| cfg!(target_os = "linux") && Path::new("/proc/self/fd").exists());
    has_proc.then(|| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())))
}
