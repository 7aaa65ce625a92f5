//! Secondary indexes and UDF modules: the global lines.

use super::{MAX_TOKEN_BYTES, cursor::Cursor, error::Stop};

/// What of a bin is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// Its value.
    Bin,
    /// A list's elements.
    List,
    /// A map's keys.
    MapKeys,
    /// A map's values.
    MapValues,
    /// The records of a set (3.3).
    Set,
}

/// Which values are indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexData {
    /// Strings.
    String,
    /// Integers.
    Numeric,
    /// GeoJSON.
    Geo,
    /// Bytes.
    Blob,
    /// None: a set is indexed (3.3).
    None,
}

impl IndexKind {
    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Bin => b'N',
            Self::List => b'L',
            Self::MapKeys => b'K',
            Self::MapValues => b'V',
            Self::Set => b'S',
        }
    }

    /// The kind that servers give this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "default" | "none" => Self::Bin,
            "list" => Self::List,
            "mapkeys" => Self::MapKeys,
            "mapvalues" => Self::MapValues,
            "set" => Self::Set,
            _ => return None,
        })
    }

    /// The name that servers give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bin => "default",
            Self::List => "list",
            Self::MapKeys => "mapkeys",
            Self::MapValues => "mapvalues",
            Self::Set => "set",
        }
    }

    fn of(letter: u8) -> Option<Self> {
        let all = [Self::Bin, Self::List, Self::MapKeys, Self::MapValues, Self::Set];
        all.into_iter().find(|kind| kind.letter() == letter)
    }
}

impl IndexData {
    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::String => b'S',
            Self::Numeric => b'N',
            Self::Geo => b'G',
            Self::Blob => b'B',
            Self::None => b'E',
        }
    }

    /// The type that servers give this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "string" => Self::String,
            "numeric" => Self::Numeric,
            "geo2dsphere" | "geojson" => Self::Geo,
            "blob" => Self::Blob,
            _ => return None,
        })
    }

    /// The name that servers give it.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::String => Some("string"),
            Self::Numeric => Some("numeric"),
            Self::Geo => Some("geo2dsphere"),
            Self::Blob => Some("blob"),
            Self::None => None,
        }
    }

    fn of(letter: u8) -> Option<Self> {
        let all = [Self::String, Self::Numeric, Self::Geo, Self::Blob, Self::None];
        all.into_iter().find(|data| data.letter() == letter)
    }
}

/// A secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its namespace.
    pub namespace: Vec<u8>,
    /// Its set; empty for the null set.
    pub set: Vec<u8>,
    /// Its name.
    pub name: Vec<u8>,
    /// What is indexed.
    pub kind: IndexKind,
    /// Its bin; empty where it has none.
    pub bin: Vec<u8>,
    /// Which values.
    pub data: IndexData,
    /// The path into lists and maps, in base64.
    pub context: Option<Vec<u8>>,
    /// The expression whose value is indexed, in base64.
    pub expression: Option<Vec<u8>>,
}

/// A UDF module in Lua.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: Vec<u8>,
    /// Its text.
    pub content: Vec<u8>,
}

/// Parses what follows `* i ` or `* e ` up to the line's end. `None` if it is of a kind that is not known.
pub(super) fn parse_index(line: &[u8], is_expression: bool, escapes: bool) -> Option<Index> {
    // A line that ends too early is of no known kind either.
    try_index(line, is_expression, escapes).ok().flatten()
}

fn try_index(line: &[u8], is_expression: bool, escapes: bool) -> Result<Option<Index>, Stop> {
    let mut cursor = Cursor::new(line);
    let mut names = [Vec::new(), Vec::new(), Vec::new()];
    for name in &mut names {
        cursor.name(b' ', escapes, "a name", name)?;
        cursor.next()?;
    }
    let [namespace, set, name] = names;
    let kind = IndexKind::of(cursor.next()?);
    cursor.expect(b" ", "a space")?;
    let paths = cursor.number(u64::MAX, "the number of paths")?;
    cursor.expect(b" ", "a space")?;
    let mut bin = Vec::new();
    cursor.name(b' ', escapes, "a bin", &mut bin)?;
    cursor.next()?;
    let data = IndexData::of(cursor.next()?);
    let mut more = None;
    if cursor.pass(b" ")? {
        let text = cursor.until(b"\n", "a context")?;
        let is_base64 = data_encoding::BASE64.decode_len(text.len()).is_ok()
            && data_encoding::BASE64.decode(text).is_ok()
            && text.len() <= MAX_TOKEN_BYTES;
        if !is_base64 || text.is_empty() {
            return Ok(None);
        }
        more = Some(text.to_vec());
    }
    if cursor.next()? != b'\n' || cursor.at != line.len() || paths != 1 {
        return Ok(None);
    }
    let (Some(kind), Some(data)) = (kind, data) else { return Ok(None) };
    if is_expression && more.is_none() || (kind == IndexKind::Set) != (data == IndexData::None) {
        return Ok(None);
    }
    let (context, expression) = if is_expression { (None, more) } else { (more, None) };
    Ok(Some(Index { namespace, set, name, kind, bin, data, context, expression }))
}
