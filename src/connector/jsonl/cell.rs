//! Cells as JSON and back: the same shapes that people see, read strictly.

use crate::record::{Tag, value::Cell, value::cell_to_json};
use data_encoding::BASE64;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Value as Json, json};
use std::fmt;

/// What marks a name or text that is not plain UTF-8.
const BASE64_NAME: &str = "base64:";

/// One cell, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadCell {
    pub(super) tag: Tag,
    pub(super) bytes: Vec<u8>,
}

/// A cell as JSON that [`ReadCell`] reads back to the same bytes.
pub(super) fn write_cell(cell: Cell<'_>) -> Json {
    let shown = cell_to_json(cell);
    if !shown.is_f64() {
        return shown;
    }
    // A reader of decimal digits may miss a float by its last bit.
    let back = serde_json::from_str::<f64>(&shown.to_string()).ok().map(|value| value.to_bits().to_be_bytes());
    if back.is_some_and(|bits| bits == cell.bytes) {
        return shown;
    }
    let bits = data_encoding::HEXLOWER.encode(cell.bytes);
    json!({ "float": shown.to_string(), "bits": bits })
}

/// A cell name as a JSON string.
pub(super) fn write_name(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.starts_with(BASE64_NAME) => text.to_owned(),
        _ => format!("{BASE64_NAME}{}", BASE64.encode(name)),
    }
}

/// The inverse of [`write_name`]; `None` if what follows the mark is no base64.
pub(super) fn read_name(text: &str) -> Option<Vec<u8>> {
    match text.strip_prefix(BASE64_NAME) {
        Some(encoded) => BASE64.decode(encoded.as_bytes()).ok(),
        None => Some(text.as_bytes().to_vec()),
    }
}

impl<'de> Deserialize<'de> for ReadCell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

fn cell(tag: Tag, bytes: impl Into<Vec<u8>>) -> ReadCell {
    ReadCell { tag, bytes: bytes.into() }
}

impl<'de> Visitor<'de> for CellVisitor {
    type Value = ReadCell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a number, a string, or an object with base64, string_base64, float or tag")
    }

    fn visit_unit<E: Error>(self) -> Result<ReadCell, E> {
        Ok(cell(Tag::NULL, []))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<ReadCell, E> {
        Ok(cell(Tag::BOOL, [u8::from(value)]))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ReadCell, E> {
        Ok(cell(Tag::INTEGER, value.to_be_bytes()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<ReadCell, E> {
        let value = i64::try_from(value);
        self.visit_i64(value.map_err(|_| E::custom("an integer is beyond 64 bits with sign"))?)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ReadCell, E> {
        Ok(cell(Tag::FLOAT, value.to_bits().to_be_bytes()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<ReadCell, E> {
        Ok(cell(Tag::STRING, value.as_bytes()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadCell, A::Error> {
        let mut object = Object::default();
        while let Some(name) = map.next_key::<String>()? {
            let seen = match name.as_str() {
                "base64" => object.base64.replace(map.next_value()?).is_some(),
                "string_base64" => object.string_base64.replace(map.next_value()?).is_some(),
                "float" => object.float.replace(map.next_value()?).is_some(),
                "bits" => object.bits.replace(map.next_value()?).is_some(),
                "tag" => object.tag.replace(map.next_value()?).is_some(),
                other => return Err(A::Error::custom(format!("a cell has no field `{other}`"))),
            };
            if seen {
                return Err(A::Error::custom(format!("`{name}` is given twice")));
            }
        }
        object.cell().map_err(A::Error::custom)
    }
}

/// The fields that a cell written as an object may have.
#[derive(Default)]
struct Object {
    base64: Option<String>,
    string_base64: Option<String>,
    float: Option<String>,
    bits: Option<String>,
    tag: Option<u8>,
}

impl Object {
    fn cell(self) -> Result<ReadCell, &'static str> {
        let decode = |text: String| BASE64.decode(text.as_bytes()).map_err(|_| "what should be base64 is not");
        match (self.tag, self.base64, self.string_base64, self.float, self.bits) {
            (None, Some(text), None, None, None) => Ok(cell(Tag::BLOB, decode(text)?)),
            (Some(tag), Some(text), None, None, None) => Ok(cell(Tag(tag), decode(text)?)),
            (None, None, Some(text), None, None) => Ok(cell(Tag::STRING, decode(text)?)),
            (None, None, None, Some(_), Some(bits)) => {
                let bits = data_encoding::HEXLOWER_PERMISSIVE.decode(bits.as_bytes());
                let bits = bits.ok().filter(|bits| bits.len() == 8).ok_or("the bits of a float are 16 hex digits")?;
                Ok(cell(Tag::FLOAT, bits))
            }
            (None, None, None, Some(text), None) => {
                let value: f64 = text.parse().map_err(|_| "what should be a float is not")?;
                Ok(cell(Tag::FLOAT, value.to_bits().to_be_bytes()))
            }
            _ => Err("a cell is an object with base64, string_base64, float and bits, or tag and base64"),
        }
    }
}
