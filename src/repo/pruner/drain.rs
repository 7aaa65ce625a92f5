//! Draining: whether everyone who may still use what a mark names is over, or keeps away from it.

use super::{LeaseInfo, Pruner};
use crate::{
    record::Timestamp,
    repo::{
        ObjectName, RepoError, SnapshotId,
        faults::{self, Rule},
        inner::Inner,
        lease::{Mark, Unreadable},
    },
};
use serde::Serialize;
use std::{collections::HashSet, time::Duration};

/// A lease that a mark waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// The lease.
    pub lease: SnapshotId,
    /// What for.
    pub purpose: String,
    /// Whose.
    pub host: String,
    /// When it began, by its own clock.
    pub started: Option<Timestamp>,
    /// When it counts as dead if it shows no new sign, by this host's clock; `None` where only a person shuts leases out.
    pub until: Option<Timestamp>,
}

impl Waits {
    /// The lease in words, and until when it is waited for.
    #[must_use]
    pub fn in_words(&self) -> String {
        let purpose = if self.purpose.is_empty() { "something unreadable" } else { &self.purpose };
        let started = self.started.map_or_else(String::new, |started| format!(", begun {started}"));
        let until = match self.until {
            Some(until) => format!(", until it ends or has shown no sign by {until}"),
            None => ", until it ends or a person shuts it out".to_owned(),
        };
        format!("for {purpose} on {} (lease {}{started}){until}", self.host, self.lease.short())
    }
}

/// How far a mark is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MarkState {
    /// Its name.
    pub mark: String,
    /// Packs that it names and that are still there.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The leases that it waits for; none if it is drained.
    pub waits_for: Vec<Waits>,
    /// Until when it waits in any case, by this host's clock.
    pub waits_until: Option<Timestamp>,
}

impl MarkState {
    /// Whether it may be carried out.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.waits_for.is_empty() && self.waits_until.is_none()
    }

    /// What it waits for, in words; `None` if for nothing.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        let (packs, bytes) = (self.packs, self.bytes);
        let mut reasons: Vec<String> = self.waits_for.iter().map(Waits::in_words).collect();
        reasons.extend(self.waits_until.map(|until| format!("until {until} in any case")));
        let what = if packs == 1 { "1 marked pack".to_owned() } else { format!("{packs} marked packs") };
        (!reasons.is_empty()).then(|| {
            let waits = if packs == 1 { "waits" } else { "wait" };
            format!("{what} ({bytes} bytes) {waits}: {}", reasons.join("; "))
        })
    }
}

impl Pruner {
    /// Lists marks, then leases, and tells which marks may be carried out.
    pub(super) fn drain(&self) -> Result<(Vec<Mark>, Vec<Mark>), RepoError> {
        let marks = self.inner.marks(&HashSet::new(), Unreadable::Fails)?;
        let leases = self.inner.leases()?;
        let (mut drained, mut waiting) = (Vec::new(), Vec::new());
        for mark in marks {
            let free = waits_for(&mark.id, &leases).is_empty();
            let ripe = self.inner.waits_until(&mark.id, self.options.grace)?.is_none();
            if free && ripe { drained.push(mark) } else { waiting.push(mark) }
        }
        Ok((drained, waiting))
    }
}

impl Inner {
    /// How far these marks are.
    pub(super) fn mark_states(
        &self,
        marks: &[Mark],
        leases: &[LeaseInfo],
        listed: &dyn Fn(&ObjectName) -> Option<u64>,
        grace: Duration,
    ) -> Result<Vec<MarkState>, RepoError> {
        let mut states = Vec::with_capacity(marks.len());
        for mark in marks {
            let there: Vec<u64> = mark.packs.iter().filter_map(listed).collect();
            states.push(MarkState {
                mark: mark.id.clone(),
                packs: there.len() as u64,
                bytes: there.iter().sum(),
                waits_for: waits_for(&mark.id, leases),
                waits_until: self.waits_until(&mark.id, grace)?,
            });
        }
        Ok(states)
    }

    /// The end of the grace period, if it is yet to come.
    fn waits_until(&self, mark: &str, grace: Duration) -> Result<Option<Timestamp>, RepoError> {
        if grace.is_zero() {
            return Ok(None);
        }
        let now = self.clock.now();
        let seen = self.catalog.lease_first_seen(&mark_key(mark), 0, now)?;
        let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let until = Timestamp::from_millis(seen.as_millis().saturating_add(grace));
        Ok((until > now).then_some(until))
    }
}

/// Marks share the table in which a catalog keeps when it first saw a lease.
pub(super) fn mark_key(mark: &str) -> SnapshotId {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(mark.as_bytes()).as_bytes()[..16]);
    SnapshotId(key)
}

/// The leases that stand in a mark's way, out of a listing that began when the mark was durable.
fn waits_for(mark: &str, leases: &[LeaseInfo]) -> Vec<Waits> {
    let in_the_way = |lease: &&LeaseInfo| {
        let waits = !lease.is_over() && !lease.is_prune() && !lease.honours.iter().any(|honoured| honoured == mark);
        let ignored =
            faults::is_broken(Rule::DrainWaits) || lease.is_reader() && faults::is_broken(Rule::DrainWaitsForReaders);
        waits && !ignored
    };
    let waits = leases.iter().filter(in_the_way).map(|lease| Waits {
        lease: lease.id,
        purpose: lease.purpose.clone(),
        host: lease.host.clone(),
        started: lease.started,
        until: lease.dead_at,
    });
    waits.collect()
}
