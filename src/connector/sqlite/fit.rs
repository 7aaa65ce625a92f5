//! Whether a database that exists takes a snapshot's records as they are.

use super::{
    attributes::{Attributes, TableAttributes},
    error::{reading, writing},
    plan::{Plan, PlanError},
    proof::{Proof, prove},
    quote::{ident, rename_table},
    schema::{self, Encoding, Table},
    scratch::{Kind, Scratch, kinds},
};
use crate::connector::{ConnectorError, TargetCollection};
use rusqlite::Connection;

fn mismatch(object: &str, reason: impl Into<String>) -> ConnectorError {
    ConnectorError::Mismatch { object: object.to_owned(), reason: reason.into() }
}

/// Text of another encoding would be other keys. Only a file that never held a table takes the snapshot's.
pub(super) fn check_encoding(
    connection: &Connection,
    attributes: &Attributes,
    object: &str,
) -> Result<(), ConnectorError> {
    let text = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, String>(0));
    let fail = |error: rusqlite::Error| reading(object, &error);
    let pages: i64 = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0)).map_err(fail)?;
    let encoding = text("PRAGMA main.encoding").map_err(fail)?;
    if pages == 0 || encoding == attributes.encoding.name() {
        return Ok(());
    }
    let reason = format!("it stores text as {encoding}, the snapshot as {}", attributes.encoding.name());
    Err(mismatch(object, format!("{reason}; restore into a new file")))
}

pub(super) fn is_no_table(object: &str) -> ConnectorError {
    mismatch(object, "a view or virtual table of this name exists")
}

/// The statement that makes a collection's table.
pub(super) fn table_sql(
    collection: &TargetCollection,
    wanted: &TableAttributes,
    object: &str,
) -> Result<String, ConnectorError> {
    if collection.name == collection.source_name {
        return Ok(wanted.sql.clone());
    }
    rename_table(&wanted.sql, &collection.name)
        .ok_or_else(|| mismatch(object, "its CREATE TABLE statement cannot take another name"))
}

/// Which columns a table and a snapshot's do not share, in words.
fn differing_columns(ours: &[String], theirs: &[String]) -> String {
    let without = |these: &[String], those: &[String]| {
        let names: Vec<&String> = these.iter().filter(|name| !those.contains(name)).collect();
        let shown: Vec<String> = names.iter().take(NAMED_COLUMNS).map(|name| format!("`{name}`")).collect();
        let others = names.len() - shown.len();
        let tail = if others > 0 { format!(" and {others} more") } else { String::new() };
        (!names.is_empty()).then(|| format!("{}{tail}", shown.join(", ")))
    };
    let how = match (without(theirs, ours), without(ours, theirs)) {
        (Some(lacks), Some(has)) => format!("it lacks the snapshot's {lacks}, and has {has} instead"),
        (Some(lacks), None) => format!("it lacks the snapshot's {lacks}"),
        (None, Some(has)) => format!("it has {has}, which the snapshot has not"),
        (None, None) => "not the same of its columns are generated".to_owned(),
    };
    format!("{how}; restore into a new file or under another name")
}

/// How many columns a message names.
const NAMED_COLUMNS: usize = 8;

/// Whether a table takes a collection's records as they are.
pub(super) fn check_fit(
    connection: &Connection,
    table: &Table,
    collection: &TargetCollection,
    wanted: &TableAttributes,
    object: &str,
) -> Result<(), ConnectorError> {
    let sorted = |names: Vec<&String>| {
        let mut names = names;
        names.sort();
        names.into_iter().cloned().collect::<Vec<_>>()
    };
    let plain = sorted(table.columns.iter().filter(|column| !column.computed).map(|column| &column.name).collect());
    let is_same = |a: &[String], b: &[String]| sorted(a.iter().collect()) == sorted(b.iter().collect());
    if !is_same(&plain, &wanted.columns) || !is_same(&table.generated, &wanted.generated) {
        let ours = [plain, sorted(table.generated.iter().collect())].concat();
        let theirs = [&wanted.columns[..], &wanted.generated].concat();
        return Err(mismatch(object, differing_columns(&ours, &theirs)));
    }
    if table.primary_key != wanted.primary_key || table.without_rowid != wanted.without_rowid {
        return Err(mismatch(object, "its primary key is not the snapshot's"));
    }
    // SQLite makes its own tables as it needs them.
    if table.is_internal() {
        return Ok(());
    }
    let fail = |error: rusqlite::Error| reading(object, &error);
    let scratch = Scratch::new(&collection.source_name, &wanted.sql).map_err(|error| {
        mismatch(object, format!("the snapshot's CREATE TABLE statement is not understood: {error}"))
    })?;
    let (theirs, ours) = (scratch.kinds().map_err(fail)?, kinds(connection, table).map_err(fail)?);
    let differs = |theirs: &Kind| ours.iter().find(|ours| ours.name == theirs.name).filter(|ours| *ours != theirs);
    if let Some((theirs, ours)) = theirs.iter().find_map(|theirs| Some((theirs, differs(theirs)?))) {
        return Err(mismatch(
            object,
            format!(
                "its column `{}` is {}, the snapshot's {}: values would be converted or compared otherwise; restore into a \
                 new file or under another name",
                ours.name,
                ours.show(),
                theirs.show()
            ),
        ));
    }
    if schema::is_strict(connection, &table.name).map_err(fail)? != scratch.is_strict().map_err(fail)? {
        return Err(mismatch(object, "one of the two is STRICT, the table or the snapshot's; restore into a new file"));
    }
    check_indexes(connection, table, object)
}

/// Whether SQLite can keep the indexes of a table while its rows are changed.
fn check_indexes(connection: &Connection, table: &Table, object: &str) -> Result<(), ConnectorError> {
    let foreign = schema::foreign_collations(connection, &table.name).map_err(|error| reading(object, &error))?;
    if let Some(collation) = foreign.first() {
        let reason = format!(
            "its rows are sorted by the collation `{collation}`, which only the application has: what is written without \
             it would not be found again; restore into a new file"
        );
        return Err(mismatch(object, reason));
    }
    // Every index is prepared for, and every generated column.
    let columns: Vec<String> = table.columns.iter().filter(|c| !c.computed).map(|c| ident(&c.name)).collect();
    let values = vec!["NULL"; columns.len()].join(", ");
    let insert = format!("INSERT INTO main.{}({}) VALUES ({values})", ident(&table.name), columns.join(", "));
    match connection.prepare(&insert) {
        Ok(_) => Ok(()),
        Err(error) => Err(mismatch(object, format!("its rows cannot be written ({error}); restore into a new file"))),
    }
}

/// How a table's records are keyed and read; fails unless that is how the snapshot's are, and if the key's index does not
/// hold what an existing table holds: rows that it lacks would neither be replaced nor removed.
pub(super) fn key_plan(
    connection: &Connection,
    table: Table,
    created: bool,
    encoding: Encoding,
    collection: &TargetCollection,
    object: &str,
) -> Result<Plan, ConnectorError> {
    let plan = match Plan::new(connection, table, encoding) {
        Ok(plan) if plan.is_numbered && !created => {
            let reason = "its columns bear all names of the rowid, so that a row that stands cannot be found again; restore \
                          into a new file or under another name";
            return Err(mismatch(object, reason));
        }
        Ok(plan) if plan.codec == collection.codec => plan,
        Ok(_) => return Err(mismatch(object, "its keys are not of the snapshot's kind")),
        Err(PlanError::NoRowid) => return Err(mismatch(object, "its rowid cannot be reached")),
        Err(PlanError::Sqlite(error)) => return Err(writing(object, &error)),
    };
    if created || plan.table.key_index.is_none() || (!plan.table.without_rowid && plan.table.rowid_name.is_none()) {
        return Ok(plan);
    }
    match prove(connection, &plan).map_err(|error| reading(object, &error))? {
        Proof::Holds => Ok(plan),
        Proof::SortsOtherwise => Ok(plan.sorted()),
        Proof::Damaged(how) => Err(mismatch(object, format!("{how}; restore into a new file"))),
        Proof::Differs(how) => Err(mismatch(object, format!("{how}; run REINDEX {} first", ident(&plan.table.name)))),
    }
}
