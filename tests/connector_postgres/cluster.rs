//! A server of the test's own: made by `initdb` in a temporary folder, on a free port, stopped by its process id.

use postgres::{Client, NoTls};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tempfile::TempDir;

/// The user as whom the server runs where the tests run as root, which it refuses.
const NOBODY: u32 = 65_534;

pub struct Cluster {
    dir: TempDir,
    bin: PathBuf,
    pub port: u16,
    server: Option<Child>,
}

fn bin() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("initdb is part of the package postgresql")
}

/// Gives a file or folder to the user as whom the server runs.
pub fn give(path: &std::path::Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Cluster {
    /// One whose databases are in UTF-8.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = bin();
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut cluster = Self { dir, bin, port: 0, server: None };
        let data = cluster.data();
        let made = cluster
            .program("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ])
            .arg("--pgdata")
            .arg(data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        cluster.start();
        cluster
    }

    /// One whose log tells changes.
    pub fn logical() -> Self {
        let mut cluster = Self::new();
        cluster.crash();
        cluster.add_settings("wal_level = logical\n");
        cluster.start();
        cluster
    }

    /// A replica of this one, which lets go whoever holds its recovery up.
    pub fn replica(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut replica = Self { dir, bin: self.bin.clone(), port: 0, server: None };
        let port = self.port.to_string();
        let copied = replica
            .program("pg_basebackup")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "postgres",
                "-R",
                "-X",
                "stream",
                "--checkpoint=fast",
                "--no-sync",
            ])
            .arg("-D")
            .arg(replica.data())
            .output()
            .unwrap();
        assert!(copied.status.success(), "{copied:?}");
        replica.add_settings("max_standby_streaming_delay = 0\nhot_standby_feedback = off\n");
        replica.start();
        replica
    }

    /// Adds lines to its configuration, for its next start.
    pub fn add_settings(&self, lines: &str) {
        let path = self.data().join("postgresql.conf");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}\n{lines}")).unwrap();
    }

    /// Puts a file into its folder that only it may read.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.data().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        give(&path);
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A program of the server's, as the user that runs it.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(self.dir.path()).env("TZ", "UTC").env("LC_ALL", "C").stdin(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    pub fn start(&mut self) {
        if self.port == 0 {
            self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        }
        let mut server = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-k", self.dir.path().to_str().unwrap()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=64MB"])
            .args(["-c", "max_connections=60", "-c", "logging_collector=off"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap());
        let mut line = String::new();
        let mut said = String::new();
        while !line.contains("ready to accept") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended: {said}");
            said.push_str(&line);
        }
        // What it says from now on is thrown away, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        self.server = Some(server);
    }

    /// Stops the server at once, as a crash would.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = rustix::process::Pid::from_child(&server);
            rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
            server.wait().unwrap();
        }
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub fn client(&self, database: &str) -> Client {
        Client::connect(&self.url(database), NoTls).unwrap()
    }

    /// Makes a database.
    pub fn database(&self, name: &str) -> Client {
        self.client("postgres").batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).unwrap();
        self.client(name)
    }

    pub fn dump(&self, database: &str, args: &[&str]) -> String {
        let output = self
            .program("pg_dump")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", database])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|line| !line.contains("restrict ") && !line.starts_with("-- "))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.crash();
    }
}

/// The rows of all tables as text, sorted.
pub fn contents(client: &mut Client) -> Vec<(String, Vec<String>)> {
    let sql = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1";
    let names: Vec<String> = client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let mut all = Vec::new();
    for name in names {
        all.push((name.clone(), rows(client, &format!("SELECT * FROM ONLY {name}"))));
    }
    let sql = "SELECT oid, lo_get(oid) FROM pg_largeobject_metadata";
    all.push(("large objects".to_owned(), rows(client, sql)));
    all
}

/// What a query gives as `COPY` writes it, sorted.
pub fn rows(client: &mut Client, sql: &str) -> Vec<String> {
    use std::io::Read as _;
    let mut text = Vec::new();
    client.copy_out(&format!("COPY ({sql}) TO STDOUT")).unwrap().read_to_end(&mut text).unwrap();
    let mut rows: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

/// A repository, and the command.
pub struct Room {
    dir: TempDir,
}

/// What the command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// Demands this exit status, and these words in what was said.
    #[track_caller]
    pub fn ends(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        let said = format!("{}\n{}", self.out, self.err);
        for word in words {
            assert!(said.contains(word), "`{word}` is not in:\n{said}");
        }
        assert!(!said.contains("panicked"), "{said}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Room {
    pub fn new() -> Self {
        let room = Self { dir: tempfile::tempdir().unwrap() };
        room.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
        room
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("REKEEP_REPOSITORY", self.dir.path().join("repo"))
            .env("REKEEP_PASSWORD", "secret")
            .env("REKEEP_CACHE_DIR", self.dir.path().join("cache"))
            .env("HOME", self.dir.path())
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Ran {
        self.run(args).ends(0, &[])
    }

    /// Backs up; gives the outcome.
    #[track_caller]
    pub fn backup(&self, url: &str) -> serde_json::Value {
        self.ok(&["--json", "backup", url]).json()
    }
}

/// A folder of the server's on a file system of 8 MiB, for one test at a time.
pub struct SmallDisk(pub PathBuf, #[allow(dead_code, reason = "it is held, not looked at")] MutexGuard<'static, ()>);

static SMALL_DISK: Mutex<()> = Mutex::new(());

impl SmallDisk {
    pub fn open() -> Self {
        let alone = SMALL_DISK.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = std::env::var_os("REKEEP_PARTS").expect("REKEEP_PARTS says where parts lie");
        let dir = PathBuf::from(parts).join("small-disk").join(format!("postgres-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        give(&dir);
        Self(fs::canonicalize(dir).unwrap(), alone)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
