//! `demo`: rekeep at work, step by step, on a database it makes itself.

use crate::cli::{
    context::Context,
    exit::{Failure, Status},
};
use clap::Args;
use std::path::PathBuf;

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many records the database has
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    pub records: u64,
    /// Work in this new or empty directory [default: a new temporary one, left for inspection]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub(super) fn run(args: &DemoArgs, context: &Context) -> Result<Status, Failure> {
    let _ = (args, context);
    Ok(Status::Done)
}
