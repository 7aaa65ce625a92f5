//! `atlas`: timestamps and transactions of `AtlasDB` stores in `PostgreSQL`.

use crate::{
    cli::{
        context::Context,
        exit::{Failure, Status, usage},
        postgres::{AtlasArgs, PostgresArgs},
        units::show_count,
    },
    connector::{
        Options,
        postgres::atlas::{Cleaned, Cleaning, Store, read_timestamp, write_timestamp},
    },
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// `atlas`.
#[derive(Debug, Subcommand)]
pub enum AtlasCommand {
    /// Get a timestamp above all that were handed out, of a store that keeps them itself
    Fetch(FetchArgs),
    /// Make transactions that committed at or after a timestamp never have been; offline
    CleanTransactions(CleanArgs),
    /// See to it that no timestamp up to this one is handed out again; offline
    FastForward(ForwardArgs),
}

/// Where a store is.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The database: `postgresql://[USER@]HOST[:PORT]/DATABASE[?schema=NAME&client=NAME]`, also with `atlasdb:` before it
    #[arg(required_unless_present = "config")]
    pub store: Option<String>,
    /// What stands before the names of its tables (`tablePrefix` in `AtlasDB`'s configuration)
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Its table of tables (`metadataTable` in `AtlasDB`'s configuration) [default: _metadata]
    #[arg(long, value_name = "NAME")]
    pub metadata_table: Option<String>,
    #[command(flatten)]
    config: AtlasConfigArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

/// `AtlasDB`'s own configuration.
#[derive(Debug, Args)]
pub struct AtlasConfigArgs {
    /// Take the place of the store from `AtlasDB`'s configuration, a file of YAML
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    pub config: Option<PathBuf>,
    /// Where in that file the block of `AtlasDB` is [default: `/atlasdb` if it is there, else the whole file]
    #[arg(long, value_name = "PATH", requires = "config")]
    pub config_root: Option<String>,
}

/// Which timestamp.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TimestampArgs {
    /// The timestamp in this file, as `AtlasDB`'s own command writes it
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// This timestamp
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub timestamp: Option<i64>,
}

/// What is done, and how.
#[derive(Debug, Args)]
pub struct OfflineArgs {
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Go on though others are connected to the database
    #[arg(long)]
    pub force: bool,
}

/// `atlas fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Write it to this file, too
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// `atlas clean-transactions`.
#[derive(Debug, Args)]
pub struct CleanArgs {
    #[command(flatten)]
    timestamp: TimestampArgs,
    #[command(flatten)]
    offline: OfflineArgs,
    /// Delete entries, as `AtlasDB`'s own command does [default: write that the transactions were aborted]
    #[arg(long)]
    pub delete: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// `atlas fast-forward`.
#[derive(Debug, Args)]
pub struct ForwardArgs {
    #[command(flatten)]
    timestamp: TimestampArgs,
    #[command(flatten)]
    offline: OfflineArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl StoreArgs {
    fn open(&self) -> Result<Store, Failure> {
        let mut options = Options::default();
        options.add(&self.postgres)?;
        let mut more: Vec<(&str, &str)> = Vec::new();
        let url = match (&self.store, &self.config.config) {
            (Some(store), _) => {
                let place = store.strip_prefix("atlasdb:").unwrap_or(store);
                if !["postgresql://", "postgres://"].iter().any(|scheme| place.starts_with(scheme)) {
                    return Err(usage("a store is postgresql://[USER@]HOST[:PORT]/DATABASE".to_owned()));
                }
                format!("atlasdb:{place}")
            }
            (None, Some(config)) => {
                more.extend(self.config.config_root.as_deref().map(|root| ("config-root", root)));
                let named = AtlasArgs { atlas_config: Some(config.clone()), ..AtlasArgs::default() };
                named.url(None)?.unwrap_or_default()
            }
            (None, None) => return Err(usage("say where the store is".to_owned())),
        };
        more.extend(self.prefix.as_deref().map(|prefix| ("prefix", prefix)));
        more.extend(self.metadata_table.as_deref().map(|table| ("metadata-table", table)));
        Ok(Store::open(&url, &more, &options)?)
    }
}

impl TimestampArgs {
    fn get(&self) -> Result<i64, Failure> {
        match (&self.file, self.timestamp) {
            (Some(file), _) => Ok(read_timestamp(file)?),
            (None, Some(timestamp)) => Ok(timestamp),
            (None, None) => Err(usage("give --file or --timestamp".to_owned())),
        }
    }
}

pub(super) fn run(command: &AtlasCommand, context: &Context) -> Result<Status, Failure> {
    match command {
        AtlasCommand::Fetch(args) => fetch(args, context),
        AtlasCommand::CleanTransactions(args) => clean(args, context),
        AtlasCommand::FastForward(args) => forward(args, context),
    }
}

fn fetch(args: &FetchArgs, context: &Context) -> Result<Status, Failure> {
    let timestamp = args.store.open()?.fetch()?;
    if let Some(file) = &args.file {
        write_timestamp(file, timestamp)?;
    }
    if context.json {
        context.out.json(&json!({ "timestamp": timestamp }));
    } else {
        context.out.text(&format!("{timestamp}\n"));
    }
    Ok(Status::Done)
}

fn clean(args: &CleanArgs, context: &Context) -> Result<Status, Failure> {
    let from = args.timestamp.get()?;
    let OfflineArgs { dry_run, force } = args.offline;
    let cleaning = Cleaning { dry_run, force, delete: args.delete };
    let cleaned = args.store.open()?.clean_transactions(from, cleaning)?;
    if context.json {
        context.out.json(&json!({ "timestamp": from, "dry_run": dry_run, "outcome": cleaned }));
    } else {
        context.out.text(&summary(&cleaned, from, dry_run));
    }
    Ok(Status::Done)
}

fn summary(cleaned: &Cleaned, from: i64, dry_run: bool) -> String {
    let verb = if dry_run { "would be cleaned" } else { "cleaned" };
    let mut text = format!(
        "{} entries of transactions, {} committed at or after {from}: {verb}\n",
        show_count(cleaned.looked_at),
        show_count(cleaned.cleaned)
    );
    for (start, commit) in cleaned.transactions.iter().filter(|_| dry_run) {
        text.push_str(&format!("  began {start}, committed {commit}\n"));
    }
    if dry_run && cleaned.cleaned > cleaned.transactions.len() as u64 {
        text.push_str("  and others\n");
    }
    text
}

fn forward(args: &ForwardArgs, context: &Context) -> Result<Status, Failure> {
    let to = args.timestamp.get()?;
    let OfflineArgs { dry_run, force } = args.offline;
    let (before, after) = args.store.open()?.fast_forward(to, Cleaning { dry_run, force, delete: false })?;
    if context.json {
        context.out.json(&json!({ "timestamp": to, "dry_run": dry_run, "before": before, "after": after }));
    } else {
        let verb = if dry_run { "would be" } else { "is" };
        context.out.text(&format!("the bound of timestamps was {before}, and {verb} {after}\n"));
    }
    Ok(Status::Done)
}
