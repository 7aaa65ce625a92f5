//! Marking: which of the packs that are to go may be named, and the mark's creation.

use super::{
    Pruner,
    view::{Leases, View},
};
use crate::repo::{
    ObjectName, RepoError, SnapshotId,
    catalog::PackNumber,
    entropy,
    faults::{self, Rule},
    inner::{Inner, create::json},
    keys::Signer,
    lease::{Mark, MarkBody},
    object::{self, ObjectKind},
    pack::{self, HEADER_BYTES, Header},
};
use std::collections::HashSet;

/// How many packs one mark names at most: 1 MiB of JSON.
const MAX_MARKED: usize = 15_000;

impl Pruner {
    /// Marks what of `wanted` may go: listed, in no mark, of no running lease, and not the only home of a needed chunk.
    /// Gives the marks that it made.
    pub(super) fn mark_packs(&self, wanted: &HashSet<ObjectName>) -> Result<Vec<Mark>, RepoError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (view, _) = self.look(Leases::AreListed)?;
        let doomed = self.inner.markable(&view, wanted)?;
        let mut marks = Vec::new();
        for packs in doomed.chunks(MAX_MARKED) {
            marks.push(self.inner.create_mark(packs.to_vec())?);
        }
        Ok(marks)
    }
}

/// What the header of a pack that no index object describes tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// The lease that made it.
    Lease(SnapshotId),
    /// It cannot be understood: nothing in it can be opened, but its writer may be at work and put it again.
    Unknown,
    /// A newer program made it, or it cannot be read just now: it is left alone.
    Newer,
    /// It is gone.
    Gone,
}

impl Inner {
    /// What of `wanted` may be marked, by name.
    fn markable(&self, view: &View, wanted: &HashSet<ObjectName>) -> Result<Vec<ObjectName>, RepoError> {
        let running: HashSet<SnapshotId> =
            view.leases.iter().filter(|lease| !lease.is_over()).map(|lease| lease.id).collect();
        let writers_run = view.leases.iter().any(|lease| !lease.is_over() && !lease.is_prune());
        let mut orphans = Vec::new();
        let mut leaving: Vec<(PackNumber, ObjectName)> = Vec::new();
        let mut there: Vec<&ObjectName> = wanted.iter().filter(|name| view.packs.is_listed(name)).collect();
        there.sort_unstable();
        for name in there.into_iter().filter(|name| !view.marked.contains(*name)) {
            let lease = match self.catalog.pack_lease(name)? {
                Some(lease) => lease,
                None => match self.pack_maker(name)? {
                    Maker::Lease(lease) => lease,
                    Maker::Unknown if !writers_run && self.storage.promises().prompt_listing => {
                        orphans.push(*name);
                        continue;
                    }
                    Maker::Unknown | Maker::Newer | Maker::Gone => continue,
                },
            };
            if running.contains(&lease) && !faults::is_broken(Rule::NoPackOfALiveLease) {
                continue;
            }
            match view.packs.number(name) {
                Some(number) => leaving.push((number, *name)),
                None => orphans.push(*name),
            }
        }
        leaving.sort_unstable();
        let mut homes = self.homes(view, &leaving.iter().map(|(number, _)| *number).collect())?;
        for (number, name) in leaving {
            let chunks = match self.catalog.pack_chunks(number) {
                Err(RepoError::CatalogChanged) => continue,
                chunks => chunks?,
            };
            let is_only_home = |&chunk: &u64| view.needed.chunks.has(chunk) && !homes.housed.has(chunk);
            if chunks.iter().any(is_only_home) {
                for chunk in chunks {
                    homes.housed.insert(chunk);
                }
            } else {
                orphans.push(name);
            }
        }
        orphans.sort_unstable();
        Ok(orphans)
    }

    /// Who made a pack, by its header.
    pub(super) fn pack_maker(&self, name: &ObjectName) -> Result<Maker, RepoError> {
        let path = pack::path(name);
        let head = self.storage.read_range(&path, 0..HEADER_BYTES as u64);
        Ok(match head.and_then(|head| Header::parse_front(&path, &head)) {
            Ok((header, _)) => Maker::Lease(header.lease),
            Err(RepoError::Missing { .. }) => Maker::Gone,
            // Too short, or no pack at all.
            Err(RepoError::Damaged { .. }) => Maker::Unknown,
            Err(error) if error.is_of_one_object() => Maker::Newer,
            Err(error) => return Err(error),
        })
    }

    fn create_mark(&self, packs: Vec<ObjectName>) -> Result<Mark, RepoError> {
        let id = entropy::snapshot_id()?.to_string();
        let path = format!("trash/{id}");
        let body = json(&MarkBody { packs: packs.clone() })?;
        let bytes = object::make(&self.keyring, Signer::Operator, ObjectKind::Mark, &path, &body)?;
        if self.create_or_same(&path, &bytes)? {
            Ok(Mark { id, packs })
        } else {
            Err(RepoError::Internal(
                "the name drawn for a mark is taken: the system's random numbers repeat".to_owned(),
            ))
        }
    }
}
