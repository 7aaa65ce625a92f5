//! Doubt: tombstones that do not count, and objects that nobody who may made. What is in doubt takes nothing away.

use super::{Inner, Repository, names::TombstoneBody};
use crate::{
    record::Timestamp,
    repo::{
        RepoError, SnapshotId,
        catalog::{Revision, RevisionKind},
        faults::{self, Rule},
        keys::{Capability, Signer},
        names,
        object::{self, ObjectKind},
    },
};
use serde::{Deserialize, Serialize};

/// What the tombstones of a snapshot come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum Forgotten {
    /// There is none.
    No,
    /// There is one, made while the snapshot was held or locked: it never counts.
    Never(u64),
    /// There is one that will count when the lock is over by this host's clock.
    Later(Timestamp),
    /// One counts.
    Yes,
}

impl Forgotten {
    pub const fn counts(self) -> bool {
        matches!(self, Self::Yes)
    }

    pub const fn waits_until(self) -> Option<Timestamp> {
        match self {
            Self::Later(until) => Some(until),
            _ => None,
        }
    }

    /// What a person should hear.
    pub fn problem(self, revisions: &[&Revision]) -> Option<String> {
        let path = |number| revisions.first().map(|it| names::revision_path(&it.snapshot, number));
        match self {
            Self::Never(number) => {
                Some(format!("{} is a tombstone on a held or locked snapshot: it does not count", path(number)?))
            }
            _ => None,
        }
    }
}

/// What of a manifest keeps it from being forgotten.
#[derive(Deserialize)]
struct Protection {
    #[serde(default)]
    hold: bool,
    #[serde(default)]
    lock_until: Option<Timestamp>,
}

/// An object that takes nothing away because nobody who may made it, or because it is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubtful {
    /// Its name.
    pub object: String,
    /// What does not fit.
    pub reason: String,
    /// The snapshot whose name it bears.
    pub snapshot: Option<SnapshotId>,
}

impl Inner {
    /// What the tombstones among these revisions of one snapshot, highest first, come to. A tombstone counts unless the highest
    /// manifest below it is held, or locked beyond the tombstone's time or this host's.
    pub(in crate::repo) fn is_forgotten(&self, revisions: &[&Revision]) -> Forgotten {
        let mut outcome = Forgotten::No;
        for stone in revisions.iter().filter(|it| it.kind == RevisionKind::Tombstone) {
            let path = names::revision_path(&stone.snapshot, stone.revision);
            // One that says nothing forgets nobody; a listing names it.
            let Ok(body) = TombstoneBody::of(&path, &stone.sealed) else { continue };
            let below = revisions.iter().filter(|it| it.revision < stone.revision);
            let mut protections = below.filter(|it| it.kind == RevisionKind::Manifest).map(|it| self.protection(it));
            let protection =
                protections.find_map(Result::ok).filter(|_| !faults::is_broken(Rule::HoldsOutliveTombstones));
            let Some(protection) = protection else { return Forgotten::Yes };
            match protection.lock_until {
                _ if protection.hold => outcome = Forgotten::Never(stone.revision),
                Some(until) if until > body.time => outcome = Forgotten::Never(stone.revision),
                Some(until) if until > self.clock.now() => outcome = Forgotten::Later(until),
                _ => return Forgotten::Yes,
            }
        }
        outcome
    }

    /// [`Self::is_forgotten`] of what the catalog holds.
    pub(in crate::repo) fn is_forgotten_now(&self, id: &SnapshotId) -> Result<bool, RepoError> {
        let revisions = self.catalog.revisions_of(id)?;
        Ok(self.is_forgotten(&revisions.iter().collect::<Vec<_>>()).counts())
    }

    fn protection(&self, revision: &Revision) -> Result<Protection, RepoError> {
        let path = names::revision_path(&revision.snapshot, revision.revision);
        let body = object::open_known(&self.keyring, ObjectKind::Snapshot, &path, &revision.sealed)?;
        serde_json::from_slice(&body).map_err(|error| RepoError::damaged(path, error))
    }
}

impl Repository {
    /// Every small object that is not what it should be: damaged, or made by nobody who may. Reads them all.
    pub fn doubtful(&self) -> Result<Vec<Doubtful>, RepoError> {
        let mut found = Vec::new();
        for folder in [
            "snapshots/",
            "forgotten/",
            "checkpoints/",
            "leases/",
            "trash/",
            "damage/",
            "promises/",
            "drills/",
            "claims/",
            "audit/",
            "settings/",
        ] {
            let mut names: Vec<String> =
                self.inner.list_objects(folder)?.into_iter().map(|object| object.name).collect();
            names.sort_unstable();
            for name in names {
                if let Some(reason) = self.doubt(&name)? {
                    let snapshot =
                        name.split('/').nth(1).filter(|_| matches!(folder, "snapshots/" | "checkpoints/" | "leases/"));
                    let snapshot = snapshot.and_then(|id| id.parse().ok());
                    found.push(Doubtful { object: name, reason, snapshot });
                }
            }
        }
        Ok(found)
    }

    /// Why an object is in doubt; `None` if it is not, or gone.
    fn doubt(&self, name: &str) -> Result<Option<String>, RepoError> {
        let inner = &self.inner;
        let looked = match names::parse_revision(name) {
            Some((id, revision)) => inner.fetch_revision(&id, revision).map(drop),
            None => object::read(&inner.storage, name).and_then(|bytes| {
                let kind = object::kind_of(name, &bytes)?;
                let belongs = match name.split('/').next() {
                    Some("leases") if name.ends_with("/end") => kind == ObjectKind::LeaseEnd,
                    Some("leases") => kind == ObjectKind::Lease,
                    Some("checkpoints") => kind == ObjectKind::Checkpoint,
                    Some("trash") => kind == ObjectKind::Mark,
                    Some("damage") => kind == ObjectKind::Damage,
                    Some("promises") => kind == ObjectKind::Promises,
                    Some("forgotten") => kind == ObjectKind::Forgotten,
                    Some("drills") => kind == ObjectKind::Drill,
                    Some("claims") => kind == ObjectKind::Claim,
                    Some("audit") => kind == ObjectKind::Audit,
                    Some("settings") => kind == ObjectKind::Settings,
                    _ => false,
                };
                if belongs {
                    object::open(&inner.keyring, kind, name, &bytes).map(drop)
                } else {
                    Err(RepoError::forged(name, format!("a {kind:?} cannot lie there")))
                }
            }),
        };
        match looked {
            Err(error @ (RepoError::Damaged { .. } | RepoError::Forged { .. })) => Ok(Some(error.to_string())),
            // What a newer program wrote is not in doubt.
            Ok(())
            | Err(
                RepoError::Missing { .. }
                | RepoError::NewerFormat { .. }
                | RepoError::UnknownFeature { .. }
                | RepoError::Epoch { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What an operator would make under this name, for tests.
    #[doc(hidden)]
    pub fn made_by_operator(&self, kind: ObjectKind, name: &str, body: &[u8]) -> Result<Vec<u8>, RepoError> {
        object::make(&self.inner.keyring, Signer::Operator, kind, name, body)
    }

    /// Removes an object that is in doubt. What it would be if it were whole is lost with it: of a snapshot of which nothing else
    /// is left, the snapshot.
    ///
    /// # Errors
    /// [`RepoError::Role`]; [`RepoError::Invalid`] if nothing is wrong with it.
    pub fn dismiss(&self, name: &str) -> Result<(), RepoError> {
        self.inner.keyring.need(Capability::Prune)?;
        match self.doubt(name)? {
            Some(_) => self.inner.storage.delete(name),
            None => Err(RepoError::Invalid(format!("{name}: there is nothing wrong with it, or it is gone"))),
        }
    }
}
