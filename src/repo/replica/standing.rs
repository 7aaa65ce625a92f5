//! Whether a place may become, or still is, the replica of a repository: known by its id, and by what nobody but a writer
//! leaves.

use super::side::{self, Held, Snapshots};
use crate::repo::{
    RepoError, SnapshotId, Storage, keys,
    lease::{LeaseBody, end_path},
    names::{self, Fit},
    object::{self, ObjectKind},
};
use std::collections::{BTreeMap, BTreeSet};

/// The id of the repository at a place.
pub(super) fn id_of(storage: &Storage) -> Result<String, RepoError> {
    let config = keys::read_config(storage)?;
    let id = config.get("id").and_then(serde_json::Value::as_str);
    Ok(id.ok_or_else(|| RepoError::damaged(keys::CONFIG, "it has no id"))?.to_owned())
}

/// Refuses one place for both, or one within the other.
pub(super) fn are_apart(source: &Storage, target: &Storage) -> Result<(), RepoError> {
    if source.is_within(target) || target.is_within(source) {
        let words =
            format!("a replica of {} cannot lie at {}: choose another place", source.location(), target.location());
        return Err(RepoError::Invalid(words));
    }
    Ok(())
}

fn refused(target: &Storage, reason: impl Into<String>) -> RepoError {
    RepoError::NotReplica { location: target.location().to_owned(), reason: reason.into() }
}

/// Refuses another repository, and what is left of one.
pub(super) fn is_ours(target: &Storage, held: &Held, id: &str) -> Result<(), RepoError> {
    match id_of(target) {
        Ok(there) if there == id => Ok(()),
        Ok(there) => Err(refused(target, format!("it is the repository {there}, and the source is {id}"))),
        Err(RepoError::NoRepository { .. }) => {
            // Slots come first: a run that broke off before anything else leaves nothing but them.
            let other = held.small.keys().find(|name| !name.starts_with("keys/") && !name.starts_with("copies/keys/"));
            let pack = held.packs.keys().next().map(crate::repo::pack::path);
            match other.cloned().or(pack).map_or_else(|| foreign(target), |object| Ok(Some(object)))? {
                Some(object) => Err(RepoError::Occupied { location: target.location().to_owned(), object }),
                None => slots_are_of(target, held, id),
            }
        }
        Err(error) => Err(error),
    }
}

/// What lies in a folder of a repository and is no object: somebody else uses the place.
fn foreign(target: &Storage) -> Result<Option<String>, RepoError> {
    for folder in keys::FOLDERS {
        let mut listed = target.list(folder)?;
        listed.retain(|it| names::fit(&it.name) != Fit::Object);
        if let Some(name) = listed.into_iter().map(|it| it.name).min() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn slots_are_of(target: &Storage, held: &Held, id: &str) -> Result<(), RepoError> {
    for name in held.small.keys() {
        let of = keys::repository_of(name, &target.read_at_most(name, ObjectKind::max_bytes_in(name))?);
        if of.ok().as_deref() != Some(id) {
            return Err(RepoError::Occupied { location: target.location().to_owned(), object: name.clone() });
        }
    }
    Ok(())
}

/// Refuses a place where somebody holds or held a lease to write, or deletes: replicas have none of this. Leases of readers are
/// no writing; those that have ended are taken away, since nobody prunes there.
pub(super) fn nobody_writes(target: &Storage, dry_run: bool) -> Result<(), RepoError> {
    for folder in ["trash/", "checkpoints/"] {
        if let Some(name) = side::objects(target, folder)?.into_keys().next() {
            return Err(refused(target, format!("{name} lies there, which only a writer makes")));
        }
    }
    let mut leases: BTreeMap<SnapshotId, Vec<String>> = BTreeMap::new();
    for name in side::objects(target, "leases/")?.into_keys() {
        let id = name.split('/').nth(1).and_then(|id| id.parse::<SnapshotId>().ok());
        leases.entry(id.unwrap_or(SnapshotId([0; 16]))).or_default().push(name);
    }
    for (id, names) in leases {
        let end = end_path(&id);
        let mut beats = names.iter().filter(|name| **name != end);
        if let Some(name) = beats.next() {
            let purpose = match purpose(target, name) {
                Err(RepoError::Missing { .. }) => continue,
                Err(error) if !error.is_of_one_object() => return Err(error),
                purpose => purpose.unwrap_or_else(|_| "cannot be read".to_owned()),
            };
            if !purpose.starts_with("read") {
                let words = format!("somebody worked there: {name} ({purpose})");
                return Err(refused(target, words));
            }
        }
        if names.contains(&end) && !dry_run {
            // Who may not delete leaves them, and they harm nobody. The end goes last.
            let gone = beats.chain(names.first().filter(|name| **name != end)).try_for_each(|name| target.delete(name));
            if gone.is_ok() {
                let _ = target.delete(&end);
            }
        }
    }
    Ok(())
}

fn purpose(target: &Storage, name: &str) -> Result<String, RepoError> {
    Ok(object::read_plain::<LeaseBody>(target, ObjectKind::Lease, name)?.purpose)
}

/// Refuses a replica that holds what the source neither has nor has forgotten, or holds something else in its place.
pub(super) fn nothing_is_its_own(
    source: &Storage,
    target: &Storage,
    held: &Held,
    snapshots: &Snapshots,
) -> Result<(), RepoError> {
    let mut extra: BTreeMap<SnapshotId, u64> = BTreeMap::new();
    let mut highest: BTreeMap<SnapshotId, (u64, u64)> = BTreeMap::new();
    for (id, revision, bytes) in held.revisions().filter(|(id, _, _)| !snapshots.gathered.contains(id)) {
        match snapshots.revisions.get(&id).and_then(|there| there.get(&revision)) {
            None => drop(extra.insert(id, revision)),
            Some(length) if *length == bytes && revision > 0 => drop(highest.insert(id, (revision, bytes))),
            // Of another length: damaged there, or something else, which shows when it is copied.
            Some(_) => {}
        }
    }
    for (id, revision) in extra {
        if !is_forgotten(source, snapshots, &id)? {
            let name = names::revision_path(&id, revision);
            return Err(refused(
                target,
                format!(
                    "it holds {name}, which the source neither has nor has forgotten: either somebody wrote to the replica, or \
                     the snapshot vanished from the source"
                ),
            ));
        }
    }
    let gathered = |name: &str| -> Result<BTreeSet<SnapshotId>, RepoError> {
        Ok(side::named_by(target, name)?.into_iter().collect())
    };
    let collectives = held.small.keys().filter(|name| name.starts_with("forgotten/"));
    for name in collectives.filter(|name| !snapshots.collectives.contains_key(*name)) {
        let own: Vec<SnapshotId> = gathered(name)?.difference(&snapshots.gathered).copied().collect();
        if let Some(id) = own.first() {
            return Err(refused(target, format!("{name} forgets snapshot {id}, and nothing at the source does")));
        }
    }
    for (id, (revision, bytes)) in highest {
        same_revision(source, target, &names::revision_path(&id, revision), bytes)?;
    }
    Ok(())
}

/// Whether a tombstone lies above all that the source has of a snapshot.
fn is_forgotten(source: &Storage, snapshots: &Snapshots, id: &SnapshotId) -> Result<bool, RepoError> {
    let Some(revision) = snapshots.revisions.get(id).and_then(|revisions| revisions.keys().next_back()) else {
        return Ok(false);
    };
    let name = names::revision_path(id, *revision);
    match object::read(source, &name).and_then(|bytes| object::kind_of(&name, &bytes)) {
        Ok(kind) => Ok(kind == ObjectKind::Tombstone),
        // Gathered meanwhile.
        Err(RepoError::Missing { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Of two objects of one length their closing hashes say whether they are one.
fn same_revision(source: &Storage, target: &Storage, name: &str, bytes: u64) -> Result<(), RepoError> {
    let end = bytes.saturating_sub(32)..bytes;
    let ours = match source.read_range(name, end.clone()) {
        Err(RepoError::Missing { .. }) => return Ok(()),
        other => other?,
    };
    if target.read_range(name, end)? == ours {
        return Ok(());
    }
    // The other one's bytes decide whether it is damaged or made by somebody.
    let whole = object::read(target, name)?;
    if object::kind_of(name, &whole).is_ok() && object::read(source, name).is_ok_and(|it| it != whole) {
        return Err(refused(target, format!("its {name} is not that of the source")));
    }
    Ok(())
}
