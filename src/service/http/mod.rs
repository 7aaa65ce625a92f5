//! HTTP: the paths, who may take them, what they say. Handlers only read what is asked and show what came of it; whatever
//! touches storage or the state runs on threads that may wait.

mod answer;
mod audit;
mod auth;
mod backups;
mod config;
mod drills;
mod health;
pub mod limit;
mod lobby;
mod patient;
mod records;
mod recovery;
mod restore;
mod room;
mod server;
mod tls;
mod unique;

pub use server::{Server, serve};
pub use tls::check_files;

use super::{Service, ServiceError, console::Console};
use axum::{Router, extract::DefaultBodyLimit, middleware, response::IntoResponse as _};
use limit::Limits;
use std::sync::Arc;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What every handler has.
#[derive(Clone)]
pub struct App {
    pub(super) service: Arc<Service>,
    pub(super) limits: Arc<Limits>,
    console: Arc<Console>,
    /// What states of the configuration are told apart by.
    tags: std::hash::RandomState,
    /// The document, once it is made.
    document: Arc<std::sync::OnceLock<String>>,
}

/// The document's head.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "rekeep",
        description = "Backups of databases of records: the interface of the Aerospike Backup Service, and more. Fields that are \
                       marked as meaningless are taken and do nothing."
    ),
    modifiers(&Keys),
    security((), ("key" = []))
)]
struct Document;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let key = ApiKeyValue::with_description("Authorization", "`ApiKey KEY` or `Bearer KEY`");
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
}

fn paths() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::root))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(health::version))
        .routes(routes!(health::metrics))
        .routes(routes!(config::whole, config::replace))
        .routes(routes!(config::apply))
        .merge(config::sections())
        .routes(routes!(config::enable))
        .routes(routes!(config::disable))
        .routes(routes!(backups::start_full))
        .routes(routes!(backups::start_incremental))
        .routes(routes!(backups::start_scheduled))
        .routes(routes!(backups::all_full))
        .routes(routes!(backups::all_incremental))
        .routes(routes!(backups::full))
        .routes(routes!(backups::incremental))
        .routes(routes!(backups::current))
        .routes(routes!(backups::cancel))
        .routes(routes!(restore::full))
        .routes(routes!(restore::incremental))
        .routes(routes!(restore::as_of))
        .routes(routes!(restore::status))
        .routes(routes!(restore::jobs))
        .routes(routes!(restore::cancel))
        .routes(routes!(restore::configuration))
        .routes(routes!(audit::show))
        .routes(routes!(records::versions))
        .routes(routes!(drills::start))
        .routes(routes!(drills::list))
        .routes(routes!(drills::report))
        .routes(routes!(drills::printed))
        .routes(routes!(recovery::create, recovery::list))
        .routes(routes!(recovery::show, recovery::delete))
        .routes(routes!(recovery::restore))
        .routes(routes!(recovery::jobs))
        .routes(routes!(recovery::job))
}

/// The document that describes the interface.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    described().1
}

/// The paths, and the document with what every request with a body may be answered.
fn described() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut document) = paths().split_for_parts();
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            let Some(refusal) = responses.get("400").filter(|_| operation.request_body.is_some()).cloned() else {
                continue;
            };
            for status in ["413", "415"] {
                responses.entry(status.to_owned()).or_insert_with(|| refusal.clone());
            }
        }
    }
    (router, document)
}

/// Everything that is answered.
///
/// # Errors
/// [`ServiceError`] if the system gives no random numbers.
pub fn router(service: &Arc<Service>) -> Result<Router, ServiceError> {
    let config = service.config();
    let http = config.service.http.clone().unwrap_or_default();
    let app = App {
        service: Arc::clone(service),
        limits: Arc::new(Limits::new(config.service.rate())),
        console: Console::new(service).map_err(crate::ops::OpsError::from)?,
        tags: std::hash::RandomState::new(),
        document: Arc::default(),
    };
    let (router, mut document) = described();
    let prefix = config.service.context_path().trim_end_matches('/').to_owned();
    if !prefix.is_empty() {
        document.servers = Some(vec![utoipa::openapi::Server::new(prefix.clone())]);
    }
    let _ = app.document.set(document.to_json().unwrap_or_default());
    let most = usize::try_from(http.max_body_bytes.unwrap_or(1 << 20)).unwrap_or(usize::MAX);
    let router = router
        .route("/api-docs/", axum::routing::get(health::document))
        .route("/api-docs", axum::routing::get(health::document))
        .route("/api-docs/openapi.json", axum::routing::get(health::document));
    let router = router.merge(super::console::router(&app.console).with_state(()));
    let router = if prefix.is_empty() {
        router
    } else {
        let with_slash = format!("{prefix}/");
        Router::new().nest(&prefix, router).route(&with_slash, axum::routing::get(health::root))
    };
    Ok(router
        .fallback(|| async { answer::Refusal::not_found("there is nothing of this path").into_response() })
        .method_not_allowed_fallback(|| async { answer::Refusal::method().into_response() })
        .layer(middleware::from_fn_with_state(app.clone(), auth::admit))
        // Around it: of those who are not let in less is read.
        .layer(DefaultBodyLimit::max(most))
        .layer(middleware::from_fn_with_state(app.clone(), limit::admit))
        .layer(middleware::from_fn(answer::harden))
        .with_state(app))
}

/// Refuses who may not.
fn may(caller: &super::keys::Caller, scope: super::keys::Scope) -> Result<(), answer::Refusal> {
    if caller.may(scope) {
        return Ok(());
    }
    Err(answer::Refusal::forbidden(format!("the key `{}` has not the scope `{}`", caller.name, scope.as_str())))
}

/// Refuses who may not, and who may of some routines alone what is of all.
fn may_of_all(caller: &super::keys::Caller, scope: super::keys::Scope) -> Result<(), answer::Refusal> {
    may(caller, scope)?;
    if caller.may_all_routines() {
        return Ok(());
    }
    Err(answer::Refusal::forbidden(format!(
        "the key `{}` is bound to routines or to a tenant, and this is of all of them",
        caller.name
    )))
}

/// Refuses who may not have to do with a routine, as if there were none.
fn may_routine(
    caller: &super::keys::Caller,
    config: &super::config::Config,
    name: &str,
) -> Result<(), answer::Refusal> {
    let routine = config.routines.get(name);
    let tenant = routine.and_then(|routine| routine.tenant.as_deref());
    if routine.is_some() && caller.may_routine(name, tenant) {
        return Ok(());
    }
    Err(answer::Refusal::not_found(format!("there is no routine `{name}`")))
}

/// Whether a key has to do with what belongs to a routine, or to none.
fn may_routine_of(caller: &super::keys::Caller, routine: Option<&str>, tenant: Option<&str>) -> bool {
    routine.map_or_else(|| caller.may_all_routines(), |routine| caller.may_routine(routine, tenant))
}
