//! Connections: how they are made, and what is set on them.

use super::{address::Address, error, names::literal, settings::Settings, tls::Tls};
use crate::connector::ConnectorError;
use std::fmt::Write as _;

pub(super) use postgres::Client;

/// Has statements that are not ours planned as the server would plan them: [`Server::connect`] keeps indexes out of our own.
pub(super) const PLAN_AS_USUAL: &str = "RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan; RESET jit; RESET max_parallel_workers_per_gather";

/// The oldest server whose heap can be read by ranges.
const OLDEST: i32 = 140_000;

/// A server as it is connected to, again and again.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: Address,
    tls: Tls,
    settings: Settings,
}

/// What a connection said of the server.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) version: i32,
    pub(super) version_text: String,
    /// The encoding of the database.
    pub(super) encoding: String,
    /// Whether it follows another one.
    pub(super) is_replica: bool,
}

impl Facts {
    /// Whether statements are in another encoding than ours while rows are moved.
    pub(super) fn ascii(&self) -> bool {
        self.encoding != "UTF8"
    }
}

impl Server {
    pub(super) fn new(address: Address, settings: Settings) -> Result<Self, ConnectorError> {
        let tls = Tls::of(&address)?;
        Ok(Self { address, tls, settings })
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        self.address.shown()
    }

    /// A new connection, in our encoding.
    pub(super) fn connect(&self) -> Result<Client, ConnectorError> {
        let object = self.shown();
        let config =
            self.address.config().map_err(|reason| ConnectorError::Usage { object: object.clone(), reason })?;
        let mut client = config.connect(self.tls.clone()).map_err(|error| error::reading(&object, &error))?;
        client.batch_execute(&self.preamble()).map_err(|error| error::reading(&object, &error))?;
        Ok(client)
    }

    /// How long a lock is waited for; 0 for ever.
    pub(super) fn lock_timeout_millis(&self) -> u128 {
        self.settings.lock_timeout_millis()
    }

    fn preamble(&self) -> String {
        let mut sql = "SET search_path = ''; SET row_security = off; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres; \
                       SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = hex; SET lc_monetary = 'C'; \
                       SET xmloption = content; SET standard_conforming_strings = on; SET idle_in_transaction_session_timeout = 0; \
                       SET idle_session_timeout = 0; SET quote_all_identifiers = off; SET array_nulls = on; \
                       SET synchronize_seqscans = off; SET enable_indexscan = off; SET enable_indexonlyscan = off; \
                       SET enable_bitmapscan = off; SET jit = off; SET max_parallel_workers_per_gather = 0;"
            .to_owned();
        let _ = write!(sql, "SET lock_timeout = {};", self.settings.lock_timeout_millis());
        let _ = write!(sql, "SET statement_timeout = {};", self.settings.statement_timeout_millis());
        sql
    }

    /// Asks what server it is.
    pub(super) fn facts(&self, client: &mut Client) -> Result<Facts, ConnectorError> {
        let object = self.shown();
        let sql = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), \
                   current_setting('server_encoding'), pg_is_in_recovery()";
        let row = client.query_one(sql, &[]).map_err(|error| error::reading(&object, &error))?;
        let facts =
            Facts { version: row.get(0), version_text: row.get(1), encoding: row.get(2), is_replica: row.get(3) };
        if facts.version < OLDEST {
            let reason = format!("PostgreSQL {} is too old: 14 and later can be read", facts.version_text);
            return Err(ConnectorError::Unreadable { object, reason });
        }
        Ok(facts)
    }

    /// Makes a connection hand over text as the database has it. Statements must be ASCII from then on, unless it is UTF-8.
    pub(super) fn in_own_encoding(&self, client: &mut Client, facts: &Facts) -> Result<(), ConnectorError> {
        if !facts.ascii() {
            return Ok(());
        }
        let sql = format!("SET client_encoding = {}", literal(&facts.encoding));
        client.batch_execute(&sql).map_err(|error| error::reading(&self.shown(), &error))
    }

    /// Ends what a connection is doing, from another thread.
    pub(super) fn cancel(&self, token: &postgres::CancelToken) {
        // If it cannot be told, it ends by itself.
        let _ = token.cancel_query(self.tls.clone());
    }
}
