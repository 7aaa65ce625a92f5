//! What a stock server was measured to do, row by row of the list, each row a test.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod policies;
mod scans;
mod values;
