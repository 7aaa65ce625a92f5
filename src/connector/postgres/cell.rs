//! From a field of a row to a cell or a part of a key, and back.

use super::types::Form;
use crate::record::{CellWriter, KeyPart, Tag, key::Numeric, value::Cell};

/// Days from 1970-01-01, from which keys count, to 2000-01-01, from which the server counts.
const EPOCH_DAYS: i32 = 10_957;

/// What kind of part a key's column gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    Bool,
    Int(u8),
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    /// Text whose trailing blanks mean nothing.
    Padded,
    Bytes,
    Date,
    Time,
    Instant,
    Uuid,
    /// The binary form.
    Blob,
}

impl PartKind {
    /// Of a base type whose values have this form.
    pub(super) fn of(base: u32, form: &Form) -> Self {
        match (base, form) {
            (1042, _) => Self::Padded,
            (17, _) => Self::Bytes,
            (1082, _) => Self::Date,
            (1114, _) => Self::Time,
            (1184, _) => Self::Instant,
            (1700, _) => Self::Numeric,
            (2950, _) => Self::Uuid,
            (_, Form::Bool) => Self::Bool,
            (_, Form::Int(bytes)) => Self::Int(*bytes),
            (_, Form::Oid) => Self::Oid,
            (_, Form::Float4) => Self::Float4,
            (_, Form::Float8) => Self::Float8,
            (_, Form::Text | Form::Cast) => Self::Text,
            (_, Form::Jsonb | Form::Binary(_)) => Self::Blob,
        }
    }

    /// Whether the part gives the field back as it was.
    pub(super) const fn is_lossless(self) -> bool {
        !matches!(self, Self::Float4 | Self::Float8 | Self::Numeric | Self::Padded)
    }

    /// The part of a field; `None` if the field is not what its type says.
    pub(super) fn part(self, field: Option<&[u8]>) -> Option<KeyPart> {
        let Some(field) = field else { return Some(KeyPart::Null) };
        Some(match self {
            Self::Bool => KeyPart::Bool(match field {
                [0] => false,
                [1] => true,
                _ => return None,
            }),
            Self::Int(bytes) => KeyPart::Int(integer_of(bytes, field)?),
            Self::Oid => KeyPart::Int(i64::from(u32::from_be_bytes(field.try_into().ok()?))),
            Self::Float4 => KeyPart::Float(f64::from(f32::from_be_bytes(field.try_into().ok()?))),
            Self::Float8 => KeyPart::Float(f64::from_be_bytes(field.try_into().ok()?)),
            Self::Numeric => KeyPart::Numeric(Numeric::parse(&numeric_text(field)?)?),
            Self::Text => KeyPart::Str(field.to_vec()),
            Self::Padded => {
                let len = field.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
                KeyPart::Str(field[..len].to_vec())
            }
            Self::Bytes | Self::Blob => KeyPart::Bytes(field.to_vec()),
            Self::Date => KeyPart::Date(match i32::from_be_bytes(field.try_into().ok()?) {
                end @ (i32::MIN | i32::MAX) => end,
                days => days.checked_add(EPOCH_DAYS)?,
            }),
            Self::Time => KeyPart::Time(integer_of(8, field)?),
            Self::Instant => KeyPart::Instant(integer_of(8, field)?),
            Self::Uuid => KeyPart::Uuid(field.try_into().ok()?),
        })
    }

    /// Appends the field of a part; `None` if it is the part of another kind of column. NULL is `Some(false)`.
    pub(super) fn field(self, part: &KeyPart, out: &mut Vec<u8>) -> Option<bool> {
        match (self, part) {
            (_, KeyPart::Null) => return Some(false),
            (Self::Bool, KeyPart::Bool(value)) => out.push(u8::from(*value)),
            (Self::Int(bytes), KeyPart::Int(value)) => put_integer(*value, bytes, out)?,
            (Self::Oid, KeyPart::Int(value)) => out.extend_from_slice(&u32::try_from(*value).ok()?.to_be_bytes()),
            (Self::Float4, KeyPart::Float(value)) => out.extend_from_slice(&(*value as f32).to_be_bytes()),
            (Self::Float8, KeyPart::Float(value)) => out.extend_from_slice(&value.to_be_bytes()),
            (Self::Text | Self::Padded, KeyPart::Str(bytes)) | (Self::Bytes | Self::Blob, KeyPart::Bytes(bytes)) => {
                out.extend_from_slice(bytes);
            }
            (Self::Date, KeyPart::Date(days)) => {
                let days = match *days {
                    end @ (i32::MIN | i32::MAX) => end,
                    days => days.checked_sub(EPOCH_DAYS)?,
                };
                out.extend_from_slice(&days.to_be_bytes());
            }
            (Self::Time, KeyPart::Time(micros)) | (Self::Instant, KeyPart::Instant(micros)) => {
                out.extend_from_slice(&micros.to_be_bytes());
            }
            (Self::Uuid, KeyPart::Uuid(bytes)) => out.extend_from_slice(bytes),
            _ => return None,
        }
        Some(true)
    }
}

/// An integer of so many bytes.
fn integer_of(bytes: u8, field: &[u8]) -> Option<i64> {
    (field.len() == usize::from(bytes)).then(|| integer(field)).flatten()
}

fn integer(field: &[u8]) -> Option<i64> {
    Some(match *field {
        [a, b] => i64::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        _ => i64::from_be_bytes(field.try_into().ok()?),
    })
}

fn put_integer(value: i64, bytes: u8, out: &mut Vec<u8>) -> Option<()> {
    match bytes {
        2 => out.extend_from_slice(&i16::try_from(value).ok()?.to_be_bytes()),
        4 => out.extend_from_slice(&i32::try_from(value).ok()?.to_be_bytes()),
        _ => out.extend_from_slice(&value.to_be_bytes()),
    }
    Some(())
}

/// A `numeric` as text with an exponent.
fn numeric_text(field: &[u8]) -> Option<String> {
    use std::fmt::Write as _;
    let word = |at: usize| field.get(at * 2..at * 2 + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let (count, weight, sign) = (word(0)?, word(1)?.cast_signed(), word(2)?);
    match sign {
        0 | 0x4000 => {}
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    if field.len() != 8 + usize::from(count) * 2 {
        return None;
    }
    if count == 0 {
        return Some("0".to_owned());
    }
    let mut text = if sign == 0 { String::new() } else { "-".to_owned() };
    for at in 0..usize::from(count) {
        let digits = word(4 + at).filter(|digits| *digits < 10_000)?;
        let _ = write!(text, "{digits:04}");
    }
    let _ = write!(text, "e{}", (i32::from(weight) - i32::from(count) + 1) * 4);
    Some(text)
}

/// Writes a field as the next cell; `scratch` is used again. `false` if the field is not what its type says: then the cell
/// holds its bytes as they are.
pub(super) fn write(form: &Form, field: Option<&[u8]>, cells: &mut CellWriter<'_>, scratch: &mut Vec<u8>) -> bool {
    let Some(field) = field else {
        cells.cell(Tag::NULL, b"");
        return true;
    };
    match form {
        Form::Bool if field.len() == 1 && field[0] < 2 => cells.cell(Tag::BOOL, field),
        Form::Int(bytes) if integer_of(*bytes, field).is_some() => cells.integer(integer(field).unwrap_or_default()),
        Form::Oid if field.len() == 4 => {
            cells.integer(i64::from(u32::from_be_bytes([field[0], field[1], field[2], field[3]])));
        }
        Form::Float8 if field.len() == 8 => cells.cell(Tag::FLOAT, field),
        Form::Float4 | Form::Binary(None) => cells.cell(Tag::BLOB, field),
        Form::Text | Form::Cast => cells.cell(Tag::STRING, field),
        Form::Jsonb if field.first() == Some(&1) => cells.cell(Tag::JSON, &field[1..]),
        Form::Binary(Some(tree)) => {
            scratch.clear();
            scratch.extend_from_slice(field);
            if tree.make_portable(scratch).is_none() {
                cells.cell(Tag::BLOB, field);
                return false;
            }
            cells.cell(Tag::BLOB, scratch);
        }
        _ => {
            cells.cell(Tag::BLOB, field);
            return false;
        }
    }
    true
}

/// Appends the field of a cell; `None` if the column's type has no such cells. NULL is `Some(false)`.
pub(super) fn read(form: &Form, cell: Cell<'_>, out: &mut Vec<u8>) -> Option<bool> {
    match (form, cell.tag) {
        (_, Tag::NULL) => return Some(false),
        (Form::Int(bytes), Tag::INTEGER) => put_integer(i64::from_be_bytes(cell.bytes.try_into().ok()?), *bytes, out)?,
        (Form::Oid, Tag::INTEGER) => {
            let value = i64::from_be_bytes(cell.bytes.try_into().ok()?);
            out.extend_from_slice(&u32::try_from(value).ok()?.to_be_bytes());
        }
        (Form::Jsonb, Tag::JSON) => {
            out.push(1);
            out.extend_from_slice(cell.bytes);
        }
        (Form::Bool, Tag::BOOL)
        | (Form::Float8, Tag::FLOAT)
        | (Form::Float4 | Form::Jsonb | Form::Binary(_), Tag::BLOB)
        | (Form::Text | Form::Cast, Tag::STRING) => out.extend_from_slice(cell.bytes),
        _ => return None,
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KeyCodec;

    fn numeric(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_are_read_from_their_binary_form() {
        for (words, text) in [
            (&[2, 0, 0, 2, 1, 5000][..], "1.5"),
            (&[1, 0, 0x4000, 0, 12], "-12"),
            (&[1, 2, 0, 0, 7], "700000000"),
            (&[1, 0xffff, 0, 4, 1], "0.0001"),
            (&[0, 0, 0, 2], "0"),
            (&[0, 0, 0xc000, 0], "NaN"),
            (&[0, 0, 0xf000, 0], "-Infinity"),
            (&[1, 32767, 0, 0, 9999], "9.999e131071"),
        ] {
            let part = PartKind::Numeric.part(Some(&numeric(words))).unwrap();
            let key = KeyCodec::Typed.encode(std::slice::from_ref(&part)).unwrap();
            assert_eq!(KeyCodec::Typed.show(&key), format!("num:{text}"));
        }
        for bad in [&[1, 0, 0, 0][..], &[1, 0, 5, 0, 1], &[1, 0, 0, 0, 10_000]] {
            assert_eq!(PartKind::Numeric.part(Some(&numeric(bad))), None);
        }
    }

    #[test]
    fn what_a_key_keeps_of_a_field_comes_back() {
        let fields: [(PartKind, &[u8]); 12] = [
            (PartKind::Bool, &[1]),
            (PartKind::Int(2), &[0x80, 0]),
            (PartKind::Int(4), &[0xff; 4]),
            (PartKind::Int(8), &[0x7f; 8]),
            (PartKind::Oid, &[0xff; 4]),
            (PartKind::Text, b"a\0\xff"),
            (PartKind::Bytes, b"\0"),
            (PartKind::Date, &i32::MAX.to_be_bytes()),
            (PartKind::Date, &(-10_957_i32).to_be_bytes()),
            (PartKind::Time, &i64::MIN.to_be_bytes()),
            (PartKind::Instant, &1_i64.to_be_bytes()),
            (PartKind::Uuid, &[7; 16]),
        ];
        for (kind, field) in fields {
            assert!(kind.is_lossless());
            let part = kind.part(Some(field)).unwrap();
            let mut back = Vec::new();
            assert_eq!(kind.field(&part, &mut back), Some(true));
            assert_eq!(back, field, "{kind:?}");
        }
    }
}
