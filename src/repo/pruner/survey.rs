//! Surveying: what lies in which pack, what of it is needed, what is marked. What a plan is made from.

use super::{
    LayerWalk, MarkState, Pruner,
    copy::CopyProgress,
    mark::Maker,
    view::{Homes, Leases, View},
};
use crate::repo::{
    ObjectName, RepoError, Repository, SnapshotId, catalog::PackNumber, damage, ids::PackKind, inner::Inner,
    lease::Mark,
};
use crate::report::Trouble;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// One pack that the index describes and that no mark names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackUse {
    /// Its name.
    pub name: ObjectName,
    /// Its length.
    pub bytes: u64,
    /// Metadata or data.
    pub kind: PackKind,
    /// Stored bytes of chunks that are needed, and at home here before anywhere else.
    pub live_bytes: u64,
    /// Stored bytes of all others.
    pub dead_bytes: u64,
    /// How many chunks are needed here.
    pub live_chunks: u64,
    /// Whether its writer still runs: it is left alone.
    pub is_busy: bool,
    /// Whether it is known to be damaged: what is needed in it and at home nowhere is copied out as far as it can be read.
    pub is_damaged: bool,
}

/// A pack that no index object describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its name.
    pub name: ObjectName,
    /// Its length.
    pub bytes: u64,
    /// Whether its writer still runs, or cannot be told: it is left alone.
    pub is_busy: bool,
}

/// The whole repository, as a plan needs it.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Indexed packs in no mark.
    pub packs: Vec<PackUse>,
    /// Packs that no index object describes, in no mark.
    pub orphans: Vec<Orphan>,
    /// Marks, and what they wait for.
    pub marks: Vec<MarkState>,
    /// Snapshots that count.
    pub snapshots: u64,
    /// Chunks that they need.
    pub needed_chunks: u64,
    /// Listed packs and their bytes.
    pub packs_listed: u64,
    /// Bytes of all listed packs.
    pub bytes_listed: u64,
    /// Snapshots that were there once and are gone, although nobody forgot them; what they need stays.
    pub vanished: Vec<SnapshotId>,
}

impl Repository {
    /// Surveys the repository without changing anything in it.
    pub fn survey(&self, walk: &dyn LayerWalk, grace: Duration) -> Result<Survey, RepoError> {
        self.survey_without(&HashSet::new(), walk, grace)
    }

    /// The same as if these snapshots had been forgotten.
    pub fn survey_without(
        &self,
        without: &HashSet<SnapshotId>,
        walk: &dyn LayerWalk,
        grace: Duration,
    ) -> Result<Survey, RepoError> {
        self.inner.survey(walk, grace, Leases::AreNot, without)
    }
}

impl Pruner {
    /// Surveys the repository; fences dead leases on the way.
    pub fn survey(&self) -> Result<Survey, RepoError> {
        self.inner.survey(self.options.walk.as_ref(), self.options.grace, Leases::AreListed, &HashSet::new())
    }

    /// Copies what is needed in these packs into new ones, and waits until their index is durable. Gives chunks and
    /// stored bytes copied, and what could not be read: its packs cannot go.
    pub fn repack(
        &self,
        packs: &HashSet<ObjectName>,
        progress: &mut CopyProgress<'_>,
    ) -> Result<(u64, u64, Vec<Trouble>), RepoError> {
        if packs.is_empty() {
            return Ok((0, 0, Vec::new()));
        }
        let (view, _) = self.look(Leases::AreNot)?;
        let mut leaving: Vec<_> = packs.iter().filter_map(|name| Some((view.packs.number(name)?, *name))).collect();
        leaving.retain(|(_, name)| {
            view.is_home(name) || view.is_damaged(name) && view.packs.is_listed(name) && !view.marked.contains(name)
        });
        leaving.sort_unstable();
        let mut homes = self.inner.homes(&view, &leaving.iter().map(|(number, _)| *number).collect())?;
        let copied = self.copy_needed(&view, &mut homes, &leaving, progress)?;
        let mut lost = Vec::new();
        if !copied.unreadable.is_empty() {
            let (view, homes) = self.look(Leases::AreNot)?;
            lost = copied.lost(&view, &homes);
        }
        Ok((copied.chunks, copied.bytes, lost))
    }

    /// Marks what of `wanted` may go. Gives how many packs that is.
    pub fn mark(&self, wanted: &HashSet<ObjectName>) -> Result<u64, RepoError> {
        let marks: Vec<Mark> = self.mark_packs(wanted)?;
        Ok(marks.iter().map(|mark| mark.packs.len() as u64).sum())
    }

    /// Marks the damaged packs in which nothing is needed that lies nowhere else, carries out what is drained, and takes
    /// what is gone and not missed out of the index. Gives the marks that are left.
    pub fn take_away_damaged(&self) -> Result<Vec<MarkState>, RepoError> {
        let survey = self.survey()?;
        let useless = survey.packs.iter().filter(|pack| pack.is_damaged && pack.live_chunks == 0 && !pack.is_busy);
        self.mark(&useless.map(|pack| pack.name).collect())?;
        self.delete_whatever_is_drained()?;
        self.tidy_notes()?;
        self.marks()
    }

    /// The marks that are left, and what they wait for.
    pub fn marks(&self) -> Result<Vec<MarkState>, RepoError> {
        let marks = self.inner.marks(&HashSet::new(), crate::repo::lease::Unreadable::Fails)?;
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let marked: HashSet<&ObjectName> = marks.iter().flat_map(|mark| &mark.packs).collect();
        let mut listed: HashMap<ObjectName, u64> = HashMap::new();
        self.inner.for_each_listed_pack(&mut |name, bytes| {
            if marked.contains(&name) {
                listed.insert(name, bytes);
            }
        })?;
        let leases = self.inner.leases()?;
        self.inner.mark_states(&marks, &leases, &|name| listed.get(name).copied(), self.options.grace)
    }
}

impl Inner {
    pub(in crate::repo) fn packs_listed(&self) -> Result<HashMap<ObjectName, u64>, RepoError> {
        let mut listed = HashMap::new();
        self.for_each_listed_pack(&mut |name, bytes| {
            listed.insert(name, bytes);
        })?;
        Ok(listed)
    }

    /// Takes away the notes of damaged packs that are gone, once nothing is needed that was in them alone.
    fn tidy_damage(&self, view: &View, homes: &Homes) -> Result<(), RepoError> {
        for name in self.damaged_packs()?.iter().filter(|name| !view.packs.is_listed(name)) {
            let number = view.packs.number(name);
            let is_missed = number.map_or(Ok(false), |number| self.is_missed(view, homes, number))?;
            if !is_missed {
                self.storage.delete(&damage::path(name))?;
            }
        }
        Ok(())
    }

    /// Whether something is needed that a pack holds, or held, and that is at home nowhere.
    pub(super) fn is_missed(&self, view: &View, homes: &Homes, pack: PackNumber) -> Result<bool, RepoError> {
        let lacks = |chunk: &u64| view.needed.chunks.has(*chunk) && !homes.housed.has(*chunk);
        match self.catalog.pack_chunks(pack) {
            // Not known any more: then it is.
            Err(RepoError::CatalogChanged) => Ok(true),
            chunks => Ok(chunks?.iter().any(lacks)),
        }
    }

    fn survey(
        self: &Arc<Self>,
        walk: &dyn LayerWalk,
        grace: Duration,
        fence: Leases,
        without: &HashSet<SnapshotId>,
    ) -> Result<Survey, RepoError> {
        let (mut view, homes) = self.look(walk, fence, without)?;
        if fence == Leases::AreListed {
            self.tidy_damage(&view, &homes)?;
        }
        if fence == Leases::AreNot {
            view.leases = self.leases_seen()?;
        }
        let running: HashSet<SnapshotId> =
            view.leases.iter().filter(|lease| !lease.is_over()).map(|lease| lease.id).collect();
        let writers_run = view.leases.iter().any(|lease| !lease.is_over() && !lease.is_prune());
        let mut survey = Survey {
            marks: self.mark_states(&view.marks, &view.leases, &|name| view.packs.bytes(name), grace)?,
            snapshots: view.needed.snapshots,
            needed_chunks: view.needed.chunks.len(),
            packs_listed: view.packs.listed().count() as u64,
            bytes_listed: view.packs.listed().map(|(_, bytes)| bytes).sum(),
            vanished: view.vanished.clone(),
            ..Survey::default()
        };
        let mut damaged = Vec::new();
        self.catalog.for_each_pack_info(&mut |info| {
            if !view.packs.is_listed(&info.name) || view.marked.contains(&info.name) {
                return;
            }
            let number = view.packs.number(&info.name);
            let uses = number.map(|number| homes.uses.of(number)).unwrap_or_default();
            let is_damaged = view.is_damaged(&info.name);
            if let Some(number) = number.filter(|_| is_damaged) {
                damaged.push((survey.packs.len(), number));
            }
            survey.packs.push(PackUse {
                name: info.name,
                bytes: info.bytes,
                kind: info.kind,
                live_bytes: u64::from(uses.live_bytes),
                dead_bytes: u64::from(uses.dead_bytes),
                live_chunks: u64::from(uses.live_chunks),
                is_busy: running.contains(&info.lease),
                is_damaged,
            });
        })?;
        let only_here = |chunk: &&u64| view.needed.chunks.has(**chunk) && !homes.housed.has(**chunk);
        for (at, number) in damaged.into_iter().rev() {
            match self.catalog.pack_chunks(number) {
                Err(RepoError::CatalogChanged) => drop(survey.packs.remove(at)),
                chunks => survey.packs[at].live_chunks = chunks?.iter().filter(only_here).count() as u64,
            }
        }
        let is_unknown = |name: &ObjectName| view.packs.number(name).is_none() && !view.marked.contains(name);
        for (name, bytes) in view.packs.listed().filter(|(name, _)| is_unknown(name)) {
            let is_busy = match self.pack_maker(&name)? {
                Maker::Lease(lease) => running.contains(&lease),
                Maker::Unknown => writers_run || !self.storage.promises().prompt_listing,
                Maker::Newer => true,
                Maker::Gone => continue,
            };
            survey.orphans.push(Orphan { name, bytes, is_busy });
        }
        Ok(survey)
    }
}
