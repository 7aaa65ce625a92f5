//! A sorted run: a stretch of a spool.

use super::{
    super::spool::{Spool, SpoolReader, SpoolWriter},
    entry::{Entry, Head},
};
use std::{
    io::{self, BufRead as _, Write as _},
    ops::Range,
    sync::Arc,
};

/// A run's index names a record about this often.
const INDEX_STEP: u64 = 256 << 10;

/// The memory that is kept for records that lie across frames.
const KEPT_BYTES: usize = 1 << 20;

/// Sorted records in a spool.
pub(super) struct Run {
    spool: Arc<Spool>,
    stretch: Range<u64>,
    /// Keys and where their records begin, sorted.
    index: Vec<(Vec<u8>, u64)>,
}

impl Run {
    /// Reads from the first record that may not be below `start`.
    pub(super) fn read(&self, start: &[u8]) -> RunReader {
        let before = self.index.partition_point(|(key, _)| key.as_slice() < start).saturating_sub(1);
        let from = self.index.get(before).map_or(self.stretch.start, |(_, at)| *at);
        RunReader {
            input: self.spool.read(from..self.stretch.end),
            across: Vec::new(),
            is_across: false,
            head: Head::default(),
            taken: 0,
        }
    }

    /// Some of its keys, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.index.iter().map(|(key, _)| key)
    }

    /// Gives back its room.
    pub(super) fn forget(&self) {
        self.spool.forget(&self.stretch);
    }
}

/// Writes a run.
pub(super) struct RunWriter {
    out: SpoolWriter,
    run: Run,
    indexed: Option<u64>,
    head: Vec<u8>,
}

impl RunWriter {
    pub(super) fn new(spool: &Arc<Spool>) -> Self {
        let out = spool.append();
        let stretch = out.at()..out.at();
        let run = Run { spool: Arc::clone(spool), stretch, index: Vec::new() };
        Self { out, run, indexed: None, head: Vec::with_capacity(32) }
    }

    /// Writes the next record in order.
    pub(super) fn push(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let at = self.run.stretch.end;
        if self.indexed.is_none_or(|indexed| at >= indexed + INDEX_STEP) {
            self.run.index.push((entry.key.to_vec(), at));
            self.indexed = Some(at);
        }
        self.head.clear();
        entry.put_head(&mut self.head);
        self.out.write_all(&self.head)?;
        self.out.write_all(entry.key)?;
        self.out.write_all(entry.body)?;
        self.run.stretch.end += (self.head.len() + entry.key.len() + entry.body.len()) as u64;
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Run> {
        self.out.finish()?;
        Ok(self.run)
    }
}

/// Reads a run. A record is looked at where its frame lies in memory, if it lies in one.
pub(super) struct RunReader {
    input: SpoolReader,
    /// The record at hand, if it lies across frames.
    across: Vec<u8>,
    is_across: bool,
    head: Head,
    /// The bytes of the record at hand that were not consumed.
    taken: usize,
}

impl RunReader {
    /// Goes to the next record; `false` behind the last.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        self.input.consume(self.taken);
        self.taken = 0;
        let frame = self.input.fill_buf()?;
        if frame.is_empty() {
            return Ok(false);
        }
        match Head::read(frame)? {
            Some(head) if frame.len() >= head.total() => {
                (self.head, self.taken, self.is_across) = (head, head.total(), false);
            }
            _ => self.gather()?,
        }
        Ok(true)
    }

    fn gather(&mut self) -> io::Result<()> {
        self.across.clear();
        self.across.shrink_to(KEPT_BYTES);
        self.head = loop {
            match Head::read(&self.across)? {
                Some(head) => break head,
                None => self.take(1)?,
            }
        };
        while self.across.len() < self.head.total() {
            self.take(self.head.total() - self.across.len())?;
        }
        self.is_across = true;
        Ok(())
    }

    fn take(&mut self, most: usize) -> io::Result<()> {
        let frame = self.input.fill_buf()?;
        if frame.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = frame.len().min(most);
        self.across.extend_from_slice(&frame[..len]);
        self.input.consume(len);
        Ok(())
    }

    /// The record at hand, after [`Self::advance`] said that there is one.
    pub(super) fn entry(&self) -> Entry<'_> {
        self.head.entry(if self.is_across { &self.across } else { self.input.buffer() })
    }
}
