//! A table of `PostgreSQL` backed up and restored by rekeep and by `pg_dump`, in turn.
//!
//! `cargo bench --bench postgres -- --records 5000000 --runs 3 --workdir DIR`
//!
//! A server of the bench's own (Debian's, `fsync` and autovacuum off for both). Every restored table is compared with its source.
//! CPU seconds are those of the command and of the server's processes meanwhile. What is compared runs in turn, the other one first in every second
//! run.

mod common;

#[path = "common/postmaster.rs"]
mod postmaster;

#[path = "../tests/connector_postgres/cluster.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared with the tests")]
mod cluster;

use cluster::Cluster;
use common::workload::W1_RECORDS;
use common::{Cost, Flags, Outcome, bytes_below, make_state, measure, median, remove, workdir};
use rusqlite::{Connection, types::ValueRef};
use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

const MIB: f64 = 1_048_576.0;

/// One percent, scattered, half of them at equal length.
const CHANGE: &str = "UPDATE records SET visits = visits + 1 WHERE id % 1600 = 0; \
    UPDATE records SET words = reverse(words) || 'x', note = 'changed' WHERE id % 1600 = 800";

const PHASES: [&str; 5] =
    ["first backup", "second backup, 1 % changed", "restore", "first: MiB kept", "second: MiB more"];

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "scale", "runs", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let records = (flags.number("records", W1_RECORDS)? as f64 * flags.number("scale", 1.0)?) as u64;
    let runs: usize = flags.number("runs", 3)?;
    let rekeep = flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned();
    let state = make_state(&dir, 1, records)?;
    let mut cluster = Cluster::new();
    cluster.crash();
    cluster.add_settings("autovacuum = off\nmax_wal_size = 8GB\n");
    cluster.start();
    let bench = Bench { cluster, dir: dir.join("postgres"), rekeep };
    let mut results: [[Vec<Spent>; 2]; 5] = Default::default();
    for run in 0..runs {
        eprintln!("run {}", run + 1);
        bench.run(&state, run % 2 == 1, &mut results)?;
    }
    println!("\n{records} records, medians of {runs} runs; times in seconds, CPU of the command + of the server\n");
    println!(
        "| | rekeep | CPU | pg_dump -Fd -j2 -Z1 | CPU | ratio (each run's) | of CPU | peak MiB of rekeep |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    for (phase, [own, peer]) in PHASES[..3].iter().zip(&results) {
        let of = |costs: &[Spent], figure: fn(&Spent) -> f64| median(costs.iter().map(figure).collect());
        let wall = |costs: &[Spent]| of(costs, |spent| spent.cost.wall_seconds);
        let cpu = |costs: &[Spent]| {
            format!("{:.1} + {:.1}", of(costs, |spent| spent.cost.cpu_seconds), of(costs, |spent| spent.server))
        };
        let all = |spent: &Spent| spent.cost.cpu_seconds + spent.server;
        let ratios =
            |figure: &dyn Fn(&Spent) -> f64| own.iter().zip(peer).map(|(a, b)| figure(a) / figure(b)).collect();
        let (mut each, cpus): (Vec<f64>, Vec<f64>) = (ratios(&|spent| spent.cost.wall_seconds), ratios(&all));
        each.sort_by(f64::total_cmp);
        let (low, high) = (each[0], each[each.len() - 1]);
        println!(
            "| {phase} | {:.2} | {} | {:.2} | {} | {:.2} ({low:.2} to {high:.2}) | {:.2} | {:.0} |",
            wall(own),
            cpu(own),
            wall(peer),
            cpu(peer),
            median(each),
            median(cpus),
            of(own, |spent| spent.cost.peak_mib)
        );
    }
    for (phase, [own, peer]) in PHASES[3..].iter().zip(&results[3..]) {
        let of = |kept: &[Spent]| median(kept.iter().map(|spent| spent.kept_mib).collect());
        println!("| {phase} | {:.1} | | {:.1} | | {:.2} | | |", of(own), of(peer), of(own) / of(peer));
    }
    Ok(())
}

/// What a step cost, with the server's part; or what it keeps.
#[derive(Clone, Copy, Default)]
struct Spent {
    cost: Cost,
    server: f64,
    kept_mib: f64,
}

struct Bench {
    cluster: Cluster,
    dir: PathBuf,
    rekeep: String,
}

impl Bench {
    fn run(&self, state: &Path, peer_first: bool, results: &mut [[Vec<Spent>; 2]; 5]) -> Outcome<()> {
        remove(&self.dir)?;
        std::fs::create_dir_all(&self.dir)?;
        self.drop_databases()?;
        let mut client = self.cluster.database("bench");
        fill(state, &mut client)?;
        self.rekeep(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"])?;
        let url = self.cluster.url("bench");
        let sizes = || -> Outcome<[f64; 2]> {
            Ok([bytes_below(&self.dir.join("repo"))? as f64 / MIB, bytes_below(&self.dir.join("dumps"))? as f64 / MIB])
        };
        std::fs::create_dir(self.dir.join("dumps"))?;
        let mut before = sizes()?;
        for phase in 0..2 {
            if phase == 1 {
                client.batch_execute(CHANGE)?;
                client.batch_execute("VACUUM records")?;
            }
            let dump = format!("dumps/{phase}");
            self.both(peer_first, &mut results[phase], &|| self.rekeep(&["backup", &url]), &|| self.dump(&dump))?;
            let after = sizes()?;
            for tool in 0..2 {
                results[3 + phase][tool].push(Spent { kept_mib: after[tool] - before[tool], ..Spent::default() });
            }
            before = after;
        }
        let was = digest(&mut client)?;
        let mut copy = self.cluster.database("own");
        let mut peer = self.cluster.database("peer");
        let own = self.cluster.url("own");
        let restore = || self.rekeep(&["restore", "latest", &own]);
        self.both(peer_first, &mut results[2], &restore, &|| self.restore("dumps/1"))?;
        for (name, client) in [("rekeep", &mut copy), ("pg_restore", &mut peer)] {
            if digest(client)? != was {
                return Err(format!("{name} restored another table").into());
            }
        }
        Ok(())
    }

    /// Does one thing with both, in this order or the other.
    fn both(
        &self,
        peer_first: bool,
        into: &mut [Vec<Spent>; 2],
        own: &dyn Fn() -> Outcome<Cost>,
        peer: &dyn Fn() -> Outcome<Cost>,
    ) -> Outcome<()> {
        for turn in 0..2 {
            let tool = usize::from((turn == 1) != peer_first);
            // What the one before left to be written is written before the next begins.
            self.cluster.client("postgres").batch_execute("CHECKPOINT")?;
            let before = postmaster::cpu_seconds(&self.cluster.data())?;
            let cost = if tool == 0 { own()? } else { peer()? };
            let server = postmaster::cpu_seconds(&self.cluster.data())? - before;
            into[tool].push(Spent { cost, server, kept_mib: 0.0 });
        }
        Ok(())
    }

    fn drop_databases(&self) -> Outcome<()> {
        let mut admin = self.cluster.client("postgres");
        for name in ["bench", "own", "peer"] {
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        }
        Ok(())
    }

    fn rekeep(&self, args: &[&str]) -> Outcome<Cost> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let env = [
            ("REKEEP_REPOSITORY", path("repo")),
            ("REKEEP_PASSWORD", "bench".to_owned()),
            ("REKEEP_CACHE_DIR", path("cache")),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value));
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        measure(self.rekeep.as_ref(), &args, &env, None)
    }

    fn peer(&self, program: &str, args: &[&str]) -> Outcome<Cost> {
        let port = self.cluster.port.to_string();
        let program = self.cluster.program(program).get_program().to_owned();
        let place = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        let args: Vec<&OsStr> = place.iter().chain(args).map(OsStr::new).collect();
        measure(&program, &args, &[], Some(&self.dir))
    }

    fn dump(&self, to: &str) -> Outcome<Cost> {
        self.peer("pg_dump", &["-d", "bench", "-Fd", "-j2", "-Z1", "-f", to])
    }

    fn restore(&self, from: &str) -> Outcome<Cost> {
        self.peer("pg_restore", &["-d", "peer", "-j2", from])
    }
}

/// W1 as a table.
fn fill(state: &Path, client: &mut postgres::Client) -> Outcome<()> {
    client.batch_execute(
        "CREATE TABLE records (id int8 NOT NULL, name text NOT NULL, email text NOT NULL, city text NOT NULL, score float8 NOT NULL, \
         visits int8 NOT NULL, profile text NOT NULL, words text NOT NULL, token bytea NOT NULL, created int8 NOT NULL, updated text NOT NULL, note text)",
    )?;
    let source = Connection::open(state)?;
    let mut statement = source.prepare("SELECT * FROM records")?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut out = client.copy_in("COPY records FROM STDIN")?;
    let mut line = String::new();
    while let Some(row) = rows.next()? {
        line.clear();
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Null => line.push_str("\\N"),
                ValueRef::Integer(value) => write!(line, "{value}")?,
                ValueRef::Real(value) => write!(line, "{value}")?,
                ValueRef::Text(text) => escape(std::str::from_utf8(text)?, &mut line),
                ValueRef::Blob(bytes) => write!(line, "\\\\x{}", data_encoding::HEXLOWER.encode(bytes))?,
            }
            line.push(if column + 1 == columns { '\n' } else { '\t' });
        }
        out.write_all(line.as_bytes())?;
    }
    out.finish()?;
    client.batch_execute("ALTER TABLE records ADD PRIMARY KEY (id); CREATE INDEX ON records (city, updated)")?;
    client.batch_execute("VACUUM ANALYZE records")?;
    Ok(())
}

fn escape(text: &str, line: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c => line.push(c),
        }
    }
}

/// What tells tables apart, whatever the order of their rows.
fn digest(client: &mut postgres::Client) -> Outcome<String> {
    let sql = "SELECT count(*)::text || ' ' || sum(hashtextextended(r::text, 0)::numeric)::text FROM records r";
    Ok(client.query_one(sql, &[])?.get(0))
}
