//! The source: fixes one snapshot of a database for several readers, and hands out streams of its tables.

use super::{
    account::Account,
    damage::torn,
    error::{io, reading},
    memory::Memory,
    plan::{Order, Plan, PlanError, register_key_function},
    proof::{Proof, is_bad_page, meets_bad_page, prove, prove_sorted},
    scan::TableStream,
    schema::{Encoding, Object, Schema, Table},
    shared::{SharedConnection, lock},
    side,
    snapshot::{Snapshot, Unlocked, hint, with_hint},
    splits::splits,
    wrong_url,
};
use crate::{
    connector::{
        ConnectorError, Evidence, Identity, ParentView, PartEnd, Recall, Remembers, Scope, SessionEnd, SessionOptions,
        Source, SourceAbilities, SourceCollection, SourceSession, SourceUrl,
    },
    record::{KeyRange, RecordStream, Timestamp, key::encode_int},
    repo::manifest::Asked,
};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// A database to read.
#[derive(Debug)]
pub struct SqliteSource {
    path: PathBuf,
    include: BTreeSet<String>,
    exclude: BTreeSet<String>,
    by_pages: bool,
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
                _ => return Err(wrong_url(url, &format!("`{option}` is no option; write table= or exclude-table="))),
            };
        }
        if let Some(both) = include.intersection(&exclude).next() {
            return Err(wrong_url(url, &format!("table `{both}` is both included and excluded")));
        }
        let given = url.path();
        let path = std::fs::canonicalize(&given)
            .or_else(|_| std::path::absolute(&given))
            .map_err(|error| io("find", &given, error))?;
        Ok(Self { path, include, exclude, by_pages: true })
    }

    /// The database at `path`, or one table of it.
    pub(super) fn of(path: PathBuf, table: Option<String>) -> Self {
        Self { path, include: table.into_iter().collect(), exclude: BTreeSet::new(), by_pages: true }
    }

    /// Reads every row by SQL, none from the pages of its table: what both give is the same.
    #[must_use]
    pub const fn by_sql(mut self) -> Self {
        self.by_pages = false;
        self
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
        let facet = |set: &BTreeSet<String>| {
            let named = (!set.is_empty()).then(|| ("tables".to_owned(), set.iter().cloned().collect()));
            BTreeMap::from_iter(named)
        };
        let asked = Asked { only: facet(&self.include), without: facet(&self.exclude), form: BTreeMap::new() };
        Scope { canonical: json!({ "tables": self.include, "exclude": self.exclude }).to_string(), note, asked }
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities { exact: true, ..SourceAbilities::default() }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        let object = self.path.display().to_string();
        // Whoever opens it makes an empty log beside its name.
        let apart = side::may_lack_its_log(&self.path);
        let snapshot = Snapshot::take(&self.path, options)?;
        let connection = lock(&snapshot.readers[0]);
        let schema = Schema::read(&connection, &object).map_err(|error| {
            let is_bad = connection.prepare("SELECT 1 FROM main.sqlite_schema").is_err_and(|error| is_bad_page(&error));
            if is_bad { with_hint(error, &self.path) } else { error }
        })?;
        self.check_names(&schema, &object)?;
        let mut notes = snapshot.notes.clone();
        let account = Account::default();
        if let Some(unsound) = &snapshot.unsound {
            account.name(unsound.clone());
        }
        if let Some(apart) = apart {
            account.name(apart);
        }
        let mut plans = Vec::new();
        for table in schema.tables.iter().filter(|table| self.wants(&table.name, &schema)) {
            if table.columns.is_empty() {
                account
                    .name(format!("table `{}`: its definition in the schema is malformed; it is left out", table.name));
                continue;
            }
            match Plan::new(&connection, table.clone(), schema.encoding) {
                Ok(plan) => {
                    if plan.is_numbered {
                        notes.push(format!(
                            "table `{}`: its columns bear all names of the rowid: its rows are kept by their numbers in the \
                             order of rowids, so that all behind one that was deleted count as changed",
                            table.name
                        ));
                    } else if !table.without_rowid && table.rowid_name.is_none() {
                        notes.push(format!(
                            "table `{}`: its columns bear all names of the rowid, or one of them bears none: the rowid is not kept",
                            table.name
                        ));
                    }
                    plans.push(Arc::new(plan));
                }
                Err(PlanError::NoRowid) => account.name(format!(
                    "table `{}`: its columns are named rowid, _rowid_ and oid, or one has no name, so that the rowid cannot be \
                     kept that tells rows apart whose key is NULL",
                    table.name
                )),
                Err(PlanError::Sqlite(error)) => {
                    match reading(&format!("table `{}` of {object}", table.name), &error) {
                        error @ ConnectorError::Locked { .. } => return Err(error),
                        error => account.name(format!("{error}; it is left out")),
                    }
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
        let tables = plans.iter().map(|plan| (plan.table.name.as_str(), plan.table.sql.as_str()));
        let own: Vec<Object> = kept.iter().copied().cloned().collect();
        notes.extend(super::needs::lacking(tables, &own, false));
        let settings = &schema.settings;
        let attributes = json!({
            "format": 1,
            "encoding": schema.encoding,
            "page_size": settings.page_size,
            "auto_vacuum": settings.auto_vacuum,
            "user_version": settings.user_version,
            "application_id": settings.application_id,
            "reserved_bytes": settings.reserved_bytes,
            "default_cache_size": settings.default_cache_size,
            "schema_format": settings.schema_format,
            "wal": schema.wal,
            "objects": kept,
        });
        drop(connection);
        Ok(Box::new(SqliteSession {
            path: self.path.clone(),
            by_pages: self.by_pages,
            readers: snapshot.readers.len(),
            pool: Arc::new(Mutex::new(snapshot.readers)),
            start: snapshot.time,
            proven: plans.iter().map(|_| Mutex::default()).collect(),
            plans,
            collections,
            attributes,
            account: Arc::new(account),
            notes,
            unlocked: snapshot.unlocked,
            memory: Mutex::default(),
            _keeper: Mutex::new(snapshot.keeper),
        }))
    }
}

fn prepare_reader(connection: &Connection, encoding: Encoding, object: &str) -> Result<(), ConnectorError> {
    let wide = encoding != Encoding::Utf8;
    register_key_function(connection, wide)
        .and_then(|()| super::proof::register(connection, encoding))
        .map_err(|error| reading(object, &error))
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
    let file_bytes = u128::from((pages * schema.settings.page_size).unsigned_abs());
    let mut guesses = Vec::with_capacity(plans.len());
    for plan in plans {
        let guess = match guess_records(connection, plan) {
            Err(error) if meets_bad_page(connection, &error) => None,
            guess => guess.map_err(fail)?,
        };
        guesses.push(guess);
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
    let Table { sql, columns, generated, primary_key, integer_key, without_rowid, places, .. } = &plan.table;
    let names = |computed| columns.iter().filter(move |c| c.computed == computed).map(|c| &c.name).collect::<Vec<_>>();
    json!({
        "format": 1,
        "sql": sql,
        "columns": names(false),
        "generated": generated,
        "stored": names(true),
        "places": places,
        "primary_key": primary_key,
        "integer_key": integer_key,
        "without_rowid": without_rowid,
    })
}

struct SqliteSession {
    path: PathBuf,
    by_pages: bool,
    readers: usize,
    pool: Arc<Mutex<Vec<SharedConnection>>>,
    start: Timestamp,
    plans: Vec<Arc<Plan>>,
    /// The plans as they are carried out: by the key's index only where it was compared with the table, and once the table's own
    /// order was looked at.
    proven: Vec<Mutex<Option<Arc<Plan>>>>,
    collections: Vec<SourceCollection>,
    attributes: Json,
    account: Arc<Account>,
    notes: Vec<String>,
    unlocked: Option<Unlocked>,
    /// What is noted while this is read for a backup.
    memory: Mutex<Option<Arc<Memory>>>,
    /// Closed last: the one connection that may tidy up behind a database in WAL mode.
    _keeper: Mutex<Connection>,
}

impl SqliteSession {
    fn take_reader(&self) -> Option<SharedConnection> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, reader: SharedConnection) {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }

    /// How a collection is read.
    fn plan(&self, collection: usize, connection: &Connection) -> Result<Arc<Plan>, ConnectorError> {
        let file = self.path.display();
        let (Some(plan), Some(proven)) = (self.plans.get(collection), self.proven.get(collection)) else {
            return Err(ConnectorError::Missing { object: format!("collection {collection} of {file}") });
        };
        let mut proven = proven.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = &*proven {
            return Ok(Arc::clone(plan));
        }
        let object = format!("table `{}` of {file}", plan.table.name);
        if plan.order == Order::Rowid {
            let torn = torn(connection, &plan.table.name);
            for page in &torn {
                let end = page.high.checked_add(1).map(|end| encode_int(end).to_vec());
                let line = format!(
                    "{object}: {} leads to others by bounds that contradict each other: it is damaged. The rows from int:{} to \
                     int:{} were read in turn; queries miss some (PRAGMA integrity_check says which)",
                    page.show(),
                    page.low,
                    page.high
                );
                self.account.tear(collection);
                self.account.lose(collection, KeyRange { start: encode_int(page.low).to_vec(), end }, line);
            }
            let plan = if torn.is_empty() { Arc::clone(plan) } else { Arc::new(plan.sorted()) };
            return Ok(Arc::clone(proven.insert(plan)));
        }
        let proof = match plan.order {
            Order::Index => prove(connection, plan),
            _ => prove_sorted(connection, plan),
        };
        let plan = match proof.map_err(|error| reading(&object, &error))? {
            Proof::Holds => Arc::clone(plan),
            Proof::SortsOtherwise => Arc::new(plan.sorted()),
            Proof::Damaged(how) => {
                // What stood in the place of such a row is not known.
                self.account.lose(collection, KeyRange::all(), format!("{object}: {how}"));
                Arc::new(plan.sorted())
            }
            Proof::Differs(how) => {
                self.account.name(format!(
                    "{object}: {how}; the table itself was read, so that all its rows are backed up, but queries miss some \
                     (REINDEX {} mends it, unless two rows have one key)",
                    super::quote::ident(&plan.table.name)
                ));
                Arc::new(plan.sorted())
            }
        };
        Ok(Arc::clone(proven.insert(plan)))
    }

    /// Begins to read a range by a reader that is free.
    fn stream(&self, collection: usize, range: &KeyRange) -> Result<TableStream, ConnectorError> {
        let file = self.path.display().to_string();
        let Some(reader) = self.take_reader() else {
            let reason = format!("all {} readers are at work", self.readers);
            return Err(ConnectorError::Locked { object: file, reason });
        };
        let plan = self.plan(collection, &lock(&reader));
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                self.give_back(reader);
                return Err(error);
            }
        };
        let stream = TableStream::new(reader, plan, range.clone(), &file).of_session(
            Arc::clone(&self.pool),
            Arc::clone(&self.account),
            collection,
        );
        Ok(if self.by_pages { stream.by_pages() } else { stream })
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
        let Some(reader) = self.take_reader() else { return Ok(Vec::new()) };
        let found = {
            let connection = lock(&reader);
            self.plan(collection, &connection).and_then(|plan| splits(&connection, &plan, parts))
        };
        self.give_back(reader);
        found
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        Ok(Box::new(self.stream(collection, range)?))
    }

    fn remembers(&self) -> Option<&dyn Remembers> {
        self.by_pages.then_some(self as &dyn Remembers)
    }

    fn evidence(&self) -> Option<&dyn Evidence> {
        Some(self)
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        let object = self.path.display().to_string();
        for reader in self.pool.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            lock(reader).execute_batch("ROLLBACK").map_err(|error| reading(&object, &error))?;
        }
        if let Some(unlocked) = &self.unlocked {
            unlocked.check()?;
        }
        let missing = self.account.take_lines();
        let mut notes = self.notes.clone();
        if !missing.is_empty() {
            notes.extend(hint(&self.path));
        }
        if !self.path.exists() {
            notes.push("the file was removed while it was read; what was read is its state at the start".to_owned());
        }
        Ok(SessionEnd { end: self.start, missing, notes, vanished: 0 })
    }
}

impl Evidence for SqliteSession {
    fn meet_parent(&self, _parent: &ParentView<'_>) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Where rows cannot be read, what does not come may be there all the same.
    fn part_end(&self, collection: usize, range: &KeyRange) -> Result<PartEnd, ConnectorError> {
        let doubts = self.account.doubts(collection, range);
        Ok(PartEnd { complete: doubts.is_empty(), doubts })
    }
}

impl Remembers for SqliteSession {
    fn begin(&self, earlier: Option<&Path>, later: Option<&Path>) -> Option<u32> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (opened, trusted) = Memory::open(earlier, later).unzip();
        *memory = opened.map(Arc::new);
        trusted
    }

    fn read(
        &self,
        collection: usize,
        range: &KeyRange,
        recall: Recall,
    ) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        let stream = self.stream(collection, range)?;
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(match memory {
            Some(memory) => Box::new(stream.remembering(memory, recall)),
            None => Box::new(stream),
        })
    }

    fn end(&self, trusted: u32) -> bool {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).take();
        memory.is_some_and(|memory| memory.end(trusted))
    }
}
