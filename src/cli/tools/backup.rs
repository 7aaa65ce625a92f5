//! `asbackup`: a cluster's namespace into files, streaming.

use super::{
    super::{
        context::Context,
        exit::{Failure, usage},
        output::complain,
        units::{show_count, show_size},
    },
    cluster::ClusterArgs,
    config::ConfigArgs,
    files::FileArgs,
    refuse,
    storage::StorageArgs,
    tell,
    told::{Told, ToldArgs},
};
use crate::{
    connector::{
        Options, Overwrite, SessionOptions, SourceUrl,
        asb::{
            codec::{Form, RecordParts, put_record},
            remove_files,
        },
    },
    ops::{
        OpsError,
        copy::{CopyOptions, copy},
        opening,
    },
    record::{Digest, KeyRange, RecordBatch, local_zone},
};
use clap::{ArgAction, Parser};
use jiff::{Timestamp, Zoned, civil, tz::TimeZone};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What the names of backup files end in, and that of the file of what is finished.
const SUFFIX: &str = ".asb";
const STATE_SUFFIX: &str = ".asb.state";
const DEFAULT_FILE_MIB: u64 = 250;

/// What `asbackup` takes.
#[derive(Debug, Parser)]
#[allow(dead_code, reason = "some flags are taken so that scripts that give them go on, and change nothing")]
#[command(
    name = "rekeep-asbackup",
    version,
    about = "Backs up a namespace of an Aerospike cluster into ASB files, with the flags of asbackup",
    disable_help_flag = true,
    // As getopt_long: the last of a flag counts, and a name may be cut where it stays the only one.
    args_override_self = true,
    infer_long_args = true,
    after_help = "Exit status: 0 if everything is there, else 1."
)]
pub struct BackupArgs {
    /// Show this
    #[arg(short = 'Z', long, short_alias = 'O', aliases = ["options", "usage"], action = ArgAction::Help)]
    help: Option<bool>,
    /// The namespace
    #[arg(short, long)]
    namespace: String,
    /// Write files into this folder
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["output_file", "estimate"], conflicts_with_all = ["output_file", "estimate"])]
    directory: Option<PathBuf>,
    /// Write one file; `-` for standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "estimate")]
    output_file: Option<PathBuf>,
    /// Say how large a record is in a file on average, and how large all would be; write nothing
    #[arg(short, long)]
    estimate: bool,
    /// Records that the estimate looks at
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    estimate_samples: u64,
    /// Only these sets, separated by commas
    #[arg(short, long = "set", visible_alias = "set-list", value_delimiter = ',')]
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
    #[arg(short = 'u', long)]
    no_udfs: bool,
    /// (not there: records without bins cannot be restored)
    #[arg(short = 'x', long, hide = true)]
    no_bins: bool,
    /// Scans at once
    #[arg(short = 'w', long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Records a second at most; 0 for no limit
    #[arg(short = 'L', long, default_value_t = 0)]
    records_per_second: u32,
    /// MiB a second at most; 0 for no limit
    #[arg(short = 'N', long = "nice", visible_alias = "bandwidth", default_value_t = 0)]
    nice: u64,
    /// Only records changed at or after `YYYY-MM-DD[_HH:MM:SS]`, or `HH:MM:SS` today, in local time
    #[arg(short = 'a', long, value_name = "TIME")]
    modified_after: Option<String>,
    /// Only records changed before this
    #[arg(short = 'b', long, value_name = "TIME")]
    modified_before: Option<String>,
    /// Only records that never expire
    #[arg(long)]
    no_ttl_only: bool,
    /// Only records that pass this expression, in base64
    #[arg(short = 'f', long, value_name = "BASE64")]
    filter_exp: Option<String>,
    /// Only these partitions: `BEGIN[-COUNT]` or a digest in base64, separated by commas
    #[arg(short = 'X', long, conflicts_with = "after_digest")]
    partition_list: Option<String>,
    /// Only what follows this digest in its partition, and all partitions behind it
    #[arg(short = 'D', long)]
    after_digest: Option<String>,
    /// Only what these nodes master: ids or `HOST:PORT`, separated by commas
    #[arg(short = 'l', long, value_delimiter = ',', conflicts_with_all = ["partition_list", "after_digest", "rack_list"])]
    node_list: Vec<String>,
    /// Only what nodes in these racks master, separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["partition_list", "after_digest"])]
    rack_list: Vec<u32>,
    /// Read from copies in these racks where there are any, in this order
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["rack_list", "node_list"])]
    prefer_racks: Vec<u32>,
    /// About so many records at most; 0 for all
    #[arg(short = 'M', long, default_value_t = 0)]
    max_records: u64,
    /// MiB after which another file is begun [default: 250, in a bucket 64]
    #[arg(short = 'F', long)]
    file_limit: Option<u64>,
    /// What the names of files begin with
    #[arg(short = 'q', long)]
    output_file_prefix: Option<String>,
    /// Bytes as they are, not in base64
    #[arg(short = 'C', long)]
    compact: bool,
    /// How hard to compress
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true)]
    compression_level: Option<i32>,
    /// Remove the backup files that are in the way
    #[arg(short = 'r', long)]
    remove_files: bool,
    /// Remove them, and do no more
    #[arg(long)]
    remove_artifacts: bool,
    /// Where it is noted what is finished, for going on [default: `NAMESPACE.asb.state` beside the files]
    #[arg(long, value_name = "FILE")]
    state_file_dst: Option<PathBuf>,
    /// Go on behind what this file says
    #[arg(short = 'c', long = "continue", value_name = "FILE")]
    go_on: Option<PathBuf>,
    /// Accepted: what is under way when a run is stopped is read again
    #[arg(long, hide = true)]
    scan_page_size: Option<u64>,
    /// Accepted: tries are spaced by the connection itself
    #[arg(long, hide = true, alias = "retry-delay")]
    sleep_between_retries: Option<u64>,
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

impl BackupArgs {
    fn check(&self) -> Result<(), Failure> {
        refuse("--no-bins", self.no_bins, "records without bins cannot be restored by any tool")?;
        refuse(
            "--continue",
            self.go_on.is_some() && self.directory.is_none(),
            "only files in a folder (--directory) are gone on with",
        )?;
        let is_noted = self.go_on.is_some() || self.state_file_dst.is_some();
        refuse(
            "--continue",
            is_noted && self.is_far(),
            "files are put into a bucket when all of them are whole: there is nothing to go on with",
        )?;
        let [after, before] = self.times()?;
        let is_never = after.zip(before).is_some_and(|(after, before)| after >= before);
        refuse("--modified-before", is_never, "it is no later than --modified-after: nothing was modified in between")
    }

    /// The times of `--modified-after` and `--modified-before`.
    fn times(&self) -> Result<[Option<i64>; 2], Failure> {
        let read = |text: &String| {
            let now = Timestamp::now().to_zoned(local_zone().map_err(usage)?);
            local_time(text, &now)
                .ok_or_else(|| usage(format!("`{text}` is no time: write YYYY-MM-DD[_HH:MM:SS] or HH:MM:SS")))
        };
        let time = |text: &Option<String>| text.as_ref().map(read).transpose();
        Ok([time(&self.modified_after)?, time(&self.modified_before)?])
    }

    /// Scans at once: a limit of records is one of one scan.
    fn scans(&self) -> usize {
        if self.max_records > 0 { 1 } else { usize::from(self.parallel) }
    }

    fn source(&self) -> Result<Options, Failure> {
        let mut options = Options::default();
        self.cluster.add_to(&mut options)?;
        let number = |number: u64| (number > 0).then_some(number);
        options.add(&json!({
            "sets": self.sets,
            // A set that has no records yet stops no line of a script that names it.
            "allow_missing_set": true,
            "bins": self.bins,
            "no_records": self.no_records,
            "no_indexes": self.no_indexes,
            "no_udfs": self.no_udfs,
            "no_ttl_only": self.no_ttl_only,
            "filter_exp": self.filter_exp,
            "node_list": self.node_list,
            "rack_list": self.rack_list,
            "prefer_racks": self.prefer_racks,
            "records_per_second": number(self.records_per_second.into()),
            "max_records": number(self.max_records),
            "sample_records": number(self.estimate_samples).filter(|_| self.estimate),
        }))?;
        let times = self.times()?;
        for (name, time) in ["modified_after", "modified_before"].into_iter().zip(times) {
            if let Some(time) = time {
                options.set(name, time);
            }
        }
        if let Some(list) = &self.partition_list {
            options.set(
                "partitions",
                partitions(list).ok_or_else(|| {
                    usage(format!(
                        "--partition-list {list}: write BEGIN[-COUNT] or a digest in base64, separated by commas \
                         (FIRST..=LAST is how `rekeep backup --partitions` takes them)"
                    ))
                })?,
            );
        } else if let Some(digest) = &self.after_digest {
            options.set("partitions", format!("after:{digest}"));
        }
        Ok(options)
    }

    /// Where files go, as it was typed.
    fn place(&self) -> String {
        let place = self.directory.as_ref().or(self.output_file.as_ref());
        place.map_or_else(|| "-".to_owned(), |place| place.display().to_string())
    }

    fn is_far(&self) -> bool {
        self.storage.is_far(&self.place())
    }

    /// The place of the files, and how they are written.
    fn target(&self) -> Result<(String, Options), Failure> {
        let mut options = Options::default();
        self.files.add_to(&mut options)?;
        self.storage.add_to(&mut options)?;
        let place = self.place();
        options.add(&json!({
            "output_file_prefix": self.output_file_prefix,
            "compact": self.compact,
            "compress": self.files.compress.as_ref().map(|how| how.to_ascii_lowercase()),
            "compression_level": self.compression_level.filter(|level| *level != -1),
            "keep_files": self.directory.is_some(),
            "add_files": self.go_on.is_some(),
            "single_file": self.output_file.is_some(),
        }))?;
        // A file is held in memory on its way to a bucket: there the limit is the connector's own.
        let limit = self.file_limit.or((!self.storage.is_far(&place)).then_some(DEFAULT_FILE_MIB));
        if let Some(limit) = limit {
            options.set("file_limit", limit.saturating_mul(1 << 20));
        }
        Ok((self.storage.url(&[place])?, options))
    }

    fn state_file(&self) -> Option<PathBuf> {
        let directory = self.directory.as_ref().filter(|_| !self.is_far())?;
        let name = format!("{}{STATE_SUFFIX}", self.output_file_prefix.as_ref().unwrap_or(&self.namespace));
        let beside =
            self.state_file_dst.clone().or_else(|| self.go_on.clone()).unwrap_or_else(|| directory.join(&name));
        Some(if beside.is_dir() { beside.join(name) } else { beside })
    }

    /// Removes the backup files where new ones go.
    fn remove(&self) -> Result<(), Failure> {
        let failed = |path: &std::path::Path, error| crate::cli::context::io_error("removing", path, error);
        // A pipe or device is no backup.
        if let Some(file) = self.output_file.as_ref().filter(|file| file.is_file()) {
            std::fs::remove_file(file).map_err(|error| failed(file, error))?;
        }
        let Some(directory) = self.directory.as_ref().filter(|directory| directory.exists()) else { return Ok(()) };
        for entry in std::fs::read_dir(directory).map_err(|error| failed(directory, error))? {
            let path = entry.map_err(|error| failed(directory, error))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let is_part = name.starts_with(".rekeep-") && path.extension().is_some_and(|it| it == "part");
            let is_ours = is_part || [SUFFIX, STATE_SUFFIX].iter().any(|suffix| name.ends_with(suffix));
            if path.is_file() && is_ours {
                std::fs::remove_file(&path).map_err(|error| failed(&path, error))?;
            }
        }
        Ok(())
    }
}

pub(super) fn run(args: &BackupArgs, context: &Context) -> Result<bool, Failure> {
    let told = args.told.open(&context.reporter)?;
    args.check()?;
    if args.remove_artifacts {
        if args.is_far() {
            let (url, options) = args.target()?;
            remove_files(&SourceUrl::parse(&url)?, &options)?;
        } else {
            args.remove()?;
        }
        return Ok(true);
    }
    // What cannot be written is said before anybody is asked.
    let aim = if args.estimate { None } else { Some(args.target()?) };
    let (url_of_source, source_options) = (args.cluster.url(&args.namespace)?, args.source()?);
    let source =
        opening(&url_of_source, &context.reporter, || context.registry.source(&url_of_source, &source_options))?;
    let Some((url, options)) = aim else { return estimate(args, source.as_ref(), &told) };
    let target = context.registry.target(&url, &options)?;
    if args.remove_files && args.directory.is_some() && !args.is_far() {
        // The last backup goes only when the cluster has been seen, and what was asked for in it.
        let look = || source.begin(&SessionOptions { parallel: 1, ..SessionOptions::default() });
        drop(opening(&url_of_source, &context.reporter, look)?);
        args.remove()?;
    }
    let how = CopyOptions {
        parallel: args.scans(),
        // In a bucket the old files go when the new ones are there, and so does one that is written alone.
        overwrite: if args.remove_files && (args.is_far() || args.output_file.is_some()) {
            Overwrite::Always
        } else {
            Overwrite::Never
        },
        state_file: args.state_file(),
        go_on: args.go_on.is_some(),
        bandwidth: (args.nice > 0).then_some(args.nice << 20),
        ..CopyOptions::default()
    };
    let mut made: Vec<&Path> = Vec::new();
    if let Some(directory) = args.directory.as_ref().filter(|_| !args.is_far()) {
        made.extend(directory.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()));
        std::fs::create_dir_all(directory)
            .map_err(|error| crate::cli::context::io_error("making", directory, error))?;
    }
    let outcome = copy(source.as_ref(), target.as_ref(), &how, &told).inspect_err(|_| {
        // Folders that were made for nothing; one with anything in it stays.
        made.iter().all(|folder| std::fs::remove_dir(folder).is_ok());
        if let Some(state) = how.state_file.as_ref().filter(|state| state.exists()) {
            complain(&format!("what is finished is noted; go on with --continue {}", state.display()));
        }
    })?;
    context.reporter.finish();
    let made = |kind: &str| outcome.made.get(kind).copied().unwrap_or_default();
    let (records, bytes) = (outcome.records, outcome.bytes);
    told.line(&format!(
        "SUMMARY:{records}:{}:{}:{bytes}:{}",
        made("indexes"),
        made("modules"),
        bytes.checked_div(records).unwrap_or_default()
    ));
    tell(&outcome, "backed up");
    Ok(outcome.complete)
}

/// Looks at some records, and says how large they are in a file.
fn estimate(args: &BackupArgs, source: &dyn crate::connector::Source, told: &Told<'_>) -> Result<bool, Failure> {
    let session = source.begin(&SessionOptions { parallel: 1, ..SessionOptions::default() })?;
    let form = Form { compact: args.compact, ..Form::default() };
    let (mut count, mut sum, mut squares) = (0u64, 0f64, 0f64);
    let mut all = 0;
    for (at, found) in session.collections().iter().enumerate() {
        all += found.estimated_records;
        let mut stream = session.read(at, &KeyRange::all())?;
        let (mut batch, mut text) = (RecordBatch::new(), Vec::new());
        while stream.next_batch(&mut batch).map_err(|error| OpsError::Failed(error.to_string()))? {
            for row in batch.rows() {
                let digest = Digest::from_sort_key(row.key).map(|digest| digest.0).unwrap_or_default();
                let cells: Vec<_> = row.shape.cells(row.value).filter_map(Result::ok).collect();
                let bins =
                    row.shape.names().iter().zip(&cells).map(|(name, cell)| (name.as_slice(), cell.tag.0, cell.bytes));
                let parts = RecordParts {
                    namespace: found.name.as_bytes(),
                    set: row.meta.set,
                    user_key: row.meta.user_key,
                    digest: &digest,
                    generation: row.meta.generation,
                    void_time: crate::connector::void_time::void_time_of(row.meta.expiry).unwrap_or_default(),
                };
                text.clear();
                if put_record(&mut text, &parts, bins, form).is_ok() {
                    count += 1;
                    sum += text.len() as f64;
                    squares += (text.len() as f64).powi(2);
                }
            }
        }
    }
    if count == 0 {
        complain("there is no record to look at");
        return Ok(true);
    }
    let mean = sum / count as f64;
    let deviation = (squares / count as f64 - mean * mean).max(0.0).sqrt();
    // 99 % of such samples are no further off.
    let margin = 2.576 * deviation / (count as f64).sqrt();
    told.line(&format!("ESTIMATE:{all}:{:.0}", (mean + margin).ceil()));
    complain(&format!(
        "a record has {mean:.0} bytes in a file, +- {margin:.0}, by {} of about {}: about {} in all, before compression",
        show_count(count),
        show_count(all),
        show_size((mean * all as f64) as u64)
    ));
    Ok(true)
}

/// A time as the tools write it, in milliseconds since 1970-01-01 UTC.
fn local_time(text: &str, now: &Zoned) -> Option<i64> {
    let zone: &TimeZone = now.time_zone();
    let time = if let Ok(time) = civil::Time::strptime("%H:%M:%S", text) {
        now.date().to_datetime(time)
    } else if let Ok(time) = civil::DateTime::strptime("%Y-%m-%d_%H:%M:%S", text) {
        time
    } else {
        civil::Date::strptime("%Y-%m-%d", text).ok()?.to_datetime(civil::Time::midnight())
    };
    Some(time.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
}

/// `BEGIN[-COUNT]` and digests as the connector takes them.
fn partitions(list: &str) -> Option<String> {
    let one = |text: &str| -> Option<String> {
        let text = text.trim();
        if let Ok(only) = text.parse::<u16>() {
            return (only < 4096).then(|| only.to_string());
        }
        if let Some((begin, count)) = text.split_once('-')
            && let (Ok(begin), Ok(count)) = (begin.parse::<u16>(), count.parse::<u16>())
        {
            let end = begin.checked_add(count.checked_sub(1)?)?;
            return (end < 4096).then(|| format!("{begin}..={end}"));
        }
        Digest::parse(text).map(|_| text.to_owned())
    };
    let all: Option<Vec<String>> = list.split(',').map(one).collect();
    Some(all?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_a_beginning_and_a_count() {
        assert_eq!(partitions("0-4096").as_deref(), Some("0..=4095"));
        assert_eq!(partitions("5,10-3").as_deref(), Some("5,10..=12"));
        assert_eq!(partitions("EjRWeJq83vEjRRI0VniavN7xI0U=").as_deref(), Some("EjRWeJq83vEjRRI0VniavN7xI0U="));
        for bad in ["", "4096", "0-4097", "5-0", "x", "1,,2", "0..=9"] {
            assert_eq!(partitions(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_local() {
        let now: Zoned = "2026-11-28T12:00:00+02:00[+02:00]".parse().unwrap();
        assert_eq!(local_time("2026-11-27_10:00:00", &now), Some(1_795_766_400_000));
        assert_eq!(local_time("2026-11-27", &now), Some(1_795_730_400_000));
        assert_eq!(local_time("10:00:00", &now), Some(1_795_852_800_000));
        assert_eq!(local_time("soon", &now), None);
    }
}
