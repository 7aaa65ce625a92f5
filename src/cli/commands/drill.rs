//! `drill`: proves that a snapshot can be restored, and keeps a report; lists and shows reports.

use crate::{
    cli::{
        aerospike_target::AerospikeTargetArgs,
        common::NarrowArgs,
        context::{Context, io_error, now, threads},
        exit::{CliError, Failure, Status, usage},
        postgres::PostgresArgs,
        show::{brief, render, safe, table},
        typed,
        units::{parse_duration, show_age, show_count, show_duration, show_size, show_time},
    },
    connector::{Options, Target},
    ops::{
        OpsError,
        command::Bounded,
        drill::{Assertion, DrillOptions, DrillOutcome, DrillPlace, SampleSize, drill, page},
    },
    repo::{
        Repository,
        drills::{Check, DrillName, DrillReport, Drills, Goals, KeptDrill},
    },
    report::ErrorKind,
};
use clap::{
    Args, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use serde_json::{Value as Json, json};
use std::{fmt::Write as _, path::PathBuf, time::Duration};

/// `drill`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DrillArgs {
    #[command(flatten)]
    run: Box<RunArgs>,
    #[command(subcommand)]
    command: Option<DrillCommand>,
}

/// A drill.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which snapshot
    #[arg(default_value = "latest")]
    snapshot: String,
    /// An empty target to restore to, such as `aerospike://HOST:PORT/NAMESPACE`; what is restored stays there [default: a scratch
    /// folder, which goes afterwards]
    #[arg(long, value_name = "URL", value_parser = OsStringValueParser::new().map(typed::url))]
    target: Option<String>,
    /// Where scratch folders are made [default: `drills` below the catalogs]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Only a part of the records, drawn anew each time: 5% or a number
    #[arg(long, value_name = "PERCENT|N")]
    sample: Option<SampleSize>,
    /// Run this shell command on what was restored; if it ends badly the drill has failed (repeatable)
    #[arg(long = "assert", value_name = "COMMAND", value_parser = parse_assertion)]
    assertions: Vec<String>,
    /// How long each of them may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5min")]
    assert_timeout: Duration,
    /// The drill fails if the snapshot is older than this (24h)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_rpo: Option<Duration>,
    /// The drill fails if the restore takes longer than this (1h)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_rto: Option<Duration>,
    /// Keep no report: all that the keys of a reader allow
    #[arg(long)]
    no_report: bool,
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: Option<u16>,
    #[command(flatten)]
    narrow: NarrowArgs,
    #[command(flatten)]
    aerospike: AerospikeTargetArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

/// A command that does nothing ends well whatever was restored.
fn parse_assertion(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty, and would assert nothing".to_owned()) } else { Ok(text.to_owned()) }
}

/// What else there is.
#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// List reports, and what is missing or damaged among them
    List {
        /// Only those of this source: its name, or `connector:name`
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
    },
    /// Show a report, checked against the repository's keys and the report before it
    Show {
        /// Its name as `list` gives it, the first digits of it, or `latest`
        report: String,
        /// Only those of this source
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
        /// Write it to this file as a page to print
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

pub(super) fn run(args: &DrillArgs, context: &Context) -> Result<Status, Failure> {
    match &args.command {
        None => work(&args.run, context),
        Some(DrillCommand::List { source }) => list(source.as_deref(), context),
        Some(DrillCommand::Show { report, source, html }) => show(report, source.as_deref(), html.as_ref(), context),
    }
}

fn work(args: &RunArgs, context: &Context) -> Result<Status, Failure> {
    let mut options = args.aerospike.options()?;
    options.add(&args.postgres)?;
    options.add(&json!({ "single_records": args.sample.is_some() }))?;
    options.make_ambient(["single_records"]);
    let repo = context.open()?;
    let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
    let scratch = match &args.scratch {
        Some(scratch) => scratch.clone(),
        None => context.cache_dir()?.join("drills"),
    };
    // What a URL names does not depend on where the command runs.
    let scratch = std::path::absolute(&scratch).map_err(|error| io_error("finding", &scratch, error))?;
    let millis = |goal: Option<Duration>| goal.map(|goal| u64::try_from(goal.as_millis()).unwrap_or(u64::MAX));
    let what = DrillOptions {
        place: args.target.clone().map_or(DrillPlace::Scratch, DrillPlace::Given),
        sample: args.sample,
        assertions: args.assertions.iter().map(|command| assertion(command, args.assert_timeout)).collect(),
        goals: Goals { rpo_millis: millis(args.max_rpo), rto_millis: millis(args.max_rto) },
        keep: !args.no_report,
        parallel: threads(args.parallel),
        read_limit: context.read_limit,
        write_limit: context.write_limit,
        ..DrillOptions::new(scratch)
    };
    let open = |url: &str| open(url, &options, args, context);
    let outcome = drill(&repo, &snapshot, &open, &what, &context.reporter)?;
    context.reporter.finish();
    tell(&outcome, context);
    Ok(match (&outcome.said.passed, &outcome.not_kept, &outcome.left) {
        (false, ..) => Status::Bad,
        (true, None, None) => Status::Done,
        (true, ..) => Status::Incomplete,
    })
}

fn open(url: &str, options: &Options, args: &RunArgs, context: &Context) -> Result<Box<dyn Target>, OpsError> {
    context.target(url, options.clone(), &args.aerospike.connect).map_err(|failure| match failure.error {
        CliError::Ops(error) => error,
        error @ CliError::Io { .. } => OpsError::refused(ErrorKind::Io, error.to_string()),
    })
}

fn assertion(command: &str, timeout: Duration) -> Assertion {
    let shell = ["sh", "-c", command].map(str::to_owned).to_vec();
    Assertion { name: command.to_owned(), run: Bounded { command: shell, timeout } }
}

fn tell(outcome: &DrillOutcome, context: &Context) {
    if context.json {
        return context.out.json(outcome);
    }
    outcome.said.notes.iter().for_each(|note| context.reporter.note(note));
    if let Some(words) = &outcome.not_kept {
        context.reporter.problem(&format!("the report could not be kept: {words}"));
    }
    if !context.quiet {
        context.out.text(&text(&outcome.said));
        if let Some(name) = outcome.report {
            context.out.line(format_args!("report     {name}"));
        }
    }
}

fn seconds(millis: u64) -> String {
    show_duration(millis as f64 / 1000.0)
}

fn text(report: &DrillReport) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "drill {} of {}:{}, snapshot {} of {}",
        if report.passed { "PASSED" } else { "FAILED" },
        report.source.connector,
        safe(&report.source.name),
        report.snapshot.short(),
        show_time(report.snapshot_end),
    );
    let _ = writeln!(text, "restored   {} records ({})", show_count(report.records), show_size(report.bytes));
    let _ = writeln!(text, "compared   {}: {} differ", show_count(report.compared), show_count(report.different));
    let rto = report.rto_millis.map_or_else(|| "not everything came back".to_owned(), seconds);
    let _ = writeln!(text, "recovery   point {} before the drill, time {rto}", show_age(report.rpo_millis / 1000));
    for check in report.checks.iter().filter(|check| !check.passed || check.name.starts_with("assertion")) {
        let _ = writeln!(text, "{}", check_line(check));
    }
    text
}

fn check_line(check: &Check) -> String {
    let result = if check.passed { "passed" } else { "FAILED" };
    let words = if check.words.is_empty() { String::new() } else { format!(": {}", safe(&check.words)) };
    format!("{result}     {}{words}", safe(&check.name))
}

/// Whether a report is about a source.
fn is_of(kept: &KeptDrill, source: Option<&str>) -> bool {
    let own = &kept.report.source;
    source.is_none_or(|source| {
        own.name == source || own.url == source || source == format!("{}:{}", own.connector, own.name)
    })
}

fn list(source: Option<&str>, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let Drills { mut kept, problems, .. } = repo.drills()?;
    kept.retain(|kept| is_of(kept, source));
    kept.sort_by_key(|kept| (kept.report.started, kept.name));
    if context.json {
        let all: Vec<Json> = kept.iter().map(shown).collect();
        context.out.json(&json!({ "reports": all, "problems": problems }));
    } else if kept.is_empty() {
        context.out.line("no reports");
    } else {
        let mut rows =
            table(&["report", "source", "drilled", "result", "snapshot", "records", "point", "time"], &[5, 6, 7]);
        for KeptDrill { name, report, .. } in &kept {
            let source = brief(&format!("{}:{}", report.source.connector, report.source.name));
            let here = report.location == repo.place_hash();
            let result = if report.passed { "passed" } else { "FAILED" };
            rows.add_row(vec![
                short(*name),
                source,
                show_time(report.started),
                if here { result.to_owned() } else { format!("{result}, elsewhere") },
                report.snapshot.short(),
                show_count(report.records),
                show_age(report.rpo_millis / 1000),
                report.rto_millis.map_or_else(|| "-".to_owned(), seconds),
            ]);
        }
        context.out.line(render(&rows));
    }
    for problem in &problems {
        context.reporter.problem(problem);
    }
    Ok(if problems.is_empty() { Status::Done } else { Status::Bad })
}

fn short(name: DrillName) -> String {
    let name = name.to_string();
    let (series, number) = name.split_once('/').unwrap_or((&name, ""));
    format!("{}/{number}", &series[..8])
}

/// A report as JSON.
fn shown(kept: &KeptDrill) -> Json {
    let mut json = json!(kept.report);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("report".to_owned(), json!(kept.name));
        fields.insert("hash".to_owned(), json!(kept.hash));
    }
    json
}

/// Finds the report that is meant.
fn find(repo: &Repository, wanted: &str, source: Option<&str>) -> Result<(KeptDrill, Vec<String>), Failure> {
    let none = || OpsError::refused(ErrorKind::NotFound, format!("there is no report {wanted}"));
    let Drills { mut kept, problems, .. } = repo.drills()?;
    kept.retain(|kept| is_of(kept, source));
    let found = if wanted == "latest" {
        let mut series: Vec<_> = kept.iter().map(|kept| kept.name.series).collect();
        series.dedup();
        if series.len() > 1 {
            let words = "reports of several sources are there: say which source is meant";
            return Err(OpsError::refused(ErrorKind::SeveralSources, words).into());
        }
        kept.into_iter().max_by_key(|kept| kept.name)
    } else {
        let (prefix, number) =
            wanted.split_once('/').ok_or_else(|| usage(format!("`{wanted}` is no report: write DIGITS/N")))?;
        let is_it = |kept: &KeptDrill| {
            let name = kept.name.to_string();
            !prefix.is_empty() && name.starts_with(prefix) && name.split_once('/').is_some_and(|(_, own)| own == number)
        };
        let mut found = kept.into_iter().filter(is_it);
        let first = found.next();
        if found.next().is_some() {
            return Err(OpsError::refused(ErrorKind::Ambiguous, format!("several reports begin so: {wanted}")).into());
        }
        first
    };
    let Some(found) = found else {
        // It may be among those that cannot be read.
        let damaged = problems.iter().find(|problem| wanted != "latest" && problem.contains(wanted));
        return Err(damaged.map_or_else(none, |words| OpsError::refused(ErrorKind::Damaged, words.clone())).into());
    };
    let series = found.name.to_string();
    let series = series.split('/').next().unwrap_or_default();
    let problems = problems.into_iter().filter(|problem| problem.contains(series)).collect();
    Ok((found, problems))
}

fn show(wanted: &str, source: Option<&str>, html: Option<&PathBuf>, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let (kept, problems) = find(&repo, wanted, source)?;
    if let Some(path) = html {
        let text = page(&repo.id(), &kept, &problems);
        std::fs::write(path, text).map_err(|error| io_error("writing", path, error))?;
    }
    if context.json {
        let mut json = shown(&kept);
        json["problems"] = json!(problems);
        context.out.json(&json);
    } else if html.is_none() || context.verbose {
        let report = &kept.report;
        context.out.text(&text(report));
        for check in report.checks.iter().filter(|check| check.passed && !check.name.starts_with("assertion")) {
            context.out.line(check_line(check));
        }
        let age = (now().as_millis() - report.started.as_millis()).max(0) as u64 / 1000;
        context.out.line(format_args!(
            "drilled    {} ({} ago), for {}",
            show_time(report.started),
            show_age(age),
            seconds(u64::try_from(report.finished.as_millis() - report.started.as_millis()).unwrap_or(0))
        ));
        context.out.line(format_args!("place      {}, restored to {}", safe(&report.place), safe(&report.target)));
        context.out.line(format_args!(
            "host       {}, {} {}",
            safe(&report.host),
            safe(&report.program.name),
            safe(&report.program.version)
        ));
        context.out.line(format_args!("report     {}, signed by an operator, BLAKE3 {}", kept.name, kept.hash));
        report.notes.iter().for_each(|note| context.out.line(format_args!("note       {}", safe(note))));
    }
    for problem in &problems {
        context.reporter.problem(problem);
    }
    Ok(if problems.is_empty() { Status::Done } else { Status::Bad })
}
