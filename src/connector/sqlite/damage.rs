//! Where the rows of a damaged table lie: its b-tree's leaves and the rowids that each holds, taken from the interior pages,
//! so that what one damaged page costs is that page.

use super::{
    page::{Leaf, children},
    pages::{MAX_DEPTH, read_page, root_page},
    quote::ident,
};
use rusqlite::Connection;
use std::collections::HashSet;

/// The leaves of a table that may hold rowids between `low` and `high`, in their order. A page that is no page of the
/// table counts as a leaf: whoever reads it finds out.
pub(super) fn leaves(connection: &Connection, table: &str, low: i64, high: i64) -> Vec<Leaf> {
    let all = Leaf { low, high, page: None };
    let root = root_page(connection, table).filter(|root| read_page(connection, *root).is_some());
    let Some(root) = root else { return vec![all] };
    let mut walk = Walk { connection, wanted: (low, high), seen: HashSet::new(), found: Vec::new() };
    walk.visit(Leaf { low: i64::MIN, high: i64::MAX, page: Some(root) }, 0);
    walk.found
}

struct Walk<'a> {
    connection: &'a Connection,
    wanted: (i64, i64),
    seen: HashSet<u32>,
    found: Vec<Leaf>,
}

impl Walk<'_> {
    fn visit(&mut self, at: Leaf, depth: usize) {
        if at.high < self.wanted.0 || at.low > self.wanted.1 {
            return;
        }
        let is_new = at.page.is_some_and(|page| self.seen.insert(page));
        let page = at.page.filter(|_| is_new && depth < MAX_DEPTH).and_then(|page| read_page(self.connection, page));
        match page.and_then(|page| children(&page, at)) {
            Some(children) => children.into_iter().for_each(|child| self.visit(child, depth + 1)),
            None => {
                self.found.push(Leaf { low: at.low.max(self.wanted.0), high: at.high.min(self.wanted.1), ..at });
            }
        }
    }
}

/// What the rows of a damaged leaf are, as far as it tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Ascending.
    pub(super) rowids: Vec<i64>,
    /// Rowids, both ends included, of which nothing is known.
    pub(super) hole: Option<(i64, i64)>,
}

/// Lists the rowids between `low` and `high` from both ends, up to where reading fails.
pub(super) fn list(connection: &Connection, from: &str, rowid: &str, low: i64, high: i64) -> rusqlite::Result<Listed> {
    let rowid = ident(rowid);
    let run = |direction: &str| -> rusqlite::Result<(Vec<i64>, bool)> {
        let sql =
            format!("SELECT {rowid} FROM {from} WHERE {rowid} >= ?1 AND {rowid} <= ?2 ORDER BY {rowid} {direction}");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([low, high])?;
        let mut found: Vec<i64> = Vec::new();
        loop {
            match rows.next() {
                Ok(Some(row)) => found.push(row.get(0)?),
                Ok(None) => return Ok((found, true)),
                Err(error) if super::proof::is_bad_page(&error) => return Ok((found, false)),
                Err(error) => return Err(error),
            }
        }
    };
    let (mut rowids, whole) = run("ASC")?;
    if whole {
        return Ok(Listed { rowids, hole: None });
    }
    let (mut back, _) = run("DESC")?;
    back.reverse();
    let last = rowids.last().copied();
    back.retain(|rowid| last.is_none_or(|last| *rowid > last));
    let from = last.map_or(Some(low), |last| last.checked_add(1));
    let to = back.first().map_or(Some(high), |first| first.checked_sub(1));
    let hole = from.zip(to).filter(|(from, to)| from <= to);
    rowids.extend(back);
    Ok(Listed { rowids, hole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaves_of_a_table_cover_all_rowids_without_overlap() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
             WITH RECURSIVE n(i) AS (SELECT -3000 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO t SELECT i * 1000, zeroblob(200) FROM n;",
        )
        .unwrap();
        let leaves = leaves(&db, "t", i64::MIN, i64::MAX);
        assert!(leaves.len() > 100, "SQLite is built with its table of pages");
        assert_eq!((leaves[0].low, leaves[leaves.len() - 1].high), (i64::MIN, i64::MAX));
        assert!(leaves.windows(2).all(|pair| pair[0].high + 1 == pair[1].low));
        let some = super::leaves(&db, "t", 5, 6);
        assert_eq!((some.len(), some[0].low, some[0].high), (1, 5, 6));
    }
}
