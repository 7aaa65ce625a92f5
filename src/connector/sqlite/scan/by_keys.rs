//! Reading a range of a table without rowids from its pages.

use super::{BATCH_BYTES, Position, TableStream, write_cells};
use crate::{
    connector::sqlite::{
        keyed::{KeyedWalk, Met},
        page::Fields,
        pages::{Places, Reader},
        plan::{Order, Plan, encode_value},
    },
    record::{MAX_KEY_BYTES, RecordBatch, RowHead},
};
use rusqlite::{Connection, types::ValueRef};

/// A range that is read from pages. Whatever is odd ends it: SQL goes on behind the last key.
pub(super) struct ByKeys {
    walk: KeyedWalk,
    keys: Places,
    cells: Places,
}

impl ByKeys {
    /// `None` unless the table has no rowids and its rows lie in the order of our keys, which [`Order::Index`] says but for the
    /// direction.
    pub(super) fn new(connection: &Connection, plan: &Plan) -> Option<Box<Self>> {
        let index = plan.table.key_index.as_ref().filter(|_| plan.table.without_rowid && plan.order == Order::Index)?;
        let sql = "SELECT name, key, desc, coll FROM pragma_index_xinfo(?1, 'main') ORDER BY seqno";
        let mut statement = connection.prepare_cached(sql).ok()?;
        let mut rows = statement.query([index]).ok()?;
        let mut order: Vec<String> = Vec::new();
        while let Some(row) = rows.next().ok()? {
            let (is_key, descends, collation) =
                (row.get::<_, bool>(1).ok()?, row.get::<_, bool>(2).ok()?, row.get::<_, String>(3).ok()?);
            if is_key && (descends || collation != "BINARY") {
                return None;
            }
            order.push(row.get(0).ok()?);
        }
        let order: Vec<&str> = order.iter().map(String::as_str).collect();
        let keys = Places::among(plan, &order, plan.table.primary_key.iter().map(String::as_bytes))?;
        let cells = Places::among(plan, &order, plan.shape.names().iter().map(Vec::as_slice))?;
        Some(Box::new(Self { walk: KeyedWalk::new(connection, &plan.table.name)?, keys, cells }))
    }
}

/// The key of a row; `None` if it has none that is whole.
fn key_of(keys: &Places, record: (&Fields, &[u8]), key: &mut Vec<u8>) -> Option<()> {
    key.clear();
    for part in 0..keys.len() {
        let value = keys.value(record, part).filter(|value| *value != ValueRef::Null)?;
        encode_value(value, key);
    }
    Some(())
}

impl TableStream {
    pub(super) fn fill_by_keys(&mut self, connection: &Connection, batch: &mut RecordBatch) {
        let Some(mut keyed) = self.keyed.take() else { return };
        if self.take_keyed(connection, &mut keyed, batch).is_some() {
            self.keyed = Some(keyed);
        }
    }

    /// `None` if something is odd.
    fn take_keyed(&mut self, connection: &Connection, keyed: &mut ByKeys, batch: &mut RecordBatch) -> Option<()> {
        let mut reader = Reader::new(connection)?;
        let ByKeys { walk, keys, cells } = keyed;
        let start = &self.range.start;
        let is_before = |record: (&Fields, &[u8])| {
            let mut key = Vec::new();
            key_of(keys, record, &mut key).map(|()| key < *start)
        };
        while batch.bytes() < BATCH_BYTES {
            match walk.advance(&mut reader, &is_before) {
                Met::Row => {}
                Met::Odd => return None,
                Met::End => {
                    self.position = Position::Done;
                    return Some(());
                }
            }
            let record = walk.record();
            key_of(keys, record, &mut self.key)?;
            if self.range.end.as_ref().is_some_and(|end| &self.key >= end) {
                self.position = Position::Done;
                return Some(());
            }
            let is_next = self.last.as_ref().is_none_or(|last| *last < self.key) && self.key >= *start;
            let is_known = cells.admits(record.0.len()) && cells.has_all(record);
            if !is_next || !is_known || self.key.len() > MAX_KEY_BYTES {
                return None;
            }
            let head = RowHead { key: &self.key, ..RowHead::default() };
            batch.push(head, &self.plan.shape, |out| write_cells(out, cells, record));
            self.reached += 1;
            self.last.get_or_insert_default().clone_from(&self.key);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connector::sqlite::{
            account::Account,
            schema::{Encoding, table},
        },
        record::{KeyRange, RecordStream},
    };
    use std::sync::{Arc, Mutex};

    /// Rows of table `t` and whether all of them came from pages.
    fn read(sql: &str) -> (usize, bool) {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        let sql: String = db.query_row("SELECT sql FROM sqlite_schema WHERE name = 't'", [], |row| row.get(0)).unwrap();
        let plan = Plan::new(&db, table(&db, "t".to_owned(), sql).unwrap(), Encoding::Utf8).unwrap();
        let stream = TableStream::new(Arc::new(Mutex::new(db)), Arc::new(plan), KeyRange::all(), "memory");
        let mut stream = stream.of_session(Arc::default(), Arc::new(Account::default()), 0).by_pages();
        let (mut rows, mut batch) = (0, RecordBatch::new());
        while stream.next_batch(&mut batch).unwrap() {
            rows += batch.len();
        }
        (rows, stream.keyed.is_some())
    }

    const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO t";

    #[test]
    fn tables_without_rowids_come_from_their_pages() {
        for (columns, values) in [
            ("k TEXT PRIMARY KEY, v", "'k' || i, randomblob(i % 700)"),
            ("v REAL, a INTEGER, b TEXT, PRIMARY KEY (b, a)", "i, i, i % 7"),
            ("a REAL PRIMARY KEY, v AS (a + 1), w AS (a + 2) STORED", "i"),
        ] {
            let named = if columns.contains("AS") { "(a)" } else { "" };
            let sql = format!(
                "PRAGMA page_size = 512; CREATE TABLE t({columns}) WITHOUT ROWID; {ROWS}{named} SELECT {values} FROM n;"
            );
            assert_eq!(read(&sql), (3000, true), "{columns}");
        }
    }

    #[test]
    fn what_has_another_order_or_lacks_columns_is_left_to_sql() {
        for sql in [
            format!("CREATE TABLE t(k INTEGER PRIMARY KEY DESC, v) WITHOUT ROWID; {ROWS} SELECT i, i FROM n;"),
            format!(
                "CREATE TABLE t(k TEXT PRIMARY KEY) WITHOUT ROWID; {ROWS} SELECT i FROM n; ALTER TABLE t ADD COLUMN d DEFAULT 1"
            ),
        ] {
            assert_eq!(read(&sql), (3000, false), "{sql}");
        }
    }
}
