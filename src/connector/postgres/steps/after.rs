//! The part after rows: what may be made early is made side by side, what fails there is tried again in its order.

use super::{
    crew::Crew,
    order::{Kind, Order, Step, TableName},
};
use crate::connector::{
    ConnectorError,
    postgres::{
        client::Client,
        define::{is_aside, is_of_event_trigger, is_there, miss, refused, shortened},
        error::{said, writing},
        marker::{self, Done},
    },
};
use crossbeam_channel::RecvTimeoutError;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often it is looked whether to stop.
const PAUSE: Duration = Duration::from_millis(50);

/// Kinds of what is noted: a statement, and an index that a constraint is to take.
const STATEMENT: &str = "statement";
const BUILT: &str = "index";

/// What a restore waits for, for people.
pub(super) type Status = Arc<Mutex<Option<String>>>;

/// One statement that a connection runs.
struct Task {
    /// Which of the steps it is of.
    step: usize,
    kind: &'static str,
    sql: String,
    /// What is set before it.
    settings: Arc<str>,
    /// Tables that it locks, each alone or beside others that read its rows.
    locks: Vec<(TableName, bool)>,
}

impl Task {
    fn conflicts(&self, other: &Self) -> bool {
        let meets = |(table, alone): &(TableName, bool)| {
            other.locks.iter().any(|(theirs, also)| theirs == table && (*alone || *also))
        };
        self.locks.iter().any(meets)
    }

    /// Runs it, with the note that it is done.
    fn run(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.batch_execute(&format!("BEGIN; {}", self.settings))?;
        let note = marker::note(self.kind, &self.step.to_string(), "");
        match client.batch_execute(&self.sql).and_then(|()| client.batch_execute(&format!("{note}; COMMIT"))) {
            Err(error) if !client.is_closed() => client.batch_execute("ROLLBACK").and(Err(error)),
            ended => ended,
        }
    }
}

/// Why a statement was not run.
enum Trouble {
    Server(postgres::Error),
    Panicked,
}

impl Trouble {
    /// Whether it is no fault of the statement's: the same one may succeed another day.
    fn is_passing(&self) -> bool {
        match self {
            Self::Panicked => true,
            // Resources, an operator, the system, the connection.
            Self::Server(error) => {
                error.code().is_none_or(|code| ["53", "57", "58", "08"].contains(&&code.code()[..2]))
            }
        }
    }

    /// Whether rows are at fault: in any order it fails.
    fn is_final(&self) -> bool {
        matches!(self, Self::Server(error) if error.code().is_some_and(|code| code.code().starts_with("23")))
    }

    fn said(&self) -> String {
        match self {
            Self::Server(error) => said(error),
            Self::Panicked => "a writer panicked".to_owned(),
        }
    }
}

/// Whether others stood in the way: locks, deadlocks.
fn is_of_others(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code() == "55P03" || code.code().starts_with("40"))
}

/// What is made after rows.
pub(super) struct After<'a> {
    pub(super) lead: &'a mut Client,
    pub(super) crew: &'a Crew,
    pub(super) object: &'a str,
    pub(super) stop: &'a AtomicBool,
    pub(super) status: &'a Status,
    pub(super) done: &'a Done,
    /// Rows of tables, by which the largest come first.
    pub(super) sizes: HashMap<TableName, u64>,
    pub(super) missing: &'a mut Vec<String>,
}

impl After<'_> {
    /// Makes what a script describes, and materialised views after it; gives the statements that are left for the end.
    pub(super) fn run<'t>(&mut self, text: &'t str, views: &[String]) -> Result<Vec<&'t str>, ConnectorError> {
        let order = Order::of(text).map_err(refused)?;
        let settings = self.settings(&order.settings)?;
        let is_last = |at: usize, sql: &str| is_of_event_trigger(sql) && !self.is_done(STATEMENT, at);
        let last = order.steps.iter().enumerate().filter(|(at, step)| is_last(*at, step.sql));
        let last = last.map(|(_, step)| step.sql).collect();
        let steps = order.steps;
        let of = |step: &Step<'_>| Arc::clone(&settings[step.settings]);
        let ordinary = self.ordinary_tables()?;
        let takes = |step: &Step<'_>| matches!(&step.kind, Kind::Key { table, .. } if ordinary.contains(table));
        let early = |at: usize, step: &Step<'_>| {
            let (kind, sql, locks) = match &step.kind {
                Kind::Index(table) => (STATEMENT, step.sql, vec![(table.clone(), false)]),
                Kind::Key { table, build, .. } if takes(step) => (BUILT, build.as_str(), vec![(table.clone(), false)]),
                Kind::Key { table, .. } | Kind::Exclusive(table) => (STATEMENT, step.sql, vec![(table.clone(), true)]),
                Kind::Foreign(..) | Kind::Other => return None,
            };
            Some(Task { step: at, kind, sql: sql.to_owned(), settings: of(step), locks })
        };
        let tasks = steps.iter().enumerate().filter_map(|(at, step)| early(at, step));
        let mut failed = self.side_by_side(tasks.collect(), "indexes")?;
        let first_foreign = steps.iter().position(|step| matches!(step.kind, Kind::Foreign(..)));
        let first_foreign = first_foreign.unwrap_or(steps.len());
        for (at, step) in steps.iter().enumerate().take(first_foreign) {
            self.in_order(at, step, &of(step), failed.get(&at), takes(step))?;
        }
        let foreign = |(at, step): (usize, &Step<'_>)| {
            let Kind::Foreign(from, to) = &step.kind else { return None };
            let locks = vec![(from.clone(), true), (to.clone(), true)];
            Some(Task { step: at, kind: STATEMENT, sql: step.sql.to_owned(), settings: of(step), locks })
        };
        failed.extend(self.side_by_side(steps.iter().enumerate().filter_map(foreign).collect(), "foreign keys")?);
        for (at, step) in steps.iter().enumerate().skip(first_foreign) {
            self.in_order(at, step, &of(step), failed.get(&at), takes(step))?;
        }
        let all = settings.last().map_or_else(|| Arc::from(""), Arc::clone);
        self.refresh(steps.len(), views, &all)?;
        Ok(last)
    }

    /// Fills materialised views, in the order in which they were made; one that needs a later one (through a view that was replaced) is
    /// tried again behind it. `first` is the number of the first as a step.
    fn refresh(&mut self, first: usize, views: &[String], settings: &Arc<str>) -> Result<(), ConnectorError> {
        let numbered = (first..).zip(views).filter(|(at, _)| !self.is_done(STATEMENT, *at));
        let mut left: Vec<(usize, String)> =
            numbered.map(|(at, view)| (at, format!("REFRESH MATERIALIZED VIEW {view}"))).collect();
        loop {
            let (tried, mut failed) = (left.len(), Vec::new());
            for (step, sql) in left {
                let task =
                    Task { step, kind: STATEMENT, sql: sql.clone(), settings: Arc::clone(settings), locks: Vec::new() };
                if let Some(said) = self.alone(task)? {
                    failed.push((step, sql, said));
                }
            }
            if failed.is_empty() || failed.len() == tried {
                self.missing.extend(failed.into_iter().map(|(_, sql, said)| format!("{}: {said}", shortened(&sql))));
                return Ok(());
            }
            left = failed.into_iter().map(|(step, sql, _)| (step, sql)).collect();
        }
    }

    /// What is set before each statement, by how many settings stand before it. Those that this server does not know are left out.
    fn settings(&mut self, all: &[&str]) -> Result<Vec<Arc<str>>, ConnectorError> {
        let mut before = vec![Arc::from("")];
        let mut text = String::new();
        for sql in all {
            match self.lead.batch_execute(sql) {
                Ok(()) => {
                    text.push_str(sql);
                    text.push_str("; ");
                }
                Err(error) if is_there(sql, &error) => {}
                Err(error) if is_aside(sql) && !self.lead.is_closed() => miss(sql, &error, self.missing),
                Err(error) => return Err(writing(&format!("{} ({sql})", self.object), &error)),
            }
            before.push(Arc::from(text.as_str()));
        }
        Ok(before)
    }

    fn ordinary_tables(&mut self) -> Result<HashSet<TableName>, ConnectorError> {
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'";
        let rows = self.lead.query(sql, &[]).map_err(|error| writing(self.object, &error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn is_done(&self, kind: &str, step: usize) -> bool {
        self.done.contains_key(&(kind.to_owned(), step.to_string()))
    }

    /// Makes a step that nobody has made yet. `takes` says whether a constraint's index was built for it to take.
    fn in_order(
        &mut self,
        at: usize,
        step: &Step<'_>,
        settings: &Arc<str>,
        early: Option<&Trouble>,
        takes: bool,
    ) -> Result<(), ConnectorError> {
        if self.is_done(STATEMENT, at) || is_of_event_trigger(step.sql) {
            return Ok(());
        }
        let task = |kind, sql: &str| {
            let (sql, settings) = (sql.to_owned(), Arc::clone(settings));
            Task { step: at, kind, sql, settings, locks: Vec::new() }
        };
        let said = match (early, &step.kind) {
            (Some(trouble), _) if trouble.is_final() => Some(trouble.said()),
            (None, Kind::Key { take, undo, .. }) if takes => {
                if self.alone(task(STATEMENT, take))?.is_none() {
                    None
                } else {
                    // It is of another form than was thought: it is made as it was described.
                    let kept = self.alone(task("undo", undo))?;
                    kept.or(self.alone(task(STATEMENT, step.sql))?)
                }
            }
            (None, Kind::Index(_) | Kind::Key { .. } | Kind::Exclusive(_) | Kind::Foreign(..)) => None,
            (Some(_), _) | (None, Kind::Other) => self.alone(task(STATEMENT, step.sql))?,
        };
        if let Some(said) = said {
            self.missing.push(format!("{}: {said}", shortened(step.sql)));
        }
        Ok(())
    }

    /// Runs one statement; gives why it could not be, if that is its own fault.
    fn alone(&mut self, task: Task) -> Result<Option<String>, ConnectorError> {
        let (step, object) = (task.step, format!("{} ({})", self.object, shortened(&task.sql)));
        match self.side_by_side(vec![task], "statements")?.remove(&step) {
            Some(Trouble::Server(error)) if is_of_others(&error) => Err(writing(&object, &error)),
            trouble => Ok(trouble.map(|trouble| trouble.said())),
        }
    }

    /// Runs statements by as many connections as there are, each that locks nothing which another one has locked. Gives those that
    /// failed.
    fn side_by_side(&mut self, mut tasks: Vec<Task>, what: &str) -> Result<HashMap<usize, Trouble>, ConnectorError> {
        tasks.retain(|task| !self.is_done(task.kind, task.step) && !self.is_done(STATEMENT, task.step));
        let size = |task: &Task| task.locks.iter().filter_map(|(table, _)| self.sizes.get(table)).sum::<u64>();
        tasks.sort_by_key(|task| std::cmp::Reverse(size(task)));
        let all = tasks.len();
        let mut waiting: VecDeque<Arc<Task>> = tasks.into_iter().map(Arc::new).collect();
        let mut free: Vec<usize> = (0..self.crew.len()).rev().collect();
        let mut busy: Vec<(usize, Arc<Task>)> = Vec::new();
        let (tell, hear) = crossbeam_channel::unbounded();
        let mut failed = HashMap::new();
        let mut ends: Option<ConnectorError> = None;
        loop {
            while ends.is_none()
                && let Some(&worker) = free.last()
                && let Some(at) = waiting.iter().position(|task| busy.iter().all(|(_, other)| !task.conflicts(other)))
                && let Some(task) = waiting.remove(at)
            {
                free.pop();
                busy.push((worker, Arc::clone(&task)));
                let tell = tell.clone();
                let job = move |client: &mut Client| {
                    let ran = catch_unwind(AssertUnwindSafe(|| task.run(client)));
                    let result = ran.map_or(Err(Trouble::Panicked), |ran| ran.map_err(Trouble::Server));
                    let _ = tell.send((worker, result));
                };
                self.crew.give(worker, Box::new(job));
            }
            if busy.is_empty() {
                self.tell(None);
                return ends.map_or(Ok(failed), Err);
            }
            self.tell(Some(format!(
                "the part after rows: {} of {all} {what} are made",
                all - waiting.len() - busy.len()
            )));
            match hear.recv_timeout(PAUSE) {
                Ok((worker, result)) => {
                    free.push(worker);
                    let task = busy.iter().position(|(other, _)| *other == worker).map(|at| busy.swap_remove(at).1);
                    if let (Err(trouble), Some(task)) = (result, task) {
                        if trouble.is_passing() {
                            let object = format!("{} ({})", self.object, shortened(&task.sql));
                            let reason = trouble.said();
                            ends = ends.or(Some(ConnectorError::Unwritable { object, reason }));
                        } else {
                            failed.insert(task.step, trouble);
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    let reason = "it was stopped".to_owned();
                    ends = ends.or(Some(ConnectorError::Unwritable { object: self.object.to_owned(), reason }));
                    self.crew.cancel();
                }
                // The other end is held here.
                Err(_) => {}
            }
        }
    }

    fn tell(&self, status: Option<String>) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
