//! Restores: started, looked at, listed, canceled.

use super::{
    App,
    answer::{Body, Path, Question, Refusal},
    may, may_routine, may_routine_of,
};
use crate::{
    record::Timestamp,
    service::{
        Service, ServiceError,
        job::{JobState, NewJob, Work},
        keys::{Caller, Scope},
        reach::may_write,
        restore::{RestorePlan, RestoreRequest, RestoreTimestampRequest, shown},
        standing::RestoreJobStatus,
    },
};
use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::IntoParams;

/// Refuses what is not a caller's before anything of it is told.
fn check_own(service: &Service, caller: &Caller, routine: &str) -> Result<(), ServiceError> {
    let config = service.config();
    let tenant = config.routines.get(routine).and_then(|routine| routine.tenant.as_deref());
    if caller.may_routine(routine, tenant) {
        return Ok(());
    }
    Err(ServiceError::NotFound { what: "routine", name: routine.to_owned() })
}

fn begin(
    service: &Arc<Service>,
    caller: &Caller,
    plan: RestorePlan,
    routine: String,
    request: Value,
) -> Result<i64, ServiceError> {
    let config = service.config();
    let tenant = config.routines.get(&routine).and_then(|routine| routine.tenant.clone());
    if !may_write(&config, caller, &plan.target) {
        let words = format!("the key `{}` may restore into what its own routines read, and not there", caller.name);
        return Err(ServiceError::Forbidden(words));
    }
    let work = Work::Restore { routine: Some(routine), request };
    let new = NewJob { work, tenant, by: caller.name.to_string(), due: None };
    Ok(service.submit(&new, service.now(), false, Some(plan))?.id())
}

async fn by_path(
    app: App,
    caller: Caller,
    request: RestoreRequest,
    full: bool,
) -> Result<(StatusCode, Json<i64>), Refusal> {
    may(&caller, Scope::Restore)?;
    let id = app.wait(move |service| {
        let of_path = request.backup_data_path.trim_matches('/').split('/').next().unwrap_or_default();
        check_own(service, &caller, of_path)?;
        let (plan, routine) = service.plan_restore(&request, full)?;
        begin(service, &caller, plan, routine, shown(&request))
    });
    Ok((StatusCode::ACCEPTED, Json(id.await?)))
}

/// Restores a full backup
#[utoipa::path(post, path = "/v1/restore/full", tag = "Restore", request_body = RestoreRequest, responses(
    (status = 202, description = "The job's number", body = i64),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such backup", body = Refusal),
    (status = 409, description = "Another restore goes there", body = Refusal),
    (status = 503, description = "The repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn full(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<RestoreRequest>,
) -> Result<(StatusCode, Json<i64>), Refusal> {
    by_path(app, caller, request, true).await
}

/// Restores an incremental backup: here that is the whole state at its end
#[utoipa::path(post, path = "/v1/restore/incremental", tag = "Restore", request_body = RestoreRequest, responses(
    (status = 202, description = "The job's number", body = i64),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such backup", body = Refusal),
    (status = 409, description = "Another restore goes there", body = Refusal),
    (status = 503, description = "The repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn incremental(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<RestoreRequest>,
) -> Result<(StatusCode, Json<i64>), Refusal> {
    by_path(app, caller, request, false).await
}

/// Restores a routine as of a time
#[utoipa::path(post, path = "/v1/restore/timestamp", tag = "Restore", request_body = RestoreTimestampRequest, responses(
    (status = 202, description = "The job's number", body = i64),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such backup", body = Refusal),
    (status = 409, description = "Another restore goes there", body = Refusal),
    (status = 503, description = "The repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn as_of(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<RestoreTimestampRequest>,
) -> Result<(StatusCode, Json<i64>), Refusal> {
    may(&caller, Scope::Restore)?;
    let id = app.wait(move |service| {
        check_own(service, &caller, &request.routine)?;
        let plan = service.plan_restore_as_of(&request, false)?;
        begin(service, &caller, plan, request.routine.clone(), shown(&request))
    });
    Ok((StatusCode::ACCEPTED, Json(id.await?)))
}

fn no_job(id: i64) -> Refusal {
    Refusal::not_found(format!("there is no restore {id}"))
}

/// Says how far a restore is
#[utoipa::path(get, path = "/v1/restore/status/{jobId}", tag = "Restore",
    params(("jobId" = i64, Path, description = "The job's number")), responses(
    (status = 200, description = "How far it is", body = RestoreJobStatus),
    (status = 400, description = "It is no number", body = Refusal),
    (status = 404, description = "There is no such job", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn status(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<Json<RestoreJobStatus>, Refusal> {
    may(&caller, Scope::Read)?;
    let found = app.wait(move |service| service.restore_status(id)).await?;
    let found = found.filter(|(job, _)| may_routine_of(&caller, job.work.routine(), job.tenant.as_deref()));
    found.map(|(_, status)| Json(status)).ok_or_else(|| no_job(id))
}

/// Which restores.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Asked for at or after this, in milliseconds since 1970.
    from: Option<i64>,
    /// Asked for at or before this, in milliseconds since 1970.
    to: Option<i64>,
    /// Only in these states: `running,success`; or all but these: `!failure`. The names of version 3.5 and before (`Done`, `Failed`)
    /// are taken, too.
    status: Option<String>,
}

/// States by the backup service's names, those too that it had up to version 3.5.
fn states(text: &str) -> Result<Vec<JobState>, Refusal> {
    let of = |name: &str| -> Result<Vec<JobState>, Refusal> {
        let lower = name.trim().to_ascii_lowercase();
        let now = match lower.as_str() {
            "done" => "success",
            "failed" => "failure",
            other => other,
        };
        let found: Vec<JobState> = JobState::ALL.into_iter().filter(|state| state.of_service() == now).collect();
        if found.is_empty() {
            return Err(Refusal::invalid(format!("status: `{name}` is none of running, success, failure, canceled")));
        }
        Ok(found)
    };
    if let Some(others) = text.strip_prefix('!') {
        let mut without = Vec::new();
        for name in others.split(',') {
            without.extend(of(name.trim_start_matches('!'))?);
        }
        return Ok(JobState::ALL.into_iter().filter(|state| !without.contains(state)).collect());
    }
    let mut all = Vec::new();
    for name in text.split(',') {
        all.extend(of(name)?);
    }
    Ok(all)
}

/// Lists restores, the newest thousand
#[utoipa::path(get, path = "/v1/restore/jobs", tag = "Restore", params(Which), responses(
    (status = 200, description = "By number", body = BTreeMap<String, RestoreJobStatus>),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn jobs(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Question(which): Question<Which>,
) -> Result<Json<BTreeMap<String, RestoreJobStatus>>, Refusal> {
    may(&caller, Scope::Read)?;
    let states = which.status.as_deref().filter(|text| !text.is_empty()).map(states).transpose()?;
    // All but every one is none; to the state no state at all means any.
    let is_none = states.as_ref().is_some_and(Vec::is_empty);
    let states = states.unwrap_or_default();
    let time = |millis: Option<i64>| match millis {
        Some(millis) if millis < 0 => Err(Refusal::invalid("times are milliseconds since 1970, and not below 0")),
        millis => Ok(millis.map(Timestamp::from_millis)),
    };
    let (from, to) = (time(which.from)?, time(which.to)?);
    if is_none {
        return Ok(Json(BTreeMap::new()));
    }
    let asks = caller.clone();
    let found = app.wait(move |service| service.restores(&asks, from, to, states)).await?;
    let own =
        found.into_iter().filter(|(_, (job, _))| may_routine_of(&caller, job.work.routine(), job.tenant.as_deref()));
    Ok(Json(own.map(|(id, (_, status))| (id.to_string(), status)).collect()))
}

/// Cancels a restore: what it has written stays
#[utoipa::path(post, path = "/v1/restore/cancel/{jobId}", tag = "Restore",
    params(("jobId" = i64, Path, description = "The job's number")), responses(
    (status = 202, description = "It ends where that is safe"),
    (status = 400, description = "It is no number", body = Refusal),
    (status = 404, description = "There is no such job", body = Refusal),
    (status = 409, description = "It is over", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<StatusCode, Refusal> {
    may(&caller, Scope::Restore)?;
    let found = app.wait(move |service| service.restore_status(id)).await?;
    let found = found.filter(|(job, _)| may_routine_of(&caller, job.work.routine(), job.tenant.as_deref()));
    if found.is_none() {
        return Err(no_job(id));
    }
    if app.wait(move |service| service.cancel(id)).await? {
        Ok(StatusCode::ACCEPTED)
    } else {
        Err(ServiceError::Conflict(format!("the restore {id} is over")).into())
    }
}

/// Gives the configuration of the cluster that a backup holds: a file for every node, in an archive
#[utoipa::path(get, path = "/v1/retrieve/configuration/{name}/{timestamp}", tag = "Restore",
    params(("name" = String, Path, description = "The routine"), ("timestamp" = i64, Path, description = "When the backup began, in milliseconds")), responses(
    (status = 200, description = "A zip archive of aerospike_0.conf and so on", body = Vec<u8>, content_type = "application/zip"),
    (status = 400, description = "It is no time", body = Refusal),
    (status = 404, description = "There is no such backup, or it holds none", body = Refusal),
    (status = 503, description = "The repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn configuration(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((name, time)): Path<(String, i64)>,
) -> Result<Response, Refusal> {
    may(&caller, Scope::Read)?;
    may_routine(&caller, &app.service.config(), &name)?;
    let archive = app.wait(move |service| service.configuration_of(&name, Timestamp::from_millis(time))).await?;
    let head = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"configuration.zip\""),
    ];
    Ok((head, archive).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_of_each_version() {
        let of = |text: &str| states(text).map_err(|refusal| refusal.error);
        assert_eq!(of("Done, Failed").unwrap(), [JobState::Success, JobState::Incomplete, JobState::Failure]);
        assert_eq!(of("success,failure"), of("DONE,failed"));
        assert_eq!(of("Running").unwrap(), [JobState::Queued, JobState::Running]);
        assert_eq!(of("Canceled"), of("canceled"));
        assert_eq!(of("!done,!failed,!running,!canceled").unwrap(), []);
        for wrong in ["", "finished", "done;failed", "done,", "!"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
