//! Storage: one suite that every backend must pass, and whole runs of the command at each. Local folders and memory are tried
//! always; servers of others where their part is installed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod asb;
mod azure;
#[path = "../service/client.rs"]
#[allow(dead_code, reason = "shared with the tests of the service")]
mod client;
mod conformance;
mod faults;
mod gcs;
mod lakes;
mod local;
mod proxy;
mod rights;
mod run;
mod s3;
mod server;
mod sftp;
mod trees;
mod webdav;
#[path = "../service/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the service")]
mod world;
