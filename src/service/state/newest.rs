//! The newest jobs of every routine: what a page that shows many routines asks for at once.

use super::{SELECT, State, StateError, raw};
use crate::service::job::StoredJob;

impl State {
    /// The newest job of each routine and verb that ended; one that was skipped or stopped says nothing of how things are. With
    /// `done`, only those that came to something.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn newest_ended(&self, verb: &str, done: bool) -> Result<Vec<StoredJob>, StateError> {
        let states = if done { "'success', 'incomplete'" } else { "'success', 'incomplete', 'failure'" };
        let sql = format!(
            "{SELECT} WHERE id IN (SELECT MAX(id) FROM jobs WHERE verb = ? AND state IN ({states}) GROUP BY routine)"
        );
        let db = self.db();
        let mut statement = db.prepare_cached(&sql).map_err(|error| self.failed(error))?;
        let rows = statement.query_map([verb], raw).map_err(|error| self.failed(error))?;
        rows.map(|row| self.understood(row.map_err(|error| self.failed(error))?)).collect()
    }
}
