//! Keys: the keyring in its slots, the lasting secrets, and the keys of each epoch, as far as a role has them.

mod config;
pub mod crypto;
mod epoch;
pub mod external;
mod lines;
mod recovery;
mod regions;
mod remembered;
mod sign;
mod slot;
#[cfg(test)]
mod slot_vectors;
mod slots;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use super::role::{Capability, Role};
pub use crypto::Suite;
pub use sign::{LeaseKey, Party, Signer};
pub use slots::{SlotInfo, Unsound, add_slot, both_are_folders, mend, remove_slot, slots, unsound};

pub(super) use epoch::CAPSULE_BYTES;
pub(super) use sign::{PUBLIC_BYTES, SIGNATURE_BYTES, lease_of, lease_signed, object_digest};

use super::{RepoError, RepoId, Storage, ids::PackKind, registry::Registry, storage::Created};
use crate::record::Timestamp;
use crate::report::ErrorKind;
use config::{COPIES, Config};
use crypto::random;
use epoch::{DEFAULT_SUITE, EpochKeys, EpochSecrets};
use remembered::Remembered;
use std::{collections::BTreeMap, path::Path, sync::Arc};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The format version of `rekeep.json` and of key slots.
pub const FORMAT: u32 = 1;

/// The name of the object that makes a folder a repository.
pub const CONFIG: &str = "rekeep.json";

pub use super::names::FOLDERS;

/// Something that keeps keys for others: wraps the key of a slot and unwraps it again.
pub trait KeyWrapper: Send + Sync {
    /// What the slot says about who can unwrap its key, such as `command` or `vault`.
    fn provider(&self) -> &str;
    /// Wraps a slot's key.
    fn wrap(&self, key: &[u8; 32]) -> Result<Vec<u8>, String>;
    /// Unwraps what [`Self::wrap`] gave.
    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// What a person unlocks a repository with.
#[derive(Clone)]
pub enum Unlock {
    /// A password.
    Password(String),
    /// A recovery key as `init` printed it (grouping and case do not matter).
    Recovery(String),
    /// A service or a command that keeps the key of a slot.
    External(Arc<dyn KeyWrapper>),
}

impl Drop for Unlock {
    fn drop(&mut self) {
        match self {
            Self::Password(text) | Self::Recovery(text) => text.zeroize(),
            Self::External(_) => {}
        }
    }
}

/// A recovery key, to be shown once.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKey(pub String);

/// The secrets that outlive every key epoch.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// Names chunks.
    pub chunk_id: [u8; 32],
    /// Fingerprints records.
    pub fingerprint: [u8; 32],
    /// Sums collections.
    pub collection: [u8; 32],
    /// Decides where blocks end.
    pub cut: [u8; 32],
    /// Seeds the gear table of `FastCDC`.
    pub gear_seed: u64,
}

impl Secrets {
    /// Whether they are the same, so that equal records make equal chunks under both.
    #[must_use]
    pub fn are_those_of(&self, other: &Self) -> bool {
        let all = |it: &Self| (it.chunk_id, it.fingerprint, it.collection, it.cut, it.gear_seed);
        all(self) == all(other)
    }
}

/// How costly it is to try a password (argon2id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl KdfParams {
    /// 64 MiB and 3 passes.
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
}

/// How a repository's keys are made.
pub struct NewKeys<'a> {
    /// The secrets of another repository, for copies between both to deduplicate.
    pub like: Option<&'a Secrets>,
    /// What seals.
    pub suite: Suite,
    /// The cost of trying the password.
    pub kdf: KdfParams,
    /// A word for the first slot.
    pub label: &'a str,
    /// Where data may be written; anywhere if none are named.
    pub regions: &'a [String],
    /// Whether packs are to have parity: programs that do not know it are told so.
    pub parity: bool,
}

/// An opened keyring with everything derived from it. Cheap to share behind an `Arc`.
pub struct Keyring {
    /// The repository these keys belong to.
    pub repo_id: RepoId,
    /// The lasting secrets.
    pub secrets: Secrets,
    /// The epoch whose keys seal what is written now.
    pub current_epoch: u32,
    /// What seals what is written now.
    pub suite: Suite,
    role: Role,
    epochs: BTreeMap<u32, EpochKeys>,
    slot: String,
    warnings: Vec<String>,
    newer: Vec<String>,
    /// A feature that this program does not know and that keeps it from writing.
    unwritable: Option<String>,
    regions: Vec<String>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("repo_id", &self.repo_id)
            .field("current_epoch", &self.current_epoch)
            .field("role", &self.role)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// The slot it was opened through; empty for one that was not read from storage.
    #[must_use]
    pub fn slot(&self) -> &str {
        &self.slot
    }

    /// The regions where data may be written; anywhere if there are none.
    #[must_use]
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// What its keys allow.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Fails if its role does not have this.
    ///
    /// # Errors
    /// [`RepoError::Role`].
    pub fn need(&self, needs: Capability) -> Result<(), RepoError> {
        if !self.role.has(needs) {
            return Err(RepoError::Role { role: self.role, needs });
        }
        if needs == Capability::ReadValues { Ok(()) } else { self.may_write() }
    }

    /// Fails if the repository has a feature that whoever writes must know.
    ///
    /// # Errors
    /// [`RepoError::UnknownFeature`].
    fn may_write(&self) -> Result<(), RepoError> {
        self.unwritable
            .as_ref()
            .map_or(Ok(()), |feature| Err(Registry::RepositoryWriting.unknown_name(CONFIG, feature)))
    }

    /// What a person should hear: what was found damaged or missing while opening.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What is said of slots that a newer program wrote: nothing is wrong with them.
    #[must_use]
    pub fn newer(&self) -> &[String] {
        &self.newer
    }

    /// A keyring of random keys that is stored nowhere, for tests and estimates.
    #[doc(hidden)]
    pub fn ephemeral() -> Result<Self, RepoError> {
        Ok(Self::fresh(Secrets::draw()?, DEFAULT_SUITE, RepoId(random()?), random()?))
    }

    /// The same keys with another suite, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self
    }

    /// What a slot of another role would open, for tests.
    #[doc(hidden)]
    pub fn for_role(&self, role: Role) -> Result<Self, RepoError> {
        let epochs = self.secrets_for(role)?;
        Ok(Self {
            repo_id: self.repo_id,
            secrets: self.secrets.clone(),
            current_epoch: self.current_epoch,
            suite: self.suite,
            role,
            epochs: keys_of(&epochs).map_err(|reason| RepoError::damaged("the keyring", reason))?,
            slot: String::new(),
            warnings: Vec::new(),
            newer: Vec::new(),
            unwritable: self.unwritable.clone(),
            regions: self.regions.clone(),
        })
    }

    fn fresh(secrets: Secrets, suite: Suite, repo_id: RepoId, root: [u8; 32]) -> Self {
        Self {
            repo_id,
            secrets,
            current_epoch: 0,
            suite,
            role: Role::Admin,
            epochs: BTreeMap::from([(0, EpochKeys::of_root(root))]),
            slot: String::new(),
            warnings: Vec::new(),
            newer: Vec::new(),
            unwritable: None,
            regions: Vec::new(),
        }
    }

    fn epoch(&self, epoch: u32) -> Option<&EpochKeys> {
        self.epochs.get(&epoch)
    }

    fn current(&self) -> Result<&EpochKeys, RepoError> {
        self.epoch(self.current_epoch)
            .ok_or_else(|| RepoError::Internal("the keyring lacks its current epoch".to_owned()))
    }

    /// The key that wraps the keys of packs of this kind.
    ///
    /// # Errors
    /// [`RepoError::Role`] if it is one of values, which this role may not read; damage if there is no such epoch.
    pub(super) fn pack_key(&self, object: &str, kind: PackKind, epoch: u32) -> Result<&[u8; 32], RepoError> {
        self.known(object, epoch)?.packs(kind).ok_or(RepoError::Role { role: self.role, needs: Capability::ReadValues })
    }

    /// A fresh key, and the capsule in which only who may read values finds it again.
    pub(super) fn encapsulate(&self) -> Result<([u8; CAPSULE_BYTES], Zeroizing<[u8; 32]>), RepoError> {
        self.current()?.encapsulate()
    }

    pub(super) fn decapsulate(
        &self,
        object: &str,
        epoch: u32,
        capsule: &[u8; CAPSULE_BYTES],
    ) -> Result<Zeroizing<[u8; 32]>, RepoError> {
        self.known(object, epoch)?
            .decapsulate(capsule)
            .ok_or(RepoError::Role { role: self.role, needs: Capability::ReadValues })
    }

    pub(super) fn object_key(&self, object: &str, epoch: u32) -> Result<&[u8; 32], RepoError> {
        self.known(object, epoch).map(|keys| &*keys.objects)
    }

    pub(super) fn index_key(&self, object: &str, epoch: u32) -> Result<&[u8; 32], RepoError> {
        self.known(object, epoch).map(|keys| &*keys.index)
    }

    fn known(&self, object: &str, epoch: u32) -> Result<&EpochKeys, RepoError> {
        self.epoch(epoch).ok_or_else(|| RepoError::Epoch { object: object.to_owned(), epoch })
    }

    fn first_metadata(&self) -> Result<&[u8; 32], RepoError> {
        let keys = self.epochs.get(&0).ok_or_else(|| RepoError::damaged("the keyring", "it lacks epoch 0"))?;
        Ok(&keys.metadata)
    }

    /// What a slot of a role keeps of each epoch.
    fn secrets_for(&self, role: Role) -> Result<BTreeMap<u32, EpochSecrets>, RepoError> {
        let secrets = self.epochs.iter().map(|(epoch, keys)| Some((*epoch, keys.for_role(role)?)));
        secrets.collect::<Option<_>>().ok_or(RepoError::Role { role: self.role, needs: Capability::Administer })
    }
}

fn keys_of(secrets: &BTreeMap<u32, EpochSecrets>) -> Result<BTreeMap<u32, EpochKeys>, String> {
    secrets.iter().map(|(epoch, secrets)| Ok((*epoch, EpochKeys::of(secrets)?))).collect()
}

impl Secrets {
    /// The length of the stored form.
    const BYTES: usize = 4 * 32 + 8;

    fn draw() -> Result<Self, RepoError> {
        Ok(Self {
            chunk_id: random()?,
            fingerprint: random()?,
            collection: random()?,
            cut: random()?,
            gear_seed: u64::from_le_bytes(random()?),
        })
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::BYTES));
        for key in [&self.chunk_id, &self.fingerprint, &self.collection, &self.cut] {
            bytes.extend_from_slice(key);
        }
        bytes.extend_from_slice(&self.gear_seed.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let key = |index: usize| bytes[32 * index..][..32].try_into().ok();
        Some(Self {
            chunk_id: key(0)?,
            fingerprint: key(1)?,
            collection: key(2)?,
            cut: key(3)?,
            gear_seed: u64::from_le_bytes(bytes[128..].try_into().ok()?),
        })
    }
}

/// Refuses names that no region has.
///
/// # Errors
/// [`RepoError::Invalid`].
pub fn check_regions(regions: &[String]) -> Result<(), RepoError> {
    regions::check(regions)
}

/// The regions where data of a repository may be written, without any key; none for anywhere.
///
/// # Errors
/// As of [`read_config`].
pub fn regions_of(storage: &Storage) -> Result<Vec<String>, RepoError> {
    let config = read_config(storage)?;
    let features = config.get("features").and_then(serde_json::Value::as_array).into_iter().flatten();
    let named = features.filter_map(|it| regions::of(it.as_str()?)).flatten();
    Ok(named.map(str::to_owned).collect())
}

/// Reads `rekeep.json`, or its copy, without any key: the repository's id and format version.
pub fn read_config(storage: &Storage) -> Result<serde_json::Value, RepoError> {
    let first = lines::read(storage, CONFIG).and_then(|bytes| lines::value(CONFIG, &bytes));
    let copy = format!("{COPIES}{CONFIG}");
    match first {
        Err(RepoError::Missing { .. } | RepoError::Damaged { .. }) => {
            match lines::read(storage, &copy).and_then(|bytes| lines::value(&copy, &bytes)) {
                Err(RepoError::Missing { .. } | RepoError::Damaged { .. }) => first,
                other => other,
            }
        }
        other => other,
    }
    .map_err(|error| match error {
        RepoError::Missing { .. } => RepoError::NoRepository { location: storage.location().to_owned() },
        other => other,
    })
}

/// Checks the two lines of a key slot or of `rekeep.json` against each other; needs no key.
pub fn check_lines(object: &str, bytes: &[u8]) -> Result<(), RepoError> {
    lines::value(object, bytes).map(drop)
}

/// The repository that a key slot says it is of; needs no key.
pub fn repository_of(object: &str, bytes: &[u8]) -> Result<String, RepoError> {
    let slot = lines::value(object, bytes)?;
    let id = slot.get("repository").and_then(serde_json::Value::as_str);
    Ok(id.ok_or_else(|| RepoError::damaged(object, "it names no repository"))?.to_owned())
}

/// Makes a repository's keys: a slot for `password`, a slot for a fresh recovery key, then `rekeep.json`, whose creation
/// is the commit; each is then kept once more.
///
/// # Errors
/// [`RepoError::AlreadyExists`] if there is a `rekeep.json`, [`RepoError::Occupied`] if there is any other object of a
/// repository; nothing of it is touched.
pub fn create(
    storage: &Storage,
    password: &Unlock,
    new: &NewKeys<'_>,
    now: Timestamp,
) -> Result<(Keyring, RecoveryKey), RepoError> {
    let exists = || RepoError::AlreadyExists { location: storage.location().to_owned() };
    if storage.len(CONFIG)?.is_some() {
        return Err(exists());
    }
    for listed in storage.each_of(&FOLDERS, |folder| storage.list(folder)) {
        if let Some(object) = listed?.into_iter().map(|object| object.name).min() {
            return Err(RepoError::Occupied { location: storage.location().to_owned(), object });
        }
    }
    let secrets = new.like.map_or_else(Secrets::draw, |like| Ok(like.clone()))?;
    let mut keyring = Keyring::fresh(secrets, new.suite, RepoId(random()?), random()?);
    keyring.regions = regions::in_order(new.regions);
    let recovery = RecoveryKey::generate()?;
    let add = |unlock: &Unlock| add_slot(storage, &keyring, unlock, Role::Admin, new.kdf, new.label, now);
    let first = add(password)?;
    let second = add(&Unlock::Recovery(recovery.0.clone()))?;
    let config = lines::print(&Config::make(&keyring, now, new)?)?;
    if storage.create(CONFIG, &config)? == Created::Exists {
        for name in [&first, &second] {
            slots::delete(storage, name)?;
        }
        return Err(exists());
    }
    storage.create(&format!("{COPIES}{CONFIG}"), &config)?;
    keyring.slot = first;
    Ok((keyring, recovery))
}

/// Opens the keyring through any slot that the password, recovery key or service opens; the cheapest are tried first.
///
/// # Errors
/// [`RepoError::NoRepository`]; [`RepoError::WrongPassword`]; [`RepoError::KeyService`] if a service does not give the key of
/// any; [`RepoError::Damaged`] naming the damaged slots if none of the others opens.
pub fn open(storage: &Storage, unlock: &Unlock) -> Result<Keyring, RepoError> {
    Ok(open_any(storage, &slot::Attempt::new(unlock)?)?.0)
}

/// [`open`], going by what this host remembers under `cache_dir` of a place that is far; gives also whether everything that is
/// kept twice was looked at, which happens once a day.
///
/// # Errors
/// As of [`open`].
pub fn open_remembered(
    storage: &Storage,
    unlock: &Unlock,
    cache_dir: &Path,
    now: Timestamp,
) -> Result<(Keyring, bool), RepoError> {
    let attempt = slot::Attempt::new(unlock)?;
    if let Some(remembered) = Remembered::of(storage, cache_dir, now)
        && let Some(keyring) = remembered.open(storage, &attempt)?
    {
        return Ok((keyring, false));
    }
    let (keyring, config, slot) = open_any(storage, &attempt)?;
    // What is not whole is told of each time.
    if keyring.warnings.is_empty() {
        Remembered::keep(storage, cache_dir, now, &keyring.slot, &config, &slot);
    }
    Ok((keyring, true))
}

/// Whether this host has opened the repository at this place within a day, so that one may be asked for its password.
#[must_use]
pub fn is_remembered(storage: &Storage, cache_dir: &Path, now: Timestamp) -> bool {
    Remembered::of(storage, cache_dir, now).is_some()
}

/// What is named where no slot opens and some are damaged.
const SLOTS: &str = "keys/";

fn open_any(storage: &Storage, attempt: &slot::Attempt) -> Result<(Keyring, Config, slot::Slot), RepoError> {
    let (mut configs, mut warnings) = config::read(storage)?;
    let mut failures = Vec::new();
    let mut tried = 0;
    let slots = slots_of_either(storage, &mut configs, &mut warnings)?;
    if slots.is_empty() {
        return Err(RepoError::NoKeySlot { location: storage.location().to_owned() });
    }
    let mut fitting = Vec::new();
    for found in slots {
        warnings.extend(found.warning);
        match found.slot {
            Ok(slot) => {
                let both = std::iter::once(slot).chain(found.other).filter(|slot| attempt.fits(slot));
                fitting.extend(both.map(|slot| (slot.work(), found.name.clone(), slot)));
            }
            Err(error) => failures.push(error),
        }
    }
    fitting.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    for (_, name, slot) in fitting {
        tried += 1;
        match slot.open(&name, attempt) {
            Ok(Some(secrets)) => {
                let is_newer = |failure: &&RepoError| failure.kind() == ErrorKind::NewerFormat;
                let (newer, bad): (Vec<_>, Vec<_>) = failures.iter().partition(is_newer);
                warnings.extend(bad.into_iter().map(ToString::to_string));
                let mut keyring = assemble(&configs, slot.role, &secrets, name, warnings)?;
                keyring.newer = newer.into_iter().map(ToString::to_string).collect();
                return Ok((keyring, configs.swap_remove(0), slot));
            }
            Ok(None) => {}
            Err(error) => failures.push(error),
        }
    }
    // What this machine could not do, or storage did not give, is no damage.
    if let Some(at) = failures.iter().position(|failure| matches!(failure, RepoError::Storage { .. })) {
        return Err(failures.swap_remove(at));
    }
    // Nor is what a service says, of however many slots: all that was said is told.
    let service = failures.iter().find_map(|it| match it {
        RepoError::KeyService { service, .. } => Some(service.clone()),
        _ => None,
    });
    if let Some(service) = service {
        let mut reasons = Vec::new();
        for failure in failures {
            let said = match failure {
                RepoError::KeyService { reason, .. } => reason,
                other => other.to_string(),
            };
            if !reasons.contains(&said) {
                reasons.push(said);
            }
        }
        return Err(RepoError::KeyService { service, reason: reasons.join("; ") });
    }
    // What is unknown is no damage either: with no other slot to try it is the reason, beside others it may be.
    let is_damaged = failures.iter().any(|it| matches!(it, RepoError::Damaged { .. }));
    if !is_damaged && tried == 0 && failures.len() == 1 {
        return Err(failures.remove(0));
    }
    let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
    if !is_damaged {
        let beside = reasons.iter().flat_map(|reason| ["; ", reason.as_str()]).collect();
        return Err(RepoError::WrongPassword { location: storage.location().to_owned(), slots: tried, beside });
    }
    let others = match tried {
        0 => "no other slot is for what was given".to_owned(),
        1 => "the one other slot for what was given is not opened by it".to_owned(),
        _ => format!("none of the {tried} other slots for what was given is opened by it"),
    };
    Err(RepoError::damaged(SLOTS, format!("{}; {others}", reasons.join("; "))))
}

/// The slots of the repository that `rekeep.json` names. If none of them is readable and its copy names another, those
/// of that one.
fn slots_of_either(
    storage: &Storage,
    configs: &mut Vec<Config>,
    warnings: &mut Vec<String>,
) -> Result<Vec<slots::Found>, RepoError> {
    let slots = slots::read(storage, &configs[0].id)?;
    let other = configs.iter().position(|config| config.id != configs[0].id);
    let Some(at) = other.filter(|_| slots.iter().all(|found| found.slot.is_err())) else { return Ok(slots) };
    let others = slots::read(storage, &configs[at].id)?;
    if others.iter().all(|found| found.slot.is_err()) {
        return Ok(slots);
    }
    warnings.push(format!("{CONFIG} belongs to another repository than the key slots do; its copy was used"));
    configs.drain(..at);
    Ok(others)
}

fn assemble(
    configs: &[Config],
    role: Role,
    secrets: &BTreeMap<u32, EpochSecrets>,
    slot: String,
    mut warnings: Vec<String>,
) -> Result<Keyring, RepoError> {
    let damaged = |reason: String| RepoError::damaged(slot::path(&slot), reason);
    let epochs = keys_of(secrets).map_err(damaged)?;
    let root = epochs.get(&0).ok_or_else(|| damaged("its keyring lacks epoch 0".to_owned()))?;
    let current_epoch = epochs.keys().next_back().copied().unwrap_or(0);
    let mut problem = None;
    for config in configs {
        match config.open(&root.metadata) {
            Ok(opened) => {
                warnings.extend(problem.map(|error: RepoError| format!("{error}; its copy was used")));
                let suite = config.suite()?;
                warnings.extend(config.checks_less());
                return Ok(Keyring {
                    repo_id: config.id,
                    secrets: opened,
                    current_epoch,
                    suite,
                    role,
                    epochs,
                    slot,
                    warnings,
                    newer: Vec::new(),
                    unwritable: config.keeps_from_writing(),
                    regions: config.regions(),
                });
            }
            Err(error) => drop(problem.get_or_insert(error)),
        }
    }
    Err(problem.unwrap_or_else(|| RepoError::damaged(CONFIG, "it cannot be read")))
}

/// Makes a new epoch: from now on what is written is sealed under keys that no slot made before has. The slots of `unlock`
/// and of a fresh recovery key get it; those that lack it are given back by name, for a person to make anew.
pub fn begin_epoch(
    storage: &Storage,
    keyring: &Keyring,
    unlock: &Unlock,
    kdf: KdfParams,
    label: &str,
    now: Timestamp,
) -> Result<(String, RecoveryKey), RepoError> {
    keyring.need(Capability::Administer)?;
    let mut next = keyring.for_role(Role::Admin)?;
    let epoch = next.current_epoch.checked_add(1).ok_or_else(|| RepoError::Invalid("no epoch is left".to_owned()))?;
    next.epochs.insert(epoch, EpochKeys::of_root(random()?));
    next.current_epoch = epoch;
    let recovery = RecoveryKey::generate()?;
    let name = add_slot(storage, &next, unlock, Role::Admin, kdf, label, now)?;
    add_slot(storage, &next, &Unlock::Recovery(recovery.0.clone()), Role::Admin, kdf, label, now)?;
    Ok((name, recovery))
}
