//! Gathers the rows of a table that cannot be read in the order of their keys, sorted, in a temporary table.
//!
//! Rows come from the table's own b-tree, in the order in which they lie. Where a page of it is damaged, all that lies
//! elsewhere is gathered, and what is lost is named.

use super::{
    account::Account,
    damage::{leaves, list},
    page::Leaf,
    plan::Plan,
    proof::{is_bad_page, meets_bad_page},
    quote::ident,
};
use crate::record::KeyRange;
use rusqlite::{Connection, OptionalExtension, Statement, types::ToSqlOutput};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gathered records, by their rowids in key order.
pub(super) struct Gathered {
    /// The table's name in SQL.
    pub(super) table: String,
    /// Where it is, if it is not in the temporary database of the connection that was read: once SQLite met damage there, it
    /// writes nothing before the transaction ends.
    pub(super) elsewhere: Option<Connection>,
}

/// What is gathered, and for whom.
pub(super) struct Gathering<'a> {
    pub(super) connection: &'a Connection,
    pub(super) plan: &'a Plan,
    pub(super) range: &'a KeyRange,
    /// The table, in words.
    pub(super) object: &'a str,
    /// Who hears of what is lost, and the collection's number; where there is none, damage is an error.
    pub(super) account: Option<(&'a Account, usize)>,
}

impl Gathering<'_> {
    pub(super) fn run(&self) -> rusqlite::Result<Gathered> {
        match self.gather_here() {
            Err(error) if self.account.is_some() && meets_bad_page(self.connection, &error) => self.gather_elsewhere(),
            done => done,
        }
    }

    /// By one statement, which fails as a whole.
    fn gather_here(&self) -> rusqlite::Result<Gathered> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let table = format!("temp.\"rekeep sorted {}\"", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.connection.execute_batch(&format!("CREATE TABLE {table}({})", self.plan.gathered_columns()))?;
        let sql = format!("INSERT INTO {table} {} ORDER BY k", self.plan.gathered_sql(""));
        let mut insert = self.connection.prepare(&sql)?;
        self.bind_range(&mut insert)?;
        insert.raw_execute()?;
        Ok(Gathered { table, elsewhere: None })
    }

    /// What can be read, into a database of its own without a name.
    fn gather_elsewhere(&self) -> rusqlite::Result<Gathered> {
        let to = Connection::open("")?;
        for pragma in ["journal_mode", "synchronous"] {
            to.pragma_update(None, pragma, "OFF")?;
        }
        let columns = self.plan.gathered_columns();
        to.execute_batch(&format!("CREATE TABLE unsorted({columns}); CREATE TABLE sorted({columns}); BEGIN"))?;
        match &self.plan.table.rowid_name {
            Some(rowid) => self.gather_leaves(&to, rowid)?,
            None => self.gather_from_ends(&to)?,
        }
        to.execute_batch("INSERT INTO sorted SELECT * FROM unsorted ORDER BY k; DROP TABLE unsorted; COMMIT")?;
        Ok(Gathered { table: "main.sorted".to_owned(), elsewhere: Some(to) })
    }

    fn bind_range(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        statement.raw_bind_parameter(1, self.range.start.as_slice())?;
        statement.raw_bind_parameter(2, self.range.end.as_deref())
    }

    fn lose(&self, what: &str) {
        if let Some((account, collection)) = self.account {
            // The keys of rows that cannot be read are not known: any may be one of theirs.
            account.lose(collection, KeyRange::all(), format!("{}: {what}", self.object));
        }
    }

    /// Gathers the rows of each leaf; of a damaged one those that can be read.
    fn gather_leaves(&self, to: &Connection, rowid: &str) -> rusqlite::Result<()> {
        let name = ident(rowid);
        let select = self.plan.gathered_sql(&format!(" WHERE {name} >= ?3 AND {name} <= ?4"));
        let mut select = self.connection.prepare(&select)?;
        for leaf in leaves(self.connection, &self.plan.table.name, i64::MIN, i64::MAX) {
            let before = to.last_insert_rowid();
            if self.copy(&mut select, Some((leaf.low, leaf.high)), to)?.is_none() {
                continue;
            }
            to.execute("DELETE FROM unsorted WHERE rowid > ?1", [before])?;
            self.gather_rows(&mut select, rowid, leaf, to)?;
        }
        Ok(())
    }

    fn gather_rows(
        &self,
        select: &mut Statement<'_>,
        rowid: &str,
        leaf: Leaf,
        to: &Connection,
    ) -> rusqlite::Result<()> {
        let listed = list(self.connection, &self.plan.read_from(), rowid, leaf.low, leaf.high)?;
        for rowid in listed.rowids {
            if let Some(error) = self.copy(select, Some((rowid, rowid)), to)? {
                self.lose(&format!("the row with the rowid {rowid} on {} cannot be read ({error})", leaf.show()));
            }
        }
        if let Some((low, high)) = listed.hole {
            self.lose(&format!("the rows with rowids from {low} to {high} on {} cannot be read", leaf.show()));
        }
        Ok(())
    }

    /// Gathers a table whose rows have no number: from its first row on, and from its last one back.
    fn gather_from_ends(&self, to: &Connection) -> rusqlite::Result<()> {
        let mut forward = self.connection.prepare(&self.plan.gathered_sql(""))?;
        let Some(error) = self.copy(&mut forward, None, to)? else { return Ok(()) };
        let (before, last) = self.last_gathered(to)?;
        let mut behind = None;
        if let Some(back) = self.plan.backwards(self.connection)? {
            let mut backward = self.connection.prepare(&self.plan.gathered_as_they_lie(&back))?;
            self.copy(&mut backward, None, to)?;
            behind = self.last_gathered(to)?.1.filter(|_| to.last_insert_rowid() > before);
        }
        let part = "a part of its rows, as they lie";
        self.lose(&match (last, behind) {
            (Some(last), Some(behind)) => {
                format!(
                    "{part} between the keys {last} and {behind}, cannot be read ({error}); those before and behind were read"
                )
            }
            (Some(last), None) => {
                format!("{part} behind the key {last}, cannot be read ({error}); those up to it were read")
            }
            (None, Some(behind)) => {
                format!("{part} before the key {behind}, cannot be read ({error}); those from it on were read")
            }
            (None, None) => format!("none of its rows can be read ({error})"),
        });
        Ok(())
    }

    /// The number of the row that was gathered last, and its key.
    fn last_gathered(&self, to: &Connection) -> rusqlite::Result<(i64, Option<String>)> {
        let sql = "SELECT rowid, k FROM unsorted ORDER BY rowid DESC LIMIT 1";
        let last = to.query_row(sql, [], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
        Ok(last.map_or((0, None), |(number, key)| (number, Some(self.plan.codec.show(&key)))))
    }

    /// Copies row by row until one cannot be read; gives that error.
    fn copy(
        &self,
        select: &mut Statement<'_>,
        rowids: Option<(i64, i64)>,
        to: &Connection,
    ) -> rusqlite::Result<Option<rusqlite::Error>> {
        let count = select.column_count();
        let parameters: Vec<String> = (1..=count).map(|index| format!("?{index}")).collect();
        let mut insert = to.prepare_cached(&format!("INSERT INTO unsorted VALUES ({})", parameters.join(", ")))?;
        if select.parameter_count() > 0 {
            self.bind_range(select)?;
        }
        if let Some((low, high)) = rowids {
            select.raw_bind_parameter(3, low)?;
            select.raw_bind_parameter(4, high)?;
        }
        let mut rows = select.raw_query();
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    for index in 0..count {
                        insert.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(row.get_ref(index)?))?;
                    }
                    insert.raw_execute()?;
                }
                Ok(None) => return Ok(None),
                Err(error) if is_bad_page(&error) => return Ok(Some(error)),
                Err(error) => return Err(error),
            }
        }
    }
}
