//! What may be told to a source or target beside its URL.

use super::{
    cipher::{Cipher, Mode},
    codec::Version,
    key::cipher_of,
};
use crate::{
    connector::{ConnectorError, options::Secret},
    repo::storage::StorageOptions,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};
use zeroize::Zeroizing;

/// How files are encrypted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CipherOptions {
    /// How the files are encrypted; not at all by default.
    pub encrypt: Option<Mode>,
    /// The file of the RSA private key that they are encrypted with.
    pub encryption_key_file: Option<PathBuf>,
    /// That key itself: PEM, or base64 of it.
    pub encryption_key: Option<Secret>,
}

impl CipherOptions {
    /// The cipher, if there is to be one.
    ///
    /// # Errors
    /// [`ConnectorError`] if the key cannot be read or is none.
    pub fn cipher(&self) -> Result<Option<Cipher>, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Options { reason };
        let has_key = self.encryption_key.is_some() || self.encryption_key_file.is_some();
        let Some(mode) = self.encrypt else {
            return if has_key {
                Err(wrong("an encryption key is given, and not whether it is for aes128 or aes256".to_owned()))
            } else {
                Ok(None)
            };
        };
        let (key, origin) = match (&self.encryption_key, &self.encryption_key_file) {
            (Some(_), Some(_)) => return Err(wrong("two encryption keys are given".to_owned())),
            (Some(key), None) => (Zeroizing::new(key.0.as_bytes().to_vec()), "the encryption key".to_owned()),
            (None, Some(path)) => {
                let object = path.display().to_string();
                let key = std::fs::read(path);
                let key =
                    key.map_err(|source| ConnectorError::Io { operation: "read", object: object.clone(), source })?;
                (Zeroizing::new(key), object)
            }
            (None, None) => return Err(wrong("encryption needs a key: an RSA private key in a PEM file".to_owned())),
        };
        let cipher = cipher_of(mode, &key).map_err(|reason| wrong(format!("{origin}: {reason}")))?;
        Ok(Some(cipher))
    }
}

/// Which part of the files is meant: the same for sources and targets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PartOptions {
    /// Only these sets; the empty name is the null set. All if there are none.
    pub sets: Vec<String>,
    /// Only these bins; what has none of them is left out. All if there are none.
    pub bins: Vec<String>,
    /// Leave out records.
    pub no_records: bool,
    /// Leave out secondary indexes.
    pub no_indexes: bool,
    /// Leave out UDF modules.
    pub no_udfs: bool,
}

/// How the place of files is opened, where it is one of a service.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlaceOptions {
    /// Secrets of the service, by the names that `OpenDAL` has for them (`access_key_id`, `secret_access_key`, `account_key`); what
    /// the environment has by default.
    pub storage_credentials: BTreeMap<String, Secret>,
}

impl PlaceOptions {
    /// What storage is told beside a location.
    #[must_use]
    pub fn storage(&self, options: Vec<(String, String)>) -> StorageOptions {
        let credentials = self.storage_credentials.iter().map(|(name, secret)| (name.clone(), secret.0.to_string()));
        StorageOptions { options, credentials: credentials.collect(), ..StorageOptions::default() }
    }
}

/// How files are read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReadOptions {
    /// Go on behind what is damaged, and name it: the records that are whole are kept.
    pub salvage: bool,
    /// The time that the records are of, in milliseconds since 1970-01-01 UTC; the files' own by default.
    pub as_of: Option<i64>,
}

/// Where indexes and modules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// At the beginning of the first file, as asbackup does.
    #[default]
    FirstFile,
    /// In a file of their own, `metadata_…`, as absctl does.
    Metadata,
    /// The same with the names that the backup service gives: `metadata_NAMESPACE_1`, then `0_NAMESPACE_2` and so on.
    Service,
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// As one frame.
    Zstd,
    /// Not at all.
    None,
}

/// How files are written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WriteOptions {
    /// Begin another file once one has so many bytes; 250 MiB by default, 0 for never.
    pub file_limit: Option<u64>,
    /// What the names of files begin with instead of the namespace.
    pub output_file_prefix: Option<String>,
    /// Write bytes as they are, not in base64.
    pub compact: bool,
    /// Compress the files.
    pub compress: Option<Compress>,
    /// How hard; 3 by default.
    pub compression_level: Option<i32>,
    /// Where indexes and modules go.
    pub layout: Option<Layout>,
    /// Write in this version, whatever it cannot carry; the lowest that can by default.
    #[schemars(with = "Option<String>")]
    #[serde(deserialize_with = "version")]
    pub compat: Option<Version>,
    /// Be done all the same where the format cannot carry something.
    pub lossy_ok: bool,
    /// Give each file its name as soon as it is full, so that what is finished stays if the rest does not come.
    pub keep_files: bool,
    /// At an object store, put each file there as soon as it is full, and not all of them when the last one is whole.
    pub put_early: bool,
    /// Write one file at this place, whatever its name.
    pub single_file: bool,
    /// Add to the files that are there: their numbers go on, and none of the new ones is the first.
    pub add_files: bool,
}

fn version<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Version>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}
