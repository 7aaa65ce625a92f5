//! Storage as bad as a backend may be and still keep its promises: pages of a listing are read at different moments,
//! requests fail, answers get lost, and what a client has given up on may still arrive much later.

use super::{
    checker::Checker,
    rng::Rng,
    scheduler::{Killed, Scheduler},
};
use rekeep::repo::{
    SnapshotId, faults,
    storage::{Backend, Created, Listed, Promises},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

/// What is wrong with the storage itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A create under a taken name overwrites and says that it is new.
    ConditionalCreate,
    /// What was created is lost when the power fails, although it was acknowledged.
    Fsync,
}

/// How often things go wrong, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// An operation fails and does nothing.
    pub fails: u64,
    /// A create or delete is done, but its answer is lost.
    pub lost_answers: u64,
    /// Of creates that failed: the request is still on its way and arrives later.
    pub arrives_late: u64,
}

struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// When each was made by the storage's own clock, if it has one.
    dates: BTreeMap<String, i64>,
    is_dated: bool,
    /// Acknowledged, but not on the disk; only if fsync is broken.
    unsynced: BTreeSet<String>,
    in_flight: Vec<(String, Vec<u8>)>,
    log: Vec<String>,
    rng: Rng,
    weather: Weather,
    broken: Option<Broken>,
    /// Objects of which folder may arrive late: not both packs and index objects in one run, which is the open case of
    /// the protocol.
    late_folder: &'static str,
    checker: Option<Checker>,
    violation: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            dates: BTreeMap::new(),
            is_dated: false,
            unsynced: BTreeSet::new(),
            in_flight: Vec::new(),
            log: Vec::new(),
            rng: Rng::new(0),
            weather: Weather::default(),
            broken: None,
            late_folder: "packs/",
            checker: None,
            violation: None,
        }
    }
}

/// The storage that all share.
#[derive(Clone, Default)]
pub struct Sea {
    state: Arc<Mutex<State>>,
    pub time: Arc<AtomicI64>,
    /// What somebody who may has asked to be forgotten.
    forgotten: Arc<Mutex<BTreeSet<SnapshotId>>>,
    supersedes: Arc<AtomicBool>,
    /// Of a replica: where violations are told.
    main: Option<Arc<Mutex<State>>>,
}

/// That a checker watches the storage. It looks at a repository in this storage, so it has to be sent away for either to end.
pub struct Watch(Sea);

impl Drop for Watch {
    fn drop(&mut self) {
        let checker = self.0.state().checker.take();
        drop(checker);
    }
}

impl Sea {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Another place under the same time, which holds the keys and nothing else yet.
    pub fn island(&self) -> Self {
        let island = Self {
            state: Arc::default(),
            time: Arc::clone(&self.time),
            supersedes: Arc::clone(&self.supersedes),
            forgotten: Arc::clone(&self.forgotten),
            main: Some(Arc::clone(&self.state)),
        };
        let keys = self
            .names("")
            .into_iter()
            .filter(|name| ["keys/", "copies/", "rekeep.json"].iter().any(|it| name.starts_with(it)));
        keys.for_each(|name| island.land(&name, &self.bytes(&name)));
        island
    }

    pub fn configure(&self, seed: u64, weather: Weather, broken: Option<Broken>) {
        let mut state = self.state();
        state.rng = Rng::new(seed ^ 0x5ea);
        state.weather = weather;
        state.broken = broken;
        state.late_folder = ["packs/", "index/", "snapshots/", "trash/", "leases/"][state.rng.below(5) as usize];
    }

    /// From here on whatever could break the invariant is checked when it happens, until what this gives is dropped.
    #[must_use]
    pub fn watch(&self, checker: Checker) -> Watch {
        self.state().checker = Some(checker);
        Watch(self.clone())
    }

    /// The backend of one actor, who needs no turn before `live` is set; of nobody for whoever never needs one.
    pub fn backend(&self, actor: Option<(Scheduler, usize)>, live: &Arc<AtomicBool>) -> Arc<dyn Backend> {
        Arc::new(Boat { sea: self.clone(), actor, live: Arc::clone(live) })
    }

    /// From here on the storage tells when objects were made, by the time that all share.
    pub fn dates_objects(&self) {
        self.state().is_dated = true;
    }

    fn date(&self, state: &mut State, name: &str) {
        state.dates.insert(name.to_owned(), self.time.load(Ordering::SeqCst));
    }

    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.state().objects.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Somebody who may is about to forget it.
    pub fn forgets(&self, id: SnapshotId) {
        self.forgotten.lock().unwrap().insert(id);
    }

    /// From here on a stream may forget whatever came before it of its source, also what commits meanwhile.
    pub fn streams_supersede(&self) {
        self.supersedes.store(true, Ordering::SeqCst);
    }

    /// Whether a snapshot of a stream may be gone because another took its place.
    pub fn may_be_superseded(&self) -> bool {
        self.supersedes.load(Ordering::SeqCst)
    }

    pub fn is_forgotten(&self, id: &SnapshotId) -> bool {
        self.forgotten.lock().unwrap().contains(id)
    }

    pub fn has(&self, name: &str) -> bool {
        self.state().objects.contains_key(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.state().objects[name].clone()
    }

    /// Puts an object there, as a late request would: only if the name is free.
    pub fn land(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        if !state.objects.contains_key(name) {
            state.log.push(format!("late create {name}"));
            state.objects.insert(name.to_owned(), bytes.to_vec());
            self.date(&mut state, name);
            drop(state);
            self.check("create", name);
        }
    }

    /// An object becomes what nobody can read.
    pub fn garble(&self, name: &str) {
        self.state().objects.insert(name.to_owned(), b"rubbish".to_vec());
    }

    /// A medium loses an object; nobody looks at once.
    pub fn lose(&self, name: &str) {
        self.state().objects.remove(name);
    }

    /// One of the requests that are still on their way arrives.
    pub fn land_one(&self) {
        let mut state = self.state();
        // Those whose name is taken would change nothing.
        let free: Vec<usize> =
            (0..state.in_flight.len()).filter(|&at| !state.objects.contains_key(&state.in_flight[at].0)).collect();
        if free.is_empty() {
            return;
        }
        let at = *state.rng.pick(&free);
        let (name, bytes) = state.in_flight.remove(at);
        drop(state);
        self.land(&name, &bytes);
    }

    pub fn drop_in_flight(&self) {
        self.state().in_flight.clear();
    }

    pub fn calm(&self) {
        self.state().weather = Weather::default();
    }

    /// The power of the storage fails: what was not synced is gone.
    pub fn power_cut(&self) {
        let mut state = self.state();
        for name in std::mem::take(&mut state.unsynced) {
            state.objects.remove(&name);
        }
        state.log.push("power cut".to_owned());
        drop(state);
        self.check("delete", "packs/");
    }

    pub fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    pub fn violation(&self) -> Option<String> {
        self.state().violation.clone()
    }

    /// The invariant is broken; the first report stands.
    pub fn report(&self, violation: String) {
        match &self.main {
            Some(main) => main.lock().unwrap().violation.get_or_insert(format!("at the replica: {violation}")),
            None => self.state().violation.get_or_insert(violation),
        };
    }

    fn check(&self, what: &str, name: &str) {
        let Some(mut checker) = self.state().checker.take() else { return };
        // Whoever looks from outside does so in one go.
        let hearer = faults::points::set(None);
        let found = match what {
            // What a collective tombstone names is gone as soon as it lies there.
            "create" if name.starts_with("snapshots/") || name.starts_with("forgotten/") => {
                checker.snapshots_changed(self)
            }
            "delete" if name.starts_with("snapshots/") => {
                checker.snapshots_changed(self).and_then(|()| checker.something_went(self))
            }
            "delete" if !name.starts_with("leases/") && !name.starts_with("trash/") => checker.something_went(self),
            _ => Ok(()),
        };
        if let Err(violation) = found {
            self.report(format!("after {what} {name}: {violation}"));
        }
        self.state().checker = Some(checker);
        faults::points::set(hearer);
    }

    /// Looks at everything once more.
    pub fn check_all(&self) {
        self.check("create", "snapshots/");
        self.check("delete", "packs/");
    }
}

/// One actor's way to the storage.
struct Boat {
    sea: Sea,
    actor: Option<(Scheduler, usize)>,
    live: Arc<AtomicBool>,
}

enum Luck {
    Good,
    Fails,
    AnswerLost,
    Late,
}

fn lost(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "the simulated network failed")
}

impl Boat {
    fn scheduled(&self) -> Option<&(Scheduler, usize)> {
        self.actor.as_ref().filter(|_| self.live.load(Ordering::SeqCst))
    }

    fn turn(&self, operation: &str) -> io::Result<()> {
        let Some((scheduler, actor)) = self.scheduled() else { return Ok(()) };
        match scheduler.turn(*actor, operation) {
            Ok(()) => {
                match &self.sea.main {
                    Some(main) => main.lock().unwrap().log.push(format!("{actor}: at the replica: {operation}")),
                    None => self.sea.state().log.push(format!("{actor}: {operation}")),
                }
                Ok(())
            }
            Err(Killed) => Err(io::Error::other("this process is gone")),
        }
    }

    fn luck(&self, creates: Option<&str>) -> Luck {
        if self.scheduled().is_none() {
            return Luck::Good;
        }
        let mut state = self.sea.state();
        let (weather, roll) = (state.weather, state.rng.below(1000));
        if roll < weather.fails {
            let late = creates.is_some_and(|name| name.starts_with(state.late_folder));
            if late && state.rng.below(1000) < weather.arrives_late { Luck::Late } else { Luck::Fails }
        } else if roll < weather.fails + weather.lost_answers {
            Luck::AnswerLost
        } else {
            Luck::Good
        }
    }

    /// Whether a failure is one after which a client tries again.
    fn kind(&self) -> ErrorKind {
        if self.sea.state().rng.below(2) == 0 { ErrorKind::TimedOut } else { ErrorKind::Other }
    }
}

impl Backend for Boat {
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        self.turn(&format!("list {prefix}"))?;
        if matches!(self.luck(None), Luck::Fails | Luck::Late) {
            return Err(lost(self.kind()));
        }
        if self.scheduled().is_none() {
            let state = self.sea.state();
            let found = state.objects.iter().filter(|(name, _)| name.starts_with(prefix));
            return Ok(found.map(|(name, bytes)| Listed { name: name.clone(), bytes: bytes.len() as u64 }).collect());
        }
        // Two pages, each as of its own moment, in either order.
        let first = self.sea.state().rng.below(2) as u8;
        let mut listed = Vec::new();
        for page in [first, 1 - first] {
            if page != first {
                self.turn(&format!("list-on {prefix}"))?;
            }
            let state = self.sea.state();
            let found = state.objects.iter().filter(|(name, _)| name.starts_with(prefix) && page_of(name) == page);
            listed.extend(found.map(|(name, bytes)| Listed { name: name.clone(), bytes: bytes.len() as u64 }));
        }
        Ok(listed)
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        self.turn(&format!("read {name}"))?;
        if matches!(self.luck(None), Luck::Fails | Luck::Late) {
            return Err(lost(self.kind()));
        }
        let state = self.sea.state();
        let bytes = state.objects.get(name).ok_or(ErrorKind::NotFound)?;
        let range = range.unwrap_or(0..bytes.len() as u64);
        let bytes = bytes.get(range.start as usize..range.end as usize).ok_or(ErrorKind::UnexpectedEof)?;
        Ok(bytes.to_vec())
    }

    /// One step, as where the length comes with the bytes.
    fn read_at_most(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let bytes = self.read(name, None)?;
        if bytes.len() as u64 > most { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn create(&self, name: &str, bytes: &bytes::Bytes) -> io::Result<Created> {
        self.turn(&format!("create {name}"))?;
        let luck = self.luck(Some(name));
        let mut state = self.sea.state();
        match luck {
            Luck::Fails => {
                drop(state);
                return Err(lost(self.kind()));
            }
            Luck::Late => {
                state.in_flight.push((name.to_owned(), bytes.to_vec()));
                drop(state);
                return Err(lost(self.kind()));
            }
            Luck::Good | Luck::AnswerLost => {}
        }
        let taken = state.objects.contains_key(name) && state.broken != Some(Broken::ConditionalCreate);
        if !taken {
            state.objects.insert(name.to_owned(), bytes.to_vec());
            self.sea.date(&mut state, name);
            if state.broken == Some(Broken::Fsync) {
                state.unsynced.insert(name.to_owned());
            }
        }
        // The network itself may send a request twice.
        let late = self.scheduled().is_some() && name.starts_with(state.late_folder);
        if late && state.weather.fails > 0 && state.rng.chance(40) {
            state.in_flight.push((name.to_owned(), bytes.to_vec()));
        }
        drop(state);
        if !taken {
            self.sea.check("create", name);
        }
        match luck {
            Luck::AnswerLost => Err(lost(self.kind())),
            _ if taken => Ok(Created::Exists),
            _ => Ok(Created::New),
        }
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.turn(&format!("delete {name}"))?;
        let luck = self.luck(None);
        if matches!(luck, Luck::Fails | Luck::Late) {
            return Err(lost(self.kind()));
        }
        let was_there = self.sea.state().objects.remove(name).is_some();
        if was_there {
            self.sea.check("delete", name);
        }
        if matches!(luck, Luck::AnswerLost) { Err(lost(self.kind())) } else { Ok(()) }
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.turn(&format!("len {name}"))?;
        if matches!(self.luck(None), Luck::Fails | Luck::Late) {
            return Err(lost(self.kind()));
        }
        Ok(self.sea.state().objects.get(name).ok_or(ErrorKind::NotFound)?.len() as u64)
    }

    fn made_at(&self, name: &str) -> io::Result<Option<i64>> {
        let state = self.sea.state();
        if !state.objects.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(state.dates.get(name).copied().filter(|_| state.is_dated))
    }

    fn now(&self) -> io::Result<Option<i64>> {
        let is_dated = self.sea.state().is_dated;
        Ok(is_dated.then(|| self.sea.time.load(Ordering::SeqCst)))
    }

    fn promises(&self) -> Promises {
        Promises { conditional_create: true, prompt_listing: true }
    }

    fn pause(&self, wait: Duration) {
        self.sea.time.fetch_add(wait.as_millis() as i64, Ordering::SeqCst);
    }
}

fn page_of(name: &str) -> u8 {
    blake3::hash(name.as_bytes()).as_bytes()[0] & 1
}
