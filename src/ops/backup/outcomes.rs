//! The outcomes of a run's ranges: which are done, which of them a checkpoint may name, and whose numbers are kept together.

use super::joined::Joined;
use crate::{connector::PartEnd, layer::BuiltRange, repo::ChunkId};
use std::{ops::Range, sync::Arc};

/// How many ranges' numbers a collection may have.
const MAX_NUMBERS: usize = 64;

/// What is known of one task.
struct Slot {
    joined: Option<Joined>,
    /// The task whose outcome holds the numbers of this one.
    leader: usize,
    /// Which tasks' numbers may be kept together.
    group: usize,
    /// Whether the packs of the worker that did it are closed.
    closed: bool,
    /// Chunks of it that may lie in somebody else's open packs.
    shares: Arc<Vec<ChunkId>>,
}

/// The outcomes by the numbers of their tasks.
pub(super) struct TaskOutcomes {
    slots: Vec<Slot>,
    /// While a checkpoint is made nobody's numbers move; these wait.
    waiting: Option<Vec<usize>>,
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

/// How many neighbours' numbers are kept together, of so many ranges.
pub(super) fn group_size(ranges: usize) -> usize {
    ranges.div_ceil(MAX_NUMBERS).max(1)
}

impl Slot {
    /// Whether it is finished by this run and nothing is to be said of it.
    fn is_plain(&self) -> bool {
        let is_plain = |joined: &Joined| {
            joined.is_whole()
                && joined.unswept.is_empty()
                && joined.outcome.stood == 0
                && joined.part.doubts.is_empty()
                && !joined.read.earlier
        };
        self.closed && self.joined.as_ref().is_some_and(is_plain)
    }
}

impl TaskOutcomes {
    /// For so many ranges of each job. Of more than 64 the numbers of neighbours are kept together, since the expiries of
    /// each may take 3 MB.
    pub(super) fn new(ranges: impl Iterator<Item = usize>) -> Self {
        let nothing = Arc::new(Vec::new());
        let (mut slots, mut group) = (Vec::new(), 0);
        for count in ranges {
            let size = group_size(count);
            for range in 0..count {
                group += usize::from(range % size == 0);
                let shares = Arc::clone(&nothing);
                slots.push(Slot { joined: None, leader: slots.len(), group, closed: false, shares });
            }
        }
        Self { slots, waiting: None }
    }

    pub(super) fn is_done(&self, task: usize) -> bool {
        self.slots.get(task).is_some_and(|slot| slot.joined.is_some())
    }

    pub(super) fn finish(&mut self, task: usize, joined: Joined) {
        if let Some(slot) = self.slots.get_mut(task) {
            slot.joined = Some(joined);
        }
    }

    /// Whether something was read of which not all came.
    pub(super) fn has_incomplete(&self) -> bool {
        self.all().any(|joined| !joined.part.complete)
    }

    /// Forgets what was read of which not all came, so that it is read again; gives how many ranges that are.
    pub(super) fn reopen(&mut self) -> usize {
        let incomplete =
            |slot: &&mut Slot| slot.joined.as_ref().is_some_and(|joined| !joined.part.complete && !joined.read.earlier);
        let mut count = 0;
        for slot in self.slots.iter_mut().filter(incomplete) {
            // What is not whole is never kept together with others.
            (slot.joined, slot.closed) = (None, false);
            count += 1;
        }
        count
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
        match &mut self.waiting {
            Some(waiting) => waiting.extend(tasks),
            None => tasks.iter().for_each(|task| self.fold(*task)),
        }
    }

    /// Keeps the numbers of a task together with those of its neighbours, where the same is known of them.
    fn fold(&mut self, task: usize) {
        if self.fold_together(task, task + 1) {
            self.absorb(task, task + 1);
        }
        if let Some(left) = task.checked_sub(1)
            && self.fold_together(left, task)
        {
            self.absorb(self.slots[left].leader, task);
        }
    }

    /// Whether the numbers of a task may be kept with those of the one before it.
    fn fold_together(&self, left: usize, right: usize) -> bool {
        let (Some(one), Some(other)) = (self.slots.get(left), self.slots.get(right)) else { return false };
        one.group == other.group && other.leader == right && one.is_plain() && other.is_plain()
    }

    fn absorb(&mut self, leader: usize, task: usize) {
        let Some(numbers) = self.slots[task].joined.as_mut().map(|joined| joined.outcome.take_numbers()) else {
            return;
        };
        if let Some(joined) = &mut self.slots[leader].joined {
            joined.outcome.absorb(&numbers);
        }
        self.slots.iter_mut().skip(task).take_while(|slot| slot.leader == task).for_each(|slot| slot.leader = leader);
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

    /// Begins a checkpoint: the tasks of each span that it may name. Until [`Self::thaw`] no numbers move.
    pub(super) fn freeze(&mut self) -> Vec<Range<usize>> {
        self.waiting.get_or_insert_default();
        let leaders = (0..self.slots.len()).filter(|task| self.slots[*task].leader == *task);
        leaders.filter(|task| self.is_nameable(*task)).map(|task| self.members(task)).collect()
    }

    /// Ends a checkpoint.
    pub(super) fn thaw(&mut self) {
        for task in self.waiting.take().unwrap_or_default() {
            self.fold(task);
        }
    }

    fn is_nameable(&self, first: usize) -> bool {
        let mut members = self.members(first);
        !members.is_empty()
            && members.all(|task| {
                let slot = &self.slots[task];
                slot.closed && slot.joined.as_ref().is_some_and(Joined::is_whole)
            })
    }

    fn members(&self, first: usize) -> Range<usize> {
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
            tasks: self.members(first),
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
            finished.built.push(joined.outcome.built.clone());
            finished.end = finished.end.max(joined.read.end);
            finished.shares.push(Arc::clone(&slot.shares));
        }
        Some(finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layer::{JoinCounts, RangeOutcome},
        ops::backup::joined::Reading,
        record::{CollectionSum, Timestamp},
    };

    fn joined(records: u64, torn: u64) -> Joined {
        let counts = JoinCounts { seen: records, new: records, records, torn, ..JoinCounts::default() };
        let outcome = RangeOutcome {
            built: BuiltRange::default(),
            counts,
            sum: CollectionSum::default(),
            carried: false,
            added_up: None,
            problems: Vec::new(),
            changed: 0,
            stood: 0,
            expiring: crate::layer::join::Expiring::default(),
            sets: crate::layer::join::Sets::default(),
            known: crate::layer::join::Known::default(),
        };
        let read = Reading { start: Timestamp::default(), end: Timestamp::default(), earlier: false };
        Joined { outcome, part: PartEnd::default(), unswept: Vec::new(), absent: 0, read }
    }

    fn records(outcomes: &mut TaskOutcomes) -> Vec<u64> {
        outcomes.all_mut().map(|joined| joined.outcome.counts.records).collect()
    }

    #[test]
    fn numbers_of_many_ranges_come_together_in_groups_whatever_the_order() {
        for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [1, 3, 5, 0, 4, 2]] {
            // Groups of three, then a job with few ranges.
            let mut outcomes = TaskOutcomes::new([192, 2].into_iter());
            for task in order {
                outcomes.finish(task, joined(1 << task, 0));
                outcomes.close(&[task], Vec::new());
            }
            assert_eq!(records(&mut outcomes), [7, 0, 0, 56, 0, 0], "{order:?}");
            assert_eq!(outcomes.freeze(), [0..3, 3..6]);
            let finished = outcomes.finished(3).unwrap();
            assert_eq!((finished.tasks, finished.built.len()), (3..6, 3));
            for task in [192, 193] {
                outcomes.finish(task, joined(5, 0));
                outcomes.close(&[task], Vec::new());
            }
            outcomes.thaw();
            assert_eq!(records(&mut outcomes)[6..], [5, 5], "two ranges are kept apart");
        }
    }

    #[test]
    fn nothing_moves_while_a_checkpoint_is_made() {
        let mut outcomes = TaskOutcomes::new([192].into_iter());
        outcomes.finish(0, joined(1, 0));
        outcomes.close(&[0], Vec::new());
        assert_eq!(outcomes.freeze(), std::slice::from_ref(&(0..1)));
        outcomes.finish(1, joined(2, 0));
        outcomes.close(&[1], Vec::new());
        assert_eq!(outcomes.finished(0).unwrap().tasks, 0..1);
        outcomes.thaw();
        assert_eq!(outcomes.freeze(), std::slice::from_ref(&(0..2)));
    }

    #[test]
    fn what_is_open_or_not_whole_is_neither_named_nor_kept_with_others() {
        let mut outcomes = TaskOutcomes::new([192].into_iter());
        outcomes.finish(0, joined(1, 0));
        outcomes.finish(1, joined(2, 1));
        outcomes.finish(2, joined(4, 0));
        outcomes.close(&[1, 2], Vec::new());
        assert_eq!(records(&mut outcomes), [1, 2, 4]);
        assert_eq!(outcomes.freeze(), std::slice::from_ref(&(2..3)));
        assert!(outcomes.finished(0).is_none() && outcomes.finished(1).is_none());
    }
}
