//! The target: a new database, which gets its name only when it is complete, or one that exists, changed in one
//! transaction.

use super::{
    SqliteSource, aftermath,
    attributes::{self, Attributes, TableAttributes, parse},
    derived,
    error::{io, reading, writing},
    file::{Unfinished, create, look, open_existing, publish},
    fit::{check_encoding, check_fit, is_no_table, key_plan, table_sql},
    objects::{self, StandIn},
    plan::register_key_function,
    proof,
    quote::ident,
    schema::{self, Encoding, Named, Names, Table},
    scratch::Scratch,
    shared::{SharedConnection, lock},
    write::TableWriter,
    wrong_url,
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Meets, Source, SourceUrl, Target, TargetAbilities, TargetCollection,
        TargetEnd, TargetPlan, TargetSession,
    },
    report::Remedy,
};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A database to write.
#[derive(Debug)]
pub struct SqliteTarget {
    path: PathBuf,
    table: Option<String>,
    /// Tables of indexes that the restore made anew.
    anew: Arc<Mutex<Vec<String>>>,
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
                return Err(wrong_url(url, &format!("`{option}` is no option of a target; write table=")));
            }
            if table.replace(value.clone()).is_some() {
                return Err(wrong_url(url, "a target names one table at most"));
            }
        }
        let given = url.path();
        let path = std::path::absolute(&given).map_err(|error| io("find", &given, error))?;
        Ok(Self { path, table, anew: Arc::default() })
    }
}

/// Refuses what is no file and must not become one: opening a pipe would wait, and a link or device would be replaced.
fn check_kind(path: &Path) -> Result<(), ConnectorError> {
    let refuse = |reason: &str| {
        Err(ConnectorError::Unwritable { object: path.display().to_string(), reason: reason.to_owned() })
    };
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => refuse("it is no regular file"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && std::fs::symlink_metadata(path).is_ok() => {
            refuse("it is a link that points to nothing")
        }
        _ => Ok(()),
    }
}

impl Target for SqliteTarget {
    fn connector(&self) -> &'static str {
        "sqlite"
    }

    fn collection(&self) -> Option<String> {
        self.table.clone()
    }

    fn abilities(&self) -> TargetAbilities {
        TargetAbilities { all_or_nothing: true, ..TargetAbilities::default() }
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let object = self.path.display().to_string();
        let fail = |error: rusqlite::Error| reading(&object, &error);
        check_kind(&self.path)?;
        if !self.path.try_exists().map_err(|error| io("look at", &self.path, error))? {
            return Ok(Vec::new());
        }
        let connection = look(&self.path).map_err(fail)?;
        let names = Names::read(&connection).map_err(fail)?;
        let mut occupied = Vec::new();
        for name in collections {
            let Some(found) = names.find(name) else { continue };
            // Not by an index, which may hold less than the table.
            let sql =
                format!("SELECT count(*) FROM (SELECT 1 FROM main.{} NOT INDEXED LIMIT 1000)", ident(&found.name));
            let count: i64 = connection.query_row(&sql, [], |row| row.get(0)).map_err(fail)?;
            if count > 0 {
                occupied.push((name.clone(), count.unsigned_abs()));
            }
        }
        Ok(occupied)
    }

    fn is_made_anew(&self, collection: &str) -> bool {
        let anew = self.anew.lock().unwrap_or_else(PoisonError::into_inner);
        anew.iter().any(|table| table.eq_ignore_ascii_case(collection))
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        plan.check_path(&self.path)?;
        let object = self.path.display().to_string();
        let attributes = attributes::of_plan(plan, &object)?;
        let mut existing = None;
        check_kind(&self.path)?;
        if self.path.try_exists().map_err(|error| io("look at", &self.path, error))? {
            let opened = look(&self.path).map_err(|error| reading(&object, &error))?;
            proof::register(&opened, attributes.encoding).map_err(|error| reading(&object, &error))?;
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
        plan.check_path(&self.path)?;
        let object = self.path.display().to_string();
        let attributes = attributes::of_plan(plan, &object)?;
        let exists = self.path.try_exists().map_err(|error| io("look at", &self.path, error))?;
        let (connection, partial) = if exists {
            (open_existing(&self.path, &attributes)?, None)
        } else {
            let (connection, partial) = create(&self.path, &attributes)?;
            (connection, Some(partial))
        };
        let wide = attributes.encoding != Encoding::Utf8;
        register_key_function(&connection, wide)
            .and_then(|()| proof::register(&connection, attributes.encoding))
            .map_err(|error| writing(&object, &error))?;
        let names = Names::read(&connection).map_err(|error| reading(&object, &error))?;
        Ok(Box::new(SqliteTargetSession {
            names,
            connection: Some(Arc::new(Mutex::new(connection))),
            path: self.path.clone(),
            partial,
            attributes,
            plan: plan.clone(),
            made: Vec::new(),
            touched: Vec::new(),
            checked: Vec::new(),
            stand_ins: Vec::new(),
            notes: Vec::new(),
            missing: Vec::new(),
            anew: Arc::clone(&self.anew),
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
        check_fit(connection, &table, collection, &wanted, &object)?;
        key_plan(connection, table, false, attributes.encoding, collection, &object)?;
        Ok(Meets::Records)
    }
}

struct SqliteTargetSession {
    names: Names,
    connection: Option<SharedConnection>,
    path: PathBuf,
    /// Behind the connection, which is closed before it goes.
    partial: Option<Unfinished>,
    attributes: Attributes,
    plan: TargetPlan,
    /// The tables of the restore, and the rows of the schema that were theirs.
    made: Vec<(String, Vec<i64>)>,
    /// Whether rows of a table were written or removed, by the names of those that were there before.
    touched: Vec<(String, Arc<AtomicBool>)>,
    /// Tables that were there before, are defined otherwise than the snapshot's, and may have a CHECK.
    checked: Vec<String>,
    /// Tables that were made by another statement than their own, which follows.
    stand_ins: Vec<(String, String)>,
    notes: Vec<String>,
    missing: Vec<String>,
    anew: Arc<Mutex<Vec<String>>>,
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
            self.make_table(connection, collection, wanted, sql).map_err(fail)?;
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
        let is_made = created;
        // SQLite makes this table by itself, and its rows while others are written; they are replaced by the snapshot's.
        let is_whole = !self.plan.partial && self.plan.left_out.is_none();
        let is_statistics = name.starts_with("sqlite_stat") && is_whole;
        if !created && ((name == "sqlite_sequence" && self.partial.is_some()) || is_statistics) {
            connection.execute_batch(&format!("DELETE FROM main.{}", ident(&name))).map_err(fail)?;
            created = true;
        }
        if !created && name == "sqlite_sequence" && is_whole && self.plan.make_equal {
            aftermath::forget_counters(connection, &self.plan).map_err(fail)?;
        }
        let differs = aftermath::differs(&sql, &wanted.sql);
        let table = schema::table(connection, name, sql).map_err(fail)?;
        if !is_made {
            check_fit(connection, &table, collection, wanted, &object)?;
            if differs && table.sql.to_ascii_lowercase().contains("check") {
                self.checked.push(table.name.clone());
            }
            if differs && self.plan.make_equal && is_whole && !table.is_internal() {
                self.notes.push(aftermath::otherwise(&table.name, &wanted.sql));
            }
        }
        self.made.push((table.name.clone(), wanted.places.clone()));
        Ok((table, created))
    }

    /// Rows are written as they were: a table with generated columns is made without them first.
    fn make_table(
        &mut self,
        connection: &Connection,
        collection: &TargetCollection,
        wanted: &TableAttributes,
        sql: String,
    ) -> rusqlite::Result<()> {
        let name = &collection.name;
        if !wanted.generated.is_empty() {
            let scratch = Scratch::new(name, &sql)?;
            let keeps = scratch.table.columns.iter().filter(|column| column.computed).count() == wanted.stored.len();
            if let Some(stand_in) = scratch.stand_in()?.filter(|_| keeps) {
                self.notes.extend(scratch.lacks);
                self.stand_ins.push((name.clone(), sql));
                return objects::create(connection, &stand_in, name, &mut self.notes);
            }
            // What is virtual is nowhere but in the indexes over it; what is stored must be what it was.
            if wanted.stored.is_empty() {
                return objects::create_with(connection, &sql, name, StandIn::Counts, &mut self.notes);
            }
        }
        objects::create(connection, &sql, name, &mut self.notes)
    }

    /// Says what a person should know of a database that was there before.
    /// Looks at what became of an existing database; says why what was written must not stand, if it must not.
    fn look_back(&mut self, connection: &Connection) -> rusqlite::Result<Option<String>> {
        self.notes.extend(aftermath::broken_references(connection));
        let touched = self.touched.iter().filter(|(_, touched)| touched.load(Ordering::Relaxed));
        let touched: Vec<&str> = touched.map(|(name, _)| name.as_str()).collect();
        let checked: Vec<&str> =
            self.checked.iter().map(String::as_str).filter(|name| touched.contains(name)).collect();
        self.notes.extend(aftermath::broken_checks(connection, &checked)?);
        let settled = derived::settle(connection, &self.plan, &touched)?;
        if let Some(reason) = settled.mixed {
            return Ok(Some(reason));
        }
        self.notes.extend(settled.notes);
        self.missing.extend(settled.missing);
        *self.anew.lock().unwrap_or_else(PoisonError::into_inner) = settled.anew;
        let is_whole = !self.plan.partial && self.plan.left_out.is_none();
        if is_whole {
            self.notes.extend(aftermath::numbers(connection, &self.attributes.settings, self.plan.make_equal)?);
        }
        if self.plan.make_equal && is_whole {
            self.names.read_on(connection)?;
            self.missing.extend(aftermath::left_over(&self.names, &self.plan, &self.attributes.objects));
            self.missing.extend(aftermath::left_over_on(connection, &self.plan, &self.attributes.objects)?);
        }
        Ok(None)
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
        let plan = key_plan(&connection, table, created, self.attributes.encoding, &wanted, &object)?;
        let last = plan.shape.names().last().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
        let can_stream =
            schema::opens_values(&connection, &plan.table, &last).map_err(|error| reading(&object, &error))?;
        drop(connection);
        let overwrite = self.plan.overwrite;
        let directory = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        let plan = Arc::new(plan);
        let writer = TableWriter::new(shared, Arc::clone(&plan), created, overwrite, object, directory, can_stream);
        self.touched.push((plan.table.name.clone(), writer.touched()));
        Ok(Box::new(writer))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        let object = self.path.display().to_string();
        let fail = |error: rusqlite::Error| writing(&object, &error);
        let shared = self.connection()?;
        {
            let connection = lock(&shared);
            objects::rewrite(&connection, &std::mem::take(&mut self.stand_ins)).map_err(fail)?;
            objects::restore(&connection, &self.attributes.objects, &self.plan, &mut self.notes, &mut self.missing)
                .map_err(fail)?;
            let tables = self.plan.collections.iter().map(|it| it.name.as_str());
            self.notes.extend(aftermath::foreign_collations(&connection, tables).map_err(fail)?);
            if self.partial.is_some() {
                objects::reorder(&connection, &self.attributes.objects, &self.made).map_err(fail)?;
            } else if let Some(reason) = self.look_back(&connection).map_err(fail)? {
                let reason = format!("{reason}; nothing was written");
                return Err(ConnectorError::Mismatch { object: object.clone(), reason }.with([Remedy::MakeEqual]));
            }
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
            self.notes.extend(publish(partial, &self.path)?);
        }
        let notes = std::mem::take(&mut self.notes);
        Ok(TargetEnd { missing: std::mem::take(&mut self.missing), notes, ..TargetEnd::default() })
    }
}
