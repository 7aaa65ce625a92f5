//! Why a snapshot stays or goes.

use super::calendar::{Bucket, Period};
use crate::record::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use std::{borrow::Cow, fmt};

/// Why a snapshot stays or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is the n-th newest.
    Last {
        /// Counted from 1.
        number: u32,
    },
    /// It is the newest of the n-th newest hour, day, week, month or year.
    Period {
        /// Which.
        period: Period,
        /// Counted from 1.
        number: u32,
        /// Which one.
        bucket: Bucket,
    },
    /// It is young enough.
    Within {
        /// The age.
        age: String,
    },
    /// It is young enough and the newest of its hour, day, week, month or year.
    WithinPeriod {
        /// Which.
        period: Period,
        /// The age.
        age: String,
        /// Which one.
        bucket: Bucket,
    },
    /// It has a tag that is kept.
    Tag {
        /// The tag.
        tag: String,
    },
    /// It is the n-th newest full.
    Full {
        /// Counted from 1.
        number: u32,
    },
    /// It follows the n-th newest full.
    Incremental {
        /// Counted from 1.
        number: u32,
    },
    /// It is held.
    Hold,
    /// It is locked.
    Lock {
        /// Until when.
        until: Timestamp,
    },
    /// It is the newest of its source with confirmed deletions.
    Confirmed,
    /// It is the last of its source.
    LastOfSource,
    /// It ends in the future: no rule counts it.
    Ahead,
    /// No rule keeps anything of its group.
    Untouched,
    /// It is not too old, and nothing else was asked for.
    Young,
    /// It goes because it is too old.
    TooOld {
        /// When it ended.
        end: Timestamp,
    },
    /// It goes because it is partial and a complete one followed.
    Superseded,
    /// It goes because no rule keeps it.
    NoRule,
    /// It goes because it was named.
    Named,
}

impl Reason {
    /// Whether it keeps also what is too old.
    #[must_use]
    pub const fn protects(&self) -> bool {
        matches!(self, Self::Hold | Self::Lock { .. })
    }

    /// The rule's name, as options have it where there is one.
    #[must_use]
    pub fn rule(&self) -> Cow<'static, str> {
        match self {
            Self::Last { .. } => "keep-last".into(),
            Self::Period { period, .. } => format!("keep-{}", period.adverb()).into(),
            Self::Within { .. } => "keep-within".into(),
            Self::WithinPeriod { period, .. } => format!("keep-within-{}", period.adverb()).into(),
            Self::Tag { .. } => "keep-tag".into(),
            Self::Full { .. } => "keep-full".into(),
            Self::Incremental { .. } => "keep-incremental".into(),
            Self::Hold => "hold".into(),
            Self::Lock { .. } => "lock".into(),
            Self::Confirmed => "newest-confirmed".into(),
            Self::LastOfSource => "last-of-source".into(),
            Self::Ahead => "future".into(),
            Self::Untouched => "group-untouched".into(),
            Self::Young | Self::TooOld { .. } => "max-age".into(),
            Self::Superseded => "partial".into(),
            Self::NoRule => "no-rule".into(),
            Self::Named => "named".into(),
        }
    }
}

impl fmt::Display for Reason {
    /// In words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last { number } => write!(f, "last {number}"),
            Self::Period { period, number, bucket } => write!(f, "{} {number} ({bucket})", period.adverb()),
            Self::Within { age } => write!(f, "within {age}"),
            Self::WithinPeriod { period, age, bucket } => write!(f, "{} within {age} ({bucket})", period.adverb()),
            Self::Tag { tag } => write!(f, "tag {tag}"),
            Self::Full { number } => write!(f, "full {number}"),
            Self::Incremental { number } => write!(f, "follows full {number}"),
            Self::Hold => f.write_str("on hold"),
            Self::Lock { until } => write!(f, "locked until {until}"),
            Self::Confirmed => f.write_str("newest of its source with confirmed deletions"),
            Self::LastOfSource => f.write_str("last of its source"),
            Self::Ahead => f.write_str("ends in the future, so that no rule counts it"),
            Self::Untouched => f.write_str("no rule keeps anything of this group"),
            Self::Young => f.write_str("not older than the maximum age"),
            Self::TooOld { .. } => f.write_str("older than the maximum age"),
            Self::Superseded => f.write_str("partial, and a complete one followed"),
            Self::NoRule => f.write_str("no rule keeps it"),
            Self::Named => f.write_str("named"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Reason", 2)?;
        out.serialize_field("rule", &self.rule())?;
        out.serialize_field("words", &self.to_string())?;
        out.end()
    }
}
