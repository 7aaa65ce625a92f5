//! How a `PostgreSQL` server is used, as it is typed: the same for reading and for writing.

use super::{
    aerospike_connect::length,
    context::Context,
    exit::{Failure, usage},
    typed,
    units::parse_duration,
};
use crate::connector::{Options, Registry, Role, url::escaped};
use clap::Args;
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

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

/// How a database is restored. Fields are named like the connector's options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "PostgreSQL")]
pub struct PostgresTargetArgs {
    /// Restore all or nothing, by one connection, also into a database that has none of the tables
    #[arg(long)]
    pub single_transaction: bool,
}

/// Where a store of `AtlasDB` is, and who gives its timestamps. Fields that are not skipped are named like the connector's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "AtlasDB")]
pub struct AtlasArgs {
    /// Take the place of the store from `AtlasDB`'s configuration, a file of YAML
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub atlas_config: Option<PathBuf>,
    /// Where in that file the block of `AtlasDB` is [default: `/atlasdb` if it is there, else the whole file]
    #[arg(long, value_name = "PATH", requires = "atlas_config")]
    #[serde(skip)]
    pub config_root: Option<String>,
    /// The address of the `TimeLock` that keeps its timestamps, up to the names of its clients: `https://HOST:PORT/timelock/api`
    #[arg(long, value_name = "URL")]
    pub timelock: Option<String>,
    /// A shell command that prints a fresh timestamp each time it is run
    #[arg(long, value_name = "COMMAND", conflicts_with = "timelock")]
    #[serde(skip)]
    pub timestamp_command: Option<String>,
}

/// How a store of `AtlasDB` is read. Fields are named like the connector's options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "AtlasDB")]
pub struct AtlasReadArgs {
    /// Read table after table instead of one state, while the `TimeLock` keeps sweep away
    #[arg(long)]
    pub fuzzy: bool,
    /// With --fuzzy: nobody sweeps meanwhile, so that no lock is taken
    #[arg(long, requires = "fuzzy")]
    pub sweep_is_off: bool,
}

impl AtlasArgs {
    /// The URL that is meant: the one that was typed, or that of the configuration.
    pub(super) fn url(&self, typed: Option<&str>) -> Result<Option<String>, Failure> {
        match (typed, &self.atlas_config) {
            (Some(url), Some(_)) => {
                Err(usage(format!("the place is named twice: by --atlas-config, and by `{url}`: leave one out")))
            }
            (Some(url), None) => Ok(Some(url.to_owned())),
            (None, None) => Ok(None),
            (None, Some(config)) => {
                let paths = typed::paths(std::slice::from_ref(config));
                let path = paths.first().map(String::as_str).unwrap_or_default();
                let root = self.config_root.as_deref().map_or_else(String::new, |root| {
                    format!("?config-root={}", root.replace('%', "%25").replace('&', "%26"))
                });
                Ok(Some(format!("atlasdb:{}{root}", escaped(path))))
            }
        }
    }

    /// Adds what options say; the connectors that know of the command that gives timestamps, if there is one.
    pub(super) fn add_to(
        &self,
        options: &mut Options,
        (url, role): (&str, Role),
        context: &Context,
    ) -> Result<Option<Registry>, Failure> {
        options.add(self)?;
        if !context.registry.knows(url, role, "timelock") {
            context.refuse_flags_of(&["timestamp_command"], &format!("atlasdb: {role}"), url)?;
            return Ok(None);
        }
        #[cfg(feature = "postgresql")]
        if let Some(command) = self.timestamp_command.clone() {
            let give = std::sync::Arc::new(move || give_timestamp(&command));
            let connector = crate::connector::postgres::atlas::AtlasConnector::with_timestamps(give);
            return Ok(Some(context.registry.clone().with(connector)));
        }
        let _ = context;
        Ok(None)
    }
}

/// Runs a command that prints a timestamp.
#[cfg(feature = "postgresql")]
fn give_timestamp(command: &str) -> Result<i64, String> {
    use std::process::{Command, Stdio};
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("it ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().parse().map_err(|_| format!("it printed `{}`, which is no timestamp", text.trim()))
}
