//! What a restore leaves behind that a person should know: collations to sort by anew, rows that refer to none, tables that the
//! snapshot does not know.

use super::{
    quote::ident,
    schema::{self, Names},
    settings::Settings,
};
use crate::connector::TargetPlan;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The tables whose indexes were sorted by bytes in place of a collation that only the application has.
pub(super) fn foreign_collations<'a>(
    connection: &Connection,
    tables: impl Iterator<Item = &'a str>,
) -> rusqlite::Result<Vec<String>> {
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for table in tables {
        for collation in schema::foreign_collations(connection, table)? {
            found.entry(collation).or_default().insert(table);
        }
    }
    let line = |(collation, tables): (String, BTreeSet<&str>)| {
        let tables: Vec<String> = tables.into_iter().map(|table| format!("`{table}`")).collect();
        format!(
            "the collation `{collation}` is the application's own: rows of {} are sorted by bytes until REINDEX {} is run \
             with it, by the application or where it is loaded; before that look-ups miss rows",
            tables.join(", "),
            ident(&collation)
        )
    };
    Ok(found.into_iter().map(line).collect())
}

/// Rows of an existing database that refer to rows which are not there.
pub(super) fn broken_references(connection: &Connection) -> Vec<String> {
    let count = || -> rusqlite::Result<BTreeMap<(String, String), u64>> {
        let mut statement = connection.prepare("PRAGMA main.foreign_key_check")?;
        let mut rows = statement.query([])?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            *found.entry((row.get(0)?, row.get(2)?)).or_default() += 1;
        }
        Ok(found)
    };
    match count() {
        Ok(found) => found
            .into_iter()
            .map(|((table, parent), count)| {
                format!(
                    "table `{table}`: {count} rows refer to rows of `{parent}` that are not there (PRAGMA \
                     foreign_key_check({}) lists them)",
                    ident(&table)
                )
            })
            .collect(),
        Err(error) => vec![format!("whether all foreign keys are kept cannot be said: {error}")],
    }
}

/// The tables of these that hold rows which a CHECK of theirs does not allow: rows come back as they were, whatever stands there.
pub(super) fn broken_checks(connection: &Connection, tables: &[&str]) -> rusqlite::Result<Vec<String>> {
    let mut notes = Vec::new();
    if tables.is_empty() {
        return Ok(notes);
    }
    connection.pragma_update(None, "ignore_check_constraints", false)?;
    for table in tables {
        let sql = format!("PRAGMA main.integrity_check({})", ident(table));
        let looked = connection.prepare(&sql).and_then(|mut statement| {
            let found = statement.query_map([], |row| row.get::<_, String>(0))?;
            found.collect::<rusqlite::Result<Vec<String>>>()
        });
        match looked {
            Ok(found) => {
                if found.iter().any(|line| line.starts_with("CHECK constraint failed")) {
                    notes.push(format!(
                        "table `{table}` has a CHECK that the snapshot's table had not, and rows that break it: they came back as they \
                         were (PRAGMA integrity_check({}) says so)",
                        ident(table)
                    ));
                }
            }
            Err(error) => {
                notes.push(format!("table `{table}`: whether its rows keep its CHECKs cannot be said: {error}"));
            }
        }
    }
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    Ok(notes)
}

/// The numbers by which an application knows its databases and the state of their schemas: part of what is made equal, else
/// left as they are and said where they differ.
pub(super) fn numbers(connection: &Connection, wanted: &Settings, make_equal: bool) -> rusqlite::Result<Vec<String>> {
    let mut notes = Vec::new();
    for (pragma, wanted) in [("user_version", wanted.user_version), ("application_id", wanted.application_id)] {
        let is: i64 = connection.query_row(&format!("PRAGMA main.{pragma}"), [], |row| row.get(0))?;
        if is == wanted {
            continue;
        }
        if make_equal {
            connection.pragma_update(None, pragma, wanted)?;
            notes.push(format!("PRAGMA {pragma} was {is} and is {wanted} again"));
        } else {
            notes.push(format!("PRAGMA {pragma} is {is} and was left so; the snapshot's is {wanted}"));
        }
    }
    Ok(notes)
}

/// Tables, views and virtual tables of the target that the whole snapshot does not hold, though it is to be equal.
pub(super) fn left_over(names: &Names, plan: &TargetPlan, objects: &[schema::Object]) -> Vec<String> {
    let is_known = |name: &str| {
        plan.collections.iter().any(|c| c.name.eq_ignore_ascii_case(name))
            || objects.iter().any(|o| o.name.eq_ignore_ascii_case(name))
    };
    let mut names: Vec<(&str, bool)> =
        names.all().filter(|(name, _)| !is_known(name) && !name.starts_with("sqlite_")).collect();
    names.sort_unstable();
    names.into_iter().map(|(name, is_view)| left_alone(if is_view { "view" } else { "table" }, name)).collect()
}

/// Indexes and triggers that the snapshot does not hold, on what it holds.
pub(super) fn left_over_on(
    connection: &Connection,
    plan: &TargetPlan,
    objects: &[schema::Object],
) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT type, name, tbl_name FROM main.sqlite_schema
         WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY type, name",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let lower = |name: &str| name.to_ascii_lowercase();
    let tables: HashSet<String> =
        plan.collections.iter().map(|c| lower(&c.name)).chain(objects.iter().map(|o| lower(&o.name))).collect();
    let known: HashSet<(&str, String)> = objects.iter().map(|o| (o.kind.as_str(), lower(&o.name))).collect();
    let mut lines = Vec::new();
    for row in rows {
        let (kind, name, table): (String, String, String) = row?;
        // On a table that the snapshot does not hold they are part of it.
        if tables.contains(&lower(&table)) && !known.contains(&(kind.as_str(), lower(&name))) {
            lines.push(left_alone(&kind, &name));
        }
    }
    Ok(lines)
}

fn left_alone(kind: &str, name: &str) -> String {
    format!(
        "{kind} `{name}`: the snapshot does not hold it, and it was left alone; DROP {} {} makes the database equal",
        kind.to_uppercase(),
        ident(name)
    )
}

/// Whether two statements make tables that are not the same, as far as their text tells: spaces, quotes and case aside.
pub(super) fn differs(one: &str, other: &str) -> bool {
    let plain = |sql: &str| {
        let kept = sql.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '`' | '[' | ']'));
        kept.flat_map(char::to_lowercase).collect::<String>()
    };
    plain(one) != plain(other)
}

/// What is said of a table that takes the snapshot's rows and is not defined as it was.
pub(super) fn otherwise(table: &str, sql: &str) -> String {
    format!(
        "table `{table}` is defined otherwise than it was (defaults, constraints), and was left so; the snapshot's SQL is: {sql}"
    )
}

/// Removes the counters of the tables that are made equal, and of tables that are not there: theirs come from the snapshot, which may
/// hold none.
pub(super) fn forget_counters(connection: &Connection, plan: &TargetPlan) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("DELETE FROM main.sqlite_sequence WHERE name = ?1 COLLATE NOCASE")?;
    for collection in &plan.collections {
        statement.execute([&collection.name])?;
    }
    connection.execute(
        "DELETE FROM main.sqlite_sequence
         WHERE name COLLATE NOCASE NOT IN (SELECT name FROM main.sqlite_schema WHERE type = 'table')",
        [],
    )?;
    Ok(())
}
