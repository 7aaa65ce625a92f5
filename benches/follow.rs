//! A `PostgreSQL` database captured while it changes: how fast, with how much memory, how far behind, and what versions take.
//!
//! `cargo bench --bench follow -- --records 100000 --versions 10 --rate 20000 --seconds 20 --workdir DIR`
//!
//! A server of the bench's own (Debian's, `fsync` and autovacuum off). Rows of about 300 bytes with a primary key are updated, 1 000 in a
//! transaction. First all versions are written and then captured (`--once`): the rate. Then one is written at a given rate while a capture
//! runs beside it: how far it is behind. Then that capture is killed while all rows change once more, and another one goes on.

mod common;

#[path = "../tests/connector_postgres/cluster.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared with the tests")]
mod cluster;

#[path = "common/postmaster.rs"]
mod postmaster;

use cluster::Cluster;
use common::{Flags, Outcome, bytes_below, measure, median, remove, workdir};
use postgres::Client;
use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const MIB: f64 = 1_048_576.0;

/// Rows of one transaction.
const AT_ONCE: u64 = 1000;

/// What every version of a row says; `$V` stands for the version's number.
const VALUE: &str = "note = format('customer %s of street %s lives there since %s; customer %s of street %s lives there since %s; \
    customer %s of street %s lives there since %s; visit %s', id, id % 977, id % 3650, id, id % 977, id % 3650, id, id % 977, id % 3650, $V), \
    balance = id * 7 + $V * 13, seen = clock_timestamp()";

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "versions", "rate", "seconds", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let mut cluster = Cluster::logical();
    cluster.crash();
    cluster.add_settings("autovacuum = off\nmax_wal_size = 8GB\n");
    cluster.start();
    let bench = Bench {
        url: cluster.url("bench"),
        dir: dir.join("follow"),
        rekeep: flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned(),
        records: flags.number("records", 100_000)?,
        cluster,
    };
    remove(&bench.dir)?;
    std::fs::create_dir_all(&bench.dir)?;
    let mut client = bench.cluster.database("bench");
    client.batch_execute(&format!(
        "CREATE TABLE t (id int8 PRIMARY KEY, balance int8, seen timestamptz, note text) WITH (fillfactor = 50);
         INSERT INTO t (id) SELECT generate_series(1, {}); UPDATE t SET {}",
        bench.records,
        VALUE.replace("$V", "0"),
    ))?;
    client.batch_execute("VACUUM FULL ANALYZE t")?;
    bench.run(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"])?;
    bench.run(&["--quiet", "capture", &bench.url, "--once"])?;
    bench.catch_up(&mut client, flags.number("versions", 10)?)?;
    bench.beside_a_writer(&mut client, flags.number("rate", 20_000)?, flags.number("seconds", 20)?)?;
    remove(&bench.dir)
}

struct Bench {
    cluster: Cluster,
    url: String,
    dir: PathBuf,
    rekeep: String,
    records: u64,
}

impl Bench {
    fn env(&self) -> [(String, String); 3] {
        let path = |name: &str| self.dir.join(name).display().to_string();
        [
            ("REKEEP_REPOSITORY".to_owned(), path("repo")),
            ("REKEEP_PASSWORD".to_owned(), "bench".to_owned()),
            ("REKEEP_CACHE_DIR".to_owned(), path("cache")),
        ]
    }

    /// Runs the command; gives what it cost, and what the server did meanwhile.
    fn run(&self, args: &[&str]) -> Outcome<(common::Cost, f64)> {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        let before = postmaster::cpu_seconds(&self.cluster.data())?;
        let cost = measure(self.rekeep.as_ref(), &args, &self.env(), None)?;
        Ok((cost, postmaster::cpu_seconds(&self.cluster.data())? - before))
    }

    fn kept(&self) -> Outcome<u64> {
        bytes_below(&self.dir.join("repo"))
    }

    fn write_all(&self, client: &mut Client, version: u64) -> Outcome<()> {
        (1..=self.records).step_by(AT_ONCE as usize).try_for_each(|from| write(client, from, version))
    }

    fn catch_up(&self, client: &mut Client, versions: u64) -> Outcome<()> {
        let before = self.kept()?;
        let mut apart = 0;
        for version in 1..=versions {
            self.write_all(client, version)?;
            apart += compressed_apart(client)?;
        }
        client.batch_execute("CHECKPOINT")?;
        let (cost, server) = self.run(&["--quiet", "capture", &self.url, "--once"])?;
        let changes = (self.records * versions) as f64;
        let kept = self.kept()? - before;
        println!(
            "{changes} changes that wait: {:.2} s, {:.0} a second; CPU s {:.2} of the command, {server:.2} of the server; peak {:.0} MiB",
            cost.wall_seconds,
            changes / cost.wall_seconds,
            cost.cpu_seconds,
            cost.peak_mib
        );
        let (kept, apart) = (kept as f64 / MIB, apart as f64 / MIB);
        println!("kept: {kept:.1} MiB; values compressed one by one {apart:.1} MiB: {:.3}", kept / apart);
        Ok(())
    }

    fn start(&self) -> Outcome<Child> {
        let words =
            ["--quiet", "capture", &self.url, "--every", "1s", "--info-polling-period", "200ms", "--metrics-file"];
        let mut command = Command::new(&self.rekeep);
        command.args(words).arg(self.metrics()).envs(self.env()).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command.stderr(Stdio::null()).spawn()?)
    }

    fn metrics(&self) -> PathBuf {
        self.dir.join("capture.prom")
    }

    /// A number of the metrics file.
    fn metric(&self, name: &str) -> Option<f64> {
        let text = std::fs::read_to_string(self.metrics()).ok()?;
        text.lines().find(|line| line.starts_with(name))?.rsplit(' ').next()?.parse().ok()
    }

    fn beside_a_writer(&self, client: &mut Client, rate: u64, seconds: u64) -> Outcome<()> {
        let mut child = self.start()?;
        let pid = child.id();
        let (began, mut written, mut lags, mut version) = (Instant::now(), 0_u64, Vec::new(), 100);
        let mut from = 1;
        while began.elapsed() < Duration::from_secs(seconds) {
            let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
            if written >= due {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            write(client, from, version)?;
            written += AT_ONCE.min(self.records + 1 - from);
            from += AT_ONCE;
            if from > self.records {
                (from, version) = (1, version + 1);
            }
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
            lags.extend(self.metric("rekeep_capture_recovery_point_timestamp_seconds").map(|point| now - point));
        }
        let took = began.elapsed().as_secs_f64();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned();
        lags.sort_by(f64::total_cmp);
        println!(
            "{written} changes written in {took:.1} s ({:.0} a second) beside a capture: behind by {:.1} s (median), {:.1} s at most; {:.0} were \
             captured by then; peak {peak}",
            written as f64 / took,
            median(lags.clone()),
            lags.last().copied().unwrap_or(f64::NAN),
            self.metric("rekeep_capture_changes_total").unwrap_or(f64::NAN),
        );
        self.write_all(client, 1000)?;
        child.kill()?;
        child.wait()?;
        let (cost, server) = self.run(&["--quiet", "capture", &self.url, "--once"])?;
        println!(
            "killed behind {} more: all is there {:.2} s after the next one began (CPU s {:.2} + {server:.2})",
            self.records, cost.wall_seconds, cost.cpu_seconds
        );
        Ok(())
    }
}

/// Rows from here on get their next version, one transaction.
fn write(client: &mut Client, from: u64, version: u64) -> Outcome<()> {
    let value = VALUE.replace("$V", &version.to_string());
    client.execute(&format!("UPDATE t SET {value} WHERE id >= {from} AND id < {}", from + AT_ONCE), &[])?;
    Ok(())
}

/// What the values of a version take when each is compressed alone.
fn compressed_apart(client: &mut Client) -> Outcome<u64> {
    let mut apart = 0;
    for row in client.query("SELECT note FROM t", &[])? {
        apart += zstd::bulk::compress(row.get::<_, String>(0).as_bytes(), 3)?.len() as u64 + 16;
    }
    Ok(apart)
}
