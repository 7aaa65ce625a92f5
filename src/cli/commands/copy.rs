//! `copy`: chosen snapshots in another repository.

use super::forget::RuleArgs;
use crate::{
    cli::{
        common::{NarrowArgs, OtherPassword},
        context::{Context, threads},
        exit::{Failure, Kept as _, Status, usage},
        password::PasswordSource,
        show::{counted, safe},
        units::{show_size, show_time},
    },
    ops::{
        Progress as _,
        forget::{Grouping, plan_policy},
        transfer::{TransferOptions, TransferOutcome, kept, transfer},
    },
    repo::{Repository, Snapshot, session::SessionTiming},
};
use clap::Args;

/// `copy`.
#[derive(Debug, Args)]
#[command(
    after_help = "A snapshot of which the other repository holds a copy is not copied again; its copy gets the tags, the hold and the \
                        lock that came since. Between repositories made with `init --like` chunks are taken over as they are; between \
                        others records are read, written anew and compared. A copy has an id of its own, and is found by the first \
                        digits of the original's too."
)]
pub struct CopyArgs {
    /// The repository to copy to: a path or a URI. `-o` speaks of the one that is copied from alone
    #[arg(long, value_name = "REPO", required = true)]
    pub to: String,
    /// Which snapshots [default: all, or those that a policy keeps]
    #[arg(conflicts_with_all = ["last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "within_hourly", "within_daily",
        "within_weekly", "within_monthly", "within_yearly", "tag_kept", "full", "incremental", "max_age"])]
    pub snapshot: Vec<String>,
    #[command(flatten)]
    password: OtherPassword,
    #[command(flatten)]
    rules: RuleArgs,
    /// Say what would be copied, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: Option<u16>,
    /// zstd level of what is written anew; 0 stores it as it is
    #[arg(long, value_name = "LEVEL", default_value_t = 1, value_parser = clap::value_parser!(i32).range(0..=22))]
    pub compression: i32,
    /// Between repositories made with `init --like`, seal everything under new keys: no pack is taken over as it is stored
    #[arg(long)]
    pub seal_anew: bool,
    #[command(flatten)]
    narrow: NarrowArgs,
}

const KEPT: &str = "snapshots that were copied before this stay, and the same command carries on from there";

impl CopyArgs {
    /// What is to be copied.
    fn chosen(&self, repo: &Repository, context: &Context) -> Result<Vec<Snapshot>, Failure> {
        let narrow = self.narrow.narrow();
        if !self.snapshot.is_empty() {
            return self.snapshot.iter().map(|name| context.resolve(repo, name, &narrow)).collect();
        }
        context.unread(repo)?;
        let admitted = narrow.apply_to_some(repo, &context.reporter)?;
        let policy = self.rules.policy(Grouping::default(), false);
        if !policy.decides() {
            return Ok(admitted);
        }
        policy.check()?;
        let plan = plan_policy(repo, &narrow, &policy, &policy.zone(None)?)?;
        plan.warnings().iter().for_each(|warning| context.reporter.warning(warning));
        Ok(kept(admitted, &plan))
    }
}

pub(super) fn run(args: &CopyArgs, context: &Context) -> Result<Status, Failure> {
    let password = PasswordSource::choose_other(&args.password, &|name| {
        std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
    });
    if args.to.is_empty() {
        return Err(usage("--to names no repository"));
    }
    let target = context.storage_elsewhere(&args.to)?;
    let (from, to) = context.open_both((&context.storage()?, &context.password), (&target, &password))?;
    let chosen = args.chosen(&from, context)?;
    let options = TransferOptions {
        parallel: threads(args.parallel),
        dry_run: args.dry_run,
        compression: args.compression,
        seal_anew: args.seal_anew,
        write_limit: context.write_limit,
        timing: SessionTiming::default(),
    };
    let done = transfer(&from, &chosen, &to, &options, &context.reporter).kept(KEPT)?;
    context.reporter.finish();
    if let Some(warning) = to.storage().weaker() {
        context.reporter.warning(&warning);
    }
    if context.json {
        context.out.json(&done);
    } else if !context.quiet {
        context.out.text(&summary(&done));
    }
    Ok(Status::complete(done.failed.is_empty()))
}

fn summary(done: &TransferOutcome) -> String {
    let mut text = String::new();
    for row in &done.copied {
        let id = row.snapshot.short();
        match row.copy {
            Some(copy) => text.push_str(&format!(
                "{id} of {}: copied as {}, {} added\n",
                show_time(row.time),
                copy.short(),
                show_size(row.bytes_added)
            )),
            None => text.push_str(&format!("{id} of {}: would be copied\n", show_time(row.time))),
        }
    }
    let bytes: u64 = done.copied.iter().map(|row| row.bytes_added).sum();
    let how = if done.as_stored { "chunks as they are" } else { "records read, written anew and compared" };
    let copied = if done.dry_run { "would copy" } else { "copied" };
    let chunks = counted(done.copied.iter().map(|row| row.chunks_new).sum(), "chunk");
    text.push_str(&format!(
        "{copied} {} to {} ({how}): {chunks} and {} added; {} there already",
        counted(done.copied.len() as u64, "snapshot"),
        safe(&done.location),
        show_size(bytes),
        done.there.len(),
    ));
    if !done.revised.is_empty() {
        text.push_str(&format!(", of which {} got tags, a hold or a lock", done.revised.len()));
    }
    if !done.failed.is_empty() {
        text.push_str(&format!("; {} could not be copied", counted(done.failed.len() as u64, "snapshot")));
    }
    if done.dry_run {
        text.push_str("; nothing was changed");
    }
    text.push('\n');
    text
}
