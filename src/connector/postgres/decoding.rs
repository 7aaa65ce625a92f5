//! Decoders of what a server sends and what a store of `AtlasDB` holds, for whoever feeds them anything.

use super::{
    atlas::feed_entry,
    cell::{self, PartKind},
    copy::{CopyRows, put_count, put_field, put_header, put_trailer},
    script,
    types::{Form, Tree},
};
use crate::record::{CellWriter, Shape};
use std::{
    io::{self, BufRead},
    sync::Arc,
};

/// The fields of a row; `None` for NULL.
pub type Fields = Vec<Option<Vec<u8>>>;

/// The rows of a binary `COPY`.
///
/// # Errors
/// If it is none, or has no end.
pub fn copy_rows(input: impl BufRead) -> io::Result<Vec<Fields>> {
    let mut rows = CopyRows::new(input);
    let (mut fields, mut found) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next(&mut fields)? {
        found.push(row.fields().map(|field| field.map(<[u8]>::to_vec)).collect());
    }
    Ok(found)
}

/// A binary `COPY` of rows.
#[must_use]
pub fn copy_bytes(rows: &[Fields]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_header(&mut bytes);
    for fields in rows {
        put_count(fields.len(), &mut bytes);
        for field in fields {
            put_field(field.as_deref(), &mut bytes);
        }
    }
    put_trailer(&mut bytes);
    bytes
}

/// The statements of a script of `pg_dump`'s; a line for psql is told as an error.
#[must_use]
pub fn statements(text: &str) -> Vec<Result<&str, String>> {
    script::statements(text)
}

/// A script without what is different each time.
#[must_use]
pub fn without_commands(text: &str) -> String {
    script::without_commands(text)
}

fn forms() -> Vec<Form> {
    let mood = || Box::new(Tree::Plain);
    vec![
        Form::Bool,
        Form::Int(2),
        Form::Int(4),
        Form::Int(8),
        Form::Oid,
        Form::Float4,
        Form::Float8,
        Form::Text,
        Form::Jsonb,
        Form::Cast,
        Form::Binary(None),
        Form::Binary(Some(Tree::Array(mood()))),
        Form::Binary(Some(Tree::Range(mood()))),
        Form::Binary(Some(Tree::Multirange(Box::new(Tree::Range(mood()))))),
        Form::Binary(Some(Tree::Composite(vec![
            Tree::Plain,
            Tree::Array(Box::new(Tree::Composite(vec![Tree::Plain]))),
        ]))),
    ]
}

/// How many kinds of columns [`field`] knows.
#[must_use]
pub fn field_kinds() -> usize {
    forms().len()
}

/// A field as a cell and back, of a column of the `kind`th kind; `None` if it is not what its type says.
#[must_use]
pub fn field(kind: usize, field: &[u8]) -> Option<Vec<u8>> {
    let forms = forms();
    let form = forms.get(kind)?;
    let shape = Arc::new(Shape::new(vec![b"c".to_vec()]));
    let (mut value, mut scratch) = (Vec::new(), Vec::new());
    let mut cells = CellWriter::new(&mut value, 1);
    if !cell::write(form, Some(field), &mut cells, &mut scratch) {
        return None;
    }
    let cell = shape.cells(&value).next()?.ok()?;
    let mut back = Vec::new();
    (cell::read(form, cell, &mut back) == Some(true)).then_some(back)
}

/// A field as a part of a key and back, of a column of the `kind`th kind whose keys give it back; `None` if it is not what its type
/// says, or there is no such kind.
#[must_use]
pub fn key_field(kind: usize, field: &[u8]) -> Option<Vec<u8>> {
    let kinds = [
        PartKind::Bool,
        PartKind::Int(2),
        PartKind::Int(4),
        PartKind::Int(8),
        PartKind::Oid,
        PartKind::Text,
        PartKind::Bytes,
        PartKind::Blob,
        PartKind::Date,
        PartKind::Time,
        PartKind::Instant,
        PartKind::Uuid,
        PartKind::Float4,
        PartKind::Float8,
        PartKind::Numeric,
        PartKind::Padded,
    ];
    let kind = kinds.get(kind)?;
    let part = kind.part(Some(field))?;
    let key = crate::record::KeyCodec::Typed.encode(std::slice::from_ref(&part)).ok()?;
    let parts = crate::record::KeyCodec::Typed.decode(&key)?;
    let mut back = Vec::new();
    if !kind.is_lossless() {
        // What they lose is in a cell.
        return Some(field.to_vec());
    }
    (kind.field(parts.first()?, &mut back) == Some(true)).then_some(back)
}

/// What an entry of a store's transactions says, whatever wrote it: the row and column again, and whether its value has a meaning.
#[must_use]
pub fn atlas_entry(row: &[u8], column: &[u8], value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
    feed_entry(row, column, value)
}

/// Whether a text is a store's map of schemas; also tries it as the number that stands before it.
#[must_use]
pub fn atlas_schemas(value: &[u8]) -> bool {
    super::atlas::feed_schemas(value)
}

/// Whether a text is `AtlasDB`'s configuration of a store that can be read, or why not.
///
/// # Errors
/// Why not, in words.
pub fn atlas_config(text: &str) -> Result<(), String> {
    super::atlas::feed_config(text)
}

/// Whether bytes are a message of a stream of changes, and how many bytes of fields it tells.
#[must_use]
pub fn stream_message(bytes: &[u8]) -> Option<usize> {
    use super::logical::message::{Field, Message, Tuple, parse};
    let told = |tuple: &Tuple<'_>| -> usize {
        let bytes = |field: &Field<'_>| match field {
            Field::Null | Field::Unchanged => 0,
            Field::Text(bytes) | Field::Binary(bytes) => bytes.len(),
        };
        tuple.0.iter().map(bytes).sum()
    };
    Some(match parse(bytes)? {
        Message::Insert { new, .. } => told(&new),
        Message::Update { old, new, .. } => old.map_or(0, |old| told(&old.row)) + told(&new),
        Message::Delete { old, .. } => told(&old.row),
        _ => 0,
    })
}
