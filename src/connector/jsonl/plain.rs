//! Ordinary JSON lines: each line is a record, kept byte for byte; its key is its number, or one of its fields.

use crate::record::{CellWriter, KeyCodec, KeyPart, Shape, Tag, key::encode_int, key::encode_part};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value as Json, json};
use std::fmt;

/// The one cell of a record.
pub(super) const CELL: &[u8] = b"line";

/// How the records of ordinary lines are keyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keyed {
    ByNumber,
    ByField(String),
}

impl Keyed {
    pub(super) const fn codec(&self) -> KeyCodec {
        match self {
            Self::ByNumber => KeyCodec::Int,
            Self::ByField(_) => KeyCodec::Tuple,
        }
    }

    /// The snapshot's attributes, from which [`Self::of_attributes`] takes it again.
    pub(super) fn attributes(&self) -> Json {
        match self {
            Self::ByNumber => json!({ "plain": true }),
            Self::ByField(field) => json!({ "plain": true, "key": field }),
        }
    }

    /// That of a snapshot; `None` if it holds no ordinary lines.
    pub(super) fn of_attributes(attributes: &Json) -> Option<Self> {
        (attributes.get("plain") == Some(&Json::Bool(true))).then(|| {
            match attributes.get("key").and_then(Json::as_str) {
                Some(field) => Self::ByField(field.to_owned()),
                None => Self::ByNumber,
            }
        })
    }
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is no JSON: torn, or of another kind.
    Line(String),
    /// It has no key, and is left out.
    Key(String),
}

/// Whether the first line of a file is one of ours: a header, a collection, or a record with its key and value. What is no
/// object is none.
pub(super) fn is_ours(line: &[u8]) -> bool {
    let Ok(names) = serde_json::from_slice::<Names>(line) else { return false };
    let has = |name: &str| names.0.iter().any(|known| known == name);
    let has_key = has("key") || has("key_hex");
    has("rekeep") || (has_key && has("value")) || (has("collection") && !has_key && (has("codec") || has("attributes")))
}

/// The names of an object's fields.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    map.next_value::<IgnoredAny>()?;
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(NamesVisitor)
    }
}

/// The key of a line, which has this number.
pub(super) fn key(line: &[u8], number: u64, keyed: &Keyed) -> Result<Vec<u8>, Wrong> {
    let text = std::str::from_utf8(line).map_err(|error| Wrong::Line(format!("it is not UTF-8: {error}")))?;
    let text = text.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(text);
    let bad = |error: serde_json::Error| Wrong::Line(format!("it is no JSON: {error}"));
    let Keyed::ByField(field) = keyed else {
        if !text.trim_ascii().is_empty() {
            serde_json::from_str::<IgnoredAny>(text).map_err(bad)?;
        }
        return Ok(encode_int(number as i64).to_vec());
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = Field(field).deserialize(&mut deserializer).and_then(|found| deserializer.end().map(|()| found));
    let found = found.map_err(|error| match serde_json::from_str::<IgnoredAny>(text) {
        // The line is JSON, only no key comes of it: it is no object, the field stands twice, its number is no float.
        Ok(_) => Wrong::Key(format!("it has no key that can be taken: {error}")),
        Err(error) => bad(error),
    });
    let part = match found? {
        None => return Err(Wrong::Key(format!("it has no field `{field}`"))),
        Some(Json::String(text)) => KeyPart::Str(text.into_bytes()),
        Some(Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => KeyPart::Int(number),
            (None, Some(float)) if number.is_f64() => KeyPart::Float(float),
            _ => {
                return Err(Wrong::Key(format!(
                    "its field `{field}` is the number {number}, which is too large for a key"
                )));
            }
        },
        Some(_) => return Err(Wrong::Key(format!("its field `{field}` is neither a string nor a number"))),
    };
    let mut key = Vec::new();
    encode_part(&part, &mut key);
    Ok(key)
}

/// Takes one field of an object, and passes over the others.
struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<Json>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<Json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom(format!("the field `{name}` is given twice")));
            }
        }
        Ok(found)
    }
}

/// The value of a line, whatever it holds.
pub(super) fn value(line: &[u8]) -> (Shape, Vec<u8>) {
    let mut value = Vec::new();
    let tag = if std::str::from_utf8(line).is_ok() { Tag::STRING } else { Tag::BLOB };
    CellWriter::new(&mut value, 1).cell(tag, line);
    (Shape::new(vec![CELL.to_vec()]), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_whose_the_file_is() {
        for ours in [
            r#"{"rekeep":"jsonl","version":1}"#,
            r#"{"key":"int:1","value":{}}"#,
            r#"{"collection":"a","codec":"int"}"#,
            r#"{"collection":"a","key_hex":"00","value":{},"bogus":1}"#,
        ] {
            assert!(is_ours(ours.as_bytes()), "{ours}");
        }
        for plain in [
            r#"{"text":"x"}"#,
            "{}",
            r#"{"key":"a"}"#,
            r#"{"collection":"a","name":"b"}"#,
            r#"{"value":1}"#,
            "[1]",
            "{\"a\":NaN}",
            "no json",
        ] {
            assert!(!is_ours(plain.as_bytes()), "{plain}");
        }
    }

    #[test]
    fn keys_are_numbers_or_fields() {
        let field = Keyed::ByField("id".to_owned());
        let shown = |line: &str| key(line.as_bytes(), 7, &field).map(|key| field.codec().show(&key));
        assert_eq!(shown(r#"{"a":{"id":1},"id":"x"}"#).unwrap(), "str:x");
        assert_eq!(shown(r#"{"id":-5}"#).unwrap(), "int:-5");
        for no_key in [r#"{"id":1,"id":2}"#, r#"{"id":1e999}"#, r#"{"id":"\ud800"}"#, "[1]", "7"] {
            assert!(matches!(shown(no_key), Err(Wrong::Key(_))), "{no_key}");
        }
        assert!(matches!(shown(r#"{"id":1"#), Err(Wrong::Line(_))));
        assert!(matches!(shown(r#"{"id":[1]}"#), Err(Wrong::Key(_))));
        assert!(matches!(shown(r#"{"id":18446744073709551615}"#), Err(Wrong::Key(_))));
        assert!(matches!(shown("{}"), Err(Wrong::Key(_))));
        assert_eq!(key(b"[1]\r", 7, &Keyed::ByNumber), Ok(encode_int(7).to_vec()));
        assert!(matches!(key(b"{", 7, &Keyed::ByNumber), Err(Wrong::Line(_))));
        assert!(matches!(key(b"\"\xff\"", 7, &Keyed::ByNumber), Err(Wrong::Line(_))));
    }
}
