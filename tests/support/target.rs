//! A target over a database in memory.

use super::{Coll, Db, MemorySource, Rec, TestClock};
use rekeep::{
    connector::{
        CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal, Source, Target, TargetCollection, TargetEnd,
        TargetPlan, TargetSession,
    },
    record::{KeyCodec, KeyRange, RecordBatch, RecordStream, RowHead, StreamError, Tag},
};
use std::{
    collections::BTreeMap,
    io::Read,
    sync::{Arc, Mutex},
};

/// A database to be written.
#[derive(Clone, Default)]
pub struct MemoryTarget {
    pub db: Arc<Mutex<Db>>,
    /// The record with this key cannot be written.
    pub refuses: Option<Vec<u8>>,
    /// The clock of the source that reads it back.
    pub clock: Arc<TestClock>,
}

impl MemoryTarget {
    pub fn holding(db: Db) -> Self {
        Self { db: Arc::new(Mutex::new(db)), ..Self::default() }
    }

    pub fn held(&self) -> Db {
        self.db.lock().unwrap().clone()
    }
}

impl Target for MemoryTarget {
    fn connector(&self) -> &'static str {
        "memory"
    }

    fn collection(&self) -> Option<String> {
        None
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let db = self.db.lock().unwrap();
        let count = |name: &String| Some((name.clone(), db.get(name)?.records.len() as u64));
        Ok(collections.iter().filter_map(count).filter(|(_, count)| *count > 0).collect())
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        Ok(Box::new(MemoryTargetSession { target: self.clone(), plan: plan.clone() }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        Ok(Some(Box::new(MemorySource::new(&self.db, &self.clock))))
    }
}

struct MemoryTargetSession {
    target: MemoryTarget,
    plan: TargetPlan,
}

impl TargetSession for MemoryTargetSession {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let plan = &self.plan.collections[collection];
        let mut db = self.target.db.lock().unwrap();
        let existed = db.contains_key(&plan.name);
        let coll = db.entry(plan.name.clone()).or_insert_with(|| Coll::new(plan.codec));
        coll.attributes = plan.attributes.clone();
        Ok(Box::new(MemoryCollection {
            target: &self.target,
            plan,
            overwrite: self.plan.overwrite,
            existed,
            last: None,
        }))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        Ok(TargetEnd::default())
    }
}

struct MemoryCollection<'a> {
    target: &'a MemoryTarget,
    plan: &'a TargetCollection,
    overwrite: Overwrite,
    existed: bool,
    last: Option<Vec<u8>>,
}

struct Held {
    rows: std::vec::IntoIter<(Vec<u8>, Rec)>,
}

impl RecordStream for Held {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        for (key, rec) in self.rows.by_ref().take(10) {
            batch.push(RowHead { key: &key, meta: rec.meta() }, &rec.shape(), |out| {
                for (tag, bytes) in rec.cells.values() {
                    out.cell(Tag(*tag), bytes);
                }
            });
        }
        Ok(!batch.is_empty())
    }
}

type CellsByName = BTreeMap<Vec<u8>, (u8, Vec<u8>)>;

fn cells_of(batch: &mut RecordBatch, index: usize) -> Result<CellsByName, String> {
    let stream = batch.row(index).stream.and_then(|number| batch.take_stream(number));
    let row = batch.row(index);
    let mut value = row.value.to_vec();
    if let Some(mut stream) = stream {
        let mut reader = stream.open().map_err(|error| error.to_string())?;
        reader.read_to_end(&mut value).map_err(|error| error.to_string())?;
    }
    let mut cells = BTreeMap::new();
    for (name, cell) in row.shape.names().iter().zip(row.shape.cells(&value)) {
        let cell = cell.map_err(|error| error.to_string())?;
        cells.insert(name.clone(), (cell.tag.0, cell.bytes.to_vec()));
    }
    Ok(cells)
}

impl MemoryCollection<'_> {
    fn show(&self, key: &[u8]) -> String {
        let codec: KeyCodec = self.plan.codec;
        codec.show(key)
    }
}

impl CollectionTarget for MemoryCollection<'_> {
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        if !self.existed {
            return Ok(None);
        }
        let db = self.target.db.lock().unwrap();
        let rows: Vec<(Vec<u8>, Rec)> = db[&self.plan.name]
            .records
            .iter()
            .filter(|(key, _)| range.contains(key))
            .map(|(key, rec)| (key.clone(), rec.clone()))
            .collect();
        Ok(Some(Box::new(Held { rows: rows.into_iter() })))
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let mut db = self.target.db.lock().unwrap();
        let records = &mut db.get_mut(&self.plan.name).unwrap().records;
        for index in 0..batch.len() {
            let key = batch.row(index).key.to_vec();
            assert!(self.last.as_ref().is_none_or(|last| *last < key), "a restore gives keys in order, each once");
            self.last = Some(key.clone());
            let cells = if self.target.refuses.as_ref() == Some(&key) {
                Err("refused on command".to_owned())
            } else {
                cells_of(batch, index)
            };
            let cells = match cells {
                Ok(cells) => cells,
                Err(reason) => {
                    outcomes.fail(|| self.show(&key), reason);
                    continue;
                }
            };
            let rec = Rec::from_meta(&batch.row(index).meta, cells);
            if !records.contains_key(&key) {
                outcomes.inserted += 1;
            } else if self.overwrite == Overwrite::Never {
                outcomes.existed += 1;
                continue;
            } else {
                outcomes.replaced += 1;
            }
            records.insert(key, rec);
        }
        Ok(())
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let mut db = self.target.db.lock().unwrap();
        let records = &mut db.get_mut(&self.plan.name).unwrap().records;
        for Removal { key, .. } in rows {
            outcomes.removed += u64::from(records.remove(key).is_some());
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        Ok(())
    }
}
