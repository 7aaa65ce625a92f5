//! SQLite databases, as source and as target: `sqlite:FILE`.
//!
//! What is kept of a database, how its keys become bytes and what comes back how is specified in
//! `format-spec/sqlite.md`. The parts: [`source`] fixes a snapshot and hands out streams, `scan` reads one key range,
//! `schema` and `plan` decide how a table is read, [`target`] writes a database anew or into one that exists.

mod account;
mod aftermath;
mod aside;
mod attributes;
mod damage;
mod derived;
mod encoding;
mod error;
mod file;
mod fit;
mod gather;
mod keyed;
mod large;
mod memory;
mod needs;
mod objects;
mod open;
mod order;
mod page;
mod pages;
mod plan;
mod proof;
mod quote;
mod scan;
mod schema;
mod scratch;
mod settings;
mod shared;
mod side;
mod snapshot;
pub mod source;
mod splits;
pub mod target;
mod write;

pub use open::SqliteConnector;
pub use snapshot::set_process_temp_dir;
pub use source::SqliteSource;
pub use target::SqliteTarget;

use super::{ConnectorError, SourceUrl};
use serde_json::Value as Json;

/// What a restore of a snapshot with these attributes, and tables with those (by name), will lack, in words.
pub fn lacking<'a>(attributes: &Json, tables: impl Iterator<Item = (&'a str, &'a Json)> + Clone) -> Vec<String> {
    let objects = attributes.get("objects").cloned().unwrap_or_default();
    let objects: Vec<schema::Object> = serde_json::from_value(objects).unwrap_or_default();
    let tables = tables.filter_map(|(name, table)| Some((name, table.get("sql")?.as_str()?)));
    needs::lacking(tables, &objects, true)
}

/// The version of SQLite that is compiled in, and what it was compiled without though databases may use it.
pub fn version() -> String {
    let lacking: Vec<&str> = rusqlite::Connection::open_in_memory()
        .map(|connection| {
            let has = |option: &&&str| {
                let sql = "SELECT sqlite_compileoption_used(?1)";
                !connection.query_row(sql, [option], |row| row.get(0)).unwrap_or(false)
            };
            OPTIONS.iter().filter(has).copied().collect()
        })
        .unwrap_or_default();
    let version = rusqlite::version();
    if lacking.is_empty() { version.to_owned() } else { format!("{version} (built without {})", lacking.join(", ")) }
}

/// What `.cargo/config.toml` and the library's own build compile in.
const OPTIONS: [&str; 9] = [
    "ENABLE_MATH_FUNCTIONS",
    "ENABLE_OFFSET_SQL_FUNC",
    "ENABLE_PERCENTILE",
    "ENABLE_FTS3",
    "ENABLE_FTS5",
    "ENABLE_RTREE",
    "ENABLE_GEOPOLY",
    "ENABLE_DBPAGE_VTAB",
    "ENABLE_DBSTAT_VTAB",
];

/// The URL as text, for messages.
fn shown(url: &SourceUrl) -> String {
    format!("{}:{}", url.scheme, url.place)
}

fn wrong_url(url: &SourceUrl, reason: &str) -> ConnectorError {
    let reason = format!("{reason} (a `?` in a file's name is written %3F)");
    ConnectorError::Url { url: shown(url), reason }
}
