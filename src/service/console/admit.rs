//! Who looks: by a session, or in any way that programs are let in. And what a page needs to know of whoever asked for it.

use super::{Console, failure::Failure, session::COOKIE, show};
use crate::{
    record::Timestamp,
    service::{
        ServiceError,
        config::{Config, Routine, ServiceSettings},
        keys::{Caller, Scope},
    },
};
use axum::{
    Form,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request},
    http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse as _, Redirect, Response},
};
use std::{collections::BTreeMap, sync::Arc};

/// Marks a request that came by TLS.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted;

/// The prefix of an address that a proxy took away, and the service's own.
#[derive(Debug, Clone)]
struct Base(String);

/// The cookie of the session by which somebody was let in.
#[derive(Debug, Clone)]
struct BySession(String);

/// Whether a path, below the service's prefix, is a page's.
#[must_use]
pub fn is_for_people(path: &str) -> bool {
    path == "/console" || path.starts_with("/console/")
}

/// Whether a page is shown to anybody.
fn is_open(path: &str) -> bool {
    path == "/console/login" || path.starts_with("/console/assets/")
}

/// The most that is read of a form while nobody knows who sends it: any number of strangers may.
const MOST_OF_STRANGERS: u64 = 16 * 1024;

/// The prefix that a browser has to put before our paths.
fn base(headers: &HeaderMap, own: &str) -> String {
    let said = headers.get("x-forwarded-prefix").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = said.trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~/".contains(c);
    let is_path = said.len() <= 200 && said.starts_with('/') && said.chars().all(is_plain);
    let climbs = said.contains("//") || said.split('/').any(|part| part == ".." || part == ".");
    let before = if is_path && !climbs { said } else { "" };
    format!("{before}{}", own.trim_end_matches('/'))
}

/// The value of our cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Leads a browser to the first page.
pub fn way_in(headers: &HeaderMap, settings: &ServiceSettings) -> Response {
    Redirect::to(&format!("{}/console/", base(headers, settings.context_path()))).into_response()
}

impl Console {
    /// Lets in who is known already (`known`), or by a session; gives the answer for those who are not.
    pub fn admit(
        &self,
        request: &mut Request,
        path: &str,
        known: Option<Caller>,
        settings: &ServiceSettings,
    ) -> Option<Response> {
        let base = base(request.headers(), settings.context_path());
        let now = self.service.now();
        let by_session = || {
            let cookie = cookie(request.headers())?;
            let caller = Caller::of_hash(settings, &self.sessions.find(cookie, now)?, now).ok()?;
            Some((caller, cookie.to_owned()))
        };
        let caller = match known {
            Some(caller) => caller,
            None => {
                if let Some((caller, cookie)) = by_session() {
                    request.extensions_mut().insert(BySession(cookie));
                    caller
                } else {
                    let most = settings.http.as_ref().and_then(|http| http.max_body_bytes).unwrap_or(u64::MAX);
                    let most = usize::try_from(most.min(MOST_OF_STRANGERS)).unwrap_or(usize::MAX);
                    DefaultBodyLimit::max(most).apply(request);
                    if !is_open(path) {
                        return Some(ask_for_key(request, &base));
                    }
                    // Nothing of what is open looks at who asks.
                    Caller::nobody()
                }
            }
        };
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(Base(base));
        None
    }

    /// Does what may take long on a thread that may wait.
    pub(super) async fn wait<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, Failure> {
        let console = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&console)).await {
            Ok(done) => done.map_err(Failure::from),
            Err(_) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "this page panicked: that is a defect")),
        }
    }
}

/// Leads to the page that asks for a key, and back from there. What runs in a page leads the whole page there.
fn ask_for_key(request: &Request, base: &str) -> Response {
    let is_script = request.headers().contains_key("hx-request");
    let current = request.headers().get("hx-current-url").and_then(|value| value.to_str().ok());
    let current = current.and_then(|url| url.parse::<Uri>().ok());
    let uri = if is_script { current.as_ref().unwrap_or(request.uri()) } else { request.uri() };
    let wanted = uri.path_and_query().map_or("", axum::http::uri::PathAndQuery::as_str);
    // The way back is said below our prefix, and only pages that can be asked for again are gone back to.
    let own = wanted.find("/console").map_or("", |at| &wanted[at..]);
    let back = if request.method().is_safe() || is_script { own } else { "" };
    let to = format!("{base}/console/login?to={}", show::encoded(back));
    if is_script {
        return (StatusCode::UNAUTHORIZED, [("hx-redirect", to)]).into_response();
    }
    Redirect::to(&to).into_response()
}

/// The longest address to go back to that what was filled in becomes a part of.
const MOST_BACK: usize = 6000;

/// Whether a form of this path can be shown again as it was filled in.
fn is_shown_filled(path: &str) -> bool {
    path.starts_with("/console/sources/") && path.ends_with("/restore")
}

/// What somebody filled in whose session had ended meanwhile is there again once they have shown their key.
pub async fn keep_filled(request: Request, answer: Response, path: &str) -> Response {
    let login = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
    let Some(login) = login.filter(|_| request.method() == Method::POST && is_shown_filled(path)) else {
        return answer;
    };
    let fields = match Form::<Vec<(String, String)>>::from_request(request, &()).await {
        Ok(Form(pairs)) => pairs.into_iter().collect::<BTreeMap<_, _>>(),
        Err(_) => return answer,
    };
    let pairs = ["at", "collection", "keys"].map(|name| {
        let value = fields.get(name).map_or("", |value| value.trim());
        format!("{name}={}", show::encoded(value))
    });
    let filled = format!("{path}?{}", pairs.join("&"));
    let back = if filled.len() <= MOST_BACK { &filled } else { path };
    Redirect::to(&format!("{login}{}", show::encoded(back))).into_response()
}

/// Whoever asked for a page.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    /// What they may.
    pub(super) caller: Caller,
    /// What is put before paths.
    pub(super) base: String,
    /// The token that forms carry.
    pub(super) token: String,
    /// Whether there is a session to end.
    pub(super) has_session: bool,
    /// When they asked.
    pub(super) now: Timestamp,
    /// Whether the connection to the browser is encrypted, as far as that is known.
    pub(super) is_encrypted: bool,
}

impl Visit {
    fn of(parts: &Parts, console: &Console) -> Self {
        let extensions = &parts.extensions;
        let caller = extensions.get::<Caller>().cloned().unwrap_or_else(Caller::nobody);
        let cookie = extensions.get::<BySession>().map(|BySession(cookie)| cookie.clone());
        let forwarded = parts.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
        let token = console.sessions.token(&Self::who(cookie.as_deref(), &caller));
        Self {
            base: extensions.get::<Base>().map(|Base(base)| base.clone()).unwrap_or_default(),
            token,
            has_session: cookie.is_some(),
            now: console.service.now(),
            is_encrypted: forwarded || extensions.get::<Encrypted>().is_some(),
            caller,
        }
    }

    fn who(cookie: Option<&str>, caller: &Caller) -> String {
        cookie.map_or_else(|| format!("name {}", caller.name), |cookie| format!("session {cookie}"))
    }

    /// An address of ours.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}/console/{path}", self.base)
    }

    /// An address of a source's.
    pub(super) fn at_source(&self, name: &str, rest: &str) -> String {
        format!("{}/console/sources/{}{rest}", self.base, show::encoded(name))
    }

    /// Refuses who may not.
    pub(super) fn needs(&self, scope: Scope) -> Result<(), Failure> {
        if self.caller.may(scope) {
            return Ok(());
        }
        let words = format!("The key `{}` has not the scope `{}`.", self.caller.name, scope.as_str());
        Err(Failure::new(StatusCode::FORBIDDEN, words))
    }

    /// The routine of this name, if whoever asks has to do with it.
    pub(super) fn routine<'c>(&self, config: &'c Config, name: &str) -> Result<&'c Routine, Failure> {
        let found = config.routines.get(name);
        let found = found.filter(|routine| self.caller.may_routine(name, routine.tenant.as_deref()));
        found.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("There is no source `{name}`.")))
    }

    /// Whether they have to do with what belongs to a routine, or to none.
    pub(super) fn may_see(&self, routine: Option<&str>, tenant: Option<&str>) -> bool {
        routine.map_or_else(|| self.caller.may_all_routines(), |routine| self.caller.may_routine(routine, tenant))
    }
}

impl FromRequestParts<Arc<Console>> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Failure> {
        Ok(Self::of(parts, console))
    }
}

/// A form that was sent from one of this session's own pages.
pub(super) struct Posted {
    /// Who sent it.
    pub(super) visit: Visit,
    fields: BTreeMap<String, String>,
    /// The session's cookie.
    pub(super) cookie: Option<String>,
}

impl Posted {
    /// What a field says; empty if it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.trim())
    }
}

impl FromRequest<Arc<Console>> for Posted {
    type Rejection = Failure;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let visit = Visit::of(&parts, console);
        let cookie = parts.extensions.get::<BySession>().map(|BySession(cookie)| cookie.clone());
        let request = Request::from_parts(parts, body);
        let read = Form::<Vec<(String, String)>>::from_request(request, console).await;
        let Form(pairs) = read.map_err(|error| Failure::new(error.status(), error.body_text()))?;
        let fields: BTreeMap<String, String> = pairs.into_iter().collect();
        let token = fields.get("token").map_or("", String::as_str);
        if !console.sessions.is_token(&Visit::who(cookie.as_deref(), &visit.caller), token) {
            let words = "This form is not one of this session's pages. Load the page again, and send it once more.";
            return Err(Failure::new(StatusCode::FORBIDDEN, words));
        }
        Ok(Self { visit, fields, cookie })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_plain_prefixes_are_put_before_addresses() {
        let with = |said: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-prefix", HeaderValue::from_static(said));
            base(&headers, "/own/")
        };
        assert_eq!([with("/a/b/"), with("/")], ["/a/b/own", "/own"]);
        for odd in ["//evil.example", "a", "/a\"b", "/a/../b", "https://evil", "/a?b"] {
            assert_eq!(with(odd), "/own", "{odd}");
        }
        assert_eq!(base(&HeaderMap::new(), ""), "");
    }

    #[test]
    fn our_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; rekeep_session=x; rekeep_session_2=y"));
        assert_eq!(cookie(&headers), Some("x"));
    }
}
