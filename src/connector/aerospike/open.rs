//! From a URL and options to a source or target. The options have types of their own, by what they are about; together they
//! fill [`AerospikeOptions`] and [`AerospikeTargetOptions`].

use super::{AerospikeOptions, AerospikeSource, AerospikeTarget, AerospikeTargetOptions, Auth, IndexOrder, TlsOptions};
use crate::{
    connector::{
        Connector, ConnectorError, OptionDescription, Options, Role, Source, SourceUrl, Target, options::Length,
        options::Secret, options_of,
    },
    record::Timestamp,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// `aerospike:` URLs.
#[derive(Debug, Clone, Copy)]
pub struct AerospikeConnector;

/// How a cluster is reached.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectOptions {
    /// How long a node may be silent; 10 seconds by default.
    pub socket_timeout: Option<Length>,
    /// How long one command may take; for ever by default.
    pub total_timeout: Option<Length>,
    /// How often a command is tried again; 5 by default.
    pub max_retries: Option<u32>,
    /// How long a partition may make no progress before it counts as missing; 10 minutes by default.
    pub partition_timeout: Option<Length>,
    /// Use the nodes' alternate addresses.
    pub services_alternate: bool,
    /// How whoever logs in is known: `internal` (the default), `external`, `external-insecure` (without TLS), `pki`.
    pub as_auth: Option<Auth>,
    /// Log in as this user.
    pub as_user: Option<String>,
    /// That user's password.
    pub as_password: Option<Secret>,
    /// Connect by TLS.
    pub tls: bool,
    /// The name that the nodes' certificates bear (implies TLS).
    pub tls_name: Option<String>,
    /// Trust the authorities in this file, not those of the system (implies TLS).
    pub tls_ca: Option<PathBuf>,
    /// Trust the authorities in the files of this folder (implies TLS).
    pub tls_ca_path: Option<PathBuf>,
    /// Our own certificate (implies TLS).
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    pub tls_key_file: Option<PathBuf>,
    /// What that key is encrypted with.
    pub tls_key_password: Option<Secret>,
    /// Versions that may be spoken, such as `TLSv1.3` or `-all +TLSv1.2`; 1.2 and 1.3 by default.
    pub tls_protocols: Option<String>,
    /// Suites that may be used, by IANA's names or OpenSSL's, separated by colons or commas.
    pub tls_cipher_suites: Option<String>,
}

/// Which part of a cluster is meant.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PartOptions {
    /// Only these sets; the empty name is the null set. All if there are none.
    pub sets: Vec<String>,
    /// Only these bins. All if there are none.
    pub bins: Vec<String>,
    /// Only partitions such as `0..=99,200`; a digest stands for what follows it in its partition, `after:DIGEST` for all
    /// behind it.
    pub partitions: Option<String>,
    /// Leave out records.
    pub no_records: bool,
    /// Leave out secondary indexes.
    pub no_indexes: bool,
    /// Leave out UDF modules.
    pub no_udfs: bool,
}

/// What is read, and how hard.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// Go on if a set does not exist.
    pub allow_missing_set: bool,
    /// Only records last updated at or after this time, in milliseconds since 1970-01-01 UTC.
    pub modified_after: Option<i64>,
    /// Only records last updated before this time, in milliseconds since 1970-01-01 UTC.
    pub modified_before: Option<i64>,
    /// Only records that never expire.
    pub no_ttl_only: bool,
    /// Only records that pass this filter expression, in base64.
    pub filter_exp: Option<String>,
    /// Keep the configuration of every node, and users and roles without secrets. No part of what is asked for.
    pub with_cluster_configuration: bool,
    /// Read records by the official client, for a second opinion; of comparisons only.
    pub with_client: bool,
    /// Only the partitions that these nodes master when the run begins: ids, or `HOST:PORT`.
    pub node_list: Vec<String>,
    /// Only the partitions whose masters stand in these racks when the run begins.
    pub rack_list: Vec<u32>,
    /// Read from copies in these racks where there are any, in this order.
    pub prefer_racks: Vec<u32>,
    /// Read at most this many records a second, over all nodes.
    pub records_per_second: Option<u32>,
    /// Read about this many records, then stop.
    pub max_records: Option<u64>,
    /// Read only so many records of each namespace, to see what they are like. No part of what is asked for.
    pub sample_records: Option<u64>,
    /// How far the nodes' clocks are apart; measured by default.
    pub skew: Option<Length>,
}

/// How records, indexes and modules are written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WriteOptions {
    /// When to make secondary indexes; after the records by default.
    pub indexes: Option<IndexOrder>,
    /// Make an index anew where another one of its name stands.
    pub replace_indexes: bool,
    /// Put a UDF module anew where another one of its name stands: it belongs to the whole cluster.
    pub replace_modules: bool,
    /// Remove records so that their removal stays known (Enterprise Edition; strong consistency demands it).
    pub durable_delete: bool,
    /// Write at most this many records a second, over all nodes.
    pub records_per_second: Option<u32>,
    /// The pause before records that a node did not take are sent again; 25 ms by default.
    pub retry_base_interval: Option<Length>,
    /// By what that pause grows from try to try, in percent, up to 1 s; 200 by default.
    #[schemars(range(min = 100))]
    pub retry_multiplier_percent: Option<u32>,
    /// How often records are sent again at most while none gets through; for the partition timeout by default.
    pub retry_max_attempts: Option<u32>,
    /// Do not wait until indexes are built.
    pub no_wait: bool,
    /// `[SET, NEW]`: records of the first set go to the second; needs stored user keys.
    pub set_map: Vec<(String, String)>,
    /// Leave out records that `set_map` concerns and that have no stored user key.
    pub skip_unmappable: bool,
    /// Let records live so much longer.
    pub extra_ttl: Option<Length>,
    /// Count records that cannot be written, and be done all the same.
    pub ignore_record_error: bool,
    /// Records in a batch; 512 by default.
    #[schemars(range(min = 1))]
    pub batch_size: Option<u16>,
    /// Batches under way at once; 16 by default.
    #[schemars(range(min = 1, max = 256))]
    pub max_async_batches: Option<u16>,
    /// Write each record by a command of its own (servers before 6.0).
    pub disable_batch_writes: bool,
    /// Single records come: they bring neither modules nor indexes.
    pub single_records: bool,
}

fn wrong(option: &str, reason: &str) -> ConnectorError {
    ConnectorError::Options { reason: format!("the option `{option}`: {reason}") }
}

impl ConnectOptions {
    fn fill(self, options: AerospikeOptions) -> AerospikeOptions {
        let files = [&self.tls_ca, &self.tls_ca_path, &self.tls_cert_file, &self.tls_key_file];
        let is_named = self.tls_name.is_some() || files.iter().any(|file| file.is_some());
        let tls = (self.tls || is_named).then_some(TlsOptions {
            name: self.tls_name,
            ca_file: self.tls_ca,
            ca_path: self.tls_ca_path,
            cert_file: self.tls_cert_file,
            key_file: self.tls_key_file,
            key_password: self.tls_key_password.map(|password| password.0),
            protocols: self.tls_protocols,
            cipher_suites: self.tls_cipher_suites,
        });
        AerospikeOptions {
            socket_timeout: self.socket_timeout.map_or(options.socket_timeout, |it| it.0),
            total_timeout: self.total_timeout.map_or(options.total_timeout, |it| it.0),
            max_retries: self.max_retries.unwrap_or(options.max_retries),
            partition_timeout: self.partition_timeout.map_or(options.partition_timeout, |it| it.0),
            services_alternate: self.services_alternate,
            auth: self.as_auth.unwrap_or_default(),
            user: self.as_user,
            password: self.as_password.map(|password| password.0),
            tls,
            ..options
        }
    }
}

impl PartOptions {
    fn fill(self, options: AerospikeOptions) -> AerospikeOptions {
        AerospikeOptions {
            sets: self.sets,
            bins: self.bins,
            partitions: self.partitions,
            no_records: self.no_records,
            no_indexes: self.no_indexes,
            no_udfs: self.no_udfs,
            ..options
        }
    }
}

impl ReadOptions {
    fn fill(self, options: AerospikeOptions) -> Result<AerospikeOptions, ConnectorError> {
        let decode = |text: String| {
            let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok().filter(|bytes| !bytes.is_empty());
            bytes.ok_or_else(|| wrong("filter_exp", &format!("`{text}` is not base64")))
        };
        Ok(AerospikeOptions {
            allow_missing_set: self.allow_missing_set,
            with_cluster_configuration: self.with_cluster_configuration,
            with_client: self.with_client,
            modified_after: self.modified_after.map(Timestamp::from_millis),
            modified_before: self.modified_before.map(Timestamp::from_millis),
            no_ttl_only: self.no_ttl_only,
            filter: self.filter_exp.map(decode).transpose()?,
            nodes: self.node_list,
            racks: self.rack_list,
            prefer_racks: self.prefer_racks,
            records_per_second: self.records_per_second.unwrap_or(0),
            max_records: self.max_records.unwrap_or(0),
            sample_records: self.sample_records.unwrap_or(0),
            skew: self.skew.map(|it| it.0),
            ..options
        })
    }
}

impl WriteOptions {
    fn fill(self, part: &PartOptions) -> Result<AerospikeTargetOptions, ConnectorError> {
        let defaults = AerospikeTargetOptions::default();
        let at_least_one = |option: &str, number: Option<u16>, most: u16, default: usize| match number {
            Some(number) if number == 0 || number > most => Err(wrong(option, &format!("it is from 1 to {most}"))),
            number => Ok(number.map_or(default, usize::from)),
        };
        if self.set_map.iter().any(|(_, new)| new.len() > MAX_SET_BYTES) {
            return Err(wrong("set_map", "the name of a set has 63 bytes at most"));
        }
        let is_without = self.single_records || part.no_indexes;
        Ok(AerospikeTargetOptions {
            batch_size: at_least_one("batch_size", self.batch_size, u16::MAX, defaults.batch_size)?,
            max_async_batches: at_least_one(
                "max_async_batches",
                self.max_async_batches,
                256,
                defaults.max_async_batches,
            )?,
            disable_batch_writes: self.disable_batch_writes,
            extra_ttl: self.extra_ttl.map_or(defaults.extra_ttl, |it| it.0),
            indexes: if is_without { IndexOrder::Never } else { self.indexes.unwrap_or(defaults.indexes) },
            replace_indexes: self.replace_indexes,
            replace_modules: self.replace_modules,
            durable_delete: self.durable_delete,
            records_per_second: self.records_per_second.unwrap_or(0),
            retry_base_interval: self.retry_base_interval.map_or(defaults.retry_base_interval, |it| it.0),
            retry_multiplier_percent: self.retry_multiplier_percent.unwrap_or(defaults.retry_multiplier_percent),
            retry_max_attempts: self.retry_max_attempts.unwrap_or(0),
            no_wait: self.no_wait,
            ignore_record_error: self.ignore_record_error,
            set_map: self.set_map,
            skip_unmappable: self.skip_unmappable,
        })
    }
}

/// The longest name of a set.
const MAX_SET_BYTES: usize = 63;

fn source_options(options: &Options) -> Result<AerospikeOptions, ConnectorError> {
    let read: ReadOptions = options.read()?;
    let reached = options.read::<ConnectOptions>()?.fill(AerospikeOptions::default());
    read.fill(options.read::<PartOptions>()?.fill(reached))
}

/// How a cluster is reached.
///
/// # Errors
/// [`ConnectorError`] for options that make no sense.
pub fn reached_by(options: &Options) -> Result<AerospikeOptions, ConnectorError> {
    Ok(options.read::<ConnectOptions>()?.fill(AerospikeOptions::default()))
}

fn target_options(options: &Options) -> Result<(AerospikeOptions, AerospikeTargetOptions), ConnectorError> {
    let (write, part): (WriteOptions, PartOptions) = (options.read()?, options.read()?);
    let defaults = AerospikeOptions { allow_missing_set: true, ..AerospikeOptions::default() };
    let single = write.single_records;
    let how = write.fill(&part)?;
    let mut to = part.fill(options.read::<ConnectOptions>()?.fill(defaults));
    to.no_udfs |= single;
    Ok((to, how))
}

impl Connector for AerospikeConnector {
    fn form(&self) -> &'static str {
        "aerospike://HOST/NAMESPACE"
    }

    fn options(&self, role: Role) -> Vec<OptionDescription> {
        let mut known = options_of::<PartOptions>();
        known.extend(options_of::<ConnectOptions>());
        known.extend(match role {
            Role::Source => options_of::<ReadOptions>(),
            Role::Target => options_of::<WriteOptions>(),
        });
        known
    }

    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(AerospikeSource::new(url, source_options(options)?)?))
    }

    fn target(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        let (to, how) = target_options(options)?;
        Ok(Box::new(AerospikeTarget::new(url, to, how)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn options(document: serde_json::Value) -> Options {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_document_fills_what_is_read_and_leaves_the_rest_as_it_is_by_default() {
        let given = options(json!({
            "sets": ["a", ""], "socket_timeout": "3s", "as_user": "joe", "as_password": "secret", "tls_name": "node",
            "modified_after": 5, "filter_exp": "AQI=", "no_udfs": true,
        }));
        let read = source_options(&given).unwrap();
        assert_eq!((read.sets.as_slice(), read.no_udfs), (["a".to_owned(), String::new()].as_slice(), true));
        assert_eq!((read.socket_timeout, read.max_retries), (Duration::from_secs(3), 5));
        assert_eq!(read.password.as_deref().map(String::as_str), Some("secret"));
        assert_eq!((read.tls.unwrap().name.as_deref(), read.filter), (Some("node"), Some(vec![1, 2])));
        assert_eq!(read.modified_after, Some(Timestamp::from_millis(5)));
        assert_eq!(source_options(&Options::default()).unwrap(), AerospikeOptions::default());
    }

    #[test]
    fn sets_are_mapped_by_name_and_single_records_come_alone() {
        let maps = json!([["a", "b"], ["", "c"]]);
        let (to, how) = target_options(&options(json!({"set_map": maps, "indexes": "first"}))).unwrap();
        assert_eq!(how.set_map, [("a".into(), "b".into()), (String::new(), "c".into())]);
        assert_eq!((to.no_udfs, to.allow_missing_set, how.indexes), (false, true, IndexOrder::First));
        let (to, how) = target_options(&options(json!({"single_records": true}))).unwrap();
        assert_eq!((to.no_udfs, how.indexes), (true, IndexOrder::Never));
        let (_, how) = target_options(&Options::default()).unwrap();
        assert_eq!(how, AerospikeTargetOptions::default());
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        for (name, value) in [
            ("batch_size", json!(0)),
            ("max_async_batches", json!(257)),
            ("indexes", json!("sometimes")),
            ("set_map", json!([["a", "b".repeat(64)]])),
            ("as_password", json!(1)),
            ("total_timeout", json!("long")),
        ] {
            let error = target_options(&options(json!({name: value}))).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
        assert!(source_options(&options(json!({"filter_exp": "?"}))).unwrap_err().to_string().contains("`filter_exp`"));
    }
}
