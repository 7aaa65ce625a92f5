//! A directory with a repository, and the command run in it.

use rusqlite::{Connection, types::Value};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

pub const PASSWORD: &str = "correct horse";

/// What a run of the command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub bytes: Vec<u8>,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }
}

impl Ran {
    /// Demands this exit status, and these words on standard error.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in:\n{}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// Demands these words on standard output.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word), "`{word}` is not in:\n{}", self.out);
        }
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The events on standard error.
    #[track_caller]
    pub fn events(&self) -> Vec<Json> {
        self.err.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

pub struct World {
    dir: TempDir,
}

impl World {
    /// Without a repository.
    pub fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With a repository whose password is cheap to try.
    pub fn new() -> Self {
        let world = Self::empty();
        world.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// The command, to be run in the directory: relative names in URLs are names in it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("REKEEP_PASSWORD_FILE")
            .env_remove("REKEEP_PASSWORD_COMMAND")
            .env("REKEEP_REPOSITORY", self.repo())
            .env("REKEEP_PASSWORD", PASSWORD)
            .env("REKEEP_CACHE_DIR", self.path("cache"))
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Json {
        let mut all = vec!["--json"];
        all.extend(args);
        self.ok(&all).json()
    }

    /// Backs up; gives the snapshot's id.
    #[track_caller]
    pub fn backup(&self, args: &[&str]) -> String {
        let mut all = vec!["backup"];
        all.extend(args);
        self.json(&all)["id"].as_str().unwrap().to_owned()
    }

    /// `snapshots --json`.
    #[track_caller]
    pub fn snapshots(&self) -> Vec<Json> {
        self.json(&["snapshots"]).as_array().unwrap().clone()
    }

    /// Runs statements on a database in the directory, which is made if it does not exist.
    #[track_caller]
    pub fn sql(&self, name: &str, statements: &str) {
        Connection::open(self.path(name)).unwrap().execute_batch(statements).unwrap();
    }

    /// The rows of a query, checked to come from a sound database.
    #[track_caller]
    pub fn rows(&self, name: &str, query: &str) -> Vec<Vec<Value>> {
        rows(&self.path(name), query)
    }

    /// Every object of the repository by its name; what lies in `tmp/` is none.
    pub fn objects(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        // A reserve is as large as many repositories.
        let _ = std::fs::remove_file(self.repo().join("tmp/reserve"));
        let mut objects = files(&self.repo());
        objects.retain(|name, _| !name.starts_with("tmp"));
        objects
    }

    /// What `verify --read-data --restore` must say of a good repository.
    #[track_caller]
    pub fn is_good(&self) {
        let verified = self.json(&["verify", "--read-data", "--restore"]);
        assert_eq!(verified["findings"], serde_json::json!([]), "{verified}");
    }
}

#[track_caller]
pub fn rows(path: &Path, query: &str) -> Vec<Vec<Value>> {
    assert!(path.exists(), "{} does not exist", path.display());
    let db = Connection::open(path).unwrap();
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let mut statement = db.prepare(query).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Every file below a directory, by its path relative to it.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(dir: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found
}

/// A table `t(id, name, data)` with so many rows of some 80 to 200 bytes that do not compress to nothing.
pub fn many_rows(world: &World, name: &str, rows: u32) {
    world.sql(
        name,
        &format!(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, data BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, 'name ' || i, randomblob(60 + i % 120) FROM n"
        ),
    );
}

/// A command that runs, and tells what it is at.
pub struct Running {
    child: std::process::Child,
    events: std::io::Lines<std::io::BufReader<std::process::ChildStderr>>,
    seen: String,
}

impl Running {
    /// Begins a command; with `--json`, so that it tells.
    pub fn start(world: &World, args: &[&str]) -> Self {
        use std::io::BufRead as _;
        let mut command = world.command(&["--json"]);
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let events = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, events, seen: String::new() }
    }

    /// Waits for an event; that it ends before is a failure.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, is_it: impl Fn(&Json) -> bool) {
        loop {
            let Some(line) = self.events.next() else { panic!("{what} did not happen: {}", self.seen) };
            let line = line.unwrap();
            self.seen.push_str(&line);
            self.seen.push('\n');
            if serde_json::from_str(&line).is_ok_and(|event| is_it(&event)) {
                return;
            }
        }
    }

    /// Waits until so many records of the phase of this name are done.
    #[track_caller]
    pub fn wait_for_records(&mut self, phase: &str, records: u64) {
        self.wait_for(&format!("{phase} {records} records"), |event| {
            event["phase"] == phase && event["records"].as_u64().is_some_and(|done| done >= records)
        });
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Kills it, which must not have ended.
    #[track_caller]
    pub fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended before it could be killed: {}", self.seen);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
        for line in self.events {
            self.seen.push_str(&line.unwrap());
            self.seen.push('\n');
        }
        let code = self.child.wait().unwrap().code();
        Ran { code, out: String::from_utf8_lossy(&bytes).into_owned(), err: self.seen, bytes }
    }
}
