//! The server as a program of its own.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn the_program_tells_its_addresses_and_answers_there() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_rekeep-aerospike-server"))
        .args(["--port", "0", "--nodes", "2", "--namespace", "one", "--namespace", "two"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut addresses = (0..2).map(|_| lines.next().unwrap().unwrap().rsplit(' ').next().unwrap().parse().unwrap());
    let mut client = support::Client::connect(addresses.next().unwrap());
    assert_eq!(client.info("namespaces"), "one;two");
    let peer = addresses.next().unwrap().to_string();
    assert!(client.info("peers-clear-std").contains(&peer));
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn an_option_it_does_not_know_is_refused_with_status_2() {
    let status = Command::new(env!("CARGO_BIN_EXE_rekeep-aerospike-server")).args(["--prot", "1"]).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
