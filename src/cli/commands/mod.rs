//! The commands, one file each: arguments, what they mean for a verb, and how its outcome is shown.

pub mod backup;
pub mod cache;
pub mod cat;
pub mod completions;
#[cfg(feature = "sqlite")]
pub mod demo;
pub mod diff;
pub mod dump;
pub mod estimate;
pub mod find;
pub mod forget;
pub mod history;
pub mod init;
pub mod key;
pub mod leases;
pub mod ls;
pub mod man;
pub mod prune;
pub mod restore;
pub mod snapshots;
pub mod stats;
pub mod status;
pub mod tag;
pub mod unlock;
pub mod verify;

use super::{
    args::Command,
    context::Context,
    exit::{Failure, Status},
};

/// Runs a command.
pub fn run(command: Command, context: &Context) -> Result<Status, Failure> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Backup(args) => backup::run(*args, context),
        Command::Snapshots(args) => snapshots::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Restore(args) => restore::run(&args, context),
        Command::Dump(args) => dump::run(&args, context),
        Command::Find(args) => find::run(&args, context),
        Command::History(args) => history::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Stats => stats::run(context),
        Command::Forget(args) => forget::run(&args, context),
        Command::Tag(args) => tag::run(&args, context),
        Command::Prune(args) => prune::run(&args, context),
        Command::Leases => leases::run(context),
        Command::Unlock(args) => unlock::run(&args, context),
        Command::Key(command) => key::run(&command, context),
        Command::Cat(args) => cat::run(&args, context),
        Command::Cache(command) => cache::run(&command, context),
        #[cfg(feature = "sqlite")]
        Command::Demo(args) => demo::run(&args, context),
        Command::Completions { shell } => Ok(completions::run(shell, context)),
        Command::Man(args) => man::run(&args, context),
    }
}
