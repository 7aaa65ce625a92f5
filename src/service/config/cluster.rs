//! Clusters and secret agents, with the names that the backup service has for their fields.

use super::Hidden;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An Aerospike cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cluster {
    /// The nodes to begin with.
    pub seed_nodes: Vec<SeedNode>,
    /// Who logs in.
    pub credentials: Option<Credentials>,
    /// TLS to the nodes.
    pub tls: Option<Tls>,
    /// How long connecting may take, in milliseconds.
    pub conn_timeout: Option<u32>,
    /// A word for people.
    pub label: Option<String>,
    /// The most backups at once of this cluster, in all routines.
    pub max_parallel_scans: Option<u32>,
    /// Racks to read from.
    pub prefer_racks: Option<Vec<u32>>,
    /// Use the nodes' alternate addresses.
    pub use_services_alternate: Option<bool>,
}

/// One node of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SeedNode {
    /// Its name or address.
    pub host_name: String,
    /// Its port.
    #[schema(minimum = 1)]
    pub port: u16,
    /// The name that its certificate bears.
    #[serde(default)]
    pub tls_name: Option<String>,
}

/// Who logs in to a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Credentials {
    /// The user.
    pub user: Option<String>,
    /// The password, or a reference to it.
    pub password: Option<Hidden>,
    /// A file that holds the password.
    pub password_path: Option<String>,
    /// INTERNAL (the default), EXTERNAL (by TLS) or PKI.
    pub auth_mode: Option<String>,
    /// Whom to ask for secrets.
    pub secret_agent: Option<SecretAgent>,
    /// The same by name.
    pub secret_agent_name: Option<String>,
}

/// TLS to a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tls {
    /// The name that certificates bear.
    pub name: Option<String>,
    /// Certificates of authorities.
    pub ca_file: Option<String>,
    /// A folder of them.
    pub ca_path: Option<String>,
    /// Our certificate.
    pub cert_file: Option<String>,
    /// Its key.
    pub key_file: Option<String>,
    /// That key's password.
    pub key_file_password: Option<Hidden>,
    /// Versions of the protocol.
    pub protocols: Option<String>,
    /// Ciphers.
    pub cipher_suite: Option<String>,
}

/// Whom to ask for secrets: an agent of its own, or one of those that have names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AgentRef {
    /// By name.
    Named(String),
    /// Its own.
    Own(SecretAgent),
}

/// What keeps secrets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SecretAgent {
    /// Its host, or the path of its socket.
    pub address: String,
    /// `tcp` or `unix`.
    pub connection_type: Option<String>,
    /// Its port; 3005 by default.
    pub port: Option<u16>,
    /// How long it may take, in milliseconds.
    pub timeout: Option<u32>,
    /// Certificates of authorities, PEM: TLS is spoken where they are named.
    pub ca_file: Option<String>,
    /// The name that its certificate bears.
    pub name: Option<String>,
    /// Our certificate.
    pub cert_file: Option<String>,
    /// Its key.
    pub key_file: Option<String>,
    /// Whether secrets come in base64.
    pub is_base64: Option<bool>,
}
