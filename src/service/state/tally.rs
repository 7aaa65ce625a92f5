//! What all runs added up to, which metrics tell: it stays when the jobs themselves are gone.

use super::{State, StateError};
use crate::{record::Timestamp, service::job::JobState};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use std::{collections::HashMap, sync::atomic::Ordering};

/// The upper bounds of a histogram of seconds.
pub const BUCKETS: [f64; 12] =
    [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0];

/// What the runs of one routine, verb, kind and outcome added up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// The routine; empty for none.
    pub routine: String,
    /// `backup`, `restore` …
    pub verb: String,
    /// `full`, `incremental` or nothing.
    pub kind: String,
    /// `success`, `incomplete`, `failure`, `canceled`, `skipped`, `retry`.
    pub outcome: String,
    /// How many.
    pub count: u64,
    /// All their seconds.
    pub seconds: f64,
    /// How many were not above each bound of [`BUCKETS`] and above the one before.
    pub buckets: Vec<u64>,
    /// When the last one ended.
    pub last_finished: Timestamp,
    /// Its seconds.
    pub last_seconds: f64,
    /// Its bytes.
    pub last_bytes: u64,
    /// Its records.
    pub last_records: u64,
}

/// One run that ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ended<'a> {
    /// The routine.
    pub routine: &'a str,
    /// The verb.
    pub verb: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The outcome.
    pub outcome: &'a str,
    /// How long it took.
    pub seconds: f64,
    /// When it ended.
    pub at: Timestamp,
    /// Bytes that it moved.
    pub bytes: u64,
    /// Records that it moved.
    pub records: u64,
    /// Whether it shows that everything its routine backed up can be had back.
    pub proves: bool,
}

/// Adds a run within a transaction.
pub(super) fn add(transaction: &Transaction<'_>, ended: &Ended<'_>) -> rusqlite::Result<()> {
    let key = [ended.routine, ended.verb, ended.kind, ended.outcome];
    let before: Option<String> = transaction
        .query_row(
            "SELECT buckets FROM tallies WHERE routine = ? AND verb = ? AND kind = ? AND outcome = ?",
            key,
            |row| row.get(0),
        )
        .optional()?;
    let mut buckets = parsed(&before.unwrap_or_default());
    if let Some(bucket) = BUCKETS.iter().position(|bound| ended.seconds <= *bound) {
        buckets[bucket] += 1;
    }
    let buckets = serde_json::to_string(&buckets).unwrap_or_default();
    transaction.execute(
        "INSERT INTO tallies VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?5, ?8, ?9)
         ON CONFLICT DO UPDATE SET count = count + 1, seconds = seconds + ?5, buckets = ?6, last_finished = ?7,
             last_seconds = ?5, last_bytes = ?8, last_records = ?9",
        params![
            ended.routine,
            ended.verb,
            ended.kind,
            ended.outcome,
            ended.seconds,
            buckets,
            ended.at.as_millis(),
            ended.bytes as i64,
            ended.records as i64
        ],
    )?;
    Ok(())
}

impl State {
    /// Adds a run.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn count(&self, ended: &Ended<'_>) -> Result<(), StateError> {
        let mut db = self.db();
        let mut write = || {
            let transaction = db.transaction()?;
            add(&transaction, ended)?;
            transaction.commit()
        };
        write().map_err(|error| self.failed(error))?;
        self.note_tally();
        Ok(())
    }

    pub(super) fn note_tally(&self) {
        self.tally_changes.fetch_add(1, Ordering::Release);
    }

    /// How often something was added since the state was opened.
    pub fn tally_changes(&self) -> u64 {
        self.tally_changes.load(Ordering::Acquire)
    }

    /// When the newest backup of each routine ended that is there and not dated later than a time.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn newest_made(&self, most: Timestamp) -> Result<HashMap<String, Timestamp>, StateError> {
        let db = self.db();
        let sql = "SELECT routine, MAX(last_finished) FROM tallies WHERE verb = 'backup' AND outcome IN ('success', 'incomplete') \
                   AND last_finished <= ? GROUP BY routine";
        let mut statement = db.prepare_cached(sql).map_err(|error| self.failed(error))?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)));
        let rows = statement.query_map([most.as_millis()], row).map_err(|error| self.failed(error))?;
        rows.collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// Everything that was added.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn tallies(&self) -> Result<Vec<Tally>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached("SELECT * FROM tallies").map_err(|error| self.failed(error))?;
        let rows = statement.query_map([], tally).map_err(|error| self.failed(error))?;
        rows.collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }
}

fn parsed(buckets: &str) -> Vec<u64> {
    let mut buckets: Vec<u64> = serde_json::from_str(buckets).unwrap_or_default();
    buckets.resize(BUCKETS.len(), 0);
    buckets
}

fn tally(row: &Row<'_>) -> rusqlite::Result<Tally> {
    Ok(Tally {
        routine: row.get(0)?,
        verb: row.get(1)?,
        kind: row.get(2)?,
        outcome: row.get(3)?,
        count: row.get::<_, i64>(4)? as u64,
        seconds: row.get(5)?,
        buckets: parsed(&row.get::<_, String>(6)?),
        last_finished: Timestamp::from_millis(row.get(7)?),
        last_seconds: row.get(8)?,
        last_bytes: row.get::<_, i64>(9)? as u64,
        last_records: row.get::<_, i64>(10)? as u64,
    })
}

impl Tally {
    /// Whether it counts backups that are there.
    #[must_use]
    pub fn has_backup(&self) -> bool {
        [JobState::Success, JobState::Incomplete].iter().any(|state| state.as_str() == self.outcome)
    }
}
