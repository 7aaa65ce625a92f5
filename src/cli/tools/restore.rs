//! `asrestore`: files into a cluster's namespace, streaming.

use super::{
    super::{
        context::Context,
        exit::{Failure, usage},
        output::complain,
    },
    cluster::ClusterArgs,
    config::ConfigArgs,
    files::FileArgs,
    storage::StorageArgs,
    tell,
    told::ToldArgs,
};
use crate::{
    connector::{Options, Overwrite},
    ops::{
        copy::{CopyOptions, copy},
        opening,
    },
};
use clap::{ArgAction, Parser};
use serde_json::json;
use std::path::PathBuf;

/// What `asrestore` takes.
#[derive(Debug, Parser)]
#[allow(dead_code, reason = "some flags are taken so that scripts that give them go on, and change nothing")]
#[command(
    name = "rekeep-asrestore",
    version,
    about = "Restores ASB files into an Aerospike cluster, with the flags of asrestore",
    disable_help_flag = true,
    // As getopt_long: the last of a flag counts, and a name may be cut where it stays the only one.
    args_override_self = true,
    infer_long_args = true,
    after_help = "Exit status: 0 if everything is there, else 1."
)]
pub struct RestoreArgs {
    /// Show this
    #[arg(short = 'Z', long, short_alias = 'O', aliases = ["options", "usage"], action = ArgAction::Help)]
    help: Option<bool>,
    /// Restore the files of this folder
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["input_file", "directory_list"], conflicts_with_all = ["input_file", "directory_list"])]
    directory: Option<PathBuf>,
    /// Restore this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "directory_list")]
    input_file: Option<PathBuf>,
    /// Restore the files of these folders, in this order, separated by commas
    #[arg(long, value_name = "DIRS", value_delimiter = ',')]
    directory_list: Vec<PathBuf>,
    /// Where those folders lie
    #[arg(long, value_name = "DIR", requires = "directory_list")]
    parent_directory: Option<PathBuf>,
    /// `SOURCE[,TARGET]`: the namespace of the files, and another one to write to
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only these sets, separated by commas
    #[arg(short, long = "set-list", value_delimiter = ',')]
    sets: Vec<String>,
    /// Only these bins, separated by commas
    #[arg(short = 'B', long = "bin-list", value_delimiter = ',')]
    bins: Vec<String>,
    /// No records
    #[arg(short = 'R', long)]
    no_records: bool,
    /// No secondary indexes
    #[arg(short = 'I', long)]
    no_indexes: bool,
    /// No UDF modules
    #[arg(short = 'F', long)]
    no_udfs: bool,
    /// Leave records that exist
    #[arg(short, long, conflicts_with_all = ["replace", "no_generation"])]
    unique: bool,
    /// Replace records as a whole instead of bin by bin
    #[arg(short, long)]
    replace: bool,
    /// Write records whatever their generation
    #[arg(short = 'g', long)]
    no_generation: bool,
    /// Count records that cannot be written, and be done all the same
    #[arg(short = 'K', long)]
    ignore_record_error: bool,
    /// Write each record by a command of its own
    #[arg(long)]
    disable_batch_writes: bool,
    /// Records in a batch
    #[arg(long, default_value_t = 128)]
    batch_size: u16,
    /// Batches under way at once
    #[arg(long, default_value_t = 32)]
    max_async_batches: u16,
    /// Accepted: connections are made when they are needed
    #[arg(long, hide = true)]
    warm_up: Option<u32>,
    /// Accepted: one loop serves all connections
    #[arg(long, hide = true)]
    event_loops: Option<u32>,
    /// Seconds that records live longer
    #[arg(short = 'l', long, default_value_t = 0)]
    extra_ttl: u64,
    /// Files read at once
    #[arg(short = 't', long = "threads", visible_alias = "parallel", default_value_t = 20)]
    threads: u16,
    /// Make indexes and modules after the records
    #[arg(short = 'L', long = "indexes-last", visible_alias = "apply-metadata-last")]
    indexes_last: bool,
    /// Wait until indexes are built
    #[arg(short = 'w', long)]
    wait: bool,
    /// Records a second at most; 0 for no limit
    #[arg(long, default_value_t = 0)]
    records_per_second: u32,
    /// `BANDWIDTH,TPS`: MiB and records a second at most
    #[arg(short = 'N', long)]
    nice: Option<String>,
    /// MiB a second at most; 0 for no limit
    #[arg(long, default_value_t = 0)]
    bandwidth: u64,
    /// Milliseconds before records are sent again
    #[arg(long, default_value_t = 1000)]
    retry_base_interval: u64,
    /// By which that grows
    #[arg(long, default_value_t = 1.0)]
    retry_multiplier: f64,
    /// Times that records are sent again; 0 for as long as a partition may stall
    #[arg(long, default_value_t = 0)]
    retry_max_attempts: u32,
    /// Microseconds before records are sent again (the older spelling)
    #[arg(long, value_name = "MICROS")]
    retry_scale_factor: Option<u64>,
    /// Read the files and say what is wrong with them; no cluster is asked
    #[arg(long)]
    validate: bool,
    /// Go on behind what is damaged, and name what is lost (the exit status is 1)
    #[arg(long)]
    salvage: bool,
    /// Where it is noted which files are done, for going on
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// Go on behind what that file says
    #[arg(long = "continue", requires = "state_file")]
    go_on: bool,
    /// Milliseconds that a command may take (the older spelling of --total-timeout)
    #[arg(short = 'T', long, value_name = "MS")]
    timeout: Option<u64>,
    /// Tell more
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    told: ToldArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl RestoreArgs {
    /// The places of the files, as a URL.
    fn url(&self) -> Result<String, Failure> {
        let within =
            |path: &PathBuf| self.parent_directory.as_ref().map_or_else(|| path.clone(), |parent| parent.join(path));
        let places: Vec<PathBuf> = match (&self.directory, &self.input_file) {
            (Some(place), _) | (None, Some(place)) => vec![place.clone()],
            (None, None) => self.directory_list.iter().map(within).collect(),
        };
        let places: Vec<String> = places.iter().map(|place| place.to_string_lossy().into_owned()).collect();
        self.storage.url(&places)
    }

    fn source(&self) -> Result<Options, Failure> {
        let mut options = Options::default();
        self.files.add_to(&mut options)?;
        self.storage.add_to(&mut options)?;
        options.add(&json!({
            "sets": self.sets,
            "bins": self.bins,
            "no_records": self.no_records,
            "no_indexes": self.no_indexes,
            "no_udfs": self.no_udfs,
            "salvage": self.salvage,
        }))?;
        Ok(options)
    }

    fn target(&self, records_per_second: u32) -> Result<Options, Failure> {
        let mut options = Options::default();
        self.cluster.add_to(&mut options)?;
        let pause =
            self.retry_scale_factor.map_or(self.retry_base_interval as f64 / 1000.0, |micros| micros as f64 / 1e6);
        options.add(&json!({
            "disable_batch_writes": self.disable_batch_writes,
            "ignore_record_error": self.ignore_record_error,
            "no_indexes": self.no_indexes,
            "no_udfs": self.no_udfs,
            "replace_indexes": true,
            "replace_modules": true,
            "no_wait": !self.wait && self.indexes_last,
            "records_per_second": (records_per_second > 0).then_some(records_per_second),
        }))?;
        if !self.no_indexes {
            options.set("indexes", if self.indexes_last { "last" } else { "first" });
        }
        if let Some(timeout) = self.timeout.filter(|timeout| *timeout > 0) {
            options.set("total_timeout", timeout as f64 / 1000.0);
        }
        options.set("batch_size", self.batch_size.max(1));
        options.set("max_async_batches", self.max_async_batches.clamp(1, 256));
        options.set("extra_ttl", self.extra_ttl as f64);
        options.set("retry_base_interval", pause);
        options.set("retry_multiplier_percent", (self.retry_multiplier.clamp(1.0, 100.0) * 100.0).round() as u32);
        options.set("retry_max_attempts", self.retry_max_attempts);
        Ok(options)
    }

    const fn overwrite(&self) -> Overwrite {
        match (self.unique, self.replace, self.no_generation) {
            (true, ..) => Overwrite::Never,
            (_, true, true) => Overwrite::Always,
            (_, true, false) => Overwrite::IfNewer,
            (_, false, true) => Overwrite::Merge,
            (_, false, false) => Overwrite::MergeIfNewer,
        }
    }

    /// MiB and records a second.
    fn limits(&self) -> Result<(u64, u32), Failure> {
        let Some(text) = &self.nice else { return Ok((self.bandwidth, self.records_per_second)) };
        let wrong = || usage(format!("--nice {text}: write BANDWIDTH,TPS"));
        let number = |text: &str| text.trim().parse().map_err(|_| wrong());
        // A number alone is the bandwidth, as for a backup.
        let Some((bandwidth, tps)) = text.split_once(',') else { return Ok((number(text)?, self.records_per_second)) };
        Ok((number(bandwidth)?, tps.trim().parse().map_err(|_| wrong())?))
    }
}

pub(super) fn run(args: &RestoreArgs, context: &Context) -> Result<bool, Failure> {
    let told = args.told.open(&context.reporter)?;
    let url = args.url()?;
    let source_options = args.source()?;
    if args.validate {
        let seen = context.registry.inspect(&url, &source_options)?;
        complain(seen.text.trim_end());
        return Ok(seen.sound);
    }
    let source = context.registry.source(&url, &source_options)?;
    let (mut renames, mut only) = (Vec::new(), None);
    let mut namespace = String::new();
    if let Some(text) = args.namespace.as_deref() {
        let (old, new) = text.split_once(',').unwrap_or((text, text));
        renames.push((old.to_owned(), new.to_owned()));
        only = Some(old.to_owned());
        new.clone_into(&mut namespace);
    }
    let (bandwidth, records_per_second) = args.limits()?;
    let options = args.target(records_per_second)?;
    let target_url = args.cluster.url(&namespace)?;
    let target = opening(&target_url, &context.reporter, || context.registry.target(&target_url, &options))?;
    let how = CopyOptions {
        parallel: usize::from(args.threads).max(1),
        overwrite: args.overwrite(),
        renames,
        only,
        state_file: args.state_file.clone(),
        go_on: args.go_on,
        bandwidth: (bandwidth > 0).then_some(bandwidth << 20),
        // Without generations it is the last of several folders that counts.
        in_order: args.no_generation && args.directory_list.len() > 1,
        ..CopyOptions::default()
    };
    let outcome = copy(source.as_ref(), target.as_ref(), &how, &told)?;
    context.reporter.finish();
    let (made, counts) = (|kind: &str| outcome.made.get(kind).copied().unwrap_or_default(), &outcome.outcomes);
    // The space before a colon is theirs, too.
    told.line(&format!(
        "SUMMARY:{}:{}:{}:{}:{}:{} :{}:{}:{}",
        made("modules"),
        made("indexes"),
        outcome.records,
        counts.expired,
        counts.skipped,
        counts.ignored,
        counts.inserted + counts.replaced,
        counts.existed,
        counts.fresher
    ));
    tell(&outcome, "restored");
    Ok(outcome.complete)
}
