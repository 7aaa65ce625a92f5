//! The target: a database that is changed in one transaction, or, if it has none of the tables, made in steps.

use super::{
    aftermath,
    attributes::{Attributes, TableAttributes, parse},
    catalog::{KeyKind, Table},
    client::{Client, Facts, PLAN_AS_USUAL, Server},
    commit::commit,
    define::{self, attempt, define},
    error::{names_what_is_not_found, reading, said, writing},
    fit::{check_fit, create_table, find, make_plain, make_schemas},
    gather::{comment_objects, set_sequence},
    lobs::ObjectWriter,
    marker, names, paths,
    plan::Plan,
    routing, script,
    select::{LARGE_OBJECTS, Selection},
    settings::TargetSettings,
    source::{Columns, PostgresSource},
    steps::{Ground, Steps, Watch},
    write::{Insert, LATER, TableWriter},
};
use crate::connector::{
    CollectionTarget, ConnectorError, Leaves, Meets, Overwrite, Source, Target, TargetAbilities, TargetCollection,
    TargetEnd, TargetPlan, TargetSession,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A database to write.
pub struct PostgresTarget {
    server: Server,
    table: Option<String>,
    settings: TargetSettings,
    watch: Watch,
    /// Columns of tables that rows were written to, where the tables have others as well.
    columns: Columns,
}

impl PostgresTarget {
    pub(super) fn new(server: Server, selection: &Selection) -> Result<Self, ConnectorError> {
        let table = selection.one_table();
        if table.is_none() && !selection.is_all() {
            let reason = "a target names one table at most: table=".to_owned();
            return Err(ConnectorError::Url { url: server.shown(), reason });
        }
        let (settings, watch) = (TargetSettings::default(), Watch::default());
        Ok(Self { server, table, settings, watch, columns: Columns::default() })
    }

    pub(super) fn with(self, settings: TargetSettings) -> Self {
        Self { settings, ..self }
    }

    fn look(&self) -> Result<(Client, Facts), ConnectorError> {
        let mut client = self.server.connect()?;
        let facts = self.server.facts(&mut client)?;
        Ok((client, facts))
    }

    fn check(&self, facts: &Facts, attributes: &Attributes) -> Result<(), ConnectorError> {
        if attributes.encoding == facts.encoding {
            return Ok(());
        }
        Err(ConnectorError::Mismatch {
            object: self.server.shown(),
            reason: format!(
                "its encoding is {}, and text of the snapshot is in {}: make the database with that encoding",
                facts.encoding, attributes.encoding
            ),
        })
    }
}

fn is_objects(collection: &TargetCollection) -> bool {
    collection.source_name == LARGE_OBJECTS
}

impl Target for PostgresTarget {
    fn connector(&self) -> &'static str {
        "postgresql"
    }

    fn collection(&self) -> Option<String> {
        self.table.clone()
    }

    fn abilities(&self) -> TargetAbilities {
        TargetAbilities { leaves: Leaves::Progress, ..TargetAbilities::default() }
    }

    fn stand_alone(&self, collection: &TargetCollection) -> bool {
        // Equal rows without a key are counted.
        let attributes = parse::<TableAttributes>(&collection.attributes, &collection.name);
        attributes.map_or(true, |attributes| attributes.key_kind != "content")
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let (mut client, _) = self.look()?;
        let object = self.server.shown();
        if marker::find(&mut client, &object)?.is_some() {
            // Whether this restore is the one that goes on is judged when the plan is known.
            return Ok(Vec::new());
        }
        let mut occupied = Vec::new();
        for name in collections {
            let from = if name == LARGE_OBJECTS {
                "pg_largeobject_metadata".to_owned()
            } else {
                let Some(table) = find(&mut client, name, &[], &object)? else { continue };
                format!("ONLY {}", table.sql(false))
            };
            let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {from} LIMIT 1000) s");
            let fail = |error: postgres::Error| reading(&object, &error);
            let row = match client.query_one(&sql, &[]) {
                Err(error) if names_what_is_not_found(&error) => {
                    let path = paths::usual(&mut client).map_err(fail)?;
                    client.batch_execute(&paths::set(Some(&path), false)).map_err(fail)?;
                    let row = client.query_one(&sql, &[]).map_err(fail)?;
                    client.batch_execute(&paths::set(None, false)).map_err(fail)?;
                    row
                }
                asked => asked.map_err(fail)?,
            };
            let count = row.get::<_, i64>(0).unsigned_abs();
            if count > 0 {
                occupied.push((name.clone(), count));
            }
        }
        Ok(occupied)
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        let object = self.server.shown();
        let attributes = self.attributes(plan)?;
        let (mut client, facts) = self.look()?;
        self.check(&facts, &attributes)?;
        if let Some(marker) = marker::find(&mut client, &object)? {
            marker.check(self.snapshot(plan), &object)?;
            return Ok(vec![Meets::Nothing; plan.collections.len()]);
        }
        let mut meets = Vec::new();
        for collection in &plan.collections {
            if is_objects(collection) {
                meets.push(Meets::Records);
                continue;
            }
            let object = format!("table {} of {object}", collection.name);
            let wanted: TableAttributes = parse(&collection.attributes, &object)?;
            meets.push(match find(&mut client, &collection.name, &wanted.key, &self.server.shown())? {
                None => Meets::Nothing,
                Some(mut table) => {
                    check_fit(&mut table, &wanted, true, &object)?;
                    Meets::Records
                }
            });
        }
        Ok(meets)
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        let object = self.server.shown();
        let attributes = self.attributes(plan)?;
        let (mut client, facts) = self.look()?;
        self.check(&facts, &attributes)?;
        let found = marker::find(&mut client, &object)?;
        if let Some(marker) = &found {
            marker.check(self.snapshot(plan), &object)?;
        }
        let Some(snapshot) = self.snapshot(plan).filter(|_| attributes.dumped_by.is_some()).map(str::to_owned) else {
            return Ok(Box::new(self.begin_with(plan, &mut |_| Ok(()))?));
        };
        if found.is_none() && !is_new(&mut client, plan, &attributes, &object)? {
            return Ok(Box::new(self.begin_with(plan, &mut |_| Ok(()))?));
        }
        let (server, watch) = (self.server.clone(), self.watch.clone());
        let ground = Ground { server, facts, attributes, plan: plan.clone(), snapshot, watch };
        match Steps::begin(ground, client, found)? {
            Some(steps) => Ok(Box::new(steps)),
            None => Ok(Box::new(self.begin_with(plan, &mut |_| Ok(()))?)),
        }
    }

    fn is_about(&self) -> Option<String> {
        self.watch.status()
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        Some(Arc::clone(&self.watch.stop))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        let table = self.table.as_ref().map(|name| names::place(name)).transpose()?;
        let selection = table.map_or_else(Selection::default, |table| Selection::only([table]));
        let source = PostgresSource::new(self.server.clone(), selection).rows_only();
        Ok(Some(Box::new(source.of_columns(Arc::clone(&self.columns)))))
    }
}

/// Whether a plan brings a whole database to where none of its tables is.
fn is_new(
    client: &mut Client,
    plan: &TargetPlan,
    attributes: &Attributes,
    object: &str,
) -> Result<bool, ConnectorError> {
    let collections = &plan.collections;
    let same: BTreeSet<&String> =
        collections.iter().filter(|one| one.name == one.source_name).map(|one| &one.source_name).collect();
    if plan.partial || !attributes.tables.iter().all(|table| same.contains(table)) {
        return Ok(false);
    }
    for collection in collections.iter().filter(|collection| !is_objects(collection)) {
        if find(client, &collection.name, &[], object)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Work in the transaction of a restore.
pub(super) type Work<'a> = &'a mut dyn FnMut(&mut Client) -> Result<(), ConnectorError>;

impl PostgresTarget {
    /// As [`Target::begin`]; `first` is what the transaction begins with.
    pub(super) fn begin_with(
        &self,
        plan: &TargetPlan,
        first: Work<'_>,
    ) -> Result<PostgresTargetSession, ConnectorError> {
        let object = self.server.shown();
        let attributes = self.attributes(plan)?;
        let (mut client, facts) = self.look()?;
        self.check(&facts, &attributes)?;
        marker::refuse(&mut client, &object)?;
        client.batch_execute("BEGIN").map_err(|error| writing(&object, &error))?;
        let mut session = PostgresTargetSession {
            server: self.server.clone(),
            facts,
            attributes,
            plan: plan.clone(),
            object,
            whole: false,
            replica: false,
            silenced: Vec::new(),
            existing: BTreeSet::new(),
            notes: Vec::new(),
            missing: Vec::new(),
            columns: Arc::clone(&self.columns),
            later: Arc::default(),
            path: None,
            client,
        };
        first(&mut session.client)?;
        session.prepare()?;
        Ok(session)
    }

    /// The snapshot of a plan that may be restored in steps.
    fn snapshot<'a>(&self, plan: &'a TargetPlan) -> Option<&'a str> {
        let replaces = matches!(plan.overwrite, Overwrite::Always | Overwrite::Never) && !plan.make_equal;
        let is_whole = !plan.partial && plan.collections.iter().all(|one| one.name == one.source_name);
        let in_steps = is_whole && replaces && !self.settings.single_transaction && self.table.is_none();
        plan.snapshot.as_deref().filter(|_| in_steps)
    }

    /// What the snapshot says of its database.
    fn attributes(&self, plan: &TargetPlan) -> Result<Attributes, ConnectorError> {
        let object = self.server.shown();
        if plan.connector == super::atlas::CONNECTOR {
            let reason = "the snapshot is one of an AtlasDB store: its restore also cleans transactions and moves timestamps forward, \
                          which atlasdb: targets do";
            return Err(ConnectorError::Mismatch { object, reason: reason.to_owned() });
        }
        parse(&plan.attributes, &object)
    }
}

pub(super) struct PostgresTargetSession {
    server: Server,
    facts: Facts,
    attributes: Attributes,
    plan: TargetPlan,
    object: String,
    /// Whether the database is made anew, with all that the snapshot has.
    whole: bool,
    /// Whether triggers and foreign keys do not run.
    replica: bool,
    /// Statements after which triggers and rules run again that were kept from running.
    silenced: Vec<String>,
    /// Tables that were there before.
    existing: BTreeSet<String>,
    notes: Vec<String>,
    missing: Vec<String>,
    columns: Columns,
    /// Whether rows were refused that may be taken when all tables are whole.
    later: Arc<AtomicBool>,
    /// The search path without which some tables cannot be looked at.
    path: Option<String>,
    client: Client,
}

impl PostgresTargetSession {
    fn fail(&self, error: &postgres::Error) -> ConnectorError {
        writing(&self.object, error)
    }

    fn run(&mut self, sql: &str) -> Result<(), ConnectorError> {
        self.client.batch_execute(sql).map_err(|error| self.fail(&error))
    }

    /// Runs a statement; if it fails, what it did is undone alone.
    fn attempt(&mut self, sql: &str) -> Result<Result<(), postgres::Error>, ConnectorError> {
        attempt(&mut self.client, sql, &self.object)
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        self.replica = self.attempt("SET LOCAL session_replication_role = replica")?.is_ok();
        let collections = self.plan.collections.clone();
        for collection in collections.iter().filter(|collection| !is_objects(collection)) {
            if find(&mut self.client, &collection.name, &[], &self.object)?.is_some() {
                self.existing.insert(collection.name.clone());
            }
        }
        let same: BTreeSet<&String> =
            collections.iter().filter(|one| one.name == one.source_name).map(|one| &one.source_name).collect();
        let all = self.attributes.tables.iter().all(|table| same.contains(table));
        self.whole = self.existing.is_empty() && all && !self.plan.partial && self.attributes.dumped_by.is_some();
        if self.whole {
            let before = std::mem::take(&mut self.attributes.before);
            make_schemas(&mut self.client, &collections, &before, &self.object)?;
            for statement in script::statements(&before) {
                self.define(statement, false)?;
            }
            make_plain(&mut self.client, &collections, &mut self.missing, &self.object)?;
        }
        self.server.in_own_encoding(&mut self.client, &self.facts)
    }

    /// Makes one thing that `pg_dump` described.
    fn define(&mut self, statement: script::Statement<'_>, may_fail: bool) -> Result<(), ConnectorError> {
        define(&mut self.client, statement, may_fail, &self.object, &mut self.missing)
    }

    fn finish_definitions(&mut self) -> Result<(), ConnectorError> {
        if self.facts.ascii() {
            self.run("SET client_encoding = 'UTF8'")?;
        }
        for sequence in self.attributes.sequences.clone() {
            if self.whole {
                if let Err(error) = self.attempt(&set_sequence(&sequence, false))? {
                    let name = names::collection(&sequence.schema, &sequence.name);
                    self.missing.push(format!("the value of sequence {name}: {}", said(&error)));
                }
                continue;
            }
            let of_plan = |table: &String| {
                self.plan.collections.iter().any(|one| one.source_name == *table && one.name == *table)
            };
            if sequence.table.as_ref().is_some_and(of_plan) {
                // A table that was made here has none.
                let _ = self.attempt(&set_sequence(&sequence, true))?;
            }
        }
        if self.plan.collections.iter().any(is_objects) {
            let comments = std::mem::take(&mut self.attributes.object_comments);
            self.missing.extend(comment_objects(&mut self.client, &comments, &self.object)?);
        }
        if !self.whole {
            return Ok(());
        }
        // Constraints that come now are to look at the rows.
        if self.replica {
            self.run("SET LOCAL session_replication_role = origin")?;
        }
        self.run(PLAN_AS_USUAL)?;
        let after = std::mem::take(&mut self.attributes.after);
        let is_last = |statement: &script::Statement<'_>| {
            statement.as_ref().is_ok_and(|statement| define::is_of_event_trigger(statement))
        };
        let (last, statements): (Vec<_>, Vec<_>) = script::statements(&after).into_iter().partition(is_last);
        for statement in statements {
            self.define(statement, true)?;
        }
        self.refresh()?;
        last.into_iter().try_for_each(|statement| self.define(statement, true))
    }
}

impl PostgresTargetSession {
    /// Fills materialised views, in the order in which they were made; one that needs a later one is tried again behind it.
    fn refresh(&mut self) -> Result<(), ConnectorError> {
        let views = std::mem::take(&mut self.attributes.materialised);
        let mut left: Vec<String> = views.iter().map(|view| format!("REFRESH MATERIALIZED VIEW {view}")).collect();
        loop {
            let (tried, mut failed) = (left.len(), Vec::new());
            for sql in left {
                if let Err(error) = self.attempt(&sql)? {
                    failed.push((sql, error));
                }
            }
            if failed.is_empty() || failed.len() == tried {
                for (sql, error) in &failed {
                    define::miss(sql, error, &mut self.missing);
                }
                return Ok(());
            }
            left = failed.into_iter().map(|(sql, _)| sql).collect();
        }
    }
}

impl TargetSession for PostgresTargetSession {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let Some(wanted) = self.plan.collections.get(collection).cloned() else {
            return Err(ConnectorError::Missing { object: format!("collection {collection} of the restore") });
        };
        if is_objects(&wanted) {
            let writer =
                ObjectWriter::new(&mut self.client, self.server.clone(), self.facts.clone(), self.plan.overwrite);
            return Ok(Box::new(writer?));
        }
        let object = format!("table {} of {}", wanted.name, self.object);
        let attributes: TableAttributes = parse(&wanted.attributes, &object)?;
        if self.facts.ascii() {
            self.run("SET client_encoding = 'UTF8'")?;
        }
        let mut found = find(&mut self.client, &wanted.name, &attributes.key, &self.object)?;
        if found.is_none() {
            let place = names::place(&wanted.name)?;
            for sql in create_table(&place, &attributes) {
                self.client.batch_execute(&sql).map_err(|error| writing(&object, &error))?;
            }
            self.notes.push(format!(
                "{}: made with columns, types, NOT NULL and the key; defaults, indexes, constraints and rights are not restored \
                 with single tables",
                wanted.name
            ));
            found = find(&mut self.client, &wanted.name, &attributes.key, &self.object)?;
        }
        let mut tables: Vec<Table> = found.into_iter().collect();
        if let Some(why) = paths::settle(&mut self.client, &mut tables, &self.object)?.pop() {
            return Err(ConnectorError::Unwritable { object, reason: why });
        }
        let mut table = tables.pop().ok_or_else(|| ConnectorError::Missing { object: object.clone() })?;
        self.path = self.path.take().or_else(|| table.path.clone());
        let is_new = !self.existing.contains(&wanted.name);
        let others = check_fit(&mut table, &attributes, !is_new, &object)?;
        if !others.is_empty() {
            let own = table.columns.iter().map(|column| column.name.clone()).collect();
            self.columns.lock().unwrap_or_else(PoisonError::into_inner).insert(wanted.name.clone(), own);
        }
        let sql = table.sql(false);
        let mut is_empty = is_new;
        if !is_new {
            self.client
                .batch_execute(&format!("LOCK TABLE ONLY {sql} IN EXCLUSIVE MODE"))
                .map_err(|error| writing(&object, &error))?;
            is_empty = !self.holds_rows(&table, &object)?;
            if self.replica {
                self.silenced.extend(aftermath::silence(&mut self.client, table.oid, &sql, &object)?);
            } else {
                aftermath::check_triggers(&mut self.client, table.oid, &object)?;
            }
        } else if self.whole {
            // An extension fills tables of its own when it is made.
            is_empty = !self.holds_rows(&table, &object)?;
        }
        let mut through = routing::through(&mut self.client, table.oid, &object)?;
        // Into a database that had none of the tables rows of other partitions may have come there.
        is_empty |= self.whole && through.is_some();
        through = through.filter(|_| is_empty);
        if through.is_some() {
            self.notes.push(routing::note(&wanted.name));
        }
        self.server.in_own_encoding(&mut self.client, &self.facts)?;
        if table.key_kind == KeyKind::Content {
            table.key.clear();
        }
        let insert = Insert::new(&table, &attributes, &object)?.through(through).keeping(others);
        let plan = Arc::new(Plan::new(table, self.facts.ascii()));
        let later = Arc::clone(&self.later);
        let writer = TableWriter::new(&mut self.client, plan, insert, self.plan.overwrite, is_empty, object, later);
        Ok(Box::new(writer?))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        self.finish_with(&mut |_| Ok(()))
    }
}

impl PostgresTargetSession {
    /// Has names found by a path that tables need, if one does.
    fn find_names(&mut self, path: Option<&str>) -> Result<(), ConnectorError> {
        if self.path.is_none() { Ok(()) } else { self.run(&paths::set(path, true)) }
    }

    fn holds_rows(&mut self, table: &Table, object: &str) -> Result<bool, ConnectorError> {
        self.find_names(table.path.as_deref())?;
        let sql = format!("SELECT EXISTS (SELECT 1 FROM ONLY {})", table.sql(false));
        let row = self.client.query_one(&sql, &[]).map_err(|error| reading(object, &error))?;
        self.find_names(None)?;
        Ok(row.get(0))
    }

    /// As [`TargetSession::finish`]; `last` is what the transaction ends with.
    pub(super) fn finish_with(&mut self, last: Work<'_>) -> Result<TargetEnd, ConnectorError> {
        self.finish_definitions()?;
        for sql in std::mem::take(&mut self.silenced) {
            self.run(&sql)?;
        }
        if !self.existing.is_empty() {
            let names: Vec<String> = self.existing.iter().cloned().collect();
            let path = self.path.clone();
            self.find_names(path.as_deref())?;
            self.missing.extend(aftermath::broken_references(&mut self.client, &names, &self.object)?);
            self.find_names(None)?;
        }
        let is_whole = !self.plan.partial && self.plan.left_out.is_none() && self.plan.connector == "postgresql";
        if self.plan.make_equal && is_whole {
            let known: Vec<&str> = self.plan.collections.iter().map(|one| one.name.as_str()).collect();
            self.missing.extend(aftermath::left_over(&mut self.client, &known, &self.object)?);
        }
        last(&mut self.client)?;
        commit(&mut self.client, &self.server, &self.object)?;
        if self.whole {
            self.notes.push("statistics are not restored: ANALYZE makes them anew".to_owned());
        }
        if self.later.load(Ordering::Relaxed) {
            self.notes.push(LATER.to_owned());
        }
        let (missing, notes) = (std::mem::take(&mut self.missing), std::mem::take(&mut self.notes));
        Ok(TargetEnd { missing, notes, ..TargetEnd::default() })
    }
}
