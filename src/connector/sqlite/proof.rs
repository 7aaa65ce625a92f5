//! Whether a table's rows may be read in the order of its key's index.
//!
//! An index may lack rows of its table, hold others, or keys that the rows no longer have, and SQLite reads it without a
//! word. So before one is used, its entries and the table's own rows are added up: both sums are the same only if each row
//! is in the index once, under its own key. One look at each in the order in which it lies; no row is looked up.
//!
//! What no index is compared with, the table's own b-tree, is looked at for rows that stand out of SQLite's own order: by
//! [`super::order`], in the same look where there is one.

use super::{
    order::{self, OutOfOrder, out_of_order},
    plan::{Plan, encode_value, is_edge, value_sql},
    schema::Encoding,
};
use highway::{HighwayHash, HighwayHasher, Key};
use rusqlite::{
    Connection, ErrorCode, ffi,
    functions::{Aggregate, Context, FunctionFlags},
    types::ValueRef,
};

/// What an index turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// It holds what the table holds, in the order of our keys.
    Holds,
    /// It holds what the table holds, in another order.
    SortsOtherwise,
    /// It does not hold what the table holds, or cannot be read: in words.
    Differs(String),
    /// Rows of the table itself stand where no search finds them: in words.
    Damaged(String),
}

/// Compares the index of a table's key with the table.
pub(super) fn prove(connection: &Connection, plan: &Plan) -> rusqlite::Result<Proof> {
    let Some(index) = &plan.table.key_index else { return prove_sorted(connection, plan) };
    let of_index = match sum(connection, plan, &plan.indexed(index), plan.table.without_rowid) {
        Ok((_, Some(found))) => return Ok(Proof::Damaged(found.show(plan))),
        Ok((sum, None)) => sum,
        // Of a table without rowids this is the table: whoever reads it says what cannot be read.
        Err(error) if meets_bad_page(connection, &error) && plan.table.without_rowid => {
            return Ok(Proof::SortsOtherwise);
        }
        Err(error) if is_bad_page(&error) => {
            return Ok(Proof::Differs(format!("the index `{index}` of its key cannot be read ({error})")));
        }
        Err(error) => return Err(error),
    };
    if !plan.table.without_rowid {
        let of_table = match sum(connection, plan, &format!("{} NOT INDEXED", plan.from()), false) {
            Ok((sum, _)) => sum,
            Err(error) if meets_bad_page(connection, &error) => return Ok(Proof::SortsOtherwise),
            Err(error) => return Err(error),
        };
        if of_index.rows != of_table.rows {
            return Ok(Proof::Differs(format!(
                "the index `{index}` of its key has {} entries, the table {} rows",
                of_index.rows, of_table.rows
            )));
        }
        if of_index.hash != of_table.hash {
            return Ok(Proof::Differs(format!("the index `{index}` of its key holds other keys than the table")));
        }
    }
    Ok(if of_index.is_sorted() { Proof::Holds } else { Proof::SortsOtherwise })
}

/// Looks at a table that is read in its own order and sorted, whatever its key's index holds.
pub(super) fn prove_sorted(connection: &Connection, plan: &Plan) -> rusqlite::Result<Proof> {
    match out_of_order(connection, plan) {
        Ok(found) => Ok(found.map_or(Proof::SortsOtherwise, |found| Proof::Damaged(found.show(plan)))),
        // Whoever reads it says what cannot be read.
        Err(error) if meets_bad_page(connection, &error) => Ok(Proof::SortsOtherwise),
        Err(error) => Err(error),
    }
}

/// Whether an error says that a page of the file cannot be read.
pub(super) fn is_bad_page(error: &rusqlite::Error) -> bool {
    match error.sqlite_error() {
        Some(error) if error.code == ErrorCode::SystemIoFailure => {
            matches!(
                error.extended_code,
                ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_DATA
            )
        }
        Some(error) => error.code == ErrorCode::DatabaseCorrupt,
        None => false,
    }
}

/// The same where the connection reads on: SQLite looks at a page's cells when it comes into the connection's cache, and never again while
/// it is there, so the next who reads it would get whatever lies in it.
pub(super) fn meets_bad_page(connection: &Connection, error: &rusqlite::Error) -> bool {
    let is_bad = is_bad_page(error);
    if is_bad {
        // What cannot be let go is in use, and was looked at before.
        let _ = connection.execute_batch("PRAGMA shrink_memory");
    }
    is_bad
}

/// Adds up what is read there; with `ordered` also what of it stands out of order.
fn sum(connection: &Connection, plan: &Plan, from: &str, ordered: bool) -> rusqlite::Result<(Sum, Option<OutOfOrder>)> {
    let mut arguments: Vec<String> = plan.key_columns().iter().map(|key| value_sql(key, plan.wide)).collect();
    arguments.extend(plan.rowid_cell().map(|cell| plan.cells[cell].clone()));
    let found = if ordered { order::expression(connection, plan)? } else { None };
    let found = found.as_deref().unwrap_or("x''");
    let sql = format!("SELECT rekeep_sum({}, {}), {found} FROM {from}", plan.key_count(), arguments.join(", "));
    connection.query_row(&sql, [], |row| {
        Ok((Sum::of_bytes(&row.get::<_, Vec<u8>>(0)?), OutOfOrder::of_bytes(&row.get::<_, Vec<u8>>(1)?)))
    })
}

/// Rows or entries, added up in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hash: u128,
    /// Whether each key was greater than the one before; whether each was smaller.
    ascends: bool,
    descends: bool,
    /// Whether a key has a part that an index sorts in another way than we do.
    is_odd: bool,
}

impl Sum {
    const fn is_sorted(&self) -> bool {
        (self.ascends || self.descends) && !self.is_odd
    }

    fn to_bytes(&self) -> Vec<u8> {
        let flags = [u8::from(self.ascends), u8::from(self.descends), u8::from(self.is_odd)];
        [self.rows.to_be_bytes().as_slice(), &self.hash.to_be_bytes(), &flags].concat()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let (rows, rest) = bytes.split_at(bytes.len().min(8));
        let (hash, flags) = rest.split_at(rest.len().min(16));
        let flag = |at: usize| flags.get(at) == Some(&1);
        Self {
            rows: rows.try_into().map_or(0, u64::from_be_bytes),
            hash: hash.try_into().map_or(0, u128::from_be_bytes),
            ascends: flag(0),
            descends: flag(1),
            is_odd: flag(2),
        }
    }
}

/// `rekeep_sum(count, key parts…, rowid)`.
struct Summing {
    wide: bool,
}

/// A sum that is being made, and the key before.
struct Running {
    sum: Sum,
    last: Vec<u8>,
    key: Vec<u8>,
}

impl Aggregate<Running, Vec<u8>> for Summing {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Running> {
        let sum = Sum { ascends: true, descends: true, ..Sum::default() };
        Ok(Running { sum, last: Vec::new(), key: Vec::new() })
    }

    fn step(&self, context: &mut Context<'_>, running: &mut Running) -> rusqlite::Result<()> {
        let Running { sum, last, key } = running;
        let stride = if self.wide { 2 } else { 1 };
        let count = usize::try_from(context.get::<i64>(0)?).unwrap_or_default();
        key.clear();
        for index in 0..count {
            let value = match (self.wide, context.get_raw(index * stride + stride)) {
                (true, ValueRef::Blob(bytes)) if context.get_raw(index * 2 + 1) == ValueRef::Integer(1) => {
                    ValueRef::Text(bytes)
                }
                (_, value) => value,
            };
            sum.is_odd |= value == ValueRef::Null || (index + 1 < count && is_edge(value));
            encode_value(value, key);
        }
        if sum.rows > 0 {
            sum.ascends &= key > last;
            sum.descends &= key < last;
        }
        sum.rows += 1;
        last.clone_from(key);
        if context.len() > count * stride + 1 {
            encode_value(context.get_raw(count * stride + 1), key);
        }
        let [high, low] = HighwayHasher::new(Key::default()).hash128(key);
        sum.hash = sum.hash.wrapping_add((u128::from(high) << 64) | u128::from(low));
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, running: Option<Running>) -> rusqlite::Result<Vec<u8>> {
        let empty = || Sum { ascends: true, ..Sum::default() };
        Ok(running.map_or_else(empty, |running| running.sum).to_bytes())
    }
}

/// Makes `rekeep_sum` and what [`super::order`] asks by known to a connection.
pub(super) fn register(connection: &Connection, encoding: Encoding) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let summing = Summing { wide: encoding != Encoding::Utf8 };
    connection.create_aggregate_function("rekeep_sum", -1, flags, summing)?;
    order::register(connection, encoding)
}
