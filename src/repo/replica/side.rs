//! What the two sides hold, as listings show it.

use crate::repo::{
    ObjectName, RepoError, SnapshotId, Storage, keys,
    names::{self, Fit},
    object::{self, ObjectKind},
    repository::forgotten,
    storage::Listed,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How often a listing is taken again because what it names went away.
const MAX_LOOKS: usize = 10;

/// What a replica holds of what is copied.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Packs and their lengths.
    pub packs: HashMap<ObjectName, u64>,
    /// Packs that a note calls damaged.
    pub suspects: HashSet<ObjectName>,
    /// Everything else, by full name.
    pub small: BTreeMap<String, u64>,
}

impl Held {
    pub fn of(target: &Storage) -> Result<Self, RepoError> {
        let mut held = Self::default();
        for folder in ["keys/", "copies/", "index/", "snapshots/", "forgotten/", "parity/", "settings/"] {
            held.small.extend(objects(target, folder)?);
        }
        held.small.extend(target.len(keys::CONFIG)?.map(|bytes| (keys::CONFIG.to_owned(), bytes)));
        let mut is_blocked = false;
        target.list_pages("packs/", &mut |page| {
            is_blocked |= page.iter().any(|it| it.name == "packs");
            held.packs.extend(page.iter().filter_map(|it| Some((names::parse_pack(&it.name)?, it.bytes))));
        })?;
        if is_blocked {
            return Err(RepoError::Hidden { object: "packs".to_owned() });
        }
        let notes = objects(target, "damage/")?;
        held.suspects.extend(notes.keys().filter_map(|name| names::parse_flat::<ObjectName>("damage/", name)));
        Ok(held)
    }

    /// The revisions of snapshots.
    pub fn revisions(&self) -> impl Iterator<Item = (SnapshotId, u64, u64)> + '_ {
        let below = self.small.range("snapshots/".to_owned()..);
        below.map_while(|(name, bytes)| name.starts_with("snapshots/").then_some((name, bytes))).filter_map(
            |(name, bytes)| {
                let (id, revision) = names::parse_revision(name)?;
                Some((id, revision, *bytes))
            },
        )
    }
}

/// The objects of a folder by name; what is no object is left out.
///
/// # Errors
/// [`RepoError::Hidden`] if something that is no folder stands in its place.
pub(super) fn objects(storage: &Storage, folder: &str) -> Result<BTreeMap<String, u64>, RepoError> {
    let listed = storage.list(folder)?;
    is_open(folder, &listed)?;
    let listed = listed.into_iter();
    Ok(listed.filter(|it| names::fit(&it.name) == Fit::Object).map(|it| (it.name, it.bytes)).collect())
}

fn is_open(folder: &str, listed: &[Listed]) -> Result<(), RepoError> {
    match names::in_its_place(folder, listed) {
        Some(name) => Err(RepoError::Hidden { object: name.to_owned() }),
        None => Ok(()),
    }
}

/// The index objects of the source.
pub(super) fn index(source: &Storage) -> Result<BTreeMap<ObjectName, u64>, RepoError> {
    let listed = objects(source, "index/")?.into_iter();
    Ok(listed.filter_map(|(name, bytes)| Some((names::parse_flat("index/", &name)?, bytes))).collect())
}

/// What `snapshots/` and then `forgotten/` showed of the source.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The revisions of each, with their lengths.
    pub revisions: BTreeMap<SnapshotId, BTreeMap<u64, u64>>,
    /// Collective tombstones, with their lengths.
    pub collectives: BTreeMap<String, u64>,
    /// The snapshots that these name. Without a key nobody knows whether they may: what the source still has of them is copied
    /// and kept like all else, and whoever has the key heeds the tombstones that pass their check.
    pub gathered: BTreeSet<SnapshotId>,
    /// What stands in the place of folders or cannot be read.
    pub problems: Vec<String>,
}

impl Snapshots {
    /// Whether everything that was seen stands as it stood when `later` was looked at; that more came does not matter.
    pub fn stand(&self, later: &Self) -> bool {
        // What is being gathered goes piece by piece.
        self.revisions
            .iter()
            .filter(|(id, _)| !self.gathered.contains(id))
            .all(|(id, revisions)| later.revisions.get(id) == Some(revisions) && !later.gathered.contains(id))
    }

    pub fn of(source: &Storage) -> Result<Self, RepoError> {
        for _ in 0..MAX_LOOKS {
            if let Some(found) = Self::look(source)? {
                return Ok(found);
            }
        }
        Err(RepoError::KeepsMoving { rounds: MAX_LOOKS as u64 })
    }

    /// `None` if a collective tombstone went away before it was read: what it named stands in another.
    fn look(source: &Storage) -> Result<Option<Self>, RepoError> {
        let mut found = Self::default();
        let listed = source.list("snapshots/")?;
        is_open("snapshots/", &listed)?;
        for object in listed {
            match (names::parse_revision(&object.name), names::fit(&object.name)) {
                (Some((id, revision)), _) => {
                    found.revisions.entry(id).or_default().insert(revision, object.bytes);
                }
                (None, Fit::Blocked) => {
                    found.problems.push(format!("{} is no folder, and hides what may be there", object.name));
                }
                (None, _) => {}
            }
        }
        for (name, bytes) in objects(source, "forgotten/")? {
            match named_by(source, &name) {
                Ok(named) => {
                    found.gathered.extend(named);
                    found.collectives.insert(name, bytes);
                }
                Err(RepoError::Missing { .. }) => return Ok(None),
                Err(error) if error.is_of_one_object() => found.problems.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(found))
    }
}

/// The snapshots that a collective tombstone names.
pub(super) fn named_by(storage: &Storage, name: &str) -> Result<Vec<SnapshotId>, RepoError> {
    let bytes = object::read(storage, name)?;
    forgotten::parse(name, &object::unwrap(ObjectKind::Forgotten, name, &bytes)?)
}
