//! `source`: lists sources, and goes on with the history of one under another name.

use super::snapshots::no_snapshots;
use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Kept as _, Status},
        show::{counted, render, safe, table},
        units::show_time,
    },
    ops::source::{list, rename},
};
use clap::Subcommand;

/// `source`.
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// List the sources that there are snapshots of
    List {
        /// Which snapshots are looked at
        #[command(flatten)]
        narrow: NarrowArgs,
    },
    /// Give all snapshots of a source another name: what is backed up under that name goes on with their history
    Rename {
        /// The source, by its name or URL
        old: String,
        /// Another source that there is, or a new name (for local sources a path)
        new: String,
        /// The host that it is on now [default: the one it was on]
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
    },
}

pub(super) fn run(command: &SourceCommand, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    match command {
        SourceCommand::List { narrow } => {
            let rows = list(&narrow.narrow().apply(&repo, &context.reporter)?);
            let unread = context.unread(&repo)?;
            if context.json {
                context.out.json(&rows);
                return Ok(Status::Done);
            }
            let mut out = table(&["source", "host", "url", "newest", "snapshots"], &[4]);
            for row in &rows {
                out.add_row(vec![
                    format!("{}:{}", row.source.connector, safe(&row.source.name)),
                    safe(&row.source.host),
                    safe(&row.source.url),
                    row.newest.map_or_else(|| "-".to_owned(), show_time),
                    row.snapshots.to_string(),
                ]);
            }
            context.out.line(match (rows.is_empty(), unread) {
                (true, 0) => "no sources".to_owned(),
                (true, unread) => no_snapshots(unread),
                (false, _) => render(&out),
            });
            Ok(Status::Done)
        }
        SourceCommand::Rename { old, new, host } => {
            context.unread(&repo)?;
            let renamed = rename(&repo, old, new, host.as_deref(), &context.reporter)
                .kept("snapshots that were renamed before this stay so; the same command goes on")?;
            context.reporter.finish();
            if context.json {
                context.out.json(&renamed);
            } else if !context.quiet {
                let count = counted(renamed.renamed.len() as u64, "snapshot");
                let (from, to) = (safe(&renamed.from.name), safe(&renamed.to.name));
                context.out.line(format!("{count} of {from}: now of {to}"));
            }
            Ok(Status::complete(renamed.failed.is_empty()))
        }
    }
}
