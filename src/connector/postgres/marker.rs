//! The mark of a restore in steps that has not ended: a schema of the database, which says of what it is and what is done.
//! `docs/postgresql.md`, "In steps".

use super::{
    client::Client,
    error::{reading, writing},
    names::literal,
};
use crate::{connector::ConnectorError, report::Remedy};
use std::collections::HashMap;

/// The schema.
pub(super) const SCHEMA: &str = "rekeep_unfinished_restore";

/// The format of what is in it.
const FORMAT: i32 = 1;

/// Held by the connection that leads a restore, and, shared, by each that writes.
const LEADS: i64 = 0x7265_6b65_6570_0001;
const WRITES: i64 = 0x7265_6b65_6570_0002;

/// A restore that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Marker {
    /// The snapshot that it is of.
    pub(super) snapshot: String,
    /// When it began.
    pub(super) began: String,
    /// What of the part before rows could not be made.
    pub(super) missing: Vec<String>,
}

/// What is done, by kind and name, with what was said of it.
pub(super) type Done = HashMap<(String, String), String>;

/// Refuses a database that holds a part of something.
pub(super) fn refuse(client: &mut Client, object: &str) -> Result<(), ConnectorError> {
    let sql = "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = $1";
    let row = client.query_opt(sql, &[&SCHEMA]).map_err(|error| reading(object, &error))?;
    match row {
        None => Ok(()),
        Some(row) => Err(refusal(object, &row.get::<_, String>(0))),
    }
}

fn refusal(object: &str, what: &str) -> ConnectorError {
    let reason = format!(
        "it holds a part only of what was being restored into it ({what}). The same restore goes on; else make the database anew, or drop \
         the schema {SCHEMA} to take it as it is"
    );
    ConnectorError::Usage { object: object.to_owned(), reason }
}

/// The restore that has not ended here, if one has not.
pub(super) fn find(client: &mut Client, object: &str) -> Result<Option<Marker>, ConnectorError> {
    let fail = |error: postgres::Error| reading(object, &error);
    if client.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&SCHEMA]).map_err(fail)?.is_none() {
        return Ok(None);
    }
    let sql = format!("SELECT format, snapshot, began, missing FROM {SCHEMA}.restore");
    let row = client.query_opt(&sql, &[]).map_err(fail)?;
    let Some(row) = row.filter(|row| row.get::<_, i32>(0) == FORMAT) else {
        return Err(refusal(object, "as another version of rekeep left it"));
    };
    let missing = serde_json::from_str(&row.get::<_, String>(3)).unwrap_or_default();
    Ok(Some(Marker { snapshot: row.get(1), began: row.get(2), missing }))
}

impl Marker {
    /// Refuses to go on with another snapshot.
    pub(super) fn check(&self, snapshot: Option<&str>, object: &str) -> Result<(), ConnectorError> {
        if snapshot == Some(self.snapshot.as_str()) {
            return Ok(());
        }
        Err(refusal(object, &format!("snapshot {}, since {}", self.snapshot, self.began)))
    }

    /// Makes the schema, in a transaction; `false` if this user may not.
    pub(super) fn create(client: &mut Client, snapshot: &str, object: &str) -> Result<bool, ConnectorError> {
        match client.batch_execute(&format!("CREATE SCHEMA {SCHEMA}")) {
            Ok(()) => {}
            Err(error) if error.code().is_some_and(|code| code.code() == "42501") => return Ok(false),
            Err(error) => return Err(writing(object, &error)),
        }
        let sql = format!(
            "CREATE TABLE {SCHEMA}.restore (format int4 NOT NULL, snapshot text NOT NULL, began text NOT NULL, missing text NOT NULL);
             CREATE TABLE {SCHEMA}.done (kind text NOT NULL, name text NOT NULL, said text NOT NULL, PRIMARY KEY (kind, name));
             INSERT INTO {SCHEMA}.restore VALUES ({FORMAT}, {}, date_trunc('second', now())::text, '[]');
             COMMENT ON SCHEMA {SCHEMA} IS {}",
            literal(snapshot),
            literal(&format!("snapshot {snapshot}, by rekeep: this database does not hold all of it yet"))
        );
        client.batch_execute(&sql).map_err(|error| writing(object, &error))?;
        Ok(true)
    }

    /// Keeps what could not be made.
    pub(super) fn keep_missing(client: &mut Client, missing: &[String], object: &str) -> Result<(), ConnectorError> {
        let text = ascii(&serde_json::to_string(missing).unwrap_or_default());
        let sql = format!("UPDATE {SCHEMA}.restore SET missing = {}", literal(&text));
        client.batch_execute(&sql).map_err(|error| writing(object, &error))
    }
}

/// What is done.
pub(super) fn done(client: &mut Client, object: &str) -> Result<Done, ConnectorError> {
    let rows = client.query(&format!("SELECT kind, name, said FROM {SCHEMA}.done"), &[]);
    let rows = rows.map_err(|error| reading(object, &error))?;
    Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}

/// The statement that notes something as done, for a connection of any encoding.
pub(super) fn note(kind: &str, name: &str, said: &str) -> String {
    format!(
        "INSERT INTO {SCHEMA}.done VALUES ({}, {}, {})",
        literal(kind),
        literal(&plain(name)),
        literal(&ascii(said))
    )
}

/// The statement that ends a restore.
pub(super) fn end() -> String {
    format!("SET synchronous_commit = on; DROP SCHEMA {SCHEMA} CASCADE")
}

/// Keeps other restores out, and waits for what still runs of one that was killed.
pub(super) fn lead(client: &mut Client, object: &str) -> Result<(), ConnectorError> {
    let fail = |error: postgres::Error| writing(object, &error);
    let waited = |error: postgres::Error| match error.code() {
        Some(code) if code.code() == "55P03" => {
            let reason = "another restore into it is under way, or something of one that was stopped".to_owned();
            ConnectorError::Locked { object: object.to_owned(), reason }.with([Remedy::WaitForLock])
        }
        _ => fail(error),
    };
    for lock in [LEADS, WRITES] {
        client.query("SELECT pg_advisory_lock($1)", &[&lock]).map_err(waited)?;
    }
    client.query("SELECT pg_advisory_unlock($1)", &[&WRITES]).map_err(fail)?;
    Ok(())
}

/// The statement by which a connection says that it writes for a restore.
pub(super) fn joins() -> String {
    format!("SELECT pg_advisory_lock_shared({WRITES})")
}

/// JSON in ASCII.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// A name as it is kept: in ASCII.
pub(super) fn plain(name: &str) -> String {
    if name.is_ascii() { name.to_owned() } else { format!("hex:{}", data_encoding::HEXLOWER.encode(name.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_ascii_and_comes_back() {
        let words = vec!["żółw 🐢".to_owned(), "it's \\ \"so\"".to_owned()];
        let kept = ascii(&serde_json::to_string(&words).unwrap());
        assert!(kept.is_ascii());
        assert_eq!(serde_json::from_str::<Vec<String>>(&kept).unwrap(), words);
        assert!(note("table", "public.\"żółw\"", &kept).is_ascii());
        assert_eq!(plain("public.t"), "public.t");
    }
}
