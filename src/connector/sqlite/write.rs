//! Writes the records of one table.

use super::{
    error::{concerns_record, rowid_taken, writing},
    plan::{Order, Plan, bind, parameter_sql, part_ref},
    scan::{SharedConnection, TableStream, lock},
};
use crate::{
    connector::{CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal, Written},
    record::{
        BatchRow, KeyPart, KeyRange, Meta, RecordBatch, RecordStream, StreamedValue, Tag, key::decode_int, value::Cell,
    },
};
use rusqlite::{CachedStatement, Connection, blob::ZeroBlob, types::ValueRef};
use std::{
    io::{self, Read, Seek, Write},
    path::PathBuf,
    sync::Arc,
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
    sql: Sql,
    new_rowids: u64,
}

/// The statements, their parameters in one order: key parts, cells, then the rowid that tells keys with NULL apart.
struct Sql {
    insert: String,
    insert_new_rowid: Option<String>,
    update: String,
    update_new_rowid: Option<String>,
    exists: String,
    remove: String,
}

impl Sql {
    fn new(plan: &Plan) -> Self {
        let keys = plan.key_columns();
        let table = plan.from();
        let columns: Vec<&str> = keys.iter().chain(&plan.cells).map(String::as_str).collect();
        let parameter = |index| parameter_sql(index, plan.wide);
        let rowid = plan.rowid_cell().map(|cell| keys.len() + cell);
        let insert = |skipped: Option<usize>| {
            let kept: Vec<usize> = (0..columns.len()).filter(|index| Some(*index) != skipped).collect();
            let names: Vec<&str> = kept.iter().map(|index| columns[*index]).collect();
            let values: Vec<String> = kept.iter().map(|index| parameter(*index)).collect();
            format!("INSERT INTO {table}({}) VALUES ({})", names.join(", "), values.join(", "))
        };
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
        let update = |skipped: Option<usize>| {
            let sets: Vec<String> = (0..columns.len())
                .filter(|index| Some(*index) != skipped)
                .map(|index| format!("{} = {}", columns[index], parameter(index)))
                .collect();
            format!("UPDATE {table} SET {} WHERE {matches}", sets.join(", "))
        };
        Self {
            insert: insert(None),
            insert_new_rowid: rowid.map(|rowid| insert(Some(rowid))),
            update: update(None),
            update_new_rowid: rowid.map(|rowid| update(Some(rowid))),
            exists: format!("SELECT 1 FROM {table} WHERE {matches}"),
            remove: format!("DELETE FROM {table} WHERE {matches} AND {}", exact.join(" AND ")),
        }
    }
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
    ) -> Self {
        let sql = Sql::new(&plan);
        Self { connection, plan, created, overwrite, object, directory, sql, new_rowids: 0 }
    }

    fn is_sequence(&self) -> bool {
        !self.created && self.plan.table.name == "sqlite_sequence"
    }

    fn record<'a>(&self, row: BatchRow<'a>, stream: Option<Box<dyn StreamedValue>>) -> Result<Record<'a>, Failure> {
        let wrong = |what: &str| Failure::Record(what.to_owned());
        if !Arc::ptr_eq(row.shape, &self.plan.shape) && row.shape != &self.plan.shape {
            return Err(wrong("its cells are not the table's columns"));
        }
        let (parts, integer) = if self.plan.order == Order::Rowid {
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
    ) -> Result<Written, Failure> {
        if self.is_sequence() {
            return self.write_sequence(connection, record);
        }
        let exists = !self.created && {
            let mut statement = connection.prepare_cached(&self.sql.exists)?;
            statement.clear_bindings();
            self.bind_key(&mut statement, record)?;
            statement.raw_query().next()?.is_some()
        };
        if exists && self.overwrite == Overwrite::Never {
            return Ok(Written::Existed);
        }
        let (done, without_rowid) = if exists {
            let mut update = connection.prepare_cached(&self.sql.update)?;
            update.clear_bindings();
            (self.run(connection, &mut update, record, exists), self.sql.update_new_rowid.as_ref())
        } else {
            let insert = match insert {
                Some(insert) => insert,
                None => insert.insert(connection.prepare_cached(&self.sql.insert)?),
            };
            (self.run(connection, insert, record, exists), self.sql.insert_new_rowid.as_ref())
        };
        match done {
            Err(Failure::Sqlite(error)) if rowid_taken(&error) && !self.created => {
                let Some(sql) = without_rowid else { return Err(error.into()) };
                self.run(connection, &mut connection.prepare_cached(sql)?, record, exists)?;
                self.new_rowids += 1;
            }
            done => done?,
        }
        Ok(if exists { Written::Replaced } else { Written::Inserted })
    }

    fn run(
        &self,
        connection: &Connection,
        statement: &mut CachedStatement<'_>,
        record: &mut Record<'_>,
        exists: bool,
    ) -> Result<(), Failure> {
        self.bind_key(statement, record)?;
        let plan = &*self.plan;
        let mut aside = None;
        let mut held = Vec::new();
        let last = plan.cells.len().wrapping_sub(1);
        for (index, cell) in record.row.shape.cells(record.row.value).enumerate() {
            let cell = cell.map_err(|error| Failure::Record(error.to_string()))?;
            let at = plan.key_count() + index;
            match record.body.as_mut().filter(|_| index == last) {
                None => bind(statement, at, value(cell)?, plan.wide)?,
                Some(Body::Held(bytes)) => {
                    bind(statement, at, value(Cell { tag: cell.tag, bytes })?, plan.wide)?;
                }
                Some(Body::Spilled(_, len)) if cell.tag == Tag::BLOB && !exists && !plan.table.without_rowid => {
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
        statement.raw_execute()?;
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

    /// A counter of a database that lives is found by its table's name, and never set back.
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
        for (sql, written) in [
            (format!("UPDATE {table} SET seq = max(seq, {second}) WHERE name = {first}"), Written::Replaced),
            (format!("INSERT INTO {table}(name, seq) VALUES ({first}, {second})"), Written::Inserted),
        ] {
            let mut statement = connection.prepare_cached(&sql)?;
            bind(&mut statement, 0, name, wide)?;
            bind(&mut statement, 1, counter, wide)?;
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
                Ok(written) => outcomes.count(written),
                Err(failure) => self.count_failure(row.key, failure, outcomes)?,
            }
        }
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
            let row =
                BatchRow { key, meta: Meta::default(), shape: &self.plan.shape, value: &[], stream: None, held: false };
            let removed = self.record(row, None).and_then(|record| {
                let mut statement = connection.prepare_cached(&self.sql.remove)?;
                statement.clear_bindings();
                self.bind_key(&mut statement, &record)?;
                Ok(statement.raw_execute()?)
            });
            match removed {
                Ok(count) => outcomes.removed += count as u64,
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
