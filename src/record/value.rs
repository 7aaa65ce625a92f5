//! Values: named, tagged cells in canonical order, and how people see them.
//!
//! A value's *shape* is its sorted list of cell names. Its canonical bytes are the cells in that order, each a tag, a
//! length and the bytes; the last cell has no length, its end is the value's end. So a value whose last cell is a
//! stream can be hashed and stored while it is read.

use super::bytes::{DecodeError, Reader, put_slice, put_u64};
use data_encoding::BASE64;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// The kind of a cell: Aerospike's particle types, used for every connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u8);

impl Tag {
    /// No value (SQLite's NULL); no bytes.
    pub const NULL: Self = Self(0);
    /// A signed 64-bit integer: 8 bytes, big endian.
    pub const INTEGER: Self = Self(1);
    /// An IEEE 754 double: its 8 bytes, big endian.
    pub const FLOAT: Self = Self(2);
    /// A string: its bytes, UTF-8 or not.
    pub const STRING: Self = Self(3);
    /// Bytes.
    pub const BLOB: Self = Self(4);
    /// A boolean: one byte, 0 or 1.
    pub const BOOL: Self = Self(17);
    /// JSON text (GeoJSON on Aerospike without its cells).
    pub const JSON: Self = Self(23);
}

/// The most cells one value may have.
pub const MAX_CELLS: usize = 32_767;

/// A sorted, duplicate-free list of cell names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    names: Vec<Vec<u8>>,
    digest: [u8; 16],
}

impl Shape {
    /// The shape of these names, which must be sorted by their bytes and free of duplicates: the caller's cells have to
    /// be in the same order, so sorting here would only hide a mistake.
    #[must_use]
    pub fn new(names: Vec<Vec<u8>>) -> Self {
        debug_assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "cell names must be sorted and distinct");
        let mut shape = Self { names, digest: [0; 16] };
        let mut encoded = Vec::new();
        shape.encode(&mut encoded);
        shape.digest.copy_from_slice(&blake3::hash(&encoded).as_bytes()[..16]);
        shape
    }

    /// The names, sorted.
    #[must_use]
    pub fn names(&self) -> &[Vec<u8>] {
        &self.names
    }

    /// The number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no cells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The first 16 bytes of BLAKE3 over [`Self::encode`]'s bytes.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 16] {
        &self.digest
    }

    /// Appends the number of names, then each with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.names.len() as u64);
        for name in &self.names {
            put_slice(out, name);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] on anything that [`Self::encode`] cannot have written.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.len("the number of cell names")?;
        if count > MAX_CELLS {
            return Err(DecodeError::Invalid("the number of cell names"));
        }
        let mut names: Vec<Vec<u8>> = Vec::with_capacity(count);
        for _ in 0..count {
            let name = reader.slice("a cell name")?;
            if names.last().is_some_and(|last| last.as_slice() >= name) {
                return Err(DecodeError::Invalid("the order of cell names"));
            }
            names.push(name.to_vec());
        }
        Ok(Self::new(names))
    }

    /// The cells of a value of this shape.
    #[must_use]
    pub const fn cells<'a>(&self, value: &'a [u8]) -> Cells<'a> {
        Cells { reader: Reader::new(value), left: self.names.len() }
    }
}

/// One cell of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    /// What the bytes mean.
    pub tag: Tag,
    /// The cell's bytes.
    pub bytes: &'a [u8],
}

/// Iterates over a value's cells in the order of its shape; stops after the first error.
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.reader.is_empty() {
                return None;
            }
            self.reader = Reader::new(&[]);
            return Some(Err(DecodeError::Trailing("a value")));
        }
        self.left -= 1;
        let cell = read_cell(&mut self.reader, self.left == 0);
        if cell.is_err() {
            self.left = 0;
            self.reader = Reader::new(&[]);
        }
        Some(cell)
    }
}

fn read_cell<'a>(reader: &mut Reader<'a>, last: bool) -> Result<Cell<'a>, DecodeError> {
    let tag = Tag(reader.u8("a cell's tag")?);
    let bytes = if last {
        let rest = reader.rest();
        reader.take(rest.len(), "a cell")?
    } else {
        reader.slice("a cell")?
    };
    Ok(Cell { tag, bytes })
}

/// One cell as JSON for people. Loses nothing: what JSON cannot say plainly becomes an object that names its encoding
/// (`{"base64": …}`, `{"float": "NaN"}`, `{"tag": 20, "base64": …}`).
#[must_use]
pub fn cell_to_json(cell: Cell<'_>) -> Json {
    let bits = <[u8; 8]>::try_from(cell.bytes);
    match (cell.tag, bits) {
        (Tag::NULL, _) if cell.bytes.is_empty() => Json::Null,
        (Tag::INTEGER, Ok(bits)) => json!(i64::from_be_bytes(bits)),
        (Tag::FLOAT, Ok(bits)) => float_to_json(f64::from_be_bytes(bits)),
        (Tag::BOOL, _) if cell.bytes == [0] => Json::Bool(false),
        (Tag::BOOL, _) if cell.bytes == [1] => Json::Bool(true),
        (Tag::STRING, _) => match std::str::from_utf8(cell.bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "string_base64": BASE64.encode(cell.bytes) }),
        },
        (Tag::BLOB, _) => json!({ "base64": BASE64.encode(cell.bytes) }),
        (Tag(tag), _) => json!({ "tag": tag, "base64": BASE64.encode(cell.bytes) }),
    }
}

fn float_to_json(value: f64) -> Json {
    match serde_json::Number::from_f64(value) {
        // A float that prints like an integer would come back as one.
        Some(number) if value.fract() != 0.0 || !number.is_i64() => Json::Number(number),
        _ => json!({ "float": format!("{value:?}"), "bits": format!("{:016x}", value.to_bits()) }),
    }
}

/// A whole value as a JSON object for people. Names that are not UTF-8 appear as `base64:…`.
///
/// # Errors
/// [`DecodeError`] if `value` is not of this shape.
pub fn value_to_json(shape: &Arc<Shape>, value: &[u8]) -> Result<Json, DecodeError> {
    let mut object = Map::new();
    for (name, cell) in shape.names().iter().zip(shape.cells(value)) {
        let name = match std::str::from_utf8(name) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("base64:{}", BASE64.encode(name)),
        };
        object.insert(name, cell_to_json(cell?));
    }
    Ok(Json::Object(object))
}
