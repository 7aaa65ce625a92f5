//! Reading a range from the pages of its table.

use super::{BATCH_BYTES, Position, TableStream, by_keys::ByKeys, rowid_bounds, write_cells};
use crate::{
    connector::{
        Recall,
        sqlite::{
            damage::list,
            memory::{Memory, TableMemory},
            page::Leaf,
            pages::{Added, Met, Places, Reader, Row, Walk},
            plan::Plan,
            proof::is_bad_page,
        },
    },
    record::{
        Held, KeyRange, RecordBatch, RowHead,
        bytes::{put_slice, put_u64},
        key::{decode_int, encode_int},
    },
};
use rusqlite::Connection;
use std::{collections::VecDeque, sync::Arc};

/// So many held ranges wait at most, until somebody asks for them.
const MAX_HELD: usize = 4096;

/// A range that is read from pages.
pub(super) struct ByPages {
    walk: Walk,
    places: Places,
    /// Rowids that are read by SQL before the walk goes on.
    window: Option<(i64, i64)>,
    /// Whether it was said already that rows of the window may be lost.
    is_named: bool,
    /// Whether every row so far lay where its page's own parents say, so that none can have been passed over.
    pub(super) is_whole: bool,
    known: Option<KnownPages>,
}

/// What is known of pages from the backup before.
struct KnownPages {
    memory: TableMemory,
    recall: Recall,
    /// The leaf at hand and its hash, to be noted once all of its rows came from it.
    reading: Option<(u32, u64)>,
    /// Rowids, both ends included, of leaves that stand.
    held: VecDeque<(i64, i64)>,
}

impl KnownPages {
    /// Looks at the leaf at hand; gives its last rowid and how many rows it has if it stands and is not read.
    fn meet(&mut self, reader: &mut Reader<'_>, walk: &Walk) -> Option<(i64, u64)> {
        self.reading = None;
        // Of a leaf that lies in two ranges each reader sees a part.
        let (number, (first, last)) = (walk.number()?, walk.ends()?);
        let digest = self.memory.digest(reader, walk.page(), walk.usable(), walk.rows())?;
        let stands = self.recall != Recall::Nothing && self.memory.stands(number, digest);
        if stands {
            self.held.push_back((first, last));
        }
        if !stands || self.recall == Recall::Test {
            self.reading = Some((number, digest));
            return None;
        }
        self.memory.note(number, digest);
        Some((last, walk.rows() as u64))
    }

    /// All rows of the leaf at hand came from it.
    fn note(&mut self) {
        if let Some((number, digest)) = self.reading.take() {
            self.memory.note(number, digest);
        }
    }
}

/// What the rows of a table depend on beside the bytes of their pages.
fn context(plan: &Plan, walk: &Walk) -> Vec<u8> {
    let mut context = Vec::new();
    put_slice(&mut context, plan.table.name.as_bytes());
    put_slice(&mut context, plan.table.sql.as_bytes());
    put_slice(&mut context, format!("{:?}", plan.codec).as_bytes());
    put_u64(&mut context, u64::from(plan.encoding as u8));
    put_u64(&mut context, u64::from(walk.root()));
    put_u64(&mut context, walk.usable() as u64);
    context
}

impl ByPages {
    /// `None` where the table's rows do not lie by their rowids, or its pages cannot be looked at.
    pub(super) fn new(
        connection: &Connection,
        plan: &Plan,
        range: (i64, i64),
        memory: Option<(Arc<Memory>, Recall)>,
    ) -> Option<Box<Self>> {
        let places = Places::of(plan)?;
        let walk = Walk::new(connection, &plan.table.name, range.0, range.1)?;
        let known = memory.map(|(memory, recall)| {
            let memory = TableMemory::new(memory, &context(plan, &walk));
            KnownPages { memory, recall, reading: None, held: VecDeque::new() }
        });
        Some(Box::new(Self { walk, places, window: None, is_named: false, is_whole: true, known }))
    }

    /// The next range that stands.
    pub(super) fn held(&mut self) -> Option<Held> {
        let known = self.known.as_mut()?;
        let (first, last) = known.held.pop_front()?;
        let range = KeyRange { start: encode_int(first).to_vec(), end: KeyRange::only(&encode_int(last)).end };
        Some(Held { range, is_read: known.recall == Recall::Test })
    }

    /// Whether there are ranges that stand and were not asked for.
    pub(super) fn has_held(&self) -> bool {
        self.known.as_ref().is_some_and(|known| !known.held.is_empty())
    }

    fn is_full_of_held(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.held.len() >= MAX_HELD)
    }

    fn ask_for(&mut self, low: i64, high: i64) {
        self.window = Some((low, high));
        (self.is_named, self.is_whole) = (false, false);
        if let Some(known) = &mut self.known {
            known.reading = None;
        }
    }

    /// Whether all cells of the row at hand are known; asks SQLite for those that it was written without.
    fn is_known(&mut self, connection: &Connection, plan: &Plan, rowid: i64) -> bool {
        let fields = self.walk.fields();
        if !self.places.admits(fields) {
            return false;
        }
        if self.places.lacks(fields) {
            let Ok(cells) = ask(connection, plan, rowid) else { return false };
            self.places.learn(fields, &cells);
        }
        self.places.has_all(self.walk.record())
    }
}

/// The cells of one row as SQLite gives them.
fn ask(connection: &Connection, plan: &Plan, rowid: i64) -> rusqlite::Result<Vec<Added>> {
    let mut statement = connection.prepare_cached(&plan.rowid_sql())?;
    statement.raw_bind_parameter(1, rowid)?;
    statement.raw_bind_parameter(2, rowid)?;
    let mut rows = statement.raw_query();
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    (0..plan.cells.len()).map(|cell| Ok(Added::from(plan.value(row, plan.key_count() + cell)?))).collect()
}

impl TableStream {
    /// Begins to read from pages, where that can be done.
    pub(super) fn begin_by_pages(&mut self, connection: &Connection) {
        if self.is_by_pages && self.listener.is_some() && self.last.is_none() {
            self.keyed = ByKeys::new(connection, &self.plan);
            let memory = self.memory.take();
            self.pages =
                rowid_bounds(&self.range).and_then(|bounds| ByPages::new(connection, &self.plan, bounds, memory));
        }
        self.is_by_pages = false;
    }

    pub(super) fn fill_by_pages(&mut self, connection: &Connection, batch: &mut RecordBatch) -> rusqlite::Result<()> {
        if self.keyed.is_some() {
            self.fill_by_keys(connection, batch);
            return Ok(());
        }
        let Some(mut pages) = self.pages.take() else { return self.fill_in_order(connection, batch) };
        let filled = if let Some(window) = pages.window {
            self.take_window(connection, &mut pages, window, batch)
        } else {
            self.take_rows(connection, &mut pages, batch);
            Ok(())
        };
        self.pages = Some(pages);
        filled
    }

    /// Reads by SQL what could not be read from pages.
    fn take_window(
        &mut self,
        connection: &Connection,
        pages: &mut ByPages,
        window: (i64, i64),
        batch: &mut RecordBatch,
    ) -> rusqlite::Result<()> {
        self.window = Some(window);
        match self.fill_in_order(connection, batch) {
            Err(error) if pages.is_named && pages.walk.has_leaf() && is_bad_page(&error) => {
                self.take_each(connection, window, batch)?;
            }
            filled => filled?,
        }
        if std::mem::replace(&mut self.position, Position::Open) == Position::Done {
            (self.window, pages.window) = (None, None);
        }
        Ok(())
    }

    /// Reads what SQL finds between two rows of a damaged page one by one; what it does not find is named already.
    fn take_each(
        &mut self,
        connection: &Connection,
        (low, high): (i64, i64),
        batch: &mut RecordBatch,
    ) -> rusqlite::Result<()> {
        let rowid = self.plan.table.rowid_name.clone().unwrap_or_default();
        let after = self.last.as_deref().and_then(decode_int);
        let low = after.and_then(|after| after.checked_add(1)).map_or(low, |next| next.max(low));
        for rowid in list(connection, &self.plan.read_from(), &rowid, low, high)?.rowids {
            (self.window, self.position) = (Some((rowid, rowid)), Position::Open);
            match self.fill_in_order(connection, batch) {
                Err(error) if is_bad_page(&error) => {}
                // The batch is full: the window is asked for once more, behind what was read.
                Ok(()) if self.position != Position::Done => return Ok(()),
                filled => filled?,
            }
        }
        self.position = Position::Done;
        Ok(())
    }

    fn take_rows(&mut self, connection: &Connection, pages: &mut ByPages, batch: &mut RecordBatch) {
        let mut last = self.last.as_deref().and_then(decode_int);
        let Some(mut reader) = Reader::new(connection) else {
            return pages.ask_for(i64::MIN, i64::MAX);
        };
        while batch.bytes() < BATCH_BYTES && !pages.is_full_of_held() {
            if !pages.walk.has_leaf() {
                match pages.walk.advance(&mut reader) {
                    Met::Leaf => {
                        let ByPages { known, walk, .. } = &mut *pages;
                        let standing = known.as_mut().and_then(|known| known.meet(&mut reader, walk));
                        if let Some((end, rows)) = standing {
                            last = Some(end);
                            self.reached += rows;
                            walk.leave();
                            continue;
                        }
                    }
                    Met::Torn(low, high) => {
                        if let Some(listener) = &self.listener {
                            listener.account.tear(listener.collection);
                        }
                        pages.ask_for(low, high);
                        break;
                    }
                    Met::Window(low, high) => {
                        pages.ask_for(low, high);
                        break;
                    }
                    Met::End => {
                        self.position = Position::Done;
                        break;
                    }
                }
            }
            match pages.walk.next_row(&mut reader, last) {
                Row::None => {
                    if let Some(known) = &mut pages.known {
                        known.note();
                    }
                }
                Row::Window(low, high) => {
                    pages.ask_for(low, high);
                    break;
                }
                Row::Damaged(leaf) => {
                    let Leaf { low, high, .. } = leaf;
                    let rows = format!("of the rows from int:{low} to int:{high} some cannot be read");
                    self.lose(low, high, &format!("{} is damaged: {rows}", leaf.show()));
                    for rowid in pages.walk.take_strays() {
                        // Whether it was there before or not: that it does not come says nothing.
                        let what = format!("the row int:{rowid} on {} lies where no search finds it", leaf.show());
                        self.lose(rowid, rowid, &what);
                    }
                    pages.ask_for(low, high);
                    pages.is_named = true;
                    break;
                }
                Row::Whole(rowid) if !pages.is_known(connection, &self.plan, rowid) => {
                    pages.ask_for(rowid, rowid);
                    break;
                }
                Row::Whole(rowid) => {
                    last = Some(rowid);
                    self.reached += 1;
                    let head = RowHead { key: &encode_int(rowid), ..RowHead::default() };
                    let record = pages.walk.record();
                    batch.push(head, &self.plan.shape, |out| write_cells(out, &pages.places, record));
                }
            }
        }
        if let Some(last) = last {
            // Also of rows that were not read: what is read after them lies behind.
            self.last = Some(encode_int(last).to_vec());
        }
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
    fn read(encoding: Encoding, sql: &str) -> (usize, bool) {
        let db = Connection::open_in_memory().unwrap();
        db.pragma_update(None, "encoding", encoding.name()).unwrap();
        db.execute_batch(sql).unwrap();
        let sql: String = db.query_row("SELECT sql FROM sqlite_schema WHERE name = 't'", [], |row| row.get(0)).unwrap();
        let plan = Plan::new(&db, table(&db, "t".to_owned(), sql).unwrap(), encoding).unwrap();
        let account = Arc::new(Account::default());
        let stream = TableStream::new(Arc::new(Mutex::new(db)), Arc::new(plan), KeyRange::all(), "memory");
        let mut stream = stream.of_session(Arc::default(), account, 0).by_pages();
        let (mut rows, mut batch) = (0, RecordBatch::new());
        while stream.next_batch(&mut batch).unwrap() {
            rows += batch.len();
        }
        (rows, stream.pages.as_ref().is_some_and(|pages| pages.is_whole))
    }

    const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO t";

    #[test]
    fn tables_with_rowids_come_from_their_pages() {
        let plain =
            format!("CREATE TABLE t(a INTEGER PRIMARY KEY, b, c REAL); {ROWS} SELECT i * 7, 'text' || i, i FROM n;");
        for encoding in [Encoding::Utf8, Encoding::Utf16le, Encoding::Utf16be] {
            assert_eq!(read(encoding, &plain), (3000, true));
        }
        let long =
            format!("PRAGMA page_size = 512; CREATE TABLE t(a, b); {ROWS} SELECT i, randomblob(i % 3000) FROM n;");
        assert_eq!(read(Encoding::Utf8, &long), (3000, true));
        let added = format!(
            "CREATE TABLE t(a); {ROWS} SELECT i FROM n; ALTER TABLE t ADD COLUMN b REAL DEFAULT 5; INSERT INTO t VALUES (1, 2)"
        );
        assert_eq!(read(Encoding::Utf8, &added), (3001, true));
        let generated =
            format!("CREATE TABLE t(a, v AS (a + 1), s AS (a + 2) STORED, b); {ROWS}(a, b) SELECT i, -i FROM n;");
        assert_eq!(read(Encoding::Utf8, &generated), (3000, true));
        assert_eq!(read(Encoding::Utf8, "CREATE TABLE t(a)"), (0, true));
    }

    #[test]
    fn what_is_too_long_to_be_held_is_left_to_sql() {
        let sql = "CREATE TABLE t(a INTEGER PRIMARY KEY, b);
                   INSERT INTO t VALUES (1, 'x'), (2, zeroblob(5000000)), (3, 'y')";
        assert_eq!(read(Encoding::Utf8, sql), (3, false));
    }
}
