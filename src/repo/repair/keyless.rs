//! Making packs again from parity without a key: what anybody can do who may read and write the place.

use super::{Looked, Repaired};
use crate::repo::{
    ObjectName, RepoError, RepoId, Storage,
    faults::{self, Rule},
    index, keys,
    lease::{LeaseBody, MarkBody, PRUNE, end_path},
    names,
    object::{self, ObjectKind},
    pack,
    parity::{self, Rebuilt, Shelf, There},
    storage::Listed,
};
use crate::report::{Trouble, TroubleKind};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Makes lost and damaged packs again from parity, and names those that it cannot make. Where it is a dry run nothing is
/// written.
///
/// # Errors
/// [`RepoError`] if storage cannot be listed or written; [`RepoError::Interrupted`] if `go_on`, which is told of every pack's
/// bytes, says so; [`RepoError::Invalid`] if a name is no pack's.
pub fn heal_keyless(
    storage: &Storage,
    looked: &Looked,
    dry_run: bool,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Repaired, RepoError> {
    let config = keys::read_config(storage)?;
    let id = config.get("id").and_then(serde_json::Value::as_str).and_then(|id| id.parse::<RepoId>().ok());
    let repo = id.ok_or_else(|| RepoError::damaged(keys::CONFIG, "it has no id"))?;
    let mut done = Repaired { dry_run, ..Repaired::default() };
    let marked = marked(storage)?;
    // What is described was stored before.
    let mut described = described_by(storage, &mut done)?;
    let there: There = listed(storage, "packs/")?
        .into_iter()
        .filter_map(|object| Some((names::parse_pack(&object.name)?, object.bytes)))
        .collect();
    if described.keys().any(|name| !there.contains_key(name)) {
        // A prune takes away what describes a pack before the pack.
        let after = described_by(storage, &mut Repaired::default())?;
        described.retain(|name, _| there.contains_key(name) || after.contains_key(name));
    }
    let problems = problems(storage, looked, &there, &described, &mut done, go_on)?;
    if problems.is_empty() {
        return Ok(done);
    }
    if let Some(pruner) = pruner_at_work(storage)? {
        let words = format!("no pack is made again until {pruner} has ended");
        done.waiting.push(Trouble::new(TroubleKind::Waits, "", words));
        return Ok(done);
    }
    let stock = Shelf::read(storage, repo)?;
    done.lost.extend(stock.hidden.clone());
    for (name, problem) in problems {
        let path = pack::path(&name);
        let is_listed = there.contains_key(&name);
        if marked.contains(&name) && !is_listed {
            continue;
        }
        let words = match parity::rebuild(storage, &stock, &there, &name) {
            Ok(Rebuilt::Whole(bytes)) => {
                if !dry_run {
                    match parity::put_back(storage, repo, &name, &bytes, is_listed) {
                        Err(error) if error.is_of_one_object() => {
                            done.lost.push(error.into());
                            continue;
                        }
                        put => put?,
                    }
                }
                done.restored.push(format!("{path}, from parity"));
                if !go_on(bytes.len() as u64) {
                    return Err(RepoError::Interrupted);
                }
                continue;
            }
            Ok(Rebuilt::NoGroup) => "no group of parity names it".to_owned(),
            Ok(Rebuilt::TooMuchIsLost(reason)) => reason,
            Err(error @ RepoError::Archived { .. }) => error.to_string(),
            Err(error) => return Err(error),
        };
        let words = format!("{path}: {problem}; {words}");
        done.lost.push(Trouble::new(TroubleKind::Lost, path, words));
    }
    Ok(done)
}

fn listed(storage: &Storage, folder: &str) -> Result<Vec<Listed>, RepoError> {
    let mut listed = storage.list(folder)?;
    listed.retain(|object| names::fit(&object.name) == names::Fit::Object);
    listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(listed)
}

/// What marks name, as far as they can be read without a key.
fn marked(storage: &Storage) -> Result<HashSet<ObjectName>, RepoError> {
    let mut marked = HashSet::new();
    for object in listed(storage, "trash/")? {
        match object::read_plain::<MarkBody>(storage, ObjectKind::Mark, &object.name) {
            Ok(body) => marked.extend(body.packs),
            Err(RepoError::Missing { .. }) => {}
            Err(error) if error.is_of_one_object() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(marked)
}

/// The packs that index objects describe, and their lengths.
fn described_by(storage: &Storage, done: &mut Repaired) -> Result<BTreeMap<ObjectName, u64>, RepoError> {
    let mut described = BTreeMap::new();
    for object in listed(storage, "index/")? {
        let Some(name) = names::parse_flat::<ObjectName>("index/", &object.name) else { continue };
        match object::read(storage, &object.name).and_then(|bytes| index::packs_of(&name, &bytes)) {
            Ok(packs) => described.extend(packs),
            Err(RepoError::Missing { .. }) => {}
            Err(error) if error.is_of_one_object() => done.lost.push(error.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(described)
}

/// The packs that are described and gone, or not what they are named by.
fn problems(
    storage: &Storage,
    looked: &Looked,
    there: &There,
    described: &BTreeMap<ObjectName, u64>,
    done: &mut Repaired,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<BTreeMap<ObjectName, String>, RepoError> {
    let named =
        |name: &ObjectName, prefix: &String| !prefix.is_empty() && name.to_string().starts_with(prefix.as_str());
    if let Looked::Named(prefixes) = looked
        && let Some(none) = prefixes.iter().find(|it| !described.keys().any(|name| named(name, it)))
    {
        return Err(RepoError::Invalid(format!("no pack's name begins with `{none}`")));
    }
    let notes: HashSet<ObjectName> = listed(storage, "damage/")?
        .iter()
        .filter_map(|object| names::parse_flat::<ObjectName>("damage/", &object.name))
        .collect();
    let mut problems = BTreeMap::new();
    for (name, bytes) in described {
        let is_asked_for = match looked {
            Looked::Named(prefixes) => prefixes.iter().any(|prefix| named(name, prefix)),
            Looked::All | Looked::Remembered => true,
        };
        if !is_asked_for {
            continue;
        }
        let problem = match there.get(name) {
            None => Some("it is gone, and an index object names it".to_owned()),
            Some(found) if found != bytes => Some(format!("it has {found} bytes; the index says {bytes}")),
            Some(_) if *looked == Looked::Remembered && !notes.contains(name) => None,
            Some(_) => {
                let read = parity::read_whole(storage, name);
                if !go_on(*bytes) {
                    return Err(RepoError::Interrupted);
                }
                match read {
                    Ok(_) => None,
                    // It went between listing and reading: a prune took it.
                    Err(RepoError::Missing { .. }) if storage.len(&pack::path(name))?.is_none() => None,
                    Err(error @ RepoError::Archived { .. }) => {
                        done.lost.push(error.into());
                        None
                    }
                    Err(error) if error.is_of_one_object() || matches!(error, RepoError::Missing { .. }) => {
                        Some(error.to_string())
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        problems.extend(problem.map(|problem| (*name, problem)));
    }
    Ok(problems)
}

/// A lease of a pruner that is not over, as far as that can be told without a key.
fn pruner_at_work(storage: &Storage) -> Result<Option<String>, RepoError> {
    if faults::is_broken(Rule::NothingIsMadeAgainBesidePruners) {
        return Ok(None);
    }
    let mut ended = HashSet::new();
    let mut pruners: HashMap<_, String> = HashMap::new();
    for object in listed(storage, "leases/")? {
        if object.name.ends_with("/end") {
            ended.insert(object.name);
            continue;
        }
        match object::read_plain::<LeaseBody>(storage, ObjectKind::Lease, &object.name) {
            Ok(body) if body.purpose == PRUNE => {
                pruners.insert(body.lease, body.host);
            }
            Ok(_) | Err(RepoError::Missing { .. }) => {}
            Err(error) if error.is_of_one_object() => {}
            Err(error) => return Err(error),
        }
    }
    for (lease, host) in pruners {
        let is_fenced = storage.len(&names::revision_path(&lease, 0))?.is_some();
        if !ended.contains(&end_path(&lease)) && !is_fenced {
            return Ok(Some(format!("the prune on {host} (lease {})", lease.short())));
        }
    }
    Ok(None)
}
