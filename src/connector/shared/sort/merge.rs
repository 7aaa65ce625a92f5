//! The records of several runs in order.

use super::{entry::Entry, run::RunReader};
use std::io;

/// Reads several runs as one.
pub(in crate::connector) struct Merge {
    readers: Vec<RunReader>,
    /// Numbers of those that have a record at hand: a heap, the least one first.
    heap: Vec<usize>,
    begun: bool,
}

impl Merge {
    pub(super) fn new(readers: impl Iterator<Item = RunReader>) -> io::Result<Self> {
        let mut merge = Self { readers: readers.collect(), heap: Vec::new(), begun: false };
        for (number, reader) in merge.readers.iter_mut().enumerate() {
            if reader.advance()? {
                merge.heap.push(number);
            }
        }
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sink(at);
        }
        Ok(merge)
    }

    /// Goes to the next record; `false` behind the last.
    pub(in crate::connector) fn advance(&mut self) -> io::Result<bool> {
        if self.begun
            && let Some(&first) = self.heap.first()
        {
            // Runs follow one another more often than not: what comes next is put where this one was, and mostly stays there.
            if !self.readers[first].advance()? {
                self.heap.swap_remove(0);
            }
            self.sink(0);
        }
        self.begun = true;
        Ok(!self.heap.is_empty())
    }

    /// The record at hand; `None` behind the last.
    pub(in crate::connector) fn entry(&self) -> Option<Entry<'_>> {
        self.heap.first().map(|number| self.readers[*number].entry())
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let mut child = 2 * at + 1;
            if child >= self.heap.len() {
                return;
            }
            if child + 1 < self.heap.len() && self.is_less(child + 1, child) {
                child += 1;
            }
            if !self.is_less(child, at) {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    fn is_less(&self, a: usize, b: usize) -> bool {
        self.readers[self.heap[a]].entry() < self.readers[self.heap[b]].entry()
    }
}
