//! Delivering a group of rows: sent to their partitions' masters, again where that may help, until each has its outcome.

use super::{
    acknowledged::Partitions,
    answers::{Answer, Sender, Sending},
    clocks::ttl,
    rows::Group,
    shared::{INTERRUPTED, Shared, Tally},
    verdict::{Verdict, Work, judge, judge_failure, reason},
};
use crate::{
    connector::aerospike::{cluster::Node, error::Error, patience::Obstacle},
    record::KeyCodec,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The pause before expiries are set again.
const TOUCH_PAUSE: Duration = Duration::from_millis(25);

/// Times that an expiry is put right.
const TOUCHES: u32 = 3;

/// A row that has no outcome yet.
#[derive(Debug, Clone, Copy)]
struct Pending {
    row: usize,
    /// Times it was refused for a reason that is not known to go away.
    refused: u8,
    /// Whether it was sent and not answered.
    unsure: bool,
}

/// One group on its way.
pub(super) struct Delivery<'a> {
    shared: &'a Shared,
    sender: &'a mut Sender,
    group: &'a Group,
    work: Work,
    tally: Tally,
    /// Why rows were to be sent again, last.
    why: String,
    /// Rows whose expiry came out wrong, with the generation they have now.
    late: Vec<(usize, u32)>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(shared: &'a Shared, sender: &'a mut Sender, group: &'a Group, work: Work) -> Self {
        Self { shared, sender, group, work, tally: Tally::default(), why: String::new(), late: Vec::new() }
    }

    /// Sends until every row has its outcome; gives what became of them, or why nothing can go on.
    pub(super) fn run(mut self) -> Result<Tally, String> {
        let pending = |row| Pending { row, refused: 0, unsure: false };
        let mut left: Vec<Pending> = (0..self.group.len()).map(pending).collect();
        let mut progress = Instant::now();
        let retries = self.shared.retries;
        let mut pause = retries.first_pause;
        let mut attempts = 0;
        loop {
            let (before, began) = (left.len(), Instant::now());
            left = self.round(&left)?;
            if left.is_empty() {
                break;
            }
            if self.shared.is_stopped() {
                return Err(INTERRUPTED.to_owned());
            }
            if left.len() < before {
                (progress, pause, attempts) = (Instant::now(), retries.first_pause, 0);
                self.shared.waits.passed(&Obstacle::Writing);
            } else if progress.elapsed() >= self.shared.patience
                || (retries.max_attempts > 0 && attempts >= retries.max_attempts)
            {
                return Err(format!(
                    "{} records could not be written for {:?}, {attempts} times: {}",
                    left.len(),
                    progress.elapsed(),
                    self.why
                ));
            }
            attempts += 1;
            self.shared.waits.met_since(Obstacle::Writing, &self.why, began);
            self.shared.sleep(pause);
            pause = retries.next(pause);
        }
        self.shared.waits.passed(&Obstacle::Writing);
        self.put_expiries_right()?;
        Ok(self.tally)
    }

    /// Sends the rows once, each to its master, and gives those that are to be sent again.
    fn round(&mut self, left: &[Pending]) -> Result<Vec<Pending>, String> {
        let map = self.shared.map();
        let mut by_node: Vec<(Arc<Node>, Vec<Pending>)> = Vec::new();
        let mut again = Vec::new();
        let mut stale = false;
        for pending in left {
            let pid = self.group.digest(pending.row).partition();
            let Some(owner) = map.owner(pid) else {
                self.why = format!("no node masters partition {pid}");
                stale = true;
                again.push(*pending);
                continue;
            };
            match by_node.iter_mut().find(|(node, _)| Arc::ptr_eq(node, owner)) {
                Some((_, rows)) => rows.push(*pending),
                None => by_node.push((Arc::clone(owner), vec![*pending])),
            }
        }
        for (node, rows) in by_node {
            stale |= self.send(&node, &rows, &mut again)?;
        }
        if stale {
            self.shared.refresh();
        }
        Ok(again)
    }

    /// Sends rows to a node; says whether the map of partitions may be an old one.
    fn send(&mut self, node: &Node, rows: &[Pending], again: &mut Vec<Pending>) -> Result<bool, String> {
        let now = self.shared.clocks.second(&node.id);
        let mut picks = Vec::with_capacity(rows.len());
        let mut sent_rows = Vec::with_capacity(rows.len());
        for pending in rows {
            match (self.work, ttl(self.group.void_time(pending.row), now)) {
                (Work::Delete, _) => picks.push((pending.row, 0)),
                (_, Some(ttl)) => picks.push((pending.row, ttl)),
                (_, None) => {
                    self.tally.outcomes.expired += 1;
                    continue;
                }
            }
            sent_rows.push(*pending);
        }
        if picks.is_empty() {
            return Ok(false);
        }
        let asked = self.shared.clocks.ours();
        let shared = self.shared;
        let asking = shared.waits.asking(Obstacle::Node(node.id.clone()));
        let sent = self.sender.send(&Sending {
            cluster: &shared.cluster,
            node,
            group: self.group,
            picks: &picks,
            singly: shared.singly,
            timeout_millis: shared.timeout_millis,
        });
        drop(asking);
        let answered = self.shared.clocks.ours();
        let (mut stale, mut heard) = (false, None);
        let mut acknowledged = Partitions::default();
        for ((mut pending, (_, ttl)), answer) in sent_rows.into_iter().zip(picks).zip(&sent.answers) {
            let Some(answer) = answer else {
                pending.unsure |= sent.unsure;
                again.push(pending);
                continue;
            };
            stale |= answer.code == 11;
            if answer.code == 0 {
                acknowledged.insert(self.group.digest(pending.row).partition());
            }
            if answer.code == 0 && answer.void_time > 0 && self.group.void_time(pending.row) > 0 {
                heard = Some(i64::from(answer.void_time) - i64::from(ttl));
            }
            if self.settle(&mut pending, answer)? {
                again.push(pending);
            }
        }
        self.shared.acknowledged.add(&node.id, &acknowledged);
        if let Some(second) = heard {
            self.shared.clocks.learn(&node.id, second, asked, answered);
        }
        if let Some(error) = sent.error {
            stale |= self.bear(&error)?;
        }
        Ok(stale)
    }

    /// Whether a failed exchange can be borne; says whether the map of partitions may be an old one.
    fn bear(&mut self, error: &Error) -> Result<bool, String> {
        self.why = match error {
            Error::Refused { code, .. } => reason(*code),
            other => other.to_string(),
        };
        match error {
            Error::Refused { code, .. } if judge_failure(*code) == Verdict::Hopeless => Err(self.why.clone()),
            Error::Refused { code, .. } => Ok(*code == 11),
            Error::Stopped => Ok(false),
            Error::Io { .. } | Error::NoNode(_) | Error::Wire { .. } => Ok(true),
            _ => Err(self.why.clone()),
        }
    }

    /// Counts what became of a row; `true` if it is to be sent again.
    fn settle(&mut self, pending: &mut Pending, answer: &Answer) -> Result<bool, String> {
        let outcomes = &mut self.tally.outcomes;
        match judge(self.work, answer) {
            Verdict::Inserted => outcomes.inserted += 1,
            Verdict::Replaced => outcomes.replaced += 1,
            Verdict::Existed => {
                outcomes.existed += 1;
                self.tally.unsure += u64::from(pending.unsure);
            }
            Verdict::Fresher => {
                outcomes.fresher += 1;
                self.tally.unsure += u64::from(pending.unsure);
            }
            Verdict::Removed => outcomes.removed += 1,
            // What was sent twice may have been there the first time.
            Verdict::Gone => outcomes.removed += u64::from(pending.unsure),
            Verdict::Changed => {
                outcomes.changed += 1;
                let why = "was written since the restore began, so it was not removed".to_owned();
                let digest = self.group.digest(pending.row);
                outcomes.name(|| KeyCodec::Digest.show(&digest.sort_key()), why);
            }
            Verdict::Again => {
                self.why = reason(answer.code);
                return Ok(true);
            }
            Verdict::AgainAtMost(times) if pending.refused < times => {
                pending.refused += 1;
                self.why = reason(answer.code);
                return Ok(true);
            }
            Verdict::AgainAtMost(_) | Verdict::Failed => self.fail(pending.row, reason(answer.code)),
            Verdict::Hopeless => return Err(reason(answer.code)),
        }
        if answer.code == 0 && self.work != Work::Delete {
            self.check_expiry(pending.row, answer);
        }
        Ok(false)
    }

    fn fail(&mut self, row: usize, why: String) {
        let digest = self.group.digest(row);
        self.shared.fail(&mut self.tally.outcomes, &digest, why);
    }

    fn check_expiry(&mut self, row: usize, answer: &Answer) {
        let wanted = self.group.void_time(row);
        if wanted > 0 && wanted.abs_diff(answer.void_time) > 1 {
            self.late.push((row, answer.generation));
        }
    }

    /// Touches records whose expiry came out wrong, as a clock was not known well enough.
    fn put_expiries_right(&mut self) -> Result<(), String> {
        for _ in 0..TOUCHES {
            if self.late.is_empty() {
                return Ok(());
            }
            let late = std::mem::take(&mut self.late);
            let touches = self.group.touches(self.shared.namespace.as_bytes(), &late);
            let mut inner = Delivery::new(self.shared, self.sender, &touches, Work::Touch);
            let all = (0..touches.len()).map(|row| Pending { row, refused: 0, unsure: false }).collect();
            let still = inner.touch(all)?;
            let mut failed = inner.tally.outcomes;
            self.tally.outcomes.failed += failed.failed;
            self.tally.outcomes.ignored += failed.ignored;
            self.tally.outcomes.failures.append(&mut failed.failures);
            self.late = still.into_iter().map(|(place, generation)| (late[place].0, generation)).collect();
        }
        for (row, _) in std::mem::take(&mut self.late) {
            self.fail(row, "it was written, but its expiry could not be set: the node's clock jumps".to_owned());
        }
        Ok(())
    }

    /// Sends touches; gives those rows, by place, whose expiry is still wrong. What is counted but failures is
    /// not to be used: the records are counted.
    fn touch(&mut self, mut left: Vec<Pending>) -> Result<Vec<(usize, u32)>, String> {
        let began = Instant::now();
        while !left.is_empty() {
            left = self.round(&left)?;
            if left.is_empty() {
                break;
            }
            if self.shared.is_stopped() {
                return Err(INTERRUPTED.to_owned());
            }
            if began.elapsed() >= self.shared.patience {
                return Err(format!("expiries could not be set for {:?}: {}", self.shared.patience, self.why));
            }
            self.shared.sleep(TOUCH_PAUSE);
        }
        Ok(std::mem::take(&mut self.late))
    }
}
