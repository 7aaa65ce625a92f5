//! A restore in steps by several connections, into a database that has none of the tables: the part before rows, rows, the part
//! after them. What marks it as unfinished, and how it goes on: `docs/postgresql.md`.

mod after;
mod crew;
mod order;
mod rows;

use super::{
    attributes::{Attributes, TableAttributes, parse},
    catalog::{self, KeyKind, Table},
    client::{Client, Facts, PLAN_AS_USUAL, Server},
    commit::commit,
    define::{attempt, define},
    error::{reading, said, writing},
    fit::{check_fit, make_plain, make_schemas},
    gather::{comment_objects, set_sequence},
    marker::{self, Done, Marker},
    names,
    plan::Plan,
    routing, script,
    select::{LARGE_OBJECTS, Selection},
    write::{Insert, LATER},
};
use crate::connector::{
    CollectionTarget, ConnectorError, Outcomes, TargetCollection, TargetEnd, TargetPlan, TargetSession,
};
use after::{After, Status};
use crew::Crew;
use rows::{Rows, What, Work};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Connections that write at once.
const MAX_WRITERS: usize = 16;

/// Memory in which the server sorts rows for indexes, for all connections together: 512 MiB.
const SORT_KIB: u64 = 512 << 10;

/// What a person can see and say while it runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) status: Status,
}

impl Watch {
    pub(super) fn status(&self) -> Option<String> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is restored where.
pub(super) struct Ground {
    pub(super) server: Server,
    pub(super) facts: Facts,
    pub(super) attributes: Attributes,
    pub(super) plan: TargetPlan,
    /// The snapshot.
    pub(super) snapshot: String,
    pub(super) watch: Watch,
}

/// A restore in steps.
pub(super) struct Steps {
    ground: Ground,
    object: String,
    lead: Client,
    crew: Crew,
    /// What an earlier run has done.
    done: Done,
    resumes: bool,
    /// The tables that are there, by their collections.
    tables: HashMap<String, Table>,
    /// Tables that an earlier run wrote, and that do not hold it any more.
    again: HashSet<String>,
    missing: Vec<String>,
    notes: Vec<String>,
    /// Whether rows were refused that may be taken now.
    later: Arc<AtomicBool>,
}

impl Steps {
    /// Begins, or goes on where another run was stopped; `None` if this user may make no mark.
    pub(super) fn begin(
        ground: Ground,
        mut lead: Client,
        found: Option<Marker>,
    ) -> Result<Option<Self>, ConnectorError> {
        let object = ground.server.shown();
        let resumes = found.is_some();
        marker::lead(&mut lead, &object)?;
        lead.batch_execute("SET synchronous_commit = off").map_err(|error| writing(&object, &error))?;
        let (missing, done) = if let Some(marker) = found {
            (marker.missing, marker::done(&mut lead, &object)?)
        } else {
            match before(&ground, &mut lead, &object)? {
                Some(missing) => (missing, Done::new()),
                None => return Ok(None),
            }
        };
        let crew = Crew::gather(&ground.server, &ground.facts, ground.plan.parallel.clamp(1, MAX_WRITERS))?;
        let tables = tables(&mut lead, &ground.plan, &object)?;
        Ok(Some(Self {
            ground,
            object,
            lead,
            crew,
            done,
            resumes,
            tables,
            again: HashSet::new(),
            missing,
            notes: Vec::new(),
            later: Arc::default(),
        }))
    }

    fn fail(&self, error: &postgres::Error) -> ConnectorError {
        writing(&self.object, error)
    }

    fn sequences(&mut self) -> Result<(), ConnectorError> {
        self.lead.batch_execute("BEGIN").map_err(|error| self.fail(&error))?;
        for sequence in &self.ground.attributes.sequences {
            if let Err(error) = attempt(&mut self.lead, &set_sequence(sequence, false), &self.object)? {
                let name = names::collection(&sequence.schema, &sequence.name);
                self.missing.push(format!("the value of sequence {name}: {}", said(&error)));
            }
        }
        let comments = &self.ground.attributes.object_comments;
        self.missing.extend(comment_objects(&mut self.lead, comments, &self.object)?);
        self.lead.batch_execute("COMMIT").map_err(|error| self.fail(&error))
    }

    /// Makes the connections that wrote rows ones that run statements: constraints that come now are to look at the rows.
    fn turn(&self) {
        let memory = SORT_KIB / self.crew.len().max(1) as u64;
        for worker in 0..self.crew.len() {
            let job = move |client: &mut Client| {
                let _ = client.batch_execute("SET client_encoding = 'UTF8'");
                // Who could not set it need not set it back.
                let _ = client.batch_execute("RESET session_replication_role");
                let _ = client.batch_execute(PLAN_AS_USUAL);
                // What somebody has said of it stands.
                let sql = format!(
                    "SELECT set_config(name, '{memory}kB', false) FROM pg_catalog.pg_settings \
                     WHERE name = 'maintenance_work_mem' AND source = 'default' AND setting::int8 < {memory}"
                );
                let _ = client.batch_execute(&sql);
            };
            self.crew.give(worker, Box::new(job));
        }
    }

    fn table(&mut self, at: usize) -> Result<Work, ConnectorError> {
        let wanted = self.ground.plan.collections[at].clone();
        let object = format!("table {} of {}", wanted.name, self.object);
        let attributes: TableAttributes = parse(&wanted.attributes, &object)?;
        let found = self.tables.get(&wanted.name).cloned();
        let mut table = found.ok_or_else(|| ConnectorError::Missing { object: object.clone() })?;
        let others = check_fit(&mut table, &attributes, false, &object)?;
        let sql = table.sql(false);
        let fail = |error: postgres::Error| reading(&object, &error);
        let ask = format!(
            "SELECT EXISTS (SELECT 1 FROM ONLY {sql}), \
             EXISTS (SELECT 1 FROM pg_index WHERE indrelid = $1 AND (indisunique OR indisexclusion)), \
             EXISTS (SELECT 1 FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = $1 AND deptype = 'e')"
        );
        let row = self.lead.query_one(&ask, &[&table.oid]).map_err(fail)?;
        // An extension fills tables of its own when it is made.
        let (mut is_empty, has_unique, of_extension): (bool, bool, bool) =
            (!row.get::<_, bool>(0), row.get(1), row.get(2));
        // Of one that a crash empties it is not known which rows those were.
        let through = if table.unlogged { None } else { routing::through(&mut self.lead, table.oid, &object)? };
        let alone = has_unique || of_extension || through.is_some();
        if through.is_some() {
            // Rows of other partitions may lie there by now.
            is_empty = true;
            self.notes.push(routing::note(&wanted.name));
        }
        if self.resumes && !is_empty && (!alone || self.again.contains(&wanted.name)) {
            self.empty(&sql, &object)?;
            is_empty = true;
        }
        if table.key_kind == KeyKind::Content {
            table.key.clear();
        }
        let insert = Insert::new(&table, &attributes, &object)?.through(through).keeping(others);
        let plan = Arc::new(Plan::new(table, self.ground.facts.ascii()));
        let what = What::Table { plan, insert, is_empty };
        // A table that is not empty is written by one who sees all rows in their order.
        let (overwrite, alone) = (self.ground.plan.overwrite, alone || !is_empty);
        let later = Arc::clone(&self.later);
        Ok(Work { what, name: wanted.name, object, overwrite, expected: wanted.records, alone, later })
    }

    /// Empties a table of which an earlier run wrote a part.
    fn empty(&mut self, sql: &str, object: &str) -> Result<(), ConnectorError> {
        let fail = |error: postgres::Error| writing(object, &error);
        match self.lead.batch_execute(&format!("TRUNCATE ONLY {sql}")) {
            Ok(()) => Ok(()),
            // Foreign keys refer to it.
            Err(error) if error.code().is_some_and(|code| code.code() == "0A000") => {
                self.lead.batch_execute(&format!("DELETE FROM ONLY {sql}")).map_err(fail)
            }
            Err(error) => Err(fail(error)),
        }
    }
}

/// All tables as they are after the part before rows.
fn tables(lead: &mut Client, plan: &TargetPlan, object: &str) -> Result<HashMap<String, Table>, ConnectorError> {
    let key = |one: &TargetCollection| {
        let attributes = parse::<TableAttributes>(&one.attributes, object).ok()?;
        Some((one.name.clone(), attributes.key))
    };
    let keys = plan.collections.iter().filter_map(key).collect();
    let mut all = catalog::tables(lead, &Selection::default(), object)?;
    all.retain(|table| table.kind == 'r');
    for table in &mut all {
        table.condition = None;
    }
    catalog::describe_with(lead, &mut all, &keys, object)?;
    Ok(all.into_iter().map(|table| (table.collection(), table)).collect())
}

/// Makes the part before rows and the mark, in one transaction; gives what could not be made, or `None` if the mark cannot be.
fn before(ground: &Ground, lead: &mut Client, object: &str) -> Result<Option<Vec<String>>, ConnectorError> {
    let fail = |error: postgres::Error| writing(object, &error);
    lead.batch_execute("BEGIN").map_err(fail)?;
    let mut missing = Vec::new();
    if !Marker::create(lead, &ground.snapshot, object)? {
        lead.batch_execute("ROLLBACK").map_err(fail)?;
        return Ok(None);
    }
    // Where this may not be set, what runs on definitions runs.
    let _ = attempt(lead, "SET LOCAL session_replication_role = replica", object)?;
    make_schemas(lead, &ground.plan.collections, &ground.attributes.before, object)?;
    for statement in script::statements(&ground.attributes.before) {
        define(lead, statement, false, object, &mut missing)?;
    }
    make_plain(lead, &ground.plan.collections, &mut missing, object)?;
    Marker::keep_missing(lead, &missing, object)?;
    lead.batch_execute("COMMIT").map_err(fail)?;
    Ok(Some(missing))
}

impl TargetSession for Steps {
    fn written_before(&mut self, collection: usize) -> Result<Option<Outcomes>, ConnectorError> {
        let Some(one) = self.ground.plan.collections.get(collection) else { return Ok(None) };
        let key = (rows::KIND.to_owned(), marker::plain(&one.name));
        let Some(said) = self.done.get(&key) else { return Ok(None) };
        let Ok(outcomes) = serde_json::from_str::<Outcomes>(said) else { return Ok(None) };
        if one.source_name == LARGE_OBJECTS {
            return Ok(Some(outcomes));
        }
        let object = format!("table {} of {}", one.name, self.object);
        let table = self.tables.get(&one.name).ok_or_else(|| ConnectorError::Missing { object: object.clone() })?;
        if table.unlogged {
            // A server that dies empties it.
            let sql = format!("SELECT count(*) FROM ONLY {}", table.sql(false));
            let row = self.lead.query_one(&sql, &[]).map_err(|error| reading(&object, &error))?;
            if row.get::<_, i64>(0).unsigned_abs() != outcomes.inserted + outcomes.replaced + outcomes.existed {
                let sql = format!("DELETE FROM {}.done WHERE kind = $1 AND name = $2", marker::SCHEMA);
                self.lead.execute(&sql, &[&key.0, &key.1]).map_err(|error| writing(&object, &error))?;
                self.again.insert(one.name.clone());
                return Ok(None);
            }
        }
        Ok(Some(outcomes))
    }

    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let Some(wanted) = self.ground.plan.collections.get(collection) else {
            return Err(ConnectorError::Missing { object: format!("collection {collection} of the restore") });
        };
        let work = if wanted.source_name == LARGE_OBJECTS {
            let (server, facts) = (self.ground.server.clone(), self.ground.facts.clone());
            Work {
                what: What::Objects { server, facts },
                name: wanted.name.clone(),
                object: format!("large objects of {}", self.object),
                overwrite: self.ground.plan.overwrite,
                expected: wanted.records,
                alone: true,
                later: Arc::clone(&self.later),
            }
        } else {
            self.table(collection)?
        };
        Ok(Box::new(Rows::new(&mut self.lead, &self.crew, work)))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        self.sequences()?;
        self.turn();
        let place = |name: &str| names::place(name).ok();
        let collections = &self.ground.plan.collections;
        let sizes = collections.iter().filter_map(|one| Some((place(&one.name)?, one.records))).collect();
        let attributes = &self.ground.attributes;
        let last = After {
            lead: &mut self.lead,
            crew: &self.crew,
            object: &self.object,
            stop: &self.ground.watch.stop,
            status: &self.ground.watch.status,
            done: &self.done,
            sizes,
            missing: &mut self.missing,
        }
        .run(&attributes.after, &attributes.materialised)?;
        self.crew.dismiss();
        self.lead.batch_execute("BEGIN").map_err(|error| self.fail(&error))?;
        // Event triggers that were there before are not for what this restore made for itself; who may not set this has them run.
        let _ = attempt(&mut self.lead, "SET LOCAL session_replication_role = replica", &self.object)?;
        self.lead.batch_execute(&marker::end()).map_err(|error| self.fail(&error))?;
        for statement in last {
            define(&mut self.lead, Ok(statement), true, &self.object, &mut self.missing)?;
        }
        commit(&mut self.lead, &self.ground.server, &self.object)?;
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(["statistics are not restored: ANALYZE makes them anew".to_owned()]);
        if self.later.load(Ordering::Relaxed) {
            notes.push(LATER.to_owned());
        }
        if self.resumes {
            notes.push("the restore went on where an earlier one was stopped".to_owned());
        }
        Ok(TargetEnd { missing: std::mem::take(&mut self.missing), notes, ..TargetEnd::default() })
    }
}
