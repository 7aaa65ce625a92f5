//! Peak memory at one size and at ten times that size.
//!
//! `cargo bench --bench memory -- --records 50000000 --workdir DIR`: small records, so that many of them take little time.

mod common;

use common::workload::{Fractions, RecordSize, Workload, create_database, mutate_scattered, state_digest};
use common::{Cost, Flags, Outcome, measure, remove, workdir};
use rusqlite::Connection;
use std::{ffi::OsStr, path::PathBuf};

const PHASES: [&str; 5] =
    ["first backup", "second backup, 1 % scattered", "restore", "test restore into nothing", "check all data"];

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let rekeep = flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned();
    let records: u64 = flags.number("records", 50_000_000)?;
    let bench = Bench { dir, rekeep };
    let sizes = [records / 10, records];
    let costs = [bench.run(sizes[0])?, bench.run(sizes[1])?];
    println!("\n| phase | {} records, MiB | {} records, MiB | seconds |\n|---|---:|---:|---:|", sizes[0], sizes[1]);
    for ((name, small), large) in PHASES.iter().zip(&costs[0]).zip(&costs[1]) {
        println!("| {name} | {:.0} | {:.0} | {:.1} |", small.peak_mib, large.peak_mib, large.wall_seconds);
    }
    Ok(())
}

struct Bench {
    dir: PathBuf,
    rekeep: String,
}

impl Bench {
    fn rekeep(&self, words: &[&str]) -> Outcome<Cost> {
        let path = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let env = [
            ("REKEEP_REPOSITORY".to_owned(), path("memory-repo")),
            ("REKEEP_CACHE_DIR".to_owned(), path("memory-cache")),
            ("REKEEP_PASSWORD".to_owned(), "benchmark".to_owned()),
        ];
        let cost = measure(self.rekeep.as_ref(), &words.iter().map(OsStr::new).collect::<Vec<_>>(), &env, None)?;
        eprintln!(
            "  {:<40} {:7.2} s {:7.2} CPU s {:5.0} MiB",
            words[0], cost.wall_seconds, cost.cpu_seconds, cost.peak_mib
        );
        Ok(cost)
    }

    fn clear(&self) -> Outcome<()> {
        ["memory-repo", "memory-cache", "memory.db", "memory-out.db"]
            .iter()
            .try_for_each(|name| remove(&self.dir.join(name)))
    }

    fn run(&self, records: u64) -> Outcome<Vec<Cost>> {
        eprintln!("{records} records");
        self.clear()?;
        let (data, out) = (self.dir.join("memory.db"), self.dir.join("memory-out.db"));
        let (url, out_url) = (format!("sqlite:{}", data.display()), format!("sqlite:{}", out.display()));
        create_database(&data, &Workload { records, seed: 9, size: RecordSize::Small }, &mut |_| true)?;
        self.rekeep(&["init"])?;
        let first = self.rekeep(&["backup", &url])?;
        mutate_scattered(&data, Fractions::W2, 10)?;
        let second = self.rekeep(&["backup", &url])?;
        let restore = self.rekeep(&["restore", "latest", &out_url])?;
        if state_digest(&Connection::open(&data)?)? != state_digest(&Connection::open(&out)?)? {
            return Err("other records were restored than were backed up".into());
        }
        let test = self.rekeep(&["verify", "--restore", "latest"])?;
        let check = self.rekeep(&["verify", "--read-data"])?;
        self.clear()?;
        Ok(vec![first, second, restore, test, check])
    }
}
