//! Who asks: by a key in the head, by a certificate, or anybody where that was said or only this host can ask.

use super::{App, answer::Refusal, audit::Asked};
use crate::{
    report::ErrorKind,
    service::{console::is_for_people, keys::Caller},
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use std::sync::Arc;

/// The name that a client's certificate bears, if an authority vouches for it.
#[derive(Debug, Clone)]
pub(super) struct Certified(pub(super) Arc<str>);

/// Paths that say nothing but whether the service is there.
const OPEN: [&str; 4] = ["/", "/health", "/ready", "/version"];

/// Lets through who may ask something, and writes down who changed something or was refused.
pub(super) async fn admit(State(app): State<App>, request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let (response, who) = let_in(&app, request, next).await;
    asked.note(&app, who, response.status()).await;
    response
}

/// Answers who may ask something; what exactly is for the handlers to say. Gives who it was, if that is known.
async fn let_in(app: &App, mut request: Request, next: Next) -> (Response, Option<Arc<str>>) {
    let config = app.service.config();
    let prefix = config.service.context_path();
    let path = request.uri().path().strip_prefix(prefix.trim_end_matches('/')).unwrap_or_default().to_owned();
    if let Err(refusal) = from_browser(request.method(), request.headers()) {
        return (refusal.into_response(), None);
    }
    let known = match key_of(request.headers()) {
        Some(key) => match Caller::of_key(&config.service, key, app.service.now()) {
            Ok(caller) => Some(caller),
            Err(why) => return (unauthorized(&why.to_string()), None),
        },
        None => match request.extensions().get::<Certified>() {
            Some(Certified(name)) => Some(Caller::certified(name)),
            None if config.service.api_keys.is_empty() || config.service.without_authentication == Some(true) => {
                Some(Caller::anybody())
            }
            None if OPEN.contains(&path.as_str()) => Some(Caller::anybody()),
            None => None,
        },
    };
    // People are asked for a key by a page, and known by a session afterwards.
    if is_for_people(&path) {
        if let Some(answer) = app.console.admit(&mut request, &path, known, &config.service) {
            return (answer, None);
        }
        let who = request.extensions().get::<Caller>().map(|caller| Arc::clone(&caller.name));
        return (next.run(request).await, who);
    }
    let Some(caller) = known else { return (unauthorized("a key is needed: Authorization: ApiKey KEY"), None) };
    let who = Arc::clone(&caller.name);
    request.extensions_mut().insert(caller);
    (next.run(request).await, Some(who))
}

fn unauthorized(words: &str) -> Response {
    let mut response = Refusal::new(StatusCode::UNAUTHORIZED, ErrorKind::RoleLacks, words).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("ApiKey"));
    response
}

/// The key in a head: `ApiKey KEY` or `Bearer KEY`.
fn key_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    ["apikey", "bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then(|| key.trim())
}

/// A page of another site may make a browser ask; nothing is changed by it. Keys are never sent by browsers on their own, but
/// this host may be asked without any.
fn from_browser(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    if method.is_safe() {
        // A name that resolves to this host is no other site's to use.
        return host_is_meant(headers);
    }
    host_is_meant(headers)?;
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    let is_own_site = site.is_none_or(|site| site == "same-origin" || site == "none");
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let is_own_origin =
        origin.is_none_or(|origin| origin.split_once("://").is_some_and(|(_, authority)| authority == host));
    if is_own_site && is_own_origin {
        Ok(())
    } else {
        Err(Refusal::forbidden("a page of another site asks for a change"))
    }
}

/// A browser that was led here by a name of another site (DNS rebinding) sends that name along with its marks.
fn host_is_meant(headers: &HeaderMap) -> Result<(), Refusal> {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if site == Some("cross-site") && headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate") {
        return Err(Refusal::forbidden("a page of another site asks"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn keys_come_by_two_schemes() {
        for (value, key) in [("ApiKey a", Some("a")), ("bearer b", Some("b")), ("Basic c", None), ("a", None)] {
            assert_eq!(key_of(&headers(&[("authorization", value)])), key, "{value}");
        }
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let own = headers(&[("host", "h:1"), ("origin", "http://h:1"), ("sec-fetch-site", "same-origin")]);
        assert!(from_browser(&Method::POST, &own).is_ok());
        assert!(from_browser(&Method::POST, &headers(&[("host", "h:1")])).is_ok());
        for other in [
            &[("host", "h:1"), ("origin", "http://evil")][..],
            &[("host", "h:1"), ("origin", "null")],
            &[("host", "h:1"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(from_browser(&Method::DELETE, &headers(other)).is_err(), "{other:?}");
        }
    }
}
