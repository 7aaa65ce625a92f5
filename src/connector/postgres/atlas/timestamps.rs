//! The timestamps of a backup: in the snapshot's attributes, and as the files that `AtlasDB`'s own command writes and reads.

use super::ground::Ground;
use crate::{
    connector::{CollectionTarget, ConnectorError, Outcomes, Removal, SourceCollection},
    record::{KeyCodec, KeyRange, Meta, RecordBatch, RecordStream, RowHead, Shape, StreamError, Tag},
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The collection of these files.
pub(super) const COLLECTION: &str = "timestamps";

/// Who gave timestamps that are of the same state as the cells.
pub(super) const GIVEN_BY_STORE: &str = "store";

/// The cell that is a file's content.
const CONTENT: &str = "content";

/// The format that is written.
const FORMAT: u32 = 1;

/// What is kept of a store beside what is kept of any database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoreAttributes {
    pub(super) format: u32,
    pub(super) schema: String,
    pub(super) prefix: String,
    pub(super) metadata_table: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<String>,
    /// What its table of tables names of other stores, which are not in the backup.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) others: BTreeSet<String>,
    #[serde(flatten)]
    pub(super) timestamps: Timestamps,
}

/// The timestamps of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Timestamps {
    /// Who gave them: `store`, `timelock` or `command`.
    pub(super) given_by: String,
    /// Transactions that committed at it or after it are not in the backup.
    pub(super) backup_timestamp: i64,
    /// All that was handed out until the store was copied.
    pub(super) fast_forward_timestamp: i64,
    /// No transaction that began before it was still at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) immutable_timestamp: Option<i64>,
}

impl StoreAttributes {
    pub(super) fn of(ground: &Ground, timestamps: Timestamps, others: BTreeSet<String>) -> Self {
        Self {
            format: FORMAT,
            schema: ground.schema.clone(),
            prefix: ground.prefix.clone(),
            metadata_table: ground.metadata.clone(),
            client: ground.client.clone(),
            others,
            timestamps,
        }
    }

    /// Reads them from a snapshot's attributes.
    pub(super) fn read(attributes: &Json, object: &str) -> Result<Self, ConnectorError> {
        let mismatch = |reason: &str| ConnectorError::Mismatch { object: object.to_owned(), reason: reason.to_owned() };
        let own = attributes
            .get("atlasdb")
            .ok_or_else(|| mismatch("the snapshot is not one of an AtlasDB store, and only such are restored here"))?;
        if own.get("format").and_then(Json::as_u64).is_some_and(|format| format > u64::from(FORMAT)) {
            return Err(mismatch("the snapshot is of a newer format: a newer rekeep can restore it"));
        }
        let read =
            Self::deserialize(own).map_err(|error| mismatch(&format!("its attributes make no sense: {error}")))?;
        read.timestamps.check().map_err(|why| mismatch(&why))?;
        Ok(read)
    }

    pub(super) fn ground(&self, object: String, client: Option<String>) -> Ground {
        Ground {
            object,
            schema: self.schema.clone(),
            prefix: self.prefix.clone(),
            metadata: self.metadata_table.clone(),
            client: client.or_else(|| self.client.clone()),
        }
    }
}

impl Timestamps {
    /// Refuses what no backup can have.
    pub(super) fn check(&self) -> Result<(), String> {
        let (backup, forward) = (self.backup_timestamp, self.fast_forward_timestamp);
        if backup < 1 {
            return Err(format!("the backup timestamp {backup} is none: a timestamp is greater than 0"));
        }
        if forward < backup {
            return Err(format!("the fast-forward timestamp {forward} is before the backup timestamp {backup}"));
        }
        Ok(())
    }

    /// Refuses timestamps that others gave and that were not made each time: one that is fresh was never given before.
    pub(super) fn check_fresh(&self) -> Result<(), String> {
        let twice = self.backup_timestamp;
        if self.given_by == GIVEN_BY_STORE || self.fast_forward_timestamp != twice {
            return Ok(());
        }
        Err(format!("{twice} was given twice: these are no fresh timestamps (one of a file that was written before?)"))
    }

    /// The files, by name.
    pub(super) fn files(&self) -> BTreeMap<&'static str, String> {
        let line = |timestamp: i64| format!("{timestamp}\n");
        let mut files = BTreeMap::from([
            ("backup.timestamp", line(self.backup_timestamp)),
            ("fast-forward.timestamp", line(self.fast_forward_timestamp)),
        ]);
        if let Some(immutable) = self.immutable_timestamp {
            files.insert("immutable.timestamp", line(immutable));
        }
        files
    }

    pub(super) fn collection(&self) -> SourceCollection {
        SourceCollection {
            attributes: serde_json::json!({ "format": FORMAT, "timestamps": true }),
            estimated_records: self.files().len() as u64,
            ..SourceCollection::new(COLLECTION, KeyCodec::Path)
        }
    }
}

/// The files as records.
pub(super) struct FileStream {
    files: std::collections::btree_map::IntoIter<&'static str, String>,
    range: KeyRange,
}

impl FileStream {
    pub(super) fn new(timestamps: &Timestamps, range: &KeyRange) -> Self {
        Self { files: timestamps.files().into_iter(), range: range.clone() }
    }
}

impl RecordStream for FileStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        let shape = Arc::new(Shape::new(vec![CONTENT.as_bytes().to_vec()]));
        for (name, text) in self.files.by_ref() {
            if self.range.contains(name.as_bytes()) {
                let head = RowHead { key: name.as_bytes(), meta: Meta::default() };
                batch.push(head, &shape, |out| out.cell(Tag::BLOB, text.as_bytes()));
            }
        }
        Ok(!batch.is_empty())
    }
}

/// Takes the files: they are no part of the database, and must say what the attributes say.
pub(super) struct FileTaker {
    pub(super) timestamps: Timestamps,
}

impl CollectionTarget for FileTaker {
    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let files = self.timestamps.files();
        for row in batch.rows() {
            let name = String::from_utf8_lossy(row.key).into_owned();
            let content = row.shape.cells(row.value).next();
            let is_same = match (files.get(name.as_str()), content) {
                (Some(text), Some(Ok(cell))) => cell.bytes == text.as_bytes(),
                _ => false,
            };
            if !is_same {
                let reason = "it is not what the snapshot says of its timestamps".to_owned();
                return Err(ConnectorError::Mismatch { object: name, reason });
            }
            outcomes.inserted += 1;
        }
        Ok(())
    }

    fn remove(&mut self, _: &[Removal], _: &mut Outcomes) -> Result<(), ConnectorError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamps(backup: i64, forward: i64) -> Timestamps {
        Timestamps {
            given_by: "store".to_owned(),
            backup_timestamp: backup,
            fast_forward_timestamp: forward,
            immutable_timestamp: Some(7),
        }
    }

    #[test]
    fn a_fast_forward_before_the_backup_is_refused() {
        assert!(timestamps(10, 10).check().is_ok());
        assert!(timestamps(10, 9).check().unwrap_err().contains("before"));
        assert!(timestamps(0, 9).check().is_err());
    }

    #[test]
    fn files_come_in_key_order_and_are_what_the_command_reads() {
        let own = timestamps(10, 12);
        let mut batch = RecordBatch::new();
        assert!(FileStream::new(&own, &KeyRange::all()).next_batch(&mut batch).unwrap());
        let keys: Vec<&[u8]> = batch.rows().map(|row| row.key).collect();
        assert_eq!(keys, [&b"backup.timestamp"[..], b"fast-forward.timestamp", b"immutable.timestamp"]);
        let mut outcomes = Outcomes::default();
        FileTaker { timestamps: own }.write(&mut batch, &mut outcomes).unwrap();
        assert_eq!(outcomes.inserted, 3);
        assert!(FileTaker { timestamps: timestamps(10, 13) }.write(&mut batch, &mut outcomes).is_err());
    }
}
