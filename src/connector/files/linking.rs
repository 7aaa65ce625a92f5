//! Further paths of a file: linked to the first where that is what the snapshot says it is, else a file of their own with
//! the content from the repository, to which the paths after it are linked.

use super::{
    cells::{Attributes, Kind},
    content::{find_extents, open_no_follow},
    place::Places,
    stream::kind_of,
    trail::{Trail, split},
    whole::Carrier,
    write::Tally,
    xattrs::xattrs_of,
};
use crate::connector::RecordLookup;
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

const BUFFER_BYTES: usize = 64 << 10;

/// What the paths of one file are linked to.
struct Standing {
    /// The path that stands for the first one; `None` for itself.
    path: Option<Box<[u8]>>,
    id: (u64, u64),
}

/// The files with several paths that this restore met.
pub(super) struct Linker {
    root: Arc<OwnedFd>,
    trail: Trail,
    pub(super) records: Option<Arc<dyn RecordLookup>>,
    /// What changed after this, on this device, was written by this restore.
    began: Option<(u64, (i64, i64))>,
    /// By a hash of the first path.
    standing: HashMap<[u8; 16], Standing>,
}

fn short(first: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(first).as_bytes()[..16]);
    short
}

const fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Linker {
    pub(super) fn new(root: Arc<OwnedFd>) -> Self {
        let began = now_by(&root);
        Self { trail: Trail::new(Arc::clone(&root)), root, records: None, began, standing: HashMap::new() }
    }

    /// Makes `name` in `dir` a link to what stands for `first`; `false` if nothing does.
    pub(super) fn link(
        &mut self,
        first: &[u8],
        attributes: &Attributes,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        tally: &mut Tally,
    ) -> Result<bool, String> {
        if let Some(standing) = self.standing.get(&short(first)) {
            let path = standing.path.as_deref().unwrap_or(first).to_vec();
            let wanted = standing.id;
            return self.in_directory_of(&path, tally, &mut |from, base, _| {
                let stat = rustix::fs::statat(from, base, AtFlags::SYMLINK_NOFOLLOW)?;
                Ok(id(&stat) == wanted && link_checked(from, base, dir, name, wanted)?)
            });
        }
        let (began, records) = (self.began, self.records.clone());
        let mut found = None;
        let linked = self.in_directory_of(first, tally, &mut |from, base, tally| {
            let stat = rustix::fs::statat(from, base, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_new = began.is_some_and(|(device, time)| {
                stat.st_dev == device && (stat.st_ctime, stat.st_ctime_nsec as i64) > time
            });
            let is_said = kind_of(&stat) == attributes.kind
                && has_size(&stat, attributes)
                && (is_new || is_as_the_snapshot_says(from, base, &stat, first, records.as_deref(), tally)?);
            if !is_said || !link_checked(from, base, dir, name, id(&stat))? {
                return Ok(false);
            }
            found = Some(id(&stat));
            Ok(true)
        })?;
        if let Some(id) = found {
            self.standing.insert(short(first), Standing { path: None, id });
        }
        Ok(linked)
    }

    /// The record that carries the content of a path that nothing could be linked to.
    pub(super) fn carrier(&self, first: &[u8]) -> Result<Carrier, String> {
        Carrier::find(self.records.as_deref(), first)
    }

    /// From now on `key`, whose entry is `stat`, stands for `first`.
    pub(super) fn stands(&mut self, first: &[u8], key: &[u8], stat: &Stat) {
        self.standing.insert(short(first), Standing { path: Some(key.into()), id: id(stat) });
    }

    /// Does something in the directory of a key, if it is there.
    fn in_directory_of(
        &mut self,
        key: &[u8],
        tally: &mut Tally,
        then: &mut dyn FnMut(BorrowedFd<'_>, &OsStr, &Tally) -> rustix::io::Result<bool>,
    ) -> Result<bool, String> {
        let (dir, name) = split(key);
        let done = match self.trail.enter(dir) {
            Ok(dir) => then(dir, name, tally),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Errno::ACCESS),
            Err(_) => return Ok(false),
        };
        let done = match done {
            // A directory of ours that is closed to ourselves, and is closed again afterwards.
            Err(Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
                let said = |error: Errno| format!("open the target: {}", io::Error::from(error));
                let mut places = Places::new(Arc::clone(&self.root), true).map_err(said)?;
                let mut closed = Tally::new(None);
                let done = places.find(dir, &mut closed).map(|dir| dir.map(|dir| then(dir, name, tally)));
                places.leave_all(&mut closed);
                done?.unwrap_or(Ok(false))
            }
            done => done,
        };
        match done {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::MLINK | Errno::XDEV) => Ok(false),
            // File systems that know no links say one or the other; so do rules on whose files may be linked to.
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {
                tally.links += 1;
                Ok(false)
            }
            done => done.map_err(|error| format!("link it: {}", io::Error::from(error))),
        }
    }
}

/// The time by the clock of the root's file system, if a file without a name can be made there.
fn now_by(root: &OwnedFd) -> Option<(u64, (i64, i64))> {
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(root, ".", flags, Mode::RUSR | Mode::WUSR).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        Some((stat.st_dev, (stat.st_ctime, stat.st_ctime_nsec as i64)))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Links, and makes sure that it is the file that was looked at.
fn link_checked(
    from: BorrowedFd<'_>,
    base: &OsStr,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    wanted: (u64, u64),
) -> rustix::io::Result<bool> {
    rustix::fs::linkat(from, base, dir, name, AtFlags::empty())?;
    if id(&rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?) == wanted {
        return Ok(true);
    }
    rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
    Ok(false)
}

fn has_size(stat: &Stat, attributes: &Attributes) -> bool {
    attributes.kind != Kind::File || attributes.size.is_none_or(|size| size == stat.st_size as u64)
}

/// Whether an entry is what the snapshot says of it: attributes and content.
fn is_as_the_snapshot_says(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
    first: &[u8],
    records: Option<&dyn RecordLookup>,
    tally: &Tally,
) -> rustix::io::Result<bool> {
    let Ok(mut carrier) = Carrier::find(records, first) else { return Ok(false) };
    let said = std::mem::take(&mut carrier.attributes);
    let (uid, gid) = tally.owner(&said);
    // Who may not give files away owns what he restores, without bits that would lend his rights.
    let me = rustix::process::geteuid();
    let is_owner = |wanted: Option<u32>, is: u32| wanted.is_none_or(|wanted| wanted == is);
    let as_owned = is_owner(uid.map(rustix::fs::Uid::as_raw), stat.st_uid)
        && is_owner(gid.map(rustix::fs::Gid::as_raw), stat.st_gid);
    let as_mine = !me.is_root() && stat.st_uid == me.as_raw();
    let mode = stat.st_mode & 0o7777;
    let has_mode = said.mode.is_none_or(|said| said == mode || as_mine && !as_owned && said & 0o1777 == mode);
    let has_time =
        said.mtime.is_none_or(|time| (time.seconds, u64::from(time.nanos)) == (stat.st_mtime, stat.st_mtime_nsec));
    let device = matches!(said.kind, Kind::CharDevice | Kind::BlockDevice)
        .then(|| (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)));
    if kind_of(stat) != said.kind
        || !(as_owned || as_mine)
        || !(has_mode || said.kind == Kind::Symlink)
        || !has_time
        || !has_size(stat, &said)
        || said.device != device
    {
        return Ok(false);
    }
    if xattrs_of(said.kind, dir, name, &mut |_, _| {}).map_err(|error| errno(&error))? != said.xattrs {
        return Ok(false);
    }
    match said.kind {
        Kind::Symlink => Ok(said.target == Some(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())),
        Kind::File => has_content(dir, name, stat, &said, &mut carrier).map_err(|error| errno(&error)),
        _ => Ok(true),
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Whether a file has the content of a record. That the record's cannot be read is for whoever writes it to say.
fn has_content(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
    said: &Attributes,
    carrier: &mut Carrier,
) -> io::Result<bool> {
    let size = stat.st_size as u64;
    if let Some(extents) = &said.extents
        && find_extents(dir, name, size)?.as_ref() != Some(extents)
    {
        return Ok(false);
    }
    let file = open_no_follow(dir, name)?;
    let Ok(mut content) = carrier.content() else { return Ok(false) };
    let whole = [super::cells::Extent { start: 0, len: size }];
    let (mut wanted, mut found) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    for extent in said.extents.as_deref().unwrap_or(&whole) {
        let (mut at, end) = (extent.start, extent.start + extent.len);
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let read = match content.read(&mut wanted[..want]) {
                Ok(0) | Err(_) => return Ok(false),
                Ok(read) => read,
            };
            if file.read_exact_at(&mut found[..read], at).is_err() || found[..read] != wanted[..read] {
                return Ok(false);
            }
            at += read as u64;
        }
    }
    Ok(content.read(&mut wanted[..1]).is_ok_and(|read| read == 0))
}
