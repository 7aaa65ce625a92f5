//! `replay`: versions go out as changes.
#![cfg_attr(not(feature = "aerospike"), allow(unused, reason = "nothing else takes changes"))]

#[cfg(feature = "aerospike")]
use crate::connector::aerospike::xdr::asbx::{AsbxPlace, AsbxSink};
use crate::{
    cli::{
        common::NarrowArgs,
        context::{Context, now},
        exit::{Failure, Kept as _, Status, usage},
        typed,
        units::{parse_size, show_count, show_size},
    },
    ops::{
        replay::{ReplayOptions, ReplayOutcome, replay},
        select::parse_time,
    },
};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use std::fmt::Write as _;

/// `replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "The files hold every version up to the snapshot's end (`@TIME` ends at that moment), each with its time: \
                        `rekeep capture asbx:FOLDER` takes them in again, and the vendor's restore reads them. See \
                        docs/change-streams.md."
)]
pub struct ReplayArgs {
    /// Which snapshot
    pub snapshot: String,
    /// Where versions go: asbx:FOLDER, or `asbx:s3://BUCKET/FOLDER` and the like
    #[arg(value_parser = OsStringValueParser::new().map(typed::url))]
    pub target: String,
    /// From this time on: of what was before, the version that stood then
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// With --from: leave that version out
    #[arg(long, requires = "from")]
    only_changes: bool,
    /// Only this collection, under another name if one is given (repeatable)
    #[arg(long = "collection", value_name = "NAME[=NEW]", value_parser = parse_collection)]
    collections: Vec<(String, Option<String>)>,
    /// Begin another file once one has so many bytes, 0 for never
    #[arg(long, value_name = "SIZE", default_value = "250M", value_parser = parse_size)]
    file_limit: u64,
    #[command(flatten)]
    narrow: NarrowArgs,
}

#[allow(clippy::unnecessary_wraps, reason = "how values are parsed")]
fn parse_collection(text: &str) -> Result<(String, Option<String>), String> {
    Ok(match text.split_once('=') {
        Some((name, new_name)) => (name.to_owned(), Some(new_name.to_owned())),
        None => (text.to_owned(), None),
    })
}

const KEPT: &str = "nothing that was begun counts: the repository is as it was, and so is the place";

pub(super) fn run(args: &ReplayArgs, context: &Context) -> Result<Status, Failure> {
    #[cfg(feature = "aerospike")]
    if let Some(folder) = args.target.strip_prefix("asbx:") {
        let from = args.from.as_deref().map(|text| parse_time(text, now())).transpose()?;
        let options = ReplayOptions { from, only_changes: args.only_changes, collections: args.collections.clone() };
        let mut sink = AsbxSink::new(AsbxPlace::of(folder)?, Some(args.file_limit));
        let repo = context.open()?;
        let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
        let outcome = replay(&repo, &snapshot, &mut sink, &options, &context.reporter).kept(KEPT)?;
        return Ok(context.tell(&outcome, &outcome.problems, outcome.complete, || summary(&outcome)));
    }
    Err(usage(format!("`{}` takes no changes: asbx:FOLDER does", args.target)))
}

fn summary(outcome: &ReplayOutcome) -> String {
    let mut text = format!(
        "replayed {} versions of {} records up to {}, {} of them deletions\nwritten  {} files, {}\n",
        show_count(outcome.changes),
        show_count(outcome.records),
        outcome.end,
        show_count(outcome.deletions),
        show_count(outcome.files),
        show_size(outcome.bytes)
    );
    if outcome.moved > 0 {
        let _ = writeln!(
            text,
            "moved    {} are there under another time or with another expiry, in their order",
            show_count(outcome.moved)
        );
    }
    if outcome.lost > 0 {
        let _ = writeln!(text, "missing  {} cannot be written there", show_count(outcome.lost));
    }
    text
}
