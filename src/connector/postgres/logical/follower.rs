//! A connection that gives changes, and one beside it that is asked about them.

use super::{
    claim::claim,
    message::{self, Message, Old, Relation, Tuple},
    publication,
    relation::{Bad, Row, Told},
    slot::{self, SlotStanding},
    tables::{self, Tables},
};
use crate::{
    connector::{
        ConnectorError,
        postgres::{
            attributes::{self, TableAttributes},
            catalog,
            client::{Client, Server},
            error, gather,
            log::{Lsn, Visible},
            names::collection,
            select::Selection,
            types::Types,
        },
    },
    record::Shape,
};
use postgres::{
    fallible_iterator::FallibleIterator as _,
    types::{IsNull, PgLsn, ToSql, Type, private::BytesMut},
};
use serde_json::Value as Json;
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
    /// A record was written or deleted, by a change at a place of the log.
    ///
    /// # Errors
    /// What the taker says.
    fn change(&mut self, collection: usize, at: Lsn, change: RowChange<'_>) -> Result<(), Self::Error>;
    /// All records of a collection are gone.
    ///
    /// # Errors
    /// What the taker says.
    fn emptied(&mut self, collection: usize, at: Lsn) -> Result<(), Self::Error>;
    /// A row that cannot be a record, in words.
    fn lost(&mut self, words: String);
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
    },
    /// It was deleted.
    Delete {
        /// Its key.
        key: &'a [u8],
        /// As above.
        is_numbered: bool,
    },
}

/// Which stretch of the log is read.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Transactions whose commits lie before it are passed over.
    pub after: Lsn,
    /// Up to here.
    pub upto: Lsn,
    /// End with the first transaction behind so many messages.
    pub messages: i32,
}

/// How far the log was read.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Every transaction whose commit lies before it was told.
    pub reached: Lsn,
    /// Whether there is more up to the end of the span.
    pub is_cut: bool,
    /// The first change that does not fit the base, if there is one: nothing of its transaction may be kept.
    pub differs: Option<Differs>,
}

/// A change that does not fit.
#[derive(Debug, Clone)]
pub struct Differs {
    /// Why not.
    pub why: String,
    /// Behind the last transaction before it.
    pub before: Lsn,
}

/// What is known of a table of the stream.
enum Known {
    Told(Box<Told>),
    /// Why it is none of the base's.
    Other(String),
}

/// A database that is followed.
pub struct Follower {
    server: Server,
    selection: Selection,
    name: String,
    object: String,
    peek: Client,
    side: Client,
    types: Types,
    collections: HashMap<String, (usize, TableAttributes)>,
    /// By their numbers, with the message that described them.
    known: HashMap<u32, (Vec<u8>, Known)>,
}

/// Ends what a follower waits for, from another thread.
#[derive(Clone)]
pub struct Stopper {
    server: Server,
    tokens: Vec<postgres::CancelToken>,
}

impl Stopper {
    /// Does so.
    pub fn stop(&self) {
        self.tokens.iter().for_each(|token| self.server.cancel(token));
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

const PEEK: &str = "SELECT lsn, data FROM pg_logical_slot_peek_binary_changes($1, $2, $3, VARIADIC $4::text[])";

impl Follower {
    /// Connects.
    ///
    /// # Errors
    /// [`ConnectorError`], also where the server cannot be followed.
    pub(super) fn connect(server: Server, selection: Selection, name: &str) -> Result<Self, ConnectorError> {
        let object = server.shown();
        let (mut peek, mut side) = (server.connect()?, server.connect()?);
        let facts = server.facts(&mut side)?;
        let fail = |error: postgres::Error| error::reading(&object, &error);
        let sql = "SELECT pg_is_in_recovery(), current_setting('wal_level')";
        let row = side.query_one(sql, &[]).map_err(fail)?;
        let cannot = |reason: &str| Err(ConnectorError::Usage { object: object.clone(), reason: reason.to_owned() });
        if facts.encoding != "UTF8" {
            return cannot("changes can be followed only in databases whose encoding is UTF8");
        }
        if row.get::<_, bool>(0) {
            return cannot("it is a standby, and changes are followed where they are made");
        }
        if row.get::<_, String>(1) != "logical" {
            return cannot(
                "its log does not hold what changes are told by: ALTER SYSTEM SET wal_level = 'logical', and restart the server",
            );
        }
        // A slot waits for the transactions that run, however long they do.
        peek.batch_execute("SET lock_timeout = 0").map_err(fail)?;
        let types = Types::read(&mut side, &object)?;
        Ok(Self {
            server,
            selection,
            name: name.to_owned(),
            object,
            peek,
            side,
            types,
            collections: HashMap::new(),
            known: HashMap::new(),
        })
    }

    /// What ends its waiting.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { server: self.server.clone(), tokens: vec![self.peek.cancel_token(), self.side.cancel_token()] }
    }

    /// For messages.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// How the server and the slot stand.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn standing(&mut self) -> Result<SlotStanding, ConnectorError> {
        slot::standing(&mut self.side, &self.name, &self.object)
    }

    /// The server's own number, where it may be read.
    pub fn system(&mut self) -> Option<String> {
        gather::system(&mut self.side)
    }

    /// How much log the server keeps for slots at most; `None` for any amount.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn log_limit(&mut self) -> Result<Option<String>, ConnectorError> {
        let sql = "SELECT nullif(current_setting('max_slot_wal_keep_size'), '-1')";
        let row = self.side.query_one(sql, &[]).map_err(|error| error::reading(&self.object, &error))?;
        Ok(row.get(0))
    }

    /// The tables that are meant.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn tables(&mut self) -> Result<Tables, ConnectorError> {
        tables::look(&mut self.side, &self.selection, &self.object)
    }

    /// How many large objects there are, if they are meant.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn large_objects(&mut self) -> Result<u64, ConnectorError> {
        if self.selection.wants_large_objects() { gather::large_objects(&mut self.side, &self.server) } else { Ok(0) }
    }

    /// A text that changes with the definitions of tables, and one that changes with the publication and enumerations.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn marks(&mut self) -> Result<(String, String), ConnectorError> {
        let tables = tables::mark(&mut self.side, &self.object)?;
        Ok((tables, publication::mark(&mut self.side, &self.name, &self.object)?))
    }

    /// What sequences stand at, as a snapshot's attributes say it.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn sequences(&mut self) -> Result<Json, ConnectorError> {
        let all = catalog::tables(&mut self.side, &self.selection, &self.object)?;
        let found = gather::sequences(&mut self.side, &self.object, &all)?;
        Ok(serde_json::to_value(found).unwrap_or_default())
    }

    /// Makes the publication, or brings it up to date, and takes out of the tables what it does not tell of.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be made.
    pub fn publish(&mut self, tables: &mut Tables) -> Result<(), ConnectorError> {
        if tables.followed.is_empty() {
            let why = tables.left.iter().next().map_or_else(
                || "there are no tables".to_owned(),
                |(name, why)| format!("none of its tables can be followed; {name}: {why}"),
            );
            return Err(ConnectorError::Usage { object: self.object.clone(), reason: why });
        }
        let told = publication::ensure(&mut self.side, &self.name, &tables.followed, &self.object)?;
        let is_told = |(schema, table): &(String, String)| told.contains(&collection(schema, table));
        let (followed, left): (Vec<_>, Vec<_>) = std::mem::take(&mut tables.followed).into_iter().partition(is_told);
        tables.followed = followed;
        for (schema, table) in left {
            let name = collection(&schema, &table);
            tables.left.insert(name, format!("the publication {} does not list it", self.name));
        }
        Ok(())
    }

    /// Claims the slot for as long as this follower is connected; waits a while for whoever has it.
    ///
    /// # Errors
    /// [`ConnectorError::Locked`] if somebody else has it.
    pub fn claim(&mut self, is_over: &dyn Fn() -> bool) -> Result<(), ConnectorError> {
        claim(&mut self.side, &self.name, &self.object, is_over)
    }

    /// Makes the slot; waits for transactions that run.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be made.
    pub fn make_slot(&mut self) -> Result<(), ConnectorError> {
        slot::create(&mut self.peek, &self.name, &self.object)
    }

    /// Lets the server forget its log up to a place.
    ///
    /// # Errors
    /// [`ConnectorError`] if the slot is gone or in use.
    pub fn advance(&mut self, to: Lsn) -> Result<(), ConnectorError> {
        slot::advance(&mut self.peek, &self.name, to, &self.object)
    }

    /// Drops the slot, and the publication if it is ours; says which were there. The slot is to be claimed.
    ///
    /// # Errors
    /// [`ConnectorError`] if one of them cannot be dropped.
    pub fn remove(&mut self) -> Result<(bool, bool), ConnectorError> {
        let slot = slot::remove(&mut self.side, &self.name, &self.object)?;
        Ok((slot, publication::remove(&mut self.side, &self.name, &self.object)?))
    }

    /// Drops the slot alone.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be dropped.
    pub fn remove_slot(&mut self) -> Result<(), ConnectorError> {
        slot::remove(&mut self.side, &self.name, &self.object)?;
        Ok(())
    }

    /// Which transactions have ended.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn visible(&mut self) -> Result<Visible, ConnectorError> {
        let row = self.side.query_one("SELECT pg_current_snapshot()::text", &[]);
        let row = row.map_err(|error| error::reading(&self.object, &error))?;
        let text: String = row.get(0);
        text.parse().map_err(|reason| ConnectorError::Unreadable { object: self.object.clone(), reason })
    }

    /// Which collections changes are wanted of: their names and attributes, in the order of their numbers.
    ///
    /// # Errors
    /// [`ConnectorError`] if attributes are not those of tables.
    pub fn follow<'c>(
        &mut self,
        collections: impl Iterator<Item = (usize, &'c str, &'c Json)>,
    ) -> Result<(), ConnectorError> {
        self.known.clear();
        self.collections.clear();
        for (at, name, json) in collections {
            let attributes: TableAttributes = attributes::parse(json, name)?;
            self.collections.insert(name.to_owned(), (at, attributes));
        }
        Ok(())
    }

    /// Forgets what was learnt of tables and types, which may have changed.
    pub fn learn_anew(&mut self) {
        self.known.clear();
    }

    /// How tables differ from the collections that are followed, in words; nothing if they do not.
    #[must_use]
    pub fn compare(&self, tables: &Tables) -> Option<String> {
        let names: BTreeSet<&String> = self.collections.keys().chain(tables.described.keys()).collect();
        names.into_iter().find_map(|name| match (self.collections.get(name), tables.described.get(name)) {
            (None, _) if tables.left.contains_key(name) => None,
            (None, _) => Some(format!("table {name} is new")),
            (_, None) => Some(format!("table {name} is gone")),
            (Some(_), _) if tables.left.contains_key(name) => Some(format!("table {name} can no longer be followed")),
            (Some((_, kept)), Some(found)) if kept != found => Some(format!("table {name} was altered")),
            _ => None,
        })
    }

    /// Why a stretch of the log cannot be read, where the publication was not there when it was written; nothing if it can be.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn why_unreadable(&mut self, span: &Span) -> Result<Option<String>, ConnectorError> {
        let Self { peek, object, name, .. } = self;
        let sql = format!("SELECT count(*) FROM ({PEEK}) told");
        let (options, upto) = (options(name), PgLsn::from(span.upto.0));
        match peek.query_one(&sql, &[&*name, &upto, &span.messages, &options.as_slice()]) {
            Ok(_) => Ok(None),
            Err(error) if error.code().is_some_and(|code| code.code() == "42704") => Ok(Some(error::said(&error))),
            Err(error) => Err(error::reading(object, &error)),
        }
    }

    /// Reads a stretch of the log. What is told of it is not confirmed: it comes again.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server, and what the taker says.
    pub fn take<C: Changes>(&mut self, span: &Span, changes: &mut C) -> Result<Taken, C::Error> {
        let Self { peek, side, types, known, collections, object, name, .. } = self;
        let fail = |error: postgres::Error| error::reading(object, &error);
        let (options, upto) = (options(name), PgLsn::from(span.upto.0));
        let params: [&(dyn ToSql + Sync); 4] = [&*name, &upto, &span.messages, &options.as_slice()];
        let mut rows = peek.query_raw(PEEK, params).map_err(fail)?;
        let mut teller = Teller { side, types, known, collections, object, changes, wanted: None, ended: span.after };
        let mut messages = 0_u64;
        while let Some(row) = rows.next().map_err(fail)? {
            messages += 1;
            let place = row.try_get::<_, PgLsn>(0).map_err(fail)?;
            let data: &[u8] = row.try_get(1).map_err(fail)?;
            if let Some(why) = teller.tell(Lsn(place.into()), data, span)? {
                let differs = Some(Differs { why, before: teller.ended });
                return Ok(Taken { reached: teller.ended, is_cut: true, differs });
            }
        }
        let is_cut = messages >= u64::from(span.messages.unsigned_abs());
        let reached = if is_cut { teller.ended } else { teller.ended.max(span.upto) };
        Ok(Taken { reached, is_cut, differs: None })
    }
}

/// How changes are told.
fn options(publication: &str) -> [String; 6] {
    let quoted = format!("\"{}\"", publication.replace('"', "\"\""));
    ["proto_version", "1", "publication_names", &quoted, "binary", "true"].map(str::to_owned)
}

/// Tells messages to whoever takes changes.
struct Teller<'a, C> {
    side: &'a mut Client,
    types: &'a mut Types,
    known: &'a mut HashMap<u32, (Vec<u8>, Known)>,
    collections: &'a HashMap<String, (usize, TableAttributes)>,
    object: &'a str,
    changes: &'a mut C,
    /// Whether the transaction that is being told is wanted.
    wanted: Option<bool>,
    /// Behind the last transaction that was told.
    ended: Lsn,
}

impl<C: Changes> Teller<'_, C> {
    fn wrong(&self, reason: &str) -> ConnectorError {
        ConnectorError::Unreadable { object: self.object.to_owned(), reason: reason.to_owned() }
    }

    /// Tells a message; if its transaction does not fit the base, why not.
    fn tell(&mut self, at: Lsn, data: &[u8], span: &Span) -> Result<Option<String>, C::Error> {
        let message = message::parse(data).ok_or_else(|| self.wrong("a message of its stream makes no sense"))?;
        match message {
            Message::Begin { commit, millis, xid } => {
                self.wanted = Some(commit >= span.after && self.changes.begin(xid, commit, millis));
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
            Message::Insert { table, new } => return self.row(at, table, None, Some(&new)),
            Message::Update { table, old, new } => return self.row(at, table, old.as_ref(), Some(&new)),
            Message::Delete { table, old } => return self.row(at, table, Some(&old), None),
            Message::Truncate { tables } => {
                for table in tables {
                    match self.known.get(&table) {
                        Some((_, Known::Told(told))) => self.changes.emptied(told.collection, at)?,
                        Some((_, Known::Other(why))) => return Ok(Some(why.clone())),
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
        let Some((collection, attributes)) = self.collections.get(&name) else {
            return Ok(Known::Other(format!("table {name} is not in the base")));
        };
        let oids: Vec<u32> = relation.columns.iter().map(|column| column.type_oid).collect();
        let modifiers: Vec<i32> = relation.columns.iter().map(|column| column.modifier).collect();
        let sql = "SELECT format_type(t.oid, t.modifier) FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS t(oid, modifier, n) \
                   ORDER BY t.n";
        let rows = self.side.query(sql, &[&oids, &modifiers]).map_err(|error| error::reading(self.object, &error))?;
        let texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        *self.types = Types::read(self.side, self.object)?;
        Ok(match Told::new(relation, &texts, attributes, self.types, *collection) {
            Ok(told) => Known::Told(Box::new(told)),
            Err(why) => Known::Other(format!("table {name}: {why}")),
        })
    }

    /// Tells a row that was written, deleted or both.
    fn row(
        &mut self,
        at: Lsn,
        table: u32,
        old: Option<&Old<'_>>,
        new: Option<&Tuple<'_>>,
    ) -> Result<Option<String>, C::Error> {
        let told = match self.known.get(&table) {
            Some((_, Known::Told(told))) => told,
            Some((_, Known::Other(why))) => return Ok(Some(why.clone())),
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
                return Ok(Some(format!("{object} tells no whole rows any more")));
            }
            Some(old) => match told.row(&old.row, None, &mut text)? {
                Ok(Row { key, .. }) => Some(key),
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
        let is_same = matches!((&before, &after), (Some(before), Some(after)) if *before == after.key);
        if is_same && is_numbered {
            return Ok(None);
        }
        if let Some(key) = before.as_deref().filter(|_| !is_same) {
            self.changes.change(collection, at, RowChange::Delete { key, is_numbered })?;
        }
        if let Some(Row { key, value, unchanged }) = after {
            let before = before.as_deref().unwrap_or(&key);
            let (shape, unchanged) = (told.shape(), unchanged.as_slice());
            let change = RowChange::Put { key: &key, shape, value, unchanged, before, is_numbered };
            self.changes.change(collection, at, change)?;
        }
        Ok(None)
    }
}

fn strange(object: &str, reason: &str) -> ConnectorError {
    ConnectorError::Unreadable { object: object.to_owned(), reason: format!("in its stream {reason}") }
}
