//! Values that are fetched in pieces.

use super::{
    error,
    plan::{LargeValue, Plan},
    shared::{Lent, Shared},
};
use crate::{
    connector::ConnectorError,
    record::{CellWriter, StreamedValue, Tag, bytes::put_u64},
};
use std::{
    io::{self, Read},
    sync::Arc,
};

/// Bytes that are fetched at once.
const PIECE_BYTES: u64 = 8 << 20;

/// The pieces of a value that the server has to make as a whole for each: no more than these many.
const MOST_PIECES: u64 = 24;

/// Reads one large value of a row.
pub(super) struct Pieces<'a> {
    shared: &'a Shared,
    client: Option<Lent<'a>>,
    plan: &'a Plan,
    place: u64,
    value: LargeValue,
    at: u64,
    piece: Vec<u8>,
    taken: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(shared: &'a Shared, plan: &'a Plan, place: u64, value: LargeValue) -> Self {
        let (_, skip) = plan.large_cell(value.cell);
        Self { shared, client: None, plan, place, value, at: skip, piece: Vec::new(), taken: 0 }
    }

    fn fetch(&mut self) -> Result<(), ConnectorError> {
        let column = self.plan.cells[self.value.cell];
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(self.shared.beside()?),
        };
        let len = PIECE_BYTES.max(self.value.bytes.div_ceil(MOST_PIECES)).min(self.value.bytes - self.at);
        let sql = format!(
            "SELECT pg_catalog.substr({}, {}, {len}) FROM ONLY {} WHERE ctid = '({},{})'::pg_catalog.tid",
            self.plan.bytes_of(column),
            self.at + 1,
            self.plan.table.sql(self.plan.ascii),
            self.place >> 16,
            self.place & 0xffff
        );
        let object = self.plan.object();
        self.plan.enter(client)?;
        let row = client.query_one(&sql, &[]).map_err(|error| error::reading(&object, &error))?;
        self.plan.leave(client)?;
        let piece: &[u8] = row.try_get(0).map_err(|error| error::reading(&object, &error))?;
        if piece.len() as u64 != len {
            let reason = "a large value has another length than before".to_owned();
            return Err(ConnectorError::Unreadable { object, reason });
        }
        self.piece.clear();
        self.piece.extend_from_slice(piece);
        self.taken = 0;
        self.at += len;
        Ok(())
    }

    /// All of it.
    pub(super) fn whole(mut self) -> Result<Vec<u8>, ConnectorError> {
        let mut whole = Vec::new();
        while self.at < self.value.bytes {
            self.fetch()?;
            whole.extend_from_slice(&self.piece);
        }
        Ok(whole)
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            if self.at >= self.value.bytes {
                return Ok(0);
            }
            self.fetch().map_err(io::Error::other)?;
        }
        let len = out.len().min(self.piece.len() - self.taken);
        out[..len].copy_from_slice(&self.piece[self.taken..self.taken + len]);
        self.taken += len;
        Ok(len)
    }
}

/// The value of the last cell, to be streamed.
pub(super) struct LastValue {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Arc<Plan>,
    pub(super) place: u64,
    pub(super) value: LargeValue,
}

impl StreamedValue for LastValue {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(Pieces::new(&self.shared, &self.plan, self.place, self.value)))
    }
}

/// A large value as its cell holds it, in memory.
pub(super) fn whole(
    shared: &Shared,
    plan: &Plan,
    place: u64,
    value: LargeValue,
) -> Result<(Tag, Vec<u8>), ConnectorError> {
    let mut bytes = Pieces::new(shared, plan, place, value).whole()?;
    let form = &plan.table.columns[plan.cells[value.cell]].form;
    if let super::types::Form::Binary(Some(tree)) = form
        && tree.make_portable(&mut bytes).is_none()
    {
        let reason = "a value's binary form is not what its type says".to_owned();
        return Err(ConnectorError::Unreadable { object: plan.object(), reason });
    }
    Ok((plan.large_cell(value.cell).0, bytes))
}

/// What tells a row with large values apart: the hash of its canonical bytes.
pub(super) fn hash_row(shared: &Shared, plan: &Plan, place: u64, body: &[u8]) -> Result<[u8; 32], ConnectorError> {
    let broken = || ConnectorError::Unreadable { object: plan.object(), reason: "a row makes no sense".to_owned() };
    let (large, value) = plan.take_body(body).ok_or_else(broken)?;
    let cells = plan.cells_of(value).ok_or_else(broken)?;
    let mut hasher = blake3::Hasher::new();
    let mut head = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        let Some(&value) = large.iter().find(|value| value.cell == at) else {
            head.clear();
            // All but the last cell have a length.
            let cells_left = if at + 1 == cells.len() { 1 } else { 2 };
            CellWriter::new(&mut head, cells_left).cell(cell.tag, cell.bytes);
            hasher.update(&head);
            continue;
        };
        let is_last = at + 1 == cells.len();
        if !plan.can_stream(at) {
            let (tag, bytes) = whole(shared, plan, place, value)?;
            head.clear();
            CellWriter::new(&mut head, if is_last { 1 } else { 2 }).cell(tag, &bytes);
            hasher.update(&head);
            continue;
        }
        let (tag, skip) = plan.large_cell(at);
        head.clear();
        head.push(tag.0);
        if !is_last {
            put_u64(&mut head, value.bytes - skip);
        }
        hasher.update(&head);
        let mut pieces = Pieces::new(shared, plan, place, value);
        while pieces.at < value.bytes {
            pieces.fetch()?;
            hasher.update(&pieces.piece);
        }
    }
    Ok(*hasher.finalize().as_bytes())
}
