//! `dr`: the command line that a service for Deep Lake datasets has for its disaster recovery. Every command is one or two
//! verbs of rekeep; what they mean is in `docs/deeplake.md`.

mod backup_id;
mod cleanup;
mod config;
mod create;
mod history;
mod library;
mod list;
mod place;
mod restore;
mod selftest;
mod show;
mod status;
mod verify;

use crate::cli::{
    context::Context,
    exit::{Failure, Status},
};
use clap::{Args, Subcommand, ValueEnum};
pub(super) use history::commits;
use place::Setup;
use std::path::PathBuf;

/// `dr`.
#[derive(Debug, Args)]
#[command(
    after_help = "The repository is the one of -r or REKEEP_REPOSITORY; without them, what BACKUP_STORAGE, BACKUP_PATH, BACKUP_S3_BUCKET \
                  … and the `backup:` block of the configuration file say, the environment before the file. A backup is named as \
                  `list` shows it: backup_20240101_120000_0a1b2c3d."
)]
pub struct DrArgs {
    /// The configuration file (YAML, with a block `backup:`)
    #[arg(long, value_name = "FILE", env = "BACKUP_CONFIG")]
    config: Option<PathBuf>,
    /// The root of tenants that datasets lie in [default: ./data/vectors]
    #[arg(long, value_name = "PATH", env = "DEEPLAKE_STORAGE_LOCATION")]
    data: Option<String>,
    #[command(subcommand)]
    command: DrCommand,
}

/// How lists are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
enum DrCommand {
    /// Back up datasets; makes the repository if there is none
    Create(create::CreateArgs),
    /// List backups, newest first
    List(list::ListArgs),
    /// Bring datasets back
    Restore(restore::RestoreArgs),
    /// Drop backups by the retention rules, and give back their space; never the last good one
    Cleanup {
        /// Say what would go; drop nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Try everything: the storage, a backup of a tiny dataset, its restore
    Test,
    /// Prove that a backup can be restored: every record, every block that a log names
    Verify {
        /// Which backup
        backup: String,
    },
    /// Restore a backup into a scratch folder and check it; the result is kept
    TestRestore(verify::TestRestoreArgs),
    /// Drop a backup
    Delete {
        /// Which backup
        backup: String,
        /// Also the last one of its source
        #[arg(long)]
        force: bool,
    },
    /// Show the newest backup of each part that is backed up, and what was tested
    Status,
    /// Show a dataset's branches, tags and commits in a backup
    History {
        /// Which backup
        backup: String,
        /// Which dataset [default: all]
        dataset: Option<String>,
    },
    /// Write the list of all backups to a file, as JSON
    Export {
        /// The file; must not exist
        file: PathBuf,
    },
    /// Show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show every setting, where it comes from, and the repository that it makes
    Show {
        /// Also those that are as they are by default
        #[arg(long)]
        effective: bool,
    },
}

pub(super) fn run(args: &DrArgs, context: &Context) -> Result<Status, Failure> {
    let setup = Setup::new(args.config.as_deref(), args.data.as_deref(), context)?;
    match &args.command {
        DrCommand::Create(args) => create::run(args, &setup, context),
        DrCommand::List(args) => list::run(args, &setup, context),
        DrCommand::Restore(args) => restore::run(args, &setup, context),
        DrCommand::Cleanup { dry_run } => cleanup::run(*dry_run, &setup, context),
        DrCommand::Test => selftest::run(&setup, context),
        DrCommand::Verify { backup } => verify::run(backup, &setup, context),
        DrCommand::TestRestore(args) => verify::test_restore(args, &setup, context),
        DrCommand::Delete { backup, force } => cleanup::delete(backup, *force, &setup, context),
        DrCommand::Status => status::run(&setup, context),
        DrCommand::History { backup, dataset } => history::run(backup, dataset.as_deref(), &setup, context),
        DrCommand::Export { file } => list::export(file, &setup, context),
        DrCommand::Config { command: ConfigCommand::Show { effective } } => show::run(*effective, &setup, context),
    }
}
