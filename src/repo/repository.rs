//! An opened repository: snapshots, chunks, and the way to begin writing.

mod ahead;
mod chunks;
pub(super) mod doubt;
pub(super) mod forgotten;
mod heads;
mod listed;
mod lost;
mod noted;
mod objects;
mod opening;
mod packs;
pub mod promises;
mod reading;
mod refresh;
mod settings;
mod slots;
mod snapshots;
pub(super) mod standing;
mod take_over;

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

pub use doubt::Doubtful;
pub use heads::{By, Head};
pub use listed::PacksListed;
pub use lost::Lost;
pub use objects::{ObjectsCheck, ObjectsProgress};
pub use opening::{InitOptions, OpenOptions, Traits};
pub use packs::{FolderStats, PackCheck};
pub use reading::ReadLease;
pub use settings::SettingsBody;
pub use snapshots::{Listing, UnreadSnapshots};

use super::{
    ChunkId, ChunkReader, Manifest, RepoError, RepoId, Secrets, Snapshot, SnapshotId, Storage, WriteOptions,
    WriteSession,
    inner::{Inner, Look, create, lock},
    keys::{Capability, Role, Suite},
    names,
    session::SessionTiming,
};
use crate::{record::Clock, report::Warning};
use chunks::Reader;
use std::{path::PathBuf, sync::Arc};

/// An opened repository. Cheap to clone; may be shared by threads: what one call met, no other hears of.
#[derive(Clone)]
pub struct Repository {
    pub(super) inner: Arc<Inner>,
    /// For a reader without a lease: which revisions there were when it began.
    since: Option<blake3::Hash>,
    /// A reader's lease, which keeps what it reads as long as it is not fenced.
    held: Option<SnapshotId>,
}

impl Repository {
    /// The repository's name.
    #[must_use]
    pub fn id(&self) -> RepoId {
        self.inner.keyring.repo_id
    }

    /// Where it is.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.inner.storage
    }

    /// The lasting secrets.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.inner.keyring.secrets
    }

    /// The regions where data may be written; anywhere if there are none.
    #[must_use]
    pub fn regions(&self) -> &[String] {
        self.inner.keyring.regions()
    }

    /// What seals what is written now.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.inner.keyring.suite
    }

    /// The wall clock it was opened with.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// This host's name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// Lists storage again and makes the catalog equal to it. Gives what a person should hear: objects that could not
    /// be read or opened, snapshots that vanished without having been forgotten.
    pub fn refresh(&self) -> Result<Vec<Warning>, RepoError> {
        self.inner.refresh(Look::AtAll)
    }

    /// A folder of this host for what sources note of what they read; `None` if nothing is kept here. It may not be there yet.
    #[must_use]
    pub fn notes_folder(&self) -> Option<PathBuf> {
        self.inner.notes.clone()
    }

    /// What opening met.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        self.inner.met.get().map_or(&[], Vec::as_slice)
    }

    /// What lies in the folders that were listed and is no object of the repository; nobody minds it.
    #[must_use]
    pub fn foreign(&self) -> Vec<String> {
        lock(&self.inner.strange).foreign.iter().cloned().collect()
    }

    /// The same in words.
    #[must_use]
    pub fn foreign_notes(&self) -> Vec<String> {
        self.foreign().iter().map(|name| format!("{name} is no object of the repository and is ignored")).collect()
    }

    /// Reads chunks; those of metadata from the cache on local disk, if there is one.
    #[must_use]
    pub fn chunks(&self) -> Arc<dyn ChunkReader> {
        Arc::new(Reader { inner: Arc::clone(&self.inner), since: self.since, held: self.held, is_cached: true })
    }

    /// Reads chunks from storage alone: for who wants to know what is there.
    #[must_use]
    pub fn chunks_of_storage(&self) -> Arc<dyn ChunkReader> {
        Arc::new(Reader { inner: Arc::clone(&self.inner), since: self.since, held: self.held, is_cached: false })
    }

    /// Whether the repository holds a chunk, as far as is known: not if every pack that has it failed to give one of its
    /// chunks since the repository was opened.
    pub fn holds(&self, id: &ChunkId) -> Result<bool, RepoError> {
        self.inner.holds(id)
    }

    /// Counts a chunk as unreadable, because what it holds is no such thing as refers to it, and with it the packs that
    /// have it: writers store what lies in them again.
    pub fn distrust(&self, id: &ChunkId) -> Result<(), RepoError> {
        self.inner.distrust(id)
    }

    /// Begins to write: draws the snapshot's name, takes its lease, honours what is marked.
    pub fn begin_write(&self, options: &WriteOptions) -> Result<WriteSession, RepoError> {
        self.begin_write_timed(options, &SessionTiming::default())
    }

    /// [`Self::begin_write`] with other intervals and sizes than the protocol's.
    pub fn begin_write_timed(&self, options: &WriteOptions, timing: &SessionTiming) -> Result<WriteSession, RepoError> {
        WriteSession::begin(&self.inner, options, timing)
    }

    /// Takes a reader's lease where the storage can be written; otherwise works without.
    pub fn begin_read(&self, purpose: &str) -> Result<ReadLease, RepoError> {
        ReadLease::begin(&self.inner, purpose, SessionTiming::default().heartbeat)
    }

    /// The repository as a reader sees it who holds no lease, and began when there were these revisions.
    pub(super) const fn without_lease(inner: Arc<Inner>, since: Option<blake3::Hash>) -> Self {
        Self { inner, since, held: None }
    }

    /// The repository for a reader who holds this lease.
    pub(super) const fn under_lease(inner: Arc<Inner>, lease: SnapshotId) -> Self {
        Self { inner, since: None, held: Some(lease) }
    }

    /// Fails if a reader's lease was fenced: what it misses then was kept no longer, and is no damage.
    ///
    /// # Errors
    /// [`RepoError::Overslept`].
    pub fn is_still_held(&self) -> Result<(), RepoError> {
        match self.held {
            Some(lease) if self.inner.is_fenced(&lease)? => Err(RepoError::Overslept { lease }),
            _ => Ok(()),
        }
    }

    /// Writes the next revision of a snapshot by conditional create; a lost race is retried on the new one.
    ///
    /// # Errors
    /// [`RepoError::Internal`] if `change` alters the content; [`RepoError::NoSnapshot`] if it was forgotten;
    /// [`RepoError::Pending`] while a squash is on its way.
    pub fn revise(&self, id: &SnapshotId, change: &dyn Fn(&mut Manifest)) -> Result<Snapshot, RepoError> {
        self.inner.revise(id, change).map(Snapshot::standing)
    }

    /// Forgets a snapshot: writes the tombstone that hides it for ever. Its data stays until a prune.
    ///
    /// # Errors
    /// [`RepoError::Held`], [`RepoError::Locked`] or [`RepoError::Pending`]; [`RepoError::NoSnapshot`] if there never was one.
    pub fn forget(&self, id: &SnapshotId) -> Result<(), RepoError> {
        self.inner.forget(id)
    }

    /// Shuts out a lease by taking the name of its commit. Gives `true` if it can never commit, `false` if it has.
    pub fn fence(&self, lease: &SnapshotId) -> Result<bool, RepoError> {
        self.inner.fence(lease)
    }

    /// What the keys that it was opened with allow.
    #[must_use]
    pub fn role(&self) -> Role {
        self.inner.keyring.role()
    }

    /// Fails if the keys that it was opened with do not allow this.
    ///
    /// # Errors
    /// [`RepoError::Role`].
    pub fn need(&self, capability: Capability) -> Result<(), RepoError> {
        self.inner.keyring.need(capability)
    }
}
