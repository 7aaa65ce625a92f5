//! `replicate`: the whole repository at another place, byte for byte.

use crate::{
    cli::{
        context::Context,
        exit::{Failure, Kept as _, Status},
        interrupt,
        show::{counted, safe},
        units::{parse_age, show_size},
    },
    ops::replicate::{ReplicateOptions, replicate},
    record::SystemClock,
    repo::replica::Replicated,
    report::ErrorKind,
};
use clap::Args;
use std::time::Duration;

/// `replicate`.
#[derive(Debug, Args)]
pub struct ReplicateArgs {
    /// Where the replica is, or will be: a path or a URI. `-o` speaks of the repository alone; options of this place go into its URI
    #[arg(value_name = "URI")]
    pub place: String,
    /// Say what would be copied and deleted, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Delete from the replica what the repository has been without for so long, as this host saw it run by run (14d, 12h)
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub follow_deletions: Option<Duration>,
}

const KEPT: &str = "what was copied stays, and the same command carries on from there";

pub(super) fn run(args: &ReplicateArgs, context: &Context) -> Result<Status, Failure> {
    let (source, target) = (context.storage()?, context.storage_elsewhere(&args.place)?);
    interrupt::listen();
    let state_dir = if args.follow_deletions.is_some() { context.cache_dir()? } else { std::path::PathBuf::new() };
    let options = ReplicateOptions {
        workers: usize::from(context.connections()),
        dry_run: args.dry_run,
        follow_deletions: args.follow_deletions,
        state_dir,
        rate_limit: [context.read_limit, context.write_limit].into_iter().flatten().min(),
    };
    let done = match replicate(&source, &target, &options, &SystemClock, &context.reporter) {
        // Such a place was refused, and nothing carries on there.
        Err(error) if matches!(error.kind(), ErrorKind::NotReplica | ErrorKind::RepositoryExists) => {
            return Err(error.into());
        }
        done => done.kept(KEPT)?,
    };
    context.reporter.finish();
    if context.json {
        context.out.json(&done);
    } else {
        done.problems.iter().for_each(|problem| context.reporter.problem(problem));
        if !context.quiet {
            done.notes.iter().for_each(|note| context.reporter.note(note));
            context.out.text(&summary(&done, args.follow_deletions.is_some()));
        }
    }
    Ok(Status::complete(done.problems.is_empty()))
}

fn summary(done: &Replicated, follows: bool) -> String {
    let (copied, deleted) = if done.dry_run { ("would copy", "would delete") } else { ("copied  ", "deleted ") };
    let mut text = String::new();
    for name in &done.mended {
        text.push_str(&format!("mended   {}\n", safe(name)));
    }
    let parity =
        if done.parity > 0 { format!(", {} of parity", counted(done.parity, "object")) } else { String::new() };
    text.push_str(&format!(
        "{copied} {}: {}, {}, {}, {}{parity}\n",
        show_size(done.bytes),
        counted(done.packs, "pack"),
        counted(done.index, "index object"),
        counted(done.snapshots, "snapshot object"),
        counted(done.keys, "key object"),
    ));
    if follows {
        text.push_str(&format!("{deleted} {} ({})\n", counted(done.deleted, "object"), show_size(done.deleted_bytes)));
    }
    if done.waiting > 0 {
        let why = if follows { "until they have been gone for long enough" } else { "there" };
        let verb = if done.waiting == 1 { "stays" } else { "stay" };
        text.push_str(&format!("{} that the repository no longer has {verb} {why}\n", counted(done.waiting, "object")));
    }
    text.push_str(&match (done.dry_run, done.problems.len()) {
        (true, _) => "nothing was changed\n".to_owned(),
        (false, 0) => format!("{} holds all that the repository holds\n", safe(&done.location)),
        (false, n) => format!("{} could not be copied\n", counted(n as u64, "thing")),
    });
    text
}
