//! What a person asks of a cluster: where it is, what of it to read, how hard.

use crate::{
    connector::{ConnectorError, SourceUrl},
    record::Timestamp,
    report::Remedy,
};
use std::{path::PathBuf, time::Duration};
use zeroize::Zeroizing;

/// The port that Aerospike listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 3000;

/// One address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Name or number; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    /// `host`, `host:port`, `[v6]`, `[v6]:port`.
    #[must_use]
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map_or(Some(default_port), |port| port.parse().ok().filter(|port| *port != 0))?;
        (!host.is_empty() && !host.contains(char::is_whitespace)).then(|| Self { host: host.to_owned(), port })
    }
}

/// An address to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Where a node is.
    pub address: Address,
    /// The name that its certificate must bear, whatever is said of others.
    pub tls_name: Option<String>,
}

impl Seed {
    /// `HOST[:TLS_NAME][:PORT]`, IPv6 in brackets.
    #[must_use]
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        let at = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let (host, rest) = text.split_at(at);
        let (name, port) = match rest.strip_prefix(':') {
            None if rest.is_empty() => (None, None),
            None => return None,
            Some(rest) => match rest.rsplit_once(':') {
                Some((name, port)) => (Some(name), Some(port)),
                None if rest.bytes().all(|byte| byte.is_ascii_digit()) => (None, Some(rest)),
                None => (Some(rest), None),
            },
        };
        let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
        let address = Address::parse(host, port).filter(|address| address.port != 0)?;
        let is_name = |name: &str| !name.is_empty() && !name.contains(|c: char| c == ':' || c.is_whitespace());
        match name {
            Some(name) if !is_name(name) => None,
            name => Some(Self { address, tls_name: name.map(str::to_owned) }),
        }
    }
}

/// How whoever logs in is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// By a user and a password that the cluster keeps.
    #[default]
    Internal,
    /// By a user and a password that a directory keeps: the password itself is sent, under TLS only.
    External,
    /// The same, without TLS too.
    ExternalInsecure,
    /// By our certificate.
    Pki,
}

/// TLS to the nodes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The name that certificates must bear; if absent the one that a node's peers give it, or its host.
    pub name: Option<String>,
    /// Certificates of authorities, PEM; the system's if neither these nor a folder are named.
    pub ca_file: Option<PathBuf>,
    /// A folder of such files.
    pub ca_path: Option<PathBuf>,
    /// Our own certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// What the key is encrypted with.
    pub key_password: Option<Zeroizing<String>>,
    /// The versions that may be spoken; 1.2 and 1.3 if absent.
    pub protocols: Option<String>,
    /// The suites that may be used; those of the TLS library if absent.
    pub cipher_suites: Option<String>,
}

impl std::fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Everything that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AerospikeOptions {
    /// Only these sets; the empty name is the null set. All if empty.
    pub sets: Vec<String>,
    /// A set that does not exist is no error.
    pub allow_missing_set: bool,
    /// Only these bins. All if empty.
    pub bins: Vec<String>,
    /// Keep the configuration of every node, and users and roles.
    pub with_cluster_configuration: bool,
    /// Read records by the official client, for a second opinion.
    pub with_client: bool,
    /// No records.
    pub no_records: bool,
    /// No secondary indexes.
    pub no_indexes: bool,
    /// No UDF modules.
    pub no_udfs: bool,
    /// Only records last updated at or after this.
    pub modified_after: Option<Timestamp>,
    /// Only records last updated before this.
    pub modified_before: Option<Timestamp>,
    /// Only records that never expire.
    pub no_ttl_only: bool,
    /// A filter expression, as the server takes it.
    pub filter: Option<Vec<u8>>,
    /// Which partitions, as typed. All if absent.
    pub partitions: Option<String>,
    /// Only the partitions that these nodes master when a run begins: ids, or addresses. All if empty.
    pub nodes: Vec<String>,
    /// Only the partitions whose masters stand in these racks when a run begins. All if empty.
    pub racks: Vec<u32>,
    /// Read from copies in these racks where there are any, in this order; from masters if empty.
    pub prefer_racks: Vec<u32>,
    /// Records a second, over all nodes and queries; 0 for no limit.
    pub records_per_second: u32,
    /// About this many records at most; 0 for all.
    pub max_records: u64,
    /// Read only so many records of each namespace, to see what they are like; 0 for all. No part of what is asked for.
    pub sample_records: u64,
    /// How long a read may stall.
    pub socket_timeout: Duration,
    /// How long one command may take; zero for ever.
    pub total_timeout: Duration,
    /// Times that an info command or a connection is tried again.
    pub max_retries: u32,
    /// How long a partition may make no progress before it is missing.
    pub partition_timeout: Duration,
    /// Use the nodes' alternate addresses.
    pub services_alternate: bool,
    /// How whoever logs in is known.
    pub auth: Auth,
    /// Who logs in.
    pub user: Option<String>,
    /// With which password.
    pub password: Option<Zeroizing<String>>,
    /// TLS, if wanted.
    pub tls: Option<TlsOptions>,
    /// The spread of the nodes' clocks, instead of the measured one.
    pub skew: Option<Duration>,
}

impl Default for AerospikeOptions {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            allow_missing_set: false,
            bins: Vec::new(),
            with_cluster_configuration: false,
            with_client: false,
            no_records: false,
            no_indexes: false,
            no_udfs: false,
            modified_after: None,
            modified_before: None,
            no_ttl_only: false,
            filter: None,
            partitions: None,
            nodes: Vec::new(),
            racks: Vec::new(),
            prefer_racks: Vec::new(),
            records_per_second: 0,
            max_records: 0,
            sample_records: 0,
            socket_timeout: Duration::from_secs(10),
            total_timeout: Duration::ZERO,
            max_retries: 5,
            partition_timeout: Duration::from_mins(10),
            services_alternate: false,
            auth: Auth::Internal,
            user: None,
            password: None,
            tls: None,
            skew: None,
        }
    }
}

impl AerospikeOptions {
    /// Whether it must be known which rack each node stands in.
    pub(super) fn asks_for_racks(&self) -> bool {
        !self.racks.is_empty() || !self.prefer_racks.is_empty()
    }

    /// The most records of a namespace that are read; 0 for all.
    pub(super) const fn limit_records(&self) -> u64 {
        match (self.sample_records, self.max_records) {
            (0, limit) | (limit, 0) => limit,
            (one, other) => {
                if one < other {
                    one
                } else {
                    other
                }
            }
        }
    }
}

/// What an `aerospike:` URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPlace {
    /// The nodes to begin with.
    pub seeds: Vec<Seed>,
    /// The namespace, if one is named.
    pub namespace: Option<String>,
}

impl ClusterPlace {
    /// Reads `//HOST[:TLS_NAME][:PORT][,…][/NAMESPACE]`.
    ///
    /// # Errors
    /// [`ConnectorError::Url`]; one with a user or password in it is refused without repeating them.
    pub fn parse(url: &SourceUrl) -> Result<Self, ConnectorError> {
        let has_secret = url.place.split('/').nth(2).is_some_and(|hosts| hosts.contains('@'));
        let shown = if has_secret { "aerospike://…@…".to_owned() } else { format!("aerospike:{}", url.place) };
        let wrong = |reason: &str| ConnectorError::Url { url: shown.clone(), reason: reason.to_owned() };
        if has_secret {
            let error = wrong("no user or password belongs in a URL");
            return Err(error.with([Remedy::GiveUser, Remedy::GivePassword]));
        }
        if let Some((option, _)) = url.options.first() {
            return Err(wrong(&format!("`{option}` is no option of aerospike: URLs")));
        }
        let usage = "write aerospike://HOST[:TLS_NAME][:PORT][,HOST…][/NAMESPACE]";
        let rest = url.place.strip_prefix("//").ok_or_else(|| wrong(usage))?;
        let (hosts, namespace) = match rest.split_once('/') {
            Some((hosts, namespace)) => (hosts, Some(namespace).filter(|namespace| !namespace.is_empty())),
            None => (rest, None),
        };
        if namespace.is_some_and(|namespace| namespace.len() > 31 || namespace.contains(['/', ';', ':', '\n'])) {
            return Err(wrong("what follows the hosts is no name of a namespace"));
        }
        let seeds: Option<Vec<Seed>> = hosts.split(',').map(|text| Seed::parse(text, DEFAULT_PORT)).collect();
        let seeds = seeds.filter(|seeds| !seeds.is_empty()).ok_or_else(|| wrong(usage))?;
        Ok(Self { seeds, namespace: namespace.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<ClusterPlace, ConnectorError> {
        ClusterPlace::parse(&SourceUrl::parse(text)?)
    }

    #[test]
    fn hosts_ports_and_namespaces_are_read() {
        let two = place("aerospike://a:3100,[::1],b/ns").unwrap();
        let shown: Vec<String> = two.seeds.iter().map(|seed| seed.address.to_string()).collect();
        assert_eq!(shown, ["a:3100", "[::1]:3000", "b:3000"]);
        assert_eq!(two.namespace.as_deref(), Some("ns"));
        assert_eq!(place("aerospike://a").unwrap().namespace, None);
        assert_eq!(place("aerospike://a/").unwrap().namespace, None);
        for bad in ["aerospike:a", "aerospike://", "aerospike://a:0", "aerospike://a,,b", "aerospike://a/b/c"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_may_say_which_name_its_certificate_bears() {
        let seeds = place("aerospike://a:node.test:4333,b:node.test,[::1]:six:4000,c:3000/ns").unwrap().seeds;
        let shown: Vec<(String, Option<&str>)> =
            seeds.iter().map(|seed| (seed.address.to_string(), seed.tls_name.as_deref())).collect();
        let wanted = [
            ("a:4333".to_owned(), Some("node.test")),
            ("b:3000".to_owned(), Some("node.test")),
            ("[::1]:4000".to_owned(), Some("six")),
            ("c:3000".to_owned(), None),
        ];
        assert_eq!(shown, wanted);
        for bad in ["a::3000", "a:n:x", "a:n:0", "a:n:m:3000", "[::1", "[::1]n", "a:70000", ":n:3000"] {
            assert_eq!(Seed::parse(bad, 3000), None, "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = place("aerospike://joe:secret@a:3000/ns").unwrap_err();
        assert_eq!(error.remedies(), [Remedy::GiveUser, Remedy::GivePassword]);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
