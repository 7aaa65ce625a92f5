//! Snapshots of repositories in brief, as lists and pages need them: opened once, and again only when one was revised
//! (`docs/many-snapshots.md`).

use super::tags::routines_of;
use crate::{
    ops::{OpsError, forget::Candidate},
    record::Timestamp,
    repo::{By, Position, RepoId, Repository, Snapshot, SnapshotId, manifest::Kind},
};
use serde_json::Value as Json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Snapshots that are open at once.
const OPENED: usize = 256;

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Brief {
    pub(super) id: SnapshotId,
    pub(super) revision: u64,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) kind: Kind,
    pub(super) complete: bool,
    pub(super) parent: Option<SnapshotId>,
    pub(super) records: u64,
    /// Bytes of all its records.
    pub(super) bytes: u64,
    /// Bytes that it added to the repository.
    pub(super) added: u64,
    pub(super) inserted: u64,
    pub(super) changed: u64,
    pub(super) deleted: u64,
    /// Modules that are kept beside its records.
    pub(super) modules: u64,
    pub(super) parts: Box<[Part]>,
    /// What retention decides by; the tags are here.
    pub(super) candidate: Candidate,
}

/// One collection of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: Box<str>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) layers: u64,
    pub(super) indexes: u64,
}

fn count(value: &Json, name: &str) -> u64 {
    value.get(name).and_then(Json::as_array).map_or(0, |list| list.len() as u64)
}

impl Brief {
    fn of(snapshot: &Snapshot) -> Self {
        let (content, stats) = (&snapshot.content, &snapshot.content.stats);
        let parts = snapshot.collections.iter().map(|it| Part {
            name: it.name.as_str().into(),
            records: it.records,
            bytes: it.bytes,
            layers: it.stack.len() as u64,
            indexes: count(&it.attributes, "sindexes"),
        });
        Self {
            id: snapshot.id,
            revision: snapshot.revision,
            start: content.start,
            end: content.end,
            kind: content.kind,
            complete: content.complete,
            parent: content.parent,
            records: snapshot.collections.iter().map(|it| it.records).sum(),
            bytes: snapshot.collections.iter().map(|it| it.bytes).sum(),
            added: stats.bytes_added,
            inserted: stats.new,
            changed: stats.changed,
            deleted: stats.deleted + stats.expired,
            modules: count(&content.attributes, "udfs"),
            parts: parts.collect(),
            candidate: Candidate::of(snapshot, true),
        }
    }

    /// Its tags.
    pub(super) fn tags(&self) -> &[String] {
        &self.candidate.tags
    }

    /// What a tag of this name says.
    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        self.tags().iter().find_map(|tag| tag.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether nothing may drop it just so.
    pub(super) const fn is_protected(&self) -> bool {
        self.candidate.hold || self.candidate.lock_until.is_some()
    }
}

/// The snapshots of routines, each oldest first.
pub(super) type ByRoutine = HashMap<String, Arc<Vec<Arc<Brief>>>>;

/// All of a repository.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// What it follows from: where that is the same, so is all of it.
    pub(super) hash: [u8; 32],
    /// Oldest first.
    pub(super) all: Vec<Arc<Brief>>,
    /// Those that a routine made.
    pub(super) by_routine: Arc<ByRoutine>,
}

impl Listed {
    fn of(hash: [u8; 32], mut all: Vec<Arc<Brief>>) -> Self {
        all.sort_by_key(|brief| Position { end: brief.end, order: brief.candidate.order, id: brief.id });
        let mut by_routine: HashMap<String, Vec<Arc<Brief>>> = HashMap::new();
        for brief in &all {
            for routine in routines_of(brief.tags()) {
                match by_routine.get_mut(routine) {
                    Some(its) => its.push(Arc::clone(brief)),
                    None => drop(by_routine.insert(routine.to_owned(), vec![Arc::clone(brief)])),
                }
            }
        }
        let shared = by_routine.into_iter().map(|(routine, its)| (routine, Arc::new(its)));
        Self { hash, all, by_routine: Arc::new(shared.collect()) }
    }

    /// Those of a routine.
    pub(super) fn of_routine(&self, routine: &str) -> &[Arc<Brief>] {
        self.by_routine.get(routine).map(|its| its.as_slice()).unwrap_or_default()
    }
}

/// The snapshots of a repository, once somebody asked for them.
type Slot = Arc<Mutex<Option<Arc<Listed>>>>;

/// Those of all repositories that somebody asked about.
#[derive(Default)]
pub(super) struct Briefs(Mutex<HashMap<(String, RepoId), Slot>>);

impl Briefs {
    /// The snapshots of a repository. Who comes while they are opened waits for that.
    pub(super) fn of(&self, place: &str, repo: &Repository) -> Result<Arc<Listed>, OpsError> {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((place.to_owned(), repo.id())).or_default())
        };
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = repo.listing_hash()?;
        if let Some(listed) = held.as_ref().filter(|listed| listed.hash == hash) {
            return Ok(Arc::clone(listed));
        }
        let before = held.clone().unwrap_or_default();
        let known: HashMap<SnapshotId, &Arc<Brief>> = before.all.iter().map(|brief| (brief.id, brief)).collect();
        let heads = repo.heads(By::All, None)?;
        let (mut all, mut new) = (Vec::with_capacity(heads.len()), Vec::new());
        for head in heads {
            match known.get(&head.id).filter(|brief| brief.revision == head.revision) {
                Some(brief) => all.push(Arc::clone(brief)),
                None => new.push(head),
            }
        }
        for batch in new.chunks(OPENED) {
            all.extend(repo.open_heads(batch)?.iter().map(|snapshot| Arc::new(Brief::of(snapshot))));
        }
        let listed = Arc::new(Listed::of(hash, all));
        *held = Some(Arc::clone(&listed));
        Ok(listed)
    }

    /// Forgets all of them: what is asked for again is opened again.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
