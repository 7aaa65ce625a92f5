//! `check-storage`: tries a place before it is trusted.

use crate::{
    cli::{
        context::Context,
        exit::{Failure, Status},
        interrupt,
        password::PasswordSource,
        units::show_size,
    },
    ops::check_storage::{Consequence, StorageCheck, check_storage, keep_verdict},
    record::SystemClock,
    repo::storage::{Rights, TrialOptions},
};
use clap::Args;

/// `check-storage`.
#[derive(Debug, Args)]
pub struct CheckStorageArgs {
    /// The place: a path or a URI [default: the repository's]
    #[arg(value_name = "URI")]
    pub place: Option<String>,
    /// Measure no throughput: nothing larger than 100 kB is written
    #[arg(long)]
    pub no_throughput: bool,
}

const OBJECT_BYTES: usize = 8 << 20;

pub(super) fn run(args: &CheckStorageArgs, context: &Context) -> Result<Status, Failure> {
    let storage = context.storage_at(args.place.as_deref())?;
    interrupt::listen();
    let connections = if args.no_throughput { 0 } else { context.connections() };
    let options = TrialOptions { connections, object_bytes: OBJECT_BYTES };
    let check = check_storage(&storage, &options)?;
    if context.json {
        context.out.json(&check);
    } else {
        context.out.text(&words(&check, connections));
    }
    // The keys at hand are those of the repository that was named; nobody is asked for a password for this.
    if args.place.is_none() && context.password != PasswordSource::Prompt && check.has_repository {
        keep_verdict(&check, &storage, &context.password.unlock("", false)?, &SystemClock)?;
    }
    Ok(if check.usable { Status::Done } else { Status::Bad })
}

fn words(check: &StorageCheck, connections: u16) -> String {
    let mut text = format!("{}\n", check.location);
    let mut line = |what: &str, found: String| text.push_str(&format!("  {what:<22}{found}\n"));
    line("repository", if check.has_repository { "there is one" } else { "none" }.to_owned());
    line("region", check.region.clone().unwrap_or_else(|| "not told".to_owned()));
    line("rights", rights(&check.trial.rights));
    if let Some(verdict) = &check.trial.verdict {
        let yes_no = |kept: bool| if kept { "yes" } else { "NO" }.to_owned();
        line("gives back whole", yes_no(verdict.whole));
        line("creates only once", yes_no(verdict.conditional_create));
        line("lists promptly", yes_no(verdict.prompt_listing));
        for finding in &verdict.findings {
            line("", finding.clone());
        }
    }
    if let Some(millis) = check.trial.clock_ahead_millis {
        // Servers tell the time in whole seconds.
        let seconds = millis.unsigned_abs() / 1000;
        let apart = if millis < 0 { "behind" } else { "ahead" };
        line("its clock", if seconds < 2 { "as ours".to_owned() } else { format!("{seconds} s {apart} of ours") });
    }
    if let Some(speed) = &check.trial.speed {
        line("a small read", format!("{:.1} ms (slowest {:.1} ms)", speed.median_millis, speed.slowest_millis));
        if let (Some(write), Some(read)) = (speed.write_bytes_per_second, speed.read_bytes_per_second) {
            let rates = format!("writes {}/s, reads {}/s", show_size(write as u64), show_size(read as u64));
            line("throughput", format!("{rates} with {connections} requests at once"));
        }
    }
    if check.consequences.is_empty() {
        line("different here", "nothing".to_owned());
    }
    for consequence in &check.consequences {
        line("different here", meaning(*consequence).to_owned());
    }
    text
}

const fn meaning(consequence: Consequence) -> &'static str {
    match consequence {
        Consequence::Unusable => "it cannot keep a repository",
        Consequence::WeakMode => {
            "the weak mode: no lease is fenced but by `rekeep unlock`, and marks of a prune wait 24 h (docs/storage.md)"
        }
        Consequence::LooksBeforeCreating => "before each create it is looked whether the name is taken: a request more",
        Consequence::CannotPrune => "everything but `prune` and `key remove` works: nothing can be deleted",
        Consequence::ReadOnly => "only `restore`, `verify` and what lists works: nothing can be written",
        Consequence::ClocksDiffer => "its clock and ours differ: at a quarter of an hour signed requests are refused",
    }
}

fn rights(rights: &Rights) -> String {
    let mut words = Vec::new();
    for (name, lacks) in rights.each() {
        words.push(lacks.map_or_else(|| name.to_owned(), |why| format!("NOT {name} ({why})")));
    }
    words.join(", ")
}
