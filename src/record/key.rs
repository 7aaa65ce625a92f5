//! Sort keys: how typed keys become bytes that sort, how people write them, and how they are shown.
//!
//! Every collection names its [`KeyCodec`] in the manifest, so a key can be encoded and shown without its source.
//! The encodings are specified in `format-spec/records.md`.

mod calendar;
mod digest;
mod numeric;
mod part;

pub use numeric::{Decimal, Numeric};
pub use part::{KeyPart, encode_part};

use super::digest::Digest;
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use thiserror::Error;

/// How a collection's keys become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyCodec {
    /// One signed 64-bit integer: 8 bytes, big endian, sign bit flipped.
    Int,
    /// One or more typed parts, each in an encoding that keeps SQLite's order (NULL, numbers, text, blobs).
    Tuple,
    /// As `Tuple`, text in UTF-16LE as a database of that encoding holds and sorts it.
    TupleUtf16le,
    /// As `Tuple`, text in UTF-16BE.
    TupleUtf16be,
    /// One or more parts with the types of `PostgreSQL` and its kin: those of `Tuple`, and decimal numbers, days, times … Equal
    /// keys are equal bytes, and the order is that of the bytes.
    Typed,
    /// A relative path: its bytes, directories with a trailing `/`.
    Path,
    /// Bytes with no further meaning.
    Raw,
    /// An Aerospike digest: partition id, then its complement.
    Digest,
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not a typed key.
    #[error("`{0}` is not a key: write int:5, str:abc, hex:00ff or f64:1.5, parts of a composite key joined by commas")]
    Syntax(String),
    /// The typed key does not fit the collection.
    #[error("this collection's keys are {expected}, not `{given}`")]
    Mismatch {
        /// What the collection's keys are.
        expected: &'static str,
        /// What was given.
        given: String,
    },
}

/// What keys of [`KeyCodec::Digest`] are.
const DIGESTS: &str = "named by set and key (SET/int:5, SET/str:abc, SET/hex:00ff, /int:5) or digest:HEX";

impl KeyCodec {
    /// Encodes a typed key.
    ///
    /// # Errors
    /// [`KeyError::Mismatch`] if the parts are not what this codec holds.
    pub fn encode(self, parts: &[KeyPart]) -> Result<Vec<u8>, KeyError> {
        let mismatch = |expected| KeyError::Mismatch { expected, given: show_parts(parts) };
        match (self, parts) {
            (Self::Int, [KeyPart::Int(value)]) => Ok(encode_int(*value).to_vec()),
            (Self::Int, _) => Err(mismatch("single integers (int:5)")),
            (Self::Tuple | Self::TupleUtf16le | Self::TupleUtf16be, parts) => {
                if parts.iter().any(KeyPart::is_typed) {
                    return Err(mismatch("null, numbers, text and bytes (int:5, f64:1.5, str:abc, hex:00ff)"));
                }
                let mut out = Vec::new();
                for part in parts {
                    encode_part(part, &mut out);
                }
                Ok(out)
            }
            (Self::Typed, parts) => {
                let mut out = Vec::new();
                for part in parts {
                    part::encode_typed(part, &mut out);
                }
                Ok(out)
            }
            (Self::Path | Self::Raw, [KeyPart::Str(bytes) | KeyPart::Bytes(bytes)]) => Ok(bytes.clone()),
            (Self::Path, _) => Err(mismatch("paths")),
            (Self::Raw, _) => Err(mismatch("bytes (hex:00ff or str:abc)")),
            (Self::Digest, [KeyPart::Bytes(key)]) if Digest::from_sort_key(key).is_some() => Ok(key.clone()),
            (Self::Digest, _) => Err(mismatch(DIGESTS)),
        }
    }

    /// Parses what a person typed and encodes it. For [`KeyCodec::Path`] the text is the path itself; a path that may be
    /// a directory is tried by the caller with a trailing `/` too.
    ///
    /// # Errors
    /// [`KeyError`] if the text is no typed key or does not fit.
    pub fn parse(self, text: &str) -> Result<Vec<u8>, KeyError> {
        if self == Self::Path {
            return Ok(match text.strip_prefix("hex:").and_then(decode_hex) {
                Some(bytes) => bytes,
                None => text.strip_prefix("str:").unwrap_or(text).as_bytes().to_vec(),
            });
        }
        if self == Self::Digest {
            let given = || text.to_owned();
            return digest::parse_key(text).ok_or_else(|| KeyError::Mismatch { expected: DIGESTS, given: given() });
        }
        let parts = self.parse_parts(text)?;
        self.encode(&parts)
    }

    /// Parses one typed part whose commas and backslashes stand for themselves.
    pub(super) fn parse_single(self, text: &str) -> Option<KeyPart> {
        self.parse_part(text)
    }

    /// Decodes a key; `None` if the bytes are not of this codec.
    #[must_use]
    pub fn decode(self, key: &[u8]) -> Option<Vec<KeyPart>> {
        match self {
            Self::Int => Some(vec![KeyPart::Int(decode_int(key)?)]),
            Self::Tuple | Self::TupleUtf16le | Self::TupleUtf16be => part::decode_tuple(key),
            Self::Typed => part::decode_typed(key),
            Self::Path => Some(vec![KeyPart::Str(key.to_vec())]),
            Self::Raw => Some(vec![KeyPart::Bytes(key.to_vec())]),
            Self::Digest => Digest::from_sort_key(key).map(|_| vec![KeyPart::Bytes(key.to_vec())]),
        }
    }

    /// The key as a person would type it. Never fails: bytes that are not of this codec show as `hex:…`.
    #[must_use]
    pub fn show(self, key: &[u8]) -> String {
        match (self, self.decode(key)) {
            (Self::Path, _) => show_path(key),
            (Self::Digest, _) => digest::show_key(key).unwrap_or_else(|| format!("hex:{}", HEXLOWER.encode(key))),
            (_, None) => format!("hex:{}", HEXLOWER.encode(key)),
            (_, Some(parts)) => {
                let shown: Vec<String> = parts.into_iter().map(|part| self.show_stored(part)).collect();
                shown.join(",")
            }
        }
    }

    /// The key as JSON: the text of [`Self::show`].
    #[must_use]
    pub fn to_json(self, key: &[u8]) -> Json {
        json!(self.show(key))
    }

    /// A part whose text is in the codec's encoding; text that is not of it shows as `strhex:` and its bytes.
    fn show_stored(self, part: KeyPart) -> String {
        match part {
            KeyPart::Str(bytes) => match self.decode_text(&bytes) {
                Some(text) => show_part(&KeyPart::Str(text)),
                None => format!("strhex:{}", HEXLOWER.encode(&bytes)),
            },
            part => show_part(&part),
        }
    }

    /// Parses `int:5,str:abc`. A comma inside a string is written `\,`, a backslash `\\`, what a terminal would act on `\n`, `\t`, `\r`, `\0`
    /// or `\u{1b}`, and nothing else behind a backslash; `base64:` is taken as well.
    fn parse_parts(self, text: &str) -> Result<Vec<KeyPart>, KeyError> {
        let syntax = || KeyError::Syntax(text.to_owned());
        let mut parts = vec![String::new()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let last = parts.len() - 1;
            match c {
                '\\' => parts[last].push(escaped(&mut chars, ",").ok_or_else(syntax)?),
                ',' => parts.push(String::new()),
                c => parts[last].push(c),
            }
        }
        parts.iter().map(|part| self.parse_part(part).ok_or_else(syntax)).collect()
    }

    /// `strhex:` gives the bytes of a text as they are stored, whatever the encoding.
    fn parse_part(self, text: &str) -> Option<KeyPart> {
        if text == "null" {
            return Some(KeyPart::Null);
        }
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "int" => rest.parse().ok().map(KeyPart::Int),
            "f64" => rest.parse().ok().map(KeyPart::Float),
            "str" => Some(KeyPart::Str(self.encode_text(rest.as_bytes()))),
            "hex" => decode_hex(rest).map(KeyPart::Bytes),
            "base64" => BASE64.decode(rest.as_bytes()).ok().map(KeyPart::Bytes),
            "strhex" => decode_hex(rest).map(KeyPart::Str),
            "bool" => rest.parse().ok().map(KeyPart::Bool),
            "num" => Numeric::parse(rest).map(KeyPart::Numeric),
            "date" => calendar::parse_date(rest).map(KeyPart::Date),
            "ts" => calendar::parse_time(rest).map(KeyPart::Time),
            "tstz" => calendar::parse_time(rest.strip_suffix('Z').unwrap_or(rest)).map(KeyPart::Instant),
            "uuid" => part::parse_uuid(rest).map(KeyPart::Uuid),
            _ => None,
        }
    }

    fn encode_text(self, utf8: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(utf8) else { return utf8.to_vec() };
        match self {
            Self::TupleUtf16le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::TupleUtf16be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            _ => utf8.to_vec(),
        }
    }

    fn decode_text(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let read: fn([u8; 2]) -> u16 = match self {
            Self::TupleUtf16le => u16::from_le_bytes,
            Self::TupleUtf16be => u16::from_be_bytes,
            _ => return Some(bytes.to_vec()),
        };
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
        let text = String::from_utf16(&units).ok()?;
        rest.is_empty().then(|| text.into_bytes())
    }
}

/// A path as it is; as `str:` and the path where it begins like a typed key, and by its bytes where it is not UTF-8 or
/// holds what a terminal would act on.
fn show_path(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if text.chars().any(char::is_control) => format!("hex:{}", HEXLOWER.encode(path)),
        Ok(text) if text.starts_with("hex:") || text.starts_with("str:") => format!("str:{text}"),
        Ok(text) => text.to_owned(),
        Err(_) => format!("hex:{}", HEXLOWER.encode(path)),
    }
}

/// What is behind a backslash; what means something to the codec stands for itself.
fn escaped(chars: &mut std::str::Chars<'_>, itself: &str) -> Option<char> {
    Some(match chars.next()? {
        c if c == '\\' || itself.contains(c) => c,
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        'u' => {
            let (digits, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            *chars = rest.chars();
            char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
        }
        _ => return None,
    })
}

/// A key as [`KeyCodec::show`] gives it, with what a terminal would act on as [`KeyCodec::parse`] takes it back.
#[must_use]
pub fn typed(shown: &str) -> String {
    let mut text = String::with_capacity(shown.len());
    for c in shown.chars() {
        if c.is_control() { text.extend(c.escape_debug()) } else { text.push(c) }
    }
    text
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

fn show_parts(parts: &[KeyPart]) -> String {
    let shown: Vec<String> = parts.iter().map(show_part).collect();
    shown.join(",")
}

fn show_part(part: &KeyPart) -> String {
    match part {
        KeyPart::Null => "null".to_owned(),
        KeyPart::Int(value) => format!("int:{value}"),
        KeyPart::Float(value) => format!("f64:{value:?}"),
        KeyPart::Str(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("str:{}", text.replace('\\', "\\\\").replace(',', "\\,")),
            Err(_) => format!("strhex:{}", HEXLOWER.encode(bytes)),
        },
        KeyPart::Bytes(bytes) => format!("hex:{}", HEXLOWER.encode(bytes)),
        KeyPart::Bool(value) => format!("bool:{value}"),
        KeyPart::Numeric(value) => format!("num:{value}"),
        KeyPart::Date(days) => format!("date:{}", calendar::show_date(*days)),
        KeyPart::Time(micros) => format!("ts:{}", calendar::show_time(*micros)),
        KeyPart::Instant(micros) => {
            let time = calendar::show_time(*micros);
            let zone = if time.contains('T') { "Z" } else { "" };
            format!("tstz:{time}{zone}")
        }
        KeyPart::Uuid(bytes) => format!("uuid:{}", part::show_uuid(bytes)),
    }
}

/// An integer whose bytes sort as it does.
#[must_use]
pub const fn encode_int(value: i64) -> [u8; 8] {
    (value as u64 ^ (1 << 63)).to_be_bytes()
}

/// The inverse of [`encode_int`]; `None` unless there are 8 bytes.
#[must_use]
pub fn decode_int(key: &[u8]) -> Option<i64> {
    Some((u64::from_be_bytes(key.try_into().ok()?) ^ (1 << 63)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuple_keys_sort_as_sqlite_sorts_values() {
        let ordered = [
            KeyPart::Null,
            KeyPart::Float(f64::NEG_INFINITY),
            KeyPart::Int(i64::MIN),
            KeyPart::Int(i64::MIN + 1),
            KeyPart::Float(-1.5),
            KeyPart::Int(-1),
            KeyPart::Int(0),
            KeyPart::Float(0.5),
            KeyPart::Int(1 << 53),
            KeyPart::Int((1 << 53) + 1),
            KeyPart::Float(9_007_199_254_740_994.0),
            KeyPart::Int(i64::MAX - 1),
            KeyPart::Int(i64::MAX),
            KeyPart::Float(9.3e18),
            KeyPart::Float(f64::INFINITY),
            KeyPart::Str(Vec::new()),
            KeyPart::Str(vec![0]),
            KeyPart::Str(vec![0, 0]),
            KeyPart::Str(b"a".to_vec()),
            KeyPart::Str(b"a\0".to_vec()),
            KeyPart::Str(b"ab".to_vec()),
            KeyPart::Bytes(Vec::new()),
            KeyPart::Bytes(vec![0xff]),
        ];
        let keys: Vec<Vec<u8>> =
            ordered.iter().map(|part| KeyCodec::Tuple.encode(std::slice::from_ref(part)).unwrap()).collect();
        for (pair, parts) in keys.windows(2).zip(ordered.windows(2)) {
            assert!(pair[0] < pair[1], "{parts:?}");
        }
        for (key, part) in keys.iter().zip(&ordered) {
            assert_eq!(KeyCodec::Tuple.decode(key), Some(vec![part.clone()]));
        }
    }

    #[test]
    fn what_is_shown_can_be_typed_again() {
        let keys = [
            (KeyCodec::Int, "int:-5"),
            (KeyCodec::Tuple, "int:5,str:a\\,b,hex:00ff,f64:1.5,null"),
            (KeyCodec::TupleUtf16le, "str:żółw"),
            (KeyCodec::Tuple, "strhex:ff"),
            (KeyCodec::TupleUtf16le, "strhex:616263"),
            (KeyCodec::TupleUtf16be, "strhex:d800,str:a"),
            (KeyCodec::Path, "a/b c"),
            (KeyCodec::Path, "str:hex:00"),
            (KeyCodec::Path, "str:str:a"),
            (KeyCodec::Path, "hex:ff"),
            (KeyCodec::Path, "hex:610a62"),
            (KeyCodec::Raw, "hex:00"),
            (KeyCodec::Typed, "null,bool:true,int:-7,num:-12.5,f64:1.5,str:a\\,b,hex:00ff"),
            (KeyCodec::Typed, "date:2026-01-31,ts:2026-01-31T10:00:00.000001,tstz:2026-01-31T10:00:00Z"),
            (KeyCodec::Typed, "date:infinity,ts:-infinity,tstz:infinity,num:NaN"),
            (KeyCodec::Typed, "uuid:00112233-4455-6677-8899-aabbccddeeff"),
        ];
        for (codec, text) in keys {
            assert_eq!(codec.show(&codec.parse(text).unwrap()), text);
        }
        for codec in [KeyCodec::Tuple, KeyCodec::TupleUtf16le, KeyCodec::TupleUtf16be, KeyCodec::Typed] {
            for text in ["a\nb", "a\\nb", "\0", "\u{1b}[31m\u{85}", "\t,\r\\"] {
                let key = codec.parse(&show_part(&KeyPart::Str(text.as_bytes().to_vec()))).unwrap();
                let shown = typed(&codec.show(&key));
                assert!(!shown.chars().any(char::is_control), "{shown:?}");
                assert_eq!(codec.parse(&shown).unwrap(), key, "{shown}");
            }
            for text in ["str:\\", "str:\\x", "str:\\u{110000}", "str:\\u{a", "str:\\u"] {
                assert!(codec.parse(text).is_err(), "{text} would be another key");
            }
        }
        assert!(KeyCodec::Int.parse("str:a").is_err());
        assert!(KeyCodec::Int.parse("5").is_err());
        assert!(KeyCodec::Tuple.parse("num:5").is_err());
    }

    #[derive(Deserialize)]
    struct Vector {
        codec: KeyCodec,
        key: String,
        bytes: String,
    }

    #[test]
    fn the_vectors_are_what_keys_are() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../format-spec/vectors/keys.json")).unwrap();
        assert!(vectors.len() > 40);
        let mut last: Option<(KeyCodec, Vec<u8>)> = None;
        for Vector { codec, key, bytes } in vectors {
            let encoded = codec.parse(&key).unwrap();
            assert_eq!(HEXLOWER.encode(&encoded), bytes, "{codec:?} {key}");
            assert_eq!(codec.show(&encoded), key);
            assert!(
                last.is_none_or(|(other, last)| other != codec || last < encoded),
                "{key} comes after the one before"
            );
            last = Some((codec, encoded));
        }
    }

    #[test]
    fn equal_keys_of_another_appearance_are_equal_bytes() {
        let typed = |text: &str| KeyCodec::Typed.parse(text).unwrap();
        assert_eq!(typed("num:1.0"), typed("num:1.00"));
        assert_eq!(typed("f64:-0.0"), typed("f64:0"));
        assert_eq!(typed("uuid:00112233445566778899AABBCCDDEEFF"), typed("uuid:00112233-4455-6677-8899-aabbccddeeff"));
        let mut other = Vec::new();
        encode_part(&KeyPart::Float(-0.0), &mut other);
        assert_eq!(KeyCodec::Typed.decode(&other), None, "bytes of the other codec, which keeps -0.0 apart");
    }
}
