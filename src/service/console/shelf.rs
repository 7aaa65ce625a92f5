//! What is kept in repositories, as pages need it: by routine, in a few words a snapshot. Read by one thread whoever asks, kept
//! for a moment; a storage that does not answer keeps nobody waiting.

use crate::{
    ops::{OpsError, forget::Candidate},
    record::Timestamp,
    repo::{By, Repository, Snapshot, SnapshotId, keys, manifest::Kind},
    report::ErrorKind,
    service::{Service, config::Config, config::Routine, places::Where, tags::routine_of},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::Builder,
    time::{Duration, Instant},
};

/// Repositories that are to be read.
type Todo = Mutex<VecDeque<(Arc<Slot>, Where)>>;

/// How long a listing counts as new.
const FRESH: Duration = Duration::from_secs(2);

/// How often storage itself is listed, for what others have put there.
const LISTED_EVERY: Duration = Duration::from_secs(15);

/// How long a page waits for a listing, where there is an older one and where there is none.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Repositories that are read at once for one page. To open one takes memory: that is what keeps passwords from being guessed.
const READERS: usize = 8;

/// What pages say of a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) id: SnapshotId,
    pub(super) revision: u64,
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
            revision: snapshot.revision,
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
    /// What the marks follow from.
    hash: Option<[u8; 32]>,
    /// Snapshots that no routine made, and their revisions.
    others: Arc<HashMap<SnapshotId, u64>>,
    /// Why storage could not be listed.
    storage_error: Option<String>,
    is_reading: bool,
    /// When the reading at hand, or the last one, was asked for.
    asked: Option<Instant>,
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

    /// What repositories of routines hold, in the order of these. All are read at once: those that do not answer hold up a page
    /// together no longer than one.
    pub(super) fn look(self: &Arc<Self>, config: &Arc<Config>, routines: &[&Routine]) -> Vec<Seen> {
        let began = Instant::now();
        let mut queue = VecDeque::new();
        let mut looks = Vec::with_capacity(routines.len());
        for routine in routines {
            let place = match Where::of_routine(config, routine) {
                Ok(place) => place,
                Err(error) => {
                    looks.push(Err(Seen { error: Some(error.to_string()), ..Seen::default() }));
                    continue;
                }
            };
            let slot = {
                let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(slots.entry(place.name.clone()).or_default())
            };
            let mut held = slot.held();
            if held.read.is_some_and(|read| read.elapsed() < FRESH) {
                looks.push(Err(held.seen.clone()));
                continue;
            }
            let before = held.readings;
            if !held.is_reading {
                held.is_reading = true;
                held.asked = Some(began);
                queue.push_back((Arc::clone(&slot), place));
            }
            drop(held);
            looks.push(Ok((slot, before)));
        }
        self.begin(config, queue);
        let seen = |look: Result<(Arc<Slot>, u64), Seen>| match look {
            Err(seen) => seen,
            Ok((slot, before)) => wait_for(&slot, before, began),
        };
        looks.into_iter().map(seen).collect()
    }

    /// Lets a few threads read these, one after the other.
    fn begin(self: &Arc<Self>, config: &Arc<Config>, queue: VecDeque<(Arc<Slot>, Where)>) {
        let readers = queue.len().min(READERS);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..readers {
            let (shelves, config, todo) = (Arc::clone(self), Arc::clone(config), Arc::clone(&queue));
            let read = move || shelves.read_all(&config, &todo);
            if let Err(error) = Builder::new().name("console".to_owned()).spawn(read) {
                tracing::error!("no thread to read repositories: {error}");
            }
        }
        if left(&queue) > 0 {
            let (shelves, config, todo) = (Arc::clone(self), Arc::clone(config), Arc::clone(&queue));
            // Without it the others wait for those that do not answer, and no longer.
            let _ = Builder::new().name("console".to_owned()).spawn(move || shelves.go_past(&config, &todo));
        }
        // Where no thread could be had, whoever comes next tries again.
        if readers > 0 && Arc::strong_count(&queue) == 1 {
            while let Some((slot, _)) = taken(&queue) {
                slot.held().is_reading = false;
            }
        }
    }

    fn read_all(&self, config: &Arc<Config>, todo: &Todo) {
        while let Some((slot, place)) = taken(todo) {
            self.read(&slot, config, &place);
        }
    }

    /// Puts another reader to work whenever none has come to its end for a while: those that do not answer keep no other from being
    /// read.
    fn go_past(self: Arc<Self>, config: &Arc<Config>, todo: &Arc<Todo>) {
        let mut before = usize::MAX;
        loop {
            let left = left(todo);
            if left == 0 {
                return;
            }
            if left == before {
                let (shelves, config, todo) = (Arc::clone(&self), Arc::clone(config), Arc::clone(todo));
                let _ = Builder::new().name("console".to_owned()).spawn(move || shelves.read_all(&config, &todo));
            }
            before = left;
            std::thread::sleep(PATIENCE.0);
        }
    }

    /// Reads a repository: what is known here at once, then what storage says.
    fn read(&self, slot: &Slot, config: &Config, place: &Where) {
        match self.service.places.open(config, place, false) {
            // Nothing was backed up yet.
            Err(error) if error.kind() == ErrorKind::NoRepository => self.tell(slot, Ok(Arc::default()), false),
            Err(error) => self.tell(slot, Err(error), false),
            Ok(repo) => {
                let is_due = slot.held().is_listing_due();
                self.tell(slot, marks(slot, &repo), is_due);
                if is_due {
                    let listed = refresh(&repo);
                    let mut held = slot.held();
                    held.listed = Some(Instant::now());
                    held.storage_error = listed.as_ref().err().map(ToString::to_string);
                    drop(held);
                    self.tell(slot, listed.and_then(|()| marks(slot, &repo)), false);
                }
            }
        }
    }

    fn tell(&self, slot: &Slot, outcome: Result<Arc<ByRoutine>, OpsError>, is_reading: bool) {
        let mut held = slot.held();
        match outcome {
            Ok(marks) => {
                held.seen.marks = Some(marks);
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

fn taken<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

fn left<T>(queue: &Mutex<VecDeque<T>>) -> usize {
    queue.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Waits for a reading, as long as a page that began then has patience.
fn wait_for(slot: &Slot, before: u64, began: Instant) -> Seen {
    let held = slot.held();
    // One that gave nothing when it was waited for is not waited for by every page.
    let is_silent = held.seen.error.is_some() || held.asked.is_some_and(|asked| asked.elapsed() >= PATIENCE.1);
    let patience = if held.seen.marks.is_some() || is_silent { PATIENCE.0 } else { PATIENCE.1 };
    let rest = patience.saturating_sub(began.elapsed());
    let waited = slot.ended.wait_timeout_while(held, rest, |held| held.readings == before);
    let (held, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
    let mut seen = held.seen.clone();
    if timeout.timed_out() && seen.error.is_none() {
        seen.error = Some("it has not answered yet".to_owned());
    }
    seen
}

/// Lists storage anew. What is not there at all is said: a folder that is gone looks like an empty one.
fn refresh(repo: &Repository) -> Result<(), OpsError> {
    keys::read_config(repo.storage())?;
    repo.refresh()?;
    Ok(())
}

/// Snapshots that are opened at once.
const OPENED: usize = 256;

/// What a repository holds. Only what is new, or was revised, is opened: that takes long where there are many.
fn marks(slot: &Slot, repo: &Repository) -> Result<Arc<ByRoutine>, OpsError> {
    let hash = repo.listing_hash()?;
    let (before, others) = {
        let held = slot.held();
        if let Some(marks) = held.seen.marks.as_ref().filter(|_| held.hash == Some(hash)) {
            return Ok(Arc::clone(marks));
        }
        (held.seen.marks.clone().unwrap_or_default(), Arc::clone(&held.others))
    };
    let known: HashMap<SnapshotId, (&String, &Mark)> =
        before.iter().flat_map(|(routine, marks)| marks.iter().map(move |mark| (mark.id, (routine, mark)))).collect();
    let mut by_routine: HashMap<String, Vec<Mark>> = HashMap::new();
    let mut others_now = HashMap::new();
    let mut new = Vec::new();
    for head in repo.heads(By::All, None)? {
        if let Some((routine, mark)) = known.get(&head.id).filter(|(_, mark)| mark.revision == head.revision) {
            by_routine.entry((*routine).clone()).or_default().push((*mark).clone());
        } else if others.get(&head.id) == Some(&head.revision) {
            others_now.insert(head.id, head.revision);
        } else {
            new.push(head);
        }
    }
    for batch in new.chunks(OPENED) {
        for snapshot in repo.open_heads(batch)? {
            if let Some(routine) = routine_of(&snapshot.tags) {
                by_routine.entry(routine.to_owned()).or_default().push(Mark::of(&snapshot));
            } else {
                others_now.insert(snapshot.id, snapshot.revision);
            }
        }
    }
    let in_order = |(routine, mut marks): (String, Vec<Mark>)| {
        marks.sort_by_key(|mark| (mark.end, mark.id));
        (routine, Arc::new(marks))
    };
    let by_routine = by_routine.into_iter().map(in_order).collect();
    let mut held = slot.held();
    held.hash = Some(hash);
    held.others = Arc::new(others_now);
    Ok(Arc::new(by_routine))
}
