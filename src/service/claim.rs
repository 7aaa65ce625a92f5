//! Claims of runs that are due by schedule: of several services with one routine and one repository one runs it.

use super::{
    Service,
    job::{StoredJob, Work},
};
use crate::{
    ops::{OpsError, Progress},
    repo::{
        Repository,
        claims::{ClaimBody, Claimed},
    },
    report::{ErrorKind, WarningKind},
};

/// What of a routine a job runs, if it is of a schedule.
fn schedule(job: &StoredJob) -> Option<String> {
    let kind = match &job.work {
        Work::Backup { .. } => job.work.kind(),
        Work::Drill { .. } => "drill",
        _ => return None,
    };
    Some(format!("{}\0{kind}", job.work.routine()?))
}

/// Claims a job that is due by schedule; gives in words why it is not to run.
pub(super) fn taken(
    service: &Service,
    repo: &Repository,
    job: &StoredJob,
    progress: &dyn Progress,
) -> Result<Option<String>, OpsError> {
    let (Some(due), Some(schedule)) = (job.due, schedule(job)) else { return Ok(None) };
    let identity = service.state.identity();
    let identity = identity.map_err(|error| OpsError::refused(ErrorKind::Io, error.to_string()))?;
    let due = u64::try_from(due.as_millis()).unwrap_or(0);
    let is_own = |claim: &ClaimBody| claim.by.rsplit_once('/').is_some_and(|(own, _)| own == identity);
    Ok(match repo.claim(&schedule, due, &format!("{identity}/{}", job.id))? {
        Claimed::Ours => None,
        // This time, or a later one, was due before: the clock was set back since, and what is due now is another run. Of others
        // each finds that it was overtaken by us.
        Claimed::Theirs(claim) | Claimed::Overtaken(Some(claim)) if is_own(&claim) => None,
        Claimed::Theirs(theirs) => Some(format!("another service runs it, on host {}", theirs.host)),
        Claimed::Overtaken(_) => Some("another service has run a later one already".to_owned()),
        Claimed::Unclear(words) => {
            let words = format!("whether another service runs it cannot be told, so it is run: {words}");
            progress.warn(WarningKind::Note, job.work.routine().unwrap_or_default(), words);
            None
        }
    })
}
