//! Sorted rows as a stream of records.

use super::{
    catalog::KeyKind,
    large::{self, LastValue},
    load::copying,
    ordered::{Loaded, OrderedRows},
    plan::{Plan, before_numbers, numbered},
    shared::Shared,
};
use crate::{
    connector::{
        ConnectorError,
        shared::sort::{Entry, Merge, Sorted},
    },
    record::{KeyRange, Meta, RecordBatch, RecordStream, RowHead, StreamError},
};
use std::{io, sync::Arc};

const BATCH_BYTES: usize = 1 << 20;

/// Rows with their final keys.
pub(super) struct Rows {
    plan: Arc<Plan>,
    from: From,
    /// The key before, and how many rows had it.
    last: Option<(Vec<u8>, u64)>,
    /// The key at hand, where it is another than the sorter's.
    numbered: Vec<u8>,
    /// Whether the row before has the same key, which should not be.
    repeated: bool,
}

/// Where rows come from.
enum From {
    Sorter(Merge),
    Heap(OrderedRows),
}

/// One row: its key, where it lies, and its body for the sorter.
pub(super) struct SortedRow<'a> {
    pub(super) key: &'a [u8],
    pub(super) place: u64,
    pub(super) body: &'a [u8],
}

impl From {
    fn advance(&mut self, plan: &Plan) -> Result<bool, ConnectorError> {
        match self {
            Self::Sorter(merge) => merge.advance().map_err(|error| copying(plan, error)),
            Self::Heap(rows) => rows.advance(),
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Sorter(merge) => merge.entry(),
            Self::Heap(rows) => rows.entry(),
        }
    }
}

impl Rows {
    /// Rows from about `start` on.
    pub(super) fn new(plan: Arc<Plan>, sorted: &Sorted, start: &[u8]) -> io::Result<Self> {
        let is_content = plan.table.key_kind == KeyKind::Content;
        let entries = sorted.entries(if is_content { before_numbers(start) } else { start })?;
        Ok(Self::from(plan, From::Sorter(entries)))
    }

    fn from(plan: Arc<Plan>, from: From) -> Self {
        Self { plan, from, last: None, numbered: Vec::new(), repeated: false }
    }

    fn is_content(&self) -> bool {
        self.plan.table.key_kind == KeyKind::Content
    }

    /// Goes to the next row; `false` behind the last.
    pub(super) fn advance(&mut self) -> Result<bool, ConnectorError> {
        if !self.from.advance(&self.plan)? {
            return Ok(false);
        }
        let Some(entry) = self.from.entry() else { return Ok(false) };
        let count = match &mut self.last {
            Some((last, count)) if *last == entry.key => {
                *count += 1;
                *count
            }
            Some((last, count)) => {
                last.clear();
                last.extend_from_slice(entry.key);
                *count = 0;
                0
            }
            last => {
                *last = Some((entry.key.to_vec(), 0));
                0
            }
        };
        if self.is_content() {
            self.numbered = numbered(entry.key, count);
        } else {
            self.repeated = count > 0;
        }
        Ok(true)
    }

    /// The row at hand.
    pub(super) fn row(&self) -> Option<SortedRow<'_>> {
        let Entry { key, line, body } = self.from.entry()?;
        Some(SortedRow { key: if self.is_content() { &self.numbered } else { key }, place: line, body })
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
    /// Of rows that are sorted.
    pub(super) fn new(
        shared: Option<Arc<Shared>>,
        plan: Arc<Plan>,
        sorted: &Sorted,
        range: &KeyRange,
    ) -> Result<Self, ConnectorError> {
        let rows = Rows::new(Arc::clone(&plan), sorted, &range.start).map_err(|error| copying(&plan, error))?;
        Ok(Self { shared, plan, rows, range: range.clone(), done: false })
    }

    /// Of whatever was made of a table.
    pub(super) fn of(
        shared: &Arc<Shared>,
        plan: &Arc<Plan>,
        loaded: &Loaded,
        range: &KeyRange,
    ) -> Result<Self, ConnectorError> {
        let ordered = match loaded {
            Loaded::Sorted(sorted) => return Self::new(Some(Arc::clone(shared)), Arc::clone(plan), sorted, range),
            Loaded::Ordered(ordered) => ordered,
        };
        let rows = OrderedRows::new(shared, plan, ordered, range).map_err(|error| copying(plan, error))?;
        let rows = Rows::from(Arc::clone(plan), From::Heap(rows));
        let (shared, plan) = (Some(Arc::clone(shared)), Arc::clone(plan));
        Ok(Self { shared, plan, rows, range: range.clone(), done: false })
    }
}

fn push(
    batch: &mut RecordBatch,
    shared: Option<&Arc<Shared>>,
    plan: &Arc<Plan>,
    row: &SortedRow<'_>,
) -> Result<(), StreamError> {
    let broken = || format!("{}: a temporary file was changed", plan.object());
    let (large, value) = plan.take_body(row.body).ok_or_else(broken)?;
    let head = RowHead { key: row.key, meta: Meta::default() };
    if large.is_empty() {
        batch.push_encoded(head, &plan.shape, value);
        return Ok(());
    }
    let cells = plan.cells_of(value).ok_or_else(broken)?;
    let last = plan.cells.len() - 1;
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

impl RecordStream for RowStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while !self.done && batch.bytes() < BATCH_BYTES {
            if !self.rows.advance()? {
                break;
            }
            let Some(row) = self.rows.row() else { break };
            if row.key < self.range.start.as_slice() {
                continue;
            }
            if self.range.end.as_ref().is_some_and(|end| row.key >= end.as_slice()) {
                self.done = true;
                break;
            }
            if self.rows.repeated {
                let words = format!(
                    "{}: the row at ({},{}) has the key of another row, {}: the index of its key is damaged (REINDEX)",
                    self.plan.object(),
                    row.place >> 16,
                    row.place & 0xffff,
                    crate::record::KeyCodec::Typed.show(row.key)
                );
                match &self.shared {
                    Some(shared) => shared.name_unusable(words),
                    None => return Err(words.into()),
                }
                continue;
            }
            push(batch, self.shared.as_ref(), &self.plan, &row)?;
        }
        Ok(!batch.is_empty())
    }
}
