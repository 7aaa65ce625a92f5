//! Answers and questions: JSON both ways, one form for every refusal, and headers that keep browsers from being used.

use super::{App, unique::Unique};
use crate::{
    ops::OpsError,
    report::ErrorKind,
    service::{Service, ServiceError, config::ConfigError, survey::Unread},
};
use axum::{
    Json,
    body::Bytes,
    extract::{self, FromRequest, FromRequestParts, Query, Request, rejection::JsonRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use utoipa::ToSchema;

/// Why something was not done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refusal {
    #[serde(skip)]
    status: u16,
    /// The kind of error, for programs.
    pub kind: String,
    /// What failed, on what, and why, for people.
    pub error: String,
}

impl Refusal {
    /// One of this status.
    pub(super) fn new(status: StatusCode, kind: ErrorKind, words: impl Into<String>) -> Self {
        Self { status: status.as_u16(), kind: kind.as_str().to_owned(), error: words.into() }
    }

    /// There is no such thing.
    pub(super) fn not_found(words: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, words)
    }

    /// What was asked makes no sense.
    pub(super) fn invalid(words: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidInput, words)
    }

    /// Who asks may not.
    pub(super) fn forbidden(words: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::RoleLacks, words)
    }

    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Unsupported, "this path knows other methods")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(status = self.status, kind = self.kind, "{}", self.error);
        }
        (status, Json(self)).into_response()
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        let status = match &error {
            ServiceError::Config(ConfigError::Io { .. }) | ServiceError::State(_) | ServiceError::Listen { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            ServiceError::Config(ConfigError::Changed { .. }) | ServiceError::Conflict(_) => StatusCode::CONFLICT,
            ServiceError::Stale(_) => StatusCode::PRECONDITION_FAILED,
            ServiceError::Config(_) | ServiceError::Invalid(_) => StatusCode::BAD_REQUEST,
            ServiceError::Open(_) | ServiceError::Forbidden(_) => StatusCode::FORBIDDEN,
            ServiceError::NotFound { .. } => StatusCode::NOT_FOUND,
            ServiceError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            ServiceError::Ops(error) => status_of(error),
        };
        Self::new(status, error.kind(), error.to_string())
    }
}

impl From<OpsError> for Refusal {
    fn from(error: OpsError) -> Self {
        ServiceError::from(error).into()
    }
}

/// Which status an error of a verb is: what was asked wrongly, what is not there, what is in the way; what the world does not
/// give is no fault of whoever asks.
fn status_of(error: &OpsError) -> StatusCode {
    match error.kind() {
        ErrorKind::NoSnapshot
        | ErrorKind::NoRepository
        | ErrorKind::NoRecord
        | ErrorKind::NoCollection
        | ErrorKind::NotFound
        | ErrorKind::NoLease => StatusCode::NOT_FOUND,
        ErrorKind::SnapshotHeld
        | ErrorKind::SnapshotLocked
        | ErrorKind::SnapshotPending
        | ErrorKind::LastSnapshot
        | ErrorKind::TargetOccupied
        | ErrorKind::Contended
        | ErrorKind::Locked => StatusCode::CONFLICT,
        kind if kind.is_usage() => StatusCode::BAD_REQUEST,
        ErrorKind::Storage
        | ErrorKind::Io
        | ErrorKind::WrongPassword
        | ErrorKind::NoKeySlot
        | ErrorKind::KeyService
        | ErrorKind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The head that names repositories which could not be read for a list, where the list itself has no room for them.
const UNREADABLE: HeaderName = HeaderName::from_static("rekeep-unreadable");

/// The longest of them, and how many there are at most.
const MOST_UNREADABLE: (usize, usize) = (500, 20);

/// A head for each repository that could not be read.
pub(super) fn unread_heads(unread: &[Unread]) -> HeaderMap {
    let mut heads = HeaderMap::new();
    for unread in unread.iter().take(MOST_UNREADABLE.1) {
        let words = unread.refusal().to_string();
        // Heads are ASCII.
        let plain: String = words.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
        if let Ok(value) = HeaderValue::from_str(&plain[..plain.len().min(MOST_UNREADABLE.0)]) {
            heads.append(UNREADABLE, value);
        }
    }
    heads
}

/// The body of a request, as JSON of one type; what it does not know is refused.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), app)
            .await
            .map_err(|rejection| Refusal::new(rejection.status(), ErrorKind::InvalidInput, rejection.body_text()))?;
        // What is read field by field would take a list, too: an empty one for defaults all over.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(Refusal::invalid("the body is a JSON array, where an object is wanted"));
        }
        // What is no JSON at all is told below, as what it is.
        if let Err(error) = serde_json::from_slice::<Unique>(&bytes)
            && error.is_data()
        {
            return Err(Refusal::invalid(format!("the body: {error}")));
        }
        match Json::<T>::from_request(Request::from_parts(parts, bytes.into()), app).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => {
                let status = match &rejection {
                    JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) => StatusCode::BAD_REQUEST,
                    other => other.status(),
                };
                Err(Refusal::new(status, ErrorKind::InvalidInput, rejection.body_text()))
            }
        }
    }
}

/// The parts of a request's path, of their types.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let read = extract::Path::<T>::from_request_parts(parts, app).await;
        read.map(|extract::Path(value)| Self(value)).map_err(|rejection| Refusal::invalid(rejection.body_text()))
    }
}

/// What follows the `?` of a request.
pub struct Question<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Question<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let read = Query::<T>::from_request_parts(parts, app).await;
        read.map(|Query(value)| Self(value)).map_err(|rejection| Refusal::invalid(rejection.body_text()))
    }
}

impl App {
    /// Does what may take long on a thread that may wait.
    pub(super) async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Service>) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let service = Arc::clone(&self.service);
        match tokio::task::spawn_blocking(move || work(&service)).await {
            Ok(done) => done.map_err(Refusal::from),
            Err(_) => Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorKind::Internal,
                "what was asked panicked: this is a defect",
            )),
        }
    }
}

/// Adds headers that keep browsers from showing answers in frames, guessing their types and keeping them.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
