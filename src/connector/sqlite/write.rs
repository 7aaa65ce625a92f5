//! Writes the records of one table.

use super::{
    aside::{Aside, Waiting},
    error::{concerns_record, is_in_the_way, rowid_taken, writing},
    plan::{Plan, bind, parameter_sql, part_ref},
    scan::TableStream,
    shared::{SharedConnection, lock},
};
use crate::{
    connector::{CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal, Written},
    record::{
        BatchRow, KeyCodec, KeyPart, KeyRange, Meta, RecordBatch, RecordStream, StreamedValue, Tag, key::decode_int,
        value::Cell,
    },
};
use rusqlite::{CachedStatement, Connection, blob::ZeroBlob, types::ValueRef};
use std::{
    io::{self, Read, Seek, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A streamed value up to this size is held in memory.
const HELD_BYTES: u64 = 8 << 20;
/// SQLite's own limit.
const MAX_BYTES: u64 = 1_000_000_000;

/// One table being written.
pub(super) struct TableWriter {
    connection: SharedConnection,
    plan: Arc<Plan>,
    /// The table was empty: nothing has to be looked up.
    created: bool,
    overwrite: Overwrite,
    object: String,
    directory: PathBuf,
    /// Whether SQLite computes the generated columns; else they are written like others.
    computes: bool,
    /// Whether a large value of the last column may be written in pieces.
    can_stream: bool,
    sql: Sql,
    aside: Option<Aside>,
    new_rowids: u64,
    /// Whether any row was written or removed.
    touched: Arc<AtomicBool>,
}

/// The statements, their parameters in one order: key parts, cells, then the rowid that tells keys with NULL apart.
struct Sql {
    insert: String,
    update: String,
    exists: String,
    remove: String,
    /// Removes the row of a key as SQLite compares it.
    clear: String,
    /// The columns, keys first, and the places of those that are written; the place of the rowid that may be a new one.
    columns: Vec<String>,
    places: Vec<usize>,
    rowid: Option<usize>,
}

impl Sql {
    /// Columns whose values SQLite computes are not written.
    fn new(plan: &Plan, computes: bool) -> Self {
        let keys = plan.key_columns();
        let table = plan.from();
        let columns: Vec<&str> = keys.iter().chain(&plan.cells).map(String::as_str).collect();
        let parameter = |index| parameter_sql(index, plan.wide);
        let rowid = plan.rowid_cell().map(|cell| keys.len() + cell);
        let is_written = |index: usize| match index.checked_sub(keys.len()) {
            // A number is no column: rows get theirs by the order in which they are written.
            None => !plan.is_numbered,
            Some(cell) => !computes || !plan.computed[cell],
        };
        let places: Vec<usize> = (0..columns.len()).filter(|index| is_written(*index)).collect();
        let names: Vec<&str> = places.iter().map(|index| columns[*index]).collect();
        let values: Vec<String> = places.iter().map(|index| parameter(*index)).collect();
        // A table's own ON CONFLICT would pass over the record, or take away another row in its place.
        let insert = format!("INSERT OR ABORT INTO {table}({}) VALUES ({})", names.join(", "), values.join(", "));
        let mut matches: Vec<String> =
            keys.iter().enumerate().map(|(i, key)| format!("{key} IS {}", parameter(i))).collect();
        if let Some(rowid) = rowid {
            let told_apart = parameter(columns.len());
            matches.push(format!("({told_apart} IS NULL OR {} IS {told_apart})", columns[rowid]));
        }
        let matches = matches.join(" AND ");
        let exact: Vec<String> = keys
            .iter()
            .enumerate()
            .map(|(i, key)| {
                let value = parameter(i);
                format!("{key} IS {value} COLLATE BINARY AND typeof({key}) = typeof({value})")
            })
            .collect();
        let sets: Vec<String> =
            places.iter().map(|index| format!("{} = {}", columns[*index], parameter(*index))).collect();
        let update = format!("UPDATE OR ABORT {table} SET {} WHERE {matches}", sets.join(", "));
        Self {
            insert,
            update,
            exists: format!("SELECT 1 FROM {table} WHERE {matches}"),
            clear: format!("DELETE FROM {table} WHERE {matches}"),
            places,
            rowid,
            remove: format!("DELETE FROM {table} WHERE {matches} AND {}", exact.join(" AND ")),
            columns: columns.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// A record that waits, by its number and key, and what kept it from being written.
type Lost = (i64, Vec<u8>, rusqlite::Error);

/// What a statement does with a record's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Insert,
    Update,
    Aside,
}

/// Why one record was not written.
enum Failure {
    Record(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A streamed value's bytes.
enum Body {
    Held(Vec<u8>),
    Spilled(std::fs::File, u64),
}

/// The values of one record, ready to be bound.
struct Record<'a> {
    row: BatchRow<'a>,
    parts: Vec<KeyPart>,
    integer: Option<i64>,
    body: Option<Body>,
}

impl TableWriter {
    pub(super) fn new(
        connection: SharedConnection,
        plan: Arc<Plan>,
        created: bool,
        overwrite: Overwrite,
        object: String,
        directory: PathBuf,
        can_stream: bool,
    ) -> Self {
        let computes = plan.table.columns.iter().any(|column| column.computed);
        let sql = Sql::new(&plan, computes);
        Self {
            connection,
            plan,
            created,
            overwrite,
            object,
            directory,
            computes,
            can_stream,
            sql,
            aside: None,
            new_rowids: 0,
            touched: Arc::default(),
        }
    }

    /// Tells, also when the writer is gone, whether any row was written or removed.
    pub(super) fn touched(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.touched)
    }

    fn is_sequence(&self) -> bool {
        !self.created && self.plan.table.name == "sqlite_sequence"
    }

    fn record<'a>(&self, row: BatchRow<'a>, stream: Option<Box<dyn StreamedValue>>) -> Result<Record<'a>, Failure> {
        let wrong = |what: &str| Failure::Record(what.to_owned());
        if !Arc::ptr_eq(row.shape, &self.plan.shape) && row.shape != &self.plan.shape {
            return Err(wrong("its cells are not the table's columns"));
        }
        let (parts, integer) = if self.plan.codec == KeyCodec::Int {
            (Vec::new(), Some(decode_int(row.key).ok_or_else(|| wrong("its key is no integer"))?))
        } else {
            let parts = self.plan.codec.decode(row.key).ok_or_else(|| wrong("its key cannot be read"))?;
            let expected = self.plan.key_count() + usize::from(parts.contains(&KeyPart::Null));
            let has_rowid = self.plan.rowid_cell().is_some();
            if parts.len() != expected && (has_rowid || parts.len() != self.plan.key_count()) {
                return Err(wrong("its key has not as many parts as the table's"));
            }
            (parts, None)
        };
        let body = match (row.stream, stream) {
            (None, _) => None,
            (Some(_), None) => return Err(wrong("its large value was taken before")),
            (Some(_), Some(stream)) => Some(self.body(stream).map_err(|error| Failure::Record(error.to_string()))?),
        };
        Ok(Record { row, parts, integer, body })
    }

    /// Reads a streamed value to its end: into memory, or aside into a file if it is long.
    fn body(&self, mut stream: Box<dyn StreamedValue>) -> io::Result<Body> {
        let mut held = Vec::new();
        let mut reader = stream.open()?;
        (&mut reader).take(HELD_BYTES).read_to_end(&mut held)?;
        if (held.len() as u64) < HELD_BYTES {
            return Ok(Body::Held(held));
        }
        let mut file = tempfile::tempfile_in(&self.directory)?;
        file.write_all(&held)?;
        drop(held);
        let len = HELD_BYTES + io::copy(&mut reader.take(MAX_BYTES), &mut file)?;
        if len > MAX_BYTES {
            return Err(io::Error::other("the value is longer than SQLite can hold"));
        }
        file.rewind()?;
        Ok(Body::Spilled(file, len))
    }

    /// `insert` keeps the statement between the records of a batch: looking it up costs as much as binding it.
    fn write_record<'c>(
        &mut self,
        connection: &'c Connection,
        insert: &mut Option<CachedStatement<'c>>,
        record: &mut Record<'_>,
    ) -> Result<Option<Written>, Failure> {
        if self.is_sequence() {
            return self.write_sequence(connection, record).map(Some);
        }
        let exists = !self.created && {
            let mut statement = connection.prepare_cached(&self.sql.exists)?;
            statement.clear_bindings();
            self.bind_key(&mut statement, record)?;
            statement.raw_query().next()?.is_some()
        };
        if exists && self.overwrite == Overwrite::Never {
            return Ok(Some(Written::Existed));
        }
        let done = if exists {
            let mut update = connection.prepare_cached(&self.sql.update)?;
            update.clear_bindings();
            self.run(connection, &mut update, record, Use::Update)
        } else {
            let insert = match insert {
                Some(insert) => insert,
                None => insert.insert(connection.prepare_cached(&self.sql.insert)?),
            };
            self.run(connection, insert, record, Use::Insert)
        };
        match done {
            Err(Failure::Sqlite(error)) if is_in_the_way(&error) && !self.created => {
                self.set_aside(connection, record, exists)?;
                return Ok(None);
            }
            done => done?,
        }
        Ok(Some(if exists { Written::Replaced } else { Written::Inserted }))
    }

    fn set_aside(&mut self, connection: &Connection, record: &mut Record<'_>, exists: bool) -> Result<(), Failure> {
        let mut aside = match self.aside.take() {
            Some(aside) => aside,
            None => Aside::new(connection, &self.plan)?,
        };
        let mut take = aside.take(connection, &self.plan)?;
        let taken = self.run(connection, &mut take, record, Use::Aside);
        let taken = taken.and_then(|()| Ok(aside.taken(connection, record.row.key, exists)?));
        drop(take);
        self.aside = Some(aside);
        taken
    }

    /// Writes what waits: the rows in the place of all of it go first. A record that even then cannot be written leaves
    /// its row as it was.
    fn write_aside(
        &mut self,
        connection: &Connection,
        aside: &Aside,
        outcomes: &mut Outcomes,
    ) -> Result<(), ConnectorError> {
        let run = |writer: &Self, sql: &str| connection.execute_batch(sql).map_err(|error| writer.fail(&error));
        loop {
            run(self, "SAVEPOINT rekeep_aside")?;
            let new_rowids = self.new_rowids;
            let (written, lost) = self.try_aside(connection, aside)?;
            if lost.is_empty() {
                outcomes.add(written);
                return run(self, "RELEASE rekeep_aside");
            }
            // What would be lost stays as it was, and the others are tried without it.
            run(self, "ROLLBACK TO rekeep_aside; RELEASE rekeep_aside")?;
            self.new_rowids = new_rowids;
            for (number, key, error) in lost {
                self.count_failure(&key, Failure::Sqlite(error), outcomes)?;
                aside.forget(connection, number).map_err(|error| self.fail(&error))?;
            }
        }
    }

    /// Gives what was written, and what could not be though the table held it.
    fn try_aside(&mut self, connection: &Connection, aside: &Aside) -> Result<(Outcomes, Vec<Lost>), ConnectorError> {
        let (mut written, mut lost) = (Outcomes::default(), Vec::new());
        self.each_aside(connection, aside, &mut |writer, waiting| {
            if waiting.exists {
                writer.clear(connection, &waiting.key)?;
            }
            Ok(())
        })?;
        let (table, columns) = (self.plan.from(), self.sql.columns.clone());
        let insert = aside.insert_sql(&table, &columns, &self.sql.places);
        let with_new_rowid = self.sql.rowid.map(|rowid| {
            let places: Vec<usize> = self.sql.places.iter().copied().filter(|place| *place != rowid).collect();
            aside.insert_sql(&table, &columns, &places)
        });
        self.each_aside(connection, aside, &mut |writer, waiting| {
            let run = |sql: &str| connection.prepare_cached(sql)?.execute([waiting.number]).map(|_| ());
            let done = match (run(&insert), &with_new_rowid) {
                (Err(error), Some(sql)) if rowid_taken(&error) => run(sql).map(|()| writer.new_rowids += 1),
                (done, _) => done,
            };
            match done {
                Ok(()) if waiting.exists => written.replaced += 1,
                Ok(()) => written.inserted += 1,
                Err(error) if waiting.exists => lost.push((waiting.number, waiting.key.clone(), error)),
                Err(error) => writer.count_failure(&waiting.key, Failure::Sqlite(error), &mut written)?,
            }
            Ok(())
        })?;
        Ok((written, lost))
    }

    fn each_aside(
        &mut self,
        connection: &Connection,
        aside: &Aside,
        work: &mut dyn FnMut(&mut Self, &Waiting) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError> {
        let mut behind = 0;
        loop {
            let some = aside.some(connection, behind).map_err(|error| self.fail(&error))?;
            let Some(last) = some.last() else { return Ok(()) };
            behind = last.number;
            for waiting in &some {
                work(self, waiting)?;
            }
        }
    }

    /// Removes the row of a key, as SQLite compares it.
    fn clear(&self, connection: &Connection, key: &[u8]) -> Result<(), ConnectorError> {
        self.remove_by(connection, &self.sql.clear, key).map(|_| ()).map_err(|failure| match failure {
            Failure::Sqlite(error) => self.fail(&error),
            Failure::Record(reason) => ConnectorError::Unwritable { object: self.object.clone(), reason },
        })
    }

    fn remove_by(&self, connection: &Connection, sql: &str, key: &[u8]) -> Result<usize, Failure> {
        let row =
            BatchRow { key, meta: Meta::default(), shape: &self.plan.shape, value: &[], stream: None, held: false };
        let record = self.record(row, None)?;
        let mut statement = connection.prepare_cached(sql)?;
        statement.clear_bindings();
        self.bind_key(&mut statement, &record)?;
        Ok(statement.raw_execute()?)
    }

    fn run(
        &self,
        connection: &Connection,
        statement: &mut CachedStatement<'_>,
        record: &mut Record<'_>,
        used: Use,
    ) -> Result<(), Failure> {
        self.bind_key(statement, record)?;
        let plan = &*self.plan;
        let mut aside = None;
        let mut held = Vec::new();
        let last = plan.cells.len().wrapping_sub(1);
        for (index, cell) in record.row.shape.cells(record.row.value).enumerate() {
            let cell = cell.map_err(|error| Failure::Record(error.to_string()))?;
            let at = plan.key_count() + index;
            if self.computes && plan.computed[index] && used != Use::Aside {
                continue;
            }
            match record.body.as_mut().filter(|_| index == last) {
                None => bind(statement, at, value(cell)?, plan.wide)?,
                Some(Body::Held(bytes)) => {
                    bind(statement, at, value(Cell { tag: cell.tag, bytes })?, plan.wide)?;
                }
                Some(Body::Spilled(_, len)) if cell.tag == Tag::BLOB && used == Use::Insert && self.can_stream => {
                    if plan.wide {
                        statement.raw_bind_parameter(at * 2 + 1, 0)?;
                    }
                    let zeros = ZeroBlob(*len);
                    statement.raw_bind_parameter(if plan.wide { at * 2 + 2 } else { at + 1 }, zeros)?;
                    aside = Some(index);
                }
                Some(Body::Spilled(file, _)) => {
                    let read = file.rewind().and_then(|()| file.read_to_end(&mut held));
                    read.map_err(|error| Failure::Record(error.to_string()))?;
                    bind(statement, at, value(Cell { tag: cell.tag, bytes: &held })?, plan.wide)?;
                }
            }
        }
        if statement.raw_execute()? == 0 {
            return Err(Failure::Record("SQLite passed over it".to_owned()));
        }
        if let (Some(index), Some(Body::Spilled(file, _))) = (aside, &mut record.body) {
            let column = std::str::from_utf8(&plan.shape.names()[index]).unwrap_or_default();
            let rowid = connection.last_insert_rowid();
            let mut blob = connection.blob_open("main", plan.table.name.as_str(), column, rowid, false)?;
            let copied = file.rewind().and_then(|()| io::copy(file, &mut blob));
            copied.map_err(|error| Failure::Record(error.to_string()))?;
            blob.close()?;
        }
        Ok(())
    }

    fn bind_key(&self, statement: &mut CachedStatement<'_>, record: &Record<'_>) -> rusqlite::Result<()> {
        let plan = &*self.plan;
        if let Some(key) = record.integer {
            return bind(statement, 0, ValueRef::Integer(key), plan.wide);
        }
        let (keys, rest) = record.parts.split_at(plan.key_count());
        for (index, part) in keys.iter().enumerate() {
            bind(statement, index, part_ref(part), plan.wide)?;
        }
        let told_apart = plan.key_count() + plan.cells.len();
        let has_parameter = statement.parameter_count() > told_apart * plan.stride();
        match rest.first() {
            Some(part) if has_parameter => bind(statement, told_apart, part_ref(part), plan.wide),
            _ => Ok(()),
        }
    }

    /// A counter of a database that lives is found by its table's name, and never set back. (Where all is made equal, it
    /// went before.)
    fn write_sequence(&self, connection: &Connection, record: &Record<'_>) -> Result<Written, Failure> {
        let cells: Result<Vec<_>, _> = record.row.shape.cells(record.row.value).collect();
        let cells = cells.map_err(|error| Failure::Record(error.to_string()))?;
        let position = |name: &str| record.row.shape.names().iter().position(|known| known == name.as_bytes());
        let (Some(name), Some(counter)) = (position("name"), position("seq")) else {
            return Err(Failure::Record("a counter has a name and a number".to_owned()));
        };
        let (name, counter) = (value(cells[name])?, value(cells[counter])?);
        let wide = self.plan.wide;
        let (first, second) = (parameter_sql(0, wide), parameter_sql(1, wide));
        let table = self.plan.from();
        let third = parameter_sql(2, wide);
        for (sql, written) in [
            (format!("UPDATE {table} SET seq = max(seq, {second}) WHERE name = {first}"), Written::Replaced),
            (
                format!("INSERT OR IGNORE INTO {table}(rowid, name, seq) VALUES ({third}, {first}, {second})"),
                Written::Inserted,
            ),
            (format!("INSERT INTO {table}(name, seq) VALUES ({first}, {second})"), Written::Inserted),
        ] {
            let mut statement = connection.prepare_cached(&sql)?;
            bind(&mut statement, 0, name, wide)?;
            bind(&mut statement, 1, counter, wide)?;
            if let (true, Some(rowid)) = (sql.contains("rowid"), record.integer) {
                bind(&mut statement, 2, ValueRef::Integer(rowid), wide)?;
            }
            if statement.raw_execute()? > 0 {
                return Ok(written);
            }
        }
        Err(Failure::Record("the counter could not be set".to_owned()))
    }

    fn fail(&self, error: &rusqlite::Error) -> ConnectorError {
        writing(&self.object, error)
    }

    /// Counts a failure of one record; one that is not the record's own ends the restore.
    fn count_failure(&self, key: &[u8], failure: Failure, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let reason = match failure {
            Failure::Record(reason) => reason,
            Failure::Sqlite(error) if concerns_record(&error) => error.to_string(),
            Failure::Sqlite(error) => return Err(self.fail(&error)),
        };
        outcomes.fail(|| self.plan.codec.show(key), reason);
        Ok(())
    }
}

impl CollectionTarget for TableWriter {
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        if self.created || self.is_sequence() {
            return Ok(None);
        }
        let stream =
            TableStream::new(Arc::clone(&self.connection), Arc::clone(&self.plan), range.clone(), &self.object);
        Ok(Some(Box::new(stream)))
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let shared = Arc::clone(&self.connection);
        let connection = lock(&shared);
        let mut insert = None;
        for index in 0..batch.len() {
            let stream = batch.row(index).stream.and_then(|number| batch.take_stream(number));
            let row = batch.row(index);
            let written = match self.record(row, stream) {
                Ok(mut record) => self.write_record(&connection, &mut insert, &mut record),
                Err(failure) => Err(failure),
            };
            match written {
                Ok(Some(written)) => {
                    if written != Written::Existed {
                        self.touched.store(true, Ordering::Relaxed);
                    }
                    outcomes.count(written);
                }
                // It waits until what is in its way is gone.
                Ok(None) => {}
                Err(failure) => self.count_failure(row.key, failure, outcomes)?,
            }
        }
        Ok(())
    }

    fn settle(&mut self, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let Some(aside) = self.aside.take() else { return Ok(()) };
        self.touched.store(true, Ordering::Relaxed);
        let shared = Arc::clone(&self.connection);
        let connection = lock(&shared);
        self.write_aside(&connection, &aside, outcomes)?;
        aside.drop(&connection).map_err(|error| self.fail(&error))?;
        if self.new_rowids > 0 {
            let count = std::mem::take(&mut self.new_rowids);
            outcomes.notes.push(format!("{}: {count} records got a new rowid, theirs being taken", self.object));
        }
        Ok(())
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        if self.is_sequence() {
            return Ok(());
        }
        let shared = Arc::clone(&self.connection);
        let connection = lock(&shared);
        for Removal { key, .. } in rows {
            let removed = self.remove_by(&connection, &self.sql.remove, key);
            match removed {
                Ok(count) => {
                    self.touched.store(true, Ordering::Relaxed);
                    outcomes.removed += count as u64;
                }
                Err(failure) => self.count_failure(key, failure, outcomes)?,
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        Ok(())
    }
}

fn value(cell: Cell<'_>) -> Result<ValueRef<'_>, Failure> {
    let bits = <[u8; 8]>::try_from(cell.bytes);
    match (cell.tag, bits) {
        (Tag::NULL, _) if cell.bytes.is_empty() => Ok(ValueRef::Null),
        (Tag::INTEGER, Ok(bits)) => Ok(ValueRef::Integer(i64::from_be_bytes(bits))),
        (Tag::FLOAT, Ok(bits)) => Ok(ValueRef::Real(f64::from_be_bytes(bits))),
        (Tag::STRING, _) => Ok(ValueRef::Text(cell.bytes)),
        (Tag::BLOB, _) => Ok(ValueRef::Blob(cell.bytes)),
        (tag, _) => Err(Failure::Record(format!("a cell has the tag {}, which SQLite does not know", tag.0))),
    }
}
