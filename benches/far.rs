//! rekeep and its peers over an S3 server, with and without a long line to it, beside the same on local disk.
//!
//! `cargo bench --bench far -- --records 200000 --millis 0,50 --server PROGRAM --peers restic,rustic --rustic PROGRAM --workdir DIR`
//!
//! The server is ministack; every request goes over a line of the bench's own, which counts it and makes it wait. All tools run a
//! phase in turn before the next one begins. See `benches/README.md`.

mod common;
mod line;
mod tools;

use common::workload::state_digest;
use common::{Cost, Flags, Outcome, make_state, workdir};
use line::{Line, in_a_row};
use rusqlite::Connection;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tools::{Data, Tool};

const BUCKET: &str = "bench";

/// Phases, by number: first backup, second, one in which nothing changed, …
const PHASES: [&str; 8] = [
    "first backup",
    "second backup, 1 % changed",
    "third backup, nothing changed",
    "snapshots",
    "restore of one record",
    "restore",
    "check all data",
    "forget all but one, prune",
];

struct Bench {
    dir: PathBuf,
    tools: Vec<Tool>,
    records: u64,
    line: Line,
    server: Server,
}

/// What a phase came to.
struct Run {
    cost: Cost,
    requests: BTreeMap<String, usize>,
    in_a_row: usize,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "millis", "server", "peers", "rustic", "rekeep", "workdir"])?;
    let (dir, _guard) = workdir(&flags)?;
    let mut tools = vec![Tool::new("rekeep", flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")))?];
    for peer in flags.text("peers").unwrap_or("restic").split(',').filter(|peer| !peer.is_empty()) {
        let program = if peer == "rustic" { flags.text("rustic").unwrap_or(peer) } else { peer };
        tools.push(Tool::new(peer, program)?);
    }
    let program = flags.text("server").unwrap_or("target/parts/ministack/bin/ministack");
    let (server, port) = serve(program, &dir)?;
    let records = flags.number("records", 200_000)?;
    let mut bench = Bench { dir, tools, records, line: Line::to(port)?, server };
    println!("| phase | tool | line, ms | wall, s | CPU, s | peak, MiB | requests | in a row |");
    println!("|---|---|---:|---:|---:|---:|---|---:|");
    bench.all(None)?;
    for millis in flags.text("millis").unwrap_or("0,50").split(',') {
        bench.all(Some(millis.parse().map_err(|_| format!("--millis {millis}: not a number"))?))?;
    }
    drop(bench.server);
    Ok(())
}

/// Starts the server on a port of its own and makes a bucket there.
fn serve(program: &str, dir: &Path) -> Outcome<(Server, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let log = fs::File::create(dir.join("server.log"))?;
    let mut command = Command::new(program);
    // Its default is to listen on every interface.
    command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string()).current_dir(dir);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut server = Server(command.spawn().map_err(|error| format!("{program}: {error}"))?);
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = server.0.try_wait()? {
            return Err(format!("{program} ended: {status}").into());
        }
        if began.elapsed() > Duration::from_mins(1) {
            return Err(format!("{program} does not listen").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    let credential = "Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    write!(
        connection,
        "PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: AWS4-HMAC-SHA256 {credential}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok((server, port)) } else { Err(answer.into()) }
}

impl Bench {
    /// Every phase, on local disk or over a line of so many milliseconds.
    fn all(&mut self, millis: Option<u64>) -> Outcome<()> {
        for tool in &mut self.tools {
            tool.clear(&self.dir)?;
            tool.lies_at(millis.map(|millis| format!("http://127.0.0.1:{}/{BUCKET}/{millis}", self.line.port)))?;
            // Making a repository is not what is measured.
            self.line.delay(Duration::ZERO);
            tool.init(&self.dir)?;
        }
        self.line.delay(Duration::from_millis(millis.unwrap_or(0)));
        let data = self.dir.join("records.db");
        for phase in 0..PHASES.len() {
            if phase < 2 {
                fs::copy(make_state(&self.dir, phase + 1, self.records)?, &data)?;
            }
            for tool in &self.tools {
                drop(self.line.take());
                let Some(cost) = self.phase(phase, tool, &data)? else { continue };
                let taken = self.line.take();
                let mut requests = BTreeMap::new();
                for request in &taken {
                    *requests.entry(request.verb.clone()).or_default() += 1;
                }
                show(phase, &tool.name, millis, &Run { cost, requests, in_a_row: in_a_row(&taken) });
            }
        }
        Ok(())
    }

    /// One phase of one tool; `None` where it has no such thing.
    fn phase(&self, phase: usize, tool: &Tool, data: &Path) -> Outcome<Option<Cost>> {
        Ok(match phase {
            0..3 => Some(tool.backup(&self.dir, Data::Database(data), phase + 1)?),
            3 => Some(tool.list(&self.dir)?),
            4 => {
                let middle = "SELECT id FROM records LIMIT 1 OFFSET ?1";
                let half = i64::try_from(self.records / 2)?;
                let id: i64 = Connection::open(data)?.query_row(middle, [half], |row| row.get(0))?;
                tool.restore_one(&self.dir, "records", id.try_into()?)?
            }
            5 => {
                let (cost, out) = tool.restore(&self.dir, Data::Database(data), 3)?;
                if state_digest(&Connection::open(&out)?)? != state_digest(&Connection::open(data)?)? {
                    return Err(format!("{} restored other records than it was given", tool.name).into());
                }
                Some(cost)
            }
            6 => Some(tool.check(&self.dir)?),
            _ => Some(tool.keep_one(&self.dir)?),
        })
    }
}

fn show(phase: usize, tool: &str, millis: Option<u64>, run: &Run) {
    let line = millis.map_or_else(|| "local".to_owned(), |millis| millis.to_string());
    let by_verb: Vec<String> = run.requests.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
    let requests = format!("{}: {}", run.requests.values().sum::<usize>(), by_verb.join(", "));
    let Cost { wall_seconds, cpu_seconds, peak_mib } = run.cost;
    println!(
        "| {} | {tool} | {line} | {wall_seconds:.2} | {cpu_seconds:.2} | {peak_mib:.0} | {} | {} |",
        PHASES[phase],
        if millis.is_some() { requests } else { "–".to_owned() },
        if millis.is_some() { run.in_a_row.to_string() } else { "–".to_owned() },
    );
    // A run that is stopped has shown what it has.
    let _ = std::io::stdout().flush();
}
