//! Why there is no page.

use crate::{
    report::ErrorKind,
    service::{ServiceError, config::ConfigError},
};
use axum::{
    extract::FromRequestParts,
    http::StatusCode,
    response::{IntoResponse, Response},
};

/// Why there is no page.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) words: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self { status, words: words.into() }
    }

    pub(super) fn not_found(words: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, words)
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let status = match &error {
            ServiceError::NotFound { .. } => StatusCode::NOT_FOUND,
            ServiceError::Conflict(_) => StatusCode::CONFLICT,
            ServiceError::Stale(_) => StatusCode::PRECONDITION_FAILED,
            ServiceError::Open(_) | ServiceError::Forbidden(_) => StatusCode::FORBIDDEN,
            ServiceError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            ServiceError::Config(ConfigError::Io { .. }) | ServiceError::State(_) | ServiceError::Listen { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            ServiceError::Config(_) | ServiceError::Invalid(_) => StatusCode::BAD_REQUEST,
            ServiceError::Ops(error) => match error.kind() {
                ErrorKind::NoSnapshot
                | ErrorKind::NoRepository
                | ErrorKind::NoRecord
                | ErrorKind::NoCollection
                | ErrorKind::NotFound => StatusCode::NOT_FOUND,
                kind if kind.is_usage() => StatusCode::BAD_REQUEST,
                ErrorKind::Storage
                | ErrorKind::Io
                | ErrorKind::WrongPassword
                | ErrorKind::NoKeySlot
                | ErrorKind::KeyService
                | ErrorKind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        };
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), "{error}");
        }
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    /// The words alone, with what a page is made of.
    fn into_response(self) -> Response {
        let mut response = (self.status, self.words.clone()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The parts of an address; what makes no sense is said as a page.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(value)| Self(value))
            .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.body_text()))
    }
}

/// What follows the `?` of an address; what makes no sense is said as a page.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(value)| Self(value))
            .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.body_text()))
    }
}
