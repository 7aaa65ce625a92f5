//! One range read as several, one after the other: parts that are swept and parts that are not.

use crate::{
    ops::OpsError,
    record::{KeyRange, RecordBatch, RecordStream, StreamError},
};
use std::collections::VecDeque;

/// How a part of a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// What changed, and a sweep that finds what is gone.
    Swept,
    /// What changed.
    ChangedOnly,
}

/// Opens the stream of a part.
pub(super) type Open<'a> = Box<dyn Fn(&KeyRange, Reading) -> Result<Box<dyn RecordStream + 'a>, OpsError> + 'a>;

/// The parts of a range as one stream.
pub(super) struct Segments<'a> {
    open: Open<'a>,
    left: VecDeque<(KeyRange, Reading)>,
    current: Option<Box<dyn RecordStream + 'a>>,
    unread: VecDeque<KeyRange>,
}

impl<'a> Segments<'a> {
    /// The parts come in key order.
    pub(super) fn new(parts: impl IntoIterator<Item = (KeyRange, Reading)>, open: Open<'a>) -> Self {
        Self { open, left: parts.into_iter().collect(), current: None, unread: VecDeque::new() }
    }
}

impl RecordStream for Segments<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        loop {
            let current = match &mut self.current {
                Some(current) => current,
                None => match self.left.pop_front() {
                    None => return Ok(false),
                    Some((range, reading)) => self.current.insert((self.open)(&range, reading)?),
                },
            };
            let more = current.next_batch(batch)?;
            while let Some(range) = current.unread() {
                self.unread.push_back(range);
            }
            if more {
                return Ok(true);
            }
            self.current = None;
        }
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.unread.pop_front()
    }
}
