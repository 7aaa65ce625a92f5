//! `verify`: proves that what is kept can be restored, or names what cannot.

use crate::{
    cli::{
        advice,
        aerospike::AerospikeReadArgs,
        common::NarrowArgs,
        context::{Context, now, threads},
        exit::{Failure, Status, usage},
        interrupt,
        postgres::PostgresArgs,
        show::counted,
        typed,
        units::{show_count, show_duration, show_size},
    },
    ops::{
        select::SnapshotSpec,
        verify::{
            AgainstOptions, AgainstOutcome, ReadData, VerifyOptions, VerifyOutcome, meant_by, verify, verify_against,
            verify_keyless,
        },
    },
    report::TroubleKind,
};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use std::fmt::Write as _;

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only this snapshot [default: all]
    pub snapshot: Option<String>,
    /// Read stored data and decrypt it: all, a percentage, or the next 1/N (N runs read everything once)
    #[arg(
        long,
        value_name = "PERCENT|1/N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "100"
    )]
    pub read_data: Option<ReadData>,
    /// Restore into nothing, checking every record and every count
    #[arg(long)]
    pub restore: bool,
    /// Check all stored bytes against their names; needs no password
    #[arg(long, conflicts_with_all = ["snapshot", "read_data", "restore", "against"])]
    pub keyless: bool,
    /// Compare a live source with the snapshot [default: latest]
    #[arg(
        long,
        value_name = "SOURCE",
        conflicts_with_all = ["read_data", "restore"],
        value_parser = OsStringValueParser::new().map(typed::url)
    )]
    pub against: Option<String>,
    /// With --against: compare no values, only which records there are, their sets and expiries
    #[arg(long, requires = "against")]
    pub metadata_only: bool,
    /// With --against: let the official client read an Aerospike source, for a second opinion
    #[arg(long, requires = "against", conflicts_with = "metadata_only")]
    pub with_client: bool,
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: Option<u16>,
    #[command(flatten)]
    narrow: NarrowArgs,
    /// With --against: how an Aerospike source is read.
    #[command(flatten)]
    pub aerospike: AerospikeReadArgs,
    /// With --against: how a `PostgreSQL` source is read.
    #[command(flatten)]
    pub postgres: PostgresArgs,
}

pub(super) fn run(args: &VerifyArgs, context: &Context) -> Result<Status, Failure> {
    if let Some(url) = &args.against {
        return against(args, url, context);
    }
    let mut unused = args.aerospike.options()?;
    unused.add(&args.postgres)?;
    unused.make_ambient(context.environment.iter().map(String::as_str));
    if unused.given().next().is_some() {
        return Err(usage(
            "--set, --bin, --partitions and their kin say what --against reads: give --against SOURCE".to_owned(),
        ));
    }
    let mut told = Vec::new();
    let outcome = if args.keyless {
        let storage = context.storage()?;
        crate::repo::keys::read_config(&storage)?;
        interrupt::listen();
        verify_keyless(&storage, &context.reporter)?
    } else {
        let repo = context.open()?;
        told = repo.foreign_notes();
        let narrow = args.narrow.narrow();
        let snapshots = match &args.snapshot {
            Some(name) => vec![context.resolve(&repo, name, &narrow)?],
            None => narrow.apply_to_some(&repo, &context.reporter)?,
        };
        let options = VerifyOptions {
            read_data: args.read_data.unwrap_or_default(),
            restore: args.restore,
            parallel: threads(args.parallel),
            read_limit: context.read_limit,
        };
        verify(&repo, &snapshots, &options, &context.reporter)?
    };
    context.reporter.finish();
    if context.json {
        context.out.json(&outcome);
    } else {
        // What opening told already is told once.
        outcome.notes.iter().filter(|note| !told.contains(note)).for_each(|note| context.reporter.note(note));
        if !context.quiet || !outcome.findings.is_empty() {
            context.out.text(&summary(&outcome, args.restore));
        }
    }
    Ok(if outcome.findings.is_empty() { Status::complete(outcome.archived == 0) } else { Status::Bad })
}

/// What a person wants to know after a verification.
pub(super) fn summary(outcome: &VerifyOutcome, restores: bool) -> String {
    let mut text = String::new();
    for finding in &outcome.findings {
        let what = if finding.kind == TroubleKind::Newer { "UNKNOWN" } else { "DAMAGED" };
        let _ = write!(text, "{what} {}", advice::finding(finding.kind, &finding.object, &finding.problem));
        if !finding.snapshots.is_empty() {
            let ids: Vec<String> = finding.snapshots.iter().map(crate::repo::SnapshotId::short).collect();
            let _ = write!(text, " (snapshots {})", ids.join(", "));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "checked  {}", checked(outcome).join(", "));
    let unseen = not_checked(outcome, restores);
    if !unseen.is_empty() {
        let _ = writeln!(text, "not      {}", unseen.join(", "));
    }
    let _ = writeln!(
        text,
        "took     {}, peak memory {}",
        show_duration(outcome.duration_seconds),
        show_size(outcome.peak_memory_bytes),
    );
    let verdict = match outcome.findings.len() {
        0 => "no damage found".to_owned(),
        findings => format!(
            "{}: `rekeep restore --keep-going` gives everything that is intact",
            counted(findings as u64, "finding")
        ),
    };
    text.push_str(&verdict);
    text.push('\n');
    text
}

/// What was not looked at, in words.
fn not_checked(outcome: &VerifyOutcome, restores: bool) -> Vec<String> {
    let mut parts = Vec::new();
    if outcome.packs_read < outcome.packs {
        let left = counted(outcome.packs - outcome.packs_read, "pack");
        parts.push(format!("what is in {left} (--read-data)"));
    }
    if outcome.snapshots > 0 && !restores {
        parts.push("whether every record comes back (--restore)".to_owned());
    }
    parts
}

/// What was looked at, in words.
fn checked(outcome: &VerifyOutcome) -> Vec<String> {
    let mut parts = Vec::new();
    if outcome.objects > 0 {
        parts.push(counted(outcome.objects, "small object"));
    }
    if outcome.snapshots > 0 {
        parts.push(format!("the structure of {}", counted(outcome.snapshots as u64, "snapshot")));
    }
    parts.push(match outcome.packs_read {
        0 => "that all packs are there".to_owned(),
        read => {
            format!("{} of {} packs ({})", show_count(read), show_count(outcome.packs), show_size(outcome.bytes_read))
        }
    });
    if outcome.chunks > 0 {
        parts.push(counted(outcome.chunks, "chunk"));
    }
    if outcome.groups > 0 {
        parts.push(format!("{} of {} of parity", show_count(outcome.groups_read), counted(outcome.groups, "group")));
    }
    if outcome.records > 0 {
        parts.push(format!("{} restored into nothing", counted(outcome.records, "record")));
    }
    parts
}

fn against(args: &VerifyArgs, url: &str, context: &Context) -> Result<Status, Failure> {
    let mut options = args.aerospike.options()?;
    options.add(&args.postgres)?;
    if args.with_client {
        options.set("with_client", true);
    }
    let source = context.source(url, options, &args.aerospike.connect)?;
    let repo = context.open()?;
    let name = args.snapshot.as_deref().unwrap_or("latest");
    let mut narrow = args.narrow.narrow();
    if !matches!(SnapshotSpec::parse(name, now())?, SnapshotSpec::Id(_)) {
        narrow = meant_by(&repo, source.as_ref(), &narrow)?;
    }
    let snapshot = context.resolve(&repo, name, &narrow)?;
    let options = AgainstOptions { metadata_only: args.metadata_only };
    let outcome = verify_against(&repo, &snapshot, source.as_ref(), options, &context.reporter)?;
    context.reporter.finish();
    if context.json {
        context.out.json(&outcome);
    } else {
        outcome.problems.iter().for_each(|problem| context.reporter.problem(problem));
        outcome.examples.iter().for_each(|example| context.out.line(crate::cli::show::safe(example)));
        context.out.text(&against_summary(&outcome));
    }
    let equal = outcome.missing == 0 && outcome.extra == 0 && outcome.different == 0;
    Ok(if equal { Status::complete(outcome.complete) } else { Status::Bad })
}

fn against_summary(outcome: &AgainstOutcome) -> String {
    let unread = match outcome.unread {
        0 => String::new(),
        unread => format!(", {} could not be compared", show_count(unread)),
    };
    format!(
        "compared {} records: {} only in the snapshot, {} only in the source, {} differ, {} differ in metadata \
         only{unread}\n",
        show_count(outcome.records),
        show_count(outcome.missing),
        show_count(outcome.extra),
        show_count(outcome.different),
        show_count(outcome.metadata_only),
    )
}
