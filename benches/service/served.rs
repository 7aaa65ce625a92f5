//! A service in a process of its own, and a client as small as can be.

use crate::common::Outcome;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const LONGEST: Duration = Duration::from_mins(5);

pub struct Served {
    child: Child,
    pub address: SocketAddr,
}

impl Served {
    /// Starts `rekeep serve` on what lies in `dir`, and waits until it listens.
    pub fn start(program: &Path, dir: &Path) -> Outcome<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "-c"]).arg(dir.join("config.yml")).args(["-f", "JSON", "-lINFO", "--port", "0"]);
        command.arg("--state-dir").arg(dir.join("state")).arg("--cache-dir").arg(dir.join("cache"));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut served = Self { child, address: ([127, 0, 0, 1], 0).into() };
        let mut lines = BufReader::new(out).lines();
        for line in lines.by_ref() {
            let line: serde_json::Value = serde_json::from_str(&line?)?;
            let message = line["message"].as_str().unwrap_or_default();
            if let Some(address) = message.strip_prefix("listening on http://") {
                served.address = address.parse()?;
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(served);
            }
        }
        Err(format!("the service ended: {}", served.child.wait()?).into())
    }

    fn proc(&self, name: &str) -> Outcome<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{name}", self.child.id()))?)
    }

    /// User and system time so far.
    pub fn cpu_seconds(&self) -> Outcome<f64> {
        let text = self.proc("stat")?;
        let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: f64 = fields.get(11..13).unwrap_or_default().iter().filter_map(|it| it.parse::<f64>().ok()).sum();
        Ok(ticks / 100.0)
    }

    fn mib(&self, name: &str) -> Outcome<f64> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    pub fn memory_mib(&self) -> Outcome<f64> {
        self.mib("VmRSS:")
    }

    pub fn peak_mib(&self) -> Outcome<f64> {
        self.mib("VmHWM:")
    }

    /// Waits until no job waits or is at work; one that failed is an error.
    pub fn rest(&self) -> Outcome<()> {
        let end = Instant::now() + LONGEST;
        while Instant::now() < end {
            let jobs: serde_json::Value = serde_json::from_str(&get(self.address, "/api/v1/jobs")?)?;
            let jobs = jobs.as_array().ok_or("no list of jobs")?;
            let find = |states: &[&str]| {
                let is = |job: &&serde_json::Value| job["state"].as_str().is_some_and(|state| states.contains(&state));
                jobs.iter().find(is)
            };
            if let Some(failed) = find(&["failure", "incomplete", "canceled"]) {
                return Err(format!("a job did not succeed: {failed}").into());
            }
            if find(&["queued", "running"]).is_none() {
                return Ok(());
            }
            // Seldom: what the answers take is counted with the jobs.
            std::thread::sleep(Duration::from_millis(200));
        }
        Err("jobs did not come to their end".into())
    }

    /// Ends it and waits.
    pub fn end(&self) -> Outcome<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let end = Instant::now() + LONGEST;
        while TcpStream::connect(self.address).is_ok() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.end();
        let _ = self.child.wait();
    }
}

fn ask(to: SocketAddr, method: &str, path: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(LONGEST))?;
    let more = if method == "POST" { "content-length: 0\r\n" } else { "" };
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{more}\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(format!("{method} {path}: {head}\n{body}").into());
    }
    Ok(body.to_owned())
}

pub fn get(to: SocketAddr, path: &str) -> Outcome<String> {
    ask(to, "GET", path)
}

pub fn post(to: SocketAddr, path: &str) -> Outcome<String> {
    ask(to, "POST", path)
}
