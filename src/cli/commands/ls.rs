//! `ls`: a snapshot's collections, or a collection's records.

use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Status},
        output::JsonArray,
        show::{brief, render, safe, table},
        units::{show_count, show_size, show_time},
    },
    ops::list::{self, DatasetRow, RecordRow},
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
    /// Every commit of datasets, of all or of this collection
    #[cfg(feature = "deeplake")]
    #[arg(long)]
    commits: bool,
    #[command(flatten)]
    narrow: NarrowArgs,
}

pub(super) fn run(args: &LsArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
    let out = &context.out;
    #[cfg(feature = "deeplake")]
    if args.commits {
        return super::dr::commits(&repo, &snapshot, args.collection.as_deref(), context);
    }
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
    let datasets = row.collections.iter().filter_map(|one| Some((one.name.as_str(), one.dataset.as_ref()?)));
    if let Some(text) = refs(datasets) {
        out.line("");
        out.line(text);
    }
    Ok(Status::Done)
}

/// The branches and tags of datasets as a table; `None` if there are none.
fn refs<'a>(datasets: impl Iterator<Item = (&'a str, &'a DatasetRow)>) -> Option<String> {
    let mut rows = table(&["dataset", "branch", "tag", "commits", "version", "time", "message"], &[3]);
    for (name, dataset) in datasets {
        for branch in &dataset.branches {
            let mut version = branch.head.as_deref().map_or_else(|| "-".to_owned(), safe);
            if !branch.committed {
                version.push_str(" (not committed)");
            }
            rows.add_row(vec![
                safe(name),
                brief(&branch.name),
                String::new(),
                branch.commits.map_or_else(|| "-".to_owned(), show_count),
                version,
                branch.time.map_or_else(|| "-".to_owned(), show_time),
                brief(branch.message.as_deref().unwrap_or_default()),
            ]);
        }
        for tag in &dataset.tags {
            let [branch, tag_name] = [&tag.branch, &tag.name].map(|text| brief(text));
            rows.add_row(vec![safe(name), branch, tag_name, String::new(), safe(&tag.version)]);
        }
    }
    (!rows.is_empty()).then(|| render(&rows))
}

fn line(row: &RecordRow) -> String {
    let mut text = format!("{}  {} B", crate::record::key::typed(&row.key), row.bytes);
    if row.generation != 0 {
        let _ = write!(text, "  generation {}", row.generation);
    }
    if let Some(expiry) = row.expiry {
        let _ = write!(text, "  expires {}", show_time(expiry));
    }
    text
}
