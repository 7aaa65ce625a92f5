//! The demonstration's database: accounts made from a seed, so that every run makes the same.

use crate::ops::OpsError;
use rusqlite::{Connection, OpenFlags, params};
use std::path::{Path, PathBuf};

/// Its one table.
pub(super) const TABLE: &str = "accounts";

const SEED: u64 = 0x5eed_acc0;

const WORDS: [&str; 16] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "linden",
    "marsh", "north", "ocean", "pines",
];

/// What `change` did.
pub(super) struct Changes {
    pub(super) changed: u64,
    pub(super) deleted: u64,
    pub(super) inserted: u64,
    /// The id of a record that was changed.
    pub(super) example: i64,
}

/// A database file.
pub(super) struct Database {
    path: PathBuf,
}

impl Database {
    /// One that exists.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    /// Makes a new one with ids 1 to `records`.
    pub(super) fn make(path: &Path, records: u64) -> Result<Self, OpsError> {
        let database = Self::at(path);
        let mut connection = Connection::open(path).map_err(|error| database.failed(&error))?;
        let make = |connection: &mut Connection| -> rusqlite::Result<()> {
            connection.execute_batch(&format!(
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE {TABLE} (
                     id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, balance REAL, visits INTEGER, notes TEXT,
                     token BLOB
                 );
                 CREATE INDEX accounts_by_name ON {TABLE} (name);"
            ))?;
            insert(connection, 1, records)
        };
        make(&mut connection).map_err(|error| database.failed(&error))?;
        Ok(database)
    }

    /// Changes 0.8 %, deletes 0.1 % and inserts 0.1 % of the records, at places drawn from the seed.
    pub(super) fn change(&self) -> Result<Changes, OpsError> {
        self.with(|connection| {
            let sql = format!("SELECT count(*), max(id) FROM {TABLE}");
            let (records, last): (i64, i64) = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (records, mut random) = (records as u64, Random(SEED ^ 1));
            let transaction = connection.transaction()?;
            let mut changes = Changes { changed: 0, deleted: 0, inserted: records / 1000, example: 0 };
            {
                let update = format!("UPDATE {TABLE} SET balance = ?2, visits = visits + 1 WHERE id = ?1");
                let mut update = transaction.prepare(&update)?;
                let mut delete = transaction.prepare(&format!("DELETE FROM {TABLE} WHERE id = ?1"))?;
                while changes.deleted < records / 1000 {
                    changes.deleted += delete.execute([random.id(last)])? as u64;
                }
                let mut seen = std::collections::BTreeSet::new();
                while (seen.len() as u64) < records / 125 {
                    let id = random.id(last);
                    if seen.insert(id) && update.execute(params![id, random.money() + 0.005])? > 0 {
                        changes.changed += 1;
                        changes.example = id;
                    }
                }
            }
            transaction.commit()?;
            insert(connection, last as u64 + 1, changes.inserted)?;
            Ok(changes)
        })
    }

    /// Deletes a third of the records and spoils another.
    pub(super) fn damage(&self) -> Result<u64, OpsError> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            let deleted = transaction.execute(&format!("DELETE FROM {TABLE} WHERE id % 3 = 0"), [])?;
            let spoil = format!("UPDATE {TABLE} SET balance = 0, notes = 'oops', token = NULL WHERE id % 3 = 1");
            let spoilt = transaction.execute(&spoil, [])?;
            transaction.commit()?;
            Ok((deleted + spoilt) as u64)
        })
    }

    /// Writes a copy as one transaction sees it.
    pub(super) fn copy_to(&self, copy: &Path) -> Result<(), OpsError> {
        self.with(|connection| connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map(drop))
    }

    /// Rows of the table that only one of two databases holds.
    pub(super) fn rows_that_differ(&self, other: &Path) -> Result<u64, OpsError> {
        self.with(|connection| {
            connection.execute("ATTACH ?1 AS other", [other.to_string_lossy()])?;
            let only = |one: &str, two: &str| {
                let sql =
                    format!("SELECT count(*) FROM (SELECT * FROM {one}.{TABLE} EXCEPT SELECT * FROM {two}.{TABLE})");
                connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
            };
            Ok((only("main", "other")? + only("other", "main")?) as u64)
        })
    }

    pub(super) fn count(&self) -> Result<u64, OpsError> {
        let sql = format!("SELECT count(*) FROM {TABLE}");
        self.with(|connection| connection.query_row(&sql, [], |row| row.get::<_, i64>(0))).map(|count| count as u64)
    }

    /// Every object's definition, in a fixed order.
    pub(super) fn schema(&self) -> Result<Vec<String>, OpsError> {
        self.with(|connection| {
            let mut select = connection.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY type, name")?;
            select.query_map([], |row| row.get(0))?.collect()
        })
    }

    pub(super) fn check_integrity(&self) -> Result<(), OpsError> {
        let answer: String = self.with(|c| c.query_row("PRAGMA integrity_check", [], |row| row.get(0)))?;
        if answer == "ok" {
            Ok(())
        } else {
            Err(OpsError::Failed(format!("{} fails its integrity check: {answer}", self.path.display())))
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, OpsError> {
        let run = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(&self.path, flags)?;
            work(&mut connection)
        };
        run().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &rusqlite::Error) -> OpsError {
        OpsError::Failed(format!("the database {}: {error}", self.path.display()))
    }
}

fn insert(connection: &mut Connection, first: u64, count: u64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let sql = format!("INSERT INTO {TABLE} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
        let mut insert = transaction.prepare(&sql)?;
        for id in first..first + count {
            let mut random = Random(SEED.wrapping_add(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let name = format!("{} {}", random.word(), random.word());
            let email = format!("{}.{id}@example.org", name.replace(' ', "."));
            let words = 12 + random.next() % 24;
            let notes: Vec<&str> = (0..words).map(|_| random.word()).collect();
            let token = [random.next().to_be_bytes(), random.next().to_be_bytes()].concat();
            let visits = (random.next() % 1000) as i64;
            insert.execute(params![id as i64, name, email, random.money(), visits, notes.join(" "), token])?;
        }
    }
    transaction.commit()
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn id(&mut self, last: i64) -> i64 {
        (self.next() % last.unsigned_abs().max(1)) as i64 + 1
    }

    fn word(&mut self) -> &'static str {
        WORDS[(self.next() % WORDS.len() as u64) as usize]
    }

    fn money(&mut self) -> f64 {
        (self.next() % 1_000_000) as f64 / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_percent_changes_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::make(&dir.path().join("a.db"), 3000).unwrap();
        let (first, second) = (dir.path().join("first.db"), dir.path().join("second.db"));
        database.copy_to(&first).unwrap();
        assert_eq!(database.rows_that_differ(&first).unwrap(), 0);
        let changes = database.change().unwrap();
        assert_eq!((changes.changed, changes.deleted, changes.inserted), (24, 3, 3));
        assert_eq!(database.rows_that_differ(&first).unwrap(), 2 * 24 + 3 + 3);
        assert_eq!(database.count().unwrap(), 3000);
        database.copy_to(&second).unwrap();
        assert!(database.damage().unwrap() > 1900);
        assert!(database.rows_that_differ(&second).unwrap() > 2900);
        database.check_integrity().unwrap();
    }
}
