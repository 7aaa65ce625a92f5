//! A storage backend in memory that fails on command: the nth operation with an error, with its answer lost, or with
//! the power cut; a disk that stays full; listings that are late and out of order; someone else who is first.
//!
//! What a `create` stored is durable when it has returned. Of the create that a power cut interrupts, all or nothing is
//! there: never a part, which is what [`Backend::create`] promises.

use rekeep::{
    record::Timestamp,
    repo::storage::{
        Backend, Created, Listed, LockMode, ObjectHold, Promises, Readiness, Standing, ThawTier, in_archive,
        may_be_cold,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, ErrorKind},
    ops::Range,
    sync::Mutex,
};

/// Objects by name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and does nothing.
    Error(ErrorKind),
    /// It is done, but its answer is lost.
    LostAnswer(ErrorKind),
    /// Nothing works from here on; the interrupted create is there, or not.
    PowerCut { lands: bool },
    /// No create works from here on; everything else does.
    Full,
    /// Operations that begin so are refused from here on: `delete packs/`, `list`.
    Refuses(&'static str),
}

type Rival = Box<dyn Fn(&str) -> Option<Vec<u8>> + Send>;

#[derive(Default)]
struct State {
    image: Image,
    born: HashMap<String, u64>,
    operations: u64,
    log: Vec<String>,
    class_lists: u64,
    armed: Option<(u64, Fault)>,
    fired: bool,
    dead: bool,
    full: bool,
    refused: Option<&'static str>,
    lag: u64,
    backwards: bool,
    far: bool,
    delay: std::time::Duration,
    rival: Option<Rival>,
    held_until: Option<Timestamp>,
    region: Option<&'static str>,
    archives: bool,
    silent_lists: bool,
    /// Of packs only the first half is kept, and nobody is told.
    halves: bool,
    classes: BTreeMap<String, (String, Readiness)>,
    /// How many questions after it was asked for something is thawed; `None` for never.
    thaws_after: Option<u64>,
}

/// The backend.
#[derive(Default)]
pub struct TestBackend {
    state: Mutex<State>,
}

enum Turn {
    Go,
    GoAndFail(io::Error),
}

impl State {
    fn turn(&mut self, what: &str, name: &str, creates: bool) -> io::Result<Turn> {
        if self.dead {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        self.log.push(format!("{what} {name}"));
        if let Some((at, fault)) = self.armed
            && at == self.operations
        {
            self.fired = true;
            match fault {
                Fault::Error(kind) => return Err(io::Error::new(kind, "failed on command")),
                Fault::LostAnswer(kind) => {
                    return Ok(Turn::GoAndFail(io::Error::new(kind, "the answer was lost on command")));
                }
                Fault::PowerCut { lands } => {
                    self.dead = true;
                    let error = io::Error::other("the power went off");
                    return if lands { Ok(Turn::GoAndFail(error)) } else { Err(error) };
                }
                Fault::Full => self.full = true,
                Fault::Refuses(what) => self.refused = Some(what),
            }
        }
        if creates && self.full {
            return Err(io::Error::new(ErrorKind::StorageFull, "the disk is full on command"));
        }
        if self.refused.is_some_and(|refused| format!("{what} {name}").starts_with(refused)) {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "refused on command"));
        }
        Ok(Turn::Go)
    }
}

impl TestBackend {
    pub fn new(image: Image) -> Self {
        Self { state: Mutex::new(State { image, ..State::default() }) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What is durable now.
    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// Changes what is stored behind everyone's back.
    pub fn tamper(&self, change: impl FnOnce(&mut Image)) {
        change(&mut self.state().image);
    }

    /// Lets the `nth` operation from now on (1 is the next) meet a fault.
    pub fn arm(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        state.armed = Some((state.operations + nth, fault));
        state.fired = false;
    }

    /// Ends all faults; whether one was met.
    pub fn disarm(&self) -> bool {
        let mut state = self.state();
        state.armed = None;
        state.dead = false;
        state.full = false;
        state.refused = None;
        std::mem::take(&mut state.fired)
    }

    /// From now on everything is locked until then, whoever deletes it.
    pub fn hold_all(&self, until: Timestamp) {
        self.state().held_until = Some(until);
    }

    /// The region that it says it lies in.
    pub fn set_region(&self, region: Option<&'static str>) {
        self.state().region = region;
    }

    /// From now on objects may lie in an archive.
    pub fn set_archives(&self) {
        self.state().archives = true;
    }

    /// Listings say nothing of classes.
    pub fn list_no_classes(&self) {
        self.state().silent_lists = true;
    }

    /// Puts these objects into a class, as somebody else may.
    pub fn freeze(&self, names: &BTreeSet<String>, class: &str) {
        let frozen = names.iter().map(|name| (name.clone(), (class.to_owned(), Readiness::Archived)));
        self.state().classes.extend(frozen);
    }

    /// What was asked for, or is, can be read after so many questions.
    pub fn thaw_after(&self, questions: u64) {
        self.state().thaws_after = Some(questions);
    }

    /// Everything can be read again.
    pub fn thaw_all(&self) {
        self.state().classes.clear();
    }

    /// How often classes were listed.
    pub fn class_lists(&self) -> u64 {
        self.state().class_lists
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The operations from number `from` on, as words.
    pub fn log_from(&self, from: u64) -> Vec<String> {
        self.state().log[from as usize..].to_vec()
    }

    /// Listings show an object only `operations` operations after it was made, and in descending order.
    pub fn list_late(&self, operations: u64) {
        let mut state = self.state();
        state.lag = operations;
        state.backwards = true;
    }

    /// From now on answers are worth asking for ahead of need, and worth keeping.
    pub fn move_away(&self) {
        self.state().far = true;
    }

    /// From now on only half of each pack is kept.
    pub fn keep_halves(&self) {
        self.state().halves = true;
    }

    /// The same, and each operation takes so much longer.
    pub fn move_away_by(&self, delay: std::time::Duration) {
        self.move_away();
        self.state().delay = delay;
    }

    fn travel(&self) {
        let delay = self.state().delay;
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }

    /// Before a create, `rival` may put other bytes under that name.
    pub fn set_rival(&self, rival: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) {
        self.state().rival = Some(Box::new(rival));
    }

    pub fn remove_rival(&self) {
        self.state().rival = None;
    }

    /// The names that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.state().image.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }
}

fn answer<T>(turn: Turn, value: T) -> io::Result<T> {
    match turn {
        Turn::Go => Ok(value),
        Turn::GoAndFail(error) => Err(error),
    }
}

impl Backend for TestBackend {
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        self.travel();
        let mut state = self.state();
        let turn = state.turn("list", prefix, false)?;
        let now = state.operations;
        let shows = |name: &str| state.lag == 0 || state.born.get(name).is_none_or(|&born| born + state.lag <= now);
        let mut listed: Vec<Listed> = state
            .image
            .iter()
            .filter(|(name, _)| name.starts_with(prefix) && shows(name))
            .map(|(name, bytes)| Listed { name: name.clone(), bytes: bytes.len() as u64 })
            .collect();
        if state.backwards {
            listed.reverse();
        }
        answer(turn, listed)
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        self.travel();
        let mut state = self.state();
        let turn = state.turn("read", name, false)?;
        let bytes = state.image.get(name).ok_or(ErrorKind::NotFound)?;
        if state.classes.get(name).is_some_and(|(_, readiness)| !readiness.can_be_read()) {
            return Err(in_archive("it is archived on command"));
        }
        let part = match range {
            None => bytes.clone(),
            Some(range) => {
                let part = bytes.get(range.start as usize..range.end as usize);
                part.ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "the range lies past the end"))?.to_vec()
            }
        };
        answer(turn, part)
    }

    /// One operation, as where the length comes with the bytes.
    fn read_at_most(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let bytes = self.read(name, None)?;
        if bytes.len() as u64 > most { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn create(&self, name: &str, bytes: &bytes::Bytes) -> io::Result<Created> {
        self.travel();
        let mut state = self.state();
        let turn = state.turn("create", name, true)?;
        let other = state.rival.as_ref().and_then(|rival| rival(name));
        if let Some(other) = other {
            state.image.entry(name.to_owned()).or_insert(other);
        }
        if state.image.contains_key(name) {
            return answer(turn, Created::Exists);
        }
        let kept = if state.halves && name.starts_with("packs/") { bytes.len() / 2 } else { bytes.len() };
        state.image.insert(name.to_owned(), bytes[..kept].to_vec());
        let now = state.operations;
        state.born.insert(name.to_owned(), now);
        answer(turn, Created::New)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.travel();
        let mut state = self.state();
        let turn = state.turn("delete", name, false)?;
        state.image.remove(name);
        answer(turn, ())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.travel();
        let mut state = self.state();
        let turn = state.turn("len", name, false)?;
        let len = state.image.get(name).map(|bytes| bytes.len() as u64).ok_or(ErrorKind::NotFound)?;
        answer(turn, len)
    }

    fn region(&self) -> io::Result<Option<String>> {
        Ok(self.state().region.map(str::to_owned))
    }

    fn may_archive(&self) -> bool {
        self.state().archives
    }

    fn standing_of(&self, name: &str) -> io::Result<Option<Standing>> {
        let mut state = self.state();
        let turn = state.turn("standing", name, false)?;
        let bytes = state.image.get(name).ok_or(ErrorKind::NotFound)?.len() as u64;
        let (class, readiness) =
            state.classes.get(name).cloned().unwrap_or_else(|| ("STANDARD".to_owned(), Readiness::Readable));
        let thawed = state.thaws_after.map(|left| left == 0);
        if readiness == Readiness::Thawing && thawed == Some(true) {
            state.classes.insert(name.to_owned(), (class.clone(), Readiness::Thawed(None)));
            return answer(turn, Some(Standing { bytes, class, readiness: Readiness::Thawed(None) }));
        }
        if readiness == Readiness::Thawing {
            state.thaws_after = state.thaws_after.map(|left| left.saturating_sub(1));
        }
        answer(turn, Some(Standing { bytes, class, readiness }))
    }

    fn list_classes(&self, prefix: &str, page: &mut dyn FnMut(Vec<(Listed, String)>)) -> io::Result<bool> {
        let (silent, classes) = {
            let mut state = self.state();
            state.class_lists += 1;
            (state.silent_lists || !state.archives, state.classes.clone())
        };
        if silent {
            return Ok(false);
        }
        let class = |name: &str| classes.get(name).map_or_else(|| "STANDARD".to_owned(), |(class, _)| class.clone());
        page(self.list(prefix)?.into_iter().map(|it| (it.clone(), class(&it.name))).collect());
        Ok(true)
    }

    fn thaw(&self, name: &str, _: u16, _: ThawTier) -> io::Result<()> {
        let mut state = self.state();
        let turn = state.turn("thaw", name, false)?;
        if let Some((_, readiness)) = state.classes.get_mut(name) {
            *readiness = Readiness::Thawing;
        }
        answer(turn, ())
    }

    fn move_to_class(&self, name: &str, class: &str) -> io::Result<()> {
        let mut state = self.state();
        let turn = state.turn("move", name, false)?;
        let readiness = if may_be_cold(class) { Readiness::Archived } else { Readiness::Readable };
        state.classes.insert(name.to_owned(), (class.to_owned(), readiness));
        answer(turn, ())
    }

    fn hold_of(&self, name: &str) -> io::Result<Option<ObjectHold>> {
        let state = self.state();
        let Some(until) = state.held_until else { return Ok(None) };
        let bytes = state.image.get(name).ok_or(ErrorKind::NotFound)?.len() as u64;
        let mode = Some(LockMode::Compliance);
        Ok(Some(ObjectHold { bytes, until: Some(until), mode, legal_hold: false, is_versioned: true }))
    }

    fn connections(&self) -> usize {
        8
    }

    fn is_far(&self) -> bool {
        self.state().far
    }

    fn promises(&self) -> Promises {
        Promises { conditional_create: true, prompt_listing: self.state().lag == 0 }
    }
}
