//! What is kept of a database beside rows and definitions.

use super::{
    attributes::{Attributes, Extension, Sequence},
    catalog::Table,
    client::{Client, Facts, Server},
    define::attempt,
    error,
    names::{collection, literal},
};
use crate::connector::ConnectorError;
use std::collections::HashMap;

/// Sequences that are read by one statement.
const SEQUENCES_AT_ONCE: usize = 200;

/// Everything but tables and definitions.
pub(super) fn attributes(
    client: &mut Client,
    server: &Server,
    facts: &Facts,
    all: &[Table],
) -> Result<Attributes, ConnectorError> {
    let object = server.shown();
    let fail = |error: postgres::Error| error::reading(&object, &error);
    let sql =
        "SELECT datname::text, datcollate::text, datctype::text FROM pg_database WHERE datname = current_database()";
    let row = client.query_one(sql, &[]).map_err(fail)?;
    let sql = "SELECT x.extname::text, x.extversion, n.nspname::text FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace ORDER BY 1";
    let extensions = client.query(sql, &[]).map_err(fail)?;
    let sql = "SELECT rolname::text FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1";
    let roles = client.query(sql, &[]).map_err(fail)?;
    let mut views: Vec<&Table> = all.iter().filter(|table| table.kind == 'm' && table.populated).collect();
    views.sort_by_key(|view| view.oid);
    Ok(Attributes {
        server_version: facts.version_text.clone(),
        encoding: facts.encoding.clone(),
        database: row.get(0),
        collate: row.get(1),
        ctype: row.get(2),
        system: system(client),
        sequences: sequences(client, &object, all, facts.is_replica)?,
        extensions: extensions
            .iter()
            .map(|row| Extension { name: row.get(0), version: row.get(1), schema: row.get(2) })
            .collect(),
        roles: roles.iter().map(|row| row.get(0)).collect(),
        materialised: views.iter().map(|view| view.sql(false)).collect(),
        ..Attributes::default()
    })
}

/// The cluster's own number; not everybody may read it.
pub(super) fn system(client: &mut Client) -> Option<String> {
    let may = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')";
    if !client.query_one(may, &[]).ok()?.get::<_, bool>(0) {
        return None;
    }
    client.query_one("SELECT system_identifier::text FROM pg_control_system()", &[]).ok().map(|row| row.get(0))
}

/// What sequences stand at, as far as they can be read; those that are unlogged cannot on a replica.
pub(super) fn sequences(
    client: &mut Client,
    object: &str,
    all: &[Table],
    is_replica: bool,
) -> Result<Vec<Sequence>, ConnectorError> {
    let fail = |error: postgres::Error| error::reading(object, &error);
    let readable = all.iter().filter(|one| one.kind == 'S' && one.may_read && !(is_replica && one.unlogged));
    let readable: Vec<&Table> = readable.collect();
    let oids: Vec<u32> = readable.iter().map(|one| one.oid).collect();
    let sql = "SELECT d.objid, n.nspname::text, c.relname::text FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid \
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.classid = 'pg_class'::regclass AND d.objid = ANY($1) \
               AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')";
    let owners: HashMap<u32, String> = client
        .query(sql, &[&oids])
        .map_err(fail)?
        .iter()
        .map(|row| (row.get(0), collection(&row.get::<_, String>(1), &row.get::<_, String>(2))))
        .collect();
    let mut found = Vec::new();
    for some in readable.chunks(SEQUENCES_AT_ONCE) {
        let one = |(at, sequence): (usize, &&Table)| {
            format!("SELECT {at}::int4, last_value, is_called FROM {}", sequence.sql(false))
        };
        let parts: Vec<String> = some.iter().enumerate().map(one).collect();
        for row in client.query(&parts.join(" UNION ALL "), &[]).map_err(fail)? {
            let Some(sequence) = some.get(row.get::<_, i32>(0) as usize) else { continue };
            found.push(Sequence {
                schema: sequence.schema.clone(),
                name: sequence.name.clone(),
                last_value: row.get(1),
                is_called: row.get(2),
                table: owners.get(&sequence.oid).cloned(),
            });
        }
    }
    found.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    Ok(found)
}

/// How many large objects there are.
pub(super) fn large_objects(client: &mut Client, server: &Server) -> Result<u64, ConnectorError> {
    let row = client.query_one("SELECT count(*) FROM pg_largeobject_metadata", &[]);
    let row = row.map_err(|error| error::reading(&server.shown(), &error))?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// What is said of large objects; `pg_dump` tells it only together with their content.
pub(super) fn object_comments(client: &mut Client, server: &Server) -> Result<Vec<(u32, String)>, ConnectorError> {
    let sql = "SELECT objoid, description FROM pg_description WHERE classoid = 'pg_largeobject'::regclass ORDER BY 1";
    let rows = client.query(sql, &[]).map_err(|error| error::reading(&server.shown(), &error))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Says of large objects that are there what was said of them; gives what could not be said.
pub(super) fn comment_objects(
    client: &mut Client,
    comments: &[(u32, String)],
    object: &str,
) -> Result<Vec<String>, ConnectorError> {
    let mut missing = Vec::new();
    for (oid, comment) in comments {
        let sql = "SELECT EXISTS (SELECT 1 FROM pg_largeobject_metadata WHERE oid = $1)";
        let is_there = client.query_one(sql, &[oid]).map_err(|error| error::writing(object, &error))?.get::<_, bool>(0);
        let sql = format!("COMMENT ON LARGE OBJECT {oid} IS {}", literal(comment));
        if is_there && let Err(error) = attempt(client, &sql, object)? {
            missing.push(format!("the comment on large object {oid}: {}", error::said(&error)));
        }
    }
    Ok(missing)
}

/// The statement that sets a sequence; forward only where it must not be set back.
pub(super) fn set_sequence(sequence: &Sequence, only_forward: bool) -> String {
    let name =
        format!("{}.{}", super::names::ident(&sequence.schema, false), super::names::ident(&sequence.name, false));
    let (value, called) = (sequence.last_value, sequence.is_called);
    let set = format!("setval({}::pg_catalog.regclass, {value}, {called})", literal(&name));
    if !only_forward {
        return format!("SELECT {set}");
    }
    let oid = format!("{}::pg_catalog.regclass", literal(&name));
    format!(
        "SELECT {set} FROM {name} s, pg_catalog.pg_sequence q WHERE q.seqrelid = {oid} AND \
         (CASE WHEN q.seqincrement > 0 THEN {value} > s.last_value ELSE {value} < s.last_value END \
         OR ({value} = s.last_value AND {called} AND NOT s.is_called))"
    )
}
