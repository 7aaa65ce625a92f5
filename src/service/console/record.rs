//! One record: every version that is kept of it, the newest first, and what differs from the one before.

use super::{
    Console,
    admit::Visit,
    contents::cell_words,
    failure::{Asked, Failure, Path},
    page::{self, Nav, Page},
    show,
};
use crate::{
    ops::{
        Silent,
        history::{History, HistoryVersion, choose, history},
    },
    service::{
        keys::Scope,
        runs::{Whose, of_own_source},
    },
};
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use std::{collections::BTreeSet, sync::Arc};

/// Snapshots that are looked at for a page: a version's value may be a MiB.
const SNAPSHOTS: usize = 200;

/// What is shown of a cell.
const CELL_CHARS: usize = 600;

/// Which record.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    collection: String,
    key: String,
    /// Pages back in time, from 0 on.
    back: usize,
}

/// The page.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(name): Path<String>,
    Asked(which): Asked<Which>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    visit.routine(&console.service.config(), &name)?;
    let (source, asked) = (name.clone(), which.clone());
    let found = console.wait(move |console| {
        let (repo, snapshots) = console.snapshots(&source)?;
        let config = console.service.config();
        let whose = Whose { config: &config, name: &source };
        let snapshots = of_own_source(snapshots, &asked.collection, whose, repo.host());
        let mut chosen = choose(&snapshots, &asked.collection, &Silent)?;
        chosen.truncate(chosen.len().saturating_sub(asked.back.saturating_mul(SNAPSHOTS)).max(1));
        let older = chosen.len().saturating_sub(SNAPSHOTS);
        let chosen = chosen.split_off(older);
        Ok((history(&repo, &chosen, &asked.collection, &asked.key, None, None, &Silent)?, older))
    });
    let (history, older) = found.await?;
    let body = body(&visit, &name, &which, &history, older);
    let title = format!("{} in {}", show::plain(&history.key, 40), show::plain(&which.collection, 40));
    Ok(Page { visit: &visit, title: &title, nav: Nav::Sources, refresh: None, body }.answer())
}

fn body(visit: &Visit, name: &str, which: &Which, history: &History, older: usize) -> Markup {
    let address = |back: usize| {
        let (collection, key) = (show::encoded(&which.collection), show::encoded(&which.key));
        visit.at_source(name, &format!("/record?collection={collection}&key={key}&back={back}"))
    };
    let versions = &history.versions;
    html! {
        (page::crumbs(visit, &[(visit.at_source(name, ""), name)], &history.key))
        h1 { code { (show::cut(&history.key, 120)) } }
        p.hint {
            "In " (show::cut(&which.collection, 80)) ": " (versions.len()) @if versions.len() == 1 { " version in " } @else { " versions in " }
            (history.snapshots) @if history.snapshots == 1 { " snapshot." } @else { " snapshots." }
        }
        @if versions.is_empty() { p.empty { "None of these snapshots has a record of this key." } }
        ol.versions reversed {
            @for at in (0..versions.len()).rev() {
                li { (version(visit, name, which, &versions[at], at.checked_sub(1).map(|before| &versions[before]))) }
            }
        }
        @for gap in &history.gaps {
            p.hint { "Snapshots before " (show::moment(gap.to)) " were forgotten: what they alone showed is not promised any more." }
        }
        nav.pager aria-label="Older and newer versions" {
            @if which.back > 0 { a rel="prev" href=(address(which.back - 1)) { "← Newer snapshots" } }
            @if older > 0 { a rel="next" href=(address(which.back + 1)) { (older) " older snapshots →" } }
        }
    }
}

fn version(
    visit: &Visit,
    name: &str,
    which: &Which,
    version: &HistoryVersion,
    before: Option<&HistoryVersion>,
) -> Markup {
    let (class, mark) = match version.state {
        "live" => ("good", "●"),
        "deleted" => ("bad", "✕"),
        _ => ("dim", "○"),
    };
    let restore = format!(
        "/restore?at={}&collection={}&keys={}",
        version.to.as_millis(),
        show::encoded(&which.collection),
        show::encoded(&which.key)
    );
    html! {
        article.version {
            header {
                h2 { (page::pill(class, mark, version.state)) " " (show::moment(version.from)) }
                p.hint {
                    @if version.snapshots > 1 { "so until " (show::moment(version.to)) ", in " (version.snapshots) " snapshots, first " } @else { "in snapshot " }
                    a href=(visit.at_source(name, &format!("/snapshots/{}", version.first_snapshot))) { code { (version.first_snapshot.short()) } }
                    @if let Some(generation) = version.generation.filter(|it| *it > 0) { ", generation " (generation) }
                    @if let Some(expiry) = version.expiry { ", expires " (show::moment(expiry)) }
                    @if let Some(bytes) = version.value_bytes { ", " (show::size(bytes)) }
                }
                @if version.state == "live" && visit.caller.may(Scope::Restore) {
                    a.button href=(visit.at_source(name, &restore)) { "Restore this version…" }
                }
            }
            @match (&version.value, version.value_bytes) {
                (Some(Json::Object(cells)), _) => (compared(cells, before.and_then(|it| it.value.as_ref()?.as_object()))),
                (_, Some(bytes)) => p.dim { "Its value has " (show::size(bytes)) " and is not shown; " code { "rekeep dump" } " writes it." },
                _ => {},
            }
        }
    }
}

/// The cells of a version, those that differ beside what they were.
fn compared(cells: &Map<String, Json>, before: Option<&Map<String, Json>>) -> Markup {
    let names: BTreeSet<&String> = cells.keys().chain(before.into_iter().flat_map(Map::keys)).collect();
    // As they are stored; what is gone comes last.
    let gone: Vec<&String> = names.into_iter().filter(|name| !cells.contains_key(*name)).collect();
    html! {
        table.cells {
            caption.hidden { "Cells of this version, and what they were before" }
            thead { tr { th scope="col" { "Cell" } th scope="col" { "Value" } th scope="col" { "Before" } } }
            tbody {
                @for (name, cell) in cells {
                    @let old = before.map(|before| before.get(name));
                    @let differs = old.is_some_and(|old| old != Some(cell));
                    tr.(if differs { "differs" } else { "" }) {
                        th scope="row" { (show::cut(name, 80)) @if differs { span.hidden { " (differs)" } } }
                        td { (show::cut(&cell_words(cell), CELL_CHARS)) }
                        td { @match old {
                            Some(Some(old)) if old != cell => del { (show::cut(&cell_words(old), CELL_CHARS)) },
                            Some(None) => span.dim { "not there" },
                            _ => {},
                        } }
                    }
                }
                @for name in gone {
                    tr.differs {
                        th scope="row" { (show::cut(name, 80)) span.hidden { " (gone)" } }
                        td { span.dim { "gone" } }
                        td { @if let Some(old) = before.and_then(|before| before.get(name)) { del { (show::cut(&cell_words(old), CELL_CHARS)) } } }
                    }
                }
            }
        }
    }
}
