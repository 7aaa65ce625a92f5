//! A database in memory: what the memory source shows, what the memory target receives, and what a model of either is.

use rekeep::record::{Expiry, KeyCodec, Meta, Shape, Tag, Timestamp};
use serde_json::Value as Json;
use std::{collections::BTreeMap, sync::Arc};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rec {
    /// Cells by name: tag and bytes.
    pub cells: BTreeMap<Vec<u8>, (u8, Vec<u8>)>,
    pub generation: u32,
    /// Milliseconds; 0 for never.
    pub expiry: u64,
    pub stamp: u64,
    pub set: Vec<u8>,
    pub user_key: Option<Vec<u8>>,
}

impl Rec {
    /// A record with one text cell.
    pub fn text(value: &str) -> Self {
        Self::of(&[(b"v", Tag::STRING, value.as_bytes())])
    }

    /// A record with one cell of bytes.
    pub fn blob(value: Vec<u8>) -> Self {
        let mut rec = Self::default();
        rec.cells.insert(b"v".to_vec(), (Tag::BLOB.0, value));
        rec
    }

    pub fn of(cells: &[(&[u8], Tag, &[u8])]) -> Self {
        let cells = cells.iter().map(|(name, tag, bytes)| (name.to_vec(), (tag.0, bytes.to_vec()))).collect();
        Self { cells, ..Self::default() }
    }

    #[must_use]
    pub fn expiring(mut self, millis: u64) -> Self {
        self.expiry = millis;
        self
    }

    pub fn meta(&self) -> Meta<'_> {
        Meta {
            set: &self.set,
            generation: self.generation,
            expiry: Expiry::from_millis(self.expiry),
            stamp: self.stamp,
            user_key: self.user_key.as_deref(),
        }
    }

    pub fn from_meta(meta: &Meta<'_>, cells: BTreeMap<Vec<u8>, (u8, Vec<u8>)>) -> Self {
        Self {
            cells,
            generation: meta.generation,
            expiry: meta.expiry.as_millis(),
            stamp: meta.stamp,
            set: meta.set.to_vec(),
            user_key: meta.user_key.map(<[u8]>::to_vec),
        }
    }

    pub fn shape(&self) -> Arc<Shape> {
        Arc::new(Shape::new(self.cells.keys().cloned().collect()))
    }

    pub fn is_live_at(&self, time: Timestamp) -> bool {
        !Expiry::from_millis(self.expiry).is_over_at(time)
    }

    /// Whether a restore that replaces what changed leaves this one alone.
    pub fn is_same(&self, other: &Self) -> bool {
        self.cells == other.cells
            && self.expiry == other.expiry
            && self.set == other.set
            && self.user_key == other.user_key
    }
}

/// One collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Coll {
    pub codec: KeyCodec,
    pub attributes: Json,
    pub records: BTreeMap<Vec<u8>, Rec>,
}

impl Coll {
    pub const fn new(codec: KeyCodec) -> Self {
        Self { codec, attributes: Json::Null, records: BTreeMap::new() }
    }

    pub fn raw(records: impl IntoIterator<Item = (Vec<u8>, Rec)>) -> Self {
        Self { records: records.into_iter().collect(), ..Self::new(KeyCodec::Raw) }
    }
}

/// Collections by name.
pub type Db = BTreeMap<String, Coll>;

/// What is live of a database at a time: what a snapshot that ends then must give back.
pub fn live_at(db: &Db, time: Timestamp) -> Db {
    let mut live = db.clone();
    for coll in live.values_mut() {
        coll.records.retain(|_, rec| rec.is_live_at(time));
    }
    live
}

/// A database of one collection `c` with `count` records of about `len` bytes, from a seed.
pub fn sample(seed: u64, count: usize, len: usize) -> Db {
    let mut rng = super::Rng::new(seed);
    let records = (0..count).map(|n| {
        let value = rng.bytes(len);
        (format!("key{n:06}").into_bytes(), Rec::blob(value))
    });
    Db::from([("c".to_owned(), Coll::raw(records))])
}

/// Fails with a short text if two databases differ: a whole dump would drown the reason.
pub fn assert_same(found: &Db, expected: &Db, when: &str) {
    if found == expected {
        return;
    }
    let names: Vec<_> = found.keys().collect();
    let expected_names: Vec<_> = expected.keys().collect();
    assert_eq!(names, expected_names, "{when}: collections");
    for (name, expected) in expected {
        let found = &found[name];
        assert_eq!(found.codec, expected.codec, "{when}: codec of {name}");
        assert_eq!(found.attributes, expected.attributes, "{when}: attributes of {name}");
        for (key, rec) in &expected.records {
            let Some(other) = found.records.get(key) else {
                panic!("{when}: {name} lacks {}", show(key));
            };
            assert!(other == rec, "{when}: {name}: {} is {} instead of {}", show(key), brief(other), brief(rec));
        }
        for key in found.records.keys() {
            assert!(expected.records.contains_key(key), "{when}: {name} has {} in addition", show(key));
        }
    }
    panic!("{when}: the databases differ");
}

fn show(key: &[u8]) -> String {
    let shown: Vec<u8> = key.iter().take(40).copied().collect();
    String::from_utf8_lossy(&shown).into_owned()
}

fn brief(rec: &Rec) -> String {
    let cells: Vec<String> = rec
        .cells
        .iter()
        .map(|(name, (tag, bytes))| {
            let hash = blake3::hash(bytes).to_hex();
            format!("{}={tag}:{}B:{}", String::from_utf8_lossy(name), bytes.len(), &hash[..8])
        })
        .collect();
    format!(
        "{{{} generation {} expiry {} stamp {} set {:?} user key {:?}}}",
        cells.join(" "),
        rec.generation,
        rec.expiry,
        rec.stamp,
        rec.set,
        rec.user_key
    )
}
