//! The paths of disaster recovery guides: `/api/v1/backups`, and jobs of every kind.

use super::{
    App,
    answer::{Body, Path, Question, Refusal, unread_heads},
    may, may_routine_of,
};
use crate::{
    record::Timestamp,
    service::{
        job::StoredJob,
        keys::{Caller, Scope},
        recovery::{Backup, CreateBackup, Known, RestoreBackup, STATUSES, TYPES},
        survey::Unread,
    },
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

/// Starts a backup of datasets, which are routines
#[utoipa::path(post, path = "/api/v1/backups", tag = "Disaster recovery", request_body = CreateBackup,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same backup")), responses(
    (status = 202, description = "It will run: its `backup_id`", body = Object),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such dataset", body = Refusal),
    (status = 409, description = "The key was given with another request", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(request): Body<CreateBackup>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    may(&caller, Scope::Backup)?;
    let once = match headers.get("idempotency-key").map(|value| value.to_str()) {
        None => None,
        Some(Ok(key)) if !key.is_empty() && key.len() <= 200 => Some(key.to_owned()),
        Some(_) => return Err(Refusal::invalid("Idempotency-Key: 1 to 200 printable characters")),
    };
    let id = app.wait(move |service| service.create_backup(&caller, &request, once.as_deref())).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "backup_id": id, "status": "queued" }))))
}

/// Which backups.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[expect(clippy::struct_field_names, reason = "as the guides call it")]
pub(super) struct Page {
    /// At most so many; 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Where the page before ended.
    page_token: Option<String>,
    /// Only of this type.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Only in this state.
    status: Option<String>,
}

/// A page of backups.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as the guides call it")]
pub(super) struct Backups {
    /// The newest first.
    pub(super) backups: Vec<Backup>,
    /// Where the next page begins, if there is one.
    pub(super) next_page_token: Option<String>,
    /// How many there are in all.
    pub(super) total: usize,
    /// Repositories that could not be read: what is there is not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unreadable: Vec<Unread>,
}

/// Lists backups, the newest first
#[utoipa::path(get, path = "/api/v1/backups", tag = "Disaster recovery", params(Page), responses(
    (status = 200, description = "A page of them", body = Backups),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 503, description = "A repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Question(page): Question<Page>,
) -> Result<Json<Backups>, Refusal> {
    may(&caller, Scope::Read)?;
    let limit = page.limit.unwrap_or(50);
    if !(1..=1000).contains(&limit) {
        return Err(Refusal::invalid("limit is from 1 to 1000"));
    }
    // What is misspelt would be found nowhere.
    for (name, said, known) in [("type", &page.kind, &TYPES[..]), ("status", &page.status, &STATUSES)] {
        if let Some(said) = said.as_deref().filter(|said| !known.contains(said)) {
            return Err(Refusal::invalid(format!("{name} `{said}` is none of {}", known.join(", "))));
        }
    }
    let wrong = || Refusal::invalid("page_token is none that was given");
    let behind = page.page_token.as_deref().map(|token| token.split_once('-').ok_or_else(wrong)).transpose()?;
    let behind =
        behind.map(|(millis, id)| Ok::<_, Refusal>((millis.parse::<i64>().map_err(|_| wrong())?, id.to_owned())));
    let behind = behind.transpose()?;
    app.wait(move |service| {
        let Known { all, unread } = service.all_backups(&caller)?;
        let is_meant = |backup: &&Backup| {
            page.kind.as_ref().is_none_or(|kind| *kind == backup.kind)
                && page.status.as_ref().is_none_or(|status| status == backup.status)
        };
        let total = all.iter().filter(is_meant).count();
        // The newest come first.
        let from = behind.map_or(0, |(millis, id)| {
            let last = (Timestamp::from_millis(millis), id);
            all.partition_point(|backup| (backup.at, &backup.backup_id) >= (last.0, &last.1))
        });
        let mut rest = all[from..].iter().filter(is_meant);
        let shown: Vec<&Backup> = rest.by_ref().take(limit as usize).collect();
        let token = |backup: &&Backup| format!("{}-{}", backup.at.as_millis(), backup.backup_id);
        let next_page_token = shown.last().filter(|_| rest.next().is_some()).map(token);
        let backups = shown.into_iter().map(|backup| backup.clone().told()).collect();
        Ok(Backups { backups, next_page_token, total, unreadable: unread })
    })
    .await
    .map(Json)
}

/// Shows a backup
#[utoipa::path(get, path = "/api/v1/backups/{backup_id}", tag = "Disaster recovery",
    params(("backup_id" = String, Path, description = "The backup")), responses(
    (status = 200, description = "It", body = Backup),
    (status = 404, description = "There is none", body = Refusal),
    (status = 503, description = "A repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<(HeaderMap, Json<Backup>), Refusal> {
    may(&caller, Scope::Read)?;
    let (backup, unread) = app.wait(move |service| service.one_backup(&caller, &id)).await?;
    Ok((unread_heads(&unread), Json(backup)))
}

/// Restores the datasets of a backup, each by a job of its own
#[utoipa::path(post, path = "/api/v1/backups/{backup_id}/restore", tag = "Disaster recovery",
    params(("backup_id" = String, Path, description = "The backup")), request_body = RestoreBackup, responses(
    (status = 202, description = "The datasets with their jobs, or with the conflict that keeps one out", body = Object),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such backup or dataset", body = Refusal),
    (status = 503, description = "A repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn restore(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(request): Body<RestoreBackup>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    may(&caller, Scope::Restore)?;
    let started = app.wait(move |service| service.restore_backup(&caller, &id, &request)).await?;
    Ok((StatusCode::ACCEPTED, Json(started)))
}

/// Forgets a backup; its space comes back with the next prune
#[utoipa::path(delete, path = "/api/v1/backups/{backup_id}", tag = "Disaster recovery",
    params(("backup_id" = String, Path, description = "The backup")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is none", body = Refusal),
    (status = 409, description = "It is held, locked, or the last of its source", body = Refusal),
    (status = 503, description = "A repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    may(&caller, Scope::Delete)?;
    app.wait(move |service| service.delete_backup(&caller, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct JobView {
    id: i64,
    verb: &'static str,
    routine: Option<String>,
    #[schema(value_type = String)]
    state: &'static str,
    by: String,
    created: String,
    due: Option<String>,
    started: Option<String>,
    finished: Option<String>,
    attempts: u32,
    error: Option<String>,
    error_kind: Option<String>,
    #[schema(value_type = Option<Object>)]
    result: Value,
}

fn view(job: StoredJob) -> JobView {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    JobView {
        id: job.id,
        verb: job.work.verb(),
        routine: job.work.routine().map(str::to_owned),
        state: job.state.as_str(),
        by: job.by,
        created: job.created.to_string(),
        due: time(job.due),
        started: time(job.started),
        finished: time(job.finished),
        attempts: job.attempts,
        error: job.error,
        error_kind: job.error_kind,
        result: job.result,
    }
}

/// Shows a job of any kind, with all that came of it
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "Job", params(("id" = i64, Path, description = "Its number")), responses(
    (status = 200, description = "It", body = JobView),
    (status = 400, description = "It is no number", body = Refusal),
    (status = 404, description = "There is none", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn job(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<Json<JobView>, Refusal> {
    may(&caller, Scope::Read)?;
    let found = app.wait(move |service| service.job(id)).await?;
    let found = found.filter(|job| may_routine_of(&caller, job.work.routine(), job.tenant.as_deref()));
    found.map(|job| Json(view(job))).ok_or_else(|| Refusal::not_found(format!("there is no job {id}")))
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichJobs {
    /// Only of this routine.
    routine: Option<String>,
    /// Only those with numbers below this one: where the page before ended.
    before: Option<i64>,
}

/// Lists jobs of any kind, the newest hundred
#[utoipa::path(get, path = "/api/v1/jobs", tag = "Job", params(WhichJobs), responses(
    (status = 200, description = "The newest first", body = Vec<JobView>),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn jobs(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Question(which): Question<WhichJobs>,
) -> Result<Json<Vec<JobView>>, Refusal> {
    may(&caller, Scope::Read)?;
    let found = app.wait(move |service| {
        let found = service.jobs(&caller, which.routine, which.before)?;
        let is_own = |job: &StoredJob| may_routine_of(&caller, job.work.routine(), job.tenant.as_deref());
        Ok(found.into_iter().filter(is_own).collect::<Vec<_>>())
    });
    Ok(Json(found.await?.into_iter().map(view).collect()))
}
