//! What a server does to a value that is written: most are kept byte for byte, a few are refused, a few are changed.
//!
//! Changed are: short integers (widened), the persist-index flag of lists and maps (dropped), unordered maps (their pairs
//! sorted by key), and the cells of a GeoJSON value (computed anew from its text, whatever the writer sent).

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::codes::{particle, rc};
use crate::geo;
use crate::msgpack::{self, Container, Item};
use crate::wire::{Cursor, Malformed};

/// Flag of a list or map that keeps its elements sorted.
const ORDERED: u8 = 0x01;
/// Flag that asks for a stored index, which the server drops.
const PERSIST_INDEX: u8 = 0x10;
/// Deepest nesting that is looked into.
const MAX_DEPTH: u8 = 32;

/// The value as a server stores it.
///
/// # Errors
/// The result code with which a server refuses the value.
pub fn normalise(kind: u8, value: &[u8]) -> Result<Cow<'_, [u8]>, u8> {
    match kind {
        particle::INTEGER => widen(value),
        particle::FLOAT if value.len() == 8 => Ok(Cow::Borrowed(value)),
        particle::BOOL if matches!(value, [0 | 1]) => Ok(Cow::Borrowed(value)),
        particle::STRING | particle::BLOB | 7..=12 | particle::VECTOR => Ok(Cow::Borrowed(value)),
        particle::HLL if hll_is_sound(value) => Ok(Cow::Borrowed(value)),
        particle::LIST | particle::MAP => normalise_container(kind, value).map_err(|Malformed| rc::UNKNOWN),
        particle::GEOJSON => geo::normalise(value).map(Cow::Owned).ok_or(rc::GEO_INVALID),
        _ => Err(rc::PARAMETER),
    }
}

fn widen(value: &[u8]) -> Result<Cow<'_, [u8]>, u8> {
    let wide = match *value {
        [a] => i64::from(a as i8),
        [a, b] => i64::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        [_, _, _, _, _, _, _, _] => return Ok(Cow::Borrowed(value)),
        _ => return Err(rc::PARAMETER),
    };
    Ok(Cow::Owned(wide.to_be_bytes().to_vec()))
}

/// flags u8 | index bits u8 | minhash bits u8 | cache u64 | registers of 6 + minhash bits each.
fn hll_is_sound(value: &[u8]) -> bool {
    let [0, index_bits @ 4..=16, minhash_bits @ (0 | 4..=51), rest @ ..] = value else { return false };
    if u16::from(*index_bits) + u16::from(*minhash_bits) > 64 {
        return false;
    }
    let bits = (6 + usize::from(*minhash_bits)) << index_bits;
    rest.len() == 8 + bits.div_ceil(8)
}

fn normalise_container(kind: u8, value: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    let top = msgpack::container(value)?;
    if top.is_map != (kind == particle::MAP) {
        return Err(Malformed);
    }
    check(&top, 0)?;
    let keeps_flag = top.flags & PERSIST_INDEX == 0;
    let needs_sort = top.is_map && top.flags & ORDERED == 0 && !keys_ascend(&top)?;
    if keeps_flag && !needs_sort {
        return Ok(Cow::Borrowed(value));
    }
    let mut pairs: Vec<&[&[u8]]> = top.elements.chunks(if top.is_map { 2 } else { 1 }).collect();
    if needs_sort {
        sort_pairs(&mut pairs)?;
    }
    Ok(Cow::Owned(rebuild(&top, &pairs)))
}

fn sort_pairs(pairs: &mut [&[&[u8]]]) -> Result<(), Malformed> {
    let mut failed = Ok(());
    pairs.sort_by(|a, b| {
        msgpack::compare(a[0], b[0]).unwrap_or_else(|error| {
            failed = Err(error);
            Ordering::Equal
        })
    });
    failed
}

fn rebuild(top: &Container<'_>, groups: &[&[&[u8]]]) -> Vec<u8> {
    let flags = top.flags & !PERSIST_INDEX;
    let count = groups.len() + usize::from(flags != 0);
    let mut out = Vec::new();
    let (fix, long) = if top.is_map { (0x80u8, 0xDEu8) } else { (0x90, 0xDC) };
    match count {
        0..=15 => out.push(fix | count as u8),
        16..=0xFFFF => {
            out.push(long);
            out.extend_from_slice(&(count as u16).to_be_bytes());
        }
        _ => {
            out.push(long + 1);
            out.extend_from_slice(&(count as u32).to_be_bytes());
        }
    }
    if flags != 0 {
        out.extend_from_slice(&[0xC7, 0, flags]);
        if top.is_map {
            out.push(0xC0);
        }
    }
    for element in groups.iter().flat_map(|group| group.iter()) {
        out.extend_from_slice(element);
    }
    out
}

fn keys_ascend(map: &Container<'_>) -> Result<bool, Malformed> {
    for pair in map.elements.chunks(2).collect::<Vec<_>>().windows(2) {
        if msgpack::compare(pair[0][0], pair[1][0])? == Ordering::Greater {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses false order flags and duplicate keys, at every depth.
fn check(container: &Container<'_>, depth: u8) -> Result<(), Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed);
    }
    if container.is_map {
        let mut pairs: Vec<&[&[u8]]> = container.elements.chunks(2).collect();
        if container.flags & ORDERED != 0 && !keys_ascend(container)? {
            return Err(Malformed);
        }
        sort_pairs(&mut pairs)?;
        for pair in pairs.windows(2) {
            if msgpack::compare(pair[0][0], pair[1][0])? == Ordering::Equal {
                return Err(Malformed);
            }
        }
    } else if container.flags & ORDERED != 0 {
        for pair in container.elements.windows(2) {
            if msgpack::compare(pair[0], pair[1])? == Ordering::Greater {
                return Err(Malformed);
            }
        }
    }
    for element in &container.elements {
        if matches!(msgpack::item(&mut Cursor::new(element))?, Item::Array(_) | Item::Map(_)) {
            check(&msgpack::container(element)?, depth + 1)?;
        }
    }
    Ok(())
}
