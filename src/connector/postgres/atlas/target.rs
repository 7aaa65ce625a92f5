//! The target: an empty schema that becomes a store again. Cells, the cleaning of transactions and the moving of timestamps are one
//! transaction: a restore that is killed anywhere has done nothing, and is done again from the beginning.

use super::{
    CONNECTOR,
    clean::{self, Cleaned, Cleaning, TRANSACTIONS},
    contradiction::say_contradiction,
    foreseen::Foreseen,
    ground::{Ground, Keeper, physical},
    place::{Said, StorePlace},
    source::AtlasSource,
    timelock::Giver,
    timestamps::{COLLECTION, FileTaker, GIVEN_BY_STORE, StoreAttributes, Timestamps},
};
use crate::connector::{
    CollectionTarget, ConnectorError, Foresight, Meets, Source, Target, TargetAbilities, TargetCollection, TargetEnd,
    TargetPlan, TargetSession,
    postgres::{
        client::{Client, Server},
        names::{collection, ident},
        select::Selection,
        target::{PostgresTarget, PostgresTargetSession},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// A place for a store.
pub(super) struct AtlasTarget {
    server: Server,
    ground: Ground,
    said: Said,
    giver: Option<Giver>,
    done: Arc<Mutex<Option<Done>>>,
}

/// What a restore came to.
struct Done {
    ground: Ground,
    timestamps: Timestamps,
    others: BTreeSet<String>,
    /// Records that were changed after they had been written, by collection.
    changed: BTreeMap<String, u64>,
}

impl AtlasTarget {
    pub(super) fn new(place: StorePlace, giver: Option<Giver>) -> Self {
        let StorePlace { server, ground, said } = place;
        Self { server, ground, said, giver, done: Arc::default() }
    }

    fn inner(&self) -> Result<PostgresTarget, ConnectorError> {
        PostgresTarget::new(self.server.clone(), &Selection::default())
    }

    /// What the snapshot says of the store, if the plan brings a whole one to where it may be.
    fn attributes(&self, plan: &TargetPlan) -> Result<(Ground, StoreAttributes), ConnectorError> {
        let object = self.ground.object.clone();
        let refuse = |reason: String| Err(ConnectorError::Usage { object: object.clone(), reason });
        if plan.connector != CONNECTOR {
            let reason = format!("the snapshot is one of {}, and only stores are restored here", plan.connector);
            return Err(ConnectorError::Mismatch { object, reason });
        }
        let own = StoreAttributes::read(&plan.attributes, &object)?;
        let renamed = plan.collections.iter().find(|one| one.name != one.source_name);
        if plan.partial || renamed.is_some() {
            return refuse(
                "a store is restored as a whole: its cells mean nothing without its transactions".to_owned(),
            );
        }
        let differs = |said: &Option<String>, is: &String| said.as_ref().is_some_and(|said| said != is);
        for (what, said, is) in [
            ("schema", &self.said.schema, &own.schema),
            ("prefix", &self.said.prefix, &own.prefix),
            ("metadata-table", &self.said.metadata, &own.metadata_table),
        ] {
            if differs(said, is) {
                return refuse(format!("the snapshot's {what} is `{is}`, and tables are not renamed"));
            }
        }
        Ok((own.ground(object, self.ground.client.clone()), own))
    }

    /// Refuses a schema that holds anything.
    fn check_empty(client: &mut Client, ground: &Ground) -> Result<(), ConnectorError> {
        let sql = "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d \
                   WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1";
        let rows = client.query(sql, &[&ground.schema]).map_err(|error| ground.reading(&error))?;
        let Some(first) = rows.first() else { return Ok(()) };
        let reason = format!(
            "its schema {} holds {} tables and others already ({} is one): a store is restored into an empty schema only",
            ground.schema,
            rows.len(),
            first.get::<_, String>(0)
        );
        Err(ConnectorError::Usage { object: ground.object.clone(), reason })
    }

    /// The plan of what the database takes: all but the files.
    fn of_database(plan: &TargetPlan) -> TargetPlan {
        let mut inner = plan.clone();
        "postgresql".clone_into(&mut inner.connector);
        inner.collections.retain(|one| one.source_name != COLLECTION);
        inner
    }

    fn connect(&self) -> Result<Client, ConnectorError> {
        let mut client = self.server.connect()?;
        self.server.facts(&mut client)?;
        Ok(client)
    }
}

fn is_files(collection: &TargetCollection) -> bool {
    collection.source_name == COLLECTION
}

impl Target for AtlasTarget {
    fn connector(&self) -> &'static str {
        CONNECTOR
    }

    fn abilities(&self) -> TargetAbilities {
        TargetAbilities { all_or_nothing: true, ..TargetAbilities::default() }
    }

    /// Whether anything is there is judged by the schema, when the plan is known.
    fn occupied(&self, _: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        Ok(Vec::new())
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        let (ground, _) = self.attributes(plan)?;
        Self::check_empty(&mut self.connect()?, &ground)?;
        self.inner()?.rehearse(&Self::of_database(plan))?;
        Ok(vec![Meets::Nothing; plan.collections.len()])
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        let (ground, own) = self.attributes(plan)?;
        let schema = ident(&ground.schema, false);
        let inner = self.inner()?.begin_with(&Self::of_database(plan), &mut |client| {
            Self::check_empty(client, &ground)?;
            ground.run(client, &format!("CREATE SCHEMA IF NOT EXISTS {schema}"))
        })?;
        Ok(Box::new(AtlasTargetSession {
            inner,
            files: plan.collections.iter().position(is_files),
            ground,
            timestamps: own.timestamps,
            others: own.others,
            giver: self.giver.clone(),
            done: Arc::clone(&self.done),
        }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(done) = &*done else { return Ok(None) };
        let source = AtlasSource::restored(
            self.server.clone(),
            done.ground.clone(),
            done.timestamps.clone(),
            done.others.clone(),
        );
        Ok(Some(Box::new(source)))
    }

    fn changed_itself(&self, collection: &str) -> u64 {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.as_ref().and_then(|done| done.changed.get(collection)).copied().unwrap_or(0)
    }

    fn foresight(&self, plan: &TargetPlan) -> Result<Option<Box<dyn Foresight>>, ConnectorError> {
        let (ground, own) = self.attributes(plan)?;
        Ok(Some(Box::new(Foreseen::new(ground, own.timestamps))))
    }
}

struct AtlasTargetSession {
    inner: PostgresTargetSession,
    /// Which of the plan's collections are the files.
    files: Option<usize>,
    ground: Ground,
    timestamps: Timestamps,
    others: BTreeSet<String>,
    giver: Option<Giver>,
    done: Arc<Mutex<Option<Done>>>,
}

impl AtlasTargetSession {
    /// Cleans transactions and moves timestamps forward, within the transaction that brought the cells.
    fn complete(
        client: &mut Client,
        ground: &Ground,
        timestamps: &Timestamps,
        changed: &mut BTreeMap<String, u64>,
        notes: &mut Vec<String>,
        missing: &mut Vec<String>,
    ) -> Result<Keeper, ConnectorError> {
        let cleaned = clean::clean(client, ground, timestamps.backup_timestamp, Cleaning::default())?;
        notes.push(say_cleaned(&cleaned, timestamps.backup_timestamp));
        if timestamps.given_by == GIVEN_BY_STORE {
            missing.extend(say_contradiction(&cleaned, timestamps.backup_timestamp));
        }
        for (table, count) in TRANSACTIONS.iter().zip(cleaned.by_table).filter(|(_, count)| *count > 0) {
            changed.insert(collection(&ground.schema, &physical(&ground.prefix, table)), count);
        }
        let keeper = ground.keeper(client)?;
        if keeper != Keeper::Elsewhere {
            let (before, after) = ground.forward(client, timestamps.fast_forward_timestamp, 0, false)?;
            notes.push(say_forward(before, after));
            if before != after
                && let Some(table) = ground.of_keeper(&keeper)
            {
                changed.insert(collection(&ground.schema, &table), 1);
            }
        }
        Ok(keeper)
    }
}

/// What cleaning came to, in words.
pub(super) fn say_cleaned(cleaned: &Cleaned, from: i64) -> String {
    let Cleaned { looked_at, cleaned, .. } = cleaned;
    format!("{looked_at} entries of transactions, {cleaned} of them committed at or after {from} and were made aborted")
}

/// How far timestamps were moved, in words.
pub(super) fn say_forward(before: i64, after: i64) -> String {
    if before == after {
        format!("timestamps go on above {before}")
    } else {
        format!("the bound of timestamps was {before}, and was moved to {after}: they go on above it")
    }
}

impl TargetSession for AtlasTargetSession {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        match self.files {
            Some(files) if files == collection => Ok(Box::new(FileTaker { timestamps: self.timestamps.clone() })),
            // The files are no collection of the database's plan.
            Some(files) if files < collection => self.inner.open(collection - 1),
            _ => self.inner.open(collection),
        }
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        let (mut changed, mut notes, mut keeper) = (BTreeMap::new(), Vec::new(), Keeper::Elsewhere);
        let mut missing = Vec::new();
        let (ground, timestamps) = (self.ground.clone(), self.timestamps.clone());
        let mut end = self.inner.finish_with(&mut |client| {
            keeper = Self::complete(client, &ground, &timestamps, &mut changed, &mut notes, &mut missing)?;
            Ok(())
        })?;
        end.notes.extend(notes);
        end.missing.extend(missing);
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Done { ground: ground.clone(), timestamps: timestamps.clone(), others: self.others.clone(), changed });
        if keeper == Keeper::Elsewhere {
            let to = timestamps.fast_forward_timestamp;
            let moved = self.giver.as_ref().map(|giver| giver.forward(to));
            match moved {
                Some(Ok(true)) => end.notes.push(format!("the TimeLock was moved forward to {to}")),
                Some(Err(error)) => end.missing.push(format!("the TimeLock was not moved forward to {to}: {error}")),
                _ => end.missing.push(format!(
                    "timestamps are kept by a TimeLock elsewhere: move it forward to {to} before any service starts \
                     (timestamp-management/fast-forward?currentTimestamp={to})"
                )),
            }
        }
        Ok(end)
    }
}
