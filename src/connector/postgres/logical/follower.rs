//! A connection that gives changes, and one beside it that is asked about them.

use super::{
    claim::claim,
    publication,
    slot::{self, SlotStanding},
    tables::{self, Tables},
    teller::{Changes, Known, Other, Teller},
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
            stamps,
            types::Types,
        },
    },
    record::{Timestamp, pause},
};
use postgres::{
    fallible_iterator::FallibleIterator as _,
    types::{PgLsn, ToSql},
};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

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
    /// The table that it is of.
    pub table: String,
    /// Behind the last transaction before it.
    pub before: Lsn,
}

/// How often it is looked how far the log is written.
const LOOK_AROUND: Duration = Duration::from_millis(50);

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
    /// What they are called by their numbers, and those that are left aside too.
    oids: HashMap<u32, String>,
    /// Tables whose changes are left aside.
    untold: BTreeSet<String>,
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

const PEEK: &str = "SELECT data FROM pg_logical_slot_peek_binary_changes($1, $2, $3, VARIADIC $4::text[])";

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
        // What is ours is made anew after a failover: it need not wait for a standby.
        side.batch_execute("SET synchronous_commit = local").map_err(fail)?;
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
            oids: HashMap::new(),
            untold: BTreeSet::new(),
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

    /// A text that changes with the definitions of tables and enumerations, and one that changes with the publication.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn marks(&mut self) -> Result<(String, String), ConnectorError> {
        let tables = tables::mark(&mut self.side, &self.object)?;
        Ok((tables, publication::mark(&mut self.side, &self.name, &self.object)?))
    }

    /// A text that changes with everything that `pg_dump` tells of the database, but for our publications.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn definitions(&mut self) -> Result<String, ConnectorError> {
        stamps::definitions(&mut self.side, &self.name, &self.object)
    }

    /// The collections that were added to the publication between two marks; nothing if it was altered otherwise.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn added(&mut self, before: &str, now: &str) -> Result<Option<BTreeSet<String>>, ConnectorError> {
        let found = publication::compare(&mut self.side, before, now, &self.object)?;
        Ok((!found.is_altered).then_some(found.added))
    }

    /// What sequences stand at, as a snapshot's attributes say it.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn sequences(&mut self) -> Result<Json, ConnectorError> {
        let all = catalog::tables(&mut self.side, &self.selection, &self.object)?;
        let found = gather::sequences(&mut self.side, &self.object, &all, false)?;
        Ok(serde_json::to_value(found).unwrap_or_default())
    }

    /// The sequences whose values this user may not read, in words.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn unread_sequences(&mut self) -> Result<Vec<String>, ConnectorError> {
        let all = catalog::tables(&mut self.side, &self.selection, &self.object)?;
        Ok(catalog::unread_sequences(&all).collect())
    }

    /// Makes the publication, or brings it up to date, and takes out of the tables what it does not tell of. Gives the collections
    /// that it did not list before.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be made.
    pub fn publish(&mut self, tables: &mut Tables) -> Result<BTreeSet<String>, ConnectorError> {
        if tables.followed.is_empty() {
            // Those that were followed would stop their writers.
            publication::clear(&mut self.side, &self.name, &self.object)?;
            let why = tables.left.iter().next().map_or_else(
                || "there are no tables".to_owned(),
                |(name, why)| format!("none of its tables can be followed; {name}: {why}"),
            );
            return Err(ConnectorError::Usage { object: self.object.clone(), reason: why });
        }
        let published = publication::ensure(&mut self.side, &self.name, &tables.followed, &tables.roots, &self.object)?;
        let has_slot = self.standing()?.slot.is_some();
        publication::ensure_second(&mut self.side, &self.name, &tables.above, has_slot, &self.object)?;
        let is_told = |(schema, table): &(String, String)| published.told.contains(&collection(schema, table));
        let (followed, left): (Vec<_>, Vec<_>) = std::mem::take(&mut tables.followed).into_iter().partition(is_told);
        tables.followed = followed;
        for (schema, table) in left {
            let name = collection(&schema, &table);
            tables.left.insert(name, published.why_not.clone());
        }
        Ok(published.added)
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
        // By the connection that read it last: it may not have let go of it in the eyes of others.
        slot::remove(&mut self.peek, &self.name, &self.object)?;
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

    /// Which collections are tables: their numbers, names and attributes, and whether changes of them are wanted; and the numbers
    /// that their tables have at the server, as far as they are known.
    ///
    /// # Errors
    /// [`ConnectorError`] if attributes are not those of tables.
    pub fn follow<'c>(
        &mut self,
        collections: impl Iterator<Item = (usize, &'c str, &'c Json, bool)>,
        oids: &BTreeMap<String, u32>,
    ) -> Result<(), ConnectorError> {
        self.known.clear();
        self.collections.clear();
        self.oids.clear();
        self.untold.clear();
        for (at, name, json, is_wanted) in collections {
            if let Some(oid) = oids.get(name) {
                self.oids.insert(*oid, name.to_owned());
            }
            if !is_wanted {
                self.untold.insert(name.to_owned());
                continue;
            }
            let attributes: TableAttributes = attributes::parse(json, name)?;
            self.collections.insert(name.to_owned(), (at, attributes));
        }
        Ok(())
    }

    /// Forgets what was learnt of tables and types, which may have changed.
    pub fn learn_anew(&mut self) {
        self.known.clear();
    }

    /// Which tables differ from the collections that are followed, and how; `stamps` are those of the collections, as far as they
    /// are known.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn compare(
        &mut self,
        tables: &Tables,
        stamps: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, &'static str>, ConnectorError> {
        let found_stamps = stamps::stamps(&mut self.side, &self.object)?;
        let names: BTreeSet<&String> = self.collections.keys().chain(tables.described.keys()).collect();
        let how = |name: &String| match (self.collections.get(name), tables.described.get(name)) {
            (None, _) if tables.left.contains_key(name) => None,
            (None, _) => Some("is new"),
            (_, None) => Some("is gone"),
            (Some(_), _) if tables.left.contains_key(name) => Some("can no longer be followed"),
            (Some((_, kept)), Some(found)) if kept != found => Some("was altered"),
            _ => match (stamps.get(name), found_stamps.get(name)) {
                (Some(kept), Some(found)) if *kept != found.text => Some("was altered or made anew"),
                _ => None,
            },
        };
        Ok(names.into_iter().filter_map(|name| Some((name.clone(), how(name)?))).collect())
    }

    /// Waits until the server's log is written up to all that a snapshot taken before shows, and says how far that is.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn written(&mut self, is_over: &dyn Fn() -> bool) -> Result<(Lsn, Timestamp), ConnectorError> {
        let row = self.side.query_one("SELECT pg_current_wal_insert_lsn()", &[]);
        let row = row.map_err(|error| error::reading(&self.object, &error))?;
        let inserted = Lsn(row.get::<_, PgLsn>(0).into());
        loop {
            let standing = self.standing()?;
            if standing.flush >= inserted || is_over() {
                return Ok((standing.flush, standing.now));
            }
            pause(LOOK_AROUND, is_over);
        }
    }

    /// Why a stretch of the log cannot be read, where the publication was not there when it was written; nothing if it can be.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server.
    pub fn why_unreadable(&mut self, span: &Span) -> Result<Option<String>, ConnectorError> {
        let Self { peek, side, object, name, .. } = self;
        let sql = format!("SELECT count(*) FROM ({PEEK}) told");
        let (options, upto) = (options(&publication::names(side, name, object)?), PgLsn::from(span.upto.0));
        match peek.query_one(&sql, &[&*name, &upto, &span.messages, &options.as_slice()]) {
            Ok(_) => Ok(None),
            // A publication that is not there, or two that list other columns of one table.
            Err(error) if error.code().is_some_and(|code| ["42704", "0A000"].contains(&code.code())) => {
                Ok(Some(error::said(&error)))
            }
            Err(error) => Err(error::reading(object, &error)),
        }
    }

    /// Reads a stretch of the log. What is told of it is not confirmed: it comes again.
    ///
    /// # Errors
    /// [`ConnectorError`] from the server, and what the taker says.
    pub fn take<C: Changes>(&mut self, span: &Span, changes: &mut C) -> Result<Taken, C::Error> {
        let Self { peek, side, types, known, collections, oids, untold, selection, object, name, .. } = self;
        let fail = |error: postgres::Error| error::reading(object, &error);
        let (options, upto) = (options(&publication::names(side, name, object)?), PgLsn::from(span.upto.0));
        let params: [&(dyn ToSql + Sync); 4] = [&*name, &upto, &span.messages, &options.as_slice()];
        let mut rows = peek.query_raw(PEEK, params).map_err(fail)?;
        let mut teller = Teller {
            side,
            types,
            known,
            collections,
            oids,
            untold,
            selection,
            object,
            changes,
            after: span.after,
            wanted: None,
            ended: span.after,
        };
        let mut messages = 0_u64;
        while let Some(row) = rows.next().map_err(fail)? {
            messages += 1;
            let data: &[u8] = row.try_get(0).map_err(fail)?;
            if let Some(other) = teller.tell(data)? {
                let Other { why, name: table, .. } = other;
                let differs = Some(Differs { why, table, before: teller.ended });
                return Ok(Taken { reached: teller.ended, is_cut: true, differs });
            }
        }
        let is_cut = messages >= u64::from(span.messages.unsigned_abs());
        let reached = if is_cut { teller.ended } else { teller.ended.max(span.upto) };
        Ok(Taken { reached, is_cut, differs: None })
    }
}

/// How changes are told.
fn options(publications: &[String]) -> [String; 6] {
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let names = publications.iter().map(quoted).collect::<Vec<_>>().join(",");
    ["proto_version", "1", "publication_names", &names, "binary", "true"].map(str::to_owned)
}
