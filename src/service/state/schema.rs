//! The tables, as they were made and changed from version to version.

use super::StateError;
use rusqlite::Connection;
use std::path::Path;

/// Each brings a file from its place's version to the next. What is here never changes; what is new comes behind it.
pub(super) const MIGRATIONS: &[&str] = &["
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL, kind TEXT NOT NULL, routine TEXT, tenant TEXT, by TEXT NOT NULL,
    work TEXT NOT NULL, state TEXT NOT NULL, created INTEGER NOT NULL, due INTEGER, begin INTEGER NOT NULL, started INTEGER, finished INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0, result TEXT, error TEXT, error_kind TEXT);
CREATE INDEX jobs_by_routine ON jobs (routine, verb, kind, id);
CREATE INDEX jobs_by_verb ON jobs (verb, id);
CREATE INDEX jobs_unfinished ON jobs (state) WHERE state IN ('queued', 'running');
CREATE TABLE handled (
    routine TEXT NOT NULL, is_full INTEGER NOT NULL, due INTEGER NOT NULL, PRIMARY KEY (routine, is_full)) WITHOUT ROWID;
CREATE TABLE once (
    name TEXT PRIMARY KEY, value TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE tallies (
    routine TEXT NOT NULL, verb TEXT NOT NULL, kind TEXT NOT NULL, outcome TEXT NOT NULL, count INTEGER NOT NULL,
    seconds REAL NOT NULL, buckets TEXT NOT NULL, last_finished INTEGER NOT NULL, last_seconds REAL NOT NULL,
    last_bytes INTEGER NOT NULL, last_records INTEGER NOT NULL, PRIMARY KEY (routine, verb, kind, outcome)) WITHOUT ROWID;
", "
CREATE TABLE facts (
    name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL, hash TEXT NOT NULL, kept TEXT);
CREATE INDEX audit_to_keep ON audit (id) WHERE kept IS NULL;
", "
CREATE TABLE folders (
    storage TEXT NOT NULL, folder TEXT NOT NULL, PRIMARY KEY (storage, folder)) WITHOUT ROWID;
", "
CREATE INDEX jobs_of_group ON jobs (verb, id) WHERE instr(work, '\"group\":\"') > 0;
CREATE INDEX jobs_ended ON jobs (verb, routine, state, id) WHERE state IN ('success', 'incomplete', 'failure');
", "
CREATE TABLE proofs (
    routine TEXT PRIMARY KEY, finished INTEGER NOT NULL, seconds REAL NOT NULL) WITHOUT ROWID;
INSERT OR REPLACE INTO proofs SELECT routine, finished, seconds FROM (
    SELECT routine, last_finished AS finished, last_seconds AS seconds FROM tallies WHERE verb = 'drill' AND outcome = 'success'
    UNION ALL
    SELECT routine, finished, (finished - COALESCE(started, finished)) / 1000.0 FROM jobs
    WHERE verb = 'verify' AND state = 'success' AND routine IS NOT NULL AND finished IS NOT NULL
        AND instr(work, '\"how\":\"restore\"') > 0)
ORDER BY finished;
"];

/// Refuses a file whose pages contradict each other: what reads few of them would find that out at the first job.
pub(super) fn check(db: &Connection, path: &Path) -> Result<(), StateError> {
    let said: String =
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|source| StateError::of(path, source))?;
    if said == "ok" {
        return Ok(());
    }
    let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(said));
    Err(StateError::of(path, source))
}

/// Brings a file up to date.
pub(super) fn migrate(db: &mut Connection, path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::of(path, source);
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(StateError::Newer { path: path.to_path_buf(), version });
    }
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = db.transaction().map_err(failed)?;
        transaction.execute_batch(sql).map_err(failed)?;
        transaction.pragma_update(None, "user_version", number as i64 + 1).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
