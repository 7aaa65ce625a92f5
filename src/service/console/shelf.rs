//! What is kept in repositories, as pages need it: by routine, in a few words a snapshot. Read by one thread whoever asks, kept
//! for a moment; a storage that does not answer keeps nobody waiting.

use crate::{
    ops::{OpsError, forget::Candidate},
    record::Timestamp,
    repo::{Repository, Snapshot, SnapshotId, keys, manifest::Kind},
    report::ErrorKind,
    service::{Service, config::Config, config::Routine, places::Where},
};
use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::Builder,
    time::{Duration, Instant},
};

/// How long a listing counts as new.
const FRESH: Duration = Duration::from_secs(2);

/// How often storage itself is listed, for what others have put there.
const LISTED_EVERY: Duration = Duration::from_secs(15);

/// How long a page waits for a listing, where there is an older one and where there is none.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What pages say of a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) id: SnapshotId,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) kind: Kind,
    pub(super) complete: bool,
    pub(super) is_protected: bool,
    pub(super) parent: Option<SnapshotId>,
    pub(super) records: u64,
    /// Bytes of all its records.
    pub(super) bytes: u64,
    /// Bytes that it added to the repository.
    pub(super) added: u64,
    pub(super) inserted: u64,
    pub(super) changed: u64,
    pub(super) deleted: u64,
    /// What retention decides by.
    pub(super) candidate: Candidate,
}

impl Mark {
    fn of(snapshot: &Snapshot) -> Self {
        let (content, stats) = (&snapshot.content, &snapshot.content.stats);
        Self {
            id: snapshot.id,
            start: content.start,
            end: content.end,
            kind: content.kind,
            complete: content.complete,
            is_protected: snapshot.hold || snapshot.lock_until.is_some(),
            parent: content.parent,
            records: snapshot.collections.iter().map(|it| it.records).sum(),
            bytes: snapshot.collections.iter().map(|it| it.bytes).sum(),
            added: stats.bytes_added,
            inserted: stats.new,
            changed: stats.changed,
            deleted: stats.deleted + stats.expired,
            candidate: Candidate::of(snapshot, true),
        }
    }
}

/// The snapshots of routines, oldest first.
pub(super) type ByRoutine = HashMap<String, Arc<Vec<Mark>>>;

/// What is known of a repository.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// What it holds, as far as it was ever read.
    pub(super) marks: Option<Arc<ByRoutine>>,
    /// Why it cannot be read now.
    pub(super) error: Option<String>,
    /// When it was read last.
    pub(super) at: Option<Timestamp>,
}

#[derive(Default)]
struct Held {
    seen: Seen,
    read: Option<Instant>,
    listed: Option<Instant>,
    /// Why storage could not be listed.
    storage_error: Option<String>,
    is_reading: bool,
    /// How many readings ended.
    readings: u64,
}

impl Held {
    fn is_listing_due(&self) -> bool {
        let pause = if self.storage_error.is_some() { FRESH } else { LISTED_EVERY };
        self.listed.is_none_or(|listed| listed.elapsed() >= pause)
    }
}

#[derive(Default)]
struct Slot {
    held: Mutex<Held>,
    ended: Condvar,
}

impl Slot {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All repositories that somebody looked at.
pub(super) struct Shelves {
    service: Arc<Service>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

impl Shelves {
    pub(super) fn new(service: &Arc<Service>) -> Self {
        Self { service: Arc::clone(service), slots: Mutex::default() }
    }

    /// What the repository of a routine holds; where it is by the configuration.
    pub(super) fn look(self: &Arc<Self>, config: &Arc<Config>, routine: &Routine) -> (String, Seen) {
        let place = match Where::of_routine(config, routine) {
            Ok(place) => place,
            Err(error) => return (String::new(), Seen { error: Some(error.to_string()), ..Seen::default() }),
        };
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(place.name.clone()).or_default())
        };
        let name = place.name.clone();
        (name, self.look_into(&slot, config, place))
    }

    fn look_into(self: &Arc<Self>, slot: &Arc<Slot>, config: &Arc<Config>, place: Where) -> Seen {
        let mut held = slot.held();
        if held.read.is_some_and(|read| read.elapsed() < FRESH) {
            return held.seen.clone();
        }
        let before = held.readings;
        if !held.is_reading {
            held.is_reading = true;
            let (shelves, reader, config) = (Arc::clone(self), Arc::clone(slot), Arc::clone(config));
            let begun = Builder::new().name("console".to_owned()).spawn(move || shelves.read(&reader, &config, &place));
            if let Err(error) = begun {
                held.is_reading = false;
                held.seen.error = Some(error.to_string());
                return held.seen.clone();
            }
        }
        let patience = if held.seen.marks.is_some() { PATIENCE.0 } else { PATIENCE.1 };
        let waited = slot.ended.wait_timeout_while(held, patience, |held| held.readings == before);
        let (held, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut seen = held.seen.clone();
        if timeout.timed_out() && seen.error.is_none() {
            seen.error = Some("it has not answered yet".to_owned());
        }
        seen
    }

    /// Reads a repository: what is known here at once, then what storage says.
    fn read(&self, slot: &Slot, config: &Config, place: &Where) {
        match self.service.places.open(config, place, false) {
            // Nothing was backed up yet.
            Err(error) if error.kind() == ErrorKind::NoRepository => self.tell(slot, Ok(ByRoutine::new()), false),
            Err(error) => self.tell(slot, Err(error), false),
            Ok(repo) => {
                let is_due = slot.held().is_listing_due();
                self.tell(slot, marks(&repo), is_due);
                if is_due {
                    let listed = refresh(&repo);
                    let mut held = slot.held();
                    held.listed = Some(Instant::now());
                    held.storage_error = listed.as_ref().err().map(ToString::to_string);
                    drop(held);
                    self.tell(slot, listed.and_then(|()| marks(&repo)), false);
                }
            }
        }
    }

    fn tell(&self, slot: &Slot, outcome: Result<ByRoutine, OpsError>, is_reading: bool) {
        let mut held = slot.held();
        match outcome {
            Ok(marks) => {
                held.seen.marks = Some(Arc::new(marks));
                // What storage said last stands until it says something else.
                held.seen.error = held.storage_error.as_ref().map(String::from);
                if held.storage_error.is_none() {
                    held.seen.at = Some(self.service.now());
                }
            }
            Err(error) => held.seen.error = Some(error.to_string()),
        }
        held.is_reading = is_reading;
        held.readings += 1;
        held.read = Some(Instant::now());
        drop(held);
        slot.ended.notify_all();
    }
}

/// Lists storage anew. What is not there at all is said: a folder that is gone looks like an empty one.
fn refresh(repo: &Repository) -> Result<(), OpsError> {
    keys::read_config(repo.storage())?;
    repo.refresh()?;
    Ok(())
}

fn marks(repo: &Repository) -> Result<ByRoutine, OpsError> {
    let mut by_routine: HashMap<String, Vec<Mark>> = HashMap::new();
    for snapshot in repo.snapshots()? {
        if let Some(routine) = snapshot.tags.iter().find_map(|tag| tag.strip_prefix("routine=")) {
            by_routine.entry(routine.to_owned()).or_default().push(Mark::of(&snapshot));
        }
    }
    Ok(by_routine.into_iter().map(|(routine, marks)| (routine, Arc::new(marks))).collect())
}
