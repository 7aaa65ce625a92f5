//! `ls`: a snapshot's collections, or a collection's records.

use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Status},
        output::JsonArray,
        show::{render, safe, table},
        units::{show_count, show_size, show_time},
    },
    ops::list::{self, RecordRow},
};
use clap::Args;
use std::fmt::Write as _;

/// `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Which snapshot
    pub snapshot: String,
    /// Which collection's records
    pub collection: Option<String>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

pub(super) fn run(args: &LsArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
    let out = &context.out;
    if let Some(collection) = &args.collection {
        if context.json {
            let mut array = JsonArray::open(out);
            list::records(&repo, &snapshot, collection, &context.reporter, &mut |row| array.push(&row))?;
            array.close("\n");
        } else {
            list::records(&repo, &snapshot, collection, &context.reporter, &mut |row| out.line(line(&row)))?;
        }
        return Ok(Status::Done);
    }
    let row = list::row(&snapshot, repo.clock().now());
    if context.json {
        out.json(&row.collections);
        return Ok(Status::Done);
    }
    let mut collections = table(&["collection", "records", "bytes"], &[1, 2]);
    for collection in &row.collections {
        let [records, bytes] = [show_count(collection.records), show_size(collection.bytes)]
            .map(|figure| if collection.counted { figure } else { format!("at most {figure}") });
        collections.add_row(vec![safe(&collection.name), records, bytes]);
    }
    out.line(format_args!("snapshot {} as of {}, {}", row.id, show_time(row.time), safe(&row.source.url)));
    out.line(render(&collections));
    Ok(Status::Done)
}

fn line(row: &RecordRow) -> String {
    let mut text = format!("{}  {} B", safe(&row.key), row.bytes);
    if row.generation != 0 {
        let _ = write!(text, "  generation {}", row.generation);
    }
    if let Some(expiry) = row.expiry {
        let _ = write!(text, "  expires {}", show_time(expiry));
    }
    text
}
