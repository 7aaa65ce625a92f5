//! How old the last proof of each source is.

use crate::{
    ops::OpsError,
    record::Timestamp,
    repo::{
        Repository, Snapshot,
        drills::{DrillName, KeptDrill},
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

/// Reads the newest reports of every source.
///
/// # Errors
/// [`OpsError`] if the place cannot be read. Damaged reports prove nothing and are passed over.
pub fn proofs(repo: &Repository) -> Result<Proofs, OpsError> {
    let place = repo.place_hash();
    let has_proof = |kept: &[KeptDrill]| kept.iter().any(|kept| kept.report.passed && kept.report.location == place);
    let kept = repo.newest_drills(MOST, &has_proof)?.kept;
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
