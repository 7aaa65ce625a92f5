//! Walks the b-tree of a table without rowids in the order of its key, page by page. Its rows lie on interior pages too.

use super::{
    page::{Fields, KeyedHead, keyed_cell, keyed_child, keyed_head},
    pages::{MAX_DEPTH, MAX_RECORD_BYTES, Reader, follow, root_page, usable_bytes},
};
use rusqlite::Connection;

/// Whether a row sorts before where a walk is to begin; `None` if that cannot be told.
pub(super) type IsBefore<'f> = dyn Fn((&Fields, &[u8])) -> Option<bool> + 'f;

/// A page on the way to where the walk stands.
struct Level {
    page: Vec<u8>,
    head: KeyedHead,
    /// The row that comes next.
    next: usize,
    /// Whether what sorts before it was walked over.
    is_entered: bool,
}

/// What a walk gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// A row: [`KeyedWalk::record`].
    Row,
    End,
    /// Something that does not read as SQLite would have written it, or is too long to be held.
    Odd,
}

/// The rows of a table without rowids. Holds one page a level.
pub(super) struct KeyedWalk {
    usable: usize,
    root: Option<u32>,
    levels: Vec<Level>,
    spare: Vec<Vec<u8>>,
    record: Vec<u8>,
    chain: Vec<u8>,
    fields: Fields,
}

impl KeyedWalk {
    /// `None` where pages cannot be read.
    pub(super) fn new(connection: &Connection, table: &str) -> Option<Self> {
        Some(Self {
            usable: usable_bytes(connection)?,
            root: Some(root_page(connection, table).filter(|root| *root > 1)?),
            levels: Vec::new(),
            spare: Vec::new(),
            record: Vec::new(),
            chain: Vec::new(),
            fields: Fields::default(),
        })
    }

    /// The bytes of the row that was met last, and where its fields lie in them.
    pub(super) fn record(&self) -> (&Fields, &[u8]) {
        (&self.fields, &self.record)
    }

    /// Goes on to the next row. The first time rows are passed over of which `is_before` says so, as it does of all before them.
    pub(super) fn advance(&mut self, reader: &mut Reader<'_>, is_before: &IsBefore) -> Met {
        if let Some(root) = self.root.take()
            && self.seek(reader, root, is_before).is_none()
        {
            return Met::Odd;
        }
        self.next(reader).unwrap_or(Met::Odd)
    }

    fn next(&mut self, reader: &mut Reader<'_>) -> Option<Met> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Some(Met::End) };
            if !level.head.is_leaf && !level.is_entered {
                level.is_entered = true;
                let child = keyed_child(&level.page, level.head, level.next)?;
                self.enter(reader, child)?;
            } else if level.next < level.head.rows {
                let index = level.next;
                level.next += 1;
                level.is_entered = false;
                self.take(reader, index)?;
                return Some(Met::Row);
            } else if let Some(done) = self.levels.pop() {
                self.spare.push(done.page);
            }
        }
    }

    fn enter(&mut self, reader: &mut Reader<'_>, number: u32) -> Option<()> {
        if self.levels.len() >= MAX_DEPTH {
            return None;
        }
        let mut page = self.spare.pop().unwrap_or_default();
        reader.read(number, &mut page)?;
        let head = keyed_head(&page).filter(|_| page.len() >= self.usable)?;
        self.levels.push(Level { page, head, next: 0, is_entered: false });
        Some(())
    }

    /// Goes down to the first row that is not before what is wanted.
    fn seek(&mut self, reader: &mut Reader<'_>, root: u32, is_before: &IsBefore) -> Option<()> {
        let mut page = root;
        loop {
            self.enter(reader, page)?;
            let rows = self.levels.last()?.head.rows;
            for index in 0..rows {
                self.take(reader, index)?;
                if !is_before(self.record())? {
                    break;
                }
                self.levels.last_mut()?.next = index + 1;
            }
            let level = self.levels.last_mut()?;
            if level.head.is_leaf {
                return Some(());
            }
            level.is_entered = true;
            page = keyed_child(&level.page, level.head, level.next)?;
        }
    }

    /// Reads the row at `index` of the page at hand.
    fn take(&mut self, reader: &mut Reader<'_>, index: usize) -> Option<()> {
        let Level { page, head, .. } = self.levels.last()?;
        let cell = keyed_cell(page, self.usable, *head, index).filter(|cell| cell.bytes <= MAX_RECORD_BYTES)?;
        self.record.clear();
        self.record.extend_from_slice(cell.local);
        if let Some(next) = cell.overflow {
            follow(reader, next, cell.bytes as usize, self.usable, &mut self.record, &mut self.chain)?;
        }
        self.fields.find(&self.record)
    }
}
