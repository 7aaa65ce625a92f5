//! The publication: which tables the server tells of.

use crate::connector::{
    ConnectorError,
    postgres::{
        client::Client,
        error,
        names::{collection, ident, literal},
    },
};
use std::collections::BTreeSet;

/// What our publications say of themselves.
const COMMENT: &str = "made by rekeep";

/// Which changes they tell: all.
const TOLD: &str = "publish = 'insert, update, delete, truncate'";

/// Which tables are told of, of those that could be.
pub(super) struct Published {
    pub(super) told: BTreeSet<String>,
    /// Those that were not before.
    pub(super) added: BTreeSet<String>,
}

/// Says which tables are told of. Makes the publication or brings it up to date, unless it is somebody else's.
///
/// # Errors
/// [`ConnectorError`] if it cannot be made, or does not tell all changes.
pub(super) fn ensure(
    client: &mut Client,
    name: &str,
    wanted: &[(String, String)],
    object: &str,
) -> Result<Published, ConnectorError> {
    let fail = |error: postgres::Error| error::writing(object, &error);
    let sql = "SELECT p.puballtables, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND NOT p.pubviaroot, \
               coalesce(obj_description(p.oid, 'pg_publication') = $2, false) FROM pg_publication p WHERE p.pubname = $1";
    let found = client.query_opt(sql, &[&name, &COMMENT]).map_err(fail)?;
    let quoted = ident(name, false);
    let list: Vec<String> =
        wanted.iter().map(|(schema, table)| format!("ONLY {}.{}", ident(schema, false), ident(table, false))).collect();
    let list = list.join(", ");
    let all = || wanted.iter().map(|(schema, table)| collection(schema, table)).collect::<BTreeSet<String>>();
    let Some(found) = found else {
        let sql = format!(
            "BEGIN; CREATE PUBLICATION {quoted} FOR TABLE {list} WITH ({TOLD}); \
             COMMENT ON PUBLICATION {quoted} IS {}; COMMIT",
            literal(COMMENT)
        );
        if let Err(error) = client.batch_execute(&sql) {
            let _ = client.batch_execute("ROLLBACK");
            return Err(fail(error));
        }
        return Ok(Published { told: all(), added: all() });
    };
    let (for_all, tells_all, is_ours): (bool, bool, bool) = (found.get(0), found.get(1), found.get(2));
    let published = published(client, name, object)?;
    if is_ours {
        let wanted = all();
        if published != wanted {
            client.batch_execute(&format!("ALTER PUBLICATION {quoted} SET TABLE {list}")).map_err(fail)?;
        }
        if !tells_all {
            let sql = format!("ALTER PUBLICATION {quoted} SET ({TOLD}, publish_via_partition_root = false)");
            client.batch_execute(&sql).map_err(fail)?;
        }
        let added = wanted.difference(&published).cloned().collect();
        return Ok(Published { told: wanted, added });
    }
    if !tells_all {
        let reason = "it must publish insert, update, delete and truncate, and each partition by itself \
                      (publish_via_partition_root = false)";
        return Err(ConnectorError::Usage { object: format!("publication {name}"), reason: reason.to_owned() });
    }
    let told = if for_all { all() } else { all().intersection(&published).cloned().collect() };
    Ok(Published { told, added: BTreeSet::new() })
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
               (SELECT concat(oid, ' ', xmin) FROM pg_publication WHERE pubname = $1), \
               (SELECT string_agg(concat(r.prrelid, ' ', r.oid, ' ', r.xmin), ',' ORDER BY r.oid) FROM pg_publication_rel r \
                JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1))";
    let row = client.query_one(sql, &[&name]).map_err(|error| error::reading(object, &error))?;
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

/// Drops the publication if it is ours; whether it was there.
pub(super) fn remove(client: &mut Client, name: &str, object: &str) -> Result<bool, ConnectorError> {
    let fail = |error: postgres::Error| error::writing(object, &error);
    let sql = "SELECT 1 FROM pg_publication WHERE pubname = $1 AND obj_description(oid, 'pg_publication') = $2";
    let is_there = client.query_opt(sql, &[&name, &COMMENT]).map_err(fail)?.is_some();
    if is_there {
        client.batch_execute(&format!("DROP PUBLICATION {}", ident(name, false))).map_err(fail)?;
    }
    Ok(is_there)
}
