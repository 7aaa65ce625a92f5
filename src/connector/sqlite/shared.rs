//! A connection that a stream reads by, and that its large values read by after it.

use rusqlite::Connection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) type SharedConnection = Arc<Mutex<Connection>>;

pub(super) fn lock(connection: &SharedConnection) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}
