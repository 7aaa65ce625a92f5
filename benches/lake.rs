//! Deep Lake datasets: a first backup beside `cp` and `zstd`, one after a commit of one row, and logs of many commits.
//!
//! `cargo bench --bench lake -- --dataset DIR --mib 2048 --commits 10000 --runs 3 --workdir DIR`
//!
//! See `benches/README.md`.

mod common;

#[path = "../tests/connector_deeplake/made.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared with the tests")]
mod made;

use common::{Cost, Flags, Outcome, bytes_below, lengths, measure, median, remove, run_counted, workdir};
use made::Made;
use serde_json::Value as Json;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

const MIB: f64 = 1_048_576.0;
/// The library ends a block when it has so many bytes.
const BLOCK_BYTES: usize = 8_000_031;
/// Columns of a dataset as a service makes it.
const COLUMNS: usize = 14;

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["dataset", "mib", "commits", "runs", "rekeep", "workdir"])?;
    let (dir, _guard) = workdir(&flags)?;
    let bench = Bench { program: flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).into(), dir };
    let runs = flags.number("runs", 3)?;
    let made = match flags.text("dataset") {
        Some(dataset) => PathBuf::from(dataset),
        None => vectors(&bench.dir.join("lake/acme/vectors"), flags.number("mib", 2048)?)?,
    };
    bench.first(&made, runs)?;
    bench.one_row(&bench.dir.join("grows"))?;
    bench.commits(flags.number("commits", 10_000)?, runs)
}

/// Numbers of which three bytes of four are random, as vectors of length 1 are.
fn vectors(root: &Path, mib: usize) -> Outcome<PathBuf> {
    remove(root)?;
    let mut made = Made::new(root);
    let mut state = 1_u64;
    for number in 0..(mib << 20).div_ceil(BLOCK_BYTES) {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.resize(31, 0);
        while block.len() < BLOCK_BYTES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = (state >> 33) as f32 / (1_u64 << 31) as f32;
            block.extend(((random - 0.5) / 14.0).to_le_bytes());
        }
        made.commit(&[(&format!("v{number}"), &block)]);
    }
    Ok(root.to_owned())
}

/// Commits one row: a small block for each column.
fn commit_row(made: &mut Made, number: u64) {
    let names: Vec<String> = (0..COLUMNS).map(|column| format!("{column}r{number}")).collect();
    let bytes: Vec<Vec<u8>> =
        (0..COLUMNS).map(|column| format!("row {number} of column {column}: ").repeat(15).into_bytes()).collect();
    let blocks: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(bytes.iter().map(Vec::as_slice)).collect();
    made.commit(&blocks);
}

struct Bench {
    program: PathBuf,
    dir: PathBuf,
}

impl Bench {
    fn environment(&self) -> Vec<(String, String)> {
        let place = |name: &str| self.dir.join(name).display().to_string();
        let pairs = [
            ("REKEEP_REPOSITORY", place("repo")),
            ("REKEEP_PASSWORD", "x".to_owned()),
            ("REKEEP_CACHE_DIR", place("cache")),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn rekeep(&self, args: &[&str]) -> Outcome<Cost> {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        measure(self.program.as_os_str(), &args, &self.environment(), None)
    }

    fn init(&self) -> Outcome<()> {
        for name in ["repo", "cache"] {
            remove(&self.dir.join(name))?;
        }
        self.rekeep(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"]).map(drop)
    }

    fn shell(&self, line: &str) -> Outcome<Cost> {
        measure(OsStr::new("sh"), &[OsStr::new("-c"), OsStr::new(line)], &[], Some(&self.dir))
    }

    fn first(&self, dataset: &Path, runs: usize) -> Outcome<()> {
        let files = lengths(dataset)?;
        let (shown, bytes) = (dataset.display(), files.values().sum::<u64>() as f64 / MIB);
        self.shell(&format!("cat $(find '{shown}' -type f) > /dev/null"))?;
        let mut costs: [Vec<Cost>; 4] = Default::default();
        let mut kept = (0.0, 0.0);
        for run in 0..runs {
            eprintln!("run {}", run + 1);
            remove(&self.dir.join("copy"))?;
            remove(&self.dir.join("copy.zst"))?;
            costs[0].push(self.shell(&format!("cp -r '{shown}' copy"))?);
            costs[1].push(self.shell("tar -c copy | zstd -1 -T2 -q -o copy.zst")?);
            self.init()?;
            costs[2].push(self.rekeep(&["backup", &format!("deeplake:{shown}")])?);
            kept = (
                std::fs::metadata(self.dir.join("copy.zst"))?.len() as f64 / MIB,
                bytes_below(&self.dir.join("repo"))? as f64 / MIB,
            );
            costs[3].push(self.rekeep(&["backup", &format!("deeplake:{shown}")])?);
        }
        remove(&self.dir.join("copy"))?;
        remove(&self.dir.join("copy.zst"))?;
        let of = |costs: &[Cost], figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
        let names = ["cp -r", "tar and zstd -1 -T2 of the copy", "rekeep, first backup", "rekeep, nothing changed"];
        println!(
            "{bytes:.0} MiB in {} files; kept by zstd {:.0} MiB, by rekeep {:.0} MiB\n",
            files.len(),
            kept.0,
            kept.1
        );
        println!("| | wall s | CPU s | peak MiB |\n|---|---:|---:|---:|");
        for (name, costs) in names.iter().zip(&costs) {
            let [wall, cpu, peak] = [
                of(costs, |cost| cost.wall_seconds),
                of(costs, |cost| cost.cpu_seconds),
                of(costs, |cost| cost.peak_mib),
            ];
            println!("| {name} | {wall:.2} | {cpu:.2} | {peak:.0} |");
        }
        let wall = |costs: &[Cost]| of(costs, |cost| cost.wall_seconds);
        let ratio = wall(&costs[2]) / (wall(&costs[0]) + wall(&costs[1]));
        println!("\nfirst backup: {ratio:.2} of cp and zstd after each other (bound 1.25)\n");
        Ok(())
    }

    /// A backup after one commit of one row; the dataset has a hundred.
    fn one_row(&self, root: &Path) -> Outcome<()> {
        remove(root)?;
        let mut made = Made::new(&root.join("acme/rows"));
        for number in 0..100 {
            commit_row(&mut made, number);
        }
        self.init()?;
        let url = format!("deeplake:{}", root.display());
        let rest = || std::thread::sleep(Duration::from_millis(1500));
        rest();
        self.rekeep(&["backup", &url])?;
        let packs = || -> Outcome<Vec<(PathBuf, u64)>> {
            Ok(lengths(&self.dir.join("repo"))?
                .into_iter()
                .filter(|(path, _)| path.iter().any(|part| part == "packs" || part == "data"))
                .collect())
        };
        let before = packs()?;
        commit_row(&mut made, 100);
        rest();
        let args: Vec<&OsStr> = ["--json", "backup", &url].map(OsStr::new).into();
        let (moved, output) = run_counted(self.program.as_os_str(), &args, &self.environment())?;
        let stats = serde_json::from_slice::<Json>(&output)?["stats"].clone();
        let new: Vec<u64> = packs()?.into_iter().filter(|one| !before.contains(one)).map(|(_, bytes)| bytes).collect();
        println!(
            "one row in {COLUMNS} columns committed: {} files new, {} bytes read of the dataset; {} bytes added, in packs of {new:?} bytes; \
             {:.2} s\n",
            stats["new"], stats["bytes_read"], stats["bytes_added"], moved.wall_seconds
        );
        remove(root)
    }

    /// Commits of one row, few and many.
    fn commits(&self, many: u64, runs: usize) -> Outcome<()> {
        println!(
            "| commits of one row | first backup s | ms a commit | peak MiB | the next, of one commit, s | peak MiB |\n|---:|---:|---:|---:|---:|---:|"
        );
        for count in [100, many] {
            let root = self.dir.join(format!("commits-{count}"));
            let url = format!("deeplake:{}", root.display());
            let (mut firsts, mut nexts) = (Vec::new(), Vec::new());
            remove(&root)?;
            let mut made = Made::new(&root.join("acme/rows"));
            for number in 0..count {
                commit_row(&mut made, number);
            }
            for run in 0..runs as u64 {
                self.init()?;
                std::thread::sleep(Duration::from_millis(1500));
                firsts.push(self.rekeep(&["backup", &url])?);
                commit_row(&mut made, count + run);
                nexts.push(self.rekeep(&["backup", &url])?);
            }
            remove(&root)?;
            let of = |costs: &[Cost], figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
            let (first, next) = (of(&firsts, |cost| cost.wall_seconds), of(&nexts, |cost| cost.wall_seconds));
            let (peak, then) = (of(&firsts, |cost| cost.peak_mib), of(&nexts, |cost| cost.peak_mib));
            println!(
                "| {count} | {first:.2} | {:.2} | {peak:.0} | {next:.2} | {then:.0} |",
                first * 1000.0 / count as f64
            );
        }
        Ok(())
    }
}
