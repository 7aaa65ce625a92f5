//! The configuration: the backup service's own map of clusters, storage, policies and routines as it is, and beside it
//! repositories and sources of every connector. Read from a file or a URL, checked as a whole, written back when it is changed.

pub(in crate::service) mod check;
mod cluster;
mod doubts;
mod drill;
mod file;
mod hidden;
mod located;
mod partitions;
mod policy;
mod routine;
pub(in crate::service) mod secret;
mod settings;
mod storage;

pub use check::Finding;
pub use cluster::{AgentRef, Cluster, Credentials, SecretAgent, SeedNode, Tls};
pub use drill::DrillSettings;
pub use file::{ConfigError, ConfigFile};
pub use hidden::{HIDDEN, Hidden};
pub use partitions::partitions;
pub use policy::{Compression, Encryption, Policy, Retention, RetryPolicy};
pub use routine::{Overlap, Routine};
pub(in crate::service) use secret::hidden_url;
pub use secret::{Secrets, hide, keep_hidden};
pub use settings::{
    AuditSettings, BackupSettings, FileWriterSettings, Hook, HttpSettings, HttpsSettings, KeySettings, LoggerSettings,
    MailSettings, RateSettings, ServiceSettings, StopSettings, Suites, Webhook,
};
pub use storage::{AzureStorage, Format, GcpStorage, LocalStorage, Place, S3Storage, Storage, Unlocking};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Clusters by name.
    #[serde(rename = "aerospike-clusters")]
    pub clusters: BTreeMap<String, Cluster>,
    /// Places of storage by name: in each lies a repository.
    pub storage: BTreeMap<String, Storage>,
    /// Policies by name.
    #[serde(rename = "backup-policies")]
    pub policies: BTreeMap<String, Policy>,
    /// Routines by name.
    #[serde(rename = "backup-routines")]
    pub routines: BTreeMap<String, Routine>,
    /// Secret agents by name.
    pub secret_agents: BTreeMap<String, SecretAgent>,
    /// Repositories by name, which are where they are.
    pub repositories: BTreeMap<String, Place>,
    /// The service itself.
    pub service: ServiceSettings,
}

impl Config {
    /// Whatever is wrong with it.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        check::findings(self)
    }

    /// What makes sense, and is probably meant otherwise.
    #[must_use]
    pub fn doubts(&self) -> Vec<Finding> {
        doubts::doubts(self)
    }

    /// Whether a routine backs up to files, and to no repository.
    #[must_use]
    pub fn keeps_files(&self, routine: &Routine) -> bool {
        routine.storage.as_ref().and_then(|name| self.storage.get(name)).is_some_and(Storage::is_of_files)
    }

    /// A routine and its policy; the default policy if it names none.
    #[must_use]
    pub fn policy_of(&self, routine: &Routine) -> Policy {
        routine.backup_policy.as_ref().and_then(|name| self.policies.get(name)).cloned().unwrap_or_default()
    }
}

/// A value as JSON, without what says nothing.
#[must_use]
pub fn lean(value: &impl Serialize) -> Json {
    let mut json = serde_json::to_value(value).unwrap_or(Json::Null);
    drop_empty(&mut json);
    json
}

fn drop_empty(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            fields.values_mut().for_each(drop_empty);
            fields.retain(|_, value| !value.is_null());
        }
        Json::Array(list) => list.iter_mut().for_each(drop_empty),
        _ => {}
    }
}
