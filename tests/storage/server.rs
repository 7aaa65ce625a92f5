//! Servers of others, on free ports of the loopback interface, that end with the test.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A running server.
pub struct Server {
    child: Child,
    pub port: u16,
    pub folder: TempDir,
}

/// Where a part is installed.
pub fn part(name: &str) -> PathBuf {
    let parts = std::env::var_os("REKEEP_PARTS").map(PathBuf::from);
    parts.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/parts")).join(name)
}

/// A program of a part that pip or npm installed.
pub fn program(part_name: &str, name: &str) -> PathBuf {
    let inside = part(part_name);
    let found = [inside.join("bin").join(name), inside.join("node_modules/.bin").join(name)];
    found.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{name} is not in {}", inside.display()))
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts a server and waits until it takes connections. `make` is told the port and a folder of the server's own.
    pub fn start(make: impl FnOnce(u16, &Path) -> Command) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let mut command = make(port, folder.path());
        let log = std::fs::File::create(folder.path().join("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Self { child, port, folder };
        server.wait_until_it_listens();
        server
    }

    fn wait_until_it_listens(&mut self) {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", self.log());
            }
            assert!(began.elapsed() < Duration::from_mins(1), "the server does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let log = std::fs::File::open(self.folder.path().join("server.log"));
        let _ = log.unwrap().read_to_string(&mut text);
        text
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
