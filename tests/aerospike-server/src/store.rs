//! A namespace: its records in scan order, its sets, its index definitions, and what a fault made unreadable.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use crate::config::NamespaceConfig;
use crate::record::{PARTITIONS, Place, Record};
use crate::sindex::Sindex;

/// Most sets of a namespace.
pub const MAX_SETS: usize = 4095;

/// Which part of a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The whole record: skipped by every scan that reads the device, and counted as failed.
    Record,
    /// Only its stored key: a metadata-only scan skips it and counts it as succeeded.
    StoredKey,
}

/// A set.
#[derive(Clone, Debug)]
pub struct SetEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// Records in it, expired ones included.
    pub objects: u64,
    /// Records last updated before this were truncated; ms since 2010.
    pub truncate_lut_ms: u64,
    /// Whether it has an index of its own.
    pub has_index: bool,
}

/// A namespace and everything in it.
pub struct Namespace {
    /// What it was told.
    pub config: NamespaceConfig,
    /// Records in scan order.
    pub records: BTreeMap<Place, Record>,
    /// Sets; set id `n` is at `n - 1`.
    pub sets: Vec<SetEntry>,
    /// Definitions of secondary indexes.
    pub sindexes: Vec<Sindex>,
    /// Records that cannot be read.
    pub unreadable: HashMap<Place, Unreadable>,
    /// Records last updated before this were truncated; ms since 2010.
    pub truncate_lut_ms: u64,
    /// Records of each partition, expired ones included.
    pub partition_objects: Vec<u64>,
    /// Deletions by clients: where, and when (ms since 2010) with which generation.
    pub tombstones: BTreeMap<Place, (u64, u16)>,
    /// Deletions that left a tombstone.
    pub durable_deletes: u64,
    /// Whether deletions may be durable.
    pub enterprise: bool,
    set_ids: HashMap<Vec<u8>, u16>,
    lost: HashMap<usize, Vec<(Place, Record)>>,
}

impl Namespace {
    pub(crate) fn new(config: NamespaceConfig) -> Self {
        Self {
            config,
            records: BTreeMap::new(),
            sets: Vec::new(),
            sindexes: Vec::new(),
            unreadable: HashMap::new(),
            truncate_lut_ms: 0,
            partition_objects: vec![0; usize::from(PARTITIONS)],
            tombstones: BTreeMap::new(),
            durable_deletes: 0,
            enterprise: false,
            set_ids: HashMap::new(),
            lost: HashMap::new(),
        }
    }

    /// The id of a set that exists.
    pub fn set_id(&self, name: &[u8]) -> Option<u16> {
        if name.is_empty() { Some(0) } else { self.set_ids.get(name).copied() }
    }

    /// The id of a set, made if it is new. `None`: there are too many sets.
    pub fn make_set(&mut self, name: &[u8]) -> Option<u16> {
        if let Some(id) = self.set_id(name) {
            return Some(id);
        }
        if self.sets.len() >= MAX_SETS {
            return None;
        }
        self.sets.push(SetEntry { name: name.to_vec(), objects: 0, truncate_lut_ms: 0, has_index: false });
        let id = self.sets.len() as u16;
        self.set_ids.insert(name.to_vec(), id);
        Some(id)
    }

    /// The name of a set; empty for set id 0.
    pub fn set_name(&self, id: u16) -> &[u8] {
        match id {
            0 => &[],
            id => &self.sets[usize::from(id) - 1].name,
        }
    }

    /// Stores a record in place of any older one.
    pub fn insert(&mut self, place: Place, record: Record) {
        self.count(&place, record.set_id, 1);
        if let Some(old) = self.records.insert(place, record) {
            self.count(&place, old.set_id, -1);
        }
    }

    /// Removes a record without a trace.
    pub fn remove(&mut self, place: &Place) -> Option<Record> {
        let old = self.records.remove(place)?;
        self.unreadable.remove(place);
        self.count(place, old.set_id, -1);
        Some(old)
    }

    fn count(&mut self, place: &Place, set_id: u16, by: i64) {
        let objects = &mut self.partition_objects[usize::from(place.partition())];
        *objects = objects.saturating_add_signed(by);
        if set_id > 0 {
            let objects = &mut self.sets[usize::from(set_id) - 1].objects;
            *objects = objects.saturating_add_signed(by);
        }
    }

    /// A record that is there and has not expired.
    pub fn live(&self, place: &Place, now_ms: i64) -> Option<&Record> {
        self.records.get(place).filter(|record| !record.is_expired(now_ms))
    }

    /// The records of a partition behind a place, in scan order.
    pub fn partition_after(&self, pid: u16, after: Option<Place>) -> impl Iterator<Item = (&Place, &Record)> {
        let from = after.map_or(Bound::Included(Place::first(pid)), Bound::Excluded);
        self.records.range((from, Bound::Included(Place::last(pid))))
    }

    /// Removes what has expired and returns how much that was.
    pub fn reap(&mut self, now_ms: i64) -> usize {
        self.remove_where(|record| record.is_expired(now_ms))
    }

    /// Removes what was last updated before `lut_ms`: everything, or one set.
    pub fn truncate(&mut self, set: Option<&[u8]>, lut_ms: u64) -> usize {
        let Some(set) = set else {
            self.truncate_lut_ms = self.truncate_lut_ms.max(lut_ms);
            return self.remove_where(|record| record.lut_ms < lut_ms);
        };
        let Some(id @ 1..) = self.set_id(set) else { return 0 };
        let entry = &mut self.sets[usize::from(id) - 1];
        entry.truncate_lut_ms = entry.truncate_lut_ms.max(lut_ms);
        self.remove_where(|record| record.set_id == id && record.lut_ms < lut_ms)
    }

    fn remove_where(&mut self, doomed: impl Fn(&Record) -> bool) -> usize {
        let places: Vec<Place> = self.records.iter().filter(|(_, r)| doomed(r)).map(|(place, _)| *place).collect();
        for place in &places {
            self.remove(place);
        }
        places.len()
    }

    /// Takes a partition's records away with the node that held the last copy.
    pub(crate) fn lose_partition(&mut self, pid: u16, node: usize) {
        let places: Vec<Place> = self.partition_after(pid, None).map(|(place, _)| *place).collect();
        for place in places {
            if let Some(record) = self.remove(&place) {
                self.lost.entry(node).or_default().push((place, record));
            }
        }
    }

    /// A node comes back without what it took away.
    pub(crate) fn forget_lost(&mut self, node: usize) {
        self.lost.remove(&node);
    }

    /// Brings back what a node took away; where a record was written since, the later update stays.
    pub(crate) fn bring_back(&mut self, node: usize) {
        for (place, record) in self.lost.remove(&node).unwrap_or_default() {
            if self.records.get(&place).is_none_or(|here| here.lut_ms < record.lut_ms) {
                self.insert(place, record);
            }
        }
    }
}
