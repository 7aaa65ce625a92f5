//! Extended attributes of an entry of an open directory.

use super::{
    cells::{Kind, Xattr},
    content::open_no_follow,
    trail::path_at,
};
use rustix::{fd::BorrowedFd, io::Errno};
use std::{ffi::OsStr, fs::File, io, os::unix::ffi::OsStrExt, path::Path};

/// More than this no file system lists of attributes, nor holds in one.
const MAX_XATTR_BYTES: usize = 16 << 20;

/// Reads something whose length is not known before.
fn growing(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        match read(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < MAX_XATTR_BYTES => buffer.resize(buffer.len() * 8, 0),
            Err(error) => return Err(error),
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
        }
    }
}

/// What extended attributes are read of.
enum On<'a> {
    Path(&'a Path),
    File(&'a File),
}

impl On<'_> {
    fn list(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Path(path) => rustix::fs::llistxattr(*path, buffer),
            Self::File(file) => rustix::fs::flistxattr(file, buffer),
        }
    }

    fn get(&self, name: &OsStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Path(path) => rustix::fs::lgetxattr(*path, name, buffer),
            Self::File(file) => rustix::fs::fgetxattr(file, name, buffer),
        }
    }
}

/// The extended attributes of an entry, sorted. One that cannot be read is told.
pub(super) fn xattrs_of(
    kind: Kind,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    tell: &mut dyn FnMut(&[u8], &io::Error),
) -> io::Result<Vec<Xattr>> {
    let file;
    let path = path_at(dir, name);
    let on = match &path {
        Some(path) => On::Path(path),
        None if matches!(kind, Kind::File | Kind::Directory) => {
            file = open_no_follow(dir, name)?;
            On::File(&file)
        }
        None => return Ok(Vec::new()),
    };
    let names = match growing(|buffer| on.list(buffer)) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match growing(|buffer| on.get(OsStr::from_bytes(name), buffer)) {
            Ok(value) => xattrs.push((name.to_vec(), value)),
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => tell(name, &error.into()),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}
