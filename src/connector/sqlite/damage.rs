//! Where the rows of a damaged table lie: its b-tree's leaves and the rowids that each holds, taken from the interior pages,
//! so that what one damaged page costs is that page.

use super::{
    page::{Leaf, children, is_interior, is_torn},
    pages::{MAX_DEPTH, Reader, read_page, root_page},
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

/// The interior pages of a table that lead to their children by bounds which contradict each other. A search goes astray
/// there, and so does whoever believes them; what reads all pages in turn does not.
pub(super) fn torn(connection: &Connection, table: &str) -> Vec<Leaf> {
    let (Some(root), Some(mut reader)) = (root_page(connection, table), Reader::new(connection)) else {
        return Vec::new();
    };
    let all = Leaf { low: i64::MIN, high: i64::MAX, page: Some(root) };
    // All leaves lie equally deep: those need not be read to know that they are none.
    let (mut height, mut page, mut at) = (0, Vec::new(), root);
    while height < MAX_DEPTH && reader.read(at, &mut page).is_some() && is_interior(&page) {
        height += 1;
        match children(&page, all).and_then(|children| children.first()?.page) {
            Some(first) => at = first,
            None => break,
        }
    }
    let mut branches = Branches { reader, seen: HashSet::new(), found: Vec::new() };
    branches.visit(all, height);
    branches.found
}

struct Branches<'a> {
    reader: Reader<'a>,
    seen: HashSet<u32>,
    found: Vec<Leaf>,
}

impl Branches<'_> {
    fn visit(&mut self, at: Leaf, height: usize) {
        let Some(number) = at.page.filter(|page| height > 0 && self.seen.insert(*page)) else { return };
        let mut page = Vec::new();
        if self.reader.read(number, &mut page).is_none() {
            return;
        }
        if is_torn(&page, at) {
            self.found.push(at);
        } else if let Some(children) = children(&page, at).filter(|_| height > 1) {
            drop(page);
            for child in children {
                self.visit(child, height - 1);
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
    fn branches_whose_bounds_contradict_each_other_are_found() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "PRAGMA page_size = 512; CREATE TABLE t(id INTEGER PRIMARY KEY, v);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
             INSERT INTO t SELECT i * 1000, zeroblob(100) FROM n;",
        )
        .unwrap();
        assert!(torn(&db, "t").is_empty());
        let sql = "SELECT pageno FROM dbstat WHERE name = 't' AND pagetype = 'internal' ORDER BY path DESC LIMIT 1";
        let number: u32 = db.query_row(sql, [], |row| row.get(0)).unwrap();
        let mut page = read_page(&db, number).unwrap();
        // Its first two children change places.
        page.swap(12, 14);
        page.swap(13, 15);
        db.execute("UPDATE sqlite_dbpage SET data = ?1 WHERE pgno = ?2", (page, number)).unwrap();
        let found = torn(&db, "t");
        assert_eq!(found.iter().map(|leaf| leaf.page).collect::<Vec<_>>(), [Some(number)]);
        assert!(found[0].low > 1000 && found[0].high >= 9_000_000, "{found:?}");
    }

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
