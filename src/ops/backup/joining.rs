//! Joining one range: which streams it takes, and whether the absences in it are believed.

use super::{
    Ask, Sweep,
    changes::{Confirmed, Doubts, ParentSide, Swept},
    coverage::lower_bound,
    guard::{Guard, Limits},
    jobs::Task,
    joined::{Joined, Reading},
    outcomes::group_size,
    segments::{How, Segments},
    workers::Workers,
};
use crate::{
    connector::{ChangeSource, Doubt, PartEnd, Recall, Resumable},
    layer::{RangeOutcome, Stack, join::JoinOptions, join_range},
    ops::OpsError,
    record::{KeyRange, RecordStream, Timestamp},
    repo::{
        ChunkWriter, Repository, Snapshot,
        manifest::{Collection, Kind},
    },
};
use std::sync::Mutex;

/// Times that a range is joined because of doubts that came up while it was read; then all of it is doubted.
const MAX_JOINS: usize = 3;

impl Workers<'_> {
    /// Joins a range; again, with the parent's rows standing, where it then shows that absences prove nothing.
    pub(super) fn join(&self, task: &Task, writer: &mut dyn ChunkWriter) -> Result<Joined, OpsError> {
        let job = &self.jobs[task.job];
        let range = &job.ranges[task.range];
        let has_parent = job.parent.is_some();
        let believed = |doubts: Vec<Doubt>| -> Vec<Doubt> {
            doubts.into_iter().filter(|doubt| !(doubt.acceptable && self.options.accept_deletions)).collect()
        };
        let unswept = job.unswept(range);
        // What came up in this range; what the session doubts now it is asked for each time, since what was doubted of one
        // reading need not be of the next.
        let mut known: Vec<Doubt> = Vec::new();
        for attempt in 1.. {
            let mut doubts = known.clone();
            if has_parent {
                doubts.extend(believed(self.part_end(task)?.doubts));
            }
            let came_up = Mutex::new(Doubts::default());
            let outcome = self.join_once(task, &doubts, &came_up, writer)?;
            let part = self.part_end(task)?;
            let came_up = came_up.into_inner().unwrap_or_default();
            let is_new = |doubt: &Doubt| !doubts.iter().any(|known| known.range == doubt.range);
            let guarded: Vec<Doubt> = believed(came_up.guarded.into_iter().filter(is_new).collect());
            let mut new = believed(part.doubts.iter().filter(|doubt| is_new(doubt)).cloned().collect());
            new.extend(guarded.iter().cloned());
            if !has_parent || new.is_empty() || outcome.counts.deleted == 0 {
                doubts.extend(new);
                doubts.extend(came_up.unknown);
                let part = PartEnd { doubts: if has_parent { doubts } else { part.doubts }, ..part };
                let absent = if unswept.is_empty() { outcome.stood } else { came_up.absent };
                let clock = self.session.resumable().filter(|_| self.checkpoints.are_written());
                let end = clock.map_or(self.start, Resumable::now);
                let read = Reading { start: self.start, end: end.max(self.start), earlier: false };
                return Ok(Joined { outcome, part, unswept, absent, read });
            }
            known.extend(guarded);
            if attempt >= MAX_JOINS {
                let reason = new[0].reason.clone();
                known.push(Doubt { range: range.clone(), reason, acceptable: false });
            }
        }
        Err(OpsError::Failed("a range was joined without an outcome".to_owned()))
    }

    /// What the source knows of a range.
    fn part_end(&self, task: &Task) -> Result<PartEnd, OpsError> {
        let Some(evidence) = self.session.evidence() else { return Ok(PartEnd::default()) };
        Ok(evidence.part_end(task.job, &self.jobs[task.job].ranges[task.range])?)
    }

    fn join_once(
        &self,
        task: &Task,
        doubts: &[Doubt],
        came_up: &Mutex<Doubts>,
        writer: &mut dyn ChunkWriter,
    ) -> Result<RangeOutcome, OpsError> {
        let job = &self.jobs[task.job];
        let range = &job.ranges[task.range];
        let stack = self.parent_stack(job)?;
        let mut doubtful: Vec<KeyRange> = doubts.iter().map(|doubt| doubt.range.clone()).collect();
        doubtful.extend(job.unswept(range));
        let mut stream = self.stream(task, stack, came_up)?;
        let options = JoinOptions {
            parent: stack,
            new_base: job.new_base,
            parent_end: self.parent_end,
            end: self.counted_by,
            is_end_known: self.is_exact,
            // A run that reads everything to see whether notes can be trusted trusts no sum either.
            carries: job.sum.is_some() && !matches!(self.notes, Some((_, Recall::Test))),
            read_all: self.options.ask == Ask::Full,
            doubtful: &doubtful,
            progress: &|records, bytes| {
                self.progress.count(records, bytes);
                self.keep_to_limit(bytes);
                !self.is_stopped()
            },
        };
        Ok(join_range(&self.context, stream.as_mut(), range, &options, writer)?)
    }

    /// All of a range, but what the source knows to be as the parent holds it.
    fn read_range(
        &self,
        task: &Task,
        new_base: bool,
        has_parent: bool,
    ) -> Result<Box<dyn RecordStream + '_>, OpsError> {
        let range = &self.jobs[task.job].ranges[task.range];
        let Some((source, recall)) = self.notes else { return Ok(self.session.read(task.job, range)?) };
        let recall = match recall {
            _ if !has_parent => Recall::Nothing,
            // Everything is stored anew.
            Recall::Trust if new_base => Recall::Test,
            recall => recall,
        };
        Ok(source.read(task.job, range, recall)?)
    }

    /// What the join is fed: all of the range, or what changed of it and a sweep; with absences confirmed where the source
    /// can be asked.
    fn stream<'s>(
        &'s self,
        task: &Task,
        stack: Option<&'s Stack>,
        came_up: &'s Mutex<Doubts>,
    ) -> Result<Box<dyn RecordStream + 's>, OpsError> {
        let job = &self.jobs[task.job];
        let range = &job.ranges[task.range];
        let (Some(stack), Some(parent), Some(changes)) = (stack, job.parent, self.session.changes()) else {
            return self.read_range(task, job.new_base, stack.is_some());
        };
        let number = task.job;
        let groups = self.session.evidence().and_then(|evidence| evidence.groups(number));
        let groups = groups.filter(|_| !self.options.accept_deletions);
        let shaken = self.session.evidence().and_then(|evidence| evidence.shaken(number));
        let side = move |range: &KeyRange| -> Result<ParentSide<'s>, OpsError> {
            let shaken = shaken.clone();
            let cursor = stack.cursor_before(range, self.parent_end);
            let limits = groups.map(|groups| Limits {
                groups,
                max_deleted_percent: self.options.max_deleted_percent,
                max_lost_percent: self.options.max_lost_percent,
                free_deletions: groups.free_deletions() / group_size(job.ranges.len()) as u64,
                since: lower_bound(parent, range, true),
            });
            let guard = Guard::new(changes, number, limits, range.clone(), shaken);
            Ok(ParentSide::new(changes, number, cursor, self.start, guard, came_up)?)
        };
        if self.kind == Kind::Full {
            return Ok(Box::new(Confirmed::new(self.session.read(number, range)?, side(range)?)));
        }
        let open = move |range: &KeyRange, how: How| -> Result<Box<dyn RecordStream + 's>, OpsError> {
            let since = since(changes, parent, range, self.session.start());
            let updated = changes.read_changed(number, range, since)?;
            match how {
                How::ChangedOnly => Ok(updated),
                How::Swept => {
                    Ok(Box::new(Swept::new(updated, changes.sweep(number, range, Some(since))?, side(range)?))
                        as Box<_>)
                }
            }
        };
        let mut parts: Vec<(KeyRange, How)> =
            job.unswept(range).into_iter().map(|part| (part, How::ChangedOnly)).collect();
        parts.extend(job.swept(range).map(|part| (part, How::Swept)));
        parts.sort_by(|a, b| a.0.start.cmp(&b.0.start));
        match parts.as_slice() {
            [(only, how)] => open(only, *how),
            _ => Ok(Box::new(Segments::new(parts, Box::new(open)))),
        }
    }
}

/// The time from which on changes are read: behind the parent's start by as much as clocks may differ. All of time where the
/// source's clock was set back since: what was written then bears times of before the parent.
fn since(changes: &dyn ChangeSource, parent: &Collection, range: &KeyRange, now: Timestamp) -> Timestamp {
    let (bound, margin) = (lower_bound(parent, range, false).as_millis(), changes.margin_millis());
    if now.as_millis().saturating_add(margin) < bound {
        return Timestamp::from_millis(0);
    }
    Timestamp::from_millis(bound.saturating_sub(margin).max(0))
}

/// Whether this run looks for deletions: where only every Nth does, N - 1 runs in a row did not.
pub(super) fn is_sweep_due(repo: &Repository, parent: Option<&Snapshot>, sweep: Sweep) -> Result<bool, OpsError> {
    let every = match sweep {
        Sweep::Always | Sweep::Rolling(_) => return Ok(true),
        Sweep::Never => return Ok(false),
        Sweep::Every(every) => every,
    };
    let (mut unswept, mut at) = (0, parent.cloned());
    while let Some(snapshot) = at {
        let coverage = || snapshot.collections.iter().flat_map(|collection| &collection.coverage);
        if unswept + 1 >= every || coverage().all(|part| part.deletions_as_of.is_none()) {
            break;
        }
        unswept += 1;
        at = snapshot.content.parent.map_or(Ok(None), |id| repo.snapshot(&id))?;
    }
    Ok(unswept + 1 >= every)
}
