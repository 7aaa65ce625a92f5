//! Where datasets lie: a local folder, or objects at a service. Links are not followed below a dataset.

use crate::{
    connector::{ConnectorError, shared::trust::Trust},
    repo::storage::{Named as Location, ObjectTree, ObjectVersion, StorageOptions},
};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// How often a file that is written over in place is read, and the pause between.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// A folder with datasets in it, or below it, or that is one.
#[derive(Debug, Clone)]
pub(super) enum LakePlace {
    Local(PathBuf),
    Remote(ObjectTree),
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) is_folder: bool,
}

/// A path, with what a listing said of it if that is enough to know it again.
pub(super) type Listed = (String, Option<Seen>);

/// What tells one version of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) bytes: u64,
    /// Seconds and nanoseconds since 1970.
    pub(super) modified: Option<(i64, u32)>,
    pub(super) mode: Option<u32>,
    /// The file's number, or the mark that a service gives it; empty if it gives none.
    mark: String,
    device: u64,
    changed: (i64, i64),
}

/// What the place of a dataset proves of files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    trust: Trust,
    device: u64,
}

impl LakePlace {
    /// The place of a URL: what has `://` in it is named as a repository's place is.
    pub(super) fn of(url: &crate::connector::SourceUrl) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Url { url: url.to_string(), reason };
        if url.place.contains("://") {
            let options = StorageOptions { options: url.options.clone(), ..StorageOptions::default() };
            return match ObjectTree::open(&url.place, &options) {
                Ok(Location::Folder(path)) => Ok(Self::Local(path)),
                Ok(Location::Tree(tree)) => Ok(Self::Remote(tree)),
                // It may hold what is a secret: only what was made of it is shown.
                Err(error) => Err(ConnectorError::Url { url: "deeplake:".to_owned(), reason: error.to_string() }),
            };
        }
        if let Some((option, _)) = url.options.first() {
            return Err(wrong(format!(
                "deeplake: knows no option `{option}` (a question mark in a path is written %3F)"
            )));
        }
        Ok(Self::Local(url.path()))
    }

    pub(super) fn show(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Remote(tree) => tree.location().to_owned(),
        }
    }

    pub(super) const fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// The local path of something below it.
    pub(super) fn local(&self, path: &str) -> Option<PathBuf> {
        match self {
            Self::Local(root) if path.is_empty() => Some(root.clone()),
            Self::Local(root) => Some(root.join(path)),
            Self::Remote(_) => None,
        }
    }

    /// The names in a folder, sorted; `None` if there is no such folder. Names that are no text are left out and told.
    pub(super) fn list(&self, folder: &str, odd: &mut dyn FnMut(String)) -> io::Result<Option<Vec<Named>>> {
        let mut names = Vec::new();
        match self {
            Self::Local(root) => {
                let entries = match fs::read_dir(root.join(folder)) {
                    Ok(entries) => entries,
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                };
                for entry in entries {
                    let entry = entry?;
                    let is_folder = entry.file_type()?.is_dir();
                    match entry.file_name().into_string() {
                        Ok(name) => names.push(Named { name, is_folder }),
                        Err(name) => odd(join(folder, &name.to_string_lossy())),
                    }
                }
            }
            Self::Remote(tree) => {
                let path = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                for entry in tree.list(&path)? {
                    let (name, is_folder) = (entry.name.trim_end_matches('/'), entry.name.ends_with('/'));
                    if !name.is_empty() && !name.contains('/') {
                        names.push(Named { name: name.to_owned(), is_folder });
                    }
                }
                if names.is_empty() && !folder.is_empty() {
                    return Ok(None);
                }
            }
        }
        names.sort_unstable();
        names.dedup_by(|a, b| a.name == b.name);
        Ok(Some(names))
    }

    /// At a service, every object below a folder with what its listing says of it; `None` elsewhere.
    pub(super) fn list_below(&self, folder: &str) -> io::Result<Option<Vec<Listed>>> {
        let Self::Remote(tree) = self else { return Ok(None) };
        let listed = tree.list_below(&if folder.is_empty() { String::new() } else { format!("{folder}/") })?;
        // Without a mark it could not be told that it is another one by the time it is read.
        let seen = |version: ObjectVersion| version.etag.is_some().then(|| Seen::of_object(version));
        Ok(Some(listed.into_iter().map(|one| (one.name, one.version.and_then(seen))).collect()))
    }

    /// What is known of a file without opening it.
    pub(super) fn stat(&self, path: &str) -> io::Result<Seen> {
        match self {
            Self::Local(root) => Seen::of_local(&fs::symlink_metadata(root.join(path))?),
            Self::Remote(tree) => Ok(Seen::of_object(tree.version(path)?)),
        }
    }

    /// A file's bytes, as many as it had when it was looked at.
    pub(super) fn open(&self, path: &str, seen: &Seen) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Local(root) => {
                let file = open_no_follow(&root.join(path))?;
                if !file.metadata()?.is_file() {
                    return Err(io::Error::other("it is no regular file any more"));
                }
                Ok(Box::new(Exactly { inner: file, left: seen.bytes }))
            }
            Self::Remote(tree) => Ok(Box::new(tree.read(path, &seen.object())?)),
        }
    }

    /// A whole file of no more than `most` bytes.
    pub(super) fn read(&self, path: &str, most: usize) -> io::Result<(Vec<u8>, Seen)> {
        let seen = self.stat(path)?;
        let len = usize::try_from(seen.bytes).ok().filter(|len| *len <= most);
        let len = len.ok_or_else(|| io::Error::other(format!("it is {} bytes long, more than {most}", seen.bytes)))?;
        let mut bytes = Vec::with_capacity(len);
        self.open(path, &seen)?.read_to_end(&mut bytes)?;
        Ok((bytes, seen))
    }

    /// The same of a file that is written over in place: read again, a few times, where that came between.
    pub(super) fn read_settled(&self, path: &str, most: usize) -> io::Result<(Vec<u8>, Seen)> {
        let mut attempt = 1;
        loop {
            let read = self.read(path, most).and_then(|(bytes, seen)| {
                // Only a service that gives marks hands out one version.
                let is_one = seen.mode.is_none() && !seen.mark.is_empty();
                if is_one || self.stat(path)?.is(&seen) {
                    Ok((bytes, seen))
                } else {
                    Err(ErrorKind::StaleNetworkFileHandle.into())
                }
            });
            match read {
                Err(error) if attempt < ATTEMPTS && is_change(&error) => attempt += 1,
                read => return read,
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What times and sizes prove below a folder.
    pub(super) fn proof(&self, folder: &str) -> Proof {
        let local = self.local(folder).and_then(|path| File::open(path).ok());
        let device = local.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.dev());
        Proof { trust: local.map_or(Trust::None, |file| Trust::of(file.as_fd())), device }
    }
}

/// Whether something came between looking at a file and the end of reading it.
fn is_change(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StaleNetworkFileHandle | ErrorKind::UnexpectedEof)
}

/// A path below another one.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Opens a file for reading; a link, a fifo or a socket is not followed or waited for.
fn open_no_follow(path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?.into())
}

impl Seen {
    fn of_local(metadata: &fs::Metadata) -> io::Result<Self> {
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self {
            bytes: metadata.len(),
            modified: Some((metadata.mtime(), metadata.mtime_nsec() as u32)),
            mode: Some(metadata.mode() & 0o7777),
            mark: metadata.ino().to_string(),
            device: metadata.dev(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn of_object(version: ObjectVersion) -> Self {
        let modified = version.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            bytes: version.bytes,
            modified: modified.map(|time| (time.as_secs() as i64, time.subsec_nanos())),
            mode: None,
            mark: version.etag.unwrap_or_default(),
            device: 0,
            changed: (0, 0),
        }
    }

    /// Whether both are the same file's bytes. A service's answers to different requests give times in different units: there
    /// its mark decides.
    pub(super) fn is(&self, other: &Self) -> bool {
        let marked = self.mode.is_none() && !self.mark.is_empty();
        if marked { (self.bytes, &self.mark) == (other.bytes, &other.mark) } else { self == other }
    }

    /// The version of the object that this was made of.
    fn object(&self) -> ObjectVersion {
        let etag = (!self.mark.is_empty()).then(|| self.mark.clone());
        ObjectVersion { bytes: self.bytes, modified: None, etag }
    }

    /// A number that stands as long as the file does. 0 where nothing proves that: on a file system whose times prove
    /// nothing, within the tick of its clock, and at a service that gives no marks.
    pub(super) fn stamp(&self, proof: Proof, now_nanos: i128) -> u64 {
        let proven = match self.mode {
            Some(_) => {
                let (seconds, nanos) = self.modified.unwrap_or_default();
                self.device == proof.device
                    && proof.trust.has_rested((seconds, i64::from(nanos)), now_nanos)
                    && proof.trust.has_rested(self.changed, now_nanos)
            }
            None => !self.mark.is_empty(),
        };
        if !proven {
            return 0;
        }
        let hash = blake3::hash(format!("{self:?}").as_bytes());
        hash.as_bytes().first_chunk().map_or(1, |bytes| u64::from_le_bytes(*bytes)).max(1)
    }
}

/// Fails where fewer bytes come than were promised, and reads no more than these.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_stands_only_while_every_part_of_its_condition_does() {
        let now = 2_000_000_000_i128 * 1_000_000_000;
        let old = (1_000_000_000, 5);
        let seen = Seen {
            bytes: 3,
            modified: Some((old.0, 5)),
            mode: Some(0o644),
            mark: "7".to_owned(),
            device: 9,
            changed: old,
        };
        let proof = Proof { trust: Trust::Local, device: 9 };
        let stamp = seen.stamp(proof, now);
        assert_ne!(stamp, 0);
        for other in [
            Seen { bytes: 4, ..seen.clone() },
            Seen { modified: Some((old.0, 6)), ..seen.clone() },
            Seen { changed: (old.0, 6), ..seen.clone() },
            Seen { mark: "8".to_owned(), ..seen.clone() },
            Seen { mode: Some(0o600), ..seen.clone() },
        ] {
            let moved = other.stamp(proof, now);
            assert!(moved != stamp && moved != 0, "{other:?}");
        }
        let fresh = (1_999_999_999, 999_999_999);
        for (seen, proof) in [
            (Seen { modified: Some((fresh.0, 999_999_999)), ..seen.clone() }, proof),
            (Seen { changed: fresh, ..seen.clone() }, proof),
            (Seen { device: 8, ..seen.clone() }, proof),
            (seen.clone(), Proof { trust: Trust::None, ..proof }),
            (Seen { mode: None, mark: String::new(), ..seen.clone() }, proof),
        ] {
            assert_eq!(seen.stamp(proof, now), 0, "{seen:?}");
        }
    }
}
