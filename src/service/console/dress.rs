//! What is said where there is no page: as a page.

use super::{admit::Visit, failure::Failure, page, show};
use axum::{
    extract::Request,
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use maud::html;

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
