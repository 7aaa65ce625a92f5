//! What records are written to: a [`Target`] knows a system, a [`TargetSession`] is one restore into it, a
//! [`CollectionTarget`] one collection being written. What only some systems can do is handed out: [`Surveyed`],
//! [`GoesOn`], [`Standing`].

use super::{
    ConnectorError, Foresight, GoesOn, Meets, Outcomes, Overwrite, RecordLookup, Source, Standing, Surveyed,
    TargetCollection, TargetPlan, file_record::Unkept,
};
use crate::record::{KeyRange, RecordBatch, RecordStream};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

/// What a target can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetAbilities {
    /// What it can do to records that exist.
    pub overwrites: &'static [Overwrite],
    /// Milliseconds by which an expiry may come out off; records that differ by no more count as equal.
    pub expiry_slack_millis: u64,
    /// A record that is replaced keeps the user key that was stored with it where the new one has none: it is the same key, by
    /// the digest, so such records count as equal.
    pub keeps_user_keys: bool,
    /// Records go to standard output, where then nothing else may go.
    pub to_stdout: bool,
    /// Nothing of a restore is there before its end: one that fails has left the target as it was.
    pub all_or_nothing: bool,
    /// What a restore leaves that fails on its way.
    pub leaves: Leaves,
}

/// What a restore that failed on its way has left in a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leaves {
    /// Some of the records.
    #[default]
    Records,
    /// Some of the records, behind which the same restore goes on.
    Progress,
    /// Collections that are as they were or as they are to be, and something beside them that is none.
    Collections,
    /// The same; the same restore goes on with what is none yet.
    CollectionsInProgress,
}

impl Default for TargetAbilities {
    fn default() -> Self {
        Self {
            overwrites: &[Overwrite::Always, Overwrite::Never, Overwrite::IfChanged],
            expiry_slack_millis: 0,
            keeps_user_keys: false,
            to_stdout: false,
            all_or_nothing: false,
            leaves: Leaves::Records,
        }
    }
}

/// A system to write records to.
pub trait Target: Send + Sync {
    /// `sqlite`, `files`, `jsonl` …
    fn connector(&self) -> &'static str;
    /// The collection that the target's URL names, if it names one.
    fn collection(&self) -> Option<String> {
        None
    }
    /// What it can do.
    fn abilities(&self) -> TargetAbilities {
        TargetAbilities::default()
    }
    /// The names and record counts of the collections of these names that already hold records (a count may be a lower
    /// bound: 1 means "some"). A target that does not exist holds none. Changes nothing.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot be looked at.
    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError>;
    /// Says whether a plan fits, and what each of its collections meets, in the plan's order. Changes nothing, and is asked
    /// before anything is written.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot take what the plan brings, or cannot be looked at.
    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        Ok(vec![Meets::Unknown; plan.collections.len()])
    }
    /// Begins a restore; creates the target if it does not exist.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot be written.
    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError>;
    /// The target as a source, for reading back what was written; `None` where that cannot be done (a pipe).
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot be read.
    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        Ok(None)
    }
    /// [`Self::read_back`] of what a restore by this plan would compare with: what the snapshot's scope left out is not in it.
    ///
    /// # Errors
    /// As of [`Self::read_back`].
    fn read_back_of(&self, _plan: &TargetPlan) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        self.read_back()
    }
    /// The name under which [`Self::read_back`] shows what was restored as `name`.
    fn shown_as<'a>(&self, name: &'a str) -> &'a str {
        name
    }
    /// Whether records of a collection can be restored one by one, and found again by their keys: not where a key counts its
    /// neighbours, nor where records make sense only together.
    fn stand_alone(&self, _collection: &TargetCollection) -> bool {
        true
    }
    /// What writing waits for, in words, where that takes a while.
    fn waits_for(&self) -> Option<String> {
        None
    }
    /// What it is about beside writing records, in words, where that takes a while.
    fn is_about(&self) -> Option<String> {
        None
    }
    /// A flag that whoever cancels sets, so that what waits inside of the target hears of it.
    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        None
    }
    /// What wants to know the records that come before anything is written.
    fn surveyed(&self) -> Option<&dyn Surveyed> {
        None
    }
    /// How many records of a collection it changed after they had been written, because the restore wanted it so: read back,
    /// they differ from the snapshot's.
    fn changed_itself(&self, _collection: &str) -> u64 {
        0
    }
    /// Whether all of a collection is derived from others and was made anew of them: it holds other records than came, and rightly.
    fn is_made_anew(&self, _collection: &str) -> bool {
        false
    }
    /// What can say of a restore that writes nothing what it would do beside writing records.
    ///
    /// # Errors
    /// [`ConnectorError`] if the plan does not fit.
    fn foresight(&self, _plan: &TargetPlan) -> Result<Option<Box<dyn Foresight>>, ConnectorError> {
        Ok(None)
    }
    /// Of files: what of them could not be kept by the last restore, where the target adds something of its own to files or cannot
    /// keep all of them.
    fn unkept(&self) -> Option<Unkept> {
        None
    }
    /// What goes on where a restore was stopped.
    fn goes_on(&self) -> Option<&dyn GoesOn> {
        None
    }
}

/// A running restore. Collections are opened one after the other, in the plan's order.
pub trait TargetSession: Send {
    /// What became of a collection's records in an earlier run of the same restore, if the target itself knows that it holds all of
    /// them: it is not opened, and nothing of it is written again.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target does not hold any more what it was known to hold.
    fn written_before(&mut self, _collection: usize) -> Result<Option<Outcomes>, ConnectorError> {
        Ok(None)
    }
    /// Opens a collection of the plan for writing; creates it if it does not exist. Where [`Target::goes_on`] gives something,
    /// collections may also be opened before, to be looked at.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be made or does not fit.
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError>;
    /// Makes what comes after records (indexes, triggers, directory times), and makes everything durable. Without this
    /// call an unfinished target says so when it can.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot be completed at all.
    fn finish(&mut self) -> Result<TargetEnd, ConnectorError>;
}

/// How a restore ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetEnd {
    /// What the snapshot has beside records and the target has not (an index), each in words that name it: makes the
    /// restore incomplete (exit 3).
    pub missing: Vec<String>,
    /// What a person should know though nothing is missing.
    pub notes: Vec<String>,
    /// How much there is now of what the snapshot has beside records, by kind: `indexes`, `modules`.
    pub made: BTreeMap<&'static str, u64>,
}

/// A record to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Its key.
    pub key: Vec<u8>,
    /// The generation that [`CollectionTarget::existing`] gave; a target that can leaves others alone. 0 where there is none.
    pub generation: u32,
}

/// One collection being written.
pub trait CollectionTarget {
    /// Gives the target what else the snapshot holds: called once, before anything else. Most need none of it.
    fn meet_snapshot(&mut self, _records: Arc<dyn RecordLookup>) {}
    /// What the collection holds now of a key range, in key order; `None` if it was created by this restore or the
    /// target cannot be read. Used for if-changed and make-equal; called before any write.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be read.
    fn existing(&mut self, _range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        Ok(None)
    }
    /// Writes records that come in ascending key order. With [`Overwrite::IfChanged`] the caller has already left out
    /// what is equal. Streamed values must be read to their end; an error from a stream fails that record only.
    ///
    /// # Errors
    /// [`ConnectorError`] if writing cannot go on; a record that alone cannot be written goes to `outcomes`.
    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError>;
    /// Waits for what [`Self::write`] has under way: called after the last write, and before a place is remembered.
    ///
    /// # Errors
    /// [`ConnectorError`] if writing cannot go on.
    fn drain(&mut self, _outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        Ok(())
    }
    /// Asked when all is written: keys whose records the target acknowledged and has lost since, so that they are to be written
    /// again. What it tells it tells once.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be looked at.
    fn lost(&mut self) -> Result<Vec<KeyRange>, ConnectorError> {
        Ok(Vec::new())
    }
    /// Removes records (make-equal); keys come in ascending order, after all writes.
    ///
    /// # Errors
    /// [`ConnectorError`] if removing cannot go on.
    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError>;
    /// Writes what waited until others were written or removed; called after the last of both.
    ///
    /// # Errors
    /// [`ConnectorError`] if writing cannot go on.
    fn settle(&mut self, _outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        Ok(())
    }
    /// What tells which records stand in the collection, for going on; `None` if that cannot be told.
    fn standing(&self) -> Option<&dyn Standing> {
        None
    }
    /// Ends the collection.
    ///
    /// # Errors
    /// [`ConnectorError`] naming what could not be made durable.
    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        Ok(())
    }
}
