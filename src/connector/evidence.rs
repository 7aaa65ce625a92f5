//! Whether absences prove anything: what a session knows of the completeness of what it delivers, and of the snapshot that
//! it is joined with.

use super::{ConnectorError, KeyGroups};
use crate::record::{KeyRange, Timestamp};
use serde_json::Value as Json;

/// What tells whether a record that did not come is gone. Given by [`super::SourceSession::evidence`].
pub trait Evidence: Send + Sync {
    /// Tells the session which snapshot the run is joined with, before the first read.
    ///
    /// # Errors
    /// [`ConnectorError`] if that snapshot cannot be of the same source.
    fn meet_parent(&self, parent: &ParentView<'_>) -> Result<(), ConnectorError>;
    /// What is known of a range: before it is read, and after its stream was read to its end.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn part_end(&self, collection: usize, range: &KeyRange) -> Result<PartEnd, ConnectorError>;
    /// Asked when all was read, where [`PartEnd::complete`] is not set for all of it: whether reading that part again, now, may
    /// bring the rest. Waits a while for what may still come back.
    fn reads_better_now(&self) -> bool {
        false
    }
    /// What a read waits for, in words, where that takes a while.
    fn waits_for(&self) -> Option<String> {
        None
    }
    /// Why any cell that is empty may have been lost since its deletions were last proved, and a share of a group too, however
    /// small they are, in words.
    fn shaken(&self, _collection: usize) -> Option<String> {
        None
    }
    /// How a collection's keys fall into parts that may be lost as a whole: what vanished in bulk from one of them is not
    /// believed deleted. `None` where nothing is to be doubted.
    fn groups(&self, _collection: usize) -> Option<&dyn KeyGroups> {
        None
    }
}

/// The snapshot that a run is joined with, as a session may look at it.
#[derive(Debug, Clone, Copy)]
pub struct ParentView<'a> {
    /// Its id, short.
    pub snapshot: &'a str,
    /// Its attributes.
    pub attributes: &'a Json,
    /// Whether a person said that it is of the same source (by its id, or by the source's name).
    pub chosen: bool,
    /// Whether a person said that what is gone was deleted.
    pub accept_deletions: bool,
    /// Up to when the deletions of all of it are proved.
    pub deletions_as_of: Timestamp,
}

/// What is known of a range whose stream is at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEnd {
    /// Whether every record was read.
    pub complete: bool,
    /// Ranges in which a record that did not come may be there all the same: the parent's rows stand there.
    pub doubts: Vec<Doubt>,
}

impl Default for PartEnd {
    fn default() -> Self {
        Self { complete: true, doubts: Vec::new() }
    }
}

/// Keys of which an absence proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Which.
    pub range: KeyRange,
    /// Why, in words.
    pub reason: String,
    /// Whether a person may say that the loss is real all the same (`--accept-deletions`).
    pub acceptable: bool,
}
