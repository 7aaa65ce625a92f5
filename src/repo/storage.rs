//! Storage: named objects that are created once, read, listed and deleted. The only room that does repository I/O.

#[cfg(feature = "azblob")]
mod azure;
mod begun;
mod beside;
mod clock;
mod cold;
mod environment;
mod exclusive;
mod failure;
mod hold;
mod local;
mod location;
mod patience;
mod probe;
mod region;
mod remote;
mod reserve;
mod runtime;
#[cfg(feature = "s3")]
mod s3;
mod service;
#[cfg(feature = "sftp")]
mod sftp;
mod spelling;
#[cfg(test)]
mod tests;
mod traffic;
#[cfg(feature = "http")]
mod transport;
mod tree;
mod trial;

pub use begun::{Begun, Listing, ReadEach, Wanted};
pub use cold::{Readiness, Standing, ThawTier, in_archive, may_be_cold};
pub use hold::{LockMode, ObjectHold};
pub use location::is_within;
pub use patience::Patience;
pub use probe::{PROBE, Verdict};
pub use region::LOCAL;
pub use reserve::Spending;
#[cfg(feature = "kms")]
pub(in crate::repo) use runtime::wait;
pub use spelling::{is_unexpanded_home, unexpanded_variable};
pub use traffic::Traffic;
pub use tree::{Named, ObjectTree, ObjectVersion, Pending, Stands, TreeEntry, UNTELLABLE, is_tellable};
pub use trial::{Rights, Speed, Trial, TrialOptions};

use super::{RepoError, cache::CACHE_BYTES, error::Obstructed};
use crate::record::Timestamp;
use crate::report::{Warning, WarningKind};
use bytes::Bytes;
use location::Location;
use patience::Waits;
use rustix::io::Errno;
use std::{
    io::{self, ErrorKind},
    ops::Range,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Uploads at once, however many connections there are: what is on its way is bounded by memory before.
const MAX_UPLOADS: usize = 16;

/// One listed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its full name, such as `packs/ab/abcd…`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Whether a conditional create made the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is new and durable.
    New,
    /// An object of that name exists; it was not touched.
    Exists,
}

/// What a backend can promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// Of two creates of one name exactly one succeeds.
    pub conditional_create: bool,
    /// A listing shows everything created before it began.
    pub prompt_listing: bool,
}

/// How a place is opened.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StorageOptions {
    /// Options beside those in the URI, which they win over.
    pub options: Vec<(String, String)>,
    /// Secrets, by the names that `OpenDAL` has for them (`secret_access_key`, `account_key` …), for programs that do not
    /// take them from where everybody keeps them. They are never shown.
    pub credentials: Vec<(String, String)>,
    /// Operations at once.
    pub connections: Option<u16>,
    /// How much of what is read again and again may be kept on local disk, if the place is far; 0 for nothing.
    pub cache_bytes: Option<u64>,
}

impl std::fmt::Debug for StorageOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.credentials.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("StorageOptions")
            .field("options", &self.options)
            .field("credentials", &names)
            .field("connections", &self.connections)
            .field("cache_bytes", &self.cache_bytes)
            .finish()
    }
}

/// A storage backend: what it must promise stands in `docs/storage.md`. Tests put their own between the repository and the
/// real one.
pub trait Backend: Send + Sync {
    /// Lists all objects whose names begin with `prefix` (a folder name with its `/`), in any order; an absent folder is
    /// an empty one.
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>>;
    /// The same, page by page as it comes; an object may come twice, if a listing had to begin anew.
    fn list_pages(&self, prefix: &str, page: &mut dyn FnMut(Vec<Listed>)) -> io::Result<()> {
        page(self.list(prefix)?);
        Ok(())
    }
    /// Reads an object or a byte range of it. A range past the end is an error. `NotFound` if it does not exist.
    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>>;
    /// Reads a whole object, unless it is longer than `most` bytes: then `FileTooLarge`, and nothing of it is read.
    fn read_at_most(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let len = self.len(name)?;
        if len <= most { self.read(name, None) } else { Err(too_large(len, most)) }
    }
    /// Creates an object, durably, all of it or nothing, if none of that name exists.
    fn create(&self, name: &str, bytes: &Bytes) -> io::Result<Created>;
    /// The same for an object that holds much and is read rarely; some places keep such in another class.
    fn create_data(&self, name: &str, bytes: &Bytes) -> io::Result<Created> {
        self.create(name, bytes)
    }
    /// Deletes an object; deleting one that does not exist is no error.
    fn delete(&self, name: &str) -> io::Result<()>;
    /// The length of an object. `NotFound` if it does not exist.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// What the backend can promise.
    fn promises(&self) -> Promises;
    /// What turned out to be weaker than it should be, in words.
    fn weaker(&self) -> Option<String> {
        None
    }
    /// Whether it keeps what it promises by what it is, so that nobody has to try.
    fn is_proved(&self) -> bool {
        true
    }
    /// Whether an answer takes much longer than what is done with it, so that it is worth asking before it is needed.
    fn is_far(&self) -> bool {
        false
    }
    /// Operations at once.
    fn connections(&self) -> usize {
        4
    }
    /// How long an operation is tried again.
    fn patience(&self) -> Patience {
        Patience::Short
    }
    /// What went over the line.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
    /// How far the server's clock is ahead of ours, if it has told its time.
    fn clock_offset_millis(&self) -> Option<i64> {
        None
    }
    /// When an object was made, in milliseconds, by a clock that is the storage's own and that no client sets; `None` where
    /// there is no such clock. `NotFound` if it does not exist.
    fn made_at(&self, _name: &str) -> io::Result<Option<i64>> {
        Ok(None)
    }
    /// What that clock says now, if it can be asked without making an object.
    fn now(&self) -> io::Result<Option<i64>> {
        Ok(None)
    }
    /// What holds an object whoever deletes it; `None` where there is no such thing. `NotFound` if it does not exist.
    fn hold_of(&self, _name: &str) -> io::Result<Option<ObjectHold>> {
        Ok(None)
    }
    /// Locks an object until then.
    fn lock_until(&self, _name: &str, _until: Timestamp, _mode: LockMode) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }
    /// Whether objects may lie there that have to be thawed before they can be read.
    fn may_archive(&self) -> bool {
        false
    }
    /// Where an object lies; `None` where the service knows no classes. `NotFound` if it does not exist.
    fn standing_of(&self, _name: &str) -> io::Result<Option<Standing>> {
        Ok(None)
    }
    /// Lists objects with their classes; `false` where a listing does not tell.
    fn list_classes(&self, _prefix: &str, _page: &mut dyn FnMut(Vec<(Listed, String)>)) -> io::Result<bool> {
        Ok(false)
    }
    /// Asks for an object to be made readable for so many days; that somebody has asked already is done.
    fn thaw(&self, _name: &str, _days: u16, _tier: ThawTier) -> io::Result<()> {
        Err(io::Error::new(ErrorKind::Unsupported, "this program does not know how this service is asked to thaw"))
    }
    /// Puts an object into another class.
    fn move_to_class(&self, _name: &str, _class: &str) -> io::Result<()> {
        Err(io::Error::new(ErrorKind::Unsupported, "this program does not know how this service moves objects"))
    }
    /// The region that the place lies in, by what the service itself says; `None` where it says nothing.
    fn region(&self) -> io::Result<Option<String>> {
        Ok(None)
    }
    /// Waits before an operation is tried again.
    fn pause(&self, wait: Duration) {
        std::thread::sleep(wait);
    }
    /// Removes what creates that never ended left half written: of processes of this machine that have certainly ended, and
    /// whatever is too old to be of use to anyone; gives how many things.
    fn sweep(&self) -> io::Result<u64> {
        Ok(0)
    }
    /// Finds out what it promises, where that shows only when something is made.
    fn find_out(&self) -> io::Result<()> {
        Ok(())
    }
    /// Sets some room aside where that can be done and there is plenty, unless it is already; gives the bytes that are set
    /// aside.
    fn keep_reserve(&self) -> io::Result<u64> {
        Ok(0)
    }
    /// Gives that room back; whether there was any.
    fn spend_reserve(&self) -> io::Result<bool> {
        Ok(false)
    }
}

/// A repository's storage: a backend and where it is. The one place of retries.
#[derive(Clone)]
pub struct Storage {
    backend: Arc<dyn Backend>,
    location: String,
    /// Whether the place has ever answered.
    reached: Arc<AtomicBool>,
    /// The most that one operation may take in all, whatever the backend's patience.
    most: Duration,
    /// What a trial has shown, where one is needed.
    shown: Arc<OnceLock<Promises>>,
    cache_bytes: u64,
    clock: Arc<clock::OwnClock>,
    /// How many are at work that may spend the reserve.
    spending: Arc<AtomicUsize>,
    /// Where data may lie.
    bounds: Arc<region::Bounds>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Storage {
    /// Storage at a local path or a URI (`s3://bucket/prefix?region=…`, `file:///path`, `memory://`, …). Local paths are
    /// canonicalised; the folder need not exist and is not made before something is created in it. Each `memory:` storage
    /// is one of its own. Nothing is asked of the network yet.
    pub fn at(location: &str) -> Result<Self, RepoError> {
        Self::open(location, &StorageOptions::default())
    }

    /// [`Self::at`] with options.
    pub fn open(location: &str, options: &StorageOptions) -> Result<Self, RepoError> {
        let refuse = |reason: String| RepoError::Location { location: without_query(location).to_owned(), reason };
        match Location::parse(location, options).map_err(refuse)? {
            Location::Local(root) => Ok(Self::over(Arc::new(local::LocalBackend::new(root.clone().into())), &root)),
            Location::Service(place) => {
                let connections = options.connections.unwrap_or(remote::CONNECTIONS);
                let backend = remote::RemoteBackend::open(&place, connections).map_err(refuse)?;
                let storage = Self::over(Arc::new(backend), &place.canonical);
                Ok(storage.caching(options.cache_bytes.unwrap_or(CACHE_BYTES)))
            }
        }
    }

    /// Storage over a backend of the caller's; `location` tells its catalog from others.
    #[must_use]
    pub fn over(backend: Arc<dyn Backend>, location: &str) -> Self {
        let reached = Arc::new(AtomicBool::new(false));
        let shown = Arc::new(OnceLock::new());
        Self {
            backend,
            location: location.to_owned(),
            reached,
            most: patience::STANDARD,
            shown,
            cache_bytes: CACHE_BYTES,
            clock: Arc::default(),
            spending: Arc::default(),
            bounds: Arc::default(),
        }
    }

    /// The same place, of which so much may be kept on local disk if it is far.
    #[must_use]
    pub fn caching(self, bytes: u64) -> Self {
        Self { cache_bytes: bytes, ..self }
    }

    /// How much may be kept on local disk: nothing of what is near.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        if self.is_far() { self.cache_bytes } else { 0 }
    }

    /// The same place for what is of no use if it comes late.
    #[must_use]
    pub fn hurried(&self) -> Self {
        self.within(patience::HEARTBEAT)
    }

    /// The same place, where no operation is tried again for longer than this.
    #[must_use]
    pub fn within(&self, most: Duration) -> Self {
        Self { most, ..self.clone() }
    }

    /// What went over the line since it was opened.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.backend.traffic()
    }

    /// What turned out to be weaker than it should be, as a warning.
    #[must_use]
    pub fn weaker(&self) -> Option<Warning> {
        let words = self.backend.weaker()?;
        Some(Warning::new(WarningKind::StorageUnsynced, self.location.clone(), words))
    }

    /// The local folder that it is, if it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        Some(Path::new(&self.location)).filter(|path| path.is_absolute())
    }

    /// Whether it lies at or below the other place, as far as the locations tell.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        match (self.folder(), other.folder()) {
            (Some(folder), Some(other)) => folder.starts_with(other),
            _ => is_within(&self.location, &other.location),
        }
    }

    /// The nearest folder above a local one that holds this file.
    #[must_use]
    pub fn below(&self, file: &str) -> Option<&Path> {
        self.folder()?.ancestors().skip(1).find(|above| above.join(file).is_file())
    }

    /// See [`Backend::is_far`].
    #[must_use]
    pub fn is_far(&self) -> bool {
        self.backend.is_far()
    }

    /// Operations at once.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.backend.connections().max(1)
    }

    /// Uploads at once: half of the operations, so that reads and heartbeats have their turn beside them.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.connections().div_ceil(2).min(MAX_UPLOADS)
    }

    /// The canonical location.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What may be relied on: what the backend promises, if nobody has to try; else what a trial has shown, and nothing
    /// before there was one.
    #[must_use]
    pub fn promises(&self) -> Promises {
        let promises = self.backend.promises();
        if self.backend.is_proved() {
            return promises;
        }
        let shown = self.shown.get().copied().unwrap_or(Promises { conditional_create: false, prompt_listing: false });
        Promises {
            conditional_create: promises.conditional_create && shown.conditional_create,
            prompt_listing: promises.prompt_listing && shown.prompt_listing,
        }
    }

    /// See [`Backend::find_out`]; who may not write relies on nothing anyway.
    pub fn find_out(&self) {
        let _ = self.backend.find_out();
    }

    /// Whether it is known what may be relied on.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.backend.is_proved() || self.shown.get().is_some()
    }

    /// From now on what a trial has shown counts, for all clones.
    pub fn rely_on(&self, shown: Promises) {
        // Who was first has tried the same place.
        let _ = self.shown.set(shown);
    }

    /// Tries the place; makes nothing of what it shows.
    ///
    /// # Errors
    /// If one may not create, read or list there, or it does not answer.
    pub fn probe(&self) -> Result<Verdict, RepoError> {
        probe::probe(self)
    }

    /// Whether the service can be told to create only what is not there.
    fn claims_conditions(&self) -> bool {
        self.backend.promises().conditional_create
    }

    /// Whether a listing may be believed as far as its kind goes.
    fn claims_listings(&self) -> bool {
        self.backend.promises().prompt_listing
    }

    /// How far the server's clock is ahead of ours, if it has told its time.
    #[must_use]
    pub fn clock_offset_millis(&self) -> Option<i64> {
        self.backend.clock_offset_millis()
    }

    /// See [`Backend::list`].
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>, RepoError> {
        if !prefix.is_empty() {
            check_name(prefix.strip_suffix('/').unwrap_or("")).map_err(|error| failed("listing", prefix, error))?;
        }
        self.retry(|| self.backend.list(prefix)).map_err(|error| failed("listing", prefix, error))
    }

    /// See [`Backend::list_pages`]: what is listed is never held all at once.
    pub fn list_pages(&self, prefix: &str, page: &mut dyn FnMut(Vec<Listed>)) -> Result<(), RepoError> {
        check_name(prefix.strip_suffix('/').unwrap_or("")).map_err(|error| failed("listing", prefix, error))?;
        self.retry(|| self.backend.list_pages(prefix, page)).map_err(|error| failed("listing", prefix, error))
    }

    /// See [`Backend::read`]; [`RepoError::Missing`] if it does not exist.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, RepoError> {
        self.read_any(name, None)
    }

    /// See [`Backend::read_at_most`]; [`RepoError::Damaged`] if it is longer: no such object is.
    pub fn read_at_most(&self, name: &str, most: u64) -> Result<Vec<u8>, RepoError> {
        let attempt = || {
            check_name(name)?;
            self.backend.read_at_most(name, most)
        };
        self.retry(attempt).map_err(|error| failed("reading", name, error))
    }

    /// See [`Backend::read`].
    pub fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, RepoError> {
        self.read_any(name, Some(&range))
    }

    fn read_any(&self, name: &str, range: Option<&Range<u64>>) -> Result<Vec<u8>, RepoError> {
        let attempt = || {
            check_name(name)?;
            let bytes = self.backend.read(name, range.cloned())?;
            match range {
                Some(range) if bytes.len() as u64 != range.end.saturating_sub(range.start) => {
                    Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{} bytes came of {range:?}", bytes.len())))
                }
                _ => Ok(bytes),
            }
        };
        self.retry(attempt).map_err(|error| failed("reading", name, error))
    }

    /// See [`Backend::create`].
    ///
    /// An attempt that failed without an answer may have created the object. If a later attempt finds the name taken, the
    /// object is read: equal bytes are ours, so the answer is [`Created::New`].
    ///
    /// # Errors
    /// [`RepoError::Damaged`] if the name is that of its content and other bytes bear it.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RepoError> {
        self.create_shared(name, &Bytes::copy_from_slice(bytes), Class::Metadata)
    }

    /// [`Self::create`] without a copy of the bytes.
    pub fn create_shared(&self, name: &str, bytes: &Bytes, class: Class) -> Result<Created, RepoError> {
        // Where conditions are forgotten this is all that can be done. What is named by its content may be put twice, and what one
        // process alone makes need not be looked for.
        let may_be_taken = !is_named_by_content(name) && !has_one_maker(name);
        if may_be_taken && !self.promises().conditional_create && self.len(name)?.is_some() {
            return Ok(Created::Exists);
        }
        self.create_unlooked(name, bytes, class)
    }

    fn create_unlooked(&self, name: &str, bytes: &Bytes, class: Class) -> Result<Created, RepoError> {
        self.stays_within()?;
        let mut unanswered = false;
        let mut attempt = || {
            check_name(name)?;
            let created = match class {
                Class::Metadata => self.backend.create(name, bytes),
                Class::Data => self.backend.create_data(name, bytes),
            };
            match created {
                Ok(Created::Exists) if unanswered || is_named_by_content(name) => self.settle(name, bytes, unanswered),
                Err(error) if is_full(&error) && self.may_spend() && self.backend.spend_reserve().unwrap_or(false) => {
                    // Room for what makes room.
                    Err(ErrorKind::Interrupted.into())
                }
                Err(error) => {
                    unanswered = true;
                    Err(error)
                }
                Ok(Created::New) if self.backend.is_far() && is_looked_at_again(name) => {
                    match self.is_kept(name, bytes.len() as u64) {
                        Ok(()) => Ok(Created::New),
                        Err(error) => {
                            unanswered = true;
                            Err(error)
                        }
                    }
                }
                answer => answer,
            }
        };
        match self.retry(&mut attempt) {
            Err(error) if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Forgotten>) => {
                Err(self.lost_what_it_took(name))
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => Err(no_object(name, &error)),
            done => done.map_err(|error| failed("creating", name, error)),
        }
    }

    /// A service that said that it stored something, and did not.
    pub(super) fn lost_what_it_took(&self, name: &str) -> RepoError {
        RepoError::Faithless {
            location: self.location().to_owned(),
            reason: format!("{name} is not there, although it was answered that it is stored"),
        }
    }

    /// Whether what was taken is there. Who may only put cannot know.
    fn is_kept(&self, name: &str, bytes: u64) -> io::Result<()> {
        match self.backend.len(name) {
            Ok(len) if len == bytes => Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            Ok(_) => Err(io::Error::other(Forgotten)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(io::Error::other(Forgotten)),
            Err(error) => Err(error),
        }
    }

    /// The name is taken: by us, by somebody else, or by half of what we sent?
    fn settle(&self, name: &str, bytes: &Bytes, unanswered: bool) -> io::Result<Created> {
        let gone = |error: io::Error| match error.kind() {
            // It was deleted since: then the name is free again.
            ErrorKind::NotFound => ErrorKind::Interrupted.into(),
            _ => error,
        };
        let is_as_long = self.backend.len(name).map_err(gone)? == bytes.len() as u64;
        let is_whole = is_as_long
            && match self.backend.read(name, None) {
                // What is named by its content and is as long is what it says, where nothing can be put in halves.
                Err(error) if cold::is_in_archive(&error) && is_named_by_content(name) => true,
                read => read.map_err(gone)? == *bytes,
            };
        match (is_whole, is_named_by_content(name)) {
            (true, _) => Ok(if unanswered { Created::New } else { Created::Exists }),
            (false, false) => Ok(Created::Exists),
            (false, true) => Err(io::Error::new(ErrorKind::InvalidData, "other bytes than its name says lie under it")),
        }
    }

    /// See [`Backend::delete`].
    pub fn delete(&self, name: &str) -> Result<(), RepoError> {
        let attempt = || {
            check_name(name)?;
            self.backend.delete(name)
        };
        match self.retry(attempt) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == ErrorKind::InvalidData => Err(no_object(name, &error)),
            done => done.map_err(|error| failed("deleting", name, error)),
        }
    }

    /// See [`Backend::len`]; `None` if it does not exist.
    pub fn len(&self, name: &str) -> Result<Option<u64>, RepoError> {
        let attempt = || {
            check_name(name)?;
            self.backend.len(name)
        };
        match self.retry(attempt) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("reading", name, error)),
        }
    }

    /// See [`Backend::sweep`].
    pub fn sweep(&self) -> Result<u64, RepoError> {
        self.backend.sweep().map_err(|error| failed("deleting", local::TEMPORARY, error))
    }

    fn retry<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut waits: Option<Waits> = None;
        loop {
            let answer = attempt();
            let error = match answer {
                Err(error) if is_transient(error.kind()) || is_hiccup(&error) => error,
                answer => {
                    self.reached.store(true, Ordering::Relaxed);
                    return answer;
                }
            };
            let first_contact = !self.reached.load(Ordering::Relaxed);
            let most = if first_contact { self.most.min(patience::FIRST_CONTACT) } else { self.most };
            let waits = waits.get_or_insert_with(|| Waits::new(self.backend.patience(), most));
            let so_far = waits.so_far();
            if is_hiccup(&error) && so_far.0 > HICCUPS {
                // As the system said it: a disk that fails looks the same.
                return Err(error);
            }
            match waits.next() {
                Some(wait) => self.backend.pause(wait),
                None => return Err(given_up(&error, so_far)),
            }
        }
    }
}

/// What a backend says of an object longer than it may be.
pub(super) fn too_large(len: u64, most: u64) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, format!("it has {len} bytes, and none such has more than {most}"))
}

/// Where an object may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Where it can be read at once.
    Metadata,
    /// Where the place keeps data.
    Data,
}

/// Whether a name is the hash of the object's bytes: a pack's or an index object's.
fn is_named_by_content(name: &str) -> bool {
    let digits = name.rsplit('/').next().unwrap_or(name);
    let is_hash = digits.len() == 64 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_hash && ["packs/", "index/", "parity/"].iter().any(|folder| name.starts_with(folder))
}

/// Whether an object is one that its maker's outcome rests on; packs are held against their listing before a commit.
fn is_looked_at_again(name: &str) -> bool {
    ["snapshots/", "index/", "forgotten/", "trash/"].iter().any(|folder| name.starts_with(folder))
}

/// What a service did with an object that it said it stored.
#[derive(Debug, thiserror::Error)]
#[error("it is not there, although it was answered that it is stored")]
struct Forgotten;

/// Whether a name holds that of a key which one process has drawn: nobody else makes such an object, and he makes each once.
fn has_one_maker(name: &str) -> bool {
    ["leases/", "checkpoints/"].iter().any(|folder| name.starts_with(folder))
}

/// Options are not repeated: somebody may have put a secret among them.
fn without_query(location: &str) -> &str {
    let bare = location.split_once('?').map_or(location, |(place, _)| place);
    let is_url = bare.contains("://");
    // Nor is a password in front of the host.
    if is_url && bare.contains('@') { bare.split_once("://").map_or(bare, |(scheme, _)| scheme) } else { bare }
}

fn given_up(error: &io::Error, (attempts, time): (u32, Duration)) -> io::Error {
    io::Error::new(error.kind(), format!("{error} (tried {attempts} times in {:.0} s)", time.as_secs_f64()))
}

/// What lies in an object's place and is none.
fn no_object(name: &str, error: &io::Error) -> RepoError {
    if Obstructed::is_in(error) {
        RepoError::Obstructed { object: name.to_owned() }
    } else {
        RepoError::damaged(name, error)
    }
}

fn failed(operation: &'static str, object: &str, source: io::Error) -> RepoError {
    let object = object.to_owned();
    if source.kind() == ErrorKind::FileTooLarge && operation == "reading" {
        return RepoError::damaged(object, source);
    }
    if cold::is_in_archive(&source) {
        return RepoError::Archived { object };
    }
    if operation == "reading" && source.kind() == ErrorKind::NotFound {
        RepoError::Missing { object }
    } else if operation == "reading" && source.kind() == ErrorKind::UnexpectedEof {
        // Objects never change, so one that is too short does not get longer by waiting.
        RepoError::damaged(object, format!("it is shorter than it was: {source}"))
    } else if operation == "reading" && source.kind() == ErrorKind::InvalidData {
        // What lies there is no object at all, and does not become one by waiting.
        no_object(&object, &source)
    } else {
        let source = failure::with_the_right(operation, &object, source);
        RepoError::Storage { operation, object, source }
    }
}

/// Refuses names that could lead out of the repository or into its temporary folder.
fn check_name(name: &str) -> io::Result<()> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    if name.split('/').all(plain) && !name.starts_with(local::TEMPORARY) {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "this is not an object's name"))
    }
}

/// How often what a file server says when it stumbles is asked again.
const HICCUPS: u32 = 3;

/// What a file server that restarts or fails over says once, and a broken disk for ever.
fn is_hiccup(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::IO | Errno::STALE))
}

/// Whether there is no room left.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether trying again may help.
fn is_transient(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Interrupted
            | ErrorKind::TimedOut
            | ErrorKind::WouldBlock
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::ResourceBusy
    )
}
