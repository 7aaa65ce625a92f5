//! What only Aerospike sources understand, as it is typed.

use super::{
    aerospike_connect::ConnectArgs,
    exit::{Failure, usage},
    units::parse_duration,
};
use crate::{
    connector::Options,
    ops::{backup::Sweep, select::parse_time},
    record::{Clock as _, SystemClock},
};
use clap::Args;
use serde::Serialize;
use std::time::Duration;

/// Which part of a cluster is meant: the same for what is read and what is restored. Fields
/// are named like the connector's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Aerospike")]
pub struct PartArgs {
    /// Only this set; '' is the null set (repeatable)
    #[arg(long = "set", value_name = "SET")]
    pub sets: Vec<String>,
    /// Only this bin (repeatable)
    #[arg(long = "bin", value_name = "BIN")]
    pub bins: Vec<String>,
    /// Only partitions such as 0..=99,200; a DIGEST stands for what follows it in its partition, after:DIGEST for all
    /// behind it
    #[arg(long, value_name = "LIST")]
    pub partitions: Option<String>,
    /// Leave out records
    #[arg(long)]
    pub no_records: bool,
    /// Leave out secondary indexes
    #[arg(long)]
    pub no_indexes: bool,
    /// Leave out UDF modules
    #[arg(long)]
    pub no_udfs: bool,
}

/// What of an `aerospike:` source is read, and how: the same for a backup and for a comparison with one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Aerospike")]
pub struct AerospikeReadArgs {
    /// Of which part.
    #[command(flatten)]
    #[serde(flatten)]
    pub part: PartArgs,
    /// Go on if a set of --set does not exist
    #[arg(long)]
    pub allow_missing_set: bool,
    /// Only records last updated at or after this time
    #[arg(long, value_name = "TIME")]
    #[serde(skip)]
    pub modified_after: Option<String>,
    /// Only records last updated before this time
    #[arg(long, value_name = "TIME")]
    #[serde(skip)]
    pub modified_before: Option<String>,
    /// Only records that never expire
    #[arg(long)]
    pub no_ttl_only: bool,
    /// Only records that pass this filter expression
    #[arg(long, value_name = "BASE64")]
    pub filter_exp: Option<String>,
    /// Only the partitions that these nodes master when the run begins: ids or HOST:PORT, with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["rack_list", "partitions"])]
    pub node_list: Vec<String>,
    /// Only the partitions whose masters stand in these racks when the run begins, with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "partitions")]
    pub rack_list: Vec<u32>,
    /// Read from copies in these racks where there are any, in this order
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "REKEEP_AS_PREFER_RACKS")]
    pub prefer_racks: Vec<u32>,
    /// Read at most this many records a second, over all nodes
    #[arg(long, value_name = "N", env = "REKEEP_AS_RECORDS_PER_SECOND")]
    pub records_per_second: Option<u32>,
    /// Read about this many records, then stop
    #[arg(long, value_name = "N")]
    pub max_records: Option<u64>,
    /// How the cluster is reached.
    #[command(flatten)]
    #[serde(flatten)]
    pub connect: ConnectArgs,
}

/// Options of `aerospike:` sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Aerospike")]
pub struct AerospikeArgs {
    /// What is read.
    #[command(flatten)]
    pub read: AerospikeReadArgs,
    /// When to look for deletions: always, every=N (in one run of N), rolling=N (in one of N parts by each run), never
    /// [default: always]
    #[arg(long, value_name = "WHEN", env = "REKEEP_AS_SWEEP")]
    pub sweep: Option<Sweep>,
    /// Keep the configuration of every node, and users and roles without secrets, in the snapshot; no restore touches them
    #[arg(long, env = "REKEEP_AS_WITH_CLUSTER_CONFIGURATION")]
    pub with_cluster_configuration: bool,
    /// How far the nodes' clocks are apart [default: measured]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_SKEW", value_parser = parse_duration)]
    pub skew: Option<Duration>,
}

impl AerospikeArgs {
    /// The same as the connector takes it.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let mut options = self.read.options()?;
        if self.with_cluster_configuration {
            options.set("with_cluster_configuration", true);
        }
        if let Some(skew) = self.skew {
            options.set("skew", skew.as_secs_f64());
        }
        Ok(options)
    }
}

impl AerospikeReadArgs {
    /// The same as the connector takes it.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let mut options = Options::default();
        options.add(self)?;
        let now = SystemClock.now();
        for (name, text) in [("modified_after", &self.modified_after), ("modified_before", &self.modified_before)] {
            if let Some(text) = text {
                options.set(name, parse_time(text, now)?.as_millis());
            }
        }
        if let Some(text) = &self.filter_exp {
            let bytes = data_encoding::BASE64.decode(text.as_bytes()).unwrap_or_default();
            if bytes.is_empty() {
                return Err(usage(format!("--filter-exp {text}: it is not base64")));
            }
        }
        Ok(options)
    }
}
