//! Where the rows of a damaged table lie: its b-tree's leaves and the rowids that each holds, taken from the interior pages,
//! so that what one damaged page costs is that page.

use super::quote::ident;
use rusqlite::Connection;
use std::collections::HashSet;

/// Interior pages are nested no deeper than this by SQLite itself.
const MAX_DEPTH: usize = 20;

/// Rowids, both ends included, that lie on one page if they lie anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) low: i64,
    pub(super) high: i64,
    /// Its number; `None` where pages cannot be looked at.
    pub(super) page: Option<u32>,
}

impl Leaf {
    /// In words, for messages.
    pub(super) fn show(&self) -> String {
        match self.page {
            Some(page) => format!("page {page}"),
            None => "an unknown page".to_owned(),
        }
    }
}

/// The leaves of a table that may hold rowids between `low` and `high`, in their order. A page that is no page of the
/// table counts as a leaf: whoever reads it finds out.
pub(super) fn leaves(connection: &Connection, table: &str, low: i64, high: i64) -> Vec<Leaf> {
    let root = "SELECT rootpage FROM main.sqlite_schema WHERE type = 'table' AND name = ?1";
    let root = connection.query_row(root, [table], |row| row.get::<_, u32>(0));
    let all = Leaf { low, high, page: None };
    let Ok(root) = root else { return vec![all] };
    if read_page(connection, root).is_none() {
        return vec![all];
    }
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

/// A page as this transaction sees it; `None` also where SQLite was built without the table of pages.
fn read_page(connection: &Connection, number: u32) -> Option<Vec<u8>> {
    let mut statement = connection.prepare_cached("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1").ok()?;
    statement.query_row([number], |row| row.get(0)).ok()
}

/// The children of an interior page; `None` if it is none, or contradicts what its parent says.
fn children(page: &[u8], at: Leaf) -> Option<Vec<Leaf>> {
    const INTERIOR: u8 = 5;
    const HEADER: usize = 12;
    let number = |at: usize| Some(u32::from_be_bytes(page.get(at..at + 4)?.try_into().ok()?));
    if *page.first()? != INTERIOR {
        return None;
    }
    let cells = usize::from(u16::from_be_bytes(page.get(3..5)?.try_into().ok()?));
    let mut children = Vec::new();
    let mut low = Some(at.low);
    for cell in 0..cells {
        let pointer = page.get(HEADER + 2 * cell..HEADER + 2 * cell + 2)?;
        let pointer = usize::from(u16::from_be_bytes(pointer.try_into().ok()?));
        let high = varint(page.get(pointer + 4..)?)?;
        let from = low.filter(|low| *low <= high && high <= at.high)?;
        children.push(Leaf { low: from, high, page: Some(number(pointer)?) });
        low = high.checked_add(1);
    }
    if let Some(low) = low.filter(|low| *low <= at.high) {
        children.push(Leaf { low, high: at.high, page: Some(number(8)?) });
    }
    Some(children)
}

/// SQLite's integers of variable length: seven bits a byte, the ninth whole.
fn varint(bytes: &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        if index == 8 {
            return Some(((value << 8) | u64::from(*byte)) as i64);
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value as i64);
        }
    }
    None
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
                Err(error) if super::proof::is_damage(&error) => return Ok((found, false)),
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
    fn integers_of_every_length_are_read() {
        assert_eq!(varint(&[0x7f]), Some(127));
        assert_eq!(varint(&[0x81, 0x00]), Some(128));
        assert_eq!(varint(&[0xff; 9]), Some(-1));
        assert_eq!(varint(&[0x80, 0x80]), None);
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

    #[test]
    fn pages_of_any_bytes_are_no_children_or_some_within_bounds() {
        let at = Leaf { low: -5, high: 900, page: Some(2) };
        let mut seed = 7u64;
        for _ in 0..20_000 {
            let mut page = vec![0; 64];
            for byte in &mut page {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 40) as u8;
            }
            page[0] = 5;
            page[3] = 0;
            page[4] %= 8;
            for child in children(&page, at).unwrap_or_default() {
                assert!(child.low <= child.high && at.low <= child.low && child.high <= at.high);
            }
        }
    }
}
