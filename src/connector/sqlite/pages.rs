//! Walks the b-tree of a table with rowids, page by page, inside the transaction that reads it.
//!
//! What a page says is taken only where it is as SQLite would have written it; anything else is handed back as a window of
//! rowids, to be read by SQL, which knows best what can be made of it.

use super::{
    page::{Fields, Leaf, RowCell, children, is_interior, is_torn, overflow, row_cell, row_count},
    plan::{Order, Plan},
    schema::Affinity,
};
use rusqlite::{Connection, Statement, types::ValueRef};
use std::ops::Range;

/// Pages are nested no deeper than this by SQLite itself.
pub(super) const MAX_DEPTH: usize = 20;

/// A longer record is read by SQL, which can stream its last value.
pub(super) const MAX_RECORD_BYTES: u64 = 4 << 20;

/// SQLite's own lower limit for the bytes of a page that are used.
const MIN_USABLE: usize = 480;

/// A page as this transaction sees it; `None` also where SQLite was built without the table of pages.
pub(super) fn read_page(connection: &Connection, number: u32) -> Option<Vec<u8>> {
    let mut page = Vec::new();
    Reader::new(connection)?.read(number, &mut page)?;
    Some(page)
}

/// The page that a table's b-tree begins at.
pub(super) fn root_page(connection: &Connection, table: &str) -> Option<u32> {
    let sql = "SELECT rootpage FROM main.sqlite_schema WHERE type = 'table' AND name = ?1";
    connection.query_row(sql, [table], |row| row.get(0)).ok()
}

/// Reads pages by number.
pub(super) struct Reader<'c> {
    statement: rusqlite::CachedStatement<'c>,
}

impl<'c> Reader<'c> {
    pub(super) fn new(connection: &'c Connection) -> Option<Self> {
        let statement = connection.prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?1").ok()?;
        Some(Self { statement })
    }

    /// Replaces `page` with the bytes of a page.
    pub(super) fn read(&mut self, number: u32, page: &mut Vec<u8>) -> Option<()> {
        let statement: &mut Statement<'_> = &mut self.statement;
        statement.raw_bind_parameter(1, number).ok()?;
        let mut rows = statement.raw_query();
        let row = rows.next().ok()??;
        page.clear();
        page.extend_from_slice(row.get_ref(0).ok()?.as_blob().ok()?);
        Some(())
    }
}

/// How many pages a row runs over beside its leaf; `None` if it is too long to be held.
pub(super) fn chain_pages(cell: &RowCell<'_>, usable: usize) -> Option<u64> {
    let rest = cell.bytes.checked_sub(cell.local.len() as u64)?;
    (cell.bytes <= MAX_RECORD_BYTES).then(|| rest.div_ceil(usable as u64 - 4))
}

/// Reads the rest of a record from the pages that it runs over.
pub(super) fn follow(
    reader: &mut Reader<'_>,
    mut next: u32,
    bytes: usize,
    usable: usize,
    record: &mut Vec<u8>,
    chain: &mut Vec<u8>,
) -> Option<()> {
    while record.len() < bytes {
        reader.read(next, chain)?;
        let (following, held) = overflow(chain, usable)?;
        let len = held.len().min(bytes - record.len());
        record.extend_from_slice(&held[..len]);
        next = following;
    }
    // A chain that goes on belongs to another record, or to none.
    (next == 0).then_some(())
}

/// The bytes of each page that are used; `None` where pages cannot be read.
pub(super) fn usable_bytes(connection: &Connection) -> Option<usize> {
    let head = read_page(connection, 1)?;
    head.len().checked_sub(usize::from(*head.get(20)?)).filter(|usable| *usable >= MIN_USABLE)
}

/// What a walk gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// A leaf: it lies in [`Walk::page`].
    Leaf,
    /// Rowids, both ends included, that have to be read in another way.
    Window(i64, i64),
    /// The same, of a page that leads nowhere for sure: a search may not find all of them.
    Torn(i64, i64),
    End,
}

/// The leaves of a part of a table, in the order of their rowids. Holds one page a level, whatever the table's size.
pub(super) struct Walk {
    root: u32,
    usable: usize,
    wanted: (i64, i64),
    /// Of each level what is still to be visited, the next one last.
    levels: Vec<Vec<Leaf>>,
    /// The leaf at hand: its bytes, its bounds, how many rows it has, and how many of them were taken.
    page: Vec<u8>,
    leaf: Option<Leaf>,
    rows: usize,
    taken: usize,
    /// Rowids that lie on the leaf and not between its bounds: no search finds them, and what was asked for may hold them.
    strays: Vec<i64>,
    /// Where the record of the row at hand lies on the leaf; `None` if it was put together in `record`.
    local: Option<Range<usize>>,
    record: Vec<u8>,
    chain: Vec<u8>,
    fields: Fields,
}

/// A row that a walk met.
pub(super) enum Row {
    /// Its fields lie in the walk.
    Whole(i64),
    /// It is too long to be held, or does not read as a row: whoever takes another way looks for it there.
    Window(i64, i64),
    /// The page is damaged: rows that lie between these rowids may be found in another way, or not at all.
    Damaged(Leaf),
    /// No row of the leaf is left.
    None,
}

impl Walk {
    /// Over the rowids from `low` to `high`; `None` where pages cannot be read.
    pub(super) fn new(connection: &Connection, table: &str, low: i64, high: i64) -> Option<Self> {
        let root = root_page(connection, table).filter(|root| *root > 1)?;
        let usable = usable_bytes(connection)?;
        let all = Leaf { low: i64::MIN, high: i64::MAX, page: Some(root) };
        Some(Self {
            root,
            usable,
            wanted: (low, high),
            levels: vec![vec![all]],
            page: Vec::new(),
            leaf: None,
            rows: 0,
            taken: 0,
            strays: Vec::new(),
            local: None,
            record: Vec::new(),
            chain: Vec::new(),
            fields: Fields::default(),
        })
    }

    /// Whether a leaf is at hand of which rows may be left.
    pub(super) const fn has_leaf(&self) -> bool {
        self.leaf.is_some()
    }

    /// The bytes of the leaf at hand.
    pub(super) fn page(&self) -> &[u8] {
        &self.page
    }

    /// The page that the table begins at.
    pub(super) const fn root(&self) -> u32 {
        self.root
    }

    /// The bytes of each page that are used.
    pub(super) const fn usable(&self) -> usize {
        self.usable
    }

    /// How many rows the leaf at hand has.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// The number of the leaf at hand.
    pub(super) fn number(&self) -> Option<u32> {
        self.leaf?.page
    }

    /// Leaves the leaf at hand.
    pub(super) fn leave(&mut self) {
        self.leaf = None;
    }

    /// The first and the last rowid of the leaf at hand, if both lie in what is walked over, and the leaf is not empty.
    pub(super) fn ends(&self) -> Option<(i64, i64)> {
        let leaf = self.leaf?;
        let first = row_cell(&self.page, self.usable, 0)?.rowid;
        let last = row_cell(&self.page, self.usable, self.rows.checked_sub(1)?)?.rowid;
        let low = leaf.low.max(self.wanted.0);
        let high = leaf.high.min(self.wanted.1);
        (low <= first && first <= last && last <= high).then_some((first, last))
    }

    /// Goes on to the next leaf.
    pub(super) fn advance(&mut self, reader: &mut Reader<'_>) -> Met {
        self.leaf = None;
        loop {
            let Some(level) = self.levels.last_mut() else { return Met::End };
            let Some(at) = level.pop() else {
                self.levels.pop();
                continue;
            };
            if at.high < self.wanted.0 {
                continue;
            }
            if at.low > self.wanted.1 {
                self.levels.clear();
                return Met::End;
            }
            let window = Met::Window(at.low.max(self.wanted.0), at.high.min(self.wanted.1));
            let read = at.page.and_then(|number| reader.read(number, &mut self.page));
            if read.is_none() || self.page.len() < self.usable {
                return window;
            }
            if is_interior(&self.page) {
                let found = children(&self.page, at).filter(|_| self.levels.len() < MAX_DEPTH);
                let Some(mut found) = found else {
                    return match window {
                        Met::Window(low, high) if is_torn(&self.page, at) => Met::Torn(low, high),
                        window => window,
                    };
                };
                found.reverse();
                self.levels.push(found);
            } else if let Some(rows) = row_count(&self.page) {
                (self.leaf, self.rows, self.taken) = (Some(at), rows, 0);
                return Met::Leaf;
            } else {
                return window;
            }
        }
    }

    /// Takes the next row of the leaf at hand that lies in what is walked over, above `after`.
    pub(super) fn next_row(&mut self, reader: &mut Reader<'_>, after: Option<i64>) -> Row {
        let Some(leaf) = self.leaf else { return Row::None };
        let low = leaf.low.max(self.wanted.0);
        let high = leaf.high.min(self.wanted.1);
        while self.taken < self.rows {
            let found = row_cell(&self.page, self.usable, self.taken);
            let Some(cell) = found.filter(|cell| (leaf.low..=leaf.high).contains(&cell.rowid)) else {
                return self.pass_over(reader, leaf, after, low, high);
            };
            let rowid = cell.rowid;
            self.taken += 1;
            if rowid < low {
                continue;
            }
            if rowid > high {
                break;
            }
            if after.is_some_and(|after| rowid <= after) {
                return self.give_up(leaf.page, low, high);
            }
            if cell.bytes > MAX_RECORD_BYTES {
                return Row::Window(rowid, rowid);
            }
            let found = match cell.overflow {
                None => {
                    let found = self.fields.find(cell.local);
                    self.local = Some(cell.at..cell.at + cell.local.len());
                    found
                }
                Some(next) => {
                    self.local = None;
                    self.record.clear();
                    self.record.extend_from_slice(cell.local);
                    let bytes = cell.bytes as usize;
                    follow(reader, next, bytes, self.usable, &mut self.record, &mut self.chain)
                        .and_then(|()| self.fields.find(&self.record))
                }
            };
            return if found.is_some() { Row::Whole(rowid) } else { Row::Window(rowid, rowid) };
        }
        self.leaf = None;
        Row::None
    }

    /// Passes over a cell that is no row of the leaf, to the next one that may be.
    fn pass_over(&mut self, reader: &mut Reader<'_>, leaf: Leaf, after: Option<i64>, low: i64, high: i64) -> Row {
        let page = leaf.page;
        let stray = self.stray(reader, leaf);
        self.strays.extend(stray);
        let from = after.map_or(Some(low), |after| after.checked_add(1)).map(|from| from.max(low));
        let Some(from) = from.filter(|from| *from <= high) else { return self.give_up(page, low, high) };
        loop {
            self.taken += 1;
            if self.taken >= self.rows {
                return self.give_up(page, from, high);
            }
            let stray = self.stray(reader, leaf);
            self.strays.extend(stray);
            let found = row_cell(&self.page, self.usable, self.taken).map(|cell| cell.rowid);
            match found.filter(|rowid| (from..=high).contains(rowid)) {
                // Nothing fits between: it is asked for along with this one.
                Some(rowid) if rowid == from => {
                    self.taken += 1;
                    return Row::Damaged(Leaf { low: from, high: from, page });
                }
                Some(rowid) => return Row::Damaged(Leaf { low: from, high: rowid - 1, page }),
                None => {}
            }
        }
    }

    /// The rowid of the cell at hand if it is a whole row that belongs elsewhere.
    fn stray(&mut self, reader: &mut Reader<'_>, leaf: Leaf) -> Option<i64> {
        let cell = row_cell(&self.page, self.usable, self.taken)?;
        if (leaf.low..=leaf.high).contains(&cell.rowid) || cell.bytes > MAX_RECORD_BYTES {
            return None;
        }
        let found = match cell.overflow {
            None => self.fields.find(cell.local),
            Some(next) => {
                self.record.clear();
                self.record.extend_from_slice(cell.local);
                follow(reader, next, cell.bytes as usize, self.usable, &mut self.record, &mut self.chain)
                    .and_then(|()| self.fields.find(&self.record))
            }
        };
        found.map(|()| cell.rowid)
    }

    /// Takes the rowids that were met on the leaf and do not belong there.
    pub(super) fn take_strays(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.strays)
    }

    fn give_up(&mut self, page: Option<u32>, low: i64, high: i64) -> Row {
        self.leaf = None;
        Row::Damaged(Leaf { low, high, page })
    }

    /// How many fields the row that was taken last has.
    pub(super) fn fields(&self) -> usize {
        self.fields.len()
    }

    /// The bytes of the row that was taken last, and where its fields lie in them.
    #[inline]
    pub(super) fn record(&self) -> (&Fields, &[u8]) {
        let record = match &self.local {
            Some(local) => self.page.get(local.clone()).unwrap_or_default(),
            None => &self.record,
        };
        (&self.fields, record)
    }
}

/// A value that rows have which were written before their column was added.
#[derive(Debug, Clone)]
pub(super) enum Added {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl From<ValueRef<'_>> for Added {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl Added {
    fn as_value(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

/// Where a table's cells lie in the rows of its pages.
pub(super) struct Places {
    /// For each cell of the plan the field, and whether it holds floats though it may be stored as an integer.
    fields: Vec<(usize, bool)>,
    /// How many fields a row has that was written under today's definition.
    columns: usize,
    /// What SQLite gives for cells of rows that were written before their column was added.
    added: Vec<Option<Added>>,
    wide: bool,
}

impl Places {
    /// `None` if the rows of the table do not lie by their rowids, or its cells are not all columns.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        if plan.order != Order::Rowid {
            return None;
        }
        let names: Vec<&str> = plan.table.columns.iter().map(|column| column.name.as_str()).collect();
        Self::among(plan, &names, plan.shape.names().iter().map(Vec::as_slice))
    }

    /// Of the cells of these names, where fields lie in this order.
    pub(super) fn among<'n>(plan: &Plan, order: &[&str], names: impl Iterator<Item = &'n [u8]>) -> Option<Self> {
        let place = |name: &[u8]| {
            let at = order.iter().position(|field| field.as_bytes() == name)?;
            Some((at, plan.table.column(order[at])?.affinity == Affinity::Real))
        };
        let fields: Vec<(usize, bool)> = names.map(place).collect::<Option<_>>()?;
        let added = vec![None; fields.len()];
        Some(Self { fields, columns: order.len(), added, wide: plan.wide })
    }

    /// Whether a row of so many fields can be read: not one that has more than the table has columns.
    pub(super) fn admits(&self, fields: usize) -> bool {
        fields <= self.columns
    }

    /// Whether some cell of a row of so many fields has to be asked for, because its column was added later.
    pub(super) fn lacks(&self, fields: usize) -> bool {
        fields < self.columns
            && self.fields.iter().zip(&self.added).any(|((at, _), added)| *at >= fields && added.is_none())
    }

    /// Remembers what SQLite gives for the cells that a row of so many fields does not have.
    pub(super) fn learn(&mut self, fields: usize, cells: &[Added]) {
        for ((cell, (at, _)), added) in cells.iter().zip(&self.fields).zip(&mut self.added) {
            if *at >= fields {
                *added = Some(cell.clone());
            }
        }
    }

    /// Whether every cell of a row has a value.
    #[inline]
    pub(super) fn has_all(&self, record: (&Fields, &[u8])) -> bool {
        // What was found lies within the record: only half a character is none then.
        let is_plain = !self.wide && record.0.len() == self.columns;
        is_plain || (0..self.len()).all(|cell| self.value(record, cell).is_some())
    }

    /// The value of a cell; `None` if it is none that this table would have.
    #[inline]
    pub(super) fn value<'w>(&'w self, (fields, record): (&Fields, &'w [u8]), cell: usize) -> Option<ValueRef<'w>> {
        let (at, is_real) = *self.fields.get(cell)?;
        if at >= fields.len() {
            return self.added.get(cell)?.as_ref().map(Added::as_value);
        }
        match fields.value(record, at)? {
            ValueRef::Integer(value) if is_real => Some(ValueRef::Real(value as f64)),
            // Half a character: SQLite decides what that is.
            ValueRef::Text(text) if self.wide && text.len() % 2 == 1 => None,
            value => Some(value),
        }
    }

    /// How many cells there are.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }
}
