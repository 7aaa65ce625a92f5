//! Trying a place: whether it does what `docs/storage.md` expects of it. What its kind says that it can do is no answer: some
//! servers take a condition and forget it.

use super::{Class, Created, Promises, Storage};
use crate::repo::RepoError;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::sync::{
    Barrier,
    atomic::{AtomicUsize, Ordering},
};

/// Where trials leave their objects.
pub const PROBE: &str = "probe/";

const RACERS: u8 = 8;
const ROUNDS: usize = 3;
const TRIAL_BYTES: usize = 100_000;

/// What trying a place showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What came back is what was put.
    pub whole: bool,
    /// Of two creates of one name exactly one succeeds, also at the same time.
    pub conditional_create: bool,
    /// A listing shows what was just created, and not what was just deleted.
    pub prompt_listing: bool,
    /// Whether what was made could be deleted again.
    pub deletes: bool,
    /// What was found, in words, where it is not what it should be.
    pub findings: Vec<String>,
}

impl Verdict {
    /// What may be relied on.
    #[must_use]
    pub const fn promises(&self) -> Promises {
        Promises { conditional_create: self.conditional_create, prompt_listing: self.prompt_listing }
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.whole && self.conditional_create && self.prompt_listing
    }
}

/// Tries a place, in a folder of its own, which it removes again if it may.
///
/// # Errors
/// If it may not create, read or list there, or the place does not answer.
pub(super) fn probe(storage: &Storage) -> Result<Verdict, RepoError> {
    let folder = folder()?;
    let mut trial = Trial { storage, folder, made: Vec::new(), findings: Vec::new() };
    let tried = trial.run();
    let deletes = trial.clear();
    let (whole, conditional_create, listed) = tried?;
    let mut prompt_listing = listed && storage.claims_listings();
    if !storage.claims_listings() {
        trial
            .findings
            .push("the file system is shared, and may list for a while what others have changed since".to_owned());
    }
    if deletes && !storage.list(&trial.folder)?.is_empty() {
        prompt_listing = false;
        trial.findings.push("a listing shows what was deleted before it began".to_owned());
    }
    Ok(Verdict { whole, conditional_create, prompt_listing, deletes, findings: trial.findings })
}

/// A folder that no other trial has.
pub(super) fn folder() -> Result<String, RepoError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| RepoError::Internal(format!("no random numbers: {error}")))?;
    Ok(format!("{PROBE}{}/", HEXLOWER.encode(&random)))
}

struct Trial<'a> {
    storage: &'a Storage,
    folder: String,
    made: Vec<String>,
    findings: Vec<String>,
}

impl Trial<'_> {
    /// Whether what comes back is whole, creates are conditional, listings are prompt.
    fn run(&mut self) -> Result<(bool, bool, bool), RepoError> {
        let whole = self.comes_back()?;
        // A condition that is forgotten shows at once; only one that seems to be kept is worth a race.
        let conditional = self.storage.claims_conditions() && self.is_created_once()? && self.has_one_winner()?;
        if !self.storage.claims_conditions() {
            self.findings.push("the service knows no create that fails if the name is taken".to_owned());
        }
        Ok((whole, conditional, self.is_listed()?))
    }

    fn name(&mut self, last: &str) -> String {
        let name = format!("{}{last}", self.folder);
        self.made.push(name.clone());
        name
    }

    fn comes_back(&mut self) -> Result<bool, RepoError> {
        let name = self.name("whole");
        let bytes: Vec<u8> = (0..TRIAL_BYTES).map(|at| (at * 31 % 253) as u8).collect();
        let bytes = Bytes::from(bytes);
        self.storage.create_unlooked(&name, &bytes, Class::Metadata)?;
        let part = match self.storage.read_range(&name, 1_000..2_000) {
            Err(RepoError::Damaged { .. }) => Vec::new(),
            part => part?,
        };
        let whole = self.storage.read(&name)? == bytes && part == bytes[1_000..2_000];
        if !whole {
            self.findings.push("what was read is not what was put".to_owned());
        }
        Ok(whole)
    }

    fn is_created_once(&mut self) -> Result<bool, RepoError> {
        let name = self.name("twice");
        self.storage.create_unlooked(&name, &Bytes::from_static(b"first"), Class::Metadata)?;
        let second = self.storage.create_unlooked(&name, &Bytes::from_static(b"second"), Class::Metadata)?;
        let once = second == Created::Exists && self.storage.read(&name)? == b"first";
        if !once {
            self.findings.push("a second create of one name replaced the first".to_owned());
        }
        Ok(once)
    }

    fn has_one_winner(&mut self) -> Result<bool, RepoError> {
        for round in 0..ROUNDS {
            let name = self.name(&format!("race-{round}"));
            let (barrier, wins) = (Barrier::new(usize::from(RACERS)), AtomicUsize::new(0));
            let failure = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..RACERS)
                    .map(|racer| {
                        let (name, barrier, wins, storage) = (&name, &barrier, &wins, self.storage);
                        scope.spawn(move || {
                            let bytes = Bytes::from(vec![racer; 100]);
                            barrier.wait();
                            if storage.create_unlooked(name, &bytes, Class::Metadata)? == Created::New {
                                wins.fetch_add(1, Ordering::SeqCst);
                            }
                            Ok::<(), RepoError>(())
                        })
                    })
                    .collect();
                let mut ended = racers.into_iter().filter_map(|racer| racer.join().ok());
                ended.find_map(Result::err)
            });
            if let Some(failure) = failure {
                return Err(failure);
            }
            let wins = wins.into_inner();
            if wins != 1 {
                self.findings.push(format!("of {RACERS} creates of one name at the same time {wins} succeeded"));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_listed(&mut self) -> Result<bool, RepoError> {
        let name = self.name("listed");
        self.storage.create_unlooked(&name, &Bytes::from_static(b"listed"), Class::Metadata)?;
        let listed = self.storage.list(&self.folder)?;
        let all = self.made.iter().all(|name| listed.iter().any(|listed| listed.name == *name));
        if !all {
            self.findings.push("a listing does not show what was created before it began".to_owned());
        }
        Ok(all)
    }

    /// Whether everything could be deleted.
    fn clear(&self) -> bool {
        self.storage.delete_each(&self.made).iter().all(Result::is_ok)
    }
}
