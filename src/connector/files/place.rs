//! Where a restore is: the open directories from the root down to the one being written.
//!
//! Every step goes from an open directory to a child that must itself be a directory, never through a link, so no record
//! and no link found in the target leads out of it. Keys ascend, so a directory that was left does not come again: its
//! attributes are set at that moment.

use super::{
    cells::{Attributes, FileTime},
    walk::ROOT,
    write::{Tally, apply_to_directory},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

/// What happens to a directory when it is left.
#[derive(Default)]
struct Leaving {
    /// It gets a record's attributes.
    attributes: Option<Box<Attributes>>,
    /// Without a record: it gets back the time that it had.
    time: Option<FileTime>,
    /// Without a record: it gets back the permissions that were in our way.
    mode: Option<Mode>,
}

struct Open {
    /// The key, with its trailing slash.
    key: Vec<u8>,
    fd: OwnedFd,
    leaving: Leaving,
}

/// The open directories.
pub(super) struct Places {
    root: OwnedFd,
    root_leaving: Leaving,
    stack: Vec<Open>,
    /// Whether directories without a record keep their times.
    keep_times: bool,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Places {
    /// Opens the root of a restore.
    pub(super) fn open(root: &Path, keep_times: bool) -> rustix::io::Result<Self> {
        let root = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut root_leaving = make_writable(&root)?;
        root_leaving.time = if keep_times { Some(time_of(&root)?) } else { None };
        Ok(Self { root, root_leaving, stack: Vec::new(), keep_times })
    }

    /// Splits a key into its directory's key and its own name.
    pub(super) fn split(key: &[u8]) -> (&[u8], &OsStr) {
        let path = key.strip_suffix(b"/").unwrap_or(key);
        let at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        (&path[..at], OsStr::from_bytes(&path[at..]))
    }

    /// Goes to a directory, making those on the way that do not exist.
    pub(super) fn enter(&mut self, dir: &[u8], tally: &mut Tally) -> Result<BorrowedFd<'_>, String> {
        while self.stack.last().is_some_and(|open| !dir.starts_with(&open.key)) {
            self.leave_one(tally);
        }
        let mut done = self.stack.last().map_or(0, |open| open.key.len());
        while done < dir.len() {
            let len = dir[done..].iter().position(|&byte| byte == b'/').map_or(dir.len() - done, |slash| slash + 1);
            let key = dir[..done + len].to_vec();
            let (_, name) = Self::split(&key);
            let fail = |what: &str, error: Errno| {
                format!("{what} the directory {}: {}", String::from_utf8_lossy(&key), std::io::Error::from(error))
            };
            let parent = self.here();
            let mut closed_mode = None;
            let (fd, made) = match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(|e| fail("make", e))?;
                    (rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()), true)
                }
                Err(Errno::ACCESS) => {
                    // Ours, but closed to ourselves: opened until it is left.
                    let stat =
                        rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| fail("open", e))?;
                    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                        return Err(fail("open", Errno::NOTDIR));
                    }
                    closed_mode = Some(Mode::from_raw_mode(stat.st_mode));
                    let mode = Mode::from_raw_mode(0o700);
                    rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(|e| fail("open", e))?;
                    (rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()), false)
                }
                opened => (opened, false),
            };
            let fd = fd.map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => {
                    format!("{} is no directory, and nothing is written through a link", String::from_utf8_lossy(&key))
                }
                error => fail("open", error),
            })?;
            let mut leaving = make_writable(&fd).map_err(|error| fail("look at", error))?;
            leaving.mode = leaving.mode.or(closed_mode);
            if self.keep_times && !made {
                leaving.time = Some(time_of(&fd).map_err(|error| fail("look at", error))?);
            }
            done += len;
            self.stack.push(Open { key, fd, leaving });
        }
        Ok(self.here())
    }

    /// Says which attributes the directory that was entered last (or the root) gets when it is left.
    pub(super) fn set_attributes(&mut self, dir: &[u8], attributes: Attributes) {
        let leaving = match self.stack.last_mut() {
            Some(open) if dir != ROOT => &mut open.leaving,
            _ => &mut self.root_leaving,
        };
        leaving.attributes = Some(Box::new(attributes));
    }

    /// Leaves every directory, the root last.
    pub(super) fn leave_all(&mut self, tally: &mut Tally) {
        while !self.stack.is_empty() {
            self.leave_one(tally);
        }
        leave(&self.root, &std::mem::take(&mut self.root_leaving), ROOT, tally);
    }

    /// Goes to a directory to remove something from it: it and those on the way keep their times.
    pub(super) fn revisit(&mut self, dir: &[u8], tally: &mut Tally) -> Result<BorrowedFd<'_>, String> {
        self.keep_times = true;
        if self.root_leaving.attributes.is_none() && self.root_leaving.time.is_none() {
            self.root_leaving.time = time_of(&self.root).ok();
        }
        self.enter(dir, tally)
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.stack.last().map_or(&self.root, |open| &open.fd).as_fd()
    }

    fn leave_one(&mut self, tally: &mut Tally) {
        if let Some(open) = self.stack.pop() {
            leave(&open.fd, &open.leaving, &open.key, tally);
        }
    }
}

fn leave(fd: &OwnedFd, leaving: &Leaving, key: &[u8], tally: &mut Tally) {
    if let Some(attributes) = &leaving.attributes {
        apply_to_directory(fd.as_fd(), attributes, key, tally);
        return;
    }
    if let Some(mode) = leaving.mode {
        tally.modes += u64::from(rustix::fs::fchmod(fd, mode).is_err());
    }
    if let Some(time) = leaving.time {
        tally.times += u64::from(rustix::fs::futimens(fd, &times(time)).is_err());
    }
}

/// Lets the owner write to a directory that forbids it, until it is left. Where that fails, writing to it will say so.
fn make_writable(fd: &OwnedFd) -> rustix::io::Result<Leaving> {
    let mut leaving = Leaving::default();
    let mode = Mode::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    if !mode.contains(Mode::WUSR | Mode::XUSR)
        && !rustix::process::geteuid().is_root()
        && rustix::fs::fchmod(fd, mode | Mode::RWXU).is_ok()
    {
        leaving.mode = Some(mode);
    }
    Ok(leaving)
}

fn time_of(fd: &OwnedFd) -> rustix::io::Result<FileTime> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileTime { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 })
}

/// A modification time to set; the access time stays.
pub(super) fn times(mtime: FileTime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    }
}
