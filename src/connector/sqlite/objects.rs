//! What a schema holds beside tables: indexes, virtual tables, views, triggers.

use super::quote::ident;
use crate::connector::TargetPlan;
use rusqlite::{Connection, OptionalExtension, functions::FunctionFlags};

use super::schema::Object;

/// How many collations and functions one table may lack.
const MAX_STUBS: usize = 100;

/// Runs a `CREATE TABLE` statement. A collation or function that only the application has is stood in for, and said so.
pub(super) fn create(connection: &Connection, sql: &str, table: &str, notes: &mut Vec<String>) -> rusqlite::Result<()> {
    if table.starts_with("sqlite_") {
        connection.pragma_update(None, "writable_schema", true)?;
        let made = connection.execute_batch(sql);
        connection.pragma_update(None, "writable_schema", false)?;
        return made;
    }
    for _ in 0..MAX_STUBS {
        let Err(error) = connection.execute_batch(sql) else { return Ok(()) };
        let text = error.to_string();
        if let Some(name) = after(&text, "no such collation sequence: ") {
            connection.create_collation(name, |a: &str, b: &str| a.as_bytes().cmp(b.as_bytes()))?;
            notes.push(format!(
                "table `{table}`: the collation `{name}` is the application's own; run REINDEX {} there before use",
                ident(table)
            ));
        } else if let Some(name) = after(&text, "no such function: ").or_else(|| after(&text, "unknown function: ")) {
            let name = name.trim_end_matches("()").to_owned();
            let message = format!("the function `{name}` is the application's own");
            let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
            connection.create_scalar_function(name.as_str(), -1, flags, move |_| -> rusqlite::Result<Option<i64>> {
                Err(rusqlite::Error::UserFunctionError(message.clone().into()))
            })?;
            notes.push(format!("table `{table}`: the function `{name}` is the application's own and was not run"));
        } else {
            return Err(error);
        }
    }
    connection.execute_batch(sql)
}

fn after<'a>(text: &'a str, head: &str) -> Option<&'a str> {
    let rest = text.split_once(head)?.1;
    let end = rest.find([' ', '\n']).unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Makes the objects that belong to what was restored, after all records are there.
pub(super) fn restore(
    connection: &Connection,
    objects: &[Object],
    plan: &TargetPlan,
    notes: &mut Vec<String>,
    missing: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let belongs = |object: &&Object| {
        let restored = |name: &str| plan.collections.iter().any(|c| c.source_name == name && c.name == name);
        let is_object = |kind: &str| objects.iter().any(|o| o.kind == kind && o.name == object.table);
        match object.kind.as_str() {
            "view" => !plan.partial,
            "table" => !plan.partial || has_shadow(&object.name, plan),
            _ => restored(&object.table) || (!plan.partial && is_object("view")),
        }
    };
    for left in plan.collections.iter().filter(|c| c.source_name != c.name) {
        let count = objects.iter().filter(|o| o.kind != "table" && o.table == left.source_name).count();
        if count > 0 {
            notes.push(format!(
                "table `{}`: {count} indexes and triggers of `{}` are left out",
                left.name, left.source_name
            ));
        }
    }
    let (indexes, rows): (Vec<&Object>, Vec<&Object>) =
        objects.iter().filter(belongs).partition(|object| object.kind == "index");
    for object in indexes {
        if is_missing(connection, object, missing)?
            && let Err(error) = connection.execute_batch(&object.sql)
        {
            missing.push(format!("index `{}`: {error}; its SQL is: {}", object.name, object.sql));
        }
    }
    let mut inserted = false;
    connection.pragma_update(None, "writable_schema", true)?;
    for object in rows {
        if is_missing(connection, object, missing)? {
            let sql = "INSERT INTO main.sqlite_schema(type, name, tbl_name, rootpage, sql) VALUES (?1, ?2, ?3, 0, ?4)";
            connection.execute(sql, [&object.kind, &object.name, &object.table, &object.sql])?;
            inserted = true;
        }
    }
    if inserted {
        let version: i64 = connection.query_row("PRAGMA main.schema_version", [], |row| row.get(0))?;
        connection.pragma_update(None, "schema_version", version + 1)?;
    }
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))
}

fn has_shadow(name: &str, plan: &TargetPlan) -> bool {
    plan.collections
        .iter()
        .any(|c| c.name == c.source_name && c.name.strip_prefix(name).is_some_and(|r| r.starts_with('_')))
}

/// Whether the object has to be made; one of the same name that is another is left alone and named.
fn is_missing(connection: &Connection, object: &Object, missing: &mut Vec<String>) -> rusqlite::Result<bool> {
    let sql = "SELECT type, sql FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE AND (type = 'trigger') = (?2 = 'trigger')";
    let found: Option<(String, Option<String>)> =
        connection.query_row(sql, [&object.name, &object.kind], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match found {
        None => Ok(true),
        Some((kind, sql)) if kind == object.kind && sql.as_ref() == Some(&object.sql) => Ok(false),
        Some((kind, _)) => {
            missing.push(format!(
                "{} `{}`: another {kind} of this name exists; its SQL is: {}",
                object.kind, object.name, object.sql
            ));
            Ok(false)
        }
    }
}
