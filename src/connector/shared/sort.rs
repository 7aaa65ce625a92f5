//! Sorting records that come in any order, in bounded memory: runs that are sorted in memory and written to a temporary
//! file, and a merge that reads them again.

mod body;
mod duplicates;
mod entry;
mod held;
mod merge;
mod run;
mod stream;

pub(in crate::connector) use self::{
    body::{encode_body, put_named},
    duplicates::{Duplicates, Twice},
    entry::Entry,
    held::Held,
    merge::Merge,
    stream::SortedStream,
};

use self::run::{Run, RunWriter};
use super::spool::Spool;
use crate::record::KeyRange;
use std::{io, sync::Arc};

/// Bytes of records sorted in memory at once.
const RUN_BYTES: usize = 32 << 20;
/// As many runs are merged into one: each takes a buffer when they are read.
const MAX_RUNS: usize = 64;

/// Takes the records of one collection in any order.
pub(in crate::connector) struct Sorter {
    spool: Arc<Spool>,
    pending: Held,
    /// By how often their records were merged.
    levels: Vec<Vec<Run>>,
    /// How many records were taken.
    pub(in crate::connector) records: u64,
    /// Their bytes.
    pub(in crate::connector) bytes: u64,
}

impl Sorter {
    pub(in crate::connector) fn new(spool: Arc<Spool>) -> Self {
        Self { spool, pending: Held::default(), levels: Vec::new(), records: 0, bytes: 0 }
    }

    /// Takes a record, with the number of its line; gives the bytes of memory that it takes until the next spill.
    pub(in crate::connector) fn push(&mut self, key: &[u8], line: u64, body: &[u8]) -> usize {
        self.records += 1;
        self.bytes += (key.len() + body.len()) as u64;
        self.pending.push(Entry { key, line, body })
    }

    /// Takes all of what is held elsewhere, as a run.
    pub(in crate::connector) fn take(&mut self, held: &mut Held) -> io::Result<()> {
        self.spill()?;
        std::mem::swap(&mut self.pending, held);
        self.spill()
    }

    /// Writes what is in memory to a run.
    pub(in crate::connector) fn spill(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // Others may need the memory more than the next run of this one.
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort();
        let mut writer = RunWriter::new(&self.spool);
        pending.iter().try_for_each(|entry| writer.push(entry))?;
        let mut run = writer.finish()?;
        drop(pending);
        // Every record is merged once a level, however many there are.
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let runs = &mut self.levels[level];
            runs.push(run);
            if runs.len() < MAX_RUNS {
                break;
            }
            let mut merge = Merge::new(runs.iter().map(|run| run.read(b"")))?;
            let mut writer = RunWriter::new(&self.spool);
            while merge.advance()? {
                merge.entry().map_or(Ok(()), |entry| writer.push(entry))?;
            }
            run = writer.finish()?;
            for merged in runs.drain(..) {
                merged.forget();
            }
        }
        Ok(())
    }

    /// Ends taking.
    pub(in crate::connector) fn finish(mut self) -> io::Result<Sorted> {
        self.spill()?;
        Ok(Sorted { runs: self.levels.into_iter().flatten().collect() })
    }
}

/// Whether the sorters of one of several threads that sort at once, which hold `bytes` together, have to spill.
pub(in crate::connector) fn must_spill_of(bytes: usize, threads: usize) -> bool {
    bytes >= 2 * RUN_BYTES / (threads.max(1) + 1)
}

/// The sorted records of one collection.
#[derive(Default)]
pub(in crate::connector) struct Sorted {
    runs: Vec<Run>,
}

impl Sorted {
    /// Takes over what another sorter sorted of the same collection.
    pub(in crate::connector) fn add(&mut self, other: Self) {
        self.runs.extend(other.runs);
    }

    /// About `parts - 1` keys that split the records.
    pub(in crate::connector) fn splits(&self, parts: usize) -> Vec<Vec<u8>> {
        let mut keys: Vec<&Vec<u8>> = self.runs.iter().flat_map(Run::keys).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut splits: Vec<Vec<u8>> =
            (1..parts.min(keys.len())).map(|part| keys[part * keys.len() / parts].clone()).collect();
        splits.dedup();
        splits.retain(|key| !key.is_empty());
        splits
    }

    /// The records of several, sorted apart.
    pub(in crate::connector) fn join(parts: Vec<Self>) -> Self {
        Self { runs: parts.into_iter().flat_map(|part| part.runs).collect() }
    }

    /// What was pushed, in order, from a key on that may lie a little below `start`: for connectors that have bodies of
    /// their own.
    pub(in crate::connector) fn entries(&self, start: &[u8]) -> io::Result<Merge> {
        Merge::new(self.runs.iter().map(|run| run.read(start)))
    }

    /// The records of a range; `origin` names the file in errors.
    pub(in crate::connector) fn read(
        &self,
        range: &KeyRange,
        origin: &str,
        duplicates: Duplicates,
    ) -> io::Result<SortedStream> {
        Ok(SortedStream::new(self.entries(&range.start)?, range, origin, duplicates))
    }
}
