//! Key slots: the keyring, wrapped under what a person keeps.

use super::{FORMAT, KdfParams, Keyring, Unlock, crypto, lines, recovery};
use crate::{
    record::Timestamp,
    repo::{RepoError, RepoId},
};
use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zeroize::{Zeroize, Zeroizing};

const RECOVERY_CONTEXT: &str = "rekeep 2026-11 v1 recovery slot";
const PASSWORD: &str = "password";
const RECOVERY: &str = "recovery";
const SALT_BYTES: usize = 16;
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;

/// `keys/<name>`.
pub(super) fn path(name: &str) -> String {
    format!("keys/{name}")
}

/// How a slot key is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
enum Kdf {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32, salt: String },
    Blake3 { salt: String },
}

/// Line 1 of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slot {
    format: u32,
    repository: RepoId,
    pub(super) kind: String,
    pub(super) label: String,
    pub(super) created: Timestamp,
    kdf: Kdf,
    wrapped: String,
}

/// The wrapped keyring.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    epochs: BTreeMap<u32, String>,
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        self.epochs.values_mut().for_each(Zeroize::zeroize);
    }
}

/// What is tried on slots.
pub(super) enum Attempt {
    Password(Zeroizing<String>),
    Recovery(Zeroizing<[u8; 32]>),
}

impl Attempt {
    pub(super) fn new(unlock: &Unlock) -> Result<Self, RepoError> {
        Ok(match unlock {
            Unlock::Password(password) => Self::Password(Zeroizing::new(password.clone())),
            Unlock::Recovery(text) => Self::Recovery(recovery::parse(text)?),
        })
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Password(_) => PASSWORD,
            Self::Recovery(_) => RECOVERY,
        }
    }

    /// Whether a slot is of the kind that this may open.
    pub(super) fn fits(&self, slot: &Slot) -> bool {
        slot.kind == self.kind()
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
        Ok(())
    }

    fn derive(self, password: &str, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, String> {
        self.check()?;
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|error| error.to_string())?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), salt, key.as_mut_slice())
            .map_err(|error| error.to_string())?;
        Ok(key)
    }
}

impl Kdf {
    /// Name, parameters and salt; an error if they are outside the format's limits.
    fn parts(&self) -> Result<(&'static str, KdfParams, [u8; SALT_BYTES]), String> {
        let (name, params, salt) = match self {
            Self::Argon2id { memory_kib, passes, lanes, salt } => {
                let params = KdfParams { memory_kib: *memory_kib, passes: *passes, lanes: *lanes };
                params.check()?;
                ("argon2id", params, salt)
            }
            Self::Blake3 { salt } => ("blake3", KdfParams { memory_kib: 0, passes: 0, lanes: 0 }, salt),
        };
        let salt = BASE64.decode(salt.as_bytes()).map_err(|error| format!("salt: {error}"))?;
        Ok((name, params, salt.try_into().map_err(|_| "the salt is not 16 bytes".to_owned())?))
    }

    /// The slot key; `None` if `attempt` is of another kind.
    fn key(&self, attempt: &Attempt) -> Result<Option<Zeroizing<[u8; 32]>>, String> {
        let (_, params, salt) = self.parts()?;
        match (self, attempt) {
            (Self::Argon2id { .. }, Attempt::Password(password)) => params.derive(password, &salt).map(Some),
            (Self::Blake3 { .. }, Attempt::Recovery(recovery)) => {
                let mut material = Zeroizing::new(recovery.to_vec());
                material.extend_from_slice(&salt);
                Ok(Some(Zeroizing::new(crypto::derive(RECOVERY_CONTEXT, &material))))
            }
            _ => Ok(None),
        }
    }
}

impl Slot {
    /// Wraps the keyring.
    pub(super) fn make(
        name: &str,
        keyring: &Keyring,
        unlock: &Unlock,
        params: KdfParams,
        label: &str,
        now: Timestamp,
    ) -> Result<Self, RepoError> {
        let attempt = Attempt::new(unlock)?;
        let salt = BASE64.encode(&crypto::random::<SALT_BYTES>()?);
        let kdf = match &attempt {
            Attempt::Password(password) if password.is_empty() => {
                return Err(RepoError::Invalid("an empty password protects nothing".to_owned()));
            }
            Attempt::Password(_) => {
                let KdfParams { memory_kib, passes, lanes } = params;
                Kdf::Argon2id { memory_kib, passes, lanes, salt }
            }
            Attempt::Recovery(_) => Kdf::Blake3 { salt },
        };
        let mut slot = Self {
            format: FORMAT,
            repository: keyring.repo_id,
            kind: attempt.kind().to_owned(),
            label: label.to_owned(),
            created: now,
            kdf,
            wrapped: String::new(),
        };
        let invalid = |reason: String| RepoError::Internal(format!("key slot: {reason}"));
        let key = slot.kdf.key(&attempt).map_err(invalid)?.ok_or_else(|| invalid("no key for it".to_owned()))?;
        let epochs =
            keyring.secrets_by_epoch().into_iter().map(|(epoch, secret)| (epoch, HEXLOWER.encode(&secret))).collect();
        let plain =
            Zeroizing::new(serde_json::to_vec(&Wrapped { epochs }).map_err(|error| invalid(error.to_string()))?);
        let sealed = crypto::seal_with_nonce(&key, &slot.associated_data(name).map_err(invalid)?, &plain)?;
        slot.wrapped = BASE64.encode(&sealed);
        Ok(slot)
    }

    /// Reads and checks everything that can be checked without a key.
    pub(super) fn parse(name: &str, bytes: &[u8], id: &RepoId) -> Result<Self, RepoError> {
        let slot: Self = lines::parse(&path(name), bytes)?;
        let damaged = |reason: String| RepoError::damaged(path(name), reason);
        if slot.repository != *id {
            return Err(damaged(format!("it belongs to the repository {}", slot.repository)));
        }
        let expected = match slot.kdf {
            Kdf::Argon2id { .. } => PASSWORD,
            Kdf::Blake3 { .. } => RECOVERY,
        };
        if slot.kind != expected {
            return Err(damaged(format!("its kind is `{}`", slot.kind)));
        }
        slot.associated_data(name).map_err(damaged)?;
        Ok(slot)
    }

    /// Unwraps the epochs' secrets; `None` if the attempt does not open it.
    pub(super) fn open(&self, name: &str, attempt: &Attempt) -> Result<Option<BTreeMap<u32, [u8; 32]>>, RepoError> {
        let damaged = |reason: String| RepoError::damaged(path(name), reason);
        let sealed = BASE64.decode(self.wrapped.as_bytes()).map_err(|error| damaged(format!("wrapped: {error}")))?;
        let Some(key) = self.kdf.key(attempt).map_err(damaged)? else { return Ok(None) };
        let ad = self.associated_data(name).map_err(damaged)?;
        let Some(plain) = crypto::open_with_nonce(&key, &ad, &sealed) else { return Ok(None) };
        let wrapped: Wrapped = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        let mut secrets = BTreeMap::new();
        for (epoch, secret) in &wrapped.epochs {
            let bytes = HEXLOWER.decode(secret.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
            secrets
                .insert(*epoch, bytes.ok_or_else(|| damaged(format!("the secret of epoch {epoch} is not 32 bytes")))?);
        }
        Ok(Some(secrets))
    }

    fn associated_data(&self, name: &str) -> Result<Vec<u8>, String> {
        let raw_name: [u8; 16] = HEXLOWER
            .decode(name.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| "its name is not 32 hexadecimal digits".to_owned())?;
        let (kdf, params, salt) = self.kdf.parts()?;
        let mut ad = Vec::new();
        ad.extend_from_slice(&self.format.to_le_bytes());
        ad.extend_from_slice(&self.repository.0);
        ad.extend_from_slice(&raw_name);
        crypto::put_string(&mut ad, self.kind.as_bytes());
        crypto::put_string(&mut ad, self.label.as_bytes());
        ad.extend_from_slice(&self.created.as_millis().to_le_bytes());
        crypto::put_string(&mut ad, kdf.as_bytes());
        for number in [params.memory_kib, params.passes, params.lanes] {
            ad.extend_from_slice(&number.to_le_bytes());
        }
        ad.extend_from_slice(&salt);
        Ok(ad)
    }
}
