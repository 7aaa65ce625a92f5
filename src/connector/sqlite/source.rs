//! The source: fixes one snapshot of a database for several readers, and hands out streams of its tables.

use super::{
    error::{io, reading},
    plan::{Order, Plan, PlanError, register_key_function},
    scan::{Missing, SharedConnection, TableStream, lock},
    schema::{Encoding, Object, Schema, Table},
    splits::splits,
    wrong_url,
};
use crate::{
    connector::{
        ConnectorError, Identity, Scope, SessionEnd, SessionOptions, Source, SourceAbilities, SourceCollection,
        SourceSession, SourceUrl,
    },
    record::{Clock, KeyRange, RecordStream, SystemClock, Timestamp},
};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long to wait for a lock: SQLite's own waiting looks only every 100 ms, and a writer that never rests leaves
/// shorter gaps than that.
const BUSY_LOOKS: i32 = 5000;
const BUSY_PAUSE: Duration = Duration::from_millis(2);

fn wait_for_lock(looks: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    looks < BUSY_LOOKS
}

/// A database to read.
#[derive(Debug)]
pub struct SqliteSource {
    path: PathBuf,
    include: BTreeSet<String>,
    exclude: BTreeSet<String>,
}

impl SqliteSource {
    /// The source that a URL names: `sqlite:FILE`, with `table=` and `exclude-table=` as often as needed.
    ///
    /// # Errors
    /// [`ConnectorError::Url`] for an option that does not exist. A missing file or table is found by `begin`.
    pub fn new(url: &SourceUrl) -> Result<Self, ConnectorError> {
        let (mut include, mut exclude) = (BTreeSet::new(), BTreeSet::new());
        for (option, value) in &url.options {
            match option.as_str() {
                "table" => include.insert(value.clone()),
                "exclude-table" => exclude.insert(value.clone()),
                _ => return Err(wrong_url(url, format!("`{option}` is no option; write table= or exclude-table="))),
            };
        }
        if let Some(both) = include.intersection(&exclude).next() {
            return Err(wrong_url(url, format!("table `{both}` is both included and excluded")));
        }
        let given = PathBuf::from(&url.place);
        let path = std::fs::canonicalize(&given)
            .or_else(|_| std::path::absolute(&given))
            .map_err(|error| io("find", &given, error))?;
        Ok(Self { path, include, exclude })
    }

    /// The database at `path`, or one table of it.
    pub(super) fn of(path: PathBuf, table: Option<String>) -> Self {
        Self { path, include: table.into_iter().collect(), exclude: BTreeSet::new() }
    }

    /// Whether a table is part of what was asked for. A virtual table brings its shadow tables along.
    fn wants(&self, name: &str, schema: &Schema) -> bool {
        let named = |set: &BTreeSet<String>| {
            set.contains(name)
                || set.iter().any(|other| {
                    schema.is_virtual(other) && name.strip_prefix(other.as_str()).is_some_and(|r| r.starts_with('_'))
                })
        };
        (self.include.is_empty() || named(&self.include)) && !named(&self.exclude)
    }

    fn wants_object(&self, object: &Object, schema: &Schema) -> bool {
        let on_view = schema.objects.iter().any(|other| other.kind == "view" && other.name == object.table);
        if object.kind == "view" || on_view {
            return self.include.is_empty();
        }
        self.wants(&object.table, schema)
    }

    fn check_names(&self, schema: &Schema, object: &str) -> Result<(), ConnectorError> {
        let known = |name: &&String| schema.table(name).is_some() || schema.is_virtual(name);
        match self.include.iter().chain(&self.exclude).find(|name| !known(name)) {
            Some(name) => Err(ConnectorError::Missing { object: format!("table `{name}` of {object}") }),
            None => Ok(()),
        }
    }
}

impl Source for SqliteSource {
    fn identity(&self) -> Identity {
        Identity { connector: "sqlite", name: self.path.display().to_string(), local: true }
    }

    fn scope(&self) -> Scope {
        if self.include.is_empty() && self.exclude.is_empty() {
            return Scope::default();
        }
        let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let note = match (self.include.is_empty(), self.exclude.is_empty()) {
            (false, true) => format!("tables {}", list(&self.include)),
            (true, _) => format!("all tables but {}", list(&self.exclude)),
            (false, false) => format!("tables {} but not {}", list(&self.include), list(&self.exclude)),
        };
        Scope { canonical: json!({ "tables": self.include, "exclude": self.exclude }).to_string(), note }
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities { exact: true, ..SourceAbilities::default() }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        let object = self.path.display().to_string();
        let snapshot = Snapshot::take(&self.path, options)?;
        let connection = lock(&snapshot.readers[0]);
        let schema = Schema::read(&connection, &object)?;
        self.check_names(&schema, &object)?;
        let mut notes = snapshot.notes.clone();
        let mut missing = Missing::default();
        let mut plans = Vec::new();
        for table in schema.tables.iter().filter(|table| self.wants(&table.name, &schema)) {
            match Plan::new(&connection, table.clone(), schema.encoding) {
                Ok(plan) => {
                    if !table.without_rowid && table.rowid_name.is_none() {
                        notes.push(format!(
                            "table `{}`: its columns bear all names of the rowid, which is not kept",
                            table.name
                        ));
                    }
                    plans.push(Arc::new(plan));
                }
                Err(PlanError::NoRowid) => missing.named.push(format!(
                    "table `{}`: its columns are named rowid, _rowid_ and oid, so that SQL cannot reach the rowid \
                     that its records need as a key",
                    table.name
                )),
                Err(PlanError::Sqlite(error)) => {
                    return Err(reading(&format!("table `{}` of {object}", table.name), &error));
                }
            }
        }
        for reader in &snapshot.readers[1..] {
            prepare_reader(&lock(reader), schema.encoding, &object)?;
        }
        prepare_reader(&connection, schema.encoding, &object)?;
        let collections = describe(&connection, &plans, &schema, &object)?;
        if !schema.wal && !plans.is_empty() {
            notes.push(
                "the database keeps a rollback journal: its writers wait while it is read (WAL mode lets them write)"
                    .to_owned(),
            );
        }
        let kept: Vec<&Object> = schema.objects.iter().filter(|o| self.wants_object(o, &schema)).collect();
        let attributes = json!({
            "format": 1,
            "encoding": schema.encoding,
            "page_size": schema.page_size,
            "auto_vacuum": schema.auto_vacuum,
            "user_version": schema.user_version,
            "application_id": schema.application_id,
            "wal": schema.wal,
            "objects": kept,
        });
        drop(connection);
        Ok(Box::new(SqliteSession {
            path: self.path.clone(),
            readers: snapshot.readers.len(),
            pool: Arc::new(Mutex::new(snapshot.readers)),
            start: snapshot.time,
            plans,
            collections,
            attributes,
            missing: Arc::new(Mutex::new(missing)),
            notes,
            _keeper: Mutex::new(snapshot.keeper),
        }))
    }
}

fn prepare_reader(connection: &Connection, encoding: Encoding, object: &str) -> Result<(), ConnectorError> {
    register_key_function(connection, encoding != Encoding::Utf8).map_err(|error| reading(object, &error))
}

/// Connections whose read transactions all show one state.
struct Snapshot {
    readers: Vec<SharedConnection>,
    keeper: Connection,
    time: Timestamp,
    notes: Vec<String>,
}

impl Snapshot {
    /// Opens the readers' transactions while no other connection can write.
    fn take(path: &Path, options: &SessionOptions) -> Result<Self, ConnectorError> {
        let object = path.display().to_string();
        let fail = |error: rusqlite::Error| reading(&object, &error);
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ConnectorError::Missing { object });
            }
            Err(error) => return Err(io("look at", path, error)),
            Ok(metadata) if !metadata.is_file() => {
                return Err(ConnectorError::Unreadable { object, reason: "it is no file".to_owned() });
            }
            Ok(_) => {}
        }
        let mut journal = OsString::from(path);
        journal.push("-wal");
        let had_wal = Path::new(&journal).exists();
        let keeper = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fail)?;
        if had_wal {
            // What others left in the log is theirs to move.
            keeper.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
        }
        keeper.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(())).map_err(fail)?;
        let mut notes = Vec::new();
        let mut wanted = options.parallel.clamp(1, 64);
        if wanted > 1 && keeper.is_readonly("main").map_err(fail)? {
            wanted = 1;
            notes
                .push("the file cannot be written, so its writers cannot be held: it is read by one reader".to_owned());
        }
        if wanted > 1
            && let Err(error) = keeper.execute_batch("BEGIN IMMEDIATE")
        {
            let error = fail(error);
            if !matches!(error, ConnectorError::Locked { .. }) {
                return Err(error);
            }
            wanted = 1;
            notes.push("a writer holds the database for longer than we wait: it is read by one reader".to_owned());
        }
        let mut readers = Vec::with_capacity(wanted);
        let mut time = SystemClock.now();
        for _ in 0..wanted {
            let reader = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(fail)?;
            reader.execute_batch("BEGIN").map_err(fail)?;
            // A transaction takes its snapshot with its first read.
            reader.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(())).map_err(fail)?;
            time = SystemClock.now();
            readers.push(Arc::new(Mutex::new(reader)));
        }
        if wanted > 1 {
            keeper.execute_batch("ROLLBACK").map_err(fail)?;
        }
        Ok(Self { readers, keeper, time, notes })
    }
}

/// Where SQLite puts its temporary files, in this whole process and from now on: whoever owns the process may say so before
/// it begins to work. No source or target does.
pub fn set_process_temp_dir(directory: &Path) -> Result<(), ConnectorError> {
    let set = || {
        let directory = directory.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(directory.to_owned()))?;
        Connection::open_in_memory()?.pragma_update(None, "temp_store_directory", directory)
    };
    set().map_err(|error| reading(&directory.display().to_string(), &error))
}

/// Opens a connection for reading; never makes a file.
pub(super) fn open(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_handler(Some(wait_for_lock))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cache_size", -512)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// The collections with guesses at their sizes: the file's bytes, shared out by the highest rowids.
fn describe(
    connection: &Connection,
    plans: &[Arc<Plan>],
    schema: &Schema,
    object: &str,
) -> Result<Vec<SourceCollection>, ConnectorError> {
    let fail = |error: rusqlite::Error| reading(object, &error);
    let pages: i64 = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0)).map_err(fail)?;
    let file_bytes = u128::from((pages * schema.page_size).unsigned_abs());
    let mut guesses = Vec::with_capacity(plans.len());
    for plan in plans {
        guesses.push(guess_records(connection, plan).map_err(fail)?);
    }
    let known: u128 = guesses.iter().flatten().copied().map(u128::from).sum();
    Ok(plans
        .iter()
        .zip(guesses)
        .map(|(plan, guess)| SourceCollection {
            name: plan.table.name.clone(),
            codec: plan.codec,
            attributes: table_attributes(plan),
            estimated_bytes: match guess {
                Some(records) if known > 0 => (file_bytes * u128::from(records) / known) as u64,
                Some(_) => 0,
                None => (file_bytes / plans.len().max(1) as u128) as u64,
            },
            estimated_records: guess.unwrap_or(0),
        })
        .collect())
}

fn guess_records(connection: &Connection, plan: &Plan) -> rusqlite::Result<Option<u64>> {
    let Some(rowid) = &plan.table.rowid_name else { return Ok(None) };
    let rowid = super::quote::ident(rowid);
    let sql = |what: &str| format!("SELECT {what}({rowid}) FROM {}", plan.from());
    let edge = |what| connection.query_row(&sql(what), [], |row| row.get::<_, Option<i64>>(0));
    Ok(Some(match (edge("min")?, edge("max")?) {
        (Some(low), Some(high)) => (i128::from(high) - i128::from(low) + 1).min(1 << 40) as u64,
        _ => 0,
    }))
}

/// What a collection's attributes say of its table.
fn table_attributes(plan: &Plan) -> Json {
    let Table { sql, columns, generated, primary_key, integer_key, without_rowid, .. } = &plan.table;
    json!({
        "format": 1,
        "sql": sql,
        "columns": columns.iter().map(|column| &column.name).collect::<Vec<_>>(),
        "generated": generated,
        "primary_key": primary_key,
        "integer_key": integer_key,
        "without_rowid": without_rowid,
    })
}

struct SqliteSession {
    path: PathBuf,
    readers: usize,
    pool: Arc<Mutex<Vec<SharedConnection>>>,
    start: Timestamp,
    plans: Vec<Arc<Plan>>,
    collections: Vec<SourceCollection>,
    attributes: Json,
    missing: Arc<Mutex<Missing>>,
    notes: Vec<String>,
    /// Closed last: the one connection that may tidy up behind a database in WAL mode.
    _keeper: Mutex<Connection>,
}

impl SqliteSession {
    fn take_reader(&self) -> Option<SharedConnection> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn plan(&self, collection: usize) -> Result<&Arc<Plan>, ConnectorError> {
        self.plans.get(collection).ok_or_else(|| ConnectorError::Missing {
            object: format!("collection {collection} of {}", self.path.display()),
        })
    }
}

impl SourceSession for SqliteSession {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        self.attributes.clone()
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn splits(&self, collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        let plan = self.plan(collection)?;
        if plan.order == Order::Sorted {
            return Ok(Vec::new());
        }
        let Some(reader) = self.take_reader() else { return Ok(Vec::new()) };
        let found = splits(&lock(&reader), plan, parts);
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        found
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        let plan = Arc::clone(self.plan(collection)?);
        let file = self.path.display().to_string();
        let Some(reader) = self.take_reader() else {
            let reason = format!("all {} readers are at work", self.readers);
            return Err(ConnectorError::Locked { object: file, reason });
        };
        let stream = TableStream::new(reader, plan, range.clone(), &file);
        Ok(Box::new(stream.of_session(Arc::clone(&self.pool), Arc::clone(&self.missing))))
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        let object = self.path.display().to_string();
        for reader in self.pool.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            lock(reader).execute_batch("ROLLBACK").map_err(|error| reading(&object, &error))?;
        }
        let missing = std::mem::take(&mut *self.missing.lock().unwrap_or_else(PoisonError::into_inner));
        let mut notes = self.notes.clone();
        if !self.path.exists() {
            notes.push("the file was removed while it was read; what was read is its state at the start".to_owned());
        }
        Ok(SessionEnd { end: self.start, missing: missing.into_lines(), notes })
    }
}
