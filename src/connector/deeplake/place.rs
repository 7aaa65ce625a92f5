//! Where datasets lie: a local folder, or any place that `OpenDAL` reaches. Links are not followed below a dataset.

use crate::connector::{ConnectorError, shared::trust::Trust};
use opendal::{ErrorKind, blocking::Operator};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// A folder with datasets in it, or below it, or that is one.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Local(PathBuf),
    Remote(Operator, String),
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) is_folder: bool,
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) bytes: u64,
    /// Seconds and nanoseconds since 1970.
    pub(super) modified: Option<(i64, u32)>,
    pub(super) mode: Option<u32>,
    /// The rest, as numbers or words of the place.
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

/// The runtime that drives requests: one for the process, it owns nothing but two threads.
fn runtime() -> io::Result<&'static tokio::runtime::Runtime> {
    static RUNTIME: OnceLock<io::Result<tokio::runtime::Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("deeplake").enable_all().build()
    });
    made.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

impl Place {
    /// The place of a URL: what has `://` in it is `OpenDAL`'s.
    pub(super) fn of(url: &crate::connector::SourceUrl) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Url { url: url.to_string(), reason };
        if url.place.contains("://") {
            let guard = runtime().map_err(|error| wrong(error.to_string()))?.enter();
            opendal::init_default_registry();
            let operator = Operator::from_uri((url.place.as_str(), url.options.clone()));
            drop(guard);
            return Ok(Self::Remote(operator.map_err(|error| wrong(error.to_string()))?, url.place.clone()));
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
            Self::Remote(_, location) => location.clone(),
        }
    }

    /// The local path of something below it.
    pub(super) fn local(&self, path: &str) -> Option<PathBuf> {
        match self {
            Self::Local(root) if path.is_empty() => Some(root.clone()),
            Self::Local(root) => Some(root.join(path)),
            Self::Remote(..) => None,
        }
    }

    /// The names in a folder, sorted; `None` if there is no such folder. Names that are no text are left out and told.
    pub(super) fn list(&self, folder: &str, odd: &mut dyn FnMut(String)) -> io::Result<Option<Vec<Named>>> {
        let mut names = Vec::new();
        match self {
            Self::Local(root) => {
                let entries = match fs::read_dir(root.join(folder)) {
                    Ok(entries) => entries,
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
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
            Self::Remote(operator, _) => {
                let path = if folder.is_empty() { "/".to_owned() } else { format!("{folder}/") };
                let entries = match operator.list(&path) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                let prefix = if folder.is_empty() { String::new() } else { path };
                for entry in &entries {
                    let Some(name) = entry.path().strip_prefix(&prefix) else { continue };
                    let (name, is_folder) = (name.trim_end_matches('/'), name.ends_with('/'));
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

    /// What is known of a file without opening it.
    pub(super) fn stat(&self, path: &str) -> io::Result<Seen> {
        match self {
            Self::Local(root) => Seen::of_local(&fs::symlink_metadata(root.join(path))?),
            Self::Remote(operator, _) => Ok(Seen::of_remote(&operator.stat(path)?)),
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
            Self::Remote(operator, _) => {
                let reader = operator.reader(path)?.into_std_read(0..seen.bytes)?;
                Ok(Box::new(Exactly { inner: reader, left: seen.bytes }))
            }
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

    /// What times and sizes prove below a folder.
    pub(super) fn proof(&self, folder: &str) -> Proof {
        let local = self.local(folder).and_then(|path| File::open(path).ok());
        let device = local.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.dev());
        Proof { trust: local.map_or(Trust::None, |file| Trust::of(file.as_fd())), device }
    }
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

    fn of_remote(metadata: &opendal::Metadata) -> Self {
        let modified = metadata.last_modified().and_then(|time| {
            let time: SystemTime = time.into();
            time.duration_since(UNIX_EPOCH).ok()
        });
        Self {
            bytes: metadata.content_length(),
            modified: modified.map(|time| (time.as_secs() as i64, time.subsec_nanos())),
            mode: None,
            mark: format!("{:?} {:?}", metadata.etag(), metadata.version()),
            device: 0,
            changed: (0, 0),
        }
    }

    /// A number that stands as long as the file does. 0 where nothing proves that: on a file system whose times prove
    /// nothing, within the tick of its clock, and at a remote place that gives neither tags nor versions.
    pub(super) fn stamp(&self, proof: Proof, now_nanos: i128) -> u64 {
        let proven = match self.mode {
            Some(_) => {
                let (seconds, nanos) = self.modified.unwrap_or_default();
                self.device == proof.device
                    && proof.trust.has_rested((seconds, i64::from(nanos)), now_nanos)
                    && proof.trust.has_rested(self.changed, now_nanos)
            }
            None => self.mark != "None None",
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
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
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
            (Seen { mode: None, mark: "None None".to_owned(), ..seen.clone() }, proof),
        ] {
            assert_eq!(seen.stamp(proof, now), 0, "{seen:?}");
        }
    }
}
