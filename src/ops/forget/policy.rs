//! What a policy says: the rules that keep snapshots, and the age that drops them. Specified in
//! `format-spec/retention.md`.

use super::calendar::{Age, Period};
use crate::{
    ops::OpsError,
    record::local_zone,
    report::{ErrorKind, Remedy},
};
use jiff::tz::TimeZone;
use serde::Serialize;

/// What makes a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Grouping {
    /// Connector and name, and the scope; without the host the name is the place on any host.
    pub source: bool,
    /// The host the backup ran on.
    pub host: bool,
    /// All tags together.
    pub tags: bool,
}

impl Default for Grouping {
    fn default() -> Self {
        Self { source: true, host: true, tags: false }
    }
}

/// How many hours, days, weeks, months or years keep their newest snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeepPeriod {
    /// Which.
    pub period: Period,
    /// How many.
    pub count: u32,
}

/// For how long each hour, day, week, month or year keeps its newest snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct KeepWithin {
    /// Which; every snapshot if absent.
    pub period: Option<Period>,
    /// For how long before now.
    pub age: Age,
}

/// A retention policy. A snapshot stays if any rule keeps it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Policy {
    /// The newest so many.
    pub last: Option<u32>,
    /// Counts of periods.
    pub periods: Vec<KeepPeriod>,
    /// Ages.
    pub within: Vec<KeepWithin>,
    /// Tags, any of which keeps.
    pub tags: Vec<String>,
    /// The newest so many fulls.
    pub full: Option<u32>,
    /// Incrementals of the newest so many fulls; of all that [`Self::full`] keeps if absent.
    pub incremental: Option<u32>,
    /// What a full is told by, if not by what was read: a tag. Sources without a change filter are read fully each time, whatever
    /// was asked for.
    pub full_tag: Option<String>,
    /// Drops everything older, whatever the rules say; holds and locks excepted.
    pub max_age: Option<Age>,
    /// What the rules are applied to.
    pub group_by: Grouping,
    /// Lets the last snapshot of a source go, groups of which no rule keeps anything, and rules that meet nothing.
    pub force: bool,
}

impl Policy {
    /// Whether there is a rule that can keep something. Without one only [`Self::max_age`] decides.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.last.is_some_and(|count| count > 0)
            || self.periods.iter().any(|rule| rule.count > 0)
            || !self.within.is_empty()
            || !self.tags.is_empty()
            || self.full.is_some_and(|count| count > 0)
    }

    /// Whether any rule was given, be it one that keeps nothing, such as a count of 0.
    fn gives_rules(&self) -> bool {
        self.last.is_some() || !self.periods.is_empty() || self.full.is_some() || self.has_rules()
    }

    /// Whether anything was given that decides.
    #[must_use]
    pub fn decides(&self) -> bool {
        self.gives_rules() || self.incremental.is_some() || self.max_age.is_some()
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), OpsError> {
        let usage = |text: &str| Err(OpsError::Usage(text.to_owned()));
        match (self.full, self.incremental) {
            (None, Some(_)) => {
                return Err(OpsError::refused_unless(
                    Remedy::KeepFull,
                    ErrorKind::InvalidInput,
                    "whose incrementals are kept is counted in fulls, and no number of fulls is kept",
                ));
            }
            (Some(full), Some(incremental)) if incremental > full => {
                return Err(OpsError::refused_unless(
                    Remedy::KeepFull,
                    ErrorKind::InvalidInput,
                    "incrementals may not be kept of more fulls than are kept: the fulls that they follow would be gone",
                ));
            }
            _ => {}
        }
        if !self.gives_rules() && self.max_age.is_none() {
            return Err(OpsError::refused_unless(
                Remedy::NameSnapshotsOrPolicy,
                ErrorKind::InvalidInput,
                "which snapshots? Name them, or give a policy",
            ));
        }
        if self.gives_rules() && !self.has_rules() {
            return usage("this policy would keep nothing and is refused: every count is 0");
        }
        Ok(())
    }

    /// The time zone in whose hours and days the rules count: the one of this name, or the system's.
    ///
    /// # Errors
    /// [`OpsError::Usage`] if there is none, unless no rule would ask.
    pub fn zone(&self, name: Option<&str>) -> Result<TimeZone, OpsError> {
        let counts = !self.periods.is_empty() || !self.within.is_empty() || self.max_age.is_some();
        match time_zone(name) {
            Err(_) if name.is_none() && !counts => Ok(TimeZone::UTC),
            zone => zone,
        }
    }

    /// The fulls whose incrementals stay.
    #[must_use]
    pub fn incrementals_of(&self) -> u32 {
        self.incremental.or(self.full).unwrap_or(0)
    }
}

/// The time zone of this name; the system's without one.
pub fn time_zone(name: Option<&str>) -> Result<TimeZone, OpsError> {
    match name {
        None => local_zone().map_err(OpsError::Usage),
        Some(name) => TimeZone::get(name).map_err(|_| {
            OpsError::Usage(format!("`{name}` is no time zone: write a name such as Europe/Berlin or UTC"))
        }),
    }
}
