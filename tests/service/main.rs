//! The service over HTTP: what a client asks, sees and gets back. Most of it runs in this process, on a free port; what has to be
//! killed is a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod audit;
mod backups;
mod browser;
mod chromium;
mod claims;
mod client;
mod cluster;
mod configuration;
mod console;
#[path = "../connector_deeplake/made.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod deeplake_made;
mod drills;
mod files;
#[cfg(unix)]
mod full_disk;
mod hooks;
mod hostile;
mod keys;
#[cfg(unix)]
mod killed;
mod mail;
mod monitoring;
mod openapi;
#[cfg(unix)]
#[path = "../connector_postgres/cluster.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod postgres_cluster;
mod process;
#[cfg(unix)]
mod proofs;
mod records;
mod recovery;
mod restarts;
mod runs;
#[cfg(unix)]
#[path = "../support/small_disk.rs"]
mod small_disk;
#[cfg(unix)]
mod starting;
#[cfg(unix)]
mod stopping;
mod tls;
mod unreadable;
mod world;
