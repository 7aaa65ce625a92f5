//! The folders of the backup service: full backups and increments of one routine, in the order of their times.

use super::{
    cipher::Cipher,
    codec::Record,
    file::AsbFile,
    gather::Gathered,
    metadata::Metadata,
    options::{PartOptions, PlaceOptions},
    place::{AsbPlace, place_text, storage_options},
    spot::Spot,
};
use crate::{
    connector::{ConnectorError, SourceUrl},
    record::Timestamp,
};
use std::collections::BTreeSet;

/// The folder of full backups, and that of increments.
pub const FULL: &str = "backup";
pub const INCREMENTAL: &str = "incremental";
/// What says that the files beside it are whole.
pub const METADATA: &str = "metadata.yaml";
/// The longest of those that is read.
const MAX_METADATA_BYTES: u64 = 1 << 20;
/// How much later than the backup before it an increment may begin, by clocks that are read one after the other.
const SLACK_MILLIS: i64 = 1000;
/// How far below a backup's folder the files of a namespace may lie.
const MAX_DEPTH: usize = 4;

/// The files of one namespace.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Where they lie.
    pub path: Spot,
    /// What is said of them.
    pub metadata: Metadata,
}

/// One backup of a routine.
#[derive(Debug, Clone)]
pub struct Step {
    /// The routine's folder.
    pub root: Spot,
    /// The same as it is typed, with what storage is told.
    typed: String,
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
    unfinished: Vec<Spot>,
    /// Backups before it, without a word that they were finished, on which it stands all the same: it holds what changed
    /// since they were made.
    passed_over: Vec<String>,
    /// If it holds what changed since a time that is later than the backup before it: both.
    since: Option<(Timestamp, Timestamp)>,
    /// The folders of the backups that an increment stands on.
    before: Vec<Folder>,
}

/// Whether a folder is that of a routine.
pub fn is_routine(root: &Spot) -> bool {
    matches!(root.join(FULL).len(), Ok(None)) && root.files().is_ok_and(|files| files.is_empty())
}

/// A URL as it is typed, without the step.
fn typed(url: &SourceUrl) -> String {
    let encoded = |text: &str| text.replace('%', "%25").replace('&', "%26");
    let mut text = format!("asb:{}", url.written);
    for (index, (name, value)) in storage_options(url, &PlaceOptions::default()).options.iter().enumerate() {
        text += &format!("{}{name}={}", if index == 0 { '?' } else { '&' }, encoded(value));
    }
    text
}

/// The backups of a routine, oldest first; those that were not finished are left out.
///
/// # Errors
/// [`ConnectorError`] if a folder cannot be read, or there is no full backup.
pub fn steps(url: &SourceUrl, at: &PlaceOptions) -> Result<Vec<Step>, ConnectorError> {
    steps_of(&Spot::of(place_text(url), &storage_options(url, at))?, &typed(url))
}

/// The same of a folder, and how it is typed.
pub fn steps_of(root: &Spot, typed: &str) -> Result<Vec<Step>, ConnectorError> {
    let (mut steps, mut unfinished) = (Vec::new(), Vec::new());
    for (kind, is_increment) in [(FULL, false), (INCREMENTAL, true)] {
        for name in root.join(kind).folders()? {
            let step = Step::open(root, typed.to_owned(), &format!("{kind}/{name}"), is_increment)?;
            // The time, and behind a dash the same for people where the service is told so.
            match name.split('-').next().unwrap_or_default().parse::<i64>() {
                _ if !step.folders.is_empty() => steps.push(step),
                Ok(at) if !step.unfinished.is_empty() => unfinished.push((at, step.name)),
                _ => {}
            }
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
            let stood_on = before.iter().map(|folder| folder.metadata.created).max().unwrap_or_default();
            let from = step.folders.iter().map(|folder| folder.metadata.from).max().unwrap_or_default();
            // One that broke off is passed over by what comes next, which begins where the last that was finished did.
            let between = unfinished.iter().filter(|(at, _)| stood_on < *at && *at <= from);
            step.passed_over = between.map(|(_, name)| name.clone()).collect();
            let is_later = from > stood_on.saturating_add(SLACK_MILLIS) && step.passed_over.is_empty();
            step.since = is_later.then(|| (Timestamp::from_millis(from), Timestamp::from_millis(stood_on)));
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
            object: root.show(),
            reason: "there is no full backup in it that was finished (none has a metadata.yaml)".to_owned(),
        });
    }
    Ok(chain)
}

impl Step {
    /// The backup that a URL names by `?step=`.
    ///
    /// # Errors
    /// [`ConnectorError`] if there is none.
    pub fn of(url: &SourceUrl, at: &PlaceOptions) -> Result<Option<Self>, ConnectorError> {
        let Some((_, name)) = url.options.iter().find(|(option, _)| option == "step") else { return Ok(None) };
        let found = steps(url, at)?.into_iter().find(|step| step.name == *name);
        let missing = || ConnectorError::Missing { object: format!("the backup {name} of {}", url.place) };
        found.ok_or_else(missing).map(Some)
    }

    fn open(root: &Spot, typed: String, name: &str, is_increment: bool) -> Result<Self, ConnectorError> {
        let path = root.join(name);
        let mut step = Self {
            root: root.clone(),
            typed,
            name: name.to_owned(),
            folders: Vec::new(),
            created: Timestamp::default(),
            is_increment,
            lost: BTreeSet::new(),
            unfinished: Vec::new(),
            passed_over: Vec::new(),
            since: None,
            before: Vec::new(),
        };
        step.look(&path, MAX_DEPTH)?;
        let created = step.folders.iter().map(|folder| folder.metadata.created).min();
        step.created = Timestamp::from_millis(created.unwrap_or_default());
        step.folders.sort_by_key(|folder| folder.path.show());
        Ok(step)
    }

    /// Looks for the files of namespaces.
    fn look(&mut self, path: &Spot, depth: usize) -> Result<(), ConnectorError> {
        let told = path.join(METADATA);
        if let Some(text) = told.text(MAX_METADATA_BYTES)? {
            let wrong = |reason| ConnectorError::Unreadable { object: told.show(), reason };
            let metadata = Metadata::parse(&text).map_err(wrong)?;
            self.folders.push(Folder { path: path.clone(), metadata });
            return Ok(());
        }
        if !path.files()?.is_empty() {
            self.unfinished.push(path.clone());
        }
        if depth > 0 {
            for name in path.folders()? {
                self.look(&path.join(&name), depth - 1)?;
            }
        }
        Ok(())
    }

    /// Where its files lie.
    pub fn place(&self) -> AsbPlace {
        AsbPlace::Spots(self.folders.iter().map(|folder| folder.path.clone()).collect())
    }

    /// The URL under which it is read alone.
    pub fn url(&self) -> String {
        let name = self.name.replace('%', "%25").replace('&', "%26");
        let mark = if self.typed.contains('?') { '&' } else { '?' };
        format!("{}{mark}step={name}", self.typed)
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
                self.root.show()
            ));
        }
        for name in &self.lost {
            gathered.missing.push(format!("{} has no namespace `{name}`, which the backup before it has", self.name));
        }
        for path in &self.unfinished {
            gathered.missing.push(format!("{} has files and no {METADATA}: it was not finished", path.show()));
        }
        for name in &self.passed_over {
            gathered.missing.push(format!(
                "{} holds what changed since {name}, which has files and no {METADATA}: what had changed by then is not here",
                self.name
            ));
        }
        if let Some((from, stood_on)) = self.since {
            gathered.globals.notes.push(format!(
                "{} holds what changed since {from}, and the backup before it was made at {stood_on}: if one between them is gone \
                 that held records, they are not here (the service itself removes increments without records)",
                self.name
            ));
        }
        let mut record = Record::default();
        for folder_before in &self.before {
            let name = folder_before.metadata.namespace.as_bytes().to_vec();
            if !name.is_empty() {
                gathered.sorted.entry(name).or_default();
            }
            for input in AsbPlace::Spots(vec![folder_before.path.clone()]).inputs()? {
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
