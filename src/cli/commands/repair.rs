//! `repair`: mends what can be mended, and names what stays lost.

use crate::{
    cli::{
        advice,
        context::Context,
        exit::{Failure, Kept as _, Status},
        interrupt,
        show::{counted, safe},
    },
    ops::{Progress as _, repair},
    repo::repair::{Looked, Repaired, heal_keyless},
};
use clap::{Args, Subcommand};

/// `repair`.
#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    /// Describe packs anew from their own directories, and take away index objects that cannot be read
    Index(RepairArgs),
    /// Make lost and damaged packs again from parity; save what can be read of others into new ones, take away what is good for
    /// nothing then, and name what is lost
    Packs(RepairPacksArgs),
    /// Make the second one again of what is kept twice (rekeep.json, key slots), where one was lost or damaged
    Config(RepairArgs),
    /// Take away marks that cannot be read, once no prune is at work that may have read them before
    Marks(RepairArgs),
    /// Take away small objects that are damaged, or made by nobody who may, where nothing rests on them; settle what is missing
    /// among reports of drills and the audit
    Objects(RepairArgs),
    /// Make groups of parity for packs that have none, and take away groups that are damaged or good for nothing
    Parity(RepairArgs),
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

/// How to repair packs.
#[derive(Debug, Args)]
pub struct RepairPacksArgs {
    /// Packs to look at, by the first digits of their names [default: all, which reads the whole repository]
    #[arg(value_name = "PACK")]
    pub packs: Vec<String>,
    /// Look only at packs that are remembered as damaged, are gone, or have another length than they should
    #[arg(long, conflicts_with = "packs")]
    pub remembered: bool,
    /// Only make packs again from parity; needs no password
    #[arg(long)]
    pub keyless: bool,
    /// How to repair
    #[command(flatten)]
    pub how: RepairArgs,
}

impl RepairPacksArgs {
    fn looked(&self) -> Looked {
        match (self.remembered, self.packs.as_slice()) {
            (true, _) => Looked::Remembered,
            (false, []) => Looked::All,
            (false, packs) => Looked::Named(packs.to_vec()),
        }
    }
}

const KEPT: &str = "nothing that could be read was changed; the same command carries on";

pub(super) fn run(command: &RepairCommand, context: &Context) -> Result<Status, Failure> {
    let mut go_on = |bytes| {
        context.reporter.count(1, bytes);
        !context.reporter.cancelled()
    };
    if let RepairCommand::Packs(args) = command
        && args.keyless
    {
        let storage = context.storage()?;
        interrupt::listen();
        let done = heal_keyless(&storage, &args.looked(), args.how.dry_run, &mut go_on).kept(KEPT)?;
        return Ok(show(&done, context));
    }
    let repo = context.open()?;
    let done = match command {
        RepairCommand::Index(args) => repo.repair_index(args.dry_run, &mut go_on).kept(KEPT)?,
        RepairCommand::Parity(args) => repo.repair_parity(args.dry_run, &mut go_on).kept(KEPT)?,
        RepairCommand::Packs(args) => {
            let options = repair::RepairPacksOptions { looked: args.looked(), dry_run: args.how.dry_run };
            repair::packs(&repo, &options, &context.reporter).kept(KEPT)?
        }
        RepairCommand::Objects(args) => repo.repair_objects(args.dry_run).kept(KEPT)?,
        RepairCommand::Marks(args) => repo.repair_marks(args.dry_run).kept(KEPT)?,
        RepairCommand::Config(args) => repo.repair_config(args.dry_run).kept(KEPT)?,
        RepairCommand::Snapshots(args) => repo.repair_snapshots(args.dry_run).kept(KEPT)?,
    };
    Ok(show(&done, context))
}

fn show(done: &Repaired, context: &Context) -> Status {
    context.reporter.finish();
    if context.json {
        context.out.json(done);
    } else {
        done.lost.iter().for_each(|lost| context.reporter.problem(&advice::lost(lost)));
        if !context.quiet {
            context.out.text(&summary(done));
        }
    }
    Status::complete(done.lost.is_empty())
}

fn summary(done: &Repaired) -> String {
    let mut text = String::new();
    for name in &done.restored {
        text.push_str(&format!("restored {}\n", safe(name)));
    }
    for name in &done.removed {
        text.push_str(&format!("removed  {}\n", safe(name)));
    }
    for waiting in &done.waiting {
        text.push_str(&format!("waiting  {}\n", safe(&advice::trouble(waiting))));
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
