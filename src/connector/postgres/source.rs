//! The source: one snapshot of a database for several readers.

use super::{
    attributes::{Attributes, FORMAT, TableAttributes},
    catalog::{self, Table},
    client::{Client, Facts, Server},
    dump, error,
    fit::narrow,
    gather,
    log::{Lsn, StreamState, Visible},
    marker,
    objects::ObjectStream,
    ordered::Loaded,
    paths,
    plan::Plan,
    select::{LARGE_OBJECTS, Selection},
    shared::Shared,
    stamps::{self, Stamp},
    stream::RowStream,
};
use crate::{
    connector::{
        ConnectorError, Identity, Scope, SessionEnd, SessionOptions, Source, SourceAbilities, SourceCollection,
        SourceSession,
    },
    record::{KeyCodec, KeyRange, RecordStream, Timestamp},
};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// Times that a run is begun because a table changed under it.
const MAX_BEGINNINGS: usize = 5;

/// Readers at once.
const MAX_READERS: usize = 16;

/// A database to read.
pub struct PostgresSource {
    server: Server,
    selection: Selection,
    /// Whether nothing but rows is wanted.
    rows_only: bool,
    /// The stream that goes on from what is read.
    mark: Option<Mark>,
    /// What need not be read.
    held: Option<Held>,
    /// The columns that are read of some tables; all of the others.
    columns: Columns,
}

/// By collection, the columns that are read.
pub(super) type Columns = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

/// A stream that goes on from a backup.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Its slot.
    pub slot: String,
    /// What was committed before it is seen by the backup.
    pub position: Lsn,
    /// What the publication is like.
    pub publication: String,
    /// The server's own number, where it may be read.
    pub system: Option<String>,
    /// The collections whose changes are not told.
    pub untold: BTreeSet<String>,
}

/// What a stream holds already of a database.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// By collection, what is said of it, and the stamp of its table where that is known.
    pub collections: BTreeMap<String, (Json, Option<String>)>,
    /// Those that are read all the same.
    pub again: BTreeSet<String>,
}

impl Held {
    /// Whether a collection stands as it is held.
    fn has(&self, found: &SourceCollection, stamp: Option<&String>) -> bool {
        let is_same = |(attributes, known): &(Json, Option<String>)| {
            *attributes == found.attributes && known.as_ref().is_none_or(|known| Some(known) == stamp)
        };
        !self.again.contains(&found.name) && self.collections.get(&found.name).is_some_and(is_same)
    }
}

impl PostgresSource {
    pub(super) fn new(server: Server, selection: Selection) -> Self {
        Self { server, selection, rows_only: false, mark: None, held: None, columns: Columns::default() }
    }

    /// Of some tables just these columns.
    pub(super) fn of_columns(self, columns: Columns) -> Self {
        Self { columns, ..self }
    }

    /// To be compared with, not to be kept: definitions are not asked for.
    pub(super) fn rows_only(self) -> Self {
        Self { rows_only: true, ..self }
    }

    /// The base of a stream.
    pub(super) fn marked(self, mark: Mark) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// What a stream lacks: everything is described, and rows are given of the rest alone.
    pub(super) fn without(self, held: Held) -> Self {
        Self { held: Some(held), ..self }
    }
}

impl Source for PostgresSource {
    fn identity(&self) -> Identity {
        let address = &self.server.address;
        Identity { connector: "postgresql", name: address.identity(), local: address.is_local() }
    }

    fn scope(&self) -> Scope {
        self.selection.scope()
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities { exact: true, ..SourceAbilities::default() }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        Ok(Box::new(self.begin_with(options, &mut |_| Ok(self.selection.clone()))?))
    }
}

/// Says which tables are meant, by what a connection sees of the state that is read.
pub(super) type Choose<'a> = &'a mut dyn FnMut(&mut Client) -> Result<Selection, ConnectorError>;

impl PostgresSource {
    /// As [`Source::begin`], of the tables that are chosen when the state is fixed.
    pub(super) fn begin_with(
        &self,
        options: &SessionOptions,
        choose: Choose<'_>,
    ) -> Result<PostgresSession, ConnectorError> {
        let mut leader = self.server.connect()?;
        let facts = self.server.facts(&mut leader)?;
        for _ in 0..MAX_BEGINNINGS {
            marker::refuse(&mut leader, &self.server.shown())?;
            if let Some(found) = Found::take(self, &facts, choose, &mut leader)? {
                return self.session(leader, facts, found, options);
            }
            leader.batch_execute("ROLLBACK").map_err(|error| error::reading(&self.server.shown(), &error))?;
        }
        Err(ConnectorError::Locked {
            object: self.server.shown(),
            reason: "tables are truncated, rewritten or dropped faster than a backup can begin".to_owned(),
        })
    }

    fn session(
        &self,
        mut leader: Client,
        facts: Facts,
        found: Found,
        options: &SessionOptions,
    ) -> Result<PostgresSession, ConnectorError> {
        let mut notes = found.notes;
        let mut attributes = gather::attributes(&mut leader, &self.server, &facts, &found.all)?;
        match found.definitions {
            None => {}
            Some(Ok(definitions)) => {
                attributes.before = definitions.before;
                attributes.after = definitions.after;
                attributes.dumped_by = Some(definitions.by);
            }
            Some(Err(why)) => notes.push(format!(
                "only rows are kept, and of tables their columns and keys: indexes, constraints, views, functions and rights \
                 are what pg_dump gives ({why})"
            )),
        }
        let ascii = facts.ascii();
        let mut plans: Vec<Arc<Plan>> =
            found.tables.into_iter().map(|table| Arc::new(Plan::new(table, ascii))).collect();
        let mut collections: Vec<SourceCollection> = plans.iter().map(|plan| describe(&plan.table)).collect();
        let objects =
            if found.selection.wants_large_objects() { gather::large_objects(&mut leader, &self.server)? } else { 0 };
        if objects > 0 {
            attributes.object_comments = gather::object_comments(&mut leader, &self.server)?;
            collections.push(SourceCollection {
                attributes: json!({ "format": FORMAT, "large_objects": true }),
                estimated_records: objects,
                ..SourceCollection::new(LARGE_OBJECTS, KeyCodec::Typed)
            });
        }
        attributes.stream = self.mark.clone().map(|mark| StreamState {
            slot: mark.slot,
            system: mark.system,
            timeline: found.timeline,
            position: mark.position,
            base: found.visible,
            publication: mark.publication,
            untold: mark.untold,
            oids: found.stamps.iter().map(|(name, stamp)| (name.clone(), stamp.oid)).collect(),
            stamps: found.stamps.iter().map(|(name, stamp)| (name.clone(), stamp.text.clone())).collect(),
            definitions: found.definitions_mark.clone(),
            is_whole: false,
        });
        attributes.format = FORMAT;
        attributes.tables = collections.iter().map(|collection| collection.name.clone()).collect();
        let attributes = serde_json::to_value::<Attributes>(attributes).unwrap_or_default();
        if let Some(held) = &self.held {
            let lacks = |one: &SourceCollection| !held.has(one, found.stamps.get(&one.name).map(|stamp| &stamp.text));
            plans.retain(|plan| lacks(&describe(&plan.table)));
            collections.retain(lacks);
        }
        let readers = options.parallel.clamp(1, MAX_READERS);
        let temp_dir = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let shared = Shared::new(self.server.clone(), facts, Some(found.snapshot), temp_dir, readers)?;
        Ok(PostgresSession {
            shared,
            readers,
            start: found.time,
            loaded: plans.iter().map(|_| Mutex::default()).collect(),
            plans,
            collections,
            attributes,
            notes,
            missing: found.missing,
            leader: Mutex::new(Some(leader)),
        })
    }
}

fn describe(table: &Table) -> SourceCollection {
    SourceCollection {
        name: table.collection(),
        codec: KeyCodec::Typed,
        attributes: serde_json::to_value(TableAttributes::of(table)).unwrap_or_default(),
        estimated_bytes: table.bytes,
        estimated_records: table.rows,
    }
}

/// What the leader found at the beginning of its transaction.
struct Found {
    snapshot: String,
    time: Timestamp,
    selection: Selection,
    /// Tables whose rows are read.
    tables: Vec<Table>,
    /// Everything that the catalog lists.
    all: Vec<Table>,
    notes: Vec<String>,
    missing: Vec<String>,
    /// What tables and the rest are made of, or why that is not known; nothing if it was not asked for.
    definitions: Option<Result<dump::Definitions, String>>,
    /// The transactions that the state shows.
    visible: Visible,
    timeline: String,
    /// Of tables, if a stream goes on from here.
    stamps: BTreeMap<String, Stamp>,
    /// And of all else.
    definitions_mark: Option<String>,
}

impl Found {
    /// Fixes a state and locks its tables; `None` if one of them changed in between.
    fn take(
        source: &PostgresSource,
        facts: &Facts,
        choose: Choose<'_>,
        leader: &mut Client,
    ) -> Result<Option<Self>, ConnectorError> {
        let object = source.server.shown();
        let fail = |error: postgres::Error| error::reading(&object, &error);
        leader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").map_err(fail)?;
        let sql = "SELECT pg_export_snapshot(), (extract(epoch FROM clock_timestamp()) * 1000)::int8, pg_is_in_recovery(), \
             pg_current_snapshot()::text, CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";
        let row = leader.query_one(sql, &[]).map_err(fail)?;
        let visible = row.get::<_, String>(3).parse::<Visible>();
        let visible = visible.map_err(|reason| ConnectorError::Unreadable { object: object.clone(), reason })?;
        let timeline = row.get::<_, Option<String>>(4).unwrap_or_default();
        let (snapshot, millis, replica): (String, i64, bool) = (row.get(0), row.get(1), row.get(2));
        let selection = choose(leader)?;
        let all = catalog::tables(leader, &selection, &object)?;
        let (mut notes, mut missing) = (Vec::new(), Vec::new());
        let mut tables = Vec::new();
        if replica {
            notes.push(played(leader).map_err(fail)?);
        }
        missing.extend(catalog::unread_sequences(&all));
        let unlogged = |table: &&Table| replica && table.kind == 'S' && table.may_read && table.unlogged;
        missing.extend(all.iter().filter(unlogged).map(|table| {
            let name = table.collection();
            format!("{}{name}: an unlogged sequence cannot be read on a replica", catalog::SEQUENCE)
        }));
        for table in all.iter().filter(|table| matches!(table.kind, 'r' | 'f')) {
            let name = table.collection();
            if table.kind == 'f' {
                notes.push(format!("{name} is a foreign table: its rows are elsewhere, and not kept"));
            } else if table.hides_rows {
                let reason = "row security hides rows of it from this user: only a superuser, its owner or a role with BYPASSRLS sees all";
                return Err(ConnectorError::Unreadable { object: format!("table {name}"), reason: reason.to_owned() });
            } else if !table.may_read {
                missing.push(format!("table {name}: {}", catalog::UNREADABLE));
            } else if replica && table.unlogged {
                missing.push(format!("table {name}: an unlogged table is empty on a replica"));
            } else {
                tables.push(table.clone());
            }
        }
        // Before tables are locked: whoever waited for one of those locks would be waited for by pg_dump, and we for that.
        let definitions =
            (!source.rows_only).then(|| dump::definitions(&source.server, facts, &snapshot, &selection)).transpose()?;
        let definitions_mark = source.mark.as_ref().map(|mark| stamps::definitions(leader, &mark.slot, &object));
        let definitions_mark = definitions_mark.transpose()?;
        for some in tables.chunks(100) {
            let list: Vec<String> = some.iter().map(|table| format!("ONLY {}", table.sql(false))).collect();
            match leader.batch_execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", list.join(", "))) {
                Ok(()) => {}
                // Dropped since the snapshot was taken.
                Err(error) if error.code().is_some_and(|code| code.code() == "42P01") => return Ok(None),
                Err(error) => return Err(fail(error)),
            }
        }
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let sql = "SELECT o.oid, pg_relation_filenode(o.oid)::oid FROM unnest($1::oid[]) AS o(oid)";
        for row in leader.query(sql, &[&oids]).map_err(fail)? {
            let (oid, file): (u32, Option<u32>) = (row.get(0), row.get(1));
            let is_another = |table: &Table| table.oid == oid && file != Some(table.files.0);
            if tables.iter().any(is_another) {
                return Ok(None);
            }
        }
        if !columns_stand(leader, &oids).map_err(fail)? {
            return Ok(None);
        }
        catalog::measure(leader, &mut tables, &object)?;
        catalog::describe(leader, &mut tables, &object)?;
        let columns = source.columns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for table in &mut tables {
            if let Some(columns) = columns.get(&table.collection()) {
                narrow(table, &|name| columns.contains(name));
            }
        }
        missing.extend(paths::settle(leader, &mut tables, &object)?);
        let stamps = if source.mark.is_some() { stamps::stamps(leader, &object)? } else { BTreeMap::new() };
        let time = Timestamp::from_millis(millis);
        Ok(Some(Self {
            snapshot,
            time,
            selection,
            tables,
            all,
            notes,
            missing,
            definitions,
            visible,
            timeline,
            stamps,
            definitions_mark,
        }))
    }
}

/// What state of its primary a replica shows.
fn played(leader: &mut Client) -> Result<String, postgres::Error> {
    let sql = "SELECT to_char(pg_last_xact_replay_timestamp(), 'YYYY-MM-DD HH24:MI:SS TZ'), pg_is_wal_replay_paused(), \
               (pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn())::int8, EXISTS (SELECT 1 FROM pg_stat_get_wal_receiver() r WHERE r.pid IS NOT NULL)";
    let row = leader.query_one(sql, &[])?;
    let upto = match row.get::<_, Option<String>>(0) {
        Some(time) => format!("the last commit that it had played is of {time}"),
        None => "it had played no commit since it began".to_owned(),
    };
    let mut words =
        format!("it is a replica, and what it shows is read, which may be older than its primary's state: {upto}");
    if row.get::<_, bool>(1) {
        words.push_str("; its replay is paused");
    } else if let Some(bytes) = row.get::<_, Option<i64>>(2).filter(|bytes| *bytes > 0) {
        words.push_str(&format!("; {bytes} bytes of log wait to be played"));
    }
    if !row.get::<_, bool>(3) {
        words.push_str("; it is not connected to its primary");
    }
    Ok(words)
}

/// Whether the columns that the snapshot names are there under these names now: rows are read by the names of columns, and
/// dropping or renaming one rewrites no table.
fn columns_stand(leader: &mut Client, oids: &[u32]) -> Result<bool, postgres::Error> {
    // The function looks at the catalog as it is now, and fails on a column that is not there.
    let sql = "SELECT count(has_column_privilege(attrelid, attname::text, 'SELECT')) FROM pg_attribute \
               WHERE attrelid = ANY($1) AND attnum > 0 AND NOT attisdropped";
    match leader.query(sql, &[&oids]) {
        Ok(_) => Ok(true),
        Err(error) if error.code().is_some_and(|code| code.code() == "42703") => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) struct PostgresSession {
    shared: Arc<Shared>,
    readers: usize,
    start: Timestamp,
    plans: Vec<Arc<Plan>>,
    /// Tables that have been looked at.
    loaded: Vec<Mutex<Option<Arc<Loaded>>>>,
    collections: Vec<SourceCollection>,
    attributes: Json,
    notes: Vec<String>,
    missing: Vec<String>,
    /// Holds the snapshot and the locks.
    leader: Mutex<Option<Client>>,
}

impl PostgresSession {
    /// What there is of a table, made when it is first asked for.
    fn loaded(
        &self,
        collection: usize,
        make: fn(&Shared, &Plan) -> Result<Loaded, ConnectorError>,
    ) -> Result<(&Arc<Plan>, Arc<Loaded>), ConnectorError> {
        let (Some(plan), Some(loaded)) = (self.plans.get(collection), self.loaded.get(collection)) else {
            let object = format!("collection {collection} of {}", self.shared.server.shown());
            return Err(ConnectorError::Missing { object });
        };
        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match &*loaded {
            Some(found) => Arc::clone(found),
            None => Arc::clone(loaded.insert(Arc::new(make(&self.shared, plan)?))),
        };
        Ok((plan, found))
    }

    /// Reads and sorts all rows of a table.
    pub(super) fn load(&self, collection: usize) -> Result<(), ConnectorError> {
        self.loaded(collection, Loaded::sorted).map(|_| ())
    }

    /// Ends the connections, unless values are left that are not in their rows: all that was sorted is here.
    pub(super) fn let_go(&self) -> Result<(), ConnectorError> {
        if self.shared.has_outside() { Ok(()) } else { self.end() }
    }

    /// Ends the connections. If the leader's had ended before, its locks went with it: a table that was truncated since looks empty to
    /// whoever came to it later, in whatever snapshot, so nothing that was read can be relied on.
    fn end(&self) -> Result<(), ConnectorError> {
        self.shared.close();
        let Some(mut leader) = self.leader.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let (is_replica, object) = (self.shared.facts.is_replica, self.shared.server.shown());
        leader.batch_execute("COMMIT").map_err(|error| error::reading_from(is_replica, &object, &error))
    }

    fn is_objects(&self, collection: usize) -> bool {
        collection == self.plans.len() && collection < self.collections.len()
    }
}

impl SourceSession for PostgresSession {
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
        if self.is_objects(collection) {
            return Ok(Vec::new());
        }
        Ok(self.loaded(collection, Loaded::of)?.1.splits(parts))
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        if self.is_objects(collection) {
            return Ok(Box::new(ObjectStream::new(Arc::clone(&self.shared), range)));
        }
        let (plan, loaded) = self.loaded(collection, Loaded::of)?;
        Ok(Box::new(RowStream::of(&self.shared, plan, &loaded, range)?))
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        self.end()?;
        let mut missing = self.missing.clone();
        missing.extend(self.shared.take_unusable());
        Ok(SessionEnd { end: self.start, missing, notes: self.notes.clone(), ..SessionEnd::default() })
    }

    fn stop(&self) {
        self.shared.stop();
    }
}
