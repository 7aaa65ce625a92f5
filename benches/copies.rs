//! Copies elsewhere: `replicate` and `copy` of W1, and of what a day changes, beside `cp` and, if it is there, `rclone`.
//!
//! `cargo bench --bench copies -- --records 5000000 --rounds 3 --rclone PROGRAM --workdir DIR`
//!
//! Everything lies on one local disk, and every place is made anew for each round. See `benches/README.md`.

mod common;

use common::workload::W1_RECORDS;
use common::{Cost, Flags, Outcome, bytes_below, make_state, measure, median, remove, workdir};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MIB: f64 = 1_048_576.0;
const PASSWORD: &str = "correct horse";

struct Bench {
    program: PathBuf,
    dir: PathBuf,
    rclone: Option<String>,
    rounds: usize,
}

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "rounds", "rclone", "rekeep", "workdir"])?;
    let (dir, _guard) = workdir(&flags)?;
    let rclone = flags.text("rclone").unwrap_or("rclone").to_owned();
    let has_rclone = Command::new(&rclone).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !has_rclone {
        println!("{rclone} is not there: it is left out");
    }
    let bench = Bench {
        program: flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).into(),
        rclone: has_rclone.then_some(rclone),
        rounds: flags.number("rounds", 3)?,
        dir,
    };
    let records = flags.number("records", W1_RECORDS / 20)?;
    let data = bench.dir.join("copies.db");
    fs::copy(make_state(&bench.dir, 1, records)?, &data)?;
    bench.make(&data)?;
    println!("repository: {:.0} MiB", bytes_below(&bench.at("repo"))? as f64 / MIB);
    bench.first()?;
    fs::copy(make_state(&bench.dir, 2, records)?, &data)?;
    bench.rekeep(&["backup", &format!("sqlite:{}", data.display())])?;
    bench.second()
}

impl Bench {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn rekeep(&self, args: &[&str]) -> Outcome<Cost> {
        let place = |name: &str| self.at(name).display().to_string();
        let env = [
            ("REKEEP_REPOSITORY", place("repo")),
            ("REKEEP_PASSWORD", PASSWORD.to_owned()),
            ("REKEEP_TO_PASSWORD", PASSWORD.to_owned()),
            ("REKEEP_CACHE_DIR", place("cache")),
        ];
        let env: Vec<_> = env.map(|(name, value)| (name.to_owned(), value)).into();
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        measure(self.program.as_os_str(), &args, &env, None)
    }

    fn make(&self, data: &Path) -> Outcome<()> {
        for name in ["repo", "cache"] {
            remove(&self.at(name))?;
        }
        self.rekeep(&["init"])?;
        self.rekeep(&["backup", &format!("sqlite:{}", data.display())])?;
        Ok(())
    }

    /// Makes the other repository anew, with the same lasting secrets or others.
    fn other(&self, alike: bool) -> Outcome<()> {
        remove(&self.at("other"))?;
        let (other, repo, file) = (self.at("other"), self.at("repo"), self.at("password"));
        fs::write(&file, PASSWORD)?;
        let paths = [other, repo, file].map(|path| path.display().to_string());
        let mut args = vec!["-r", &paths[0], "init"];
        if alike {
            args.extend(["--like", &paths[1], "--like-password-file", &paths[2]]);
        }
        self.rekeep(&args).map(drop)
    }

    fn copy(&self) -> Outcome<Cost> {
        self.rekeep(&["copy", "--to", &self.at("other").display().to_string()])
    }

    fn replicate(&self) -> Outcome<Cost> {
        self.rekeep(&["replicate", &self.at("replica").display().to_string()])
    }

    fn run(&self, program: &str, args: &[&str], to: &str) -> Outcome<Cost> {
        let (from, to) = (self.at("repo"), self.at(to));
        // What is kept free on the disk is no part of the repository.
        remove(&from.join("tmp"))?;
        let mut all: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        all.extend([from.as_os_str(), to.as_os_str()]);
        let cost = measure(OsStr::new(program), &all, &[], None)?;
        // What is not on the disk yet is no copy.
        measure(OsStr::new("sync"), &[], &[], None).map(|sync| Cost {
            wall_seconds: cost.wall_seconds + sync.wall_seconds,
            cpu_seconds: cost.cpu_seconds + sync.cpu_seconds,
            ..cost
        })
    }

    fn rounds(&self, what: &str, run: &dyn Fn() -> Outcome<Cost>) -> Outcome<()> {
        let costs = (0..self.rounds.max(1)).map(|_| run()).collect::<Outcome<Vec<_>>>()?;
        let of = |field: fn(&Cost) -> f64| median(costs.iter().map(field).collect());
        println!(
            "{what:<28} {:>8.2} s, {:>8.2} s CPU, {:>6.0} MiB",
            of(|cost| cost.wall_seconds),
            of(|cost| cost.cpu_seconds),
            of(|cost| cost.peak_mib)
        );
        Ok(())
    }

    fn first(&self) -> Outcome<()> {
        self.rounds("cp -r and sync", &|| {
            remove(&self.at("plain"))?;
            self.run("cp", &["-r"], "plain")
        })?;
        if let Some(rclone) = &self.rclone {
            self.rounds("rclone sync and sync", &|| {
                remove(&self.at("plain"))?;
                self.run(rclone, &["sync"], "plain")
            })?;
        }
        self.rounds("replicate", &|| {
            remove(&self.at("replica"))?;
            self.replicate()
        })?;
        for (alike, what) in [(false, "copy, written anew"), (true, "copy, as stored")] {
            self.rounds(what, &|| {
                self.other(alike)?;
                self.copy()
            })?;
        }
        Ok(())
    }

    /// What a day changed, into the places that the first round left: once each.
    fn second(&self) -> Outcome<()> {
        println!("after W2:");
        if let Some(rclone) = &self.rclone {
            let cost = self.run(rclone, &["sync"], "plain")?;
            println!("{:<28} {:>8.2} s", "rclone sync and sync", cost.wall_seconds);
        }
        println!("{:<28} {:>8.2} s", "replicate", self.replicate()?.wall_seconds);
        println!("{:<28} {:>8.2} s", "copy, as stored", self.copy()?.wall_seconds);
        Ok(())
    }
}
