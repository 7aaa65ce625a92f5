//! SQLite databases, as source and as target: `sqlite:FILE`.
//!
//! What is kept of a database, how its keys become bytes and what comes back how is specified in
//! `format-spec/sqlite.md`. The parts: [`source`] fixes a snapshot and hands out streams, `scan` reads one key range,
//! `schema` and `plan` decide how a table is read, [`target`] writes a database anew or into one that exists.

mod error;
mod large;
mod objects;
mod open;
mod plan;
mod quote;
mod scan;
mod schema;
pub mod source;
mod splits;
pub mod target;
mod write;

pub use open::SqliteConnector;
pub use source::{SqliteSource, set_process_temp_dir};
pub use target::SqliteTarget;

use super::{ConnectorError, SourceUrl};

/// The URL as text, for messages.
fn shown(url: &SourceUrl) -> String {
    format!("{}:{}", url.scheme, url.place)
}

fn wrong_url(url: &SourceUrl, reason: String) -> ConnectorError {
    ConnectorError::Url { url: shown(url), reason }
}
