//! Who asks: by a key in the head, by a certificate, or anybody where that was said or only this host can ask.

use super::{App, answer::Refusal, audit::Asked, limit::Peer};
use crate::{
    report::ErrorKind,
    service::{
        config::ServiceSettings,
        console::{is_for_people, keep_filled},
        keys::Caller,
    },
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
            None if OPEN.contains(&path.as_str()) => Some(Caller::anybody()),
            None if config.service.without_authentication == Some(true) => Some(Caller::anybody()),
            None if config.service.api_keys.is_empty() => {
                if let Err(refusal) = of_this_host(&config.service, &request) {
                    return (refusal.into_response(), None);
                }
                Some(Caller::anybody())
            }
            None => None,
        },
    };
    // People are asked for a key by a page, and known by a session afterwards.
    if is_for_people(&path) {
        if let Some(answer) = app.console.admit(&mut request, &path, known, &config.service) {
            return (keep_filled(request, answer, &path).await, None);
        }
        let who = request.extensions().get::<Caller>().map(|caller| Arc::clone(&caller.name));
        return (next.run(request).await, who);
    }
    let Some(caller) = known else { return (unauthorized("a key is needed: Authorization: ApiKey KEY"), None) };
    let who = Arc::clone(&caller.name);
    request.extensions_mut().insert(caller);
    (next.run(request).await, Some(who))
}

/// Where nobody needs a key this host alone is answered: also when the last key was taken out while others were listened to, and
/// not to pages of a name that somebody lets resolve to this host (DNS rebinding).
fn of_this_host(settings: &ServiceSettings, request: &Request) -> Result<(), Refusal> {
    let peer = request.extensions().get::<Peer>();
    if peer.is_some_and(|peer| !peer.0.to_canonical().is_loopback()) {
        return Err(Refusal::forbidden("there are no keys, so that this host alone is answered: add one to the file"));
    }
    let said = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let name = name_of(said.or_else(|| Some(request.uri().authority()?.as_str())).unwrap_or_default());
    let is_known = settings.http.iter().flat_map(|http| http.host_names.iter().flatten()).any(|known| {
        let known = known.trim_end_matches('.');
        known.eq_ignore_ascii_case(name)
    });
    if is_known || is_local(name) {
        return Ok(());
    }
    let words = format!(
        "there are no keys, and `{name}` is no name of this host: a page of that name could ask. Add a key, or the name to \
         service.http.host-names"
    );
    Err(Refusal::forbidden(words))
}

/// The name of an authority, without its port.
fn name_of(authority: &str) -> &str {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => authority,
    };
    name.trim_end_matches('.')
}

/// Whether nobody else can let a name resolve to this host: an address, `localhost`, a name without a domain.
fn is_local(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<std::net::IpAddr>().is_ok()
        || !name.contains('.')
        || name.to_ascii_lowercase().ends_with(".localhost")
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
    fn names_that_others_can_lead_here_are_known_from_those_of_this_host() {
        for own in
            ["127.0.0.1:8080", "[::1]:80", "::1", "localhost:1", "LOCALHOST.", "a.localhost:2", "rekeep:8080", ""]
        {
            assert!(is_local(name_of(own)), "{own}");
        }
        for other in ["evil.example:8080", "evil.example.", "127.0.0.1.evil.example", "localhost.evil.example:80"] {
            assert!(!is_local(name_of(other)), "{other}");
        }
    }

    #[test]
    fn without_keys_this_host_alone_is_answered_and_by_its_own_names() {
        let asks = |peer: &str, host: &str| {
            let mut request = Request::new(axum::body::Body::empty());
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
            request.headers_mut().insert("host", host.parse().unwrap());
            let named = crate::service::config::HttpSettings {
                host_names: Some(vec!["backup.example".to_owned()]),
                ..Default::default()
            };
            of_this_host(&ServiceSettings { http: Some(named), ..ServiceSettings::default() }, &request).is_ok()
        };
        assert!(asks("127.0.0.1", "127.0.0.1:80") && asks("::1", "localhost") && asks("::ffff:127.0.0.1", "[::1]:80"));
        assert!(asks("127.0.0.1", "Backup.example:80") && !asks("127.0.0.1", "evil.example"));
        // The last key was taken out while everybody was listened to.
        assert!(!asks("192.0.2.1", "127.0.0.1") && !asks("::ffff:192.0.2.1", "localhost"));
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
