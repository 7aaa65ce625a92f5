//! Versions of cells and the fates of the transactions that wrote them, as a snapshot holds them.

use super::{
    clean::{COORDINATION_ROW, TRANSACTIONS, read_entry},
    codec::{Encoding, Fate as Outcome, encode_var_long},
    ground::{Ground, physical},
    schemas::Schemas,
    timestamps::{COLLECTION, StoreAttributes},
};
use crate::{
    connector::{
        CellKind, CellVersion, Cells, ConnectorError, Fate, FindCell,
        postgres::names::{collection, parse},
    },
    record::{KeyCodec, KeyPart, KeyRange},
};

/// The timestamp of what sweep leaves behind.
const SENTINEL: i64 = -1;

/// Knows the cells of one snapshot.
struct Versions {
    ground: Ground,
    backup_timestamp: i64,
    schemas: Option<Schemas>,
}

/// What knows the cells of a snapshot with these attributes.
pub(in crate::connector) fn cells(attributes: &serde_json::Value) -> Result<Box<dyn Cells>, ConnectorError> {
    let object = "the snapshot of an AtlasDB store";
    let own = StoreAttributes::read(attributes, object)?;
    let backup_timestamp = own.timestamps.backup_timestamp;
    Ok(Box::new(Versions { ground: own.ground(object.to_owned(), None), backup_timestamp, schemas: None }))
}

fn key_of(row: &[u8], column: &[u8], at: Option<i64>) -> Vec<u8> {
    let mut parts = vec![KeyPart::Bytes(row.to_vec()), KeyPart::Bytes(column.to_vec())];
    parts.extend(at.map(KeyPart::Int));
    KeyCodec::Typed.encode(&parts).unwrap_or_default()
}

/// All versions of a cell.
fn all_of(row: &[u8], column: &[u8]) -> KeyRange {
    let start = key_of(row, column, None);
    // No part of a key begins with this byte.
    let end = [start.as_slice(), &[0xff]].concat();
    KeyRange { start, end: Some(end) }
}

impl Versions {
    fn name(&self, table: &str) -> String {
        collection(&self.ground.schema, &physical(&self.ground.prefix, table))
    }

    /// Whether a collection holds cells that transactions write.
    fn holds_cells(&self, name: &str) -> bool {
        let Some((_, table)) = parse(name).filter(|_| name != COLLECTION) else { return false };
        let bare = table.strip_prefix(&self.ground.prefix).unwrap_or(&table);
        !bare.starts_with('_')
            && table != self.ground.metadata
            && !["dual", "pt_timelock_db_ts", "pt_metropolis_ts"].contains(&table.as_str())
    }

    fn schemas(&mut self, find: FindCell<'_>) -> Result<Schemas, ConnectorError> {
        if let Some(schemas) = &self.schemas {
            return Ok(schemas.clone());
        }
        let name = self.name("_coordination");
        let mut value = |number: i64| find(&name, &all_of(COORDINATION_ROW, &encode_var_long(number)));
        let found = Schemas::find(&mut value, &self.ground)?;
        self.schemas = Some(found.clone());
        Ok(found)
    }

    fn fate(&mut self, start: i64, find: FindCell<'_>) -> Result<(Fate, Option<i64>), ConnectorError> {
        let schemas = self.schemas(find)?;
        let encoding = schemas.of(start).unwrap_or(Encoding::Direct);
        let table = usize::from(encoding != Encoding::Direct);
        let (row, column) = encoding.cell(start);
        let key = KeyRange::only(&key_of(&row, &column, Some(0)));
        let Some(value) = find(&self.name(TRANSACTIONS[table]), &key)? else { return Ok((Fate::Open, None)) };
        let read = read_entry(table, &schemas, &row, &column, &value);
        let (_, encoding, outcome) = read.map_err(|why| self.ground.mismatch(&why))?;
        Ok(match outcome {
            Outcome::Aborted => (Fate::Aborted, None),
            Outcome::Committed(commit) if commit >= self.backup_timestamp => (Fate::TooLate, Some(commit)),
            Outcome::Committed(commit) if encoding == Encoding::TwoPhase && value.last() == Some(&0) => {
                (Fate::Staging, Some(commit))
            }
            Outcome::Committed(commit) => (Fate::Committed, Some(commit)),
        })
    }
}

impl Cells for Versions {
    fn versions(&self, collection: &str, key: &[u8]) -> Option<KeyRange> {
        let parts = KeyCodec::Typed.decode(key).filter(|_| self.holds_cells(collection))?;
        let [KeyPart::Bytes(row), KeyPart::Bytes(column)] = parts.as_slice() else { return None };
        Some(all_of(row, column))
    }

    fn version(&mut self, key: &[u8], value: &[u8], find: FindCell<'_>) -> Result<CellVersion, ConnectorError> {
        let parts = KeyCodec::Typed.decode(key);
        let Some([_, _, KeyPart::Int(start)]) = parts.as_deref() else {
            return Err(self.ground.mismatch("a version of a cell has no timestamp"));
        };
        let start = *start;
        if start == SENTINEL {
            return Ok(CellVersion { start, kind: CellKind::Sentinel, fate: Fate::None, commit: None });
        }
        let kind = if value.is_empty() { CellKind::Delete } else { CellKind::Value };
        let (fate, commit) = self.fate(start, find)?;
        Ok(CellVersion { start, kind, fate, commit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn a_version_has_the_fate_that_the_snapshot_tells() {
        let attributes = json!({"atlasdb": {"format": 1, "schema": "public", "prefix": "a_", "metadata_table": "_metadata",
            "given_by": "store", "backup_timestamp": 20000, "fast_forward_timestamp": 20000}});
        let mut cells = cells(&attributes).unwrap();
        let cell = key_of(b"r", b"c", None);
        let range = cells.versions("public.a_default__account", &cell).unwrap();
        assert!(range.contains(&key_of(b"r", b"c", Some(7))) && range.contains(&key_of(b"r", b"c", Some(-1))));
        assert!(!range.contains(&key_of(b"r", b"d", Some(7))) && !range.contains(&key_of(b"r\0", b"c", Some(7))));
        for other in ["public.a__transactions", "public._metadata", "timestamps", "public.dual"] {
            assert!(cells.versions(other, &cell).is_none(), "{other}");
        }
        let mut entries = BTreeMap::new();
        for (start, value) in [(100, encode_var_long(120)), (200, encode_var_long(-1)), (300, encode_var_long(20_000))]
        {
            let (row, column) = Encoding::Direct.cell(start);
            entries.insert(key_of(&row, &column, Some(0)), value);
        }
        let mut find = |collection: &str, range: &KeyRange| {
            Ok(entries.get(&range.start).filter(|_| collection == "public.a__transactions").cloned())
        };
        let mut of = |start: i64, value: &[u8]| {
            let found = cells.version(&key_of(b"r", b"c", Some(start)), value, &mut find).unwrap();
            (found.kind, found.fate, found.commit)
        };
        assert_eq!(of(100, b"x"), (CellKind::Value, Fate::Committed, Some(120)));
        assert_eq!(of(100, b""), (CellKind::Delete, Fate::Committed, Some(120)));
        assert_eq!(of(200, b"x"), (CellKind::Value, Fate::Aborted, None));
        assert_eq!(of(300, b"x"), (CellKind::Value, Fate::TooLate, Some(20_000)));
        assert_eq!(of(400, b"x"), (CellKind::Value, Fate::Open, None));
        assert_eq!(of(-1, b""), (CellKind::Sentinel, Fate::None, None));
    }
}
