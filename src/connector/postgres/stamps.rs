//! What tells whether a table is still the one that was read: rows are rewritten, and tables made anew, without a word in any stream.

use super::{client::Client, error, names::collection};
use crate::connector::ConnectorError;
use std::collections::BTreeMap;

/// By collection, a text that changes when the table is made anew or a column of it is altered, also where the column is of the
/// same type as before (`ALTER COLUMN … TYPE … USING`): the catalog's row of the column is another one then. And when values of an
/// enumeration that it uses do, as rows show them by name.
pub(super) fn stamps(client: &mut Client, object: &str) -> Result<BTreeMap<String, String>, ConnectorError> {
    let sql = "WITH RECURSIVE \
               found AS (SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'), \
               its AS (SELECT a.attrelid, a.attnum, a.atttypid, a.xmin FROM pg_attribute a JOIN found f ON f.oid = a.attrelid \
               WHERE a.attnum > 0 AND NOT a.attisdropped), \
               within(relation, type, depth) AS ( \
               SELECT attrelid, atttypid, 0 FROM its WHERE atttypid::int8 >= 16384 \
               UNION SELECT w.relation, p.part, w.depth + 1 FROM within w JOIN pg_type t ON t.oid = w.type \
               CROSS JOIN LATERAL (SELECT t.typelem AS part WHERE t.typelem <> 0 \
               UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd' \
               UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid \
               UNION ALL SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid \
               UNION ALL SELECT f.atttypid FROM pg_attribute f WHERE t.typtype = 'c' AND f.attrelid = t.typrelid \
               AND f.attnum > 0 AND NOT f.attisdropped) p WHERE p.part::int8 >= 16384 AND w.depth < 32), \
               labels AS (SELECT DISTINCT w.relation, e.oid, e.enumlabel FROM within w JOIN pg_enum e ON e.enumtypid = w.type) \
               SELECT f.nspname::text, f.relname::text, md5(concat_ws('|', f.oid, \
               (SELECT string_agg(concat_ws(' ', attnum, xmin), ',' ORDER BY attnum) FROM its WHERE attrelid = f.oid), \
               (SELECT string_agg(concat_ws(' ', l.oid, l.enumlabel), ',' ORDER BY l.oid) FROM labels l WHERE l.relation = f.oid))) \
               FROM found f";
    let rows = client.query(sql, &[]).map_err(|error| error::reading(object, &error))?;
    Ok(rows.iter().map(|row| (collection(&row.get::<_, String>(0), &row.get::<_, String>(1)), row.get(2))).collect())
}
