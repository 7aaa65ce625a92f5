//! One collection being written by several connections.

use super::crew::Crew;
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal,
        postgres::{
            client::{Client, Facts, Server},
            error::writing,
            lobs::ObjectWriter,
            marker,
            plan::Plan,
            write::{Insert, TableWriter},
        },
    },
    record::RecordBatch,
};
use crossbeam_channel::{Receiver, Sender};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What is written to.
pub(super) enum What {
    Table { plan: Arc<Plan>, insert: Insert, is_empty: bool },
    Objects { server: Server, facts: Facts },
}

/// A collection, as all who write to it know it.
pub(super) struct Work {
    pub(super) what: What,
    pub(super) name: String,
    pub(super) object: String,
    pub(super) overwrite: Overwrite,
    /// Records that come.
    pub(super) expected: u64,
    /// Whether one connection writes alone, and notes that it is done in the same transaction.
    pub(super) alone: bool,
    /// Set where a row was refused that may be taken later.
    pub(super) later: Arc<AtomicBool>,
}

/// The kind of what is noted here.
pub(super) const KIND: &str = "table";

impl Work {
    fn fail(&self, error: &postgres::Error) -> ConnectorError {
        writing(&self.object, error)
    }

    fn writer<'c>(&self, client: &'c mut Client) -> Result<Box<dyn CollectionTarget + 'c>, ConnectorError> {
        match &self.what {
            What::Table { plan, insert, is_empty } => {
                let (plan, insert, object) = (Arc::clone(plan), insert.clone(), self.object.clone());
                let later = Arc::clone(&self.later);
                Ok(Box::new(TableWriter::new(client, plan, insert, self.overwrite, *is_empty, object, later)?))
            }
            What::Objects { server, facts } => {
                Ok(Box::new(ObjectWriter::new(client, server.clone(), facts.clone(), self.overwrite)?))
            }
        }
    }

    /// The statement that notes it as done; `None` if records are missing, which another run may find.
    fn note(&self, outcomes: &Outcomes) -> Option<String> {
        let o = outcomes;
        let came = o.inserted + o.replaced + o.existed + o.unchanged + o.failed;
        let said = serde_json::to_string(outcomes).unwrap_or_default();
        (came == self.expected).then(|| marker::note(KIND, &self.name, &said))
    }

    /// Writes batches, in a transaction, until there are no more.
    fn write(&self, client: &mut Client, state: &State, batches: &Receiver<RecordBatch>) -> Written {
        let mut outcomes = Outcomes::default();
        let Ok(first) = batches.recv() else { return Ok(outcomes) };
        client.batch_execute("BEGIN").map_err(|error| self.fail(&error))?;
        let written = self.write_all(client, first, batches, &mut outcomes);
        if written.is_ok() && state.is_whole.load(Ordering::Acquire) {
            if let Some(sql) = self.note(&outcomes).filter(|_| self.alone) {
                client.batch_execute(&sql).map_err(|error| self.fail(&error))?;
            }
            client.batch_execute("COMMIT").map_err(|error| self.fail(&error))?;
        } else {
            // If it cannot be told, the server ends it with the connection.
            let _ = client.batch_execute("ROLLBACK");
        }
        written.map(|()| outcomes)
    }

    fn write_all(
        &self,
        client: &mut Client,
        mut batch: RecordBatch,
        batches: &Receiver<RecordBatch>,
        outcomes: &mut Outcomes,
    ) -> Result<(), ConnectorError> {
        let mut writer = self.writer(client)?;
        loop {
            writer.write(&mut batch, outcomes)?;
            match batches.recv() {
                Ok(next) => batch = next,
                Err(_) => break,
            }
        }
        writer.settle(outcomes)?;
        writer.finish()
    }
}

/// What one connection's part of a collection came to.
type Written = Result<Outcomes, ConnectorError>;

#[derive(Default)]
struct State {
    /// Whether all batches were handed out.
    is_whole: AtomicBool,
    has_failed: AtomicBool,
}

/// Hands batches to whoever is free.
pub(super) struct Rows<'a> {
    lead: &'a mut Client,
    work: Arc<Work>,
    state: Arc<State>,
    batches: Option<Sender<RecordBatch>>,
    results: Receiver<Written>,
    writers: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(lead: &'a mut Client, crew: &Crew, work: Work) -> Self {
        let writers = if work.alone { 1 } else { crew.len() };
        let (work, state) = (Arc::new(work), Arc::new(State::default()));
        let (batches, taken) = crossbeam_channel::bounded::<RecordBatch>(writers);
        let (tell, results) = crossbeam_channel::bounded(writers);
        for worker in 0..writers {
            let (work, state, taken, tell) = (Arc::clone(&work), Arc::clone(&state), taken.clone(), tell.clone());
            crew.give(
                worker,
                Box::new(move |client| {
                    let written = work.write(client, &state, &taken);
                    if written.is_err() {
                        state.has_failed.store(true, Ordering::Release);
                    }
                    drop(taken);
                    let _ = tell.send(written);
                }),
            );
        }
        Self { lead, work, state, batches: Some(batches), results, writers }
    }

    /// Waits for all connections.
    fn collect(&mut self) -> Written {
        self.batches = None;
        let mut all = Outcomes::default();
        let mut failed = None;
        for _ in 0..self.writers {
            let object = || self.work.object.clone();
            let ended = || ConnectorError::Unwritable { object: object(), reason: "a writer panicked".to_owned() };
            match self.results.recv().unwrap_or_else(|_| Err(ended())) {
                Ok(outcomes) => all.add(outcomes),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.writers = 0;
        failed.map_or(Ok(all), Err)
    }
}

impl CollectionTarget for Rows<'_> {
    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let has_failed = self.state.has_failed.load(Ordering::Acquire);
        let sent = self.batches.as_ref().filter(|_| !has_failed).map(|batches| batches.send(std::mem::take(batch)));
        if matches!(sent, Some(Ok(()))) {
            return Ok(());
        }
        outcomes.add(self.collect()?);
        let reason = "its writers have ended".to_owned();
        Err(ConnectorError::Unwritable { object: self.work.object.clone(), reason })
    }

    /// There was nothing before.
    fn remove(&mut self, _: &[Removal], _: &mut Outcomes) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn settle(&mut self, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.state.is_whole.store(true, Ordering::Release);
        let came = self.collect()?;
        // Who wrote alone has noted it, unless nothing came.
        if let Some(sql) = self.work.note(&came).filter(|_| !self.work.alone || self.work.expected == 0) {
            self.lead.batch_execute(&sql).map_err(|error| self.work.fail(&error))?;
        }
        outcomes.add(came);
        Ok(())
    }
}
