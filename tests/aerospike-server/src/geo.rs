//! GeoJSON values: flags u8 | cell count u16 | cells u64 each | text. The server keeps the text and computes the cells.
//!
//! The cells here are no geometry: they are drawn from the text, so that the same text always gives the same stored value
//! and nothing a writer sends as cells survives.

use crate::wire::{Cursor, Malformed};

/// Geometry types a server reads.
const TYPES: [&str; 4] = ["Point", "Polygon", "MultiPolygon", "AeroCircle"];

/// The stored form of a written GeoJSON value, `None` if its text is no geometry.
pub fn normalise(value: &[u8]) -> Option<Vec<u8>> {
    let text = text(value).ok()?;
    let kind = geometry(std::str::from_utf8(text).ok()?)?;
    let mut out = vec![u8::from(kind != "Point"), 0, 1];
    out.extend_from_slice(&cell(text).to_be_bytes());
    out.extend_from_slice(text);
    Some(out)
}

/// The text behind flags and cells.
pub fn text(value: &[u8]) -> Result<&[u8], Malformed> {
    let mut cursor = Cursor::new(value);
    cursor.u8()?;
    let cells = cursor.u16()?;
    cursor.take(usize::from(cells) * 8)?;
    Ok(cursor.rest)
}

fn cell(text: &[u8]) -> u64 {
    let hash = text.iter().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01B3));
    hash | 1
}

/// The geometry's type, if the text is one balanced object with a known type and coordinates.
fn geometry(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if !text.starts_with('{') || !text.ends_with('}') || !is_balanced(text) || !text.contains("\"coordinates\"") {
        return None;
    }
    TYPES.into_iter().find(|kind| text.contains(&format!("\"{kind}\"")))
}

fn is_balanced(text: &str) -> bool {
    let mut open = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' => open.push(c),
            '}' if open.pop() != Some('{') => return false,
            ']' if open.pop() != Some('[') => return false,
            _ => {}
        }
    }
    open.is_empty() && !quoted
}
