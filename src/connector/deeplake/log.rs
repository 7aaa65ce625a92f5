//! A version 4 dataset: its log is read first, by one listing; what it names is what the dataset is.

use super::{
    entry::{Change, Entry, EntryName, MAX_ENTRY_BYTES, is_block_path, number_of, parse_name},
    find::LOG,
    inventory::{Inventory, Item, Role, is_inside, is_lock, walk_seen},
    place::{LakePlace, join},
    staged::{is_staged, staged},
};
use crate::record::KeyRange;
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The folder of what concerns all branches.
pub(super) const META: &str = "_meta";
/// The file that says which number the next entry gets.
pub(super) const NEXT: &str = "next_base";
/// What says a number is not long.
const MAX_NEXT_BYTES: usize = 4096;
/// The newest version of readers that is known here.
const KNOWN_READER: u64 = 4;
/// How often a log is read again that moves or has gaps: a writer takes a number before it writes the entry.
pub(super) const ATTEMPTS: u32 = 6;
/// How many entries of a log at a service are read at once.
const READERS: usize = 16;
pub(super) const PAUSE: Duration = Duration::from_millis(150);

/// A log as one listing showed it.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// By folder: its files, by name, with their lengths.
    pub(super) folders: BTreeMap<String, BTreeMap<String, u64>>,
    /// The blocks that entries name, with the entry that does.
    pub(super) blocks: BTreeMap<Box<str>, u64>,
    /// Blocks that lie outside, or are named with two lengths.
    pub(super) foreign: Vec<String>,
    /// Entries that cannot be read, and why.
    pub(super) torn: BTreeMap<String, String>,
    /// Entries that are not there though later ones are: folder and number.
    pub(super) gaps: Vec<(String, u64)>,
    pub(super) refs: Refs,
    pub(super) unknown: BTreeSet<String>,
    /// Columns whose rows are links to files elsewhere.
    links: BTreeSet<String>,
    /// What lies beside the folders of the log, links to folders among it.
    loose: Vec<String>,
    /// Branches that ever began, and what else of branches must be there: which version of which, and what says so.
    began: BTreeSet<String>,
    needed: Vec<(String, String, String)>,
    /// By folder: number, version, message and time of its entries.
    pub(super) commits: BTreeMap<String, Vec<Commit>>,
}

/// One commit of a branch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Commit {
    /// What tags and branches call it.
    pub version: String,
    /// Its place in the branch.
    pub number: u64,
    /// What it is about.
    pub message: String,
    /// When it was made, by its writer's clock: seconds since 1970.
    pub seconds: Option<i64>,
}

/// What is known of a branch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Branch {
    /// What people call it.
    pub name: String,
    /// The branch and version that it begins at.
    pub from: Option<(String, String)>,
}

/// One branch of a dataset.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BranchReport {
    /// Its id.
    pub id: String,
    /// What is known of it.
    #[serde(flatten)]
    pub branch: Branch,
    /// Its own commits, oldest first.
    pub commits: Vec<Commit>,
}

/// What is known of a tag.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TagRef {
    /// What people call it.
    pub name: String,
    /// The branch that it is on.
    pub branch: String,
    /// The version that it names.
    pub version: String,
}

/// Branches and tags, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs {
    /// The dataset's own id.
    pub id: Option<String>,
    /// The version of readers that the dataset asks for.
    pub min_reader: u64,
    /// Branches by id.
    pub branches: BTreeMap<String, Branch>,
    /// Tags by id.
    pub tags: BTreeMap<String, TagRef>,
}

impl Refs {
    /// Does what an entry says.
    pub fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Id(id) => self.id = Some(id),
            Change::MinReader(version) => self.min_reader = self.min_reader.max(version),
            Change::Branch { id, name, from } => {
                self.branches.insert(id, Branch { name, from });
            }
            Change::RenameBranch(id, name) => {
                if let Some(branch) = self.branches.get_mut(&id) {
                    branch.name = name;
                }
            }
            Change::Merge { .. } => {}
            Change::DeleteBranch(id) => {
                self.branches.remove(&id);
            }
            Change::Tag { id, name, branch, version } => {
                self.tags.insert(id, TagRef { name, branch, version });
            }
            Change::RenameTag(id, name) => {
                if let Some(tag) = self.tags.get_mut(&id) {
                    tag.name = name;
                }
            }
            Change::DeleteTag(id) => {
                self.tags.remove(&id);
            }
        }
    }
}

impl Log {
    /// Reads the log of a dataset that nobody writes.
    pub(super) fn read_quiet(place: &LakePlace, dataset: &str) -> io::Result<Self> {
        Ok(Self::read_once(place, dataset, &mut HashMap::new())?.0)
    }

    /// Reads the log below a dataset. While it moves or lacks an entry it is read again a few times.
    pub(super) fn read(place: &LakePlace, dataset: &str) -> io::Result<Self> {
        let mut known = HashMap::new();
        let mut attempt = 1;
        loop {
            let (log, is_still) = Self::read_once(place, dataset, &mut known)?;
            if attempt == ATTEMPTS || is_still && log.torn.is_empty() && log.gaps.is_empty() {
                return Ok(log);
            }
            attempt += 1;
            std::thread::sleep(PAUSE);
        }
    }

    /// What concerns all branches is listed before the branches, and must be the same afterwards.
    fn read_once(place: &LakePlace, dataset: &str, known: &mut Known) -> io::Result<(Self, bool)> {
        let root = join(dataset, LOG);
        let mut log = Self::default();
        let mut folders = place.list(&root, &mut |_| {})?.unwrap_or_default();
        let loose = folders.iter().filter(|one| !one.is_folder && !is_lock(&one.name));
        log.loose = loose.map(|one| one.name.clone()).collect();
        log.unknown.extend(log.loose.iter().cloned());
        folders.retain(|folder| folder.is_folder);
        folders.sort_by_key(|folder| folder.name != META);
        let list = |folder: &str| {
            let names = place.list(&join(&root, folder), &mut |_| {})?.unwrap_or_default();
            Ok::<_, io::Error>(
                names.into_iter().filter(|one| !one.is_folder && !is_lock(&one.name)).map(|one| one.name),
            )
        };
        for folder in &folders {
            let names: Vec<String> = list(&folder.name)?.collect();
            if !place.is_local() {
                read_ahead(place, &root, &folder.name, &names, known);
            }
            for name in names {
                log.add(place, &root, &folder.name, name, known);
            }
        }
        let meta: Vec<String> = list(META)?.collect();
        let is_still = log.folders.get(META).is_some_and(|files| files.keys().eq(meta.iter()));
        log.find_gaps();
        Ok((log, is_still))
    }

    fn add(&mut self, place: &LakePlace, root: &str, folder: &str, name: String, known: &mut Known) {
        let key = join(folder, &name);
        let path = join(root, &key);
        let Some(named) = parse_name(&name) else {
            if name != NEXT {
                self.unknown.insert(key.clone());
            }
            if let Ok(seen) = place.stat(&path) {
                self.folders.entry(folder.to_owned()).or_default().insert(name, seen.bytes);
            }
            return;
        };
        // Entries never change: only one that could not be read is read again.
        if !known.get(&key).is_some_and(|(_, entry)| entry.is_ok()) {
            known.insert(key.clone(), read_entry(place, &path, &named));
        }
        let Some((bytes, entry)) = known.get(&key) else { return };
        match entry {
            Ok(entry) => {
                let bytes = *bytes;
                self.take(folder, &named, entry);
                self.folders.entry(folder.to_owned()).or_default().insert(name, bytes);
            }
            Err(reason) => {
                self.torn.insert(key, reason.clone());
                if named.sums_up {
                    return;
                }
                self.commits.entry(folder.to_owned()).or_default().push(Commit {
                    version: named.version.to_owned(),
                    number: named.number,
                    message: String::new(),
                    seconds: None,
                });
            }
        }
    }

    /// Takes over what an entry says.
    pub(super) fn take(&mut self, folder: &str, named: &EntryName<'_>, entry: &Entry) {
        for block in &entry.blocks {
            if !is_inside(&block.path) || is_of_log(&block.path) {
                self.foreign.push(format!(
                    "{}, which {folder}/{} names: it leads out of the dataset, or is no block",
                    block.path.escape_debug(),
                    named.version
                ));
                continue;
            }
            match self.blocks.get(block.path.as_str()) {
                Some(bytes) if *bytes != block.bytes => self
                    .foreign
                    .push(format!("{}: entries name it with {bytes} bytes and with {}", block.path, block.bytes)),
                _ => {
                    self.blocks.insert(block.path.clone().into(), block.bytes);
                }
            }
        }
        for change in &entry.changes {
            self.need(change);
            self.refs.apply(change);
        }
        self.unknown.extend(entry.unknown.iter().cloned());
        self.links.extend(entry.links.iter().cloned());
        if !named.sums_up {
            self.commits.entry(folder.to_owned()).or_default().push(Commit {
                version: named.version.to_owned(),
                number: named.number,
                message: entry.message.clone(),
                seconds: entry.seconds,
            });
        }
    }

    fn need(&mut self, change: &Change) {
        let mut need = |branch: &str, version: &str, what: String| {
            self.needed.push((branch.to_owned(), version.to_owned(), what));
        };
        match change {
            Change::Branch { id, name, from } => {
                if let Some((branch, version)) = from {
                    need(branch, version, format!("branch {name} begins at"));
                }
                self.began.insert(id.clone());
            }
            Change::Tag { name, branch, version, .. } => need(branch, version, format!("tag {name} names")),
            Change::Merge { from, into } => {
                need(&from.0, &from.1, format!("version {} of branch {} took in", into.1, into.0));
                need(&into.0, &into.1, "it is said to have taken in another branch:".to_owned());
            }
            _ => {}
        }
    }

    /// What the log says of branches and is not so, in words.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.commits.get(META).is_none_or(Vec::is_empty) {
            wrong.push(format!("{LOG}/{META}: it has no entry, and no reader takes it for a dataset without"));
        }
        for folder in self.commits.keys().filter(|folder| *folder != META && !self.began.contains(*folder)) {
            wrong.push(format!("{LOG}/{folder}: no entry says that this branch began"));
        }
        for (branch, version, what) in &self.needed {
            let newest = self.commits.get(branch).and_then(|commits| commits.iter().map(|one| one.number).max());
            if number_of(version) > newest.unwrap_or(0) {
                wrong.push(format!("{LOG}/{branch}: {what} version {version}, which is not there"));
            }
        }
        wrong
    }

    pub(super) fn find_gaps(&mut self) {
        for (folder, commits) in &mut self.commits {
            commits.sort_by(|a, b| (a.number, &a.version).cmp(&(b.number, &b.version)));
            let mut next = 1;
            for commit in commits.iter() {
                // A hostile number names no million entries.
                self.gaps.extend((next..commit.number).take(100).map(|number| (folder.clone(), number)));
                next = commit.number.saturating_add(1);
            }
        }
    }

    /// What is kept of branches and tags with a snapshot.
    fn attributes(&self) -> Json {
        let branches: Vec<Json> = self
            .refs
            .branches
            .iter()
            .map(|(id, branch)| {
                let commits = self.commits.get(id).map(Vec::as_slice).unwrap_or_default();
                let newest = commits.last();
                json!({
                    "id": id, "name": branch.name, "from": branch.from, "commits": commits.len(),
                    "head": newest.map(|commit| &commit.version), "message": newest.map(|commit| &commit.message),
                    "time": newest.and_then(|commit| commit.seconds),
                })
            })
            .collect();
        json!({
            "version": 4, "id": self.refs.id, "branches": branches,
            "tags": self.refs.tags.values().collect::<Vec<_>>(),
        })
    }
}

/// Entries that were read, by folder and name: their lengths, and what they say.
type Known = HashMap<String, (u64, Result<Entry, String>)>;

fn read_entry(place: &LakePlace, path: &str, named: &EntryName<'_>) -> (u64, Result<Entry, String>) {
    match place.read(path, MAX_ENTRY_BYTES) {
        Ok((bytes, seen)) => (seen.bytes, Entry::parse(&bytes, named.packed)),
        Err(error) => (0, Err(error.to_string())),
    }
}

/// Reads entries that are not known yet, many at once: a service takes its time for each.
fn read_ahead(place: &LakePlace, root: &str, folder: &str, names: &[String], known: &mut Known) {
    let wanted: Vec<(&str, EntryName<'_>)> = names
        .iter()
        .filter(|name| !known.get(&join(folder, name)).is_some_and(|(_, entry)| entry.is_ok()))
        .filter_map(|name| Some((name.as_str(), parse_name(name)?)))
        .collect();
    let (next, read) = (AtomicUsize::new(0), Mutex::new(known));
    std::thread::scope(|scope| {
        for _ in 0..READERS.min(wanted.len()) {
            scope.spawn(|| {
                while let Some((name, named)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let key = join(folder, name);
                    let entry = read_entry(place, &join(root, &key), named);
                    read.lock().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
                }
            });
        }
    });
}

/// All files of a version 4 dataset.
pub(super) fn inventory(place: &LakePlace, dataset: &str) -> io::Result<Inventory> {
    let items = staged(place, dataset)?;
    let log = Log::read(place, dataset)?;
    let mut inventory = Inventory { items, attributes: log.attributes(), ..Inventory::default() };
    for (folder, files) in &log.folders {
        inventory.items.extend(files.iter().map(|(name, bytes)| {
            let key = join(LOG, &join(folder, name));
            match parse_name(name) {
                Some(_) => Item::new(key, Role::Log, Some(*bytes)),
                // It is written over in place, by every commit.
                None if name == NEXT => {
                    let read = place.read_settled(&join(dataset, &key), MAX_NEXT_BYTES);
                    let content = read.ok().map(|(bytes, _)| Arc::from(bytes));
                    Item { content, ..Item::new(key, Role::Meta, None) }
                }
                None => Item::new(key, Role::Meta, None),
            }
        }));
    }
    for (key, reason) in &log.torn {
        inventory.missing.add(format!("{LOG}/{key}: {reason}"));
        inventory.absent.push(KeyRange::only(join(LOG, key).as_bytes()));
    }
    for (folder, number) in &log.gaps {
        inventory.missing.add(format!("{LOG}/{folder}: there is no entry {number}, though there are later ones"));
        let key = |number: u64| join(LOG, &join(folder, &format!("{number:010}"))).into_bytes();
        inventory.absent.push(KeyRange { start: key(*number), end: Some(key(number + 1)) });
    }
    log.foreign.iter().cloned().chain(log.contradictions()).for_each(|sentence| inventory.missing.add(sentence));
    let loose = log.loose.iter().map(|name| Item::new(join(LOG, name), Role::Other, None));
    inventory.items.extend(loose);
    let is_opaque = if log.refs.min_reader > KNOWN_READER {
        inventory.missing.add(format!(
            "it asks for readers of version {}: its files are copied as they are, and what its log names was not checked",
            log.refs.min_reader
        ));
        true
    } else {
        // What cannot be read may name any of them.
        !(log.unknown.is_empty() && log.torn.is_empty() && log.gaps.is_empty())
    };
    let mut unnamed = (0_u64, String::new());
    let mut others = Vec::new();
    let mut seen = HashMap::new();
    let odd = walk_seen(place, dataset, &mut |key, listed| {
        if is_of_log(&key) || log.blocks.contains_key(key.as_str()) {
            if let Some(listed) = listed {
                seen.insert(key, listed);
            }
            return;
        }
        if is_staged(&key) {
            return;
        }
        if is_opaque || !is_block_path(&key) {
            let role = if key.contains('/') { Role::Other } else { Role::Meta };
            others.push(Item::new(key, role, None));
        } else {
            unnamed.0 += 1;
            unnamed.1 = key;
        }
    })?;
    inventory.miss_odd(odd);
    inventory.items.append(&mut others);
    inventory.items.extend(log.blocks.into_iter().map(|(key, bytes)| Item::new(key, Role::Block, Some(bytes))));
    inventory.note_seen(seen);
    if !log.unknown.is_empty() {
        let kinds: Vec<&str> = log.unknown.iter().map(String::as_str).collect();
        inventory.notes.push(format!(
            "its log holds what is not known here ({}): every file below it is copied",
            kinds.join(", ")
        ));
    }
    inventory.note_links(&log.links);
    if unnamed.0 > 0 {
        inventory.notes.push(format!(
            "{} blocks that no entry of the log names are left out (a commit that is under way, or was given up), such as {}",
            unnamed.0, unnamed.1
        ));
    }
    Ok(inventory)
}

fn is_of_log(path: &str) -> bool {
    path.strip_prefix(LOG).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
