//! `backup`: backs up a source and says what it came to.

use crate::{
    cli::{
        aerospike::AerospikeArgs,
        asb::AsbReadArgs,
        context::Context,
        deeplake::DeepLakeReadArgs,
        exit::{Failure, Kept as _, Status, usage},
        hooks::{HookArgs, Told},
        postgres::{AtlasArgs, AtlasReadArgs, PostgresArgs},
        typed,
        units::{parse_duration, show_count, show_duration, show_size, show_time},
    },
    connector::{Options, Role, url::without_password},
    ops::{
        Progress as _,
        backup::{Ask, BackupOptions, BackupOutcome, ParentChoice, Resume, backup, backup_chain},
        opening,
        tag::check_tags,
    },
    repo::Repository,
    report::{Warning, WarningKind},
};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use serde_json::json;
use std::{cell::RefCell, path::PathBuf, time::Duration};

/// `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// What to back up: `aerospike://HOST[:PORT][,HOST…][/NAMESPACE]`, `postgresql://HOST/DATABASE`,
    /// `atlasdb:postgresql://HOST/DATABASE[?prefix=P]`, sqlite:FILE, files:DIRECTORY, deeplake:DIRECTORY, jsonl:FILE, asb:PATH
    #[arg(required_unless_present_any = ["stdin", "stdin_from_command", "atlas_config"], value_parser = OsStringValueParser::new().map(typed::url))]
    pub source: Option<String>,
    /// Read every record, also what seems not to have moved (without it, sources that have no change filter read what has)
    #[arg(long, conflicts_with = "differential")]
    pub full: bool,
    /// Read what changed since the newest full backup
    #[arg(long)]
    pub differential: bool,
    /// Store everything anew as a base, not what differs from the parent
    #[arg(long)]
    pub new_base: bool,
    /// Tag the snapshot (repeatable)
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Record this host instead of this machine's name
    #[arg(long, value_name = "HOST", env = "REKEEP_HOST")]
    pub host: Option<String>,
    /// Read and compare, but store nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Say what a full backup would read and store, by a sample; store nothing
    #[arg(long, conflicts_with_all = ["dry_run", "differential", "parent", "skip_if_unchanged", "stdin", "stdin_from_command"])]
    pub estimate: bool,
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: Option<u16>,
    /// zstd level; 0 stores everything as it is
    #[arg(long, value_name = "LEVEL", default_value_t = 1, value_parser = clap::value_parser!(i32).range(0..=22))]
    pub compression: i32,
    /// Do not decompress and compare each chunk before it is stored
    #[arg(long)]
    pub no_check: bool,
    /// Compare with this snapshot, or with none [default: the newest of this source and scope]
    #[arg(long, value_name = "ID|none")]
    pub parent: Option<String>,
    /// Name the source yourself instead of by its address
    #[arg(long, value_name = "NAME")]
    pub source_name: Option<String>,
    /// Leave out paths that match, as `.gitignore` writes patterns (files; repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Files")]
    pub exclude: Vec<String>,
    /// Leave out paths that match a line of this file (files; repeatable)
    #[arg(long = "exclude-file", value_name = "FILE", help_heading = "Files")]
    pub exclude_files: Vec<PathBuf>,
    /// Read only the paths listed in this file (files; repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub files_from: Vec<PathBuf>,
    /// Do not enter other file systems (files)
    #[arg(long, help_heading = "Files")]
    pub one_file_system: bool,
    /// Back up standard input as one file
    #[arg(long, help_heading = "Files")]
    pub stdin: bool,
    /// The name of that file
    #[arg(long, value_name = "NAME", help_heading = "Files", value_parser = OsStringValueParser::new().map(typed::key))]
    pub stdin_name: Option<String>,
    /// Back up what a command writes as one file, and only if the command ends well:
    /// `--stdin-from-command --stdin-name db.sql -- pg_dump db`
    #[arg(long, requires = "command", conflicts_with_all = ["stdin", "source"], help_heading = "Files")]
    pub stdin_from_command: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND", requires = "stdin_from_command")]
    pub command: Vec<String>,
    /// Take it for true that the source lost most or all of what it held, however much that is; remembered for this source
    /// until it grows again
    #[arg(long)]
    pub accept_deletions: bool,
    /// What a source may lose at once, in percent of its records, if it is over 1000 [default: 50; Aerospike, of 64
    /// partitions' records: 20]; 100 for all
    #[arg(long, value_name = "PERCENT", env = "REKEEP_AS_MAX_DELETED", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub max_deleted: Option<u8>,
    /// Take the lines of a file for ordinary JSON objects, and this field's value for a record's key [default: the line's
    /// number, if the first line is not one of rekeep's own]
    #[arg(long, value_name = "FIELD", help_heading = "JSON lines")]
    pub key: Option<String>,
    /// Make no snapshot if nothing changed
    #[arg(long)]
    pub skip_if_unchanged: bool,
    /// Carry on behind what a backup that broke off had finished, whenever that was; fail if there is none [default: if one
    /// of the same source, selection, kind and parent began within a day]
    #[arg(long, conflicts_with_all = ["no_resume", "dry_run"])]
    pub resume: bool,
    /// Read everything, also what a backup that broke off had finished
    #[arg(long)]
    pub no_resume: bool,
    /// Note this often what is finished, so that it need not be read again if the backup breaks off
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub checkpoint_after: Duration,
    /// Of so many backups in a row one reads also what a SQLite database's pages show to be as it was; 1 for each
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub read_all_every: u32,
    /// Where temporary files go
    #[arg(long, value_name = "DIR")]
    pub temp_dir: Option<PathBuf>,
    /// What only Aerospike sources understand.
    #[command(flatten)]
    pub aerospike: AerospikeArgs,
    /// What only files of Aerospike's backup tools understand.
    #[command(flatten)]
    pub asb: AsbReadArgs,
    /// What only `PostgreSQL` sources understand.
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// Which Deep Lake datasets are read.
    #[command(flatten)]
    pub lake: DeepLakeReadArgs,
    /// What only stores of `AtlasDB` understand.
    #[command(flatten)]
    pub atlas: AtlasArgs,
    /// How a store of `AtlasDB` is read.
    #[command(flatten)]
    pub atlas_read: AtlasReadArgs,
    /// What is run before and after.
    #[command(flatten)]
    pub hooks: HookArgs,
}

impl BackupArgs {
    pub(super) fn url(&self) -> String {
        self.source.clone().unwrap_or_else(|| STDIN.to_owned())
    }

    /// The name of the one file, if a stream is read.
    fn stream_name(&self) -> Option<&str> {
        (self.stdin || self.stdin_from_command).then(|| self.stdin_name.as_deref().unwrap_or("stdin"))
    }

    /// What concerns the source, by the names that the connectors have for it.
    pub(super) fn source_options(&self) -> Result<Options, Failure> {
        let mut options = self.aerospike.options()?;
        self.asb.add_to(&mut options)?;
        options.add(&self.postgres)?;
        options.add(&self.atlas_read)?;
        options.add(&self.lake)?;
        options.add(&json!({
            "exclude": self.exclude,
            "exclude_files": typed::paths(&self.exclude_files),
            "files_from": typed::paths(&self.files_from),
            "one_file_system": self.one_file_system,
            "key": self.key,
            "stdin": self.stream_name(),
            "stdin_command": self.command,
        }))?;
        Ok(options)
    }

    fn options(self, context: &Context) -> BackupOptions {
        let ask = match (self.full, self.differential) {
            (true, _) => Ask::Full,
            (false, true) => Ask::Differential,
            (false, false) => Ask::Default,
        };
        let parent = match self.parent.as_deref() {
            None => ParentChoice::Auto,
            Some("none") => ParentChoice::None,
            Some(id) => ParentChoice::Id(id.to_ascii_lowercase()),
        };
        let resume = match (self.resume, self.no_resume) {
            (true, _) => Resume::Always,
            (false, true) => Resume::Never,
            (false, false) => Resume::Auto,
        };
        BackupOptions {
            resume,
            checkpoint_after: self.checkpoint_after,
            read_all_every: self.read_all_every,
            url: self.url(),
            ask,
            new_base: self.new_base,
            tags: self.tags,
            host: self.host.filter(|host| !host.is_empty()),
            source_name: self.source_name,
            parent,
            dry_run: self.dry_run,
            parallel: self.parallel.map_or_else(|| BackupOptions::default().parallel, usize::from),
            compression: self.compression,
            check: !self.no_check,
            skip_if_unchanged: self.skip_if_unchanged,
            read_limit: context.read_limit,
            write_limit: context.write_limit,
            temp_dir: self.temp_dir,
            sweep: self.aerospike.sweep.unwrap_or_default(),
            max_deleted_percent: self.max_deleted.unwrap_or(BackupOptions::default().max_deleted_percent),
            max_lost_percent: self.max_deleted.unwrap_or(BackupOptions::default().max_lost_percent),
            accept_deletions: self.accept_deletions,
            stands_on_parent: false,
            timing: None,
        }
    }
}

/// How standard input is named as a source.
const STDIN: &str = "files:-";

const KEPT: &str = "nothing was committed and all snapshots are as they were; a new run uses what was uploaded";

pub(super) fn run(mut args: BackupArgs, context: &Context) -> Result<Status, Failure> {
    args.source = args.atlas.url(args.source.as_deref())?;
    if args.stdin && args.source.as_deref().is_some_and(|source| source != STDIN) {
        return Err(usage(format!("with --stdin standard input is the source: leave SOURCE out, or write {STDIN}")));
    }
    if args.stdin_name.is_some() && args.stream_name().is_none() {
        return Err(usage("--stdin-name names what --stdin or --stdin-from-command reads"));
    }
    if !args.command.is_empty() && !args.stdin_from_command {
        return Err(usage("a command behind `--` belongs to --stdin-from-command"));
    }
    check_tags(&args.tags)?;
    if !args.hooks.is_given() {
        return work(args, context, None, &RefCell::default());
    }
    // A wrong password is no reason to freeze anything.
    let repo = context.open()?;
    let (hooks, url) = (args.hooks.clone(), args.url());
    let dry_run = args.dry_run || args.estimate;
    let told = Told { verb: "backup", url: &url, dry_run, snapshot: RefCell::default() };
    hooks.around(&told, context, || work(args, context, Some(repo), &told.snapshot))
}

/// What lies between the commands before and after. `made` is told which snapshot was made.
fn work(
    args: BackupArgs,
    context: &Context,
    opened: Option<Repository>,
    made: &RefCell<Option<String>>,
) -> Result<Status, Failure> {
    let open = || opened.map_or_else(|| context.open(), Ok);
    if args.estimate {
        return super::estimate::run(&args, context);
    }
    if let Some(urls) = context.registry.chain(&args.url())? {
        return run_chain(args, &urls, &open()?, context);
    }
    let mut of_source = args.source_options()?;
    let registry = args.atlas.add_to(&mut of_source, (&args.url(), Role::Source), context)?;
    let registry = registry.as_ref().unwrap_or(&context.registry);
    let source = context.source_of(registry, &args.url(), of_source, &args.aerospike.read.connect)?;
    let repo = open()?;
    #[cfg(feature = "sqlite")]
    if let Some(directory) = &args.temp_dir {
        // This process is ours alone.
        crate::connector::sqlite::set_process_temp_dir(directory)?;
    }
    let options = args.options(context);
    let outcome = backup(&repo, source.as_ref(), &options, &context.reporter).kept(KEPT)?;
    context.reporter.finish();
    *made.borrow_mut() = outcome.id.map(|id| id.to_string());
    show(&outcome, context);
    Ok(if outcome.only_changed { Status::Changed } else { Status::complete(outcome.complete) })
}

/// Backs up a chain of states, each as a snapshot of its own; with `--json` each gives a document of its own.
fn run_chain(args: BackupArgs, urls: &[String], repo: &Repository, context: &Context) -> Result<Status, Failure> {
    let mut of_source = args.source_options()?;
    args.atlas.add_to(&mut of_source, (&args.url(), Role::Source), context)?;
    let of_source = context.complete(&args.url(), Role::Source, of_source, &args.aerospike.read.connect)?;
    let options = args.options(context);
    let mut open =
        |url: &str| opening(&without_password(url), &context.reporter, || context.registry.source(url, &of_source));
    let outcomes = backup_chain(repo, urls, &mut open, &options, &context.reporter).kept(KEPT_OF_CHAIN)?;
    context.reporter.finish();
    for outcome in &outcomes {
        show(outcome, context);
    }
    if outcomes.is_empty() && !context.json && !context.quiet {
        context.out.text("nothing new: the repository holds the newest of these backups\n");
    }
    Ok(Status::complete(outcomes.iter().all(|outcome| outcome.complete)))
}

const KEPT_OF_CHAIN: &str = "the backups before the one that failed are snapshots; a new run goes on behind them";

fn show(outcome: &BackupOutcome, context: &Context) {
    if context.json {
        context.out.json(outcome);
    } else {
        outcome.problems.iter().for_each(|problem| context.reporter.problem(problem));
        if outcome.unconfirmed > 0 {
            let words = format!("{} deletions are not believed", show_count(outcome.unconfirmed));
            context.reporter.warning(&Warning::new(WarningKind::DeletionsUnconfirmed, "", words));
        }
        if !context.quiet {
            context.out.text(&summary(outcome));
        }
    }
}

/// What a person wants to know after a backup.
pub(super) fn summary(outcome: &BackupOutcome) -> String {
    let stats = &outcome.stats;
    let kind = serde_json::to_value(outcome.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    let what = match (&outcome.id, outcome.dry_run) {
        (Some(id), _) => format!("snapshot {}", id.short()),
        (None, true) => "dry run, nothing stored".to_owned(),
        (None, false) => "nothing changed, no snapshot made".to_owned(),
    };
    let parent = outcome.parent.map_or_else(|| "no parent".to_owned(), |id| format!("parent {}", id.short()));
    let complete = match (outcome.complete, outcome.only_changed) {
        (true, _) => "complete",
        (false, true) => "CHANGED WHILE IT WAS READ",
        (false, false) => "INCOMPLETE",
    };
    let resumed = outcome.resumed.map_or_else(String::new, |lease| {
        format!(
            "resumed  {} ranges with {} records of the backup {}\n",
            show_count(stats.resumed_ranges),
            show_count(stats.resumed_records),
            lease.short()
        )
    });
    let expired = match stats.expired {
        0 => String::new(),
        count => format!(", {} expired", show_count(count)),
    };
    format!(
        "{what}: {}, {complete}, {parent}, as of {}\n{resumed}\
         records  {} seen: {} new, {} changed, {} deleted{expired}; {} in the snapshot\n\
         bytes    {} read, {} new or changed, {} added to the repository\n\
         blocks   {} written; chunks: {} new, {} reused\n\
         took     {}, peak memory {}\n",
        kind.unwrap_or_default(),
        show_time(outcome.end),
        show_count(stats.seen),
        show_count(stats.new),
        show_count(stats.changed),
        show_count(stats.deleted),
        show_count(outcome.records),
        show_size(stats.bytes_read),
        show_size(stats.bytes_changed),
        show_size(stats.bytes_added),
        show_count(stats.blocks),
        show_count(stats.chunks_new),
        show_count(stats.chunks_reused),
        show_duration(stats.duration_seconds),
        show_size(stats.peak_memory_bytes),
    )
}
