//! What a repository may hold that this program does not know: names for the numbers that are given out already, and what
//! may still be done beside it (`format-spec/registries.md`).

use super::RepoError;
use std::fmt;

/// Where numbers and names are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// Ciphers of the repository's configuration.
    ConfigSuite,
    /// Ciphers of a key slot.
    SlotSuite,
    /// What opens a key slot.
    SlotKind,
    /// What a key slot allows.
    SlotRole,
    /// Kinds of small objects, and the ciphers of a sealed one.
    ObjectKind,
    /// Ciphers of a small object, an index object or a pack.
    Suite,
    /// How a pack's key is wrapped.
    Wrap,
    /// How a run is stored in a pack.
    RunMethod,
    /// What a chunk holds.
    ChunkKind,
    /// What the chunks of a pack are.
    PackKind,
    /// How parity is computed.
    ParityCode,
    /// How keys became bytes.
    KeyCodec,
    /// What was read for a snapshot.
    SnapshotKind,
    /// What a reader of the repository must know.
    RepositoryFeature,
    /// What a writer must know.
    RepositoryWriting,
    /// What a reader of a snapshot must know.
    SnapshotFeature,
    /// What whoever revises, joins with, squashes or forgets it must know.
    SnapshotWriting,
}

impl Registry {
    const fn what(self) -> &'static str {
        match self {
            Self::ConfigSuite | Self::SlotSuite | Self::Suite => "suite",
            Self::SlotKind => "slot kind",
            Self::SlotRole => "role",
            Self::ObjectKind => "object kind",
            Self::Wrap => "key wrap",
            Self::RunMethod => "run method",
            Self::ChunkKind => "chunk kind",
            Self::PackKind => "pack kind",
            Self::ParityCode => "parity code",
            Self::KeyCodec => "key codec",
            Self::SnapshotKind => "snapshot kind",
            Self::RepositoryFeature | Self::RepositoryWriting | Self::SnapshotFeature | Self::SnapshotWriting => {
                "feature"
            }
        }
    }

    /// The name of a number that this program does not know and the format gives out.
    const fn name(self, number: u8) -> Option<&'static str> {
        Some(match (self, number) {
            (Self::RunMethod, 2) => "packed integers",
            (Self::RunMethod, 3) => "differences of integers",
            (Self::RunMethod, 4) => "times",
            (Self::RunMethod, 5) => "short strings",
            (Self::RunMethod, 6) => "byte-shuffled floats",
            (Self::ChunkKind, 8) => "values as differences",
            (Self::ChunkKind, 9) => "side object",
            (Self::ChunkKind, 10) | (Self::PackKind, 3) => "parity",
            (Self::ObjectKind, 11) => "joint commit",
            (Self::ObjectKind, 15) => "parity group",
            _ => return None,
        })
    }

    /// What may be done all the same.
    const fn still(self) -> &'static str {
        match self {
            Self::ConfigSuite | Self::RepositoryFeature => "nothing of the repository can be opened without it",
            Self::SlotSuite | Self::SlotKind | Self::SlotRole => "the other key slots are tried",
            Self::ObjectKind => "it is left where it is, and nothing follows from it; everything else can be used",
            Self::Suite | Self::Wrap | Self::PackKind => {
                "what it holds cannot be read and is left where it is; everything else can be used"
            }
            Self::ParityCode => "the group protects nothing for this program and is left where it is",
            Self::RunMethod | Self::ChunkKind => {
                "the chunk cannot be read and counts as whole; everything else can be used"
            }
            Self::RepositoryWriting => "everything can be read, and nothing be written",
            Self::SnapshotWriting => "the snapshot can be read, not changed, forgotten or joined with",
            Self::KeyCodec | Self::SnapshotKind | Self::SnapshotFeature => {
                "the snapshot stays and cannot be read; other snapshots can be used"
            }
        }
    }

    /// The error for a number that this program does not know.
    pub(super) fn unknown(self, object: impl Into<String>, number: u8) -> RepoError {
        let what = self.what();
        let feature = match self.name(number) {
            Some(name) => format!("{what} {number} ({name})"),
            None => format!("{what} {number}"),
        };
        RepoError::UnknownFeature { object: object.into(), feature, still: self.still() }
    }

    /// The error for a name that this program does not know.
    pub(super) fn unknown_name(self, object: impl Into<String>, name: impl fmt::Display) -> RepoError {
        let feature = format!("{} `{name}`", self.what());
        RepoError::UnknownFeature { object: object.into(), feature, still: self.still() }
    }
}

/// What a program that does not know a feature must not do: its name's prefix says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureNeeds {
    /// Anything: without it nothing is understood.
    Reading,
    /// Writing: revising, forgetting, joining with, squashing.
    Writing,
    /// Saying that what was checked is all that there is to check.
    Checking,
}

impl FeatureNeeds {
    /// By the name of a feature: `write:NAME`, `check:NAME`, or NAME.
    #[must_use]
    pub fn of(feature: &str) -> Self {
        match feature.split_once(':') {
            Some(("write", _)) => Self::Writing,
            Some(("check", _)) => Self::Checking,
            _ => Self::Reading,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_number_is_named_with_what_may_still_be_done() {
        let known = Registry::RunMethod.unknown("pack x", 3).to_string();
        assert!(known.contains("needs run method 3 (differences of integers),"), "{known}");
        assert!(known.contains("everything else can be used"), "{known}");
        let other = Registry::ObjectKind.unknown("snapshots/a/0", 99).to_string();
        assert!(other.contains("object kind 99") && other.contains("left where it is"), "{other}");
    }

    #[test]
    fn a_feature_says_by_its_name_what_it_keeps_from() {
        let needs = ["journal", "write:journal", "check:parity", "odd:name"].map(FeatureNeeds::of);
        let expected = [FeatureNeeds::Reading, FeatureNeeds::Writing, FeatureNeeds::Checking, FeatureNeeds::Reading];
        assert_eq!(needs, expected);
    }
}
