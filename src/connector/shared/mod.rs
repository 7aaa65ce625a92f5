//! What several connectors need: sorting records that come in any order, files that get their names when they are whole, and what is written to as it stands.
#![cfg_attr(
    not(all(feature = "sqlite", feature = "jsonl", feature = "asb", feature = "postgresql")),
    allow(dead_code, unused_imports, reason = "each is used by connectors")
)]

pub(in crate::connector) mod publish;
pub(in crate::connector) mod shapes;
pub(in crate::connector) mod sort;
pub(in crate::connector) mod space;
pub(in crate::connector) mod spool;
pub(in crate::connector) mod stream;
pub(in crate::connector) mod trust;
