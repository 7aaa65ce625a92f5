//! Claims of runs that are due by schedule: of several services with one routine and one repository one runs it.

use super::{
    Service,
    config::{Config, Routine, hidden_url, hide, lean},
    job::{StoredJob, Work},
    sources::urls,
};
use crate::{
    ops::{OpsError, Progress},
    repo::{
        Repository,
        claims::{ClaimBody, Claimed},
    },
    report::{ErrorKind, WarningKind},
};
use serde_json::json;

/// What of a routine a job runs, if it is of a schedule: the run of another one that reads something else stands for none of it.
fn schedule(config: &Config, routine: &Routine, job: &StoredJob, host: &str) -> Option<String> {
    let kind = match &job.work {
        Work::Backup { .. } => job.work.kind(),
        Work::Drill { .. } => "drill",
        _ => return None,
    };
    Some(format!("{}\0{kind}\0{}", job.work.routine()?, what_is_read(config, routine, host)))
}

/// What a routine reads, as it is configured, without secrets; in the same words wherever it is configured in the same way.
fn what_is_read(config: &Config, routine: &Routine, host: &str) -> String {
    let mut urls: Vec<String> = urls(config, routine).iter().map(|url| hidden_url(url)).collect();
    urls.sort_unstable();
    // What has no host in its address is this host's, unless it bears a name.
    let is_local = routine.source_name.is_none() && urls.iter().any(|url| !url.contains("://"));
    let mut options = lean(&routine.source_options);
    hide(&mut options);
    let read = json!({
        "source": routine.source_name.as_ref().map_or_else(|| json!(urls), |name| json!(name)),
        "host": is_local.then_some(host),
        "options": options,
        "namespaces": routine.namespaces,
        "sets": routine.set_list,
        "bins": routine.bin_list,
        "nodes": routine.node_list,
        "racks": routine.rack_list,
        "partitions": routine.partition_list,
        "filter": routine.filter_exp,
    });
    lean(&read).to_string()
}

/// Claims a job that is due by schedule; gives in words why it is not to run.
pub(super) fn taken(
    service: &Service,
    (config, routine): (&Config, &Routine),
    repo: &Repository,
    job: &StoredJob,
    progress: &dyn Progress,
) -> Result<Option<String>, OpsError> {
    let (Some(due), Some(schedule)) = (job.due, schedule(config, routine, job, repo.host())) else { return Ok(None) };
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
