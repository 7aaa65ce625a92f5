//! What was done through a service, kept where it cannot be changed unseen: objects that name the one before them, each signed
//! by the key that its series is named by (`format-spec/protocol.md`, section 15).

use super::{
    RepoError, Repository, SnapshotId,
    chains::{Broken, Chains},
    inner::{Inner, create::json},
    keys::{Capability, LeaseKey, Party, Signer},
    object::{self, ObjectKind},
    storage::Created,
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeSet;

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
    /// What is missing or exchanged in chains and was settled by an operator here.
    pub settles: Vec<String>,
}

impl KeptAudit {
    /// Takes its place in its series.
    pub(super) fn chain(&self, chains: &mut Chains) {
        let before = self.body.previous.as_ref().map(|before| (before.name.clone(), before.hash.clone()));
        chains.is_sound(&self.name, self.hash.clone(), before);
    }
}

/// Everything that was kept, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Audit {
    /// By series and number.
    pub kept: Vec<KeptAudit>,
    /// What is missing, damaged or does not follow, in words.
    pub problems: Vec<String>,
    /// Of those what is missing or does not follow, and nobody has settled.
    pub broken: Vec<Broken>,
}

/// Names of what one entry settles.
const SETTLED_AT_ONCE: usize = 1000;

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
    pub(super) fn open_audit(&self, name: &str, bytes: &[u8]) -> Result<KeptAudit, RepoError> {
        let (party, body) = object::open_of(&self.keyring, ObjectKind::Audit, name, bytes)?;
        let body: AuditBody = serde_json::from_slice(&body).map_err(|error| RepoError::damaged(name, error))?;
        let mut settles = Vec::new();
        if party == Party::Operator {
            let named = body.entries.iter().filter_map(|entry| entry.get("settled")?.as_array()).flatten();
            settles.extend(named.filter_map(|name| name.as_str().map(str::to_owned)));
        }
        Ok(KeptAudit { name: name.to_owned(), hash: hash_at_end(bytes), body, settles })
    }

    /// What is missing or exchanged in chains, and an operator has settled.
    pub(super) fn settled(&self) -> Result<BTreeSet<String>, RepoError> {
        Ok(self.read_audit()?.0.kept.into_iter().flat_map(|kept| kept.settles).collect())
    }

    /// Everything that was kept, by series and number, and what cannot be read.
    fn read_audit(&self) -> Result<(Audit, Chains), RepoError> {
        let (mut audit, mut chains) = (Audit::default(), Chains::default());
        let listed = self.list_objects("audit/")?;
        let mut wanted: Vec<((SnapshotId, u64, String), String, u64)> = listed
            .into_iter()
            .filter_map(|it| {
                let (series, number) = parse(&it.name)?;
                Some(((series, number, it.name.clone()), it.name, it.bytes))
            })
            .collect();
        wanted.sort_unstable();
        for ((.., name), begun) in object::read_each(&self.storage, wanted) {
            match begun.get().and_then(|bytes| self.open_audit(&name, &bytes)) {
                Ok(kept) => {
                    kept.chain(&mut chains);
                    audit.kept.push(kept);
                }
                Err(error) if error.is_bad_object() || matches!(error, RepoError::Missing { .. }) => {
                    chains.is_there(&name);
                    audit.problems.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok((audit, chains))
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
            series.next += 1;
            return Err(RepoError::Raced { object: name });
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
        let (mut audit, mut chains) = self.inner.read_audit()?;
        audit.broken = self.inner.broken("audit/", &mut chains)?;
        let settled: BTreeSet<&String> = audit.kept.iter().flat_map(|kept| &kept.settles).collect();
        audit.broken.retain(|broken| !settled.contains(&broken.key));
        audit.problems.extend(audit.broken.iter().map(Broken::to_string));
        Ok(audit)
    }

    /// Writes down that an operator has seen what is missing or exchanged in chains: from then on it is told and harms nobody.
    pub(super) fn settle(&self, broken: &[Broken]) -> Result<(), RepoError> {
        let key = self.inner.keyring.lease_key(Party::Operator)?;
        let mut series = AuditSeries { key, next: 0, last: None };
        for some in broken.chunks(SETTLED_AT_ONCE) {
            let settled: Vec<&String> = some.iter().map(|broken| &broken.key).collect();
            let at = self.inner.clock.now().to_string();
            let entry = serde_json::json!({ "at": at, "who": "operator", "did": "settled what is missing in chains", "settled": settled });
            self.append_audit(&mut series, vec![entry])?;
        }
        Ok(())
    }
}
