//! Reads one key range of one table in key order.
//!
//! A stream cannot keep a running statement beside the connection that it borrows, so each batch runs the prepared
//! statement again from the last key on: once a MiB, which costs nothing that can be measured.

use super::{
    error::reading,
    large::LargeCell,
    plan::{Order, Plan},
    quote::ident,
};
use crate::record::{
    CellWriter, KeyPart, KeyRange, MAX_KEY_BYTES, RecordBatch, RecordStream, RowHead, StreamError, Tag,
    key::{decode_int, encode_int},
};
use rusqlite::{Connection, ErrorCode, Row, limits::Limit, types::ValueRef};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Bytes of a full batch.
const BATCH_BYTES: usize = 1 << 20;
/// Longer values are looked at one by one, and streamed where they can be.
const INLINE_BYTES: i32 = 4 << 20;
/// Longer values at the end of a record are streamed once they are looked at.
const STREAM_BYTES: i64 = 1 << 20;
/// How many left-out records are named.
const NAMED: usize = 100;

pub(super) type SharedConnection = Arc<Mutex<Connection>>;

pub(super) fn lock(connection: &SharedConnection) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records that could not be delivered, in words.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) named: Vec<String>,
    more: u64,
}

impl Missing {
    fn add(&mut self, what: impl FnOnce() -> String) {
        if self.named.len() < NAMED {
            self.named.push(what());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        let mut lines = self.named;
        if self.more > 0 {
            lines.push(format!("{} more records with keys that are too long", self.more));
        }
        lines
    }
}

/// Where a stream stands.
enum Position {
    Start,
    After(Vec<u8>),
    /// Rows of the temporary table up to this rowid are delivered.
    Sorted(i64),
    Done,
}

/// What became of one SQL row.
enum Taken {
    Added,
    Skipped,
    PastEnd,
}

/// The stream of one key range.
pub(super) struct TableStream {
    connection: SharedConnection,
    plan: Arc<Plan>,
    range: KeyRange,
    position: Position,
    key: Vec<u8>,
    object: String,
    missing: Arc<Mutex<Missing>>,
    sorted: Option<String>,
    give_back: Option<Arc<Mutex<Vec<SharedConnection>>>>,
}

impl TableStream {
    pub(super) fn new(connection: SharedConnection, plan: Arc<Plan>, range: KeyRange, file: &str) -> Self {
        let object = format!("table `{}` of {file}", plan.table.name);
        Self {
            connection,
            plan,
            range,
            position: Position::Start,
            key: Vec::new(),
            object,
            missing: Arc::default(),
            sorted: None,
            give_back: None,
        }
    }

    /// Returns the connection there when the stream is dropped, and names what could not be delivered.
    pub(super) fn of_session(
        mut self,
        pool: Arc<Mutex<Vec<SharedConnection>>>,
        missing: Arc<Mutex<Missing>>,
    ) -> Self {
        self.give_back = Some(pool);
        self.missing = missing;
        self
    }

    fn fill(&mut self, batch: &mut RecordBatch) -> rusqlite::Result<()> {
        let shared = Arc::clone(&self.connection);
        let connection = lock(&shared);
        while batch.is_empty() && !matches!(self.position, Position::Done) {
            if self.plan.order == Order::Sorted {
                self.fill_sorted(&connection, batch)?;
                continue;
            }
            let limit = connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, INLINE_BYTES)?;
            let filled = self.run(&connection, batch, &self.plan.clone(), usize::MAX);
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit)?;
            match filled {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                    if batch.is_empty() {
                        self.take_large(&connection, batch)?;
                    }
                }
                filled => filled?,
            }
        }
        Ok(())
    }

    /// Reads on from the position until the batch is full or `rows` rows were seen.
    fn run(
        &mut self,
        connection: &Connection,
        batch: &mut RecordBatch,
        plan: &Plan,
        rows: usize,
    ) -> rusqlite::Result<()> {
        let (sql, bounds) = match self.bounds() {
            Some(Bounds::Rowid(low, high)) => (plan.rowid_sql(), Bounds::Rowid(low, high)),
            Some(Bounds::From(operator, parts)) => (plan.after_sql(operator), Bounds::From(operator, parts)),
            Some(Bounds::All) => (plan.all_sql(), Bounds::All),
            None => {
                self.position = Position::Done;
                return Ok(());
            }
        };
        let mut statement = connection.prepare_cached(&sql)?;
        bounds.bind(&mut statement, plan)?;
        let mut found = statement.raw_query();
        let mut seen = 0;
        let mut ended = true;
        let mut failure = None;
        loop {
            match found.next() {
                Ok(None) => break,
                Ok(Some(row)) => {
                    seen += 1;
                    if matches!(self.take(row, batch)?, Taken::PastEnd) {
                        break;
                    }
                }
                Err(error) => {
                    failure = Some(error);
                    ended = false;
                    break;
                }
            }
            if batch.bytes() >= BATCH_BYTES || seen == rows {
                ended = false;
                break;
            }
        }
        if ended {
            self.position = Position::Done;
        } else if seen > 0 {
            self.position = Position::After(self.key.clone());
        }
        failure.map_or(Ok(()), Err)
    }

    /// What is left to read, as SQL bounds that never leave out a key of the range.
    fn bounds(&self) -> Option<Bounds> {
        let plan = &self.plan;
        if plan.order == Order::Rowid {
            let (mut low, high) = rowid_bounds(&self.range)?;
            if let Position::After(key) = &self.position {
                low = low.max(decode_int(key)?.checked_add(1)?);
            }
            return (low <= high).then_some(Bounds::Rowid(low, high));
        }
        // A key that was just read is what the columns hold, whatever their affinity.
        let (operator, key, is_read) = match &self.position {
            Position::After(key) => (">", key, true),
            _ => (">=", &self.range.start, false),
        };
        match plan.codec.decode(key) {
            Some(parts) if is_read && plan.is_whole(&parts) => Some(Bounds::From(operator, parts)),
            Some(parts) if plan.comparable(&parts) => Some(Bounds::From(operator, parts)),
            _ => Some(Bounds::All),
        }
    }

    fn take(&mut self, row: &Row<'_>, batch: &mut RecordBatch) -> rusqlite::Result<Taken> {
        let plan = Arc::clone(&self.plan);
        let mut key = std::mem::take(&mut self.key);
        plan.encode_key(row, &mut key)?;
        self.key = key;
        match self.place() {
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
        failure.map_or(Ok(Taken::Added), Err)
    }

    /// Whether the current key belongs to the range, is new, and can be kept.
    fn place(&self) -> Taken {
        let is_past = |last: &[u8]| self.key.as_slice() > last;
        if self.range.end.as_ref().is_some_and(|end| &self.key >= end) {
            return Taken::PastEnd;
        }
        let before = match &self.position {
            Position::After(last) => !is_past(last),
            _ => false,
        };
        if before || self.key < self.range.start {
            return Taken::Skipped;
        }
        if self.key.len() > MAX_KEY_BYTES {
            let shown: String = self.plan.codec.show(&self.key).chars().take(60).collect();
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            missing.add(|| format!("{}: the key {shown}… has {} bytes", self.object, self.key.len()));
            return Taken::Skipped;
        }
        Taken::Added
    }

    /// Reads the one record that SQLite found too large: its last cell as a stream where that is possible.
    fn take_large(&mut self, connection: &Connection, batch: &mut RecordBatch) -> rusqlite::Result<()> {
        if !self.take_streamed(connection, batch)? {
            let plan = Arc::clone(&self.plan);
            self.run(connection, batch, &plan, 1)?;
        }
        Ok(())
    }

    fn take_streamed(&mut self, connection: &Connection, batch: &mut RecordBatch) -> rusqlite::Result<bool> {
        let plan = Arc::clone(&self.plan);
        if plan.table.rowid_name.is_none() || plan.cells.last().is_none_or(String::is_empty) {
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
        match self.place() {
            Taken::Added => {}
            Taken::Skipped => {
                self.position = Position::After(self.key.clone());
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
        self.position = Position::After(self.key.clone());
        failure.map_or(Ok(true), Err)
    }

    fn fill_sorted(&mut self, connection: &Connection, batch: &mut RecordBatch) -> rusqlite::Result<()> {
        let name = match &self.sorted {
            Some(name) => name.clone(),
            None => self.sort(connection)?,
        };
        let Position::Sorted(mut last) = self.position else { return Ok(()) };
        let sql = format!("SELECT *, rowid FROM temp.{} WHERE rowid > ?1 ORDER BY rowid", ident(&name));
        let mut statement = connection.prepare_cached(&sql)?;
        statement.raw_bind_parameter(1, last)?;
        let mut rows = statement.raw_query();
        let at = (self.plan.key_count() + self.plan.cells.len()) * self.plan.stride() + 1;
        loop {
            let Some(row) = rows.next()? else {
                self.position = Position::Done;
                return Ok(());
            };
            self.take(row, batch)?;
            last = row.get(at)?;
            self.position = Position::Sorted(last);
            if batch.bytes() >= BATCH_BYTES {
                return Ok(());
            }
        }
    }

    /// Sorts the range's records into a temporary table.
    fn sort(&mut self, connection: &Connection) -> rusqlite::Result<String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("rekeep sorted {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let [create, insert] = self.plan.sort_sql(&name);
        connection.execute_batch(&create)?;
        self.sorted = Some(name.clone());
        connection.execute(&insert, (self.range.start.as_slice(), self.range.end.as_deref()))?;
        self.position = Position::Sorted(0);
        Ok(name)
    }
}

impl RecordStream for TableStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        self.fill(batch).map_err(|error| Box::new(reading(&self.object, &error)))?;
        Ok(!batch.is_empty())
    }
}

impl Drop for TableStream {
    fn drop(&mut self) {
        if let Some(name) = &self.sorted {
            let connection = lock(&self.connection);
            connection.flush_prepared_statement_cache();
            // A temporary table that stays takes room until the session ends, nothing more.
            let _ = connection.execute_batch(&format!("DROP TABLE temp.{}", ident(name)));
        }
        if let Some(pool) = &self.give_back {
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
