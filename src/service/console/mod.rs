//! Pages for people, made here and shown by any browser. Everything that a page shows comes from what programs are answered
//! with; rights are the same. What there is and how it looks at things stands in `docs/console.md`.

mod admit;
mod assets;
mod contents;
mod dress;
mod failure;
mod health;
mod jobs;
mod login;
mod logs;
mod overview;
mod page;
mod plot;
mod record;
mod restore;
mod session;
mod shelf;
mod show;
mod snapshot;
mod source;
mod timeline;

pub use admit::{Encrypted, is_for_people, keep_filled, way_in};

use super::Service;
use crate::repo::RepoError;
use axum::{
    Router, middleware,
    routing::{get, post},
};
use session::Sessions;
use shelf::Shelves;
use std::sync::Arc;

/// What pages are made from.
pub struct Console {
    service: Arc<Service>,
    sessions: Sessions,
    shelves: Arc<Shelves>,
    schedules: health::Read,
}

impl Console {
    /// Of a service; nobody is in it.
    ///
    /// # Errors
    /// [`RepoError`] if the system gives no random numbers.
    pub fn new(service: &Arc<Service>) -> Result<Arc<Self>, RepoError> {
        let shelves = Arc::new(Shelves::new(service));
        Ok(Arc::new(Self {
            service: Arc::clone(service),
            sessions: Sessions::new()?,
            shelves,
            schedules: health::Read::default(),
        }))
    }
}

/// All pages, below the service's own prefix.
pub fn router(console: &Arc<Console>) -> Router {
    Router::new()
        .route("/console", get(overview::show))
        .route("/console/", get(overview::show))
        .route("/console/login", get(login::show).post(login::begin))
        .route("/console/logout", post(login::end))
        .route("/console/assets/{name}", get(assets::show))
        .route("/console/sources/{name}", get(source::show))
        .route("/console/sources/{name}/backup", post(source::back_up))
        .route("/console/sources/{name}/snapshots/{id}", get(snapshot::show))
        .route("/console/sources/{name}/snapshots/{id}/records", get(contents::show))
        .route("/console/sources/{name}/record", get(record::show))
        .route("/console/sources/{name}/restore", get(restore::ask).post(restore::try_out))
        .route("/console/restores/{id}", get(restore::follow))
        .route("/console/restores/{id}/run", post(restore::run))
        .route("/console/jobs", get(jobs::list))
        .route("/console/jobs/{id}", get(jobs::show))
        .route("/console/jobs/{id}/stop", post(jobs::stop))
        .route("/console/logs", get(logs::show))
        .route("/console/{*rest}", get(dress::no_page))
        .layer(middleware::from_fn_with_state(Arc::clone(console), dress::dress))
        .with_state(Arc::clone(console))
}
