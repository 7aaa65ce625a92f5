//! The service with many routines, snapshots and jobs: how it starts, what it takes while nothing is due, how lists and pages
//! answer under load, and what backups through it cost.
//!
//! `cargo bench --bench service -- --routines 1000 --snapshots 10000 --jobs 10000 --rate 200 --seconds 20 --workdir DIR`
//!
//! The repository's password is cheap to derive. See `benches/README.md`.

mod common;
#[path = "service/served.rs"]
mod served;

use common::workload::{RecordSize, Workload, create_database};
use common::{Flags, Outcome, cheap_repository, measure, remove, workdir};
use rekeep::{
    connector::{SourceUrl, sqlite::SqliteSource},
    ops::{
        backup::{BackupOptions, backup},
        progress::Silent,
    },
};
use rusqlite::Connection;
use served::{Served, get, post};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const PASSWORD: &str = "benchmark";
/// Connections that ask at once.
const CLIENTS: usize = 16;
/// Routines of which each backs up a database of its own that is worth a measurement.
const LARGER: usize = 10;
/// What is asked for while requests come steadily.
const ASKED: [&str; 12] = [
    "/v1/backups/incremental/r1",
    "/v1/backups/currentBackup/r0",
    "/v1/restore/jobs",
    "/v1/config/routines/r1",
    "/api/v1/jobs",
    "/api/v1/backups?limit=100",
    "/v1/audit?limit=100",
    "/metrics",
    "/console/",
    "/console/jobs",
    "/console/sources/r0",
    "/console/sources/r1",
];

/// What has no pages where it comes from: asked for by itself.
const WHOLE: [&str; 4] =
    ["/v1/backups/incremental/r0", "/v1/backups/incremental", "/v1/backups/full", "/v1/config/routines"];

struct Bench {
    dir: PathBuf,
    program: PathBuf,
    routines: usize,
    snapshots: usize,
    jobs: usize,
    rate: usize,
    seconds: u64,
}

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["routines", "snapshots", "jobs", "rate", "seconds", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let bench = Bench {
        program: flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).into(),
        routines: flags.number("routines", 1_000)?,
        snapshots: flags.number("snapshots", 10_000)?,
        jobs: flags.number("jobs", 10_000)?,
        rate: flags.number("rate", 200)?,
        seconds: flags.number("seconds", 20)?,
        dir,
    };
    if !bench.at("made").exists() {
        bench.make()?;
    }
    for name in ["state", "cache"] {
        remove(&bench.at(name))?;
    }
    drop(bench.start("cold catalog")?);
    bench.fill(bench.start("warm catalog")?)?;
    let service = bench.start("warm catalog, all jobs")?;
    bench.idle(&service)?;
    each(&service)?;
    bench.load(&service)?;
    bench.backups(&service)?;
    println!("peak memory {:.0} MiB", service.peak_mib()?);
    Ok(())
}

impl Bench {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn database(&self, routine: usize) -> PathBuf {
        self.at("data").join(format!("r{routine}.db"))
    }

    /// Half of the snapshots are of the first routine; the others have the rest in turn.
    fn make(&self) -> Outcome<()> {
        for name in ["data", "backups", "making-cache"] {
            remove(&self.at(name))?;
        }
        fs::create_dir_all(self.at("data"))?;
        let first = self.database(0);
        Connection::open(&first)?.execute_batch(
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT, balance INTEGER);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             INSERT INTO accounts SELECT i, 'account ' || i, i * 7 FROM n;",
        )?;
        for routine in 1..self.routines {
            fs::copy(&first, self.database(routine))?;
        }
        let place = self.at("backups").join("rekeep");
        let repository = cheap_repository(&place, &self.at("making-cache"), PASSWORD)?;
        let start = Instant::now();
        for number in 0..self.snapshots {
            let routine = if number % 2 == 0 { 0 } else { (number / 2) % self.routines };
            let data = self.database(routine);
            Connection::open(&data)?.execute(
                "UPDATE accounts SET balance = balance + ?1 WHERE id = ?2",
                (number as i64, (number % 100 + 1) as i64),
            )?;
            let url = format!("sqlite:{}", data.display());
            let source = SqliteSource::new(&SourceUrl::parse(&url)?)?;
            let tags = vec![format!("routine=r{routine}"), "type=incremental".to_owned()];
            let options = BackupOptions { url, tags, ..BackupOptions::default() };
            let outcome = backup(&repository, &source, &options, &Silent)?;
            if !outcome.complete {
                return Err(format!("snapshot {number} is incomplete: {:?}", outcome.problems).into());
            }
            if (number + 1) % 1000 == 0 {
                eprintln!("  {} snapshots after {:.0} s", number + 1, start.elapsed().as_secs_f64());
            }
        }
        drop(repository);
        remove(&self.at("making-cache"))?;
        for number in 0..LARGER {
            let workload = Workload { records: 20_000, seed: number as u64, size: RecordSize::Wide };
            create_database(&self.at("data").join(format!("large{number}.db")), &workload, &mut |_| true)?;
        }
        fs::write(self.at("password"), PASSWORD)?;
        fs::write(self.at("config.yml"), self.config()?)?;
        fs::write(self.at("made"), "")?;
        Ok(())
    }

    fn config(&self) -> Outcome<String> {
        let dir = self.dir.display();
        let mut text = format!(
            "service:\n  unlock:\n    password-file: {dir}/password\n\
             storage:\n  local:\n    local-storage:\n      path: {dir}/backups\n\
             backup-policies:\n  once:\n    retry-policy:\n      max-retries: 0\n\
             backup-routines:\n"
        );
        let names = (0..self.routines).map(|n| format!("r{n}")).chain((0..LARGER).map(|n| format!("large{n}")));
        for name in names {
            write!(
                text,
                "  {name}:\n    interval-cron: '0 0 0 1 1 ? 2090'\n    incr-interval-cron: '0 0 0 1 1 ? 2091'\n    \
                 source: sqlite:{dir}/data/{name}.db\n    storage: local\n    backup-policy: once\n"
            )?;
        }
        Ok(text)
    }

    fn start(&self, what: &str) -> Outcome<Served> {
        let begun = Instant::now();
        let service = Served::start(&self.program, &self.dir)?;
        let listening = begun.elapsed();
        let ask = |path: &str| -> Outcome<Duration> {
            let begun = Instant::now();
            get(service.address, path)?;
            Ok(begun.elapsed())
        };
        let ready = ask("/ready")?;
        let lists = ask("/v1/backups/incremental/r0")?;
        let overview = ask("/console/")?;
        println!(
            "{what}: listens after {:.2} s, ready {:.2} s, first list {:.2} s, first overview {:.2} s; {:.2} s CPU, {:.0} MiB",
            listening.as_secs_f64(),
            ready.as_secs_f64(),
            lists.as_secs_f64(),
            overview.as_secs_f64(),
            service.cpu_seconds()?,
            service.peak_mib()?
        );
        Ok(service)
    }

    /// One real job, then as many like it as are wanted, by the state itself.
    fn fill(&self, service: Served) -> Outcome<()> {
        post(service.address, "/v1/backups/incremental/r1")?;
        service.rest()?;
        drop(service);
        let state = Connection::open(self.at("state").join("state.db"))?;
        let (_, columns): (i64, String) = state.query_row(
            "SELECT count(*), group_concat(name) FROM pragma_table_info('jobs') WHERE name <> 'id'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        state.execute(
            &format!(
                "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO jobs ({columns}) SELECT {columns} FROM n, (SELECT * FROM jobs ORDER BY id LIMIT 1)"
            ),
            [self.jobs as i64],
        )?;
        Ok(())
    }

    fn idle(&self, service: &Served) -> Outcome<()> {
        std::thread::sleep(Duration::from_secs(3));
        let (before, begun) = (service.cpu_seconds()?, Instant::now());
        std::thread::sleep(Duration::from_secs(self.seconds));
        let used = service.cpu_seconds()? - before;
        println!(
            "idle with {} routines and {} jobs: {:.2} % of a core, {:.0} MiB now",
            self.routines,
            self.jobs,
            used / begun.elapsed().as_secs_f64() * 100.0,
            service.memory_mib()?
        );
        Ok(())
    }

    /// Requests at a steady rate, whatever becomes of those before; each is timed from when it was due.
    fn load(&self, service: &Served) -> Outcome<()> {
        let total = self.rate * usize::try_from(self.seconds)?;
        let (next, times) = (AtomicUsize::new(0), Mutex::new(vec![Vec::new(); ASKED.len()]));
        let failed = Mutex::new(None);
        let (before, begun) = (service.cpu_seconds()?, Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= total {
                            return;
                        }
                        let due = begun + Duration::from_secs_f64(number as f64 / self.rate as f64);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let what = number % ASKED.len();
                        match get(service.address, ASKED[what]) {
                            Ok(_) => times.lock().unwrap_or_else(PoisonError::into_inner)[what].push(due.elapsed()),
                            Err(error) => {
                                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                                return;
                            }
                        }
                    }
                });
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error.into());
        }
        let busy = (service.cpu_seconds()? - before) / begun.elapsed().as_secs_f64();
        println!("\n{} requests a second offered for {} s, {busy:.2} cores busy:\n", self.rate, self.seconds);
        println!("| path | p50, ms | p99, ms | highest, ms |\n|---|---:|---:|---:|");
        let mut all = Vec::new();
        for (path, mut of) in ASKED.iter().zip(times.into_inner().unwrap_or_else(PoisonError::into_inner)) {
            row(path, &mut of);
            all.append(&mut of);
        }
        row("all", &mut all);
        println!();
        Ok(())
    }

    /// Ten small sources through the service one after the other, then all at once, and one by the command.
    fn backups(&self, service: &Served) -> Outcome<()> {
        let run = |number: usize| post(service.address, &format!("/v1/backups/full/large{number}"));
        for number in 0..LARGER {
            run(number)?;
            service.rest()?;
        }
        let (mut alone, begun, before) = (Vec::new(), Instant::now(), service.cpu_seconds()?);
        for number in 0..LARGER {
            let used = service.cpu_seconds()?;
            run(number)?;
            service.rest()?;
            alone.push(service.cpu_seconds()? - used);
        }
        let (one_by_one, work) = (begun.elapsed().as_secs_f64(), service.cpu_seconds()? - before);
        let (begun, before) = (Instant::now(), service.cpu_seconds()?);
        for number in 0..LARGER {
            run(number)?;
        }
        service.rest()?;
        let (at_once, again) = (begun.elapsed().as_secs_f64(), service.cpu_seconds()? - before);
        println!(
            "{LARGER} sources of 20 000 records, full, nothing changed: one by one {one_by_one:.2} s, {work:.2} s CPU; all at \
             once {at_once:.2} s, {again:.2} s CPU"
        );
        let command = self.command(&self.at("data").join("large0.db"))?;
        println!(
            "one of them: {:.3} s CPU through the service, {command:.3} by the command with its start, into the same repository",
            common::median(alone)
        );
        Ok(())
    }

    /// The same backups by the command, into the same repository: what it costs with its start, its password and its listing.
    fn command(&self, data: &Path) -> Outcome<f64> {
        let mut costs = Vec::new();
        let env = [
            ("REKEEP_REPOSITORY".to_owned(), self.at("backups").join("rekeep").display().to_string()),
            ("REKEEP_PASSWORD".to_owned(), PASSWORD.to_owned()),
            ("REKEEP_CACHE_DIR".to_owned(), self.at("command-cache").display().to_string()),
        ];
        let url = format!("sqlite:{}", data.display());
        // The first fills its catalog.
        for _ in 0..6 {
            let cost =
                measure(self.program.as_os_str(), &["backup".as_ref(), url.as_ref(), "--full".as_ref()], &env, None)?;
            costs.push(cost.cpu_seconds);
        }
        Ok(common::median(costs.split_off(1)))
    }
}

/// What one request takes that nobody else is beside.
fn each(service: &Served) -> Outcome<()> {
    const TIMES: u32 = 40;
    println!("\n| path, alone | CPU, ms | p50, ms | KiB |\n|---|---:|---:|---:|");
    for path in ASKED.into_iter().chain(WHOLE) {
        let times = if WHOLE.contains(&path) { TIMES / 8 } else { TIMES };
        let mut bytes = get(service.address, path)?.len();
        let (mut took, before) = (Vec::new(), service.cpu_seconds()?);
        for _ in 0..times {
            let begun = Instant::now();
            bytes = get(service.address, path)?.len();
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        let cpu = (service.cpu_seconds()? - before) * 1000.0 / f64::from(times);
        println!("| `{path}` | {cpu:.1} | {:.1} | {} |", common::median(took), bytes / 1024);
    }
    Ok(())
}

fn row(path: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
        times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    println!("| `{path}` | {:.1} | {:.1} | {:.1} |", at(0.5), at(0.99), at(1.0));
}
