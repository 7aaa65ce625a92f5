//! Damage notes: packs in which something could not be read, remembered in the repository for every host. A pack that is
//! remembered is no home for a chunk: backups store the chunk again, and a pruner keeps another copy
//! (`format-spec/protocol.md`, section 7).

use super::{
    ObjectName, RepoError, Repository,
    inner::{Inner, create::json},
    keys::{Capability, Signer},
    names,
    object::{self, ObjectKind},
    pack,
    storage::Listing,
};
use crate::record::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

const FOLDER: &str = "damage/";

/// What a note says; its name is the pack that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageNote {
    /// The pack.
    pub damaged: ObjectName,
    /// What was wrong with it.
    pub problem: String,
    /// Who found it.
    pub host: String,
    /// When, by its clock: for people.
    pub time: Timestamp,
}

/// `damage/<pack>`.
#[must_use]
pub fn path(pack: &ObjectName) -> String {
    format!("{FOLDER}{pack}")
}

impl Inner {
    /// The packs that are remembered as damaged. A note counts if somebody who may forget and prune made it.
    pub(super) fn damaged_packs(&self) -> Result<HashSet<ObjectName>, RepoError> {
        self.damaged_packs_of(Listing::later(&self.storage, FOLDER))
    }

    /// The listing that says which.
    pub(super) fn begin_damage(&self) -> Listing {
        self.storage.begin_list(FOLDER)
    }

    /// [`Self::damaged_packs`] of that listing.
    pub(super) fn damaged_packs_of(&self, listing: Listing) -> Result<HashSet<ObjectName>, RepoError> {
        let listed = self.objects_of(FOLDER, listing.get()?);
        let mut packs = HashSet::new();
        let wanted =
            listed.into_iter().filter_map(|it| Some((names::parse_flat(FOLDER, &it.name)?, it.name, it.bytes)));
        for (pack, begun) in object::read_each(&self.storage, wanted) {
            match begun.get().and_then(|bytes| self.open_damage(&pack, &bytes)) {
                Ok(_) => drop(packs.insert(pack)),
                Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_bad_object() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(packs)
    }

    /// Remembers what this process found damaged since it opened the repository; gives the packs that nobody had remembered.
    pub(super) fn remember_damage(&self) -> Result<Vec<ObjectName>, RepoError> {
        let mut new = Vec::new();
        // Others believe a note: it is signed. Who has other keys remembers for himself.
        if !self.keyring.role().has(Capability::Prune) {
            return Ok(new);
        }
        let bad = self.bad_packs.to_remember();
        // Behind a link that leads nowhere they may be as whole as ever.
        if bad.is_empty() || !matches!(self.storage.len("packs"), Ok(None)) {
            return Ok(new);
        }
        for (pack, problem) in bad {
            // A pack that a prune took away is in no index any more.
            let is_indexed = self.catalog.pack_number(&pack)?.is_some();
            if is_indexed && self.remember(&pack, &problem)? {
                new.push(pack);
            }
            self.bad_packs.is_remembered(&pack);
        }
        Ok(new)
    }

    fn remember(&self, pack: &ObjectName, problem: &str) -> Result<bool, RepoError> {
        let path = path(pack);
        let note =
            DamageNote { damaged: *pack, problem: problem.to_owned(), host: self.host.clone(), time: self.clock.now() };
        let made = object::make(&self.keyring, Signer::Operator, ObjectKind::Damage, &path, &json(&note)?)?;
        let created = self.storage.create(&path, &made)?;
        Ok(created == super::storage::Created::New)
    }

    /// What a note says.
    pub(super) fn read_damage(&self, pack: &ObjectName) -> Result<DamageNote, RepoError> {
        self.open_damage(pack, &object::read(&self.storage, &path(pack))?)
    }

    fn open_damage(&self, pack: &ObjectName, bytes: &[u8]) -> Result<DamageNote, RepoError> {
        let path = path(pack);
        let body = object::open(&self.keyring, ObjectKind::Damage, &path, bytes)?;
        let note: DamageNote = serde_json::from_slice(&body).map_err(|error| RepoError::damaged(&*path, error))?;
        if note.damaged != *pack {
            return Err(RepoError::damaged(path, format!("it is about {}", pack::path(&note.damaged))));
        }
        Ok(note)
    }
}

impl Repository {
    /// The packs that are remembered as damaged.
    pub fn damaged_packs(&self) -> Result<HashSet<ObjectName>, RepoError> {
        self.inner.damaged_packs()
    }

    /// Remembers for every host what was found damaged since this repository was opened, if the storage can be written; gives
    /// the packs that nobody had remembered.
    pub fn remember_damage(&self) -> Result<Vec<ObjectName>, RepoError> {
        self.inner.remember_damage()
    }

    /// Takes back that a pack is damaged, after all of it was read and is whole.
    pub fn is_whole_again(&self, pack: &ObjectName) -> Result<(), RepoError> {
        self.inner.bad_packs.forget(pack);
        self.inner.storage.delete(&path(pack))
    }
}
