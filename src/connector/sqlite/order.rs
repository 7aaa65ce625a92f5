//! Whether the rows of a table's b-tree stand in the order in which SQLite itself keeps them.
//!
//! No search finds a row that stands elsewhere, and SQLite reads it without a word. A table whose key sorts otherwise than our
//! keys do is sorted before it is read, which would hide that.

use super::{
    plan::{Plan, encode_value, value_sql},
    quote::ident,
    schema::Encoding,
};
use rusqlite::{
    Connection,
    functions::{Aggregate, Context, FunctionFlags},
    types::ValueRef,
};
use std::cmp::Ordering;

/// What a column of a key is compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collation {
    Binary,
    NoCase,
    RTrim,
    /// The application's own: how its texts compare is not known.
    Foreign,
}

impl Collation {
    const ALL: [Self; 4] = [Self::Binary, Self::NoCase, Self::RTrim, Self::Foreign];

    fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("BINARY") => Self::Binary,
            () if is("NOCASE") => Self::NoCase,
            () if is("RTRIM") => Self::RTrim,
            () => Self::Foreign,
        }
    }
}

/// One column of a b-tree's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    collation: Collation,
    descends: bool,
}

impl Part {
    fn to_byte(self) -> u8 {
        let collation = Collation::ALL.iter().position(|each| *each == self.collation).unwrap_or_default() as u8;
        b'0' + collation * 2 + u8::from(self.descends)
    }

    fn of_byte(byte: u8) -> Self {
        let number = byte.wrapping_sub(b'0');
        let collation = Collation::ALL.get(usize::from(number / 2)).copied().unwrap_or(Collation::Foreign);
        Self { collation, descends: number % 2 == 1 }
    }
}

/// Rows that do not stand where they belong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder {
    /// How many rows stand before one that belongs before them.
    places: u64,
    /// The keys of the first two rows of which that is so.
    first: Vec<u8>,
    second: Vec<u8>,
}

impl OutOfOrder {
    /// What [`expression`] gives; `None` if all rows stand in order.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (places, rest) = bytes.split_at_checked(8)?;
        let (len, rest) = rest.split_at_checked(8)?;
        let len = usize::try_from(u64::from_be_bytes(len.try_into().ok()?)).ok()?;
        let (first, second) = rest.split_at_checked(len)?;
        let places = u64::from_be_bytes(places.try_into().ok()?);
        (places > 0).then(|| Self { places, first: first.to_vec(), second: second.to_vec() })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let len = self.first.len() as u64;
        [self.places.to_be_bytes().as_slice(), &len.to_be_bytes(), &self.first, &self.second].concat()
    }

    /// In words, behind the table's name.
    pub(super) fn show(&self, plan: &Plan) -> String {
        let shown = |key: &[u8]| -> String {
            let shown = plan.codec.show(key);
            if shown.chars().count() > 60 { shown.chars().take(60).chain(['…']).collect() } else { shown }
        };
        let more = match self.places {
            1 => String::new(),
            places => format!(", and so do the rows at {} other places", places - 1),
        };
        format!(
            "the row {} stands before the row {}, out of the order that SQLite keeps{more}: a page of it is damaged. What was \
             read is kept; rows may be missing, or others than they were, and queries miss some (PRAGMA integrity_check says \
             which)",
            shown(&self.first),
            shown(&self.second)
        )
    }
}

/// SQL for the rows that stand out of order in the b-tree of a table, if they are read in its order; `None` where that order
/// is by nothing that can be asked for.
pub(super) fn expression(connection: &Connection, plan: &Plan) -> rusqlite::Result<Option<String>> {
    let index = plan.table.key_index.as_ref().filter(|_| plan.table.without_rowid);
    let Some(index) = index else {
        let rowid = plan.table.rowid_name.as_ref().filter(|_| !plan.table.without_rowid);
        return Ok(
            rowid.map(|rowid| call(&[Part { collation: Collation::Binary, descends: false }], &[ident(rowid)], plan))
        );
    };
    let sql = "SELECT name, desc, coll FROM pragma_index_xinfo(?1, 'main') WHERE key = 1 ORDER BY seqno";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([index])?;
    let (mut parts, mut columns) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        columns.push(ident(&row.get::<_, String>(0)?));
        parts.push(Part { descends: row.get(1)?, collation: Collation::of(&row.get::<_, String>(2)?) });
    }
    Ok((!parts.is_empty()).then(|| call(&parts, &columns, plan)))
}

fn call(parts: &[Part], columns: &[String], plan: &Plan) -> String {
    let parts: String = parts.iter().map(|part| char::from(part.to_byte())).collect();
    let values: Vec<String> = columns.iter().map(|column| value_sql(column, plan.wide)).collect();
    format!("rekeep_out_of_order('{parts}', {})", values.join(", "))
}

/// The rows that stand out of order, asked for alone.
pub(super) fn out_of_order(connection: &Connection, plan: &Plan) -> rusqlite::Result<Option<OutOfOrder>> {
    let Some(expression) = expression(connection, plan)? else { return Ok(None) };
    let from = match &plan.table.key_index {
        Some(index) if plan.table.without_rowid => plan.indexed(index),
        _ => format!("{} NOT INDEXED", plan.from()),
    };
    let bytes: Vec<u8> = connection.query_row(&format!("SELECT {expression} FROM {from}"), [], |row| row.get(0))?;
    Ok(OutOfOrder::of_bytes(&bytes))
}

/// How SQLite compares two values; `None` where that is not known.
fn compare(one: ValueRef<'_>, other: ValueRef<'_>, collation: Collation, encoding: Encoding) -> Option<Ordering> {
    const fn rank(value: ValueRef<'_>) -> u8 {
        match value {
            ValueRef::Null => 0,
            ValueRef::Integer(_) | ValueRef::Real(_) => 1,
            ValueRef::Text(_) => 2,
            ValueRef::Blob(_) => 3,
        }
    }
    match (one, other) {
        (ValueRef::Integer(one), ValueRef::Integer(other)) => Some(one.cmp(&other)),
        (ValueRef::Real(one), ValueRef::Real(other)) => one.partial_cmp(&other),
        (ValueRef::Integer(one), ValueRef::Real(other)) => integer_and_real(one, other),
        (ValueRef::Real(one), ValueRef::Integer(other)) => integer_and_real(other, one).map(Ordering::reverse),
        (ValueRef::Text(one), ValueRef::Text(other)) => texts(one, other, collation, encoding),
        (ValueRef::Blob(one), ValueRef::Blob(other)) => Some(one.cmp(other)),
        (one, other) => Some(rank(one).cmp(&rank(other))),
    }
}

/// Exactly, as neither holds all values of the other.
fn integer_and_real(integer: i64, real: f64) -> Option<Ordering> {
    // 2^63 and its negative are floats.
    if real.is_nan() {
        None
    } else if real < i64::MIN as f64 {
        Some(Ordering::Greater)
    } else if real >= i64::MAX as f64 {
        Some(Ordering::Less)
    } else {
        let whole = real as i64;
        Some(integer.cmp(&whole).then_with(|| 0.0.partial_cmp(&real.fract()).unwrap_or(Ordering::Equal)))
    }
}

/// A text of the database in UTF-8; `None` if it is no UTF-16.
fn converted(text: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    let units = pairs.iter().map(|pair| match encoding {
        Encoding::Utf16be => u16::from_be_bytes(*pair),
        _ => u16::from_le_bytes(*pair),
    });
    let converted: Result<String, _> = char::decode_utf16(units).collect();
    converted.ok().filter(|_| rest.is_empty()).map(String::into_bytes)
}

fn texts(one: &[u8], other: &[u8], collation: Collation, encoding: Encoding) -> Option<Ordering> {
    if one == other {
        return Some(Ordering::Equal);
    }
    let of_utf8 = |one: &[u8], other: &[u8]| match collation {
        Collation::Binary => Some(one.cmp(other)),
        Collation::Foreign => None,
        Collation::NoCase => no_case(one, other),
        Collation::RTrim => Some(right_trimmed(one, other)),
    };
    // Where a collation is of UTF-8, SQLite converts both.
    if encoding == Encoding::Utf8 || matches!(collation, Collation::Binary | Collation::Foreign) {
        return of_utf8(one, other);
    }
    of_utf8(&converted(one, encoding)?, &converted(other, encoding)?)
}

fn right_trimmed(one: &[u8], other: &[u8]) -> Ordering {
    fn trimmed(text: &[u8]) -> &[u8] {
        let len = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        &text[..len]
    }
    trimmed(one).cmp(trimmed(other))
}

/// Applications replace NOCASE by one that knows more letters than those of ASCII: where such decide, nothing is known.
fn no_case(one: &[u8], other: &[u8]) -> Option<Ordering> {
    for (a, b) in one.iter().zip(other) {
        let (low_a, low_b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
        if low_a != low_b {
            let is_text = |text: &[u8]| std::str::from_utf8(text).is_ok();
            let is_known = a.is_ascii() && b.is_ascii() || !is_text(one) || !is_text(other);
            return is_known.then(|| low_a.cmp(&low_b));
        }
        // Here SQLite's own comparison stops.
        if *a == 0 {
            break;
        }
    }
    Some(one.len().cmp(&other.len()))
}

/// `rekeep_out_of_order(parts, values…)`.
struct Watching {
    wide: bool,
    encoding: Encoding,
}

/// A value of the row before.
#[derive(Debug, Default)]
enum Kept {
    #[default]
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Kept {
    fn set(&mut self, value: ValueRef<'_>) {
        // Their memory serves again.
        let refill = |old: &mut Self, bytes: &[u8]| {
            let mut kept = match std::mem::take(old) {
                Self::Text(kept) | Self::Blob(kept) => kept,
                _ => Vec::new(),
            };
            kept.clear();
            kept.extend_from_slice(bytes);
            kept
        };
        *self = match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(bytes) => Self::Text(refill(self, bytes)),
            ValueRef::Blob(bytes) => Self::Blob(refill(self, bytes)),
        };
    }

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

#[derive(Debug)]
struct Running {
    parts: Vec<Part>,
    /// The row before; none of the first.
    last: Vec<Kept>,
    found: OutOfOrder,
}

impl Watching {
    fn value<'a>(&self, context: &'a Context<'_>, part: usize) -> ValueRef<'a> {
        if !self.wide {
            return context.get_raw(part + 1);
        }
        match (context.get_raw(part * 2 + 1), context.get_raw(part * 2 + 2)) {
            (ValueRef::Integer(1), ValueRef::Blob(bytes)) => ValueRef::Text(bytes),
            (_, value) => value,
        }
    }

    /// Whether the row at hand belongs behind the one before, as far as is known.
    fn is_behind(&self, context: &Context<'_>, running: &Running) -> bool {
        let mut has_null = false;
        for (index, (part, last)) in running.parts.iter().zip(&running.last).enumerate() {
            let value = self.value(context, index);
            has_null |= value == ValueRef::Null;
            match compare(last.as_value(), value, part.collation, self.encoding) {
                Some(Ordering::Equal) => {}
                Some(order) => return (order == Ordering::Less) != part.descends,
                None => return true,
            }
        }
        // NULL differs from NULL.
        has_null
    }
}

impl Aggregate<Running, Vec<u8>> for Watching {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Running> {
        let found = OutOfOrder { places: 0, first: Vec::new(), second: Vec::new() };
        Ok(Running { parts: Vec::new(), last: Vec::new(), found })
    }

    fn step(&self, context: &mut Context<'_>, running: &mut Running) -> rusqlite::Result<()> {
        if running.parts.is_empty() {
            let parts: String = context.get(0)?;
            running.parts = parts.bytes().map(Part::of_byte).collect();
        }
        if running.last.is_empty() {
            running.last.resize_with(running.parts.len(), Kept::default);
        } else if !self.is_behind(context, running) {
            running.found.places += 1;
            if running.found.places == 1 {
                for (index, last) in running.last.iter().enumerate() {
                    encode_value(last.as_value(), &mut running.found.first);
                    encode_value(self.value(context, index), &mut running.found.second);
                }
            }
        }
        for (index, last) in running.last.iter_mut().enumerate() {
            last.set(self.value(context, index));
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, running: Option<Running>) -> rusqlite::Result<Vec<u8>> {
        Ok(running.map_or_else(Vec::new, |running| running.found.to_bytes()))
    }
}

/// Makes `rekeep_out_of_order` known to a connection.
pub(super) fn register(connection: &Connection, encoding: Encoding) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let watching = Watching { wide: encoding != Encoding::Utf8, encoding };
    connection.create_aggregate_function("rekeep_out_of_order", -1, flags, watching)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that are hard to compare, and what SQLite itself says of each two of them.
    #[test]
    fn values_compare_as_sqlite_compares_them() {
        let texts =
            ["", " ", "a", "A", "a ", "a  b", "a\0x", "a\0y", "A\0", "b", "_", "Z", "ä", "Ä", "aä", "az", "\u{10ffff}"];
        let numbers = [
            "0",
            "-1",
            "1",
            "0.5",
            "-0.5",
            "1.0",
            "1.5",
            "9223372036854775807",
            "-9223372036854775808",
            "9.3e18",
            "-9.3e18",
            "9007199254740993",
            "9007199254740992.0",
            "9223372036854775807.0",
            "1e300",
            "-1e300",
        ];
        let mut values: Vec<String> = numbers.iter().map(|number| (*number).to_owned()).collect();
        values.push("NULL".to_owned());
        for text in texts {
            let hex = data_encoding::HEXUPPER.encode(text.as_bytes());
            values.push(format!("x'{hex}'"));
            values.push(format!("CAST(x'{hex}' AS TEXT)"));
        }
        let db = Connection::open_in_memory().unwrap();
        // Columns without an affinity convert nothing.
        let rows: Vec<String> = values.iter().map(|value| format!("({value})")).collect();
        db.execute_batch(&format!("CREATE TABLE p(v); INSERT INTO p VALUES {}", rows.join(", "))).unwrap();
        for (collation, name) in
            [(Collation::Binary, "BINARY"), (Collation::NoCase, "NOCASE"), (Collation::RTrim, "RTRIM")]
        {
            assert_eq!(Collation::of(name), collation);
            let mut known = 0;
            let sql = format!(
                "SELECT a.v, b.v, CASE WHEN a.v COLLATE {name} < b.v THEN -1 WHEN a.v COLLATE {name} = b.v THEN 0
                                  WHEN a.v COLLATE {name} > b.v THEN 1 END FROM p AS a, p AS b"
            );
            let mut statement = db.prepare(&sql).unwrap();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let (one, other) = (row.get_ref(0).unwrap(), row.get_ref(1).unwrap());
                let ours = compare(one, other, collation, Encoding::Utf8);
                known += u64::from(ours.is_some());
                if let (Some(told), Some(ours)) = (row.get::<_, Option<i64>>(2).unwrap(), ours) {
                    assert_eq!(ours as i64, told, "{one:?} {other:?} {name}");
                }
            }
            assert!(known > 2000, "{known}");
        }
    }

    #[test]
    fn what_other_letters_decide_is_left_open_and_bytes_that_are_no_text_are_not() {
        assert_eq!(no_case("ä".as_bytes(), "z".as_bytes()), None);
        assert_eq!(no_case("aä".as_bytes(), "bä".as_bytes()), Some(Ordering::Less));
        assert_eq!(no_case(b"k\xb31", b"k32"), Some(Ordering::Greater));
        assert_eq!(texts(b"a", b"b", Collation::Foreign, Encoding::Utf8), None);
        assert_eq!(texts(b"a\0", b"A\0", Collation::NoCase, Encoding::Utf16le), Some(Ordering::Equal));
        assert_eq!(texts(b"\0a\0 ", b"\0a", Collation::RTrim, Encoding::Utf16be), Some(Ordering::Equal));
        assert_eq!(texts(b"\0\xd8", b"a\0", Collation::NoCase, Encoding::Utf16le), None);
    }
}
