//! `restore`: brings a snapshot back into a target.

use crate::{
    cli::{
        aerospike_target::AerospikeTargetArgs,
        asb::AsbWriteArgs,
        common::NarrowArgs,
        context::{Context, threads},
        deeplake::DeepLakeWriteArgs,
        exit::{Failure, Kept as _, Status, usage},
        hooks::{HookArgs, Told},
        output,
        postgres::{AtlasArgs, PostgresArgs, PostgresTargetArgs},
        typed,
        units::{parse_duration, show_count, show_duration, show_size, show_time},
    },
    connector::{ConnectorError, Leaves, Overwrite, Role, TargetAbilities},
    ops::{
        OpsError,
        command::Bounded,
        restore::{RestoreOptions, RestoreOutcome, restore},
        thaw::{Ask, LOOK_EVERY, ThawOptions},
    },
    repo::{Repository, storage::ThawTier},
};
use clap::{
    Args, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use serde_json::json;
use std::{cell::RefCell, fmt::Write as _, io::ErrorKind, time::Duration};

/// `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Which snapshot
    pub snapshot: String,
    /// Where to: aerospike://HOST:PORT/NAMESPACE, `postgresql://HOST/DATABASE`, `atlasdb:postgresql://HOST/DATABASE`, sqlite:FILE,
    /// files:DIRECTORY, deeplake:DIRECTORY, jsonl:FILE, jsonl:-, asb:DIRECTORY, asb:FILE.asb, asb:-
    #[arg(required_unless_present = "atlas_config", value_parser = OsStringValueParser::new().map(typed::url))]
    pub target: Option<String>,
    /// Only this collection, by another name if one is given (repeatable)
    #[arg(long = "collection", value_name = "NAME[=NEW]")]
    pub collections: Vec<String>,
    /// Only this record (repeatable)
    #[arg(long = "key", value_name = "KEY", value_parser = OsStringValueParser::new().map(typed::key))]
    pub keys: Vec<String>,
    /// Only records whose key matches (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// No records whose key matches (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// What happens to records that the target holds [default: a target that holds records is refused]
    #[arg(long, value_name = "WHEN")]
    pub overwrite: Option<When>,
    /// Remove what the snapshot does not hold, after everything is written
    #[arg(long)]
    pub make_equal: bool,
    /// Count, but write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Read the target back and compare
    #[arg(long)]
    pub verify: bool,
    /// Go on past damage, and say what is lost
    #[arg(long)]
    pub keep_going: bool,
    /// Begin anew, even if the same restore was stopped on its way
    #[arg(long)]
    pub no_resume: bool,
    /// Allow --make-equal from a partial snapshot
    #[arg(long)]
    pub force: bool,
    /// Set owners and groups by name where this host knows the name, else by number (files)
    #[arg(long)]
    pub owners_by_name: bool,
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: Option<u16>,
    #[command(flatten)]
    narrow: NarrowArgs,
    #[command(flatten)]
    thaw: ThawArgs,
    #[command(flatten)]
    aerospike: AerospikeTargetArgs,
    #[command(flatten)]
    asb: AsbWriteArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
    #[command(flatten)]
    postgres_target: PostgresTargetArgs,
    #[command(flatten)]
    lake: DeepLakeWriteArgs,
    #[command(flatten)]
    atlas: AtlasArgs,
    #[command(flatten)]
    hooks: HookArgs,
}

/// What becomes of packs that lie in an archive (docs/cold-storage.md).
#[derive(Debug, Args)]
#[command(next_help_heading = "Archives")]
pub struct ThawArgs {
    /// Ask the service for what must be thawed; the same command goes on when it is there
    #[arg(long)]
    thaw: bool,
    /// How many days what was thawed stays readable
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    thaw_days: u16,
    /// In what haste: expedited, standard or bulk
    #[arg(long, value_name = "TIER", default_value = "standard", value_parser = str::parse::<ThawTier>)]
    thaw_tier: ThawTier,
    /// Ask by this shell command instead; `$REKEEP_THAW_LIST` is a file with the bytes and the name of each pack
    #[arg(long, value_name = "COMMAND", conflicts_with = "thaw")]
    thaw_command: Option<String>,
    /// Wait so long for what was asked for [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    thaw_wait: Option<Duration>,
}

/// A command that asks another service may have to ask for each pack.
const THAW_COMMAND: Duration = Duration::from_hours(1);

impl ThawArgs {
    fn options(&self) -> Option<ThawOptions> {
        let shell = |line: &String| Bounded {
            command: ["sh".to_owned(), "-c".to_owned(), line.clone()].to_vec(),
            timeout: THAW_COMMAND,
        };
        let by_service = || Ask::Service { days: self.thaw_days, tier: self.thaw_tier };
        let ask =
            self.thaw_command.as_ref().map(|line| Ask::Command(shell(line))).or_else(|| self.thaw.then(by_service));
        Some(ThawOptions { ask: ask?, wait: self.thaw_wait.unwrap_or_default(), look_every: LOOK_EVERY })
    }
}

/// When a record is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Replace it.
    Always,
    /// Leave it.
    Never,
    /// Replace it if it differs.
    IfChanged,
    /// Replace it if its generation is lower (Aerospike).
    IfNewer,
    /// Replace what of it comes, and leave its other bins (Aerospike).
    Merge,
    /// The same if its generation is lower (Aerospike; what asrestore does by default).
    MergeIfNewer,
}

impl From<When> for Overwrite {
    fn from(when: When) -> Self {
        match when {
            When::Always => Self::Always,
            When::Never => Self::Never,
            When::IfChanged => Self::IfChanged,
            When::IfNewer => Self::IfNewer,
            When::Merge => Self::Merge,
            When::MergeIfNewer => Self::MergeIfNewer,
        }
    }
}

/// What a target holds after a restore that failed on its way, and how the rest comes.
const fn kept(leaves: Leaves) -> &'static str {
    match leaves {
        Leaves::Records => {
            "the repository is as it was; the target may hold part of the records. The same command with `--overwrite if-changed` \
             brings the rest"
        }
        Leaves::Progress => {
            "the repository is as it was; the target may hold part of the records. The same command goes on behind them, or with \
             `--overwrite if-changed` brings the rest"
        }
        Leaves::Collections => {
            "the repository is as it was, and whatever was whole in the target still is. The same command begins anew; what was begun \
             may lie beside under a name that begins with `.rekeep-`"
        }
        Leaves::CollectionsInProgress => {
            "the repository is as it was, and whatever was whole in the target still is. The same command goes on with what was begun, \
             which nobody sees until it is whole; another one with `--overwrite always` takes that away first"
        }
    }
}

const KEPT_ALL: &str = "the repository and the target are as they were";

const CLOSED: &str = "whoever read standard output went away before the last record: what was read is not the whole snapshot; the \
                      repository is as it was";

pub(super) fn run(args: &RestoreArgs, context: &Context) -> Result<Status, Failure> {
    let url = args.atlas.url(args.target.as_deref())?.unwrap_or_default();
    if !args.hooks.is_given() {
        return work(args, &url, context, None, &RefCell::default());
    }
    // A wrong password is no reason to stop a service.
    let repo = context.open()?;
    let told = Told { verb: "restore", url: &url, dry_run: args.dry_run, snapshot: RefCell::default() };
    args.hooks.around(&told, context, || work(args, &url, context, Some(repo), &told.snapshot))
}

/// What lies between the commands before and after. `restored` is told which snapshot it is.
fn work(
    args: &RestoreArgs,
    url: &str,
    context: &Context,
    opened: Option<Repository>,
    restored: &RefCell<Option<String>>,
) -> Result<Status, Failure> {
    let mut options = args.aerospike.options()?;
    args.asb.add_to(&mut options)?;
    options.add(&args.postgres)?;
    options.add(&args.postgres_target)?;
    options.add(&args.lake)?;
    options.add(&json!({
        "owners_by_name": args.owners_by_name,
        "single_records": !(args.keys.is_empty() && args.include.is_empty() && args.exclude.is_empty()),
    }))?;
    // It is known of the records, not asked of the target.
    options.make_ambient(["single_records"]);
    args.atlas.add_to(&mut options, (url, Role::Target), context)?;
    let target = context.target(url, options, &args.aerospike.connect)?;
    let repo = opened.map_or_else(|| context.open(), Ok)?;
    let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
    *restored.borrow_mut() = Some(snapshot.id.to_string());
    let names: Vec<&str> = snapshot.collections.iter().map(|c| c.name.as_str()).collect();
    let collections = args.collections.iter().map(|text| choose(text, &names)).collect::<Result<_, _>>()?;
    let options = RestoreOptions {
        collections,
        keys: args.keys.clone(),
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        overwrite: args.overwrite.map(Overwrite::from),
        make_equal: args.make_equal,
        no_records: args.aerospike.part.no_records,
        dry_run: args.dry_run,
        verify: args.verify,
        keep_going: args.keep_going,
        force: args.force,
        no_resume: args.no_resume,
        progress_every: None,
        parallel: threads(args.parallel),
        read_limit: context.read_limit,
        write_limit: context.write_limit,
        sample: None,
        thaw: args.thaw.options(),
        nothing_else: false,
    };
    let TargetAbilities { to_stdout, all_or_nothing, leaves, .. } = target.abilities();
    let outcome = match restore(&repo, &snapshot, target.as_ref(), &options, &context.reporter) {
        // Whoever asks only this command whether it ended well must not take for whole what the reader got of it.
        Err(error) if to_stdout && is_broken_pipe(&error) => return Err(error).kept(CLOSED),
        Err(error) if error.is_partly_done() => return Err(error).kept(kept(leaves)),
        Err(error) if all_or_nothing => return Err(error).kept(KEPT_ALL),
        outcome => outcome?,
    };
    context.reporter.finish();
    show(&outcome, to_stdout, context);
    Ok(if outcome.different > 0 { Status::Bad } else { Status::complete(outcome.complete && !context.lacks()) })
}

fn is_broken_pipe(error: &OpsError) -> bool {
    matches!(error.cause(), OpsError::Connector(ConnectorError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe)
}

/// `NAME` or `NAME=NEW`. Names may hold `=` themselves, so the snapshot's own names decide.
fn choose(text: &str, names: &[&str]) -> Result<(String, Option<String>), Failure> {
    if names.contains(&text) {
        return Ok((text.to_owned(), None));
    }
    let splits = text.match_indices('=').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let mut meant = splits.filter(|(name, new)| names.contains(name) && !new.is_empty());
    match (meant.next(), meant.next()) {
        (Some((name, new)), None) => Ok((name.to_owned(), Some(new.to_owned()))),
        (Some(_), Some(_)) => Err(usage(format!("`{text}` can be split at more than one `=`"))),
        (None, _) => {
            let list: Vec<&str> = names.iter().take(50).copied().collect();
            Err(usage(format!("the snapshot has no collection `{text}`; it has: {}", list.join(", "))))
        }
    }
}

fn show(outcome: &RestoreOutcome, records_on_stdout: bool, context: &Context) {
    if context.json && records_on_stdout {
        output::complain(&json!({ "event": "result", "result": outcome }).to_string());
    } else if context.json {
        context.out.json(outcome);
    } else {
        warn(outcome, context);
        match (context.quiet, records_on_stdout) {
            (true, _) => {}
            (false, true) => output::complain(summary(outcome).trim_end()),
            (false, false) => context.out.text(&summary(outcome)),
        }
    }
}

fn warn(outcome: &RestoreOutcome, context: &Context) {
    let warn = |text: &str| context.reporter.problem(text);
    outcome.damage.iter().for_each(|text| warn(text));
    outcome.outcomes.failures.iter().for_each(|(key, reason)| warn(&format!("{key}: {reason}")));
    outcome.missing.iter().for_each(|text| warn(&format!("not restored: {text}")));
    outcome.notes.iter().for_each(|text| context.reporter.note(text));
}

/// What a person wants to know after a restore.
pub(super) fn summary(outcome: &RestoreOutcome) -> String {
    let counts = &outcome.outcomes;
    let (head, would) =
        if outcome.dry_run { ("dry run, nothing written:", " would be restored") } else { ("restored", "") };
    let mut text = format!(
        "{head} snapshot {} as of {}{}\n\
         records  {} ({}){would}: {} inserted, {} replaced, {} unchanged, {} left alone, {} removed\n",
        outcome.snapshot.short(),
        show_time(outcome.end),
        if outcome.complete { "" } else { ", INCOMPLETE" },
        show_count(outcome.records),
        show_size(outcome.bytes),
        show_count(counts.inserted),
        show_count(counts.replaced),
        show_count(counts.unchanged),
        show_count(counts.existed),
        show_count(counts.removed),
    );
    if outcome.dry_run {
        return text;
    }
    let others: Vec<String> = [
        ("newer in the target", counts.fresher),
        ("expired", counts.expired),
        ("not chosen", counts.skipped),
        ("without a key to map", counts.unmappable),
        ("changed meanwhile", counts.changed),
        ("ignored errors", counts.ignored),
    ]
    .iter()
    .filter(|(_, count)| *count > 0)
    .map(|(what, count)| format!("{} {what}", show_count(*count)))
    .collect();
    if !others.is_empty() {
        let _ = writeln!(text, "others   {}", others.join(", "));
    }
    if counts.failed > 0 || outcome.lost > 0 {
        let _ = writeln!(text, "missing  {} failed, {} lost to damage", counts.failed, outcome.lost);
    }
    if let Some(verified) = outcome.verified {
        let _ = writeln!(text, "compared {}: {} differ", show_count(verified), show_count(outcome.different));
    }
    let _ = writeln!(
        text,
        "took     {}, peak memory {}",
        show_duration(outcome.duration_seconds),
        show_size(outcome.peak_memory_bytes)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_may_be_renamed_even_with_equal_signs_in_their_names() {
        let names = ["a", "b=c", "d", "d=e"];
        assert_eq!(choose("a", &names).unwrap(), ("a".to_owned(), None));
        assert_eq!(choose("a=x", &names).unwrap(), ("a".to_owned(), Some("x".to_owned())));
        assert_eq!(choose("b=c", &names).unwrap(), ("b=c".to_owned(), None));
        assert_eq!(choose("b=c=x", &names).unwrap(), ("b=c".to_owned(), Some("x".to_owned())));
        for bad in ["x", "a=", "x=a", "d=e=f"] {
            assert!(choose(bad, &names).is_err(), "{bad}");
        }
    }
}
