//! The folders of the backup service: full backups and increments of one routine, in the order of their times.

use super::{
    cipher::Cipher,
    codec::Record,
    file::AsbFile,
    gather::Gathered,
    metadata::Metadata,
    options::PartOptions,
    place::{AsbPlace, folder},
};
use crate::{
    connector::{ConnectorError, SourceUrl},
    record::Timestamp,
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// The folder of full backups, and that of increments.
const FULL: &str = "backup";
const INCREMENTAL: &str = "incremental";
const METADATA: &str = "metadata.yaml";
/// How far below a backup's folder the files of a namespace may lie.
const MAX_DEPTH: usize = 4;

/// The files of one namespace.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Where they lie.
    pub path: PathBuf,
    /// What is said of them.
    pub metadata: Metadata,
}

/// One backup of a routine.
#[derive(Debug, Clone)]
pub struct Step {
    /// The routine's folder.
    pub root: PathBuf,
    /// What it is called below that: `backup/1700000000000`.
    pub name: String,
    /// Its files by namespace.
    pub folders: Vec<Folder>,
    /// When it began.
    pub created: Timestamp,
    /// Whether it holds only what changed.
    pub is_increment: bool,
    /// Namespaces that the full backup before it has, and it has not.
    lost: BTreeSet<String>,
    /// Namespaces without a word that they were finished.
    unfinished: Vec<PathBuf>,
    /// The folders of the backups that an increment stands on.
    before: Vec<Folder>,
}

/// Whether a folder is that of a routine.
pub fn is_routine(root: &Path) -> bool {
    root.join(FULL).is_dir() && folder(root).is_ok_and(|files| files.is_empty())
}

/// The backups of a routine, oldest first; those that were not finished are left out.
///
/// # Errors
/// [`ConnectorError`] if a folder cannot be read, or there is no full backup.
pub fn steps(root: &Path) -> Result<Vec<Step>, ConnectorError> {
    let mut steps = Vec::new();
    for (kind, is_increment) in [(FULL, false), (INCREMENTAL, true)] {
        for name in names(&root.join(kind))? {
            steps.extend(Step::open(root, &format!("{kind}/{name}"), is_increment)?);
        }
    }
    steps.sort_by_key(|step| (step.created, step.is_increment));
    let mut before: Vec<Folder> = Vec::new();
    let mut chain = Vec::new();
    for mut step in steps {
        if step.is_increment {
            // Without a full backup before it nobody knows what did not change.
            if before.is_empty() {
                continue;
            }
            step.before.clone_from(&before);
        } else {
            let names = |folders: &[Folder]| -> BTreeSet<String> {
                folders.iter().map(|folder| folder.metadata.namespace.clone()).collect()
            };
            step.lost = names(&before).difference(&names(&step.folders)).cloned().collect();
            before.clear();
        }
        before.extend(step.folders.iter().cloned());
        chain.push(step);
    }
    if chain.is_empty() {
        return Err(ConnectorError::Unreadable {
            object: root.display().to_string(),
            reason: "there is no full backup in it that was finished (none has a metadata.yaml)".to_owned(),
        });
    }
    Ok(chain)
}

fn names(path: &Path) -> Result<Vec<String>, ConnectorError> {
    let failed = |source| ConnectorError::Io { operation: "list", object: path.display().to_string(), source };
    let mut names = Vec::new();
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

impl Step {
    /// The backup that a URL names by `?step=`.
    ///
    /// # Errors
    /// [`ConnectorError`] if there is none.
    pub fn of(url: &SourceUrl) -> Result<Option<Self>, ConnectorError> {
        let [(option, name)] = url.options.as_slice() else { return Ok(None) };
        if option != "step" {
            return Ok(None);
        }
        let root = url.path();
        let found = steps(&root)?.into_iter().find(|step| step.name == *name);
        let missing = || ConnectorError::Missing { object: format!("the backup {name} of {}", root.display()) };
        found.ok_or_else(missing).map(Some)
    }

    fn open(root: &Path, name: &str, is_increment: bool) -> Result<Option<Self>, ConnectorError> {
        let path = root.join(name);
        let mut step = Self {
            root: root.to_owned(),
            name: name.to_owned(),
            folders: Vec::new(),
            created: Timestamp::default(),
            is_increment,
            lost: BTreeSet::new(),
            unfinished: Vec::new(),
            before: Vec::new(),
        };
        step.look(&path, MAX_DEPTH)?;
        let Some(created) = step.folders.iter().map(|folder| folder.metadata.created).min() else { return Ok(None) };
        step.created = Timestamp::from_millis(created);
        step.folders.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Some(step))
    }

    /// Looks for the files of namespaces.
    fn look(&mut self, path: &Path, depth: usize) -> Result<(), ConnectorError> {
        let told = path.join(METADATA);
        match fs::read(&told) {
            Ok(text) => {
                let wrong = |reason| ConnectorError::Unreadable { object: told.display().to_string(), reason };
                let metadata = Metadata::parse(&text).map_err(wrong)?;
                self.folders.push(Folder { path: path.to_owned(), metadata });
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ConnectorError::Io { operation: "read", object: told.display().to_string(), source });
            }
        }
        if !folder(path)?.is_empty() {
            self.unfinished.push(path.to_owned());
        }
        if depth > 0 {
            for name in names(path)? {
                self.look(&path.join(name), depth - 1)?;
            }
        }
        Ok(())
    }

    /// The URL under which it is read alone.
    pub fn url(&self) -> String {
        let root = self.root.to_string_lossy().replace('%', "%25").replace('?', "%3F");
        let name = self.name.replace('%', "%25").replace('&', "%26");
        format!("asb:{root}?step={name}")
    }

    /// Adds what an increment does not say and what it stands on does, and compares counts.
    ///
    /// # Errors
    /// [`ConnectorError`] if an earlier file cannot be read.
    pub(super) fn complete(
        &self,
        gathered: &mut Gathered,
        cipher: Option<&Cipher>,
        part: &PartOptions,
    ) -> Result<(), ConnectorError> {
        let everything = PartOptions::default() == *part;
        let told: u64 = self.folders.iter().filter_map(|folder| folder.metadata.records).sum();
        let all_tell = self.folders.iter().all(|folder| folder.metadata.records.is_some());
        let came: u64 = gathered.sorted.values().map(|(_, records, _)| records).sum();
        if everything && all_tell && told != came {
            gathered.missing.push(format!(
                "{} of {}: its metadata.yaml says {told} records, and the files hold {came}",
                self.name,
                self.root.display()
            ));
        }
        for name in &self.lost {
            gathered.missing.push(format!("{} has no namespace `{name}`, which the backup before it has", self.name));
        }
        for path in &self.unfinished {
            gathered.missing.push(format!("{} has files and no {METADATA}: it was not finished", path.display()));
        }
        let mut record = Record::default();
        for folder_before in &self.before {
            let name = folder_before.metadata.namespace.as_bytes().to_vec();
            if !name.is_empty() {
                gathered.sorted.entry(name).or_default();
            }
            for input in AsbPlace::Paths(vec![folder_before.path.clone()]).inputs()? {
                let mut file = AsbFile::open(&input, cipher, true)?;
                let namespace = file.namespace.clone();
                gathered.sorted.entry(namespace.clone()).or_default();
                // Only what stands before its records is wanted.
                let _ = file.next(&mut record)?;
                let own = gathered.globals.namespaces.entry(namespace.clone()).or_default();
                if let Some(theirs) = file.globals.namespaces.remove(&namespace).filter(|_| !part.no_indexes) {
                    for (name, index) in theirs.indexes {
                        own.indexes.entry(name).or_insert(index);
                    }
                    for line in theirs.raw_indexes {
                        if !own.raw_indexes.contains(&line) {
                            own.raw_indexes.push(line);
                        }
                    }
                }
                for (name, module) in file.globals.modules.into_iter().filter(|_| !part.no_udfs) {
                    gathered.globals.modules.entry(name).or_insert(module);
                }
            }
        }
        Ok(())
    }
}
