//! Messages of the stream, told as changes of collections.

use super::{
    message::{self, Message, Old, Relation, Tuple},
    relation::{Bad, Row, Told},
};
use crate::{
    connector::{
        ConnectorError,
        postgres::{
            attributes::TableAttributes, client::Client, error, log::Lsn, names::collection, select::Selection,
            types::Types,
        },
    },
    record::Shape,
};
use postgres::types::{IsNull, ToSql, Type, private::BytesMut};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Who takes changes.
pub trait Changes {
    /// What can go wrong in taking them.
    type Error: From<ConnectorError>;
    /// A transaction begins; whether it is wanted.
    fn begin(&mut self, xid: u32, commit: Lsn, millis: i64) -> bool;
    /// A record was written or deleted.
    ///
    /// # Errors
    /// What the taker says.
    fn change(&mut self, collection: usize, change: RowChange<'_>) -> Result<(), Self::Error>;
    /// All records of a collection are gone.
    ///
    /// # Errors
    /// What the taker says.
    fn emptied(&mut self, collection: usize) -> Result<(), Self::Error>;
    /// A row that cannot be a record, in words.
    fn lost(&mut self, words: String);
    /// Whether what the transaction does to a collection is held already; nothing for a table that is none of the collections.
    fn holds(&self, collection: Option<usize>) -> bool;
    /// The transaction ends.
    ///
    /// # Errors
    /// What the taker says.
    fn end(&mut self, end: Lsn) -> Result<(), Self::Error>;
}

/// What became of a record.
pub enum RowChange<'a> {
    /// It was written.
    Put {
        /// Its key; of a numbered table what tells its rows apart.
        key: &'a [u8],
        /// The names of its cells.
        shape: &'a Arc<Shape>,
        /// Its canonical bytes.
        value: Vec<u8>,
        /// The cells that stayed as they were in the row before, and hold NULL.
        unchanged: &'a [usize],
        /// The key of the row before.
        before: &'a [u8],
        /// Whether keys are told apart by content, and numbered.
        is_numbered: bool,
        /// Of a table in which two rows may have one key until their transaction ends: what the row of this key was before that
        /// has this value now, if it is not a further one.
        doubles: Option<Option<&'a [u8]>>,
    },
    /// It was deleted.
    Delete {
        /// Its key.
        key: &'a [u8],
        /// As above.
        is_numbered: bool,
        /// Of a table in which two rows may have one key until their transaction ends: what it was.
        doubles: Option<&'a [u8]>,
    },
}

/// What is known of a table of the stream.
pub(super) enum Known {
    Told(Box<Told>),
    /// It is not as the base has it.
    Other(Other),
    /// Nobody asked for it: somebody else's publication tells more.
    Unwanted,
}

/// A table that is not as the base has it.
#[derive(Debug, Clone)]
pub(super) struct Other {
    pub(super) name: String,
    collection: Option<usize>,
    pub(super) why: String,
}

impl Known {
    const fn collection(&self) -> Option<usize> {
        match self {
            Self::Told(told) => Some(told.collection),
            Self::Other(other) => other.collection,
            Self::Unwanted => None,
        }
    }
}

/// A value in its binary form, of whatever type.
#[derive(Debug)]
struct Raw<'a>(&'a [u8]);

impl ToSql for Raw<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres::types::to_sql_checked!();
}

/// Tells messages to whoever takes changes.
pub(super) struct Teller<'a, C> {
    pub(super) side: &'a mut Client,
    pub(super) types: &'a mut Types,
    pub(super) known: &'a mut HashMap<u32, (Vec<u8>, Known)>,
    pub(super) collections: &'a HashMap<String, (usize, TableAttributes)>,
    pub(super) oids: &'a HashMap<u32, String>,
    pub(super) untold: &'a BTreeSet<String>,
    pub(super) selection: &'a Selection,
    pub(super) object: &'a str,
    pub(super) changes: &'a mut C,
    /// Transactions whose commits lie before it are passed over.
    pub(super) after: Lsn,
    /// Whether the transaction that is being told is wanted.
    pub(super) wanted: Option<bool>,
    /// Behind the last transaction that was told.
    pub(super) ended: Lsn,
}

impl<C: Changes> Teller<'_, C> {
    fn wrong(&self, reason: &str) -> ConnectorError {
        ConnectorError::Unreadable { object: self.object.to_owned(), reason: reason.to_owned() }
    }

    /// Tells a message; if its transaction does not fit the base, what is not as the base has it.
    pub(super) fn tell(&mut self, data: &[u8]) -> Result<Option<Other>, C::Error> {
        let message = message::parse(data).ok_or_else(|| self.wrong("a message of its stream makes no sense"))?;
        match message {
            Message::Begin { commit, millis, xid } => {
                self.wanted = Some(commit >= self.after && self.changes.begin(xid, commit, millis));
            }
            Message::Commit { end } => {
                if self.wanted.take() == Some(true) {
                    self.changes.end(end)?;
                }
                self.ended = self.ended.max(end);
            }
            Message::Relation(relation) => {
                // Each reading of the log tells of its tables anew.
                if self.known.get(&relation.oid).is_none_or(|(told, _)| told != data) {
                    let known = self.relation(&relation)?;
                    self.known.insert(relation.oid, (data.to_vec(), known));
                }
            }
            _ if self.wanted != Some(true) => {}
            Message::Insert { table, new } => return self.row(table, None, Some(&new)),
            Message::Update { table, old, new } => return self.row(table, old.as_ref(), Some(&new)),
            Message::Delete { table, old } => return self.row(table, Some(&old), None),
            Message::Truncate { tables } => {
                for table in tables {
                    match self.known.get(&table) {
                        Some((_, Known::Unwanted)) => {}
                        Some((_, known)) if self.changes.holds(known.collection()) => {}
                        Some((_, Known::Told(told))) => self.changes.emptied(told.collection)?,
                        Some((_, Known::Other(other))) => return Ok(Some(other.clone())),
                        None => return Err(self.wrong("a table is emptied that was not described").into()),
                    }
                }
            }
            Message::Other => {}
        }
        Ok(None)
    }

    fn relation(&mut self, relation: &Relation<'_>) -> Result<Known, ConnectorError> {
        let schema = if relation.schema.is_empty() { "pg_catalog" } else { relation.schema };
        let name = collection(schema, relation.name);
        // A table stays the one that it is under another name, and is none of those whose name it has for a time.
        if let Some(own) = self.oids.get(&relation.oid).filter(|own| **own != name) {
            if self.untold.contains(own) {
                return Ok(Known::Unwanted);
            }
            let why = format!("table {own} was written to under another name, {name}");
            return Ok(Known::Other(Other { name: own.clone(), collection: self.place(own), why }));
        }
        if !self.oids.contains_key(&relation.oid)
            && self.oids.values().any(|other| *other == name)
            && let Some(place) = self.place(&name)
        {
            let why = format!("another table was written to under the name {name}");
            return Ok(Known::Other(Other { name, collection: Some(place), why }));
        }
        let Some((collection, attributes)) = self.collections.get(&name) else {
            if self.untold.contains(&name) || !self.is_wanted(schema, relation)? {
                return Ok(Known::Unwanted);
            }
            let why = format!("table {name} is not in the base");
            return Ok(Known::Other(Other { name, collection: None, why }));
        };
        let oids: Vec<u32> = relation.columns.iter().map(|column| column.type_oid).collect();
        let modifiers: Vec<i32> = relation.columns.iter().map(|column| column.modifier).collect();
        let sql = "SELECT format_type(t.oid, t.modifier) FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS t(oid, modifier, n) \
                   ORDER BY t.n";
        let rows = self.side.query(sql, &[&oids, &modifiers]).map_err(|error| error::reading(self.object, &error))?;
        let texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        *self.types = Types::read(self.side, self.object)?;
        Ok(match Told::new(relation, &texts, attributes, self.types, *collection) {
            Ok(mut told) => {
                let sql = "SELECT 1 FROM pg_index WHERE indrelid = $1 AND indisprimary AND NOT indimmediate";
                let found = self.side.query_opt(sql, &[&relation.oid]);
                told.may_double = found.map_err(|error| error::reading(self.object, &error))?.is_some();
                Known::Told(Box::new(told))
            }
            Err(why) => {
                let why = format!("table {name}: {why}");
                Known::Other(Other { name, collection: Some(*collection), why })
            }
        })
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.collections.get(name).map(|(place, _)| *place)
    }

    /// Whether a table that is none of the collections is one that was asked for.
    fn is_wanted(&mut self, schema: &str, relation: &Relation<'_>) -> Result<bool, ConnectorError> {
        if !self.selection.wants(schema, relation.name) {
            return Ok(false);
        }
        let sql = "SELECT 1 FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = $1 AND deptype = 'e'";
        let found = self.side.query_opt(sql, &[&relation.oid]);
        Ok(found.map_err(|error| error::reading(self.object, &error))?.is_none())
    }

    /// Tells a row that was written, deleted or both.
    fn row(&mut self, table: u32, old: Option<&Old<'_>>, new: Option<&Tuple<'_>>) -> Result<Option<Other>, C::Error> {
        let told = match self.known.get(&table) {
            Some((_, Known::Unwanted)) => return Ok(None),
            Some((_, known)) if self.changes.holds(known.collection()) => return Ok(None),
            Some((_, Known::Told(told))) => told,
            Some((_, Known::Other(other))) => return Ok(Some(other.clone())),
            None => return Err(self.wrong("a row came of a table that was not described").into()),
        };
        let (side, object) = (&mut *self.side, told.object());
        let mut text = |type_text: &str, value: &[u8]| -> Result<Vec<u8>, ConnectorError> {
            let sql = format!("SELECT pg_catalog.textsend($1::{type_text}::pg_catalog.text)");
            let row = side.query_one(&sql, &[&Raw(value)]).map_err(|error| error::reading(&object, &error))?;
            row.try_get(0).map_err(|error| error::reading(&object, &error))
        };
        let is_numbered = told.is_numbered();
        let before = match old {
            None => None,
            Some(old) if is_numbered && !old.is_whole => {
                let (collection, name) = (Some(told.collection), told.name());
                let why = format!("{object} tells no whole rows any more");
                return Ok(Some(Other { name, collection, why }));
            }
            Some(old) => match told.row(&old.row, None, &mut text)? {
                Ok(row) => Some(row),
                Err(Bad::Unusable(_)) => None,
                Err(Bad::Strange(why)) => return Err(strange(&object, why).into()),
            },
        };
        let after = match new {
            None => None,
            Some(new) => match told.row(new, old, &mut text)? {
                Ok(row) => Some(row),
                Err(Bad::Unusable(why)) => {
                    self.changes.lost(format!("{object}: a row that was written: {why}"));
                    None
                }
                Err(Bad::Strange(why)) => return Err(strange(&object, why).into()),
            },
        };
        let collection = told.collection;
        let is_same = matches!((&before, &after), (Some(before), Some(after)) if before.key == after.key);
        if is_same && is_numbered {
            return Ok(None);
        }
        // Only rows that are told whole are told where keys are checked late.
        let was = before.as_ref().map(|row| row.value.as_slice()).filter(|_| told.may_double && !is_numbered);
        let gone = before.as_ref().filter(|_| !is_same);
        let gone = gone.map(|row| RowChange::Delete { key: &row.key, is_numbered, doubles: was });
        let Some(Row { key, value, unchanged }) = after else {
            return gone.map_or(Ok(None), |gone| self.changes.change(collection, gone).map(|()| None));
        };
        let (shape, unchanged) = (told.shape(), unchanged.as_slice());
        let doubles = (told.may_double && !is_numbered).then(|| was.filter(|_| is_same));
        let before = before.as_ref().map_or(key.as_slice(), |row| row.key.as_slice());
        let put = RowChange::Put { key: &key, shape, value, unchanged, before, is_numbered, doubles };
        // What a row that got another key did not change is taken from the row that it was: that one goes afterwards. Rows that
        // are told apart by content are told whole.
        let in_order = if is_numbered { [gone, Some(put)] } else { [Some(put), gone] };
        for change in in_order.into_iter().flatten() {
            self.changes.change(collection, change)?;
        }
        Ok(None)
    }
}

fn strange(object: &str, reason: &str) -> ConnectorError {
    ConnectorError::Unreadable { object: object.to_owned(), reason: format!("in its stream {reason}") }
}
