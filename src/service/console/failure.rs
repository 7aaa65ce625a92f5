//! What is said where there is no page: as a page.

use super::{admit::Visit, page, show};
use crate::{
    report::ErrorKind,
    service::{ServiceError, config::ConfigError},
};
use axum::{
    extract::{FromRequestParts, Request},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use maud::html;

/// Why there is no page.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    status: StatusCode,
    words: String,
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
                ErrorKind::Storage | ErrorKind::WrongPassword | ErrorKind::KeyService | ErrorKind::Interrupted => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
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
    /// The words alone; [`dress`] makes a page of them.
    fn into_response(self) -> Response {
        let mut response = (self.status, self.words.clone()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Makes a page of a failure, with the way around for whoever asked.
pub(super) async fn dress(visit: Visit, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(failure) = response.extensions_mut().remove::<Failure>() else { return response };
    let title = match failure.status {
        StatusCode::NOT_FOUND => "Not there",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::CONFLICT => "Something is in the way",
        StatusCode::SERVICE_UNAVAILABLE => "Cannot be reached now",
        status if status.is_client_error() => "That makes no sense",
        _ => "Something went wrong",
    };
    let body = html! {
        h1 { (title) }
        p.notice.bad role="alert" { (show::cut(&failure.words, 2000)) }
        p { a href=(visit.at("")) { "All sources" } }
    };
    let page = page::Page { visit: &visit, title, nav: page::Nav::None, refresh: None, body };
    (failure.status, page.answer()).into_response()
}

/// There is no page of this address.
pub(super) async fn no_page() -> Failure {
    Failure::not_found("There is no page of this address.")
}

/// A part of an address, or what follows its `?`; what makes no sense is said as a page.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(value)| Self(value))
            .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.body_text()))
    }
}
