//! What tells whether a table is still the one that was read: rows are rewritten, and tables made anew, without a word in any stream.
//! And whether what is no table is: no stream tells of it.

use super::{client::Client, error, names::collection};
use crate::connector::ConnectorError;
use std::collections::BTreeMap;

/// Of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Its number, which it has under any name.
    pub(super) oid: u32,
    /// A text that changes when the table is made anew or a column of it is altered, also where the column is of the same type as
    /// before (`ALTER COLUMN … TYPE … USING`): the catalog's row of the column is another one then. And when values of an
    /// enumeration that it uses do, as rows show them by name, or fields of a composite type, as rows show them by place, or names
    /// that its values are shown by (`regclass` and the like).
    pub(super) text: String,
}

/// By collection.
pub(super) fn stamps(client: &mut Client, object: &str) -> Result<BTreeMap<String, Stamp>, ConnectorError> {
    let sql = "WITH RECURSIVE \
               found AS (SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'), \
               its AS (SELECT a.attrelid, a.attnum, a.atttypid, a.xmin FROM pg_attribute a JOIN found f ON f.oid = a.attrelid \
               WHERE a.attnum > 0 AND NOT a.attisdropped), \
               names AS (SELECT oid, typarray, CASE typname::text WHEN 'regclass' THEN 'class' WHEN 'regrole' THEN 'role' \
               WHEN 'regnamespace' THEN 'schema' WHEN 'regtype' THEN 'type' WHEN 'regcollation' THEN 'collation' \
               WHEN 'regconfig' THEN 'search' WHEN 'regdictionary' THEN 'search' WHEN 'regoper' THEN 'operator' \
               WHEN 'regoperator' THEN 'operator' ELSE 'function' END AS of FROM pg_type \
               WHERE typnamespace = 'pg_catalog'::regnamespace AND typname LIKE 'reg%' AND typtype = 'b' AND typelem = 0), \
               meant AS (SELECT oid FROM pg_type WHERE oid::int8 >= 16384 UNION SELECT oid FROM names UNION SELECT typarray FROM names), \
               within(relation, type, depth) AS ( \
               SELECT attrelid, atttypid, 0 FROM its WHERE atttypid IN (SELECT oid FROM meant) \
               UNION SELECT w.relation, p.part, w.depth + 1 FROM within w JOIN pg_type t ON t.oid = w.type \
               CROSS JOIN LATERAL (SELECT t.typelem AS part WHERE t.typelem <> 0 \
               UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd' \
               UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid \
               UNION ALL SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid \
               UNION ALL SELECT f.atttypid FROM pg_attribute f WHERE t.typtype = 'c' AND f.attrelid = t.typrelid \
               AND f.attnum > 0 AND NOT f.attisdropped) p WHERE p.part IN (SELECT oid FROM meant) AND w.depth < 32), \
               labels AS (SELECT DISTINCT w.relation, e.oid, e.enumlabel, e.xmin::text FROM within w JOIN pg_enum e ON e.enumtypid = w.type), \
               fields AS (SELECT DISTINCT w.relation, f.attrelid, f.attnum, f.xmin::text FROM within w \
               JOIN pg_type t ON t.oid = w.type AND t.typtype = 'c' JOIN pg_attribute f ON f.attrelid = t.typrelid AND f.attnum > 0), \
               used AS (SELECT DISTINCT w.relation, n.of FROM within w JOIN names n ON n.oid = w.type), \
               types AS (SELECT md5(string_agg(concat_ws(' ', oid, typnamespace, typname), ',' ORDER BY oid)) FROM pg_type), \
               shown AS (SELECT of, concat_ws(' ', (SELECT md5(string_agg(concat(oid, ' ', nspname), ',' ORDER BY oid)) FROM pg_namespace \
               WHERE nspname NOT LIKE 'pg\\_%'), CASE of \
               WHEN 'class' THEN (SELECT md5(string_agg(concat_ws(' ', oid, relnamespace, relname), ',' ORDER BY oid)) FROM pg_class \
               WHERE relpersistence <> 't' AND relkind <> 't') \
               WHEN 'role' THEN (SELECT md5(string_agg(concat(oid, ' ', rolname), ',' ORDER BY oid)) FROM pg_roles) \
               WHEN 'type' THEN (SELECT * FROM types) \
               WHEN 'collation' THEN (SELECT md5(string_agg(concat_ws(' ', oid, collnamespace, collname), ',' ORDER BY oid)) FROM pg_collation) \
               WHEN 'search' THEN concat((SELECT md5(string_agg(concat_ws(' ', oid, cfgnamespace, cfgname), ',' ORDER BY oid)) FROM pg_ts_config), \
               (SELECT md5(string_agg(concat_ws(' ', oid, dictnamespace, dictname), ',' ORDER BY oid)) FROM pg_ts_dict)) \
               WHEN 'operator' THEN concat((SELECT * FROM types), \
               (SELECT md5(string_agg(concat_ws(' ', oid, oprnamespace, oprname), ',' ORDER BY oid)) FROM pg_operator)) \
               WHEN 'function' THEN concat((SELECT * FROM types), \
               (SELECT md5(string_agg(concat_ws(' ', oid, pronamespace, proname), ',' ORDER BY oid)) FROM pg_proc)) END) AS said \
               FROM (SELECT DISTINCT of FROM used) u) \
               SELECT f.nspname::text, f.relname::text, f.oid, md5(concat_ws('|', f.oid, \
               (SELECT string_agg(concat_ws(' ', attnum, xmin), ',' ORDER BY attnum) FROM its WHERE attrelid = f.oid), \
               (SELECT string_agg(concat_ws(' ', l.oid, l.enumlabel, l.xmin), ',' ORDER BY l.oid) FROM labels l WHERE l.relation = f.oid), \
               (SELECT string_agg(concat_ws(' ', d.attrelid, d.attnum, d.xmin), ',' ORDER BY d.attrelid, d.attnum) FROM fields d \
               WHERE d.relation = f.oid), \
               (SELECT string_agg(s.said, ',' ORDER BY s.of) FROM used u JOIN shown s ON s.of = u.of WHERE u.relation = f.oid))) \
               FROM found f";
    let rows = client.query(sql, &[]).map_err(|error| error::reading(object, &error))?;
    let one = |row: &postgres::Row| {
        (collection(row.get::<_, &str>(0), row.get::<_, &str>(1)), Stamp { oid: row.get(2), text: row.get(3) })
    };
    Ok(rows.iter().map(one).collect())
}

/// Catalogs of what `pg_dump` tells, and which of their rows that is: nothing of what is temporary, which comes and goes.
const CATALOGS: &[(&str, &str)] = &[
    ("pg_aggregate", "true"),
    ("pg_am", "true"),
    ("pg_amop", "true"),
    ("pg_amproc", "true"),
    ("pg_attrdef", "t.adrelid IN (SELECT oid FROM meant)"),
    ("pg_attribute", "t.attnum > 0 AND t.attrelid IN (SELECT oid FROM meant)"),
    ("pg_cast", "true"),
    ("pg_collation", "true"),
    ("pg_constraint", "t.connamespace NOT IN (SELECT oid FROM passing)"),
    ("pg_conversion", "true"),
    ("pg_default_acl", "true"),
    ("pg_depend", "t.deptype = 'e' OR t.deptype = 'a' AND t.objid IN (SELECT oid FROM meant WHERE relkind = 'S')"),
    ("pg_description", "t.classoid <> ALL (ARRAY['pg_publication'::regclass, 'pg_largeobject'::regclass]::oid[])"),
    ("pg_enum", "true"),
    ("pg_event_trigger", "true"),
    ("pg_extension", "true"),
    ("pg_foreign_data_wrapper", "true"),
    ("pg_foreign_server", "true"),
    ("pg_foreign_table", "true"),
    ("pg_inherits", "t.inhrelid IN (SELECT oid FROM meant)"),
    ("pg_init_privs", "true"),
    ("pg_language", "true"),
    ("pg_namespace", "t.oid NOT IN (SELECT oid FROM passing)"),
    ("pg_opclass", "true"),
    ("pg_operator", "true"),
    ("pg_opfamily", "true"),
    ("pg_partitioned_table", "t.partrelid IN (SELECT oid FROM meant)"),
    ("pg_policy", "t.polrelid IN (SELECT oid FROM meant)"),
    ("pg_proc", "t.pronamespace NOT IN (SELECT oid FROM passing)"),
    ("pg_publication", "t.pubname <> ALL ($1::text[])"),
    ("pg_publication_namespace", "t.pnpubid NOT IN (SELECT oid FROM own)"),
    ("pg_publication_rel", "t.prpubid NOT IN (SELECT oid FROM own)"),
    ("pg_range", "true"),
    ("pg_rewrite", "t.ev_class IN (SELECT oid FROM meant)"),
    ("pg_seclabel", "true"),
    ("pg_sequence", "t.seqrelid IN (SELECT oid FROM meant)"),
    ("pg_statistic_ext", "true"),
    ("pg_transform", "true"),
    ("pg_trigger", "t.tgrelid IN (SELECT oid FROM meant)"),
    ("pg_ts_config", "true"),
    ("pg_ts_config_map", "true"),
    ("pg_ts_dict", "true"),
    ("pg_ts_parser", "true"),
    ("pg_ts_template", "true"),
    ("pg_type", "t.typnamespace NOT IN (SELECT oid FROM passing)"),
    ("pg_user_mapping", "true"),
];

/// A text that changes when anything does that `pg_dump` tells, but for the publications of this name, which are ours: which rows
/// of the catalogs are there, and who made them. Of relations and indexes what is said of them, as emptying one writes its row anew.
pub(super) fn definitions(client: &mut Client, slot: &str, object: &str) -> Result<String, ConnectorError> {
    let fail = |error: postgres::Error| error::reading(object, &error);
    let names: Vec<&str> = CATALOGS.iter().map(|(name, _)| *name).collect();
    // Not all are there in all releases, and not all are for everybody.
    let there = "SELECT relname::text FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relname = ANY ($1::text[]) \
                 AND has_table_privilege(oid, 'SELECT')";
    let there: Vec<String> = client.query(there, &[&names]).map_err(fail)?.iter().map(|row| row.get(0)).collect();
    let catalogs = CATALOGS.iter().filter(|(name, _)| there.iter().any(|there| there == name));
    let rows = catalogs.map(|(name, which)| {
        format!("(SELECT '{name} ' || md5(string_agg(concat(t.ctid, t.xmin), ' ' ORDER BY t.ctid)) FROM pg_catalog.{name} t WHERE {which})")
    });
    let sql = format!(
        "WITH passing AS MATERIALIZED (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast_)?temp_' OR nspname = 'pg_toast'), \
         meant AS MATERIALIZED (SELECT c.*, n.nspowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'), \
         own AS (SELECT oid FROM pg_publication WHERE pubname = ANY ($1::text[])) \
         SELECT md5(concat_ws('|', \
         (SELECT string_agg(concat_ws(' ', oid, relnamespace, relname, reltype, reloftype, relowner, relam, reltablespace, relpersistence, \
          relkind, relrowsecurity, relforcerowsecurity, relispopulated, relreplident, relispartition, relacl, reloptions, \
          relpartbound::text), ',' ORDER BY oid) FROM meant), \
         (SELECT string_agg(concat_ws(' ', indexrelid, indrelid, indisunique, indisprimary, indisexclusion, indimmediate, indisclustered, \
          indisvalid, indisreplident, indkey, indclass), ',' ORDER BY indexrelid) FROM pg_index WHERE indrelid IN (SELECT oid FROM meant)), \
         (SELECT string_agg(concat(oid, ' ', rolname), ',' ORDER BY oid) FROM pg_roles \
          WHERE oid IN (SELECT relowner FROM meant UNION SELECT nspowner FROM meant)), {}))",
        rows.collect::<Vec<_>>().join(", ")
    );
    let own = [slot.to_owned(), format!("{slot}_in")];
    Ok(client.query_one(&sql, &[&own.as_slice()]).map_err(fail)?.get(0))
}
