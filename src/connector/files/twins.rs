//! Names that are one to a file system which does not tell letters apart by case. Two records of one name would be one file, and the
//! second would take the first one's place unseen.

use super::{trail::split, write::temporary_name};
use crate::{
    connector::RecordLookup,
    record::{KeyCodec, RecordBatch},
};
use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, Dir, Mode, OFlags},
};
use std::{collections::HashMap, ffi::OsStr, os::unix::ffi::OsStrExt};

/// The names of one directory.
struct Spelled {
    /// The directory's key.
    dir: Vec<u8>,
    /// What was made there, by what twins have in common.
    made: HashMap<String, Vec<u8>>,
    /// What was there when it was first asked for.
    found: Option<HashMap<String, Vec<u8>>>,
}

/// What a target's file system makes of names.
pub(super) struct Twins {
    folds: bool,
    /// The directory that is written to, and those above it.
    dirs: Vec<Spelled>,
    /// A directory that is another's twin: so is all below it.
    lost: Option<Vec<u8>>,
}

fn fold(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase()
}

fn list(dir: BorrowedFd<'_>) -> rustix::io::Result<HashMap<String, Vec<u8>>> {
    let names = Dir::read_from(dir)?.map(|entry| {
        let name = entry?.file_name().to_bytes().to_vec();
        Ok((fold(&name), name))
    });
    names.collect()
}

impl Twins {
    /// Tries it in the root of the target. Where nothing can be made nothing is restored either.
    pub(super) fn of(root: BorrowedFd<'_>) -> Self {
        let try_it = || -> Option<bool> {
            let name = temporary_name().ok()?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(root, &name, flags, Mode::from_raw_mode(0o600)).ok()?;
            let other = name.as_bytes().to_ascii_uppercase();
            let folds = rustix::fs::statat(root, OsStr::from_bytes(&other), AtFlags::SYMLINK_NOFOLLOW).is_ok();
            rustix::fs::unlinkat(root, &name, AtFlags::empty()).ok()?;
            Some(folds)
        };
        Self { folds: try_it().unwrap_or(false), dirs: Vec::new(), lost: None }
    }

    /// Fails if what stands under this name, or is found by it, is another record of the snapshot.
    pub(super) fn check(
        &mut self,
        dir: BorrowedFd<'_>,
        key: &[u8],
        records: Option<&dyn RecordLookup>,
    ) -> Result<(), String> {
        let (true, Some(records)) = (self.folds, records) else { return Ok(()) };
        let said = |other: &[u8]| {
            let other = KeyCodec::Path.show(other);
            Err(format!(
                "the file system of the target takes its name for that of {other}, which the snapshot holds, too"
            ))
        };
        self.lost = self.lost.take().filter(|lost| key.starts_with(lost));
        if let Some(lost) = &self.lost {
            return said(lost);
        }
        let (parent, name) = split(key);
        let (name, folded) = (name.as_bytes(), fold(name.as_bytes()));
        let spelled = self.spelled(parent);
        if spelled.found.is_none() {
            spelled.found = Some(list(dir).map_err(|error| format!("list what is there: {error}"))?);
        }
        let other = spelled.made.get(&folded).or_else(|| spelled.found.as_ref()?.get(&folded));
        let Some(other) = other.filter(|other| other.as_slice() != name) else { return Ok(()) };
        for end in [&b""[..], b"/"] {
            let other = [parent, other, end].concat();
            if records.find(&other, &mut RecordBatch::new()).map_err(|error| error.to_string())? {
                self.lost = key.ends_with(b"/").then(|| key.to_vec());
                return said(&other);
            }
        }
        Ok(())
    }

    /// Something was made under this name.
    pub(super) fn made(&mut self, key: &[u8]) {
        if self.folds {
            let (parent, name) = split(key);
            self.spelled(parent).made.insert(fold(name.as_bytes()), name.as_bytes().to_vec());
        }
    }

    /// Keys come in their order, so that what is no parent of this one is done with.
    fn spelled(&mut self, dir: &[u8]) -> &mut Spelled {
        self.dirs.retain(|spelled| dir.starts_with(&spelled.dir));
        let at = self.dirs.iter().position(|spelled| spelled.dir == dir).unwrap_or_else(|| {
            self.dirs.push(Spelled { dir: dir.to_vec(), made: HashMap::new(), found: None });
            self.dirs.len() - 1
        });
        &mut self.dirs[at]
    }
}
