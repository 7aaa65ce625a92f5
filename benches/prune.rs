//! A prune of a repository with very many chunks, of which little is to be freed: time and peak memory of its process.
//!
//! `cargo bench --bench prune -- --chunks 10000000 --snapshots 1000 --workdir DIR`
//!
//! The repository is real but for the packs of values and keys, which exist only by name and length ([`Shallow`]): index
//! objects, lists of layers, manifests, leases and marks are objects like any others. Each phase is a process of its own. See
//! `benches/README.md`.

mod common;
mod synthetic;

use common::{Flags, Outcome, measure, remove, workdir};
use rekeep::{
    ops::{
        progress::Silent,
        prune::{PruneOptions, prune},
    },
    record::SystemClock,
    repo::{OpenOptions, Repository, Storage, Unlock},
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};
use synthetic::{PASSWORD, Shallow, Shape};

/// The processes after the repository is made, in order, and what each does.
const PHASES: [(&str, &str); 5] = [
    ("import", "import the index into a cold catalog"),
    ("layers", "plan a prune, layers read for the first time"),
    ("plan", "plan a prune, warm catalog"),
    ("prune", "prune, little to be freed, warm catalog"),
    ("again", "prune again, nothing to be freed"),
];

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["chunks", "snapshots", "workdir", "phase"])?;
    if let Some(phase) = flags.text("phase") {
        let dir = flags.text("workdir").ok_or("--phase needs --workdir")?;
        return run(Path::new(dir), phase);
    }
    let default: u64 = std::env::var("REKEEP_BENCH_CHUNKS").map_or(Ok(1_000_000), |text| text.parse())?;
    let (dir, _guard) = workdir(&flags)?;
    let shape = Shape { chunks: flags.number("chunks", default)?, snapshots: flags.number("snapshots", 1_000)? };
    let start = Instant::now();
    for name in ["prune-repo", "prune-cache", "prune-packs"] {
        remove(&dir.join(name))?;
    }
    let made = synthetic::make(&dir.join("prune-repo"), &dir.join("prune-packs"), &shape)?;
    eprintln!("{made} after {:.0} s", start.elapsed().as_secs_f64());
    println!("{made}\n\n| phase | wall, s | CPU, s | peak memory, MiB | of it |\n|---|---:|---:|---:|---|");
    let this = std::env::current_exe()?;
    for (phase, what) in PHASES {
        if phase == "prune" {
            synthetic::forget(&repository(&dir)?)?;
        }
        let args: [&OsStr; 4] = ["--workdir".as_ref(), dir.as_ref(), "--phase".as_ref(), phase.as_ref()];
        let cost = measure(this.as_os_str(), &args, &[], None)?;
        let note = fs::read_to_string(dir.join("prune-note"))?;
        println!("| {what} | {:.2} | {:.2} | {:.0} | {note} |", cost.wall_seconds, cost.cpu_seconds, cost.peak_mib);
    }
    Ok(())
}

fn repository(dir: &Path) -> Outcome<Repository> {
    let shallow = Shallow::open(Storage::at(&dir.join("prune-repo").to_string_lossy())?, dir.join("prune-packs"))?;
    let storage = Storage::over(Arc::new(shallow), "bench");
    let open =
        OpenOptions { cache_dir: dir.join("prune-cache"), clock: Arc::new(SystemClock), host: "bench".to_owned() };
    Ok(Repository::open(&storage, &Unlock::Password(PASSWORD.to_owned()), &open)?)
}

/// One phase; leaves a note of what it saw.
fn run(dir: &Path, phase: &str) -> Outcome<()> {
    let start = Instant::now();
    let repo = repository(dir)?;
    let opened = start.elapsed().as_secs_f64();
    let note = if phase == "import" {
        format!("catalog {:.0} MiB", common::bytes_below(&dir.join("prune-cache"))? as f64 / 1_048_576.0)
    } else {
        let dry_run = matches!(phase, "layers" | "plan");
        let outcome = prune(&repo, &PruneOptions { dry_run, ..PruneOptions::default() }, &Silent)?;
        if let Some(failure) = outcome.failures.first() {
            return Err(failure.words.clone().into());
        }
        let (plan, deleted) = (&outcome.plan, outcome.deleted);
        format!(
            "opening {opened:.2} s; {} snapshots, {} chunks needed, {} packs; {} of {:.1} MiB go, {} deleted",
            plan.snapshots,
            plan.needed_chunks,
            plan.packs.packs,
            plan.whole.packs,
            plan.whole.bytes as f64 / 1_048_576.0,
            deleted.packs
        )
    };
    let path: PathBuf = dir.join("prune-note");
    Ok(fs::write(path, note)?)
}
