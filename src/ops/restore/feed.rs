//! The feed: a collection's live records, read and decompressed ahead of the writer, in key order, in batches.
//!
//! Reader threads take the base's key ranges in order, each with a bounded channel of its own; the writer empties the
//! channels in order. So memory is bounded by threads × queue × batch, and the writer never waits while others read.

use super::{compare::Equal, plan::Filter};
use crate::{
    layer::Stack,
    ops::{OpsError, Progress, current::push_current, limit::Throttle},
    record::{KeyRange, RecordBatch, Timestamp},
    repo::{Repository, manifest::Collection},
};
use crossbeam_channel::{Receiver, Sender};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Where a batch ends.
const BATCH_BYTES: usize = 1024 * 1024;

/// Batches that may wait for the writer, for each reader.
const QUEUE: usize = 4;

/// Work on a range, which keeps the last key of the snapshot that it met.
type RangeWork<'a> = &'a mut dyn FnMut(&KeyRange, &mut Vec<u8>) -> Result<(), OpsError>;

/// What was lost.
#[derive(Debug, Default)]
pub(super) struct Damage {
    pub(super) lost: u64,
    pub(super) lines: Vec<String>,
}

pub(super) struct Feed<'a> {
    pub(super) repo: &'a Repository,
    pub(super) collection: &'a Collection,
    pub(super) filter: &'a Filter,
    pub(super) at: Timestamp,
    /// Only records behind this key.
    pub(super) behind: Option<Vec<u8>>,
    /// Only records in these ranges, where they are named: sorted and disjoint.
    pub(super) within: Option<Vec<KeyRange>>,
    /// Records to leave out, by their position among the admitted records of each range.
    pub(super) skip: Option<&'a Equal>,
    pub(super) keep_going: bool,
    pub(super) parallel: usize,
    pub(super) read_limit: Option<u64>,
    pub(super) progress: &'a dyn Progress,
}

/// What a feed gives, in the order of its keys.
pub(super) enum Fed<'a> {
    /// Records, and their plaintext bytes.
    Batch(&'a mut RecordBatch, u64),
    /// Records that are lost.
    Lost(Damage),
}

enum Message {
    Batch(RecordBatch, u64),
    Lost(Damage),
    Failed(OpsError),
    /// The range is read.
    End,
}

/// A range's channel: its reader's end and ours.
type Channel = (Sender<Message>, Receiver<Message>);

/// Readers that are let go when this is dropped: at the end, and when whoever takes what they read fails or panics.
struct Readers<'a> {
    channels: &'a [Channel],
    next: &'a AtomicUsize,
    stop: &'a AtomicBool,
}

impl Drop for Readers<'_> {
    /// A reader that waits for room is let go by emptying its channel; each sees the flag before it sends again, so what is still
    /// on its way fits.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.next.store(self.channels.len(), Ordering::Relaxed);
        for (_, receive) in self.channels {
            while receive.try_recv().is_ok() {}
        }
    }
}

impl Feed<'_> {
    pub(super) fn open(&self) -> Result<Stack, OpsError> {
        Ok(Stack::open(&self.repo.chunks(), &self.collection.stack)?)
    }

    /// The ranges that are read, in order: single keys, or the base's ranges.
    pub(super) fn ranges(&self, stack: &Stack) -> Vec<KeyRange> {
        let ranges = if self.filter.keys.is_empty() {
            stack.ranges()
        } else {
            self.filter.keys.iter().map(|key| KeyRange::only(key)).collect()
        };
        let ranges: Vec<KeyRange> = match &self.behind {
            None => ranges,
            Some(key) => ranges.into_iter().filter_map(|range| part_behind(range, key)).collect(),
        };
        match &self.within {
            None => ranges,
            Some(within) => {
                let parts = |range: &KeyRange| -> Vec<KeyRange> {
                    within.iter().filter_map(|part| part.intersection(range)).collect()
                };
                ranges.iter().flat_map(parts).collect()
            }
        }
    }

    /// Calls `take` with batches and with what is lost, in key order.
    pub(super) fn run(&self, take: &mut dyn FnMut(Fed<'_>) -> Result<(), OpsError>) -> Result<(), OpsError> {
        let stack = self.open()?;
        let ranges = self.ranges(&stack);
        let threads = self.parallel.min(ranges.len()).max(1);
        let (spare_back, spare) = crossbeam_channel::bounded::<RecordBatch>(threads * (QUEUE + 2));
        let channels: Vec<Channel> = ranges.iter().map(|_| crossbeam_channel::bounded::<Message>(QUEUE)).collect();
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let limit = self.read_limit.map(|limit| limit / threads as u64);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut throttle = Throttle::new(limit);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(range) = ranges.get(number) else { break };
                        let send = &channels[number].0;
                        let mut out = |message| !stop.load(Ordering::Relaxed) && send.send(message).is_ok();
                        let mut reader = RangeReader { feed: self, number, position: 0, spare: &spare, out: &mut out };
                        let read = catch_unwind(AssertUnwindSafe(|| reader.read(&stack, range, &mut throttle)));
                        let message = match read {
                            Ok(Ok(())) => Message::End,
                            Ok(Err(error)) => Message::Failed(error),
                            // The writer waits for this range: it must hear of it whatever happened.
                            Err(_) => Message::Failed(OpsError::Failed("a reader panicked".to_owned())),
                        };
                        out(message);
                    }
                });
            }
            let _readers = Readers { channels: &channels, next: &next, stop: &stop };
            for (_, receive) in &channels {
                loop {
                    if self.progress.cancelled() {
                        return Err(OpsError::Interrupted);
                    }
                    match receive.recv() {
                        Ok(Message::Batch(mut batch, bytes)) => {
                            take(Fed::Batch(&mut batch, bytes))?;
                            batch.clear();
                            let _ = spare_back.try_send(batch);
                        }
                        Ok(Message::Lost(damage)) => take(Fed::Lost(damage))?,
                        Ok(Message::End) => break,
                        Ok(Message::Failed(error)) => return Err(error),
                        Err(_) => return Err(OpsError::Failed("a reader ended early".to_owned())),
                    }
                }
            }
            Ok(())
        })
    }

    /// Calls `each` with every admitted record's key and value length, in key order, on this thread.
    pub(super) fn for_each_key(&self, each: &mut dyn FnMut(&[u8], u64)) -> Result<Damage, OpsError> {
        let stack = self.open()?;
        let mut lost = Damage::default();
        for range in self.ranges(&stack) {
            let mut add = |mut damage: Damage| {
                lost.lost += damage.lost;
                lost.lines.append(&mut damage.lines);
                lost.lines.truncate(100);
            };
            self.past_damage(&stack, &range, &mut add, &mut |rest, last| {
                let mut cursor = stack.cursor(rest, self.at, true)?;
                while cursor.advance()? {
                    if self.progress.cancelled() {
                        return Err(OpsError::Interrupted);
                    }
                    last.clear();
                    last.extend_from_slice(cursor.key());
                    if self.filter.admits(cursor.key()) {
                        each(cursor.key(), cursor.value_bytes());
                    }
                }
                Ok(())
            })?;
        }
        Ok(lost)
    }

    /// Does some work on a range, which keeps the last key of the snapshot that it met. Where damage stops it and the restore
    /// goes on past damage, it is done again on what lies behind.
    pub(super) fn past_damage(
        &self,
        stack: &Stack,
        range: &KeyRange,
        tell: &mut dyn FnMut(Damage),
        work: RangeWork<'_>,
    ) -> Result<(), OpsError> {
        let mut rest = range.clone();
        let mut last = Vec::new();
        loop {
            let Err(error) = work(&rest, &mut last) else { return Ok(()) };
            if !self.keep_going || !error.kind().keeps_data_back() {
                return Err(error);
            }
            let behind = Some(last.as_slice()).filter(|last| !last.is_empty() && rest.contains(last));
            let (damage, next) = after_damage(stack, &rest, behind, &error, self);
            tell(damage);
            let Some(next) = next else { return Ok(()) };
            rest.start = next;
        }
    }
}

/// What of a range lies behind a key.
pub(super) fn part_behind(mut range: KeyRange, key: &[u8]) -> Option<KeyRange> {
    let mut next = key.to_vec();
    next.push(0);
    if range.end.as_ref().is_some_and(|end| *end <= next) {
        return None;
    }
    range.start = range.start.max(next);
    Some(range)
}

struct RangeReader<'a> {
    feed: &'a Feed<'a>,
    number: usize,
    position: u64,
    spare: &'a crossbeam_channel::Receiver<RecordBatch>,
    out: &'a mut dyn FnMut(Message) -> bool,
}

impl RangeReader<'_> {
    fn read(&mut self, stack: &Stack, range: &KeyRange, throttle: &mut Throttle) -> Result<(), OpsError> {
        let mut batch = self.batch();
        let mut bytes = 0;
        let mut rest = range.clone();
        loop {
            match self.read_some(stack, &rest, &mut batch, &mut bytes, throttle) {
                Ok(()) => break,
                Err((error, _)) if !self.feed.keep_going || !error.kind().keeps_data_back() => return Err(error),
                Err((error, last)) => {
                    let (damage, next) = after_damage(stack, &rest, last.as_deref(), &error, self.feed);
                    self.lose(&mut batch, &mut bytes, damage)?;
                    let Some(next) = next else { break };
                    rest.start = next;
                }
            }
        }
        self.hand_over(&mut batch, &mut bytes)
    }

    fn batch(&self) -> RecordBatch {
        self.spare.try_recv().unwrap_or_default()
    }

    fn hand_over(&mut self, batch: &mut RecordBatch, bytes: &mut u64) -> Result<(), OpsError> {
        if batch.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(batch, self.batch());
        if (self.out)(Message::Batch(full, std::mem::take(bytes))) { Ok(()) } else { Err(OpsError::Interrupted) }
    }

    /// Hands over what lies before, then the loss: whoever stops in between has counted neither twice.
    fn lose(&mut self, batch: &mut RecordBatch, bytes: &mut u64, damage: Damage) -> Result<(), OpsError> {
        self.hand_over(batch, bytes)?;
        if (self.out)(Message::Lost(damage)) { Ok(()) } else { Err(OpsError::Interrupted) }
    }

    /// Reads on from the start of `range`. An error comes with the last key that was read.
    fn read_some(
        &mut self,
        stack: &Stack,
        range: &KeyRange,
        batch: &mut RecordBatch,
        bytes: &mut u64,
        throttle: &mut Throttle,
    ) -> Result<(), (OpsError, Option<Vec<u8>>)> {
        let mut last: Option<Vec<u8>> = None;
        let keep_going = self.feed.keep_going;
        let mut cursor = stack.cursor(range, self.feed.at, false).map_err(|error| (error.into(), None))?;
        loop {
            match cursor.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err((error.into(), last)),
            }
            if keep_going {
                let last = last.get_or_insert_with(Vec::new);
                last.clear();
                last.extend_from_slice(cursor.key());
            }
            if !self.feed.filter.admits(cursor.key()) {
                continue;
            }
            let position = self.position;
            self.position += 1;
            if self.feed.skip.is_some_and(|equal| equal.contains(self.number, position)) {
                continue;
            }
            let size = cursor.key().len() as u64 + cursor.value_bytes();
            if let Err(error) = push_current(&mut cursor, batch) {
                if !keep_going {
                    return Err((error, last));
                }
                let fate = if error.kind().is_damage() { "is lost" } else { "could not be had just now" };
                let line = format!(
                    "{}: {} {fate}: {error}",
                    self.feed.collection.name,
                    self.feed.collection.codec.show(cursor.key())
                );
                self.lose(batch, bytes, Damage { lost: 1, lines: vec![line] }).map_err(|error| (error, None))?;
                continue;
            }
            *bytes += size;
            if batch.bytes() >= BATCH_BYTES {
                if !throttle.spend_unless(*bytes, &|| self.feed.progress.cancelled()) {
                    return Err((OpsError::Interrupted, None));
                }
                self.hand_over(batch, bytes).map_err(|error| (error, None))?;
            }
        }
    }
}

/// Where reading can go on after damage: the first block boundary, of any layer, behind the last key that was read. What
/// lies between is lost as a range: its keys are not known, and older versions must not pass for newer ones.
fn after_damage(
    stack: &Stack,
    range: &KeyRange,
    last: Option<&[u8]>,
    error: &OpsError,
    feed: &Feed<'_>,
) -> (Damage, Option<Vec<u8>>) {
    let behind = last.unwrap_or(&range.start);
    let next = stack.next_boundary(behind).filter(|next| range.contains(next));
    let codec = feed.collection.codec;
    let to = next.as_ref().or(range.end.as_ref()).map_or_else(|| "the end".to_owned(), |key| codec.show(key));
    let from =
        last.map_or_else(|| format!("from {}", codec.show(&range.start)), |key| format!("after {}", codec.show(key)));
    // What a storage that stumbles does not give is there when it is asked again.
    let fate = if error.kind().is_damage() { "are lost" } else { "could not be had just now" };
    let line = format!("{}: all records {from} and before {to} {fate}: {error}", feed.collection.name);
    (Damage { lost: 0, lines: vec![line] }, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn readers_are_let_go_when_whoever_takes_what_they_read_panics() {
        let (tell, hear) = crossbeam_channel::bounded(1);
        // On a thread that is not waited for: one that never ends is a failure, not a test that hangs.
        std::thread::spawn(move || {
            let channels: Vec<Channel> = vec![crossbeam_channel::bounded(QUEUE)];
            let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        while !stop.load(Ordering::Relaxed) && channels[0].0.send(Message::End).is_ok() {
                            std::hint::spin_loop();
                        }
                    });
                    let _readers = Readers { channels: &channels, next: &next, stop: &stop };
                    channels[0].1.recv().unwrap();
                    panic!("on purpose");
                });
            }));
            let _ = tell.send(panicked.is_err());
        });
        assert_eq!(hear.recv_timeout(Duration::from_mins(1)), Ok(true));
    }
}
