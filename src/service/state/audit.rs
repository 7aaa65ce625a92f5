//! What was done, each with a hash over itself and the one before; and the few facts that a state is known by.

use super::{State, StateError};
use crate::{
    repo::{audit::AuditLink, entropy},
    service::audit::{Entry, KeptEntry},
};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value as Json;
use std::sync::PoisonError;

/// Entries that stay here; in a repository all of them do.
const MOST: i64 = 100_000;

/// An entry as it lies there: its number, itself, its hash, where it is kept.
type Row = (i64, String, String, Option<String>);

/// The hash of an entry behind another one.
fn hash(before: &str, entry: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("rekeep 2026-11 service audit entry");
    hasher.update(&(before.len() as u64).to_le_bytes()).update(before.as_bytes()).update(entry.as_bytes());
    hasher.finalize().to_hex().to_string()
}

impl State {
    fn fact(&self, name: &str) -> Result<Option<String>, StateError> {
        let db = self.db();
        let found = db.query_row("SELECT value FROM facts WHERE name = ?", [name], |row| row.get(0)).optional();
        found.map_err(|error| self.failed(error))
    }

    /// The name of this state, random and unlike every other.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn identity(&self) -> Result<String, StateError> {
        if let Some(identity) = self.fact("identity")? {
            return Ok(identity);
        }
        let mut bytes = [0; 16];
        let drawn = entropy::fill(&mut bytes);
        drawn.map_err(|error| StateError::Row { path: self.path.clone(), reason: error.to_string() })?;
        let new = data_encoding::HEXLOWER.encode(&bytes);
        let db = self.db();
        let kept = db.execute("INSERT OR IGNORE INTO facts VALUES ('identity', ?)", [new]);
        kept.map_err(|error| self.failed(error))?;
        drop(db);
        Ok(self.fact("identity")?.unwrap_or_default())
    }

    /// Writes down what was done.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn append_audit(&self, entry: &Entry) -> Result<(), StateError> {
        let text = serde_json::to_string(entry).unwrap_or_default();
        let mut db = self.db();
        let mut write = || {
            let transaction = db.transaction()?;
            let before: Option<String> = transaction
                .query_row("SELECT hash FROM audit ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
                .optional()?;
            let hash = hash(&before.unwrap_or_default(), &text);
            transaction.execute("INSERT INTO audit (entry, hash) VALUES (?, ?)", [&text, &hash])?;
            let last = transaction.last_insert_rowid();
            transaction.execute("DELETE FROM audit WHERE id <= ?", [last - MOST])?;
            transaction.commit()
        };
        write().map_err(|error| self.failed(error))
    }

    /// Whether all entries are there, each following from the one before it. Looked at once, and again when somebody else has
    /// written the file: what is added here follows.
    fn audit_is_whole(&self, db: &Connection) -> rusqlite::Result<bool> {
        let version: i64 = db.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let mut checked = self.audit_checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, whole)) = checked.filter(|(known, _)| *known == version) {
            return Ok(whole);
        }
        let highest = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0)";
        let highest: i64 = db.query_row(highest, [], |row| row.get(0))?;
        // What is older went by itself.
        let mut next = (highest - MOST + 1).max(1);
        let (mut before, mut whole) = (String::new(), true);
        let mut statement = db.prepare_cached("SELECT id, entry, hash FROM audit ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, text, own): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let has_before = id == 1 || !before.is_empty();
            whole &= id == next && (!has_before || hash(&before, &text) == own);
            (next, before) = (id + 1, own);
        }
        whole &= next == highest + 1;
        *checked = Some((version, whole));
        Ok(whole)
    }

    /// The newest entries below a number, newest first, and whether all of them, shown or not, follow each from the one before it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn audit_page(&self, before: Option<i64>, limit: u32) -> Result<(Vec<KeptEntry>, bool), StateError> {
        let db = self.db();
        let sql = "SELECT id, entry, hash, kept FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?";
        let mut statement = db.prepare_cached(sql).map_err(|error| self.failed(error))?;
        // One more, for the hash that the last of them follows from.
        let values = params![before.unwrap_or(i64::MAX), i64::from(limit) + 1];
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let rows = statement.query_map(values, row).map_err(|error| self.failed(error))?;
        let rows: Vec<Row> = rows.collect::<Result<_, _>>().map_err(|error| self.failed(error))?;
        let mut intact = self.audit_is_whole(&db).map_err(|error| self.failed(error))?;
        let mut entries = Vec::new();
        for (number, (id, text, own, kept)) in rows.iter().take(limit as usize).enumerate() {
            match rows.get(number + 1) {
                Some((before, _, hash_before, _)) => intact &= *before + 1 == *id && hash(hash_before, text) == *own,
                // The first of all, or the first that stayed.
                None => intact &= *id > 1 || hash("", text) == *own,
            }
            let entry = serde_json::from_str(text);
            let entry = entry.map_err(|_| StateError::Row {
                path: self.path.clone(),
                reason: format!("entry {id} of the audit makes no sense"),
            })?;
            entries.push(KeptEntry { id: *id, entry, hash: own.clone(), kept: kept.clone() });
        }
        Ok((entries, intact))
    }

    /// The oldest entries that are not in a repository yet, with their numbers.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn audit_to_keep(&self, limit: u32) -> Result<Vec<(i64, Json)>, StateError> {
        let db = self.db();
        let sql = "SELECT id, entry, hash FROM audit WHERE kept IS NULL ORDER BY id LIMIT ?";
        let mut statement = db.prepare_cached(sql).map_err(|error| self.failed(error))?;
        let row = |row: &rusqlite::Row<'_>| {
            let (id, text, hash): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let mut entry: Json = serde_json::from_str(&text).unwrap_or(Json::String(text));
            if let Some(fields) = entry.as_object_mut() {
                fields.insert("id".to_owned(), id.into());
                fields.insert("hash".to_owned(), hash.into());
            }
            Ok((id, entry))
        };
        let rows = statement.query_map([limit], row).map_err(|error| self.failed(error))?;
        rows.collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// How many wait to be kept in a repository.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn audit_waiting(&self) -> Result<u64, StateError> {
        let db = self.db();
        let count = db.query_row("SELECT count(*) FROM audit WHERE kept IS NULL", [], |row| row.get::<_, i64>(0));
        Ok(count.map_err(|error| self.failed(error))? as u64)
    }

    /// The object that was written last.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn audit_link(&self) -> Result<Option<AuditLink>, StateError> {
        Ok(self.fact("audit-link")?.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Remembers that everything up to a number lies in an object.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub fn audit_is_kept(&self, up_to: i64, link: &AuditLink) -> Result<(), StateError> {
        let text = serde_json::to_string(link).unwrap_or_default();
        let mut db = self.db();
        let write = || {
            let transaction = db.transaction()?;
            let values = params![link.name, up_to];
            transaction.execute("UPDATE audit SET kept = ? WHERE kept IS NULL AND id <= ?", values)?;
            transaction.execute("INSERT OR REPLACE INTO facts VALUES ('audit-link', ?)", [text])?;
            transaction.commit()
        };
        write().map_err(|error| self.failed(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;

    #[test]
    fn an_entry_that_was_altered_or_taken_out_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        for number in 0..5 {
            state.append_audit(&Entry::of_request(now, "me", None, &format!("POST /{number}"), 202)).unwrap();
        }
        let page = |before, limit| state.audit_page(before, limit).unwrap();
        let (entries, intact) = page(None, 3);
        assert_eq!((entries.len(), entries[0].entry.did.as_str(), intact), (3, "POST /4", true));
        assert!(page(Some(3), 10).1);
        let change = |sql: &str| state.db().execute_batch(sql).unwrap();
        change("UPDATE audit SET entry = replace(entry, 'POST /2', 'GET /2') WHERE id = 3");
        assert!(!page(None, 10).1);
        change("UPDATE audit SET entry = replace(entry, 'GET /2', 'POST /2') WHERE id = 3");
        assert!(page(None, 10).1);
        change("DELETE FROM audit WHERE id = 2");
        assert!(!page(None, 10).1);
        assert_eq!(state.identity().unwrap(), state.identity().unwrap());
    }

    #[test]
    fn a_page_says_what_others_did_to_entries_that_it_does_not_show() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let other = |sql: &str| {
            Connection::open(folder.path().join("state.db")).unwrap().execute_batch(sql).unwrap();
        };
        let state = State::open(folder.path()).unwrap();
        let add = |state: &State| state.append_audit(&Entry::of_request(now, "me", None, "POST /x", 202)).unwrap();
        (0..9).for_each(|_| add(&state));
        let is_whole = |state: &State| state.audit_page(None, 1).unwrap().1;
        assert!(is_whole(&state));
        other("UPDATE audit SET entry = replace(entry, 'POST', 'HEAD') WHERE id = 2");
        assert!(!is_whole(&state));
        other("UPDATE audit SET entry = replace(entry, 'HEAD', 'POST') WHERE id = 2");
        add(&state);
        assert!(is_whole(&state));
        other("DELETE FROM audit WHERE id = 1");
        assert!(!is_whole(&state));
        drop(state);
        let state = State::open(folder.path()).unwrap();
        assert!(!is_whole(&state));
        other("DELETE FROM audit WHERE id > 3");
        add(&state);
        assert!(!is_whole(&state));
    }
}
