//! Carrying objects over: checked against their names or closing hashes, several at once, in bounded memory.

use super::{Replicated, Stage, Watch, side::Held};
use crate::repo::{
    ObjectName, RepoError, Storage,
    budget::Budget,
    ids::PackKind,
    inner::lock,
    keys, names,
    object::{self, ObjectKind},
    pack,
    storage::{Class, Created},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brought {
    /// It is there.
    There,
    /// The source no longer has it.
    Gone,
    /// The source's is damaged, which is noted.
    Bad,
}

/// An object to be carried over.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub name: String,
    pub bytes: u64,
}

/// What carries objects from one place to the other.
pub(super) struct Carrier<'a> {
    pub source: &'a Storage,
    pub target: &'a Storage,
    pub workers: usize,
    pub dry_run: bool,
    pub watch: &'a dyn Watch,
    pub budget: Arc<Budget>,
    pub held: Mutex<Held>,
    pub done: Mutex<Replicated>,
}

impl Carrier<'_> {
    /// What was done.
    pub fn finish(self) -> Replicated {
        let mut done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        for list in [&mut done.problems, &mut done.notes, &mut done.mended] {
            list.sort();
            list.dedup();
        }
        done
    }

    pub fn problem(&self, words: impl Into<String>) {
        lock(&self.done).problems.push(words.into());
    }

    /// Does something to each of these, several at a time; the first failure ends it.
    pub fn each<T: Sync>(
        &self,
        items: &[T],
        work: &(dyn Fn(&T) -> Result<(), RepoError> + Sync),
    ) -> Result<(), RepoError> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let run = || {
            while !failed.load(Ordering::Relaxed) {
                if self.watch.cancelled() {
                    return Err(RepoError::Interrupted);
                }
                let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                work(item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        let workers = self.workers.min(items.len());
        if workers <= 1 {
            return run();
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(run)).collect();
            let panicked = || Err(RepoError::Internal("a thread panicked".to_owned()));
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| panicked()))
        })
    }

    /// Carries these over; gives those that the source no longer has.
    pub fn bring_all(&self, stage: Stage, loads: &[Load]) -> Result<BTreeSet<String>, RepoError> {
        if loads.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.watch.begins(stage, loads.len() as u64, loads.iter().map(|load| load.bytes).sum());
        let gone = Mutex::new(BTreeSet::new());
        self.each(loads, &|load| {
            match self.bring(load)? {
                Brought::There => self.count(stage, load),
                Brought::Gone => drop(lock(&gone).insert(load.name.clone())),
                Brought::Bad => {}
            }
            self.watch.copied(1, load.bytes);
            Ok(())
        })?;
        Ok(gone.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, stage: Stage, load: &Load) {
        let mut done = lock(&self.done);
        done.bytes += load.bytes;
        match stage {
            Stage::Packs => done.packs += 1,
            Stage::Index => done.index += 1,
            Stage::Snapshots => done.snapshots += 1,
            Stage::Parity => done.parity += 1,
        }
        drop(done);
        let mut held = lock(&self.held);
        match load.name.strip_prefix("packs/").and_then(|name| name.split('/').nth(1)?.parse::<ObjectName>().ok()) {
            Some(pack) => {
                held.suspects.remove(&pack);
                held.packs.insert(pack, load.bytes);
            }
            None => drop(held.small.insert(load.name.clone(), load.bytes)),
        }
    }

    fn bring(&self, load: &Load) -> Result<Brought, RepoError> {
        if self.dry_run {
            return Ok(Brought::There);
        }
        let _room = self.budget.upload(usize::try_from(load.bytes).unwrap_or(usize::MAX));
        let mut trouble = String::new();
        // What arrived damaged is asked for once more: the line may be at fault.
        for _ in 0..2 {
            let bytes = match object::read(self.source, &load.name) {
                Ok(bytes) => Bytes::from(bytes),
                Err(RepoError::Missing { .. }) => return Ok(Brought::Gone),
                Err(error) if error.is_of_one_object() => {
                    trouble = error.to_string();
                    continue;
                }
                Err(error) => return Err(error),
            };
            match check(&load.name, &bytes) {
                Ok(()) => {
                    self.put(&load.name, &bytes, class_of(&load.name, &bytes))?;
                    return Ok(Brought::There);
                }
                Err(reason) => trouble = format!("{} is damaged: {reason}", load.name),
            }
        }
        self.problem(format!("{trouble}; it was not copied"));
        Ok(Brought::Bad)
    }

    /// Creates an object; one of that name that is damaged makes room for it.
    fn put(&self, name: &str, bytes: &Bytes, class: Class) -> Result<(), RepoError> {
        match self.target.create_shared(name, bytes, class) {
            Ok(Created::New) => return Ok(()),
            Ok(Created::Exists) => match self.target.read(name) {
                Ok(there) if there == *bytes => return Ok(()),
                Ok(there) if check(name, &there).is_ok() => {
                    if self.is_late_void(name, bytes)? {
                        return Ok(());
                    }
                    let location = self.target.location().to_owned();
                    return Err(RepoError::NotReplica {
                        location,
                        reason: format!("its {name} is not that of the source"),
                    });
                }
                // As long, and named by its content: it lies in an archive there.
                Err(RepoError::Archived { .. }) => return Ok(()),
                Ok(_) | Err(RepoError::Damaged { .. } | RepoError::Missing { .. }) => {}
                Err(error) => return Err(error),
            },
            Err(RepoError::Damaged { .. } | RepoError::Obstructed { .. }) => {}
            Err(error) => return Err(error),
        }
        self.target.delete(name)?;
        self.target.create_shared(name, bytes, class)?;
        lock(&self.done).mended.push(name.to_owned());
        Ok(())
    }

    /// Whether the source's object is a fence below a revision that stands: one that was asked for before, and arrived when the
    /// commit in its place had been tidied away. It says nothing, and the next prune takes it away.
    fn is_late_void(&self, name: &str, bytes: &Bytes) -> Result<bool, RepoError> {
        let Some((id, revision)) = names::parse_revision(name) else { return Ok(false) };
        if object::kind_of(name, bytes).ok() != Some(ObjectKind::Void) {
            return Ok(false);
        }
        let listed = super::side::objects(self.source, &format!("snapshots/{id}/"))?;
        Ok(listed.keys().filter_map(|name| names::parse_revision(name)).any(|(_, other)| other > revision))
    }

    /// Key slots and `rekeep.json`, before all else: what is sealed under a new epoch comes after the slots that open it, and the
    /// replica says from the first moment whose it is. Gives the slots of the source.
    pub fn bring_keys(&self) -> Result<BTreeSet<String>, RepoError> {
        let mut slots = BTreeSet::new();
        for folder in ["keys/", "copies/keys/"] {
            let listed = super::side::objects(self.source, folder)?;
            slots.extend(listed.into_keys().filter_map(|name| Some(name.strip_prefix(folder)?.to_owned())));
        }
        let mut pairs: Vec<String> = slots.iter().map(|slot| format!("keys/{slot}")).collect();
        pairs.push(keys::CONFIG.to_owned());
        for first in pairs {
            let copy = format!("copies/{first}");
            let lacks = |name: &&String| !lock(&self.held).small.contains_key(*name);
            // `rekeep.json` itself comes last: its copy says already whose the place is.
            let lacking: Vec<String> = [&copy, &first].into_iter().filter(lacks).cloned().collect();
            if lacking.is_empty() {
                continue;
            }
            let Some(bytes) = self.whole_of([&first, &copy])? else { continue };
            for name in lacking {
                if !self.dry_run {
                    self.put(&name, &bytes, Class::Metadata)?;
                }
                let mut done = lock(&self.done);
                done.keys += 1;
                done.bytes += bytes.len() as u64;
            }
        }
        Ok(slots)
    }

    /// The bytes of the first of two that is whole.
    fn whole_of(&self, names: [&String; 2]) -> Result<Option<Bytes>, RepoError> {
        let mut problem = None;
        for name in names {
            match object::read(self.source, name).and_then(|bytes| keys::check_lines(name, &bytes).map(|()| bytes)) {
                Ok(bytes) => return Ok(Some(Bytes::from(bytes))),
                Err(error) if error.is_of_one_object() || matches!(error, RepoError::Missing { .. }) => {
                    problem.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        // A slot that was removed meanwhile is none.
        if let Some(error) = problem.filter(|error| !matches!(error, RepoError::Missing { .. })) {
            self.problem(format!("{error}; it was not copied"));
        }
        Ok(None)
    }
}

/// Whether an object is what its name or its closing hash says.
fn check(name: &str, bytes: &[u8]) -> Result<(), String> {
    let last = name.rsplit('/').next().unwrap_or_default();
    match name.split('/').next().unwrap_or_default() {
        "packs" | "index" | "parity" if blake3::hash(bytes).to_string() == last => Ok(()),
        "packs" | "index" | "parity" => Err("its bytes are not those that its name promises".to_owned()),
        "keys" | "copies" | keys::CONFIG => keys::check_lines(name, bytes).map_err(|error| error.to_string()),
        // Whatever newer programs write ends with its hash too.
        _ => match bytes.split_last_chunk::<32>() {
            Some((body, hash)) if blake3::hash(body) == *hash => Ok(()),
            _ => Err("its hash does not fit".to_owned()),
        },
    }
}

/// Where the replica's place keeps it: a pack of values may lie where reading takes long.
fn class_of(name: &str, bytes: &[u8]) -> Class {
    let is_data = name.starts_with("packs/")
        && pack::Header::parse_front(name, bytes).is_ok_and(|(header, _)| header.kind == PackKind::Data);
    if is_data { Class::Data } else { Class::Metadata }
}

/// Objects of a map as loads, those left out that are there with the same length.
pub(super) fn lacking<'a>(
    wanted: impl Iterator<Item = (String, u64)> + 'a,
    there: &BTreeMap<String, u64>,
) -> Vec<Load> {
    wanted.filter(|(name, bytes)| there.get(name) != Some(bytes)).map(|(name, bytes)| Load { name, bytes }).collect()
}
