//! Folders of files that runs write to, until they are whole or gone.

use super::{State, StateError};
use rusqlite::params;

impl State {
    /// Says that a run writes to a folder of a storage.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn begin_folder(&self, storage: &str, folder: &str) -> Result<(), StateError> {
        let sql = "INSERT OR IGNORE INTO folders (storage, folder) VALUES (?, ?)";
        let done = self.db().execute(sql, params![storage, folder]);
        done.map(drop).map_err(|error| self.failed(error))
    }

    /// Says that nothing half done is left of it.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn end_folder(&self, storage: &str, folder: &str) -> Result<(), StateError> {
        let done = self.db().execute("DELETE FROM folders WHERE storage = ? AND folder = ?", params![storage, folder]);
        done.map(drop).map_err(|error| self.failed(error))
    }

    /// The storages and folders of runs that did not come to their end.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn begun_folders(&self) -> Result<Vec<(String, String)>, StateError> {
        let db = self.db();
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement = db.prepare_cached("SELECT storage, folder FROM folders")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        read().map_err(|error| self.failed(error))
    }
}
