//! `inspect`: what a URL names, looked at without backing it up.

use crate::{
    cli::{
        asb::AsbCipherArgs,
        context::Context,
        exit::{Failure, Status},
        typed,
    },
    connector::Options,
};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};

/// `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// What to look at: asb:PATH (a file, a folder, `-`)
    #[arg(value_parser = OsStringValueParser::new().map(typed::url))]
    pub source: String,
    /// How they are encrypted.
    #[command(flatten)]
    pub cipher: AsbCipherArgs,
}

pub(super) fn run(args: &InspectArgs, context: &Context) -> Result<Status, Failure> {
    let mut options = Options::default();
    args.cipher.add_to(&mut options)?;
    let seen = context.registry.inspect(&args.source, &options)?;
    if context.json {
        context.out.json(&seen.document);
    } else {
        context.out.text(&seen.text);
    }
    Ok(if seen.sound { Status::Done } else { Status::Bad })
}
