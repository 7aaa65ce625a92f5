//! Storage: one suite that every backend must pass, and whole runs of the command at each. Local folders and memory are tried
//! always; servers of others where their part is installed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod asb;
mod azure;
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
