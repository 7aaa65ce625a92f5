//! The outcomes of a run's ranges: which are done, which of them a checkpoint may name, and whose numbers are kept together.

use super::{joining::Joined, run::Task};
use crate::{connector::PartEnd, layer::BuiltRange, repo::ChunkId};
use std::{ops::Range, sync::Arc};

/// What is known of one task.
struct Slot {
    joined: Option<Joined>,
    /// The task whose outcome holds the numbers of this one.
    leader: usize,
    /// Whether the packs of the worker that did it are closed.
    closed: bool,
    /// Chunks of it that may lie in somebody else's open packs.
    shares: Arc<Vec<ChunkId>>,
}

/// The outcomes by the numbers of their tasks.
pub(super) struct Outcomes {
    slots: Vec<Slot>,
}

/// What a checkpoint says of a span.
pub(super) struct Finished {
    pub(super) tasks: Range<usize>,
    pub(super) built: Vec<BuiltRange>,
    pub(super) numbers: Vec<u8>,
    pub(super) part: PartEnd,
    pub(super) start: crate::record::Timestamp,
    pub(super) end: crate::record::Timestamp,
    pub(super) shares: Vec<Arc<Vec<ChunkId>>>,
}

impl Outcomes {
    pub(super) fn new(tasks: &[Task]) -> Self {
        let nothing = Arc::new(Vec::new());
        let slot = |leader| Slot { joined: None, leader, closed: false, shares: Arc::clone(&nothing) };
        Self { slots: (0..tasks.len()).map(slot).collect() }
    }

    pub(super) fn is_done(&self, task: usize) -> bool {
        self.slots.get(task).is_some_and(|slot| slot.joined.is_some())
    }

    pub(super) fn finish(&mut self, task: usize, joined: Joined) {
        if let Some(slot) = self.slots.get_mut(task) {
            slot.joined = Some(joined);
        }
    }

    /// The packs that hold what these tasks wrote are on their way to storage.
    pub(super) fn close(&mut self, tasks: &[usize], shares: Vec<ChunkId>) {
        let shares = Arc::new(shares);
        for task in tasks {
            if let Some(slot) = self.slots.get_mut(*task) {
                slot.closed = true;
                slot.shares = Arc::clone(&shares);
            }
        }
    }

    /// Takes over consecutive tasks, the first of which holds the numbers of all.
    pub(super) fn take_over(&mut self, first: usize, span: Vec<Joined>) {
        for (slot, joined) in self.slots.iter_mut().skip(first).zip(span) {
            slot.joined = Some(joined);
            slot.leader = first;
            slot.closed = true;
        }
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Joined> {
        self.slots.iter_mut().filter_map(|slot| slot.joined.as_mut())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Joined> {
        self.slots.iter().filter_map(|slot| slot.joined.as_ref())
    }

    /// All outcomes, in the order of their tasks; a task that was not done is `None`.
    pub(super) fn take(&mut self) -> Vec<Option<Joined>> {
        std::mem::take(&mut self.slots).into_iter().map(|slot| slot.joined).collect()
    }

    /// The first tasks of the spans that a checkpoint may name.
    pub(super) fn nameable(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|task| self.slots[*task].leader == *task && self.is_nameable(*task)).collect()
    }

    fn is_nameable(&self, first: usize) -> bool {
        self.members(first).all(|task| {
            let slot = &self.slots[task];
            slot.closed && slot.joined.as_ref().is_some_and(Joined::is_whole)
        })
    }

    fn members(&self, first: usize) -> impl Iterator<Item = usize> {
        let behind = self.slots.iter().skip(first).take_while(move |slot| slot.leader == first).count();
        first..first + behind
    }

    /// What a checkpoint says of the span that begins with this task.
    pub(super) fn finished(&self, first: usize) -> Option<Finished> {
        if !self.is_nameable(first) {
            return None;
        }
        let leader = self.slots.get(first)?.joined.as_ref()?;
        let mut finished = Finished {
            tasks: first..first,
            built: Vec::new(),
            numbers: leader.outcome.numbers(),
            part: leader.part.clone(),
            start: leader.read.start,
            end: leader.read.end,
            shares: Vec::new(),
        };
        for task in self.members(first) {
            let slot = &self.slots[task];
            let joined = slot.joined.as_ref()?;
            finished.tasks.end = task + 1;
            finished.built.push(joined.outcome.built.clone());
            finished.end = finished.end.max(joined.read.end);
            finished.shares.push(Arc::clone(&slot.shares));
        }
        Some(finished)
    }
}
