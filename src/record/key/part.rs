//! One part of a key, and its bytes.

use super::numeric::Numeric;
use data_encoding::HEXLOWER_PERMISSIVE;

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
    /// `bool:true`
    Bool(bool),
    /// `num:12.5`
    Numeric(Numeric),
    /// `date:2026-01-31`: days since 1970-01-01; the extremes are the infinities.
    Date(i32),
    /// `ts:2026-01-31T10:00:00`: microseconds since 2000-01-01 in no time zone; the extremes are the infinities.
    Time(i64),
    /// `tstz:2026-01-31T10:00:00Z`: the same in UTC.
    Instant(i64),
    /// `uuid:00112233-4455-6677-8899-aabbccddeeff`
    Uuid([u8; 16]),
}

impl KeyPart {
    /// Whether only [`super::KeyCodec::Typed`] has such parts.
    pub(super) const fn is_typed(&self) -> bool {
        match self {
            Self::Null | Self::Int(_) | Self::Float(_) | Self::Str(_) | Self::Bytes(_) => false,
            Self::Bool(_) | Self::Numeric(_) | Self::Date(_) | Self::Time(_) | Self::Instant(_) | Self::Uuid(_) => true,
        }
    }
}

const NULL: u8 = 0x05;
const BOOL: u8 = 0x0d;
const NUMBER: u8 = 0x15;
const NUMERIC: u8 = 0x18;
const DATE: u8 = 0x1a;
const TIME: u8 = 0x1b;
const INSTANT: u8 = 0x1c;
const UUID: u8 = 0x1e;
const TEXT: u8 = 0x25;
const BLOB: u8 = 0x35;

const SUFFIX_INT: u8 = 0;
const SUFFIX_FLOAT: u8 = 1;

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
        KeyPart::Bool(value) => out.extend([BOOL, u8::from(*value)]),
        KeyPart::Numeric(value) => {
            out.push(NUMERIC);
            value.encode(out);
        }
        KeyPart::Date(days) => {
            out.push(DATE);
            out.extend_from_slice(&(*days as u32 ^ 1 << 31).to_be_bytes());
        }
        KeyPart::Time(micros) => put_count(TIME, *micros, out),
        KeyPart::Instant(micros) => put_count(INSTANT, *micros, out),
        KeyPart::Uuid(bytes) => {
            out.push(UUID);
            out.extend_from_slice(bytes);
        }
    }
}

/// As [`encode_part`], where equal numbers are equal bytes: there is one zero and one NaN.
pub(super) fn encode_typed(part: &KeyPart, out: &mut Vec<u8>) {
    match part {
        KeyPart::Float(value) if *value == 0.0 => encode_part(&KeyPart::Float(0.0), out),
        KeyPart::Float(value) if value.is_nan() => encode_part(&KeyPart::Float(f64::NAN), out),
        part => encode_part(part, out),
    }
}

fn put_count(class: u8, count: i64, out: &mut Vec<u8>) {
    out.push(class);
    out.extend_from_slice(&(count as u64 ^ 1 << 63).to_be_bytes());
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

/// The parts of a key of SQLite's values.
pub(super) fn decode_tuple(mut key: &[u8]) -> Option<Vec<KeyPart>> {
    let mut parts = Vec::new();
    while !key.is_empty() {
        parts.push(take_part(&mut key).filter(|part| !part.is_typed())?);
    }
    Some(parts)
}

/// The parts of a key whose parts have types.
pub(super) fn decode_typed(mut key: &[u8]) -> Option<Vec<KeyPart>> {
    let mut parts = Vec::new();
    while !key.is_empty() {
        let before = key;
        let part = take_part(&mut key)?;
        if matches!(part, KeyPart::Float(_)) {
            let mut canonical = Vec::new();
            encode_typed(&part, &mut canonical);
            if before[..before.len() - key.len()] != canonical {
                return None;
            }
        }
        parts.push(part);
    }
    Some(parts)
}

fn take_part(key: &mut &[u8]) -> Option<KeyPart> {
    let (&class, rest) = key.split_first()?;
    *key = rest;
    Some(match class {
        NULL => KeyPart::Null,
        BOOL => match take::<1>(key)? {
            [value @ (0 | 1)] => KeyPart::Bool(value == 1),
            _ => return None,
        },
        NUMBER => decode_number(&take::<11>(key)?)?,
        NUMERIC => KeyPart::Numeric(Numeric::take(key)?),
        DATE => KeyPart::Date((u32::from_be_bytes(take(key)?) ^ 1 << 31) as i32),
        TIME => KeyPart::Time((u64::from_be_bytes(take(key)?) ^ 1 << 63) as i64),
        INSTANT => KeyPart::Instant((u64::from_be_bytes(take(key)?) ^ 1 << 63) as i64),
        UUID => KeyPart::Uuid(take(key)?),
        TEXT => KeyPart::Str(take_escaped(key)?),
        BLOB => KeyPart::Bytes(take_escaped(key)?),
        _ => return None,
    })
}

fn take<const N: usize>(key: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = key.split_first_chunk::<N>()?;
    *key = rest;
    Some(*taken)
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

/// 32 hexadecimal digits, hyphens or not.
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
}

/// The usual form, 8-4-4-4-12.
pub(super) fn show_uuid(bytes: &[u8; 16]) -> String {
    let digits = data_encoding::HEXLOWER.encode(bytes);
    let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    groups.join("-")
}
