//! Who follows a slot: one connection at a time, also between its readings, when the server does not say so.

use crate::{
    connector::{
        ConnectorError,
        postgres::{client::Client, error},
    },
    record::pause,
};
use std::time::{Duration, Instant};

/// The first half of the advisory lock that is held by whoever follows; the other one is the slot's name.
const FOLLOWS: i32 = 0x7265_6b63;

/// Whoever used the slot before may take so long to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether it is.
const LOOK_AROUND: Duration = Duration::from_millis(200);

/// A server finds out so soon that the host of a connection is gone, and with it what it held.
const KEEPALIVE: &str = "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 30000";

const CLAIM: &str = "SELECT pg_try_advisory_lock($1, hashtext($2)), \
    (SELECT active_pid FROM pg_replication_slots WHERE slot_name = $2), \
    (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid::int8 = $1 AND objsubid = 2 \
     AND objid::int8 = hashtext($2)::int8 & x'ffffffff'::int8 AND pid <> pg_backend_pid() \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1)";

/// Claims a slot for as long as this connection lasts; waits a while for whoever has it.
///
/// # Errors
/// [`ConnectorError::Locked`] if somebody else has it.
pub(super) fn claim(
    client: &mut Client,
    name: &str,
    object: &str,
    is_over: &dyn Fn() -> bool,
) -> Result<(), ConnectorError> {
    let fail = |error: postgres::Error| error::reading(object, &error);
    client.batch_execute(KEEPALIVE).map_err(fail)?;
    let began = Instant::now();
    loop {
        let row = client.query_one(CLAIM, &[&FOLLOWS, &name]).map_err(fail)?;
        let (is_ours, reader, follower): (bool, Option<i32>, Option<i32>) = (row.get(0), row.get(1), row.get(2));
        if is_ours && reader.is_none() {
            return Ok(());
        }
        if began.elapsed() > PATIENCE || is_over() {
            let process = follower.or(reader).map_or_else(String::new, |process| format!(" ({process})"));
            let reason = format!(
                "slot {name} is used by another process of the server{process}: another capture runs. If its host is gone, the server \
                 lets go of it within a minute"
            );
            return Err(ConnectorError::Locked { object: object.to_owned(), reason });
        }
        pause(LOOK_AROUND, is_over);
    }
}
