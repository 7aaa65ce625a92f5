//! The official Python client against the server, where a python with that client is found.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use rekeep_aerospike_server::{ClockMode, Config, Server};

/// The version this test is written for.
const CLIENT: &str = "aerospike==19.3.0";

/// Whether this python has the client.
fn has_client(python: &Path) -> bool {
    let run = Command::new(python).args(["-c", "import aerospike, aerospike_helpers"]).output();
    run.is_ok_and(|output| output.status.success())
}

/// The python of `REKEEP_TEST_PYTHON`, of the system, or of an environment of our own, made if it can be.
fn find_python() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("REKEEP_TEST_PYTHON").map(PathBuf::from) {
        assert!(has_client(&named), "REKEEP_TEST_PYTHON names {}, which has no aerospike module", named.display());
        return Some(named);
    }
    let system = PathBuf::from("python3");
    if has_client(&system) {
        return Some(system);
    }
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client");
    let python = environment.join("bin/python");
    if has_client(&python) {
        return Some(python);
    }
    let made = Command::new(&system).args(["-m", "venv"]).arg(&environment).output();
    if !made.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let installed = Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries",
            "1",
            "--timeout",
            "20",
            CLIENT,
        ])
        .output();
    (installed.is_ok_and(|output| output.status.success()) && has_client(&python)).then_some(python)
}

#[test]
fn the_official_python_client_does_all_its_work() {
    let Some(python) = find_python() else {
        // Written past the harness, which hides the output of tests that pass.
        use std::io::Write as _;
        let text = format!(
            "\n*** NOT RUN: the conformance of the test server with the official Python client.\n\
             *** No python with `{CLIENT}` was found and none could be installed. Set REKEEP_TEST_PYTHON to one.\n"
        );
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    };
    let server = Server::start(Config { clock: ClockMode::Real, ..Config::with_nodes(2) }).unwrap();
    let address = server.address(0);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance.py");
    let output =
        Command::new(python).arg(script).args([address.ip().to_string(), address.port().to_string()]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("conformance: all passed"), "{out}\n{err}");
    assert_eq!(server.count("test"), 0, "the last thing it does is truncate");
}
