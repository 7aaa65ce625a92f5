//! msgpack as lists, maps and expressions use it: a reader of single items, and the server's order of values.

use std::cmp::Ordering;

use crate::wire::{Cursor, Malformed};

/// One item: a scalar with its value, or a container with its count (its elements follow).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// nil.
    Nil,
    /// true or false.
    Bool(bool),
    /// A number that fits 64 bits, signed or not.
    Int(i128),
    /// A float or a double.
    Float(f64),
    /// str or bin: in lists and maps the first byte is the particle type.
    Bytes(&'a [u8]),
    /// An extension: order flags, infinity, wildcard.
    Ext(u8, &'a [u8]),
    /// An array of so many items.
    Array(u32),
    /// A map of so many pairs.
    Map(u32),
}

/// Reads one item.
pub fn item<'a>(cursor: &mut Cursor<'a>) -> Result<Item<'a>, Malformed> {
    let tag = cursor.u8()?;
    Ok(match tag {
        0x00..=0x7F => Item::Int(i128::from(tag)),
        0x80..=0x8F => Item::Map(u32::from(tag & 0x0F)),
        0x90..=0x9F => Item::Array(u32::from(tag & 0x0F)),
        0xA0..=0xBF => Item::Bytes(cursor.take(usize::from(tag & 0x1F))?),
        0xC0 => Item::Nil,
        0xC2 => Item::Bool(false),
        0xC3 => Item::Bool(true),
        0xC4 | 0xD9 => {
            let n = cursor.u8()?;
            Item::Bytes(cursor.take(usize::from(n))?)
        }
        0xC5 | 0xDA => {
            let n = cursor.u16()?;
            Item::Bytes(cursor.take(usize::from(n))?)
        }
        0xC6 | 0xDB => {
            let n = cursor.u32()?;
            Item::Bytes(cursor.take(n as usize)?)
        }
        0xC7 => {
            let n = cursor.u8()?;
            ext(cursor, usize::from(n))?
        }
        0xC8 => {
            let n = cursor.u16()?;
            ext(cursor, usize::from(n))?
        }
        0xC9 => {
            let n = cursor.u32()?;
            ext(cursor, n as usize)?
        }
        0xCA => Item::Float(f64::from(f32::from_bits(cursor.u32()?))),
        0xCB => Item::Float(f64::from_bits(cursor.u64()?)),
        0xCC => Item::Int(i128::from(cursor.u8()?)),
        0xCD => Item::Int(i128::from(cursor.u16()?)),
        0xCE => Item::Int(i128::from(cursor.u32()?)),
        0xCF => Item::Int(i128::from(cursor.u64()?)),
        0xD0 => Item::Int(i128::from(cursor.u8()? as i8)),
        0xD1 => Item::Int(i128::from(cursor.u16()? as i16)),
        0xD2 => Item::Int(i128::from(cursor.u32()? as i32)),
        0xD3 => Item::Int(i128::from(cursor.u64()? as i64)),
        0xD4..=0xD8 => ext(cursor, 1 << (tag - 0xD4))?,
        0xDC => Item::Array(u32::from(cursor.u16()?)),
        0xDD => Item::Array(cursor.u32()?),
        0xDE => Item::Map(u32::from(cursor.u16()?)),
        0xDF => Item::Map(cursor.u32()?),
        0xC1 | 0xE0..=0xFF => {
            if tag == 0xC1 {
                return Err(Malformed);
            }
            Item::Int(i128::from(tag as i8))
        }
    })
}

fn ext<'a>(cursor: &mut Cursor<'a>, n: usize) -> Result<Item<'a>, Malformed> {
    let kind = cursor.u8()?;
    Ok(Item::Ext(kind, cursor.take(n)?))
}

/// Reads one whole value, containers with all they hold, and returns its bytes.
pub fn value<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    let start = cursor.rest;
    let mut pending = 1u64;
    while pending > 0 {
        pending -= 1;
        pending += match item(cursor)? {
            Item::Array(n) => u64::from(n),
            Item::Map(n) => 2 * u64::from(n),
            _ => 0,
        };
        // Every pending item takes a byte at least, so a count that lies ends here and not in a long loop.
        if pending > cursor.rest.len() as u64 {
            return Err(Malformed);
        }
    }
    Ok(&start[..start.len() - cursor.rest.len()])
}

/// Deepest nesting that is compared; beyond it values count as equal.
const MAX_DEPTH: u8 = 64;

/// The server's order of two whole values: by type first, then by value.
pub fn compare(left: &[u8], right: &[u8]) -> Result<Ordering, Malformed> {
    compare_at(&mut Cursor::new(left), &mut Cursor::new(right), 0)
}

fn rank(item: &Item<'_>) -> u8 {
    match item {
        Item::Nil => 1,
        Item::Bool(_) => 2,
        Item::Int(_) => 3,
        Item::Bytes(bytes) => match bytes.first() {
            Some(3) => 4,
            Some(23) => 9,
            _ => 7,
        },
        Item::Array(_) => 5,
        Item::Map(_) => 6,
        Item::Float(_) => 8,
        Item::Ext(..) => 10,
    }
}

fn compare_at(left: &mut Cursor<'_>, right: &mut Cursor<'_>, depth: u8) -> Result<Ordering, Malformed> {
    if depth > MAX_DEPTH {
        value(left)?;
        value(right)?;
        return Ok(Ordering::Equal);
    }
    let (a, b) = (item(left)?, item(right)?);
    let by_rank = rank(&a).cmp(&rank(&b));
    if by_rank != Ordering::Equal {
        return Ok(by_rank);
    }
    Ok(match (a, b) {
        (Item::Bool(a), Item::Bool(b)) => a.cmp(&b),
        (Item::Int(a), Item::Int(b)) => a.cmp(&b),
        (Item::Float(a), Item::Float(b)) => a.total_cmp(&b),
        (Item::Bytes(a), Item::Bytes(b)) => a.cmp(b),
        (Item::Ext(a, x), Item::Ext(b, y)) => a.cmp(&b).then_with(|| x.cmp(y)),
        (Item::Array(a), Item::Array(b)) => {
            let (a, b) = (without_flags(left, a, 1)?, without_flags(right, b, 1)?);
            compare_run(left, right, u64::from(a.min(b)), depth)?.then(a.cmp(&b))
        }
        (Item::Map(a), Item::Map(b)) => {
            let (a, b) = (without_flags(left, a, 2)?, without_flags(right, b, 2)?);
            match a.cmp(&b) {
                Ordering::Equal => compare_run(left, right, 2 * u64::from(a), depth)?,
                other => other,
            }
        }
        _ => Ordering::Equal,
    })
}

fn compare_run(left: &mut Cursor<'_>, right: &mut Cursor<'_>, n: u64, depth: u8) -> Result<Ordering, Malformed> {
    for _ in 0..n {
        let order = compare_at(left, right, depth + 1)?;
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

/// Skips the order flags in front of a container's elements; `width` is the number of items a flag takes.
fn without_flags(cursor: &mut Cursor<'_>, count: u32, width: u8) -> Result<u32, Malformed> {
    let mut probe = *cursor;
    if count > 0 && matches!(item(&mut probe)?, Item::Ext(kind, _) if kind != 0xFF) {
        if width == 2 {
            item(&mut probe)?;
        }
        *cursor = probe;
        return Ok(count - 1);
    }
    Ok(count)
}

/// A list's or map's flags and elements (a map's: key, value, key, value …), each as its bytes.
pub struct Container<'a> {
    /// Order flags; 0 where none are written.
    pub flags: u8,
    /// Elements in their stored order.
    pub elements: Vec<&'a [u8]>,
    /// Whether it is a map.
    pub is_map: bool,
}

/// Reads a whole container with nothing behind it.
pub fn container(bytes: &[u8]) -> Result<Container<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let (count, is_map) = match item(&mut cursor)? {
        Item::Array(n) => (n, false),
        Item::Map(n) => (n, true),
        _ => return Err(Malformed),
    };
    let mut flags = 0;
    let mut left = count;
    let mut probe = cursor;
    if count > 0
        && let Item::Ext(kind, _) = item(&mut probe)?
        && kind != 0xFF
    {
        flags = kind;
        left -= 1;
        if is_map && item(&mut probe)? != Item::Nil {
            return Err(Malformed);
        }
        cursor = probe;
    }
    let wanted = u64::from(left) * if is_map { 2 } else { 1 };
    let mut elements = Vec::with_capacity(wanted.min(cursor.rest.len() as u64) as usize);
    for _ in 0..wanted {
        elements.push(value(&mut cursor)?);
    }
    if cursor.rest.is_empty() { Ok(Container { flags, elements, is_map }) } else { Err(Malformed) }
}
