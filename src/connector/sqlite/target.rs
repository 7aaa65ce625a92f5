//! The target: a new database, which gets its name only when it is complete, or one that exists, changed in one
//! transaction.

use super::{
    SqliteSource,
    error::{io, reading, writing},
    objects,
    plan::{Plan, PlanError, register_key_function},
    quote::{ident, rename_table},
    scan::{SharedConnection, lock},
    schema::{self, Encoding, Named, Names, Object, Table},
    write::TableWriter,
    wrong_url,
};
use crate::connector::{
    CollectionTarget, ConnectorError, Meets, Source, SourceUrl, Target, TargetCollection, TargetEnd, TargetPlan,
    TargetSession,
    shared::publish::{self, Present},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use serde::Deserialize;
use std::{
    cmp::Ordering,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What the name of an unfinished database ends with.
const PARTIAL: &str = ".rekeep-partial";

/// A database to write.
#[derive(Debug)]
pub struct SqliteTarget {
    path: PathBuf,
    table: Option<String>,
}

impl SqliteTarget {
    /// The target that a URL names: `sqlite:FILE`, with `table=` to name the one table.
    ///
    /// # Errors
    /// [`ConnectorError::Url`] for an option that does not exist or comes twice.
    pub fn new(url: &SourceUrl) -> Result<Self, ConnectorError> {
        let mut table = None;
        for (option, value) in &url.options {
            if option != "table" {
                return Err(wrong_url(url, format!("`{option}` is no option of a target; write table=")));
            }
            if table.replace(value.clone()).is_some() {
                return Err(wrong_url(url, "a target names one table at most".to_owned()));
            }
        }
        let given = PathBuf::from(&url.place);
        let path = std::path::absolute(&given).map_err(|error| io("find", &given, error))?;
        Ok(Self { path, table })
    }
}

impl Target for SqliteTarget {
    fn connector(&self) -> &'static str {
        "sqlite"
    }

    fn collection(&self) -> Option<String> {
        self.table.clone()
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let object = self.path.display().to_string();
        let fail = |error: rusqlite::Error| reading(&object, &error);
        if !self.path.try_exists().map_err(|error| io("look at", &self.path, error))? {
            return Ok(Vec::new());
        }
        let connection = look(&self.path).map_err(fail)?;
        let names = Names::read(&connection).map_err(fail)?;
        let mut occupied = Vec::new();
        for name in collections {
            let Some(found) = names.find(name) else { continue };
            let sql = format!("SELECT count(*) FROM (SELECT 1 FROM main.{} LIMIT 1000)", ident(&found.name));
            let count: i64 = connection.query_row(&sql, [], |row| row.get(0)).map_err(fail)?;
            if count > 0 {
                occupied.push((name.clone(), count.unsigned_abs()));
            }
        }
        Ok(occupied)
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        let object = self.path.display().to_string();
        let attributes = snapshot_attributes(plan, &object)?;
        let mut existing = None;
        if self.path.try_exists().map_err(|error| io("look at", &self.path, error))? {
            let opened = look(&self.path).map_err(|error| reading(&object, &error))?;
            check_encoding(&opened, &attributes, &object)?;
            let names = Names::read(&opened).map_err(|error| reading(&object, &error))?;
            existing = Some((opened, names));
        }
        plan.collections
            .iter()
            .map(|collection| self.rehearse_one(existing.as_ref(), collection, &attributes))
            .collect()
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        let object = self.path.display().to_string();
        let attributes = snapshot_attributes(plan, &object)?;
        let exists = self.path.try_exists().map_err(|error| io("look at", &self.path, error))?;
        let (connection, partial) = if exists {
            (open_existing(&self.path, &attributes)?, None)
        } else {
            let (connection, partial) = create(&self.path, &attributes)?;
            (connection, Some(partial))
        };
        register_key_function(&connection, attributes.encoding != Encoding::Utf8)
            .map_err(|error| writing(&object, &error))?;
        let names = Names::read(&connection).map_err(|error| reading(&object, &error))?;
        Ok(Box::new(SqliteTargetSession {
            names,
            connection: Some(Arc::new(Mutex::new(connection))),
            path: self.path.clone(),
            partial,
            attributes,
            plan: plan.clone(),
            notes: Vec::new(),
            missing: Vec::new(),
        }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        Ok(Some(Box::new(SqliteSource::of(self.path.clone(), self.table.clone()))))
    }
}

impl SqliteTarget {
    fn rehearse_one(
        &self,
        existing: Option<&(Connection, Names)>,
        collection: &TargetCollection,
        attributes: &Attributes,
    ) -> Result<Meets, ConnectorError> {
        let object = format!("table `{}` of {}", collection.name, self.path.display());
        let fail = |error: rusqlite::Error| reading(&object, &error);
        let wanted: TableAttributes = parse(&collection.attributes, &object)?;
        let found = existing.and_then(|(connection, names)| Some((connection, names.find(&collection.name)?)));
        let Some((connection, found)) = found else {
            table_sql(collection, &wanted, &object)?;
            return Ok(Meets::Nothing);
        };
        if !found.is_table {
            return Err(is_no_table(&object));
        }
        let table = schema::table(connection, found.name.clone(), found.sql.clone()).map_err(fail)?;
        check_fit(&table, &wanted, &object)?;
        key_plan(connection, table, attributes.encoding, collection, &object)?;
        Ok(Meets::Records)
    }
}

/// The snapshot's attributes.
#[derive(Debug, Deserialize)]
pub(super) struct Attributes {
    format: u32,
    encoding: Encoding,
    page_size: i64,
    auto_vacuum: i64,
    user_version: i64,
    application_id: i64,
    wal: bool,
    pub(super) objects: Vec<Object>,
}

/// A collection's attributes.
#[derive(Debug, Deserialize)]
struct TableAttributes {
    format: u32,
    sql: String,
    columns: Vec<String>,
    generated: Vec<String>,
    primary_key: Vec<String>,
    without_rowid: bool,
}

trait Versioned {
    fn format(&self) -> u32;
}

impl Versioned for Attributes {
    fn format(&self) -> u32 {
        self.format
    }
}

impl Versioned for TableAttributes {
    fn format(&self) -> u32 {
        self.format
    }
}

fn parse<'a, T: Deserialize<'a> + Versioned>(json: &'a serde_json::Value, object: &str) -> Result<T, ConnectorError> {
    let mismatch = |reason| ConnectorError::Mismatch { object: object.to_owned(), reason };
    let parsed = T::deserialize(json)
        .map_err(|error| mismatch(format!("the snapshot's attributes are not understood: {error}")))?;
    match parsed.format().cmp(&1) {
        Ordering::Equal => Ok(parsed),
        _ => Err(mismatch(format!("the snapshot's attributes have format {}; this version knows 1", parsed.format()))),
    }
}

fn snapshot_attributes(plan: &TargetPlan, object: &str) -> Result<Attributes, ConnectorError> {
    if plan.connector != "sqlite" {
        let reason =
            format!("the snapshot was taken from `{}`; only SQLite snapshots become databases", plan.connector);
        return Err(ConnectorError::Mismatch { object: object.to_owned(), reason });
    }
    parse(&plan.attributes, object)
}

/// Text of another encoding would be other keys. A database without tables takes the snapshot's.
fn check_encoding(connection: &Connection, attributes: &Attributes, object: &str) -> Result<(), ConnectorError> {
    let fail = |error: rusqlite::Error| reading(object, &error);
    let is_empty: bool =
        connection.query_row("SELECT count(*) = 0 FROM main.sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    let encoding: String = connection.query_row("PRAGMA main.encoding", [], |row| row.get(0)).map_err(fail)?;
    if is_empty || encoding == attributes.encoding.name() {
        return Ok(());
    }
    let reason = format!("it stores text as {encoding}, the snapshot as {}", attributes.encoding.name());
    Err(ConnectorError::Mismatch { object: object.to_owned(), reason: format!("{reason}; restore into a new file") })
}

fn is_no_table(object: &str) -> ConnectorError {
    let reason = "a view or virtual table of this name exists".to_owned();
    ConnectorError::Mismatch { object: object.to_owned(), reason }
}

/// The statement that makes a collection's table.
fn table_sql(collection: &TargetCollection, wanted: &TableAttributes, object: &str) -> Result<String, ConnectorError> {
    if collection.name == collection.source_name {
        return Ok(wanted.sql.clone());
    }
    rename_table(&wanted.sql, &collection.name).ok_or_else(|| ConnectorError::Mismatch {
        object: object.to_owned(),
        reason: "its CREATE TABLE statement cannot take another name".to_owned(),
    })
}

/// Whether a table takes a collection's records as they are.
fn check_fit(table: &Table, wanted: &TableAttributes, object: &str) -> Result<(), ConnectorError> {
    let mismatch = |reason: &str| ConnectorError::Mismatch { object: object.to_owned(), reason: reason.to_owned() };
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    let columns: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    if sorted(&columns) != sorted(&wanted.columns) || sorted(&table.generated) != sorted(&wanted.generated) {
        return Err(mismatch(&format!("it has the columns {columns:?}, the snapshot {:?}", wanted.columns)));
    }
    if table.primary_key != wanted.primary_key || table.without_rowid != wanted.without_rowid {
        return Err(mismatch("its primary key is not the snapshot's"));
    }
    Ok(())
}

/// How a table's records are keyed; fails unless that is how the snapshot's are.
fn key_plan(
    connection: &Connection,
    table: Table,
    encoding: Encoding,
    collection: &TargetCollection,
    object: &str,
) -> Result<Plan, ConnectorError> {
    let mismatch = |reason: &str| ConnectorError::Mismatch { object: object.to_owned(), reason: reason.to_owned() };
    match Plan::new(connection, table, encoding) {
        Ok(plan) if plan.codec == collection.codec => Ok(plan),
        Ok(_) => Err(mismatch("its keys are not of the snapshot's kind")),
        Err(PlanError::NoRowid) => Err(mismatch("its rowid cannot be reached")),
        Err(PlanError::Sqlite(error)) => Err(writing(object, &error)),
    }
}

/// Opens a database to look at it. Where a killed writer left a journal, it is rolled back first, as it is for any reader that
/// may write.
fn look(path: &Path) -> rusqlite::Result<Connection> {
    let connection = super::source::open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(())) {
        Ok(()) => Ok(connection),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {
            super::source::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        }
        Err(error) => Err(error),
    }
}

/// Makes the unfinished database beside the place where it will be.
fn create(path: &Path, attributes: &Attributes) -> Result<(Connection, PathBuf), ConnectorError> {
    let mut name = OsString::from(path);
    name.push(PARTIAL);
    let partial = PathBuf::from(name);
    let object = partial.display().to_string();
    let fail = |error: rusqlite::Error| writing(&object, &error);
    if partial.exists() {
        discard(&partial)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&partial, flags).map_err(fail)?;
    set_form(&connection, attributes).map_err(fail)?;
    // Nobody sees the file before it is complete and synced; the journal in memory only undoes single statements.
    for (pragma, value) in [("journal_mode", "MEMORY"), ("synchronous", "OFF"), ("locking_mode", "EXCLUSIVE")] {
        connection.pragma_update(None, pragma, value).map_err(fail)?;
    }
    settle(&connection).map_err(fail)?;
    connection.execute_batch("BEGIN EXCLUSIVE").map_err(fail)?;
    Ok((connection, partial))
}

/// Removes what a killed restore left, unless that restore still runs.
fn discard(partial: &Path) -> Result<(), ConnectorError> {
    let object = partial.display().to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let probe = Connection::open_with_flags(partial, flags)
        .and_then(|connection| connection.execute_batch("PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE; ROLLBACK"));
    if let Err(error) = probe
        && let locked @ ConnectorError::Locked { .. } = reading(&object, &error)
    {
        return Err(locked);
    }
    fs::remove_file(partial).map_err(|error| io("remove", partial, error))
}

fn open_existing(path: &Path, attributes: &Attributes) -> Result<Connection, ConnectorError> {
    let object = path.display().to_string();
    let fail = |error: rusqlite::Error| writing(&object, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(fail)?;
    let is_empty =
        connection.query_row("SELECT count(*) = 0 FROM main.sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    if is_empty {
        set_form(&connection, attributes).map_err(fail)?;
    }
    settle(&connection).map_err(fail)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(fail)?;
    check_encoding(&connection, attributes, &object)?;
    Ok(connection)
}

/// What can be chosen only before the first table.
fn set_form(connection: &Connection, attributes: &Attributes) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", attributes.page_size)?;
    connection.pragma_update(None, "encoding", attributes.encoding.name())?;
    connection.pragma_update(None, "auto_vacuum", attributes.auto_vacuum)?;
    connection.pragma_update(None, "user_version", attributes.user_version)?;
    connection.pragma_update(None, "application_id", attributes.application_id)
}

/// A restore brings rows as they are: nothing is to be computed from them or refused because of them.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    connection.pragma_update(None, "cache_size", -32768)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(())
}

struct SqliteTargetSession {
    names: Names,
    connection: Option<SharedConnection>,
    path: PathBuf,
    partial: Option<PathBuf>,
    attributes: Attributes,
    plan: TargetPlan,
    notes: Vec<String>,
    missing: Vec<String>,
}

impl SqliteTargetSession {
    fn connection(&self) -> Result<SharedConnection, ConnectorError> {
        self.connection.clone().ok_or_else(|| ConnectorError::Unwritable {
            object: self.path.display().to_string(),
            reason: "the restore is over".to_owned(),
        })
    }

    /// Makes the collection's table if there is none; says whether it did.
    fn ensure_table(
        &mut self,
        connection: &Connection,
        collection: &TargetCollection,
        wanted: &TableAttributes,
    ) -> Result<(Table, bool), ConnectorError> {
        let object = format!("table `{}` of {}", collection.name, self.path.display());
        let fail = |error: rusqlite::Error| writing(&object, &error);
        let mut created = false;
        if self.names.find(&collection.name).is_none() {
            let sql = table_sql(collection, wanted, &object)?;
            objects::create(connection, &sql, &collection.name, &mut self.notes).map_err(fail)?;
            created = true;
            self.names.read_on(connection).map_err(fail)?;
        }
        let found = self.names.find(&collection.name).cloned();
        let Named { name, sql, is_table } = found.ok_or_else(|| ConnectorError::Mismatch {
            object: object.clone(),
            reason: "its CREATE TABLE statement makes another table".to_owned(),
        })?;
        if !is_table {
            return Err(is_no_table(&object));
        }
        // SQLite makes this table by itself, and its rows while others are written; they are replaced by the snapshot's.
        let is_statistics = name.starts_with("sqlite_stat") && !self.plan.partial;
        if !created && ((name == "sqlite_sequence" && self.partial.is_some()) || is_statistics) {
            connection.execute_batch(&format!("DELETE FROM main.{}", ident(&name))).map_err(fail)?;
            created = true;
        }
        let table = schema::table(connection, name, sql).map_err(fail)?;
        check_fit(&table, wanted, &object)?;
        Ok((table, created))
    }
}

impl TargetSession for SqliteTargetSession {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let shared = self.connection()?;
        let file = self.path.display().to_string();
        let Some(wanted) = self.plan.collections.get(collection).cloned() else {
            return Err(ConnectorError::Missing { object: format!("collection {collection} of the restore") });
        };
        let object = format!("table `{}` of {file}", wanted.name);
        let attributes: TableAttributes = parse(&wanted.attributes, &object)?;
        let connection = lock(&shared);
        let (table, created) = self.ensure_table(&connection, &wanted, &attributes)?;
        let plan = key_plan(&connection, table, self.attributes.encoding, &wanted, &object)?;
        drop(connection);
        let overwrite = self.plan.overwrite;
        let directory = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Box::new(TableWriter::new(shared, Arc::new(plan), created, overwrite, object, directory)))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        let object = self.path.display().to_string();
        let fail = |error: rusqlite::Error| writing(&object, &error);
        let shared = self.connection()?;
        {
            let connection = lock(&shared);
            objects::restore(&connection, &self.attributes.objects, &self.plan, &mut self.notes, &mut self.missing)
                .map_err(fail)?;
            connection.execute_batch("COMMIT").map_err(fail)?;
            if self.partial.is_some() && self.attributes.wal {
                connection.pragma_update(None, "locking_mode", "NORMAL").map_err(fail)?;
                connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
            }
        }
        self.connection = None;
        if let Some(connection) = Arc::into_inner(shared) {
            let connection = connection.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            connection.close().map_err(|(_, error)| fail(error))?;
        }
        if let Some(partial) = self.partial.take() {
            publish(&partial, &self.path)?;
        }
        let notes = std::mem::take(&mut self.notes);
        Ok(TargetEnd { missing: std::mem::take(&mut self.missing), notes })
    }
}

/// Gives a complete file its name, durably, and never over another file.
fn publish(partial: &Path, path: &Path) -> Result<(), ConnectorError> {
    publish::publish(partial, path, Present::Kept).map_err(|failed| match failed.error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let object = path.display().to_string();
            let reason = format!("it was made meanwhile; the restored database is {}", partial.display());
            ConnectorError::Unwritable { object, reason }
        }
        _ => io(failed.operation, partial, failed.error),
    })
}
