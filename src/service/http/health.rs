//! Whether the service is there, what it is, how it is, and how it is spoken to.

use super::{App, answer::Refusal};
use crate::service::{
    console::way_in,
    keys::{Caller, Scope},
    metrics,
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Says that the service is there
#[utoipa::path(get, path = "/", tag = "Service", responses((status = 200, description = "It is there", body = String)))]
pub(super) async fn root(State(app): State<App>, headers: HeaderMap) -> Response {
    // A browser is led to the pages for people.
    let is_browser = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if is_browser.is_some_and(|kinds| kinds.contains("text/html")) {
        return way_in(&headers, &app.service.config().service);
    }
    "rekeep\n".into_response()
}

/// Says that the process answers
#[utoipa::path(get, path = "/health", tag = "Service", responses((status = 200, description = "It answers", body = String)))]
pub(super) async fn health() -> &'static str {
    "OK"
}

/// Says whether jobs are taken
#[utoipa::path(get, path = "/ready", tag = "Service", responses(
    (status = 200, description = "They are", body = String),
    (status = 503, description = "The service is stopping", body = Refusal)
))]
pub(super) async fn ready(State(app): State<App>) -> Result<&'static str, Refusal> {
    if app.service.is_stopping() { Err(crate::service::ServiceError::Stopping.into()) } else { Ok("OK") }
}

/// What runs.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the backup service calls it so")]
#[serde(rename_all = "kebab-case")]
pub(super) struct Version {
    /// The program's version.
    pub(super) version: &'static str,
    /// The commit that it was built from, if that is known.
    pub(super) commit: &'static str,
    /// When it was built, if that is known.
    pub(super) build_time: &'static str,
}

/// Says which version runs
#[utoipa::path(get, path = "/version", tag = "Service", responses((status = 200, description = "The version", body = Version)))]
pub(super) async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("REKEEP_COMMIT").unwrap_or("unknown"),
        build_time: option_env!("REKEEP_BUILD_TIME").unwrap_or("unknown"),
    })
}

/// Tells metrics as Prometheus reads them
#[utoipa::path(get, path = "/metrics", tag = "Service", responses(
    (status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"),
    (status = 403, description = "The key may not read", body = Refusal)
))]
pub(super) async fn metrics(State(app): State<App>, Extension(caller): Extension<Caller>) -> Result<Response, Refusal> {
    super::may(&caller, Scope::Read)?;
    let text = app.wait(move |service| metrics::text(service, &caller)).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// The document that describes the interface.
pub(super) async fn document(State(app): State<App>) -> Response {
    let text = app.document.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
