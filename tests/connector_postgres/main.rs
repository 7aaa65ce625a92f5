//! `PostgreSQL` as a source and as a target, with a real server: what is there comes back, and what cannot is said.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod atlas;
mod atlas_source;
mod bad;
mod bank;
mod captures;
mod cluster;
mod cuts;
mod existing;
mod faithful;
mod fuzzy;
mod heaps;
mod histories;
mod hostile;
mod live;
mod mini;
mod odd;
mod standby;
mod steps;
mod whole;

#[path = "../support/rng.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod rng;
