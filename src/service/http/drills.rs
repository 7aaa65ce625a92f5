//! Drills: begun, and their reports.

use super::{
    App,
    answer::{Path, Question, Refusal},
    may, may_routine, may_routine_of,
};
use crate::{
    ops::drill::page,
    repo::drills::{DrillName, KeptDrill},
    service::{
        ServiceError,
        job::{NewJob, Work},
        keys::{Caller, Scope},
        proof::{routine_of, tenant_of},
    },
};
use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

/// Reports that are listed at most.
const MOST: usize = 1000;

/// Which reports.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only of this routine.
    routine: Option<String>,
    /// At most so many; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Reports, and what was met while they were read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reports {
    /// The newest first.
    #[schema(value_type = Vec<Object>)]
    reports: Vec<Value>,
    /// Damaged reports, in words.
    problems: Vec<String>,
}

/// A job that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Begun {
    /// Its number.
    job: i64,
}

/// A report as it is shown.
fn shown(kept: &KeptDrill) -> Value {
    let mut value = json!(kept.report);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("report".to_owned(), json!(kept.name));
        fields.insert("hash".to_owned(), json!(kept.hash));
    }
    value
}

/// Restores the newest backup of a routine to a place that nobody needs, and looks at it
#[utoipa::path(post, path = "/v1/drills/{name}", tag = "Drill",
    params(("name" = String, Path, description = "The routine")), responses(
    (status = 202, description = "It will run", body = Begun),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 503, description = "The service is stopping", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Begun>), Refusal> {
    may(&caller, Scope::Restore)?;
    may_routine(&caller, &app.service.config(), &name)?;
    let begun = app.wait(move |service| {
        let config = service.config();
        let routine = config.routines.get(&name);
        let routine = routine.ok_or_else(|| ServiceError::NotFound { what: "routine", name: name.clone() })?;
        let work = Work::Drill { routine: name.clone() };
        let new = NewJob { work, tenant: routine.tenant.clone(), by: caller.name.to_string(), due: None };
        service.submit(&new, service.now(), false, None).map(|submitted| Begun { job: submitted.id() })
    });
    Ok((StatusCode::ACCEPTED, Json(begun.await?)))
}

/// Lists the reports of drills
#[utoipa::path(get, path = "/v1/drills", tag = "Drill", params(Which), responses(
    (status = 200, description = "The reports", body = Reports),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 503, description = "A repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Question(which): Question<Which>,
) -> Result<Json<Reports>, Refusal> {
    may(&caller, Scope::Read)?;
    let limit = which.limit.unwrap_or(100);
    if !(1..=MOST).contains(&limit) {
        return Err(Refusal::invalid("limit is from 1 to 1000"));
    }
    if let Some(routine) = &which.routine {
        may_routine(&caller, &app.service.config(), routine)?;
    }
    let found = app.wait(move |service| {
        let found = service.drills(which.routine.as_deref())?;
        let its = |kept: &&KeptDrill| may_routine_of(&caller, routine_of(kept), tenant_of(kept));
        let reports = found.kept.iter().filter(its).take(limit).map(shown).collect();
        // What cannot be read may be anybody's.
        let problems = if caller.may_all_routines() { found.problems } else { Vec::new() };
        Ok(Reports { reports, problems })
    });
    found.await.map(Json)
}

async fn find(
    app: &App,
    caller: Caller,
    series: &str,
    number: &str,
) -> Result<(crate::repo::RepoId, KeptDrill), Refusal> {
    let name: DrillName = format!("{series}/{number}").parse().map_err(Refusal::invalid)?;
    app.wait(move |service| {
        let (repo, kept) = service.drill_report(name)?;
        if may_routine_of(&caller, routine_of(&kept), tenant_of(&kept)) {
            return Ok((repo.id(), kept));
        }
        Err(ServiceError::NotFound { what: "report", name: name.to_string() })
    })
    .await
}

/// Shows the report of a drill
#[utoipa::path(get, path = "/v1/drills/{series}/{number}", tag = "Drill",
    params(("series" = String, Path, description = "What all reports of a source have in common"),
        ("number" = u64, Path, description = "Its number")), responses(
    (status = 200, description = "The report", body = Object),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such report", body = Refusal),
    (status = 500, description = "It is damaged", body = Refusal),
    (status = 503, description = "A repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn report(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((series, number)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    may(&caller, Scope::Read)?;
    Ok(Json(shown(&find(&app, caller, &series, &number).await?.1)))
}

/// Gives the report of a drill as a page to print
#[utoipa::path(get, path = "/v1/drills/{series}/{number}/page", tag = "Drill",
    params(("series" = String, Path, description = "What all reports of a source have in common"),
        ("number" = u64, Path, description = "Its number")), responses(
    (status = 200, description = "The page", body = String, content_type = "text/html"),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such report", body = Refusal),
    (status = 500, description = "It is damaged", body = Refusal),
    (status = 503, description = "A repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn printed(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((series, number)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    may(&caller, Scope::Read)?;
    let (repository, kept) = find(&app, caller, &series, &number).await?;
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let heads = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
    Ok((heads, page(&repository, &kept, &[])).into_response())
}
