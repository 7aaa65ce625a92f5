//! The library by behaviour: what a person relies on, through the public interface of the crate.
//!
//! `REKEEP_TEST_STEPS` and `REKEEP_TEST_SEED` make the model test longer or different, `REKEEP_TEST_LARGE=1` runs the
//! edge cases at their full size.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod caches;
mod cold;
mod copying;
mod counts;
mod crash;
mod damage;
mod far;
// What the fuzz targets call names the connectors.
#[cfg(all(feature = "aerospike", feature = "files", feature = "jsonl"))]
mod decoders;
mod golden;
mod jobs;
mod leases;
mod matrix;
mod model;
mod parity;
mod pruning;
mod regions;
mod repositories;
mod resuming;
mod retention;
mod sources;
mod strangers;
mod streams;
mod unreadable;
mod vectors;
