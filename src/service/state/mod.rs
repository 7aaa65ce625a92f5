//! What outlives a restart: jobs, what schedules have handled, what all runs added up to. One `SQLite` file in a folder that
//! one service at a time has; migrations bring an older one up to date, and a newer one is refused.

mod audit;
mod folders;
mod newest;
mod proofs;
mod schema;
mod tally;

pub use newest::Newest;
pub use proofs::{Proof, Proofs};
pub use tally::{BUCKETS, Ended, Tally};

use super::{
    job::{Ending, JobState, NewJob, StoredJob, Work},
    keys::Caller,
    timetable::{Handled, Slot},
};
use crate::record::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter, types::Value as Sql};
use serde_json::Value as Json;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use thiserror::Error;

/// Jobs that are kept after they ended.
const MAX_JOBS: u32 = 10_000;

/// How long it is remembered what a request came to: a day.
const ONCE_MILLIS: i64 = 86_400_000;

/// What is wrong with the state.
#[derive(Debug, Error)]
pub enum StateError {
    /// The file fails.
    #[error("the service's state {}: {source}", path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What `SQLite` says.
        source: rusqlite::Error,
    },
    /// The file is no database any more, or its pages contradict each other.
    #[error(
        "the service's state {} is damaged ({source}). It holds the history of jobs and the audit, and no backup: move it away, with \
         what begins with its name, and the service makes a new one",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What `SQLite` says.
        source: rusqlite::Error,
    },
    /// The folder fails.
    #[error("the service's state {}: {source}", path.display())]
    Io {
        /// Which folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another service has it.
    #[error("the service's state {} is in use by another service", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("the service's state {} was written by a newer program (version {version})", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: usize,
    },
    /// A row makes no sense.
    #[error("the service's state {}: {reason}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// Which row, and why not.
        reason: String,
    },
}

impl StateError {
    fn of(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged { path, source },
            _ => Self::Database { path, source },
        }
    }
}

/// Which jobs are meant.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only of this verb.
    pub verb: Option<&'static str>,
    /// Only of this routine.
    pub routine: Option<String>,
    /// Only of these routines, if there are any.
    pub routines: Vec<String>,
    /// Only of this tenant.
    pub tenant: Option<String>,
    /// Created at or after this.
    pub from: Option<Timestamp>,
    /// Created at or before this.
    pub to: Option<Timestamp>,
    /// Only in one of these states, if there are any.
    pub states: Vec<JobState>,
    /// Only with numbers below this one.
    pub before: Option<i64>,
    /// Only backups that were asked for under a name of their own.
    pub is_of_group: bool,
    /// At most so many.
    pub limit: u32,
}

impl JobFilter {
    /// Only what a caller may have to do with: a page is filled with these, whatever others have done meanwhile.
    #[must_use]
    pub fn of(self, caller: &Caller) -> Self {
        let (routines, tenant) = caller.bounds();
        Self { routines: routines.to_vec(), tenant: tenant.map(str::to_owned), ..self }
    }
}

/// The state.
pub struct State {
    path: PathBuf,
    db: Mutex<Connection>,
    /// Whether the audit was whole when all of it was looked at, and after which change by others that was.
    audit_checked: Mutex<Option<(i64, bool)>>,
    newest: newest::Kept,
    /// The last proofs, once somebody asked.
    proofs: Mutex<Option<Proofs>>,
    /// How often jobs changed that are parts of backups of a name of their own.
    group_changes: AtomicU64,
    /// How often something was added to what runs added up to.
    tally_changes: AtomicU64,
    _lock: File,
}

/// Whether a job is part of a backup of a name of its own: others do not mention one.
const OF_GROUP: &str = "instr(work, '\"group\":\"') > 0";

impl State {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let io = |source| StateError::Io { path: folder.to_path_buf(), source };
        fs::create_dir_all(folder).map_err(io)?;
        keep_private(folder).map_err(io)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StateError::InUse { path: folder.to_path_buf() }),
            Err(fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        let path = folder.join("state.db");
        let failed = |source| StateError::of(&path, source);
        let mut db = Connection::open(&path).map_err(failed)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4000;")
            .map_err(failed)?;
        schema::check(&db, &path)?;
        schema::migrate(&mut db, &path)?;
        Ok(Self {
            db: Mutex::new(db),
            audit_checked: Mutex::default(),
            newest: newest::Kept::default(),
            proofs: Mutex::default(),
            group_changes: AtomicU64::new(0),
            tally_changes: AtomicU64::new(0),
            _lock: lock,
            path,
        })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> StateError {
        StateError::of(&self.path, source)
    }

    /// Keeps a new job that is to begin at a time; gives its number. The oldest that ended go where there are too many.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn add(&self, job: &NewJob, begin: Timestamp, now: Timestamp) -> Result<i64, StateError> {
        let work = serde_json::to_string(&job.work).unwrap_or_default();
        let db = self.db();
        let added = db.execute(
            "INSERT INTO jobs (verb, kind, routine, tenant, by, work, state, created, due, begin) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                job.work.verb(),
                job.work.kind(),
                job.work.routine(),
                job.tenant,
                job.by,
                work,
                JobState::Queued.as_str(),
                now.as_millis(),
                job.due.map(Timestamp::as_millis),
                begin.as_millis()
            ],
        );
        added.map_err(|error| self.failed(error))?;
        let id = db.last_insert_rowid();
        let mut gone = Ok(0);
        if id % 100 == 0 {
            gone = db.execute(
                "DELETE FROM jobs WHERE state NOT IN ('queued', 'running') AND id <= ?1 - ?2",
                params![id, MAX_JOBS],
            );
        }
        drop(db);
        let gone = gone.map_err(|error| self.failed(error))?;
        if gone > 0 {
            self.newest.forget();
        }
        self.note_change(gone > 0 || matches!(job.work, Work::Backup { group: Some(_), .. }));
        Ok(id)
    }

    fn note_change(&self, is_of_group: bool) {
        self.group_changes.fetch_add(u64::from(is_of_group), Ordering::Release);
    }

    /// How often jobs changed that are parts of backups of a name of their own, since the state was opened.
    pub fn group_changes(&self) -> u64 {
        self.group_changes.load(Ordering::Acquire)
    }

    /// Changes one job.
    fn update(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), StateError> {
        let sql = format!("{sql} RETURNING {OF_GROUP}");
        let changed = self.db().query_row(&sql, values, |row| row.get(0)).optional();
        self.note_change(changed.map_err(|error| self.failed(error))?.unwrap_or(false));
        Ok(())
    }

    /// Says that a job begins, for the how manyth time.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn begin(&self, id: i64, attempt: u32, now: Timestamp) -> Result<(), StateError> {
        let sql = "UPDATE jobs SET state = 'running', started = COALESCE(started, ?2), attempts = ?3 WHERE id = ?1";
        self.update(sql, params![id, now.as_millis(), attempt])
    }

    /// Lets a job that began wait as before.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn wait_again(&self, id: i64) -> Result<(), StateError> {
        let sql = "UPDATE jobs SET state = 'queued', started = NULL, attempts = 0 WHERE id = ?";
        self.update(sql, [id])
    }

    /// Says how a job ended, and counts it: both or neither.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn end(&self, id: i64, ending: &Ending, ended: &Ended<'_>) -> Result<(), StateError> {
        let sql = format!(
            "UPDATE jobs SET state = ?2, finished = ?3, result = ?4, error = ?5, error_kind = ?6 WHERE id = ?1 \
             RETURNING {OF_GROUP}"
        );
        let result = (!ending.result.is_null()).then(|| ending.result.to_string());
        let (state, at) = (ending.state.as_str(), ended.at.as_millis());
        // Whoever sees the end sees what it proves.
        let mut proofs = ended.proves.then(|| self.proofs.lock().unwrap_or_else(PoisonError::into_inner));
        let mut db = self.db();
        let mut write = || {
            let transaction = db.transaction()?;
            let values = params![id, state, at, result, ending.error, ending.error_kind];
            let changed: Option<bool> = transaction.query_row(&sql, values, |row| row.get(0)).optional()?;
            tally::add(&transaction, ended)?;
            proofs::add(&transaction, ended)?;
            transaction.commit()?;
            Ok(changed.unwrap_or(false))
        };
        let changed = write().map_err(|error| self.failed(error))?;
        drop(db);
        self.note_change(changed);
        if let Some(proofs) = &mut proofs {
            **proofs = None;
        }
        drop(proofs);
        self.note_tally();
        self.note_newest(id, ended.verb, ending.state);
        Ok(())
    }

    /// A job by its number.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn job(&self, id: i64) -> Result<Option<StoredJob>, StateError> {
        let db = self.db();
        let found = db.query_row(&format!("{SELECT} WHERE id = ?"), [id], raw).optional();
        found.map_err(|error| self.failed(error))?.map(|raw| self.understood(raw)).transpose()
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn jobs(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, StateError> {
        let mut sql = format!("{SELECT} WHERE 1");
        let mut values: Vec<Sql> = Vec::new();
        let mut add = |condition: &str, value: Option<Sql>| {
            if let Some(value) = value {
                sql.push_str(condition);
                values.push(value);
            }
        };
        add(" AND verb = ?", filter.verb.map(|verb| Sql::Text(verb.to_owned())));
        add(" AND routine = ?", filter.routine.clone().map(Sql::Text));
        add(" AND tenant = ?", filter.tenant.clone().map(Sql::Text));
        add(" AND created >= ?", filter.from.map(|from| Sql::Integer(from.as_millis())));
        add(" AND created <= ?", filter.to.map(|to| Sql::Integer(to.as_millis())));
        add(" AND id < ?", filter.before.map(Sql::Integer));
        if !filter.states.is_empty() {
            let names: Vec<String> = filter.states.iter().map(|state| format!("'{}'", state.as_str())).collect();
            sql.push_str(&format!(" AND state IN ({})", names.join(", ")));
        }
        if !filter.routines.is_empty() {
            sql.push_str(&format!(" AND routine IN ({})", vec!["?"; filter.routines.len()].join(", ")));
            values.extend(filter.routines.iter().cloned().map(Sql::Text));
        }
        if filter.is_of_group {
            sql.push_str(&format!(" AND {OF_GROUP}"));
        }
        sql.push_str(&format!(" ORDER BY id DESC LIMIT {}", filter.limit));
        let db = self.db();
        let mut statement = db.prepare_cached(&sql).map_err(|error| self.failed(error))?;
        let rows = statement.query_map(params_from_iter(values), raw).map_err(|error| self.failed(error))?;
        rows.map(|row| self.understood(row.map_err(|error| self.failed(error))?)).collect()
    }

    /// Jobs that had not ended, the oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unfinished(&self) -> Result<Vec<StoredJob>, StateError> {
        let filter =
            JobFilter { states: vec![JobState::Queued, JobState::Running], limit: u32::MAX, ..JobFilter::default() };
        let mut jobs = self.jobs(&filter)?;
        jobs.reverse();
        Ok(jobs)
    }

    /// The newest job of a routine and kind that ended so that a backup is there.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn last_backup(&self, routine: &str, kind: &str) -> Result<Option<StoredJob>, StateError> {
        let sql = format!(
            "{SELECT} WHERE routine = ? AND verb = 'backup' AND kind = ? AND state IN ('success', 'incomplete') \
             ORDER BY id DESC LIMIT 1"
        );
        let db = self.db();
        let found = db.query_row(&sql, [routine, kind], raw).optional();
        found.map_err(|error| self.failed(error))?.map(|raw| self.understood(raw)).transpose()
    }

    /// Up to which times schedules were handled, by routine and which of its schedules.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn handled(&self) -> Result<Handled, StateError> {
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT routine, is_full, due FROM handled").map_err(|error| self.failed(error))?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, Slot::of_number(row.get(1)?), Timestamp::from_millis(row.get(2)?)));
        let rows = statement.query_map([], row).map_err(|error| self.failed(error))?;
        let rows: Vec<(String, Option<Slot>, Timestamp)> =
            rows.collect::<Result<_, _>>().map_err(|error| self.failed(error))?;
        Ok(rows.into_iter().filter_map(|(routine, slot, at)| Some(((routine, slot?), at))).collect())
    }

    /// Says up to when schedules were handled: all of it or nothing.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn set_handled(&self, handled: &[(String, Slot, Timestamp)]) -> Result<(), StateError> {
        let mut db = self.db();
        let mut write = || {
            let transaction = db.transaction()?;
            for (routine, slot, due) in handled {
                transaction.execute(
                    "INSERT OR REPLACE INTO handled (routine, is_full, due) VALUES (?, ?, ?)",
                    params![routine, slot.number(), due.as_millis()],
                )?;
            }
            transaction.commit()
        };
        write().map_err(|error| self.failed(error))
    }

    /// Keeps what a request came to that may come again; gives what it came to before, and when, for a day.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn remember_once(
        &self,
        name: &str,
        value: &str,
        now: Timestamp,
    ) -> Result<Option<(String, Timestamp)>, StateError> {
        let mut db = self.db();
        let mut write = || {
            let transaction = db.transaction()?;
            transaction.execute("DELETE FROM once WHERE at < ?", [now.as_millis() - ONCE_MILLIS])?;
            let told = |row: &Row<'_>| Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)));
            let before = transaction.query_row("SELECT value, at FROM once WHERE name = ?", [name], told).optional()?;
            if before.is_none() {
                let values = params![name, value, now.as_millis()];
                transaction.execute("INSERT INTO once (name, value, at) VALUES (?, ?, ?)", values)?;
            }
            transaction.commit()?;
            Ok(before)
        };
        write().map_err(|error| self.failed(error))
    }

    fn understood(&self, raw: Raw) -> Result<StoredJob, StateError> {
        let wrong = |what: &str| StateError::Row { path: self.path.clone(), reason: format!("job {}: {what}", raw.id) };
        Ok(StoredJob {
            work: serde_json::from_str(&raw.work).map_err(|_| wrong("what it is to do makes no sense"))?,
            state: JobState::parse(&raw.state).ok_or_else(|| wrong("its state makes no sense"))?,
            result: match &raw.result {
                None => Json::Null,
                Some(text) => serde_json::from_str(text).map_err(|_| wrong("its result makes no sense"))?,
            },
            id: raw.id,
            tenant: raw.tenant,
            by: raw.by,
            created: Timestamp::from_millis(raw.created),
            due: raw.due.map(Timestamp::from_millis),
            started: raw.started.map(Timestamp::from_millis),
            finished: raw.finished.map(Timestamp::from_millis),
            attempts: raw.attempts,
            error: raw.error,
            error_kind: raw.error_kind,
            begin: Timestamp::from_millis(raw.begin),
        })
    }
}

const SELECT: &str = "SELECT id, work, state, tenant, by, created, due, started, finished, attempts, result, error, error_kind, begin \
                      FROM jobs";

/// A row as it lies there.
struct Raw {
    id: i64,
    work: String,
    state: String,
    tenant: Option<String>,
    by: String,
    created: i64,
    due: Option<i64>,
    started: Option<i64>,
    finished: Option<i64>,
    attempts: u32,
    result: Option<String>,
    error: Option<String>,
    error_kind: Option<String>,
    begin: i64,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        id: row.get(0)?,
        work: row.get(1)?,
        state: row.get(2)?,
        tenant: row.get(3)?,
        by: row.get(4)?,
        created: row.get(5)?,
        due: row.get(6)?,
        started: row.get(7)?,
        finished: row.get(8)?,
        attempts: row.get(9)?,
        result: row.get(10)?,
        error: row.get(11)?,
        error_kind: row.get(12)?,
        begin: row.get(13)?,
    })
}

#[cfg(unix)]
fn keep_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn keep_private(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn backup(routine: &str) -> NewJob {
        let work = Work::backup(routine, true);
        NewJob { work, tenant: None, by: "-".to_owned(), due: None }
    }

    #[test]
    fn a_state_that_is_damaged_is_told_as_that_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        drop(State::open(folder.path()).unwrap());
        let whole = fs::read(&file).unwrap();
        let mut torn = whole.clone();
        torn[4096..].fill(0xa5);
        for (bytes, is_told) in
            [(&b"no database, and long enough for its head".repeat(9)[..], true), (&torn, true), (&whole, false)]
        {
            fs::write(&file, bytes).unwrap();
            let opened = State::open(folder.path()).and_then(|state| state.unfinished().map(drop));
            let told = opened.err().map(|error| (matches!(error, StateError::Damaged { .. }), error.to_string()));
            assert_eq!(told.is_some_and(|(is, words)| is && words.contains("no backup: move it away")), is_told);
        }
        // Whatever page it is: not at the first job that needs it.
        for page in 0..whole.len() / 4096 {
            let mut torn = whole.clone();
            torn[page * 4096..][..4096].fill(0xa5);
            fs::write(&file, torn).unwrap();
            let opened = State::open(folder.path()).err();
            assert!(matches!(opened, Some(StateError::Damaged { .. })), "page {page}: {opened:?}");
        }
    }

    #[test]
    fn jobs_and_what_was_handled_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        assert!(matches!(State::open(folder.path()), Err(StateError::InUse { .. })));
        let (one, two) = (state.add(&backup("a"), NOW, NOW).unwrap(), state.add(&backup("b"), NOW, NOW).unwrap());
        state.begin(one, 1, NOW).unwrap();
        let ending =
            Ending { state: JobState::Success, result: json!({ "records": 3 }), error: None, error_kind: None };
        let at = Timestamp::from_millis(NOW.as_millis() + 5);
        let ended = Ended {
            routine: "a",
            verb: "backup",
            kind: "full",
            outcome: "success",
            seconds: 0.005,
            at,
            bytes: 0,
            records: 3,
            proves: false,
        };
        state.end(one, &ending, &ended).unwrap();
        state.set_handled(&[("a".to_owned(), Slot::Drill, NOW)]).unwrap();
        drop(state);
        let state = State::open(folder.path()).unwrap();
        let job = state.job(one).unwrap().unwrap();
        assert_eq!((job.state, &job.result["records"], job.attempts), (JobState::Success, &json!(3), 1));
        assert_eq!(state.unfinished().unwrap().iter().map(|job| job.id).collect::<Vec<_>>(), [two]);
        assert_eq!(state.handled().unwrap()[&("a".to_owned(), Slot::Drill)], NOW);
        assert_eq!(state.last_backup("a", "full").unwrap().unwrap().id, one);
        let filter = JobFilter { routine: Some("b".to_owned()), limit: 10, ..JobFilter::default() };
        assert_eq!(state.jobs(&filter).unwrap().len(), 1);
        assert!(state.job(99).unwrap().is_none());
    }

    #[test]
    fn a_page_is_filled_with_what_a_caller_may_see() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let own = state.add(&NewJob { tenant: Some("t".to_owned()), ..backup("own") }, NOW, NOW).unwrap();
        for _ in 0..20 {
            state.add(&backup("other"), NOW, NOW).unwrap();
        }
        let mut settings = crate::service::config::ServiceSettings::default();
        let hash = crate::service::keys::hash_of("rkp_x");
        for (routines, tenant, seen) in
            [(vec!["own"], None, vec![own]), (vec![], Some("t"), vec![own]), (vec!["other"], Some("t"), vec![])]
        {
            let key = crate::service::config::KeySettings {
                hash: hash.clone(),
                routines: routines.into_iter().map(str::to_owned).collect(),
                tenant: tenant.map(str::to_owned),
                ..Default::default()
            };
            settings.api_keys.insert("one".to_owned(), key);
            let caller = Caller::of_hash(&settings, &hash, NOW).unwrap();
            let found = state.jobs(&JobFilter { limit: 10, ..JobFilter::default() }.of(&caller)).unwrap();
            assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), seen);
        }
        let all = JobFilter { limit: 10, ..JobFilter::default() }.of(&Caller::anybody());
        assert_eq!(state.jobs(&all).unwrap().len(), 10);
    }

    #[test]
    fn jobs_of_groups_are_found_by_an_index_and_each_change_of_one_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let group = |name: &str| {
            let mut new = backup("a");
            if let Work::Backup { group, description, .. } = &mut new.work {
                (*group, *description) = (Some(name.to_owned()), Some("says \"group\":\"x\"".to_owned()));
            }
            new
        };
        let mut plain = backup("a");
        if let Work::Backup { description, .. } = &mut plain.work {
            *description = Some("says \"group\":\"x\"".to_owned());
        }
        let other = state.add(&plain, NOW, NOW).unwrap();
        assert_eq!(state.group_changes(), 0);
        let own = state.add(&group("g"), NOW, NOW).unwrap();
        assert_eq!(state.group_changes(), 1);
        let ending = Ending::without(JobState::Success, "", "");
        for id in [other, own] {
            state.begin(id, 1, NOW).unwrap();
            state.wait_again(id).unwrap();
            state.end(id, &ending, &ended("a", "success")).unwrap();
        }
        assert_eq!(state.group_changes(), 4);
        let filter = JobFilter { verb: Some("backup"), is_of_group: true, limit: 9, ..JobFilter::default() };
        assert_eq!(state.jobs(&filter).unwrap().iter().map(|job| job.id).collect::<Vec<_>>(), [own]);
        let sql = format!("EXPLAIN QUERY PLAN {SELECT} WHERE 1 AND verb = ? AND {OF_GROUP} ORDER BY id DESC LIMIT 9");
        let how: String = state.db().query_row(&sql, ["backup"], |row| row.get(3)).unwrap();
        assert!(how.contains("jobs_of_group"), "{how}");
    }

    #[test]
    fn the_newest_of_each_routine_are_kept_in_mind_as_they_lie_there() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let run = |routine: &str, outcome: JobState| {
            let id = state.add(&backup(routine), NOW, NOW).unwrap();
            state.begin(id, 1, NOW).unwrap();
            state.end(id, &Ending::without(outcome, "", ""), &ended(routine, outcome.as_str())).unwrap();
            id
        };
        let ids = |done: bool| {
            let newest = state.newest_ended("backup", done).unwrap();
            let mut ids: Vec<i64> = newest.values().map(|job| job.id).collect();
            ids.sort_unstable();
            ids
        };
        let one = run("a", JobState::Success);
        assert_eq!((ids(true), ids(false)), (vec![one], vec![one]));
        let (two, three) = (run("a", JobState::Failure), run("b", JobState::Incomplete));
        run("a", JobState::Canceled);
        assert_eq!((ids(true), ids(false)), (vec![one, three], vec![two, three]));
        assert!(state.newest_ended("verify", true).unwrap().is_empty());
        let of_one = state.newest_ended_of("a", "backup", false).unwrap().unwrap();
        assert_eq!((of_one.id, of_one.state), (two, JobState::Failure));
        state.newest.forget();
        assert_eq!((ids(true), ids(false)), (vec![one, three], vec![two, three]));
    }

    fn ended<'e>(routine: &'e str, outcome: &'e str) -> Ended<'e> {
        let (at, proves) = (NOW, false);
        Ended { routine, verb: "backup", kind: "full", outcome, seconds: 0.1, at, bytes: 0, records: 0, proves }
    }

    #[test]
    fn a_state_of_each_older_version_is_brought_up_to_date_with_what_it_holds() {
        for version in 1..schema::MIGRATIONS.len() {
            let folder = tempfile::tempdir().unwrap();
            let db = Connection::open(folder.path().join("state.db")).unwrap();
            for sql in &schema::MIGRATIONS[..version] {
                db.execute_batch(sql).unwrap();
            }
            db.pragma_update(None, "user_version", version as i64).unwrap();
            db.execute_batch(
                r#"INSERT INTO jobs (verb, kind, routine, by, work, state, created, begin, started, finished) VALUES
                    ('backup', 'full', 'a', '-', '{"verb":"backup","routine":"a","full":true}', 'success', 1, 1, 2, 3),
                    ('verify', '', 'v', '-', '{"verb":"verify","routine":"v","how":"restore"}', 'success', 1, 1, 2000, 5000),
                    ('verify', '', 'w', '-', '{"verb":"verify","routine":"w","how":"data"}', 'success', 1, 1, 2, 3),
                    ('backup', 'full', 'b', '-', '{"verb":"backup","routine":"b","full":true}', 'queued', 1, 1, NULL, NULL);
                INSERT INTO handled VALUES ('a', 1, 7);
                INSERT INTO tallies VALUES ('a', 'drill', '', 'success', 2, 3.0, '[2]', 9000, 1.5, 0, 0),
                    ('b', 'drill', '', 'failure', 2, 3.0, '[2]', 9000, 1.5, 0, 0);"#,
            )
            .unwrap();
            drop(db);
            for _ in 0..2 {
                let state = State::open(folder.path()).unwrap();
                assert_eq!(state.last_backup("a", "full").unwrap().unwrap().id, 1, "version {version}");
                assert_eq!(state.unfinished().unwrap().iter().map(|job| job.id).collect::<Vec<_>>(), [4]);
                assert_eq!(state.handled().unwrap()[&("a".to_owned(), Slot::Full)], Timestamp::from_millis(7));
                assert_eq!(state.tallies().unwrap().len(), 2);
                let proofs = state.proofs().unwrap();
                let of = |routine: &str| proofs.get(routine).map(|proof| (proof.finished.as_millis(), proof.seconds));
                assert_eq!(["a", "b", "v", "w"].map(of), [Some((9000, 1.5)), None, Some((5000, 3.0)), None]);
                assert_eq!(state.newest_ended("verify", true).unwrap().len(), 2);
                assert!(state.begun_folders().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn a_newer_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(State::open(folder.path()).unwrap());
        let db = Connection::open(folder.path().join("state.db")).unwrap();
        db.execute_batch("PRAGMA user_version = 99").unwrap();
        assert!(matches!(State::open(folder.path()), Err(StateError::Newer { version: 99, .. })));
    }
}
