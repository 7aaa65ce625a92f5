//! What was done: written down as it is answered, and shown to administrators.

use super::{
    App,
    answer::{Question, Refusal},
    limit::Peer,
    may_of_all,
};
use crate::service::{
    audit::{AuditPage, Entry},
    keys::{Caller, STRANGER, Scope},
};
use axum::{
    Extension, Json,
    extract::{Request, State},
    http::StatusCode,
};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// A request as far as it may have to be written down.
pub(super) struct Asked {
    did: String,
    from: Option<String>,
    is_safe: bool,
}

impl Asked {
    /// Before it is answered.
    pub(super) fn of(request: &Request) -> Self {
        Self {
            did: format!("{} {}", request.method(), request.uri().path()),
            from: request.extensions().get::<Peer>().map(|peer| peer.0.to_string()),
            is_safe: request.method().is_safe(),
        }
    }

    /// Once it is answered: whoever changes something, or is refused, is written down. So is a stranger who asks for a change, and
    /// that as a refusal, whatever it is answered with: who may nothing fills nothing. Only a key that opens a session does.
    pub(super) async fn note(self, app: &App, who: Option<Arc<str>>, status: StatusCode) {
        let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if self.is_safe && !is_refusal {
            return;
        }
        let is_stranger = who.as_deref().is_none_or(|who| who == STRANGER && !status.is_redirection());
        let is_refusal = is_refusal || is_stranger;
        let service = Arc::clone(&app.service);
        let written = tokio::task::spawn_blocking(move || {
            let who = who.as_deref().unwrap_or(STRANGER);
            let entry = Entry::of_request(service.now(), who, self.from, &self.did, status.as_u16());
            if is_refusal { service.note_refusal(entry) } else { service.note(&entry) }
        });
        if written.await.is_err() {
            tracing::error!("writing down what was done panicked: this is a defect");
        }
    }
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only with numbers below this one.
    before: Option<i64>,
    /// At most so many; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Shows what was done, by whom, from where, and what came of it
#[utoipa::path(get, path = "/v1/audit", tag = "Service", params(Which), responses(
    (status = 200, description = "The newest first", body = AuditPage),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Question(which): Question<Which>,
) -> Result<Json<AuditPage>, Refusal> {
    may_of_all(&caller, Scope::Admin)?;
    let limit = which.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Refusal::invalid("limit is from 1 to 1000"));
    }
    app.wait(move |service| service.audit_page(which.before, limit)).await.map(Json)
}
