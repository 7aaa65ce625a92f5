//! Reads one key range of one table in key order.
//!
//! A stream cannot keep a running statement beside the connection that it borrows, so each batch runs the prepared
//! statement again from the last key on: once a MiB, which costs nothing that can be measured.

mod by_keys;
mod by_pages;

use super::{
    account::Account,
    damage::{leaves, list},
    error::reading,
    gather::{Gathered, Gathering},
    large::LargeCell,
    memory::Memory,
    page::{Fields, Leaf},
    pages::Places,
    plan::{Order, Plan},
    proof::{is_bad_page, meets_bad_page},
    shared::{SharedConnection, lock},
};
use crate::connector::Recall;
use crate::record::{
    CellWriter, Held, KeyPart, KeyRange, MAX_KEY_BYTES, RecordBatch, RecordStream, RowHead, StreamError, Tag,
    key::{decode_int, encode_int},
};
use by_keys::ByKeys;
use by_pages::ByPages;
use rusqlite::{Connection, ErrorCode, Row, limits::Limit, types::ValueRef};
use std::{
    cmp::Ordering,
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of a full batch.
const BATCH_BYTES: usize = 1 << 20;
/// Longer values are looked at one by one, and streamed where they can be.
const INLINE_BYTES: i32 = 4 << 20;
/// Longer values at the end of a record are streamed once they are looked at.
const STREAM_BYTES: i64 = 1 << 20;

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Open,
    /// Rows of the temporary table up to this rowid are delivered.
    Gathered(i64),
    Done,
}

/// What became of one SQL row.
enum Taken {
    Added,
    Skipped,
    PastEnd,
}

/// What is left of a table with a damaged page.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The rows of a leaf.
    Leaf(Leaf),
    /// A row of a leaf that cannot be read as a whole.
    Row(i64, Leaf),
}

/// Who hears what a stream reached.
struct Listener {
    account: Arc<Account>,
    collection: usize,
    pool: Arc<Mutex<Vec<SharedConnection>>>,
}

/// The stream of one key range.
pub(super) struct TableStream {
    connection: SharedConnection,
    plan: Arc<Plan>,
    range: KeyRange,
    position: Position,
    /// The key that was taken last.
    last: Option<Vec<u8>>,
    key: Vec<u8>,
    object: String,
    /// Rows that were delivered or named.
    reached: u64,
    /// What is still to be read, where a page is damaged.
    steps: Option<VecDeque<Step>>,
    /// The rowids to read now, where a page is damaged.
    window: Option<(i64, i64)>,
    /// Whether pages are to be looked at before SQL is asked.
    is_by_pages: bool,
    pages: Option<Box<ByPages>>,
    keyed: Option<Box<ByKeys>>,
    memory: Option<(Arc<Memory>, Recall)>,
    gathered: Option<Gathered>,
    /// Whether rows were delivered before they were gathered, the last of which comes again.
    is_resumed: bool,
    listener: Option<Listener>,
}

impl TableStream {
    pub(super) fn new(connection: SharedConnection, plan: Arc<Plan>, range: KeyRange, file: &str) -> Self {
        let object = format!("table `{}` of {file}", plan.table.name);
        Self {
            connection,
            plan,
            range,
            position: Position::Open,
            last: None,
            key: Vec::new(),
            object,
            reached: 0,
            steps: None,
            window: None,
            is_by_pages: false,
            pages: None,
            keyed: None,
            memory: None,
            gathered: None,
            is_resumed: false,
            listener: None,
        }
    }

    /// Returns the connection there when the stream is dropped, and names what could not be delivered. Without it, what
    /// cannot be read is an error.
    pub(super) fn of_session(
        mut self,
        pool: Arc<Mutex<Vec<SharedConnection>>>,
        account: Arc<Account>,
        collection: usize,
    ) -> Self {
        self.listener = Some(Listener { account, collection, pool });
        self
    }

    /// Reads from the pages of the table, where they can be looked at: only of a state that stays as it is.
    pub(super) const fn by_pages(mut self) -> Self {
        self.is_by_pages = true;
        self
    }

    /// Notes what pages are read, and makes this of what was noted before.
    pub(super) fn remembering(mut self, memory: Arc<Memory>, recall: Recall) -> Self {
        self.memory = Some((memory, recall));
        self
    }

    fn has_held(&self) -> bool {
        self.pages.as_ref().is_some_and(|pages| pages.has_held())
    }

    fn name(&self, what: &str) {
        if let Some(listener) = &self.listener {
            listener.account.name(format!("{}: {what}", self.object));
        }
    }

    fn lose(&self, low: i64, high: i64, what: &str) {
        if let Some(listener) = &self.listener {
            let end = high.checked_add(1).map(|end| encode_int(end).to_vec());
            let range = KeyRange { start: encode_int(low).to_vec(), end };
            listener.account.lose(listener.collection, range, format!("{}: {what}", self.object));
        }
    }

    fn fill(&mut self, batch: &mut RecordBatch) -> rusqlite::Result<()> {
        let shared = Arc::clone(&self.connection);
        let connection = lock(&shared);
        while batch.is_empty() && !self.has_held() && self.position != Position::Done {
            if self.plan.order == Order::Sorted {
                self.fill_gathered(&connection, batch)?;
            } else if self.steps.is_some() {
                self.take_step(&connection, batch)?;
            } else {
                self.begin_by_pages(&connection);
                match self.fill_by_pages(&connection, batch) {
                    Err(error) if self.listener.is_some() && meets_bad_page(&connection, &error) => {
                        self.meet_damage(&connection);
                    }
                    filled => filled?,
                }
            }
        }
        if self.position == Position::Done && batch.is_empty() && !self.has_held() {
            self.end(&connection)?;
        }
        Ok(())
    }

    /// Reads on in the order of the key.
    fn fill_in_order(&mut self, connection: &Connection, batch: &mut RecordBatch) -> rusqlite::Result<()> {
        let limit = connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, INLINE_BYTES)?;
        let filled = self.run(connection, batch, usize::MAX);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit)?;
        match filled {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                if batch.is_empty() && !self.take_streamed(connection, batch)? {
                    self.run(connection, batch, 1)?;
                }
                Ok(())
            }
            filled => filled,
        }
    }

    /// Goes over to what is read of a table with a damaged page.
    fn meet_damage(&mut self, connection: &Connection) {
        self.keyed = None;
        if self.plan.order != Order::Rowid {
            self.plan = Arc::new(self.plan.sorted());
            return;
        }
        (self.pages, self.window) = (None, None);
        let Some(Bounds::Rowid(low, high)) = self.bounds() else { return };
        let leaves = leaves(connection, &self.plan.table.name, low, high);
        self.steps = Some(leaves.into_iter().map(Step::Leaf).collect());
    }

    /// Reads one leaf of a damaged table, or one row of a damaged leaf.
    fn take_step(&mut self, connection: &Connection, batch: &mut RecordBatch) -> rusqlite::Result<()> {
        let Some(step) = self.steps.as_ref().and_then(|steps| steps.front().copied()) else {
            self.position = Position::Done;
            return Ok(());
        };
        let (low, high) = match step {
            Step::Leaf(leaf) => (leaf.low, leaf.high),
            Step::Row(rowid, _) => (rowid, rowid),
        };
        self.window = Some((low, high));
        let filled = self.fill_in_order(connection, batch);
        let is_read = std::mem::replace(&mut self.position, Position::Open) == Position::Done;
        let damage = match filled {
            Err(error) if meets_bad_page(connection, &error) => Some(error),
            filled => filled.map(|()| None)?,
        };
        if !is_read && damage.is_none() {
            return Ok(());
        }
        let steps = self.steps.get_or_insert_default();
        steps.pop_front();
        match (damage, step) {
            (None, _) => {}
            (Some(error), Step::Row(rowid, leaf)) => {
                let what = format!("the row int:{rowid} on {} cannot be read ({error})", leaf.show());
                self.lose(rowid, rowid, &what);
            }
            (Some(_), Step::Leaf(leaf)) => {
                let Some(Bounds::Rowid(low, high)) = self.bounds() else { return Ok(()) };
                let rowid = self.plan.table.rowid_name.clone().unwrap_or_default();
                let listed = list(connection, &self.plan.read_from(), &rowid, low, high)?;
                let steps = self.steps.get_or_insert_default();
                for rowid in listed.rowids.into_iter().rev() {
                    steps.push_front(Step::Row(rowid, leaf));
                }
                if let Some((low, high)) = listed.hole {
                    let what = format!("the rows from int:{low} to int:{high} on {} cannot be read", leaf.show());
                    self.lose(low, high, &what);
                }
            }
        }
        Ok(())
    }

    /// Compares what was reached of the whole table, once all of it was read, with what its b-tree holds.
    fn end(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(Listener { account, collection, .. }) = &self.listener else { return Ok(()) };
        let is_whole = self.pages.as_ref().is_some_and(|pages| pages.is_whole);
        let Some(ended) = account.ended(*collection, &self.range, self.reached, is_whole) else { return Ok(()) };
        if ended.is_whole {
            return Ok(());
        }
        let reached = ended.rows;
        let sql = format!("SELECT count(*) FROM {} NOT INDEXED", self.plan.from());
        let held = connection.query_row(&sql, [], |row| row.get::<_, i64>(0));
        let line = match held {
            Ok(held) if held.unsigned_abs() == reached => return Ok(()),
            // What of it cannot be read is named already.
            Err(error) if is_bad_page(&error) && account.has_lost(*collection) => return Ok(()),
            Ok(_) if account.has_lost(*collection) => return Ok(()),
            Ok(held) => format!(
                "{}: {reached} rows were reached where its b-tree holds {held}: it is damaged (PRAGMA integrity_check says \
                 how)",
                self.object
            ),
            Err(error) if is_bad_page(&error) => format!("{}: its rows cannot be counted ({error})", self.object),
            Err(error) => return Err(error),
        };
        account.lose(*collection, KeyRange::all(), line);
        Ok(())
    }

    /// Reads on from the position until the batch is full or `most` rows were seen.
    fn run(&mut self, connection: &Connection, batch: &mut RecordBatch, most: usize) -> rusqlite::Result<()> {
        let plan = Arc::clone(&self.plan);
        let Some(bounds) = self.bounds() else {
            self.position = Position::Done;
            return Ok(());
        };
        let sql = match &bounds {
            Bounds::Rowid(..) => plan.rowid_sql(),
            Bounds::From(operator, _) => plan.after_sql(operator),
            Bounds::All => plan.all_sql(),
        };
        let mut statement = connection.prepare_cached(&sql)?;
        bounds.bind(&mut statement, &plan)?;
        let mut found = statement.raw_query();
        let mut seen = 0;
        while batch.bytes() < BATCH_BYTES && seen < most {
            let Some(row) = found.next()? else {
                self.position = Position::Done;
                break;
            };
            seen += 1;
            if matches!(self.take(&plan, row, batch)?, Taken::PastEnd) {
                self.position = Position::Done;
                break;
            }
        }
        Ok(())
    }

    /// What is left to read, as SQL bounds that never leave out a key of the range.
    fn bounds(&self) -> Option<Bounds> {
        let plan = &self.plan;
        if plan.order == Order::Rowid {
            let (mut low, mut high) = rowid_bounds(&self.range)?;
            if let Some((from, to)) = self.window {
                (low, high) = (low.max(from), high.min(to));
            }
            if let Some(key) = &self.last {
                low = low.max(decode_int(key)?.checked_add(1)?);
            }
            return (low <= high).then_some(Bounds::Rowid(low, high));
        }
        // A key that was just read is what the columns hold, whatever their affinity.
        let (operator, key, is_read) = match &self.last {
            Some(key) => (">", key, true),
            None => (">=", &self.range.start, false),
        };
        match plan.codec.decode(key) {
            Some(parts) if is_read && plan.is_whole(&parts) => Some(Bounds::From(operator, parts)),
            Some(parts) if plan.comparable(&parts) => Some(Bounds::From(operator, parts)),
            _ => Some(Bounds::All),
        }
    }

    fn take(&mut self, plan: &Plan, row: &Row<'_>, batch: &mut RecordBatch) -> rusqlite::Result<Taken> {
        let mut key = std::mem::take(&mut self.key);
        plan.encode_key(row, &mut key)?;
        self.key = key;
        match self.place(row)? {
            Taken::Added => {}
            other => return Ok(other),
        }
        let mut failure = None;
        batch.push(RowHead { key: &self.key, ..RowHead::default() }, &plan.shape, |cells| {
            for index in 0..plan.cells.len() {
                match plan.value(row, plan.key_count() + index) {
                    Ok(value) => write_cell(cells, value),
                    Err(error) => {
                        cells.cell(Tag::NULL, &[]);
                        failure = Some(error);
                    }
                }
            }
        });
        self.move_on();
        failure.map_or(Ok(Taken::Added), Err)
    }

    /// Counts the current key's row as reached.
    fn move_on(&mut self) {
        self.reached += 1;
        let last = self.last.get_or_insert_default();
        last.clone_from(&self.key);
    }

    /// Whether the current key belongs to the range, is new, and can be kept.
    fn place(&mut self, row: &Row<'_>) -> rusqlite::Result<Taken> {
        if self.range.end.as_ref().is_some_and(|end| &self.key >= end) {
            return Ok(Taken::PastEnd);
        }
        if self.key < self.range.start {
            return Ok(Taken::Skipped);
        }
        match self.last.as_ref().map(|last| self.key.cmp(last)) {
            // A table holds a key twice where the key's index lacked it when it was written again.
            Some(Ordering::Equal) if self.plan.order == Order::Sorted && !self.is_resumed => {
                let shown = self.shown_key();
                let rowid = self.plan.rowid_cell().map(|cell| self.plan.value(row, self.plan.key_count() + cell));
                let rowid = rowid.transpose()?.and_then(|value| value.as_i64().ok());
                let which = rowid.map_or_else(String::new, |rowid| format!(" with the rowid {rowid}"));
                self.name(&format!("two rows have the key {shown}; the one{which} is left out"));
                self.reached += 1;
                return Ok(Taken::Skipped);
            }
            Some(Ordering::Less | Ordering::Equal) => return Ok(Taken::Skipped),
            Some(Ordering::Greater) | None => {}
        }
        self.is_resumed = false;
        if self.key.len() > MAX_KEY_BYTES {
            let shown: String = self.shown_key().chars().take(60).collect();
            self.name(&format!("the key {shown}… has {} bytes", self.key.len()));
            self.move_on();
            return Ok(Taken::Skipped);
        }
        Ok(Taken::Added)
    }

    fn shown_key(&self) -> String {
        self.plan.codec.show(&self.key)
    }

    fn take_streamed(&mut self, connection: &Connection, batch: &mut RecordBatch) -> rusqlite::Result<bool> {
        let plan = Arc::clone(&self.plan);
        // SQLite opens no single value of a table with generated columns.
        if plan.table.rowid_name.is_none() || plan.cells.is_empty() || !plan.table.generated.is_empty() {
            return Ok(false);
        }
        let Some(bounds) = self.bounds() else { return Ok(false) };
        let operator = if let Bounds::From(operator, _) = &bounds { Some(*operator) } else { None };
        let Some(sql) = plan.probe_sql(operator) else { return Ok(false) };
        let mut statement = connection.prepare_cached(&sql)?;
        bounds.bind(&mut statement, &plan)?;
        let mut found = statement.raw_query();
        let Some(row) = found.next()? else { return Ok(false) };
        let inline = plan.key_count() + plan.cells.len() - 1;
        let at = inline * plan.stride();
        let tag = match row.get_ref(at)? {
            ValueRef::Text(b"text") => Tag::STRING,
            ValueRef::Text(b"blob") => Tag::BLOB,
            _ => return Ok(false),
        };
        if row.get::<_, i64>(at + 1)? < STREAM_BYTES {
            return Ok(false);
        }
        let mut key = std::mem::take(&mut self.key);
        plan.encode_key(row, &mut key)?;
        self.key = key;
        let rowid = match plan.rowid_cell() {
            _ if plan.order == Order::Rowid => decode_int(&self.key),
            Some(cell) => plan.value(row, plan.key_count() + cell)?.as_i64().ok(),
            None => None,
        };
        let Some(rowid) = rowid else { return Ok(false) };
        match self.place(row)? {
            Taken::Added => {}
            Taken::Skipped => {
                // It is not to be met again.
                self.last = self.last.take().max(Some(self.key.clone()));
                return Ok(true);
            }
            Taken::PastEnd => {
                self.position = Position::Done;
                return Ok(true);
            }
        }
        let column = plan.shape.names().last().and_then(|name| String::from_utf8(name.clone()).ok());
        let large = LargeCell {
            connection: Arc::clone(&self.connection),
            table: plan.table.name.clone(),
            column: column.unwrap_or_default(),
            rowid,
        };
        let mut failure = None;
        let head = RowHead { key: &self.key, ..RowHead::default() };
        batch.push_streamed(head, &plan.shape, tag, Box::new(large), |cells| {
            for index in plan.key_count()..inline {
                match plan.value(row, index) {
                    Ok(value) => write_cell(cells, value),
                    Err(error) => {
                        cells.cell(Tag::NULL, &[]);
                        failure = Some(error);
                    }
                }
            }
        });
        self.move_on();
        failure.map_or(Ok(true), Err)
    }

    fn fill_gathered(&mut self, connection: &Connection, batch: &mut RecordBatch) -> rusqlite::Result<()> {
        let gathered = match self.gathered.take() {
            Some(gathered) => gathered,
            None => self.gather(connection)?,
        };
        let filled = self.take_gathered(&gathered, connection, batch);
        self.gathered = Some(gathered);
        filled
    }

    fn take_gathered(
        &mut self,
        gathered: &Gathered,
        connection: &Connection,
        batch: &mut RecordBatch,
    ) -> rusqlite::Result<()> {
        let Position::Gathered(mut last) = self.position else { return Ok(()) };
        let plan = Arc::clone(&self.plan);
        let sql = format!("SELECT *, rowid FROM {} WHERE rowid > ?1 ORDER BY rowid", gathered.table);
        let mut statement = gathered.elsewhere.as_ref().unwrap_or(connection).prepare_cached(&sql)?;
        statement.raw_bind_parameter(1, last)?;
        let mut rows = statement.raw_query();
        let at = (self.plan.key_count() + self.plan.cells.len()) * self.plan.stride() + 1;
        loop {
            let Some(row) = rows.next()? else {
                self.position = Position::Done;
                return Ok(());
            };
            self.take(&plan, row, batch)?;
            last = row.get(at)?;
            self.position = Position::Gathered(last);
            if batch.bytes() >= BATCH_BYTES {
                return Ok(());
            }
        }
    }

    fn gather(&mut self, connection: &Connection) -> rusqlite::Result<Gathered> {
        let gathering = Gathering {
            connection,
            plan: &self.plan,
            range: &self.range,
            object: &self.object,
            account: self.listener.as_ref().map(|listener| (&*listener.account, listener.collection)),
        };
        let gathered = gathering.run()?;
        self.is_resumed = self.last.is_some();
        self.position = Position::Gathered(0);
        Ok(gathered)
    }
}

impl RecordStream for TableStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        self.fill(batch).map_err(|error| Box::new(reading(&self.object, &error)))?;
        Ok(!batch.is_empty() || self.has_held())
    }

    fn held(&mut self) -> Option<Held> {
        self.pages.as_mut()?.held()
    }
}

impl Drop for TableStream {
    fn drop(&mut self) {
        if let Some(Gathered { table, elsewhere: None }) = &self.gathered {
            let connection = lock(&self.connection);
            connection.flush_prepared_statement_cache();
            // A temporary table that stays takes room until the session ends, nothing more.
            let _ = connection.execute_batch(&format!("DROP TABLE {table}"));
        }
        if let Some(Listener { pool, .. }) = &self.listener {
            pool.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&self.connection));
        }
    }
}

enum Bounds {
    Rowid(i64, i64),
    From(&'static str, Vec<KeyPart>),
    All,
}

impl Bounds {
    fn bind(&self, statement: &mut rusqlite::Statement<'_>, plan: &Plan) -> rusqlite::Result<()> {
        match self {
            Self::Rowid(low, high) => {
                statement.raw_bind_parameter(1, low)?;
                statement.raw_bind_parameter(2, high)
            }
            Self::From(_, parts) => plan.bind_parts(statement, parts),
            Self::All => Ok(()),
        }
    }
}

/// The rowids whose keys lie in the range, both ends included; `None` if there are none. Bounds may be any bytes.
pub(super) fn rowid_bounds(range: &KeyRange) -> Option<(i64, i64)> {
    // The first rowid whose key is not below these bytes.
    let first_from = |bytes: &[u8]| -> Option<i64> {
        let mut padded = [0; 8];
        let len = bytes.len().min(8);
        padded[..len].copy_from_slice(&bytes[..len]);
        let value = decode_int(&padded)?;
        if bytes.len() > 8 { value.checked_add(1) } else { Some(value) }
    };
    let low = first_from(&range.start)?;
    let high = match &range.end {
        None => i64::MAX,
        Some(end) => match first_from(end) {
            Some(first) => first.checked_sub(1)?,
            None => i64::MAX,
        },
    };
    debug_assert!(range.contains(&encode_int(low)) || low > high);
    (low <= high).then_some((low, high))
}

/// The cells of a row that was read from pages, each of which has a value.
fn write_cells(out: &mut CellWriter<'_>, cells: &Places, record: (&Fields, &[u8])) {
    for cell in 0..cells.len() {
        match cells.value(record, cell) {
            Some(value) => write_cell(out, value),
            None => out.cell(Tag::NULL, &[]),
        }
    }
}

#[inline]
fn write_cell(cells: &mut CellWriter<'_>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => cells.cell(Tag::NULL, &[]),
        ValueRef::Integer(value) => cells.integer(value),
        ValueRef::Real(value) => cells.float(value),
        ValueRef::Text(bytes) => cells.cell(Tag::STRING, bytes),
        ValueRef::Blob(bytes) => cells.cell(Tag::BLOB, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rowid_bounds_select_exactly_the_keys_of_the_range() {
        let values = [i64::MIN, i64::MIN + 1, -256, -1, 0, 1, 255, 256, i64::MAX - 1, i64::MAX];
        let mut bounds: Vec<Vec<u8>> = vec![vec![], vec![0x80], vec![0x7f, 0xff], vec![0xff; 9], vec![0; 9]];
        for value in values {
            let key = encode_int(value).to_vec();
            bounds.extend([key.clone(), [key.as_slice(), &[0]].concat(), key[..7].to_vec()]);
        }
        for start in &bounds {
            for end in bounds.iter().cloned().map(Some).chain([None]) {
                let range = KeyRange { start: start.clone(), end };
                let selected = rowid_bounds(&range);
                for value in values {
                    let expected = range.contains(&encode_int(value));
                    let got = selected.is_some_and(|(low, high)| low <= value && value <= high);
                    assert_eq!(got, expected, "{value} in {range:?}");
                }
            }
        }
    }
}
