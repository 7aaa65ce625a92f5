//! Where repositories lie: the backup service's kinds of storage, and places by location.

use super::{Hidden, SecretAgent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What unlocks a repository. With nothing of it the service's own answer counts, then the environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Unlocking {
    /// The password, or a reference to it.
    pub password: Option<Hidden>,
    /// A file that holds it.
    pub password_file: Option<String>,
    /// A service that keeps the key, as the command line writes it.
    pub key_service: Option<String>,
}

/// A repository that is where it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Place {
    /// A path or a URI.
    pub location: String,
    /// What unlocks it.
    pub unlock: Option<Unlocking>,
    /// Make it if it is not there.
    pub create: Option<bool>,
    /// Requests at once to its storage.
    pub connections: Option<u16>,
}

/// What lies in a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A repository.
    Rekeep,
    /// Files as the backup service writes them.
    Asb,
}

/// One place of storage: exactly one of the four kinds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Storage {
    /// A folder.
    pub local_storage: Option<LocalStorage>,
    /// S3 or the like.
    pub s3_storage: Option<S3Storage>,
    /// Google Cloud Storage.
    pub gcp_storage: Option<GcpStorage>,
    /// Azure Blob Storage.
    pub azure_storage: Option<AzureStorage>,
    /// What unlocks the repository in it.
    pub unlock: Option<Unlocking>,
    /// What lies in it: `rekeep` (a repository, the default) or `asb` (files as the backup service writes them).
    pub format: Option<Format>,
}

/// A folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LocalStorage {
    /// Its path.
    pub path: String,
    /// No meaning here: packs have a size of their own.
    pub min_part_size: Option<u64>,
}

/// A bucket of S3 or the like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct S3Storage {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub s3_region: String,
    /// A folder in it.
    pub path: Option<String>,
    /// A profile of the shared credentials.
    pub s3_profile: Option<String>,
    /// Who signs.
    pub access_key_id: Option<Hidden>,
    /// With which key.
    pub secret_access_key: Option<Hidden>,
    /// Another endpoint.
    pub s3_endpoint_override: Option<String>,
    /// No meaning here.
    pub s3_log_level: Option<String>,
    /// Requests at once.
    pub max_async_connections: Option<u16>,
    /// No meaning here: packs have a size of their own.
    pub min_part_size: Option<u64>,
    /// Classes of storage.
    #[schema(value_type = Option<Object>)]
    pub storage_class: Option<serde_json::Value>,
    /// Whom to ask for secrets.
    pub secret_agent: Option<SecretAgent>,
    /// The same by name.
    pub secret_agent_name: Option<String>,
}

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct GcpStorage {
    /// The bucket.
    pub bucket_name: String,
    /// A folder in it.
    pub path: Option<String>,
    /// The key of a service account: JSON, or a reference to it.
    pub key: Option<Hidden>,
    /// The same in a file.
    pub key_file_path: Option<String>,
    /// Another endpoint.
    pub endpoint: Option<String>,
    /// No meaning here: packs have a size of their own.
    pub min_part_size: Option<u64>,
    /// Classes of storage.
    #[schema(value_type = Option<Object>)]
    pub storage_class: Option<serde_json::Value>,
    /// Whom to ask for secrets.
    pub secret_agent: Option<SecretAgent>,
    /// The same by name.
    pub secret_agent_name: Option<String>,
}

/// A container of Azure Blob Storage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AzureStorage {
    /// The container.
    pub container_name: String,
    /// The endpoint.
    pub endpoint: String,
    /// A folder in it.
    pub path: Option<String>,
    /// The account.
    pub account_name: Option<String>,
    /// Its key.
    pub account_key: Option<Hidden>,
    /// The directory of an application.
    pub tenant_id: Option<String>,
    /// The application.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Hidden>,
    /// No meaning here: packs have a size of their own.
    pub min_part_size: Option<u64>,
    /// Classes of storage.
    #[schema(value_type = Option<Object>)]
    pub storage_class: Option<serde_json::Value>,
    /// Whom to ask for secrets.
    pub secret_agent: Option<SecretAgent>,
    /// The same by name.
    pub secret_agent_name: Option<String>,
}

impl Storage {
    /// Whether files lie in it, and no repository.
    #[must_use]
    pub fn is_of_files(&self) -> bool {
        self.format == Some(Format::Asb)
    }

    /// How many of the kinds are given.
    #[must_use]
    pub fn kinds(&self) -> usize {
        [
            self.local_storage.is_some(),
            self.s3_storage.is_some(),
            self.gcp_storage.is_some(),
            self.azure_storage.is_some(),
        ]
        .into_iter()
        .filter(|given| *given)
        .count()
    }
}
