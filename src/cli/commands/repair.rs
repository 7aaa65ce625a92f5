//! `repair`: mends what can be mended, and names what stays lost.

use crate::{
    cli::{
        context::Context,
        exit::{Failure, Kept as _, Status},
        show::{counted, safe},
    },
    ops::Progress as _,
    repo::repair::Repaired,
};
use clap::{Args, Subcommand};

/// `repair`.
#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    /// Describe packs anew from their own directories, and take away index objects that cannot be read
    Index(RepairArgs),
    /// Put back snapshots that vanished or are damaged and that this host's catalog still holds
    Snapshots(RepairArgs),
}

/// How to repair.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Say what would be done, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

const KEPT: &str = "nothing that could be read was changed; the same command carries on";

pub(super) fn run(command: &RepairCommand, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let done = match command {
        RepairCommand::Index(args) => {
            let mut go_on = |bytes| {
                context.reporter.count(1, bytes);
                !context.reporter.cancelled()
            };
            repo.repair_index(args.dry_run, &mut go_on).kept(KEPT)?
        }
        RepairCommand::Snapshots(args) => repo.repair_snapshots(args.dry_run).kept(KEPT)?,
    };
    context.reporter.finish();
    if context.json {
        context.out.json(&done);
    } else {
        done.lost.iter().for_each(|lost| context.reporter.problem(lost));
        if !context.quiet {
            context.out.text(&summary(&done));
        }
    }
    Ok(Status::complete(done.lost.is_empty()))
}

fn summary(done: &Repaired) -> String {
    let mut text = String::new();
    for name in &done.restored {
        text.push_str(&format!("restored {}\n", safe(name)));
    }
    for name in &done.removed {
        text.push_str(&format!("removed  {}\n", safe(name)));
    }
    let (restored, removed) = (done.restored.len() as u64, done.removed.len() as u64);
    let (restored, removed) = (counted(restored, "object"), counted(removed, "damaged object"));
    text.push_str(&if done.dry_run {
        format!("would restore {restored} and remove {removed}; nothing was changed\n")
    } else {
        format!("restored {restored}, removed {removed}\n")
    });
    text
}
