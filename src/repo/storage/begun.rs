//! Requests that are made before their answers are asked for. They wait on threads of the storage runtime, never on those that
//! compute. Near storage is asked when the answer is wanted: nothing is gained there, and everything stays in one order.

use super::{Listed, RepoError, Storage, runtime::runtime};
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

/// What [`ReadEach`] reads before it is asked for, at most.
const AHEAD_BYTES: u64 = 48 * 1024 * 1024;

/// An answer to come.
struct Soon<T> {
    answer: mpsc::Receiver<Result<T, RepoError>>,
    is_wanted: Arc<AtomicBool>,
}

impl<T: Send + 'static> Soon<T> {
    fn begin(work: impl FnOnce() -> Result<T, RepoError> + Send + 'static) -> Result<Self, RepoError> {
        let (send, answer) = mpsc::sync_channel(1);
        let is_wanted = Arc::new(AtomicBool::new(true));
        let wanted = Arc::clone(&is_wanted);
        let runtime = runtime().map_err(|error| RepoError::Internal(format!("no threads for requests: {error}")))?;
        runtime.spawn_blocking(move || {
            if wanted.load(Ordering::Relaxed) {
                // Nobody waits any more if its receiver is gone.
                let _ = send.send(work());
            }
        });
        Ok(Self { answer, is_wanted })
    }

    fn get(self) -> Result<T, RepoError> {
        self.answer.recv().unwrap_or_else(|_| Err(RepoError::Internal("a request came to no end".to_owned())))
    }
}

impl<T> Drop for Soon<T> {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }
}

/// A listing that was begun, or will be when it is asked for.
pub struct Listing {
    storage: Storage,
    prefix: String,
    soon: Option<Soon<Vec<Listed>>>,
}

impl Listing {
    /// One that begins when it is asked for.
    #[must_use]
    pub fn later(storage: &Storage, prefix: &str) -> Self {
        Self { storage: storage.clone(), prefix: prefix.to_owned(), soon: None }
    }

    /// What [`Storage::list`] gives.
    pub fn get(self) -> Result<Vec<Listed>, RepoError> {
        match self.soon {
            Some(soon) => soon.get(),
            None => self.storage.list(&self.prefix),
        }
    }
}

/// What is to be read of an object.
#[derive(Debug, Clone)]
enum Part {
    /// All of it, if it has at most so many bytes.
    AtMost(u64),
    Range(Range<u64>),
}

/// A read that was begun, or will be when it is asked for.
pub struct Begun {
    storage: Storage,
    name: String,
    part: Part,
    soon: Option<Soon<Vec<u8>>>,
}

impl Begun {
    fn of(storage: &Storage, name: String, part: Part) -> Self {
        let mut begun = Self { storage: storage.clone(), name, part, soon: None };
        if storage.is_far() {
            let (storage, name, part) = (storage.clone(), begun.name.clone(), begun.part.clone());
            // Without a thread it is read when it is asked for.
            begun.soon = Soon::begin(move || read(&storage, &name, &part)).ok();
        }
        begun
    }

    /// The bytes.
    pub fn get(self) -> Result<Vec<u8>, RepoError> {
        match self.soon {
            Some(soon) => soon.get(),
            None => read(&self.storage, &self.name, &self.part),
        }
    }
}

fn read(storage: &Storage, name: &str, part: &Part) -> Result<Vec<u8>, RepoError> {
    match part {
        Part::AtMost(most) => storage.read_at_most(name, *most),
        Part::Range(range) => storage.read_range(name, range.clone()),
    }
}

/// An object that [`Storage::read_each`] is to read.
#[derive(Debug, Clone)]
pub struct Wanted<K> {
    /// What the caller knows it by.
    pub key: K,
    /// Its name.
    pub name: String,
    /// Its length as listed: for what is read ahead.
    pub bytes: u64,
    /// The most that such an object may have.
    pub most: u64,
}

/// Reads objects in the order in which they were given, the next ones already on their way.
pub struct ReadEach<K, I> {
    storage: Storage,
    wanted: I,
    under_way: VecDeque<(K, u64, Begun)>,
    bytes: u64,
}

impl<K, I: Iterator<Item = Wanted<K>>> Iterator for ReadEach<K, I> {
    type Item = (K, Begun);

    fn next(&mut self) -> Option<Self::Item> {
        let at_once = if self.storage.is_far() { self.storage.connections() } else { 1 };
        while self.under_way.len() < at_once && (self.under_way.is_empty() || self.bytes < AHEAD_BYTES) {
            let Some(wanted) = self.wanted.next() else { break };
            let bytes = wanted.bytes.min(wanted.most);
            self.bytes += bytes;
            let begun = Begun::of(&self.storage, wanted.name, Part::AtMost(wanted.most));
            self.under_way.push_back((wanted.key, bytes, begun));
        }
        let (key, bytes, begun) = self.under_way.pop_front()?;
        self.bytes -= bytes;
        Some((key, begun))
    }
}

impl Storage {
    /// Begins to list; where storage is near, lists when it is asked for.
    #[must_use]
    pub fn begin_list(&self, prefix: &str) -> Listing {
        let mut listing = Listing::later(self, prefix);
        if self.is_far() {
            let (storage, prefix) = (self.clone(), prefix.to_owned());
            listing.soon = Soon::begin(move || storage.list(&prefix)).ok();
        }
        listing
    }

    /// Begins to list these, each when the one before is done; where storage is near, lists when it is asked for.
    #[must_use]
    pub fn begin_lists<const N: usize>(&self, prefixes: [&str; N]) -> [Listing; N] {
        let mut listings = prefixes.map(|prefix| Listing::later(self, prefix));
        if self.is_far() {
            let mut before = None;
            for listing in &mut listings {
                let (storage, prefix) = (self.clone(), listing.prefix.clone());
                let (done, next) = mpsc::sync_channel::<()>(1);
                let after = before.replace(next);
                let begun = Soon::begin(move || {
                    if let Some(after) = after {
                        // Whatever came of it: an error there is told by whoever asks for that one.
                        let _ = after.recv();
                    }
                    let listed = storage.list(&prefix);
                    let _ = done.send(());
                    listed
                });
                listing.soon = begun.ok();
            }
        }
        listings
    }

    /// Begins to read a range; where storage is near, reads when it is asked for.
    #[must_use]
    pub fn begin_read(&self, name: &str, range: Range<u64>) -> Begun {
        Begun::of(self, name.to_owned(), Part::Range(range))
    }

    /// Reads objects, several at once where that is faster; they come in their order.
    pub fn read_each<K, I: IntoIterator<Item = Wanted<K>>>(&self, wanted: I) -> ReadEach<K, I::IntoIter> {
        ReadEach { storage: self.clone(), wanted: wanted.into_iter(), under_way: VecDeque::new(), bytes: 0 }
    }
}
