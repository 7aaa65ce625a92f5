//! Where a restore is: the open directories from the root down to the one being written.
//!
//! Every step goes from an open directory to a child that must itself be a directory, never through a link, so no record
//! and no link found in the target leads out of it. Keys ascend, so a directory that was left does not come again: its
//! attributes are set at that moment.

use super::{
    cells::{Attributes, FileTime, Kind},
    times::times,
    trail::{DIRECTORY, MAX_OPEN, components, hold, path_of, split},
    walk::ROOT,
    write::{Tally, apply_to_directory, forget_acls},
};
use crate::{connector::RecordLookup, record::RecordBatch};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{FileType, Mode, Stat},
    io::Errno,
};
use std::{ffi::OsStr, sync::Arc};

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
    /// `None` while more directories are open below than may be at once.
    fd: Option<OwnedFd>,
    id: (u64, u64),
    leaving: Leaving,
}

/// The open directories.
pub(super) struct Places {
    root: Arc<OwnedFd>,
    root_leaving: Leaving,
    stack: Vec<Open>,
    /// Whether directories without a record keep their times.
    keep_times: bool,
    /// What directories that have to be made, and do not come themselves, are like.
    pub(super) records: Option<Arc<dyn RecordLookup>>,
}

impl Places {
    /// Begins at the root of a restore.
    pub(super) fn new(root: Arc<OwnedFd>, keep_times: bool) -> rustix::io::Result<Self> {
        let stat = rustix::fs::fstat(&root)?;
        let mut root_leaving = make_writable(&root, &stat);
        root_leaving.time = keep_times.then(|| time_of(&stat));
        Ok(Self { root, root_leaving, stack: Vec::new(), keep_times, records: None })
    }

    /// Goes to a directory, making those on the way that do not exist.
    pub(super) fn enter(&mut self, dir: &[u8], tally: &mut Tally) -> Result<BorrowedFd<'_>, String> {
        self.go(dir, true, tally)?;
        self.here().map_err(|error| fail("open", dir, error))
    }

    /// Goes to a directory if it is there.
    pub(super) fn find(&mut self, dir: &[u8], tally: &mut Tally) -> Result<Option<BorrowedFd<'_>>, String> {
        if !self.go(dir, false, tally)? {
            return Ok(None);
        }
        self.here().map(Some).map_err(|error| fail("open", dir, error))
    }

    fn go(&mut self, dir: &[u8], make: bool, tally: &mut Tally) -> Result<bool, String> {
        while self.stack.last().is_some_and(|open| !dir.starts_with(&open.key)) {
            self.leave_one(tally);
        }
        let done = self.stack.last().map_or(0, |open| open.key.len());
        for len in components(dir).filter(|len| *len > done) {
            let key = &dir[..len];
            let (_, name) = split(key);
            let parent = self.here().map_err(|error| fail("open", key, error))?;
            let mut closed_mode = None;
            let mut attributes = None;
            let opened = match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    attributes = self.attributes_of(key, tally);
                    make_directory(parent, name, attributes.is_some()).map_err(|error| fail("make", key, error))
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !make => return Ok(false),
                // Ours, but closed to ourselves: opened until it is left.
                Err(Errno::ACCESS) => open_closed(parent, name)
                    .map(|(fd, mode)| {
                        closed_mode = Some(mode);
                        fd
                    })
                    .map_err(|error| fail("open", key, error)),
                Err(Errno::NOTDIR | Errno::LOOP) => Err(format!(
                    "{} is no directory, and nothing is written through a link",
                    String::from_utf8_lossy(key)
                )),
                opened => opened.map_err(|error| fail("open", key, error)),
            };
            let fd = opened?;
            let stat = rustix::fs::fstat(&fd).map_err(|error| fail("look at", key, error))?;
            let mut leaving = make_writable(&fd, &stat);
            leaving.mode = leaving.mode.or(closed_mode);
            leaving.time = (self.keep_times && attributes.is_none()).then(|| time_of(&stat));
            leaving.attributes = attributes;
            self.stack.push(Open { key: key.to_vec(), fd: Some(fd), id: (stat.st_dev, stat.st_ino), leaving });
            if let Some(above) = self.stack.len().checked_sub(MAX_OPEN + 1).and_then(|at| self.stack.get_mut(at)) {
                above.fd = None;
            }
        }
        Ok(true)
    }

    /// What the snapshot says of a directory that is made for what is in it.
    fn attributes_of(&self, key: &[u8], tally: &mut Tally) -> Option<Box<Attributes>> {
        let mut batch = RecordBatch::new();
        match self.records.as_ref()?.find(key, &mut batch) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tally.unknown_directory(key, error.as_ref());
                return None;
            }
        }
        let (attributes, ..) = Attributes::decode(&batch.row(0)).ok()?;
        (attributes.kind == Kind::Directory).then(|| Box::new(attributes))
    }

    /// Says which attributes the directory that was entered last (or the root) gets when it is left.
    pub(super) fn set_attributes(&mut self, dir: &[u8], attributes: Attributes) {
        let leaving = match self.stack.last_mut() {
            Some(open) if dir != ROOT => &mut open.leaving,
            _ => &mut self.root_leaving,
        };
        leaving.attributes = Some(Box::new(attributes));
    }

    /// The root was made by this restore: it gets what the snapshot says, if it does not come itself.
    pub(super) fn root_is_new(&mut self, tally: &mut Tally) {
        if self.root_leaving.attributes.is_none() {
            self.root_leaving.attributes = self.attributes_of(ROOT, tally);
        }
    }

    /// Leaves every directory, the root last.
    pub(super) fn leave_all(&mut self, tally: &mut Tally) {
        while !self.stack.is_empty() {
            self.leave_one(tally);
        }
        leave(&self.root, &std::mem::take(&mut self.root_leaving), ROOT, tally);
    }

    /// Goes to a directory to remove something from it: it and those on the way keep their times. `None` if it is gone.
    pub(super) fn revisit(&mut self, dir: &[u8], tally: &mut Tally) -> Result<Option<BorrowedFd<'_>>, String> {
        self.keep_times = true;
        if self.root_leaving.attributes.is_none() && self.root_leaving.time.is_none() {
            self.root_leaving.time = rustix::fs::fstat(&self.root).ok().map(|stat| time_of(&stat));
        }
        self.find(dir, tally)
    }

    fn here(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        match self.stack.last() {
            None => Ok(self.root.as_fd()),
            // It could not be opened again when what is below was left.
            Some(open) => open.fd.as_ref().map(AsFd::as_fd).ok_or(Errno::STALE),
        }
    }

    fn leave_one(&mut self, tally: &mut Tally) {
        let Some(open) = self.stack.pop() else { return };
        if let (Some(above), Some(below)) = (self.stack.last_mut(), &open.fd)
            && above.fd.is_none()
        {
            above.fd = open_above(below, above.id);
        }
        match &open.fd {
            Some(fd) => leave(fd, &open.leaving, &open.key, tally),
            None => tally.modes += 1,
        }
    }
}

/// The directory that another one lies in, if it is still the one that it was.
fn open_above(below: &OwnedFd, id: (u64, u64)) -> Option<OwnedFd> {
    let above = rustix::fs::openat(below, "..", DIRECTORY, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&above).ok()?;
    ((stat.st_dev, stat.st_ino) == id).then_some(above)
}

fn fail(what: &str, key: &[u8], error: Errno) -> String {
    format!("{what} the directory {}: {}", String::from_utf8_lossy(key), std::io::Error::from(error))
}

/// Makes a directory and opens it; one whose attributes are known is closed to others until it gets them.
fn make_directory(parent: BorrowedFd<'_>, name: &OsStr, is_known: bool) -> rustix::io::Result<OwnedFd> {
    let mode = if is_known { Mode::RWXU } else { Mode::from_raw_mode(0o755) };
    rustix::fs::mkdirat(parent, name, mode)?;
    let fd = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    forget_acls(fd.as_fd(), &[]);
    Ok(fd)
}

/// Opens a directory that is closed to its owner; gives the permissions that it had.
fn open_closed(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<(OwnedFd, Mode)> {
    let handle = hold(parent, name)?;
    let stat = rustix::fs::fstat(&handle)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    rustix::fs::chmod(path_of(handle.as_fd()).ok_or(Errno::ACCESS)?, Mode::RWXU)?;
    let fd = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    Ok((fd, Mode::from_raw_mode(stat.st_mode)))
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
fn make_writable(fd: &OwnedFd, stat: &Stat) -> Leaving {
    let mut leaving = Leaving::default();
    let mode = Mode::from_raw_mode(stat.st_mode);
    if !mode.contains(Mode::WUSR | Mode::XUSR)
        && !rustix::process::geteuid().is_root()
        && rustix::fs::fchmod(fd, mode | Mode::RWXU).is_ok()
    {
        leaving.mode = Some(mode);
    }
    leaving
}

fn time_of(stat: &Stat) -> FileTime {
    FileTime { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}
