//! `status`: how old the newest complete snapshot of each source is, and of each part of it that was backed up.

use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Status},
        show::{brief, render, safe, table},
        units::{parse_duration, show_age, show_time},
    },
    ops::list::{MaxAges, SourceStatus, is_overdue, status},
};
use clap::Args;
use std::time::Duration;

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit with status 1 if a source's newest complete snapshot is older (26h, 2 days)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_age: Option<Duration>,
    /// Exit with status 1 if the last drill that proved a source is older, or there is none (30 days)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_proof_age: Option<Duration>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

pub(super) fn run(args: &StatusArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let snapshots = args.narrow.narrow().apply(&repo, &context.reporter)?;
    let seconds = |age: Option<Duration>| age.map(|age| age.as_secs());
    let max = MaxAges { snapshot: seconds(args.max_age), proof: seconds(args.max_proof_age) };
    let sources = status(&repo, &snapshots, max, &context.reporter)?;
    let bad = is_overdue(&sources, max);
    if context.json {
        context.out.json(&sources);
    } else if sources.is_empty() {
        context.out.line("no snapshots");
    } else {
        let header = ["source", "scope", "newest complete", "as of", "age", "proved", "newest", "snapshots"];
        let mut rows = table(&header, &[4, 5, 7]);
        for source in &sources {
            let age = source.age_seconds.map_or_else(|| "-".to_owned(), show_age);
            rows.add_row(vec![
                format!("{}:{}", source.source.connector, safe(&source.source.name)),
                brief(&source.scope_note),
                source.newest.map_or_else(|| "none".to_owned(), |id| id.short()),
                source.time.map_or_else(|| "-".to_owned(), show_time),
                if source.too_old { format!("{age} TOO OLD") } else { age },
                proof_words(source),
                match (source.latest, source.latest_time) {
                    (Some(id), Some(time)) if !source.latest_complete => {
                        format!("{} of {}, PARTIAL", id.short(), show_time(time))
                    }
                    (Some(id), _) => id.short(),
                    _ => "none".to_owned(),
                },
                match source.ahead.len() {
                    0 => source.snapshots.to_string(),
                    ahead => format!("{}, {ahead} IN THE FUTURE", source.snapshots),
                },
            ]);
        }
        context.out.line(render(&rows));
        // One verification covers all sources.
        let last = sources.iter().find_map(|source| source.last_verify.as_deref());
        context.out.line(format_args!("last verify  {}", last.unwrap_or("none known here")));
    }
    Ok(if bad { Status::Bad } else { Status::Done })
}

/// How old the last proof is, and whether the last drill failed.
fn proof_words(source: &SourceStatus) -> String {
    let proof = &source.proof;
    let mut words = proof.proof_age_seconds.map_or_else(|| "never".to_owned(), show_age);
    if source.proof_too_old {
        words.push_str(" TOO OLD");
    }
    if proof.last_drill_passed == Some(false) {
        words.push_str(", last drill FAILED");
    }
    words
}
