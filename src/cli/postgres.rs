//! How a `PostgreSQL` server is used, as it is typed: the same for reading and for writing.

use super::{aerospike_connect::length, units::parse_duration};
use clap::Args;
use serde::Serialize;
use std::time::Duration;

/// Fields are named like the connector's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "PostgreSQL")]
pub struct PostgresArgs {
    /// How long to wait for the lock of a table; 0s for ever [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    #[serde(serialize_with = "length")]
    pub lock_timeout: Option<Duration>,
    /// How long one statement may take [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    #[serde(serialize_with = "length")]
    pub statement_timeout: Option<Duration>,
}
