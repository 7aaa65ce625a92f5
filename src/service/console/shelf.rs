//! What is kept in repositories, as pages need it: by routine, in a few words a snapshot. Read by one thread whoever asks, kept
//! for a moment; a storage that does not answer keeps nobody waiting.

use crate::{
    ops::OpsError,
    record::Timestamp,
    repo::Repository,
    report::ErrorKind,
    service::{
        Service,
        briefs::{Brief, ByRoutine},
        config::{Config, Routine},
        places::Where,
        remembered::list_anew,
    },
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
pub(super) type Mark = Arc<Brief>;

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
                self.tell(slot, self.marks(place, &repo), is_due);
                if is_due {
                    let listed = list_anew(&place.name, &repo);
                    let mut held = slot.held();
                    held.listed = Some(Instant::now());
                    held.storage_error = listed.as_ref().err().map(ToString::to_string);
                    drop(held);
                    let marks = listed.and_then(|()| self.marks(place, &repo));
                    if let Ok(marks) = &marks
                        && let Err(error) = self.service.reported.look(&place.name, &repo, marks)
                    {
                        tracing::warn!(repository = %place.name, "its reports of drills were not looked at: {error}");
                    }
                    self.tell(slot, marks, false);
                }
            }
        }
    }

    fn marks(&self, place: &Where, repo: &Repository) -> Result<Arc<ByRoutine>, OpsError> {
        Ok(Arc::clone(&self.service.briefs.of(&place.name, repo)?.by_routine))
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
