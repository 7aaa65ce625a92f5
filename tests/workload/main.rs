//! The data that benches are run on: the same arguments give the same data everywhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, unused_imports, reason = "benches use it")]
#[path = "../../benches/workload/mod.rs"]
mod workload;
