//! What a restore would clean, by the records that come: for who only wants to know.

use super::{
    clean::{COORDINATION_ROW, Cleaned, TRANSACTIONS, read_entry},
    codec::encode_var_long,
    ground::{Ground, physical},
    schemas::Schemas,
    timestamps::Timestamps,
};
use crate::{
    connector::{ConnectorError, Foresight, TargetPlan, postgres::names::collection},
    record::{BatchRow, KeyCodec, KeyPart, RecordBatch},
};
use std::collections::BTreeMap;

/// Transactions that are named.
const NAMED: usize = 20;

/// Looks at the records of a store that is to be restored.
pub(super) struct Foreseen {
    ground: Ground,
    timestamps: Timestamps,
    /// By column of the row that counts: the newest value, and when it was written.
    coordination: BTreeMap<Vec<u8>, (i64, Vec<u8>)>,
    schemas: Option<Schemas>,
    cleaned: Cleaned,
}

/// A cell of a store.
struct Stored {
    name: Vec<u8>,
    column: Vec<u8>,
    at: i64,
    value: Vec<u8>,
}

fn stored(row: &BatchRow<'_>) -> Option<Stored> {
    let parts = KeyCodec::Typed.decode(row.key)?;
    let [KeyPart::Bytes(name), KeyPart::Bytes(column), KeyPart::Int(at)] = parts.as_slice() else { return None };
    let value = row.shape.cells(row.value).next()?.ok()?.bytes.to_vec();
    Some(Stored { name: name.clone(), column: column.clone(), at: *at, value })
}

impl Foreseen {
    pub(super) fn new(ground: Ground, timestamps: Timestamps) -> Self {
        Self { ground, timestamps, coordination: BTreeMap::new(), schemas: None, cleaned: Cleaned::default() }
    }

    fn name(&self, table: &str) -> String {
        collection(&self.ground.schema, &physical(&self.ground.prefix, table))
    }
}

impl Foresight for Foreseen {
    fn wanted(&self, plan: &TargetPlan) -> Vec<usize> {
        let place = |table: &str| plan.collections.iter().position(|one| one.source_name == self.name(table));
        // Who wrote what has to be known first.
        ["_coordination", TRANSACTIONS[0], TRANSACTIONS[1]].into_iter().filter_map(place).collect()
    }

    fn see(&mut self, source_name: &str, batch: &RecordBatch) -> Result<(), ConnectorError> {
        let table = TRANSACTIONS.iter().position(|table| source_name == self.name(table));
        for row in batch.rows() {
            let cell = stored(&row).ok_or_else(|| self.ground.mismatch(&format!("{source_name} holds no cells")))?;
            let Stored { name, column, at, value } = cell;
            let Some(table) = table else {
                let newest = self.coordination.get(&column).map_or(i64::MIN, |(newest, _)| *newest);
                if name == COORDINATION_ROW && at >= newest {
                    self.coordination.insert(column, (at, value));
                }
                continue;
            };
            let schemas = if let Some(schemas) = &self.schemas {
                schemas
            } else {
                let coordination = &self.coordination;
                let mut value =
                    |number: i64| Ok(coordination.get(&encode_var_long(number)).map(|(_, value)| value.clone()));
                let found = Schemas::find(&mut value, &self.ground)?;
                self.schemas.insert(found)
            };
            let read = read_entry(table, schemas, &name, &column, &value);
            let (start, _, fate) = read.map_err(|why| self.ground.mismatch(&format!("{source_name}: {why}")))?;
            self.cleaned.count(table, start, fate, self.timestamps.backup_timestamp);
        }
        Ok(())
    }

    fn say(&self) -> Vec<String> {
        let Timestamps { backup_timestamp: from, fast_forward_timestamp: to, .. } = &self.timestamps;
        let Cleaned { looked_at, cleaned, transactions, .. } = &self.cleaned;
        let mut said = vec![format!(
            "{looked_at} entries of transactions, {cleaned} of them committed at or after {from} and would be made aborted"
        )];
        said.extend(
            transactions
                .iter()
                .take(NAMED)
                .map(|(start, commit)| format!("would be cleaned: began {start}, committed {commit}")),
        );
        if *cleaned > NAMED as u64 {
            said.push(format!("would be cleaned: {} others", cleaned - NAMED as u64));
        }
        said.push(format!("timestamps would go on above {to}, or above the restored bound if that is higher"));
        said
    }
}
