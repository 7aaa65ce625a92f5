//! Stored data: bytes against names, and every chunk against its id.

use super::{Finding, ReadData, VerifyOptions, VerifyOutcome};
use crate::report::TroubleKind;
use crate::{
    ops::{OpsError, Phase, PhaseKind, Progress, crew::Crew, limit::Throttle},
    repo::{
        ObjectName, RepoError, Repository, Storage, index, keys,
        object::{self, ObjectKind},
        pack,
        repository::PacksListed,
        storage::Listed,
    },
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    str::FromStr,
    sync::Mutex,
};

/// The catalog note that keeps where a `1/n` verification goes on.
const CURSOR: &str = "verify-cursor";

fn finding(outcome: &mut VerifyOutcome, object: String, problem: impl std::fmt::Display) {
    found(outcome, object, (TroubleKind::Damaged, problem.to_string()));
}

fn found(outcome: &mut VerifyOutcome, object: String, (kind, problem): (TroubleKind, String)) {
    outcome.findings.push(Finding { kind, object, problem, snapshots: Vec::new() });
}

/// What an error says of an object: what a newer program wrote is no damage.
fn said(error: &RepoError) -> (TroubleKind, String) {
    let kind = if error.trouble() == TroubleKind::Newer { TroubleKind::Newer } else { TroubleKind::Damaged };
    (kind, error.to_string())
}

/// Compares the packs that index objects name with those that are listed.
pub(super) fn packs_listed(
    repo: &Repository,
    listed: PacksListed,
    outcome: &mut VerifyOutcome,
) -> Result<(), OpsError> {
    outcome.packs = listed.described;
    for (name, bytes, described) in listed.odd {
        finding(outcome, pack::path(&name), format!("has {bytes} bytes; the index says {described}"));
    }
    for name in listed.missing {
        // A prune beside us takes a pack out of the index before it deletes it.
        if !is_taken_away(repo, &name)? {
            finding(outcome, pack::path(&name), "is missing: an index object names it");
        }
    }
    Ok(())
}

/// Whether a pack that is not listed is in no index object any more, or there after all.
fn is_taken_away(repo: &Repository, name: &ObjectName) -> Result<bool, OpsError> {
    if repo.storage().len(&pack::path(name)).is_ok_and(|len| len.is_some()) {
        return Ok(true);
    }
    repo.refresh()?;
    Ok(repo.pack_entries(name)?.is_none())
}

/// Reads packs as a whole: name, seal of every frame, id of every chunk. Gives those that are whole.
pub(super) fn read_packs(
    repo: &Repository,
    options: &VerifyOptions,
    outcome: &mut VerifyOutcome,
    progress: &dyn Progress,
) -> Result<HashSet<ObjectName>, OpsError> {
    let mut packs: Vec<(ObjectName, u64)> = repo.packs()?.into_iter().map(|info| (info.name, info.bytes)).collect();
    packs.sort_unstable();
    let chosen = choose(repo, &packs, options.read_data, outcome)?;
    progress.phase(&Phase {
        kind: PhaseKind::ReadingPacks,
        object: String::new(),
        records: chosen.iter().map(|_| 1).sum(),
        bytes: chosen.iter().map(|(_, bytes)| bytes).sum(),
    });
    let threads = options.parallel.max(1);
    let shared = Mutex::new((VerifyOutcome::default(), HashSet::new()));
    let limit = options.read_limit.map(|limit| limit / threads as u64);
    let crew = Crew::new(threads, progress);
    let begin = || Throttle::new(limit);
    crew.each(
        repo.fetch_packs(chosen.clone()),
        begin,
        |throttle, ((name, bytes), begun)| {
            let read = repo.judge_pack(&name, begun.get());
            let Ok(mut guard) = shared.lock() else { return Err(OpsError::Interrupted) };
            let (shared, whole) = &mut *guard;
            match read {
                Ok(read) => {
                    if read.is_sound() {
                        whole.insert(name);
                    }
                    shared.packs_read += 1;
                    shared.bytes_read += bytes;
                    shared.chunks += read.chunks;
                    if let Some(problem) = read.problem {
                        finding(shared, pack::path(&name), problem);
                    }
                    for (chunk, problem) in read.damaged {
                        finding(shared, format!("{}, chunk {chunk}", pack::path(&name)), problem);
                    }
                }
                Err(RepoError::Missing { .. }) if is_taken_away(repo, &name)? => {}
                // No damage, and no proof either.
                Err(RepoError::Archived { .. }) => shared.archived += 1,
                Err(error) if error.is_of_one_object() || matches!(error, RepoError::Missing { .. }) => {
                    found(shared, pack::path(&name), said(&error));
                }
                Err(error) => return Err(error.into()),
            }
            drop(guard);
            progress.count(1, bytes);
            throttle.spend(bytes);
            Ok(())
        },
        |_| Ok(()),
    )?;
    let (read, whole) = shared.into_inner().unwrap_or_default();
    outcome.packs_read += read.packs_read;
    outcome.bytes_read += read.bytes_read;
    outcome.chunks += read.chunks;
    outcome.archived += read.archived;
    outcome.findings.extend(read.findings);
    if let (ReadData::OneIn(_), Some((last, _))) = (options.read_data, chosen.last())
        && let Err(error) = repo.set_note(CURSOR, &last.to_string())
    {
        outcome.notes.push(format!("where the next share begins could not be kept: {error}"));
    }
    Ok(whole)
}

/// Which packs are read. A share by cursor takes the packs behind the cursor in name order, round and round, so that n
/// runs read every pack that stood through them once. Where no earlier run is remembered (a catalog that is made anew each time)
/// it begins anywhere, so that runs that never hear of each other still come to every pack.
fn choose(
    repo: &Repository,
    packs: &[(ObjectName, u64)],
    read: ReadData,
    outcome: &mut VerifyOutcome,
) -> Result<Vec<(ObjectName, u64)>, OpsError> {
    Ok(match read {
        ReadData::None => Vec::new(),
        ReadData::All => packs.to_vec(),
        ReadData::Percent(percent) => {
            let mut chosen = packs.to_vec();
            by_chance(repo, &mut chosen, percent, |(name, _)| name);
            chosen
        }
        ReadData::OneIn(n) => {
            let wanted = packs.len().div_ceil(n.max(1) as usize);
            let cursor = repo.note(CURSOR)?.and_then(|text| ObjectName::from_str(&text).ok());
            let start = if let Some(cursor) = cursor {
                packs.partition_point(|(name, _)| *name <= cursor)
            } else {
                if n > 1 {
                    outcome.notes.push(
                        "which share was read before is not known on this host: where this one begins was chosen by chance"
                            .to_owned(),
                    );
                }
                let salt = blake3::hash(&repo.clock().now().as_millis().to_le_bytes());
                let salt = salt.as_bytes().iter().take(7).fold(0, |all, byte| all << 8 | usize::from(*byte));
                salt % packs.len().max(1)
            };
            packs.iter().cycle().skip(start).take(wanted).copied().collect()
        }
    })
}

/// Leaves so many of a hundred, another share each time.
pub(super) fn by_chance<T>(repo: &Repository, all: &mut Vec<T>, percent: f64, name: impl Fn(&T) -> &ObjectName) {
    let wanted = (all.len() as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as usize;
    // Names are hashes; which share comes first is decided by hashing them with the time.
    let salt = repo.clock().now().as_millis().to_le_bytes();
    all.sort_by_key(|it| *blake3::Hasher::new().update(&salt).update(&name(it).0).finalize().as_bytes());
    all.truncate(wanted);
}

/// Reads every object and compares its bytes with its name or its own closing hash.
pub(super) fn keyless(storage: &Storage, outcome: &mut VerifyOutcome, progress: &dyn Progress) -> Result<(), OpsError> {
    keys::read_config(storage)?;
    let mut objects = Vec::new();
    for folder in keys::FOLDERS {
        objects.extend(storage.list(folder)?);
    }
    objects.extend(storage.len(keys::CONFIG)?.map(|bytes| Listed { name: keys::CONFIG.to_owned(), bytes }));
    missing_of_pairs(&objects, outcome);
    progress.phase(&Phase {
        kind: PhaseKind::ReadingObjects,
        object: String::new(),
        records: objects.len() as u64,
        bytes: objects.iter().map(|listed| listed.bytes).sum(),
    });
    let mut named: BTreeMap<ObjectName, u64> = BTreeMap::new();
    let mut seen: HashMap<ObjectName, u64> = HashMap::new();
    // What is there and could not be read.
    let mut refused: HashSet<ObjectName> = HashSet::new();
    for listed in objects {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let bytes = match storage.read_at_most(&listed.name, ObjectKind::max_bytes_in(&listed.name)) {
            Ok(bytes) => bytes,
            Err(RepoError::Missing { .. }) => continue,
            Err(RepoError::Archived { .. }) => {
                outcome.archived += 1;
                seen.extend(pack::parse_path(&listed.name).map(|name| (name, listed.bytes)));
                continue;
            }
            Err(error) => {
                refused.extend(pack::parse_path(&listed.name));
                finding(outcome, listed.name, error);
                continue;
            }
        };
        progress.count(1, bytes.len() as u64);
        outcome.bytes_read += bytes.len() as u64;
        if let Err(problem) = check_one(&listed.name, &bytes, &mut named, &mut seen) {
            found(outcome, listed.name, problem);
        }
    }
    outcome.packs = named.len() as u64;
    outcome.packs_read = (seen.len() as u64).saturating_sub(outcome.archived);
    for (name, bytes) in named {
        match seen.get(&name) {
            None if refused.contains(&name) => {}
            None => finding(outcome, pack::path(&name), "is missing: an index object names it"),
            Some(&stored) if stored != bytes => {
                finding(outcome, pack::path(&name), format!("has {stored} bytes; the index says {bytes}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What is kept twice, and of which one is gone; and slots of which all are.
fn missing_of_pairs(objects: &[Listed], outcome: &mut VerifyOutcome) {
    let all: HashSet<&str> = objects.iter().map(|listed| listed.name.as_str()).collect();
    if !all.iter().any(|name| name.starts_with("keys/") || name.starts_with("copies/keys/")) {
        let words = "every key slot is gone, here and in copies/keys/: until one is put back, from a replica or another copy of the \
                     repository, nothing opens it";
        finding(outcome, "keys".to_owned(), words);
    }
    for name in &all {
        let other = match name.strip_prefix("copies/") {
            Some(first) => first.to_owned(),
            None if name.starts_with("keys/") || *name == keys::CONFIG => format!("copies/{name}"),
            None => continue,
        };
        if !all.contains(other.as_str()) {
            finding(outcome, other, format!("is missing; {name} is the other of the two"));
        }
    }
}

fn check_one(
    path: &str,
    bytes: &[u8],
    named: &mut BTreeMap<ObjectName, u64>,
    seen: &mut HashMap<ObjectName, u64>,
) -> Result<(), (TroubleKind, String)> {
    let damaged = |words: &str| (TroubleKind::Damaged, words.to_owned());
    let folder = path.split('/').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    match folder {
        "packs" | "index" | "parity" => {
            let name = ObjectName::from_str(last).map_err(|_| damaged("its name is no hash"))?;
            if *blake3::hash(bytes).as_bytes() != name.0 {
                return Err(damaged("its bytes are not those that its name promises"));
            }
            if folder == "packs" {
                seen.insert(name, bytes.len() as u64);
            } else if folder == "index" {
                named.extend(index::packs_of(&name, bytes).map_err(|error| said(&error))?);
            }
        }
        "keys" | "copies" | keys::CONFIG => keys::check_lines(path, bytes).map_err(|error| said(&error))?,
        _ => {
            object::kind_of(path, bytes).map_err(|error| said(&error))?;
        }
    }
    Ok(())
}
