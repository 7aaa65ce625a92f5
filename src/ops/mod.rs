//! One file per verb.

pub mod workload;
