//! Writing one entry: under a temporary name with everything it needs, then renamed to its own.

use super::{
    cells::{Attributes, Extent, Kind, Xattr},
    names::Names,
    times::times,
    trail::{hold, path_of},
};
use crate::{connector::file_record::Unkept, record::KeyCodec};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, XattrFlags},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    sync::Arc,
};

const BUFFER_BYTES: usize = 256 << 10;

/// What could not be set though the record was written, counted.
pub(super) struct Tally {
    pub(super) names: Option<Arc<Names>>,
    pub(super) owners: u64,
    pub(super) xattrs: u64,
    pub(super) modes: u64,
    pub(super) times: u64,
    /// Further paths of a file that became files of their own, since the file system links nothing.
    pub(super) links: u64,
    /// What was set and is not kept: owners, permissions, times.
    unkept: [u64; 3],
    first_xattr: Option<String>,
    directories: u64,
    first_directory: Option<String>,
}

/// POSIX ACLs, as Linux names them: what may be done to an entry, and what is made in a directory gets.
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

impl Tally {
    /// Owners go by number, or by these names where the host has them.
    pub(super) const fn new(names: Option<Arc<Names>>) -> Self {
        Self {
            names,
            owners: 0,
            xattrs: 0,
            modes: 0,
            times: 0,
            links: 0,
            unkept: [0; 3],
            first_xattr: None,
            directories: 0,
            first_directory: None,
        }
    }

    /// What of some entry was not kept.
    pub(super) const fn unkept(&self) -> Unkept {
        let [owners, permissions, times] = self.unkept;
        Unkept {
            owners: self.owners + owners > 0,
            permissions: self.modes + permissions > 0,
            times: self.times + times > 0,
            xattrs: self.xattrs > 0,
            links: self.links > 0,
            root: false,
            by_name: false,
        }
    }

    /// The counts in words.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                notes.push(format!("{what} of {count} entries could not be set"));
            }
        };
        say(self.owners, "owner or group");
        say(self.modes, "permissions");
        say(self.times, "times");
        for (count, what) in self.unkept.into_iter().zip(["owner or group", "permissions", "times"]) {
            if count > 0 {
                notes.push(format!("{what} of {count} entries are not as they were: the file system keeps others"));
            }
        }
        if self.links > 0 {
            notes.push(format!(
                "{} further paths of files are files of their own: they could not be linked",
                self.links
            ));
        }
        if let Some(first) = &self.first_xattr {
            notes.push(format!("{} extended attributes could not be set; the first: {first}", self.xattrs));
        }
        if let Some(first) = &self.first_directory {
            notes.push(format!(
                "what {} directories were like that had to be made could not be read; the first: {first}",
                self.directories
            ));
        }
        notes
    }

    /// Looks at what the file system made of what it was told: some take it, and keep something else.
    fn look(&mut self, fd: BorrowedFd<'_>, attributes: &Attributes, owned: bool) {
        let Ok(stat) = rustix::fs::fstat(fd) else { return };
        let (uid, gid) = self.owner(attributes);
        let has_owner =
            uid.is_none_or(|uid| uid.as_raw() == stat.st_uid) && gid.is_none_or(|gid| gid.as_raw() == stat.st_gid);
        let has_mode = attributes.mode.is_none_or(|mode| safe_mode(mode, owned) == stat.st_mode & 0o7777);
        let has_time = attributes
            .mtime
            .is_none_or(|time| (time.seconds, u64::from(time.nanos)) == (stat.st_mtime, stat.st_mtime_nsec));
        for (count, kept) in self.unkept.iter_mut().zip([has_owner || !owned, has_mode, has_time]) {
            *count += u64::from(!kept);
        }
    }

    fn xattrs_failed(&mut self, key: &[u8], attributes: &Attributes, error: Errno) {
        attributes.xattrs.iter().for_each(|(name, _)| self.xattr_failed(key, name, error));
    }

    fn xattr_failed(&mut self, key: &[u8], name: &[u8], error: Errno) {
        self.xattrs += 1;
        self.first_xattr.get_or_insert_with(|| {
            let name = String::from_utf8_lossy(name);
            format!("{name} of {}: {}", KeyCodec::Path.show(key), io::Error::from(error))
        });
    }

    /// What the snapshot says of a directory could not be read.
    pub(super) fn unknown_directory(&mut self, key: &[u8], error: &dyn std::error::Error) {
        self.directories += 1;
        self.first_directory.get_or_insert_with(|| format!("{}: {error}", KeyCodec::Path.show(key)));
    }

    /// Owner and group that an entry is to get.
    pub(super) fn owner(&self, attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
        let names = self.names.as_deref();
        let uid = attributes.user.as_ref().and_then(|user| names?.uid(user)).or(attributes.uid);
        let gid = attributes.group.as_ref().and_then(|group| names?.gid(group)).or(attributes.gid);
        // All ones means "leave it" to the system.
        let known = |id: &u32| *id != u32::MAX;
        (uid.filter(known).map(Uid::from_raw), gid.filter(known).map(Gid::from_raw))
    }
}

/// A name that nobody else uses, for an entry while it is made.
pub(super) fn temporary_name() -> io::Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(".rekeep-{}", data_encoding::HEXLOWER.encode(&random)).into())
}

/// Where a file's content comes from, and the stretches it fills.
pub(super) struct Content<'a> {
    pub(super) bytes: &'a mut dyn Read,
    pub(super) extents: Option<&'a [Extent]>,
    pub(super) size: Option<u64>,
}

/// Makes a regular file under `name`, which must not exist.
pub(super) fn make_file(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    key: &[u8],
    attributes: &Attributes,
    mut content: Content<'_>,
    tally: &mut Tally,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?);
    fill(&file, &mut content)?;
    forget_acls(file.as_fd(), &attributes.xattrs);
    apply(file.as_fd(), attributes, key, tally);
    Ok(())
}

fn fill(file: &File, content: &mut Content<'_>) -> io::Result<()> {
    // A small file gets a small buffer, which costs as much to clear as the file to write.
    let wanted = content.size.and_then(|size| usize::try_from(size).ok()).unwrap_or(BUFFER_BYTES);
    let mut buffer = vec![0; wanted.clamp(1, BUFFER_BYTES)];
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if let Some(extents) = content.extents {
        for extent in extents {
            let (mut at, end) = (extent.start, extent.start + extent.len);
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                let read = content.bytes.read(&mut buffer[..want])?;
                if read == 0 {
                    return Err(wrong("its content is shorter than its extents"));
                }
                file.write_all_at(&buffer[..read], at)?;
                at += read as u64;
            }
        }
        if content.bytes.read(&mut buffer[..1])? != 0 {
            return Err(wrong("its content is longer than its extents"));
        }
        let size = content.size.ok_or_else(|| wrong("it is sparse and has no size"))?;
        if extents.last().is_some_and(|last| last.start + last.len > size) {
            return Err(wrong("its extents reach beyond its size"));
        }
        return file.set_len(size);
    }
    let mut at = 0;
    loop {
        let read = match content.bytes.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        file.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
    if content.size.is_some_and(|size| size != at) {
        return Err(wrong("its content is not as long as its size says"));
    }
    Ok(())
}

/// Makes a link or special file under `name`, which must not exist.
pub(super) fn make_special(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    key: &[u8],
    attributes: &Attributes,
    tally: &mut Tally,
) -> io::Result<()> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if attributes.kind == Kind::Symlink {
        let target = attributes.target.as_deref().filter(|target| !target.is_empty() && !target.contains(&0));
        let target = target.ok_or_else(|| invalid("it is a link that points nowhere"))?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), dir, name)?;
    } else {
        make_node(dir, name, attributes)?;
    }
    let Ok(entry) = hold(dir, name) else {
        apply_by_name(dir, name, attributes, tally);
        return Ok(());
    };
    if !is_what_was_made(&entry, attributes)? {
        return Err(io::Error::other("something else was put in its place while it was made"));
    }
    let (uid, gid) = tally.owner(attributes);
    let owned = rustix::fs::chownat(&entry, "", uid, gid, AtFlags::EMPTY_PATH).is_ok();
    tally.owners += u64::from(!owned);
    let Some(path) = path_of(entry.as_fd()) else {
        tally.xattrs_failed(key, attributes, Errno::NOTSUP);
        tally.modes += u64::from(attributes.kind != Kind::Symlink);
        tally.times += 1;
        return Ok(());
    };
    for acl in ACLS.iter().filter(|acl| !attributes.xattrs.iter().any(|(name, _)| name == *acl)) {
        // Most have none.
        let _ = rustix::fs::removexattr(&path, OsStr::from_bytes(acl));
    }
    for (xattr, value) in &attributes.xattrs {
        if let Err(error) = rustix::fs::setxattr(&path, OsStr::from_bytes(xattr), value, XattrFlags::empty()) {
            tally.xattr_failed(key, xattr, error);
        }
    }
    if let (Some(mode), true) = (attributes.mode, attributes.kind != Kind::Symlink) {
        let mode = Mode::from_raw_mode(safe_mode(mode, owned) as _);
        tally.modes += u64::from(rustix::fs::chmod(&path, mode).is_err());
    }
    if let Some(mtime) = attributes.mtime {
        let set = rustix::fs::utimensat(CWD, &path, &times(mtime), AtFlags::empty());
        tally.times += u64::from(set.is_err());
    }
    Ok(())
}

/// Whether what is held is the entry that was just made, or cannot be told from it: then it does no harm that it is.
fn is_what_was_made(made: &OwnedFd, attributes: &Attributes) -> io::Result<bool> {
    let stat = rustix::fs::fstat(made)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let ours = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_nlink == 1;
    let device = || attributes.device.is_some_and(|(major, minor)| stat.st_rdev == rustix::fs::makedev(major, minor));
    Ok(ours
        && match attributes.kind {
            Kind::Symlink => kind == FileType::Symlink,
            Kind::Fifo => kind == FileType::Fifo,
            Kind::Socket => kind == FileType::Socket,
            Kind::CharDevice => kind == FileType::CharacterDevice && device(),
            Kind::BlockDevice => kind == FileType::BlockDevice && device(),
            Kind::File | Kind::Directory => false,
        })
}

/// The same where the system gives no handle on a link or special file: only what can be done without following one.
fn apply_by_name(dir: BorrowedFd<'_>, name: &OsStr, attributes: &Attributes, tally: &mut Tally) {
    let (uid, gid) = tally.owner(attributes);
    let owned = rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    tally.owners += u64::from(!owned);
    tally.xattrs_failed(b"", attributes, Errno::NOTSUP);
    tally.modes += u64::from(attributes.kind != Kind::Symlink);
    if let Some(mtime) = attributes.mtime {
        let set = rustix::fs::utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW);
        tally.times += u64::from(set.is_err());
    }
}

/// Removes what a directory's default ACL gave to what was made in it.
pub(super) fn forget_acls(fd: BorrowedFd<'_>, kept: &[Xattr]) {
    for acl in ACLS.iter().filter(|acl| !kept.iter().any(|(name, _)| name == *acl)) {
        // Most have none, and some file systems know none.
        let _ = rustix::fs::fremovexattr(fd, OsStr::from_bytes(acl));
    }
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn make_node(dir: BorrowedFd<'_>, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
    let kind = match attributes.kind {
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharacterDevice,
        _ => FileType::BlockDevice,
    };
    let device = match kind {
        FileType::CharacterDevice | FileType::BlockDevice => {
            let numbers = attributes.device.ok_or_else(|| io::Error::other("it is a device without numbers"))?;
            rustix::fs::makedev(numbers.0, numbers.1)
        }
        _ => 0,
    };
    Ok(rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device)?)
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn make_node(_dir: BorrowedFd<'_>, _name: &OsStr, _attributes: &Attributes) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "special files cannot be made on this system"))
}

/// Sets owner, extended attributes, permissions and time, in the order in which none undoes another.
fn apply(fd: BorrowedFd<'_>, attributes: &Attributes, key: &[u8], tally: &mut Tally) {
    let (uid, gid) = tally.owner(attributes);
    let owned = rustix::fs::fchown(fd, uid, gid).is_ok();
    tally.owners += u64::from(!owned);
    for (name, value) in &attributes.xattrs {
        if let Err(error) = rustix::fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            tally.xattr_failed(key, name, error);
        }
    }
    let mut set = true;
    if let Some(mode) = attributes.mode {
        let mode = Mode::from_raw_mode(safe_mode(mode, owned) as _);
        let failed = rustix::fs::fchmod(fd, mode).is_err();
        tally.modes += u64::from(failed);
        set &= !failed;
    }
    if let Some(mtime) = attributes.mtime {
        let failed = rustix::fs::futimens(fd, &times(mtime)).is_err();
        tally.times += u64::from(failed);
        set &= !failed;
    }
    if set {
        tally.look(fd, attributes, owned);
    }
}

/// Without its owner a set-id bit would lend the rights of somebody else.
const fn safe_mode(mode: u32, owned: bool) -> u32 {
    if owned { mode & 0o7777 } else { mode & 0o1777 }
}

/// The same for a directory, which may have extended attributes from before.
pub(super) fn apply_to_directory(fd: BorrowedFd<'_>, attributes: &Attributes, key: &[u8], tally: &mut Tally) {
    let mut list = vec![0; 64 << 10];
    let len = rustix::fs::flistxattr(fd, list.as_mut_slice()).unwrap_or(0);
    for name in list[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let ours = name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
        let kept = attributes.xattrs.iter().any(|(kept, _)| kept == name);
        if ours
            && !kept
            && let Err(error) = rustix::fs::fremovexattr(fd, OsStr::from_bytes(name))
        {
            tally.xattr_failed(key, name, error);
        }
    }
    apply(fd, attributes, key, tally);
}
