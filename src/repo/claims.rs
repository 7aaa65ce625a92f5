//! Claims of scheduled runs: of several who would run the same thing at the same time, one creates the name of it
//! (`format-spec/protocol.md`, section 14).

use super::{
    RepoError, Repository,
    inner::{Inner, create::json},
    keys::{Capability, Party, Signer, crypto},
    object::{self, ObjectKind},
    storage::Created,
};
use crate::record::Timestamp;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Claims of one schedule that stay; those before them say nothing any more.
const STAY: usize = 16;

/// So far ahead of our clock a claim was made by one that was wrong: what is due now is not behind it. Clocks of hosts differ by less.
const AHEAD_MILLIS: u64 = 120_000;

/// And so far ahead it is tidied up: until then another clock may be the right one.
const WRONG_MILLIS: u64 = 86_400_000;

/// What a claim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimBody {
    /// Who claimed it: a name that whoever asks again knows to be its own.
    pub by: String,
    /// On which host, for people.
    pub host: String,
    /// When, by its clock: for people.
    pub time: Timestamp,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours, now or since before.
    Ours,
    /// Somebody else runs it.
    Theirs(ClaimBody),
    /// A later run of the same schedule was claimed already; by whom, if that can be told.
    Overtaken(Option<ClaimBody>),
    /// Something that is no claim bears its name: nobody can tell, so it is better run twice than not.
    Unclear(String),
}

/// The name of a claim.
#[must_use]
pub(super) fn path(series: &str, number: u64) -> String {
    format!("claims/{series}/{number}")
}

impl Inner {
    /// What the bytes of a claim say.
    pub(super) fn open_claim(&self, name: &str, bytes: &[u8]) -> Result<ClaimBody, RepoError> {
        let body = object::open(&self.keyring, ObjectKind::Claim, name, bytes)?;
        serde_json::from_slice(&body).map_err(|error| RepoError::damaged(name, error))
    }
}

impl Repository {
    /// Claims the run of a schedule that is due at a time (milliseconds since 1970).
    ///
    /// # Errors
    /// [`RepoError::Role`] if the keys do not allow to write; [`RepoError`] if the place cannot be asked.
    pub fn claim(&self, schedule: &str, due: u64, by: &str) -> Result<Claimed, RepoError> {
        self.need(Capability::Write)?;
        let inner = &self.inner;
        let key = crypto::derive("rekeep 2026-11 v1 claims", &inner.keyring.secrets.chunk_id);
        let series = HEXLOWER.encode(&blake3::keyed_hash(&key, schedule.as_bytes()).as_bytes()[..16]);
        let folder = format!("claims/{series}/");
        let number = |name: &str| name.strip_prefix(folder.as_str())?.parse::<u64>().ok();
        let listed = inner.list_objects(&folder)?;
        let mut taken: BTreeSet<u64> = listed.iter().filter_map(|object| number(&object.name)).collect();
        let now = u64::try_from(inner.clock.now().as_millis()).unwrap_or(0).max(due);
        let last = taken.range(..=now.saturating_add(AHEAD_MILLIS)).next_back();
        if last.is_some_and(|last| *last > due) && !taken.contains(&due) {
            let read = |last: u64| {
                let name = path(&series, last);
                inner.open_claim(&name, &object::read(&inner.storage, &name)?)
            };
            return Ok(Claimed::Overtaken(last.and_then(|last| read(*last).ok())));
        }
        let path = path(&series, due);
        let body = ClaimBody { by: by.to_owned(), host: inner.host.clone(), time: inner.clock.now() };
        let key = inner.keyring.lease_key(Party::Writer)?;
        let made = object::make(&inner.keyring, Signer::Lease(&key), ObjectKind::Claim, &path, &json(&body)?)?;
        if inner.storage.create(&path, &made)? == Created::New {
            taken.remove(&due);
            let wrong = taken.split_off(&now.saturating_add(WRONG_MILLIS));
            let stale = taken.len().saturating_sub(STAY - 1);
            for old in taken.into_iter().take(stale).chain(wrong) {
                // Whoever may not delete leaves them; they harm nobody.
                let _ = inner.storage.delete(&self::path(&series, old));
            }
            return Ok(Claimed::Ours);
        }
        let found = object::read(&inner.storage, &path).and_then(|bytes| inner.open_claim(&path, &bytes));
        match found {
            Ok(ClaimBody { by: theirs, .. }) if theirs == by => Ok(Claimed::Ours),
            Ok(theirs) => Ok(Claimed::Theirs(theirs)),
            // It was tidied up: others are far ahead.
            Err(RepoError::Missing { .. }) => Ok(Claimed::Overtaken(None)),
            Err(error) if error.is_bad_object() => Ok(Claimed::Unclear(error.to_string())),
            Err(error) => Err(error),
        }
    }
}
