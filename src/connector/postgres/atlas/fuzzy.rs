//! A store that is read table after table, each at a state of its own: cells, then transactions, then the rest, guarded against
//! sweep. Why this is a backup: `docs/atlasdb.md`, "Without one state".

use super::{
    contradiction::{contradiction, say_foreign},
    ground::{Ground, Tables},
    guard::Guard,
    timelock::Giver,
    timestamps::{FileStream, StoreAttributes, Timestamps},
};
use crate::{
    connector::{
        ConnectorError, SessionEnd, SessionOptions, SourceCollection, SourceSession,
        postgres::{
            client::Server,
            names,
            select::Selection,
            source::{PostgresSession, PostgresSource},
        },
    },
    record::{KeyRange, RecordStream, Timestamp},
};
use serde_json::Value as Json;
use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A store being read.
pub(super) struct Fuzzy {
    server: Server,
    ground: Ground,
    giver: Giver,
    options: SessionOptions,
    start: Timestamp,
    tables: Tables,
    parts: Vec<Part>,
    /// Those of the database, and the files.
    collections: Vec<SourceCollection>,
    attributes: Json,
    /// One table is read at a time.
    loading: Mutex<()>,
    guard: Mutex<Option<Guard>>,
    backup_timestamp: i64,
    immutable_timestamp: Option<i64>,
    /// Known when all is read.
    timestamps: OnceLock<Timestamps>,
    /// What of the state says that the timestamps are not of this store.
    foreign: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

/// A table.
struct Part {
    rank: u8,
    session: OnceLock<PostgresSession>,
    is_loaded: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a table is read: those of a lower rank are read whole before.
fn rank(ground: &Ground, table: &str) -> u8 {
    let bare = table.strip_prefix(ground.prefix.as_str()).unwrap_or(table);
    match bare {
        "_transactions" | "_transactions2" => 1,
        "_coordination" | "_timestamp" => 2,
        _ if table.starts_with("pt_") => 2,
        _ => 0,
    }
}

impl Fuzzy {
    /// Takes the lock and the backup timestamp, and looks at what tables there are.
    pub(super) fn begin(
        server: &Server,
        ground: &Ground,
        giver: &Giver,
        sweep_is_off: bool,
        options: &SessionOptions,
    ) -> Result<Self, ConnectorError> {
        let guard = if sweep_is_off { None } else { Guard::take(giver)? };
        if guard.is_none() && !sweep_is_off {
            let reason = "nothing keeps sweep from versions that the copy needs: a TimeLock does (timelock), or sweep is off in all \
                          services and that is said (sweep_is_off)";
            return Err(ConnectorError::Options { reason: reason.to_owned() });
        }
        let immutable_timestamp = match &guard {
            Some(guard) => Some(guard.immutable()),
            None => giver.immutable()?,
        };
        let backup_timestamp = giver.fresh()?;
        if immutable_timestamp.is_some_and(|immutable| immutable > backup_timestamp) {
            return Err(ground.mismatch("the immutable timestamp is above a fresh one: they are not of one store"));
        }
        let mut tables = Tables::default();
        let whole = PostgresSource::new(server.clone(), Selection::default());
        let looked_at = SessionOptions { parallel: 1, ..options.clone() };
        let session = whole.begin_with(&looked_at, &mut |client| {
            tables = ground.tables(client, &BTreeSet::new())?;
            Ok(Selection::only(tables.found.iter().map(|table| (ground.schema.clone(), table.clone()))))
        })?;
        let mut collections = session.collections().to_vec();
        let (start, mut attributes) = (session.start(), session.attributes());
        let SessionEnd { missing, notes, .. } = session.finish()?;
        tables.missing.extend(missing);
        tables.notes.extend(notes);
        if let Json::Object(fields) = &mut attributes {
            fields.insert("fuzzy".to_owned(), true.into());
        }
        let part = |collection: &SourceCollection| {
            let table = names::parse(&collection.name).map(|(_, table)| table).unwrap_or_default();
            Part { rank: rank(ground, &table), session: OnceLock::new(), is_loaded: AtomicBool::new(false) }
        };
        let parts = collections.iter().map(part).collect();
        // Files have names that do not depend on what is in them.
        collections.push(
            Timestamps {
                given_by: giver.name().to_owned(),
                backup_timestamp,
                fast_forward_timestamp: backup_timestamp,
                immutable_timestamp,
            }
            .collection(),
        );
        Ok(Self {
            server: server.clone(),
            ground: ground.clone(),
            giver: giver.clone(),
            options: options.clone(),
            start,
            tables,
            parts,
            collections,
            attributes,
            loading: Mutex::new(()),
            guard: Mutex::new(guard),
            backup_timestamp,
            immutable_timestamp,
            timestamps: OnceLock::new(),
            foreign: Mutex::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Reads what goes before a table, and the table.
    fn loaded(&self, collection: usize) -> Result<&PostgresSession, ConnectorError> {
        let missing = || self.ground.mismatch("it has no such table");
        let part = self.parts.get(collection).ok_or_else(missing)?;
        let _one_at_a_time = lock(&self.loading);
        self.load_below(part.rank)?;
        self.load(collection)?;
        part.session.get().ok_or_else(missing)
    }

    fn load_below(&self, rank: u8) -> Result<(), ConnectorError> {
        for below in 0..rank {
            for (at, _) in self.parts.iter().enumerate().filter(|(_, part)| part.rank == below) {
                self.load(at)?;
            }
        }
        Ok(())
    }

    /// Reads a table at the state that it has now.
    fn load(&self, at: usize) -> Result<(), ConnectorError> {
        let (part, wanted) = (&self.parts[at], &self.collections[at]);
        if part.is_loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        self.check()?;
        let object = format!("table {} of {}", wanted.name, self.ground.object);
        let source =
            PostgresSource::new(self.server.clone(), Selection::only([names::place(&wanted.name)?])).rows_only();
        let session = source.begin_with(&self.options, &mut |_| Ok(Selection::only([names::place(&wanted.name)?])))?;
        let is_same = session.collections().first().is_some_and(|found| found.attributes == wanted.attributes);
        if !is_same {
            let reason = "it was changed or dropped while the store was read".to_owned();
            return Err(ConnectorError::Mismatch { object, reason });
        }
        let session = part.session.get_or_init(|| session);
        if self.stopped.load(Ordering::Acquire) {
            session.stop();
        }
        session.load(0)?;
        session.let_go()?;
        self.check()?;
        part.is_loaded.store(true, Ordering::Release);
        Ok(())
    }

    fn check(&self) -> Result<(), ConnectorError> {
        if self.stopped.load(Ordering::Acquire) {
            let reason = "it was stopped".to_owned();
            return Err(ConnectorError::Unreadable { object: self.ground.object.clone(), reason });
        }
        lock(&self.guard).as_ref().map_or(Ok(()), Guard::check)
    }

    /// Reads all that is left, and asks for what is known at the end.
    fn complete(&self) -> Result<&Timestamps, ConnectorError> {
        let _one_at_a_time = lock(&self.loading);
        if let Some(timestamps) = self.timestamps.get() {
            return Ok(timestamps);
        }
        self.load_below(u8::MAX)?;
        if let Some(guard) = lock(&self.guard).take() {
            guard.release()?;
        }
        // A state that is fixed before the last timestamp is given has no commit after it.
        let mut client = self.server.connect()?;
        let fixed = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";
        client.batch_execute(fixed).map_err(|error| self.ground.reading(&error))?;
        let timestamps = Timestamps {
            given_by: self.giver.name().to_owned(),
            backup_timestamp: self.backup_timestamp,
            fast_forward_timestamp: self.giver.fresh()?,
            immutable_timestamp: self.immutable_timestamp,
        };
        timestamps.check().and_then(|()| timestamps.check_fresh()).map_err(|why| self.ground.mismatch(&why))?;
        let found = contradiction(&mut client, &self.ground, timestamps.fast_forward_timestamp, say_foreign)?;
        lock(&self.foreign).extend(found);
        Ok(self.timestamps.get_or_init(|| timestamps))
    }

    fn is_files(&self, collection: usize) -> bool {
        collection == self.parts.len()
    }
}

impl SourceSession for Fuzzy {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        let mut attributes = self.attributes.clone();
        if let (Json::Object(fields), Some(timestamps)) = (&mut attributes, self.timestamps.get()) {
            let own = StoreAttributes::of(&self.ground, timestamps.clone(), self.tables.others.clone());
            fields.insert("atlasdb".to_owned(), serde_json::to_value(own).unwrap_or_default());
        }
        attributes
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        self.options.parallel.max(1)
    }

    fn splits(&self, collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        if self.is_files(collection) { Ok(Vec::new()) } else { self.loaded(collection)?.splits(0, parts) }
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        if self.is_files(collection) {
            return Ok(Box::new(FileStream::new(self.complete()?, range)));
        }
        self.loaded(collection)?.read(0, range)
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        self.complete()?;
        let mut end = SessionEnd {
            end: self.start,
            missing: self.tables.missing.clone(),
            notes: self.tables.notes.clone(),
            ..SessionEnd::default()
        };
        for session in self.parts.iter().filter_map(|part| part.session.get()) {
            end.missing.extend(session.finish()?.missing);
        }
        end.missing.extend(lock(&self.foreign).iter().cloned());
        Ok(end)
    }

    /// The files are there even where the store is gone.
    fn bare_records(&self) -> u64 {
        2 + u64::from(self.immutable_timestamp.is_some())
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for session in self.parts.iter().filter_map(|part| part.session.get()) {
            session.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_read_behind_all_cells_and_bounds_behind_them() {
        let ground = Ground {
            object: String::new(),
            schema: "public".to_owned(),
            prefix: "a_".to_owned(),
            metadata: "_metadata".to_owned(),
            client: None,
        };
        let of = |table: &str| rank(&ground, table);
        assert_eq!((of("a__transactions"), of("a__transactions2")), (1, 1));
        assert_eq!((of("a__coordination"), of("a__timestamp"), of("pt_timelock_db_ts")), (2, 2, 2));
        for cells in ["a_default__account", "_metadata", "dual", "a__punch", "a__known_concluded_transactions"] {
            assert_eq!(of(cells), 0, "{cells}");
        }
    }
}
