//! rekeep and its peers as whole processes over the same data, in turn.
//!
//! `cargo bench --bench peers -- --records 5000000 --runs 3 --only W1,W2,W3,W4 --peers restic,borg,rustic --workdir DIR`
//!
//! Every phase runs for all tools one after the other before the next phase begins, so that a busy machine hits all of
//! them. Every restored database is compared row by row with its source. See `benches/README.md`.

mod common;
mod tools;

use common::workload::{W1_RECORDS, W4_FILES, create_tree, state_digest};
use common::{Cost, Flags, Outcome, bytes_below, make_state, median, remove, workdir};
use rusqlite::Connection;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tools::{Data, Tool};

const MIB: f64 = 1_048_576.0;

/// Phase and tool to what each run cost.
type Results = BTreeMap<(usize, usize), Vec<Run>>;

/// Takes one figure of a run.
type Figure = dyn Fn(&Run) -> f64;

/// What one phase of one tool came to.
#[derive(Clone, Copy)]
struct Run {
    cost: Cost,
    /// The repository's bytes afterwards.
    stored: u64,
    /// By how many it grew.
    added: u64,
}

const LIST: usize = 0;
const RESTORE: usize = 4;
const TEST_RESTORE: usize = 5;
const CHECK: usize = 6;
const TREE: usize = 7;

const PHASES: [&str; 10] = [
    "list an empty repository",
    "W1 first backup",
    "W2 second backup, 1 % scattered",
    "W3 third backup, 5 % in runs",
    "restore the database",
    "test restore into nothing (peers: restore)",
    "check all data",
    "W4 first backup, small files",
    "W4 second backup, nothing changed",
    "W4 restore",
];

struct Bench {
    dir: PathBuf,
    tools: Vec<Tool>,
    only: Vec<String>,
    records: u64,
    files: u64,
    results: Results,
    /// What each tool's repository holds now, in bytes.
    stored: Vec<u64>,
}

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "files", "runs", "scale", "only", "peers", "workdir", "rekeep", "rustic"])?;
    let scale: f64 = flags.number("scale", 1.0)?;
    let (dir, _guard) = workdir(&flags)?;
    let rekeep = flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep"));
    let peers = flags.text("peers").unwrap_or("restic,borg");
    let mut tools = vec![Tool::new("rekeep", rekeep)?];
    for peer in peers.split(',').filter(|peer| !peer.is_empty()) {
        let program = if peer == "rustic" { flags.text("rustic").unwrap_or(peer) } else { peer };
        tools.push(Tool::new(peer, program)?);
    }
    let only: Vec<String> = flags.text("only").unwrap_or("W1,W2,W3,W4").split(',').map(str::to_owned).collect();
    if let Some(unknown) = only.iter().find(|name| !["W1", "W2", "W3", "W4"].contains(&name.as_str())) {
        return Err(format!("--only {unknown}: W1, W2, W3 or W4").into());
    }
    let mut bench = Bench {
        dir,
        stored: vec![0; tools.len()],
        tools,
        only,
        records: (flags.number("records", W1_RECORDS)? as f64 * scale) as u64,
        files: (flags.number("files", W4_FILES)? as f64 * scale) as u64,
        results: Results::new(),
    };
    bench.prepare()?;
    for run in 0..flags.number("runs", 3u32)? {
        eprintln!("run {}", run + 1);
        bench.empty()?;
        if bench.wants("W1") || bench.wants("W2") || bench.wants("W3") {
            bench.database()?;
        }
        if bench.wants("W4") {
            bench.tree()?;
        }
    }
    bench.report();
    Ok(())
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.only.iter().any(|only| only == name)
    }

    fn files_dir(&self) -> PathBuf {
        self.dir.join(format!("tree-{}", self.files))
    }

    /// Makes the data once; a later call with the same `--workdir` and sizes finds it.
    fn prepare(&self) -> Outcome<()> {
        if self.wants("W1") || self.wants("W2") || self.wants("W3") {
            for number in 1..=3 {
                make_state(&self.dir, number, self.records)?;
            }
        }
        if self.wants("W4") && !self.files_dir().exists() {
            let unfinished = self.dir.join("unfinished");
            remove(&unfinished)?;
            create_tree(&unfinished, self.files, 4)?;
            fs::rename(&unfinished, self.files_dir())?;
        }
        Ok(())
    }

    fn note(&mut self, phase: usize, tool: usize, cost: Cost) -> Outcome<()> {
        let stored = bytes_below(&self.tools[tool].repository(&self.dir))?;
        let added = stored.saturating_sub(std::mem::replace(&mut self.stored[tool], stored));
        eprintln!(
            "  {:<42} {:<8} {:8.2} s {:8.2} CPU s {:6.0} MiB peak {:9.2} MiB added",
            PHASES[phase],
            self.tools[tool].name,
            cost.wall_seconds,
            cost.cpu_seconds,
            cost.peak_mib,
            added as f64 / MIB
        );
        self.results.entry((phase, tool)).or_default().push(Run { cost, stored, added });
        Ok(())
    }

    fn fresh(&mut self, tool: usize) -> Outcome<()> {
        self.tools[tool].clear(&self.dir)?;
        self.tools[tool].init(&self.dir)?;
        self.stored[tool] = bytes_below(&self.tools[tool].repository(&self.dir))?;
        Ok(())
    }

    fn empty(&mut self) -> Outcome<()> {
        for tool in 0..self.tools.len() {
            self.fresh(tool)?;
            let cost = self.tools[tool].list(&self.dir)?;
            self.note(LIST, tool, cost)?;
        }
        Ok(())
    }

    fn database(&mut self) -> Outcome<()> {
        let data = self.dir.join("records.db");
        let last = (1..=3).rev().find(|n| self.wants(&format!("W{n}"))).unwrap_or(1);
        for number in 1..=last {
            fs::copy(make_state(&self.dir, number, self.records)?, &data)?;
            for tool in 0..self.tools.len() {
                if number == 1 {
                    self.fresh(tool)?;
                }
                let cost = self.tools[tool].backup(&self.dir, Data::Database(&data), number)?;
                self.note(number, tool, cost)?;
            }
        }
        let expected = digest(&data)?;
        let length = fs::metadata(&data)?.len();
        eprintln!("  the database has {:.1} MiB", length as f64 / MIB);
        for tool in 0..self.tools.len() {
            let (cost, out) = self.tools[tool].restore(&self.dir, Data::Database(&data), last)?;
            if digest(&out)? != expected {
                return Err(format!("{} restored other records than it was given", self.tools[tool].name).into());
            }
            self.note(RESTORE, tool, cost)?;
        }
        for tool in 0..self.tools.len() {
            // No peer restores into nothing: what it is compared with is their restore.
            let restored = |runs: &Vec<Run>| runs.last().map(|run| run.cost);
            let cost = match self.tools[tool].test_restore(&self.dir)? {
                Some(cost) => cost,
                None => self.results.get(&(RESTORE, tool)).and_then(restored).unwrap_or_default(),
            };
            self.note(TEST_RESTORE, tool, cost)?;
        }
        for tool in 0..self.tools.len() {
            let cost = self.tools[tool].check(&self.dir)?;
            self.note(CHECK, tool, cost)?;
        }
        Ok(())
    }

    fn tree(&mut self) -> Outcome<()> {
        let data = self.files_dir();
        for number in 1..=2 {
            for tool in 0..self.tools.len() {
                if number == 1 {
                    self.fresh(tool)?;
                }
                let cost = self.tools[tool].backup(&self.dir, Data::Tree(&data), number)?;
                self.note(TREE + number - 1, tool, cost)?;
            }
        }
        for tool in 0..self.tools.len() {
            let (cost, out) = self.tools[tool].restore(&self.dir, Data::Tree(&data), 2)?;
            same_tree(&data, &out)?;
            self.note(TREE + 2, tool, cost)?;
        }
        Ok(())
    }

    /// Medians in Markdown; times without those of listing an empty repository, which are password derivation.
    fn report(&self) {
        let middle = |phase, tool, of: &Figure| {
            self.results.get(&(phase, tool)).map(|runs| median(runs.iter().map(of).collect()))
        };
        let columns: [(&str, &Figure, bool); 5] = [
            ("wall, s", &|run| run.cost.wall_seconds, true),
            ("user + system CPU, s", &|run| run.cost.cpu_seconds, true),
            ("peak memory, MiB", &|run| run.cost.peak_mib, false),
            ("added to the repository, MiB", &|run| run.added as f64 / MIB, false),
            ("repository afterwards, MiB", &|run| run.stored as f64 / MIB, false),
        ];
        for (title, of, net) in columns {
            println!("\n**{title}**{}\n", if net { " (phases other than the first: without the first)" } else { "" });
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
            println!(
                "| phase | {} | rekeep / best peer |\n|---|{}---:|",
                names.join(" | "),
                "---:|".repeat(names.len())
            );
            for (phase, name) in PHASES.iter().enumerate() {
                let value = |tool| {
                    let offset = if net && phase > 0 { middle(0, tool, of)? } else { 0.0 };
                    Some((middle(phase, tool, of)? - offset).max(0.0))
                };
                let values: Vec<Option<f64>> = (0..self.tools.len()).map(value).collect();
                if values.iter().all(Option::is_none) {
                    continue;
                }
                let best = values[1..].iter().flatten().copied().min_by(f64::total_cmp);
                let ratio = values[0].zip(best).map_or("–".to_owned(), |(own, best)| format!("{:.2}", own / best));
                let cells: Vec<String> =
                    values.iter().map(|v| v.map_or("–".to_owned(), |v| format!("{v:.2}"))).collect();
                println!("| {name} | {} | {ratio} |", cells.join(" | "));
            }
        }
    }
}

fn digest(path: &Path) -> Outcome<[u8; 32]> {
    Ok(state_digest(&Connection::open(path)?)?)
}

/// Compares names and contents both ways.
fn same_tree(one: &Path, other: &Path) -> Outcome<()> {
    let names = |dir: &Path| -> Outcome<Vec<_>> {
        let mut names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<Outcome<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let all = names(one)?;
    if all != names(other)? {
        return Err(format!("{} was restored with other entries", one.display()).into());
    }
    for name in all {
        let (a, b) = (one.join(&name), other.join(&name));
        if a.is_dir() {
            same_tree(&a, &b)?;
        } else if fs::read(&a)? != fs::read(&b)? {
            return Err(format!("{} was restored with other bytes", a.display()).into());
        }
    }
    Ok(())
}
