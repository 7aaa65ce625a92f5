//! `man`: the manual pages.

use crate::cli::{
    context::{Context, io_error},
    exit::{CliError, Failure, Status},
};
use clap::Args;
use std::path::PathBuf;

/// `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs, whole: clap::Command, context: &Context) -> Result<Status, Failure> {
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|error| io_error("making", dir, error))?;
        clap_mangen::generate_to(whole, dir).map_err(|error| io_error("writing pages into", dir, error))?;
        return Ok(Status::Done);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(whole).render(&mut page).map_err(|error| CliError::io("making", "the manual page", error))?;
    context.out.text(&String::from_utf8_lossy(&page));
    Ok(Status::Done)
}
