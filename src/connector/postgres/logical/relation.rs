//! How rows that the stream tells of become the records that a base has.

use super::message::{Field, Old, Relation, Tuple};
use crate::connector::postgres::{
    attributes::TableAttributes,
    catalog::{Column, KeyKind, Table},
    cell::PartKind,
    copy::CopyRow,
    plan::{Made, Plan, numbered},
    types::{EMPTY_TSQUERY, Form, TSQUERY_TEXT, Types},
};
use crate::record::Shape;
use std::sync::Arc;

/// A table of the stream that is a collection of the base, with the same columns.
pub(super) struct Told {
    /// Which of the collections.
    pub(super) collection: usize,
    plan: Plan,
    /// Whether two rows may have one key until their transaction ends.
    pub(super) may_double: bool,
}

/// A row that cannot be kept as it is.
pub(super) enum Bad {
    /// It is beyond what a record can be.
    Unusable(&'static str),
    /// It is not what was agreed upon.
    Strange(&'static str),
}

/// Gives the text form of a value whose binary form came: by its column's type as SQL writes it.
pub(super) type ToText<'a, E> = &'a mut dyn FnMut(&str, &[u8]) -> Result<Vec<u8>, E>;

/// A row as a record.
pub(super) struct Row {
    pub(super) key: Vec<u8>,
    /// Canonical bytes, with NULL in the place of what was not told.
    pub(super) value: Vec<u8>,
    /// The cells that were not told.
    pub(super) unchanged: Vec<usize>,
}

impl Told {
    /// If the columns are those of the collection; otherwise what differs. `type_texts` are the types as SQL writes them.
    pub(super) fn new(
        relation: &Relation<'_>,
        type_texts: &[String],
        attributes: &TableAttributes,
        types: &Types,
        collection: usize,
    ) -> Result<Self, String> {
        let kept: Vec<_> = attributes.columns.iter().filter(|column| !column.generated).collect();
        if kept.len() != relation.columns.len() {
            return Err(format!("it has {} columns where the base has {}", relation.columns.len(), kept.len()));
        }
        let mut columns = Vec::with_capacity(kept.len());
        for ((told, text), kept) in relation.columns.iter().zip(type_texts).zip(kept) {
            let form = types.form(told.type_oid);
            let form_text = if form == Form::Cast { "text" } else { "binary" };
            if told.name != kept.name || *text != kept.type_text || form_text != kept.form {
                let (name, kept_name, kept_type) = (told.name, &kept.name, &kept.type_text);
                return Err(format!("its column {name} {text} is {kept_name} {kept_type} in the base"));
            }
            columns.push(Column {
                name: kept.name.clone(),
                type_text: text.clone(),
                part: PartKind::of(types.base(told.type_oid), &form),
                form,
                not_null: kept.not_null,
                generated: false,
                identity: false,
                large: None,
                by_output: false,
                has_cast: false,
            });
        }
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let key: Option<Vec<usize>> = attributes.key.iter().map(place).collect();
        let key = key.ok_or("its key has other columns")?;
        // Rows that go are told by other columns then, and which they are is not.
        if let Some(mute) = key.iter().map(|at| &relation.columns[*at]).find(|column| !column.is_identity) {
            return Err(format!("its replica identity does not tell {} of its key", mute.name));
        }
        let key_kind = match attributes.key_kind.as_str() {
            "primary" => KeyKind::Primary,
            "unique" => KeyKind::Unique,
            _ => KeyKind::Content,
        };
        let table = Table {
            oid: relation.oid,
            schema: attributes.schema.clone(),
            name: attributes.table.clone(),
            kind: 'r',
            unlogged: false,
            partition: attributes.partition,
            files: (0, None),
            may_read: true,
            hides_rows: false,
            is_heap: true,
            bytes: 0,
            rows: 0,
            pages: 0,
            has_toast: false,
            condition: None,
            populated: true,
            columns,
            key,
            key_kind,
            path: None,
        };
        Ok(Self { collection, plan: Plan::new(table, false), may_double: false })
    }

    /// The names of its records' cells.
    pub(super) const fn shape(&self) -> &Arc<Shape> {
        &self.plan.shape
    }

    /// Whether its rows are told apart by their content: keys end with a number then, which is not theirs alone.
    pub(super) fn is_numbered(&self) -> bool {
        self.plan.table.key_kind == KeyKind::Content
    }

    /// The name of its collection.
    pub(super) fn name(&self) -> String {
        self.plan.table.collection()
    }

    /// For messages.
    pub(super) fn object(&self) -> String {
        self.plan.object()
    }

    /// A new row; what it leaves out is taken from the row before where that tells it.
    pub(super) fn row<E>(
        &self,
        new: &Tuple<'_>,
        old: Option<&Old<'_>>,
        text: ToText<'_, E>,
    ) -> Result<Result<Row, Bad>, E> {
        let columns = &self.plan.table.columns;
        if new.0.len() != columns.len() || old.is_some_and(|old| old.row.0.len() != columns.len()) {
            return Ok(Err(Bad::Strange("a row has another number of fields than its table")));
        }
        let (mut fields, mut bytes, mut unchanged) = (vec![None], Vec::new(), Vec::new());
        for (at, column) in columns.iter().enumerate() {
            let mut field = new.0[at];
            if field == Field::Unchanged
                && let Some(old) = old.filter(|old| old.is_whole || self.plan.table.key.contains(&at))
            {
                // A key that was not told either is NULL there, which no key is.
                field = old.row.0[at];
            }
            let is_cast = column.form == Form::Cast;
            let owned;
            let value = match field {
                Field::Null => None,
                Field::Unchanged if self.plan.table.key.contains(&at) || self.is_numbered() => {
                    return Ok(Err(Bad::Strange("a part of a row's key is not told")));
                }
                Field::Unchanged => {
                    unchanged.extend(self.plan.cells.iter().position(|cell| *cell == at));
                    None
                }
                Field::Text(value) if is_cast => Some(value),
                Field::Binary(value) if is_cast && column.type_text == TSQUERY_TEXT && value == EMPTY_TSQUERY => {
                    Some(&[][..])
                }
                Field::Binary(value) if is_cast => {
                    owned = text(&column.type_text, value)?;
                    Some(owned.as_slice())
                }
                Field::Binary(value) => Some(value),
                Field::Text(_) => return Ok(Err(Bad::Strange("a value came in its text form"))),
            };
            let start = bytes.len() as u32;
            fields.push(value.map(|value| {
                bytes.extend_from_slice(value);
                (start, bytes.len() as u32)
            }));
        }
        unchanged.sort_unstable();
        if u32::try_from(bytes.len()).is_err() {
            return Ok(Err(Bad::Unusable("it is longer than 4 GiB")));
        }
        let row = CopyRow::of(&bytes, &fields);
        let mut made = Made::default();
        match self.plan.read(&row, &mut made, &mut |_, _| Ok::<_, std::convert::Infallible>([0; 32])) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Ok(Err(Bad::Unusable(why))),
            Err(never) => match never {},
        }
        Ok(match self.plan.take_body(&made.body) {
            Some((_, value)) => Ok(Row { key: made.key, value: value.to_vec(), unchanged }),
            None => Err(Bad::Strange("a row makes no sense")),
        })
    }
}

/// The key of the `count`th of equal rows of a table without a key, from what tells rows apart.
#[must_use]
pub fn numbered_key(hash: &[u8], count: u64) -> Vec<u8> {
    numbered(hash, count)
}
