//! Backing up and restoring an Aerospike namespace, held against bare wire readers and writers and against the bound.
//!
//! `cargo bench --bench cluster -- --records 1000000 --bytes 300 --runs 3 --phases all --workdir DIR [--server HOST:PORT]`
//!
//! Without `--server` the test server runs in this process, on the same cores: CPU seconds are those of the measured
//! processes, wall times hold the server's work too. See `benches/README.md`.

mod bare;
mod common;
mod parts;

use bare::{Bare, Task};
use common::{Cost, Flags, Outcome, bytes_below, measure, median, remove, workdir};
use parts::{build_all, read_all};
use rekeep::{
    connector::{
        SessionOptions, Source, SourceUrl,
        aerospike::{AerospikeOptions, AerospikeSource},
    },
    record::{Clock, KeyRange, RecordBatch, SystemClock},
};
use rekeep_aerospike_server::{ClockMode, Config, Handle, NamespaceConfig, Server};
use std::{ffi::OsStr, path::PathBuf};

const FLAGS: [&str; 15] = [
    "records",
    "bytes",
    "runs",
    "level",
    "workdir",
    "rekeep",
    "server",
    "namespace",
    "restored",
    "bare",
    "reader",
    "address",
    "every",
    "version",
    "phases",
];

/// One record in this many changes between two backups.
const CHANGED: u64 = 100;
/// One in this many is deleted.
const DELETED: u64 = 1009;

fn main() -> Outcome<()> {
    let flags = Flags::parse(&FLAGS)?;
    if let Some(url) = flags.text("reader") {
        return read(url);
    }
    if let Some(task) = flags.text("bare") {
        let bare = Bare {
            task: task.parse()?,
            address: flags.text("address").ok_or("--bare needs --address")?.to_owned(),
            namespace: flags.text("namespace").unwrap_or("test").to_owned(),
            records: flags.number("records", 0)?,
            bytes: flags.number("bytes", 300)?,
            every: flags.number("every", 1)?,
            version: flags.number("version", 0)?,
        };
        bare.run()?;
        return Ok(());
    }
    let bench = Bench::new(&flags)?;
    bench.run(flags.number("runs", 3)?, flags.number("level", 1)?, flags.text("phases").unwrap_or("all"))
}

/// Reads a namespace by rekeep's connector and drops the records.
fn read(url: &str) -> Outcome<()> {
    let source = AerospikeSource::new(&SourceUrl::parse(url)?, AerospikeOptions::default())?;
    let session = source.begin(&SessionOptions { parallel: 2, ..SessionOptions::default() })?;
    let ranges = KeyRange::between(&session.splits(0, 2)?);
    std::thread::scope(|scope| {
        let drop_all = |range: &KeyRange| -> Result<(), String> {
            let mut stream = session.read(0, range).map_err(|error| error.to_string())?;
            let mut batch = RecordBatch::new();
            while stream.next_batch(&mut batch).map_err(|error| error.to_string())? {}
            Ok(())
        };
        let all: Vec<_> = ranges.iter().map(|range| scope.spawn(move || drop_all(range))).collect();
        all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err("a reader panicked".to_owned())))
    })?;
    Ok(())
}

struct Bench {
    dir: PathBuf,
    rekeep: String,
    records: u64,
    bytes: usize,
    address: String,
    namespace: String,
    restored: String,
    _server: Option<Handle>,
    _guard: Option<tempfile::TempDir>,
}

/// What the phases cost, in the order of a run.
type Costs = Vec<(&'static str, Cost, f64)>;

impl Bench {
    fn new(flags: &Flags) -> Outcome<Self> {
        let (dir, guard) = workdir(flags)?;
        let name = |flag: &str, default: &str| flags.text(flag).unwrap_or(default).to_owned();
        let (namespace, restored) = (name("namespace", "test"), name("restored", "restored"));
        let server = match flags.text("server") {
            Some(_) => None,
            None => Some(Server::start(Config {
                clock: ClockMode::Real,
                namespaces: vec![NamespaceConfig::named(&namespace), NamespaceConfig::named(&restored)],
                query_message_bytes: 1024 * 1024,
                ..Config::default()
            })?),
        };
        let own = server.as_ref().map(|server| server.address(0).to_string());
        Ok(Self {
            dir,
            rekeep: name("rekeep", env!("CARGO_BIN_EXE_rekeep")),
            records: flags.number("records", 1_000_000)?,
            bytes: flags.number("bytes", 300)?,
            address: own.unwrap_or_else(|| name("server", "")),
            namespace,
            restored,
            _server: server,
            _guard: guard,
        })
    }

    fn bare(&self, task: Task, namespace: &str, every: u64, version: u64) -> Outcome<Cost> {
        let me = std::env::current_exe()?;
        let texts = [self.records.to_string(), self.bytes.to_string(), every.to_string(), version.to_string()];
        let words = [
            "--bare",
            task.name(),
            "--address",
            &self.address,
            "--namespace",
            namespace,
            "--records",
            &texts[0],
            "--bytes",
            &texts[1],
            "--every",
            &texts[2],
            "--version",
            &texts[3],
        ];
        measure(me.as_os_str(), &words.map(OsStr::new), &[], None)
    }

    fn rekeep(&self, words: &[&str]) -> Outcome<Cost> {
        let path = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let env = [
            ("REKEEP_REPOSITORY".to_owned(), path("cluster-repo")),
            ("REKEEP_CACHE_DIR".to_owned(), path("cluster-cache")),
            ("REKEEP_PASSWORD".to_owned(), "benchmark".to_owned()),
        ];
        measure(self.rekeep.as_ref(), &words.iter().map(OsStr::new).collect::<Vec<_>>(), &env, None)
    }

    fn clear(&self) -> Outcome<()> {
        ["cluster-repo", "cluster-cache"].iter().try_for_each(|name| remove(&self.dir.join(name)))
    }

    fn run(&self, runs: usize, level: i32, phases: &str) -> Outcome<()> {
        let mut all: Vec<Costs> = Vec::new();
        for run in 0..runs as u64 {
            eprintln!("run {}", run + 1);
            all.push(self.once(run, phases != "backup")?);
        }
        let millions = self.records as f64 / 1e6;
        println!("\n{} records of about {} bytes, medians of {runs} runs\n", self.records, self.bytes);
        println!(
            "| phase | s | records/s | CPU s per million | peak MiB | MiB added |\n|---|---:|---:|---:|---:|---:|"
        );
        for (index, (name, _, _)) in all[0].iter().enumerate() {
            let of = |pick: fn(&(&'static str, Cost, f64)) -> f64| {
                median(all.iter().map(|costs| pick(&costs[index])).collect())
            };
            let (wall, cpu) = (of(|c| c.1.wall_seconds), of(|c| c.1.cpu_seconds));
            println!(
                "| {name} | {wall:.2} | {:.0} | {:.2} | {:.0} | {:.1} |",
                self.records as f64 / wall,
                cpu / millions,
                of(|c| c.1.peak_mib),
                of(|c| c.2)
            );
        }
        if phases == "all" {
            let scan = median(all.iter().map(|costs| costs[1].1.cpu_seconds).collect());
            self.parts(level, scan, millions)?;
        }
        self.clear()
    }

    /// All phases once. Costs of rekeep are without those of listing an empty repository, which are mostly password
    /// derivation; peaks hold them.
    fn once(&self, run: u64, restores: bool) -> Outcome<Costs> {
        let url = format!("aerospike://{}/{}", self.address, self.namespace);
        let target = format!("aerospike://{}/{}", self.address, self.restored);
        let repo = self.dir.join("cluster-repo");
        self.clear()?;
        let mut costs: Costs = Vec::new();
        let mut note = |name: &'static str, cost: Cost, added: f64| {
            eprintln!(
                "  {name:<40} {:7.2} s {:7.2} CPU s {:5.0} MiB",
                cost.wall_seconds, cost.cpu_seconds, cost.peak_mib
            );
            costs.push((name, cost, added));
        };
        note("bare writer", self.bare(Task::Write, &self.namespace, 1, run * 10)?, 0.0);
        note("bare scan", self.bare(Task::Scan, &self.namespace, 1, 0)?, 0.0);
        note("bare sweep", self.bare(Task::Sweep, &self.namespace, 1, 0)?, 0.0);
        let me = std::env::current_exe()?;
        note("rekeep's reader alone", measure(me.as_os_str(), &["--reader", &url].map(OsStr::new), &[], None)?, 0.0);
        self.rekeep(&["init"])?;
        let empty = self.rekeep(&["snapshots"])?;
        let less = |cost: Cost| Cost {
            wall_seconds: cost.wall_seconds - empty.wall_seconds,
            cpu_seconds: cost.cpu_seconds - empty.cpu_seconds,
            ..cost
        };
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        // The second backup reads what was last updated after ten seconds before the first one began.
        std::thread::sleep(std::time::Duration::from_secs(12));
        let start = bytes_below(&repo)?;
        let full = self.rekeep(&["backup", &url])?;
        let stored = bytes_below(&repo)?;
        note("full backup", less(full), mib(stored - start));
        let since = SystemClock.now().as_millis() as u64;
        self.bare(Task::Write, &self.namespace, CHANGED, run * 10 + 1)?;
        self.bare(Task::Delete, &self.namespace, DELETED, 0)?;
        note("bare scan of what changed", self.bare(Task::Since, &self.namespace, 1, since)?, 0.0);
        note("bare sweep", self.bare(Task::Sweep, &self.namespace, 1, 0)?, 0.0);
        let second = self.rekeep(&["backup", &url])?;
        note("incremental, 1 % changed, 0.1 % deleted", less(second), mib(bytes_below(&repo)? - stored));
        if !restores {
            return Ok(costs);
        }
        let into = ["restore", "latest", &target, "--overwrite", "always"];
        note("restore", less(self.rekeep(&into)?), 0.0);
        note("bare writer over as many", self.bare(Task::Write, &self.restored, 1, run * 10)?, 0.0);
        note("restore over as many", less(self.rekeep(&into)?), 0.0);
        Ok(costs)
    }

    /// What reading, hashing, compressing and sealing these records costs, in CPU seconds.
    fn parts(&self, level: i32, scan: f64, millions: f64) -> Outcome<()> {
        let url = SourceUrl::parse(&format!("aerospike://{}/{}", self.address, self.namespace))?;
        let source = AerospikeSource::new(&url, AerospikeOptions::default())?;
        let session = source.begin(&SessionOptions { parallel: 1, ..SessionOptions::default() })?;
        let (_, keys) = read_all(session.as_ref())?;
        let (_, chunks) = build_all(session.as_ref(), level)?;
        let lines = [
            ("bare scan", scan),
            ("fingerprint (HighwayHash)", keys.fingerprint),
            ("cut hash", keys.cut),
            ("collection sum", keys.sum),
            ("chunk ids (keyed BLAKE3)", chunks.id),
            ("compression of the runs that shrink", chunks.compress),
            ("decode check", chunks.decode),
            ("seal (ChaCha20-Poly1305)", chunks.seal),
            ("pack names (BLAKE3)", chunks.name),
        ];
        println!("\n| part of a full backup | CPU s per million |\n|---|---:|");
        for (name, cpu) in lines {
            println!("| {name} | {:.3} |", cpu / millions);
        }
        let sum = scan + keys.total() + chunks.total() - chunks.wasted;
        println!("| **sum: the bound of a full backup** | {:.3} |", sum / millions);
        Ok(())
    }
}
