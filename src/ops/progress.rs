//! How a verb tells what it is doing, and how it is told to stop: numbers and types, which a front end may show, count or
//! keep.

use crate::{
    record::Timestamp,
    repo::Repository,
    report::{Warning, WarningKind},
};
use serde::Serialize;
use std::fmt;

/// What a stretch of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PhaseKind {
    /// Reading a source.
    #[default]
    Reading,
    /// Reading a sample of a source.
    Sampling,
    /// Writing to a target.
    Restoring,
    /// Counting what a restore would do.
    Counting,
    /// Comparing two sides.
    Comparing,
    /// Following every reference from snapshots to packs.
    CheckingStructure,
    /// Reading whole packs.
    ReadingPacks,
    /// Reading every stored object.
    ReadingObjects,
    /// Reading a snapshot as a restore does.
    RestoringIntoNothing,
    /// Looking for records whose keys match.
    Searching,
    /// Writing tombstones.
    Forgetting,
    /// A source is given another name.
    Renaming,
    /// Merging layers.
    Squashing,
    /// Finding out which chunks snapshots need.
    LookingForNeeded,
    /// Copying what is needed out of packs.
    Repacking,
    /// Deleting packs.
    Deleting,
    /// Taking changes as they are made.
    Capturing,
    /// Writing every version again.
    Replaying,
    /// Copying packs to a replica.
    CopyingPacks,
    /// Copying to a replica what describes packs.
    CopyingIndex,
    /// Copying to a replica what snapshots say.
    CopyingSnapshots,
    /// Copying one snapshot to another repository.
    CopyingSnapshot,
    /// Waiting for what was asked out of an archive.
    Thawing,
    /// Moving packs to another class of storage.
    Moving,
    /// Letting a person's own commands look at what was restored.
    Asserting,
}

impl PhaseKind {
    /// The same in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Sampling => "sampling",
            Self::Restoring => "restoring",
            Self::Counting => "counting",
            Self::Comparing => "comparing",
            Self::CheckingStructure => "checking structure",
            Self::ReadingPacks => "reading packs",
            Self::ReadingObjects => "reading objects",
            Self::RestoringIntoNothing => "restoring into nothing",
            Self::Searching => "searching",
            Self::Forgetting => "forgetting",
            Self::Renaming => "renaming",
            Self::Squashing => "squashing",
            Self::LookingForNeeded => "looking for what is needed",
            Self::Repacking => "repacking",
            Self::Deleting => "deleting",
            Self::Capturing => "capturing",
            Self::Replaying => "replaying",
            Self::CopyingPacks => "copying packs",
            Self::CopyingIndex => "copying the index",
            Self::CopyingSnapshots => "copying snapshots",
            Self::CopyingSnapshot => "copying a snapshot",
            Self::Thawing => "waiting for what is thawed",
            Self::Moving => "moving packs to another class",
            Self::Asserting => "looking at what was restored",
        }
    }
}

/// One stretch of work with its expected size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Phase {
    /// What is being done.
    pub kind: PhaseKind,
    /// To which object, where there are several: a snapshot; empty otherwise.
    pub object: String,
    /// Records expected; 0 if unknown.
    pub records: u64,
    /// Bytes expected; 0 if unknown.
    pub bytes: u64,
}

impl Phase {
    /// A phase of this size.
    #[must_use]
    pub const fn new(kind: PhaseKind, records: u64, bytes: u64) -> Self {
        Self { kind, object: String::new(), records, bytes }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PhaseKind::CopyingSnapshot => write!(f, "copying {}", self.object),
            PhaseKind::RestoringIntoNothing => write!(f, "restoring {} into nothing", self.object),
            kind => f.write_str(kind.as_str()),
        }
    }
}

/// How far a stream is that is captured as it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StreamStanding {
    /// What was made by then is in a snapshot: by the clock of this machine, and what sources say of how far they are behind.
    /// None before all that was there when the stream began has come.
    pub recovery_point: Option<Timestamp>,
    /// The end of the newest snapshot that was committed.
    pub last_commit: Option<Timestamp>,
    /// Seconds that the slowest source is behind.
    pub lag_seconds: u64,
    /// Parts whose records of before are still to come.
    pub recoveries_pending: u64,
    /// Sources that tell how far they are.
    pub sources: u64,
    /// Sources that do not.
    pub silent_sources: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Bytes of changes that wait for a snapshot.
    pub waiting_bytes: u64,
    /// Snapshots that were committed.
    pub commits: u64,
    /// Changes in them.
    pub changes: u64,
    /// Commits that failed: what was in them comes again.
    pub failures: u64,
    /// Messages that were none, and connections that were turned away.
    pub faults: u64,
    /// Bytes of its log that the source holds back for the stream, where that can be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retained_bytes: Option<u64>,
}

/// Receives a verb's progress. Called from several threads.
pub trait Progress: Send + Sync {
    /// A phase begins; the one before has ended.
    fn phase(&self, phase: &Phase);
    /// This many more records and bytes are done.
    fn count(&self, records: u64, bytes: u64);
    /// How far a stream is; told whenever that was asked.
    fn stream(&self, _standing: &StreamStanding) {}
    /// Something a person should know.
    fn warning(&self, warning: &Warning);
    /// Whether to stop as soon as it is safe.
    fn cancelled(&self) -> bool;
}

impl dyn Progress + '_ {
    /// [`Progress::warning`] from its parts.
    pub fn warn(&self, kind: WarningKind, object: impl Into<String>, words: impl Into<String>) {
        self.warning(&Warning::new(kind, object, words));
    }
}

/// Tells what the listings of a verb met, but for what opening the repository met too.
pub(super) fn tell_news(repo: &Repository, warnings: &[Warning], progress: &dyn Progress) {
    warnings.iter().filter(|warning| !repo.warnings().contains(warning)).for_each(|warning| progress.warning(warning));
}

/// Says nothing and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _: &Phase) {}
    fn count(&self, _: u64, _: u64) {}
    fn warning(&self, _: &Warning) {}
    fn cancelled(&self) -> bool {
        false
    }
}
