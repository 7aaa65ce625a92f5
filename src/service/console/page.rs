//! What every page has: its head, the way around, the end.

use super::{admit::Visit, assets, show};
use crate::service::keys::Scope;
use axum::{
    http::header,
    response::{Html, IntoResponse as _, Response},
};
use maud::{DOCTYPE, Markup, html};

/// What browsers are told to load: what is ours, and nothing that stands in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The script adds no style, evaluates nothing, and asks nobody else.
const SCRIPT_SETTINGS: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"selfRequestsOnly":true,"historyCacheSize":0,"refreshOnHistoryMiss":true}"#;

/// Where a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nav {
    /// Among the sources.
    Sources,
    /// Among the jobs.
    Jobs,
    /// With the log.
    Logs,
    /// Nowhere.
    None,
}

/// A page.
pub(super) struct Page<'p> {
    /// For whom.
    pub(super) visit: &'p Visit,
    /// What it is.
    pub(super) title: &'p str,
    /// Where it stands.
    pub(super) nav: Nav,
    /// Without a script: in how many seconds it loads itself again.
    pub(super) refresh: Option<u32>,
    /// What it shows.
    pub(super) body: Markup,
}

impl Page<'_> {
    /// As an answer.
    pub(super) fn answer(self) -> Response {
        let visit = self.visit;
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                (head(&visit.base, self.title, self.refresh))
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        div.wide {
                            a.brand href=(visit.at("")) {
                                img src={ (visit.at("assets/mark.svg")) "?v=" (assets::version()) } alt="" width="26" height="26";
                                span { "rekeep" }
                            }
                            nav aria-label="Main" {
                                (entry(visit, self.nav, Nav::Sources, "", "Sources"))
                                (entry(visit, self.nav, Nav::Jobs, "jobs", "Jobs"))
                                @if visit.caller.may_all_routines() && visit.caller.may(Scope::Read) {
                                    (entry(visit, self.nav, Nav::Logs, "logs", "Logs"))
                                }
                            }
                            div.who {
                                @if &*visit.caller.name == "-" {
                                    span title="Nobody needs a key here" { "no key needed" }
                                } @else {
                                    span title={ "signed in by the key " (show::plain(&visit.caller.name, 80)) } { (show::cut(&visit.caller.name, 24)) }
                                }
                                @if visit.has_session {
                                    form method="post" action=(visit.at("logout")) {
                                        (token(visit))
                                        button.quiet type="submit" { "Sign out" }
                                    }
                                }
                            }
                        }
                    }
                    main #main.wide tabindex="-1" { (self.body) }
                    footer.wide {
                        span { "rekeep " (env!("CARGO_PKG_VERSION")) }
                        span { "Times are UTC." }
                        a href={ (visit.base) "/api-docs/" } { "Interface for programs" }
                    }
                }
            }
        };
        answered(&markup)
    }
}

fn entry(visit: &Visit, here: Nav, nav: Nav, path: &str, words: &str) -> Markup {
    html! { a href=(visit.at(path)) aria-current=[(here == nav).then_some("page")] { (words) } }
}

fn head(base: &str, title: &str, refresh: Option<u32>) -> Markup {
    let version = assets::version();
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="htmx-config" content=(SCRIPT_SETTINGS);
            title { (show::plain(title, 80)) " · rekeep" }
            link rel="icon" type="image/svg+xml" href={ (base) "/console/assets/mark.svg?v=" (version) };
            link rel="stylesheet" href={ (base) "/console/assets/console.css?v=" (version) };
            script src={ (base) "/console/assets/htmx.js?v=" (version) } defer {}
            @if let Some(seconds) = refresh {
                noscript { meta http-equiv="refresh" content=(seconds); }
            }
        }
    }
}

/// A page for somebody who is not known.
pub(super) fn plain(base: &str, title: &str, body: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(base, title, None))
            body { main #main.narrow { (body) } }
        }
    };
    answered(&markup)
}

fn answered(markup: &Markup) -> Response {
    let heads = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Without a referrer at all a browser hides the origin of a form from us, too.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    (heads, Html(markup.0.clone())).into_response()
}

/// The field by which a form shows that it is one of ours.
pub(super) fn token(visit: &Visit) -> Markup {
    html! { input type="hidden" name="token" value=(visit.token); }
}

/// Where a page stands below others.
pub(super) fn crumbs(visit: &Visit, way: &[(String, &str)], here: &str) -> Markup {
    html! {
        nav.crumbs aria-label="Breadcrumb" {
            ol {
                li { a href=(visit.at("")) { "Sources" } }
                @for (address, words) in way {
                    li { a href=(address) { (show::cut(words, 40)) } }
                }
                li aria-current="page" { (show::cut(here, 40)) }
            }
        }
    }
}

/// A word with a colour, and never by the colour alone.
pub(super) fn pill(class: &str, mark: &str, words: &str) -> Markup {
    html! { span class={ "pill " (class) } { span aria-hidden="true" { (mark) } " " (words) } }
}

/// A number with what it is.
#[expect(clippy::needless_pass_by_value, reason = "markup is made where it is put")]
pub(super) fn fact(words: &str, value: Markup) -> Markup {
    html! { div.fact { dt { (words) } dd { (value) } } }
}
