//! What was typed. One definition of each flag yields its parser, its help, its manual page and its completion.

use super::{
    commands::{
        backup::BackupArgs, cache::CacheCommand, cat::CatArgs, demo::DemoArgs, diff::DiffArgs, dump::DumpArgs,
        find::FindArgs, forget::ForgetArgs, history::HistoryArgs, init::InitArgs, key::KeyCommand, ls::LsArgs,
        man::ManArgs, prune::PruneArgs, restore::RestoreArgs, snapshots::SnapshotsArgs, status::StatusArgs,
        tag::TagArgs, unlock::UnlockArgs, verify::VerifyArgs,
    },
    units,
};
use crate::ops::Narrow;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "rekeep",
    version,
    about = "Keeps every state of a database of records: encrypted, deduplicated, provably restorable",
    after_help = "SNAPSHOT is an id or the first digits of one, `latest`, `latest~N`, or `@TIME` (@2026-11-20T10:00:00Z, \
                  @2026-11-20, @1700000000000, '@2 hours ago').\n\
                  SOURCE and TARGET are URLs: sqlite:FILE[?table=NAME], files:DIRECTORY, jsonl:FILE, jsonl:-,\n\
                  aerospike://HOST[:PORT][,HOST…][/NAMESPACE]\n\
                  KEY is typed: int:5, str:abc, hex:00ff, f64:1.5, joined by commas; a path for files (or hex:HEX, str:PATH as shown); for Aerospike\n\
                  SET/int:5, SET/str:abc, /int:5 (no set), digest:HEX.\n\n\
                  Exit status: 0 done, 1 failed, 2 usage, 3 done but incomplete, 10 no repository, 11 locked, \
                  12 wrong password, 130 interrupted."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// The repository: a path or an `OpenDAL` URI
    #[arg(short = 'r', long, global = true, value_name = "REPO", env = "REKEEP_REPOSITORY", help_heading = "Global")]
    pub repo: Option<String>,
    /// Print the result as one JSON document, and progress, warnings and errors as JSON lines on standard error
    #[arg(long, global = true, help_heading = "Global")]
    pub json: bool,
    /// Show no progress and no summary
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global")]
    pub quiet: bool,
    /// Tell of each stretch of work what it came to and how long it took
    #[arg(short, long, global = true, help_heading = "Global")]
    pub verbose: bool,
    /// Read the password from a file [env: `REKEEP_PASSWORD_FILE`; or the password itself in `REKEEP_PASSWORD`]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "password_command", help_heading = "Global")]
    pub password_file: Option<PathBuf>,
    /// Take the password from what a shell command prints [env: `REKEEP_PASSWORD_COMMAND`]
    #[arg(long, global = true, value_name = "COMMAND", help_heading = "Global")]
    pub password_command: Option<String>,
    /// Unlock with the recovery key, read from a file or asked for
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with_all = ["password_file", "password_command"],
        help_heading = "Global"
    )]
    pub recovery_key: Option<Option<PathBuf>>,
    /// Where catalogs lie [default: `$XDG_CACHE_HOME/rekeep` or `~/.cache/rekeep`]
    #[arg(long, global = true, value_name = "DIR", env = "REKEEP_CACHE_DIR", help_heading = "Global")]
    pub cache_dir: Option<PathBuf>,
    /// Read at most this many bytes a second (10M, 1.5MiB)
    #[arg(long, global = true, value_name = "RATE", value_parser = units::parse_rate, help_heading = "Global")]
    pub read_limit: Option<u64>,
    /// Write at most this many bytes a second (10M, 1.5MiB)
    #[arg(long, global = true, value_name = "RATE", value_parser = units::parse_rate, help_heading = "Global")]
    pub write_limit: Option<u64>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a repository; prints its recovery key once
    Init(InitArgs),
    /// Back up a source
    Backup(Box<BackupArgs>),
    /// List snapshots
    Snapshots(SnapshotsArgs),
    /// List a snapshot's collections, or a collection's records
    Ls(LsArgs),
    /// Restore a snapshot into a target
    Restore(Box<RestoreArgs>),
    /// Write one record's value to standard output
    Dump(DumpArgs),
    /// List the snapshots that hold a key
    Find(FindArgs),
    /// Show every stored version of one record
    History(HistoryArgs),
    /// Show what differs between two snapshots
    Diff(DiffArgs),
    /// Prove that what is kept can be restored
    Verify(Box<VerifyArgs>),
    /// Show how old each source's newest complete snapshot is
    Status(StatusArgs),
    /// Show what the repository takes
    Stats,
    /// Forget snapshots, by name or by policy
    Forget(Box<ForgetArgs>),
    /// Change a snapshot's tags, hold or release it, lock it
    Tag(TagArgs),
    /// Give back the space of what no snapshot needs
    Prune(PruneArgs),
    /// Show who is at work on the repository
    Leases,
    /// Shut out leases whose holder is gone
    Unlock(UnlockArgs),
    /// List, add, remove passwords
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show an object of the repository
    Cat(CatArgs),
    /// List or clear the local catalogs
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Show rekeep at work on a database it makes itself
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all pages into a directory
    Man(ManArgs),
}

/// Narrows snapshots to a source, a host, tags.
#[derive(Debug, Clone, Default, Args)]
pub struct NarrowArgs {
    /// Only snapshots of this source: its name or its URL
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,
    /// Only snapshots taken on this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Only snapshots with this tag (repeatable: with all of them)
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
}

impl NarrowArgs {
    /// The same as the verbs take it.
    #[must_use]
    pub fn narrow(&self) -> Narrow {
        Narrow { source: self.source.clone(), host: self.host.clone(), tags: self.tags.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_repository_may_stand_before_or_after_the_command() {
        for line in [["rekeep", "-r", "x", "snapshots"], ["rekeep", "snapshots", "-r", "x"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().global.repo.as_deref(), Some("x"));
        }
    }
}
