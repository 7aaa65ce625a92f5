//! What a repository's place was found to promise: tried once, kept in the repository with the location that it counts for
//! (`format-spec/protocol.md`, section 6), and remembered in the catalog.

use super::{Inner, Repository, create::json};
use crate::{
    record::{Clock, Timestamp},
    repo::{
        RepoError,
        keys::{Capability, Keyring, Signer},
        object::{self, ObjectKind},
        storage::{Created, Promises, Storage, Verdict},
    },
    report::{Warning, WarningKind},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, io::ErrorKind};

const NOTE: &str = "promises";

/// How often a race for the next number is run again.
const MAX_RACES: u64 = 10;

/// What a trial showed, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromisesBody {
    /// BLAKE3 of the location, in hexadecimal: a copy of the repository elsewhere is another place.
    pub location: String,
    /// Of two creates of one name exactly one succeeds.
    pub conditional_create: bool,
    /// A listing shows everything created before it began.
    pub prompt_listing: bool,
    /// What was found, for people.
    #[serde(default)]
    pub findings: Vec<String>,
    /// When it was tried: for people.
    pub time: Timestamp,
}

impl PromisesBody {
    fn promises(&self) -> Promises {
        Promises { conditional_create: self.conditional_create, prompt_listing: self.prompt_listing }
    }
}

/// The name that verdicts of a location have in common.
fn location_key(storage: &Storage) -> String {
    blake3::hash(storage.location().as_bytes()).to_hex().to_string()
}

fn folder(storage: &Storage) -> String {
    format!("promises/{}/", &location_key(storage)[..32])
}

/// The verdicts on this place.
#[derive(Default)]
struct Kept {
    /// The newest that passes the check, which alone counts.
    newest: Option<PromisesBody>,
    /// The lowest number above it that is free: what fails the check takes a number, and no more.
    next: u64,
}

fn kept(storage: &Storage, keyring: &Keyring) -> Result<Kept, RepoError> {
    let folder = folder(storage);
    let listed = storage.list(&folder)?;
    let number = |name: &str| name.strip_prefix(folder.as_str())?.parse::<u64>().ok();
    let numbers: BTreeSet<u64> = listed.iter().filter_map(|it| number(&it.name)).collect();
    let mut kept = Kept::default();
    for &number in numbers.iter().rev() {
        match read(storage, keyring, &format!("{folder}{number}")) {
            Ok(body) => {
                // Objects may be copied to where they do not count.
                kept.newest = (body.location == location_key(storage)).then_some(body);
                kept.next = number.saturating_add(1);
                break;
            }
            Err(RepoError::Missing { .. }) => {}
            Err(error) if error.is_bad_object() => {}
            Err(error) => return Err(error),
        }
    }
    while numbers.contains(&kept.next) && kept.next < u64::MAX {
        kept.next += 1;
    }
    Ok(kept)
}

fn read(storage: &Storage, keyring: &Keyring, path: &str) -> Result<PromisesBody, RepoError> {
    let body = object::open(keyring, ObjectKind::Promises, path, &object::read(storage, path)?)?;
    serde_json::from_slice(&body).map_err(|error| RepoError::damaged(path, error))
}

fn body_of(storage: &Storage, verdict: &Verdict, clock: &dyn Clock) -> PromisesBody {
    PromisesBody {
        location: location_key(storage),
        conditional_create: verdict.conditional_create,
        prompt_listing: verdict.prompt_listing,
        findings: verdict.findings.clone(),
        time: clock.now(),
    }
}

/// Keeps a verdict as the newest for this place, if the keys allow to speak for the repository: others believe it.
pub fn keep(storage: &Storage, keyring: &Keyring, verdict: &Verdict, clock: &dyn Clock) -> Result<(), RepoError> {
    if !keyring.role().has(Capability::Prune) {
        return Ok(());
    }
    let body = body_of(storage, verdict, clock);
    let folder = folder(storage);
    for _ in 0..MAX_RACES {
        let path = format!("{folder}{}", kept(storage, keyring)?.next);
        let made = object::make(keyring, Signer::Operator, ObjectKind::Promises, &path, &json(&body)?)?;
        if storage.create(&path, &made)? == Created::New {
            return Ok(());
        }
    }
    Err(RepoError::Raced { object: folder })
}

impl Inner {
    /// Makes sure that what may be relied on here is known, trying the place if nobody has. Costs nothing where the catalog
    /// knows it, or nobody need try.
    pub(in crate::repo) fn settle_promises(&self) -> Result<Option<Warning>, RepoError> {
        self.storage.find_out();
        if self.storage.is_settled() {
            return Ok(None);
        }
        if let Some(note) = self.catalog.note(NOTE)?
            && let Ok(body) = serde_json::from_str::<PromisesBody>(&note)
        {
            return Ok(self.rely_on(&body));
        }
        let body = if let Some(body) = kept(&self.storage, &self.keyring)?.newest {
            body
        } else {
            let verdict = match self.storage.probe() {
                // Who may only read relies on nothing.
                Err(RepoError::Storage { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                    return Ok(None);
                }
                verdict => verdict?,
            };
            if !verdict.whole {
                return Err(not_whole(&self.storage));
            }
            keep(&self.storage, &self.keyring, &verdict, &*self.clock)?;
            body_of(&self.storage, &verdict, &*self.clock)
        };
        let text = serde_json::to_string(&body).map_err(|error| RepoError::Internal(error.to_string()))?;
        // Without it the place is asked again the next time.
        let _ = self.catalog.set_note(NOTE, &text);
        Ok(self.rely_on(&body))
    }

    fn rely_on(&self, body: &PromisesBody) -> Option<Warning> {
        self.storage.rely_on(body.promises());
        weakness(&self.storage, &body.findings)
    }
}

/// What a person should hear of a place that promises less.
pub(super) fn weakness(storage: &Storage, findings: &[String]) -> Option<Warning> {
    if findings.is_empty() {
        return None;
    }
    let words = format!(
        "this storage does not keep all that is relied on elsewhere: {}. No lease is fenced without a person, and marks of a \
         prune wait a grace period",
        findings.join("; ")
    );
    Some(Warning::new(WarningKind::WeakStorage, storage.location(), words))
}

fn not_whole(storage: &Storage) -> RepoError {
    RepoError::Faithless {
        location: storage.location().to_owned(),
        reason: "what was written to try it came back otherwise, so nothing can be kept there".to_owned(),
    }
}

/// Refuses a place that does not give back what it was given; says nothing of one that was tried before.
pub(in crate::repo) fn refuse_if_broken(storage: &Storage) -> Result<Option<Verdict>, RepoError> {
    if storage.is_settled() {
        return Ok(None);
    }
    let verdict = storage.probe()?;
    if verdict.whole { Ok(Some(verdict)) } else { Err(not_whole(storage)) }
}

impl Repository {
    /// Makes sure that what may be relied on at this place is known, trying it if nobody has. Gives what a person should
    /// hear of it, if that is news.
    pub fn settle_promises(&self) -> Result<Option<Warning>, RepoError> {
        self.inner.settle_promises()
    }
}
