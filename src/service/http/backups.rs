//! Backups: started, listed, looked at while they run, canceled.

use super::{
    App,
    answer::{Path, Question, Refusal, unread_heads},
    may, may_routine,
};
use crate::{
    record::Timestamp,
    service::{
        ServiceError,
        details::{BackupDetails, Within},
        job::{NewJob, Work},
        keys::{Caller, Scope},
        standing::RoutineState,
    },
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::IntoParams;

/// Backups by routine.
type ByRoutine = BTreeMap<String, Vec<BackupDetails>>;

/// When to begin, and what to accept.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[into_params(parameter_in = Query)]
pub(super) struct Delay {
    /// So many milliseconds from now.
    #[param(minimum = 0, maximum = 31_536_000_000_i64)]
    delay: Option<i64>,
    /// That most of what the source held is gone is true: it is backed up as it is, until it grows again.
    #[serde(default)]
    accept_deletions: bool,
}

/// A range of time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Range {
    /// Begun at or after this, in milliseconds since 1970.
    from: Option<i64>,
    /// Begun at or before this, in milliseconds since 1970.
    to: Option<i64>,
}

impl Range {
    fn within(&self) -> Result<Within, Refusal> {
        let (from, to) = self.ends()?;
        Ok(Within { from, to })
    }

    /// The two ends.
    pub(super) fn ends(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), Refusal> {
        let end = |millis: Option<i64>| match millis {
            Some(millis) if millis < 0 => Err(Refusal::invalid("times are milliseconds since 1970, and not below 0")),
            millis => Ok(millis.map(Timestamp::from_millis)),
        };
        let (from, to) = (end(self.from)?, end(self.to)?);
        match (from, to) {
            (Some(from), Some(to)) if from > to => Err(Refusal::invalid("from lies behind to")),
            ends => Ok(ends),
        }
    }
}

/// The longest that a backup may be put off: a year.
const MAX_DELAY_MILLIS: i64 = 31_536_000_000;

async fn start(app: App, caller: Caller, name: String, delay: Delay, full: bool) -> Result<StatusCode, Refusal> {
    may(&caller, Scope::Backup)?;
    may_routine(&caller, &app.service.config(), &name)?;
    let accept = delay.accept_deletions;
    let delay = delay.delay.unwrap_or(0);
    if !(0..=MAX_DELAY_MILLIS).contains(&delay) {
        return Err(Refusal::invalid("delay is milliseconds, from 0 to a year"));
    }
    app.wait(move |service| {
        let config = service.config();
        let routine = config.routines.get(&name);
        let routine = routine.ok_or_else(|| ServiceError::NotFound { what: "routine", name: name.clone() })?;
        let mut work = Work::backup(&name, full);
        if let Work::Backup { accept_deletions, .. } = &mut work {
            *accept_deletions = accept;
        }
        let new = NewJob { work, tenant: routine.tenant.clone(), by: caller.name.to_string(), due: None };
        let begin = Timestamp::from_millis(service.now().as_millis() + delay);
        service.submit(&new, begin, false, None).map(drop)
    })
    .await?;
    Ok(StatusCode::ACCEPTED)
}

/// Starts a full backup of a routine
#[utoipa::path(post, path = "/v1/backups/full/{name}", tag = "Backup",
    params(("name" = String, Path, description = "The routine"), Delay), responses(
    (status = 202, description = "It will run"), (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn start_full(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Question(delay): Question<Delay>,
) -> Result<StatusCode, Refusal> {
    start(app, caller, name, delay, true).await
}

/// Starts an incremental backup of a routine
#[utoipa::path(post, path = "/v1/backups/incremental/{name}", tag = "Backup",
    params(("name" = String, Path, description = "The routine"), Delay), responses(
    (status = 202, description = "It will run"), (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn start_incremental(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Question(delay): Question<Delay>,
) -> Result<StatusCode, Refusal> {
    start(app, caller, name, delay, false).await
}

/// Starts a full backup of a routine, by its old name
#[utoipa::path(post, path = "/v1/backups/schedule/{name}", tag = "Backup",
    params(("name" = String, Path, description = "The routine"), Delay), responses(
    (status = 202, description = "It will run"), (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn start_scheduled(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Question(delay): Question<Delay>,
) -> Result<StatusCode, Refusal> {
    start(app, caller, name, delay, true).await
}

async fn all(app: App, caller: Caller, range: Range, full: bool) -> Result<(HeaderMap, Json<ByRoutine>), Refusal> {
    may(&caller, Scope::Read)?;
    let within = range.within()?;
    let (all, unread) = app.wait(move |service| service.all_lists(&caller, full, within)).await?;
    Ok((unread_heads(&unread), Json(all)))
}

async fn of_one(
    app: App,
    caller: Caller,
    name: String,
    range: Range,
    full: bool,
) -> Result<Json<Vec<BackupDetails>>, Refusal> {
    may(&caller, Scope::Read)?;
    may_routine(&caller, &app.service.config(), &name)?;
    let within = range.within()?;
    app.wait(move |service| service.backups(&name, full, within)).await.map(Json)
}

/// Lists the full backups of all routines
#[utoipa::path(get, path = "/v1/backups/full", tag = "Backup", params(Range), responses(
    (status = 200, description = "By routine; routines of a repository that cannot be read now are left out, and it is named",
        body = BTreeMap<String, Vec<BackupDetails>>,
        headers(("rekeep-unreadable" = String, description = "A repository that cannot be read now, and why"))),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 503, description = "No repository can be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn all_full(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Question(range): Question<Range>,
) -> Result<(HeaderMap, Json<ByRoutine>), Refusal> {
    all(app, caller, range, true).await
}

/// Lists the incremental backups of all routines
#[utoipa::path(get, path = "/v1/backups/incremental", tag = "Backup", params(Range), responses(
    (status = 200, description = "By routine; routines of a repository that cannot be read now are left out, and it is named",
        body = BTreeMap<String, Vec<BackupDetails>>,
        headers(("rekeep-unreadable" = String, description = "A repository that cannot be read now, and why"))),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 503, description = "No repository can be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn all_incremental(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Question(range): Question<Range>,
) -> Result<(HeaderMap, Json<ByRoutine>), Refusal> {
    all(app, caller, range, false).await
}

/// Lists the full backups of a routine
#[utoipa::path(get, path = "/v1/backups/full/{name}", tag = "Backup",
    params(("name" = String, Path, description = "The routine"), Range), responses(
    (status = 200, description = "The oldest first", body = Vec<BackupDetails>),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 503, description = "The repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn full(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Question(range): Question<Range>,
) -> Result<Json<Vec<BackupDetails>>, Refusal> {
    of_one(app, caller, name, range, true).await
}

/// Lists the incremental backups of a routine
#[utoipa::path(get, path = "/v1/backups/incremental/{name}", tag = "Backup",
    params(("name" = String, Path, description = "The routine"), Range), responses(
    (status = 200, description = "The oldest first", body = Vec<BackupDetails>),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 503, description = "The repository cannot be read now", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn incremental(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Question(range): Question<Range>,
) -> Result<Json<Vec<BackupDetails>>, Refusal> {
    of_one(app, caller, name, range, false).await
}

/// Says what of a routine is at work, what was last, and what is next
#[utoipa::path(get, path = "/v1/backups/currentBackup/{name}", tag = "Backup",
    params(("name" = String, Path, description = "The routine")), responses(
    (status = 200, description = "How it stands", body = RoutineState),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn current(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<RoutineState>, Refusal> {
    may(&caller, Scope::Read)?;
    may_routine(&caller, &app.service.config(), &name)?;
    app.wait(move |service| service.routine_state(&name)).await.map(Json)
}

/// Cancels the backups of a routine
#[utoipa::path(post, path = "/v1/backups/cancel/{name}", tag = "Backup",
    params(("name" = String, Path, description = "The routine")), responses(
    (status = 202, description = "They end where that is safe"),
    (status = 404, description = "There is no such routine", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    may(&caller, Scope::Backup)?;
    may_routine(&caller, &app.service.config(), &name)?;
    app.wait(move |service| service.cancel_routine(&name)).await?;
    Ok(StatusCode::ACCEPTED)
}
