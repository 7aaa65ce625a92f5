//! The source: the tables of a store at one state, with the timestamps that belong to it.

use super::{
    CONNECTOR,
    contradiction::{Say, contradiction, say_contradiction, say_foreign},
    fuzzy::Fuzzy,
    ground::{Ground, Tables},
    place::StorePlace,
    timelock::Giver,
    timestamps::{FileStream, GIVEN_BY_STORE, StoreAttributes, Timestamps},
};
use crate::{
    connector::{
        ConnectorError, Identity, SessionEnd, SessionOptions, Source, SourceAbilities, SourceCollection, SourceSession,
        postgres::{
            client::{Client, Server},
            select::Selection,
            source::PostgresSource,
        },
    },
    record::{KeyRange, RecordStream, Timestamp},
};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// A store to read.
pub(super) struct AtlasSource {
    server: Server,
    ground: Ground,
    giver: Option<Giver>,
    /// To be compared with what these timestamps belong to, where it is read back after a restore.
    restored: Option<Timestamps>,
    /// With it: what the table of tables names of other stores, which are elsewhere.
    others: BTreeSet<String>,
    /// Whether tables are read one after the other, and then whether nobody sweeps meanwhile.
    fuzzy: Option<bool>,
}

impl AtlasSource {
    pub(super) fn new(place: StorePlace, giver: Option<Giver>) -> Self {
        Self { server: place.server, ground: place.ground, giver, restored: None, others: BTreeSet::new(), fuzzy: None }
    }

    /// A store that was restored.
    pub(super) fn restored(server: Server, ground: Ground, timestamps: Timestamps, others: BTreeSet<String>) -> Self {
        Self { server, ground, giver: None, restored: Some(timestamps), others, fuzzy: None }
    }

    /// To be read table after table.
    pub(super) fn fuzzy(self, sweep_is_off: bool) -> Result<Self, ConnectorError> {
        if self.giver.is_none() {
            let reason = "without one state the store's own bound is no timestamp of a backup: one is asked for at a TimeLock, or of a command";
            return Err(ConnectorError::Options { reason: reason.to_owned() });
        }
        Ok(Self { fuzzy: Some(sweep_is_off), ..self })
    }

    /// A standby lags: cells that were written before a timestamp that somebody else gives may not be there yet, though the entry
    /// that says that they are committed is, when its table is read later.
    fn refuse_standby(&self) -> Result<(), ConnectorError> {
        let mut client = self.server.connect()?;
        if !self.server.facts(&mut client)?.is_replica {
            return Ok(());
        }
        let reason = "it is a standby, which may lack what committed before a timestamp that does not come from the store itself: \
                      such a store is read where it is written";
        Err(ConnectorError::Usage { object: self.server.shown(), reason: reason.to_owned() })
    }

    /// Whether the state that `client` sees contradicts its own bound, in words.
    fn contradiction(&self, client: &mut Client, from: i64, say: Say) -> Result<Option<String>, ConnectorError> {
        contradiction(client, &self.ground, from, say)
    }

    /// The timestamps of the state that `client` sees.
    fn timestamps(&self, client: &mut Client, before: Option<&Before>) -> Result<Timestamps, ConnectorError> {
        if let Some(restored) = &self.restored {
            return Ok(restored.clone());
        }
        let timestamps = if let (Some(before), Some(giver)) = (before, &self.giver) {
            Timestamps {
                given_by: giver.name().to_owned(),
                backup_timestamp: before.fresh,
                // The state is fixed: whatever it holds was handed out before this one.
                fast_forward_timestamp: giver.fresh()?,
                immutable_timestamp: before.immutable,
            }
        } else {
            // Of the same state as the cells: whoever wrote one of them had first noted a bound that is not lower.
            let keeper = self.ground.keeper(client)?;
            let next = self.ground.next(&keeper)?;
            Timestamps {
                given_by: GIVEN_BY_STORE.to_owned(),
                backup_timestamp: next,
                fast_forward_timestamp: next,
                immutable_timestamp: None,
            }
        };
        timestamps.check().and_then(|()| timestamps.check_fresh()).map_err(|why| self.ground.mismatch(&why))?;
        Ok(timestamps)
    }
}

/// What was asked for before the state was fixed.
struct Before {
    fresh: i64,
    immutable: Option<i64>,
}

impl Source for AtlasSource {
    fn identity(&self) -> Identity {
        let address = &self.server.address;
        let Ground { schema, prefix, metadata, .. } = &self.ground;
        let mut name = address.identity();
        let said = [("schema", schema, "public"), ("prefix", prefix, ""), ("metadata-table", metadata, "_metadata")];
        for (index, (what, value, _)) in said.iter().filter(|(_, value, usual)| value != usual).enumerate() {
            name.push(if index == 0 { '?' } else { '&' });
            name.push_str(&format!("{what}={value}"));
        }
        Identity { connector: CONNECTOR, name, local: address.is_local() }
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities { exact: true, ..SourceAbilities::default() }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        if self.giver.is_some() {
            self.refuse_standby()?;
        }
        if let (Some(sweep_is_off), Some(giver)) = (self.fuzzy, &self.giver) {
            return Ok(Box::new(Fuzzy::begin(&self.server, &self.ground, giver, sweep_is_off, options)?));
        }
        let before = match (&self.giver, &self.restored) {
            (Some(giver), None) => Some(Before { immutable: giver.immutable()?, fresh: giver.fresh()? }),
            _ => None,
        };
        let inner = PostgresSource::new(self.server.clone(), Selection::default());
        let inner = if self.restored.is_some() { inner.rows_only() } else { inner };
        let mut found = None;
        let session = inner.begin_with(options, &mut |client| {
            let mut tables = self.ground.tables(client, &self.others)?;
            // Where a run has to begin again, what was asked for before the first state is before the later one, too.
            let timestamps = self.timestamps(client, before.as_ref())?;
            if self.restored.is_none() && self.giver.is_none() {
                tables.missing.extend(self.contradiction(client, timestamps.backup_timestamp, say_contradiction)?);
            } else if self.restored.is_none() {
                tables.missing.extend(self.contradiction(client, timestamps.fast_forward_timestamp, say_foreign)?);
            }
            let chosen = tables.found.iter().map(|table| (self.ground.schema.clone(), table.clone()));
            let selection = Selection::only(chosen);
            found = Some((tables, timestamps));
            Ok(selection)
        })?;
        let (tables, timestamps) = found.ok_or_else(|| self.ground.mismatch("it was not looked at"))?;
        let mut collections = session.collections().to_vec();
        collections.push(timestamps.collection());
        let mut attributes = session.attributes();
        let own = serde_json::to_value(StoreAttributes::of(&self.ground, timestamps.clone(), tables.others.clone()))
            .unwrap_or_default();
        if let Json::Object(fields) = &mut attributes {
            fields.insert("atlasdb".to_owned(), own);
        }
        Ok(Box::new(AtlasSession { inner: Box::new(session), tables, timestamps, collections, attributes }))
    }
}

struct AtlasSession {
    inner: Box<dyn SourceSession>,
    tables: Tables,
    timestamps: Timestamps,
    /// Those of the database, and the files.
    collections: Vec<SourceCollection>,
    attributes: Json,
}

impl AtlasSession {
    fn is_files(&self, collection: usize) -> bool {
        collection + 1 == self.collections.len()
    }
}

impl SourceSession for AtlasSession {
    fn start(&self) -> Timestamp {
        self.inner.start()
    }

    fn attributes(&self) -> Json {
        self.attributes.clone()
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        self.inner.readers()
    }

    fn splits(&self, collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        if self.is_files(collection) { Ok(Vec::new()) } else { self.inner.splits(collection, parts) }
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        if self.is_files(collection) {
            return Ok(Box::new(FileStream::new(&self.timestamps, range)));
        }
        self.inner.read(collection, range)
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        let mut end = self.inner.finish()?;
        end.missing.extend(self.tables.missing.iter().cloned());
        end.notes.extend(self.tables.notes.iter().cloned());
        Ok(end)
    }

    /// The files are there even where the store is gone.
    fn bare_records(&self) -> u64 {
        self.timestamps.files().len() as u64
    }

    fn stop(&self) {
        self.inner.stop();
    }
}
