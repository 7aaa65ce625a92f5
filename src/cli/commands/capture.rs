//! `capture`: keeps every version of records, from a stream of changes.
#![cfg_attr(
    not(any(feature = "aerospike", feature = "postgresql")),
    allow(unused, reason = "no other connector hands out changes")
)]

#[cfg(feature = "aerospike")]
mod live;
#[cfg(feature = "postgresql")]
mod logical;
mod metrics;

#[cfg(feature = "aerospike")]
use crate::connector::aerospike::xdr::asbx::{AsbxFolder, AsbxPlace};
use crate::{
    cli::{
        context::Context,
        exit::{Failure, Kept as _, Status, usage},
        open::arguments_of,
        typed,
        units::{parse_duration, show_count, show_size},
    },
    ops::{
        capture::{CaptureOutcome, capture_files, stream_source},
        stream::{Arrival, StreamOptions},
    },
};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use std::{fmt::Write as _, path::PathBuf, time::Duration};

/// `capture`.
#[derive(Debug, Args)]
#[command(
    after_help = "Every version stays in the repository with its time: `restore @TIME` goes back to any moment of a stream, \
                        `history` shows each version, `prune --keep-versions-within` drops old ones. See docs/change-streams.md."
)]
pub struct CaptureArgs {
    /// Where changes come from: `aerospike://HOST[:PORT][,HOST…]/NAMESPACE` (XDR ships them; Enterprise Edition), or asbx:FOLDER
    /// (the files of an XDR backup; also `asbx:s3://BUCKET/FOLDER` and the like), or `postgresql://HOST/DATABASE` (by logical
    /// replication)
    #[arg(value_parser = OsStringValueParser::new().map(typed::url))]
    pub source: String,
    /// Tag the snapshot (repeatable)
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Whose changes these are, instead of the name that the source gives itself
    #[arg(long, value_name = "NAME")]
    pub source_name: Option<String>,
    /// zstd level, 0 for none
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(0..=22))]
    pub compression: i32,
    #[command(flatten)]
    pace: PaceArgs,
    #[cfg(feature = "aerospike")]
    #[command(flatten)]
    live: live::LiveArgs,
    #[cfg(feature = "postgresql")]
    #[command(flatten)]
    logical: logical::LogicalArgs,
}

/// How often what is captured as it is made becomes a snapshot.
#[derive(Debug, Args)]
pub struct PaceArgs {
    /// A change waits at most so long for its snapshot; it is acknowledged when it is in one
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    every: Duration,
    /// End when everything that was there is kept: of a cluster, when no node lags behind; of a database, what was committed by
    /// the start
    #[arg(long)]
    once: bool,
    /// How often the source is asked how far it is
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    info_polling_period: Duration,
    /// Keep how far the capture is in this file, as Prometheus reads it from files (the textfile collector)
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

const KEPT: &str = "what was committed stays; the same command goes on from there";

/// Refuses the flags of other kinds of changes than the source gives.
fn refuse_foreign(args: &CaptureArgs, context: &Context) -> Result<(), Failure> {
    let is = |schemes: &[&str]| schemes.iter().any(|scheme| args.source.starts_with(scheme));
    let refuse = |flags: Vec<String>, of: &str| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        context.refuse_flags_of(&flags, of, &args.source)
    };
    #[cfg(feature = "aerospike")]
    if !is(&["aerospike:"]) {
        refuse(arguments_of::<live::LiveArgs>(), "aerospike: sources")?;
    }
    #[cfg(feature = "postgresql")]
    if !is(&["postgresql:", "postgres:"]) {
        refuse(arguments_of::<logical::LogicalArgs>(), "postgresql: sources")?;
    }
    Ok(())
}

pub(super) fn run(args: &CaptureArgs, context: &Context) -> Result<Status, Failure> {
    let options = StreamOptions {
        compression: args.compression,
        write_limit: context.write_limit,
        tags: args.tags.clone(),
        ..StreamOptions::default()
    };
    if ["asbx:", "aerospike:", "postgresql:", "postgres:"].iter().any(|scheme| args.source.starts_with(scheme)) {
        refuse_foreign(args, context)?;
    }
    #[cfg(feature = "aerospike")]
    if let Some(folder) = args.source.strip_prefix("asbx:") {
        let mut feed = AsbxFolder::open(AsbxPlace::of(folder)?)?;
        let repo = context.open()?;
        let identity = crate::connector::ChangeFeed::identity(&feed);
        let source = stream_source(
            &repo,
            &identity,
            crate::connector::Scope::default(),
            &args.source,
            args.source_name.as_deref(),
        );
        // Files may be read again: what they hold is in the order of its times.
        let options = StreamOptions { arrival: Arrival::Times, ..options };
        let outcome = capture_files(&repo, &mut feed, &source, &options, &context.reporter).kept(KEPT)?;
        return Ok(context.tell(&outcome, &outcome.problems, outcome.complete, || summary(&outcome)));
    }
    #[cfg(feature = "aerospike")]
    if args.source.starts_with("aerospike:") {
        return live::run(args, options, context);
    }
    #[cfg(feature = "postgresql")]
    if ["postgresql:", "postgres:"].iter().any(|scheme| args.source.starts_with(scheme)) {
        return logical::run(args, &options, context);
    }
    Err(usage(format!(
        "`{}` gives no changes: aerospike://HOST/NAMESPACE, postgresql://HOST/DATABASE and asbx:FOLDER do",
        args.source
    )))
}

fn summary(outcome: &CaptureOutcome) -> String {
    let mut text = String::new();
    match (outcome.snapshot, outcome.end) {
        (Some(snapshot), Some(end)) => {
            let _ = writeln!(text, "captured snapshot {} as of {end}", snapshot.short());
        }
        _ => text.push_str("captured nothing: there was no change\n"),
    }
    let _ = writeln!(
        text,
        "changes  {}, {} of them deletions; the repository grew by {}",
        show_count(outcome.changes),
        show_count(outcome.deletions),
        show_size(outcome.bytes_added)
    );
    if outcome.lifted > 0 {
        let _ = writeln!(
            text,
            "times    {} were stamped before an older version of their record, and got its time",
            show_count(outcome.lifted)
        );
    }
    if outcome.ahead > 0 {
        let _ = writeln!(
            text,
            "clocks   {} were stamped in the future, and got the time at which they came",
            show_count(outcome.ahead)
        );
    }
    if outcome.lost > 0 {
        let _ = writeln!(text, "missing  {} could not be read or kept", show_count(outcome.lost));
    }
    text
}
