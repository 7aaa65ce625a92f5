//! What reports of drills in repositories prove, whoever drilled: this service, another one, or the command. Each report is read
//! once.

use super::{
    Service, ServiceError,
    briefs::ByRoutine,
    config::Config,
    state::Proof,
    survey::{place_name, words_of},
    tags,
};
use crate::{
    ops::OpsError,
    repo::{RepoError, RepoId, Repository, drills::DrillName},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Reports of a source that are read at most for its last proofs.
const MOST: usize = 50;

/// How often repositories are looked at again for whoever asks for metrics.
const EVERY: Duration = Duration::from_mins(1);

/// What a report says here.
#[derive(Debug, Clone, Default)]
struct Read {
    /// Connector and name.
    source: String,
    /// Whose snapshot was proved, and when; nothing if it proves nothing of this place.
    proof: Option<(String, Proof)>,
}

/// What is known of a place.
#[derive(Default)]
struct Known {
    repo: Option<RepoId>,
    reports: HashMap<DrillName, Read>,
    proofs: HashMap<String, Proof>,
}

/// Of all places that somebody looked at, by their names.
#[derive(Default)]
pub(super) struct Reported {
    known: Mutex<BTreeMap<String, Known>>,
    looked: Mutex<Option<Instant>>,
    /// How often a proof came.
    changes: AtomicU64,
}

impl Reported {
    /// Reads the reports that came, of each source until all its routines are proved.
    pub(super) fn look(&self, place: &str, repo: &Repository, routines: &ByRoutine) -> Result<(), OpsError> {
        let mut series: BTreeMap<[u8; 16], Vec<DrillName>> = BTreeMap::new();
        for name in repo.drill_names()? {
            series.entry(name.series).or_default().push(name);
        }
        let mut of_source: HashMap<&str, Vec<&str>> = HashMap::new();
        for (routine, briefs) in routines {
            let sources: HashSet<&str> = briefs.iter().map(|brief| brief.candidate.source.as_str()).collect();
            for source in sources {
                of_source.entry(source).or_default().push(routine);
            }
        }
        let before = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let its = known.get(place).filter(|known| known.repo == Some(repo.id()));
            its.map(|known| known.reports.clone()).unwrap_or_default()
        };
        let (mut reports, mut proofs) = (HashMap::new(), HashMap::<String, Proof>::new());
        for names in series.into_values() {
            let mut open: Option<HashSet<&str>> = None;
            for name in names.into_iter().rev().take(MOST) {
                let read = match before.get(&name) {
                    Some(read) => read.clone(),
                    None => match read_one(repo, name)? {
                        Some(read) => read,
                        None => continue,
                    },
                };
                let its = || of_source.get(read.source.as_str()).into_iter().flatten().copied().collect();
                let open = open.get_or_insert_with(its);
                if let Some((routine, proof)) = &read.proof {
                    open.remove(routine.as_str());
                    let newest = proofs.entry(routine.clone()).or_insert(*proof);
                    if newest.finished < proof.finished {
                        *newest = *proof;
                    }
                }
                let is_done = open.is_empty();
                reports.insert(name, read);
                if is_done {
                    break;
                }
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.entry(place.to_owned()).or_default();
        if own.proofs != proofs {
            self.changes.fetch_add(1, Ordering::Release);
        }
        *own = Known { repo: Some(repo.id()), reports, proofs };
        Ok(())
    }

    fn last(&self, place: &str, routine: &str) -> Option<Proof> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(place)?.proofs.get(routine).copied()
    }

    /// How often a proof came since the service began.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether it is time to look again.
    fn is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked.is_none_or(|looked| looked.elapsed() >= EVERY);
        if is_due {
            *looked = Some(Instant::now());
        }
        is_due
    }
}

/// What one report says; nothing if it went meanwhile.
fn read_one(repo: &Repository, name: DrillName) -> Result<Option<Read>, OpsError> {
    let report = match repo.drill(name) {
        Ok(kept) => kept.report,
        Err(RepoError::Missing { .. }) => return Ok(None),
        Err(error) if error.is_bad_object() => return Ok(Some(Read::default())),
        Err(error) => return Err(error.into()),
    };
    let seconds = (report.finished.as_millis() - report.started.as_millis()).max(0) as f64 / 1000.0;
    let proof = Proof { finished: report.finished, seconds };
    // A report that came along with copied files proves the place that it was written at.
    let is_proof = report.passed && report.location == repo.place_hash();
    let routine = tags::routine_of(&report.tags).filter(|_| is_proof).map(str::to_owned);
    let source = format!("{}:{}", report.source.connector, report.source.name);
    Ok(Some(Read { source, proof: routine.map(|routine| (routine, proof)) }))
}

impl Service {
    /// When it was last shown that everything a routine backed up can be had back: by a job of this service, or by a report of a
    /// drill in the repository, as far as somebody looked there.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn proved(&self, config: &Config, routine: &str) -> Result<Option<Proof>, ServiceError> {
        let own = self.state.proofs()?.get(routine).copied();
        let of = config.routines.get(routine);
        let reported = of.and_then(|of| self.reported.last(&words_of(&place_name(of)), routine));
        let both = own.into_iter().chain(reported);
        Ok(both.max_by(|one, other| one.finished.cmp(&other.finished)))
    }

    /// Looks for reports in the repositories that are open, beside whoever asked: what is found is told next time.
    pub(super) fn look_for_reports(self: &Arc<Self>) {
        if !self.reported.is_due() {
            return;
        }
        let service = Arc::clone(self);
        std::thread::spawn(move || {
            for (place, repo) in service.places.those_open() {
                let listed = service.briefs.of(&place, &repo);
                if let Err(error) = listed.and_then(|listed| service.reported.look(&place, &repo, &listed.by_routine)) {
                    tracing::warn!(repository = %place, "its reports of drills were not looked at: {error}");
                }
            }
        });
    }
}
