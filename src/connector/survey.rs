//! Targets that want to know what comes before anything is written.

use super::{ConnectorError, TargetPlan};
use crate::record::{Expiry, Meta};
use std::collections::BTreeMap;

/// A target that is to be asked whether it takes such records as come: their keys are then read once more. Given by
/// [`super::Target::surveyed`].
pub trait Surveyed: Send + Sync {
    /// Whether a record is one that the target was told to take. Others are counted as skipped, and compared with nothing.
    fn chooses(&self, _key: &[u8], _meta: &Meta<'_>) -> bool {
        true
    }

    /// Whether [`Self::chooses`] chooses every record: what a manifest says of a collection is then known without reading keys.
    fn chooses_all(&self) -> bool {
        false
    }

    /// Says whether the target takes such records as come; gives what a person should know. Changes nothing, and is asked
    /// after [`super::Target::rehearse`].
    ///
    /// # Errors
    /// [`ConnectorError`] if it does not, or cannot be looked at.
    fn preflight(&self, plan: &TargetPlan, survey: &Survey) -> Result<Vec<String>, ConnectorError>;
}

/// What the records of a restore are like, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// By collection, in the plan's order; empty if no records come.
    pub collections: Vec<CollectionSurvey>,
    /// Which part of its source the snapshot holds, in words; empty for all.
    pub scope_note: String,
    /// Whether a person said that make-equal from a part is meant.
    pub forced: bool,
}

/// What the records that come to one collection are like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectionSurvey {
    /// How many there are.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Those that expire.
    pub expiring: u64,
    /// The latest expiry; never if none expires.
    pub latest_expiry: Expiry,
    /// The bytes of the largest value.
    pub largest_value_bytes: u64,
    /// By the set or table that a record names. At most [`MAX_SURVEYED_SETS`]; records of others are counted above only.
    pub sets: BTreeMap<Vec<u8>, SetSurvey>,
}

/// Sets that a survey tells apart.
pub const MAX_SURVEYED_SETS: usize = 1 << 16;

/// What the records of one set are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetSurvey {
    /// How many there are.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Those without a stored user key.
    pub records_without_user_key: u64,
}

impl CollectionSurvey {
    /// Adds a record.
    pub fn add(&mut self, meta: &Meta<'_>, value_bytes: u64) {
        self.records += 1;
        self.value_bytes += value_bytes;
        self.expiring += u64::from(meta.expiry != Expiry::NEVER);
        self.latest_expiry = Expiry::from_millis(self.latest_expiry.as_millis().max(meta.expiry.as_millis()));
        self.largest_value_bytes = self.largest_value_bytes.max(value_bytes);
        if !self.sets.contains_key(meta.set) {
            if self.sets.len() >= MAX_SURVEYED_SETS {
                return;
            }
            self.sets.insert(meta.set.to_vec(), SetSurvey::default());
        }
        if let Some(set) = self.sets.get_mut(meta.set) {
            set.records += 1;
            set.value_bytes += value_bytes;
            set.records_without_user_key += u64::from(meta.user_key.is_none());
        }
    }
}
