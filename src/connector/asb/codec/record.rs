//! One record as it is parsed: all its bytes in one buffer that is used again for the next.

use super::{
    cursor::{Cursor, wrong_at},
    error::{Fault, Stop},
    float::float_from_text,
};
use data_encoding::BASE64;
use std::ops::Range;

/// The most bins that a record announces.
const MAX_BINS: u64 = u16::MAX as u64;

/// Particle types of servers, by the format's letters. Lists, maps and HLL among them are kept as they are.
const BLOBS: [(u8, u8); 10] = [
    (b'B', 4),
    (b'J', 7),
    (b'C', 8),
    (b'P', 9),
    (b'R', 10),
    (b'H', 11),
    (b'E', 12),
    (b'Y', 18),
    (b'M', 19),
    (b'L', 20),
];

pub(super) const NULL: u8 = 0;
pub(super) const INTEGER: u8 = 1;
pub(super) const FLOAT: u8 = 2;
pub(super) const STRING: u8 = 3;
pub(super) const BLOB: u8 = 4;
pub(super) const BOOL: u8 = 17;
pub(super) const GEOJSON: u8 = 23;

/// The letter of a particle type that is written in base64.
pub(super) fn letter_of(particle: u8) -> Option<u8> {
    BLOBS.iter().find(|(_, own)| *own == particle).map(|(letter, _)| *letter)
}

fn particle_of(letter: u8) -> Option<u8> {
    BLOBS.iter().find(|(own, _)| *own == letter).map(|(_, particle)| *particle)
}

type Span = Range<usize>;

/// One bin of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its particle type, as servers number them.
    pub particle: u8,
    /// Its value: numbers as 8 bytes, big endian; GeoJSON as its text; all else as servers hold it.
    pub value: &'a [u8],
}

#[derive(Debug, Clone)]
struct BinSpan {
    name: Span,
    particle: u8,
    value: Span,
}

/// One record.
#[derive(Debug, Clone, Default)]
pub struct Record {
    bytes: Vec<u8>,
    namespace: Span,
    set: Span,
    key: Option<Span>,
    bins: Vec<BinSpan>,
    escapes: bool,
    /// Its digest.
    pub digest: [u8; 20],
    /// How often it was written.
    pub generation: u16,
    /// When it expires: seconds since 2010, 0 for never.
    pub void_time: u32,
    /// Lines of its head that are of no known kind.
    pub unknown: Vec<Vec<u8>>,
}

impl Record {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &[u8] {
        &self.bytes[self.namespace.clone()]
    }

    /// Its set; empty for none.
    #[must_use]
    pub fn set(&self) -> &[u8] {
        &self.bytes[self.set.clone()]
    }

    /// Its user key, if it is stored: the particle type, then the value.
    #[must_use]
    pub fn user_key(&self) -> Option<&[u8]> {
        self.key.clone().map(|span| &self.bytes[span])
    }

    /// Its bins, in the order of the file.
    pub fn bins(&self) -> impl Iterator<Item = Bin<'_>> + Clone {
        let of = |place: &BinSpan| Bin {
            name: &self.bytes[place.name.clone()],
            particle: place.particle,
            value: &self.bytes[place.value.clone()],
        };
        self.bins.iter().map(of)
    }

    /// Puts its bins in the order of their names.
    ///
    /// # Errors
    /// The name that two of them have.
    pub fn sort(&mut self) -> Result<(), Vec<u8>> {
        let bytes = &self.bytes;
        let name = |place: &BinSpan| &bytes[place.name.clone()];
        if !self.bins.is_sorted_by(|a, b| name(a) < name(b)) {
            self.bins.sort_by(|a, b| name(a).cmp(name(b)));
            let twice = self.bins.windows(2).find_map(|pair| match pair {
                [one, other] if name(one) == name(other) => Some(name(one).to_vec()),
                _ => None,
            });
            if let Some(twice) = twice {
                return Err(twice);
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(4 << 20);
        self.bins.clear();
        self.unknown.clear();
        (self.namespace, self.set, self.key) = (0..0, 0..0, None);
    }

    fn add(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Adds a name.
    fn name(&mut self, cursor: &mut Cursor<'_>, end: u8, escapes: bool, what: &str) -> Result<Span, Stop> {
        let start = self.bytes.len();
        cursor.name(end, escapes, what, &mut self.bytes)?;
        Ok(start..self.bytes.len())
    }

    /// Adds what base64 says.
    fn base64(&mut self, cursor: &Cursor<'_>, text: &[u8], what: &str) -> Result<Span, Stop> {
        let start = self.bytes.len();
        let most = BASE64.decode_len(text.len()).unwrap_or(usize::MAX);
        if most > text.len() {
            return cursor.wrong(format!("{what} is not base64: {} characters", text.len()));
        }
        self.bytes.resize(start + most, 0);
        match BASE64.decode_mut(text, &mut self.bytes[start..]) {
            Ok(len) => {
                self.bytes.truncate(start + len);
                Ok(start..start + len)
            }
            Err(error) => cursor.wrong(format!("{what} is not base64: {}", error.error)),
        }
    }

    /// Parses a record; `at` of an error that tells how far its head was understood.
    pub(super) fn parse(&mut self, cursor: &mut Cursor<'_>, escapes: bool) -> Result<(), Stop> {
        self.clear();
        self.escapes = escapes;
        if self.head(cursor, b'k')? {
            self.user_key_line(cursor)?;
        }
        self.need(cursor, b'n', "`+ n ` and the namespace")?;
        self.namespace = self.name(cursor, b'\n', escapes, "the namespace")?;
        cursor.end_line()?;
        self.need(cursor, b'd', "`+ d ` and the digest")?;
        let text = cursor.until(b"\n", "the digest")?;
        // 28 characters may hold 21 bytes.
        let mut digest = [0; 21];
        if BASE64.decode_len(text.len()) != Ok(digest.len()) || BASE64.decode_mut(text, &mut digest) != Ok(20) {
            return cursor.wrong("the digest is not 20 bytes in base64");
        }
        self.digest.copy_from_slice(&digest[..20]);
        cursor.end_line()?;
        if self.head(cursor, b's')? {
            self.set = self.name(cursor, b'\n', escapes, "the set")?;
            cursor.end_line()?;
        }
        self.need(cursor, b'g', "`+ g ` and the generation")?;
        self.generation = cursor.number(u64::from(u16::MAX), "the generation")? as u16;
        cursor.end_line()?;
        self.need(cursor, b't', "`+ t ` and the time of expiry")?;
        self.void_time = cursor.number(u64::from(u32::MAX), "the time of expiry")? as u32;
        cursor.end_line()?;
        self.need(cursor, b'b', "`+ b ` and the number of bins")?;
        let count = cursor.number(MAX_BINS, "the number of bins")?;
        cursor.end_line()?;
        for number in 0..count {
            if cursor.peek()? != b'-' {
                let reason = format!("the record announces {count} bins and has {number}");
                return if cursor.peek()? == b'+' { cursor.wrong(reason) } else { cursor.unexpected("a bin (`- `)") };
            }
            self.bin(cursor, escapes)?;
        }
        Ok(())
    }

    /// Whether the next known line of the head is this one; passes its beginning, and lines that are not known.
    fn head(&mut self, cursor: &mut Cursor<'_>, letter: u8) -> Result<bool, Stop> {
        match cursor.four() {
            Some([b'+', b' ', found, b' ']) if found == letter => {
                cursor.at += 4;
                return Ok(true);
            }
            Some([b'+', b' ', found, _]) if b"kndsgtb".contains(&found) && found != letter => return Ok(false),
            _ => {}
        }
        loop {
            let start = cursor.at;
            if cursor.pass(&[b'+', b' ', letter, b' '])? {
                return Ok(true);
            }
            if !cursor.pass(b"+ ")? {
                return Ok(false);
            }
            if b"kndsgtb".contains(&cursor.peek()?) {
                cursor.at = start;
                return Ok(false);
            }
            cursor.at = start;
            let line = cursor.raw_line(self.escapes)?;
            if self.unknown.len() < 16 {
                self.unknown.push(line.to_vec());
            }
        }
    }

    fn need(&mut self, cursor: &mut Cursor<'_>, letter: u8, what: &str) -> Result<(), Stop> {
        if self.head(cursor, letter)? { Ok(()) } else { cursor.unexpected(what) }
    }

    fn user_key_line(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let letter = cursor.next()?;
        let compact = cursor.pass(b"!")?;
        cursor.expect(b" ", "a space")?;
        let start = self.bytes.len();
        let end = match (letter, compact) {
            (b'I', false) => {
                let value = integer(cursor)?;
                self.bytes.push(INTEGER);
                self.add(&value.to_be_bytes()).end
            }
            (b'D', false) => {
                let value = float(cursor)?;
                self.bytes.push(FLOAT);
                self.add(&value.to_bits().to_be_bytes()).end
            }
            (b'S', false) | (b'B', true) => {
                self.bytes.push(if letter == b'S' { STRING } else { BLOB });
                let value = sized(cursor, "the key")?;
                self.add(value).end
            }
            (b'X' | b'B', false) => {
                self.bytes.push(if letter == b'X' { STRING } else { BLOB });
                let text = sized(cursor, "the key")?;
                self.base64(cursor, text, "the key")?.end
            }
            _ => {
                let reason = format!("keys of the kind `{}` are not known", letter.escape_ascii());
                return Err(Stop::Wrong { at: cursor.at, fault: Fault::Unknown, reason });
            }
        };
        self.key = Some(start..end);
        cursor.end_line()
    }

    fn bin(&mut self, cursor: &mut Cursor<'_>, escapes: bool) -> Result<(), Stop> {
        let at = cursor.at + 2;
        let (letter, compact) = if let Some([b'-', b' ', letter, b' ']) = cursor.four() {
            cursor.at += 4;
            (letter, false)
        } else {
            cursor.expect(b"- ", "a bin")?;
            let letter = cursor.next()?;
            let compact = cursor.pass(b"!")?;
            cursor.expect(b" ", "a space")?;
            (letter, compact)
        };
        let end = if letter == b'N' { b'\n' } else { b' ' };
        let name = self.name(cursor, end, escapes, "a bin's name")?;
        if letter == b'N' && !compact {
            cursor.end_line()?;
            self.bins.push(BinSpan { name, particle: NULL, value: 0..0 });
            return Ok(());
        }
        cursor.expect(b" ", "a space")?;
        let (particle, value) = match (letter, compact) {
            (b'Z', false) => {
                let value = match cursor.next()? {
                    b'T' => 1,
                    b'F' => 0,
                    _ => return wrong_at(cursor.at - 1, "a boolean is T or F"),
                };
                (BOOL, self.add(&[value]))
            }
            (b'I', false) => (INTEGER, {
                let value = integer(cursor)?;
                self.add(&value.to_be_bytes())
            }),
            (b'D', false) => (FLOAT, {
                let value = float(cursor)?;
                self.add(&value.to_bits().to_be_bytes())
            }),
            (b'S', false) => (STRING, {
                let value = sized(cursor, "a string")?;
                self.add(value)
            }),
            (b'G', false) => (GEOJSON, {
                let value = sized(cursor, "a GeoJSON value")?;
                self.add(value)
            }),
            (b'X', false) => (STRING, {
                let text = sized(cursor, "a string")?;
                self.base64(cursor, text, "a string")?
            }),
            _ => {
                let Some(particle) = particle_of(letter) else {
                    let what = if letter == b'U' { "large data types, which no server has any more," } else { "bins" };
                    let reason = format!("{what} of the kind `{}` are not known", letter.escape_ascii());
                    return Err(Stop::Wrong { at, fault: Fault::Unknown, reason });
                };
                let text = sized(cursor, "a value")?;
                (particle, if compact { self.add(text) } else { self.base64(cursor, text, "a value")? })
            }
        };
        cursor.end_line()?;
        self.bins.push(BinSpan { name, particle, value });
        Ok(())
    }
}

/// A length, a space, and so many bytes.
#[inline]
fn sized<'a>(cursor: &mut Cursor<'a>, what: &str) -> Result<&'a [u8], Stop> {
    let len = cursor.number(u64::MAX, "a length")?;
    cursor.expect(b" ", "a space")?;
    cursor.take(len, what)
}

fn integer(cursor: &mut Cursor<'_>) -> Result<i64, Stop> {
    let at = cursor.at;
    let text = cursor.until(b"\n ", "an integer")?;
    let (sign, digits) = text.strip_prefix(b"-").map_or((1, text), |digits| (-1, digits));
    // So many digits are below what 64 bits hold.
    if (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        return Ok(sign * digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')));
    }
    let value = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+')).and_then(|text| text.parse().ok());
    match value {
        Some(value) => Ok(value),
        None => wrong_at(at, format!("`{}` is no integer of 64 bits", text.escape_ascii())),
    }
}

fn float(cursor: &mut Cursor<'_>) -> Result<f64, Stop> {
    let at = cursor.at;
    let text = cursor.until(b"\n ", "a number")?;
    match float_from_text(text) {
        Some(value) => Ok(value),
        None => wrong_at(at, format!("`{}` is no number that 64 bits of floating point hold", text.escape_ascii())),
    }
}
