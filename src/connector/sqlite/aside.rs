//! Records that a row in their way kept from being written, set aside until everything else is.
//!
//! Two rows that exchange a unique value stand in each other's way, and so does a row that is removed later. So such a
//! record waits; at last the rows of all that wait go, and then they come.

use super::{plan::Plan, quote::ident};
use rusqlite::{CachedStatement, Connection};
use std::sync::atomic::{AtomicU64, Ordering};

/// A temporary table of records: their encoded keys, whether their rows are there, and their columns.
pub(super) struct Aside {
    name: String,
    columns: usize,
    rows: i64,
}

/// One that waits.
pub(super) struct Waiting {
    pub(super) number: i64,
    pub(super) key: Vec<u8>,
    /// Whether the table holds a row of its key.
    pub(super) exists: bool,
}

impl Aside {
    pub(super) fn new(connection: &Connection, plan: &Plan) -> rusqlite::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("rekeep aside {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let columns = plan.key_count() + plan.cells.len();
        let list: Vec<String> = (0..columns).map(|index| format!("c{index}")).collect();
        connection.execute_batch(&format!(
            "CREATE TEMP TABLE {}(n INTEGER PRIMARY KEY, k, e, {})",
            ident(&name),
            list.join(", ")
        ))?;
        Ok(Self { name, columns, rows: 0 })
    }

    /// The statement that takes a record, whose parameters are those of an insert.
    pub(super) fn take<'c>(&self, connection: &'c Connection, plan: &Plan) -> rusqlite::Result<CachedStatement<'c>> {
        let list: Vec<String> = (0..self.columns).map(|index| plan.parameter(index)).collect();
        let names: Vec<String> = (0..self.columns).map(|index| format!("c{index}")).collect();
        connection.prepare_cached(&format!(
            "INSERT INTO temp.{}({}) VALUES ({})",
            ident(&self.name),
            names.join(", "),
            list.join(", ")
        ))
    }

    /// Completes the record that was taken last.
    pub(super) fn taken(&mut self, connection: &Connection, key: &[u8], exists: bool) -> rusqlite::Result<()> {
        self.rows += 1;
        let sql = format!("UPDATE temp.{} SET k = ?1, e = ?2 WHERE n = ?3", ident(&self.name));
        connection.prepare_cached(&sql)?.execute((key, exists, self.rows)).map(|_| ())
    }

    /// Those that wait behind the one with this number, some at a time.
    pub(super) fn some(&self, connection: &Connection, behind: i64) -> rusqlite::Result<Vec<Waiting>> {
        let sql = format!("SELECT n, k, e FROM temp.{} WHERE n > ?1 ORDER BY n LIMIT 1000", ident(&self.name));
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement
            .query_map([behind], |row| Ok(Waiting { number: row.get(0)?, key: row.get(1)?, exists: row.get(2)? }))?;
        rows.collect()
    }

    /// The statement that writes one, by its number, into a table's columns, which are given by their places.
    pub(super) fn insert_sql(&self, table: &str, columns: &[String], places: &[usize]) -> String {
        let from: Vec<String> = places.iter().map(|place| format!("c{place}")).collect();
        let to: Vec<&str> = places.iter().map(|place| columns[*place].as_str()).collect();
        format!(
            "INSERT OR ABORT INTO {table}({}) SELECT {} FROM temp.{} WHERE n = ?1",
            to.join(", "),
            from.join(", "),
            ident(&self.name)
        )
    }

    /// Forgets one.
    pub(super) fn forget(&self, connection: &Connection, number: i64) -> rusqlite::Result<()> {
        let sql = format!("DELETE FROM temp.{} WHERE n = ?1", ident(&self.name));
        connection.prepare_cached(&sql)?.execute([number]).map(|_| ())
    }

    pub(super) fn drop(self, connection: &Connection) -> rusqlite::Result<()> {
        connection.flush_prepared_statement_cache();
        connection.execute_batch(&format!("DROP TABLE temp.{}", ident(&self.name)))
    }
}
