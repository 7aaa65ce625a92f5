//! The folders of the backup service's routines at one place, as whoever keeps them sees them: which backups there are, what a
//! new one is written to, how one goes. A backup is there if its `metadata.yaml` is: that is written last and goes first.

use super::{
    metadata::Metadata,
    spot::tree_at,
    step::{FULL, INCREMENTAL, METADATA},
};
use crate::{
    connector::{
        ConnectorError, Options,
        shared::publish::{Present, publish},
        url::escaped,
    },
    repo::storage::{ObjectTree, StorageOptions},
};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// What is said of a backup that lacks something, beside its metadata.
const INCOMPLETE: &str = "incomplete.yaml";
/// The longest of such files that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Folders that are looked into at once, where each takes a request.
const THREADS: usize = 8;
/// How far below a run's folder the files of a namespace may lie.
const MAX_DEPTH: usize = 3;

/// One backup of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its folder: `ROUTINE/backup/MILLISECONDS/data/NAMESPACE`.
    pub key: String,
    /// The folder of the run that it is of: `ROUTINE/backup/MILLISECONDS`.
    pub run: String,
    /// Whether it holds only what changed.
    pub is_increment: bool,
    /// What is said of it.
    pub metadata: Metadata,
    /// Whether nothing is said to be missing in it.
    pub complete: bool,
}

enum ShelfPlace {
    Here(PathBuf),
    There(ObjectTree),
}

/// A place.
pub struct Shelf {
    place: ShelfPlace,
    location: String,
    storage: StorageOptions,
}

impl Shelf {
    /// The place at a location.
    ///
    /// # Errors
    /// [`ConnectorError::Url`] if there is no such kind of place.
    pub fn open(location: &str, storage: &StorageOptions) -> Result<Self, ConnectorError> {
        let place = match tree_at(location, storage)? {
            Some(tree) => ShelfPlace::There(tree),
            None => ShelfPlace::Here(PathBuf::from(location.strip_prefix("file://").unwrap_or(location))),
        };
        Ok(Self { place, location: location.trim_end_matches('/').to_owned(), storage: storage.clone() })
    }

    /// Where that is, without what is secret.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Whether files take the way over a network.
    #[must_use]
    pub const fn is_far(&self) -> bool {
        matches!(self.place, ShelfPlace::There(_))
    }

    /// The URL of folders in it, to be read one after the other.
    #[must_use]
    pub fn url(&self, folders: &[&str]) -> String {
        let encoded = |text: &str| escaped(text).replace('&', "%26");
        let of = |folder: &str| format!("{}/{folder}", self.location);
        let mut places = folders.iter().map(|folder| of(folder));
        // What storage reaches decodes its own locations.
        let first = places.next().unwrap_or_else(|| self.location.clone());
        let first = if self.is_far() { first } else { escaped(&first) };
        let options = self.storage.options.iter().filter(|_| self.is_far());
        let options = options.map(|(name, value)| format!("{name}={}", encoded(value)));
        let then = places.map(|place| format!("then={}", encoded(&place)));
        let query: Vec<String> = options.chain(then).collect();
        if query.is_empty() { format!("asb:{first}") } else { format!("asb:{first}?{}", query.join("&")) }
    }

    /// Adds what a source or target needs to reach it.
    pub fn add_to(&self, options: &mut Options) {
        if !self.storage.credentials.is_empty() {
            let secrets = self.storage.credentials.iter().cloned();
            let secrets: serde_json::Map<String, serde_json::Value> =
                secrets.map(|(name, secret)| (name, secret.into())).collect();
            options.set("storage_credentials", secrets);
        }
    }

    fn failed(&self, operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> ConnectorError + use<> {
        let object = format!("{}/{name}", self.location);
        move |source| ConnectorError::Io { operation, object, source }
    }

    /// The names in a folder, those of folders with a `/`; none if it is not there.
    fn names(&self, folder: &str) -> Result<Vec<String>, ConnectorError> {
        let listed = match &self.place {
            ShelfPlace::Here(root) => names_here(&root.join(folder)),
            ShelfPlace::There(tree) => {
                tree.list(&format!("{folder}/")).map(|all| all.into_iter().map(|entry| entry.name).collect())
            }
        };
        let mut names = listed.map_err(self.failed("list", folder))?;
        names.sort();
        Ok(names)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, ConnectorError> {
        let names = self.names(folder)?;
        Ok(names.into_iter().filter_map(|name| name.strip_suffix('/').map(str::to_owned)).collect())
    }

    /// The names of the files in a folder.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be listed.
    pub fn files(&self, folder: &str) -> Result<Vec<String>, ConnectorError> {
        Ok(self.names(folder)?.into_iter().filter(|name| !name.ends_with('/') && !name.starts_with('.')).collect())
    }

    /// A small file, if it is there.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ConnectorError> {
        let mut bytes = Vec::new();
        let read = match &self.place {
            ShelfPlace::Here(root) => {
                fs::File::open(root.join(name)).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            }
            ShelfPlace::There(tree) => tree
                .version(name)
                .and_then(|version| tree.read(name, &version))
                .and_then(|object| object.take(MAX_BYTES).read_to_end(&mut bytes)),
        };
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(self.failed("read", name)(error)),
        }
    }

    /// Writes a small file, whole or not at all.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ConnectorError> {
        match &self.place {
            ShelfPlace::There(tree) => tree.write(name, &mut &*bytes).map_err(self.failed("write", name)),
            ShelfPlace::Here(root) => {
                let path = root.join(name);
                let folder = path.parent().unwrap_or(root);
                let write = || -> io::Result<()> {
                    make_folder(folder)?;
                    let mut file = tempfile::Builder::new().prefix(".rekeep-").tempfile_in(folder)?;
                    file.write_all(bytes)?;
                    publish(file.path(), &path, Present::Replaced).map_err(|failed| failed.error)?;
                    // Its old name is gone.
                    let _ = file.into_temp_path().keep();
                    Ok(())
                };
                write().map_err(self.failed("write", name))
            }
        }
    }

    /// Makes a folder for a namespace's files, if the place knows folders.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be made.
    pub fn make(&self, folder: &str) -> Result<(), ConnectorError> {
        match &self.place {
            ShelfPlace::There(_) => Ok(()),
            ShelfPlace::Here(root) => make_folder(&root.join(folder)).map_err(self.failed("make", folder)),
        }
    }

    /// The backup files of a folder: how many, and their bytes.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be listed.
    pub fn measure(&self, folder: &str) -> Result<(u64, u64), ConnectorError> {
        let (mut files, mut bytes) = (0, 0);
        let is_backup = |name: &str| name.ends_with(super::names::SUFFIX) && !name.starts_with('.');
        match &self.place {
            ShelfPlace::Here(root) => {
                for (_, len) in super::place::folder(&root.join(folder))? {
                    (files, bytes) = (files + 1, bytes + len);
                }
            }
            ShelfPlace::There(tree) => {
                let prefix = format!("{folder}/");
                let listed = tree.list(&prefix).map_err(self.failed("list", folder))?;
                for entry in listed.into_iter().filter(|entry| is_backup(&entry.name)) {
                    let version = match entry.version {
                        Some(version) => version,
                        None => {
                            tree.version(&format!("{prefix}{}", entry.name)).map_err(self.failed("look at", folder))?
                        }
                    };
                    (files, bytes) = (files + 1, bytes + version.bytes);
                }
            }
        }
        Ok((files, bytes))
    }

    /// Says that a namespace's backup is there: from now on it is.
    ///
    /// # Errors
    /// [`ConnectorError`] if that cannot be written.
    pub fn finish(&self, key: &str, metadata: &Metadata, missing: &[String]) -> Result<(), ConnectorError> {
        let unwritable = |reason| ConnectorError::Unwritable { object: format!("{}/{key}", self.location), reason };
        if !missing.is_empty() {
            let text = serde_saphyr::to_string(&serde_json::json!({ "missing": missing }));
            let text = text.map_err(|error| unwritable(error.to_string()))?;
            self.write(&format!("{key}/{INCOMPLETE}"), text.as_bytes())?;
        }
        let text = metadata.text().map_err(unwritable)?;
        self.write(&format!("{key}/{METADATA}"), text.as_bytes())
    }

    /// The backups of a routine that were finished, oldest first.
    ///
    /// # Errors
    /// [`ConnectorError`] if the place cannot be listed, or what is said of one makes no sense.
    pub fn kept(&self, routine: &str) -> Result<Vec<Kept>, ConnectorError> {
        let mut runs = Vec::new();
        for (kind, is_increment) in [(FULL, false), (INCREMENTAL, true)] {
            let folder = format!("{routine}/{kind}");
            runs.extend(self.folders(&folder)?.into_iter().map(|name| (format!("{folder}/{name}"), is_increment)));
        }
        let threads = if self.is_far() { THREADS.min(runs.len()) } else { 1 };
        let (left, found) = (Mutex::new(runs.into_iter()), Mutex::new(Vec::new()));
        let work = || -> Result<(), ConnectorError> {
            loop {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((run, is_increment)) = next else { return Ok(()) };
                let mut own = Vec::new();
                self.look(&run, &run, is_increment, MAX_DEPTH, &mut own)?;
                found.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut outcome = work();
            for worker in workers {
                let ended = worker.join().unwrap_or_else(|_| {
                    let reason = "a thread that listed it ended without a word".to_owned();
                    Err(ConnectorError::Unreadable { object: self.location.clone(), reason })
                });
                outcome = outcome.and(ended);
            }
            outcome
        })?;
        let mut kept = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.sort_by(|a, b| {
            (a.metadata.created, a.is_increment, &a.key).cmp(&(b.metadata.created, b.is_increment, &b.key))
        });
        Ok(kept)
    }

    /// Looks for what is said of namespaces, below the folder of a run.
    fn look(
        &self,
        run: &str,
        folder: &str,
        is_increment: bool,
        depth: usize,
        found: &mut Vec<Kept>,
    ) -> Result<(), ConnectorError> {
        let names = self.names(folder)?;
        if names.iter().any(|name| name == METADATA) {
            let name = format!("{folder}/{METADATA}");
            // It may be gone by now.
            let Some(text) = self.read(&name)? else { return Ok(()) };
            let metadata = Metadata::parse(&text)
                .map_err(|reason| ConnectorError::Unreadable { object: format!("{}/{name}", self.location), reason })?;
            found.push(Kept {
                key: folder.to_owned(),
                run: run.to_owned(),
                is_increment,
                metadata,
                complete: !names.iter().any(|name| name == INCOMPLETE),
            });
            return Ok(());
        }
        if depth > 0 {
            for name in names.iter().filter_map(|name| name.strip_suffix('/')) {
                self.look(run, &format!("{folder}/{name}"), is_increment, depth - 1, found)?;
            }
        }
        Ok(())
    }

    /// Removes a folder and everything in it: first what says that a backup is there.
    ///
    /// # Errors
    /// [`ConnectorError`] if something of it cannot be removed.
    pub fn remove(&self, folder: &str) -> Result<(), ConnectorError> {
        let mut files = BTreeSet::new();
        self.gather(folder, MAX_DEPTH + 1, &mut files)?;
        let is_metadata = |name: &&String| name.rsplit('/').next() == Some(METADATA);
        for name in files.iter().filter(is_metadata).chain(files.iter().filter(|name| !is_metadata(name))) {
            let removed = match &self.place {
                ShelfPlace::Here(root) => fs::remove_file(root.join(name)),
                ShelfPlace::There(tree) => tree.delete(name),
            };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed("remove", name)(error)),
                _ => {}
            }
        }
        if let ShelfPlace::Here(root) = &self.place {
            match fs::remove_dir_all(root.join(folder)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed("remove", folder)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the namespaces of a run that are not said to be whole.
    ///
    /// # Errors
    /// [`ConnectorError`] if something of them cannot be removed.
    pub fn remove_unfinished(&self, run: &str) -> Result<(), ConnectorError> {
        for name in self.folders(&format!("{run}/data"))? {
            let folder = format!("{run}/data/{name}");
            if !self.names(&folder)?.iter().any(|name| name == METADATA) {
                self.remove(&folder)?;
            }
        }
        Ok(())
    }

    fn gather(&self, folder: &str, depth: usize, files: &mut BTreeSet<String>) -> Result<(), ConnectorError> {
        for name in self.names(folder)? {
            match name.strip_suffix('/') {
                Some(inner) if depth > 0 => self.gather(&format!("{folder}/{inner}"), depth - 1, files)?,
                Some(_) => {}
                None => drop(files.insert(format!("{folder}/{name}"))),
            }
        }
        Ok(())
    }
}

fn names_here(folder: &std::path::Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let mark = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{mark}", entry.file_name().to_string_lossy()));
    }
    Ok(names)
}

/// Nobody but us reads what lies there.
fn make_folder(folder: &std::path::Path) -> io::Result<()> {
    let mut make = fs::DirBuilder::new();
    make.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
    make.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(created: i64) -> Metadata {
        Metadata { created, namespace: "n".to_owned(), records: Some(1), ..Metadata::default() }
    }

    #[test]
    fn a_backup_is_there_once_it_is_said_and_no_longer_than_that() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().to_str().unwrap(), &StorageOptions::default()).unwrap();
        assert_eq!(shelf.kept("r").unwrap(), []);
        for (key, created) in [("r/incremental/2000/data/n", 2000), ("r/backup/1000/data/n", 1000)] {
            shelf.make(key).unwrap();
            fs::write(dir.path().join(key).join("0_n_1.asb"), "12345").unwrap();
            shelf.finish(key, &metadata(created), &[]).unwrap();
        }
        shelf.make("r/backup/3000/data/n").unwrap();
        fs::write(dir.path().join("r/backup/3000/data/n/0_n_1.asb"), "half").unwrap();
        shelf.finish("r/backup/4000/data/n", &metadata(4000), &["a record: why".to_owned()]).unwrap();
        let kept = shelf.kept("r").unwrap();
        let shown: Vec<_> = kept.iter().map(|one| (one.run.as_str(), one.is_increment, one.complete)).collect();
        let wanted =
            [("r/backup/1000", false, true), ("r/incremental/2000", true, true), ("r/backup/4000", false, false)];
        assert_eq!(shown, wanted);
        assert_eq!(shelf.measure("r/backup/1000/data/n").unwrap(), (1, 5));
        shelf.remove("r/backup/1000").unwrap();
        shelf.remove("r/backup/1000").unwrap();
        assert!(!dir.path().join("r/backup/1000").exists() && shelf.kept("r").unwrap().len() == 2);
    }

    #[test]
    fn urls_say_where_folders_are_whatever_their_names() {
        let near = Shelf::open("/a%b?c", &StorageOptions::default()).unwrap();
        assert_eq!(near.url(&["r/x", "r&/y"]), "asb:/a%25b%3Fc/r/x?then=/a%25b%3Fc/r%26/y");
    }
}
