//! What only Aerospike sources understand, as it is typed.

use super::{
    exit::{Failure, usage},
    password::{from_command, from_file},
    units::parse_duration,
};
use crate::{
    connector::aerospike::{AerospikeOptions, TlsOptions},
    ops::{backup::Sweep, select::parse_time},
    record::{Clock as _, SystemClock},
};
use clap::Args;
use std::{path::PathBuf, time::Duration};
use zeroize::Zeroizing;

/// Options of `aerospike:` sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Aerospike")]
pub struct AerospikeArgs {
    /// Only this set; '' is the null set (repeatable)
    #[arg(long = "set", value_name = "SET")]
    pub sets: Vec<String>,
    /// Go on if a set of --set does not exist
    #[arg(long)]
    pub allow_missing_set: bool,
    /// Only this bin (repeatable)
    #[arg(long = "bin", value_name = "BIN")]
    pub bins: Vec<String>,
    /// Back up no records
    #[arg(long)]
    pub no_records: bool,
    /// Back up no secondary indexes
    #[arg(long)]
    pub no_indexes: bool,
    /// Back up no UDF modules
    #[arg(long)]
    pub no_udfs: bool,
    /// Only partitions such as 0-99,200; a DIGEST stands for what follows it in its partition, after:DIGEST for all
    /// behind it
    #[arg(long, value_name = "LIST")]
    pub partitions: Option<String>,
    /// Only records last updated at or after this time
    #[arg(long, value_name = "TIME")]
    pub modified_after: Option<String>,
    /// Only records last updated before this time
    #[arg(long, value_name = "TIME")]
    pub modified_before: Option<String>,
    /// Only records that never expire
    #[arg(long)]
    pub no_ttl_only: bool,
    /// Only records that pass this filter expression
    #[arg(long, value_name = "BASE64")]
    pub filter_exp: Option<String>,
    /// Read at most this many records a second, over all nodes
    #[arg(long, value_name = "N", env = "REKEEP_AS_RECORDS_PER_SECOND")]
    pub records_per_second: Option<u32>,
    /// Read about this many records, then stop
    #[arg(long, value_name = "N")]
    pub max_records: Option<u64>,
    /// How long a node may be silent [default: 10s]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_SOCKET_TIMEOUT", value_parser = parse_duration)]
    pub socket_timeout: Option<Duration>,
    /// How long one command may take [default: for ever]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_TOTAL_TIMEOUT", value_parser = parse_duration)]
    pub total_timeout: Option<Duration>,
    /// How often a command is tried again [default: 5]
    #[arg(long, value_name = "N", env = "REKEEP_AS_MAX_RETRIES")]
    pub max_retries: Option<u32>,
    /// How long a partition may make no progress before it counts as missing [default: 10m]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_PARTITION_TIMEOUT", value_parser = parse_duration)]
    pub partition_timeout: Option<Duration>,
    /// When to look for deletions: always, every=N, never [default: always]
    #[arg(long, value_name = "WHEN", env = "REKEEP_AS_SWEEP", value_parser = parse_sweep)]
    pub sweep: Option<Sweep>,
    /// Believe at most this share of 64 partitions' records to be deleted, if it is over 1000 [default: 20]
    #[arg(long, value_name = "PERCENT", env = "REKEEP_AS_MAX_DELETED", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub max_deleted: Option<u8>,
    /// Believe that what is gone was deleted, however much it is and whichever nodes are gone
    #[arg(long)]
    pub accept_deletions: bool,
    /// How far the nodes' clocks are apart [default: measured]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_SKEW", value_parser = parse_duration)]
    pub skew: Option<Duration>,
    /// Use the nodes' alternate addresses
    #[arg(long, env = "REKEEP_AS_SERVICES_ALTERNATE")]
    pub services_alternate: bool,
    /// Log in as this user
    #[arg(long, value_name = "USER", env = "REKEEP_AS_USER")]
    pub as_user: Option<String>,
    /// Take that user's password from a file
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_PASSWORD_FILE")]
    pub as_password_file: Option<PathBuf>,
    /// Take it from what a shell command prints
    #[arg(long, value_name = "COMMAND", env = "REKEEP_AS_PASSWORD_COMMAND", conflicts_with = "as_password_file")]
    pub as_password_command: Option<String>,
    /// Take it from this environment variable [default: `REKEEP_AS_PASSWORD`]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["as_password_file", "as_password_command"])]
    pub as_password_env: Option<String>,
    /// Connect by TLS
    #[arg(long, env = "REKEEP_AS_TLS")]
    pub tls: bool,
    /// The name that the nodes' certificates bear (implies --tls)
    #[arg(long, value_name = "NAME", env = "REKEEP_AS_TLS_NAME")]
    pub tls_name: Option<String>,
    /// Trust the authorities in this file, not those of the system (implies --tls)
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate (implies --tls)
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,
}

fn parse_sweep(text: &str) -> Result<Sweep, String> {
    match text.split_once('=') {
        None if text == "always" => Ok(Sweep::Always),
        None if text == "never" => Ok(Sweep::Never),
        Some(("every", count)) => {
            let count = count.parse().ok().filter(|count| *count > 0);
            count.map(Sweep::Every).ok_or_else(|| format!("`{text}`: every=N needs a number above 0"))
        }
        _ => Err(format!("`{text}` is none of always, every=N, never")),
    }
}

impl AerospikeArgs {
    /// Whether one was typed that makes no sense for another source; those that the environment may hold do not count.
    pub(crate) fn narrows(&self) -> bool {
        !self.sets.is_empty()
            || !self.bins.is_empty()
            || self.no_records
            || self.no_indexes
            || self.no_udfs
            || self.no_ttl_only
            || self.partitions.is_some()
            || self.modified_after.is_some()
            || self.modified_before.is_some()
            || self.filter_exp.is_some()
            || self.max_records.is_some()
    }

    /// The same as the connector takes it.
    pub(crate) fn options(self) -> Result<AerospikeOptions, Failure> {
        let defaults = AerospikeOptions::default();
        let now = SystemClock.now();
        let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now)).transpose();
        let filter = match &self.filter_exp {
            None => None,
            Some(text) => Some(
                data_encoding::BASE64
                    .decode(text.as_bytes())
                    .ok()
                    .filter(|bytes| !bytes.is_empty())
                    .ok_or_else(|| usage(format!("--filter-exp {text}: it is not base64")))?,
            ),
        };
        let password = match (&self.as_password_file, &self.as_password_command) {
            _ if self.as_user.is_none() => None,
            (Some(file), _) => Some(from_file(file)?),
            (_, Some(command)) => Some(from_command(command)?),
            (None, None) => {
                let name = self.as_password_env.as_deref().unwrap_or("REKEEP_AS_PASSWORD");
                Some(std::env::var(name).map_err(|_| {
                    usage(format!(
                        "--as-user needs a password: --as-password-file, --as-password-command, or the variable {name}"
                    ))
                })?)
            }
        };
        let named = self.tls_name.is_some() || self.tls_ca.is_some() || self.tls_cert_file.is_some();
        let tls = (self.tls || named || self.tls_key_file.is_some()).then_some(TlsOptions {
            name: self.tls_name,
            ca_file: self.tls_ca,
            cert_file: self.tls_cert_file,
            key_file: self.tls_key_file,
        });
        Ok(AerospikeOptions {
            modified_after: time(&self.modified_after)?,
            modified_before: time(&self.modified_before)?,
            sets: self.sets,
            allow_missing_set: self.allow_missing_set,
            bins: self.bins,
            no_records: self.no_records,
            no_indexes: self.no_indexes,
            no_udfs: self.no_udfs,
            no_ttl_only: self.no_ttl_only,
            filter,
            partitions: self.partitions,
            records_per_second: self.records_per_second.unwrap_or(0),
            max_records: self.max_records.unwrap_or(0),
            socket_timeout: self.socket_timeout.unwrap_or(defaults.socket_timeout),
            total_timeout: self.total_timeout.unwrap_or(defaults.total_timeout),
            max_retries: self.max_retries.unwrap_or(defaults.max_retries),
            partition_timeout: self.partition_timeout.unwrap_or(defaults.partition_timeout),
            services_alternate: self.services_alternate,
            user: self.as_user,
            password: password.map(Zeroizing::new),
            tls,
            skew: self.skew,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_named() {
        assert_eq!(parse_sweep("always"), Ok(Sweep::Always));
        assert_eq!(parse_sweep("every=7"), Ok(Sweep::Every(7)));
        assert_eq!(parse_sweep("never"), Ok(Sweep::Never));
        for bad in ["", "every", "every=0", "rolling"] {
            assert!(parse_sweep(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_user_without_a_password_is_told_where_to_put_it() {
        let args = AerospikeArgs {
            as_user: Some("joe".into()),
            as_password_env: Some("REKEEP_TEST_NO_SUCH_VARIABLE".into()),
            ..AerospikeArgs::default()
        };
        let error = args.options().err().unwrap().to_string();
        assert!(error.contains("--as-password-file"), "{error}");
    }
}
