//! How one table is read: which key, which cells, in which order, and by which SQL.

use super::{
    quote::ident,
    schema::{Affinity, Encoding, Table},
};
use crate::record::{
    KeyCodec, KeyPart, Shape,
    key::{encode_int, encode_part},
};
use rusqlite::{
    Connection, Row, Statement,
    functions::FunctionFlags,
    types::{ToSqlOutput, ValueRef},
};
use std::sync::Arc;

/// In which way the records of a table come in key order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The key is the rowid.
    Rowid,
    /// The index of the primary key sorts as our keys do.
    Index,
    /// It does not (another collation, mixed directions, NULLs, numbers of two kinds), or the table's own pages do not: rows are
    /// sorted by their encoded key first.
    Sorted,
}

/// How one table is read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) table: Table,
    pub(super) codec: KeyCodec,
    pub(super) order: Order,
    pub(super) wide: bool,
    pub(super) encoding: Encoding,
    pub(super) shape: Arc<Shape>,
    /// The column of each cell in the shape's order; the rowid for the cell without a name.
    pub(super) cells: Vec<String>,
    /// For each cell whether its column is generated, so that SQL cannot write it.
    pub(super) computed: Vec<bool>,
    /// Whether rows are keyed by their numbers, from 1, in the order in which they lie: that of rowids which no name reaches.
    pub(super) is_numbered: bool,
    keys: Vec<String>,
    affinities: Vec<Affinity>,
}

/// The number of a row in the order in which rows are read, which is that of the table's b-tree.
const NUMBER: &str = "row_number() OVER ()";

/// Why a table cannot be read.
#[derive(Debug)]
pub(super) enum PlanError {
    /// Keys with NULL are told apart by the rowid, which cannot be reached.
    NoRowid,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for PlanError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Plan {
    /// Decides how to read `table`.
    pub(super) fn new(connection: &Connection, table: Table, encoding: Encoding) -> Result<Self, PlanError> {
        let rowid_keyed = table.integer_key.is_some() || table.primary_key.is_empty();
        let rowid = table.rowid_name.as_deref().map(ident);
        let codec = match (rowid_keyed, encoding) {
            (true, _) => KeyCodec::Int,
            (false, Encoding::Utf8) => KeyCodec::Tuple,
            (false, Encoding::Utf16le) => KeyCodec::TupleUtf16le,
            (false, Encoding::Utf16be) => KeyCodec::TupleUtf16be,
        };
        let keys: Vec<String> = if rowid_keyed {
            vec![rowid.clone().unwrap_or_else(|| NUMBER.to_owned())]
        } else {
            table.primary_key.iter().map(|name| ident(name)).collect()
        };
        let key_columns: Vec<_> = table.primary_key.iter().filter_map(|name| table.column(name)).collect();
        let affinities = key_columns.iter().map(|column| column.affinity).collect();
        let in_key = |name: &str| table.primary_key.iter().any(|key| key == name);
        let mut named: Vec<(Vec<u8>, String, bool)> = table
            .columns
            .iter()
            .filter(|column| !in_key(&column.name))
            .map(|column| (column.name.clone().into_bytes(), ident(&column.name), column.computed))
            .collect();
        if let (false, Some(rowid)) = (rowid_keyed, rowid) {
            named.push((Vec::new(), rowid, false));
        }
        named.sort();
        let (mut shape, mut cells, mut computed) = (Vec::new(), Vec::new(), Vec::new());
        for (name, cell, is_computed) in named {
            shape.push(name);
            cells.push(cell);
            computed.push(is_computed);
        }
        let is_numbered = rowid_keyed && table.rowid_name.is_none();
        let mut plan = Self {
            codec,
            order: match rowid_keyed {
                _ if is_numbered => Order::Sorted,
                true => Order::Rowid,
                false => Order::Index,
            },
            wide: encoding != Encoding::Utf8,
            encoding,
            shape: Arc::new(Shape::new(shape)),
            cells,
            computed,
            is_numbered,
            keys,
            affinities,
            table,
        };
        if !rowid_keyed && plan.needs_sorting(connection)? {
            plan.order = Order::Sorted;
        }
        Ok(plan)
    }

    /// Whether the key's index sorts otherwise, as far as the schema tells; what the rows tell is [`super::proof`]'s.
    fn needs_sorting(&self, connection: &Connection) -> Result<bool, PlanError> {
        if !self.table.without_rowid && self.table.rowid_name.is_none() {
            // Without the rowid nothing ties an entry of the index to its row, and nothing tells keys with NULL apart.
            let nullable = self.table.primary_key.iter().any(|key| self.table.column(key).is_none_or(|c| c.nullable));
            let tests: Vec<String> = self.keys.iter().map(|key| format!("{key} IS NULL")).collect();
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", self.read_from(), tests.join(" OR "));
            if nullable && connection.query_row(&sql, [], |row| row.get::<_, bool>(0))? {
                return Err(PlanError::NoRowid);
            }
            return Ok(true);
        }
        // 5 and 5.0 are equal to an index, which then sorts by the next column; they are two keys to us.
        let (_, before_last) = self.affinities.split_last().unwrap_or((&Affinity::Blob, &[]));
        if before_last.contains(&Affinity::Blob) || self.table.key_index.is_none() {
            return Ok(true);
        }
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", self.after_sql(">")))?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if row.get::<_, String>("detail")?.contains("TEMP B-TREE") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same table, its rows sorted from the table itself.
    pub(super) fn sorted(&self) -> Self {
        Self {
            order: Order::Sorted,
            table: self.table.clone(),
            shape: Arc::clone(&self.shape),
            cells: self.cells.clone(),
            computed: self.computed.clone(),
            keys: self.keys.clone(),
            affinities: self.affinities.clone(),
            ..*self
        }
    }

    /// SQL columns per value.
    pub(super) const fn stride(&self) -> usize {
        if self.wide { 2 } else { 1 }
    }

    pub(super) const fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The columns of the key in SQL.
    pub(super) fn key_columns(&self) -> &[String] {
        &self.keys
    }

    /// The table in SQL.
    pub(super) fn from(&self) -> String {
        format!("main.{}", ident(&self.table.name))
    }

    /// The table where its rows are read: from its own b-tree, never from an index that happens to hold all columns; by the
    /// key's index only in the order of the key, which [`super::proof`] allows.
    pub(super) fn read_from(&self) -> String {
        match &self.table.key_index {
            Some(index) if self.table.without_rowid || self.order == Order::Index => self.indexed(index),
            _ => format!("{} NOT INDEXED", self.from()),
        }
    }

    /// The table read by this index.
    pub(super) fn indexed(&self, index: &str) -> String {
        format!("{} INDEXED BY {}", self.from(), ident(index))
    }

    /// The position of the rowid's cell, where one is kept.
    pub(super) fn rowid_cell(&self) -> Option<usize> {
        (self.codec != KeyCodec::Int && self.table.rowid_name.is_some()).then_some(0)
    }

    /// The values of key and cells, in this order, as SQL.
    fn values(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().chain(&self.cells).map(String::as_str)
    }

    fn select(&self, values: impl Iterator<Item = impl AsRef<str>>) -> String {
        let list: Vec<String> = values.map(|value| value_sql(value.as_ref(), self.wide)).collect();
        format!("SELECT {} FROM {}", list.join(", "), self.read_from())
    }

    fn order_by(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|key| format!("{key} COLLATE BINARY")).collect();
        format!(" ORDER BY {}", keys.join(", "))
    }

    /// All records between two rowids, both included.
    pub(super) fn rowid_sql(&self) -> String {
        self.rowid_order(&self.select(self.values()))
    }

    fn rowid_order(&self, select: &str) -> String {
        let key = &self.keys[0];
        format!("{select} WHERE {key} >= ?1 AND {key} <= ?2 ORDER BY {key}")
    }

    /// All records in key order.
    pub(super) fn all_sql(&self) -> String {
        self.select(self.values()) + &self.order_by()
    }

    /// All records after (`>`) or from (`>=`) a whole key.
    pub(super) fn after_sql(&self, operator: &str) -> String {
        self.select(self.values()) + &self.after(operator) + &self.order_by()
    }

    fn after(&self, operator: &str) -> String {
        let parameters: Vec<String> =
            (0..self.keys.len()).map(|i| format!("{} COLLATE BINARY", self.parameter(i))).collect();
        if let [key] = self.keys.as_slice() {
            return format!(" WHERE {key} {operator} {}", parameters[0]);
        }
        format!(" WHERE ({}) {operator} ({})", self.keys.join(", "), parameters.join(", "))
    }

    /// The first record of a scan without its last cell, whose type and length come in its place.
    pub(super) fn probe_sql(&self, after: Option<&str>) -> Option<String> {
        let (last, others) = self.cells.split_last()?;
        let values = self.keys.iter().chain(others);
        let selected: Vec<String> = values.map(|value| value_sql(value, self.wide)).collect();
        let select =
            format!("SELECT {}, typeof({last}), octet_length({last}) FROM {}", selected.join(", "), self.read_from());
        Some(match (self.order, after) {
            (Order::Rowid, _) => self.rowid_order(&select),
            (_, None) => select + &self.order_by(),
            (_, Some(operator)) => select + &self.after(operator) + &self.order_by(),
        })
    }

    /// The whole key of the first record from a value of the first key column on.
    pub(super) fn snap_sql(&self) -> String {
        let first = &self.keys[0];
        let keys = self.select(self.keys.iter());
        format!("{keys} WHERE {first} >= {} COLLATE BINARY{} LIMIT 1", self.parameter(0), self.order_by())
    }

    /// The whole key of the first or the last record.
    pub(super) fn edge_sql(&self, last: bool) -> String {
        let direction = if last { " DESC" } else { "" };
        let order: Vec<String> = self.keys.iter().map(|key| format!("{key} COLLATE BINARY{direction}")).collect();
        format!("{} ORDER BY {} LIMIT 1", self.select(self.keys.iter()), order.join(", "))
    }

    /// The columns of a temporary table for records and their encoded keys.
    pub(super) fn gathered_columns(&self) -> String {
        self.gathered().join(", ") + ", k"
    }

    /// The columns of such a table, apart from the key's.
    fn gathered(&self) -> Vec<String> {
        (0..(self.key_count() + self.cells.len()) * self.stride()).map(|i| format!("c{i}")).collect()
    }

    /// A query for records as they are gathered, their keys behind them, of the rows that a condition admits.
    pub(super) fn gathered_sql(&self, condition: &str) -> String {
        let all = self.gathered_as_they_lie(condition);
        format!("SELECT * FROM ({all}) WHERE k >= ?1 AND (?2 IS NULL OR k < ?2)")
    }

    /// The same, of keys outside of the range too.
    pub(super) fn gathered_as_they_lie(&self, condition: &str) -> String {
        let mut arguments: Vec<String> = self.keys.iter().map(|key| value_sql(key, self.wide)).collect();
        if let Some(cell) = self.rowid_cell() {
            arguments.push(self.cells[cell].clone());
        }
        let key = match &self.keys[..] {
            [number] if self.codec == KeyCodec::Int => format!("rekeep_number({number})"),
            _ => format!("rekeep_key({}, {})", self.key_count(), arguments.join(", ")),
        };
        let list: Vec<String> = self
            .values()
            .flat_map(|value| value_columns(value, self.wide))
            .zip(self.gathered())
            .map(|(value, column)| format!("{value} AS {column}"))
            .collect();
        format!("SELECT {}, {key} AS k FROM {}{condition}", list.join(", "), self.read_from())
    }

    /// What reads a table without rowids from its end; `None` if it has them.
    pub(super) fn backwards(&self, connection: &Connection) -> rusqlite::Result<Option<String>> {
        let Some(index) = self.table.key_index.as_ref().filter(|_| self.table.without_rowid) else { return Ok(None) };
        let mut statement = connection
            .prepare("SELECT name, desc, coll FROM pragma_index_xinfo(?1, 'main') WHERE key = 1 ORDER BY seqno")?;
        let mut rows = statement.query([index])?;
        let mut order = Vec::new();
        while let Some(row) = rows.next()? {
            let (name, descends, collation): (String, bool, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let direction = if descends { "ASC" } else { "DESC" };
            // With the table's name, since results have names as well.
            let column = format!("{}.{}", ident(&self.table.name), ident(&name));
            order.push(format!("{column} COLLATE {} {direction}", ident(&collation)));
        }
        Ok(Some(format!(" ORDER BY {}", order.join(", "))))
    }

    /// A parameter for the key part or column at `index`.
    pub(super) fn parameter(&self, index: usize) -> String {
        parameter_sql(index, self.wide)
    }

    /// Encodes the key of a row that begins with the key's values.
    pub(super) fn encode_key(&self, row: &Row<'_>, out: &mut Vec<u8>) -> rusqlite::Result<()> {
        out.clear();
        if self.codec == KeyCodec::Int {
            out.extend_from_slice(&encode_int(row.get_ref(self.stride() - 1)?.as_i64().unwrap_or_default()));
            return Ok(());
        }
        let mut has_null = false;
        for index in 0..self.key_count() {
            let value = self.value(row, index)?;
            has_null |= value == ValueRef::Null;
            encode_value(value, out);
        }
        if let (true, Some(cell)) = (has_null, self.rowid_cell()) {
            encode_value(self.value(row, self.key_count() + cell)?, out);
        }
        Ok(())
    }

    /// The value at `index` of a row, text in the database's own encoding.
    #[inline]
    pub(super) fn value<'r>(&self, row: &'r Row<'_>, index: usize) -> rusqlite::Result<ValueRef<'r>> {
        if !self.wide {
            return row.get_ref(index);
        }
        match (row.get_ref(index * 2)?, row.get_ref(index * 2 + 1)?) {
            (ValueRef::Integer(1), ValueRef::Blob(bytes)) => Ok(ValueRef::Text(bytes)),
            (_, value) => Ok(value),
        }
    }

    /// Whether these are the parts of one whole key without NULL.
    pub(super) fn is_whole(&self, parts: &[KeyPart]) -> bool {
        parts.len() == self.keys.len() && !parts.contains(&KeyPart::Null)
    }

    /// Whether SQL may compare the key columns with these parts as our keys compare: the columns' affinities leave them
    /// as they are.
    pub(super) fn comparable(&self, parts: &[KeyPart]) -> bool {
        self.is_whole(parts)
            && parts.iter().zip(&self.affinities).all(|(part, affinity)| match part {
                KeyPart::Bytes(_) => true,
                KeyPart::Str(_) => matches!(affinity, Affinity::Text | Affinity::Blob),
                KeyPart::Int(_) | KeyPart::Float(_) => *affinity != Affinity::Text,
                _ => false,
            })
    }

    /// Binds key parts to the parameters from `first` on.
    pub(super) fn bind_parts(&self, statement: &mut Statement<'_>, parts: &[KeyPart]) -> rusqlite::Result<()> {
        for (index, part) in parts.iter().enumerate() {
            bind(statement, index, part_ref(part), self.wide)?;
        }
        Ok(())
    }
}

/// A key part as SQLite's value.
pub(super) fn part_ref(part: &KeyPart) -> ValueRef<'_> {
    match part {
        KeyPart::Int(value) => ValueRef::Integer(*value),
        KeyPart::Float(value) => ValueRef::Real(*value),
        KeyPart::Str(bytes) => ValueRef::Text(bytes),
        KeyPart::Bytes(bytes) => ValueRef::Blob(bytes),
        // A table's codec has no other parts than null: such a key is not decoded.
        _ => ValueRef::Null,
    }
}

/// A value as SQL columns: in UTF-16 databases text travels as its own bytes behind a flag, because the library would
/// convert it (and lose what is no valid text).
pub(super) fn value_sql(value: &str, wide: bool) -> String {
    value_columns(value, wide).join(", ")
}

fn value_columns(value: &str, wide: bool) -> Vec<String> {
    if wide {
        let raw = format!("CASE typeof({value}) WHEN 'text' THEN CAST({value} AS BLOB) ELSE {value} END");
        vec![format!("typeof({value}) = 'text'"), raw]
    } else {
        vec![value.to_owned()]
    }
}

/// The parameter at `index`: the counterpart of [`value_sql`].
pub(super) fn parameter_sql(index: usize, wide: bool) -> String {
    if wide {
        let (flag, value) = (index * 2 + 1, index * 2 + 2);
        format!("CASE ?{flag} WHEN 1 THEN CAST(?{value} AS TEXT) ELSE ?{value} END")
    } else {
        format!("?{}", index + 1)
    }
}

/// Binds a value to [`parameter_sql`].
#[inline]
pub(super) fn bind(
    statement: &mut Statement<'_>,
    index: usize,
    value: ValueRef<'_>,
    wide: bool,
) -> rusqlite::Result<()> {
    if !wide {
        return statement.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(value));
    }
    let (flag, value) = match value {
        ValueRef::Text(bytes) => (1, ValueRef::Blob(bytes)),
        value => (0, value),
    };
    statement.raw_bind_parameter(index * 2 + 1, flag)?;
    statement.raw_bind_parameter(index * 2 + 2, ToSqlOutput::Borrowed(value))
}

pub(super) fn encode_value(value: ValueRef<'_>, out: &mut Vec<u8>) {
    let part = match value {
        ValueRef::Null => KeyPart::Null,
        ValueRef::Integer(value) => KeyPart::Int(value),
        ValueRef::Real(value) => KeyPart::Float(value),
        ValueRef::Text(bytes) => KeyPart::Str(bytes.to_vec()),
        ValueRef::Blob(bytes) => KeyPart::Bytes(bytes.to_vec()),
    };
    encode_part(&part, out);
}

/// Whether a number is the one integer that a column with a number's affinity also keeps as a float: equal to an index, which
/// then sorts by the next column; two keys to us.
pub(super) fn is_edge(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Integer(value) => value == i64::MIN,
        ValueRef::Real(value) => value.to_bits() == (i64::MIN as f64).to_bits(),
        _ => false,
    }
}

/// Makes `rekeep_key(count, values…, rowid)` known to a connection: the encoded key, by which rows are sorted; and
/// `rekeep_number(number)`, that of a row without any other.
pub(super) fn register_key_function(connection: &Connection, wide: bool) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let number = |context: &rusqlite::functions::Context<'_>| Ok(encode_int(context.get(0)?).to_vec());
    connection.create_scalar_function("rekeep_number", 1, flags, number)?;
    connection.create_scalar_function("rekeep_key", -1, flags, move |context| {
        let stride = if wide { 2 } else { 1 };
        let count = usize::try_from(context.get::<i64>(0)?).unwrap_or_default();
        let mut key = Vec::new();
        let mut has_null = false;
        for index in 0..count {
            let value = context.get_raw(index * stride + stride);
            let value = match (wide && context.get_raw(index * 2 + 1) == ValueRef::Integer(1), value) {
                (true, ValueRef::Blob(bytes)) => ValueRef::Text(bytes),
                (_, value) => value,
            };
            has_null |= value == ValueRef::Null;
            encode_value(value, &mut key);
        }
        let rowid = count * stride + 1;
        if has_null && context.len() > rowid {
            encode_value(context.get_raw(rowid), &mut key);
        }
        Ok(key)
    })
}
