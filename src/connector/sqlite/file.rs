//! The file that is written: one that exists, or a new one that gets its name only when it is complete.

use super::{
    attributes::Attributes,
    error::{io, reading, writing},
    fit::check_encoding,
    side,
};
use crate::connector::{
    ConnectorError,
    shared::publish::{self, Present},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the name of an unfinished database ends with.
const PARTIAL: &str = ".rekeep-partial";

/// Opens a database to look at it. Where a killed writer left a journal, it is rolled back first, as it is for any reader that
/// may write.
pub(super) fn look(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = super::snapshot::open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(())) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {
            connection = super::snapshot::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        }
        looked => looked?,
    }
    // What is tried in advance must go as it will go.
    settle(&connection)?;
    Ok(connection)
}

/// A database that is not whole yet. It goes if nobody takes it: to whoever looks for what was restored it would be a trap.
pub(super) struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// What is to be published.
    fn take(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // What stays is removed by the next restore to that place.
            let _ = fs::remove_file(&path);
            let _ = side::remove(&path);
        }
    }
}

/// Makes the unfinished database beside the place where it will be.
pub(super) fn create(path: &Path, attributes: &Attributes) -> Result<(Connection, Unfinished), ConnectorError> {
    let partial = side::with_ending(path, PARTIAL);
    let object = partial.display().to_string();
    let fail = |error: rusqlite::Error| writing(&object, &error);
    if partial.exists() {
        discard(&partial)?;
    }
    side::remove(&partial)?;
    let unfinished = Unfinished(Some(partial.clone()));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&partial, flags | OpenFlags::SQLITE_OPEN_CREATE).map_err(fail)?;
    attributes.settings.set(&connection, attributes.encoding).map_err(fail)?;
    connection.close().map_err(|(_, error)| fail(error))?;
    attributes.settings.imprint(&partial, attributes.encoding).map_err(|error| io("write", &partial, error))?;
    let connection = Connection::open_with_flags(&partial, flags).map_err(fail)?;
    // Nobody sees the file before it is complete and synced; the journal in memory only undoes single statements.
    for (pragma, value) in [("journal_mode", "MEMORY"), ("synchronous", "OFF"), ("locking_mode", "EXCLUSIVE")] {
        connection.pragma_update(None, pragma, value).map_err(fail)?;
    }
    settle(&connection).map_err(fail)?;
    // Keys sort by bytes until the application, which has the collation, sorts its indexes anew.
    connection.collation_needed(super::objects::stand_in_collation).map_err(fail)?;
    connection.execute_batch("BEGIN EXCLUSIVE").map_err(fail)?;
    Ok((connection, unfinished))
}

/// Removes what a killed restore left, unless that restore still runs.
fn discard(partial: &Path) -> Result<(), ConnectorError> {
    let object = partial.display().to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let probe = Connection::open_with_flags(partial, flags)
        .and_then(|connection| connection.execute_batch("PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE; ROLLBACK"));
    if let Err(error) = probe
        && let locked @ ConnectorError::Locked { .. } = reading(&object, &error)
    {
        return Err(locked);
    }
    fs::remove_file(partial).map_err(|error| io("remove", partial, error))
}

/// Opens a database that exists, and begins the transaction that changes it.
pub(super) fn open_existing(path: &Path, attributes: &Attributes) -> Result<Connection, ConnectorError> {
    let object = path.display().to_string();
    if let Some(reason) = side::may_lack_its_log(path) {
        return Err(ConnectorError::Unwritable { object, reason });
    }
    let fail = |error: rusqlite::Error| writing(&object, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(fail)?;
    let is_empty =
        connection.query_row("SELECT count(*) = 0 FROM main.sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    check_encoding(&connection, attributes, &object)?;
    if is_empty {
        attributes.settings.set(&connection, attributes.encoding).map_err(fail)?;
    }
    settle(&connection).map_err(fail)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(fail)?;
    check_encoding(&connection, attributes, &object)?;
    Ok(connection)
}

/// A restore brings rows as they are: nothing is to be computed from them or refused because of them.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    connection.pragma_update(None, "cache_size", -32768)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(())
}

/// Gives a complete file its name, durably, and never over another file; says what it moved out of the way.
pub(super) fn publish(unfinished: Unfinished, path: &Path) -> Result<Vec<String>, ConnectorError> {
    let notes = side::move_aside(path)?;
    let partial = &unfinished.take();
    let published = publish::publish(partial, path, Present::Kept).map_err(|failed| match failed.error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let object = path.display().to_string();
            let reason = format!("it was made meanwhile; the restored database is {}", partial.display());
            ConnectorError::Unwritable { object, reason }
        }
        _ => io(failed.operation, partial, failed.error),
    });
    published.map(|()| notes)
}
