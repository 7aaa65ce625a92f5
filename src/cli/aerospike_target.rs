//! What only Aerospike targets understand, as it is typed.

use super::{
    aerospike::PartArgs,
    aerospike_connect::ConnectArgs,
    exit::{Failure, usage},
    units::parse_duration,
};
use crate::connector::aerospike::{AerospikeOptions, AerospikeTargetOptions, IndexOrder};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// Options of `aerospike:` targets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Aerospike")]
pub struct AerospikeTargetArgs {
    /// Which part is restored.
    #[command(flatten)]
    pub part: PartArgs,
    /// When to make secondary indexes [default: last]
    #[arg(long, value_name = "WHEN", conflicts_with = "no_indexes")]
    pub indexes: Option<IndexesWhen>,
    /// Make an index anew where another one of its name stands
    #[arg(long)]
    pub replace_indexes: bool,
    /// Put a UDF module anew where another one of its name stands: it belongs to the whole cluster
    #[arg(long)]
    pub replace_modules: bool,
    /// Remove records for --make-equal so that their removal stays known (Enterprise Edition; strong consistency demands it)
    #[arg(long)]
    pub durable_delete: bool,
    /// Do not wait until indexes are built
    #[arg(long)]
    pub no_wait: bool,
    /// Records of the first set go to the second; needs stored user keys (repeatable)
    #[arg(long = "set-map", value_name = "SET=NEW")]
    pub set_map: Vec<String>,
    /// Leave out records that --set-map concerns and that have no stored user key
    #[arg(long)]
    pub skip_unmappable: bool,
    /// Let records live so much longer
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub extra_ttl: Option<Duration>,
    /// Count records that cannot be written, and be done all the same
    #[arg(long)]
    pub ignore_record_error: bool,
    /// Records in a batch [default: 512]
    #[arg(long, value_name = "N", env = "REKEEP_AS_BATCH_SIZE", value_parser = clap::value_parser!(u16).range(1..))]
    pub batch_size: Option<u16>,
    /// Write at most this many records a second, over all nodes
    #[arg(long, value_name = "N", env = "REKEEP_AS_RECORDS_PER_SECOND")]
    pub records_per_second: Option<u32>,
    /// Pause so long before records that a node did not take are sent again [default: 25ms]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_RETRY_BASE_INTERVAL", value_parser = parse_duration)]
    pub retry_base_interval: Option<Duration>,
    /// Let that pause grow by this factor from try to try, up to 1 s [default: 2]
    #[arg(long, value_name = "FACTOR", env = "REKEEP_AS_RETRY_MULTIPLIER", value_parser = parse_multiplier)]
    pub retry_multiplier: Option<u32>,
    /// Send records again so often at most while none gets through [default: for --partition-timeout]
    #[arg(long, value_name = "N", env = "REKEEP_AS_RETRY_MAX_ATTEMPTS")]
    pub retry_max_attempts: Option<u32>,
    /// Batches under way at once [default: 16]
    #[arg(long, value_name = "N", env = "REKEEP_AS_MAX_ASYNC_BATCHES", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub max_async_batches: Option<u16>,
    /// Write each record by a command of its own
    #[arg(long, env = "REKEEP_AS_DISABLE_BATCH_WRITES")]
    pub disable_batch_writes: bool,
    /// How the cluster is reached.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// When indexes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IndexesWhen {
    /// Before the records.
    First,
    /// After the records.
    Last,
    /// Not at all.
    None,
}

impl AerospikeTargetArgs {
    /// Whether one was typed that makes no sense for another target; those that the environment may hold do not count.
    pub(crate) fn narrows(&self) -> bool {
        self.part.narrows()
            || self.indexes.is_some()
            || self.replace_indexes
            || self.replace_modules
            || self.durable_delete
            || self.no_wait
            || !self.set_map.is_empty()
            || self.skip_unmappable
            || self.extra_ttl.is_some()
            || self.ignore_record_error
    }

    /// The same as the connector takes it. Single records bring neither modules nor indexes.
    pub(crate) fn options(self, single_records: bool) -> Result<(AerospikeOptions, AerospikeTargetOptions), Failure> {
        let defaults = AerospikeTargetOptions::default();
        let set_map = self.set_map.iter().map(|text| map(text)).collect::<Result<_, _>>()?;
        let indexes = match self.indexes {
            _ if single_records || self.part.no_indexes => IndexOrder::Never,
            Some(IndexesWhen::First) => IndexOrder::First,
            Some(IndexesWhen::Last) | None => IndexOrder::Last,
            Some(IndexesWhen::None) => IndexOrder::Never,
        };
        let how = AerospikeTargetOptions {
            batch_size: self.batch_size.map_or(defaults.batch_size, usize::from),
            max_async_batches: self.max_async_batches.map_or(defaults.max_async_batches, usize::from),
            disable_batch_writes: self.disable_batch_writes,
            extra_ttl: self.extra_ttl.unwrap_or_default(),
            indexes,
            replace_indexes: self.replace_indexes,
            no_wait: self.no_wait,
            replace_modules: self.replace_modules,
            durable_delete: self.durable_delete,
            records_per_second: self.records_per_second.unwrap_or(0),
            retry_base_interval: self.retry_base_interval.unwrap_or(defaults.retry_base_interval),
            retry_multiplier_percent: self.retry_multiplier.unwrap_or(defaults.retry_multiplier_percent),
            retry_max_attempts: self.retry_max_attempts.unwrap_or(0),
            ignore_record_error: self.ignore_record_error,
            set_map,
            skip_unmappable: self.skip_unmappable,
        };
        let mut options = self.part.options(AerospikeOptions { allow_missing_set: true, ..self.connect.options()? });
        options.no_udfs |= single_records;
        Ok((options, how))
    }
}

/// A factor of at least 1, in percent.
fn parse_multiplier(text: &str) -> Result<u32, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| (1.0..=100.0).contains(factor));
    factor.map(|factor| (factor * 100.0).round() as u32).ok_or_else(|| format!("`{text}` is no factor from 1 to 100"))
}

fn map(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((old, new)) if new.len() <= 63 => Ok((old.to_owned(), new.to_owned())),
        Some(_) => Err(usage(format!("--set-map {text}: the name of a set has 63 bytes at most"))),
        None => Err(usage(format!("--set-map {text}: write SET=NEW; nothing before or after = is the null set"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_mapped_by_name_and_single_records_come_alone() {
        let args = AerospikeTargetArgs { set_map: vec!["a=b".into(), "=c".into()], ..AerospikeTargetArgs::default() };
        let (options, how) = args.clone().options(false).unwrap();
        assert_eq!(how.set_map, [("a".into(), "b".into()), (String::new(), "c".into())]);
        assert_eq!((options.no_udfs, how.indexes), (false, IndexOrder::Last));
        let (options, how) = args.options(true).unwrap();
        assert_eq!((options.no_udfs, how.indexes), (true, IndexOrder::Never));
        assert!(map("a").is_err());
    }
}
