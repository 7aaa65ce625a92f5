//! Partitions whose rows lie elsewhere in another database.
//!
//! By whose hash rows are spread is the same everywhere for numbers and text. That of an enumeration's value is of the number that
//! the catalog gave it, which is another one in each database, and what holds such values inherits it; that of text whose
//! collation takes different texts for equal is the collation library's own. So rows of such a table go in from above, and the
//! server finds their places, as `pg_restore --load-via-partition-root` has it.

use super::{client::Client, error::reading};
use crate::connector::ConnectorError;

/// The schema and name of the topmost table above a partition that spreads its rows so.
const ABOVE: &str = "WITH RECURSIVE above(oid, depth) AS (SELECT inhparent, 1 FROM pg_inherits WHERE inhrelid = $1 \
    UNION ALL SELECT i.inhparent, a.depth + 1 FROM above a JOIN pg_inherits i ON i.inhrelid = a.oid) \
    SELECT n.nspname::text, c.relname::text FROM above a JOIN pg_partitioned_table p ON p.partrelid = a.oid \
    JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.partstrat = 'h' \
    AND (EXISTS (SELECT 1 FROM pg_opclass o JOIN pg_type t ON t.oid = o.opcintype \
    WHERE o.oid = ANY(p.partclass::oid[]) AND t.typtype = 'p') \
    OR EXISTS (SELECT 1 FROM pg_collation l WHERE l.oid = ANY(p.partcollation::oid[]) AND NOT l.collisdeterministic)) \
    ORDER BY a.depth DESC LIMIT 1";

/// The table through which the rows of a table go in, if that is another one.
pub(super) fn through(
    client: &mut Client,
    table: u32,
    object: &str,
) -> Result<Option<(String, String)>, ConnectorError> {
    let found = client.query_opt(ABOVE, &[&table]).map_err(|error| reading(object, &error))?;
    Ok(found.map(|row| (row.get(0), row.get(1))))
}

/// What is told of a table whose rows go in so.
pub(super) fn note(name: &str) -> String {
    format!(
        "rows of {name} are spread by a hash that is another one in each database: they may lie in other partitions of \
         the same table, and a comparison by partition tells them"
    )
}
