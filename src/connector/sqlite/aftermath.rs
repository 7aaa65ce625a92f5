//! What a restore leaves behind that a person should know: collations to sort by anew, rows that refer to none, full-text
//! indexes of rows that changed, tables that the snapshot does not know.

use super::{
    objects::Stale,
    quote::ident,
    schema::{self, Names},
};
use crate::connector::TargetPlan;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};

/// The tables whose indexes were sorted by bytes in place of a collation that only the application has.
pub(super) fn foreign_collations(connection: &Connection, plan: &TargetPlan) -> rusqlite::Result<Vec<String>> {
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for collection in &plan.collections {
        for collation in schema::foreign_collations(connection, &collection.name)? {
            found.entry(collation).or_default().insert(&collection.name);
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

/// Full-text indexes of an existing database that do not agree with the rows that were written.
pub(super) fn stale_indexes(connection: &Connection, plan: &TargetPlan) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection
        .prepare("SELECT name, sql FROM main.sqlite_schema WHERE type = 'table' AND rootpage = 0 ORDER BY rowid")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let is_written = |name: &str| plan.collections.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    let mut notes = Vec::new();
    for row in rows {
        let (name, sql) = row?;
        let Some(stale) = Stale::of(&name, &sql) else { continue };
        let shadows: Vec<&str> = plan
            .collections
            .iter()
            .map(|c| c.name.as_str())
            .filter(|table| table.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('_')))
            .collect();
        let came_whole = plan.make_equal && !plan.partial && !shadows.is_empty();
        if came_whole {
            continue;
        }
        let content = stale.content.as_deref().filter(|content| is_written(content));
        if shadows.is_empty() && content.is_none() {
            continue;
        }
        let of = content.map_or_else(String::new, |content| format!(" of `{content}`"));
        notes.push(format!("{} `{name}`{of}: rows changed beneath it; {}", stale.kind, stale.advice));
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
    let line = |(name, is_view): (&str, bool)| {
        let kind = if is_view { "view" } else { "table" };
        format!(
            "{kind} `{name}`: the snapshot does not hold it, and it was left alone; DROP {} {} makes the database equal",
            kind.to_uppercase(),
            ident(name)
        )
    };
    names.into_iter().map(line).collect()
}
