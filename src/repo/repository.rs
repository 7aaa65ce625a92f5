//! An opened repository: snapshots, chunks, and the way to begin writing.

use super::{
    ChunkReader, Manifest, ReadLease, RecoveryKey, RepoError, RepoId, Secrets, Snapshot, SnapshotId, Storage, Unlock,
    WriteOptions, WriteSession,
    keys::{KdfParams, SlotInfo},
};
use crate::record::Clock;
use std::{path::PathBuf, sync::Arc};

/// How a repository is made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The cost of trying a password.
    pub kdf: KdfParams,
    /// A word for the first key slot, such as `root@host`.
    pub label: String,
}

/// How a repository is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// Where catalogs lie; one file for each repository and location.
    pub cache_dir: PathBuf,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The name of this host, as leases and snapshots give it.
    pub host: String,
}

/// An opened repository. Cheap to clone; may be shared by threads.
#[derive(Clone)]
pub struct Repository {
    _inner: Arc<()>,
}

impl Repository {
    /// Makes a repository where there is none, and gives the recovery key, which is stored nowhere. With `like`, the
    /// chunk-id key, cut key and gear seed are those of that repository, so that copies between both deduplicate.
    pub fn init(
        storage: &Storage,
        password: &Unlock,
        like: Option<&Repository>,
        init: &InitOptions,
        open: &OpenOptions,
    ) -> Result<(Self, RecoveryKey), RepoError> {
        let _ = (storage, password, like, init, open);
        todo!()
    }

    /// Opens a repository and makes its catalog equal to what is listed.
    pub fn open(storage: &Storage, unlock: &Unlock, open: &OpenOptions) -> Result<Self, RepoError> {
        let _ = (storage, unlock, open);
        todo!()
    }

    /// The repository's name.
    #[must_use]
    pub fn id(&self) -> RepoId {
        todo!()
    }

    /// Where it is.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        todo!()
    }

    /// The lasting secrets.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        todo!()
    }

    /// The wall clock it was opened with.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        todo!()
    }

    /// This host's name.
    #[must_use]
    pub fn host(&self) -> &str {
        todo!()
    }

    /// Lists storage again and makes the catalog equal to it. Gives what a person should hear: objects that could not
    /// be read or opened, snapshots that vanished without having been forgotten.
    pub fn refresh(&self) -> Result<Vec<String>, RepoError> {
        todo!()
    }

    /// The warnings of the last refresh (and of opening).
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        todo!()
    }

    /// Every snapshot's newest revision that counts, ordered by (end, id). Tombstones and voids are left out; one that
    /// cannot be opened is a warning.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, RepoError> {
        todo!()
    }

    /// Reads chunks.
    #[must_use]
    pub fn chunks(&self) -> Arc<dyn ChunkReader> {
        todo!()
    }

    /// Begins to write: draws the snapshot's name, takes its lease, honours what is marked.
    pub fn begin_write(&self, options: &WriteOptions) -> Result<WriteSession, RepoError> {
        let _ = options;
        todo!()
    }

    /// Takes a reader's lease where the storage can be written; otherwise works without.
    pub fn begin_read(&self, purpose: &str) -> Result<ReadLease, RepoError> {
        let _ = purpose;
        todo!()
    }

    /// Writes the next revision of a snapshot by conditional create; a lost race is retried on the new one.
    ///
    /// # Errors
    /// [`RepoError::Invalid`] if `change` alters the content.
    pub fn revise(&self, id: &SnapshotId, change: &dyn Fn(&mut Manifest)) -> Result<Snapshot, RepoError> {
        let _ = (id, change);
        todo!()
    }

    /// The key slots.
    pub fn key_slots(&self) -> Result<Vec<SlotInfo>, RepoError> {
        todo!()
    }

    /// Adds a slot for another password; gives its name.
    pub fn key_add(&self, password: &Unlock, label: &str) -> Result<String, RepoError> {
        let _ = (password, label);
        todo!()
    }

    /// Removes a slot by a prefix of its name; refuses the last one.
    pub fn key_remove(&self, name: &str) -> Result<(), RepoError> {
        let _ = name;
        todo!()
    }

    /// A small value kept in the catalog, such as verify's cursor. Lost with the catalog.
    pub fn note(&self, name: &str) -> Result<Option<String>, RepoError> {
        let _ = name;
        todo!()
    }

    /// Keeps a small value in the catalog.
    pub fn set_note(&self, name: &str, value: &str) -> Result<(), RepoError> {
        let _ = (name, value);
        todo!()
    }
}
