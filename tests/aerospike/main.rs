//! Aerospike clusters as a source, against a server in this process, or the one that `REKEEP_TEST_AEROSPIKE` names: what
//! it holds is what comes back, whatever happens on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(unused_imports, dead_code, reason = "other tests use the rest")]
#[path = "../support/mod.rs"]
mod support;

#[path = "../aerospike-server/tests/support/mod.rs"]
mod raw;

mod builds;
mod captures;
mod cluster;
mod command;
mod faults;
mod full;
mod incremental;
mod membership;
mod options;
mod outside;
mod place;
mod reaching;
mod resuming;
mod rolling;
mod second;
mod strange;
mod streams;
mod verifying;
