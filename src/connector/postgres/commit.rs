//! Commits whose answer is lost on the way: the server knows what became of them.

use super::{
    client::{Client, Server},
    error,
};
use crate::connector::ConnectorError;
use std::time::Duration;

/// How often a server that let a connection fall is asked, and the pause before the next time: it may be starting again.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(500);

/// Commits. Where the connection ends before the server says so, another one asks what became of the transaction: whoever is told that
/// it failed does it again, and finds what it made in the way.
///
/// # Errors
/// [`ConnectorError`] if it was not committed, or nobody knows.
pub(super) fn commit(client: &mut Client, server: &Server, object: &str) -> Result<(), ConnectorError> {
    // These names are those that servers before 13 know, too.
    let sql = "SELECT pg_catalog.txid_current_if_assigned()::text";
    let row = client.query_one(sql, &[]).map_err(|error| error::writing(object, &error))?;
    let number: Option<String> = row.get(0);
    let Err(error) = client.batch_execute("COMMIT") else { return Ok(()) };
    let failed = error::writing(object, &error);
    let Some(number) = number.filter(|_| error::is_closed(&error)) else { return Err(failed) };
    match fate(server, &number) {
        Some(true) => Ok(()),
        Some(false) => Err(failed),
        None => Err(ConnectorError::Unwritable {
            object: object.to_owned(),
            reason: "the connection ended while the transaction was committed, and the server cannot be asked whether it was: what \
                     it made is there as a whole or not at all"
                .to_owned(),
        }),
    }
}

/// Whether a transaction was committed.
fn fate(server: &Server, number: &str) -> Option<bool> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        let Ok(mut client) = server.connect() else { continue };
        let sql = "SELECT pg_catalog.txid_status($1::pg_catalog.text::pg_catalog.int8)";
        let Ok(row) = client.query_one(sql, &[&number]) else { continue };
        match row.get::<_, Option<String>>(0).as_deref() {
            Some("committed") => return Some(true),
            Some("aborted") => return Some(false),
            _ => {}
        }
    }
    None
}
