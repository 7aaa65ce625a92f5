//! `dump`: one value's bytes.

use super::{
    OpsError,
    lookup::Records,
    reading::Reading,
    restore::{find_collection, parse_key},
};
use crate::{
    connector::{RecordLookup as _, file_record},
    layer::{Stack, stack::VersionValue},
    record::{KeyCodec, KeyRange, RecordBatch, Shape, bytes::Reader, value::value_to_json},
    repo::{Capability, Repository, Snapshot},
    report::ErrorKind,
};
use std::{
    io::{Read, Write},
    sync::Arc,
};

/// The cell that holds a file's content: the last of a file's value.
const CONTENT: &[u8] = b"content";

/// Writes one record's value to `out`: a file's content (the holes of a sparse one as zeros, that of a hard link from the path
/// that carries it), or the cells as one JSON object and a line feed; with `cell`
/// just the bytes of that cell.
pub fn dump(
    repo: &Repository,
    snapshot: &Snapshot,
    collection: &str,
    key: &str,
    cell: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), OpsError> {
    repo.need(Capability::ReadValues)?;
    let reading = Reading::begin(repo, "dump", std::slice::from_ref(snapshot))?;
    let repo = reading.repo();
    let snapshot = &reading.snapshots()[0];
    let found = find_collection(snapshot, collection)?;
    let stack = Stack::open(&repo.chunks(), &found.stack)?;
    let records = Records::of(repo, found, snapshot.content.end);
    for sort_key in parse_key(found.codec, key)? {
        if found.codec == KeyCodec::Path && cell.is_none_or(|cell| cell.as_bytes() == CONTENT) {
            let mut batch = RecordBatch::new();
            let is_there = records.find(&sort_key, &mut batch).map_err(|error| OpsError::Failed(error.to_string()))?;
            if is_there && write_file(&mut batch, &records, out)? {
                return Ok(());
            }
        }
        let mut cursor = stack.cursor(&KeyRange::only(&sort_key), snapshot.content.end, false)?;
        if !cursor.advance()? {
            continue;
        }
        let row = cursor.row()?;
        let wanted = cell.map(str::as_bytes).or((found.codec == KeyCodec::Path).then_some(CONTENT));
        return match row.value {
            VersionValue::Inline(value) => write_value(&row.shape, value, wanted, out),
            VersionValue::Pieces { reader, .. } => write_pieces(&row.shape, reader, wanted, out),
        };
    }
    Err(OpsError::refused(
        ErrorKind::NoRecord,
        format!("snapshot {} has no record {key} in {collection}", snapshot.id.short()),
    ))
}

/// Writes a file's content from its first byte to its last; `false` if the record is no file.
fn write_file(batch: &mut RecordBatch, records: &Records, out: &mut dyn Write) -> Result<bool, OpsError> {
    let written = file_record::with_content(batch, records, &mut |content, _| {
        std::io::copy(content, out).map(drop).map_err(|error| io_failed(&error).to_string())
    });
    written.map_err(OpsError::Failed)
}

fn io_failed(error: &std::io::Error) -> OpsError {
    OpsError::Failed(format!("writing the value: {error}"))
}

fn write_value(shape: &Arc<Shape>, value: &[u8], wanted: Option<&[u8]>, out: &mut dyn Write) -> Result<(), OpsError> {
    let broken = |error| OpsError::Failed(format!("the stored value is no value: {error}"));
    let Some(wanted) = wanted else {
        let json = value_to_json(shape, value).map_err(broken)?;
        return writeln!(out, "{json}").map_err(|error| io_failed(&error));
    };
    for (name, cell) in shape.names().iter().zip(shape.cells(value)) {
        let cell = cell.map_err(broken)?;
        if name == wanted {
            return out.write_all(cell.bytes).map_err(|error| io_failed(&error));
        }
    }
    Err(no_cell(wanted))
}

fn no_cell(wanted: &[u8]) -> OpsError {
    OpsError::Failed(format!("the record has no cell `{}`", String::from_utf8_lossy(wanted)))
}

/// Copies one cell of a large value without holding it; a JSON object of the whole is made only if it has to be.
fn write_pieces(
    shape: &Arc<Shape>,
    mut reader: Box<dyn Read + Send>,
    wanted: Option<&[u8]>,
    out: &mut dyn Write,
) -> Result<(), OpsError> {
    let Some(wanted) = wanted else {
        let mut whole = Vec::new();
        reader.read_to_end(&mut whole).map_err(|error| io_failed(&error))?;
        return write_value(shape, &whole, None, out);
    };
    for (index, name) in shape.names().iter().enumerate() {
        let mut tag = [0];
        reader.read_exact(&mut tag).map_err(|error| io_failed(&error))?;
        let mut body: Box<dyn Read + '_> = if index + 1 == shape.len() {
            Box::new(&mut reader)
        } else {
            let length = read_length(&mut reader)?;
            Box::new((&mut reader).take(length))
        };
        if name == wanted {
            std::io::copy(&mut body, out).map_err(|error| io_failed(&error))?;
            return Ok(());
        }
        std::io::copy(&mut body, &mut std::io::sink()).map_err(|error| io_failed(&error))?;
    }
    Err(no_cell(wanted))
}

fn read_length(reader: &mut dyn Read) -> Result<u64, OpsError> {
    let mut encoded = Vec::new();
    loop {
        let mut byte = [0];
        reader.read_exact(&mut byte).map_err(|error| io_failed(&error))?;
        encoded.push(byte[0]);
        if byte[0] & 0x80 == 0 {
            let length = Reader::new(&encoded).u64("a cell's length");
            return length.map_err(|error| OpsError::Failed(format!("the stored value is no value: {error}")));
        }
    }
}
