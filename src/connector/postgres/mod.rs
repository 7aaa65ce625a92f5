//! `PostgreSQL` databases, as source and as target: `postgresql://HOST/DATABASE`.
//!
//! What is kept, what is exact and why, and what comes back how is written in `docs/postgresql.md`. The parts: `address`, `tls`
//! and `client` connect; `catalog` and `types` say what is there; `plan` makes rows records, `order` says
//! how they lie, `load` reads and sorts them or those that lie astray, `ordered` reads the others, `stream` gives them out; [`target`] writes, `steps` by several connections, and `marker` says what of that has not ended;
//! [`logical`] follows changes.

mod address;
mod aftermath;
pub mod atlas;
mod attributes;
mod catalog;
mod cell;
mod client;
mod commit;
mod copy;
pub mod decoding;
mod define;
mod dump;
mod error;
mod fit;
mod gather;
mod large;
mod load;
mod lobs;
pub mod log;
pub mod logical;
mod marker;
mod names;
mod objects;
mod open;
mod order;
mod ordered;
mod paths;
mod plan;
mod routing;
mod script;
mod select;
mod settings;
mod shared;
pub mod source;
mod stamps;
mod steps;
mod stream;
pub mod target;
mod tls;
mod types;
mod write;

pub use open::PostgresConnector;
pub use settings::Settings;

/// Percent-decodes a part of a URL.
fn decode(part: &str) -> Option<String> {
    super::url::percent_decode(part)
}
