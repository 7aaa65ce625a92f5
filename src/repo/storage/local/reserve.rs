//! The reserve of a local repository: a file of zeros, or of noise where blocks cannot be set aside otherwise.

use rustix::{
    fs::{FallocateFlags, StatVfs},
    io::Errno,
};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

/// What is set aside at most: the index objects that a prune rewrites at a time, and a pack.
const MOST: u64 = 16 * 1024 * 1024;

/// Less helps nobody.
const LEAST: u64 = 128 * 1024;

/// The share of the free room that may be set aside.
const SHARE: u64 = 16;

/// Makes sure that there is a reserve if there is plenty of room; gives its length.
pub(super) fn keep(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return Ok(metadata.len()),
        Ok(_) => return Ok(0),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let Some(folder) = path.parent().filter(|folder| folder.is_dir()) else { return Ok(0) };
    let wanted = size(&rustix::fs::statvfs(folder)?);
    if wanted == 0 {
        return Ok(0);
    }
    let mut file = match File::options().write(true).create_new(true).open(path) {
        // Somebody else is at it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(0),
        file => file?,
    };
    let filled = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, wanted) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => fill(&mut file, wanted),
        done => done.map_err(Into::into),
    };
    if let Err(error) = filled {
        drop(file);
        // Half of it is in the way of others and of no use.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(wanted)
}

/// Gives the room back; whether there was any.
pub(super) fn spend(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn size(space: &StatVfs) -> u64 {
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let wanted = (free / SHARE).min(MOST);
    if wanted < LEAST { 0 } else { wanted }
}

/// Noise, since some file systems store no zeros.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let mut noise = vec![0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        getrandom::fill(&mut noise).map_err(io::Error::other)?;
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(noise.len());
        file.write_all(&noise[..part])?;
        left -= part as u64;
    }
    file.sync_all()
}
