//! What a test server is told before it starts.

use std::time::Duration;

use crate::builds::Build;
use crate::clock::ClockMode;

/// A cluster of nodes on loopback ports.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which server is spoken.
    pub build: Build,
    /// Whether it is an Enterprise Edition, as far as that goes: deletions may be durable.
    pub enterprise: bool,
    /// The key of the cluster as it first forms; `None` takes always the same.
    pub cluster_key: Option<u64>,
    /// How many nodes.
    pub nodes: usize,
    /// Port of the first node, the others follow; `None` takes free ports.
    pub port: Option<u16>,
    /// Name of the cluster; `None` answers `null`.
    pub cluster_name: Option<String>,
    /// Node ids, upper-case hexadecimal; where there are too few, `BB9` and a number.
    pub node_ids: Vec<String>,
    /// The namespaces.
    pub namespaces: Vec<NamespaceConfig>,
    /// Copies of each partition; never more than there are nodes.
    pub replication_factor: usize,
    /// How time passes.
    pub clock: ClockMode,
    /// Users; empty: security is off, as in Community Edition.
    pub users: Vec<User>,
    /// Users whom a directory knows, each with the password that it wants in clear.
    pub directory: Vec<(String, Vec<u8>)>,
    /// Users whom their certificates name: each with the certificate itself, as DER. Needs [`Self::tls`].
    pub certificates: Vec<(String, Vec<u8>)>,
    /// The names of the roles that users have.
    pub user_roles: Vec<(String, Vec<String>)>,
    /// What the server tells of roles.
    pub roles: Vec<Role>,
    /// The rack of each node, which an Enterprise Edition tells; empty: it knows no racks. Copies of a partition stand in
    /// different ones.
    pub racks: Vec<u32>,
    /// The host that peers are told to reach nodes at, instead of the one they listen at.
    pub told_host: Option<String>,
    /// The host of their alternate addresses; with neither, both are where they listen.
    pub alternate_host: Option<String>,
    /// How long a session token is good for.
    pub session_ttl: Duration,
    /// TLS on every port.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::TlsConfig>,
    /// Bytes of records after which a query's message is sent. Small ones interleave small data too.
    pub query_message_bytes: usize,
    /// Partitions a query reads side by side.
    pub query_lanes: usize,
    /// Most queries a node works on at once; one more is refused.
    pub query_threads_limit: usize,
    /// Whether a query that takes the id of a finished one never gets its end, as measured on a real server.
    pub reused_query_id_hangs: bool,
    /// Most rows of a batch; 0 any.
    pub batch_max_requests: u32,
    /// Whether migrations wait for [`crate::Control::migrate`] instead of being done at once.
    pub manual_migrations: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            build: Build::default(),
            enterprise: false,
            cluster_key: None,
            nodes: 1,
            port: None,
            cluster_name: None,
            node_ids: Vec::new(),
            namespaces: vec![NamespaceConfig::named("test")],
            replication_factor: 1,
            // 2026-01-01T00:00:00Z.
            clock: ClockMode::Virtual(504_921_600_000),
            users: Vec::new(),
            directory: Vec::new(),
            certificates: Vec::new(),
            user_roles: Vec::new(),
            roles: Vec::new(),
            racks: Vec::new(),
            told_host: None,
            alternate_host: None,
            session_ttl: Duration::from_hours(24),
            #[cfg(feature = "tls")]
            tls: None,
            query_message_bytes: 64 << 10,
            query_lanes: 4,
            query_threads_limit: 128,
            reused_query_id_hangs: true,
            batch_max_requests: 0,
            manual_migrations: false,
        }
    }
}

impl Config {
    /// Whether anybody needs to log in.
    pub(crate) fn has_security(&self) -> bool {
        !(self.users.is_empty() && self.directory.is_empty() && self.certificates.is_empty())
    }

    /// The default with this many nodes.
    pub fn with_nodes(nodes: usize) -> Self {
        Self { nodes, ..Self::default() }
    }
}

/// A namespace.
#[derive(Clone, Debug)]
pub struct NamespaceConfig {
    /// Its name.
    pub name: String,
    /// Seconds a record lives that is written with TTL 0; 0 for ever.
    pub default_ttl: u32,
    /// Seconds between two runs of the reaper; 0 switches expiry off.
    pub nsup_period: u32,
    /// Whether records with an expiry are taken although the reaper is off.
    pub allow_ttl_without_nsup: bool,
    /// Most bytes of a record, overhead included.
    pub max_record_bytes: usize,
    /// Share of a record's life before its end in which a read extends it, in percent; 0 never.
    pub read_touch_percent: u8,
    /// Whether the namespace calls itself strongly consistent.
    pub strong_consistency: bool,
}

impl NamespaceConfig {
    /// A namespace as a stock server has it, with the reaper on.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            default_ttl: 0,
            nsup_period: 120,
            allow_ttl_without_nsup: false,
            max_record_bytes: 1 << 20,
            read_touch_percent: 0,
            strong_consistency: false,
        }
    }
}

/// A role.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Codes of what it may do, each with namespace and set (empty: all).
    pub privileges: Vec<(u8, String, String)>,
    /// Addresses that it may come from, by commas.
    pub allowlist: String,
    /// Reads and writes a second.
    pub quotas: (u32, u32),
}

/// A user of a server with security switched on.
#[derive(Clone, Debug)]
pub struct User {
    /// Name.
    pub name: String,
    /// What a client sends for the password: its bcrypt string with the fixed salt `$2a$10$7EqJtq98hPqEX7fNZaFWoO`.
    pub credential: Vec<u8>,
}
