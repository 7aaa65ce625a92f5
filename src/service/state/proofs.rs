//! The last proof of each routine: it stays when the job that gave it is gone.

use super::{State, StateError, tally::Ended};
use crate::record::Timestamp;
use rusqlite::{Row, Transaction, params};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

/// When it was shown that everything can be had back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proof {
    /// The end of what showed it.
    pub finished: Timestamp,
    /// How long that took.
    pub seconds: f64,
}

/// The last proofs by routine.
pub type Proofs = Arc<HashMap<String, Proof>>;

/// Takes note of a run within a transaction, if it proves something.
pub(super) fn add(transaction: &Transaction<'_>, ended: &Ended<'_>) -> rusqlite::Result<()> {
    if !ended.proves || ended.routine.is_empty() {
        return Ok(());
    }
    let sql = "INSERT OR REPLACE INTO proofs (routine, finished, seconds) VALUES (?, ?, ?)";
    transaction.execute(sql, params![ended.routine, ended.at.as_millis(), ended.seconds]).map(drop)
}

impl State {
    /// The last proof of each routine.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn proofs(&self) -> Result<Proofs, StateError> {
        let mut kept = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref() {
            return Ok(Arc::clone(known));
        }
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT routine, finished, seconds FROM proofs").map_err(|error| self.failed(error))?;
        let row = |row: &Row<'_>| {
            Ok((row.get(0)?, Proof { finished: Timestamp::from_millis(row.get(1)?), seconds: row.get(2)? }))
        };
        let rows = statement.query_map([], row).map_err(|error| self.failed(error))?;
        let proofs: Proofs = Arc::new(rows.collect::<Result<_, _>>().map_err(|error| self.failed(error))?);
        *kept = Some(Arc::clone(&proofs));
        Ok(proofs)
    }
}
