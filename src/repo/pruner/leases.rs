//! The leases of others: who holds them, whether they are over, whether they are dead; and shutting dead ones out.

use super::{DEAD_AFTER, DEAD_BY_STORAGE, PRUNE};
use crate::{
    record::Timestamp,
    repo::{
        RepoError, Repository, SnapshotId,
        catalog::RevisionKind,
        faults::{self, Rule},
        inner::{Inner, lock},
        keys::Party,
        lease::{LeaseBody, LeaseEndBody, end_path, lease_path},
        names,
        object::{self, ObjectKind},
        process::ProcessId,
    },
};
use rayon::prelude::*;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// What became of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// It runs, as far as anyone can tell.
    Running,
    /// Its writer or reader ended it.
    Ended,
    /// Its snapshot is committed, though it has no end.
    Committed,
    /// It was shut out: it can never commit.
    Fenced,
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseInfo {
    /// Its name, and that of the snapshot it may commit.
    pub id: SnapshotId,
    /// `backup`, `prune`, `read` …; empty if its newest object cannot be read.
    pub purpose: String,
    /// Whose.
    pub host: String,
    /// When it began, by its own clock.
    pub started: Option<Timestamp>,
    /// The number of its newest object.
    pub newest: u64,
    /// The marks that it honours.
    pub honours: Vec<String>,
    /// What became of it.
    pub state: LeaseState,
    /// When this catalog first saw the newest object, by this host's clock; only for running ones.
    pub newest_seen: Option<Timestamp>,
    /// The process that holds it, if its lease says so.
    pub process: Option<ProcessId>,
    /// What is wrong with its newest object.
    pub problem: Option<String>,
    /// For how long its newest object has lain there by the storage's own clock, where that was asked.
    #[serde(skip)]
    pub silent_millis: Option<i64>,
    /// When it counts as dead if it shows no new sign, by this host's clock; `None` where it is over, or where only a person
    /// shuts leases out.
    pub dead_at: Option<Timestamp>,
    /// The highest number listed, whoever made that object.
    #[serde(skip)]
    pub highest: u64,
}

impl LeaseInfo {
    /// What became of it; what is bad about the objects that say so is its problem, and says nothing.
    fn settle(&mut self, state: Result<LeaseState, RepoError>) -> Result<(), RepoError> {
        match state {
            Ok(state) => self.state = state,
            Err(error) if error.is_bad_object() => drop(self.problem.get_or_insert(error.to_string())),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether nothing more can come of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state != LeaseState::Running
    }

    /// Whether a pruner holds it.
    #[must_use]
    pub fn is_prune(&self) -> bool {
        self.purpose == PRUNE
    }

    /// Whether a reader holds it.
    #[must_use]
    pub fn is_reader(&self) -> bool {
        is_reading(&self.purpose)
    }

    /// Whether it has shown no sign for so long that it may be fenced.
    #[must_use]
    pub fn is_dead(&self, now: Timestamp) -> bool {
        !self.is_over() && self.dies_at(now).is_some_and(|at| at <= now)
    }

    /// When it may be fenced if it shows no new sign: by when this catalog first saw its newest object, or by how long the
    /// storage says that it has lain there, whichever comes first.
    fn dies_at(&self, now: Timestamp) -> Option<Timestamp> {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let seen = self.newest_seen.map(|seen| seen.as_millis().saturating_add(millis(DEAD_AFTER)));
        let dated = self
            .silent_millis
            .map(|silent| now.as_millis().saturating_add(millis(DEAD_BY_STORAGE).saturating_sub(silent)));
        seen.into_iter().chain(dated).min().map(Timestamp::from_millis)
    }
}

/// Drains do not wait for pruners, so only who may prune is one; a reader does nothing else.
fn may_say(party: Party, purpose: &str) -> bool {
    match party {
        Party::Reader => is_reading(purpose),
        Party::Writer => purpose != PRUNE,
        Party::Operator => true,
    }
}

fn is_reading(purpose: &str) -> bool {
    purpose == "read" || purpose.starts_with("read:")
}

impl Inner {
    /// Lists leases and finds out what became of each. Those that are dead are fenced where the storage allows it to be
    /// done without a person.
    pub(in crate::repo) fn leases(&self) -> Result<Vec<LeaseInfo>, RepoError> {
        let mut leases = self.leases_seen()?;
        // A lease that cannot be seen may be that of a writer at work.
        self.nothing_is_hidden_in("leases/")?;
        if !self.fences_by_itself() {
            return Ok(leases);
        }
        self.ask_storage_for_ages(&mut leases);
        let now = self.clock.now();
        for lease in leases.iter_mut().filter(|lease| !lease.is_over()) {
            // A clock that jumps, or a machine that slept, is no reason to shut ourselves out.
            if !lease.is_dead(now) || lock(&self.own_leases).contains(&lease.id) {
                lease.dead_at = lease.dies_at(now);
            } else if faults::is_broken(Rule::DeadIsFenced) || self.fence(&lease.id)? {
                lease.state = LeaseState::Fenced;
                lease.dead_at = None;
            } else {
                lease.state = LeaseState::Committed;
                lease.dead_at = None;
            }
        }
        Ok(leases)
    }

    /// Whether somebody shut this lease out: a void lies in the place of its commit.
    pub(in crate::repo) fn is_fenced(&self, id: &SnapshotId) -> Result<bool, RepoError> {
        match self.fetch_revision(id, 0) {
            Ok(revision) => Ok(revision.kind == RevisionKind::Void),
            Err(RepoError::Missing { .. }) => Ok(false),
            Err(error) if error.is_bad_object() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn fences_by_itself(&self) -> bool {
        let promises = self.storage.promises();
        promises.conditional_create && promises.prompt_listing
    }

    /// How long the newest objects of running leases have lain there by the storage's own clock; nothing of our own.
    fn ask_storage_for_ages(&self, leases: &mut [LeaseInfo]) {
        let now = self.clock.now();
        let own = lock(&self.own_leases).clone();
        let is_asked = |lease: &LeaseInfo| !lease.is_over() && !lease.is_dead(now) && !own.contains(&lease.id);
        let mut asked: Vec<&mut LeaseInfo> = leases.iter_mut().filter(|lease| is_asked(lease)).collect();
        let ages = self.storage.each_of(&asked, |lease| {
            // What cannot be told is waited for as without such a clock.
            let age = |number| self.storage.age_millis(&lease_path(&lease.id, number)).ok().flatten();
            let newest = age(lease.highest);
            if lease.newest == lease.highest { newest } else { newest.min(age(lease.newest)) }
        });
        for (lease, age) in asked.iter_mut().zip(ages) {
            lease.silent_millis = age;
        }
    }

    /// Lists leases and finds out what became of each; changes nothing in the repository.
    pub(in crate::repo) fn leases_seen(&self) -> Result<Vec<LeaseInfo>, RepoError> {
        let mut found: BTreeMap<SnapshotId, (Vec<u64>, bool)> = BTreeMap::new();
        for object in self.list_objects("leases/")? {
            let Some((lease, last)) = object.name.strip_prefix("leases/").and_then(|name| name.split_once('/')) else {
                continue;
            };
            let Ok(id) = lease.parse::<SnapshotId>() else { continue };
            let (numbers, ended) = found.entry(id).or_default();
            match last.parse::<u64>() {
                Ok(number) if number.to_string() == last => numbers.push(number),
                _ => *ended |= last == "end",
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        for (_, (numbers, _)) in &mut found {
            numbers.sort_unstable();
        }
        let info = |(id, (numbers, ended)): &(SnapshotId, (Vec<u64>, bool))| self.lease_info(*id, numbers, *ended);
        // Reading them is what takes time where there are many.
        if self.storage.is_far() {
            self.storage.each_of(&found, info).into_iter().collect()
        } else {
            found.par_iter().map(info).collect()
        }
    }

    fn lease_info(&self, id: SnapshotId, numbers: &[u64], ended: bool) -> Result<LeaseInfo, RepoError> {
        let mut info = LeaseInfo {
            id,
            purpose: String::new(),
            host: String::new(),
            started: None,
            newest: 0,
            honours: Vec::new(),
            state: LeaseState::Running,
            newest_seen: None,
            process: None,
            problem: None,
            silent_millis: None,
            dead_at: None,
            highest: numbers.last().copied().unwrap_or(0),
        };
        if ended {
            info.settle(self.ended(&id))?;
        }
        if !info.is_over() {
            info.settle(self.fate(&id))?;
        }
        if info.is_over() {
            return Ok(info);
        }
        // The highest that its holder made: what others put beside it says nothing.
        for number in numbers.iter().rev() {
            match self.read_lease(&id, *number) {
                Ok(body) => {
                    info.newest = *number;
                    info.purpose = body.purpose;
                    info.host = body.host;
                    info.started = Some(body.started);
                    info.honours = body.honours;
                    info.process = body.process;
                    break;
                }
                // Gone since it was listed: what is over is tidied away by others. Until it is no longer listed it counts.
                Err(error) if error.is_bad_object() || matches!(error, RepoError::Missing { .. }) => {
                    info.problem.get_or_insert(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        let now = self.clock.now();
        info.newest_seen = Some(self.catalog.lease_first_seen(&id, info.newest, now)?);
        info.dead_at = info.dies_at(now).filter(|_| self.fences_by_itself());
        Ok(info)
    }

    /// Whether its holder ended it.
    fn ended(&self, id: &SnapshotId) -> Result<LeaseState, RepoError> {
        if self.seen_leases.has_ended(id) {
            return Ok(LeaseState::Ended);
        }
        let path = end_path(id);
        match object::read(&self.storage, &path) {
            Ok(bytes) => {
                object::open(&self.keyring, ObjectKind::LeaseEnd, &path, &bytes)?;
                self.seen_leases.ended(*id);
                Ok(LeaseState::Ended)
            }
            // It goes last of what is tidied away of a lease that is over.
            Err(RepoError::Missing { .. }) => Ok(LeaseState::Ended),
            Err(error) => Err(error),
        }
    }

    /// What the name of its commit says of a lease without an end.
    fn fate(&self, id: &SnapshotId) -> Result<LeaseState, RepoError> {
        let listed = self.list_objects(&format!("snapshots/{id}/"))?;
        let mut problem = None;
        for (_, revision) in listed.iter().filter_map(|it| names::parse_revision(&it.name)) {
            match self.fetch_revision(id, revision) {
                Ok(revision) if revision.kind == RevisionKind::Void => return Ok(LeaseState::Fenced),
                // Only what was committed is revised or forgotten.
                Ok(_) => return Ok(LeaseState::Committed),
                Err(RepoError::Missing { .. }) => {}
                Err(error) => problem = Some(error),
            }
        }
        problem.map_or(Ok(LeaseState::Running), Err)
    }

    fn read_lease(&self, id: &SnapshotId, number: u64) -> Result<LeaseBody, RepoError> {
        let path = lease_path(id, number);
        let parse = |body: &[u8]| -> Result<LeaseBody, RepoError> {
            serde_json::from_slice(body).map_err(|error| RepoError::damaged(&*path, error))
        };
        if let Some(body) = self.seen_leases.body(id, number) {
            return parse(&body);
        }
        let bytes = object::read(&self.storage, &path)?;
        let sealed = object::open(&self.keyring, ObjectKind::Lease, &path, &bytes)?;
        let party = object::author(&self.keyring, &path, &bytes)?;
        let body = parse(&sealed)?;
        if !may_say(party, &body.purpose) {
            return Err(RepoError::forged(path, format!("a {party:?} cannot hold a lease to {}", body.purpose)));
        }
        if body.lease != *id || body.number != number {
            return Err(RepoError::damaged(path, format!("it says it is number {} of {}", body.number, body.lease)));
        }
        self.seen_leases.said(*id, number, sealed.clone());
        Ok(body)
    }
}

impl Repository {
    /// The leases that storage lists.
    pub fn leases(&self) -> Result<Vec<LeaseInfo>, RepoError> {
        self.inner.leases_seen()
    }

    /// The outcome that a lease's end gives, for people.
    pub fn lease_outcome(&self, id: &SnapshotId) -> Result<String, RepoError> {
        let path = end_path(id);
        let bytes = object::read(&self.inner.storage, &path)?;
        let body = object::open(&self.inner.keyring, ObjectKind::LeaseEnd, &path, &bytes)?;
        let body: LeaseEndBody = serde_json::from_slice(&body).map_err(|error| RepoError::damaged(&*path, error))?;
        Ok(body.outcome)
    }
}
