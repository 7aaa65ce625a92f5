//! How Deep Lake datasets are read and restored, as it is typed.

use clap::Args;
use serde::Serialize;

/// Which datasets are read. Fields are named like the connector's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Deep Lake")]
pub struct DeepLakeReadArgs {
    /// Only datasets of this tenant
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Only this dataset, with its tenant or without (repeatable)
    #[arg(long = "dataset", value_name = "[TENANT/]NAME")]
    pub datasets: Vec<String>,
}

/// How datasets are restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Deep Lake")]
pub struct DeepLakeWriteArgs {
    /// Datasets of version 4 as they were at a commit: its version, its number, a tag, or @TIME
    #[arg(long, value_name = "VERSION|NUMBER|TAG|@TIME")]
    pub at_version: Option<String>,
    /// The branch that the version is on [default: main]
    #[arg(long, value_name = "NAME", requires = "at_version")]
    pub branch: Option<String>,
    /// Leave what was not committed (version 3) as it was copied, which may be torn [default: reset it to its commit]
    #[arg(long)]
    pub keep_head: bool,
}
