//! Warnings: what a person should know of a verb that goes on.

use super::kind::codes;
use std::fmt;

codes! {
    /// What a warning is about.
    WarningKind {
        /// A snapshot was being taken at the time that was asked for.
        SnapshotSpansTime = "snapshot_spans_time",
        /// A partial snapshot was passed over.
        PartialPassedOver = "partial_passed_over",
        /// Of a snapshot something is not there, and it was passed over.
        SnapshotNotWhole = "snapshot_not_whole",
        /// The snapshot that was chosen is partial.
        SnapshotPartial = "snapshot_partial",
        /// A snapshot ends in the future: a clock was wrong.
        SnapshotAhead = "snapshot_ahead",
        /// Of several scopes of a source the widest was chosen.
        ScopeChosen = "scope_chosen",
        /// Two snapshots that are compared hold different parts of the source.
        ScopesDiffer = "scopes_differ",
        /// No rule of a policy keeps anything of a group, which is left as it is.
        GroupUntouched = "group_untouched",
        /// A new source looks like one that there is.
        SourceLooksLike = "source_looks_like",
        /// A loss of most of a source's records is accepted.
        LossAccepted = "loss_accepted",
        /// A snapshot that should be forgotten stays.
        SnapshotStays = "snapshot_stays",
        /// An object of the repository cannot be read, or is none.
        ObjectUnreadable = "object_unreadable",
        /// Something that is no object hides what may be there.
        ObjectHides = "object_hides",
        /// A snapshot vanished although nobody forgot it.
        SnapshotVanished = "snapshot_vanished",
        /// A snapshot stands by a lower revision than it did.
        RevisionVanished = "revision_vanished",
        /// The repository's file system cannot make durable what was just made.
        StorageUnsynced = "storage_unsynced",
        /// Heartbeats of the run could not be sent: others may take it for dead.
        HeartbeatsFailed = "heartbeats_failed",
        /// No catalog can be kept on this host.
        CatalogTemporary = "catalog_temporary",
        /// A pack is damaged and not relied on.
        PackDamaged = "pack_damaged",
        /// A snapshot cannot be the parent.
        ParentPassedOver = "parent_passed_over",
        /// The clock of the source went backwards.
        ClockBackwards = "clock_backwards",
        /// A new base would be smaller to read.
        BaseAdvised = "base_advised",
        /// Ranges of a backup that broke off are taken over.
        Resuming = "resuming",
        /// What a run before had finished is not taken over.
        NotResumed = "not_resumed",
        /// How far a run came could not be kept, so that another cannot go on behind it.
        ProgressNotKept = "progress_not_kept",
        /// After a failure, cleaning up failed too.
        CleanupFailed = "cleanup_failed",
        /// A merge was not used.
        MergeNotUsed = "merge_not_used",
        /// The storage cannot keep other writers out by itself.
        WeakStorage = "weak_storage",
        /// A restore stopped on the way.
        Stopped = "stopped",
        /// The snapshot that is compared with does not cover what is compared.
        CoverageDiffers = "coverage_differs",
        /// Records that did not come are not believed deleted.
        DeletionsUnconfirmed = "deletions_unconfirmed",
        /// What a source noted of what it read before does not hold.
        NotesBelied = "notes_belied",
        /// Something is waited for.
        Waiting = "waiting",
        /// What was done is done again, since it may not hold.
        DoneAgain = "done_again",
        /// A pack that is needed must be thawed before it can be read.
        Archived = "archived",
        /// What the source or target says of itself.
        Note = "note",
        /// Something is missing in what was done.
        Problem = "problem",
    }
}

/// What a person should know, of which object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// Which object: a snapshot, a collection, a file of the repository; empty if it is about the whole.
    pub object: String,
    /// The whole of it in words, without what may be done about it.
    pub words: String,
}

impl Warning {
    /// A warning.
    pub fn new(kind: WarningKind, object: impl Into<String>, words: impl Into<String>) -> Self {
        Self { kind, object: object.into(), words: words.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}
