//! Removing a directory with everything in it, by handles: links are removed, never followed.

use super::{
    trail::{DIRECTORY, hold, path_of},
    write::temporary_name,
};
use crate::connector::plan::Inode;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Mode},
    io::Errno,
};
use std::{
    ffi::{CStr, OsStr},
    os::unix::ffi::OsStrExt,
};

/// Directories that are open at once; what lies deeper is moved up first.
const MAX_DEPTH: usize = 32;

/// Removes the directory `name` of `dir`; fails where it meets one of these inodes, before anything in that is touched.
pub(super) fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr, kept: &[Inode]) -> rustix::io::Result<()> {
    loop {
        let top = open(dir, name)?;
        let moved = clear(top.as_fd(), top.as_fd(), 0, kept)?;
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if moved => {}
            removed => return removed,
        }
    }
}

/// Empties a directory; says whether something was moved up to `top`, which is not empty then.
fn clear(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, depth: usize, kept: &[Inode]) -> rustix::io::Result<bool> {
    let stat = rustix::fs::fstat(dir)?;
    if kept.contains(&(stat.st_dev, stat.st_ino)) {
        return Err(Errno::BUSY);
    }
    let mut moved = false;
    let names: Vec<_> = Dir::read_from(dir)?
        .map(|entry| entry.map(|entry| (entry.file_name().to_owned(), entry.file_type())))
        .collect::<Result<_, _>>()?;
    for (name, kind) in names.iter().filter(|(name, _)| name.as_bytes() != b"." && name.as_bytes() != b"..") {
        if !is_directory(dir, name, *kind)? {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        } else if depth == MAX_DEPTH {
            let temporary = temporary_name().map_err(|_| Errno::IO)?;
            rustix::fs::renameat(dir, name, top, temporary)?;
            moved = true;
        } else {
            let below = open(dir, OsStr::from_bytes(name.to_bytes()))?;
            moved |= clear(top, below.as_fd(), depth + 1, kept)?;
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(moved)
}

fn is_directory(dir: BorrowedFd<'_>, name: &CStr, kind: FileType) -> rustix::io::Result<bool> {
    if kind != FileType::Unknown {
        return Ok(kind == FileType::Directory);
    }
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens a directory to empty it, also one that is ours and closed to ourselves.
fn open(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let opened = rustix::fs::openat(dir, name, DIRECTORY, Mode::empty());
    let closed = match &opened {
        Err(Errno::ACCESS) => true,
        Err(_) => false,
        Ok(fd) => !rustix::process::geteuid().is_root() && !is_open_to_us(fd),
    };
    if !closed {
        return opened;
    }
    let handle = hold(dir, name)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    if let Some(path) = path_of(handle.as_fd()) {
        rustix::fs::chmod(path, Mode::RWXU)?;
    }
    rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())
}

fn is_open_to_us(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn trees_of_any_depth_go_and_what_links_point_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("kept")).unwrap();
        fs::write(dir.path().join("kept/x"), "x").unwrap();
        let root = rustix::fs::open(dir.path(), DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::mkdirat(&root, "doomed", Mode::RWXU).unwrap();
        let mut here = rustix::fs::openat(&root, "doomed", DIRECTORY, Mode::empty()).unwrap();
        // Longer than a path may be, and deeper than files may be open.
        for level in 0..1500 {
            rustix::fs::symlinkat(dir.path().join("kept"), &here, "link").unwrap();
            let name = format!("level {level}");
            rustix::fs::mkdirat(&here, &name, Mode::from_raw_mode(if level % 5 == 0 { 0o500 } else { 0o700 })).unwrap();
            if level % 5 == 0 && !rustix::process::geteuid().is_root() {
                rustix::fs::chmodat(&here, &name, Mode::RWXU, AtFlags::empty()).unwrap();
            }
            here = rustix::fs::openat(&here, &name, DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(root.as_fd(), OsStr::new("doomed"), &[]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read(dir.path().join("kept/x")).unwrap(), b"x");
        assert_eq!(remove_tree(root.as_fd(), OsStr::new("doomed"), &[]), Err(Errno::NOENT));
        std::os::unix::fs::symlink("kept", dir.path().join("link")).unwrap();
        remove_tree(root.as_fd(), OsStr::new("link"), &[]).unwrap_err();
        assert!(dir.path().join("kept/x").exists());
    }
    #[test]
    fn a_folder_that_is_kept_keeps_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("doomed/a/kept");
        fs::create_dir_all(&kept).unwrap();
        fs::write(kept.join("x"), "x").unwrap();
        let root = rustix::fs::open(dir.path(), DIRECTORY, Mode::empty()).unwrap();
        let inodes = [crate::connector::plan::inode_of(&kept).unwrap()];
        for name in ["doomed", "doomed/a", "doomed/a/kept"] {
            assert_eq!(remove_tree(root.as_fd(), OsStr::new(name), &inodes), Err(Errno::BUSY));
            assert_eq!(fs::read(kept.join("x")).unwrap(), b"x");
        }
    }
}
