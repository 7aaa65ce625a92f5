//! The command as a subprocess, on real databases, directories and files: what a person types, sees and gets back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(feature = "asb")]
mod asb_files;
#[cfg(all(feature = "aerospike", feature = "asb"))]
mod asbackup_page;
mod backups;
#[cfg(unix)]
#[path = "../support/clock.rs"]
mod clock;
mod connectors;
mod copies;
mod crashes;
mod damage;
mod databases;
mod documented;
mod drills;
mod files;
mod going_back;
mod hostile;
mod key_services;
mod mending;
mod odd_days;
#[cfg(unix)]
mod odd_runs;
mod output;
mod pruning;
mod reading;
mod refusals;
mod replicas;
mod retention;
mod roles;
#[cfg(unix)]
#[path = "../support/small_disk.rs"]
mod small_disk;
#[cfg(unix)]
mod strange;
#[cfg(feature = "aerospike")]
mod streams;
mod tour;
mod verifying;
mod world;
