//! An opened repository: snapshots, chunks, and the way to begin writing.

mod ahead;
mod chunks;
pub(super) mod doubt;
pub(super) mod forgotten;
mod heads;
mod listed;
mod lost;
mod objects;
mod packs;
pub mod promises;
mod reading;
mod refresh;
mod settings;
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
pub use packs::{FolderStats, PackCheck};
pub use reading::ReadLease;
pub use settings::SettingsBody;

use super::{
    ChunkId, ChunkReader, Manifest, RecoveryKey, RepoError, RepoId, Secrets, Snapshot, SnapshotId, Storage, Unlock,
    WriteOptions, WriteSession,
    budget::Budget,
    cache::Cache,
    catalog::{Catalog, Revision},
    inner::{BadPacks, Frozen, Held, Inner, Look, Opened, PackKeys, SeenLeases, create, lock},
    keys::{self, Capability, KdfParams, Keyring, NewKeys, Role, SlotInfo, Suite},
    names,
    parity::Percent,
    session::SessionTiming,
};
use crate::{
    record::{Clock, Timestamp},
    report::{ErrorKind, Warning, WarningKind},
};
use chunks::Reader;
use rayon::prelude::*;
use refresh::Listings;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

/// So many snapshots are looked up one by one, and more in one go.
const FEW: usize = 64;

/// How a repository is made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The cost of trying a password.
    pub kdf: KdfParams,
    /// A word for the first key slot, such as `root@host`.
    pub label: String,
}

/// What a repository is from its beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits<'a> {
    /// What seals.
    pub suite: Suite,
    /// Where alone data may ever be written; anywhere if none are named.
    pub regions: &'a [String],
    /// How much parity packs have.
    pub parity: Option<Percent>,
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

/// An opened repository. Cheap to clone; may be shared by threads: what one call met, no other hears of.
#[derive(Clone)]
pub struct Repository {
    pub(super) inner: Arc<Inner>,
    /// For a reader without a lease: which revisions there were when it began.
    since: Option<blake3::Hash>,
    /// A reader's lease, which keeps what it reads as long as it is not fenced.
    held: Option<SnapshotId>,
}

/// The snapshots that count, and what was met while finding them.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Every snapshot's newest revision that counts, ordered by (end, id).
    pub snapshots: Vec<Snapshot>,
    /// Those above whose revision a squash that has not committed has written the next, each with the squash's lease.
    pub pending: Vec<(SnapshotId, SnapshotId)>,
    /// Revisions that could not be opened.
    pub warnings: Vec<Warning>,
}

impl Repository {
    /// Makes a repository where there is none, and gives the recovery key, which is stored nowhere. With `like`, the lasting
    /// secrets are those of that repository, so that copies between both deduplicate.
    pub fn init(
        storage: &Storage,
        password: &Unlock,
        like: Option<&Repository>,
        init: &InitOptions,
        open: &OpenOptions,
    ) -> Result<(Self, RecoveryKey), RepoError> {
        Self::init_as(&Traits::default(), storage, password, like, init, open)
    }

    /// [`Self::init`], with what a repository is from its beginning.
    ///
    /// # Errors
    /// [`RepoError::Region`] before anything is written.
    pub fn init_as(
        traits: &Traits<'_>,
        storage: &Storage,
        password: &Unlock,
        like: Option<&Repository>,
        init: &InitOptions,
        open: &OpenOptions,
    ) -> Result<(Self, RecoveryKey), RepoError> {
        let like = like.map(Repository::secrets);
        let &Traits { suite, regions, .. } = traits;
        let new = NewKeys { like, suite, kdf: init.kdf, label: &init.label, regions, parity: traits.parity.is_some() };
        keys::check_regions(regions)?;
        storage.only_in(regions);
        storage.stays_within()?;
        // Where there is a repository, making one fails soon enough.
        let verdict = if storage.len(keys::CONFIG)?.is_none() { promises::refuse_if_broken(storage)? } else { None };
        if let Some(verdict) = &verdict {
            storage.rely_on(verdict.promises());
        }
        let (keyring, recovery) = keys::create(storage, password, &new, open.clock.now())?;
        let mut weak = None;
        if let Some(verdict) = verdict {
            promises::keep(storage, &keyring, &verdict, &*open.clock)?;
            weak = promises::weakness(storage, &verdict.findings);
        }
        let made = Self::with_keys(storage, keyring, open, weak, None, Look::AtAll)?;
        if traits.parity.is_some() {
            made.set_parity(traits.parity)?;
        }
        Ok((made, recovery))
    }

    /// Opens a repository and makes its catalog equal to what is listed.
    pub fn open(storage: &Storage, unlock: &Unlock, open: &OpenOptions) -> Result<Self, RepoError> {
        // A password takes longer to try than to list what is looked at next.
        let remembered = keys::is_remembered(storage, &open.cache_dir, open.clock.now());
        let listings = remembered.then(|| Listings::begin(storage));
        let (keyring, at_all) = keys::open_remembered(storage, unlock, &open.cache_dir, open.clock.now())?;
        Self::with_keys(storage, keyring, open, None, listings, if at_all { Look::AtAll } else { Look::AtNews })
    }

    fn with_keys(
        storage: &Storage,
        keyring: Keyring,
        open: &OpenOptions,
        weak: Option<Warning>,
        mut listings: Option<Listings>,
        look: Look,
    ) -> Result<Self, RepoError> {
        storage.only_in(keyring.regions());
        let keyring = Arc::new(keyring);
        let opened = Catalog::open(&open.cache_dir, &keyring.repo_id, storage.location())
            .and_then(|catalog| Self::with_catalog(storage, &keyring, open, (catalog, true), listings.take(), look));
        let (inner, mut met) = match opened {
            // It is only a cache: without a place for it all of it is read anew.
            Err(error) if error.kind() == ErrorKind::Catalog => {
                let (inner, mut met) =
                    Self::with_catalog(storage, &keyring, open, (Catalog::temporary()?, false), listings, look)?;
                let words =
                    format!("no catalog can be kept ({error}): a temporary one is used, which is read anew each time");
                met.push(Warning::new(WarningKind::CatalogTemporary, open.cache_dir.display().to_string(), words));
                (inner, met)
            }
            opened => opened?,
        };
        met.extend(weak);
        let _ = inner.met.set(met);
        Ok(Self { inner: Arc::new(inner), since: None, held: None })
    }

    fn with_catalog(
        storage: &Storage,
        keyring: &Arc<Keyring>,
        open: &OpenOptions,
        (catalog, is_kept): (Catalog, bool),
        listings: Option<Listings>,
        look: Look,
    ) -> Result<(Inner, Vec<Warning>), RepoError> {
        let bound = storage.cache_bytes();
        let cache = || Cache::of(&open.cache_dir, &keyring.repo_id, storage.location(), bound);
        let cache = (bound > 0 && is_kept).then(cache);
        let notes = is_kept.then(|| Cache::notes_of(&open.cache_dir, &keyring.repo_id, storage.location()));
        let inner = Inner {
            storage: storage.clone(),
            keyring: Arc::clone(keyring),
            catalog,
            clock: Arc::clone(&open.clock),
            host: open.host.clone(),
            pack_keys: PackKeys::default(),
            bad_packs: BadPacks::default(),
            frozen: Frozen::default(),
            opened: Opened::default(),
            strange: Mutex::default(),
            met: OnceLock::new(),
            refreshing: Mutex::default(),
            seen_leases: SeenLeases::default(),
            own_leases: Mutex::default(),
            budget: Arc::new(Budget::new(storage.uploads())),
            read_ahead: Held::default(),
            cache,
            notes,
        };
        let met = inner.refresh_of(listings.unwrap_or_else(|| Listings::begin(storage)), look)?;
        Ok((inner, met))
    }

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

    /// The snapshots of [`Self::listing`].
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, RepoError> {
        Ok(self.listing()?.snapshots)
    }

    /// Every snapshot that counts, as of the last refresh. Tombstones and voids are left out; one that cannot be opened is a
    /// warning.
    pub fn listing(&self) -> Result<Listing, RepoError> {
        let revisions = self.inner.catalog.revisions()?;
        let commits: HashMap<SnapshotId, &Revision> =
            revisions.iter().filter(|it| it.revision == 0).map(|it| (it.snapshot, it)).collect();
        let squashed = |lease: &SnapshotId| self.inner.squash_state(commits.get(lease).copied());
        let groups: Vec<&[Revision]> = revisions.chunk_by(|a, b| a.snapshot == b.snapshot).collect();
        // Opening them is what takes time where there are many.
        let standings = groups.par_iter().map(|group| {
            let highest_first: Vec<&Revision> = group.iter().collect();
            Ok((group[0].snapshot, self.inner.standing(&highest_first, &squashed)?))
        });
        let mut listing = Listing::default();
        for (id, standing) in standings.collect::<Result<Vec<_>, RepoError>>()? {
            listing.snapshots.extend(standing.manifest.map(Snapshot::standing));
            listing.pending.extend(standing.pending.map(|lease| (id, lease)));
            let problems = standing.problems.into_iter();
            listing
                .warnings
                .extend(problems.map(|words| Warning::new(WarningKind::ObjectUnreadable, id.to_string(), words)));
        }
        listing.snapshots.sort_by_key(|snapshot| (snapshot.content.end, snapshot.id));
        Ok(listing)
    }

    /// What [`Self::listing`] follows from, as of the last refresh, in a hash: where that is the same, so is the listing.
    pub fn listing_hash(&self) -> Result<[u8; 32], RepoError> {
        Ok(*self.inner.revisions_known()?.as_bytes())
    }

    /// One snapshot as it counts, as of the last refresh.
    pub fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, RepoError> {
        let revisions = self.inner.catalog.revisions_of(id)?;
        let highest_first: Vec<&Revision> = revisions.iter().collect();
        let squashed = |lease: &SnapshotId| {
            let of_lease = self.inner.catalog.revisions_of(lease)?;
            self.inner.squash_state(of_lease.iter().find(|it| it.revision == 0))
        };
        Ok(self.inner.standing(&highest_first, &squashed)?.manifest.map(Snapshot::standing))
    }

    /// The names under which revisions lie, whether or not one of them counts, as of the last refresh.
    pub fn snapshot_names(&self) -> Result<HashSet<SnapshotId>, RepoError> {
        Ok(self.inner.catalog.revision_kinds()?.into_iter().map(|(id, _, _)| id).collect())
    }

    /// The newest revisions that count of these snapshots, as of the last refresh; one that has been forgotten since is
    /// left as it is. Cheap as long as nobody has revised one.
    pub fn newest_of<'a>(&self, chosen: &'a [Snapshot]) -> Result<Cow<'a, [Snapshot]>, RepoError> {
        let mut highest: HashMap<SnapshotId, u64> = HashMap::new();
        if chosen.len() <= FEW {
            for it in chosen {
                highest.extend(self.inner.catalog.highest_revision(&it.id)?.map(|revision| (it.id, revision)));
            }
        } else {
            for (id, revision, _) in self.inner.catalog.revision_kinds()? {
                // Highest first.
                highest.entry(id).or_insert(revision);
            }
        }
        if chosen.iter().all(|it| highest.get(&it.id).is_none_or(|highest| *highest <= it.revision)) {
            return Ok(Cow::Borrowed(chosen));
        }
        let mut now: HashMap<SnapshotId, Snapshot> = self.snapshots()?.into_iter().map(|it| (it.id, it)).collect();
        let newest = |it: &Snapshot| {
            let newest = now.remove(&it.id).unwrap_or_else(|| it.clone());
            // One that is seen at a moment before its end goes on being seen so.
            newest.seen_at(it.content.end).unwrap_or(newest)
        };
        Ok(chosen.iter().map(newest).collect())
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

    /// When this catalog first saw a lease's newest object; remembers now if that is news.
    pub fn lease_first_seen(&self, lease: &SnapshotId, newest: u64) -> Result<Timestamp, RepoError> {
        self.inner.catalog.lease_first_seen(lease, newest, self.inner.clock.now())
    }

    /// The catalog's numbers of a layer's chunks, ascending, if they were kept.
    pub fn layer_chunks(&self, layer: &ChunkId) -> Result<Option<Vec<u64>>, RepoError> {
        self.inner.catalog.layer_chunks(layer)
    }

    /// Keeps the numbers of a layer's chunks; `false` if one of them is in no index object.
    pub fn set_layer_chunks(&self, layer: &ChunkId, chunks: &[ChunkId]) -> Result<bool, RepoError> {
        self.inner.catalog.set_layer_chunks(layer, chunks)
    }

    /// The filter of a layer's keys, if this host noted one.
    pub fn layer_filter(&self, layer: &ChunkId) -> Result<Option<Vec<u8>>, RepoError> {
        self.inner.catalog.layer_filter(layer)
    }

    /// The key slots.
    pub fn key_slots(&self) -> Result<Vec<SlotInfo>, RepoError> {
        keys::slots(&self.inner.storage, &self.inner.keyring)
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

    /// Adds a slot of an administrator for another password; gives its name.
    pub fn key_add(&self, password: &Unlock, label: &str) -> Result<String, RepoError> {
        self.key_add_role(password, Role::Admin, label)
    }

    /// Adds a slot of some role for another password, or for a service; gives its name.
    pub fn key_add_role(&self, unlock: &Unlock, role: Role, label: &str) -> Result<String, RepoError> {
        let (storage, keyring) = (&self.inner.storage, &self.inner.keyring);
        keys::add_slot(storage, keyring, unlock, role, KdfParams::STANDARD, label, self.inner.clock.now())
    }

    /// Begins a new key epoch: what is written from now on by those who open one of the new slots cannot be read with any
    /// slot made before. Gives the name of the new slot for `unlock`, and a new recovery key.
    pub fn key_begin_epoch(&self, unlock: &Unlock, label: &str) -> Result<(String, RecoveryKey), RepoError> {
        let (storage, keyring) = (&self.inner.storage, &self.inner.keyring);
        keys::begin_epoch(storage, keyring, unlock, KdfParams::STANDARD, label, self.inner.clock.now())
    }

    /// Removes a slot by a prefix of its name; refuses the last one.
    pub fn key_remove(&self, name: &str) -> Result<(), RepoError> {
        keys::remove_slot(&self.inner.storage, &self.inner.keyring, name)
    }

    /// A small value kept in the catalog, such as verify's cursor. Lost with the catalog.
    pub fn note(&self, name: &str) -> Result<Option<String>, RepoError> {
        self.inner.catalog.note(name)
    }

    /// Keeps a small value in the catalog.
    pub fn set_note(&self, name: &str, value: &str) -> Result<(), RepoError> {
        self.inner.catalog.set_note(name, value)
    }

    /// The names and values of all small values whose names begin so.
    pub fn notes(&self, prefix: &str) -> Result<Vec<(String, String)>, RepoError> {
        self.inner.catalog.notes(prefix)
    }

    /// Forgets a small value.
    pub fn forget_note(&self, name: &str) -> Result<(), RepoError> {
        self.inner.catalog.forget_note(name)
    }
}
