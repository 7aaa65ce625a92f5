//! The kinds of errors: one word for what went wrong, the same in every room.

use std::fmt;

macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])+ $variant:ident = $code:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])+ $variant,)+ }

        impl $name {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code, which stays what it is.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(super) use codes;

codes! {
    /// What went wrong.
    ErrorKind {
        /// What was asked for makes no sense, or not with this.
        InvalidInput = "invalid_input",
        /// What was named is not unique.
        Ambiguous = "ambiguous",
        /// Snapshots of several sources match where one is needed.
        SeveralSources = "several_sources",
        /// Snapshots of several parts of a source match, and none holds all.
        SeveralScopes = "several_scopes",
        /// A rule of a policy matches nothing.
        RuleUnmatched = "rule_unmatched",
        /// A source lost most of what it held.
        SourceLost = "source_lost",
        /// The source or target cannot do what was asked.
        Unsupported = "unsupported",
        /// A URL that cannot be understood.
        Url = "url",
        /// There is no repository.
        NoRepository = "no_repository",
        /// There is one already.
        RepositoryExists = "repository_exists",
        /// A place is not, or no longer, a replica of the repository.
        NotReplica = "not_replica",
        /// A place lies in a region where the repository's data may not lie.
        Region = "region",
        /// No key slot opens.
        WrongPassword = "wrong_password",
        /// No key slot is left.
        NoKeySlot = "no_key_slot",
        /// The keys that were opened do not allow it.
        RoleLacks = "role_lacks",
        /// The service that keeps a key said no.
        KeyService = "key_service",
        /// The repository's location cannot be used.
        Location = "location",
        /// Written by a newer program.
        NewerFormat = "newer_format",
        /// Something stored is not what was written.
        Damaged = "damaged",
        /// Something stored is gone.
        Missing = "missing",
        /// Something stored lies in an archive, and must be thawed before it is read.
        Archived = "archived",
        /// What was being read without a lease has been forgotten or squashed.
        MovedOn = "moved_on",
        /// The run was shut out before it could commit.
        Fenced = "fenced",
        /// There is no such snapshot.
        NoSnapshot = "no_snapshot",
        /// A squash has written the snapshot's next revision and not committed.
        SnapshotPending = "snapshot_pending",
        /// The snapshot is on hold.
        SnapshotHeld = "snapshot_held",
        /// The snapshot is locked until a time.
        SnapshotLocked = "snapshot_locked",
        /// A source would have no snapshot left.
        LastSnapshot = "last_snapshot",
        /// Others write the same name all the time.
        Contended = "contended",
        /// There is no such lease at work.
        NoLease = "no_lease",
        /// Nothing that broke off can be carried on.
        NothingToResume = "nothing_to_resume",
        /// There is no such record.
        NoRecord = "no_record",
        /// There is no such collection.
        NoCollection = "no_collection",
        /// The target holds records, and nobody said what becomes of them.
        TargetOccupied = "target_occupied",
        /// The snapshot is partial, and that would remove what it does not know.
        SnapshotPartial = "snapshot_partial",
        /// The repository's storage said no.
        Storage = "storage",
        /// The local catalog failed.
        Catalog = "catalog",
        /// Another part of the same run failed first.
        RunFailed = "run_failed",
        /// The source or target does not exist.
        NotFound = "not_found",
        /// Something else has locked the source or target.
        Locked = "locked",
        /// The source cannot be read.
        Unreadable = "unreadable",
        /// The target cannot be written.
        Unwritable = "unwritable",
        /// What is to be written does not fit what is there.
        DoesNotFit = "does_not_fit",
        /// A source gave its keys out of order.
        SourceOrder = "source_order",
        /// The system said no.
        Io = "io",
        /// The counts of a join contradict each other.
        Counts = "counts",
        /// It was asked to stop.
        Interrupted = "interrupted",
        /// What should not happen: a defect, or a machine that gives no threads or random numbers.
        Internal = "internal",
        /// Anything else.
        Failed = "failed",
    }
}

impl ErrorKind {
    /// Whether something stored cannot be read or makes no sense, so that reading it again will not help and what it
    /// held is lost unless it lies elsewhere too. Nothing else counts as damage: not a backend that says no just now, not
    /// a newer format, not an interruption.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        matches!(self, Self::Damaged | Self::Missing)
    }

    /// Whether something stored could not be had, be it for good or just now: what whoever takes what there is may go past.
    #[must_use]
    pub const fn keeps_data_back(self) -> bool {
        self.is_damage() || matches!(self, Self::Storage | Self::NewerFormat | Self::MovedOn | Self::Archived)
    }

    /// Whether the caller's words are at fault rather than the world.
    #[must_use]
    pub const fn is_usage(self) -> bool {
        matches!(
            self,
            Self::InvalidInput
                | Self::Ambiguous
                | Self::SeveralSources
                | Self::SeveralScopes
                | Self::RuleUnmatched
                | Self::Unsupported
                | Self::Url
                | Self::SnapshotPending
                | Self::SnapshotHeld
                | Self::SnapshotLocked
                | Self::LastSnapshot
                | Self::Contended
                | Self::NoLease
                | Self::NoCollection
                | Self::TargetOccupied
                | Self::SnapshotPartial
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_short_and_all_different() {
        let codes: HashSet<&str> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(codes.iter().all(|code| code.len() < 24 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
