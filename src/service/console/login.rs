//! A key, shown once by a browser; a session from then on.

use super::{
    Console,
    admit::{Posted, Visit},
    failure::{Asked, Failure},
    page,
    session::COOKIE,
};
use crate::service::keys::{Caller, Unknown, hash_of};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::html;
use serde::Deserialize;
use std::sync::Arc;

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    to: String,
}

/// Where it is gone back to: only to a page of ours.
fn checked(to: &str) -> &str {
    let is_ours = to.starts_with("/console") && !to.chars().any(|c| c.is_control() || c == '\\');
    let is_login = to.starts_with("/console/login") || to.starts_with("/console/logout");
    if is_ours && !is_login { to } else { "/console/" }
}

fn asking(visit: &Visit, to: &str, wrong: Option<&str>) -> Response {
    let body = html! {
        div.card.login {
            img src={ (visit.at("assets/mark.svg")) } alt="" width="44" height="44";
            h1 { "Sign in to rekeep" }
            @if let Some(words) = wrong {
                p.notice.bad role="alert" #wrong { (words) }
            }
            form method="post" action=(visit.at("login")) {
                (page::token(visit))
                input type="hidden" name="to" value=(to);
                label for="key" { "Key" }
                input #key type="password" name="key" required autocomplete="current-password" autofocus
                    aria-describedby=[wrong.map(|_| "wrong")] spellcheck="false";
                button.primary type="submit" { "Sign in" }
            }
            p.hint { "A key of this service's interface, as " code { "rekeep serve key" } " makes one. It is kept nowhere: a session begins that lasts for twelve hours at most." }
        }
    };
    page::plain(&visit.base, "Sign in", &body)
}

/// Asks for a key.
pub(super) async fn show(visit: Visit, Asked(back): Asked<Back>) -> Response {
    asking(&visit, checked(&back.to), None)
}

/// Takes a key.
pub(super) async fn begin(State(console): State<Arc<Console>>, form: Posted) -> Result<Response, Failure> {
    let visit = &form.visit;
    let to = checked(form.get("to"));
    let config = console.service.config();
    let key = form.get("key");
    if let Err(why) = Caller::of_key(&config.service, key, visit.now) {
        let words = match why {
            Unknown::Ended => "This key has ended.",
            Unknown::Nobodys => "This key is nobody's.",
        };
        return Ok((StatusCode::UNAUTHORIZED, asking(visit, to, Some(words))).into_response());
    }
    let begun = console.sessions.begin(hash_of(key), visit.now);
    let cookie = begun.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let path = if visit.base.is_empty() { "/" } else { &visit.base };
    let secure = if visit.is_encrypted { "; Secure" } else { "" };
    let set = format!("{COOKIE}={cookie}; Path={path}; HttpOnly; SameSite=Lax{secure}");
    Ok(([(header::SET_COOKIE, set)], Redirect::to(&format!("{}{to}", visit.base))).into_response())
}

/// Ends the session.
pub(super) async fn end(State(console): State<Arc<Console>>, form: Posted) -> Response {
    if let Some(cookie) = &form.cookie {
        console.sessions.end(cookie);
    }
    let path = if form.visit.base.is_empty() { "/" } else { &form.visit.base };
    let set = format!("{COOKIE}=; Path={path}; HttpOnly; SameSite=Lax; Max-Age=0");
    ([(header::SET_COOKIE, set)], Redirect::to(&form.visit.at("login"))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_leads_to_pages_of_ours_alone() {
        assert_eq!(checked("/console/jobs?before=5"), "/console/jobs?before=5");
        for odd in
            ["", "https://evil.example", "//evil.example", "/\\evil", "/console\n", "/console/login?to=x", "console"]
        {
            assert_eq!(checked(odd), "/console/", "{odd:?}");
        }
    }
}
