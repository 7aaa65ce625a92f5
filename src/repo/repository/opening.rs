//! How a repository is made and opened.

use super::{Repository, promises, refresh::Listings};
use crate::{
    record::Clock,
    repo::{
        RecoveryKey, RepoError, Storage, Unlock,
        budget::Budget,
        cache::Cache,
        catalog::Catalog,
        inner::{BadPacks, Frozen, Held, Inner, Look, Opened, PackKeys, SeenLeases},
        keys::{self, KdfParams, Keyring, NewKeys, Suite},
        parity::Percent,
    },
    report::{ErrorKind, Warning, WarningKind},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

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
        if let Some(other) = storage.below(keys::CONFIG) {
            let (place, other) = (storage.location(), other.display());
            return Err(RepoError::Invalid(format!("{place} lies in the repository {other}: choose another place")));
        }
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
            unread: Mutex::default(),
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
}
