//! `capture postgresql://…`: what a server's log tells.

use super::{CaptureArgs, KEPT, metrics::Measured, summary};
use crate::{
    cli::{
        context::Context,
        exit::{Failure, Kept as _, Status},
        interrupt,
    },
    connector::{Options, SourceUrl, postgres::logical::Database},
    ops::{
        backup::BackupOptions,
        capture::{
            logical::{Logical, LogicalOptions, capture_logical},
            stream_source,
        },
        stream::{StreamOptions, StreamSource},
    },
    repo::Repository,
};
use clap::Args;
use std::path::PathBuf;

/// How changes of a `PostgreSQL` database are captured.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changes of a PostgreSQL database")]
pub struct LogicalArgs {
    /// The name of the replication slot and of the publication [default: `rekeep_` and digits of the repository, the database and what of it is meant]
    #[arg(long, value_name = "NAME", value_parser = parse_slot)]
    slot: Option<String>,
    /// Drop the slot, and the publication that was made with it, and do nothing else
    #[arg(long, conflicts_with = "once")]
    stop_slot: bool,
    /// Where a base sorts what does not fit into memory
    #[arg(long, value_name = "DIRECTORY")]
    temp_dir: Option<PathBuf>,
    #[command(flatten)]
    connect: crate::cli::postgres::PostgresArgs,
}

fn parse_slot(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain && (1..=63).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("lower-case letters, digits and underscores, 63 at most".to_owned())
    }
}

/// A name that no other repository's capture of the same database has, nor that of another part of it.
fn usual_slot(repo: &Repository, source: &StreamSource) -> String {
    let text = format!("{} {} {}", repo.id(), source.source.name, source.scope);
    let hash = blake3::derive_key("rekeep 1 slot", text.as_bytes());
    format!("rekeep_{}", data_encoding::HEXLOWER.encode(&hash[..4]))
}

pub(super) fn run(args: &CaptureArgs, stream: &StreamOptions, context: &Context) -> Result<Status, Failure> {
    let logical = &args.logical;
    let url = SourceUrl::parse(&args.source)?;
    let mut options = Options::default();
    options.add(&logical.connect)?;
    let database = Database::new(&url, &options)?;
    interrupt::listen();
    let repo = context.open()?;
    let source =
        stream_source(&repo, &database.identity(), database.scope(), &args.source, args.source_name.as_deref());
    let slot = logical.slot.clone().unwrap_or_else(|| usual_slot(&repo, &source));
    if logical.stop_slot {
        let mut follower = database.connect(&slot)?;
        follower.claim(&interrupt::requested)?;
        let (had_slot, had_publication) = follower.remove()?;
        let said = |had: bool| if had { "dropped" } else { "not there" };
        context.reporter.note(&format!("slot {slot}: {}; publication: {}", said(had_slot), said(had_publication)));
        return Ok(Status::Done);
    }
    let backup = BackupOptions {
        url: args.source.clone(),
        source_name: args.source_name.clone(),
        compression: args.compression,
        read_limit: context.read_limit,
        write_limit: context.write_limit,
        temp_dir: logical.temp_dir.clone(),
        ..BackupOptions::default()
    };
    let labels = [("source", source.source.name.as_str()), ("slot", slot.as_str())];
    let measured = Measured::new(&context.reporter, args.pace.metrics_file.clone(), &labels);
    let options = LogicalOptions {
        slot: slot.clone(),
        every: args.pace.every,
        once: args.pace.once,
        poll: args.pace.info_polling_period,
    };
    let outcome = capture_logical(&Logical {
        repo: &repo,
        database: &database,
        source: &source,
        stream,
        backup: &backup,
        options: &options,
        progress: &measured,
    })
    .kept(KEPT)?;
    Ok(context.tell(&outcome, &outcome.problems, outcome.complete, || summary(&outcome)))
}
