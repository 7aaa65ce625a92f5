//! Constraints that rows may break which were written while they did not run.

use super::{
    catalog::{self, Table},
    client::Client,
    error::{reading, said, writing},
    names::{collection, ident, place},
    select::Selection,
};
use crate::connector::ConnectorError;

/// Tables that the whole snapshot does not hold, though the database is to be equal, in words.
pub(super) fn left_over(client: &mut Client, known: &[&str], object: &str) -> Result<Vec<String>, ConnectorError> {
    let tables = catalog::tables(client, &Selection::default(), object)?;
    let left = tables.iter().filter(|table| table.kind == 'r' && !known.contains(&table.collection().as_str()));
    let words = |table: &Table| {
        let sql = table.sql(false);
        format!(
            "table {}: the snapshot does not hold it, and it was left alone; DROP TABLE {sql} makes the database equal",
            table.collection()
        )
    };
    Ok(left.map(words).collect())
}

/// Refuses a table whose triggers or foreign keys would run while rows are replaced.
pub(super) fn check_triggers(client: &mut Client, oid: u32, object: &str) -> Result<(), ConnectorError> {
    let sql = "SELECT count(*) FROM pg_trigger WHERE tgrelid = $1 AND tgenabled IN ('O', 'A')";
    let row = client.query_one(sql, &[&oid]).map_err(|error| reading(object, &error))?;
    if row.get::<_, i64>(0) == 0 {
        return Ok(());
    }
    Err(ConnectorError::Unwritable {
        object: object.to_owned(),
        reason: "it has triggers or foreign keys, which only a superuser, or a role with SET on session_replication_role, may \
                 keep from running while rows are replaced"
            .to_owned(),
    })
}

/// Keeps the triggers and rules of a table from running that run also where `session_replication_role` is `replica`; gives the
/// statements after which they run again.
pub(super) fn silence(client: &mut Client, oid: u32, table: &str, object: &str) -> Result<Vec<String>, ConnectorError> {
    let sql = "SELECT 'TRIGGER', tgname::text, tgenabled FROM pg_trigger WHERE tgrelid = $1 AND tgenabled IN ('A', 'R') \
               UNION ALL SELECT 'RULE', rulename::text, ev_enabled FROM pg_rewrite WHERE ev_class = $1 \
               AND ev_type <> '1' AND ev_enabled IN ('A', 'R') ORDER BY 1, 2";
    let mut again = Vec::new();
    for row in client.query(sql, &[&oid]).map_err(|error| reading(object, &error))? {
        let (kind, name): (String, String) = (row.get(0), ident(row.get(1), false));
        let when = if row.get::<_, i8>(2).cast_unsigned() == b'A' { "ALWAYS" } else { "REPLICA" };
        let sql = format!("ALTER TABLE ONLY {table} DISABLE {kind} {name}");
        client.batch_execute(&sql).map_err(|error| {
            let reason = format!(
                "its {} {name} runs whatever is written and by whomever, and could not be kept from running: {}",
                kind.to_lowercase(),
                said(&error)
            );
            ConnectorError::Unwritable { object: object.to_owned(), reason }
        })?;
        again.push(format!("ALTER TABLE ONLY {table} ENABLE {when} {kind} {name}"));
    }
    Ok(again)
}

/// Foreign keys of these tables, or to them, whose rows refer to none: in words.
pub(super) fn broken_references(
    client: &mut Client,
    tables: &[String],
    object: &str,
) -> Result<Vec<String>, ConnectorError> {
    let fail = |error: postgres::Error| reading(object, &error);
    let mut oids: Vec<u32> = Vec::new();
    for table in tables {
        let (schema, name) = place(table)?;
        let sql = "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
        oids.extend(client.query_opt(sql, &[&schema, &name]).map_err(fail)?.map(|row| row.get::<_, u32>(0)));
    }
    let columns = |which: &str, table: &str| {
        format!(
            "(SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.{which}) WITH ORDINALITY AS k(num, n) \
             JOIN pg_attribute a ON a.attrelid = c.{table} AND a.attnum = k.num)"
        )
    };
    let sql = format!(
        "SELECT c.conname::text, n.nspname::text, t.relname::text, pn.nspname::text, p.relname::text, {}, {}, \
         (SELECT array_agg(format('OPERATOR(%I.%s)', opn.nspname, o.oprname) ORDER BY k.n) \
          FROM unnest(c.conpfeqop) WITH ORDINALITY AS k(op, n) JOIN pg_operator o ON o.oid = k.op JOIN pg_namespace opn ON opn.oid = o.oprnamespace) \
         FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
         JOIN pg_class p ON p.oid = c.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace \
         WHERE c.contype = 'f' AND c.convalidated AND (c.conrelid = ANY($1) OR c.confrelid = ANY($1)) ORDER BY 2, 3, 1",
        columns("conkey", "conrelid"),
        columns("confkey", "confrelid")
    );
    let mut broken = Vec::new();
    for row in client.query(&sql, &[&oids]).map_err(fail)? {
        let text = |at: usize| row.get::<_, String>(at);
        let (own, other, operators): (Vec<String>, Vec<String>, Vec<String>) = (row.get(5), row.get(6), row.get(7));
        let set: Vec<String> = own.iter().map(|name| format!("c.{} IS NOT NULL", ident(name, false))).collect();
        let pairs = own.iter().zip(&other).zip(&operators);
        let equal: Vec<String> =
            pairs.map(|((own, other), op)| format!("p.{} {op} c.{}", ident(other, false), ident(own, false))).collect();
        let sql = format!(
            "SELECT count(*) FROM {}.{} c WHERE {} AND NOT EXISTS (SELECT 1 FROM {}.{} p WHERE {})",
            ident(&text(1), false),
            ident(&text(2), false),
            set.join(" AND "),
            ident(&text(3), false),
            ident(&text(4), false),
            equal.join(" AND ")
        );
        let count: i64 = client.query_one(&sql, &[]).map_err(|error| writing(object, &error))?.get(0);
        if count > 0 {
            broken.push(format!(
                "{count} rows of {} refer to none in {} (foreign key {})",
                collection(&text(1), &text(2)),
                collection(&text(3), &text(4)),
                text(0)
            ));
        }
    }
    Ok(broken)
}
