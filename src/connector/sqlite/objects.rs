//! What a schema holds beside tables: indexes, virtual tables, views, triggers.

use super::quote::ident;
use crate::connector::TargetPlan;
use rusqlite::{Connection, OptionalExtension, functions::FunctionFlags};
use std::sync::atomic::{AtomicI64, Ordering};

use super::schema::Object;

/// How many collations and functions one table may lack.
const MAX_STUBS: usize = 100;

/// Runs a `CREATE TABLE` statement. A collation or function that only the application has is stood in for, and said so.
pub(super) fn create(connection: &Connection, sql: &str, table: &str, notes: &mut Vec<String>) -> rusqlite::Result<()> {
    create_with(connection, sql, table, StandIn::Fails, notes)
}

/// What a function does that only the application has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StandIn {
    /// It fails: nothing that is kept comes of it.
    Fails,
    /// It gives another number each time: what comes of it stands in an index alone, until that is made anew.
    Counts,
}

/// [`create`], with what such functions do.
pub(super) fn create_with(
    connection: &Connection,
    sql: &str,
    table: &str,
    stand_in: StandIn,
    notes: &mut Vec<String>,
) -> rusqlite::Result<()> {
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
            stand_in_collation(connection, name)?;
        } else if let Some(name) = after(&text, "no such function: ").or_else(|| after(&text, "unknown function: ")) {
            let name = name.trim_end_matches("()").to_owned();
            let message = format!("the function `{name}` is the application's own");
            let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
            let calls = AtomicI64::new(1);
            connection.create_scalar_function(name.as_str(), -1, flags, move |_| -> rusqlite::Result<Option<i64>> {
                match stand_in {
                    StandIn::Fails => Err(rusqlite::Error::UserFunctionError(message.clone().into())),
                    StandIn::Counts => Ok(Some(calls.fetch_add(1, Ordering::Relaxed))),
                }
            })?;
            notes.push(match stand_in {
                StandIn::Fails => format!(
                    "table `{table}`: the function `{name}` is the application's own: it is not needed for the rows, only for \
                     what calls it"
                ),
                StandIn::Counts => format!(
                    "table `{table}`: the function `{name}` is the application's own, and an index on a generated column calls it: \
                     run REINDEX {} where it is loaded; before that look-ups by that column miss rows",
                    ident(table)
                ),
            });
        } else {
            return Err(error);
        }
    }
    connection.execute_batch(sql)
}

/// Makes a collation known that only the application has: text sorts by its bytes.
pub(super) fn stand_in_collation(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.create_collation(name, |a: &str, b: &str| a.as_bytes().cmp(b.as_bytes()))
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
        let is_of_view = objects.iter().any(|o| o.kind == "view" && o.name.eq_ignore_ascii_case(&object.table));
        if object.kind == "trigger" && is_view(connection, &object.table)?.is_some_and(|is_view| is_view != is_of_view)
        {
            missing.push(format!(
                "trigger `{}`: `{}` is {} today; its SQL is: {}",
                object.name,
                object.table,
                if is_of_view { "no view" } else { "no table" },
                object.sql
            ));
        } else if is_missing(connection, object, missing)? {
            let sql = "INSERT INTO main.sqlite_schema(type, name, tbl_name, rootpage, sql) VALUES (?1, ?2, ?3, 0, ?4)";
            connection.execute(sql, [&object.kind, &object.name, &object.table, &object.sql])?;
            inserted = true;
        }
    }
    if inserted {
        return reload(connection);
    }
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))
}

/// Gives tables that were made by another statement their own, without a look at their rows.
pub(super) fn rewrite(connection: &Connection, tables: &[(String, String)]) -> rusqlite::Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    connection.pragma_update(None, "writable_schema", true)?;
    for (name, sql) in tables {
        let update = "UPDATE main.sqlite_schema SET sql = ?2 WHERE type = 'table' AND name = ?1";
        connection.execute(update, [name, sql])?;
    }
    reload(connection)
}

/// Orders the rows of a new database's schema as they were.
pub(super) fn reorder(
    connection: &Connection,
    objects: &[Object],
    tables: &[(String, Vec<i64>)],
) -> rusqlite::Result<()> {
    let mut places: Vec<(&str, &str, i64)> =
        objects.iter().map(|o| (o.kind.as_str(), o.name.as_str(), o.place)).collect();
    let mut automatic = connection.prepare(
        "SELECT name FROM main.sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND sql IS NULL ORDER BY rowid",
    )?;
    let mut indexes: Vec<(String, i64)> = Vec::new();
    for (name, rows) in tables {
        let Some((first, others)) = rows.split_first() else { continue };
        places.push(("table", name, *first));
        let names = automatic.query_map([name], |row| row.get::<_, String>(0))?;
        for (name, place) in names.zip(others) {
            indexes.push((name?, *place));
        }
    }
    drop(automatic);
    places.extend(indexes.iter().map(|(name, place)| ("index", name.as_str(), *place)));
    places.retain(|(_, _, place)| (1..FREE_PLACE).contains(place));
    if places.is_empty() {
        return Ok(());
    }
    connection.pragma_update(None, "writable_schema", true)?;
    // What has no place of its own comes behind all others.
    connection.execute("UPDATE main.sqlite_schema SET rowid = rowid + ?1", [FREE_PLACE])?;
    let mut update = connection
        .prepare("UPDATE OR IGNORE main.sqlite_schema SET rowid = ?3 WHERE type = ?1 AND name = ?2 AND rowid >= ?4")?;
    for (kind, name, place) in places {
        update.execute((kind, name, place, FREE_PLACE))?;
    }
    drop(update);
    reload(connection)
}

/// No schema has so many rows.
const FREE_PLACE: i64 = 1 << 40;

/// Reads a schema anew that was changed by its rows.
fn reload(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.query_row("PRAGMA main.schema_version", [], |row| row.get(0))?;
    connection.pragma_update(None, "schema_version", version + 1)?;
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))
}

fn has_shadow(name: &str, plan: &TargetPlan) -> bool {
    plan.collections
        .iter()
        .any(|c| c.name == c.source_name && c.name.strip_prefix(name).is_some_and(|r| r.starts_with('_')))
}

/// Whether what bears a name is a view and no table; `None` if nothing bears it.
fn is_view(connection: &Connection, name: &str) -> rusqlite::Result<Option<bool>> {
    let sql =
        "SELECT type = 'view' FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')";
    connection.query_row(sql, [name], |row| row.get(0)).optional()
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
