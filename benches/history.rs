//! `history` of one key across many snapshots of a large collection.
//!
//! `cargo bench --bench history -- --snapshots 1000 --records 1000000 --changes 100 --runs 5 --workdir DIR`
//!
//! The snapshots are made through the library, their repository's password is cheap to derive: what the command then takes
//! is all its own. What the standard derivation costs is measured apart. See `benches/README.md`.

mod common;

use common::workload::{ID_STEP, RecordSize, Workload, create_database};
use common::{Cost, Flags, Outcome, bytes_below, cheap_repository, measure, median, remove, workdir};
use rekeep::{
    connector::{SourceUrl, sqlite::SqliteSource},
    ops::{
        backup::{BackupOptions, backup},
        progress::Silent,
    },
};
use rusqlite::Connection;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Instant,
};

const PASSWORD: &str = "benchmark";
/// Every how many snapshots the record in question changes.
const KEY_CHANGES_EVERY: u64 = 20;

struct Bench {
    dir: PathBuf,
    rekeep: String,
    snapshots: u64,
    records: u64,
    changes: u64,
}

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["snapshots", "records", "changes", "runs", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let bench = Bench {
        dir,
        rekeep: flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned(),
        snapshots: flags.number("snapshots", 1_000)?,
        records: flags.number("records", 1_000_000)?,
        changes: flags.number("changes", 100)?,
    };
    let repo = bench.dir.join(format!("history-{}-{}-repo", bench.snapshots, bench.records));
    let cache = bench.dir.join(format!("history-{}-{}-cache", bench.snapshots, bench.records));
    if !repo.exists() {
        let unfinished = bench.dir.join("history-unfinished-repo");
        remove(&unfinished)?;
        bench.make(&unfinished)?;
        std::fs::rename(&unfinished, &repo)?;
    }
    let key = format!("int:{}", bench.key());
    let history = ["history", "records", key.as_str()];
    let (mut warm, mut cold, mut listing, mut derivation) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    bench.run(&repo, &cache, &["snapshots", "--latest", "1"])?;
    for _ in 0..flags.number("runs", 5u32)? {
        warm.push(bench.run(&repo, &cache, &history)?);
        listing.push(bench.run(&repo, &cache, &["snapshots", "--latest", "1"])?);
        let fresh = bench.dir.join("history-cold-cache");
        remove(&fresh)?;
        cold.push(bench.run(&repo, &fresh, &history)?);
        remove(&fresh)?;
        derivation.push(bench.derivation()?);
    }
    println!(
        "{} snapshots of {} records, {} changed in each; the repository has {:.1} MiB.\n",
        bench.snapshots,
        bench.records,
        bench.changes,
        bytes_below(&repo)? as f64 / 1_048_576.0
    );
    println!("| what | wall, s | CPU, s | peak memory, MiB |\n|---|---:|---:|---:|");
    for (name, costs) in [
        ("history of one key", &warm),
        ("the same without a catalog", &cold),
        ("snapshots, for comparison", &listing),
        ("password derivation, part of none of these", &derivation),
    ] {
        let of = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
        let (wall, cpu, peak) = (of(|c| c.wall_seconds), of(|c| c.cpu_seconds), of(|c| c.peak_mib));
        println!("| {name} | {wall:.3} | {cpu:.3} | {peak:.1} |");
    }
    Ok(())
}

impl Bench {
    /// The record whose history is asked for: in the middle.
    const fn key(&self) -> u64 {
        self.records / 2 * ID_STEP as u64
    }

    fn make(&self, repo: &Path) -> Outcome<()> {
        let data = self.dir.join("history.db");
        remove(&data)?;
        let workload = Workload { records: self.records, seed: 7, size: RecordSize::Small };
        create_database(&data, &workload, &mut |_| true)?;
        let source = SqliteSource::new(&SourceUrl::parse(&format!("sqlite:{}", data.display()))?)?;
        let making = self.dir.join("history-making-cache");
        remove(&making)?;
        let repository = cheap_repository(repo, &making, PASSWORD)?;
        let options = BackupOptions { url: "sqlite:history.db".to_owned(), ..BackupOptions::default() };
        let start = Instant::now();
        for number in 0..self.snapshots {
            if number > 0 {
                self.change(&data, number)?;
            }
            let outcome = backup(&repository, &source, &options, &Silent)?;
            if !outcome.complete {
                return Err(format!("snapshot {number} is incomplete: {:?}", outcome.problems).into());
            }
            if (number + 1).is_multiple_of(100) {
                eprintln!("  {} snapshots after {:.0} s", number + 1, start.elapsed().as_secs_f64());
            }
        }
        drop(repository);
        remove(&making)?;
        remove(&data)
    }

    /// Changes records spread over all, every so often the one in question too.
    fn change(&self, data: &Path, number: u64) -> Outcome<()> {
        let mut connection = Connection::open(data)?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        let transaction = connection.transaction()?;
        {
            let mut update = transaction.prepare("UPDATE records SET visits = visits + 1 WHERE id = ?1")?;
            let step = (self.records / self.changes.max(1)).max(1);
            for change in 0..self.changes {
                let record = (change * step + number.wrapping_mul(7_919) % step) % self.records;
                update.execute([((record + 1) * ID_STEP as u64) as i64])?;
            }
            if number.is_multiple_of(KEY_CHANGES_EVERY) {
                update.execute([self.key() as i64])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn run(&self, repo: &Path, cache: &Path, words: &[&str]) -> Outcome<Cost> {
        let env = [
            ("REKEEP_REPOSITORY".to_owned(), repo.to_string_lossy().into_owned()),
            ("REKEEP_CACHE_DIR".to_owned(), cache.to_string_lossy().into_owned()),
            ("REKEEP_PASSWORD".to_owned(), PASSWORD.to_owned()),
        ];
        measure(self.rekeep.as_ref(), &words.iter().map(OsStr::new).collect::<Vec<_>>(), &env, None)
    }

    /// Listing an empty repository of standard cost: little but password derivation.
    fn derivation(&self) -> Outcome<Cost> {
        let (repo, cache) = (self.dir.join("history-empty-repo"), self.dir.join("history-empty-cache"));
        remove(&repo)?;
        remove(&cache)?;
        self.run(&repo, &cache, &["init"])?;
        let cost = self.run(&repo, &cache, &["snapshots"])?;
        remove(&repo)?;
        remove(&cache)?;
        Ok(cost)
    }
}
