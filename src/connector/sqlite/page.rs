//! Pages of a database file and what lies in them, decoded from their bytes alone.
//!
//! Every function here is total: what does not read as SQLite itself would have written it is `None`, and whoever asked
//! takes another way.

use rusqlite::types::ValueRef;

/// A page that leads to others, of a table by rowids.
const INTERIOR: u8 = 5;
/// A page that holds rows, of a table by rowids.
const LEAF: u8 = 13;
/// The same of a table without rowids, whose rows lie on both.
const KEYED_INTERIOR: u8 = 2;
const KEYED_LEAF: u8 = 10;

const INTERIOR_HEADER: usize = 12;
const LEAF_HEADER: usize = 8;

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

fn short(page: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(page.get(at..at + 2)?.try_into().ok()?)))
}

fn long(page: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(page.get(at..at + 4)?.try_into().ok()?))
}

/// Whether a page leads to others.
pub(super) fn is_interior(page: &[u8]) -> bool {
    page.first() == Some(&INTERIOR)
}

/// The children of an interior page; `None` if it is none, or contradicts what its parent says.
pub(super) fn children(page: &[u8], at: Leaf) -> Option<Vec<Leaf>> {
    if !is_interior(page) {
        return None;
    }
    let cells = short(page, 3)?;
    let mut children = Vec::new();
    let mut low = Some(at.low);
    for cell in 0..cells {
        let pointer = short(page, INTERIOR_HEADER + 2 * cell)?;
        let high = varint(page.get(pointer + 4..)?)?.0 as i64;
        let from = low.filter(|low| *low <= high && high <= at.high)?;
        children.push(Leaf { low: from, high, page: Some(long(page, pointer)?) });
        low = high.checked_add(1);
    }
    if let Some(low) = low.filter(|low| *low <= at.high) {
        children.push(Leaf { low, high: at.high, page: Some(long(page, 8)?) });
    }
    Some(children)
}

/// Whether an interior page is whole, and the bounds that it gives its children contradict each other or its own.
pub(super) fn is_torn(page: &[u8], at: Leaf) -> bool {
    let bound = |cell: usize| -> Option<i64> {
        let pointer = short(page, INTERIOR_HEADER + 2 * cell)?;
        long(page, pointer)?;
        Some(varint(page.get(pointer + 4..)?)?.0 as i64)
    };
    let bounds: Option<Vec<i64>> = short(page, 3).and_then(|cells| (0..cells).map(bound).collect());
    is_interior(page)
        && bounds.is_some_and(|bounds| {
            let ascends = bounds.windows(2).all(|pair| pair[0] < pair[1]);
            !ascends || bounds.iter().any(|bound| !(at.low..=at.high).contains(bound))
        })
}

/// SQLite's integers of variable length: seven bits a byte, the ninth whole. Also how many bytes it took.
#[inline]
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        if index == 8 {
            return Some(((value << 8) | u64::from(*byte), 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// How many rows a leaf holds; `None` if the page is no leaf, or not whole.
pub(super) fn row_count(page: &[u8]) -> Option<usize> {
    if page.first() != Some(&LEAF) {
        return None;
    }
    let rows = short(page, 3)?;
    (LEAF_HEADER + 2 * rows <= page.len()).then_some(rows)
}

/// One row as it lies in a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowCell<'a> {
    pub(super) rowid: i64,
    /// The bytes of its record.
    pub(super) bytes: u64,
    /// Those of them that lie on the leaf.
    pub(super) local: &'a [u8],
    /// Where those begin.
    pub(super) at: usize,
    /// Where the others begin.
    pub(super) overflow: Option<u32>,
}

/// The row at `index` of a leaf of which `usable` bytes of each page are used.
#[inline]
pub(super) fn row_cell(page: &[u8], usable: usize, index: usize) -> Option<RowCell<'_>> {
    let pointer = short(page, LEAF_HEADER + 2 * index)?;
    if pointer < LEAF_HEADER {
        return None;
    }
    let cell = page.get(pointer..usable)?;
    let (bytes, used) = varint(cell)?;
    let (rowid, more) = varint(cell.get(used..)?)?;
    let (local, overflow) = split(&cell[used + more..], bytes, usable, usable - 35)?;
    Some(RowCell { rowid: rowid as i64, bytes, local, at: pointer + used + more, overflow })
}

/// What of a record of so many bytes lies on the page, and where the rest begins. At most `most` bytes lie there.
#[inline]
fn split(cell: &[u8], bytes: u64, usable: usize, most: usize) -> Option<(&[u8], Option<u32>)> {
    if bytes <= most as u64 {
        return Some((cell.get(..bytes as usize)?, None));
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let wanted = least + ((bytes - least as u64) % (usable as u64 - 4)) as usize;
    let local = if wanted <= most { wanted } else { least };
    Some((cell.get(..local)?, Some(long(cell, local)?)))
}

/// A page of a table without rowids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyedHead {
    pub(super) is_leaf: bool,
    /// How many rows lie on it.
    pub(super) rows: usize,
}

/// What a page of a table without rowids is; `None` if it is none.
pub(super) fn keyed_head(page: &[u8]) -> Option<KeyedHead> {
    let is_leaf = match *page.first()? {
        KEYED_LEAF => true,
        KEYED_INTERIOR => false,
        _ => return None,
    };
    let rows = short(page, 3)?;
    let head = if is_leaf { LEAF_HEADER } else { INTERIOR_HEADER };
    (head + 2 * rows <= page.len()).then_some(KeyedHead { is_leaf, rows })
}

/// The row at `index` of such a page, which has no rowid.
pub(super) fn keyed_cell(page: &[u8], usable: usize, head: KeyedHead, index: usize) -> Option<RowCell<'_>> {
    let (header, child) = if head.is_leaf { (LEAF_HEADER, 0) } else { (INTERIOR_HEADER, 4) };
    let pointer = short(page, header + 2 * index)?;
    if pointer < header {
        return None;
    }
    let (bytes, used) = varint(page.get(pointer + child..usable)?)?;
    let at = pointer + child + used;
    let (local, overflow) = split(page.get(at..usable)?, bytes, usable, (usable - 12) * 64 / 255 - 23)?;
    Some(RowCell { rowid: 0, bytes, local, at, overflow })
}

/// The page with what sorts before the row at `index` of an interior page; behind the last row what sorts after it.
pub(super) fn keyed_child(page: &[u8], head: KeyedHead, index: usize) -> Option<u32> {
    if index == head.rows {
        return long(page, 8);
    }
    long(page, short(page, INTERIOR_HEADER + 2 * index)?)
}

/// A page of a long record: the number of the next one (0 for none), and its bytes.
pub(super) fn overflow(page: &[u8], usable: usize) -> Option<(u32, &[u8])> {
    Some((long(page, 0)?, page.get(4..usable)?))
}

/// Where the fields of a record lie. Used again for each.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The kind of each, and where it begins and ends.
    found: Vec<(u64, u32, u32)>,
}

impl Fields {
    /// How many fields the record has.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Finds the fields of a record; `None` if its head and its bytes do not fit each other exactly.
    #[inline]
    pub(super) fn find(&mut self, record: &[u8]) -> Option<()> {
        self.found.clear();
        let (head, mut at) = varint(record)?;
        let head = usize::try_from(head).ok().filter(|head| at <= *head && *head <= record.len())?;
        let mut from = head;
        while at < head {
            let (kind, used) = varint(&record[at..head])?;
            at += used;
            let to = from.checked_add(bytes_of(kind)?).filter(|to| *to <= record.len())?;
            self.found.push((kind, u32::try_from(from).ok()?, u32::try_from(to).ok()?));
            from = to;
        }
        (from == record.len()).then_some(())
    }

    /// The field at `index` of the record that was looked at last, as the database stores it.
    #[inline]
    pub(super) fn value<'r>(&self, record: &'r [u8], index: usize) -> Option<ValueRef<'r>> {
        let (kind, from, to) = *self.found.get(index)?;
        let bytes = record.get(from as usize..to as usize)?;
        Some(match kind {
            0 => ValueRef::Null,
            1..=6 => ValueRef::Integer(integer(bytes)),
            7 => {
                let value = f64::from_be_bytes(bytes.try_into().ok()?);
                // As SQLite reads it.
                if value.is_nan() { ValueRef::Null } else { ValueRef::Real(value) }
            }
            8 => ValueRef::Integer(0),
            9 => ValueRef::Integer(1),
            _ if kind % 2 == 0 => ValueRef::Blob(bytes),
            _ => ValueRef::Text(bytes),
        })
    }
}

/// How many bytes a field of a kind takes; `None` for kinds that no file has.
#[inline]
fn bytes_of(kind: u64) -> Option<usize> {
    match kind {
        0 | 8 | 9 => Some(0),
        1..=4 => Some(kind as usize),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        _ => usize::try_from((kind - 12) / 2).ok(),
    }
}

/// A signed integer of up to eight bytes.
#[inline]
fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut value = if negative { -1i64 } else { 0 };
    for byte in bytes {
        value = (value << 8) | i64::from(*byte);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_length_are_read() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80, 0x80]), None);
        assert_eq!((integer(&[0xff]), integer(&[0x80, 0]), integer(&[0x7f, 0xff, 0xff])), (-1, -32768, 0x7f_ffff));
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

    #[test]
    fn a_record_whose_head_and_bytes_differ_in_length_is_none() {
        let mut fields = Fields::default();
        // Three fields: 300, "ab", nothing.
        let record = [4, 2, 17, 0, 1, 44, b'a', b'b'];
        fields.find(&record).unwrap();
        assert_eq!(fields.len(), 3);
        assert_eq!(fields.value(&record, 0), Some(ValueRef::Integer(300)));
        assert_eq!(fields.value(&record, 1), Some(ValueRef::Text(b"ab")));
        assert_eq!(fields.value(&record, 2), Some(ValueRef::Null));
        assert_eq!(fields.value(&record, 3), None);
        for len in 0..record.len() {
            assert!(fields.find(&record[..len]).is_none(), "{len}");
        }
        assert!(fields.find(&[record.as_slice(), &[0]].concat()).is_none());
        assert!(fields.find(&[2, 10]).is_none() && fields.find(&[2, 11]).is_none());
    }
}
