//! One look at the repository: the listings of a step, in the order that the protocol wants, and which pack is a home.

use super::{
    LayerWalk, Pruner,
    leases::LeaseInfo,
    needed::Needed,
    packs::Packs,
    uses::{Uses, UsesByPack},
};
use crate::repo::{
    ChunkId, ObjectName, RepoError, SnapshotId,
    bits::ChunkSet,
    catalog::PackNumber,
    faults::{self, Rule},
    inner::Inner,
    lease::{Mark, Unreadable},
    storage::Listed,
};
use std::{collections::HashSet, sync::Arc};

/// How often a step lists everything again because the index moved under it.
const MAX_LOOKS: usize = 10;

/// What one round of listings showed.
pub(super) struct View {
    pub marks: Vec<Mark>,
    /// Every pack that a mark names.
    pub marked: HashSet<ObjectName>,
    pub index: HashSet<ObjectName>,
    /// What is listed and what is described.
    pub packs: Packs,
    /// Empty unless the step looks at leases.
    pub leases: Vec<LeaseInfo>,
    pub needed: Needed,
    /// Packs that are remembered as damaged, here or in the repository, and packs of another length than the index says.
    pub damaged: HashSet<ObjectName>,
    /// Snapshots that were there once and are gone, although nobody forgot them.
    pub vanished: Vec<SnapshotId>,
}

/// Whether a step looks at leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leases {
    AreListed,
    AreNot,
}

/// Whether what lies in damaged packs counts as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damaged {
    Count,
    DoNotCount,
}

/// What lies where, as far as needed chunks go.
#[derive(Default)]
pub(super) struct Homes {
    /// Needed chunks that have a home in a pack that stays.
    pub housed: ChunkSet,
    /// Stored bytes of chunks whose first home is this pack, of all its chunks, and how many of them are needed here.
    pub uses: UsesByPack,
}

impl View {
    /// Whether a listed pack that the index describes is a home: no mark names it, and it is whole as far as anyone knows.
    pub fn is_home(&self, name: &ObjectName) -> bool {
        let is_marked = self.marked.contains(name) && !faults::is_broken(Rule::MarkedIsNoHome);
        self.packs.is_listed(name) && !is_marked && !self.is_damaged(name)
    }

    pub fn is_damaged(&self, name: &ObjectName) -> bool {
        self.damaged.contains(name) && !faults::is_broken(Rule::DamagedIsNoHome)
    }
}

impl Inner {
    /// Lists `trash/`, index, `packs/`, leases if asked, snapshots, in this order; then finds out what is needed.
    fn look_once(
        self: &Arc<Self>,
        walk: &dyn LayerWalk,
        leases: Leases,
        without: &HashSet<SnapshotId>,
    ) -> Result<View, RepoError> {
        self.forget_hidden();
        // No rule asks for an order of this one.
        let damage = self.begin_damage();
        let marks = self.marks(&HashSet::new(), Unreadable::Fails)?;
        let mut damaged = self.damaged_packs_of(damage)?;
        let early = faults::is_broken(Rule::PacksBeforeLeases) && leases == Leases::AreListed;
        let before = if early { self.leases()? } else { Vec::new() };
        let (mut warnings, mut unread) = (Vec::new(), Vec::new());
        let (index, _) = self.refresh_index_listed(&mut warnings, &mut unread)?;
        if let Some(error) = unread.pop() {
            return Err(error);
        }
        let mut packs = self.list_packs()?;
        let found = match leases {
            Leases::AreListed if !early => self.leases()?,
            _ => before,
        };
        let revisions = if leases == Leases::AreNot && faults::is_broken(Rule::SnapshotsAgain) {
            HashSet::new()
        } else {
            self.refresh_snapshots_listed(&mut warnings)?
        };
        self.nothing_is_hidden()?;
        let needed = self.needed(&revisions, walk, without)?;
        let marked = marks.iter().flat_map(|mark| mark.packs.iter().copied()).collect();
        damaged.extend(packs.describe(&self.catalog)?);
        damaged.extend(self.bad_packs.all().into_iter().map(|(_, name)| name));
        let vanished = Vec::new();
        let mut view = View { marks, marked, index, packs, leases: found, needed, damaged, vanished };
        self.keep_checkpointed(&mut view, walk)?;
        if self.is_blocked("checkpoints/") {
            // What they name may be needed.
            return Err(RepoError::Hidden { object: "checkpoints".to_owned() });
        }
        self.keep_vanished(&mut view, walk)?;
        Ok(view)
    }

    /// Looks until no needed chunk is missing; snapshots of `without` count as if they had been forgotten.
    ///
    /// # Errors
    /// [`RepoError::ChunkMissing`] if one is, and nothing moves any more that could bring it.
    pub(super) fn look(
        self: &Arc<Self>,
        walk: &dyn LayerWalk,
        leases: Leases,
        without: &HashSet<SnapshotId>,
    ) -> Result<(View, Homes), RepoError> {
        let mut last = None;
        for _ in 0..MAX_LOOKS {
            let missing = match self.look_once(walk, leases, without) {
                Ok(view) => {
                    let homes = self.homes(&view, &HashSet::new())?;
                    match self.missing(&view, &homes, Damaged::DoNotCount)? {
                        None => return Ok((view, homes)),
                        Some(id) if self.missing(&view, &homes, Damaged::Count)?.is_some() => {
                            RepoError::ChunkMissing { id }
                        }
                        // In damaged packs alone, unless the index has moved: then there is another that this look missed.
                        Some(_) => {
                            let index = self.index_now()?;
                            if last.as_ref() == Some(&index) {
                                return Ok((view, homes));
                            }
                            last = Some(index);
                            continue;
                        }
                    }
                }
                // A layer that is seen for the first time and whose pack has just moved.
                Err(error @ (RepoError::ChunkMissing { .. } | RepoError::Missing { .. })) => error,
                Err(error) => return Err(error),
            };
            let index = self.index_now()?;
            if last.as_ref() == Some(&index) {
                return Err(missing);
            }
            last = Some(index);
        }
        Err(RepoError::RunFailed { reason: "the index moves all the time: run the prune again".to_owned() })
    }

    fn index_now(&self) -> Result<Vec<Listed>, RepoError> {
        let mut index = self.storage.list("index/")?;
        index.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(index)
    }

    /// Which needed chunks have a home in a pack that is not among `leaving`, and what lies in every pack.
    pub(super) fn homes(&self, view: &View, leaving: &HashSet<PackNumber>) -> Result<Homes, RepoError> {
        let mut homes = Homes::default();
        let mut current: Option<(PackNumber, bool, Uses)> = None;
        let (needed, housed, uses) = (&view.needed.chunks, &mut homes.housed, &mut homes.uses);
        self.catalog.for_each_place(&mut |place| {
            let (_, stays, all) = match &mut current {
                Some(current) if current.0 == place.pack => current,
                other => {
                    if let Some((pack, _, all)) = other.take() {
                        uses.push(pack, all);
                    }
                    let name = view.packs.name(place.pack);
                    let stays = name.is_some_and(|name| view.is_home(&name)) && !leaving.contains(&place.pack);
                    other.insert((place.pack, stays, Uses::default()))
                }
            };
            if needed.has(place.chunk) && (!*stays || housed.insert(place.chunk)) {
                all.add_live(place.stored_len);
            } else {
                all.add_dead(place.stored_len);
            }
        })?;
        if let Some((pack, _, all)) = current {
            uses.push(pack, all);
        }
        Ok(homes)
    }

    /// A needed chunk that lies in no listed pack that a listed index object describes.
    fn missing(&self, view: &View, homes: &Homes, damaged: Damaged) -> Result<Option<ChunkId>, RepoError> {
        if faults::is_broken(Rule::MissingStops) || view.needed.chunks.first_beyond(&homes.housed).is_none() {
            return Ok(None);
        }
        let mut found = homes.housed.clone();
        for (number, name) in view.packs.described() {
            // What lies in a damaged pack alone may be lost; no deletion makes that worse, and the pack stays.
            let is_damaged = damaged == Damaged::Count && view.is_damaged(&name);
            if view.marked.contains(&name) && view.packs.is_listed(&name) || is_damaged {
                match self.catalog.pack_chunks(number) {
                    Ok(chunks) => {
                        for chunk in chunks {
                            found.insert(chunk);
                        }
                    }
                    // What it holds counts as missing; then everything is listed again.
                    Err(RepoError::CatalogChanged) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        match view.needed.chunks.first_beyond(&found) {
            None => Ok(None),
            // A number that the catalog gave a chunk stays its own.
            Some(number) => Ok(Some(self.catalog.chunk_id(number)?.unwrap_or(ChunkId([0; 32])))),
        }
    }
}

impl Pruner {
    /// [`Inner::look`] with this pruner's options.
    pub(super) fn look(&self, leases: Leases) -> Result<(View, Homes), RepoError> {
        self.inner.look(self.options.walk.as_ref(), leases, &HashSet::new())
    }
}
