//! What a restore of a schema will lack: found out by making it, without rows, in memory.

use super::{
    aftermath::foreign_collations,
    derived::module_of,
    objects::{self, stand_in_collation},
    schema::Object,
};
use rusqlite::{Connection, config::DbConfig};
use std::collections::HashSet;

/// What of these tables (name and statement) and other objects cannot be made as it was, in words; where it is asked for, also
/// what is made and sorted otherwise.
pub(super) fn lacking<'a>(
    tables: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    all: &[Object],
    with_collations: bool,
) -> Vec<String> {
    match try_lacking(tables, all, with_collations) {
        Ok(lines) => lines,
        Err(error) => vec![format!("what a restore will lack cannot be said: {error}")],
    }
}

fn try_lacking<'a>(
    tables: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    all: &[Object],
    with_collations: bool,
) -> rusqlite::Result<Vec<String>> {
    let scratch = Connection::open_in_memory()?;
    scratch.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
    scratch.collation_needed(stand_in_collation)?;
    let mut lines = Vec::new();
    for (name, sql) in tables.clone().filter(|(name, _)| !name.starts_with("sqlite_")) {
        if let Err(error) = objects::create(&scratch, sql, name, &mut lines) {
            lines.push(format!("table `{name}`: a restore cannot make it ({error}); its SQL is: {sql}"));
        }
    }
    let foreign = names(&scratch, "SELECT name FROM pragma_function_list WHERE NOT builtin")?;
    let modules = names(&scratch, "SELECT name FROM pragma_module_list")?;
    for object in all {
        let kind = object.kind.as_str();
        let reason = match kind {
            "index" => lacks_for_index(&scratch, &object.sql, &foreign),
            "table" => module_of(&object.sql)
                .map(|(module, _)| module)
                .filter(|module| !modules.contains(&module.to_ascii_lowercase()))
                .map(|module| {
                    format!(
                        "the module `{module}` is the application's own; its definition and its shadow tables are kept"
                    )
                }),
            _ => None,
        };
        if let Some(reason) = reason {
            let kind = if kind == "table" { "virtual table" } else { kind };
            lines.push(format!("{kind} `{}`: {reason}", object.name));
        } else if with_collations && kind == "index" {
            // Without rows: what it sorts by is asked for below.
            let _ = scratch.execute_batch(&object.sql);
        }
    }
    if with_collations {
        lines.extend(foreign_collations(&scratch, tables.map(|(name, _)| name))?);
    }
    Ok(lines)
}

fn names(connection: &Connection, sql: &str) -> rusqlite::Result<HashSet<String>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(row.get::<_, String>(0)?.to_ascii_lowercase()))?;
    rows.collect()
}

/// Why an index cannot be made over rows: the program that fills it calls what is not there.
fn lacks_for_index(connection: &Connection, sql: &str, foreign: &HashSet<String>) -> Option<String> {
    let called = || -> rusqlite::Result<Option<String>> {
        let mut statement = connection.prepare(&format!("EXPLAIN {sql}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (opcode, detail): (String, Option<String>) = (row.get("opcode")?, row.get("p4")?);
            let name = detail.as_deref().and_then(|detail| detail.split('(').next()).unwrap_or_default();
            if opcode.contains("Func") && foreign.contains(&name.to_ascii_lowercase()) {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    };
    match called() {
        Ok(called) => called.map(|name| format!("it needs the function `{name}`, so a restore will leave it out")),
        Err(error) => Some(format!("a restore will leave it out ({error})")),
    }
}
