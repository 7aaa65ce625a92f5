//! The record that a cursor stands on, as batches carry it.

use super::OpsError;
use crate::{
    layer::{StackCursor, stack::VersionValue},
    record::{RecordBatch, RowHead, Shape, StreamedValue, Tag, bytes::Reader},
};
use std::{
    io::{self, Read},
    sync::Arc,
};

/// A larger last cell is handed over as a stream.
const INLINE_BYTES: u64 = 1024 * 1024;

/// Adds the cursor's record to a batch; a large last cell as a stream.
pub(in crate::ops) fn push_current(cursor: &mut StackCursor<'_>, batch: &mut RecordBatch) -> Result<(), OpsError> {
    let row = cursor.row()?;
    let head = RowHead { key: row.key, meta: row.meta };
    let shape = row.shape;
    let (bytes, reader) = match row.value {
        VersionValue::Inline(value) => {
            batch.push_encoded(head, &shape, value);
            return Ok(());
        }
        VersionValue::Pieces { bytes, reader } => (bytes, reader),
    };
    let mut value = PieceValue::open(reader, bytes, shape.len()).map_err(|error| failed(&error))?;
    match value.last {
        Some(last) if value.rest > INLINE_BYTES => {
            let prefix = std::mem::take(&mut value.prefix);
            let shape_before = Arc::clone(&shape);
            batch.push_streamed(head, &shape, last, Box::new(value), |cells| {
                for cell in prefix_cells(&shape_before, &prefix) {
                    cells.cell(cell.0, cell.1);
                }
            });
        }
        _ => {
            let mut whole = std::mem::take(&mut value.prefix);
            if let Some(last) = value.last {
                whole.push(last.0);
            }
            value.reader.read_to_end(&mut whole).map_err(|error| failed(&error))?;
            batch.push_encoded(head, &shape, &whole);
        }
    }
    Ok(())
}

fn failed(error: &io::Error) -> OpsError {
    OpsError::Failed(error.to_string())
}

/// The cells before the last one, from their canonical bytes, which [`PieceValue::open`] has walked already.
fn prefix_cells<'a>(shape: &Shape, prefix: &'a [u8]) -> Vec<(Tag, &'a [u8])> {
    let mut reader = Reader::new(prefix);
    (1..shape.len())
        .filter_map(|_| {
            let tag = reader.u8("a cell's tag").ok()?;
            Some((Tag(tag), reader.slice("a cell").ok()?))
        })
        .collect()
}

/// A value in pieces, read up to the body of its last cell.
struct PieceValue {
    reader: Box<dyn Read + Send>,
    prefix: Vec<u8>,
    last: Option<Tag>,
    rest: u64,
}

impl PieceValue {
    fn open(mut reader: Box<dyn Read + Send>, bytes: u64, cells: usize) -> io::Result<Self> {
        let mut prefix = Vec::new();
        for _ in 1..cells {
            copy_exactly(&mut reader, 1, &mut prefix)?;
            let mut length = 0u64;
            for shift in (0..64).step_by(7) {
                copy_exactly(&mut reader, 1, &mut prefix)?;
                let byte = prefix.last().copied().unwrap_or(0);
                length |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            if length > bytes {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a cell is longer than its value"));
            }
            copy_exactly(&mut reader, length, &mut prefix)?;
        }
        let mut last = None;
        if cells > 0 {
            let mut tag = [0];
            reader.read_exact(&mut tag)?;
            last = Some(Tag(tag[0]));
        }
        let rest = bytes.saturating_sub(prefix.len() as u64 + u64::from(last.is_some()));
        Ok(Self { reader, prefix, last, rest })
    }
}

fn copy_exactly(reader: &mut dyn Read, bytes: u64, out: &mut Vec<u8>) -> io::Result<()> {
    if reader.take(bytes).read_to_end(out)? as u64 == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl StreamedValue for PieceValue {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(&mut self.reader))
    }
}
