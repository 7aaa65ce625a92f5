//! Keys: the keyring in its slots, the lasting secrets, and the sealing keys derived from an epoch's secret.

mod config;
pub(super) mod crypto;
mod lines;
mod recovery;
mod slot;
#[cfg(test)]
mod tests;

use super::{
    RepoError, RepoId, Storage,
    ids::PackKind,
    repository::names::{Fit, fit},
    storage::Created,
};
use crate::record::Timestamp;
use config::{Config, config_bytes, parse_config};
use crypto::{derive, random};
use data_encoding::HEXLOWER;
use slot::Slot;
use std::collections::BTreeMap;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The format version of `rekeep.json` and of key slots.
pub const FORMAT: u32 = 1;

/// The name of the object that makes a folder a repository.
pub const CONFIG: &str = "rekeep.json";

const METADATA_CONTEXT: &str = "rekeep 2026-11 v1 metadata packs";
const DATA_CONTEXT: &str = "rekeep 2026-11 v1 data packs";
const OBJECTS_CONTEXT: &str = "rekeep 2026-11 v1 small objects";
const INDEX_CONTEXT: &str = "rekeep 2026-11 v1 index objects";

/// What a person unlocks a repository with.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub enum Unlock {
    /// A password.
    Password(String),
    /// A recovery key as `init` printed it (grouping and case do not matter).
    Recovery(String),
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

/// An opened keyring with everything derived from it. Cheap to share behind an `Arc`.
pub struct Keyring {
    /// The repository these keys belong to.
    pub repo_id: RepoId,
    /// The lasting secrets.
    pub secrets: Secrets,
    /// The epoch whose keys seal what is written now.
    pub current_epoch: u32,
    epochs: BTreeMap<u32, EpochKeys>,
    slot: String,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("repo_id", &self.repo_id)
            .field("current_epoch", &self.current_epoch)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// One epoch's secret and what is derived from it.
#[derive(Zeroize, ZeroizeOnDrop)]
struct EpochKeys {
    secret: [u8; 32],
    metadata: [u8; 32],
    data: [u8; 32],
    objects: [u8; 32],
    index: [u8; 32],
}

impl EpochKeys {
    fn new(secret: [u8; 32]) -> Self {
        Self {
            metadata: derive(METADATA_CONTEXT, &secret),
            data: derive(DATA_CONTEXT, &secret),
            objects: derive(OBJECTS_CONTEXT, &secret),
            index: derive(INDEX_CONTEXT, &secret),
            secret,
        }
    }
}

impl Keyring {
    /// The slot it was opened through; empty for one that was not read from storage.
    #[must_use]
    pub fn slot(&self) -> &str {
        &self.slot
    }

    /// What a person should hear: slots that were found damaged while opening.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A keyring of random keys that is stored nowhere, for tests.
    #[doc(hidden)]
    pub fn ephemeral() -> Result<Self, RepoError> {
        Ok(Self::fresh(Secrets::draw(None)?, RepoId(random()?), random()?))
    }

    fn fresh(secrets: Secrets, repo_id: RepoId, secret: [u8; 32]) -> Self {
        Self {
            repo_id,
            secrets,
            current_epoch: 0,
            epochs: BTreeMap::from([(0, EpochKeys::new(secret))]),
            slot: String::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn pack_key(&self, kind: PackKind, epoch: u32) -> Option<&[u8; 32]> {
        self.epochs.get(&epoch).map(|keys| match kind {
            PackKind::Metadata => &keys.metadata,
            PackKind::Data => &keys.data,
        })
    }

    pub(super) fn object_key(&self, epoch: u32) -> Option<&[u8; 32]> {
        self.epochs.get(&epoch).map(|keys| &keys.objects)
    }

    pub(super) fn index_key(&self, epoch: u32) -> Option<&[u8; 32]> {
        self.epochs.get(&epoch).map(|keys| &keys.index)
    }

    fn secrets_by_epoch(&self) -> BTreeMap<u32, [u8; 32]> {
        self.epochs.iter().map(|(epoch, keys)| (*epoch, keys.secret)).collect()
    }
}

impl Secrets {
    /// The length of the stored form.
    const BYTES: usize = 4 * 32 + 8;

    /// Draws all, or with `like` those that do not decide whether copies deduplicate.
    fn draw(like: Option<&Self>) -> Result<Self, RepoError> {
        let mut secrets = Self {
            chunk_id: random()?,
            fingerprint: random()?,
            collection: random()?,
            cut: random()?,
            gear_seed: u64::from_le_bytes(random()?),
        };
        if let Some(like) = like {
            secrets.chunk_id = like.chunk_id;
            secrets.cut = like.cut;
            secrets.gear_seed = like.gear_seed;
        }
        Ok(secrets)
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

/// One key slot, as `key list` shows it.
#[derive(Debug, Clone)]
pub struct SlotInfo {
    /// The slot's object name under `keys/`.
    pub name: String,
    /// `password` or `recovery`.
    pub kind: String,
    /// Words given when it was made: host and user.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether the keyring in use was opened through it.
    pub current: bool,
}

impl Keyring {
    fn root_secret(&self) -> Result<&[u8; 32], RepoError> {
        let keys = self.epochs.get(&0).ok_or_else(|| RepoError::damaged("the keyring", "it lacks epoch 0"))?;
        Ok(&keys.secret)
    }
}

/// Reads `rekeep.json` without any key: the repository's id and format version.
pub fn read_config(storage: &Storage) -> Result<serde_json::Value, RepoError> {
    let bytes = config_bytes(storage)?;
    lines::value(CONFIG, &bytes)
}

/// Checks the two lines of a key slot or of `rekeep.json` against each other; needs no key.
pub fn check_lines(object: &str, bytes: &[u8]) -> Result<(), RepoError> {
    lines::value(object, bytes).map(drop)
}

/// Makes a repository's keys: a slot for `password`, a slot for a fresh recovery key, then `rekeep.json`, whose creation
/// is the commit. With `like`, chunk-id key, cut key and gear seed are those of another repository.
///
/// # Errors
/// [`RepoError::AlreadyExists`] if there is a `rekeep.json`; nothing of it is touched.
pub fn create(
    storage: &Storage,
    password: &Unlock,
    like: Option<&Secrets>,
    kdf: KdfParams,
    label: &str,
    now: Timestamp,
) -> Result<(Keyring, RecoveryKey), RepoError> {
    let exists = || RepoError::AlreadyExists { location: storage.location().to_owned() };
    if storage.len(CONFIG)?.is_some() {
        return Err(exists());
    }
    let mut keyring = Keyring::fresh(Secrets::draw(like)?, RepoId(random()?), random()?);
    let recovery = RecoveryKey::generate()?;
    let first = add_slot(storage, &keyring, password, kdf, label, now)?;
    let second = add_slot(storage, &keyring, &Unlock::Recovery(recovery.0.clone()), kdf, label, now)?;
    let config = lines::print(&Config::make(&keyring, now)?)?;
    if storage.create(CONFIG, &config)? == Created::Exists {
        for name in [&first, &second] {
            storage.delete(&slot::path(name))?;
        }
        return Err(exists());
    }
    keyring.slot = first;
    Ok((keyring, recovery))
}

/// Opens the keyring through any slot that the password or recovery key opens.
///
/// # Errors
/// [`RepoError::NoRepository`]; [`RepoError::WrongPassword`]; [`RepoError::Damaged`] naming the damaged slots if none of
/// the others opens.
pub fn open(storage: &Storage, unlock: &Unlock) -> Result<Keyring, RepoError> {
    let config = parse_config(&config_bytes(storage)?)?;
    let attempt = slot::Attempt::new(unlock)?;
    let mut failures = Vec::new();
    let mut tried = 0;
    let slots = read_slots(storage, &config.id)?;
    if slots.is_empty() {
        return Err(RepoError::Missing { object: "every key slot under keys/".to_owned() });
    }
    for (name, slot) in slots {
        let opened = match slot {
            Ok(slot) if attempt.fits(&slot) => {
                tried += 1;
                slot.open(&name, &attempt)
            }
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        match opened {
            Ok(Some(secrets)) => {
                let warnings = failures.iter().map(ToString::to_string).collect();
                return assemble(&config, &secrets, name, warnings);
            }
            Ok(None) => {}
            Err(error) => failures.push(error),
        }
    }
    // A newer or unknown slot says more than a wrong password does.
    if failures.len() == 1 && tried == 0 {
        return Err(failures.remove(0));
    }
    if failures.is_empty() {
        return Err(RepoError::WrongPassword { slots: tried });
    }
    let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let reason = format!("{}; none of the other {tried} slots opens with what was given", reasons.join("; "));
    Err(RepoError::damaged("keys/", reason))
}

fn assemble(
    config: &Config,
    secrets: &BTreeMap<u32, [u8; 32]>,
    slot: String,
    warnings: Vec<String>,
) -> Result<Keyring, RepoError> {
    let epochs: BTreeMap<_, _> = secrets.iter().map(|(epoch, secret)| (*epoch, EpochKeys::new(*secret))).collect();
    let damaged = || RepoError::damaged(slot::path(&slot), "its keyring lacks epoch 0");
    let root = secrets.get(&0).ok_or_else(damaged)?;
    let current_epoch = *epochs.keys().next_back().ok_or_else(damaged)?;
    Ok(Keyring { repo_id: config.id, secrets: config.open(root)?, current_epoch, epochs, slot, warnings })
}

/// A slot's name, and the slot if it is readable.
type NamedSlot = (String, Result<Slot, RepoError>);

/// Every slot under `keys/`, by name, each readable or not.
fn read_slots(storage: &Storage, id: &RepoId) -> Result<Vec<NamedSlot>, RepoError> {
    let mut listed = storage.list("keys/")?;
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let mut slots = Vec::new();
    for object in listed.into_iter().filter(|object| fit(&object.name) == Fit::Object) {
        let name = object.name.strip_prefix("keys/").unwrap_or(&object.name).to_owned();
        let slot = match storage.read(&object.name) {
            Ok(bytes) => Slot::parse(&name, &bytes, id),
            // Removed since it was listed.
            Err(RepoError::Missing { .. }) => continue,
            Err(error @ RepoError::Storage { .. }) => Err(error),
            Err(error) => return Err(error),
        };
        slots.push((name, slot));
    }
    Ok(slots)
}

/// The readable key slots. A damaged one is shown with the kind `damaged`.
pub fn slots(storage: &Storage, keyring: &Keyring) -> Result<Vec<SlotInfo>, RepoError> {
    let slots = read_slots(storage, &keyring.repo_id)?;
    Ok(slots
        .into_iter()
        .map(|(name, slot)| {
            let current = name == keyring.slot;
            match slot {
                Ok(slot) => SlotInfo { name, kind: slot.kind, label: slot.label, created: slot.created, current },
                Err(error) => SlotInfo {
                    name,
                    kind: "damaged".to_owned(),
                    label: error.to_string(),
                    created: Timestamp::default(),
                    current,
                },
            }
        })
        .collect())
}

/// Adds a slot for another password or recovery key; gives its name.
pub fn add_slot(
    storage: &Storage,
    keyring: &Keyring,
    unlock: &Unlock,
    kdf: KdfParams,
    label: &str,
    now: Timestamp,
) -> Result<String, RepoError> {
    let name = HEXLOWER.encode(&random::<16>()?);
    let slot = Slot::make(&name, keyring, unlock, kdf, label, now)?;
    match storage.create(&slot::path(&name), &lines::print(&slot)?)? {
        Created::New => Ok(name),
        Created::Exists => Err(RepoError::Internal(format!("the random slot name {name} is taken"))),
    }
}

/// Removes the slot whose name begins with `prefix`; refuses to remove the last readable one. Of several who remove
/// slots at once the last to look puts his back if the others are gone by then.
pub fn remove_slot(storage: &Storage, keyring: &Keyring, prefix: &str) -> Result<(), RepoError> {
    let slots = slots(storage, keyring)?;
    let mut matching = slots.iter().filter(|slot| !prefix.is_empty() && slot.name.starts_with(prefix));
    let Some(slot) = matching.next() else {
        return Err(RepoError::Invalid(format!("no key slot begins with `{prefix}`")));
    };
    if matching.next().is_some() {
        return Err(RepoError::Invalid(format!("more than one key slot begins with `{prefix}`")));
    }
    let others: Vec<_> = slots.iter().filter(|other| other.name != slot.name && other.kind != "damaged").collect();
    if others.is_empty() {
        return Err(RepoError::Invalid(format!(
            "{} is the last key slot: without it nothing could be read",
            slot.name
        )));
    }
    let path = slot::path(&slot.name);
    let bytes = storage.read(&path)?;
    storage.delete(&path)?;
    // By name, since a listing may be late.
    let left = others
        .iter()
        .try_fold(false, |left, other| Ok::<_, RepoError>(left || storage.len(&slot::path(&other.name))?.is_some()));
    match left {
        Ok(true) => Ok(()),
        left => {
            storage.create(&path, &bytes)?;
            left?;
            Err(RepoError::Invalid(format!(
                "all other key slots were removed meanwhile: {} was put back, without it nothing could be read",
                slot.name
            )))
        }
    }
}
