//! The snapshots that collective tombstones name: for ever, so nothing is ever taken out.

use super::Catalog;
use crate::repo::{RepoError, SnapshotId};
use rusqlite::{OptionalExtension, params};
use std::collections::HashSet;

impl Catalog {
    /// The collective tombstones that were read already.
    pub fn forgotten_objects(&self) -> Result<HashSet<String>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT name FROM forgotten_objects")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Takes in what a collective tombstone names.
    pub fn apply_forgotten(&self, name: &str, snapshots: &[SnapshotId]) -> Result<(), RepoError> {
        self.write(|connection| {
            let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO forgotten (snapshot) VALUES (?1)")?;
            for snapshot in snapshots {
                insert.execute(params![snapshot.0])?;
            }
            connection
                .prepare_cached("INSERT OR IGNORE INTO forgotten_objects (name) VALUES (?1)")?
                .execute(params![name])
                .map(drop)
        })
    }

    /// Whether there is any collective tombstone.
    pub fn has_gathered(&self) -> Result<bool, RepoError> {
        self.read(|connection| {
            connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM forgotten)")?.query_row([], |row| row.get(0))
        })
    }

    /// Whether a collective tombstone names it.
    pub fn is_gathered(&self, snapshot: &SnapshotId) -> Result<bool, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT 1 FROM forgotten WHERE snapshot = ?1")?;
            Ok(statement.query_row(params![snapshot.0], |_| Ok(())).optional()?.is_some())
        })
    }
}
