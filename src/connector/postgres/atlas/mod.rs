//! `AtlasDB`'s key-value store in `PostgreSQL`: the timestamps and transactions that a backup has to look after. How and why is
//! written in `docs/atlasdb.md`.

mod clean;
mod codec;
mod config;
mod connector;
mod contradiction;
mod fates;
mod file;
mod foreseen;
mod fuzzy;
mod ground;
mod guard;
mod place;
mod schemas;
mod source;
mod target;
mod timelock;
mod timestamps;

pub use clean::{Cleaned, Cleaning};
pub use connector::AtlasConnector;
pub(in crate::connector) use fates::cells;
pub use file::{read_timestamp, write_timestamp};
pub use timelock::TimestampCommand;

use super::{client::Client, error::reading, names::literal};
use crate::{
    connector::{ConnectorError, Options, SourceUrl},
    report::Remedy,
};
use ground::Ground;
use place::StorePlace;

/// What an entry of transactions says by each way of writing them that takes it: its cell again, and whether its value has a meaning.
pub(super) fn feed_entry(row: &[u8], column: &[u8], value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
    let read = |encoding: codec::Encoding| {
        let start = encoding.start(row, column)?;
        let (row, column) = encoding.cell(start);
        Some((row, column, encoding.fate(start, value).is_some()))
    };
    [codec::Encoding::Direct, codec::Encoding::Tickets, codec::Encoding::TwoPhase]
        .into_iter()
        .filter_map(read)
        .collect()
}

/// Whether a value is a map of schemas, or the number that names one.
pub(super) fn feed_schemas(value: &[u8]) -> bool {
    schemas::sequence(value).is_ok() || schemas::Schemas::read(value).is_ok()
}

/// Whether a text is a configuration.
pub(super) fn feed_config(text: &str) -> Result<(), String> {
    config::from_text(text, None).map(|_| ())
}

/// The name of the connector in snapshots.
pub const CONNECTOR: &str = "atlasdb";

/// Timestamps that a service hands out before it notes a new bound.
const BUFFER: i64 = 1_000_000;

/// A store that is open.
pub struct Store {
    client: Client,
    ground: Ground,
}

impl Store {
    /// Opens the store at an `atlasdb:` URL; `more` is added to what stands behind its question mark.
    ///
    /// # Errors
    /// [`ConnectorError`] if there is none.
    pub fn open(url: &str, more: &[(&str, &str)], options: &Options) -> Result<Self, ConnectorError> {
        let mut url = SourceUrl::parse(url)?;
        url.options.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let StorePlace { server, ground, .. } = StorePlace::of(&url, options)?;
        let mut client = server.connect()?;
        server.facts(&mut client)?;
        client.batch_execute("SET enable_indexscan = on").map_err(|error| reading(&server.shown(), &error))?;
        ground.check(&mut client)?;
        Ok(Self { client, ground })
    }

    /// A timestamp above all that were handed out.
    ///
    /// # Errors
    /// [`ConnectorError`] if the store does not keep them.
    pub fn fetch(&mut self) -> Result<i64, ConnectorError> {
        let keeper = self.ground.keeper(&mut self.client)?;
        self.ground.next(&keeper)
    }

    /// Sees to it that no timestamp up to this one is handed out again; gives the bound before and after.
    ///
    /// # Errors
    /// [`ConnectorError`] if the store does not keep them.
    pub fn fast_forward(&mut self, to: i64, cleaning: Cleaning) -> Result<(i64, i64), ConnectorError> {
        self.check_alone(cleaning)?;
        self.run("BEGIN")?;
        let moved = self.ground.forward(&mut self.client, to, BUFFER, cleaning.dry_run)?;
        self.run("COMMIT")?;
        Ok(moved)
    }

    /// Makes transactions that committed at or after a timestamp never have been.
    ///
    /// # Errors
    /// [`ConnectorError`] if an entry makes no sense, or is of a schema that is not known: then nothing is changed.
    pub fn clean_transactions(&mut self, from: i64, cleaning: Cleaning) -> Result<Cleaned, ConnectorError> {
        self.check_alone(cleaning)?;
        self.run("BEGIN")?;
        let cleaned = clean::clean(&mut self.client, &self.ground, from, cleaning)?;
        self.run("COMMIT")?;
        Ok(cleaned)
    }

    /// Refuses to go on while others may be at work.
    fn check_alone(&mut self, cleaning: Cleaning) -> Result<(), ConnectorError> {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = {} AND pid <> pg_backend_pid()",
            literal("client backend")
        );
        let others: i64 = self.client.query_one(&sql, &[]).map_err(|error| self.ground.reading(&error))?.get(0);
        if others == 0 || cleaning.dry_run || cleaning.force {
            return Ok(());
        }
        let reason = format!("{others} others are connected, and this is done offline: stop the services first");
        Err(ConnectorError::Locked { object: self.ground.object.clone(), reason }.with([Remedy::Force]))
    }

    fn run(&mut self, sql: &str) -> Result<(), ConnectorError> {
        self.ground.run(&mut self.client, sql)
    }
}
