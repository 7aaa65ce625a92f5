//! Key slots: the keyring, as far as a role goes, wrapped under what a person or a service keeps.

use super::{
    FORMAT, KdfParams, KeyWrapper, Keyring, Role, Unlock,
    crypto::{self, Suite},
    epoch::EpochSecrets,
    lines, recovery,
};
use crate::{
    record::Timestamp,
    repo::{RepoError, RepoId, registry::Registry},
};
use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use zeroize::Zeroizing;

const RECOVERY_CONTEXT: &str = "rekeep 2026-11 v1 recovery slot";
const PASSWORD: &str = "password";
const RECOVERY: &str = "recovery";
const EXTERNAL: &str = "external";
const SALT_BYTES: usize = 16;
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;
/// A slot that somebody else put there must not cost whoever tries it minutes.
const MAX_WORK_KIB: u64 = 4 * 1024 * 1024;
/// What a service made of the 32 bytes of a slot key.
const MAX_WRAPPED_KEY_BYTES: usize = 16 * 1024;

/// `keys/<name>`.
pub(super) fn path(name: &str) -> String {
    format!("keys/{name}")
}

/// How a slot key is made or found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
enum Kdf {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32, salt: String },
    Blake3 { salt: String },
    External { provider: String, key: String },
}

/// Line 1 of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slot {
    format: u32,
    repository: RepoId,
    pub(super) kind: String,
    pub(super) role: Role,
    pub(super) label: String,
    pub(super) created: Timestamp,
    suite: u8,
    kdf: Kdf,
    wrapped: String,
}

/// The wrapped keyring.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    epochs: BTreeMap<u32, EpochSecrets>,
}

/// What is tried on slots.
pub(super) enum Attempt {
    Password(Zeroizing<String>),
    Recovery(Zeroizing<[u8; 32]>),
    External(Arc<dyn KeyWrapper>),
}

impl Attempt {
    pub(super) fn new(unlock: &Unlock) -> Result<Self, RepoError> {
        Ok(match unlock {
            Unlock::Password(password) => Self::Password(Zeroizing::new(password.clone())),
            Unlock::Recovery(text) => Self::Recovery(recovery::parse(text)?),
            Unlock::External(wrapper) => Self::External(Arc::clone(wrapper)),
        })
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Password(_) => PASSWORD,
            Self::Recovery(_) => RECOVERY,
            Self::External(_) => EXTERNAL,
        }
    }

    /// Whether a slot is of the kind that this may open.
    pub(super) fn fits(&self, slot: &Slot) -> bool {
        match (self, &slot.kdf) {
            (Self::External(wrapper), Kdf::External { provider, .. }) => wrapper.provider() == provider,
            _ => slot.kind == self.kind(),
        }
    }
}

impl KdfParams {
    /// Refuses what no honest slot asks for, before any work.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MAX_LANES).contains(&self.lanes) {
            return Err(format!("{} lanes are outside 1 to {MAX_LANES}", self.lanes));
        }
        if !(1..=MAX_PASSES).contains(&self.passes) {
            return Err(format!("{} passes are outside 1 to {MAX_PASSES}", self.passes));
        }
        if !(8 * self.lanes..=MAX_MEMORY_KIB).contains(&self.memory_kib) {
            return Err(format!("{} KiB are outside {} to {MAX_MEMORY_KIB}", self.memory_kib, 8 * self.lanes));
        }
        if self.work_kib() > MAX_WORK_KIB {
            return Err(format!(
                "{} passes over {} KiB are more than {MAX_WORK_KIB} KiB of work",
                self.passes, self.memory_kib
            ));
        }
        Ok(())
    }

    fn work_kib(self) -> u64 {
        u64::from(self.passes) * u64::from(self.memory_kib)
    }

    fn derive(self, password: &str, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, NoKey> {
        self.check()?;
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|error| error.to_string())?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), salt, key.as_mut_slice())
            .map_err(|error| match error {
                argon2::Error::OutOfMemory => NoKey::Memory(self.memory_kib / 1024),
                error => NoKey::Said(error.to_string()),
            })?;
        Ok(key)
    }
}

/// Why a slot's key could not be had.
#[derive(Debug, PartialEq, Eq)]
enum NoKey {
    /// In words: the slot is not as it should be, or its service said no.
    Said(String),
    /// This machine gave no memory for it, in MiB: that says nothing about the slot.
    Memory(u32),
}

impl From<String> for NoKey {
    fn from(reason: String) -> Self {
        Self::Said(reason)
    }
}

impl NoKey {
    /// The error for this slot; `said` makes that of words.
    fn into_error(self, object: &str, said: impl FnOnce(String) -> RepoError) -> RepoError {
        match self {
            Self::Said(reason) => said(reason),
            Self::Memory(mib) => RepoError::Storage {
                operation: "deriving the key of",
                object: object.to_owned(),
                source: std::io::Error::new(
                    std::io::ErrorKind::OutOfMemory,
                    format!(
                        "it takes {mib} MiB of memory, which this machine, or the limit of this process, does not give"
                    ),
                ),
            },
        }
    }
}

/// Of a slot key's origin what the associated data covers: name, parameters, salt, provider, wrapped key.
type KdfParts = (&'static str, KdfParams, Vec<u8>, String, Vec<u8>);

impl Kdf {
    /// An error if something is outside the format's limits.
    fn parts(&self) -> Result<KdfParts, String> {
        const NONE: KdfParams = KdfParams { memory_kib: 0, passes: 0, lanes: 0 };
        let salted = |salt: &str| {
            let salt = BASE64.decode(salt.as_bytes()).map_err(|error| format!("salt: {error}"))?;
            if salt.len() == SALT_BYTES { Ok(salt) } else { Err("the salt is not 16 bytes".to_owned()) }
        };
        Ok(match self {
            Self::Argon2id { memory_kib, passes, lanes, salt } => {
                let params = KdfParams { memory_kib: *memory_kib, passes: *passes, lanes: *lanes };
                params.check()?;
                ("argon2id", params, salted(salt)?, String::new(), Vec::new())
            }
            Self::Blake3 { salt } => ("blake3", NONE, salted(salt)?, String::new(), Vec::new()),
            Self::External { provider, key } => {
                let key = BASE64.decode(key.as_bytes()).map_err(|error| format!("key: {error}"))?;
                if key.len() > MAX_WRAPPED_KEY_BYTES {
                    return Err(format!("its wrapped key has {} bytes", key.len()));
                }
                (EXTERNAL, NONE, vec![0; SALT_BYTES], provider.clone(), key)
            }
        })
    }

    /// The slot key; `None` if `attempt` is of another kind.
    fn key(&self, attempt: &Attempt) -> Result<Option<Zeroizing<[u8; 32]>>, NoKey> {
        let (_, params, salt, _, given) = self.parts()?;
        match (self, attempt) {
            (Self::Argon2id { .. }, Attempt::Password(password)) => params.derive(password, &salt).map(Some),
            (Self::Blake3 { .. }, Attempt::Recovery(recovery)) => {
                let mut material = Zeroizing::new(recovery.to_vec());
                material.extend_from_slice(&salt);
                Ok(Some(Zeroizing::new(crypto::derive(RECOVERY_CONTEXT, &material))))
            }
            (Self::External { provider, .. }, Attempt::External(wrapper)) if provider == wrapper.provider() => {
                let key = wrapper.unwrap(&given)?;
                let key = key.as_slice().try_into().map_err(|_| "what was unwrapped is not 32 bytes".to_owned())?;
                Ok(Some(Zeroizing::new(key)))
            }
            _ => Ok(None),
        }
    }

    /// A new slot key's origin, and the key.
    fn make(attempt: &Attempt, params: KdfParams) -> Result<(Self, Zeroizing<[u8; 32]>), RepoError> {
        let invalid = |reason: String| RepoError::Invalid(format!("key slot: {reason}"));
        let refused = |reason: String| match attempt {
            Attempt::External(wrapper) => RepoError::KeyService { service: wrapper.provider().to_owned(), reason },
            _ => invalid(reason),
        };
        let salt = || Ok::<_, RepoError>(BASE64.encode(&crypto::random::<SALT_BYTES>()?));
        let kdf = match attempt {
            Attempt::Password(password) if password.is_empty() => {
                return Err(RepoError::Invalid("an empty password protects nothing".to_owned()));
            }
            Attempt::Password(_) => {
                let KdfParams { memory_kib, passes, lanes } = params;
                Self::Argon2id { memory_kib, passes, lanes, salt: salt()? }
            }
            Attempt::Recovery(_) => Self::Blake3 { salt: salt()? },
            Attempt::External(wrapper) => {
                let drawn = Zeroizing::new(crypto::random::<32>()?);
                let key = BASE64.encode(&wrapper.wrap(&drawn).map_err(refused)?);
                Self::External { provider: wrapper.provider().to_owned(), key }
            }
        };
        // What comes out is what will come out again: a service that cannot unwrap its own is found now.
        let key = kdf.key(attempt).map_err(|no| no.into_error("a new key slot", refused))?;
        let key = key.ok_or_else(|| invalid("no key for it".to_owned()))?;
        Ok((kdf, key))
    }
}

impl Slot {
    /// Wraps what the role needs of the keyring.
    pub(super) fn make(
        name: &str,
        keyring: &Keyring,
        unlock: &Unlock,
        role: Role,
        params: KdfParams,
        label: &str,
        now: Timestamp,
    ) -> Result<Self, RepoError> {
        let invalid = |reason: String| RepoError::Invalid(format!("key slot: {reason}"));
        let attempt = Attempt::new(unlock)?;
        let (kdf, key) = Kdf::make(&attempt, params)?;
        let mut slot = Self {
            format: FORMAT,
            repository: keyring.repo_id,
            kind: attempt.kind().to_owned(),
            role,
            label: label.to_owned(),
            created: now,
            suite: keyring.suite as u8,
            kdf,
            wrapped: String::new(),
        };
        let wrapped = Wrapped { epochs: keyring.secrets_for(role)? };
        let plain = Zeroizing::new(serde_json::to_vec(&wrapped).map_err(|error| invalid(error.to_string()))?);
        let ad = slot.associated_data(name).map_err(invalid)?;
        slot.wrapped = BASE64.encode(&crypto::seal_with_nonce(keyring.suite, &key, &ad, &plain)?);
        Ok(slot)
    }

    /// Reads and checks everything that can be checked without a key.
    pub(super) fn parse(name: &str, object: &str, bytes: &[u8], id: &RepoId) -> Result<Self, RepoError> {
        let line = lines::value(object, bytes)?;
        if let Some(kind) = line.get("kind").and_then(serde_json::Value::as_str)
            && ![PASSWORD, RECOVERY, EXTERNAL].contains(&kind)
        {
            return Err(Registry::SlotKind.unknown_name(object, kind));
        }
        if let Some(role) = line.get("role").and_then(serde_json::Value::as_str)
            && Role::ALL.iter().all(|it| it.name() != role)
        {
            return Err(Registry::SlotRole.unknown_name(object, role));
        }
        let slot: Self = lines::parse(object, bytes)?;
        let damaged = |reason: String| RepoError::damaged(object, reason);
        if slot.repository != *id {
            return Err(damaged(format!("it belongs to the repository {}", slot.repository)));
        }
        let expected = match slot.kdf {
            Kdf::Argon2id { .. } => PASSWORD,
            Kdf::Blake3 { .. } => RECOVERY,
            Kdf::External { .. } => EXTERNAL,
        };
        if slot.kind != expected {
            return Err(damaged(format!("its kind is `{}`", slot.kind)));
        }
        slot.suite(object)?;
        slot.associated_data(name).map_err(damaged)?;
        Ok(slot)
    }

    fn suite(&self, object: &str) -> Result<Suite, RepoError> {
        Suite::from_u8(self.suite).ok_or_else(|| Registry::SlotSuite.unknown(object, self.suite))
    }

    /// How much work it is to try it: the cheapest go first, so that a costly one that a stranger left is met by nobody
    /// who has a slot of his own.
    pub(super) fn work(&self) -> u64 {
        self.kdf.parts().map_or(u64::MAX, |(_, params, ..)| params.work_kib())
    }

    /// What the slot says beside its kind: the service that keeps its key.
    pub(super) fn provider(&self) -> Option<&str> {
        match &self.kdf {
            Kdf::External { provider, .. } => Some(provider),
            _ => None,
        }
    }

    /// Unwraps the epochs' secrets; `None` if the attempt does not open it.
    pub(super) fn open(&self, name: &str, attempt: &Attempt) -> Result<Option<BTreeMap<u32, EpochSecrets>>, RepoError> {
        let damaged = |reason: String| RepoError::damaged(path(name), reason);
        let sealed = BASE64.decode(self.wrapped.as_bytes()).map_err(|error| damaged(format!("wrapped: {error}")))?;
        let said = |reason: String| match attempt {
            Attempt::External(wrapper) => RepoError::KeyService { service: wrapper.provider().to_owned(), reason },
            _ => damaged(reason),
        };
        let key = self.kdf.key(attempt).map_err(|no| no.into_error(&path(name), said))?;
        let Some(key) = key else { return Ok(None) };
        let ad = self.associated_data(name).map_err(damaged)?;
        let suite = self.suite(&path(name))?;
        let Some(plain) = crypto::open_with_nonce(suite, &key, &ad, &sealed) else { return Ok(None) };
        let wrapped: Wrapped = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(wrapped.epochs))
    }

    fn associated_data(&self, name: &str) -> Result<Vec<u8>, String> {
        let raw_name: [u8; 16] = HEXLOWER
            .decode(name.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| "its name is not 32 hexadecimal digits".to_owned())?;
        let (kdf, params, salt, provider, wrapped) = self.kdf.parts()?;
        let mut ad = Vec::new();
        ad.extend_from_slice(&self.format.to_le_bytes());
        ad.extend_from_slice(&self.repository.0);
        ad.extend_from_slice(&raw_name);
        crypto::put_string(&mut ad, self.kind.as_bytes());
        crypto::put_string(&mut ad, self.role.name().as_bytes());
        crypto::put_string(&mut ad, self.label.as_bytes());
        ad.extend_from_slice(&self.created.as_millis().to_le_bytes());
        ad.push(self.suite);
        crypto::put_string(&mut ad, kdf.as_bytes());
        for number in [params.memory_kib, params.passes, params.lanes] {
            ad.extend_from_slice(&number.to_le_bytes());
        }
        ad.extend_from_slice(&salt);
        crypto::put_string(&mut ad, provider.as_bytes());
        crypto::put_string(&mut ad, &wrapped);
        Ok(ad)
    }
}
