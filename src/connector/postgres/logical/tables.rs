//! What of a database can be followed, and what its definitions are like.

use crate::connector::{
    ConnectorError,
    postgres::{
        attributes::TableAttributes,
        catalog::{self, KeyKind, Table},
        client::Client,
        error,
        select::Selection,
    },
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The tables of a database, as far as they are meant.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// By collection, what a snapshot says of them.
    pub(super) described: BTreeMap<String, TableAttributes>,
    /// Schema and name of those that can be followed.
    pub(super) followed: Vec<(String, String)>,
    /// The tables above partitions of which all can be followed: what they are told of are the partitions that are made later.
    pub(super) roots: Vec<(String, String)>,
    /// The others of this user: of what they are told is only what goes into partitions that are made later.
    pub(super) above: Vec<(String, String)>,
    /// Those whose rows are not told of, and why.
    pub(super) left: BTreeMap<String, String>,
}

impl Tables {
    /// Those whose changes are not told of, with why not.
    pub fn left(&self) -> impl Iterator<Item = (&str, &str)> {
        self.left.iter().map(|(name, why)| (name.as_str(), why.as_str()))
    }

    /// Why a table is not followed; `None` if it is.
    #[must_use]
    pub fn why_left(&self, collection: &str) -> Option<&str> {
        self.left.get(collection).map(String::as_str)
    }
}

/// A table's identity, as the stream tells rows of before by it.
struct ReplicaIdentity {
    kind: char,
    columns: HashSet<String>,
}

/// Looks at the tables that are meant.
pub(super) fn look(client: &mut Client, selection: &Selection, object: &str) -> Result<Tables, ConnectorError> {
    let fail = |error: postgres::Error| error::reading(object, &error);
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").map_err(fail)?;
    let found = look_within(client, selection, object);
    let ended = client.batch_execute("ROLLBACK").map_err(fail);
    let found = found?;
    ended?;
    Ok(found)
}

fn look_within(client: &mut Client, selection: &Selection, object: &str) -> Result<Tables, ConnectorError> {
    let mut tables = catalog::tables(client, selection, object)?;
    let above: Vec<u32> = tables.iter().filter(|table| table.kind == 'p').map(|table| table.oid).collect();
    tables.retain(|table| table.kind == 'r');
    catalog::describe(client, &mut tables, object)?;
    let identities = identities(client, &tables, object)?;
    let mute = mute_types(client, &tables, object)?;
    let mut found = Tables::default();
    for table in &tables {
        let name = table.collection();
        match why_not(table, identities.get(&table.oid), mute.get(&table.oid)) {
            Some(why) => drop(found.left.insert(name.clone(), why)),
            None => found.followed.push((table.schema.clone(), table.name.clone())),
        }
        found.described.insert(name, TableAttributes::of(table));
    }
    let is_followed = |table: &&Table| !found.left.contains_key(&table.collection());
    let followed: Vec<u32> = tables.iter().filter(is_followed).map(|table| table.oid).collect();
    found.roots = roots(client, &above, &followed, object)?;
    found.above = owned(client, &above, object)?;
    found.above.retain(|table| !found.roots.contains(table));
    Ok(found)
}

/// Those of the tables above partitions that may be published without harm to writers: with a primary key, which every partition to
/// come has too (updates of a table without one fail as soon as it is published), and of whose partitions each is followed.
fn roots(
    client: &mut Client,
    above: &[u32],
    followed: &[u32],
    object: &str,
) -> Result<Vec<(String, String)>, ConnectorError> {
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = ANY($1) AND pg_has_role(c.relowner, 'USAGE') AND c.relreplident = 'd' \
               AND EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate) \
               AND NOT EXISTS (SELECT 1 FROM pg_partition_tree(c.oid) t WHERE t.isleaf AND t.relid <> c.oid AND NOT t.relid = ANY($2)) \
               ORDER BY 1, 2";
    let rows = client.query(sql, &[&above, &followed]).map_err(|error| error::reading(object, &error))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Those of the tables that this user may publish.
fn owned(client: &mut Client, tables: &[u32], object: &str) -> Result<Vec<(String, String)>, ConnectorError> {
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = ANY($1) AND pg_has_role(c.relowner, 'USAGE') ORDER BY 1, 2";
    let rows = client.query(sql, &[&tables]).map_err(|error| error::reading(object, &error))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Why a table's changes cannot be told as versions of its records.
fn why_not(table: &Table, identity: Option<&ReplicaIdentity>, mute: Option<&String>) -> Option<String> {
    let words = |text: &str| Some(text.to_owned());
    if table.unlogged {
        return words("it is unlogged, and its changes are in no log");
    }
    if !table.may_read {
        return words(catalog::UNREADABLE);
    }
    if table.condition.is_some() {
        return words("an extension says which of its rows are kept, and the stream tells all of them");
    }
    if let Some(column) = mute {
        return Some(format!("its column {column} has a type without a binary form"));
    }
    let is_whole = identity.is_some_and(|identity| identity.kind == 'f');
    if table.key_kind == KeyKind::Content {
        if is_whole {
            return None;
        }
        return words("it has no key: with REPLICA IDENTITY FULL it can be followed");
    }
    if table.key.iter().any(|at| table.columns[*at].generated) {
        return words("its key has a generated column, which is not told");
    }
    let covers = |identity: &ReplicaIdentity| {
        is_whole || table.key.iter().all(|at| identity.columns.contains(&table.columns[*at].name))
    };
    if identity.is_some_and(covers) {
        return None;
    }
    words(
        "its replica identity does not tell its key: REPLICA IDENTITY FULL does, or USING INDEX for the index of the key",
    )
}

fn identities(
    client: &mut Client,
    tables: &[Table],
    object: &str,
) -> Result<HashMap<u32, ReplicaIdentity>, ConnectorError> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let sql = "SELECT c.oid, c.relreplident, coalesce((SELECT array_agg(a.attname::text) FROM pg_index i \
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
               WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate \
               AND ((c.relreplident = 'd' AND i.indisprimary) OR (c.relreplident = 'i' AND i.indisreplident))), '{}') \
               FROM pg_class c WHERE c.oid = ANY($1)";
    let rows = client.query(sql, &[&oids]).map_err(|error| error::reading(object, &error))?;
    let one = |row: &postgres::Row| {
        let columns: Vec<String> = row.get(2);
        let kind = char::from(row.get::<_, i8>(1).cast_unsigned());
        (row.get(0), ReplicaIdentity { kind, columns: columns.into_iter().collect() })
    };
    Ok(rows.iter().map(one).collect())
}

/// Tables with a column whose binary form the server fails to make, as a part of its type has none: its name.
fn mute_types(client: &mut Client, tables: &[Table], object: &str) -> Result<HashMap<u32, String>, ConnectorError> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let sql = "WITH RECURSIVE within(relation, name, type, depth) AS ( \
               SELECT a.attrelid, a.attname::text, a.atttypid, 0 FROM pg_attribute a \
               WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
               UNION SELECT w.relation, w.name, p.part, w.depth + 1 FROM within w JOIN pg_type t ON t.oid = w.type \
               CROSS JOIN LATERAL (SELECT t.typelem AS part WHERE t.typelem <> 0 AND t.typlen = -1 \
               UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd' \
               UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid \
               UNION ALL SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid \
               UNION ALL SELECT f.atttypid FROM pg_attribute f WHERE t.typtype = 'c' AND f.attrelid = t.typrelid \
               AND f.attnum > 0 AND NOT f.attisdropped) p WHERE w.depth < 32) \
               SELECT DISTINCT ON (w.relation) w.relation, w.name FROM within w JOIN pg_type t ON t.oid = w.type \
               WHERE w.depth > 0 AND t.typsend = 0 ORDER BY w.relation, w.name";
    let rows = client.query(sql, &[&oids]).map_err(|error| error::reading(object, &error))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A text that changes whenever the definition of any table does, the values of an enumeration, the name of a role, or which sequences may be read.
pub(super) fn mark(client: &mut Client, object: &str) -> Result<String, ConnectorError> {
    let sql = "WITH meant AS (SELECT c.oid, concat_ws(' ', c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident, \
               c.relispartition, c.relowner) AS said FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p', 'f', 'c') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' \
               AND n.nspname <> 'information_schema') \
               SELECT md5(concat_ws('|', (SELECT string_agg(said, ',' ORDER BY oid) FROM meant), \
               (SELECT string_agg(concat_ws(' ', a.attrelid, a.xmin, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, \
                a.attgenerated), ',' ORDER BY a.attrelid, a.attnum) FROM pg_attribute a JOIN meant m ON m.oid = a.attrelid \
                WHERE a.attnum > 0 AND NOT a.attisdropped), \
               (SELECT string_agg(concat_ws(' ', i.indexrelid, i.indisprimary, i.indisreplident, i.indisvalid, i.indimmediate, i.indkey), \
                ',' ORDER BY i.indexrelid) FROM pg_index i JOIN meant m ON m.oid = i.indrelid WHERE i.indisunique), \
               (SELECT string_agg(concat_ws(' ', oid, enumtypid, enumlabel, xmin), ',' ORDER BY oid) FROM pg_enum), \
               (SELECT string_agg(concat(oid, ' ', rolname), ',' ORDER BY oid) FROM pg_roles), \
               (SELECT string_agg(c.oid::text, ',' ORDER BY c.oid) FROM pg_class c \
                WHERE CASE WHEN c.relkind = 'S' AND c.relpersistence <> 't' THEN NOT has_sequence_privilege(c.oid, 'SELECT') END)))";
    let row = client.query_one(sql, &[]).map_err(|error| error::reading(object, &error))?;
    Ok(row.get(0))
}
