//! `rekeep.json`: the repository's id and its sealed lasting secrets.

use super::{
    CONFIG, FORMAT, Keyring, Secrets,
    crypto::{self, derive},
    lines,
};
use crate::{
    record::Timestamp,
    repo::{RepoError, RepoId, Storage},
};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const SECRETS_CONTEXT: &str = "rekeep 2026-11 v1 lasting secrets";
const CHECK_CONTEXT: &str = "rekeep 2026-11 v1 config check";

/// Line 1 of `rekeep.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    format: u32,
    pub(super) id: RepoId,
    created: Timestamp,
    features: Vec<String>,
    secrets: String,
    check: String,
}

impl Config {
    pub(super) fn make(keyring: &Keyring, now: Timestamp) -> Result<Self, RepoError> {
        let root = keyring.root_secret()?;
        let key = Zeroizing::new(derive(SECRETS_CONTEXT, root));
        let secrets = crypto::seal_with_nonce(&key, &secrets_ad(&keyring.repo_id), &keyring.secrets.to_bytes())?;
        let mut config = Self {
            format: FORMAT,
            id: keyring.repo_id,
            created: now,
            features: Vec::new(),
            secrets: BASE64.encode(&secrets),
            check: String::new(),
        };
        config.check =
            HEXLOWER.encode(blake3::keyed_hash(&derive(CHECK_CONTEXT, root), &config.fields(&secrets)).as_bytes());
        Ok(config)
    }

    /// What the keyed hash covers.
    fn fields(&self, secrets: &[u8]) -> Vec<u8> {
        let mut fields = Vec::new();
        fields.extend_from_slice(&self.format.to_le_bytes());
        fields.extend_from_slice(&self.id.0);
        fields.extend_from_slice(&self.created.as_millis().to_le_bytes());
        fields.extend_from_slice(&(self.features.len() as u32).to_le_bytes());
        for feature in &self.features {
            crypto::put_string(&mut fields, feature.as_bytes());
        }
        crypto::put_string(&mut fields, secrets);
        fields
    }

    /// Checks the keyed hash and opens the lasting secrets.
    pub(super) fn open(&self, root: &[u8; 32]) -> Result<Secrets, RepoError> {
        let sealed = BASE64
            .decode(self.secrets.as_bytes())
            .map_err(|error| RepoError::damaged(CONFIG, format!("secrets: {error}")))?;
        let check = blake3::keyed_hash(&derive(CHECK_CONTEXT, root), &self.fields(&sealed));
        let given: [u8; 32] = HEXLOWER
            .decode(self.check.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| RepoError::damaged(CONFIG, "its keyed check is not 64 hexadecimal digits"))?;
        // blake3::Hash compares in constant time.
        if check != blake3::Hash::from_bytes(given) {
            return Err(RepoError::damaged(
                CONFIG,
                "its keyed check fails: it was altered, or belongs to other key slots",
            ));
        }
        let key = Zeroizing::new(derive(SECRETS_CONTEXT, root));
        let plain = crypto::open_with_nonce(&key, &secrets_ad(&self.id), &sealed)
            .ok_or_else(|| RepoError::damaged(CONFIG, "the lasting secrets do not open"))?;
        Secrets::from_bytes(&plain).ok_or_else(|| RepoError::damaged(CONFIG, "the lasting secrets have another length"))
    }
}

fn secrets_ad(id: &RepoId) -> Vec<u8> {
    let mut ad = FORMAT.to_le_bytes().to_vec();
    ad.extend_from_slice(&id.0);
    ad
}

pub(super) fn config_bytes(storage: &Storage) -> Result<Vec<u8>, RepoError> {
    match storage.read(CONFIG) {
        Err(RepoError::Missing { .. }) => Err(RepoError::NoRepository { location: storage.location().to_owned() }),
        other => other,
    }
}

pub(super) fn parse_config(bytes: &[u8]) -> Result<Config, RepoError> {
    let config: Config = lines::parse(CONFIG, bytes)?;
    match config.features.first() {
        Some(feature) => Err(RepoError::UnknownFeature { object: CONFIG.to_owned(), feature: feature.clone() }),
        None => Ok(config),
    }
}
