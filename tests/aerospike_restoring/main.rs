//! Restoring into Aerospike clusters, against a server in this process: exactly the state that was kept, whatever stands
//! in the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(unused_imports, dead_code, reason = "other tests use the rest")]
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod choosing;
mod cluster;
mod command;
mod equal;
mod expiry;
mod faults;
mod histories;
mod killed;
mod losses;
mod policies;
mod preflight;
mod real;
mod resuming;
mod round_trip;
mod side_objects;
