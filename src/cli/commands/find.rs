//! `find`: which snapshots hold a key.

use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Status},
        output::JsonArray,
        show::safe,
        units::show_time,
    },
    ops::find::find,
};
use clap::Args;

/// `find`.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// A glob over keys as `ls` shows them: int:5, str:ab*, etc/*.conf
    pub pattern: String,
    /// Only in this collection
    #[arg(long, value_name = "NAME")]
    pub collection: Option<String>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

pub(super) fn run(args: &FindArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    context.unread(&repo)?;
    let snapshots = args.narrow.narrow().apply_to_some(&repo, &context.reporter)?;
    let collection = args.collection.as_deref();
    let out = &context.out;
    if context.json {
        let mut array = JsonArray::open(out);
        find(&repo, &snapshots, collection, &args.pattern, &context.reporter, &mut |found| array.push(&found))?;
        array.close("\n");
        return Ok(Status::Done);
    }
    find(&repo, &snapshots, collection, &args.pattern, &context.reporter, &mut |found| {
        out.line(format_args!(
            "{}  {}  {}  {}  {} B",
            found.snapshot.short(),
            show_time(found.time),
            safe(&found.collection),
            crate::record::key::typed(&found.key),
            found.bytes
        ));
    })?;
    Ok(Status::Done)
}
