//! What one small backup, a list and a history cost beside many snapshots.
//!
//! `cargo bench --bench many -- --snapshots 100,1000,3000,10000 --runs 3 --workdir DIR`
//!
//! The snapshots are made through the library, their repository's password is cheap to derive: what the command then takes is all
//! its own. See `benches/README.md`.

mod common;

use common::{Cost, Flags, Outcome, cheap_repository, measure, median, remove, workdir};
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
const RECORDS: u64 = 100;

struct Bench {
    rekeep: String,
    data: PathBuf,
    repo: PathBuf,
    cache: PathBuf,
}

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["snapshots", "runs", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let bench = Bench {
        rekeep: flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned(),
        data: dir.join("many.db"),
        repo: dir.join("many-repo"),
        cache: dir.join("many-cache"),
    };
    for path in [&bench.data, &bench.repo, &bench.cache] {
        remove(path)?;
    }
    Connection::open(&bench.data)?.execute_batch(&format!(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT, balance INTEGER);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {RECORDS})
         INSERT INTO accounts SELECT i, 'account ' || i, i * 7 FROM n;"
    ))?;
    let steps = flags.text("snapshots").unwrap_or("100,1000,3000,10000");
    let steps = steps.split(',').map(|step| Ok(step.parse()?)).collect::<Outcome<Vec<u64>>>()?;
    let runs = flags.number("runs", 3)?;
    println!("| snapshots | | wall, s | CPU, s | peak memory, MiB |\n|---:|---|---:|---:|---:|");
    let (making, mut made) = (dir.join("many-making-cache"), 0);
    remove(&making)?;
    let repository = cheap_repository(&bench.repo, &making, PASSWORD)?;
    let url = format!("sqlite:{}", bench.data.display());
    let source = SqliteSource::new(&SourceUrl::parse(&url)?)?;
    let source_name = Some("accounts".to_owned());
    let options = BackupOptions { url: url.clone(), source_name, ..BackupOptions::default() };
    for step in steps {
        let (start, before) = (Instant::now(), made);
        while made < step {
            bench.change(made)?;
            let outcome = backup(&repository, &source, &options, &Silent)?;
            if !outcome.complete {
                return Err(format!("snapshot {made} is incomplete: {:?}", outcome.problems).into());
            }
            made += 1;
        }
        let each = start.elapsed().as_secs_f64() / (made - before).max(1) as f64;
        eprintln!("  {made} snapshots: each of the last took {:.1} ms in one process", each * 1000.0);
        bench.run(&["snapshots", "--latest", "1"])?;
        for (what, words) in [
            ("backup", vec!["backup", &url, "--source-name", "accounts"]),
            ("snapshots --latest 1", vec!["snapshots", "--latest", "1"]),
            ("history of one key", vec!["history", "accounts", "int:5"]),
        ] {
            let mut costs = Vec::new();
            for run in 0..runs {
                bench.change(made + run)?;
                costs.push(bench.run(&words)?);
            }
            let of = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
            let (wall, cpu, peak) = (of(|c| c.wall_seconds), of(|c| c.cpu_seconds), of(|c| c.peak_mib));
            println!("| {step} | {what} | {wall:.3} | {cpu:.3} | {peak:.1} |");
        }
        repository.refresh()?;
    }
    Ok(())
}

impl Bench {
    fn change(&self, number: u64) -> Outcome<()> {
        let connection = Connection::open(&self.data)?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.execute(
            "UPDATE accounts SET balance = balance + ?1 WHERE id = ?2",
            (number as i64 + 1, (number % RECORDS + 1) as i64),
        )?;
        Ok(())
    }

    fn run(&self, words: &[&str]) -> Outcome<Cost> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let env = [
            ("REKEEP_REPOSITORY".to_owned(), text(&self.repo)),
            ("REKEEP_CACHE_DIR".to_owned(), text(&self.cache)),
            ("REKEEP_PASSWORD".to_owned(), PASSWORD.to_owned()),
        ];
        measure(self.rekeep.as_ref(), &words.iter().map(OsStr::new).collect::<Vec<_>>(), &env, None)
    }
}
