//! How old the last proof of each source is.

use crate::{
    ops::OpsError,
    record::Timestamp,
    repo::{
        Repository, Snapshot,
        drills::{DrillName, KeptDrill},
        manifest::SourceId,
    },
};
use serde::Serialize;

/// Reports of a source that are read at most for its last proof.
const MOST: usize = 50;

/// The last drills of one scope of one source, restored from the place where the repository is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// When the last drill that passed ended.
    pub proved: Option<Timestamp>,
    /// How long ago that is.
    pub proof_age_seconds: Option<u64>,
    /// The report of the last drill.
    pub last_drill: Option<DrillName>,
    /// Whether it passed.
    pub last_drill_passed: Option<bool>,
}

/// The last proofs of a repository.
pub struct Proofs {
    kept: Vec<KeptDrill>,
    place: String,
    now: Timestamp,
}

/// Reads the newest reports of the sources of these snapshots, until each of their scopes is proved.
///
/// # Errors
/// [`OpsError`] if the place cannot be read. Damaged reports prove nothing and are passed over.
pub fn proofs(repo: &Repository, snapshots: &[Snapshot]) -> Result<Proofs, OpsError> {
    let place = repo.place_hash();
    let mut asked: Vec<(&SourceId, &str)> = Vec::new();
    for snapshot in snapshots {
        let (source, scope) = (snapshot.source(), snapshot.content.scope.as_str());
        if !asked.iter().any(|(known, of)| *of == scope && known.is_same(source)) {
            asked.push((source, scope));
        }
    }
    // All scopes of a source share one series: the proof of one says nothing of another.
    let has_proofs = |kept: &[KeptDrill]| {
        let Some(first) = kept.first() else { return false };
        let mut scopes = asked.iter().filter(|(source, _)| source.is_same(&first.report.source));
        scopes.all(|(_, scope)| {
            kept.iter().any(|kept| kept.report.passed && kept.report.location == place && kept.report.scope == *scope)
        })
    };
    let kept = repo.newest_drills(MOST, &has_proofs)?.kept;
    Ok(Proofs { kept, place, now: repo.clock().now() })
}

impl Proofs {
    /// The last proof of the scope and source of a snapshot.
    #[must_use]
    pub fn of(&self, snapshot: &Snapshot) -> Proof {
        let its = self.kept.iter().filter(|kept| {
            let report = &kept.report;
            report.location == self.place
                && report.source.is_same(snapshot.source())
                && report.scope == snapshot.content.scope
        });
        let newest = its.clone().max_by_key(|kept| kept.name.number);
        let proved = its.filter(|kept| kept.report.passed).map(|kept| kept.report.finished).max();
        let age = |at: Timestamp| (self.now.as_millis() - at.as_millis()).max(0) as u64 / 1000;
        Proof {
            proved,
            proof_age_seconds: proved.map(age),
            last_drill: newest.map(|kept| kept.name),
            last_drill_passed: newest.map(|kept| kept.report.passed),
        }
    }
}
