//! The protocol as a client sees it, and the faults a test can order.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod builds;
mod faults;
mod filters;
mod framing;
mod info;
mod security;
