//! A service in a process of its own.

use crate::{
    client::{Answer, request, until},
    world::World,
};
use serde_json::Value as Json;
use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

pub struct Process {
    child: Child,
    address: SocketAddr,
    lines: Arc<Mutex<Vec<Json>>>,
}

impl Process {
    pub fn start(world: &World) -> Self {
        Self::start_as(world, Command::new(env!("CARGO_BIN_EXE_rekeep")))
    }

    /// One that may have no more than so many files open.
    #[cfg(unix)]
    pub fn start_with_files(world: &World, most: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_rekeep")]);
        Self::start_as(world, shell)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn start_as(world: &World, mut command: Command) -> Self {
        let mut child = command
            .args(["serve", "-c"])
            .arg(world.path("config.yml"))
            .args(["-f", "JSON", "-lINFO", "--port", "0", "--state-dir"])
            .arg(world.path("state"))
            .arg("--cache-dir")
            .arg(world.path("cache"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Arc<Mutex<Vec<Json>>> = Arc::default();
        let (kept, out) = (Arc::clone(&lines), BufReader::new(child.stdout.take().unwrap()));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let mut process = Self { child, address: ([127, 0, 0, 1], 0).into(), lines };
        let words = process.says("listening on http://");
        process.address = words.strip_prefix("listening on http://").unwrap().parse().unwrap();
        process
    }

    /// Waits for a line of the log with these words in it.
    #[track_caller]
    pub fn says(&mut self, words: &str) -> String {
        until(|| {
            let over = self.child.try_wait().unwrap();
            let lines = self.lines.lock().unwrap();
            let mut said = lines.iter().filter_map(|line| line["message"].as_str());
            let found = said.find(|message| message.contains(words)).map(str::to_owned);
            assert!(found.is_some() || over.is_none(), "it ended and never said `{words}`: {lines:?}");
            found
        })
    }

    pub fn ask(&self, method: &str, path: &str) -> Answer {
        request(self.address, method, path, &[], None)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[cfg(unix)]
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end; gives its exit status.
    #[cfg(unix)]
    #[track_caller]
    pub fn ended(&mut self) -> Option<i32> {
        until(|| self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
