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
    fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

/// What happens to a directory when it is left.
enum Leaving {
    Nothing,
    /// It gets a record's attributes.
    Attributes(Box<Attributes>),
    /// It gets back the time that it had: no record of it comes, because it is equal.
    Time(FileTime),
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
        let root_leaving = if keep_times { Leaving::Time(time_of(&root)?) } else { Leaving::Nothing };
        Ok(Self { root, root_leaving, stack: Vec::new(), keep_times })
    }

    /// The root.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
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
            let (fd, made) = match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(|e| fail("make", e))?;
                    (rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()), true)
                }
                Err(Errno::ACCESS) => {
                    // Ours, but closed to ourselves: opened until it is left.
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
            let leaving = match self.keep_times && !made {
                true => Leaving::Time(time_of(&fd).map_err(|e| fail("look at", e))?),
                false => Leaving::Nothing,
            };
            done += len;
            self.stack.push(Open { key, fd, leaving });
        }
        Ok(self.here())
    }

    /// Says which attributes the directory that was entered last (or the root) gets when it is left.
    pub(super) fn set_attributes(&mut self, dir: &[u8], attributes: Attributes) {
        let leaving = Leaving::Attributes(Box::new(attributes));
        match self.stack.last_mut() {
            Some(open) if dir != ROOT => open.leaving = leaving,
            _ => self.root_leaving = leaving,
        }
    }

    /// Leaves every directory, the root last.
    pub(super) fn leave_all(&mut self, tally: &mut Tally) {
        while !self.stack.is_empty() {
            self.leave_one(tally);
        }
        leave(&self.root, &std::mem::replace(&mut self.root_leaving, Leaving::Nothing), ROOT, tally);
    }

    /// Opens the directory of a key again, to remove something from it; gives the time it has to get back.
    pub(super) fn revisit(&mut self, dir: &[u8], tally: &mut Tally) -> Result<BorrowedFd<'_>, String> {
        self.keep_times = true;
        if matches!(self.root_leaving, Leaving::Nothing) {
            self.root_leaving = time_of(&self.root).map_or(Leaving::Nothing, Leaving::Time);
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
    match leaving {
        Leaving::Nothing => {}
        Leaving::Attributes(attributes) => apply_to_directory(fd.as_fd(), attributes, key, tally),
        Leaving::Time(time) => {
            if rustix::fs::futimens(fd, &times(*time)).is_err() {
                tally.times += 1;
            }
        }
    }
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
