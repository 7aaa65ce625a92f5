//! A collection's records in a snapshot, a page at a time.

use super::{
    Console,
    admit::Visit,
    failure::{Asked, Failure, Path},
    page::{self, Nav, Page},
    show,
};
use crate::{
    ops::browse::{BrowseFrom, BrowsedPage, BrowsedRecord, browse},
    service::{ServiceError, keys::Scope},
};
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value as Json;
use std::sync::Arc;

/// Records on a page.
const PER_PAGE: usize = 100;

/// A key, or the name of a collection, that is longer than this is not put into an address: servers refuse those of 64 KiB.
pub(super) const MAX_LINKED_BYTES: usize = 4096;

/// Which records.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    collection: String,
    /// The sort key to begin with, in hexadecimal digits: what the page before ended with.
    from: String,
    /// The key to begin with, as a person types it.
    key: String,
}

/// The page.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path((name, id)): Path<(String, String)>,
    Asked(which): Asked<Which>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    visit.routine(&console.service.config(), &name)?;
    let from = if which.key.is_empty() {
        let bytes = data_encoding::HEXLOWER.decode(which.from.as_bytes());
        BrowseFrom::SortKey(
            bytes.map_err(|_| ServiceError::Invalid("from: these are no hexadecimal digits".to_owned()))?,
        )
    } else {
        BrowseFrom::Typed(which.key.clone())
    };
    let (source, wanted, collection) = (name.clone(), id.clone(), which.collection.clone());
    let found = console.wait(move |console| {
        let (repo, snapshot) = console.snapshot(&source, &wanted)?;
        Ok((browse(&repo, &snapshot, &collection, &from, PER_PAGE)?, snapshot.content.end))
    });
    let (found, end) = found.await?;
    let own = visit.at_source(&name, &format!("/snapshots/{id}"));
    let short = id.get(..8).unwrap_or(&id);
    let body = html! {
        (page::crumbs(&visit, &[(visit.at_source(&name, ""), &name), (own.clone(), short)], &which.collection))
        div.title {
            h1 { (show::cut(&which.collection, 80)) }
            form.search role="search" method="get" action={ (own) "/records" } {
                input type="hidden" name="collection" value=(which.collection);
                label.hidden for="key" { "Begin with this key" }
                input #key type="search" name="key" value=(which.key) placeholder="Begin with key, as int:5 or str:abc";
                button type="submit" { "Go" }
            }
        }
        p.hint { "As of " (show::moment(end)) ", in the order of the keys." }
        (table(&visit, &name, &which, &found))
        nav.pager aria-label="Pages of records" {
            @if !which.from.is_empty() || !which.key.is_empty() {
                a href={ (own) "/records?collection=" (show::encoded(&which.collection)) } { "← From the first" }
            }
            @if let Some(next) = found.next.as_ref().filter(|next| next.len() > MAX_LINKED_BYTES / 2) {
                p.hint { "More follow, behind a key whose first " (next.len()) " bytes are those of the last one here: `rekeep ls` lists them." }
            } @else if let Some(next) = &found.next {
                a #page-next rel="next" href={ (own) "/records?collection=" (show::encoded(&which.collection)) "&from=" (data_encoding::HEXLOWER.encode(next)) } { "Next " (PER_PAGE) " →" }
            }
        }
    };
    let title = format!("{} in snapshot {short} of {name}", show::plain(&which.collection, 40));
    Ok(Page { visit: &visit, title: &title, nav: Nav::Sources, refresh: None, body }.answer())
}

fn table(visit: &Visit, name: &str, which: &Which, found: &BrowsedPage) -> Markup {
    if found.records.is_empty() {
        return html! { p.empty { "There are no records from here on." } };
    }
    let has_set = found.records.iter().any(|record| record.set.is_some());
    html! {
        table.cards.records {
            caption.hidden { "Records" }
            thead { tr {
                th scope="col" { "Key" }
                @if has_set { th scope="col" { "Set" } }
                th scope="col" { "Value" } th.number scope="col" { "Bytes" }
            } }
            tbody { @for (at, record) in found.records.iter().enumerate() { (row(visit, name, which, record, at, has_set)) } }
        }
    }
}

fn row(visit: &Visit, name: &str, which: &Which, record: &BrowsedRecord, at: usize, has_set: bool) -> Markup {
    let address = |key: &str| {
        let rest = format!("/record?collection={}&key={}", show::encoded(&which.collection), show::encoded(key));
        visit.at_source(name, &rest)
    };
    html! {
        tr {
            th scope="row" data-label="Key" {
                @if record.key.len() <= MAX_LINKED_BYTES {
                    a id={ "r-" (at) } href=(address(&record.key)) { (show::cut(&record.key, 100)) }
                } @else {
                    (show::cut(&record.key, 100))
                }
            }
            @if has_set { td data-label="Set" { (show::cut(record.set.as_deref().unwrap_or_default(), 60)) } }
            td.value data-label="Value" { (beginning(record.value.as_ref())) }
            td.number data-label="Bytes" { (show::count(record.bytes)) }
        }
    }
}

/// The beginning of a value: its first cells, each cut.
fn beginning(value: Option<&Json>) -> Markup {
    const CELLS: usize = 6;
    let Some(Json::Object(cells)) = value else { return html! { span.dim { "not shown here" } } };
    html! {
        @for (name, cell) in cells.iter().take(CELLS) {
            span.cell { span.cell-name { (show::cut(name, 30)) } " " (show::cut(&cell_words(cell), 60)) }
        }
        @if cells.len() > CELLS { span.dim { "… " (cells.len()) " cells" } }
    }
}

/// A cell in words: a text as it is, everything else as JSON has it.
pub(super) fn cell_words(cell: &Json) -> String {
    match cell {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
