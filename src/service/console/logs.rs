//! The newest lines of the service's log.

use super::{
    Console,
    admit::Visit,
    failure::{Asked, Failure},
    page::{Nav, Page, pill},
    show,
};
use crate::service::{keys::Scope, log, log_lines};
use axum::{extract::State, http::StatusCode, response::Response};
use maud::html;
use serde::Deserialize;
use std::sync::Arc;
use tracing::Level;

/// Lines on the page.
const SHOWN: usize = 200;

/// Which lines.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    /// Only those that hold this.
    q: String,
    /// Only those of this level or worse.
    level: String,
}

/// The page.
pub(super) async fn show(
    State(_): State<Arc<Console>>,
    visit: Visit,
    Asked(which): Asked<Which>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    if !visit.caller.may_all_routines() {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "The log tells of all sources, and this key is bound to some.",
        ));
    }
    let most = if which.level.is_empty() { log::level("TRACE") } else { log::level(&which.level) };
    let most = most.map_err(|words| Failure::new(StatusCode::BAD_REQUEST, words))?;
    let wanted = which.q.to_lowercase();
    let mut lines = log_lines::newest();
    lines.retain(|line| {
        line.level <= most
            && (wanted.is_empty() || format!("{} {}", line.words, line.fields).to_lowercase().contains(&wanted))
    });
    let here = visit.at(&format!("logs?level={}&q={}", show::encoded(&which.level), show::encoded(&which.q)));
    let body = html! {
        div.title {
            h1 { "Log" }
            form.search role="search" method="get" action=(visit.at("logs")) {
                label.hidden for="level" { "Level" }
                select #level name="level" {
                    @for (value, words) in [("", "every level"), ("WARN", "warnings and errors"), ("ERROR", "errors")] {
                        option value=(value) selected[which.level == value] { (words) }
                    }
                }
                label.hidden for="q" { "Words" }
                input #q type="search" name="q" value=(which.q) placeholder="Words";
                button type="submit" { "Find" }
            }
        }
        div #live hx-get=(here) hx-select="#live" hx-swap="outerHTML" hx-trigger="every 5s" {
            @if lines.is_empty() { p.empty { "There are no such lines." } } @else {
                table.log {
                    caption.hidden { "Lines of the log, the newest first" }
                    thead { tr { th scope="col" { "Time" } th scope="col" { "Level" } th scope="col" { "Words" } } }
                    tbody {
                        @for line in lines.iter().take(SHOWN) {
                            tr {
                                td { (show::clock(line.at)) }
                                td { (level(line.level)) }
                                td { (show::cut(&line.words, 500)) " " span.dim { (show::cut(&line.fields, 500)) } }
                            }
                        }
                    }
                }
                @if lines.len() > SHOWN { p.hint { "The newest " (SHOWN) " of " (lines.len()) " lines that are kept." } }
            }
        }
    };
    Ok(Page { visit: &visit, title: "Log", nav: Nav::Logs, refresh: Some(10), body }.answer())
}

fn level(level: Level) -> maud::Markup {
    match level {
        Level::ERROR => pill("bad", "✕", "error"),
        Level::WARN => pill("warn", "!", "warning"),
        Level::INFO => pill("dim", "·", "info"),
        _ => pill("dim", "·", "detail"),
    }
}
