//! What only Aerospike sources understand, as it is typed.

use super::{
    aerospike_connect::ConnectArgs,
    exit::{Failure, usage},
    units::parse_duration,
};
use crate::{
    connector::aerospike::AerospikeOptions,
    ops::{
        backup::{Sweep, rolling::MAX_PARTS},
        select::parse_time,
    },
    record::{Clock as _, SystemClock},
};
use clap::Args;
use std::time::Duration;

/// Which part of a cluster is meant: the same for what is read and what is restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Aerospike")]
pub struct PartArgs {
    /// Only this set; '' is the null set (repeatable)
    #[arg(long = "set", value_name = "SET")]
    pub sets: Vec<String>,
    /// Only this bin (repeatable)
    #[arg(long = "bin", value_name = "BIN")]
    pub bins: Vec<String>,
    /// Only partitions such as 0-99,200; a DIGEST stands for what follows it in its partition, after:DIGEST for all
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

impl PartArgs {
    /// Whether one was typed.
    pub(crate) fn narrows(&self) -> bool {
        *self != Self::default()
    }

    /// The same as the connector takes it, with what else is known of the cluster.
    pub(crate) fn options(self, others: AerospikeOptions) -> AerospikeOptions {
        AerospikeOptions {
            sets: self.sets,
            bins: self.bins,
            partitions: self.partitions,
            no_records: self.no_records,
            no_indexes: self.no_indexes,
            no_udfs: self.no_udfs,
            ..others
        }
    }
}

/// What of an `aerospike:` source is read, and how: the same for a backup and for a comparison with one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Aerospike")]
pub struct AerospikeReadArgs {
    /// Of which part.
    #[command(flatten)]
    pub part: PartArgs,
    /// Go on if a set of --set does not exist
    #[arg(long)]
    pub allow_missing_set: bool,
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
    /// How far the nodes' clocks are apart, where that counts.
    #[arg(skip)]
    pub skew: Option<Duration>,
    /// Only so many records of each namespace, as a sample.
    #[arg(skip)]
    pub sample_records: u64,
    /// How the cluster is reached.
    #[command(flatten)]
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
}

impl AerospikeArgs {
    /// What is read.
    pub(crate) fn read(&self) -> AerospikeReadArgs {
        AerospikeReadArgs { skew: self.skew, ..self.read.clone() }
    }
}

fn parse_sweep(text: &str) -> Result<Sweep, String> {
    match text.split_once('=') {
        None if text == "always" => Ok(Sweep::Always),
        None if text == "never" => Ok(Sweep::Never),
        Some(("every", count)) => {
            let count = count.parse().ok().filter(|count| *count > 0);
            count.map(Sweep::Every).ok_or_else(|| format!("`{text}`: every=N needs a number above 0"))
        }
        Some(("rolling", count)) => {
            let count = count.parse().ok().filter(|count| (1..=MAX_PARTS).contains(count));
            count.map(Sweep::Rolling).ok_or_else(|| format!("`{text}`: rolling=N needs a number from 1 to {MAX_PARTS}"))
        }
        _ => Err(format!("`{text}` is none of always, every=N, rolling=N, never")),
    }
}

impl AerospikeReadArgs {
    /// Whether one was typed that makes no sense for another source; those that the environment may hold do not count.
    pub(crate) fn narrows(&self) -> bool {
        self.part.narrows()
            || self.no_ttl_only
            || self.modified_after.is_some()
            || self.modified_before.is_some()
            || self.filter_exp.is_some()
            || self.max_records.is_some()
    }

    /// The same as the connector takes it.
    pub(crate) fn options(self) -> Result<AerospikeOptions, Failure> {
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
        let others = AerospikeOptions {
            modified_after: time(&self.modified_after)?,
            modified_before: time(&self.modified_before)?,
            allow_missing_set: self.allow_missing_set,
            no_ttl_only: self.no_ttl_only,
            filter,
            records_per_second: self.records_per_second.unwrap_or(0),
            max_records: self.max_records.unwrap_or(0),
            sample_records: self.sample_records,
            skew: self.skew,
            ..self.connect.options()?
        };
        Ok(self.part.options(others))
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
        assert_eq!(parse_sweep("rolling=64"), Ok(Sweep::Rolling(64)));
        for bad in ["", "every", "every=0", "rolling", "rolling=0", "rolling=65"] {
            assert!(parse_sweep(bad).is_err(), "{bad}");
        }
    }
}
