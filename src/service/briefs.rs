//! Snapshots of repositories in brief, as lists of backups need them: opened once, and again only when one was revised
//! (`docs/many-snapshots.md`).

use crate::{
    ops::OpsError,
    record::Timestamp,
    repo::{By, RepoId, Repository, Snapshot, SnapshotId, manifest::Kind},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Snapshots that are open at once.
const OPENED: usize = 256;

/// One of them.
#[derive(Debug)]
pub(super) struct Brief {
    pub(super) id: SnapshotId,
    revision: u64,
    pub(super) tags: Vec<String>,
    pub(super) hold: bool,
    pub(super) complete: bool,
    pub(super) kind: Kind,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Brief {
    fn of(snapshot: &Snapshot) -> Self {
        let content = &snapshot.content;
        Self {
            id: snapshot.id,
            revision: snapshot.revision,
            tags: snapshot.tags.clone(),
            hold: snapshot.hold,
            complete: content.complete,
            kind: content.kind,
            start: content.start,
            end: content.end,
            records: snapshot.collections.iter().map(|it| it.records).sum(),
            bytes: snapshot.collections.iter().map(|it| it.bytes).sum(),
        }
    }

    /// What a tag of this name says.
    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(name)?.strip_prefix('='))
    }
}

/// All of a repository, by end.
type Listed = Arc<Vec<Arc<Brief>>>;

/// What a list follows from, and the list.
type Slot = Arc<Mutex<Option<([u8; 32], Listed)>>>;

/// Those of all repositories that somebody asked about.
#[derive(Default)]
pub(super) struct Briefs(Mutex<HashMap<(String, RepoId), Slot>>);

impl Briefs {
    /// The snapshots of a repository, oldest first. Who comes while they are opened waits for that.
    pub(super) fn of(&self, place: &str, repo: &Repository) -> Result<Listed, OpsError> {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((place.to_owned(), repo.id())).or_default())
        };
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = repo.listing_hash()?;
        if let Some((_, listed)) = held.as_ref().filter(|(known, _)| *known == hash) {
            return Ok(Arc::clone(listed));
        }
        let before = held.take().map(|(_, listed)| listed).unwrap_or_default();
        let known: HashMap<SnapshotId, &Arc<Brief>> = before.iter().map(|brief| (brief.id, brief)).collect();
        let heads = repo.heads(By::All, None)?;
        let (mut listed, mut new) = (Vec::with_capacity(heads.len()), Vec::new());
        for head in heads {
            match known.get(&head.id).filter(|brief| brief.revision == head.revision) {
                Some(brief) => listed.push(Arc::clone(brief)),
                None => new.push(head),
            }
        }
        for batch in new.chunks(OPENED) {
            listed.extend(repo.open_heads(batch)?.iter().map(|snapshot| Arc::new(Brief::of(snapshot))));
        }
        listed.sort_by_key(|brief| (brief.end, brief.id));
        let listed = Arc::new(listed);
        *held = Some((hash, Arc::clone(&listed)));
        Ok(listed)
    }
}
