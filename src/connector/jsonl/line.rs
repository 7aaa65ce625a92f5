//! One line: a header, a collection, or a record.

use super::{
    VERSION,
    cell::{ReadCell, read_name, write_cell, write_name},
};
use crate::{
    connector::file_record::whole::{Filled, stretches},
    record::{BatchRow, KeyCodec, Shape, Tag, value::Cell},
};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value as Json, json};
use std::{fmt, sync::Arc};

/// What a line says.
pub(super) enum Line {
    /// The first line of what was written from a snapshot.
    Header {
        connector: Option<String>,
        attributes: Json,
    },
    Collection {
        name: String,
        codec: Option<KeyCodec>,
        attributes: Json,
    },
    Record(Box<RecordLine>),
}

/// A record before it is known which collection and so which codec it belongs to.
pub(super) struct RecordLine {
    pub(super) collection: Option<String>,
    pub(super) codec: Option<KeyCodec>,
    key: Option<String>,
    key_hex: Option<String>,
    pub(super) set: Vec<u8>,
    pub(super) generation: u32,
    pub(super) expiry: u64,
    pub(super) stamp: u64,
    pub(super) user_key: Option<Vec<u8>>,
    cells: Vec<(Vec<u8>, ReadCell)>,
}

/// A file's content, and what stands for it where it is just the stretches of a sparse file.
const CONTENT: &[u8] = b"content";
const STRETCHES: &[u8] = b"content.stretches";
const EXTENTS: &[u8] = b"attr.extents";

impl RecordLine {
    /// Takes back what was filled in for readers of files.
    fn empty_again(&mut self, filled: Filled) -> Result<(), String> {
        let wrong = || "`filled` does not go with the record's cells".to_owned();
        let at = |name: &[u8]| self.cells.iter().position(|(other, _)| other == name);
        match filled {
            Filled::Linked => {
                let content = at(CONTENT).ok_or_else(wrong)?;
                self.cells.remove(content);
            }
            Filled::Sparse => {
                let (content, extents) = (at(CONTENT).ok_or_else(wrong)?, at(EXTENTS).ok_or_else(wrong)?);
                let bytes = stretches(&self.cells[content].1.bytes, &self.cells[extents].1.bytes);
                self.cells[content].1.bytes =
                    bytes.ok_or("the content of a sparse file is not what its extents say")?;
            }
            Filled::Stretches => {
                let content = at(STRETCHES).filter(|_| at(CONTENT).is_none()).ok_or_else(wrong)?;
                self.cells[content].0 = CONTENT.to_vec();
            }
        }
        Ok(())
    }

    /// The sort key under the collection's codec.
    pub(super) fn key(&self, codec: KeyCodec) -> Result<Vec<u8>, String> {
        match (&self.key, &self.key_hex) {
            (Some(text), None) => codec.parse(text).map_err(|error| error.to_string()),
            (None, Some(hex)) => {
                HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| "key_hex is not hexadecimal".to_owned())
            }
            _ => Err("a record has either key or key_hex".to_owned()),
        }
    }

    /// The names, sorted, and the value's canonical bytes.
    pub(super) fn value(&self) -> (Shape, Vec<u8>) {
        let shape = Shape::new(self.cells.iter().map(|(name, _)| name.clone()).collect());
        let mut value = Vec::new();
        let mut writer = crate::record::CellWriter::new(&mut value, self.cells.len());
        for (_, cell) in &self.cells {
            writer.cell(cell.tag, &cell.bytes);
        }
        (shape, value)
    }
}

/// Every field that a line may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    rekeep: Option<String>,
    version: Option<u32>,
    connector: Option<String>,
    attributes: Option<Json>,
    collection: Option<String>,
    codec: Option<KeyCodec>,
    key: Option<String>,
    key_hex: Option<String>,
    set: Option<ReadCell>,
    generation: Option<u32>,
    expiry: Option<u64>,
    stamp: Option<u64>,
    user_key: Option<ReadCell>,
    filled: Option<Filled>,
    value: Option<Cells>,
}

/// The cells of a value, sorted by name; no name twice.
struct Cells(Vec<(Vec<u8>, ReadCell)>);

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CellsVisitor;
        impl<'de> Visitor<'de> for CellsVisitor {
            type Value = Cells;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of cells")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cells, A::Error> {
                let mut cells: Vec<(Vec<u8>, ReadCell)> = Vec::new();
                while let Some(text) = map.next_key::<String>()? {
                    let name = read_name(&text)
                        .ok_or_else(|| A::Error::custom(format!("the cell name `{text}` is no base64")))?;
                    cells.push((name, map.next_value()?));
                }
                cells.sort_by(|a, b| a.0.cmp(&b.0));
                if let Some(pair) = cells.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(A::Error::custom(format!("the cell `{}` is given twice", write_name(&pair[0].0))));
                }
                if cells.len() > crate::record::value::MAX_CELLS {
                    return Err(A::Error::custom("a value has too many cells"));
                }
                Ok(Cells(cells))
            }
        }
        deserializer.deserialize_map(CellsVisitor)
    }
}

/// The first integer of a line of valid JSON that neither 64 bits with sign nor 64 without hold: the parser would take it for
/// a float near it.
fn wide_integer(text: &[u8]) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9')) {
        rest = &rest[at..];
        let end = if rest[0] == b'"' {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'"' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            end + 1
        } else {
            let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
            let end = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
            // Fewer digits always fit.
            let number = (end > 18).then(|| std::str::from_utf8(&rest[..end]).ok()).flatten();
            let is_wide = |number: &&str| {
                !number.contains(['.', 'e', 'E']) && number.parse::<i64>().is_err() && number.parse::<u64>().is_err()
            };
            if let Some(wide) = number.filter(is_wide) {
                return Some(wide);
            }
            end
        };
        rest = rest.get(end..).unwrap_or_default();
    }
    None
}

/// Reads a line; the error says what is wrong with it.
pub(super) fn read(text: &[u8]) -> Result<Line, String> {
    let fields: Fields = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if let Some(number) = wide_integer(text) {
        return Err(format!("the integer {number} does not fit 64 bits"));
    }
    let only = |wrong: bool, what: &str| {
        if wrong { Err(format!("{what} has fields of another kind of line")) } else { Ok(()) }
    };
    let of_record = fields.set.is_some()
        || fields.generation.is_some()
        || fields.expiry.is_some()
        || fields.stamp.is_some()
        || fields.user_key.is_some()
        || fields.filled.is_some()
        || fields.value.is_some();
    if let Some(format) = fields.rekeep {
        only(of_record || fields.collection.is_some() || fields.codec.is_some(), "a header")?;
        if format != "jsonl" {
            return Err(format!("this is rekeep's `{format}`, not its jsonl"));
        }
        match fields.version {
            Some(version) if version <= VERSION => {}
            Some(version) => return Err(format!("format version {version} is newer than this program's {VERSION}")),
            None => return Err("the header names no version".to_owned()),
        }
        let attributes = fields.attributes.unwrap_or_else(|| json!({}));
        return Ok(Line::Header { connector: fields.connector, attributes });
    }
    only(fields.version.is_some() || fields.connector.is_some(), "a line that is no header")?;
    if fields.key.is_none() && fields.key_hex.is_none() {
        let name = fields.collection.filter(|_| !of_record).ok_or("it has no key and names no collection")?;
        let attributes = fields.attributes.unwrap_or_else(|| json!({}));
        return Ok(Line::Collection { name, codec: fields.codec, attributes });
    }
    only(fields.attributes.is_some(), "a record")?;
    let bytes_of = |field: Option<ReadCell>, what: &str| match field {
        None => Ok(None),
        Some(cell) if [crate::record::Tag::STRING, crate::record::Tag::BLOB].contains(&cell.tag) => {
            Ok(Some(cell.bytes))
        }
        Some(_) => Err(format!("{what} is a string or an object with base64")),
    };
    let set = bytes_of(fields.set, "set")?.unwrap_or_default();
    let user_key = bytes_of(fields.user_key, "user_key")?;
    let cells = fields.value.ok_or("the record has no value (an empty one is {})")?.0;
    let mut record = RecordLine {
        collection: fields.collection,
        codec: fields.codec,
        key: fields.key,
        key_hex: fields.key_hex,
        set,
        generation: fields.generation.unwrap_or(0),
        expiry: fields.expiry.unwrap_or(0),
        stamp: fields.stamp.unwrap_or(0),
        user_key,
        cells,
    };
    if let Some(filled) = fields.filled {
        record.empty_again(filled)?;
    }
    Ok(Line::Record(Box::new(record)))
}

/// The header's line.
pub(super) fn header(connector: &str, attributes: &Json) -> Json {
    json!({ "rekeep": "jsonl", "version": VERSION, "connector": connector, "attributes": attributes })
}

/// A collection's line.
pub(super) fn collection(name: &str, codec: KeyCodec, attributes: &Json) -> Json {
    json!({ "collection": name, "codec": codec, "attributes": attributes })
}

/// A record's line. `value` is the whole value, `filled` what a reader of files needs beside it; the codec is named where no
/// collection line says it.
pub(super) fn record(
    collection: &str,
    codec: KeyCodec,
    names_codec: bool,
    row: &BatchRow<'_>,
    value: &[u8],
    filled: Option<(Filled, Vec<u8>)>,
) -> Result<Json, String> {
    let mut line = Map::new();
    line.insert("collection".to_owned(), json!(collection));
    if names_codec {
        line.insert("codec".to_owned(), json!(codec));
    }
    let shown = codec.show(row.key);
    // A path may look like `hex:…`, a float may be one of many NaNs: what cannot be typed again is written as bytes.
    if codec.parse(&shown).is_ok_and(|key| key == row.key) {
        line.insert("key".to_owned(), json!(shown));
    } else {
        line.insert("key_hex".to_owned(), json!(HEXLOWER.encode(row.key)));
    }
    let meta = &row.meta;
    if !meta.set.is_empty() {
        let set = std::str::from_utf8(meta.set)
            .map_or_else(|_| json!({ "base64": BASE64.encode(meta.set) }), |set| json!(set));
        line.insert("set".to_owned(), set);
    }
    let mut number = |name: &str, value: u64| {
        if value != 0 {
            line.insert(name.to_owned(), json!(value));
        }
    };
    number("generation", u64::from(meta.generation));
    number("expiry", meta.expiry.as_millis());
    number("stamp", meta.stamp);
    if let Some(user_key) = meta.user_key {
        line.insert("user_key".to_owned(), json!({ "base64": BASE64.encode(user_key) }));
    }
    let mut cells = cells(row.shape, value)?;
    if let Some((how, bytes)) = filled {
        line.insert("filled".to_owned(), json!(how));
        let name = if how == Filled::Stretches { STRETCHES } else { CONTENT };
        cells.remove(&write_name(CONTENT));
        cells.insert(write_name(name), write_cell(Cell { tag: Tag::BLOB, bytes: &bytes }));
    }
    line.insert("value".to_owned(), Json::Object(cells));
    Ok(Json::Object(line))
}

fn cells(shape: &Arc<Shape>, value: &[u8]) -> Result<Map<String, Json>, String> {
    let mut object = Map::new();
    for (name, cell) in shape.names().iter().zip(shape.cells(value)) {
        let cell: Cell<'_> = cell.map_err(|error| error.to_string())?;
        object.insert(write_name(name), write_cell(cell));
    }
    Ok(object)
}
