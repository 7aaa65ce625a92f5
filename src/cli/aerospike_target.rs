//! What only Aerospike targets understand, as it is typed.

use super::{
    aerospike::PartArgs,
    aerospike_connect::{ConnectArgs, length},
    exit::{Failure, usage},
    units::parse_duration,
};
use crate::connector::Options;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// Options of `aerospike:` targets. Fields are named like the connector's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Aerospike")]
pub struct AerospikeTargetArgs {
    /// Which part is restored.
    #[command(flatten)]
    #[serde(flatten)]
    pub part: PartArgs,
    /// When to make secondary indexes [default: last]
    #[arg(long, value_name = "WHEN", conflicts_with = "no_indexes")]
    pub indexes: Option<IndexesWhen>,
    /// Make an index anew where another one of its name stands
    #[arg(long)]
    pub replace_indexes: bool,
    /// Do not wait until indexes are built
    #[arg(long)]
    pub no_wait: bool,
    /// Records of the first set go to the second; needs stored user keys (repeatable)
    #[arg(long = "set-map", value_name = "SET=NEW")]
    #[serde(skip)]
    pub set_map: Vec<String>,
    /// Leave out records that --set-map concerns and that have no stored user key
    #[arg(long)]
    pub skip_unmappable: bool,
    /// Let records live so much longer
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    #[serde(serialize_with = "length")]
    pub extra_ttl: Option<Duration>,
    /// Count records that cannot be written, and be done all the same
    #[arg(long)]
    pub ignore_record_error: bool,
    /// Records in a batch [default: 512]
    #[arg(long, value_name = "N", env = "REKEEP_AS_BATCH_SIZE", value_parser = clap::value_parser!(u16).range(1..))]
    pub batch_size: Option<u16>,
    /// Batches under way at once [default: 16]
    #[arg(long, value_name = "N", env = "REKEEP_AS_MAX_ASYNC_BATCHES", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub max_async_batches: Option<u16>,
    /// Write each record by a command of its own (servers before 6.0)
    #[arg(long, env = "REKEEP_AS_DISABLE_BATCH_WRITES")]
    pub disable_batch_writes: bool,
    /// How the cluster is reached.
    #[command(flatten)]
    #[serde(flatten)]
    pub connect: ConnectArgs,
}

/// When indexes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexesWhen {
    /// Before the records.
    First,
    /// After the records.
    Last,
    /// Not at all.
    None,
}

impl AerospikeTargetArgs {
    /// The same as the connector takes it.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let mut options = Options::default();
        options.add(self)?;
        if !self.set_map.is_empty() {
            let set_map = self.set_map.iter().map(|text| map(text)).collect::<Result<Vec<_>, _>>()?;
            options.set("set_map", json!(set_map));
        }
        Ok(options)
    }
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
    fn sets_are_mapped_by_name() {
        assert_eq!(map("a=b").unwrap(), ("a".into(), "b".into()));
        assert_eq!(map("=c").unwrap(), (String::new(), "c".into()));
        assert!(map("a").is_err() && map(&format!("a={}", "b".repeat(64))).is_err());
    }
}
