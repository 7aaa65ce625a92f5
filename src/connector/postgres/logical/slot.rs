//! The replication slot: the place in its log from which the server keeps everything for us.

use crate::{
    connector::{
        ConnectorError,
        postgres::{client::Client, error, log::Lsn},
    },
    record::Timestamp,
};
use postgres::types::PgLsn;

/// How a server and a slot of it stand.
#[derive(Debug, Clone)]
pub struct SlotStanding {
    /// The server's clock, looked at before its log.
    pub now: Timestamp,
    /// How far its log is written.
    pub flush: Lsn,
    /// Its timeline.
    pub timeline: String,
    /// The slot, if it is there.
    pub slot: Option<SlotFacts>,
}

/// What the server says of a slot.
#[derive(Debug, Clone)]
pub struct SlotFacts {
    /// Who decodes for it.
    pub plugin: Option<String>,
    /// Whether it is of this database.
    pub is_ours: bool,
    /// What was confirmed.
    pub confirmed: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// Bytes that may be logged before the server gives the slot up, where there is a limit.
    pub safe_bytes: Option<u64>,
    /// Bytes of log that it holds back.
    pub retained_bytes: u64,
}

const STANDING: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::int8, pg_current_wal_flush_lsn(), \
    substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8), s.slot_name IS NOT NULL, s.plugin::text, \
    coalesce(s.database = current_database(), false), s.confirmed_flush_lsn, s.wal_status, s.safe_wal_size, \
    greatest(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), s.restart_lsn), 0)::int8 \
    FROM (SELECT 1) one LEFT JOIN pg_replication_slots s ON s.slot_name = $1";

fn lsn(place: PgLsn) -> Lsn {
    Lsn(place.into())
}

/// Asks how they stand.
pub(super) fn standing(client: &mut Client, name: &str, object: &str) -> Result<SlotStanding, ConnectorError> {
    let row = client.query_one(STANDING, &[&name]).map_err(|error| error::reading(object, &error))?;
    let bytes = |at: usize| row.get::<_, Option<i64>>(at).map(|bytes| u64::try_from(bytes).unwrap_or(0));
    let slot = row.get::<_, bool>(3).then(|| SlotFacts {
        plugin: row.get(4),
        is_ours: row.get(5),
        confirmed: row.get::<_, Option<PgLsn>>(6).map(lsn),
        wal_status: row.get(7),
        safe_bytes: bytes(8),
        retained_bytes: bytes(9).unwrap_or(0),
    });
    Ok(SlotStanding { now: Timestamp::from_millis(row.get(0)), flush: lsn(row.get(1)), timeline: row.get(2), slot })
}

/// Makes the slot; waits for the transactions that run.
pub(super) fn create(client: &mut Client, name: &str, object: &str) -> Result<(), ConnectorError> {
    let sql = "SELECT 1 FROM pg_create_logical_replication_slot($1, 'pgoutput')";
    client.query_one(sql, &[&name]).map_err(|error| error::writing(object, &error))?;
    Ok(())
}

/// Lets the server forget its log up to a place.
pub(super) fn advance(client: &mut Client, name: &str, to: Lsn, object: &str) -> Result<(), ConnectorError> {
    let sql = "SELECT 1 FROM pg_replication_slot_advance($1, $2)";
    client.query_one(sql, &[&name, &PgLsn::from(to.0)]).map_err(|error| error::writing(object, &error))?;
    Ok(())
}

/// Drops the slot, if it is there and one of logical replication of this database.
pub(super) fn remove(client: &mut Client, name: &str, object: &str) -> Result<bool, ConnectorError> {
    let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
               WHERE slot_name = $1 AND plugin = 'pgoutput' AND database = current_database()";
    let rows = client.query(sql, &[&name]).map_err(|error| error::writing(object, &error))?;
    Ok(!rows.is_empty())
}
