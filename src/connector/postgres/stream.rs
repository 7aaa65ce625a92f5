//! Sorted rows as a stream of records.

use super::{
    catalog::KeyKind,
    large::{self, LastValue},
    load::copying,
    plan::{Plan, before_numbers, numbered},
    shared::Shared,
};
use crate::{
    connector::{
        ConnectorError,
        shared::sort::{Entries, Sorted},
    },
    record::{KeyRange, Meta, RecordBatch, RecordStream, RowHead, StreamError},
};
use std::{io, sync::Arc};

const BATCH_BYTES: usize = 1 << 20;

/// Rows with their final keys.
pub(super) struct Rows {
    plan: Arc<Plan>,
    entries: Entries,
    /// The key before, and how many rows had it.
    last: Option<(Vec<u8>, u64)>,
}

/// One row: its key, where it lies, and its body for the sorter.
pub(super) struct SortedRow {
    pub(super) key: Vec<u8>,
    pub(super) place: u64,
    pub(super) body: Vec<u8>,
    /// Whether the row before has the same key, which should not be.
    pub(super) repeated: bool,
}

impl Rows {
    /// Rows from about `start` on.
    pub(super) fn new(plan: Arc<Plan>, sorted: &Sorted, start: &[u8]) -> io::Result<Self> {
        let is_content = plan.table.key_kind == KeyKind::Content;
        let entries = sorted.entries(if is_content { before_numbers(start) } else { start })?;
        Ok(Self { plan, entries, last: None })
    }
}

impl Iterator for Rows {
    type Item = io::Result<SortedRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, place, body) = match self.entries.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        let count = match &mut self.last {
            Some((last, count)) if *last == key => {
                *count += 1;
                *count
            }
            Some((last, count)) => {
                last.clone_from(&key);
                *count = 0;
                0
            }
            last => {
                *last = Some((key.clone(), 0));
                0
            }
        };
        let is_content = self.plan.table.key_kind == KeyKind::Content;
        let key = if is_content { numbered(&key, count) } else { key };
        Some(Ok(SortedRow { key, place, body, repeated: !is_content && count > 0 }))
    }
}

/// The records of a range.
pub(super) struct RowStream {
    pub(super) shared: Option<Arc<Shared>>,
    pub(super) plan: Arc<Plan>,
    rows: Rows,
    range: KeyRange,
    done: bool,
}

impl RowStream {
    pub(super) fn new(
        shared: Option<Arc<Shared>>,
        plan: Arc<Plan>,
        sorted: &Sorted,
        range: &KeyRange,
    ) -> Result<Self, ConnectorError> {
        let rows = Rows::new(Arc::clone(&plan), sorted, &range.start).map_err(|error| copying(&plan, error))?;
        Ok(Self { shared, plan, rows, range: range.clone(), done: false })
    }

    fn push(&self, batch: &mut RecordBatch, row: &SortedRow) -> Result<(), StreamError> {
        let plan = &self.plan;
        let broken = || format!("{}: a temporary file was changed", plan.object());
        let (large, value) = plan.take_body(&row.body).ok_or_else(broken)?;
        let head = RowHead { key: &row.key, meta: Meta::default() };
        if large.is_empty() {
            batch.push_encoded(head, &plan.shape, value);
            return Ok(());
        }
        let cells = plan.cells_of(value).ok_or_else(broken)?;
        let last = plan.cells.len() - 1;
        let shared = self.shared.as_ref();
        let fetch = |value| match shared {
            Some(shared) => large::whole(shared, plan, row.place, value),
            None => Err(ConnectorError::Unreadable {
                object: plan.object(),
                reason: "a value of more than 1 MiB cannot be read here".to_owned(),
            }),
        };
        let streamed = large.iter().copied().find(|value| value.cell == last && plan.can_stream(last));
        let mut in_memory = Vec::new();
        for value in large.iter().filter(|value| streamed.is_none_or(|streamed| streamed != **value)) {
            in_memory.push((value.cell, fetch(*value)?));
        }
        let cell = |at: usize| match in_memory.iter().find(|(cell, _)| *cell == at) {
            Some((_, (tag, bytes))) => (*tag, bytes.as_slice()),
            None => (cells[at].tag, cells[at].bytes),
        };
        match (streamed, shared) {
            (Some(value), Some(shared)) => {
                let stream = LastValue { shared: Arc::clone(shared), plan: Arc::clone(plan), place: row.place, value };
                batch.push_streamed(head, &plan.shape, plan.large_cell(last).0, Box::new(stream), |out| {
                    (0..last).for_each(|at| out.cell(cell(at).0, cell(at).1));
                });
            }
            _ => batch.push(head, &plan.shape, |out| (0..=last).for_each(|at| out.cell(cell(at).0, cell(at).1))),
        }
        Ok(())
    }
}

impl RecordStream for RowStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while !self.done && batch.bytes() < BATCH_BYTES {
            let Some(row) = self.rows.next() else { break };
            let row = row.map_err(|error| copying(&self.plan, error))?;
            if row.key < self.range.start {
                continue;
            }
            if self.range.end.as_ref().is_some_and(|end| row.key >= *end) {
                self.done = true;
                break;
            }
            if row.repeated {
                let words = format!(
                    "{}: the row at ({},{}) has the key of another row, {}: the index of its key is damaged (REINDEX)",
                    self.plan.object(),
                    row.place >> 16,
                    row.place & 0xffff,
                    crate::record::KeyCodec::Typed.show(&row.key)
                );
                match &self.shared {
                    Some(shared) => shared.name_unusable(words),
                    None => return Err(words.into()),
                }
                continue;
            }
            self.push(batch, &row)?;
        }
        Ok(!batch.is_empty())
    }
}
