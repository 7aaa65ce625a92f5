//! How the service is started: by a configuration at an address, with plain logs, as a demonstration.

use crate::{
    client::{request, until},
    world::{ROUTINE, World},
};
use serde_json::{Value as Json, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

/// A service in a process of its own, and the lines that it prints.
struct Started {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Started {
    fn new(folder: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rekeep"))
            .arg("serve")
            .args(args)
            .args(["--port", "0"])
            .env("TMPDIR", folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, out) = (Arc::clone(&lines), BufReader::new(child.stdout.take().unwrap()));
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line)));
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn address(&mut self) -> SocketAddr {
        until(|| {
            assert!(self.child.try_wait().unwrap().is_none(), "{:?}", self.lines());
            let lines = self.lines();
            let rest = lines.iter().find_map(|line| line.split("listening on http://").nth(1))?;
            rest.split_whitespace().next()?.parse().ok()
        })
    }

    /// Asks it to end; gives its exit status.
    fn ended(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        until(|| self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives a file's text to whoever asks; gives its address.
fn given(text: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let length = text.len();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
        }
    });
    format!("http://{address}/config.yml")
}

#[test]
fn a_configuration_at_an_address_counts_until_it_is_read_again_and_logs_are_plain() {
    let world = World::new();
    world.configure(ROUTINE, "");
    let url = given(std::fs::read_to_string(world.path("config.yml")).unwrap());
    let (state, cache) = (world.path("state").display().to_string(), world.path("cache").display().to_string());
    let args = ["-c", &url, "-f", "PLAIN", "--state-dir", &state, "--cache-dir", &cache];
    let mut started = Started::new(&world.path(""), &args);
    let to = started.address();
    let ask = |method: &str, path: &str, body: Option<&str>| {
        request(to, method, path, &[("content-type", "application/json")], body)
    };
    ask("POST", "/v1/backups/schedule/accounts", None).is(202);
    until(|| (ask("GET", "/v1/backups/full/accounts", None).json().as_array().unwrap().len() == 1).then_some(()));
    ask("POST", "/v1/config/policies/new", Some("{}")).is(201);
    ask("GET", "/v1/config/policies/new", None).is(200);
    ask("POST", "/v1/config/apply", None).is(200);
    ask("GET", "/v1/config/policies/new", None).is(404);
    let lines = started.lines();
    assert!(lines.iter().all(|line| serde_json::from_str::<Json>(line).is_err()), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("INFO") && line.contains("queued")), "{lines:?}");
    assert_eq!(started.ended(), Some(0));
}

#[test]
fn a_demonstration_lives_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut started = Started::new(folder.path(), &["--demo"]);
    let to = started.address();
    let get = |path: &str| request(to, "GET", path, &[("accept", "text/html")], None).is(200);
    // What was made, changed, verified and proved in the first few runs.
    until(|| {
        let kept = ["full", "incremental"].map(|kind| {
            let kept: Json = get(&format!("/v1/backups/{kind}/shop")).json();
            kept.as_array().unwrap().len()
        });
        (kept[0] >= 2 && kept[1] >= 4).then_some(())
    });
    until(|| get("/v1/backups/currentBackup/shop").json()["last-proof"].is_string().then_some(()));
    let source = get("/console/sources/shop").body;
    assert!(source.contains("<svg class=\"timeline\"") && !source.contains("Unreadable"), "{source}");
    let record = get("/v1/records/orders/-/int:1").json();
    assert!(record["versions"].as_array().unwrap().len() > 1, "{record}");
    let jobs = get("/api/v1/jobs").json();
    let failed: Vec<_> = jobs.as_array().unwrap().iter().filter(|job| job["state"] == json!("failure")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(started.lines().iter().any(|line| line.contains("in a browser")));
    assert_eq!(started.ended(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
