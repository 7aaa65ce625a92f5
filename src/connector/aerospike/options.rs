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

/// TLS to the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The name that certificates must bear; if absent the one that a node's peers give it, or its host.
    pub name: Option<String>,
    /// Certificates of authorities, PEM; the system's if absent.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
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
            no_records: false,
            no_indexes: false,
            no_udfs: false,
            modified_after: None,
            modified_before: None,
            no_ttl_only: false,
            filter: None,
            partitions: None,
            records_per_second: 0,
            max_records: 0,
            sample_records: 0,
            socket_timeout: Duration::from_secs(10),
            total_timeout: Duration::ZERO,
            max_retries: 5,
            partition_timeout: Duration::from_mins(10),
            services_alternate: false,
            user: None,
            password: None,
            tls: None,
            skew: None,
        }
    }
}

impl AerospikeOptions {
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
    pub seeds: Vec<Address>,
    /// The namespace, if one is named.
    pub namespace: Option<String>,
}

impl ClusterPlace {
    /// Reads `//HOST[:PORT][,HOST[:PORT]…][/NAMESPACE]`.
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
        let usage = "write aerospike://HOST[:PORT][,HOST[:PORT]…][/NAMESPACE]";
        let rest = url.place.strip_prefix("//").ok_or_else(|| wrong(usage))?;
        let (hosts, namespace) = match rest.split_once('/') {
            Some((hosts, namespace)) => (hosts, Some(namespace).filter(|namespace| !namespace.is_empty())),
            None => (rest, None),
        };
        if namespace.is_some_and(|namespace| namespace.len() > 31 || namespace.contains(['/', ';', ':', '\n'])) {
            return Err(wrong("what follows the hosts is no name of a namespace"));
        }
        let seeds: Option<Vec<Address>> = hosts.split(',').map(|text| Address::parse(text, DEFAULT_PORT)).collect();
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
        let shown: Vec<String> = two.seeds.iter().map(Address::to_string).collect();
        assert_eq!(shown, ["a:3100", "[::1]:3000", "b:3000"]);
        assert_eq!(two.namespace.as_deref(), Some("ns"));
        assert_eq!(place("aerospike://a").unwrap().namespace, None);
        assert_eq!(place("aerospike://a/").unwrap().namespace, None);
        for bad in ["aerospike:a", "aerospike://", "aerospike://a:0", "aerospike://a,,b", "aerospike://a/b/c"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = place("aerospike://joe:secret@a:3000/ns").unwrap_err();
        assert_eq!(error.remedies(), [Remedy::GiveUser, Remedy::GivePassword]);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
