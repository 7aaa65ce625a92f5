//! Making the catalog equal to the listed index objects. What is new is first read into temporary tables, which takes
//! no lock on the file; then one short transaction merges it and drops what is no longer listed.

use super::{Catalog, uses, write_in};
use crate::repo::{ObjectName, RepoError, index::IndexedPack};
use rusqlite::{Connection, params};
use std::collections::HashSet;

const STAGE: &str = "
CREATE TEMP TABLE IF NOT EXISTS stage_objects (num INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE TEMP TABLE IF NOT EXISTS stage_packs (
    num INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL, kind INTEGER NOT NULL,
    lease BLOB NOT NULL, header BLOB NOT NULL, real INTEGER);
CREATE TEMP TABLE IF NOT EXISTS stage_homes (object INTEGER NOT NULL, pack INTEGER NOT NULL);
CREATE TEMP TABLE IF NOT EXISTS stage_entries (
    num INTEGER PRIMARY KEY, pack INTEGER NOT NULL, ordinal INTEGER NOT NULL, prefix INTEGER NOT NULL, id BLOB NOT NULL,
    kind INTEGER NOT NULL, start INTEGER NOT NULL, stored_len INTEGER NOT NULL, plain_len INTEGER NOT NULL);
CREATE TEMP TABLE IF NOT EXISTS stage_fresh (
    prefix INTEGER NOT NULL, id BLOB NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (prefix, id)) WITHOUT ROWID;
DELETE FROM stage_objects; DELETE FROM stage_packs; DELETE FROM stage_homes; DELETE FROM stage_entries;
DELETE FROM stage_fresh;
";

/// Random-order inserts of hash keys collapse after a few million rows, so new ids are numbered in the order of their
/// packs and enter the prefix table in the order of their prefixes.
const MERGE: &str = "
DELETE FROM stage_homes WHERE object IN (SELECT num FROM stage_objects WHERE name IN (SELECT name FROM index_objects));
DELETE FROM stage_objects WHERE name IN (SELECT name FROM index_objects);
INSERT INTO index_objects (name) SELECT name FROM stage_objects ORDER BY num;
DELETE FROM stage_entries WHERE pack IN (SELECT num FROM stage_packs WHERE name IN (SELECT name FROM packs));
DELETE FROM stage_entries WHERE pack NOT IN (SELECT pack FROM stage_homes);
INSERT OR IGNORE INTO packs (name, bytes, kind, lease, header)
    SELECT name, bytes, kind, lease, header FROM stage_packs WHERE num IN (SELECT pack FROM stage_homes) ORDER BY num;
UPDATE stage_packs SET real = (SELECT p.num FROM packs p WHERE p.name = stage_packs.name);
INSERT OR IGNORE INTO pack_homes (index_num, pack)
    SELECT o.num, p.real FROM stage_homes h
    JOIN stage_objects s ON s.num = h.object JOIN index_objects o ON o.name = s.name
    JOIN stage_packs p ON p.num = h.pack ORDER BY 1, 2;
INSERT INTO stage_fresh (prefix, id, chunk)
    SELECT prefix, id, (SELECT coalesce(max(num), 0) FROM chunks) + row_number() OVER (ORDER BY first) FROM (
        SELECT prefix, id, min(num) AS first FROM stage_entries e WHERE NOT EXISTS (
            SELECT 1 FROM chunk_prefixes x JOIN chunks c ON c.num = x.chunk WHERE x.prefix = e.prefix AND c.id = e.id)
        GROUP BY prefix, id)
    ORDER BY prefix, id;
INSERT INTO chunks (num, id) SELECT chunk, id FROM stage_fresh ORDER BY chunk;
INSERT INTO chunk_prefixes (prefix, chunk) SELECT prefix, chunk FROM stage_fresh ORDER BY prefix, chunk;
INSERT INTO places (pack, ordinal, chunk, kind, start, stored_len, plain_len)
    SELECT p.real, e.ordinal, c.num, e.kind, e.start, e.stored_len, e.plain_len
    FROM stage_entries e JOIN stage_packs p ON p.num = e.pack
    CROSS JOIN chunk_prefixes x ON x.prefix = e.prefix CROSS JOIN chunks c ON c.num = x.chunk AND c.id = e.id
    ORDER BY e.num;
";

const DROP_HOMELESS: &str = "
DELETE FROM places WHERE pack IN (SELECT num FROM packs WHERE num NOT IN (SELECT pack FROM pack_homes));
DELETE FROM pack_uses WHERE pack IN (SELECT num FROM packs WHERE num NOT IN (SELECT pack FROM pack_homes));
DELETE FROM packs WHERE num NOT IN (SELECT pack FROM pack_homes);
";

/// What is to change in the catalog.
#[derive(Debug, Default)]
pub struct IndexImport {
    /// Listed index objects that the catalog does not have.
    pub new: Vec<ObjectName>,
    /// Index objects of the catalog that are no longer listed.
    pub gone: Vec<ObjectName>,
}

impl Catalog {
    /// Compares a listing of index objects with the catalog.
    pub fn compare_index(&self, listed: &HashSet<ObjectName>) -> Result<IndexImport, RepoError> {
        let known: HashSet<ObjectName> = self.index_objects()?.into_iter().collect();
        let mut new: Vec<_> = listed.difference(&known).copied().collect();
        let mut gone: Vec<_> = known.difference(listed).copied().collect();
        new.sort_unstable();
        gone.sort_unstable();
        Ok(IndexImport { new, gone })
    }

    /// The index objects that the catalog holds.
    pub fn index_objects(&self) -> Result<Vec<ObjectName>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT name FROM index_objects")?;
            statement.query_map([], |row| row.get(0).map(ObjectName))?.collect()
        })
    }

    /// Imports index objects and drops others, all in one step for whoever looks. `next` gives the objects to import one
    /// after the other.
    pub fn apply_index(
        &self,
        next: &mut dyn FnMut() -> Result<Option<(ObjectName, Vec<IndexedPack>)>, RepoError>,
        gone: &[ObjectName],
    ) -> Result<(), RepoError> {
        let mut connection = self.writer();
        connection.execute_batch(STAGE).map_err(|error| self.failed(error))?;
        let mut staged = 0_usize;
        connection.execute_batch("BEGIN").map_err(|error| self.failed(error))?;
        let outcome = loop {
            match next() {
                Ok(Some((name, packs))) => {
                    staged += 1;
                    if let Err(error) = stage(&connection, &name, &packs) {
                        break Err(self.failed(error));
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
        connection.execute_batch(end).map_err(|error| self.failed(error))?;
        outcome?;
        if staged == 0 && gone.is_empty() {
            return Ok(());
        }
        write_in(&mut connection, |connection| {
            if staged > 0 {
                connection.execute_batch(MERGE)?;
                uses::fill(connection)?;
            }
            drop_objects(connection, gone)
        })
        .map_err(|error| self.failed(error))?;
        connection.execute_batch(STAGE).map_err(|error| self.failed(error))
    }
}

fn stage(connection: &Connection, name: &ObjectName, packs: &[IndexedPack]) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT INTO stage_objects (name) VALUES (?1)")?.execute(params![name.0])?;
    let object = connection.last_insert_rowid();
    for pack in packs {
        let fresh = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO stage_packs (name, bytes, kind, lease, header) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![pack.name.0, as_i64(pack.bytes)?, pack.kind as u8, pack.lease.0, &pack.header[..]])?;
        let number: i64 = connection
            .prepare_cached("SELECT num FROM stage_packs WHERE name = ?1")?
            .query_row(params![pack.name.0], |row| row.get(0))?;
        connection
            .prepare_cached("INSERT INTO stage_homes (object, pack) VALUES (?1, ?2)")?
            .execute(params![object, number])?;
        if fresh == 1 {
            stage_entries(connection, number, pack)?;
        }
    }
    Ok(())
}

fn stage_entries(connection: &Connection, number: i64, pack: &IndexedPack) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO stage_entries (pack, ordinal, prefix, id, kind, start, stored_len, plain_len)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (ordinal, entry) in pack.entries.iter().enumerate() {
        insert.execute(params![
            number,
            ordinal as i64,
            super::lookup::prefix(&entry.id),
            entry.id.0,
            entry.kind as u8,
            as_i64(entry.offset)?,
            entry.stored_len,
            entry.plain_len
        ])?;
    }
    Ok(())
}

fn drop_objects(connection: &Connection, gone: &[ObjectName]) -> rusqlite::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    for name in gone {
        connection
            .prepare_cached("DELETE FROM pack_homes WHERE index_num = (SELECT num FROM index_objects WHERE name = ?1)")?
            .execute(params![name.0])?;
        connection.prepare_cached("DELETE FROM index_objects WHERE name = ?1")?.execute(params![name.0])?;
    }
    connection.execute_batch(DROP_HOMELESS)
}

fn as_i64(value: u64) -> rusqlite::Result<i64> {
    i64::try_from(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
