//! `status`: how old what is there is, of each scope of each source.

use super::{
    OpsError, Progress,
    drill::{Proof, proofs},
    select::{ahead_warning, is_ahead, scope, sources},
};
use crate::{
    record::Timestamp,
    repo::{Repository, Snapshot, SnapshotId},
};
use serde::Serialize;

/// How one scope of one source stands.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    /// Whose records.
    pub source: crate::repo::manifest::SourceId,
    /// What of the source was asked for, as a hash.
    pub scope: String,
    /// The same in words.
    pub scope_note: String,
    /// The newest complete snapshot that holds the scope, be it of a wider one.
    pub newest: Option<SnapshotId>,
    /// Its end.
    pub time: Option<Timestamp>,
    /// Its age, by the host's clock.
    pub age_seconds: Option<u64>,
    /// The newest snapshot that holds the scope, complete or not.
    pub latest: Option<SnapshotId>,
    /// Its end.
    pub latest_time: Option<Timestamp>,
    /// Whether it is complete.
    pub latest_complete: bool,
    /// Snapshots of the scope, partial ones included.
    pub snapshots: usize,
    /// Of those, the ones that end in the future: they count as nobody's newest.
    pub ahead: Vec<SnapshotId>,
    /// What the last verification covered and found, in words; absent if none is known here.
    pub last_verify: Option<String>,
    /// Whether it is older than was asked for.
    pub too_old: bool,
    /// The last drill, and the last that passed.
    #[serde(flatten)]
    pub proof: Proof,
    /// Whether the last proof is older than was asked for, or there is none.
    pub proof_too_old: bool,
    /// Where else its newest complete snapshot is, if somebody looked.
    pub elsewhere: Option<super::places::ThreeTwoOne>,
}

/// How old what is there may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxAges {
    /// The newest complete snapshot, in seconds.
    pub snapshot: Option<u64>,
    /// The last proof, in seconds.
    pub proof: Option<u64>,
}

/// Whether what was asked for does not hold: a source is too old, or an age was asked for and there is none at all, which is
/// older than anything.
#[must_use]
pub fn is_overdue(sources: &[SourceStatus], max: MaxAges) -> bool {
    let is_asked = max.snapshot.is_some() || max.proof.is_some();
    (sources.is_empty() && is_asked) || sources.iter().any(|source| source.too_old || source.proof_too_old)
}

/// Of each scope of each source the newest snapshots. What ends in the future is named and counts as nobody's newest.
pub fn status(
    repo: &Repository,
    snapshots: &[Snapshot],
    max: MaxAges,
    progress: &dyn Progress,
) -> Result<Vec<SourceStatus>, OpsError> {
    let proofs = proofs(repo, snapshots)?;
    let now = repo.clock().now();
    let last_verify = repo.note(super::verify::LAST_VERIFY)?;
    let mut all = Vec::new();
    for source in sources(snapshots) {
        let of_source: Vec<&Snapshot> = snapshots.iter().filter(|s| s.source().is_same(&source)).collect();
        let (ahead, present): (Vec<&Snapshot>, Vec<&Snapshot>) =
            of_source.iter().partition(|s| is_ahead(s.content.end, now));
        for snapshot in &ahead {
            progress.warning(&ahead_warning(snapshot));
        }
        for one in scope::newest_of_each(&of_source) {
            let its = |s: &&&Snapshot| s.content.scope == one.content.scope;
            let latest = present.iter().rfind(|s| scope::covers(s, one));
            let newest = present.iter().rfind(|s| s.content.complete && scope::covers(s, one));
            let age_seconds = newest.map(|s| (now.as_millis() - s.content.end.as_millis()).max(0) as u64 / 1000);
            let proof = proofs.of(one);
            let is_older = |max: u64, age: Option<u64>| age.is_none_or(|age| age > max);
            all.push(SourceStatus {
                elsewhere: None,
                proof,
                proof_too_old: max.proof.is_some_and(|max| is_older(max, proof.proof_age_seconds)),
                source: source.clone(),
                scope: one.content.scope.clone(),
                scope_note: scope::words(one),
                newest: newest.map(|s| s.id),
                time: newest.map(|s| s.content.end),
                age_seconds,
                latest: latest.map(|s| s.id),
                latest_time: latest.map(|s| s.content.end),
                latest_complete: latest.is_some_and(|s| s.content.complete),
                snapshots: of_source.iter().filter(its).count(),
                ahead: ahead.iter().filter(its).map(|s| s.id).collect(),
                last_verify: last_verify.clone().filter(|_| newest.is_some()),
                too_old: max.snapshot.is_some_and(|max| is_older(max, age_seconds)),
            });
        }
    }
    Ok(all)
}
