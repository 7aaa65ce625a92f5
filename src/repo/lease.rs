//! Leases: a running writer's or reader's announcement, its heartbeats, its end; and the marks that it looks at.
//! The rules are in `format-spec/protocol.md`.

use super::{
    ObjectName, RepoError, SnapshotId,
    inner::{
        Inner,
        create::{self, json},
        lock,
    },
    keys::{LeaseKey, Party, Signer},
    object::{self, ObjectKind},
    process::ProcessId,
};
use crate::record::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// What the lease of a pruner says: drains do not wait for it.
pub const PRUNE: &str = "prune";

/// How often a lease shows that it lives.
pub const HEARTBEAT: Duration = Duration::from_mins(5);

/// How often a random name that is taken is drawn again. Twice never happens, but for a broken generator.
const MAX_DRAWS: usize = 3;

/// What a lease object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseBody {
    /// The lease.
    pub lease: SnapshotId,
    /// Which heartbeat this is; 0 begins it.
    pub number: u64,
    /// `backup`, `squash`, `prune`, `read` …
    pub purpose: String,
    /// Whose.
    pub host: String,
    /// When it began, by its own clock: for people.
    pub started: Timestamp,
    /// The marks that it has honoured so far.
    #[serde(default)]
    pub honours: Vec<String>,
    /// The process that holds it, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
}

/// What the last object of a lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseEndBody {
    /// The lease.
    pub lease: SnapshotId,
    /// `committed`, `abandoned` or `done`.
    pub outcome: String,
}

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkBody {
    /// The packs that are to be deleted.
    pub packs: Vec<ObjectName>,
}

/// One listed mark.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub id: String,
    pub packs: Vec<ObjectName>,
}

/// `leases/<S>/<n>`.
#[must_use]
pub fn lease_path(lease: &SnapshotId, number: u64) -> String {
    format!("leases/{lease}/{number}")
}

/// `leases/<S>/end`.
#[must_use]
pub fn end_path(lease: &SnapshotId) -> String {
    format!("leases/{lease}/end")
}

/// A lease of our own.
pub(super) struct Lease {
    inner: Arc<Inner>,
    key: LeaseKey,
    purpose: String,
    started: Timestamp,
    process: Option<ProcessId>,
    /// The next number to be sent; locked while one is being sent, so that numbers rise with time.
    next: Mutex<u64>,
}

impl Lease {
    /// Draws a key, and with it a name, and creates object 0.
    pub fn begin(inner: &Arc<Inner>, purpose: &str, party: Party) -> Result<Self, RepoError> {
        for _ in 0..MAX_DRAWS {
            let lease = Self {
                inner: Arc::clone(inner),
                key: inner.keyring.lease_key(party)?,
                purpose: purpose.to_owned(),
                started: inner.clock.now(),
                process: ProcessId::this(),
                next: Mutex::new(0),
            };
            if lease.beat(&mut Vec::new)? {
                lock(&inner.own_leases).insert(lease.id());
                return Ok(lease);
            }
        }
        Err(RepoError::Internal("every name drawn for a lease is taken: the system's random numbers repeat".to_owned()))
    }

    pub fn id(&self) -> SnapshotId {
        self.key.lease()
    }

    /// Who signs what this lease makes.
    pub fn signer(&self) -> Signer<'_> {
        Signer::Lease(&self.key)
    }

    /// Creates the next object. `honours` is asked for under the lock and gives all marks honoured so far. Gives `false`
    /// if the name is taken by other bytes; the next beat takes the next number in any case.
    pub fn beat(&self, honours: &mut dyn FnMut() -> Vec<String>) -> Result<bool, RepoError> {
        let mut next = lock(&self.next);
        let number = *next;
        let body = LeaseBody {
            lease: self.id(),
            number,
            purpose: self.purpose.clone(),
            host: self.inner.host.clone(),
            started: self.started,
            honours: honours(),
            process: self.process.clone(),
        };
        // If the answer is lost the number may be taken: a gap is no harm, a second body under one name would be.
        *next += 1;
        let path = lease_path(&self.id(), number);
        let bytes = object::make(&self.inner.keyring, self.signer(), ObjectKind::Lease, &path, &json(&body)?)?;
        // The first object begins the run and may take its time; a heartbeat that is late is of no use.
        if number == 0 {
            return self.inner.create_or_same(&path, &bytes);
        }
        create::create_or_same(&self.inner.storage.hurried(), &path, &bytes)
    }

    /// Creates the end.
    pub fn end(&self, outcome: &str) -> Result<(), RepoError> {
        let path = end_path(&self.id());
        let body = LeaseEndBody { lease: self.id(), outcome: outcome.to_owned() };
        let bytes = object::make(&self.inner.keyring, self.signer(), ObjectKind::LeaseEnd, &path, &json(&body)?)?;
        self.inner.storage.create(&path, &bytes)?;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.inner.own_leases).remove(&self.key.lease());
    }
}

/// Whether marks that cannot be read stop the caller or are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Fails,
    IsSkipped,
}

/// The marks of a listing.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub read: Vec<Mark>,
    /// The ids of those that cannot be read, though somebody may have read them before.
    pub unreadable: Vec<(String, RepoError)>,
}

impl Inner {
    /// Lists `trash/` and reads the marks not in `known`, by name. One that is gone when it is read is left out: what it
    /// named is gone too. So is one that nobody who may made: nobody will carry it out; every opening tells of it.
    pub(super) fn marks(&self, known: &HashSet<String>, unreadable: Unreadable) -> Result<Vec<Mark>, RepoError> {
        let mut marks = self.all_marks(known, unreadable == Unreadable::IsSkipped)?;
        match marks.unreadable.pop() {
            Some((_, error)) if unreadable == Unreadable::Fails => Err(error),
            _ => Ok(marks.read),
        }
    }

    /// [`Self::marks`], with those that cannot be read. Trouble of the storage, which may pass, is an error unless it is to be
    /// passed over.
    pub(super) fn all_marks(&self, known: &HashSet<String>, goes_on: bool) -> Result<Marks, RepoError> {
        let mut listed = self.list_objects("trash/")?;
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        listed.retain(|object| !known.contains(mark_id(&object.name)));
        let mut marks = Marks::default();
        if self.is_blocked("trash/") {
            // What it hides may name any pack.
            marks.unreadable.push((String::new(), RepoError::Hidden { object: "trash".to_owned() }));
        }
        let wanted = listed.iter().map(|object| (&*object.name, object.name.clone(), object.bytes));
        for (path, begun) in object::read_each(&self.storage, wanted) {
            match begun.get().and_then(|bytes| self.open_mark(path, &bytes)) {
                Ok(packs) => marks.read.push(Mark { id: mark_id(path).to_owned(), packs }),
                Err(RepoError::Missing { .. } | RepoError::Forged { .. }) => {}
                Err(error) if error.is_of_one_object() => marks.unreadable.push((mark_id(path).to_owned(), error)),
                Err(_) if goes_on => {}
                Err(error) => return Err(error),
            }
        }
        Ok(marks)
    }

    fn open_mark(&self, path: &str, bytes: &[u8]) -> Result<Vec<ObjectName>, RepoError> {
        let body = object::open(&self.keyring, ObjectKind::Mark, path, bytes)?;
        let body: MarkBody = serde_json::from_slice(&body).map_err(|error| RepoError::damaged(path, error))?;
        Ok(body.packs)
    }
}

fn mark_id(path: &str) -> &str {
    path.strip_prefix("trash/").unwrap_or(path)
}

/// Calls something at an interval of the monotonic clock, on a thread of its own, until it is dropped.
pub(super) struct Ticker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn start(interval: Duration, mut work: impl FnMut() + Send + 'static) -> Result<Self, RepoError> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = Arc::clone(&stop);
        let run = move || {
            loop {
                let (flag, bell) = &*shared;
                let waited = bell.wait_timeout_while(lock(flag), interval, |stopped| !*stopped);
                let (stopped, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                if *stopped {
                    return;
                }
                drop(stopped);
                if timeout.timed_out() {
                    work();
                }
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(run);
        let thread = thread.map_err(|error| RepoError::Internal(format!("no thread for the heartbeat: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A heartbeat that panicked has nothing left to stop.
            let _ = thread.join();
        }
    }
}
