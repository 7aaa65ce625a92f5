//! How a table's rows become records: the statement that reads them, the key, the cells.

use super::{
    catalog::{Bytes, KeyKind, Table},
    cell::{self, PartKind},
    client::Client,
    copy::CopyRow,
    error,
    names::{ident, literal},
    paths,
    types::Form,
};
use crate::connector::ConnectorError;
use crate::record::{
    CellWriter, KeyCodec, KeyPart, Shape, Tag,
    bytes::{Reader, put_u64},
    key::encode_part,
    value::Cell,
};
use std::sync::Arc;

/// A larger value is fetched in pieces.
pub(super) const LARGE_BYTES: u64 = 1 << 20;

/// Expressions that one statement may ask for.
const MAX_TARGETS: usize = 1664;

/// Bytes of the hash by which rows without a key are told apart.
const HASH_BYTES: usize = 16;

/// A table, and how it is read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) table: Table,
    /// Whether statements must be ASCII.
    pub(super) ascii: bool,
    pub(super) shape: Arc<Shape>,
    /// The columns that are cells, in the order of the shape.
    pub(super) cells: Vec<usize>,
    /// Columns whose values may be large: each has a field that says how large.
    large: Vec<usize>,
}

/// A value that is not in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LargeValue {
    /// Which of the cells.
    pub(super) cell: usize,
    /// The bytes of its binary form.
    pub(super) bytes: u64,
}

/// Gives what tells a row with large values apart, by where it lies and its body.
type HashRow<'a, E> = &'a mut dyn FnMut(u64, &[u8]) -> Result<[u8; 32], E>;

/// A row as the sorter takes it, in memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) key: Vec<u8>,
    pub(super) body: Vec<u8>,
    scratch: Vec<u8>,
}

/// Why a row cannot be kept.
pub(super) type Unusable = &'static str;

impl Plan {
    pub(super) fn new(table: Table, ascii: bool) -> Self {
        let is_cell = |at: &usize| {
            let column = &table.columns[*at];
            !(column.generated || table.key.contains(at) && column.part.is_lossless())
        };
        let mut cells: Vec<usize> = (0..table.columns.len()).filter(is_cell).collect();
        cells.sort_by(|a, b| table.columns[*a].name.as_bytes().cmp(table.columns[*b].name.as_bytes()));
        let names = cells.iter().map(|at| table.columns[*at].name.clone().into_bytes()).collect();
        let large = (0..table.columns.len()).filter(|at| table.columns[*at].large.is_some()).collect();
        Self { shape: Arc::new(Shape::new(names)), cells, large, ascii, table }
    }

    /// Has names found as the table needs it, until [`Self::leave`].
    pub(super) fn enter(&self, client: &mut Client) -> Result<(), ConnectorError> {
        self.find_names(client, self.table.path.as_deref())
    }

    /// Has names found as ever.
    pub(super) fn leave(&self, client: &mut Client) -> Result<(), ConnectorError> {
        self.find_names(client, None)
    }

    fn find_names(&self, client: &mut Client, path: Option<&str>) -> Result<(), ConnectorError> {
        if self.table.path.is_none() {
            return Ok(());
        }
        client.batch_execute(&paths::set(path, false)).map_err(|error| error::reading(&self.object(), &error))
    }

    /// For messages.
    pub(super) fn object(&self) -> String {
        format!("table {}", self.table.collection())
    }

    fn value(&self, at: usize) -> String {
        let column = &self.table.columns[at];
        if column.form == Form::Cast { self.text(at) } else { ident(&column.name, self.ascii) }
    }

    /// A column's text form.
    fn text(&self, at: usize) -> String {
        let column = &self.table.columns[at];
        let name = ident(&column.name, self.ascii);
        if column.by_output {
            // A composite of NULLs IS NULL, and is not.
            format!("CASE WHEN pg_catalog.num_nulls({name}) = 0 THEN pg_catalog.format('%s', {name}) END")
        } else {
            format!("{name}::pg_catalog.text")
        }
    }

    /// The bytes of a column's binary form.
    pub(super) fn bytes_of(&self, at: usize) -> String {
        let column = &self.table.columns[at];
        let name = ident(&column.name, self.ascii);
        match &column.large {
            Some(Bytes::Itself) => name,
            Some(Bytes::Send(send)) => format!("{send}({name})"),
            Some(Bytes::Text | Bytes::Cast) | None => format!("pg_catalog.textsend({})", self.text(at)),
        }
    }

    /// How many bytes they are; for what is small this may say anything that is small.
    fn size_of(&self, at: usize) -> String {
        let name = ident(&self.table.columns[at].name, self.ascii);
        match &self.table.columns[at].large {
            Some(Bytes::Itself | Bytes::Text) => format!("pg_catalog.octet_length({name})"),
            _ => format!(
                "CASE WHEN pg_catalog.pg_column_size({name}) > 4000 THEN pg_catalog.octet_length({}) END",
                self.bytes_of(at)
            ),
        }
    }

    /// The statement that reads the rows of a range of pages, of which a further condition may hold.
    pub(super) fn copy_out(&self, pages: (u64, Option<u64>), further: Option<&str>) -> String {
        let mut list = vec![if self.table.is_heap { "ctid".to_owned() } else { "NULL::pg_catalog.tid".to_owned() }];
        let sizes = self.large.iter().map(|&at| {
            let size = self.size_of(at);
            format!("CASE WHEN ({size}) > {LARGE_BYTES} THEN ({size})::pg_catalog.int8 END")
        });
        if self.packs_sizes() {
            list.push(format!("ARRAY[{}]", sizes.collect::<Vec<_>>().join(", ")));
        } else {
            list.extend(sizes);
        }
        for at in 0..self.table.columns.len() {
            let value = self.value(at);
            list.push(if self.large.contains(&at) {
                format!("CASE WHEN ({}) > {LARGE_BYTES} THEN NULL ELSE {value} END", self.size_of(at))
            } else {
                value
            });
        }
        let (table, condition) = (self.table.sql(self.ascii), self.condition(pages, further));
        format!("COPY (SELECT {} FROM ONLY {table}{condition}) TO STDOUT (FORMAT binary)", list.join(", "))
    }

    fn condition(&self, pages: (u64, Option<u64>), further: Option<&str>) -> String {
        let mut conditions = Vec::new();
        if pages.0 > 0 {
            conditions.push(format!("ctid >= '({},0)'::pg_catalog.tid", pages.0));
        }
        if let Some(end) = pages.1 {
            conditions.push(format!("ctid < '({end},0)'::pg_catalog.tid"));
        }
        conditions.extend(self.table.condition.as_ref().map(|condition| format!("({condition})")));
        conditions.extend(further.map(|further| format!("({further})")));
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
    }

    /// Whether the server can order keys as theirs are ordered here.
    pub(super) fn has_ordered_key(&self) -> bool {
        let is_ordered = |at: &usize| {
            matches!(
                self.table.columns[*at].part,
                PartKind::Int(_)
                    | PartKind::Oid
                    | PartKind::Text
                    | PartKind::Bytes
                    | PartKind::Date
                    | PartKind::Instant
                    | PartKind::Uuid
            )
        };
        self.table.key_kind != KeyKind::Content && self.table.key.iter().all(is_ordered)
    }

    /// A part of the key as the server is to order it.
    fn ordered(&self, at: usize) -> String {
        let column = &self.table.columns[at];
        let name = ident(&column.name, self.ascii);
        match column.part {
            PartKind::Text => format!("(({}) COLLATE pg_catalog.\"C\")", self.text(at)),
            _ => name,
        }
    }

    /// The statement that reads the key of one row of a range of pages: its fields, then the same as text.
    pub(super) fn copy_one_key(&self, pages: (u64, Option<u64>)) -> String {
        let key = &self.table.key;
        let fields = key.iter().map(|&at| self.value(at));
        let texts = key.iter().map(|&at| self.text(at));
        let list: Vec<String> = fields.chain(texts).collect();
        let (table, condition) = (self.table.sql(self.ascii), self.condition(pages, None));
        format!("COPY (SELECT {} FROM ONLY {table}{condition} LIMIT 1) TO STDOUT (FORMAT binary)", list.join(", "))
    }

    /// A condition that holds for keys from one on and below another, whose parts are given as text.
    pub(super) fn between(&self, from: Option<&[String]>, to: Option<&[String]>) -> String {
        let row = |parts: Vec<String>| match parts.as_slice() {
            [one] => one.clone(),
            _ => format!("ROW({})", parts.join(", ")),
        };
        let key = row(self.table.key.iter().map(|&at| self.ordered(at)).collect());
        let value = |texts: &[String]| row(texts.iter().map(|text| literal(text)).collect());
        let from = from.map(|from| format!("{key} >= {}", value(from)));
        let to = to.map(|to| format!("{key} < {}", value(to)));
        let both: Vec<String> = from.into_iter().chain(to).collect();
        if both.is_empty() { "true".to_owned() } else { both.join(" AND ") }
    }

    /// Where a row lies.
    pub(super) fn place(row: &CopyRow<'_>) -> u64 {
        // A page's number and a number within it, together six bytes.
        row.field(0).unwrap_or_default().iter().fold(0, |place, byte| place << 8 | u64::from(*byte))
    }

    /// Whether a table has so many columns that the lengths of large values come as one array.
    fn packs_sizes(&self) -> bool {
        1 + self.large.len() + self.table.columns.len() > MAX_TARGETS
    }

    fn field<'a>(&self, row: &CopyRow<'a>, column: usize) -> Option<&'a [u8]> {
        let sizes = if self.packs_sizes() { 1 } else { self.large.len() };
        row.field(1 + sizes + column)
    }

    /// The values of a row that are not in it.
    fn large_values(&self, row: &CopyRow<'_>) -> Vec<(usize, u64)> {
        if self.packs_sizes() {
            let sizes = row.field(1).and_then(array_of_sizes).unwrap_or_default();
            return self.large.iter().zip(sizes).filter_map(|(&column, size)| Some((column, size?))).collect();
        }
        let size = |(at, column): (usize, &usize)| {
            let bytes = row.field(1 + at)?;
            Some((*column, u64::from_be_bytes(bytes.try_into().ok()?)))
        };
        self.large.iter().enumerate().filter_map(size).collect()
    }

    /// Makes a row a record for the sorter, or says why it cannot be kept. `hash` gives what tells a row with large values apart, where the
    /// table has no key.
    pub(super) fn read<E>(
        &self,
        row: &CopyRow<'_>,
        made: &mut Made,
        hash: HashRow<'_, E>,
    ) -> Result<Result<(), Unusable>, E> {
        let Made { key, body, scratch } = made;
        let large = self.large_values(row);
        key.clear();
        body.clear();
        let in_cells = |(column, bytes): &(usize, u64)| {
            Some(LargeValue { cell: self.cells.iter().position(|at| at == column)?, bytes: *bytes })
        };
        let outside: Vec<LargeValue> = large.iter().filter_map(in_cells).collect();
        put_u64(body, outside.len() as u64);
        for value in &outside {
            put_u64(body, value.cell as u64);
            put_u64(body, value.bytes);
        }
        let start = body.len();
        let mut sound = true;
        let mut writer = CellWriter::new(body, self.cells.len());
        for &at in &self.cells {
            sound &= cell::write(&self.table.columns[at].form, self.field(row, at), &mut writer, scratch);
        }
        if !sound {
            return Ok(Err("a value's binary form is not what its type says"));
        }
        if self.table.key_kind == KeyKind::Content {
            let hash = if outside.is_empty() {
                *blake3::hash(&body[start..]).as_bytes()
            } else {
                hash(Self::place(row), body)?
            };
            encode_part(&KeyPart::Bytes(hash[..HASH_BYTES].to_vec()), key);
            return Ok(Ok(()));
        }
        if self.table.key.iter().any(|at| large.iter().any(|(column, _)| column == at)) {
            return Ok(Err("its key is longer than 64 KiB"));
        }
        Ok(self.put_key(|_, column| self.field(row, column), key, scratch))
    }

    /// Appends the key whose fields, by their number in the key and by their column, are these.
    pub(super) fn put_key<'a>(
        &self,
        field: impl Fn(usize, usize) -> Option<&'a [u8]>,
        key: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Unusable> {
        const WRONG: Unusable = "its key's binary form is not what its type says";
        for (number, &at) in self.table.key.iter().enumerate() {
            let column = &self.table.columns[at];
            let mut field = field(number, at);
            if let (Form::Binary(Some(tree)), Some(bytes)) = (&column.form, field) {
                scratch.clear();
                scratch.extend_from_slice(bytes);
                tree.make_portable(scratch).ok_or(WRONG)?;
                field = Some(scratch.as_slice());
            }
            put_part(&column.part.part(field).ok_or(WRONG)?, key);
        }
        if key.len() > crate::record::MAX_KEY_BYTES { Err("its key is longer than 64 KiB") } else { Ok(()) }
    }

    /// Whether a body stands for values that are elsewhere.
    pub(super) fn has_outside(body: &[u8]) -> bool {
        Reader::new(body).u64("a count").is_ok_and(|count| count > 0)
    }

    /// The parts of a body: values that are elsewhere, and the canonical bytes, in which NULL stands for those.
    pub(super) fn take_body<'a>(&self, body: &'a [u8]) -> Option<(Vec<LargeValue>, &'a [u8])> {
        let mut reader = Reader::new(body);
        let count = reader.u64("a count").ok()?;
        let mut large = Vec::new();
        for _ in 0..count {
            let cell = reader.u64("a cell").ok()? as usize;
            large.push(LargeValue { cell, bytes: reader.u64("a length").ok()? });
        }
        (large.iter().all(|value| value.cell < self.cells.len())).then(|| (large, reader.rest()))
    }

    /// The tag of a large value's cell, and how many bytes of its binary form precede the cell's.
    pub(super) fn large_cell(&self, cell: usize) -> (Tag, u64) {
        match self.table.columns[self.cells[cell]].form {
            Form::Jsonb => (Tag::JSON, 1),
            Form::Text | Form::Cast => (Tag::STRING, 0),
            _ => (Tag::BLOB, 0),
        }
    }

    /// Whether a large value's cell can be made of pieces of its binary form.
    pub(super) fn can_stream(&self, cell: usize) -> bool {
        !matches!(self.table.columns[self.cells[cell]].form, Form::Binary(Some(_)))
    }

    /// The cells of canonical bytes.
    pub(super) fn cells_of<'a>(&self, value: &'a [u8]) -> Option<Vec<Cell<'a>>> {
        self.shape.cells(value).collect::<Result<_, _>>().ok()
    }
}

/// The elements of an array of `int8` of one dimension, in its binary form.
fn array_of_sizes(bytes: &[u8]) -> Option<Vec<Option<u64>>> {
    // Dimensions, whether there are NULLs, the element's type; the length and the first number of the one dimension.
    let mut rest = bytes.get(20..)?;
    let mut sizes = Vec::new();
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        rest = behind;
        if *len == [0xff; 4] {
            sizes.push(None);
            continue;
        }
        let (size, behind) = rest.split_first_chunk::<8>()?;
        rest = behind;
        sizes.push(Some(u64::from_be_bytes(*size)));
    }
    Some(sizes)
}

/// Appends a part of a `typed` key.
pub(super) fn put_part(part: &KeyPart, out: &mut Vec<u8>) {
    match part {
        KeyPart::Float(_) => {
            // Equal floats are equal bytes: only the codec knows how.
            let encoded = KeyCodec::Typed.encode(std::slice::from_ref(part));
            out.extend_from_slice(&encoded.unwrap_or_default());
        }
        part => encode_part(part, out),
    }
}

/// The key of the `count`th row that has a hash, as the sorter knows it.
pub(super) fn numbered(hash: &[u8], count: u64) -> Vec<u8> {
    let mut key = hash.to_vec();
    encode_part(&KeyPart::Int(count.cast_signed()), &mut key);
    key
}

/// From where rows without a key must be counted, so that those from `start` on get their numbers.
pub(super) fn before_numbers(start: &[u8]) -> &[u8] {
    // A hash ends with the first pair of zeros behind its class; an escaped zero is followed by another byte.
    let mut at = 1;
    while let Some(pair) = start.get(at..at + 2) {
        match pair {
            [0, 0] => return &start[..at + 2],
            [0, _] => at += 2,
            _ => at += 1,
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_hash_are_counted_from_the_first() {
        let mut hash = Vec::new();
        encode_part(&KeyPart::Bytes(vec![7, 0, 0, 9]), &mut hash);
        let keys: Vec<Vec<u8>> = (0..300).map(|count| numbered(&hash, count)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(before_numbers(&keys[5]), hash);
        assert_eq!(before_numbers(&hash), hash);
        assert_eq!(before_numbers(&hash[..4]), &hash[..4]);
        assert_eq!(before_numbers(b""), b"");
    }
}
