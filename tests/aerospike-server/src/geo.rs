//! GeoJSON values: flags u8 | cell count u16 | cells u64 each | text. The server keeps the text and computes the cells.
//!
//! A point gets the cell of the S2 grid that a real server gives it. Other geometries get one cell drawn from their text by a
//! hash: no geometry, but the same text always gives the same stored value, and nothing a writer sends as cells survives.

use crate::wire::{Cursor, Malformed};

/// Geometry types a server reads.
const TYPES: [&str; 4] = ["Point", "Polygon", "MultiPolygon", "AeroCircle"];

/// The stored form of a written GeoJSON value, `None` if its text is no geometry.
pub fn normalise(value: &[u8]) -> Option<Vec<u8>> {
    let text = text(value).ok()?;
    let kind = geometry(std::str::from_utf8(text).ok()?)?;
    let (flags, cell) = match kind {
        "Point" => (0, point(std::str::from_utf8(text).ok()?)?),
        _ => (1, cell(text)),
    };
    let mut out = vec![flags, 0, 1];
    out.extend_from_slice(&cell.to_be_bytes());
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

/// The cell of a point: its text holds `[longitude, latitude]` in degrees.
fn point(text: &str) -> Option<u64> {
    let (_, behind) = text.split_once("\"coordinates\"")?;
    let (_, behind) = behind.split_once('[')?;
    let (pair, _) = behind.split_once(']')?;
    let (longitude, latitude) = pair.split_once(',')?;
    let (longitude, latitude): (f64, f64) = (longitude.trim().parse().ok()?, latitude.trim().parse().ok()?);
    if !(-180.0..=180.0).contains(&longitude) || !(-90.0..=90.0).contains(&latitude) {
        return None;
    }
    Some(leaf_cell(longitude.to_radians(), latitude.to_radians()))
}

/// Levels of the grid below a face of the cube.
const LEVELS: u32 = 30;
/// For each orientation of the curve: the place on it of the four quadrants.
const PLACES: [[u64; 4]; 4] = [[0, 1, 3, 2], [0, 3, 1, 2], [2, 3, 1, 0], [2, 1, 3, 0]];
/// How the orientation turns at each place.
const TURNS: [usize; 4] = [1, 0, 0, 3];

/// The leaf of the S2 grid: the sphere on a cube, each face a quadtree numbered along a Hilbert curve.
fn leaf_cell(longitude: f64, latitude: f64) -> u64 {
    let (x, y, z) = (latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin());
    let sides = [x, y, z];
    let longest = (0..3).fold(0, |best, at| if sides[at].abs() > sides[best].abs() { at } else { best });
    let face = longest + if sides[longest] < 0.0 { 3 } else { 0 };
    let (across, up) = match face {
        0 => (y / x, z / x),
        1 => (-x / y, z / y),
        2 => (-x / z, -y / z),
        3 => (z / x, y / x),
        4 => (z / y, -x / y),
        _ => (-y / z, -x / z),
    };
    let (column, row) = (grid(across), grid(up));
    let mut orientation = face & 1;
    let mut path = 0;
    for level in (0..LEVELS).rev() {
        let quadrant = ((column >> level) & 1) << 1 | ((row >> level) & 1);
        let place = PLACES[orientation][quadrant as usize];
        path = path << 2 | place;
        orientation ^= TURNS[place as usize];
    }
    (face as u64) << 61 | path << 1 | 1
}

/// A coordinate on a face, -1 to 1, as a grid line; the quadratic transform evens out the cells.
fn grid(coordinate: f64) -> u32 {
    let even = if coordinate >= 0.0 {
        0.5 * (1.0 + 3.0 * coordinate).sqrt()
    } else {
        1.0 - 0.5 * (1.0 - 3.0 * coordinate).sqrt()
    };
    let size = f64::from(1u32 << LEVELS);
    (even * size).floor().clamp(0.0, size - 1.0) as u32
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_gets_the_cell_that_a_real_server_gave_it() {
        let text = br#"{"type": "Point", "coordinates": [-122.0, 37.5]}"#;
        let stored = normalise(&[&[0, 0, 0], &text[..]].concat()).expect("it is a point");
        assert_eq!(stored[..11], [0, 0, 1, 0x80, 0x8F, 0xB8, 0xA2, 0x47, 0x95, 0x43, 0x93]);
        assert_eq!(stored[11..], text[..]);
    }

    #[test]
    fn points_on_every_face_get_different_leaves() {
        let points = [(0.0, 0.0), (90.0, 0.0), (0.0, 90.0), (180.0, 0.0), (-90.0, 0.0), (0.0, -90.0)];
        for (face, (longitude, latitude)) in points.into_iter().enumerate() {
            let cell = leaf_cell(f64::to_radians(longitude), f64::to_radians(latitude));
            assert_eq!((cell >> 61, cell & 1), (face as u64, 1));
        }
    }
}
