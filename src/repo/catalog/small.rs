//! The small tables: notes, and when a lease's newest heartbeat was first seen.

use super::Catalog;
use crate::{
    record::Timestamp,
    repo::{RepoError, SnapshotId},
};
use rusqlite::{OptionalExtension, params};

impl Catalog {
    /// A note.
    pub fn note(&self, name: &str) -> Result<Option<String>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT value FROM notes WHERE name = ?1")?;
            statement.query_row(params![name], |row| row.get(0)).optional()
        })
    }

    /// Keeps a note.
    pub fn set_note(&self, name: &str, value: &str) -> Result<(), RepoError> {
        self.write(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO notes (name, value) VALUES (?1, ?2)")?
                .execute(params![name, value])?;
            Ok(())
        })
    }

    /// The names and values of all notes whose names begin so.
    pub fn notes(&self, prefix: &str) -> Result<Vec<(String, String)>, RepoError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT name, value FROM notes WHERE substr(name, 1, length(?1)) = ?1")?;
            statement.query_map(params![prefix], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// Forgets a note.
    pub fn forget_note(&self, name: &str) -> Result<(), RepoError> {
        self.write(|connection| {
            connection.prepare_cached("DELETE FROM notes WHERE name = ?1")?.execute(params![name])?;
            Ok(())
        })
    }

    /// When this catalog first saw a lease's newest object; remembers `now` if that is news. What cannot be remembered counts
    /// as seen just now: that waits longer, and no more.
    pub fn lease_first_seen(&self, lease: &SnapshotId, newest: u64, now: Timestamp) -> Result<Timestamp, RepoError> {
        match self.see_lease(lease, newest, now) {
            Err(RepoError::Catalog { .. }) => {
                let seen: Option<i64> = self.read(|connection| {
                    connection
                        .prepare_cached("SELECT first_seen FROM leases WHERE id = ?1 AND newest >= ?2")?
                        .query_row(params![lease.0, newest.cast_signed()], |row| row.get(0))
                        .optional()
                })?;
                Ok(seen.map_or(now, Timestamp::from_millis))
            }
            seen => seen,
        }
    }

    fn see_lease(&self, lease: &SnapshotId, newest: u64, now: Timestamp) -> Result<Timestamp, RepoError> {
        self.write(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO leases (id, newest, first_seen) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE
                     SET newest = excluded.newest, first_seen = excluded.first_seen WHERE excluded.newest > newest",
                )?
                .execute(params![lease.0, newest.cast_signed(), now.as_millis()])?;
            connection
                .prepare_cached("SELECT first_seen FROM leases WHERE id = ?1")?
                .query_row(params![lease.0], |row| row.get(0).map(Timestamp::from_millis))
        })
    }

    /// Forgets a lease that has ended.
    pub fn forget_lease(&self, lease: &SnapshotId) -> Result<(), RepoError> {
        self.write(|connection| {
            connection.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute(params![lease.0])?;
            Ok(())
        })
    }
}
