//! A table of `PostgreSQL` backed up and restored by rekeep and by `pg_dump`, in turn.
//!
//! `cargo bench --bench postgres -- --records 5000000 --runs 3 --workdir DIR`
//!
//! A server of the bench's own (Debian's, `fsync` off for both). Every restored table is compared with its source.

mod common;

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
    let bench = Bench { cluster: Cluster::new(), dir: dir.join("postgres"), rekeep };
    let mut results: [[Vec<Cost>; 2]; 5] = Default::default();
    for run in 0..runs {
        eprintln!("run {}", run + 1);
        bench.run(&state, &mut results)?;
    }
    println!(
        "\n| {records} records | rekeep | pg_dump -Fd -j2 -Z1 | ratio | peak MiB of rekeep |\n|---|---:|---:|---:|---:|"
    );
    for (phase, [own, peer]) in PHASES.iter().zip(&results) {
        let of = |costs: &[Cost], figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
        let (own_time, peer_time) = (of(own, |cost| cost.wall_seconds), of(peer, |cost| cost.wall_seconds));
        let ratio = own_time / peer_time;
        println!("| {phase} | {own_time:.2} | {peer_time:.2} | {ratio:.2} | {:.0} |", of(own, |cost| cost.peak_mib));
    }
    Ok(())
}

struct Bench {
    cluster: Cluster,
    dir: PathBuf,
    rekeep: String,
}

impl Bench {
    fn run(&self, state: &Path, results: &mut [[Vec<Cost>; 2]; 5]) -> Outcome<()> {
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
            results[phase][0].push(self.rekeep(&["backup", &url])?);
            results[phase][1].push(self.dump(&format!("dumps/{phase}"))?);
            let after = sizes()?;
            for tool in 0..2 {
                let cost = Cost { wall_seconds: after[tool] - before[tool], ..Cost::default() };
                results[3 + phase][tool].push(cost);
            }
            before = after;
        }
        let was = digest(&mut client)?;
        let mut copy = self.cluster.database("own");
        results[2][0].push(self.rekeep(&["restore", "latest", &self.cluster.url("own")])?);
        let mut peer = self.cluster.database("peer");
        results[2][1].push(self.restore("dumps/1")?);
        for (name, client) in [("rekeep", &mut copy), ("pg_restore", &mut peer)] {
            if digest(client)? != was {
                return Err(format!("{name} restored another table").into());
            }
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
    client.batch_execute(
        "ALTER TABLE records ADD PRIMARY KEY (id); CREATE INDEX ON records (city, updated); VACUUM ANALYZE records",
    )?;
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
