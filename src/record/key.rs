//! Sort keys: how typed keys become bytes that sort, how people write them, and how they are shown.
//!
//! Every collection names its [`KeyCodec`] in the manifest, so a key can be encoded and shown without its source.
//! The encodings are specified in `format-spec/records.md`.

use super::digest::{self, Digest};
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
    /// A relative path: its bytes, directories with a trailing `/`.
    Path,
    /// Bytes with no further meaning.
    Raw,
    /// An Aerospike digest: partition id, then its complement.
    Digest,
}

/// One part of a typed key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyPart {
    /// `null`
    Null,
    /// `int:5`
    Int(i64),
    /// `f64:1.5`
    Float(f64),
    /// `str:abc`: bytes of a string, in UTF-8 unless the codec says otherwise.
    Str(Vec<u8>),
    /// `hex:00ff`
    Bytes(Vec<u8>),
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

const NULL: u8 = 0x05;
const NUMBER: u8 = 0x15;
const TEXT: u8 = 0x25;
const BLOB: u8 = 0x35;

const SUFFIX_INT: u8 = 0;
const SUFFIX_FLOAT: u8 = 1;

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
                let mut out = Vec::new();
                for part in parts {
                    encode_part(part, &mut out);
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
            Self::Tuple | Self::TupleUtf16le | Self::TupleUtf16be => decode_tuple(key),
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

    /// Parses `int:5,str:abc`. A comma inside a string is written `\,`, a backslash `\\`; `base64:` is taken as well.
    fn parse_parts(self, text: &str) -> Result<Vec<KeyPart>, KeyError> {
        let syntax = || KeyError::Syntax(text.to_owned());
        let mut parts = vec![String::new()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let last = parts.len() - 1;
            match c {
                '\\' => parts[last].push(chars.next().ok_or_else(syntax)?),
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

/// Appends one part of a tuple key. Parts sort as SQLite sorts values under the binary collation; a number is its
/// nearest double, the integer's distance from it, and a byte that keeps 5 and 5.0 apart.
pub fn encode_part(part: &KeyPart, out: &mut Vec<u8>) {
    match part {
        KeyPart::Null => out.push(NULL),
        KeyPart::Int(value) => {
            let nearest = *value as f64;
            let distance = (i128::from(*value) - nearest as i128) as i16;
            put_number(nearest, distance, SUFFIX_INT, out);
        }
        KeyPart::Float(value) => put_number(*value, 0, SUFFIX_FLOAT, out),
        KeyPart::Str(bytes) => put_escaped(TEXT, bytes, out),
        KeyPart::Bytes(bytes) => put_escaped(BLOB, bytes, out),
    }
}

fn put_number(nearest: f64, distance: i16, suffix: u8, out: &mut Vec<u8>) {
    let bits = nearest.to_bits();
    let ordered = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
    out.push(NUMBER);
    out.extend_from_slice(&ordered.to_be_bytes());
    out.extend_from_slice(&(distance as u16 ^ 0x8000).to_be_bytes());
    out.push(suffix);
}

/// Writes the bytes with every 0 as `00 ff`, ended by `00 00`.
fn put_escaped(class: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(class);
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn decode_tuple(mut key: &[u8]) -> Option<Vec<KeyPart>> {
    let mut parts = Vec::new();
    while let Some((&class, rest)) = key.split_first() {
        key = rest;
        parts.push(match class {
            NULL => KeyPart::Null,
            NUMBER => {
                let (number, rest) = key.split_at_checked(11)?;
                key = rest;
                decode_number(number)?
            }
            TEXT => KeyPart::Str(take_escaped(&mut key)?),
            BLOB => KeyPart::Bytes(take_escaped(&mut key)?),
            _ => return None,
        });
    }
    Some(parts)
}

fn decode_number(bytes: &[u8]) -> Option<KeyPart> {
    let ordered = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    let bits = if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered };
    let nearest = f64::from_bits(bits);
    let distance = (u16::from_be_bytes(bytes.get(8..10)?.try_into().ok()?) ^ 0x8000) as i16;
    let part = match *bytes.get(10)? {
        SUFFIX_INT => {
            let value = (nearest as i128).checked_add(i128::from(distance))?;
            KeyPart::Int(i64::try_from(value).ok()?)
        }
        SUFFIX_FLOAT => KeyPart::Float(nearest),
        _ => return None,
    };
    // Other bytes than the encoder's own would show as a number that names another key.
    let mut canonical = Vec::new();
    encode_part(&part, &mut canonical);
    (canonical.get(1..) == bytes.get(..11)).then_some(part)
}

fn take_escaped(key: &mut &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let (&byte, rest) = key.split_first()?;
        *key = rest;
        if byte != 0 {
            out.push(byte);
            continue;
        }
        let (&next, rest) = key.split_first()?;
        *key = rest;
        match next {
            0 => return Some(out),
            0xff => out.push(0),
            _ => return None,
        }
    }
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
        ];
        for (codec, text) in keys {
            assert_eq!(codec.show(&codec.parse(text).unwrap()), text);
        }
        assert!(KeyCodec::Int.parse("str:a").is_err());
        assert!(KeyCodec::Int.parse("5").is_err());
    }
}
