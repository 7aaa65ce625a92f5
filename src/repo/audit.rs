//! What was done through a service, kept where it cannot be changed unseen: objects that name the one before them, each signed
//! by the key that its series is named by (`format-spec/protocol.md`, section 15).

use super::{
    RepoError, Repository, SnapshotId,
    inner::{Inner, create::json},
    keys::{Capability, LeaseKey, Party, Signer},
    object::{self, ObjectKind},
    storage::Created,
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// The object before another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLink {
    /// Its name.
    pub name: String,
    /// The hash at its end.
    pub hash: String,
}

/// What an object says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditBody {
    /// The one before it: of its own series, or the last of the series before.
    pub previous: Option<AuditLink>,
    /// Where the service runs.
    pub host: String,
    /// What was done, oldest first.
    pub entries: Vec<Json>,
}

/// One run of a service that writes.
pub struct AuditSeries {
    key: LeaseKey,
    next: u64,
    last: Option<AuditLink>,
}

impl AuditSeries {
    /// The object that was written last.
    #[must_use]
    pub const fn last(&self) -> Option<&AuditLink> {
        self.last.as_ref()
    }
}

/// An object as it lies there.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptAudit {
    /// Its name.
    pub name: String,
    /// The hash at its end.
    pub hash: String,
    /// What it says.
    pub body: AuditBody,
}

/// Everything that was kept, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Audit {
    /// By series and number.
    pub kept: Vec<KeptAudit>,
    /// What is missing, damaged or does not follow, in words.
    pub problems: Vec<String>,
}

fn hash_at_end(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes.last_chunk::<32>().map_or(&[][..], |hash| &hash[..]))
}

/// S and the number in `audit/<S>/<n>`.
fn parse(name: &str) -> Option<(SnapshotId, u64)> {
    let (series, number) = name.strip_prefix("audit/")?.split_once('/')?;
    Some((series.parse().ok()?, number.parse().ok()?))
}

impl Inner {
    /// What the bytes of an object say.
    pub(super) fn open_audit(&self, name: &str, bytes: &[u8]) -> Result<AuditBody, RepoError> {
        let body = object::open(&self.keyring, ObjectKind::Audit, name, bytes)?;
        serde_json::from_slice(&body).map_err(|error| RepoError::damaged(name, error))
    }
}

impl Repository {
    /// Begins a series behind the last object that the same service wrote before.
    ///
    /// # Errors
    /// [`RepoError::Role`] if the keys do not allow to write.
    pub fn begin_audit(&self, last: Option<AuditLink>) -> Result<AuditSeries, RepoError> {
        self.need(Capability::Write)?;
        Ok(AuditSeries { key: self.inner.keyring.lease_key(Party::Writer)?, next: 0, last })
    }

    /// Appends entries; gives where they lie.
    ///
    /// # Errors
    /// [`RepoError`] if they cannot be written: then they are not there, and may be appended again.
    pub fn append_audit(&self, series: &mut AuditSeries, entries: Vec<Json>) -> Result<AuditLink, RepoError> {
        let inner = &self.inner;
        let name = format!("audit/{}/{}", series.key.lease(), series.next);
        let body = AuditBody { previous: series.last.clone(), host: inner.host.clone(), entries };
        let made = object::make(&inner.keyring, Signer::Lease(&series.key), ObjectKind::Audit, &name, &json(&body)?)?;
        // The key is this process's own: what is there is what an attempt without an answer left.
        if inner.storage.create(&name, &made)? == Created::Exists {
            let words = format!("{name} is there already: the series goes on behind it");
            series.next += 1;
            return Err(RepoError::Invalid(words));
        }
        let link = AuditLink { name, hash: hash_at_end(&made) };
        series.next += 1;
        series.last = Some(link.clone());
        Ok(link)
    }

    /// Everything that was kept, checked to follow each other.
    ///
    /// # Errors
    /// [`RepoError`] if the place cannot be read; what is wrong with single objects is among [`Audit::problems`].
    pub fn audit(&self) -> Result<Audit, RepoError> {
        let mut audit = Audit::default();
        let mut hashes: BTreeMap<String, String> = BTreeMap::new();
        let mut numbers: BTreeMap<SnapshotId, BTreeSet<u64>> = BTreeMap::new();
        let listed = self.inner.list_objects("audit/")?;
        let mut wanted: Vec<((SnapshotId, u64), String, u64)> =
            listed.into_iter().filter_map(|it| Some((parse(&it.name)?, it.name, it.bytes))).collect();
        wanted.sort_unstable();
        let names: Vec<(SnapshotId, u64, String)> =
            wanted.iter().map(|((series, number), name, _)| (*series, *number, name.clone())).collect();
        for (series, number, _) in &names {
            numbers.entry(*series).or_default().insert(*number);
        }
        let mut names = names.into_iter();
        for (_, begun) in object::read_each(&self.inner.storage, wanted) {
            let Some((_, _, name)) = names.next() else { break };
            let found = begun.get().and_then(|bytes| {
                Ok(KeptAudit { hash: hash_at_end(&bytes), body: self.inner.open_audit(&name, &bytes)?, name })
            });
            match found {
                Ok(kept) => {
                    hashes.insert(kept.name.clone(), kept.hash.clone());
                    audit.kept.push(kept);
                }
                Err(error) if error.is_bad_object() || matches!(error, RepoError::Missing { .. }) => {
                    audit.problems.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        for (series, numbers) in &numbers {
            let last = numbers.last().copied().unwrap_or(0);
            let missing = (last + 1).saturating_sub(numbers.len() as u64);
            if missing > 0 {
                audit.problems.push(format!("of audit/{series}, {missing} objects are missing"));
            }
        }
        for kept in &audit.kept {
            let Some(before) = &kept.body.previous else { continue };
            match hashes.get(&before.name) {
                Some(hash) if *hash == before.hash => {}
                Some(_) => {
                    audit.problems.push(format!("{} was made after another {} than there is", kept.name, before.name));
                }
                None => audit.problems.push(format!("{}, which lies before {}, is missing", before.name, kept.name)),
            }
        }
        Ok(audit)
    }
}
