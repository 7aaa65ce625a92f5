//! The commands, one file each: arguments, what they mean for a verb, and how its outcome is shown.

#[cfg(feature = "postgresql")]
pub mod atlas;
pub mod audit;
pub mod backup;
pub mod cache;
pub mod capture;
pub mod cat;
pub mod check_storage;
pub mod completions;
pub mod copy;
#[cfg(feature = "sqlite")]
pub mod demo;
pub mod diff;
#[cfg(feature = "deeplake")]
pub mod dr;
pub mod drill;
pub mod dump;
pub mod estimate;
pub mod find;
pub mod forget;
pub mod history;
pub mod init;
pub mod inspect;
pub mod key;
pub mod leases;
pub mod ls;
pub mod man;
pub mod parity;
pub mod prune;
pub mod repair;
pub mod replay;
pub mod replicate;
pub mod restore;
#[cfg(feature = "service")]
pub mod serve;
#[cfg(all(feature = "service", feature = "sqlite"))]
mod serve_demo;
pub mod snapshots;
pub mod source;
pub mod stats;
pub mod status;
pub mod tag;
pub mod unlock;
pub mod verify;

use super::{
    context::Context,
    exit::{Failure, Status},
};
use clap::Subcommand;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a repository; prints its recovery key once
    Init(init::InitArgs),
    /// Back up a source
    Backup(Box<backup::BackupArgs>),
    /// Keep every version of records, from a stream of changes
    Capture(Box<capture::CaptureArgs>),
    /// Write every version that a stream holds into files that hold changes
    Replay(replay::ReplayArgs),
    /// List snapshots
    Snapshots(snapshots::SnapshotsArgs),
    /// List a snapshot's collections, or a collection's records
    Ls(ls::LsArgs),
    /// Restore a snapshot into a target
    Restore(Box<restore::RestoreArgs>),
    /// Write one record's value to standard output
    Dump(dump::DumpArgs),
    /// List the snapshots that hold a key
    Find(find::FindArgs),
    /// Show every stored version of one record
    History(history::HistoryArgs),
    /// Show what differs between two snapshots
    Diff(diff::DiffArgs),
    /// Prove that what is kept can be restored
    Verify(Box<verify::VerifyArgs>),
    /// Show how old each source's newest complete snapshot is
    Status(status::StatusArgs),
    /// Show what the repository takes
    Stats(stats::StatsArgs),
    /// Forget snapshots, by name or by policy
    Forget(Box<forget::ForgetArgs>),
    /// List sources, or go on with the history of one under another name
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Change a snapshot's tags, hold or release it, lock it
    Tag(tag::TagArgs),
    /// Give back the space of what no snapshot needs
    Prune(prune::PruneArgs),
    /// Copy chosen snapshots into another repository, whatever its keys
    Copy(Box<copy::CopyArgs>),
    /// Copy the whole repository to another place, byte for byte and without a password
    Replicate(replicate::ReplicateArgs),
    /// Show how much parity packs have, or settle how much new ones get
    Parity(parity::ParityArgs),
    /// Mend what can be mended of a damaged repository
    #[command(subcommand)]
    Repair(repair::RepairCommand),
    /// Restore a snapshot to a place that nobody needs, compare, and keep a report that says so (docs/drills.md)
    Drill(Box<drill::DrillArgs>),
    /// Look at files of Aerospike's backup tools without backing them up
    Inspect(inspect::InspectArgs),
    /// Back up a cluster into files, with the flags of asbackup (see `rekeep asbackup --help`)
    #[cfg(all(feature = "aerospike", feature = "asb"))]
    Asbackup(ToolArgs),
    /// Restore such files into a cluster, with the flags of asrestore (see `rekeep asrestore --help`)
    #[cfg(all(feature = "aerospike", feature = "asb"))]
    Asrestore(ToolArgs),
    /// Look after timestamps and transactions of `AtlasDB` stores in `PostgreSQL`
    #[cfg(feature = "postgresql")]
    #[command(subcommand)]
    Atlas(atlas::AtlasCommand),
    /// Disaster recovery of Deep Lake datasets: the command line of their service
    #[cfg(feature = "deeplake")]
    Dr(Box<dr::DrArgs>),
    /// Show what was done through services that keep it in the repository, and whether any of it is missing
    Audit(audit::AuditArgs),
    /// Show who is at work on the repository
    Leases,
    /// Shut out leases whose holder is gone
    Unlock(unlock::UnlockArgs),
    /// List, add, remove passwords
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Show an object of the repository
    Cat(cat::CatArgs),
    /// Try a place before it is trusted: rights, promises, clock, speed
    CheckStorage(check_storage::CheckStorageArgs),
    /// List or clear the local catalogs
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Run backups on schedule, and answer over HTTP (docs/service.md)
    #[cfg(feature = "service")]
    Serve(Box<serve::ServeArgs>),
    /// Show rekeep at work on a database it makes itself
    #[cfg(feature = "sqlite")]
    Demo(demo::DemoArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all pages into a directory
    Man(man::ManArgs),
}

/// What follows the name of another tool: its own flags.
#[derive(Debug, clap::Args)]
pub struct ToolArgs {
    /// That tool's flags
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<std::ffi::OsString>,
}

#[cfg(all(feature = "aerospike", feature = "asb"))]
fn tool(tool: super::tools::Tool, args: ToolArgs, context: &Context) -> Status {
    let typed = std::iter::once("rekeep".into()).chain(args.flags).collect();
    if tool.run(typed, context.registry.clone()) == 0 { Status::Done } else { Status::Bad }
}

/// Runs a command. `whole` is the definition of the whole command line, which completions and manual pages are made of.
pub fn run(command: Command, whole: fn() -> clap::Command, context: &Context) -> Result<Status, Failure> {
    match command {
        Command::Init(args) => init::run(&args, context),
        #[cfg(feature = "postgresql")]
        Command::Atlas(command) => atlas::run(&command, context),
        Command::Backup(args) => backup::run(*args, context),
        Command::Capture(args) => capture::run(&args, context),
        Command::Replay(args) => replay::run(&args, context),
        Command::Snapshots(args) => snapshots::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Restore(args) => restore::run(&args, context),
        Command::Dump(args) => dump::run(&args, context),
        Command::Find(args) => find::run(&args, context),
        Command::History(args) => history::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
        Command::Forget(args) => forget::run(&args, context),
        Command::Source(command) => source::run(&command, context),
        Command::Tag(args) => tag::run(&args, context),
        Command::Prune(args) => prune::run(&args, context),
        Command::Copy(args) => copy::run(&args, context),
        Command::Replicate(args) => replicate::run(&args, context),
        Command::Parity(args) => parity::run(&args, context),
        Command::Repair(command) => repair::run(&command, context),
        Command::Drill(args) => drill::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        #[cfg(all(feature = "aerospike", feature = "asb"))]
        Command::Asbackup(args) => Ok(tool(super::tools::Tool::Backup, args, context)),
        #[cfg(all(feature = "aerospike", feature = "asb"))]
        Command::Asrestore(args) => Ok(tool(super::tools::Tool::Restore, args, context)),
        #[cfg(feature = "deeplake")]
        Command::Dr(args) => dr::run(&args, context),
        Command::Audit(args) => audit::run(&args, context),
        Command::Leases => leases::run(context),
        Command::Unlock(args) => unlock::run(&args, context),
        Command::Key(command) => key::run(&command, context),
        Command::Cat(args) => cat::run(&args, context),
        Command::CheckStorage(args) => check_storage::run(&args, context),
        Command::Cache(command) => cache::run(&command, context),
        #[cfg(feature = "service")]
        Command::Serve(args) => serve::run(&args, context),
        #[cfg(feature = "sqlite")]
        Command::Demo(args) => demo::run(&args, context),
        Command::Completions { shell } => Ok(completions::run(shell, &mut whole(), context)),
        Command::Man(args) => man::run(&args, whole(), context),
    }
}
