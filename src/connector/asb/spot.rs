//! A file or folder: on this machine, or at a place that storage reaches (`asb:s3://BUCKET/FOLDER`). Of the latter everything below
//! is listed once; files are read in pieces, one of them ahead.

use super::{
    layers::Plain,
    names::{SUFFIX, in_order},
};
use crate::{
    connector::ConnectorError,
    repo::{
        Storage,
        storage::{Named, ObjectTree, StorageOptions},
    },
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

/// What is read of a far file at once.
const PIECE_BYTES: u64 = 4 << 20;

/// A place that storage reaches.
pub struct Far {
    storage: Storage,
    /// Names below the place, and their lengths.
    listed: Vec<(String, u64)>,
}

/// A file or folder.
#[derive(Clone)]
pub enum Spot {
    /// On this machine.
    Here(PathBuf),
    /// The name below a far place; the empty one is the place itself.
    There(Arc<Far>, String),
}

impl std::fmt::Debug for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.show())
    }
}

impl PartialEq for Spot {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(one), Self::Here(other)) => one == other,
            (Self::There(..), Self::There(..)) => self.show() == other.show(),
            _ => false,
        }
    }
}

impl Eq for Spot {}

/// The location of a far place, if that is what a text names; a local one in that spelling is its path.
pub fn far_location(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_scheme && !scheme.is_empty()).then_some(text)
}

impl Far {
    /// Opens a place and lists what lies below it.
    fn open(location: &str, options: &StorageOptions) -> Result<Self, ConnectorError> {
        Self::over(storage_at(location, options)?)
    }

    fn over(storage: Storage) -> Result<Self, ConnectorError> {
        let listed = storage.list("").map_err(|error| failed("list", storage.location(), error))?;
        let mut listed: Vec<(String, u64)> = listed.into_iter().map(|it| (it.name, it.bytes)).collect();
        listed.sort();
        Ok(Self { storage, listed })
    }
}

/// Storage at a location, in its own spelling.
pub fn storage_at(location: &str, options: &StorageOptions) -> Result<Storage, ConnectorError> {
    Storage::open(location, options).map_err(|error| ConnectorError::Url {
        url: format!("asb:{}", crate::connector::url::without_password(location)),
        reason: error.to_string(),
    })
}

/// The same for objects that are written in pieces; `None` for a folder of this machine.
pub fn tree_at(location: &str, options: &StorageOptions) -> Result<Option<ObjectTree>, ConnectorError> {
    match ObjectTree::open(location, options) {
        Ok(Named::Tree(tree)) => Ok(Some(tree)),
        Ok(Named::Folder(_)) => Ok(None),
        Err(error) => Err(ConnectorError::Url {
            url: format!("asb:{}", crate::connector::url::without_password(location)),
            reason: error.to_string(),
        }),
    }
}

/// An object of a storage, as a person knows it: what its location says behind a `?` stands behind the name.
pub fn object_at(storage: &Storage, name: &str) -> String {
    let (base, query) = storage.location().split_once('?').map_or((storage.location(), None), |(a, b)| (a, Some(b)));
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("{}/{name}{query}", base.trim_end_matches('/'))
}

/// An error of storage, about an object.
pub fn failed(operation: &'static str, object: &str, error: crate::repo::RepoError) -> ConnectorError {
    ConnectorError::Io { operation, object: object.to_owned(), source: io::Error::other(error) }
}

impl Spot {
    /// What a text names, as it is typed behind `asb:`.
    ///
    /// # Errors
    /// [`ConnectorError`] if a far place cannot be listed.
    pub fn of(text: &str, options: &StorageOptions) -> Result<Self, ConnectorError> {
        match far_location(text) {
            None => Ok(Self::Here(crate::connector::url::path_from_text(text))),
            Some(location) => match location.strip_prefix("file://").or_else(|| location.strip_prefix("fs://")) {
                Some(path) => Ok(Self::Here(PathBuf::from(path))),
                // A file lies in the folder that is listed.
                None => {
                    match location.trim_end_matches('/').rsplit_once('/').filter(|(_, name)| name.ends_with(SUFFIX)) {
                        Some((folder, name)) => Ok(Self::There(Arc::new(Far::open(folder, options)?), name.to_owned())),
                        None => Ok(Self::There(Arc::new(Far::open(location, options)?), String::new())),
                    }
                }
            },
        }
    }

    /// As a person knows it.
    #[must_use]
    pub fn show(&self) -> String {
        match self {
            Self::Here(path) => path.display().to_string(),
            Self::There(far, name) if name.is_empty() => far.storage.location().to_owned(),
            Self::There(far, name) => object_at(&far.storage, name),
        }
    }

    /// What tells it from all others.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Here(path) => path.canonicalize().unwrap_or_else(|_| path.clone()).to_string_lossy().into_owned(),
            Self::There(..) => self.show(),
        }
    }

    /// Whether it is of this machine.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// What lies in it by this name.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Here(path) => Self::Here(path.join(name)),
            Self::There(far, folder) if folder.is_empty() => Self::There(Arc::clone(far), name.to_owned()),
            Self::There(far, folder) => Self::There(Arc::clone(far), format!("{folder}/{name}")),
        }
    }

    /// The length of a file; `None` for a folder.
    ///
    /// # Errors
    /// [`ConnectorError::Missing`] if there is neither.
    pub fn len(&self) -> Result<Option<u64>, ConnectorError> {
        let missing = || ConnectorError::Missing { object: self.show() };
        match self {
            Self::Here(path) => match fs::metadata(path) {
                Ok(metadata) => Ok((!metadata.is_dir()).then_some(metadata.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
                Err(source) => Err(ConnectorError::Io { operation: "look at", object: self.show(), source }),
            },
            Self::There(far, name) => {
                let file = far.listed.iter().find(|(listed, _)| listed == name).map(|(_, len)| *len);
                let is_folder = !far.below(name).is_empty();
                if file.is_none() && !is_folder { Err(missing()) } else { Ok(file) }
            }
        }
    }

    /// The backup files of a folder with their lengths: those of indexes and modules first, then as a person counts them.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be listed.
    pub fn files(&self) -> Result<Vec<(Self, u64)>, ConnectorError> {
        let mut found = Vec::new();
        match self {
            Self::Here(path) => {
                let failed = |source| ConnectorError::Io { operation: "list", object: self.show(), source };
                for entry in fs::read_dir(path).map_err(failed)? {
                    let entry = entry.map_err(failed)?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if is_backup(&name) {
                        let metadata = fs::metadata(entry.path()).map_err(failed)?;
                        found.extend(metadata.is_file().then(|| (name, Self::Here(entry.path()), metadata.len())));
                    }
                }
            }
            Self::There(far, folder) => {
                let own = far.below(folder).into_iter().filter(|(name, _)| !name.contains('/') && is_backup(name));
                found.extend(own.map(|(name, len)| (name.to_owned(), self.join(name), len)));
            }
        }
        found.sort_by(|a, b| in_order(&a.0, &b.0));
        Ok(found.into_iter().map(|(_, spot, len)| (spot, len)).collect())
    }

    /// The names of the files in a folder, whatever they are.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, ConnectorError> {
        let mut names = Vec::new();
        match self {
            Self::Here(path) => {
                let failed = |source| ConnectorError::Io { operation: "list", object: self.show(), source };
                for entry in fs::read_dir(path).map_err(failed)? {
                    let entry = entry.map_err(failed)?;
                    if !entry.file_type().map_err(failed)?.is_dir() {
                        names.push(entry.file_name().to_string_lossy().into_owned());
                    }
                }
            }
            Self::There(far, folder) => {
                let own = far.below(folder).into_iter().filter(|(name, _)| !name.contains('/'));
                names.extend(own.map(|(name, _)| name.to_owned()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The names of the folders in a folder; none if it is not there.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be listed.
    pub fn folders(&self) -> Result<Vec<String>, ConnectorError> {
        let mut names = BTreeSet::new();
        match self {
            Self::Here(path) => {
                let failed = |source| ConnectorError::Io { operation: "list", object: self.show(), source };
                let entries = match fs::read_dir(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                    entries => entries.map_err(failed)?,
                };
                for entry in entries {
                    let entry = entry.map_err(failed)?;
                    if entry.file_type().map_err(failed)?.is_dir() {
                        names.insert(entry.file_name().to_string_lossy().into_owned());
                    }
                }
            }
            Self::There(far, folder) => {
                let inner = far.below(folder).into_iter().filter_map(|(name, _)| name.split_once('/'));
                names.extend(inner.map(|(name, _)| name.to_owned()));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// A small file whole, if it is there.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be read.
    pub fn text(&self, most: u64) -> Result<Option<Vec<u8>>, ConnectorError> {
        match self {
            Self::Here(path) => match File::open(path) {
                Ok(file) => {
                    let mut text = Vec::new();
                    let read = file.take(most).read_to_end(&mut text);
                    read.map_err(|source| ConnectorError::Io { operation: "read", object: self.show(), source })?;
                    Ok(Some(text))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(ConnectorError::Io { operation: "read", object: self.show(), source }),
            },
            Self::There(far, name) => {
                if !far.listed.iter().any(|(listed, _)| listed == name) {
                    return Ok(None);
                }
                let read = far.storage.read_at_most(name, most);
                read.map(Some).map_err(|error| failed("read", &self.show(), error))
            }
        }
    }

    /// When a file was last written, in milliseconds, if its place tells.
    #[must_use]
    pub fn written(&self) -> Option<i64> {
        let Self::Here(path) = self else { return None };
        let time = fs::metadata(path).ok()?.modified().ok()?;
        i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    }

    /// Opens a file.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self) -> io::Result<Plain> {
        match self {
            Self::Here(path) => Ok(Box::new(File::open(path)?)),
            Self::There(far, name) => {
                let listed = far.listed.iter().find(|(listed, _)| listed == name);
                let (_, len) = listed.ok_or(io::ErrorKind::NotFound)?;
                Ok(Box::new(FarFile {
                    far: Arc::clone(far),
                    name: name.clone(),
                    len: *len,
                    next: 0,
                    piece: io::Cursor::new(Vec::new()),
                }))
            }
        }
    }

    /// Its path, if it is of this machine.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Here(path) => Some(path),
            Self::There(..) => None,
        }
    }
}

fn is_backup(name: &str) -> bool {
    // What is being written has a name that begins with a dot.
    name.ends_with(SUFFIX) && !name.starts_with('.')
}

impl Far {
    /// What lies below a folder, by the names that it has there.
    fn below(&self, folder: &str) -> Vec<(&str, u64)> {
        let inner = |(name, len): &'_ (String, u64)| -> Option<(usize, u64)> {
            if folder.is_empty() {
                return Some((0, *len));
            }
            name.strip_prefix(folder)?.strip_prefix('/').map(|rest| (name.len() - rest.len(), *len))
        };
        let all = self.listed.iter().filter_map(|one| inner(one).map(|(at, len)| (&one.0[at..], len)));
        all.collect()
    }
}

/// A far file being read.
struct FarFile {
    far: Arc<Far>,
    name: String,
    len: u64,
    /// Where the next piece begins.
    next: u64,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for FarFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() >= self.piece.get_ref().len() as u64 && self.next < self.len {
            let end = (self.next + PIECE_BYTES).min(self.len);
            let piece = self.far.storage.read_range(&self.name, self.next..end).map_err(io::Error::other)?;
            if piece.len() as u64 != end - self.next {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.next = end;
            self.piece = io::Cursor::new(piece);
        }
        self.piece.read(out)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::step::steps_of, *};

    /// The same folder as it is seen here, and as if it were far away.
    fn both(path: &Path) -> [Spot; 2] {
        let storage = Storage::at(path.to_str().unwrap()).unwrap();
        [Spot::Here(path.canonicalize().unwrap()), Spot::There(Arc::new(Far::over(storage).unwrap()), String::new())]
    }

    fn put(path: &Path, text: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_far_folder_looks_as_a_near_one() {
        let dir = tempfile::tempdir().unwrap();
        let long: Vec<u8> = (0..PIECE_BYTES as usize * 2 + 5).map(|at| (at % 251) as u8).collect();
        for (name, text) in [("n_10.asb", &b"ten"[..]), ("n_2.asb", &long), ("metadata_n_1.asb", b"m"), ("x.txt", b"x")]
        {
            put(&dir.path().join("data").join(name), text);
        }
        put(&dir.path().join("data/more/n_1.asb"), b"");
        for spot in both(dir.path()) {
            let data = spot.join("data");
            assert_eq!(
                (spot.folders().unwrap(), data.folders().unwrap()),
                (vec!["data".to_owned()], vec!["more".to_owned()])
            );
            let files = data.files().unwrap();
            let names: Vec<String> =
                files.iter().map(|(file, _)| file.show().rsplit('/').next().unwrap().to_owned()).collect();
            assert_eq!(names, ["metadata_n_1.asb", "n_2.asb", "n_10.asb"]);
            let mut read = Vec::new();
            files[1].0.open().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == long && files[1].1 == long.len() as u64);
            assert_eq!((data.len().unwrap(), files[2].0.len().unwrap()), (None, Some(3)));
            assert_eq!(data.join("x.txt").text(10).unwrap().as_deref(), Some(&b"x"[..]));
            assert_eq!((data.join("none").text(10).unwrap(), spot.join("none").folders().unwrap().len()), (None, 0));
            assert!(matches!(spot.join("none").len(), Err(ConnectorError::Missing { .. })));
        }
    }

    #[test]
    fn a_routine_is_the_same_chain_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let metadata = |created: &str| format!("created: {created}\nnamespace: n\nrecord-count: 0\n");
        for (step, created) in [("backup/100", "2026-01-01T00:00:00Z"), ("incremental/200", "2026-01-02T00:00:00Z")] {
            put(&dir.path().join(step).join("data/n/metadata.yaml"), metadata(created).as_bytes());
            put(&dir.path().join(step).join("data/n/0_n_1.asb"), b"Version 3.1\n# namespace n\n");
        }
        put(&dir.path().join("backup/300/data/n/0_n_1.asb"), b"not finished");
        let [near, far] = both(dir.path()).map(|root| steps_of(&root, "asb:s3://b/r?region=x").unwrap());
        let names = |steps: &[super::super::step::Step]| steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&near), ["backup/100", "incremental/200"]);
        assert_eq!(names(&near), names(&far));
        assert_eq!(far[1].url(), "asb:s3://b/r?region=x&step=incremental/200");
        assert_eq!(far[1].created, near[1].created);
    }

    #[test]
    fn locations_are_told_from_paths() {
        assert_eq!(far_location("s3://b/p"), Some("s3://b/p"));
        for path in ["/a/b", "a", "a b://c", "://x", "hex:61"] {
            assert_eq!(far_location(path), None, "{path}");
        }
        assert_eq!(Spot::of("file:///a/b", &StorageOptions::default()).unwrap(), Spot::Here("/a/b".into()));
        assert!(Spot::of("nothing://a/b", &StorageOptions::default()).unwrap_err().to_string().contains("nothing"));
    }
}
