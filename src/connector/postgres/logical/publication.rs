//! The publication: which tables the server tells of. Beside ours stands a second one, which tells of insertions alone, of tables
//! above partitions that cannot be in the first: that stops no writer of a partition without a replica identity, and shows when a row
//! goes into one that nobody knew of.

use crate::connector::{
    ConnectorError,
    postgres::{
        client::Client,
        error,
        names::{collection, ident, literal},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// What our publications say of themselves.
const COMMENT: &str = "made by rekeep";

/// Which changes they tell: all.
const TOLD: &str = "publish = 'insert, update, delete, truncate'";

/// The name of the second publication, if the server would not cut it.
fn second(name: &str) -> Option<String> {
    const LONGEST: usize = 63;
    Some(format!("{name}_in")).filter(|name| name.len() <= LONGEST)
}

/// The publications that the server is asked by: the second one if it is there, and older than the slot.
///
/// # Errors
/// [`ConnectorError`] from the server.
pub(super) fn names(client: &mut Client, name: &str, object: &str) -> Result<Vec<String>, ConnectorError> {
    let mut names = vec![name.to_owned()];
    if let Some(second) = second(name)
        && is_ours(client, &second, object)?
    {
        names.push(second);
    }
    Ok(names)
}

/// Which tables are told of, of those that could be.
pub(super) struct Published {
    pub(super) told: BTreeSet<String>,
    /// Those that were not before.
    pub(super) added: BTreeSet<String>,
    /// Why others are not.
    pub(super) why_not: String,
}

/// A table, by its schema and its name.
type Named = (String, String);

fn name_of((schema, table): &Named) -> String {
    collection(schema, table)
}

/// Tables as a statement lists them.
fn list<'t>(tables: impl IntoIterator<Item = &'t Named>) -> String {
    let one = |(schema, table): &Named| format!("ONLY {}.{}", ident(schema, false), ident(table, false));
    tables.into_iter().map(one).collect::<Vec<String>>().join(", ")
}

/// Says which of the tables that are wanted are told of; of `roots` whatever lies below them is, also what is made later. Makes the
/// publication or brings it up to date, unless it is somebody else's.
///
/// # Errors
/// [`ConnectorError`] if it cannot be made, or does not tell all changes.
pub(super) fn ensure(
    client: &mut Client,
    name: &str,
    wanted: &[Named],
    roots: &[Named],
    object: &str,
) -> Result<Published, ConnectorError> {
    let fail = |error: postgres::Error| error::writing(object, &error);
    let sql = "SELECT p.puballtables, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND NOT p.pubviaroot, \
               coalesce(obj_description(p.oid, 'pg_publication') = $2, false) FROM pg_publication p WHERE p.pubname = $1";
    let found = client.query_opt(sql, &[&name, &COMMENT]).map_err(fail)?;
    let found: Option<(bool, bool, bool)> = found.map(|row| (row.get(0), row.get(1), row.get(2)));
    if let Some((for_all, tells_all, false)) = found {
        if !tells_all {
            let reason = "it must publish insert, update, delete and truncate, and each partition by itself \
                          (publish_via_partition_root = false)";
            return Err(ConnectorError::Usage { object: format!("publication {name}"), reason: reason.to_owned() });
        }
        let published = published(client, name, object)?;
        let told = wanted.iter().map(name_of).filter(|table| for_all || published.contains(table)).collect();
        let why_not = format!("the publication {name} does not list it");
        return Ok(Published { told, added: BTreeSet::new(), why_not });
    }
    let listed = listed(client, name, object)?;
    let owned = owned(client, wanted, object)?;
    let meant: BTreeSet<&Named> = wanted.iter().chain(roots).collect();
    let is_listed = |table: &Named| listed.get(table) == Some(&true);
    // A partition that is told of because of its root is listed by itself too: then it still is when it is detached.
    let more: Vec<&Named> = owned.iter().chain(roots).filter(|table| !is_listed(table)).collect();
    let less: Vec<&Named> = listed.keys().filter(|table| !is_listed(table) || !meant.contains(table)).collect();
    let told: BTreeSet<String> =
        wanted.iter().filter(|table| is_listed(table) || owned.contains(*table)).map(name_of).collect();
    let why_not = format!("only its owner can publish it, or whoever makes the publication {name} beforehand");
    if told.is_empty() {
        clear(client, name, object)?;
        let reason = format!("none of its tables can be followed; {}: {why_not}", name_of(&wanted[0]));
        return Err(ConnectorError::Usage { object: object.to_owned(), reason });
    }
    let quoted = ident(name, false);
    let mut sql = Vec::new();
    match found {
        None => {
            sql.push(format!("CREATE PUBLICATION {quoted} FOR TABLE {} WITH ({TOLD})", list(more.iter().copied())));
            sql.push(format!("COMMENT ON PUBLICATION {quoted} IS {}", literal(COMMENT)));
        }
        Some((_, tells_all, _)) => {
            if !less.is_empty() {
                sql.push(format!("ALTER PUBLICATION {quoted} DROP TABLE {}", list(less)));
            }
            if !more.is_empty() {
                sql.push(format!("ALTER PUBLICATION {quoted} ADD TABLE {}", list(more.iter().copied())));
            }
            if !tells_all {
                sql.push(format!("ALTER PUBLICATION {quoted} SET ({TOLD}, publish_via_partition_root = false)"));
            }
        }
    }
    // All of it or nothing: what is sent at once is one transaction.
    if !sql.is_empty() {
        client.batch_execute(&sql.join("; ")).map_err(fail)?;
    }
    let added = more.into_iter().filter(|table| wanted.contains(table)).map(name_of).collect();
    Ok(Published { told, added, why_not })
}

/// Has the second publication tell of what goes into these tables from above. It is made where there is no slot yet, as a slot
/// knows no publication that is younger than what it reads; a table that it lists stays.
///
/// # Errors
/// [`ConnectorError`] if it cannot be made.
pub(super) fn ensure_second(
    client: &mut Client,
    name: &str,
    above: &[Named],
    has_slot: bool,
    object: &str,
) -> Result<(), ConnectorError> {
    let Some(second) = second(name) else { return Ok(()) };
    if !is_ours(client, name, object)? {
        return Ok(());
    }
    let (quoted, is_there) = (ident(&second, false), is_ours(client, &second, object)?);
    let listed = listed(client, &second, object)?;
    let more: Vec<&Named> = above.iter().filter(|table| !listed.contains_key(*table)).collect();
    let mut sql = Vec::new();
    if !is_there {
        let sql_taken = "SELECT 1 FROM pg_publication WHERE pubname = $1";
        let taken = client.query_opt(sql_taken, &[&second]).map_err(|error| error::reading(object, &error))?;
        if has_slot || taken.is_some() {
            return Ok(());
        }
        sql.push(format!("CREATE PUBLICATION {quoted} WITH (publish = 'insert')"));
        sql.push(format!("COMMENT ON PUBLICATION {quoted} IS {}", literal(COMMENT)));
    }
    if !more.is_empty() {
        sql.push(format!("ALTER PUBLICATION {quoted} ADD TABLE {}", list(more)));
    }
    if sql.is_empty() {
        return Ok(());
    }
    client.batch_execute(&sql.join("; ")).map_err(|error| error::writing(object, &error))
}

/// Takes all tables out of the publication, if it is there and ours.
///
/// # Errors
/// [`ConnectorError`] from the server.
pub(super) fn clear(client: &mut Client, name: &str, object: &str) -> Result<(), ConnectorError> {
    let listed = listed(client, name, object)?;
    if !listed.is_empty() && is_ours(client, name, object)? {
        let sql = format!("ALTER PUBLICATION {} DROP TABLE {}", ident(name, false), list(listed.keys()));
        client.batch_execute(&sql).map_err(|error| error::writing(object, &error))?;
    }
    Ok(())
}

/// The tables that a publication lists by their names, and whether with all their rows and columns.
fn listed(client: &mut Client, name: &str, object: &str) -> Result<BTreeMap<Named, bool>, ConnectorError> {
    let sql = "SELECT n.nspname::text, c.relname::text, coalesce(to_jsonb(r) ->> 'prqual', to_jsonb(r) ->> 'prattrs') IS NULL \
               FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
               JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1";
    let rows = client.query(sql, &[&name]).map_err(|error| error::reading(object, &error))?;
    Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}

/// Those of the tables that this user owns: nobody else may publish them.
fn owned(client: &mut Client, tables: &[Named], object: &str) -> Result<BTreeSet<Named>, ConnectorError> {
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        tables.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let sql = "SELECT w.schema, w.name FROM unnest($1::text[], $2::text[]) AS w(schema, name) \
               JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name \
               WHERE pg_has_role(c.relowner, 'USAGE')";
    let rows = client.query(sql, &[&schemas, &names]).map_err(|error| error::reading(object, &error))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The tables that a publication lists with all their rows and columns.
fn published(client: &mut Client, name: &str, object: &str) -> Result<BTreeSet<String>, ConnectorError> {
    // What a list of columns or a condition would leave out is not told; releases before 15 have neither.
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
               JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE p.pubname = $1 AND coalesce(to_jsonb(r) ->> 'prqual', to_jsonb(r) ->> 'prattrs') IS NULL \
               UNION SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = $1 \
               AND NOT EXISTS (SELECT 1 FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
               JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE p.pubname = $1 AND n.nspname = schemaname AND c.relname = tablename)";
    let rows = client.query(sql, &[&name]).map_err(|error| error::reading(object, &error))?;
    Ok(rows.iter().map(|row| collection(&row.get::<_, String>(0), &row.get::<_, String>(1))).collect())
}

/// A text that changes when the publication does, even if it is changed back: its own row of the catalog, and one for each table.
pub(super) fn mark(client: &mut Client, name: &str, object: &str) -> Result<String, ConnectorError> {
    let sql = "SELECT concat_ws('|', \
               (SELECT string_agg(concat(oid, ' ', xmin), ' ' ORDER BY pubname) FROM pg_publication WHERE pubname = ANY($1)), \
               (SELECT string_agg(concat(r.prrelid, ' ', r.oid, ' ', r.xmin), ',' ORDER BY r.oid) FROM pg_publication_rel r \
                JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = ANY($1)))";
    let names = names(client, name, object)?;
    let row = client.query_one(sql, &[&names]).map_err(|error| error::reading(object, &error))?;
    Ok(row.get(0))
}

/// What became of a publication between two marks.
pub(super) struct Difference {
    /// Whether it is another one, or told less of tables for a while that are there; tables that were dropped are no loss.
    pub(super) is_altered: bool,
    /// The collections that were added.
    pub(super) added: BTreeSet<String>,
}

/// Compares marks.
pub(super) fn compare(
    client: &mut Client,
    before: &str,
    now: &str,
    object: &str,
) -> Result<Difference, ConnectorError> {
    let (own, tables) = before.split_once('|').unwrap_or((before, ""));
    let (own_now, tables_now) = now.split_once('|').unwrap_or((now, ""));
    if own != own_now {
        return Ok(Difference { is_altered: true, added: BTreeSet::new() });
    }
    let rows = |list: &str| list.split(',').filter(|row| !row.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, now) = (rows(tables), rows(tables_now));
    let table = |row: &String| row.split(' ').next().and_then(|oid| oid.parse::<u32>().ok());
    let gone: Vec<u32> = before.difference(&now).filter_map(table).collect();
    let added: Vec<u32> = now.difference(&before).filter_map(table).collect();
    let sql = "SELECT c.oid = ANY($1), c.oid = ANY($2), n.nspname::text, c.relname::text FROM pg_class c \
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY($1) OR c.oid = ANY($2)";
    let mut found = Difference { is_altered: false, added: BTreeSet::new() };
    for row in client.query(sql, &[&gone, &added]).map_err(|error| error::reading(object, &error))? {
        found.is_altered |= row.get::<_, bool>(0);
        if row.get(1) {
            found.added.insert(collection(&row.get::<_, String>(2), &row.get::<_, String>(3)));
        }
    }
    Ok(found)
}

fn is_ours(client: &mut Client, name: &str, object: &str) -> Result<bool, ConnectorError> {
    let sql = "SELECT 1 FROM pg_publication WHERE pubname = $1 AND obj_description(oid, 'pg_publication') = $2";
    Ok(client.query_opt(sql, &[&name, &COMMENT]).map_err(|error| error::reading(object, &error))?.is_some())
}

/// Drops the publications that are ours; whether the first was there.
pub(super) fn remove(client: &mut Client, name: &str, object: &str) -> Result<bool, ConnectorError> {
    let is_there = is_ours(client, name, object)?;
    for name in std::iter::once(name.to_owned()).chain(second(name)) {
        if is_ours(client, &name, object)? {
            let sql = format!("DROP PUBLICATION {}", ident(&name, false));
            client.batch_execute(&sql).map_err(|error| error::writing(object, &error))?;
        }
    }
    Ok(is_there)
}
