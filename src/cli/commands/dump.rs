//! `dump`: one record's value on standard output.

use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Status},
        typed,
    },
    ops::{OpsError, dump::dump},
};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};

/// `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Which snapshot
    pub snapshot: String,
    /// Which collection
    pub collection: String,
    /// Which record
    #[arg(value_parser = OsStringValueParser::new().map(typed::key))]
    pub key: String,
    /// Just the bytes of this cell (column, bin)
    #[arg(long, value_name = "NAME")]
    pub cell: Option<String>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

pub(super) fn run(args: &DumpArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
    let mut out = &context.out;
    match dump(&repo, &snapshot, &args.collection, &args.key, args.cell.as_deref(), &mut out) {
        // The reader went away, or the disk is full: what is told of it is told where all output ends.
        Err(OpsError::Failed(_) | OpsError::Interrupted) if context.out.closed() => Ok(Status::Done),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Status::Done),
    }
}
