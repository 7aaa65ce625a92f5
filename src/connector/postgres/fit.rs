//! Whether a table takes a snapshot's rows, and tables that are made for them.

use super::{
    attributes::{TableAttributes, parse},
    catalog::{self, KeyKind, Keys, Table},
    cell::PartKind,
    client::Client,
    error::{reading, writing},
    names::{self, ident},
    script,
    select::{LARGE_OBJECTS, Selection},
    types::{Form, TSQUERY_TEXT},
};
use crate::connector::{ConnectorError, TargetCollection};
use std::collections::BTreeSet;

/// A table of the target; `None` if there is none. `key` is the one that rows have: its columns are described though they are computed.
pub(super) fn find(
    client: &mut Client,
    name: &str,
    key: &[String],
    object: &str,
) -> Result<Option<Table>, ConnectorError> {
    let place = names::place(name)?;
    let sql = "SELECT c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    let found = client.query_opt(sql, &[&place.0, &place.1]).map_err(|error| reading(object, &error))?;
    let Some(found) = found else { return Ok(None) };
    if found.get::<_, i8>(0).cast_unsigned() != b'r' {
        let reason = "it is no ordinary table".to_owned();
        return Err(ConnectorError::Mismatch { object: format!("{name} of {object}"), reason });
    }
    let mut tables = catalog::tables(client, &Selection::only([place]), object)?;
    // Its sequences come with it.
    tables.retain(|table| table.kind == 'r');
    for table in &mut tables {
        table.condition = None;
    }
    let keys = Keys::from([(name.to_owned(), key.to_vec())]);
    catalog::describe_with(client, &mut tables, &keys, object)?;
    Ok(tables.into_iter().next())
}

/// Refuses a table that cannot take the rows, and gives it the columns and the key that they have. Where the key is made later, it
/// need not be there. Gives the columns that the rows have not.
pub(super) fn check_fit(
    table: &mut Table,
    wanted: &TableAttributes,
    must_have_key: bool,
    object: &str,
) -> Result<Vec<String>, ConnectorError> {
    let mismatch = |reason: String| ConnectorError::Mismatch { object: object.to_owned(), reason };
    for column in &wanted.columns {
        let Some(found) = table.columns.iter_mut().find(|found| found.name == column.name) else {
            if column.generated {
                continue;
            }
            return Err(mismatch(format!("it has no column {}, or computes it", column.name)));
        };
        if bare(&found.type_text) != bare(&column.type_text) {
            return Err(mismatch(format!(
                "its column {} is {}, the snapshot's is {}",
                column.name, found.type_text, column.type_text
            )));
        }
        if !column.generated && rounds(&found.type_text, &column.type_text) {
            return Err(mismatch(format!(
                "its column {} is {}, the snapshot's is {}: the server would round values without a word",
                column.name, found.type_text, column.type_text
            )));
        }
        if found.generated && !column.generated {
            return Err(mismatch(format!("it computes its column {}", column.name)));
        }
        // Earlier snapshots hold its binary form.
        if found.form == Form::Cast && column.form == "binary" && found.type_text == TSQUERY_TEXT {
            (found.form, found.part) = (Form::Binary(None), PartKind::Blob);
        }
        if (found.form == Form::Cast) != (column.form == "text") {
            return Err(mismatch(format!("the values of its column {} have another form", column.name)));
        }
    }
    let own: Vec<&str> = table.key.iter().map(|at| table.columns[*at].name.as_str()).collect();
    if must_have_key && own != wanted.key.iter().map(String::as_str).collect::<Vec<_>>() {
        let show =
            |key: &[&str]| if key.is_empty() { "no key".to_owned() } else { format!("the key {}", key.join(", ")) };
        let wanted: Vec<&str> = wanted.key.iter().map(String::as_str).collect();
        return Err(mismatch(format!("it has {}, the snapshot has {}", show(&own), show(&wanted))));
    }
    let others = narrow(table, &|name| wanted.columns.iter().any(|column| column.name == name));
    let key: Option<Vec<usize>> =
        wanted.key.iter().map(|name| table.columns.iter().position(|column| column.name == *name)).collect();
    table.key = key.ok_or_else(|| mismatch("it lacks columns of the snapshot's key".to_owned()))?;
    table.key_kind = match wanted.key_kind.as_str() {
        "primary" => KeyKind::Primary,
        "unique" => KeyKind::Unique,
        _ => KeyKind::Content,
    };
    if table.key.is_empty() {
        table.key_kind = KeyKind::Content;
    }
    Ok(others)
}

/// Leaves out columns that are not meant, unless the key has them; gives their names.
pub(super) fn narrow(table: &mut Table, is_meant: &dyn Fn(&str) -> bool) -> Vec<String> {
    let (mut places, mut kept, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (at, column) in std::mem::take(&mut table.columns).into_iter().enumerate() {
        places.push(kept.len());
        if is_meant(&column.name) || table.key.contains(&at) {
            kept.push(column);
        } else {
            others.push(column.name);
        }
    }
    table.key = table.key.iter().map(|at| places[*at]).collect();
    table.columns = kept;
    others
}

/// Whether values of a type are changed without an error by a column of the same type with another limit.
fn rounds(found: &str, wanted: &str) -> bool {
    if found == wanted || found.contains('"') {
        return false;
    }
    let is_of_time = |text: &str| ["time", "interval"].iter().any(|name| text.starts_with(name));
    if bare(found).trim_end_matches("[]") == "numeric" {
        // Without a limit any number of digits is kept.
        let scale = |text: &str| match limits(text).as_slice() {
            [] => i64::MAX,
            [_] => 0,
            [_, scale, ..] => *scale,
        };
        return scale(found) < scale(wanted);
    }
    if !is_of_time(found) {
        return false;
    }
    let digits = |text: &str| limits(text).first().copied().unwrap_or(6);
    digits(found) < digits(wanted)
}

/// The numbers in a type's parentheses.
fn limits(type_text: &str) -> Vec<i64> {
    let (Some(open), Some(close)) = (type_text.find('('), type_text.find(')')) else { return Vec::new() };
    let inner = type_text.get(open + 1..close).unwrap_or_default();
    inner.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

/// A type without what limits its values: `character varying(10)`, `numeric(5,2)[]`.
fn bare(type_text: &str) -> String {
    let (Some(open), Some(close)) = (type_text.find('('), type_text.find(')')) else { return type_text.to_owned() };
    if open > close || type_text.contains('"') {
        return type_text.to_owned();
    }
    format!("{}{}", &type_text[..open], &type_text[close + 1..])
}

/// The statements that make a table of which only the columns and the key are known.
pub(super) fn create_table(place: &(String, String), wanted: &TableAttributes) -> Vec<String> {
    let (schema, name) = (ident(&place.0, false), ident(&place.1, false));
    let mut parts: Vec<String> = wanted
        .columns
        .iter()
        .map(|column| {
            let not_null = if column.not_null { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", ident(&column.name, false), column.type_text)
        })
        .collect();
    if !wanted.key.is_empty() {
        let key: Vec<String> = wanted.key.iter().map(|column| ident(column, false)).collect();
        let kind = if wanted.key_kind == "primary" { "PRIMARY KEY" } else { "UNIQUE" };
        parts.push(format!("{kind} ({})", key.join(", ")));
    }
    vec![
        format!("CREATE SCHEMA IF NOT EXISTS {schema}"),
        format!("CREATE TABLE {schema}.{name} ({})", parts.join(", ")),
    ]
}

/// Makes the schemas of collections that no statement of the part before rows makes: it lacks them where tables were chosen.
pub(super) fn make_schemas(
    client: &mut Client,
    collections: &[TargetCollection],
    before: &str,
    object: &str,
) -> Result<(), ConnectorError> {
    let fail = |error: postgres::Error| writing(object, &error);
    let statements = script::statements(before);
    let mut seen = BTreeSet::new();
    for collection in collections.iter().filter(|one| one.source_name != LARGE_OBJECTS) {
        let (schema, _) = names::place(&collection.name)?;
        let makes = |name: String| statements.iter().flatten().any(|sql| *sql == format!("CREATE SCHEMA {name}"));
        if makes(names::shown(&schema)) || makes(ident(&schema, false)) || !seen.insert(schema.clone()) {
            continue;
        }
        let sql = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";
        if client.query_opt(sql, &[&schema]).map_err(fail)?.is_none() {
            client.batch_execute(&format!("CREATE SCHEMA {}", ident(&schema, false))).map_err(fail)?;
        }
    }
    Ok(())
}

/// Makes the tables that the part before rows did not, of columns alone, and names them.
pub(super) fn make_plain(
    client: &mut Client,
    collections: &[TargetCollection],
    missing: &mut Vec<String>,
    object: &str,
) -> Result<(), ConnectorError> {
    for collection in collections.iter().filter(|one| one.source_name != LARGE_OBJECTS) {
        if find(client, &collection.name, &[], object)?.is_some() {
            continue;
        }
        let object = format!("table {} of {object}", collection.name);
        let wanted: TableAttributes = parse(&collection.attributes, &object)?;
        // What is made after rows makes the key.
        let wanted = TableAttributes { key: Vec::new(), ..wanted };
        for sql in create_table(&names::place(&collection.name)?, &wanted).iter().skip(1) {
            client.batch_execute(sql).map_err(|error| writing(&object, &error))?;
        }
        missing.push(format!("table {}: made of columns, types and NOT NULL alone", collection.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_round_are_told_from_those_that_fail_or_hold_more() {
        for (found, wanted) in [
            ("numeric(10,1)", "numeric(10,4)"),
            ("numeric(5,0)[]", "numeric[]"),
            ("numeric(5)", "numeric(5,1)"),
            ("numeric(10,-2)", "numeric(10,0)"),
            ("timestamp(0) without time zone", "timestamp without time zone"),
            ("timestamp(2) with time zone[]", "timestamp(3) with time zone[]"),
            ("time(0) without time zone", "time without time zone"),
            ("interval(0)", "interval"),
        ] {
            assert!(rounds(found, wanted), "{found} {wanted}");
        }
        for (found, wanted) in [
            ("numeric", "numeric(10,4)"),
            ("numeric(5,4)", "numeric(10,4)"),
            ("timestamp without time zone", "timestamp(0) without time zone"),
            ("interval day to second(3)", "interval day to second(2)"),
            ("character varying(3)", "character varying(5)"),
            ("public.\"time(0)\"", "public.\"time(1)\""),
        ] {
            assert!(!rounds(found, wanted), "{found} {wanted}");
        }
    }

    #[test]
    fn types_are_compared_without_what_limits_their_values() {
        assert_eq!(bare("character varying(10)"), "character varying");
        assert_eq!(bare("numeric(5,2)[]"), "numeric[]");
        assert_eq!(bare("timestamp(3) without time zone"), "timestamp without time zone");
        assert_eq!(bare("public.\"a(b)\""), "public.\"a(b)\"");
        assert_eq!(bare("text"), "text");
    }
}
