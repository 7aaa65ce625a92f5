//! `diff`: what differs between two snapshots.

use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Status},
        output::JsonArray,
        show::safe,
        units::show_count,
    },
    ops::diff::{Change, diff},
};
use clap::Args;
use serde_json::json;

/// `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The first snapshot
    pub a: String,
    /// The second snapshot
    pub b: String,
    /// Only this collection
    pub collection: Option<String>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

pub(super) fn run(args: &DiffArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let narrow = args.narrow.narrow();
    let a = context.resolve(&repo, &args.a, &narrow)?;
    let b = context.resolve(&repo, &args.b, &narrow)?;
    let collection = args.collection.as_deref();
    let out = &context.out;
    if context.json {
        out.text(&format!("{{\"a\": \"{}\", \"b\": \"{}\", \"changes\": ", a.id, b.id));
        let mut array = JsonArray::open(out);
        let counts = diff(&repo, &a, &b, collection, &context.reporter, &mut |collection, key, change| {
            array.push(&json!({ "collection": collection, "key": key, "change": change }));
        })?;
        array.close(", \"counts\": ");
        out.json(&counts);
        out.line("}");
        return Ok(Status::Done);
    }
    let counts = diff(&repo, &a, &b, collection, &context.reporter, &mut |collection, key, change| {
        let sign = match change {
            Change::Added => '+',
            Change::Changed => 'M',
            Change::Removed => '-',
        };
        out.line(format_args!("{sign} {}  {}", safe(collection), crate::record::key::typed(key)));
    })?;
    for count in counts {
        out.line(format_args!(
            "{}: {} added, {} changed, {} removed",
            safe(&count.collection),
            show_count(count.added),
            show_count(count.changed),
            show_count(count.removed)
        ));
    }
    Ok(Status::Done)
}
