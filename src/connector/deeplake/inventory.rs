//! What a dataset consists of: every file that is to be copied, with its role and what must be true of it.

use super::{
    find::SIDE,
    place::{LakePlace, Seen, join},
};
use crate::{
    connector::file_record::is_valid_key,
    record::{KeyRange, MAX_KEY_BYTES},
};
use serde_json::Value as Json;
use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::Arc,
};

/// Sentences that are named of one dataset; others are counted.
const MAX_NAMED: usize = 50;

/// What a file is to its dataset. A record's set says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An entry of a version 4 log.
    Log,
    /// Data that an entry names.
    Block,
    /// Rows that are not in the log yet.
    Staged,
    /// What says how entries go on, or what services keep beside the data.
    Meta,
    /// A file of a committed node of version 3.
    Node,
    /// A file of the node that is being written: torn by nature.
    Head,
    /// A file of which only the name is known.
    Other,
}

impl Role {
    pub(super) const fn name(self) -> &'static [u8] {
        match self {
            Self::Log => b"log",
            Self::Block => b"block",
            Self::Staged => b"staged",
            Self::Meta => b"meta",
            Self::Node => b"node",
            Self::Head => b"head",
            Self::Other => b"other",
        }
    }

    /// Whether a file of this role, once there, stays as it is: that it is gone while it is copied means that something is lost.
    pub(super) const fn stays(self) -> bool {
        matches!(self, Self::Log | Self::Block | Self::Staged | Self::Node)
    }
}

/// A file to copy.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) key: Box<str>,
    pub(super) role: Role,
    /// How long it must be.
    pub(super) bytes: Option<u64>,
    /// What it was when all else was found, where it is written over in place.
    pub(super) content: Option<Arc<[u8]>>,
    /// What a listing said of it, where it said enough and nothing writes over it.
    pub(super) seen: Option<Box<Seen>>,
}

impl Item {
    pub(super) fn new(key: impl Into<Box<str>>, role: Role, bytes: Option<u64>) -> Self {
        Self { key: key.into(), role, bytes, content: None, seen: None }
    }
}

/// Sentences, the first of them kept.
#[derive(Debug, Default, Clone)]
pub(super) struct Sentences {
    kept: Vec<String>,
    more: u64,
}

impl Sentences {
    pub(super) fn add(&mut self, sentence: String) {
        // What is read again says the same again.
        if self.kept.contains(&sentence) {
            return;
        }
        if self.kept.len() < MAX_NAMED {
            self.kept.push(sentence);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn all(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more of this dataset", self.more));
        self.kept.iter().cloned().chain(more).collect()
    }
}

/// All of a dataset.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// By key, distinct.
    pub(super) items: Vec<Item>,
    /// Keys, in order, that should be there and are not, or are not to be believed: what an earlier snapshot holds there stands.
    pub(super) absent: Vec<KeyRange>,
    pub(super) missing: Sentences,
    pub(super) notes: Vec<String>,
    /// What is kept of it as a whole.
    pub(super) attributes: Json,
}

impl Inventory {
    /// Names files whose names are no text: no record can bear them.
    pub(super) fn miss_odd(&mut self, names: Vec<String>) {
        for name in names {
            self.missing.add(format!("{}: its name is no text, so it is not copied", name.escape_debug()));
        }
    }

    /// Says that what links lead to is not copied.
    pub(super) fn note_links(&mut self, columns: &BTreeSet<String>) {
        if !columns.is_empty() {
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            self.notes.push(format!(
                "rows of {} are links to files elsewhere: the links are copied, and not the files",
                names.join(", ")
            ));
        }
    }

    /// Notes what a listing said of files that stay as they are.
    pub(super) fn note_seen(&mut self, mut seen: HashMap<String, Seen>) {
        for item in self.items.iter_mut().filter(|item| item.role.stays()) {
            item.seen = seen.remove(&*item.key).map(Box::new);
        }
    }

    /// Sorts, and takes out what no key may be.
    pub(super) fn settle(&mut self) {
        self.items.sort_by(|a, b| a.key.cmp(&b.key));
        self.items.dedup_by(|a, b| a.key == b.key);
        let missing = &mut self.missing;
        self.items.retain(|item| {
            let good = is_inside(&item.key) && item.key.len() <= MAX_KEY_BYTES;
            if !good {
                missing.add(format!("{}: it leads out of the dataset, or is no path", item.key.escape_debug()));
            }
            good
        });
        self.absent.sort_by(|a, b| a.start.cmp(&b.start));
        self.absent.dedup();
    }
}

/// Whether a path is that of a file below its dataset.
pub(super) fn is_inside(path: &str) -> bool {
    is_valid_key(path.as_bytes()) && !path.ends_with('/')
}

/// Gives every file below a folder, but locks and what a restore of ours left: by its path below it. Names that are no text are
/// what it comes to.
pub(super) fn walk(place: &LakePlace, folder: &str, take: &mut dyn FnMut(String)) -> io::Result<Vec<String>> {
    walk_seen(place, folder, &mut |key, _| take(key))
}

/// The same, with what a listing alone says of it: at a service one listing says all of all files.
pub(super) fn walk_seen(
    place: &LakePlace,
    folder: &str,
    take: &mut dyn FnMut(String, Option<Seen>),
) -> io::Result<Vec<String>> {
    let mut odd = Vec::new();
    let is_taken = |name: &str| !is_lock(name) && !name.starts_with(SIDE);
    if let Some(listed) = place.list_below(folder)? {
        for (key, seen) in listed {
            if is_taken(key.rsplit('/').next().unwrap_or_default()) {
                take(key, seen);
            }
        }
        return Ok(odd);
    }
    let mut folders = vec![String::new()];
    while let Some(inner) = folders.pop() {
        let path = if inner.is_empty() { folder.to_owned() } else { join(folder, &inner) };
        let names = place.list(&path, &mut |name| odd.push(name))?.unwrap_or_default();
        for one in names {
            let key = join(&inner, &one.name);
            if one.is_folder {
                folders.push(key);
            } else if is_taken(&one.name) {
                take(key, None);
            }
        }
    }
    Ok(odd)
}

/// Whether a file only says that somebody is at work.
pub(super) fn is_lock(name: &str) -> bool {
    name.rsplit('.').next() == Some("lock")
}
