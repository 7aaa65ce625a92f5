//! `rekeep.json`: the repository's id and its sealed lasting secrets. It is kept twice, so that no single lost object costs
//! the repository.

use super::{
    CONFIG, FORMAT, Keyring, NewKeys, Secrets,
    crypto::{self, Suite},
    epoch::of_metadata,
    lines, regions,
};
use crate::{
    record::Timestamp,
    repo::{
        RepoError, RepoId, Storage,
        registry::{FeatureNeeds, Registry},
    },
};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

const SECRETS: &str = "lasting secrets";
const CHECK: &str = "config check";

/// The feature that says that there may be parity.
const PARITY_FEATURE: &str = "check:parity";

/// Where the second of what is kept twice lies.
pub(super) const COPIES: &str = "copies/";

/// Line 1 of `rekeep.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    format: u32,
    pub(super) id: RepoId,
    created: Timestamp,
    suite: u8,
    features: Vec<String>,
    secrets: String,
    check: String,
}

impl Config {
    pub(super) fn make(keyring: &Keyring, now: Timestamp, new: &NewKeys<'_>) -> Result<Self, RepoError> {
        let metadata = keyring.first_metadata()?;
        let ad = secrets_ad(&keyring.repo_id);
        let key = of_metadata(SECRETS, metadata);
        let secrets = crypto::seal_with_nonce(keyring.suite, &key, &ad, &keyring.secrets.to_bytes())?;
        let parity = new.parity.then(|| PARITY_FEATURE.to_owned());
        let mut config = Self {
            format: FORMAT,
            id: keyring.repo_id,
            created: now,
            suite: keyring.suite as u8,
            features: regions::feature(new.regions).into_iter().chain(parity).collect(),
            secrets: BASE64.encode(&secrets),
            check: String::new(),
        };
        let check = blake3::keyed_hash(&of_metadata(CHECK, metadata), &config.fields(&secrets));
        config.check = HEXLOWER.encode(check.as_bytes());
        Ok(config)
    }

    /// What seals.
    pub(super) fn suite(&self) -> Result<Suite, RepoError> {
        Suite::from_u8(self.suite).ok_or_else(|| Registry::ConfigSuite.unknown(CONFIG, self.suite))
    }

    /// Features that this program does not know and that keep it from writing.
    pub(super) fn keeps_from_writing(&self) -> Option<String> {
        let is_known = |it: &str| regions::of(it).is_some();
        self.features.iter().find(|it| FeatureNeeds::of(it) == FeatureNeeds::Writing && !is_known(it)).cloned()
    }

    /// The regions where data may be written; anywhere if there are none.
    pub(super) fn regions(&self) -> Vec<String> {
        self.features.iter().filter_map(|it| regions::of(it)).flatten().map(str::to_owned).collect()
    }

    /// What a person should hear of features that keep this program from checking everything.
    pub(super) fn checks_less(&self) -> impl Iterator<Item = String> {
        let is_known = |it: &str| it == PARITY_FEATURE;
        let unchecked =
            self.features.iter().filter(move |it| FeatureNeeds::of(it) == FeatureNeeds::Checking && !is_known(it));
        unchecked
            .map(|it| format!("{CONFIG} names the feature `{it}`, which this program cannot check: use a newer rekeep"))
    }

    /// What the keyed hash covers.
    fn fields(&self, secrets: &[u8]) -> Vec<u8> {
        let mut fields = Vec::new();
        fields.extend_from_slice(&self.format.to_le_bytes());
        fields.extend_from_slice(&self.id.0);
        fields.extend_from_slice(&self.created.as_millis().to_le_bytes());
        fields.push(self.suite);
        fields.extend_from_slice(&(self.features.len() as u32).to_le_bytes());
        for feature in &self.features {
            crypto::put_string(&mut fields, feature.as_bytes());
        }
        crypto::put_string(&mut fields, secrets);
        fields
    }

    /// Checks the keyed hash and opens the lasting secrets.
    pub(super) fn open(&self, metadata: &[u8; 32]) -> Result<Secrets, RepoError> {
        let sealed = BASE64
            .decode(self.secrets.as_bytes())
            .map_err(|error| RepoError::damaged(CONFIG, format!("secrets: {error}")))?;
        let check = blake3::keyed_hash(&of_metadata(CHECK, metadata), &self.fields(&sealed));
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
        let key = of_metadata(SECRETS, metadata);
        let plain = crypto::open_with_nonce(self.suite()?, &key, &secrets_ad(&self.id), &sealed)
            .ok_or_else(|| RepoError::damaged(CONFIG, "the lasting secrets do not open"))?;
        Secrets::from_bytes(&plain).ok_or_else(|| RepoError::damaged(CONFIG, "the lasting secrets have another length"))
    }
}

fn secrets_ad(id: &RepoId) -> Vec<u8> {
    let mut ad = FORMAT.to_le_bytes().to_vec();
    ad.extend_from_slice(&id.0);
    ad
}

/// The readable ones of `rekeep.json` and its copy, the former first, and what is wrong with them.
///
/// # Errors
/// [`RepoError::NoRepository`] if there is neither; what is wrong if none can be read.
pub(super) fn read(storage: &Storage) -> Result<(Vec<Config>, Vec<String>), RepoError> {
    let mut problem = None;
    let (mut missing, mut configs, mut warnings) = (0, Vec::new(), Vec::new());
    for (name, read) in lines::read_each(storage, vec![CONFIG.to_owned(), format!("{COPIES}{CONFIG}")]) {
        match read.and_then(|bytes| parse_config(&name, &bytes)) {
            Ok(config) => configs.push(config),
            Err(error) if !matches!(error, RepoError::Damaged { .. } | RepoError::Missing { .. }) => return Err(error),
            Err(error) => {
                missing += usize::from(matches!(error, RepoError::Missing { .. }));
                warnings.push(format!("{error}; it is kept twice, and the other one was used"));
                problem.get_or_insert(error);
            }
        }
    }
    match problem {
        Some(_) if missing == 2 => Err(RepoError::NoRepository { location: storage.location().to_owned() }),
        // Only the copy is gone: what is wrong is what is wrong with the first.
        Some(error) if configs.is_empty() => Err(error),
        _ => Ok((configs, warnings)),
    }
}

pub(super) fn parse_config(name: &str, bytes: &[u8]) -> Result<Config, RepoError> {
    let config: Config = lines::parse(name, bytes)?;
    if let Some(feature) = config.features.iter().find(|it| FeatureNeeds::of(it) == FeatureNeeds::Reading) {
        return Err(Registry::RepositoryFeature.unknown_name(name, feature));
    }
    config.suite()?;
    Ok(config)
}
