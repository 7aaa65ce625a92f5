//! Secondary indexes: their definitions, and the entries each would hold, counted from the records.

use std::collections::HashSet;

use crate::codes::particle;
use crate::exp;
use crate::msgpack::{self, Item};
use crate::record::Record;
use crate::store::Namespace;
use crate::wire::Cursor;

/// Type of the indexed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SindexType {
    /// Integers.
    Numeric,
    /// Strings.
    String,
    /// Blobs.
    Blob,
    /// Geometries.
    Geo,
}

/// What of the bin is indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SindexSource {
    /// The value itself.
    Default,
    /// The elements of a list.
    List,
    /// The keys of a map.
    MapKeys,
    /// The values of a map.
    MapValues,
    /// The records of a set.
    Set,
}

/// The definition of a secondary index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sindex {
    /// Name, unique in the namespace.
    pub name: String,
    /// Set; `None` takes every record of the namespace.
    pub set: Option<String>,
    /// Bin; `None` for an expression or a set index.
    pub bin: Option<String>,
    /// Type of the value.
    pub kind: SindexType,
    /// What of the value.
    pub source: SindexSource,
    /// Path into nested lists and maps, msgpack.
    pub context: Option<Vec<u8>>,
    /// Expression that gives the value, msgpack.
    pub expression: Option<Vec<u8>>,
}

impl SindexType {
    /// As the listing writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::String => "string",
            Self::Blob => "blob",
            Self::Geo => "geo2dsphere",
        }
    }

    /// As a client writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "numeric" => Self::Numeric,
            "string" => Self::String,
            "blob" => Self::Blob,
            "geo2dsphere" | "geojson" => Self::Geo,
            _ => return None,
        })
    }

    fn takes(self, value: &Value<'_>) -> bool {
        match value {
            Value::Int(_) => self == Self::Numeric,
            Value::Typed(particle::STRING, _) => self == Self::String,
            Value::Typed(particle::BLOB, _) => self == Self::Blob,
            Value::Typed(particle::GEOJSON, _) => self == Self::Geo,
            Value::Typed(..) => false,
        }
    }
}

impl SindexSource {
    /// As the listing writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::List => "list",
            Self::MapKeys => "mapkeys",
            Self::MapValues => "mapvalues",
            Self::Set => "set",
        }
    }

    /// As a client writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "default" | "none" => Self::Default,
            "list" => Self::List,
            "mapkeys" => Self::MapKeys,
            "mapvalues" => Self::MapValues,
            "set" => Self::Set,
            _ => return None,
        })
    }
}

/// A value that could be indexed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Value<'a> {
    Int(i128),
    Typed(u8, &'a [u8]),
}

impl Sindex {
    /// How many entries the index holds over the records of the partitions that count: each different value of a record
    /// counts once.
    pub fn entries(&self, namespace: &Namespace, now_ms: i64, counts: impl Fn(u16) -> bool) -> u64 {
        let set_id = match &self.set {
            None => None,
            Some(name) => match namespace.set_id(name.as_bytes()) {
                Some(id) => Some(id),
                None => return 0,
            },
        };
        namespace
            .records
            .iter()
            .filter(|(place, _)| counts(place.partition()))
            .filter(|(_, record)| set_id.is_none_or(|id| record.set_id == id) && !record.is_expired(now_ms))
            .map(|(place, record)| {
                if self.source == SindexSource::Set {
                    return 1;
                }
                if let Some(expression) = &self.expression {
                    let ctx = exp::Context { record, digest: place.digest(), namespace, now_ms };
                    return u64::from(exp::particle_of(expression, &ctx).is_some_and(|(kind, _)| self.takes(kind)));
                }
                self.record_entries(record)
            })
            .sum()
    }

    fn takes(&self, particle: u8) -> bool {
        let wanted = match self.kind {
            SindexType::Numeric => particle::INTEGER,
            SindexType::String => particle::STRING,
            SindexType::Blob => particle::BLOB,
            SindexType::Geo => particle::GEOJSON,
        };
        particle == wanted
    }

    fn record_entries(&self, record: &Record) -> u64 {
        let Some((kind, value)) = self.bin.as_ref().and_then(|bin| record.bin(bin.as_bytes())) else { return 0 };
        if self.source == SindexSource::Default && self.context.is_none() {
            return u64::from(self.takes(kind));
        }
        if !matches!(kind, particle::LIST | particle::MAP) {
            return 0;
        }
        let Some(inner) = self.context.as_ref().map_or(Some(value), |path| descend(value, path)) else { return 0 };
        let values: HashSet<Value<'_>> = match self.source {
            SindexSource::Default => scalar(inner).into_iter().collect(),
            source => elements(inner, source).into_iter().filter_map(scalar).collect(),
        };
        values.iter().filter(|value| self.kind.takes(value)).count() as u64
    }
}

fn elements(container: &[u8], source: SindexSource) -> Vec<&[u8]> {
    let Ok(container) = msgpack::container(container) else { return Vec::new() };
    let pick = |from: usize, step| container.elements.iter().skip(from).step_by(step).copied().collect();
    match (source, container.is_map) {
        (SindexSource::List, false) => pick(0, 1),
        (SindexSource::MapKeys, true) => pick(0, 2),
        (SindexSource::MapValues, true) => pick(1, 2),
        _ => Vec::new(),
    }
}

fn scalar(bytes: &[u8]) -> Option<Value<'_>> {
    match msgpack::item(&mut Cursor::new(bytes)).ok()? {
        Item::Int(n) => Some(Value::Int(n)),
        Item::Bytes([kind, rest @ ..]) => Some(Value::Typed(*kind, rest)),
        _ => None,
    }
}

/// Steps of a path that are understood: by list index, by map index, by map key.
const BY_LIST_INDEX: i128 = 0x10;
const BY_MAP_INDEX: i128 = 0x20;
const BY_MAP_KEY: i128 = 0x22;

/// Whether every step of a path is one that [`Sindex::entries`] can follow.
pub fn path_is_known(path: &[u8]) -> bool {
    msgpack::container(path).is_ok_and(|path| {
        path.elements.len().is_multiple_of(2)
            && path.elements.chunks(2).all(|step| {
                matches!(
                    msgpack::item(&mut Cursor::new(step[0])),
                    Ok(Item::Int(BY_LIST_INDEX | BY_MAP_INDEX | BY_MAP_KEY))
                )
            })
    })
}

fn descend<'a>(value: &'a [u8], path: &[u8]) -> Option<&'a [u8]> {
    let path = msgpack::container(path).ok()?;
    let mut at = value;
    for step in path.elements.chunks_exact(2) {
        let inner = msgpack::container(at).ok()?;
        let by = msgpack::item(&mut Cursor::new(step[0])).ok()?;
        at = match by {
            Item::Int(BY_MAP_KEY) if inner.is_map => {
                let same = |key: &[u8]| msgpack::compare(key, step[1]).is_ok_and(std::cmp::Ordering::is_eq);
                inner.elements.chunks_exact(2).find(|pair| same(pair[0]))?[1]
            }
            Item::Int(BY_MAP_INDEX) if inner.is_map => {
                inner.elements.chunks_exact(2).nth(index(step[1], inner.elements.len() / 2)?)?[1]
            }
            Item::Int(BY_LIST_INDEX) if !inner.is_map => inner.elements[index(step[1], inner.elements.len())?],
            _ => return None,
        };
    }
    Some(at)
}

fn index(bytes: &[u8], len: usize) -> Option<usize> {
    let Ok(Item::Int(n)) = msgpack::item(&mut Cursor::new(bytes)) else { return None };
    let n = if n < 0 { n + len as i128 } else { n };
    usize::try_from(n).ok().filter(|n| *n < len)
}
