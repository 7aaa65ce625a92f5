//! `status`: how old each source's newest complete snapshot is.

use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Status},
        show::{render, safe, table},
        units::{parse_duration, show_age, show_time},
    },
    ops::list::{is_overdue, status},
};
use clap::Args;
use std::time::Duration;

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit with status 1 if a source's newest complete snapshot is older (26h, 2 days)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_age: Option<Duration>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

pub(super) fn run(args: &StatusArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let snapshots = args.narrow.narrow().apply(&repo)?;
    let max_age_seconds = args.max_age.map(|age| age.as_secs());
    let sources = status(&repo, &snapshots, max_age_seconds)?;
    let bad = is_overdue(&sources, max_age_seconds);
    if context.json {
        context.out.json(&sources);
    } else if sources.is_empty() {
        context.out.line("no snapshots");
    } else {
        let header = ["source", "newest complete", "as of", "age", "snapshots"];
        let mut rows = table(&header, &[3, 4]);
        for source in &sources {
            let age = source.age_seconds.map_or_else(|| "-".to_owned(), show_age);
            rows.add_row(vec![
                format!("{}:{}", source.source.connector, safe(&source.source.name)),
                source.newest.map_or_else(|| "none".to_owned(), |id| id.short()),
                source.time.map_or_else(|| "-".to_owned(), show_time),
                if source.too_old { format!("{age} TOO OLD") } else { age },
                source.snapshots.to_string(),
            ]);
        }
        context.out.line(render(&rows));
        // One verification covers all sources.
        let last = sources.iter().find_map(|source| source.last_verify.as_deref());
        context.out.line(format_args!("last verify  {}", last.unwrap_or("none known here")));
    }
    Ok(if bad { Status::Bad } else { Status::Done })
}
