//! The official Python client, unmodified, against the server.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use rekeep_aerospike_server::{ClockMode, Config, Server};

#[test]
#[ignore = "needs aerospike-python"]
fn the_official_python_client_does_all_its_work() {
    let parts = std::env::var_os("REKEEP_PARTS").unwrap();
    let python = Path::new(&parts).join("aerospike-python/bin/python");
    let server = Server::start(Config { clock: ClockMode::Real, ..Config::with_nodes(2) }).unwrap();
    let address = server.address(0);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance.py");
    // The client leaves copies of modules where it runs.
    let output = Command::new(python)
        .arg(script)
        .args([address.ip().to_string(), address.port().to_string()])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("conformance: all passed"), "{out}\n{err}");
    assert_eq!(server.count("test"), 0, "the last thing it does is truncate");
}
