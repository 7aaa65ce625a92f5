//! The newest jobs of every routine: what a page that shows many routines asks for at once. Kept in mind, for they are asked for far
//! more often than a job ends.

use super::{SELECT, State, StateError, raw};
use crate::service::job::{JobState, StoredJob};
use rusqlite::{OptionalExtension as _, params};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The newest jobs by routine.
pub type Newest = Arc<HashMap<String, Arc<StoredJob>>>;

/// Those that were asked for: by verb, and whether only those count that came to something.
#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<(String, bool), Newest>>);

impl Kept {
    /// They are read again.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

const fn counts(state: JobState, done: bool) -> bool {
    match state {
        JobState::Success | JobState::Incomplete => true,
        JobState::Failure => !done,
        _ => false,
    }
}

const fn states(done: bool) -> &'static str {
    if done { "'success', 'incomplete'" } else { "'success', 'incomplete', 'failure'" }
}

impl State {
    /// The newest job of each routine and verb that ended; one that was skipped or stopped says nothing of how things are. With
    /// `done`, only those that came to something.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn newest_ended(&self, verb: &str, done: bool) -> Result<Newest, StateError> {
        let mut kept = self.newest.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (verb.to_owned(), done);
        if let Some(known) = kept.get(&key) {
            return Ok(Arc::clone(known));
        }
        let sql = format!(
            "{SELECT} WHERE id IN (SELECT MAX(id) FROM jobs WHERE verb = ? AND state IN ({}) GROUP BY routine)",
            states(done)
        );
        let db = self.db();
        let mut statement = db.prepare_cached(&sql).map_err(|error| self.failed(error))?;
        let rows = statement.query_map([verb], raw).map_err(|error| self.failed(error))?;
        let mut newest = HashMap::new();
        for row in rows {
            let job = self.understood(row.map_err(|error| self.failed(error))?)?;
            if let Some(routine) = job.work.routine().map(str::to_owned) {
                newest.insert(routine, Arc::new(job));
            }
        }
        let newest = Arc::new(newest);
        kept.insert(key, Arc::clone(&newest));
        Ok(newest)
    }

    /// The same of one routine.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn newest_ended_of(&self, routine: &str, verb: &str, done: bool) -> Result<Option<StoredJob>, StateError> {
        let sql =
            format!("{SELECT} WHERE routine = ? AND verb = ? AND state IN ({}) ORDER BY id DESC LIMIT 1", states(done));
        let found = self.db().query_row(&sql, params![routine, verb], raw).optional();
        found.map_err(|error| self.failed(error))?.map(|raw| self.understood(raw)).transpose()
    }

    /// Takes note that a job ended.
    pub(super) fn note_newest(&self, id: i64, verb: &str, state: JobState) {
        let mut kept = self.newest.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own: Vec<_> = kept.iter_mut().filter(|((of, done), _)| of == verb && counts(state, *done)).collect();
        if own.is_empty() {
            return;
        }
        let Ok(Some(job)) = self.job(id) else {
            // What cannot be read now is read when somebody asks.
            kept.clear();
            return;
        };
        let Some(routine) = job.work.routine().map(str::to_owned) else { return };
        let job = Arc::new(job);
        for (_, newest) in &mut own {
            if newest.get(&routine).is_none_or(|known| known.id <= id) {
                Arc::make_mut(newest).insert(routine.clone(), Arc::clone(&job));
            }
        }
    }
}
