//! The threads of a run: who does which range, and who listens meanwhile.

use super::{dry::DryWriter, workers::Workers};
use crate::{
    connector::{Evidence, SessionEnd},
    ops::{OpsError, crew::together, watched::watched},
    repo::{ChunkWriter, Relay, SessionWriter, WriteSession},
    report::WarningKind,
};
use std::{
    ops::ControlFlow,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

/// How often it is said what is waited for.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether to stop.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Why a worker pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paused {
    /// Nothing is left to do.
    ForNothing,
    /// Its packs are to be closed.
    ToClose,
}

impl Workers<'_> {
    /// So many read at most; where the run has more threads than that, the others store what those find.
    fn run(&self, readers: usize) -> Result<(), OpsError> {
        let readers = readers.min(self.tasks.len());
        let relay = self.writing.filter(|_| readers > 0).and_then(WriteSession::relay);
        let threads = if relay.is_some() { readers.max(self.options.parallel) } else { readers };
        together(threads, || self.work(relay.as_ref(), readers))
    }

    /// Does some work while somebody listens for it.
    fn heard<T>(&self, work: impl FnOnce() -> T) -> T {
        watched(LOOK_AROUND, || self.hear(), work)
    }

    /// Tells the session once somebody asks to stop, and a person what the session waits for: a worker that waits for an
    /// answer does neither.
    fn hear(&self) -> ControlFlow<()> {
        if self.progress.cancelled() {
            self.session.stop();
            return ControlFlow::Break(());
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN)
            && let Some(text) = self.session.evidence().and_then(Evidence::waits_for)
        {
            self.progress.warn(WarningKind::Waiting, "", text);
            *told = Some(Instant::now());
        }
        ControlFlow::Continue(())
    }

    /// Reads all ranges, and ends the session if its end has to be known.
    pub(super) fn read(&self, readers: usize, is_exact: bool) -> Result<Option<SessionEnd>, OpsError> {
        self.heard(|| self.run(readers))?;
        if is_exact {
            return Ok(None);
        }
        while self.outcomes().has_incomplete()
            && self.heard(|| self.session.evidence().is_some_and(Evidence::reads_better_now))
        {
            let ranges = self.outcomes().reopen();
            let words = format!("{ranges} ranges that were not read whole are read again");
            self.progress.warn(WarningKind::DoneAgain, "", words);
            self.next.store(0, Ordering::SeqCst);
            self.heard(|| self.run(readers))?;
        }
        self.checkpoint_if_due()?;
        Ok(Some(self.heard(|| self.session.finish())?))
    }

    fn work(&self, relay: Option<&Arc<Relay>>, readers: usize) -> Result<(), OpsError> {
        let outcome = match self.writing {
            Some(writing) => self.work_in(writing, relay, readers),
            None => self
                .take_tasks(&mut DryWriter { repo: self.repo, counts: &self.dry }, &mut Vec::new(), None)
                .map(|_| ()),
        };
        if outcome.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Works until nothing is left to do, and closes packs from time to time, so that a checkpoint may name what is in them.
    fn work_in(&self, writing: &WriteSession, relay: Option<&Arc<Relay>>, readers: usize) -> Result<(), OpsError> {
        let mut mine = Vec::new();
        let mut finder = relay.and_then(|relay| relay.begin(readers));
        loop {
            let opened = Instant::now();
            let mut writer = writing.writer();
            let mut worked = Ok(Paused::ForNothing);
            if relay.is_none() || finder.is_some() {
                if let Some(relay) = relay {
                    writer.hand_over_to(relay);
                }
                worked = self.take_tasks(&mut writer, &mut mine, Some(opened));
            }
            if let (Some(relay), Ok(Paused::ForNothing)) = (relay, &worked) {
                finder = None;
                worked = self.help(&mut writer, relay, opened);
            }
            let shares = writer.take_shares();
            // Also after a failure: what is in open packs is found again by the next run.
            let finished = writer.finish();
            if finished.is_ok() {
                self.outcomes().close(&mine, shares);
                mine.clear();
            }
            let paused = worked?;
            finished?;
            if paused == Paused::ForNothing {
                return Ok(());
            }
            self.checkpoint_if_due()?;
        }
    }

    /// Stores what others find; they stop if somebody asks to.
    fn help(&self, writer: &mut SessionWriter, relay: &Relay, opened: Instant) -> Result<Paused, OpsError> {
        let is_done = writer.help(relay, &|| self.checkpoints.wants_closed(opened))?;
        Ok(if is_done { Paused::ForNothing } else { Paused::ToClose })
    }

    fn take_tasks(
        &self,
        writer: &mut dyn ChunkWriter,
        mine: &mut Vec<usize>,
        opened: Option<Instant>,
    ) -> Result<Paused, OpsError> {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = self.tasks.get(number) else { break };
            if self.outcomes().is_done(number) {
                continue;
            }
            if self.progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
            let outcome = self.join(task, writer)?;
            self.outcomes().finish(number, outcome);
            mine.push(number);
            if opened.is_none() {
                // Nothing is written, so that no pack has to be closed.
                self.outcomes().close(&[number], Vec::new());
            }
            if opened.is_some_and(|opened| self.checkpoints.wants_closed(opened)) {
                return Ok(Paused::ToClose);
            }
        }
        Ok(Paused::ForNothing)
    }
}
